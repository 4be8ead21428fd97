//! Forwarded replies, remembered.
//!
//! An entry is charged its octets, at least `ENTRY_MIN`; the cache holds `cache_entries_max` times
//! `ENTRY_MIN` in all. So both the number of entries and the memory are bounded. What is thrown out
//! is what is asked for least (moka's TinyLFU), so a flood of random names does not wash out the
//! names in use. Expired entries stay until then: they are what serve-stale gives (RFC 8767).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::kept::Kept;

/// Octets that an entry is charged at least.
pub(super) const ENTRY_MIN: usize = 512;
/// What an entry needs beside its records and name.
const OVERHEAD: usize = 256;
/// A positive reply is kept for a day at most.
const TTL_MAX: u32 = 86_400;
/// A negative reply is kept for 15 minutes at most.
const NEGATIVE_TTL_MAX: u32 = 900;
/// A failure is remembered for 5 s (RFC 9520 section 3.2: at least 1 s, at most 5 minutes).
pub(super) const FAILURE_MS: u64 = 5_000;
/// TTL of stale records (RFC 8767 section 5 recommends 30).
pub(super) const STALE_TTL: u32 = 30;
/// After a failed refresh a stale entry is given without another try for this long (RFC 8767 section 5).
pub(super) const RECHECK_MS: u64 = 30_000;

/// What replies differ by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Name in lower case.
    pub(super) name: Box<[u8]>,
    pub(super) rtype: u16,
    pub(super) class: u16,
    /// DO: the reply has DNSSEC records.
    pub(super) dnssec: bool,
    /// CD: the reply was not validated.
    pub(super) cd: bool,
    /// Apex of the delegated zone whose servers are asked; empty for the resolvers behind us.
    pub(super) cut: Box<[u8]>,
}

/// A reply or a failure with its times, in milliseconds of the forwarder's clock.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kept: Kept,
    pub(super) stored_ms: u64,
    pub(super) expires_ms: u64,
    /// The extended error that goes with a failure.
    pub(super) failure: Option<(u16, &'static str)>,
    /// No refresh before this.
    pub(super) retry_ms: AtomicU64,
}

/// What an entry is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// As an answer.
    Fresh,
    /// As an answer if no resolver gives one.
    Stale,
    /// Nothing.
    Gone,
}

impl Entry {
    /// A reply that arrived at `now_ms`. One that may not be kept expires at once.
    pub(super) fn reply(kept: Kept, now_ms: u64) -> Self {
        let ttl = kept.ttl.unwrap_or(0).min(cap(&kept));
        Self::new(kept, now_ms, u64::from(ttl) * 1000, None)
    }

    /// A failure at `now_ms` with a response code and an extended error.
    pub(super) fn failure(rcode: u16, now_ms: u64, error: (u16, &'static str)) -> Self {
        Self::new(Kept::empty(rcode), now_ms, FAILURE_MS, Some(error))
    }

    fn new(kept: Kept, stored_ms: u64, lifetime_ms: u64, failure: Option<(u16, &'static str)>) -> Self {
        Self { kept, stored_ms, expires_ms: stored_ms + lifetime_ms, failure, retry_ms: AtomicU64::new(0) }
    }

    pub(super) fn freshness(&self, now_ms: u64, stale_ms: u64) -> Freshness {
        if now_ms < self.expires_ms {
            Freshness::Fresh
        } else if self.failure.is_none() && now_ms - self.expires_ms < stale_ms {
            Freshness::Stale
        } else {
            Freshness::Gone
        }
    }

    /// The TTL that is left of one that was `ttl` on arrival.
    pub(super) fn remaining(&self, ttl: u32, now_ms: u64) -> u32 {
        let age = now_ms.saturating_sub(self.stored_ms) / 1000;
        ttl.min(cap(&self.kept)).saturating_sub(u32::try_from(age).unwrap_or(u32::MAX))
    }

    pub(super) fn may_retry(&self, now_ms: u64) -> bool {
        now_ms >= self.retry_ms.load(Relaxed)
    }
}

fn cap(kept: &Kept) -> u32 {
    if kept.negative { NEGATIVE_TTL_MAX } else { TTL_MAX }
}

/// The entries.
pub(super) struct Cache(moka::sync::Cache<Key, Arc<Entry>>);

impl Cache {
    pub(super) fn new(entries_max: usize) -> Self {
        let capacity = (entries_max as u64).saturating_mul(ENTRY_MIN as u64);
        Self(moka::sync::Cache::builder().max_capacity(capacity).weigher(weight).build())
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.0.get(key)
    }

    pub(super) fn insert(&self, key: Key, entry: Arc<Entry>) {
        self.0.insert(key, entry);
    }

    /// Entries and octets charged; both lag a little behind.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.0.entry_count(), self.0.weighted_size())
    }

    pub(super) fn clear(&self) {
        self.0.invalidate_all();
    }
}

fn weight(key: &Key, entry: &Arc<Entry>) -> u32 {
    let octets = OVERHEAD + key.name.len() + key.cut.len() + entry.kept.size();
    u32::try_from(octets.max(ENTRY_MIN)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rr::rcode;

    fn key(index: usize) -> Key {
        let name = [b"\x08".as_slice(), format!("{index:08}").as_bytes(), b"\0"].concat();
        Key { name: name.into(), rtype: 1, class: 1, dnssec: false, cd: false, cut: Box::default() }
    }

    fn with_ttl(ttl: Option<u32>, negative: bool) -> Entry {
        let mut kept = Kept::empty(rcode::NOERROR);
        kept.ttl = ttl;
        kept.negative = negative;
        Entry::reply(kept, 1_000)
    }

    #[test]
    fn lifetimes() {
        let entry = with_ttl(Some(60), false);
        let at = |now| entry.freshness(now, 10_000);
        assert_eq!((at(1_000), at(60_999)), (Freshness::Fresh, Freshness::Fresh));
        assert_eq!((at(61_000), at(70_999)), (Freshness::Stale, Freshness::Stale));
        assert_eq!(at(71_000), Freshness::Gone);
        assert_eq!((entry.remaining(60, 1_999), entry.remaining(60, 2_000), entry.remaining(60, 99_000)), (60, 59, 0));
        assert_eq!(with_ttl(Some(u32::MAX), false).expires_ms, 1_000 + 86_400_000);
        assert_eq!(with_ttl(Some(3600), true).expires_ms, 1_000 + 900_000);
        assert_eq!(with_ttl(Some(3600), true).remaining(3600, 2_000), 899);
        assert_eq!(with_ttl(None, true).expires_ms, 1_000, "a negative reply without SOA is not kept");
        let failure = Entry::failure(rcode::SERVFAIL, 1_000, (22, ""));
        assert_eq!(
            (failure.freshness(5_999, 1 << 40), failure.freshness(6_000, 1 << 40)),
            (Freshness::Fresh, Freshness::Gone)
        );
    }

    #[test]
    fn entries_and_octets_are_bounded() {
        let cache = Cache::new(100);
        for index in 0..10_000 {
            cache.insert(key(index), Arc::new(with_ttl(Some(60), false)));
        }
        cache.0.run_pending_tasks();
        let (entries, octets) = cache.size();
        assert!(
            entries > 0 && entries <= 100 && octets <= 100 * ENTRY_MIN as u64,
            "{entries} entries, {octets} octets"
        );
        cache.clear();
        cache.0.run_pending_tasks();
        assert_eq!(cache.size(), (0, 0));
    }
}
