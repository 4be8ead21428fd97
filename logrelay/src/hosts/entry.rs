//! One sender: its books, its tokens, when it was heard and what was learned of it.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{
            AtomicBool, AtomicI64, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
};

use super::{
    books::SourceCounters,
    gaps::{Gaps, PAUSE_US},
    notice::{Episodes, Shed},
    rate::{Admit, Bucket, Rate},
    silence::Memory,
    skew::Skew,
    tally::Tally,
    who::{Who, header_name},
};
use crate::parse::zone::Zone;

/// A sender. Connections hold it; what they add goes to the same books.
#[derive(Debug)]
pub struct HostEntry {
    who: Who,
    counters: SourceCounters,
    bucket: Bucket,
    shed: Shed,
    episodes: Weak<Episodes>,
    /// Time of receipt of the last message, microseconds since 1970; `NEVER` before the first.
    last_us: AtomicI64,
    /// Whether the last review found it silent or never seen, and nothing was heard since.
    silent: AtomicBool,
    /// Whether the inventory has it, as far as known. What it has does not make room for others.
    in_inventory: AtomicBool,
    /// Messages whose header names another host than the inventory.
    mismatches: AtomicU64,
    /// What its stamps that name no zone tell of the zone of its clock, by source: programs of one host may differ.
    zones: Mutex<Vec<(Box<str>, Zone)>>,
    inner: Mutex<Inner>,
}

/// What changes once per batch or less often.
#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) first_us: Option<i64>,
    pub(super) address: Option<IpAddr>,
    /// The last name in a header that was not that of the inventory.
    pub(super) mismatch: Option<Box<str>>,
    pub(super) skew: Skew,
    pub(super) gaps: Gaps,
    /// From when the next pause counts; none when the present pause teaches nothing.
    pub(super) pause_from_us: Option<i64>,
    /// The longest pause that is a habit: a silence teaches no more than what made it one.
    pub(super) pause_max_us: Option<i64>,
    pub(super) memory: Memory,
    /// Number of the last review that came by.
    pub(super) review: u64,
}

const NEVER: i64 = i64::MIN;
/// Sources for which one sender's zone is remembered.
const ZONES_MAX: usize = 16;

impl HostEntry {
    pub(super) fn new(who: Who, episodes: Weak<Episodes>) -> Self {
        Self {
            in_inventory: AtomicBool::new(who.is_host()),
            who,
            counters: SourceCounters::default(),
            bucket: Bucket::default(),
            shed: Shed::default(),
            episodes,
            last_us: AtomicI64::new(NEVER),
            silent: AtomicBool::new(false),
            mismatches: AtomicU64::new(0),
            zones: Mutex::default(),
            inner: Mutex::default(),
        }
    }

    /// Who it is.
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// The offset of its clock, minutes, as far as it is known with this stamp from this source; see [`Zone::feed`].
    pub(crate) fn learn_zone(&self, source: &str, received_us: i64, stamp_us: i64) -> Option<i16> {
        let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        let known = zones.iter().position(|(name, _)| **name == *source);
        let at = known.unwrap_or_else(|| {
            // Names of sources that are gone go first.
            if zones.len() >= ZONES_MAX {
                zones.remove(0);
            }
            zones.push((source.into(), Zone::default()));
            zones.len() - 1
        });
        zones.get_mut(at)?.1.feed(received_us, stamp_us)
    }

    /// Whether a message of this severity may come in. Per message; without locks.
    pub fn admit(self: &Arc<Self>, rate: Option<&Rate>, now_us: i64, severity: u8) -> Admit {
        let Some(rate) = rate else { return Admit::Pass };
        if severity <= rate.spare() || self.bucket.take(rate, now_us) {
            return Admit::Pass;
        }
        if self.shed.count(severity, now_us)
            && let Some(episodes) = self.episodes.upgrade()
        {
            episodes.begin(self.clone(), *rate, now_us);
        }
        Admit::Shed
    }

    /// Whether it had been silent before this message: silent or never seen at the last review, and not heard since.
    /// True once.
    pub fn note_seen(&self, now_us: i64) -> bool {
        let was_silent = self.silent.load(Relaxed) && self.silent.swap(false, AcqRel);
        if was_silent {
            // A review before the batch is added shall not find it silent again.
            self.last_us.fetch_max(now_us, AcqRel);
        }
        was_silent
    }

    /// Adds a batch. Once per batch, or sender within it. `address` is where the sender itself is: none when a relay sends
    /// for it.
    pub fn add(&self, tally: &Tally, address: Option<IpAddr>) {
        self.counters.add(tally);
        if tally.received == 0 {
            return;
        }
        if tally.mismatches > 0 {
            self.mismatches.fetch_add(tally.mismatches, Relaxed);
        }
        self.silent.store(false, Release);
        let mut inner = self.inner();
        inner.first_us = inner.first_us.or(Some(tally.first_us));
        if let Some(from_us) = inner.pause_from_us {
            let gap_us = tally.first_us.saturating_sub(from_us);
            let most_us = inner.pause_max_us.unwrap_or(i64::MAX).max(PAUSE_US);
            inner.gaps.learn(gap_us.min(most_us));
        }
        // The clock may have been set back: then the next pause begins where it stands now.
        inner.pause_from_us = Some(tally.last_us);
        inner.address = address.or(inner.address);
        if let Some(ahead_us) = tally.ahead_us {
            inner.skew.learn(ahead_us, tally.last_us);
        }
        if tally.mismatches > 0 && inner.mismatch.as_deref().map(str::as_bytes) != Some(&tally.mismatch) {
            inner.mismatch = Some(header_name(&tally.mismatch).into());
        }
        self.last_us.fetch_max(tally.last_us, AcqRel);
    }

