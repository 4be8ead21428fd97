//! Sources: sockets and pipes by which lines arrive. Files are followed elsewhere.
//!
//! [`bind`] opens everything, before privileges are dropped; [`start`] gives the tasks that read. Connections have the
//! limits of their source: at once, from one address, and reserved for hosts of the inventory. A local sender counts by
//! its user as others do by their address, and is no stranger.
//!
//! Everything here is in memory: what a crash finds in a socket is lost if the protocol has no acknowledgements, and is
//! sent again if it has (RELP).

use std::{
    fmt,
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixListener},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use tracing::warn;
use wire::{Limits, Stream, TlsIdentity, accept_loop};

use crate::{
    config::{self, Listen},
    intake::Sender,
    relp,
};

mod bind;
pub(crate) mod counters;
mod datagram;
pub(crate) mod input;
mod local;
mod road;
pub(crate) mod stream;
mod unix;

pub use bind::{Bound, Kept, bind};
pub use counters::Counters;
pub use road::Road;
use stream::Shared;

/// Wall clock: microseconds since 1970.
pub type Clock = fn() -> i64;

/// How often new refusals are looked for, to say so.
const REFUSALS_EVERY: Duration = Duration::from_secs(60);

/// What sources need of the rest.
#[derive(Clone)]
pub struct Around<F> {
    /// Makes the road of a connection, pipe or datagram socket; called with where it listens.
    pub roads: F,
    /// Whether an address is that of a host of the inventory. Must not wait for anything.
    pub known: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// Time of receipt.
    pub clock: Clock,
    /// Ends all tasks.
    pub shutdown: CancellationToken,
}

impl<F> fmt::Debug for Around<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Around")
    }
}

/// A task to be spawned. It ends after the signal to shut down; an end before, or an error, is a failure of the source.
pub struct Task {
    /// What it reads, as in the configuration.
    pub name: String,
    /// Its work.
    pub run: Pin<Box<dyn Future<Output = Result<(), String>> + Send>>,
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A source that runs.
#[derive(Debug)]
pub struct Running {
    /// To be spawned.
    pub tasks: Vec<Task>,
    /// Where it listens, port 0 replaced by the one that was given, and what happened there.
    pub listeners: Vec<(Listen, Arc<Counters>)>,
    /// Limits of all its connections, with their counters.
    pub limits: Arc<Limits>,
}

/// The tasks of a source whose sockets are open. Nothing is read before they are spawned.
pub fn start<R, F>(source: &config::Source, bound: Bound, around: &Around<F>) -> Running
where
    R: Road,
    F: Fn(&Listen) -> R + Clone + Send + Sync + 'static,
{
    let known = around.known.clone();
    let limits = Limits::new(source.connections, source.connections_per_address)
        .with_reserved(source.reserved, move |address| is_local(address) || known(address));
    let limits = Arc::new(limits);
    let pool = Arc::default();
    let (mut tasks, mut listeners) = (Vec::new(), Vec::new());
    for (listen, socket) in bound.sockets {
        let counters = Arc::new(Counters::default());
        let shared = Arc::new(Shared {
            max_line: source.max_line.max(1),
            partial_timeout: Duration::from_secs(source.partial_timeout_s.max(1)),
            relays: source.relays,
            clock: around.clock,
            counters: counters.clone(),
            pool: Arc::clone(&pool),
            shutdown: around.shutdown.clone(),
        });
        let tls = bound.identity.clone().filter(|_| listen.is_tls());
        let run = run(listen.clone(), socket, tls, shared, limits.clone(), around.roads.clone());
        tasks.push(Task { name: format!("{}: {listen}", source.name), run });
        listeners.push((listen, counters));
    }
    if listeners.iter().any(|(listen, _)| !matches!(listen, Listen::Udp(_) | Listen::UnixDatagram(_) | Listen::Pipe(_)))
    {
        let run = Box::pin(say_refusals(source.name.clone(), limits.clone(), around.shutdown.clone()));
        tasks.push(Task { name: format!("{}: limits", source.name), run });
    }
    Running { tasks, listeners, limits }
}

/// An open socket or pipe.
#[derive(Debug)]
enum Socket {
    Datagram(Datagrams),
    Tcp(TcpListener),
    Unix(UnixListener, Arc<local::OwnPath>),
    Pipe(std::fs::File),
}

/// An open datagram socket.
#[derive(Debug)]
struct Datagrams {
    fd: OwnedFd,
    /// Its path, if it is a local one.
    own: Option<Arc<local::OwnPath>>,
    /// Datagrams that the kernel dropped there, and that are counted already.
    drops: Arc<AtomicU32>,
}

impl Socket {
    /// The same socket or pipe once more.
    fn again(&self) -> std::io::Result<Self> {
        Ok(match self {
            Self::Datagram(Datagrams { fd, own, drops }) => {
                Self::Datagram(Datagrams { fd: fd.try_clone()?, own: own.clone(), drops: drops.clone() })
            }
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            Self::Unix(socket, own) => Self::Unix(socket.try_clone()?, own.clone()),
            Self::Pipe(file) => Self::Pipe(file.try_clone()?),
        })
    }
}

fn run<R, F>(
    listen: Listen,
    socket: Socket,
    tls: Option<TlsIdentity>,
    shared: Arc<Shared>,
    limits: Arc<Limits>,
    roads: F,
) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>>
where
    R: Road,
    F: Fn(&Listen) -> R + Clone + Send + Sync + 'static,
{
    match socket {
        Socket::Datagram(Datagrams { fd, own, drops }) => Box::pin(async move {
            let socket = datagram::Socket {
                fd,
                drops,
                name: listen.to_string(),
                max_line: shared.max_line,
                udp: own.is_none(),
                clock: shared.clock,
                counters: shared.counters.clone(),
                shutdown: shared.shutdown.clone(),
            };
            datagram::run(socket, roads(&listen)).await
        }),
        Socket::Tcp(socket) => Box::pin(async move {
            let socket = tokio::net::TcpListener::from_std(socket)
                .map_err(|error| format!("{listen} cannot be used: {error}; are there too few file descriptors?"))?;
            let shutdown = shared.shutdown.clone();
            accept_loop(socket, limits, tls, shutdown, move |stream, peer, _| {
                connection(stream, peer, listen.clone(), shared.clone(), roads.clone())
            })
            .await;
            Ok(())
        }),
        Socket::Unix(socket, path) => Box::pin(async move {
            let _path = path;
            unix::accept(socket, &listen, &limits, &shared, roads).await
        }),
        Socket::Pipe(file) => Box::pin(async move {
            let pipe = tokio::net::unix::pipe::Receiver::from_file(file)
                .map_err(|error| format!("{listen} cannot be read: {error}; remove it, and it is made anew"))?;
            stream::serve_pipe(pipe, roads(&listen), &shared, limits.grace).await;
            Ok(())
        }),
    }
}

/// A connection over TCP that was accepted.
async fn connection<R, F>(stream: Stream, peer: SocketAddr, listen: Listen, shared: Arc<Shared>, roads: F)
where
    R: Road,
    F: Fn(&Listen) -> R,
{
    keep_alive(&stream);
    let sender =
        Sender { address: Some(peer.ip().to_canonical()), port: peer.port(), certificate: stream.peer_names() };
    let road = roads(&listen);
    match listen {
        Listen::Relp(_) | Listen::RelpTls(_) => {
            let may_relay = shared.relays.unwrap_or_else(|| has_certificate(&stream));
            relp::serve(stream, road, sender, may_relay, is_gone, &shared).await;
        }
        _ => stream::serve(stream, road, sender, &shared).await,
    }
}

/// Whether the client presented a certificate. Only with `client_ca` is it asked for one, and then it was verified.
fn has_certificate(stream: &Stream) -> bool {
    match stream {
        Stream::Plain(_) => false,
        Stream::Tls(stream) => stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty()),
    }
}

