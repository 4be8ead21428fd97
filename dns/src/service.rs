//! The DNS side of a node, put together: sockets first, then threads and tasks.
//!
//! [`crate::bind::Bound::bind`] needs no runtime and no state, so it can run before privileges are dropped.
//! [`Service::start`] builds the zones of the present state and begins to answer. From then on one
//! thread follows the published states and swaps zones; the UDP workers never wait for it.

use std::{
    net::{IpAddr, UdpSocket},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use inventory::State;
use tokio::sync::{mpsc, watch};

use crate::{
    bind::{Bound, StartError},
    config::Config,
    edit::Editor,
    engine::Engine,
    forward::Forwarder,
    generate::Settings,
    make::Maker,
    name::Name,
    querylog::{OpenLog, QueryLog},
    rate::RateLimiter,
    respond::Responder,
    stats::{Counters, Sums, sum},
    stream::{Question, Replies},
    transfer::{notify, tsig::Keys},
    udp::{Pending, Worker},
    verdict::Facts,
    zone::Soa,
    zonefile::ZoneFile,
    zones::Zones,
};

/// How often former zones are looked at while an answering thread may read them.
const FREE_EVERY: Duration = Duration::from_millis(100);
/// Datagrams that wait for the asynchronous side at most.
const PENDING_MAX: usize = 4096;

pub use crate::sys::answer_first;

/// Who this node is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Node name.
    pub node: String,
    /// Region of the node.
    pub region: String,
    /// Default product.
    pub product: String,
    /// Version of the program.
    pub version: String,
}

/// What is being published, for status and metrics.
#[derive(Default)]
pub(crate) struct Progress {
    serial: AtomicU64,
    made: AtomicU64,
    last_make_us: AtomicU64,
}

/// A running DNS side.
pub struct Service {
    pub(crate) settings: Settings,
    pub(crate) engine: Arc<Engine>,
    counters: Vec<Arc<Counters>>,
    responder: Arc<Responder>,
    notify: Arc<notify::Stats>,
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

/// Numbers of the moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Serial of the state that answers come from.
    pub serial: u64,
    /// Zones.
    pub zones: usize,
    /// Names in them, empty non-terminals included.
    pub names: usize,
    /// Times that new zones were made.
    pub made: u64,
    /// Microseconds that the last of them took.
    pub last_make_us: u64,
    /// Entries in the forwarder's cache and octets charged for them.
    pub cache: (u64, u64),
    /// Lines that the query log lost.
    pub query_log_lost: u64,
    /// Counters of UDP.
    pub udp: Sums,
    /// Counters of TCP, TLS and HTTPS.
    pub stream: Sums,
}

impl Service {
    /// Builds the zones of the present state and begins to answer. The follower must be run: it is
    /// what keeps the zones up with later states.
    pub fn start(
        bound: Bound,
        config: &Config,
        identity: &Identity,
        mut states: watch::Receiver<Arc<State>>,
    ) -> Result<(Self, Follower), StartError> {
        let maker = Maker::new(Settings::new(config, identity, &bound.addresses));
        let state = states.borrow_and_update().clone();
        let keys = bound.keys.clone();
        let service = Self::launch(bound, config, identity, |engine, progress| {
            publish(engine, progress, &state, || maker.build(&state));
        })?;
        let (changed, soas) = watch::channel(Arc::new(service.engine.zones().soas()));
        service.start_notify(config, keys, soas);
        let (engine, progress) = (service.engine.clone(), service.progress.clone());
        Ok((service, Follower { maker, engine, progress, state, states, changed, former: Vec::new() }))
    }

    /// Serves the zone of one file, and nothing else.
    pub fn start_zone(bound: Bound, config: &Config, identity: &Identity, file: ZoneFile) -> Result<Self, StartError> {
        Self::launch(bound, config, identity, |engine, _| {
            let mut editor = Editor::from_nothing();
            editor.add_zone(&file.origin, file.soa, false, 0);
            for rr in file.records {
                editor.add(&rr.owner, rr.rtype, rr.ttl, rr.rdata);
            }
            engine.publish(Arc::new(editor.finish()));
        })
    }

