//! How many connections there may be, and how many were refused.
//!
//! One `Limits` may be shared by several listeners, which then share the room. A source is an IPv4
//! address or an IPv6 /64, since one machine usually commands a whole /64. The table of sources has
//! an entry per source that is connected, so the total bounds it.
//!
//! Part of the room may be reserved for sources that are known: strangers, however many they are, then never take all.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Sleep, Timeout, sleep, timeout},
};

/// Limits of the accept loop, with their counters.
#[derive(Debug)]
pub struct Limits {
    /// Connections at once.
    pub total: usize,
    /// Connections at once from one source.
    pub per_source: usize,
    /// Time that a TLS handshake may take.
    pub handshake: Duration,
    /// Time that connections have to finish after the signal to shut down.
    pub grace: Duration,
    /// What happened.
    pub counters: Counters,
    reserved: Option<Reserved>,
    timers: Option<Handle>,
    open: Mutex<Open>,
}

struct Reserved {
    connections: usize,
    known: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
}

impl fmt::Debug for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for known sources", self.connections)
    }
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections served.
    pub accepted: AtomicU64,
    /// Closed at once: `total` was reached.
    pub refused_total: AtomicU64,
    /// Closed at once: `per_source` was reached.
    pub refused_source: AtomicU64,
    /// Closed at once: the room that was left is reserved, and the source is not known.
    pub refused_stranger: AtomicU64,
    /// Closed: the TLS handshake took too long.
    pub handshake_timeouts: AtomicU64,
    /// Closed: the TLS handshake failed.
    pub handshake_failures: AtomicU64,
    /// Errors of accept, such as too few file descriptors.
    pub accept_errors: AtomicU64,
    /// Connections whose task panicked.
    pub panics: AtomicU64,
    /// Connections cut off at the end of the grace period.
    pub cut_off: AtomicU64,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    sources: HashMap<IpAddr, usize>,
}

/// Why a connection was closed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Too many connections.
    Total,
    /// Too many from this source.
    Source,
    /// What room is left is reserved for known sources.
    Stranger,
}

/// The right to one connection; given back on drop.
#[derive(Debug)]
pub struct Permit {
    limits: Arc<Limits>,
    source: IpAddr,
}

impl Limits {
    /// Limits with all counters at zero, 10 s for a handshake and 5 s of grace.
    pub fn new(total: usize, per_source: usize) -> Self {
        Self {
            total,
            per_source,
            handshake: Duration::from_secs(10),
            grace: Duration::from_secs(5),
            counters: Counters::default(),
            reserved: None,
            timers: None,
            open: Mutex::default(),
        }
    }

    /// With `connections` of the total reserved for addresses that are `known`. It is asked only when no other room is
    /// left, and must not wait for anything.
    #[must_use]
    pub fn with_reserved(mut self, connections: usize, known: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        self.reserved = Some(Reserved { connections, known: Box::new(known) });
        self
    }

    /// With waits ended by another runtime, for connections on one that has no timer.
    #[must_use]
    pub fn with_timers(mut self, timers: Handle) -> Self {
        self.timers = Some(timers);
        self
    }

    /// As [`tokio::time::sleep`], on the runtime that has timers.
    pub(crate) fn sleep(&self, time: Duration) -> Sleep {
        let _on = self.timers.as_ref().map(Handle::enter);
        sleep(time)
    }

    /// As [`tokio::time::timeout`], on the runtime that has timers.
    pub(crate) fn timeout<F: Future>(&self, time: Duration, future: F) -> Timeout<F> {
        let _on = self.timers.as_ref().map(Handle::enter);
        timeout(time, future)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// Takes room for a connection from `address`, or counts the refusal.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Permit, Refused> {
        let source = source(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.total {
            self.counters.refused_total.fetch_add(1, Relaxed);
            return Err(Refused::Total);
        }
        if open.sources.get(&source).is_some_and(|&count| count >= self.per_source) || self.per_source == 0 {
            self.counters.refused_source.fetch_add(1, Relaxed);
            return Err(Refused::Source);
        }
        if let Some(reserved) = &self.reserved
            && open.total >= self.total.saturating_sub(reserved.connections)
            && !(reserved.known)(address.to_canonical())
        {
            self.counters.refused_stranger.fetch_add(1, Relaxed);
            return Err(Refused::Stranger);
        }
        open.total += 1;
        *open.sources.entry(source).or_default() += 1;
        self.counters.accepted.fetch_add(1, Relaxed);
        Ok(Permit { limits: self.clone(), source })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        if let Some(count) = open.sources.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                open.sources.remove(&self.source);
            }
        }
    }
}

/// The source that an address belongs to: an IPv4 address itself, of IPv6 the /64.
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back() {
        let limits = Arc::new(Limits::new(3, 2));
        let admit = |text: &str| limits.admit(text.parse().unwrap());
        let first = admit("10.0.0.1").unwrap();
        let _second = admit("::ffff:10.0.0.1").unwrap();
        assert_eq!(admit("10.0.0.1").unwrap_err(), Refused::Source);
        let third = admit("2001:db8::1").unwrap();
        assert_eq!(admit("10.0.0.2").unwrap_err(), Refused::Total);
        drop(first);
        let fourth = admit("2001:db8::2").unwrap();
        drop((third, fourth));
        let _fifth = admit("10.0.0.1").unwrap();
        assert_eq!(admit("10.0.0.1").unwrap_err(), Refused::Source);
        assert_eq!((limits.open(), limits.open.lock().unwrap().sources.len()), (2, 1));
        assert_eq!(limits.counters.refused_source.load(Relaxed), 2);
        assert_eq!(limits.counters.refused_total.load(Relaxed), 1);
    }
    #[test]
    fn strangers_do_not_take_the_room_of_known_sources() {
        let host: IpAddr = "10.0.0.1".parse().unwrap();
        let limits = Arc::new(Limits::new(3, 3).with_reserved(2, move |address| address == host));
        let admit = |text: &str| limits.admit(text.parse().unwrap());
        let stranger = admit("192.0.2.1").unwrap();
        assert_eq!(admit("192.0.2.2").unwrap_err(), Refused::Stranger);
        let _host = admit("::ffff:10.0.0.1").unwrap();
        drop(stranger);
        assert_eq!(admit("192.0.2.2").unwrap_err(), Refused::Stranger, "the host may take any room");
        let _more = (admit("10.0.0.1").unwrap(), admit("10.0.0.1").unwrap());
        assert_eq!(admit("10.0.0.1").unwrap_err(), Refused::Total);
        assert_eq!(limits.counters.refused_stranger.load(Relaxed), 2);
        let all = Arc::new(Limits::new(1, 1).with_reserved(5, |_| false));
        assert_eq!(all.admit(host).unwrap_err(), Refused::Stranger, "more reserved than there is");
    }
}