fn tcp(stream: &Stream) -> &tokio::net::TcpStream {
    match stream {
        Stream::Plain(stream) => stream,
        Stream::Tls(stream) => stream.get_ref().0,
    }
}

/// Whether the peer has ended the connection, as far as the kernel has told the runtime.
fn is_gone(stream: &Stream) -> bool {
    let ready = pin!(tcp(stream).ready(tokio::io::Interest::READABLE));
    let known = ready.poll(&mut Context::from_waker(Waker::noop()));
    matches!(known, Poll::Ready(Ok(ready)) if ready.is_read_closed())
}

/// A peer that is gone without a word is noticed after two minutes, one that takes no answers after one.
fn keep_alive(stream: &Stream) {
    let socket = socket2::SockRef::from(tcp(stream));
    let probes = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    // A kernel that refuses changes nothing but that.
    let _ = socket.set_tcp_keepalive(&probes);
    let _ = socket.set_tcp_user_timeout(Some(Duration::from_secs(60)));
}

/// A user of this machine as an address of 0.0.0.0/8, which no peer has (RFC 1122 section 3.2.1.3). The number of a user
/// beyond 2^24 shares its place with others.
fn user(uid: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(uid & 0x00ff_ffff))
}

fn is_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 0)
}

/// Says when connections were refused, at most once in a while.
async fn say_refusals(source: String, limits: Arc<Limits>, shutdown: CancellationToken) -> Result<(), String> {
    let mut said = 0;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(REFUSALS_EVERY) => {}
        }
        let counters = &limits.counters;
        let [total, address, stranger] =
            [&counters.refused_total, &counters.refused_source, &counters.refused_stranger].map(|c| c.load(Relaxed));
        if total + address + stranger > said {
            said = total + address + stranger;
            warn!(
                source,
                total,
                address,
                stranger,
                "connections were refused because of `connections`, `connections_per_address`, `reserved`; counts since the start"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_no_peers() {
        assert!(is_local(user(0)) && is_local(user(1000)) && is_local(user(u32::MAX)));
        assert_ne!(user(1000), user(1001));
        assert!(!is_local("10.0.0.1".parse().unwrap()) && !is_local("::1".parse().unwrap()));
    }
}
