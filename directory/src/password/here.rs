//! Judging without the upstream: by the hashes of the entry and by the local verifier, on few threads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use inventory::entry::{Entry, Value};
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::{Checked, Inner, Via, now_s, phc, scheme::Stored};

/// Attempts that wait for a thread to hash on, and for how long.
pub(super) const WAITING_MAX: usize = 64;
const WAITING: Duration = Duration::from_secs(3);
/// `userPassword` values of one entry that are tried.
const VALUES_MAX: usize = 4;

/// What the entry itself and the store say offline.
pub(super) enum Offline {
    Match(Via),
    Mismatch,
    Busy,
}

impl Inner {
    /// The usable hashes of an entry, and whether they are all that it has.
    pub(super) fn hashes_of(&self, entry: &Entry) -> (Vec<Stored>, bool) {
        let values = entry.values("userPassword");
        let usable = |value: &Value| Stored::parse(&value.0, self.weak).ok();
        let hashes: Vec<Stored> = values.iter().filter_map(usable).take(VALUES_MAX).collect();
        let all = !hashes.is_empty() && hashes.len() == values.len();
        (hashes, all)
    }

    /// Judges by what is here.
    pub(super) async fn offline(&self, found: Option<&Arc<Entry>>, password: Arc<Zeroizing<String>>) -> Checked {
        if self.upstream.is_some() {
            self.counters.offline.fetch_add(1, Relaxed);
        }
        let (hashes, all) = found.map(|entry| self.hashes_of(entry)).unwrap_or_default();
        if !hashes.is_empty() {
            self.hashes.store(true, Relaxed);
        }
        let verifier =
            found.filter(|_| !all && self.upstream.is_some()).and_then(|entry| self.verifiers.of(entry, now_s()));
        let something = !hashes.is_empty() || verifier.is_some();
        let Some(entry) = found.filter(|_| something) else {
            if let Offline::Busy = self.hash(move || spend(&password)).await {
                return Checked::Busy("hashing_busy");
            }
            // For the same answer to names that exist and names that do not, it depends on neither.
            let anybody = self.upstream.is_none() || self.verifiers.count() > 0 || self.hashes.load(Relaxed);
            return match found {
                _ if !anybody => Checked::Unavailable,
                Some(_) => Checked::Wrong("nothing_to_check"),
                None => Checked::Wrong("unknown_dn"),
            };
        };
        let judged = self.hash(move || by_what_is_here(&hashes, verifier.as_deref(), &password)).await;
        match (judged, (self.account)(entry, now_s())) {
            (Offline::Busy, _) => Checked::Busy("hashing_busy"),
            (Offline::Mismatch, _) => Checked::Wrong("wrong_password"),
            (Offline::Match(_), Some(barred)) => Checked::Wrong(barred),
            (Offline::Match(via), None) => Checked::Right { entry: entry.id, via },
        }
    }

    /// Runs hashing on one of few threads, after a bounded wait.
    async fn hash(&self, work: impl FnOnce() -> Offline + Send + 'static) -> Offline {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Relaxed);
            }
        }
        let waiting = Waiting(&self.waiting);
        if self.waiting.fetch_add(1, Relaxed) >= WAITING_MAX {
            return Offline::Busy;
        }
        let Ok(Ok(turn)) = timeout(WAITING, self.hashing.clone().acquire_owned()).await else { return Offline::Busy };
        drop(waiting);
        let done = tokio::task::spawn_blocking(move || {
            // Held to the end even if nobody waits for it any more.
            let _turn = turn;
            let began = Instant::now();
            (work(), began.elapsed())
        });
        let Ok((outcome, took)) = done.await else { return Offline::Mismatch };
        // Forgotten slowly: a sixteenth with every hashing, down to what a name that does not exist takes.
        let slowest = self.slowest_us.load(Relaxed);
        let slowest = (slowest - slowest / 16).max(took.as_micros() as u64).max(self.spend_us);
        self.slowest_us.store(slowest, Relaxed);
        outcome
    }
}

/// All are tried, whichever matches.
fn by_what_is_here(hashes: &[Stored], verifier: Option<&str>, password: &str) -> Offline {
    let hash = hashes.iter().fold(false, |found, hash| found | hash.matches(password.as_bytes()));
    let verified = verifier.is_some_and(|text| phc::matches(text, password.as_bytes()));
    match (hash, verified) {
        (true, _) => Offline::Match(Via::Hash),
        (false, true) => Offline::Match(Via::Verifier),
        (false, false) => Offline::Mismatch,
    }
}

/// The time of a verifier, for nothing.
pub(super) fn spend(password: &str) -> Offline {
    phc::spend(password.as_bytes());
    Offline::Mismatch
}
