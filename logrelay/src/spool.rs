//! The spool: one append-only log of segments for all destinations, and a cursor for each of them.
//!
//! Batches are claimed their sequences as they come in, and a thread of its own writes them as groups: one write, one
//! sync, then the frontier moves on. Everything up to the frontier is durable, and only that is shown to readers and
//! acknowledged to senders. While a sync runs, the next group gathers. Sequences grow over the whole life of the spool
//! and may skip: a duplicate leaves its number unused.
//!
//! In the folder: `cursors` (see `cursors.rs`) and segments named by their first sequence (see `header.rs`), which hold
//! a header and then records as in [`crate::message`]. Every opening begins a segment, because all records of a segment
//! are of one epoch; nothing is written to a segment when it is closed.
//!
//! After a crash: what was acknowledged is there, in order; a destination may get again what it had within the last
//! second or so. Opening reads the headers, and the records of the last segment; a torn end is cut off there, from the
//! first damaged place on that is not known to have been durable, or from the message on that is not whole. Damage
//! elsewhere is found by readers, skipped and counted. A failed sync, or a write that failed otherwise than for want of
//! room, is not tried again on the same file: the segment is closed at its last durable end and the group is written to a
//! new one. After a write that found no room the segment is cut back to its last durable end, and goes on when there is
//! room. When there is no room, segments
//! that nobody needs go first, then those that destinations may lose by [`Policy::DropOldest`]; if the oldest is held by
//! another destination, [`Room::Full`] is published and batches are refused. Cursors are rewritten in place in a file
//! that has all its octets from the beginning, so they can be written on a full disk, if its file
//! system overwrites in place (see `cursors.rs`).
//!
//! Epoch and sequence name a record for the next relay, so they must never come back. Epochs are at least the seconds
//! since 1970, so a spool may be restored from a backup or a snapshot. A folder that is copied to another machine, so that
//! two run with one relay id, is not provided for: their records would be taken for duplicates of each other.
//!
//! Fault points, in the order in which they are passed; see [`Disk::fault`]:
//! `spool.before-write`, `spool.half-write` (half of the group is written), `spool.before-sync`, `spool.after-sync`,
//! `spool.before-frontier` (the group is durable, nobody knows); `seal.before` (a segment is full or left behind, the
//! next is not there), `seal.after-create` (it is there without its header), `seal.before-dirsync` (its header is
//! durable, its name is not); `cursor.before-write`, `cursor.half-write`, `cursor.before-sync`; `delete.before`,
//! `delete.after-cursor-sync` (the deletion is durable, the files are there), `delete.half` (a file is gone, its name may
//! come back).
//!
//! Limits: [`DESTINATIONS_MAX`] destinations, [`STREAMS_MAX`] streams of relays, `queue_bytes` in memory before the
//! writer, 8 MiB of durable groups for readers that keep up, 256 remembered gaps and damages.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use tokio::sync::watch;

use origins::Origin;
use queue::No;
use shared::{Shared, locked};

mod counters;
mod cursors;
mod disk;
mod found;
mod group;
mod header;
mod inspect;
mod line;
mod octets;
mod open;
mod origins;
mod queue;
mod reader;
mod report;
mod run;
mod scan;
mod shared;
mod state;
mod table;
mod tail;
mod types;
mod walk;
mod writer;

pub use counters::Counts;
pub use disk::{Disk, DiskFile, Fault, RealDisk};
pub use inspect::{CursorInspection, Inspection, SegmentInspection, fuzz, inspect};
pub use origins::STREAMS_MAX;
pub use reader::{Chunk, Reader};
pub use report::{Damage, DestinationReport, Gap, Report};
pub use scan::Scanned;
pub use table::{DESTINATIONS_MAX, NAME_MAX};
pub use types::{Appended, NotYet, Options, Policy, Refused, Room, SpoolError};

/// Closes the spool when the last handle goes.
#[derive(Debug)]
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.queue.close();
    }
}

/// A handle on the open spool; cheap to clone. The spool closes when the last one goes.
#[derive(Clone)]
pub struct Spool {
    shared: Arc<Shared>,
    _alive: Arc<Alive>,
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("path", &self.shared.options.path).finish_non_exhaustive()
    }
}

impl Spool {
    /// Opens the spool, or makes it, and starts its thread. `clock` gives microseconds since 1970. Blocking.
    ///
    /// # Errors
    /// It cannot be used; damage is no error.
    pub fn open(options: Options, disk: Arc<dyn Disk>, clock: fn() -> i64) -> Result<Self, SpoolError> {
        let shared = open::open(options, disk, clock)?;
        let alive = Arc::new(Alive(Arc::clone(&shared)));
        Ok(Self { shared, _alive: alive })
    }

    /// Takes a batch of `count` encoded records, waiting for room in memory only, in the order of the calls. Returns at
    /// once otherwise: the batch is durable when the frontier says so.
    ///
    /// # Errors
    /// It was not taken.
    pub async fn append(&self, bytes: Vec<u8>, count: u32) -> Result<Appended, Refused> {
        let line = &self.shared.queue.line;
        let mut batch = bytes;
        if line.is_empty() {
            batch = match taken(self.try_append(batch, count)) {
                Ok(done) => return done,
                Err(batch) => batch,
            };
        }
        let turn = line.turn().await;
        loop {
            batch = match taken(self.try_append(batch, count)) {
                Ok(done) => return done,
                Err(batch) => batch,
            };
            turn.moved().await;
        }
    }