    /// Its books.
    pub fn counters(&self) -> &SourceCounters {
        &self.counters
    }

    /// Time of receipt of the first message, microseconds since 1970.
    pub fn first_us(&self) -> Option<i64> {
        self.inner().first_us
    }

    /// Time of receipt of the last message, microseconds since 1970.
    pub fn last_us(&self) -> Option<i64> {
        Some(self.last_us.load(Acquire)).filter(|us| *us != NEVER)
    }

    /// Address of the last message.
    pub fn last_address(&self) -> Option<IpAddr> {
        self.inner().address
    }

    /// How many messages named another host than the inventory in their header, and the last such name.
    pub fn mismatches(&self) -> (u64, Option<Box<str>>) {
        (self.mismatches.load(Relaxed), self.inner().mismatch.clone())
    }

    /// Milliseconds that its clock is ahead of ours; negative when it is behind.
    pub fn skew_ms(&self) -> Option<i64> {
        self.inner().skew.ahead_ms()
    }

    /// Average pause between messages, and the pause that 99 of 100 are shorter than once 20 are known; microseconds.
    pub fn pauses_us(&self) -> (Option<i64>, Option<i64>) {
        let inner = self.inner();
        (Some(inner.gaps.mean_us).filter(|us| *us > 0), inner.gaps.high_us())
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn shed_by_rate(&self) -> &Shed {
        &self.shed
    }

    pub(super) fn is_in_inventory(&self) -> bool {
        self.in_inventory.load(Relaxed)
    }

    pub(super) fn set_in_inventory(&self, is_in: bool) {
        self.in_inventory.store(is_in, Relaxed);
    }

    pub(super) fn set_silent(&self, is_silent: bool) {
        self.silent.store(is_silent, Release);
    }

    pub(super) fn set_last_us(&self, last_us: Option<i64>) {
        self.last_us.store(last_us.unwrap_or(NEVER), Release);
    }

    /// A time in the future is from before our clock was set back; without this the host would not be missed for long.
    pub(super) fn heal(&self, now_us: i64) -> Option<i64> {
        let last_us = self.last_us()?;
        if last_us <= now_us.saturating_add(PAUSE_US) {
            return Some(last_us);
        }
        let _ = self.last_us.compare_exchange(last_us, now_us, AcqRel, Relaxed);
        Some(now_us)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Hosts, Outcome};
    use super::*;
    use crate::message::{Field, Flags, Message};

    const START: i64 = 1_790_000_000_000_000;

    #[test]
    fn a_batch_tells_of_its_host() {
        let hosts = Hosts::new(10);
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let entry = hosts.address(address, START);
        let mut tally = Tally::default();
        let mut message = Message::unread(b"0123456789", START);
        message.flags = Flags::MISMATCH;
        message.stamp_us = START + 2_000_000;
        message.set(Field::HeaderHost, b"Other");
        tally.read(&message);
        message.received_us += 5;
        message.flags = Flags::NO_STAMP;
        message.stamp_us = START + 9_000_000;
        tally.read(&message);
        tally.count(Outcome::Spooled, 2);
        entry.add(&tally, Some(address));
        entry.counters().balance().unwrap();
        let report = entry.counters().report();
        assert_eq!((report.received, report.octets, report.status.unparsed), (2, 20, 2));
        assert_eq!((entry.first_us(), entry.last_us()), (Some(START), Some(START + 5)));
        assert_eq!(entry.last_address(), Some(address));
        assert_eq!(entry.mismatches(), (1, Some("other".into())));
        assert_eq!(entry.skew_ms(), Some(2000));
        assert_eq!(entry.pauses_us(), (None, None));
        // An outcome that becomes known later is no sign of life.
        tally.clear();
        tally.count(Outcome::ShedNoRoom, 1);
        entry.add(&tally, None);
        assert_eq!((entry.last_us(), entry.last_address()), (Some(START + 5), Some(address)));
        assert!(entry.counters().balance().is_err());
    }

    #[test]
    fn batches_of_several_connections_add_up() {
        let hosts = Hosts::new(10);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let hosts = &hosts;
                scope.spawn(move || {
                    let entry = hosts.header(b"fw1", START);
                    let mut tally = Tally::default();
                    for batch in 0..1000 {
                        (0..3).for_each(|n| tally.read(&Message::unread(b"x", START + batch * 1000 + thread * 3 + n)));
                        tally.count(Outcome::Memory, 3);
                        entry.add(&tally, None);
                        tally.clear();
                    }
                });
            }
        });
        let entry = hosts.get(&Who::header(b"FW1")).unwrap();
        entry.counters().balance().unwrap();
        assert_eq!((entry.counters().received(), entry.last_us()), (12_000, Some(START + 999_000 + 11)));
    }

    #[test]
    fn a_silence_teaches_no_more_than_what_made_it_one() {
        let entry = HostEntry::new(Who::Local, Weak::new());
        entry.inner().pause_max_us = Some(4 * PAUSE_US);
        let (mut now, mut tally) = (START, Tally::default());
        for _ in 0..=30 {
            now += 1000 * PAUSE_US;
            tally.read(&Message::unread(b"x", now));
            entry.add(&tally, None);
            tally.clear();
        }
        assert_eq!(entry.pauses_us(), (Some(4 * PAUSE_US), Some(4 * PAUSE_US)));
    }
}
