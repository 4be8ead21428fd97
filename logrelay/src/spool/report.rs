//! The spool in figures, at one time.

use serde::Serialize;

use super::{Counts, Policy, Room, Spool, shared::locked};

/// Sequences that a relay sent to others or lost: its stream passes over them, and nothing of them was seen here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Relay id and destination of the sender.
    pub stream: String,
    /// First sequence of the sender that is missing.
    pub from: u64,
    /// Last one.
    pub to: u64,
    /// When it was seen, microseconds since 1970.
    pub at_us: i64,
}

/// A range of sequences within which records could not be read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// First sequence that may be lost.
    pub from: u64,
    /// Last one.
    pub to: u64,
    /// When it was seen, microseconds since 1970.
    pub at_us: i64,
}

/// A destination. `appended = pending + delivered + dropped + lost`, always.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DestinationReport {
    /// Name.
    pub name: String,
    /// Number.
    pub id: u16,
    /// Everything up to this sequence is delivered, dropped or lost.
    pub cursor: u64,
    /// Records for it that were made durable since it was made.
    pub appended: u64,
    /// Records behind the cursor, exact but for records of a damaged end.
    pub pending: u64,
    /// Their octets.
    pub pending_bytes: u64,
    /// Records committed.
    pub delivered: u64,
    /// Records that made room for others; some of them may have been on their way.
    pub dropped: u64,
    /// Records that could not be read back.
    pub lost: u64,
    /// What happens when there is no room.
    pub policy: Policy,
    /// Time of receipt of the first pending record, microseconds since 1970; of a destination that did not read since
    /// the opening, the creation of the segment in which it is.
    pub oldest_pending_us: Option<i64>,
}

/// The spool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Relay id.
    pub relay: String,
    /// Number of this opening; see [`Spool::epoch`].
    pub epoch: u64,
    /// First sequence that may still be on disk.
    pub first: u64,
    /// Last sequence that was claimed.
    pub end: u64,
    /// The frontier.
    pub durable: u64,
    /// Octets that wait for the writer.
    pub queued_bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Octets in them.
    pub bytes: u64,
    /// Octets that they may have.
    pub max_bytes: u64,
    /// Destinations by number.
    pub destinations: Vec<DestinationReport>,
    /// What happened since the opening.
    pub counts: Counts,
    /// Gaps that were seen last.
    pub gaps: Vec<Gap>,
    /// Damage that was seen last.
    pub damage: Vec<Damage>,
    /// Whether there is room.
    pub room: Room,
    /// Why nothing is made durable, and since when, microseconds since 1970.
    pub stall: Option<(String, i64)>,
}

impl Spool {
    /// The spool in figures. Short, reads no file.
    pub fn report(&self) -> Report {
        let shared = &self.shared;
        let (end, queued) = shared.queue.state();
        // Only copied while others wait for the locks.
        let state = locked(&shared.state);
        let copies: Vec<_> = (state.table.destinations.iter())
            .map(|(id, destination)| {
                let segment = state.segments.get(state.position(destination.cursor + 1).unwrap_or(0));
                let segment_us = segment.map(|segment| segment.created_us);
                (*id, destination.clone(), state.table.totals.get(*id), segment_us)
            })
            .collect();
        let (first, durable) = (state.segments.front().map(|segment| segment.first), state.durable);
        let (segments, bytes) = (state.segments.len() as u64, state.bytes());
        let (gaps, damage, stall) = (state.gaps.clone(), state.damage.clone(), state.stall.clone());
        drop(state);
        let destinations = copies
            .into_iter()
            .map(|(id, destination, total, segment_us)| {
                let pending = total.records.saturating_sub(destination.done.records);
                let in_tail = || locked(&shared.tail).first_us(destination.cursor + 1, id);
                let oldest = || in_tail().or(destination.oldest_us).or(segment_us);
                let gone = destination.base + destination.dropped + destination.lost;
                DestinationReport {
                    id,
                    cursor: destination.cursor,
                    appended: total.records.saturating_sub(destination.base),
                    pending,
                    pending_bytes: total.bytes.saturating_sub(destination.done.bytes),
                    delivered: destination.done.records.saturating_sub(gone),
                    dropped: destination.dropped,
                    lost: destination.lost,
                    policy: destination.policy,
                    oldest_pending_us: if pending > 0 { oldest() } else { None },
                    name: destination.name,
                }
            })
            .collect();
        Report {
            relay: shared.relay.clone(),
            epoch: shared.epoch,
            first: first.unwrap_or(durable + 1),
            end,
            durable,
            queued_bytes: queued as u64,
            segments,
            bytes,
            max_bytes: shared.options.max_bytes,
            destinations,
            counts: shared.counters.read(),
            gaps: gaps.into(),
            damage: damage.into(),
            room: shared.room.borrow().clone(),
            stall,
        }
    }
}