    /// Takes a batch of `count` encoded records without waiting.
    ///
    /// # Errors
    /// It was not taken, and is given back.
    pub fn try_append(&self, bytes: Vec<u8>, count: u32) -> Result<Appended, NotYet> {
        if bytes.len() as u64 > self.shared.options.max_bytes / 2 {
            self.shared.counters.refused.fetch_add(1, Relaxed);
            return Err(NotYet::TooLong(bytes));
        }
        match self.shared.queue.push(bytes, count) {
            Ok(last) => Ok(Appended { last }),
            Err((No::Full, bytes)) => Err(NotYet::QueueFull(bytes)),
            Err((No::Room, bytes)) => {
                self.shared.counters.refused.fetch_add(1, Relaxed);
                Err(NotYet::NoRoom(bytes))
            }
            Err((No::Closed, bytes)) => Err(NotYet::Closed(bytes)),
        }
    }

    /// Notes that a relayed record came in and is not to be appended: it has no route here, or goes to memory, or is shed.
    /// `origin` is its [`Field::Origin`](crate::message::Field::Origin). Without this the next record of its stream that
    /// is appended would look as if something were missing before it. Nothing is kept on disk, and no record becomes a
    /// duplicate by it; an origin that cannot be read is passed over.
    pub fn seen(&self, origin: &[u8]) {
        if let Some(origin) = Origin::parse(origin) {
            locked(&self.shared.seen).see(&origin);
        }
    }

    /// An empty buffer for the next batch; one that was used before, if there is one.
    pub fn buffer(&self) -> Vec<u8> {
        self.shared.queue.buffer()
    }

    /// The frontier: all sequences up to it are durable. Its sender goes when the spool is closed.
    pub fn frontier(&self) -> watch::Receiver<u64> {
        self.shared.frontier.clone()
    }

    /// Whether there is room.
    pub fn room(&self) -> watch::Receiver<Room> {
        self.shared.room.clone()
    }

    /// Relay id of this spool: node name and random octets from when it was made; the first part of a stream's name.
    pub fn relay(&self) -> &str {
        &self.shared.relay
    }

    /// Number of this opening: higher than all before, and at least the seconds since 1970, so that a spool that comes
    /// from a backup does not use one again.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// The number of a destination. A new one begins at the present end of the spool, is written down before this
    /// returns, and has the policy [`Policy::DropOldest`]. Blocking.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn destination(&self, name: &str) -> Result<u16, SpoolError> {
        if let Some(id) = locked(&self.shared.state).table.find(name) {
            return Ok(id);
        }
        self.shared.change(|state| {
            // Another handle may have made it meanwhile.
            if let Some(id) = state.table.find(name) {
                return Ok(id);
            }
            let durable = state.durable;
            state.table.insert(name, durable)
        })
    }

    /// Forgets a destination: its readers end, and it holds no segment any more. What was pending for it is returned.
    /// Blocking.
    ///
    /// # Errors
    /// There is no such destination.
    pub fn forget(&self, name: &str) -> Result<u64, SpoolError> {
        self.shared.change(|state| {
            let id = state.table.find(name).ok_or_else(|| SpoolError::Unknown(name.to_owned()))?;
            let gone = state.table.destinations.remove(&id);
            let total = state.table.totals.get(id).records;
            Ok(gone.map_or(0, |gone| total.saturating_sub(gone.done.records)))
        })
    }

    /// What happens to a destination's records when there is no room; kept with its cursor.
    pub fn set_policy(&self, id: u16, policy: Policy) {
        let mut state = locked(&self.shared.state);
        if let Some(destination) = state.table.destinations.get_mut(&id)
            && destination.policy != policy
        {
            destination.policy = policy;
            state.dirty = true;
            drop(state);
            self.shared.queue.nudge();
        }
    }

    /// A reader at the cursor of a destination. There should be one for each.
    pub fn reader(&self, id: u16) -> Reader {
        Reader::new(Arc::clone(&self.shared), id)
    }

    /// Closes the spool: what was taken is written, the cursors are, and the thread ends.
    ///
    /// # Errors
    /// Not all of it could be written: there is no room, or the disk fails.
    pub async fn close(&self) -> Result<(), SpoolError> {
        self.shared.queue.close();
        let mut frontier = self.frontier();
        while frontier.changed().await.is_ok() {}
        let claimed = self.shared.queue.state().0;
        match claimed.saturating_sub(*frontier.borrow()) {
            0 => Ok(()),
            missing => Err(SpoolError::Unwritten(missing)),
        }
    }
}

/// The outcome of an attempt; the batch if it is to wait.
fn taken(attempt: Result<Appended, NotYet>) -> Result<Result<Appended, Refused>, Vec<u8>> {
    match attempt {
        Ok(appended) => Ok(Ok(appended)),
        Err(NotYet::QueueFull(batch)) => Err(batch),
        Err(NotYet::NoRoom(batch)) => Ok(Err(Refused::NoRoom(batch))),
        Err(NotYet::Closed(_)) => Ok(Err(Refused::Closed)),
        Err(NotYet::TooLong(_)) => Ok(Err(Refused::TooLong)),
    }
}
