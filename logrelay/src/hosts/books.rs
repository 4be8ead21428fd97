//! The books of sources and hosts, and whether they balance.
//!
//! Everything received has one outcome: `received = spooled + memory + unrouted + shed + rejected`.
//! Counters are added to once per batch, so the
//! sums hold whenever no batch is on its way.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use super::tally::{Outcome, STATUSES, Tally};

/// Books that do not balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{came} messages came in but {accounted} are accounted for")]
pub struct Imbalance {
    /// Received, or accepted.
    pub came: u64,
    /// Sum of everything that became of them.
    pub accounted: u64,
}

fn balanced(came: u64, accounted: u64) -> Result<(), Imbalance> {
    if came == accounted { Ok(()) } else { Err(Imbalance { came, accounted }) }
}

/// Adds `n`, unless that changes nothing.
fn add(counter: &AtomicU64, n: u64) {
    if n > 0 {
        counter.fetch_add(n, Relaxed);
    }
}

/// What came in, by source or by host, and what became of it.
#[derive(Debug, Default)]
pub struct SourceCounters {
    /// Messages received.
    received: AtomicU64,
    /// Octets that they had on the wire.
    octets: AtomicU64,
    /// Messages by what became of them, in the order of [`Outcome`].
    outcomes: [AtomicU64; Outcome::COUNT],
    /// Messages by how well they could be read, in the order of [`Status`](crate::message::Status).
    statuses: [AtomicU64; STATUSES],
}

impl SourceCounters {
    /// Adds a batch.
    pub fn add(&self, tally: &Tally) {
        add(&self.received, tally.received);
        add(&self.octets, tally.octets);
        self.outcomes.iter().zip(tally.outcomes).for_each(|(counter, n)| add(counter, n));
        self.statuses.iter().zip(tally.statuses).for_each(|(counter, n)| add(counter, n));
    }

    /// So many messages that were counted as `from` have turned out to be `to`; no more than there are.
    pub(crate) fn turn(&self, from: Outcome, to: Outcome, messages: u64) {
        let taken = self.outcomes[from as usize]
            .fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_sub(messages)))
            .map_or(0, |before| before.min(messages));
        add(&self.outcomes[to as usize], taken);
    }

    /// Messages received.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Messages with this outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].load(Relaxed)
    }

    /// Messages shed, for whatever reason.
    pub fn shed(&self) -> u64 {
        [Outcome::ShedRate, Outcome::ShedFull, Outcome::ShedNoRoom].into_iter().map(|outcome| self.of(outcome)).sum()
    }

    /// Whether every message that was received has an outcome.
    ///
    /// # Errors
    /// Both sums. While a batch is on its way they may differ by what is in it.
    pub fn balance(&self) -> Result<(), Imbalance> {
        balanced(self.received(), Outcome::ALL.into_iter().map(|outcome| self.of(outcome)).sum())
    }

    /// The present values.
    pub fn report(&self) -> SourceReport {
        let [rfc5424, rfc3164, vendor, pri_only, unparsed] = self.statuses.each_ref().map(|n| n.load(Relaxed));
        SourceReport {
            received: self.received(),
            octets: self.octets.load(Relaxed),
            spooled: self.of(Outcome::Spooled),
            memory: self.of(Outcome::Memory),
            unrouted: self.of(Outcome::Unrouted),
            shed: ShedReport {
                rate: self.of(Outcome::ShedRate),
                full: self.of(Outcome::ShedFull),
                no_room: self.of(Outcome::ShedNoRoom),
            },
            rejected: self.of(Outcome::Rejected),
            status: StatusReport { rfc5424, rfc3164, vendor, pri_only, unparsed },
        }
    }
}

/// Values of [`SourceCounters`], messages unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SourceReport {
    /// Received.
    pub received: u64,
    /// Octets received.
    pub octets: u64,
    /// Into the spool.
    pub spooled: u64,
    /// Only to destinations without the spool.
    pub memory: u64,
    /// Taken by no route.
    pub unrouted: u64,
    /// Shed.
    pub shed: ShedReport,
    /// Refused.
    pub rejected: u64,
    /// How well they could be read.
    pub status: StatusReport,
}

/// Messages shed, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ShedReport {
    /// The host sent more than its rate.
    pub rate: u64,
    /// The spool is full, and the route says so.
    pub full: u64,
    /// Datagrams that found no room on the way to the spool.
    pub no_room: u64,
}

/// Messages by how well they could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct StatusReport {
    /// Header of RFC 5424.
    pub rfc5424: u64,
    /// Header of RFC 3164.
    pub rfc3164: u64,
    /// Header of a vendor's own kind.
    pub vendor: u64,
    /// Only the PRI.
    pub pri_only: u64,
    /// Nothing.
    pub unparsed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Status;

    #[test]
    fn what_came_in_has_one_outcome_each() {
        let counters = SourceCounters::default();
        let mut tally = Tally::default();
        for (n, outcome) in Outcome::ALL.into_iter().enumerate() {
            for _ in 0..=n {
                tally.received(100, Status::Unparsed, 5);
            }
            tally.count(outcome, n as u64 + 1);
        }
        counters.add(&tally);
        counters.balance().unwrap();
        let report = counters.report();
        assert_eq!((report.received, report.octets, report.status.unparsed), (28, 2800, 28));
        assert_eq!((report.shed.rate, report.shed.full, report.shed.no_room, counters.shed()), (4, 5, 6, 15));
        tally.clear();
        tally.received(1, Status::Rfc5424, 6);
        counters.add(&tally);
        let error = counters.balance().unwrap_err();
        assert_eq!(error.to_string(), "29 messages came in but 28 are accounted for");
    }
}
