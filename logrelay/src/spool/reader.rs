//! What a destination reads: durable records from its cursor on, from memory if it keeps up, else from the disk.
//!
//! A chunk is handed out, delivered, and committed; after a failure the reader goes back to what was committed. Chunks
//! without a record for the destination are passed over. Counting is by the totals of the spool, not by what was seen,
//! so records that could not be read back show as lost.
//!
//! [`Reader::next`] may be dropped at any await and called again: a read of the disk, and a wait after a failed one, go on
//! where they were, because they are kept in the reader. See `reader/disk.rs`.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use tokio::{sync::watch, time::Instant};

use super::{
    Damage,
    group::{Share, share_of},
    shared::{Shared, locked},
    table::Count,
    tail::offset_of,
    walk::sequence,
};
use crate::message::Records;

mod disk;

use disk::{Open, Reading};

/// Chunks handed out and not committed whose octets are kept for counting; of older ones only a whole commit counts.
const KEPT: usize = 64;
/// Encoded records one after the other, of all destinations; at least one is for the reader's.
#[derive(Debug, Clone)]
pub struct Chunk {
    bytes: Bytes,
    first: u64,
    last: u64,
    epoch: u64,
    records: u64,
}

impl Chunk {
    /// The encoded records.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The records, those of other destinations too: see [`Message::is_for`](crate::message::Message::is_for).
    pub fn records(&self) -> Records<'_> {
        Records(&self.bytes)
    }

    /// Sequence of the first record.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// What to commit when all of it is delivered.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Epoch in which the records were written; it never falls from chunk to chunk. With the sequence it names a record
    /// for the next relay.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Number of records for the reader's destination.
    pub fn count(&self) -> u64 {
        self.records
    }
}

/// A chunk that was handed out, or a place that needs no delivery.
struct Handed {
    /// What of it is not committed.
    bytes: Bytes,
    last: u64,
    /// Where the cursor goes when it is committed: behind what was passed over after it.
    cover: u64,
    /// Totals before and behind what is not committed.
    at: Count,
    after: Count,
    first_us: Option<i64>,
    /// Records that were lost before it.
    lost: u64,
}

