//! The one place where the binary meets the `directory` crate: binding, starting, asking. Everything else here knows
//! people and grants only through these functions.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use directory::{
    config::Config,
    decisions::Decisions,
    dn::Dn,
    follow::{self, Phase, Status},
    ldif,
    password::Passwords,
    server::{Parts, Server},
    view::{View, Views},
};
use inventory::Keeper;
use prometheus_client::registry::Registry;
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;
use wire::{accept_loop, limits::Limits, tls::TlsIdentity};

use crate::{
    clock,
    exit::{Exit, Failure},
    names::listen,
    node::task::{self, Ended},
    status::Stall,
};

mod metrics;
mod threads;

/// Protocol name of LDAP in the handshake (IANA's list of ALPN protocol IDs); clients offer none as a rule.
const ALPN: &[&[u8]] = &[b"ldap"];
/// How long the decision log gets to write what is under way, before it is verified and when the node stops.
const SETTLE: Duration = Duration::from_secs(2);

/// A listener, bound and not served yet.
struct Listener {
    socket: std::net::TcpListener,
    is_tls: bool,
}

/// Sockets of the directory part, bound and not served yet.
pub(crate) struct Bound {
    config: Config,
    listeners: Vec<Listener>,
    tls: Option<TlsIdentity>,
}

/// The running directory part.
#[derive(Clone)]
pub(crate) struct Logins(Arc<Inner>);

struct Inner {
    config: Config,
    views: Arc<Views>,
    server: Server,
    passwords: Passwords,
    decisions: Decisions,
    decisions_dir: PathBuf,
    status: Arc<Status>,
    addresses: Vec<SocketAddr>,
    tls: Option<TlsIdentity>,
    limits: Arc<Limits>,
    reload: Arc<Notify>,
}

/// Binds the sockets of `[directory]` and reads its certificate, while the process may still do so.
///
/// # Errors
/// Which address or file cannot be had, and why.
pub(crate) fn bind(config: &Config) -> Result<Bound, Failure> {
    let tls = match (&config.tls_cert, &config.tls_key) {
        (Some(certificate), Some(key)) => {
            let identity = match &config.client_ca {
                Some(roots) => TlsIdentity::load_with_clients(certificate, key, roots, ALPN),
                None => TlsIdentity::load(certificate, key, ALPN),
            };
            Some(identity.map_err(|e| Failure::new(Exit::Config, format!("[directory] {e}")))?)
        }
        _ => None,
    };
    let plain = config.listen.iter().map(|address| (address, false));
    let mut listeners = Vec::new();
    for (&address, is_tls) in plain.chain(config.listen_tls.iter().map(|address| (address, true))) {
        listeners.push(Listener { socket: listen(address)?, is_tls });
    }
    Ok(Bound { config: config.clone(), listeners, tls })
}

impl Bound {
    /// Starts answering from the keeper's states and following the source. Tasks that must not end go into `tasks`.
    ///
    /// # Errors
    /// Why nobody can be let in.
    pub(crate) fn start(
        self,
        data_dir: &Path,
        keeper: &Keeper,
        shutdown: &CancellationToken,
        tasks: &mut JoinSet<Ended>,
    ) -> Result<Logins, Failure> {
        let Self { config, listeners, tls } = self;
        let addresses = listeners.iter().filter_map(|l| l.socket.local_addr().ok()).collect();
        let decisions_dir = data_dir.join("decisions");
        let decisions = Decisions::open(&decisions_dir, config.decision_log_mb.saturating_mul(1 << 20))
            .map_err(|e| Failure::new(Exit::Io, e.to_string()))?;
        let passwords = Passwords::new(&config, data_dir, directory::policy::barred)
            .map_err(|e| Failure::new(Exit::Io, e.to_string()))?;
        let status = Arc::new(Status::open(&data_dir.join("directory/in-step")));
        let bad_base = |e| Failure::new(Exit::Config, format!("[directory] base: {e}"));
        let base = Dn::parse(&config.base).map_err(bad_base)?;
        let views = Arc::new(Views::new(keeper.state(), &base));
        let timers = tokio::runtime::Handle::current();
        let limits = Limits::new(config.connections_max, config.connections_per_source).with_timers(timers.clone());
        let limits = Arc::new(limits);
        let age = status.clone();
        let parts = Parts {
            config: Arc::new(config.clone()),
            views: views.clone(),
            passwords: passwords.clone(),
            decisions: decisions.clone(),
            age: Box::new(move |now_ms| age.age_ms(now_ms)),
            tls: tls.clone(),
            limits: limits.clone(),
            timers,
        };
        let server = Server::new(parts).map_err(bad_base)?;
        let reload = Arc::new(Notify::new());
        let inner = Inner {
            config,
            views,
            server,
            passwords,
            decisions,
            decisions_dir,
            status,
            addresses,
            tls,
            limits,
            reload,
        };
        let logins = Logins(Arc::new(inner));
        logins.clone().keep_up(keeper, shutdown, tasks);
        logins.serve(listeners, shutdown, tasks)?;
        Ok(logins)
    }
}

