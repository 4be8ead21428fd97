//! HTTP/1.1 over TCP and over the control socket, with limits on connections, time and size.
//!
//! A connection that sends no header in time is closed, a request that takes too long gets 503, and
//! connections above the limit wait in the kernel's queue. On shutdown, requests under way are
//! finished within the grace period and idle connections are closed at once.

use std::{
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
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{counts::Counts, peer::Peer};

/// Connections at once on one listener.
const CONNECTIONS_MAX: usize = 256;
/// Time for the header of a request, idle time before it included.
const HEADER_TIME: Duration = Duration::from_secs(30);
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
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    while let Some(slot) = next_slot(&slots, &counts, &shutdown).await {
        tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener) => match accepted {
                Ok((stream, peer)) => {
                    let router = router.clone().layer(Extension(peer));
                    let (shutdown, counts) = (shutdown.clone(), counts.clone());
                    connections.spawn(async move {
                        counts.connections.fetch_add(1, Relaxed);
                        connection(stream, router, shutdown).await;
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

async fn next_slot(
    slots: &Arc<Semaphore>,
    counts: &Counts,
    shutdown: &CancellationToken,
) -> Option<OwnedSemaphorePermit> {
    if slots.available_permits() == 0 {
        counts.full.fetch_add(1, Relaxed);
    }
    tokio::select! {
        () = shutdown.cancelled() => None,
        slot = slots.clone().acquire_owned() => slot.ok(),
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn accept(listener: &Listener) -> std::io::Result<(Box<dyn Stream>, Peer)> {
    match listener {
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            let uid = stream.peer_cred()?.uid();
            Ok((Box::new(stream), Peer::Socket(uid)))
        }
        Listener::Tcp(listener) => {
            let (stream, from) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream), Peer::Http(from)))
        }
    }
}

async fn connection(stream: Box<dyn Stream>, router: Router, shutdown: CancellationToken) {
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