    fn launch(
        bound: Bound,
        config: &Config,
        identity: &Identity,
        first: impl FnOnce(&Engine, &Progress),
    ) -> Result<Self, StartError> {
        let settings = Settings::new(config, identity, &bound.addresses);
        let facts = Facts {
            id: identity.node.clone(),
            version: identity.version.clone(),
            udp_payload_max: config.udp_payload_max,
            forwards: !config.forward.is_empty(),
            cookie_secrets: bound.cookie_secrets,
            keepalive_ds: u16::try_from(config.tcp_idle_s.saturating_mul(10)).unwrap_or(u16::MAX),
        };
        let rate = if config.rate_limit > 0 { Some(rate_limiter(config.rate_limit)?) } else { None };
        let query_log = bound.query_log.map(OpenLog::start).transpose().map_err(StartError::Thread)?;
        let engine = Arc::new(Engine::new(facts, config.allow.clone(), rate, query_log));
        let progress = Arc::new(Progress::default());
        first(&engine, &progress);
        let (pending, queue) = mpsc::channel(PENDING_MAX);
        let networks = config.transfer.clone();
        let responder = Responder::new(engine.clone(), bound.forwarder, bound.keys, networks, Arc::default());
        let mut service = Self {
            settings,
            engine,
            counters: Vec::new(),
            responder: Arc::new(responder),
            notify: Arc::default(),
            progress,
            stop: Arc::new(AtomicBool::new(false)),
            workers: Vec::new(),
        };
        for (sockets, address) in bound.sockets.into_iter().zip(&bound.addresses) {
            for socket in sockets {
                service.add_worker(socket, address.ip(), pending.clone())?;
            }
        }
        tokio::spawn(service.responder.clone().serve_pending(queue));
        Ok(service)
    }

    /// Tells secondaries of every change.
    fn start_notify(&self, config: &Config, keys: Keys, soas: watch::Receiver<Arc<Vec<(Name, Soa)>>>) {
        if config.notify.is_empty() {
            return;
        }
        let key = config.key.first().and_then(|key| Name::parse(&key.name).ok());
        let targets = config.notify.clone();
        let settings = notify::Settings { targets, keys, key, first_wait: notify::FIRST_WAIT };
        let stats = self.notify.clone();
        tokio::spawn(async move {
            if let Err(error) = notify::run(soas, settings, stats).await {
                tracing::error!(%error, "secondaries are not told of changes any more; they still ask by themselves");
            }
        });
    }

    /// Answers one query of a stream: the handler for [`crate::stream::serve`] and [`crate::https::serve`].
    pub fn handler(
        &self,
    ) -> impl Fn(Question, Replies) -> Pin<Box<dyn Future<Output = ()> + Send>> + Clone + Send + Sync + 'static {
        let responder = self.responder.clone();
        move |question, replies| {
            let responder = responder.clone();
            Box::pin(async move { responder.answer_stream(question, replies).await })
        }
    }

    fn add_worker(
        &mut self,
        socket: Arc<UdpSocket>,
        address: IpAddr,
        pending: mpsc::Sender<Pending>,
    ) -> Result<(), StartError> {
        let counters = Arc::new(Counters::default());
        let worker = Worker {
            socket,
            wildcard: address.is_unspecified(),
            engine: self.engine.clone(),
            counters: counters.clone(),
            pending,
            stop: self.stop.clone(),
        };
        let name = format!("dns-udp-{}", self.workers.len());
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            crate::sys::short_turns();
            worker.run()
        });
        let thread = thread.map_err(StartError::Thread)?;
        self.counters.push(counters);
        self.workers.push(thread);
        Ok(())
    }

    /// Numbers of the moment.
    pub fn snapshot(&self) -> Snapshot {
        let zones = self.engine.zones();
        Snapshot {
            serial: self.progress.serial.load(Relaxed),
            zones: zones.zones().count(),
            names: zones.name_count(),
            made: self.progress.made.load(Relaxed),
            last_make_us: self.progress.last_make_us.load(Relaxed),
            cache: self.forwarder().map_or((0, 0), Forwarder::cache_size),
            query_log_lost: self.engine.query_log.as_ref().map_or(0, QueryLog::lost),
            udp: sum(&self.counters),
            stream: sum(std::slice::from_ref(&self.responder.counters)),
        }
    }

    /// The zones that answers come from now.
    pub fn zones(&self) -> Arc<Zones> {
        self.engine.zones_full()
    }

    /// The forwarder, if names that are not ours are asked for elsewhere.
    pub fn forwarder(&self) -> Option<&Forwarder> {
        self.responder.forwarder.as_ref()
    }

    /// What has become of NOTIFY messages.
    pub fn notify_stats(&self) -> &notify::Stats {
        &self.notify
    }

    /// Opens the query log anew.
    pub fn reopen(&self) {
        if let Some(log) = &self.engine.query_log {
            log.reopen();
        }
    }

    /// Whether every thread that should answer UDP does.
    pub fn is_answering(&self) -> bool {
        !self.workers.iter().any(JoinHandle::is_finished)
    }

    /// Stops the UDP workers after the batch that they are at.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }
}