/// Reads for one destination.
pub struct Reader {
    shared: Arc<Shared>,
    id: u16,
    frontier: watch::Receiver<u64>,
    /// Sequence from which to read on, and totals before it.
    at: u64,
    done: Count,
    lost: u64,
    open: Option<Open>,
    /// The read of the disk that is under way.
    reading: Option<Reading>,
    /// When a read that failed is tried again, and how many failed in a row.
    retry_at: Option<Instant>,
    failures: usize,
    handed: VecDeque<Handed>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, id: u16) -> Self {
        let frontier = shared.frontier.clone();
        let (open, reading, retry_at, handed) = (None, None, None, VecDeque::new());
        let mut reader = Self {
            shared,
            id,
            frontier,
            at: 0,
            done: Count::default(),
            lost: 0,
            open,
            reading,
            retry_at,
            failures: 0,
            handed,
        };
        reader.rewind();
        reader
    }

    /// The destination's number.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// The next chunk, when there is one; `None` when the spool is closed or the destination forgotten. May be cancelled
    /// as often as one likes: the next call goes on where this one was. To be called within a runtime, always the same.
    pub async fn next(&mut self) -> Option<Chunk> {
        loop {
            self.follow()?;
            self.frontier.has_changed().ok()?;
            if self.retry_at.is_some() {
                self.wait_for_disk().await;
                continue;
            }
            if self.reading.is_some() {
                let chunk = self.finish_reading().await;
                if chunk.is_some() {
                    return chunk;
                }
                continue;
            }
            let durable = *self.frontier.borrow_and_update();
            if self.at > durable {
                self.frontier.changed().await.ok()?;
                continue;
            }
            tokio::task::consume_budget().await;
            let group = locked(&self.shared.tail).from(self.at).cloned();
            let chunk = match group {
                Some(group) => {
                    self.shared.counters.tail_reads.fetch_add(1, Relaxed);
                    self.open = None;
                    let share = group.share(self.id);
                    let skipped = if self.at > group.first { offset_of(&group.bytes, self.at) } else { 0 };
                    if let Some(share) = share.filter(|_| skipped == 0) {
                        self.settle(share.before, group.first);
                    }
                    let bytes = group.bytes.slice(skipped..);
                    let share = if skipped == 0 { share } else { share_of(&bytes, self.id) };
                    self.hand(bytes, group.last, share, group.epoch)
                }
                None => {
                    self.begin_reading(durable);
                    None
                }
            };
            if chunk.is_some() {
                return chunk;
            }
        }
    }

    /// Everything for the destination up to `last` is delivered, or given up on purpose.
    pub fn commit(&mut self, last: u64) {
        let (mut cursor, mut done, mut lost) = (0, Count::default(), 0);
        while let Some(front) = self.handed.front().filter(|front| front.last <= last) {
            (cursor, done) = (front.cover, front.after);
            lost += front.lost;
            self.handed.pop_front();
        }
        if let Some(front) = self.handed.front_mut() {
            let part = offset_of(&front.bytes, last.saturating_add(1));
            if part > 0 {
                let delivered = front.bytes.split_to(part);
                front.at.add(share_of(&delivered, self.id).map_or(Count::default(), |share| share.count));
                (cursor, done) = (last, front.at);
                lost += std::mem::take(&mut front.lost);
            }
        }
        if cursor > 0 {
            let oldest_us = self.handed.iter().find_map(|handed| handed.first_us);
            locked(&self.shared.state).commit(self.id, cursor, done, lost, oldest_us);
            self.shared.queue.nudge();
        }
    }

    /// Goes back to what was committed: the delivery failed, and all behind it is to be read again.
    pub fn rewind(&mut self) {
        let state = locked(&self.shared.state);
        let (cursor, done) =
            state.table.destinations.get(&self.id).map_or((0, Count::default()), |d| (d.cursor, d.done));
        drop(state);
        self.handed.clear();
        self.turn_to(cursor + 1, done);
    }

    /// Goes on from another place; what is read for the old one is not wanted any more.
    fn turn_to(&mut self, at: u64, done: Count) {
        (self.at, self.done, self.lost) = (at, done, 0);
        (self.open, self.reading, self.retry_at) = (None, None, None);
    }

    /// Follows the cursor if it was moved without us, because records had to make room; `None` if it is gone.
    fn follow(&mut self) -> Option<()> {
        let state = locked(&self.shared.state);
        let destination = state.table.destinations.get(&self.id)?;
        let (cursor, done) = (destination.cursor, destination.done);
        drop(state);
        self.handed.retain(|handed| handed.cover > cursor);
        if cursor >= self.at {
            self.turn_to(cursor + 1, done);
        }
        Some(())
    }

    /// Takes the totals for the place before `sequence` as they are; what we have seen less is lost.
    fn settle(&mut self, totals: Count, sequence: u64) {
        let lost = totals.records.saturating_sub(self.done.records);
        self.done = totals;
        if lost > 0 {
            self.lost += lost;
            let damage =
                Damage { from: self.at, to: sequence.saturating_sub(1).max(self.at), at_us: (self.shared.clock)() };
            let mut state = locked(&self.shared.state);
            if !state.damage.iter().any(|known| known.to == damage.to) {
                state.remember_damage(damage);
            }
        }
    }

    /// Hands records out, if any of them is for the destination.
    fn hand(&mut self, bytes: Bytes, last: u64, share: Option<Share>, epoch: u64) -> Option<Chunk> {
        self.at = last + 1;
        if share.is_none() {
            self.pass(last);
            return None;
        }
        self.note(bytes.clone(), last, share);
        let records = share.map_or(0, |share| share.count.records);
        Some(Chunk { first: sequence(&bytes), bytes, last, epoch, records })
    }

    fn note(&mut self, bytes: Bytes, last: u64, share: Option<Share>) {
        let at = self.done;
        self.done.add(share.map_or(Count::default(), |share| share.count));
        let first_us = share.map(|share| share.first_us);
        let lost = std::mem::take(&mut self.lost);
        self.handed.push_back(Handed { bytes, last, cover: last, at, after: self.done, first_us, lost });
        if self.handed.len() == 1
            && let Some(first_us) = first_us
        {
            let mut state = locked(&self.shared.state);
            if let Some(destination) = state.table.destinations.get_mut(&self.id) {
                destination.oldest_us.get_or_insert(first_us);
            }
        }
        if let Some(old) = self.handed.len().checked_sub(KEPT + 1).and_then(|at| self.handed.get_mut(at)) {
            old.bytes = Bytes::new();
        }
    }

    /// Nothing up to `last` is for the destination.
    fn pass(&mut self, last: u64) {
        match self.handed.back_mut() {
            Some(back) if self.lost == 0 => back.cover = back.cover.max(last),
            Some(_) => self.note(Bytes::new(), last, None),
            None => {
                let lost = std::mem::take(&mut self.lost);
                locked(&self.shared.state).commit(self.id, last, self.done, lost, None);
                self.shared.queue.nudge();
            }
        }
    }
}
