//! What a destination did, and how it is, for those who ask from other threads.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
};

use crate::destination::SinkState;

/// What a destination did, and how it is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Messages delivered from the spool.
    pub(crate) from_spool: AtomicU64,
    /// Messages delivered from memory.
    pub(crate) from_memory: AtomicU64,
    /// Octets delivered, as the sink counts them.
    pub(crate) octets: AtomicU64,
    /// Messages that no attempt could deliver, such as ones too long for a datagram; given up and counted.
    pub(crate) unsendable: AtomicU64,
    /// Attempts that failed.
    pub(crate) failures: AtomicU64,
    /// When something was last delivered, microseconds since 1970; 0: never.
    pub(crate) last_us: AtomicI64,
    /// Whether it is paused.
    pub(crate) paused: AtomicBool,
    pub(super) trouble: Mutex<Option<(String, i64)>>,
    pub(super) state: Mutex<SinkState>,
    pub(super) events: Mutex<Vec<(&'static str, u64)>>,
}

impl Progress {
    /// Why nothing is delivered, and since when in microseconds since 1970.
    pub(crate) fn trouble(&self) -> Option<(String, i64)> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What happened at the sink, by name, as of its last look around.
    pub(crate) fn events(&self) -> Vec<(&'static str, u64)> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the sink says of itself.
    pub(crate) fn state(&self) -> SinkState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn failed(&self, reason: String, now_us: i64) {
        self.failures.fetch_add(1, Relaxed);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let since = trouble.as_ref().map_or(now_us, |(_, since)| *since);
        *trouble = Some((reason, since));
    }

    /// The trouble that is over, if there was one.
    pub(super) fn healed(&self) -> Option<(String, i64)> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
