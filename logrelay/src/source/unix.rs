//! Connections to a unix stream socket: the accept loop of TCP, for a socket whose peers have users and no addresses.

use std::{
    os::unix::net::UnixListener,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    net::UnixStream,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, error, warn};
use wire::Limits;

use super::{Road, stream, stream::Shared, user};
use crate::{config::Listen, intake::Sender};

const BACKOFF: Duration = Duration::from_millis(100);

/// Accepts until the signal to shut down, and returns when every connection has ended or was cut off.
///
/// # Errors
/// The socket cannot be used.
pub(super) async fn accept<R, F>(
    socket: UnixListener,
    listen: &Listen,
    limits: &Arc<Limits>,
    shared: &Arc<Shared>,
    roads: F,
) -> Result<(), String>
where
    R: Road,
    F: Fn(&Listen) -> R,
{
    let socket = tokio::net::UnixListener::from_std(socket)
        .map_err(|error| format!("{listen} cannot be used: {error}; are there too few file descriptors?"))?;
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                note_end(limits, ended);
                continue;
            }
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => begin(&mut connections, stream, listen, limits, shared, &roads),
            Err(error) => {
                limits.counters.accept_errors.fetch_add(1, Relaxed);
                warn!(%listen, %error, "cannot accept connections; will try again");
                sleep(BACKOFF).await;
            }
        }
    }
    drop(socket);
    let all = async {
        while let Some(ended) = connections.join_next().await {
            note_end(limits, ended);
        }
    };
    if timeout(limits.grace, all).await.is_err() {
        limits.counters.cut_off.fetch_add(connections.len() as u64, Relaxed);
        connections.shutdown().await;
    }
    Ok(())
}

fn begin<R: Road>(
    connections: &mut JoinSet<()>,
    stream: UnixStream,
    listen: &Listen,
    limits: &Arc<Limits>,
    shared: &Arc<Shared>,
    roads: &impl Fn(&Listen) -> R,
) {
    // A peer that is gone already has no user that could be asked for; what it has sent is read all the same.
    let uid = stream.peer_cred().map_or(0, |peer| peer.uid());
    let permit = match limits.admit(user(uid)) {
        Ok(permit) => permit,
        Err(reason) => return debug!(%listen, uid, ?reason, "connection refused"),
    };
    let (road, shared) = (roads(listen), shared.clone());
    connections.spawn(async move {
        let _permit = permit;
        stream::serve(stream, road, Sender::default(), &shared).await;
    });
}

fn note_end(limits: &Limits, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        limits.counters.panics.fetch_add(1, Relaxed);
        error!(%error, "a connection ended in a panic");
    }
}
