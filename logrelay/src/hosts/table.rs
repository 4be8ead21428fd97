//! The table of senders. Asked once per connection, or when the sender of a datagram is another than before.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
};

use super::{
    entry::HostEntry,
    notice::{Episodes, Notice},
    who::Who,
};
use crate::labels::Labels;

/// Parts of a large table, each with a lock of its own.
const SHARDS: usize = 16;
/// Below this many entries there is one part only, so that whoever can make room is found.
const SMALL: usize = 1_024;
/// Entries that are looked at to find one that makes room.
const TRIES: usize = 8;

/// All senders.
#[derive(Debug)]
pub struct Hosts {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    limit: usize,
    len: AtomicUsize,
    others: Arc<HostEntry>,
    episodes: Arc<Episodes>,
    counters: HostsCounters,
    /// Number of the last review; reviews wait for one another.
    pub(super) reviews: Mutex<u64>,
}

/// What happened to the table.
#[derive(Debug, Default)]
pub struct HostsCounters {
    /// Senders that made room for another.
    pub evicted: AtomicU64,
    /// Times that a sender shared the common entry, because nobody could make room.
    pub overflowed: AtomicU64,
    /// Hosts of the inventory that the last review could not watch for want of room.
    pub unwatched: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    /// Place in `entries`, by key.
    index: HashMap<Box<[u8]>, usize>,
    entries: Vec<Arc<HostEntry>>,
    /// State of a xorshift generator: whom to look at need not be unforeseeable, only spread.
    random: u64,
}

impl Shard {
    fn random(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % below.max(1) as u64) as usize
    }

    /// Takes out the one of a few that was not heard for longest. Hosts of the inventory stay, and so does who is held
    /// by a connection or by an episode of shedding: what they count must not be lost.
    fn evict(&mut self) -> bool {
        let mut oldest: Option<(Option<i64>, usize)> = None;
        for _ in 0..TRIES.min(self.entries.len()) {
            let at = self.random(self.entries.len());
            let entry = &self.entries[at];
            if !entry.is_in_inventory() && Arc::strong_count(entry) == 1 {
                let candidate = (entry.last_us(), at);
                oldest = Some(oldest.map_or(candidate, |other| other.min(candidate)));
            }
        }
        let Some((_, at)) = oldest else { return false };
        self.index.remove(self.entries.swap_remove(at).who().key().as_slice());
        if let Some(moved) = self.entries.get(at)
            && let Some(place) = self.index.get_mut(moved.who().key().as_slice())
        {
            *place = at;
        }
        true
    }

    fn insert(&mut self, key: Vec<u8>, entry: Arc<HostEntry>) {
        self.index.insert(key.into(), self.entries.len());
        self.entries.push(entry);
    }
}

impl Hosts {
    /// An empty table of at most `limit` senders.
    pub fn new(limit: usize) -> Self {
        let hasher = RandomState::new();
        let shards = if limit < SMALL { 1 } else { SHARDS };
        let shard = |n| Mutex::new(Shard { random: hasher.hash_one(n) | 1, ..Shard::default() });
        let episodes = Arc::<Episodes>::default();
        Self {
            shards: (0..shards).map(shard).collect(),
            hasher,
            limit,
            len: AtomicUsize::new(0),
            others: Arc::new(HostEntry::new(Who::Others, Arc::downgrade(&episodes))),
            episodes,
            counters: HostsCounters::default(),
            reviews: Mutex::new(0),
        }
    }

    /// The entry of a host of the inventory.
    pub fn host(&self, labels: &Labels, now_us: i64) -> Arc<HostEntry> {
        self.entry(Who::host_key(labels), || Who::host(labels), now_us)
    }

    /// The entry of a sender that the inventory does not know.
    pub fn address(&self, address: IpAddr, now_us: i64) -> Arc<HostEntry> {
        let who = Who::address(address);
        self.entry(who.key(), || who, now_us)
    }

    /// The entry of a host that the inventory does not know, by the name in the header that a trusted relay sent.
    pub fn header(&self, name: &[u8], now_us: i64) -> Arc<HostEntry> {
        let who = Who::header(name);
        self.entry(who.key(), || who, now_us)
    }

    /// The entry of this machine.
    pub fn local(&self, now_us: i64) -> Arc<HostEntry> {
        self.entry(Who::Local.key(), || Who::Local, now_us)
    }

    /// The entry that senders share for whom there is no room.
    pub fn others(&self) -> &Arc<HostEntry> {
        &self.others
    }

    /// The entry of a sender that has one.
    pub fn get(&self, who: &Who) -> Option<Arc<HostEntry>> {
        let key = who.key();
        let shard = self.shard(&key);
        shard.index.get(key.as_slice()).and_then(|at| shard.entries.get(*at)).cloned()
    }

    /// Senders that have an entry.
    pub fn len(&self) -> usize {
        self.len.load(Acquire)
    }

    /// Whether nobody else gets an entry without somebody making room.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.limit
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What happened to the table.
    pub fn counters(&self) -> &HostsCounters {
        &self.counters
    }

    /// Calls `each` with every entry, in no order, the common one last if it was used. Holds no lock meanwhile.
    pub fn each(&self, mut each: impl FnMut(&Arc<HostEntry>)) {
        for shard in &self.shards {
            let entries = shard.lock().unwrap_or_else(PoisonError::into_inner).entries.clone();
            entries.iter().for_each(&mut each);
        }
        if self.others.last_us().is_some() {
            each(&self.others);
        }
    }

