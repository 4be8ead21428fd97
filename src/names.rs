//! The one place where the binary meets the `dns` crate: binding, starting, asking, and the
//! commands under `gatehouse dns`. Everything else here knows names only through these functions.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use dns::{
    bind::Bound as BoundUdp,
    forward::{Forwarder, Health, UpstreamState},
    service::{Follower, Identity, Service},
    stream::{StreamLimits, Transport},
};
use inventory::{ChangeSet, State};
use prometheus_client::registry::Registry;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use wire::{accept_loop, limits::Limits, tls::TlsIdentity};

use crate::{
    exit::{Exit, Failure},
    node::task::{self, Ended},
};

mod compare;
mod explain;
mod metrics;
mod show;
mod zones;

pub(crate) use compare::{compare, is_type};
pub(crate) use show::explanation;
pub(crate) use zones::{serve_zone, zone_records};

/// Time for a client to take what is written to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the answering threads are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Protocol name of DNS over TLS in the handshake (RFC 7858 section 3.1 leaves it open; clients offer this one).
const ALPN_DOT: &[&[u8]] = &[b"dot"];
/// Protocol name of HTTP/2 in the handshake.
const ALPN_HTTPS: &[&[u8]] = &[b"h2"];

/// A stream listener, bound and not served yet.
struct Listener {
    socket: std::net::TcpListener,
    transport: Transport,
    tls: Option<TlsIdentity>,
}

/// Sockets of the DNS part, bound and not served yet.
pub(crate) struct Bound {
    config: dns::config::Config,
    udp: BoundUdp,
    streams: Vec<Listener>,
}

/// The running DNS part.
#[derive(Clone)]
pub(crate) struct Names(Arc<Inner>);

struct Inner {
    service: Service,
    addresses: Vec<SocketAddr>,
    tls: Vec<TlsIdentity>,
    limits: Arc<Limits>,
    stream: StreamLimits,
}

/// What the DNS part knows about its node.
pub(crate) struct Settings {
    /// Name of the appliance, for NSID and `id.server`.
    pub node: String,
    /// Region of the appliance, for nearest scope.
    pub region: String,
    /// Product of hosts that name none.
    pub product: Option<String>,
    /// Version of the program, for `version.bind`.
    pub version: &'static str,
}

/// Binds the sockets of `[dns]` and reads its files, while the process may still do so.
///
/// # Errors
/// Which address or file cannot be had, and why.
pub(crate) fn bind(config: &dns::config::Config) -> Result<Bound, Failure> {
    let udp = BoundUdp::bind(config).map_err(|e| Failure::new(Exit::Os, e.to_string()))?;
    let mut streams = Vec::new();
    // TCP takes the ports that UDP got.
    for &address in &udp.addresses {
        streams.push(Listener { socket: listen(address)?, transport: Transport::Tcp, tls: None });
    }
    let secure = [
        (&config.listen_tls, Transport::Tls, ALPN_DOT, "listen_tls"),
        (&config.listen_https, Transport::Https, ALPN_HTTPS, "listen_https"),
    ];
    for (addresses, transport, alpn, key) in secure {
        if addresses.is_empty() {
            continue;
        }
        let (Some(certificate), Some(private)) = (&config.tls_cert, &config.tls_key) else {
            return Err(Failure::new(Exit::Config, format!("[dns] {key} needs tls_cert and tls_key")));
        };
        let identity = TlsIdentity::load(certificate, private, alpn)
            .map_err(|e| Failure::new(Exit::Config, format!("[dns] {key}: {e}")))?;
        for &address in addresses {
            streams.push(Listener { socket: listen(address)?, transport, tls: Some(identity.clone()) });
        }
    }
    Ok(Bound { config: config.clone(), udp, streams })
}

/// Listens on a TCP address.
///
/// # Errors
/// A sentence with the address, the reason and the remedy.
pub(crate) fn listen(address: SocketAddr) -> Result<std::net::TcpListener, Failure> {
    wire::listen::listen(address).map_err(|e| Failure::new(Exit::Os, e.to_string()))
}

impl Bound {
    /// Starts answering from the states that `states` brings. Tasks that must not end go into `tasks`.
    ///
    /// # Errors
    /// Why nothing can be answered.
    pub(crate) fn start(
        self,
        settings: Settings,
        states: watch::Receiver<Arc<State>>,
        shutdown: CancellationToken,
        tasks: &mut JoinSet<Ended>,
    ) -> Result<Names, Failure> {
        let identity = Identity {
            node: settings.node,
            region: settings.region,
            product: settings.product.unwrap_or_else(|| "local".into()),
            version: format!("gatehouse {}", settings.version),
        };
        let addresses = self.udp.addresses.clone();
        let (service, follower) = Service::start(self.udp, &self.config, &identity, states)
            .map_err(|e| Failure::new(Exit::Os, e.to_string()))?;
        let names = serve_streams(&self.config, service, addresses, self.streams, &shutdown, tasks)?;
        task::spawn(tasks, "names", keep_up(names.clone(), follower, shutdown));
        Ok(names)
    }
}

