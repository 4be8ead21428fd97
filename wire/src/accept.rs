//! The accept loop of every stream protocol.
//!
//! One task accepts; each connection is a task of its own that begins with the TLS handshake. A
//! connection beyond the limits is closed at once and counted. No error of accept ends the loop:
//! when file descriptors or buffers run out it waits, longer each time, because accepting again at
//! once would spin. On the signal to shut down the socket is closed, connections have the grace
//! period to finish, and what is left is cut off and counted.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinError, JoinSet},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::{limits::Limits, stream::Stream, tls::TlsIdentity};

const BACKOFF_MIN: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Accepts until `shutdown`, and returns when every connection has ended or was cut off. `serve` is
/// called with the stream, the peer's address and our own.
pub async fn accept_loop<F, Fut>(
    listener: TcpListener,
    limits: Arc<Limits>,
    tls: Option<TlsIdentity>,
    shutdown: CancellationToken,
    serve: F,
) where
    F: Fn(Stream, SocketAddr, SocketAddr) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut backoff = BACKOFF_MIN;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                note_end(&limits, ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                backoff = BACKOFF_MIN;
                start(&mut connections, socket, peer, &limits, tls.as_ref(), &serve);
            }
            Err(error) => {
                limits.counters.accept_errors.fetch_add(1, Relaxed);
                if only_that_connection(&error) {
                    continue;
                }
                warn!(%error, wait_ms = backoff.as_millis() as u64, "cannot accept connections; will try again");
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = limits.sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
    drop(listener);
    drain(connections, &limits).await;
}

fn start<F, Fut>(
    connections: &mut JoinSet<()>,
    socket: TcpStream,
    peer: SocketAddr,
    limits: &Arc<Limits>,
    tls: Option<&TlsIdentity>,
    serve: &F,
) where
    F: Fn(Stream, SocketAddr, SocketAddr) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let permit = match limits.admit(peer.ip()) {
        Ok(permit) => permit,
        Err(reason) => return debug!(%peer, ?reason, "connection refused"),
    };
    // The peer may be gone already; then there is nothing to serve.
    let Ok(local) = socket.local_addr() else { return };
    if let Err(error) = socket.set_nodelay(true) {
        debug!(%peer, %error, "no TCP_NODELAY");
    }
    let (limits, serve) = (limits.clone(), serve.clone());
    let acceptor = tls.map(|identity| TlsAcceptor::from(identity.config()));
    connections.spawn(async move {
        let _permit = permit;
        let stream = match acceptor {
            None => Stream::Plain(socket),
            Some(acceptor) => match handshake(acceptor, socket, peer, &limits).await {
                Some(stream) => stream,
                None => return,
            },
        };
        serve(stream, peer, local).await;
    });
}

/// Turns a plain connection into one under TLS, as StartTLS does (RFC 4511 section 4.14.2). `None`
/// when the handshake failed or took too long, which is counted, or when the connection is under TLS
/// already. The caller makes sure that nothing of the plain stream is left in its own buffer.
pub async fn start_tls(stream: Stream, identity: &TlsIdentity, peer: SocketAddr, limits: &Limits) -> Option<Stream> {
    match stream {
        Stream::Plain(socket) => handshake(TlsAcceptor::from(identity.config()), socket, peer, limits).await,
        Stream::Tls(_) => None,
    }
}

async fn handshake(acceptor: TlsAcceptor, socket: TcpStream, peer: SocketAddr, limits: &Limits) -> Option<Stream> {
    match limits.timeout(limits.handshake, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => return Some(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => {
            limits.counters.handshake_failures.fetch_add(1, Relaxed);
            debug!(%peer, %error, "TLS handshake failed");
        }
        Err(_) => {
            limits.counters.handshake_timeouts.fetch_add(1, Relaxed);
            debug!(%peer, "TLS handshake took too long");
        }
    }
    None
}

async fn drain(mut connections: JoinSet<()>, limits: &Limits) {
    let all = async {
        while let Some(ended) = connections.join_next().await {
            note_end(limits, ended);
        }
    };
    if limits.timeout(limits.grace, all).await.is_err() {
        limits.counters.cut_off.fetch_add(connections.len() as u64, Relaxed);
        connections.shutdown().await;
    }
}

fn note_end(limits: &Limits, ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        limits.counters.panics.fetch_add(1, Relaxed);
        error!(%error, "a connection ended in a panic");
    }
}

/// Errors that concern the connection at the head of the queue, not the listener (accept(2)).
fn only_that_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | ConnectionRefused
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | HostUnreachable
            | TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortage_is_not_about_one_connection() {
        for errno in [23, 24, 105, 12] {
            assert!(!only_that_connection(&io::Error::from_raw_os_error(errno)), "ENFILE, EMFILE, ENOBUFS, ENOMEM");
        }
        assert!(only_that_connection(&io::Error::from_raw_os_error(103)), "ECONNABORTED");
    }
}