    /// The begins and ends of shedding that were not told yet. To be called about once a second.
    pub fn sweep(&self, now_us: i64) -> Vec<Notice> {
        self.episodes.sweep(now_us, false)
    }

    /// As [`sweep`](Self::sweep), and ends every episode: for when the relay stops.
    pub fn end(&self, now_us: i64) -> Vec<Notice> {
        self.episodes.sweep(now_us, true)
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        let at = self.hasher.hash_one(key) as usize % self.shards.len();
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, key: Vec<u8>, who: impl FnOnce() -> Who, now_us: i64) -> Arc<HostEntry> {
        self.find(key, who, now_us).unwrap_or_else(|| {
            self.counters.overflowed.fetch_add(1, Relaxed);
            self.others.clone()
        })
    }

    /// The entry, made if there is room for it.
    pub(super) fn find(&self, key: Vec<u8>, who: impl FnOnce() -> Who, now_us: i64) -> Option<Arc<HostEntry>> {
        let mut shard = self.shard(&key);
        if let Some(entry) = shard.index.get(key.as_slice()).and_then(|at| shard.entries.get(*at)) {
            if entry.who().is_host() && !entry.is_in_inventory() {
                entry.set_in_inventory(true);
            }
            return Some(entry.clone());
        }
        let room = self.len.fetch_update(AcqRel, Acquire, |len| (len < self.limit).then_some(len + 1)).is_ok();
        if !room {
            if !shard.evict() {
                return None;
            }
            self.counters.evicted.fetch_add(1, Relaxed);
        }
        let entry = Arc::new(HostEntry::new(who(), Arc::downgrade(&self.episodes)));
        entry.inner().memory.since_us = now_us;
        shard.insert(key, entry.clone());
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Outcome, Tally};
    use super::*;
    use crate::message::Message;

    fn heard(entry: &HostEntry, now_us: i64) {
        let mut tally = Tally::default();
        tally.read(&Message::unread(b"x", now_us));
        tally.count(Outcome::Spooled, 1);
        entry.add(&tally, None);
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn the_same_sender_has_the_same_entry() {
        let hosts = Hosts::new(10_000);
        let labels = Labels { name: "web01".into(), zone: "z".into(), product: "p".into(), ..Labels::default() };
        let (a, b) = (hosts.host(&labels, 1), hosts.host(&labels, 2));
        assert!(Arc::ptr_eq(&a, &b) && Arc::ptr_eq(&a, &hosts.get(&Who::host(&labels)).unwrap()));
        assert!(!Arc::ptr_eq(&hosts.header(b"web01.z.p", 3), &a));
        let mapped = hosts.address("::ffff:10.0.0.1".parse().unwrap(), 3);
        assert!(Arc::ptr_eq(&mapped, &hosts.address("10.0.0.1".parse().unwrap(), 3)));
        assert_eq!(hosts.local(4).who(), &Who::Local);
        assert_eq!((hosts.len(), hosts.get(&Who::Others).is_none()), (4, true));
    }

    #[test]
    fn strangers_make_room_the_longest_unheard_first() {
        let hosts = Hosts::new(500);
        let labels = Labels { name: "quiet".into(), ..Labels::default() };
        drop(hosts.host(&labels, 0));
        let held = hosts.address(address(1), 1);
        heard(&held, 1);
        for n in 2..20_000u32 {
            heard(&hosts.address(address(n), n.into()), n.into());
            assert!(hosts.len() <= 500);
        }
        assert!(hosts.get(&Who::host(&labels)).is_some() && hosts.get(held.who()).is_some());
        let mut stayed = Vec::new();
        hosts.each(|entry| stayed.push(entry.last_us().unwrap_or(0)));
        assert_eq!(stayed.len(), 500);
        // Of 8 looked at, the oldest goes: what is old has hardly a chance.
        assert!(stayed.iter().filter(|us| **us < 18_000).count() < 25, "{stayed:?}");
        // Found again where it was, after all that moving.
        hosts.each(|entry| assert!(Arc::ptr_eq(&hosts.get(entry.who()).unwrap(), entry)));
        assert_eq!(hosts.counters().evicted.load(Relaxed) + 500, 20_000);
        assert_eq!(hosts.counters().overflowed.load(Relaxed), 0);
    }

    #[test]
    fn without_anybody_to_make_room_senders_share_one_entry() {
        let hosts = Hosts::new(2);
        let held = [hosts.address(address(1), 0), hosts.address(address(2), 0)];
        let other = hosts.address(address(3), 0);
        assert!(Arc::ptr_eq(&other, hosts.others()));
        heard(&other, 5);
        let mut all = Vec::new();
        hosts.each(|entry| all.push(entry.who().clone()));
        assert_eq!(all.last(), Some(&Who::Others));
        assert_eq!((hosts.len(), hosts.counters().overflowed.load(Relaxed)), (2, 1));
        drop(held);
        assert_eq!(hosts.address(address(3), 0).who(), &Who::address(address(3)));
        assert_eq!(hosts.len(), 2);
    }

    #[test]
    fn threads_agree_on_the_entry_and_on_the_limit() {
        let hosts = Hosts::new(2_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_900).for_each(|n| heard(&hosts.address(address(n), 0), 1)));
            }
        });
        assert_eq!(hosts.len(), 1_900);
        hosts.each(|entry| assert_eq!(entry.counters().received(), 4));
    }
}