/// Follows the states and looks after the answering threads until the node stops.
async fn keep_up(names: Names, follower: Follower, shutdown: CancellationToken) -> Result<(), String> {
    let service = &names.0.service;
    let watch_threads = async {
        let mut interval = tokio::time::interval(LOOK_EVERY);
        while service.is_answering() {
            interval.tick().await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {
            service.stop();
            Ok(())
        }
        () = watch_threads => Err("a thread that answers UDP has ended".into()),
        () = follower.run() => {
            service.stop();
            if shutdown.is_cancelled() { Ok(()) } else { Err("no new states are published".into()) }
        }
    }
}

fn serve_streams(
    config: &dns::config::Config,
    service: Service,
    addresses: Vec<SocketAddr>,
    listeners: Vec<Listener>,
    shutdown: &CancellationToken,
    tasks: &mut JoinSet<Ended>,
) -> Result<Names, Failure> {
    let limits = Arc::new(Limits::new(config.tcp_connections_max, config.tcp_connections_per_source));
    let stream = StreamLimits {
        idle: Duration::from_secs(config.tcp_idle_s),
        pipeline_max: config.tcp_pipeline_max,
        write_timeout: WRITE_TIMEOUT,
        shutdown: shutdown.clone(),
        counters: Arc::default(),
    };
    let tls = listeners.iter().filter_map(|listener| listener.tls.clone()).collect();
    for listener in listeners {
        let socket = tokio::net::TcpListener::from_std(listener.socket)
            .map_err(|e| Failure::new(Exit::Os, format!("a listening socket cannot be used: {e}")))?;
        let (handler, limits_of_stream, transport) = (service.handler(), stream.clone(), listener.transport);
        let accepting =
            accept_loop(socket, limits.clone(), listener.tls, shutdown.clone(), move |stream, peer, local| {
                let (handler, limits) = (handler.clone(), limits_of_stream.clone());
                async move {
                    match transport {
                        Transport::Https => dns::https::serve(stream, peer, local, limits, handler).await,
                        _ => dns::stream::serve(stream, peer, local, transport, limits, handler).await,
                    }
                }
            });
        task::spawn(tasks, "dns streams", async move {
            accepting.await;
            Ok(())
        });
    }
    Ok(Names(Arc::new(Inner { service, addresses, tls, limits, stream })))
}

impl Names {
    /// The part of `gatehouse status` about names; a JSON object of numbers, texts and lists.
    pub(crate) fn summary(&self) -> serde_json::Value {
        let now = self.0.service.snapshot();
        let answers: u64 = now.udp.rcodes.iter().chain(&now.stream.rcodes).sum();
        let upstreams = self.0.service.forwarder().map(Forwarder::upstreams).unwrap_or_default();
        let upstreams: Vec<String> = upstreams.iter().map(show_upstream).collect();
        serde_json::json!({
            "addresses": self.0.addresses,
            "serial": now.serial,
            "zones": now.zones,
            "names": now.names,
            "answers": answers,
            "last_make_us": now.last_make_us,
            "connections": self.0.limits.open(),
            "upstreams": upstreams,
        })
    }

    /// Serial of the state that answers come from.
    pub(crate) fn serial(&self) -> u64 {
        self.0.service.snapshot().serial
    }

    /// Adds the metrics of names to the registry behind /metrics.
    pub(crate) fn register(&self, registry: &mut Registry) {
        metrics::register(registry, self.clone());
    }

    /// Reads TLS files again and reopens the query log.
    pub(crate) fn reload(&self) {
        for identity in &self.0.tls {
            if let Err(error) = identity.reload() {
                tracing::error!(%error, "the former certificate stays in use");
            }
        }
        self.0.service.reopen();
    }
}

fn show_upstream(state: &UpstreamState) -> String {
    let health = match &state.health {
        Health::Unknown => "not asked yet".into(),
        Health::Answering => format!("answers since {} s", state.age.as_secs()),
        Health::Failing(why) => format!("fails since {} s: {why}", state.age.as_secs()),
    };
    format!("{} {health} ({} replies, {} failures)", state.address, state.replies, state.failures)
}

/// What speaks against publishing a change, from the view of names; empty when nothing does.
pub(crate) fn review(default_product: &str, after: &State, set: &ChangeSet) -> Vec<String> {
    dns::conflicts::conflicts(after, set, default_product)
}
