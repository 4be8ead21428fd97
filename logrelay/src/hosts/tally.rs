//! What one batch of one sender adds up to, before it is added to anything shared.

use crate::message::{Field, Flags, Message, Status};

/// What became of a message. Each message that was received has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Outcome {
    /// Into the spool, whether or not a route without the spool took it too.
    Spooled,
    /// Only to destinations without the spool.
    Memory,
    /// No route took it.
    Unrouted,
    /// Shed: the host sent more than its rate.
    ShedRate,
    /// Shed by the policy of its route: the spool is full.
    ShedFull,
    /// Shed: a datagram that found no room on the way to the spool.
    ShedNoRoom,
    /// Refused: no record of ours, or too long for one.
    Rejected,
}

impl Outcome {
    /// Number of outcomes.
    pub const COUNT: usize = 7;
    /// All of them, in order.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Spooled, Self::Memory, Self::Unrouted, Self::ShedRate, Self::ShedFull, Self::ShedNoRoom, Self::Rejected];
}

/// Number of [`Status`] values.
pub(super) const STATUSES: usize = 5;

/// Counters of one batch of one sender.
#[derive(Debug, Clone)]
pub struct Tally {
    pub(super) received: u64,
    pub(super) octets: u64,
    pub(super) outcomes: [u64; Outcome::COUNT],
    pub(super) statuses: [u64; STATUSES],
    /// Times of receipt of the first and the last message; `first_us > last_us` when there is none.
    pub(super) first_us: i64,
    pub(super) last_us: i64,
    /// Largest of stamp - receipt: the message that waited least on its way.
    pub(super) ahead_us: Option<i64>,
    pub(super) mismatches: u64,
    /// The last name that was not that of the inventory.
    pub(super) mismatch: Vec<u8>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            received: 0,
            octets: 0,
            outcomes: [0; Outcome::COUNT],
            statuses: [0; STATUSES],
            first_us: i64::MAX,
            last_us: i64::MIN,
            ahead_us: None,
            mismatches: 0,
            mismatch: Vec::new(),
        }
    }
}

impl Tally {
    /// Counts a message as received, with what it tells of its host.
    pub fn read(&mut self, message: &Message<'_>) {
        self.received(message.original_len, message.status, message.received_us);
        if !message.flags.has(Flags::NO_STAMP) {
            self.stamp(message.stamp_us, message.received_us);
        }
        if message.flags.has(Flags::MISMATCH) {
            self.mismatch(message.field(Field::HeaderHost));
        }
    }

    /// Counts a message as received: octets on the wire, how well it could be read, time of receipt.
    pub fn received(&mut self, octets: u32, status: Status, received_us: i64) {
        self.received += 1;
        self.octets += u64::from(octets);
        self.statuses[status as usize] += 1;
        self.first_us = self.first_us.min(received_us);
        self.last_us = self.last_us.max(received_us);
    }

    /// Notes the time in a message, for the estimate of how wrong the host's clock is.
    pub fn stamp(&mut self, stamp_us: i64, received_us: i64) {
        self.ahead_us = self.ahead_us.max(Some(stamp_us.saturating_sub(received_us)));
    }

    /// Notes that the header names another host than the inventory.
    pub fn mismatch(&mut self, name: &[u8]) {
        self.mismatches += 1;
        let name = name.get(..255).unwrap_or(name);
        if self.mismatch != name {
            self.mismatch.clear();
            self.mismatch.extend_from_slice(name);
        }
    }

    /// Counts what became of `messages` messages.
    pub fn count(&mut self, outcome: Outcome, messages: u64) {
        self.outcomes[outcome as usize] += messages;
    }

    /// Messages with this outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// So many messages that were counted as `from` have turned out to be `to`.
    pub fn turn(&mut self, from: Outcome, to: Outcome, messages: u64) {
        self.outcomes[from as usize] = self.outcomes[from as usize].saturating_sub(messages);
        self.outcomes[to as usize] += messages;
    }

    /// Adds the counters of another; what only concerns one host stays out.
    pub fn merge(&mut self, other: &Self) {
        self.received += other.received;
        self.octets += other.octets;
        self.outcomes.iter_mut().zip(other.outcomes).for_each(|(sum, n)| *sum += n);
        self.statuses.iter_mut().zip(other.statuses).for_each(|(sum, n)| *sum += n);
    }

    /// Whether there is nothing to add.
    pub fn is_empty(&self) -> bool {
        self.received == 0 && self.outcomes == [0; Outcome::COUNT]
    }

    /// Begins a new batch.
    pub fn clear(&mut self) {
        let mut mismatch = std::mem::take(&mut self.mismatch);
        mismatch.clear();
        *self = Self { mismatch, ..Self::default() };
    }
}