impl Logins {
    /// Makes views of new states, and follows the source.
    fn keep_up(self, keeper: &Keeper, shutdown: &CancellationToken, tasks: &mut JoinSet<Ended>) {
        let (views, states, stop) = (self.0.views.clone(), keeper.subscribe(), shutdown.clone());
        let passwords = self.0.passwords.clone();
        task::spawn(tasks, "views", async move {
            let changed = move |view: &View, id| passwords.changed(id, view.state.entry(id).map(|entry| &**entry));
            tokio::select! {
                () = stop.cancelled() => Ok(()),
                () = views.follow(states, changed) => match stop.is_cancelled() {
                    true => Ok(()),
                    false => Err("no new states are published".into()),
                },
            }
        });
        let (keeper, stop) = (keeper.clone(), shutdown.clone());
        let Inner { config, status, reload, .. } = &*self.0;
        let (status, reload) = (status.clone(), reload.clone());
        match (config.upstream.clone(), config.ldif.clone()) {
            (Some(upstream), _) => task::spawn(tasks, "directory upstream", async move {
                follow::run(&upstream, keeper, status, stop).await;
                Ok(())
            }),
            (None, Some(path)) => task::spawn(tasks, "directory file", async move {
                ldif::follow(path, keeper, status, reload, stop).await;
                Ok(())
            }),
            (None, None) => {}
        }
    }

    fn serve(
        &self,
        listeners: Vec<Listener>,
        shutdown: &CancellationToken,
        tasks: &mut JoinSet<Ended>,
    ) -> Result<(), Failure> {
        for _ in 0..threads::count() {
            let mut accepting: Vec<threads::Work> = Vec::new();
            for Listener { socket, is_tls } in &listeners {
                let cannot = |e| Failure::new(Exit::Os, format!("a listening socket cannot be used: {e}"));
                let (socket, is_tls) = (socket.try_clone().map_err(cannot)?, *is_tls);
                let (logins, shutdown) = (self.clone(), shutdown.clone());
                accepting.push(Box::new(move || Box::pin(logins.accept(socket, is_tls, shutdown))));
            }
            let ended = threads::spawn(accepting).map_err(|e| Failure::new(Exit::Os, e.to_string()))?;
            task::spawn(
                tasks,
                "ldap",
                async move { ended.await.unwrap_or_else(|_| Err("its thread has died".into())) },
            );
        }
        Ok(())
    }

    async fn accept(
        self,
        socket: std::net::TcpListener,
        is_tls: bool,
        shutdown: CancellationToken,
    ) -> Result<(), String> {
        let socket =
            tokio::net::TcpListener::from_std(socket).map_err(|e| format!("a listening socket cannot be used: {e}"))?;
        let (limits, tls) = (self.0.limits.clone(), self.0.tls.clone().filter(|_| is_tls));
        accept_loop(socket, limits, tls, shutdown, move |stream, peer, local| {
            let logins = self.clone();
            async move { logins.0.server.serve(stream, peer, local, is_tls).await }
        })
        .await;
        Ok(())
    }

