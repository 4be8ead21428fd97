//! HTTP/1.1 over TCP and over the control socket, with limits on connections, time and size.
//!
//! A connection that sends no header in time or takes no answer is closed, a request that takes too
//! long gets 503, and so does a connection above the limits of [`slots`](super::slots). On shutdown, requests under way are
//! finished within the grace period and idle connections are closed at once.

use std::{
    io::Write,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{counts::Counts, patience::Patience, peer::Peer, slots::Slots};

/// Time for the header of a request, idle time before it included.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// How long a client may take nothing of its answer.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// Answer to a connection for which there is no slot.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 55\r\n\
    connection: close\r\n\r\n{\"error\":\"too many connections; try again in a moment\"}";
/// Buffer of one connection, in octets; a header must fit.
const BUFFER_MAX: usize = 64 * 1024;
/// Pause after a failed accept, so that a lack of file descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long requests under way may take once the node stops.
const GRACE: Duration = Duration::from_secs(5);

/// A listener of either kind.
pub(crate) enum Listener {
    /// The control socket.
    Unix(UnixListener),
    /// `[admin] listen`.
    Tcp(TcpListener),
}

/// Serves until `shutdown`, then finishes what is under way.
///
/// # Errors
/// Never while running: what happens on one connection ends that connection only.
pub(crate) async fn serve(
    listener: Listener,
    router: Router,
    counts: Arc<Counts>,
    shutdown: CancellationToken,
) -> Result<(), String> {
    let slots = Slots::default();
    let connections = TaskTracker::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener) => match accepted {
                Ok((stream, peer)) => {
                    let Some(slot) = slots.admit(peer) else {
                        counts.full.fetch_add(1, Relaxed);
                        stream.refuse();
                        continue;
                    };
                    let router = router.clone().layer(Extension(peer));
                    let (shutdown, counts) = (shutdown.clone(), counts.clone());
                    connections.spawn(async move {
                        counts.connections.fetch_add(1, Relaxed);
                        match stream {
                            Stream::Unix(stream) => connection(stream, router, shutdown).await,
                            Stream::Tcp(stream) => connection(stream, router, shutdown).await,
                        }
                        counts.connections.fetch_sub(1, Relaxed);
                        drop(slot);
                    });
                }
                Err(e) => {
                    counts.accept_failures.fetch_add(1, Relaxed);
                    tracing::warn!("a connection could not be accepted: {e}");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    connections.close();
    if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
        tracing::warn!("{} connections of the API were cut off after {} s", connections.len(), GRACE.as_secs());
    }
    Ok(())
}

/// A connection of either kind.
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    /// Says that there is no slot, if the client's buffer takes it at once, and closes.
    fn refuse(self) {
        // A fresh stream is writable, but the runtime does not know it yet.
        let _ = match self {
            Self::Unix(stream) => stream.into_std().and_then(|mut stream| stream.write(FULL)),
            Self::Tcp(stream) => stream.into_std().and_then(|mut stream| stream.write(FULL)),
        };
    }
}

async fn accept(listener: &Listener) -> std::io::Result<(Stream, Peer)> {
    match listener {
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            let uid = stream.peer_cred()?.uid();
            Ok((Stream::Unix(stream), Peer::Socket(uid)))
        }
        Listener::Tcp(listener) => {
            let (stream, from) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Stream::Tcp(stream), Peer::Http(from)))
        }
    }
}

async fn connection<S>(stream: S, router: Router, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let stream = Patience::new(stream, WRITE_TIME);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(BUFFER_MAX);
    let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(served);
    let result = tokio::select! {
        result = &mut served => result,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(e) = result {
        tracing::debug!("a connection of the API ended: {e}");
    }
}