fn rate_limiter(rate: u32) -> Result<RateLimiter, StartError> {
    // Strangers must not be able to choose addresses that share a slot.
    let (mut a, mut b) = ([0; 8], [0; 8]);
    getrandom::fill(&mut a).and_then(|()| getrandom::fill(&mut b)).map_err(StartError::Random)?;
    Ok(RateLimiter::new(rate, (u64::from_ne_bytes(a), u64::from_ne_bytes(b)), 0))
}

/// Makes zones and lets answers come from them.
fn publish(engine: &Engine, progress: &Progress, state: &State, make: impl FnOnce() -> Zones) {
    let started = Instant::now();
    engine.publish(Arc::new(make()));
    progress.serial.store(state.position().serial, Relaxed);
    progress.made.fetch_add(1, Relaxed);
    progress.last_make_us.store(started.elapsed().as_micros() as u64, Relaxed);
}

/// Keeps the zones up with the published states.
pub struct Follower {
    maker: Maker,
    engine: Arc<Engine>,
    progress: Arc<Progress>,
    state: Arc<State>,
    states: watch::Receiver<Arc<State>>,
    changed: watch::Sender<Arc<Vec<(Name, Soa)>>>,
    /// Former zones that an answering thread may still read: whoever lets go of them last frees them,
    /// and freeing a million names must not happen between two answers.
    former: Vec<Arc<Zones>>,
}

impl Follower {
    /// Runs for as long as there is a publisher of states.
    pub async fn run(mut self) {
        let mut look = tokio::time::interval(FREE_EVERY);
        // Secondaries get their differences a moment after the first answers, not before them.
        let state = self.state.clone();
        self.publish(state, |follower, state| follower.maker.recall(&follower.engine.zones(), state));
        loop {
            let changed = tokio::select! {
                changed = self.states.changed() => changed,
                _ = look.tick(), if !self.former.is_empty() => {
                    self.free_former();
                    continue;
                }
            };
            if changed.is_err() {
                return;
            }
            let next = self.states.borrow_and_update().clone();
            self.publish(next, |follower, next| {
                follower.maker.advance(&follower.engine.zones(), &follower.state, next)
            });
            self.changed.send_replace(Arc::new(self.engine.zones().soas()));
        }
    }

    fn publish(&mut self, state: Arc<State>, make: impl FnOnce(&Self, &State) -> Zones) {
        self.former.push(self.engine.zones_full());
        tokio::task::block_in_place(|| {
            publish(&self.engine, &self.progress, &state, || make(self, &state));
        });
        self.state = state;
        self.free_former();
    }

    /// Frees the former zones that nobody reads any more.
    fn free_former(&mut self) {
        tokio::task::block_in_place(|| self.former.retain(|zones| Arc::strong_count(zones) > 1));
    }
}