    /// The view that lookups read at this moment.
    pub(crate) fn view(&self) -> Arc<View> {
        self.0.views.load()
    }

    /// Serial of the state that answers come from.
    pub(crate) fn serial(&self) -> u64 {
        self.view().position().serial
    }

    /// Whether the content is older than is accepted for everybody.
    pub(crate) fn is_stale(&self) -> bool {
        self.0.server.is_stale(clock::now_ms())
    }

    /// Why the content is not known to be what the source holds, or ever was; `None` once it was, and without a source.
    pub(crate) fn never_in_step(&self) -> Option<String> {
        let has_source = self.0.config.upstream.is_some() || self.0.config.ldif.is_some();
        let report = self.0.status.report();
        let waiting = if report.reason.is_empty() { "it is being read".into() } else { report.reason };
        (has_source && report.in_step_ms.is_none()).then_some(waiting)
    }

    /// Folder of the decision log.
    pub(crate) fn decisions(&self) -> &Path {
        &self.0.decisions_dir
    }

    /// Waits until the decisions made so far are on disk, but not for ever.
    pub(crate) async fn settle_decisions(&self) {
        let decisions = self.0.decisions.clone();
        // It has failed when the disk stands still; the log says so itself.
        let _ = tokio::task::spawn_blocking(move || decisions.flush(SETTLE)).await;
    }

    /// The part of `gatehouse status` about the directory; a JSON object of numbers, texts and lists.
    pub(crate) fn summary(&self) -> serde_json::Value {
        let now_ms = clock::now_ms();
        let (view, report) = (self.view(), self.0.status.report());
        let counts = view.access.counts();
        let age = |ms: Option<u64>| ms.map_or("never".into(), |ms| format!("{} ago", clock::age(ms)));
        let mut summary = serde_json::json!({
            "addresses": self.0.addresses,
            "serial": view.position().serial,
            "people": counts.people,
            "groups": counts.groups,
            "phase": report.phase,
            "in_step": age(self.0.status.age_ms(now_ms)),
            "last_change": age(report.last_change_ms.map(|ms| now_ms.saturating_sub(ms))),
            "connections": self.0.limits.open(),
            "verifiers": self.0.passwords.verifiers(),
            "decisions": self.0.decisions.head().n,
            "last_make_us": u64::try_from(self.0.views.last_make().as_micros()).unwrap_or(u64::MAX),
        });
        if let Some(fields) = summary.as_object_mut() {
            if !report.source.is_empty() {
                fields.insert("source".into(), report.source.into());
            }
            if let Some(csn) = report.csn {
                fields.insert("csn".into(), csn.into());
            }
        }
        summary
    }

    /// What stands still in the directory part.
    pub(crate) fn stalls(&self) -> Vec<Stall> {
        let report = self.0.status.report();
        let mut out = Vec::new();
        if matches!(report.phase, Phase::Held | Phase::Down | Phase::Broken) {
            let faults = report.faults.iter().take(5).cloned();
            let reason = [report.reason].into_iter().chain(faults).collect::<Vec<_>>().join("; ");
            let remedy = match (report.phase, report.held) {
                (Phase::Held, Some(id)) => crate::api::forms::remedy(id),
                (Phase::Broken, _) => "correct the source; decisions go on from the former content".into(),
                _ => "decisions go on from the former content; bring a server back".into(),
            };
            let what = format!("the directory's source {}", report.source);
            out.push(Stall { what, reason, since_ms: report.since_ms, remedy });
        }
        out
    }

    /// Adds the metrics of the directory to the registry behind /metrics.
    pub(crate) fn register(&self, registry: &mut Registry) {
        metrics::register(registry, self.clone());
    }

    /// Reads TLS files and the LDIF file again.
    pub(crate) fn reload(&self) {
        if let Some(Err(error)) = self.0.tls.as_ref().map(TlsIdentity::reload) {
            tracing::error!(%error, "the former certificate stays in use");
        }
        self.0.reload.notify_one();
        self.0.status.retry();
    }
}
