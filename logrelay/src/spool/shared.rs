//! What all handles, readers and the writer hold together.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{
    Options, Room, SpoolError,
    counters::{Counters, add},
    cursors::{self, Cursors, Slot},
    disk::Disk,
    origins::Origins,
    queue::Queue,
    run::Skipped,
    state::State,
    tail::Tail,
};

/// The open spool.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: fn() -> i64,
    pub(super) relay: String,
    pub(super) epoch: u64,
    pub(super) queue: Queue,
    pub(super) state: Mutex<State>,
    pub(super) tail: Mutex<Tail>,
    /// None once the spool is closed. Locked before `state` where both are.
    pub(super) cursors: Mutex<Option<Cursors>>,
    /// What was last seen of streams of relays without being kept here; not durable, only for telling gaps.
    pub(super) seen: Mutex<Origins>,
    pub(super) counters: Counters,
    pub(super) frontier: watch::Receiver<u64>,
    pub(super) room: watch::Receiver<Room>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Locks; what a thread that panicked has left is still in order, because nothing is changed in steps.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// What is to be written to the cursors file; it counts as written until [`State::dirty`] is set again.
    fn slot(&self) -> Slot {
        let mut state = locked(&self.state);
        state.dirty = false;
        Slot {
            generation: 0,
            epoch: self.epoch,
            deleted_below: state.deleted_below,
            next: state.durable + 1,
            relay: self.relay.clone(),
            holes: state.holes.clone(),
            table: state.table.clone(),
        }
    }

    /// Writes the cursors, and makes them durable if asked.
    pub(super) fn write_cursors(&self, durable: bool) -> io::Result<()> {
        let mut cursors = locked(&self.cursors);
        let Some(cursors) = cursors.as_mut() else { return Err(io::Error::other("the spool is closed")) };
        let written = cursors.write(self.slot());
        let written = if durable { written.and_then(|()| cursors.sync(&self.counters.cursor_syncs)) } else { written };
        if written.is_err() {
            add(&self.counters.cursor_errors, 1);
            locked(&self.state).dirty = true;
        }
        written
    }

    /// Changes the table of destinations, durably; a change that cannot be written is undone.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T, SpoolError>) -> Result<T, SpoolError> {
        // Nobody else may write the file between the change and the writing, or undo would not be enough.
        let mut cursors = locked(&self.cursors);
        let cursors = cursors.as_mut().ok_or(SpoolError::Closed)?;
        let (before, changed) = {
            let mut state = locked(&self.state);
            let before = state.table.clone();
            (before, change(&mut state)?)
        };
        let written = cursors.write(self.slot()).and_then(|()| cursors.sync(&self.counters.cursor_syncs));
        if let Err(error) = written {
            add(&self.counters.cursor_errors, 1);
            let mut state = locked(&self.state);
            // Cursors may have moved meanwhile: only who there is, is undone.
            let moved = std::mem::replace(&mut state.table, before);
            for (id, destination) in moved.destinations {
                if let Some(kept) = state.table.destinations.get_mut(&id) {
                    let name = std::mem::take(&mut kept.name);
                    *kept = destination;
                    kept.name = name;
                }
            }
            state.table.totals = moved.totals;
            state.dirty = true;
            return Err(SpoolError::Io { path: self.options.path.join(cursors::NAME), error });
        }
        drop(written);
        self.queue.nudge();
        Ok(changed)
    }

    /// Counts what a reader skipped.
    pub(super) fn count_skipped(&self, skipped: Skipped) {
        add(&self.counters.damaged_ranges, skipped.ranges);
        add(&self.counters.damaged_bytes, skipped.bytes);
    }
}
