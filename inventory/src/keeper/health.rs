//! What the writer tells about itself. Nobody who asks waits for a disk.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::Held;

/// Something that keeps changes from being durable, or the standby copy from being renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What, as a sentence.
    pub text: String,
    /// Since when, in milliseconds since 1970-01-01 UTC.
    pub since_ms: u64,
}

/// Figures of the writer since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// What is wrong; it goes away by itself when writing works again.
    pub trouble: Option<Trouble>,
    /// Transactions.
    pub commits: u64,
    /// Change sets in them.
    pub changes: u64,
    /// Transactions that failed.
    pub failures: u64,
    /// Time spent in transactions that succeeded, syncs included.
    pub commit_time: Duration,
    /// Time of the last one.
    pub last_commit_time: Duration,
    /// Bytes of the database with its write-ahead log.
    pub database_bytes: u64,
    /// Bytes of the standby copy.
    pub standby_bytes: u64,
    /// Commands that wait now.
    pub queue_length: usize,
    /// Commands refused because the queue was full.
    pub busy: u64,
}

/// What writer and handles share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    health: Mutex<Health>,
    held: Mutex<Vec<Held>>,
    queued: AtomicUsize,
    busy: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn queued(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn taken(&self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn refused_busy(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn held(&self) -> Vec<Held> {
        lock(&self.held).clone()
    }

    pub(super) fn set_held(&self, held: Vec<Held>) {
        *lock(&self.held) = held;
    }

    pub(super) fn health(&self) -> Health {
        let queue_length = self.queued.load(Ordering::Relaxed);
        let busy = self.busy.load(Ordering::Relaxed);
        Health { queue_length, busy, ..lock(&self.health).clone() }
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Health)) {
        change(&mut lock(&self.health));
    }

    /// Notes trouble; its age counts from the first time.
    pub(super) fn trouble(&self, text: String, now_ms: u64) {
        self.update(|health| match &mut health.trouble {
            Some(trouble) => trouble.text = text,
            None => health.trouble = Some(Trouble { text, since_ms: now_ms }),
        });
    }

    pub(super) fn no_trouble(&self) {
        self.update(|health| health.trouble = None);
    }

    pub(super) fn is_troubled(&self) -> bool {
        lock(&self.health).trouble.is_some()
    }
}
