//! The task that tells secondaries of new serials (RFC 1996).
//!
//! It sends NOTIFY over UDP, again after 1, 2, 4 … times the first wait, up to
//! [`RETRIES_MAX`] times, and then leaves the secondary to its refresh timer. Changes that come
//! meanwhile replace what is waiting. Nothing is kept over a restart: all zones are told again then.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{net::UdpSocket, sync::watch, time::Instant};

pub use super::rounds::{OUTSTANDING_MAX, RETRIES_MAX};
use super::{
    rounds::{Reply, Rounds},
    tsig::Keys,
};
use crate::{name::Name, zone::Soa};

/// Wait before the first retry.
pub const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Octets of a reply that are read; NOTIFY replies are far shorter.
const REPLY_MAX: usize = 1232;

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Stats {
    /// Messages sent, retries included.
    pub sent: AtomicU64,
    /// Replies with NOERROR.
    pub acknowledged: AtomicU64,
    /// Replies with another rcode.
    pub refused: AtomicU64,
    /// Messages without a reply after all retries.
    pub given_up: AtomicU64,
    /// Datagrams that answer nothing that is open, or have a wrong signature.
    pub ignored: AtomicU64,
}

/// Whom to tell, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The secondaries.
    pub targets: Vec<SocketAddr>,
    /// The keys of this server.
    pub keys: Keys,
    /// The key that signs; `None`: no signature.
    pub key: Option<Name>,
    /// Wait before the first retry; [`FIRST_WAIT`] unless told otherwise. Each further one is twice as long.
    pub first_wait: Duration,
}

/// Sockets of both families, as far as there are targets for them.
struct Sockets {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

/// Tells the targets of every zone now and of each changed serial later, until the sender of `zones` is gone.
///
/// # Errors
/// When no socket can be opened, or when the key is not among the keys.
pub async fn run(
    mut zones: watch::Receiver<Arc<Vec<(Name, Soa)>>>,
    settings: Settings,
    stats: Arc<Stats>,
) -> io::Result<()> {
    if let Some(key) = &settings.key
        && settings.keys.signer(Some(key)).is_none()
    {
        let text = format!("NOTIFY is to be signed with the key {key}, but no key of that name is configured");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let sockets = Sockets::open(&settings.targets).await?;
    let mut rounds = Rounds::new(&settings.targets, settings.keys, settings.key, settings.first_wait);
    rounds.changed(&zones.borrow_and_update().clone());
    let (mut buffer4, mut buffer6) = ([0; REPLY_MAX], [0; REPLY_MAX]);
    loop {
        let step = rounds.step(Instant::now(), unix_seconds(), random_id);
        stats.given_up.fetch_add(step.given_up, Ordering::Relaxed);
        if step.given_up > 0 {
            tracing::warn!(count = step.given_up, "secondaries did not answer NOTIFY; they will come by themselves");
        }
        for (target, message) in step.send {
            sockets.send(target, &message).await;
            stats.sent.fetch_add(1, Ordering::Relaxed);
        }
        let due = rounds.next_due();
        let (from, octets) = tokio::select! {
            changed = zones.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let now = zones.borrow_and_update().clone();
                rounds.changed(&now);
                continue;
            }
            () = sleep_until(due) => continue,
            (length, from) = receive(sockets.v4.as_ref(), &mut buffer4) => (from, &buffer4[..length]),
            (length, from) = receive(sockets.v6.as_ref(), &mut buffer6) => (from, &buffer6[..length]),
        };
        match rounds.reply(from, octets, unix_seconds()) {
            Reply::Acknowledged => stats.acknowledged.fetch_add(1, Ordering::Relaxed),
            Reply::Refused(rcode) => {
                tracing::warn!(%from, rcode, "a secondary refused NOTIFY");
                stats.refused.fetch_add(1, Ordering::Relaxed)
            }
            Reply::Ignored => stats.ignored.fetch_add(1, Ordering::Relaxed),
        };
    }
}

impl Sockets {
    async fn open(targets: &[SocketAddr]) -> io::Result<Self> {
        let v4 = match targets.iter().any(SocketAddr::is_ipv4) {
            true => Some(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?),
            false => None,
        };
        let v6 = match targets.iter().any(SocketAddr::is_ipv6) {
            true => Some(UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await?),
            false => None,
        };
        Ok(Self { v4, v6 })
    }

    /// Sends; a failure is like a lost datagram, which the retry is for.
    async fn send(&self, target: SocketAddr, message: &[u8]) {
        let socket = if target.is_ipv4() { &self.v4 } else { &self.v6 };
        if let Some(socket) = socket
            && let Err(error) = socket.send_to(message, target).await
        {
            tracing::debug!(%target, %error, "NOTIFY was not sent");
        }
    }
}

async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> (usize, SocketAddr) {
    let Some(socket) = socket else { return std::future::pending().await };
    loop {
        match socket.recv_from(buffer).await {
            Ok(received) => return received,
            Err(error) => {
                tracing::debug!(%error, "a NOTIFY reply was not received");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// From the system's generator; if that fails, from the clock: the address must match too.
fn random_id() -> u16 {
    let mut octets = [0; 2];
    match getrandom::fill(&mut octets) {
        Ok(()) => u16::from_ne_bytes(octets),
        Err(_) => unix_nanos() as u16,
    }
}

#[expect(clippy::disallowed_methods, reason = "the task reads the clock for signatures")]
fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[expect(clippy::disallowed_methods, reason = "only when there are no random numbers")]
fn unix_nanos() -> u32 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos())
}
