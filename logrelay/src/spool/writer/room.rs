//! Room: what is deleted when there is none, what is said of it, and what nobody needs any more. And the cursors, which are
//! written when it is time.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{CURSORS_EVERY, Writer};
use crate::spool::{Room, counters::add, cursors::Cursors, header::path_of, shared::locked, state::Relief};

/// How often the cursors file is synced at most, unless something is deleted.
const SYNC_CURSORS_EVERY: Duration = Duration::from_secs(1);

impl Writer {
    /// Makes room for a group; false if that is not possible now.
    pub(super) fn relieve(&mut self) -> bool {
        let relief = locked(&self.shared.state).relief();
        let held_by = match relief {
            Relief::Close => {
                self.seal();
                return true;
            }
            Relief::Delete(at) => match self.delete(at, 1) {
                Ok(()) => return true,
                Err(error) => {
                    self.stall(format!("the spool has no room, and no segment can be deleted: {error}"));
                    None
                }
            },
            Relief::Held(name) => {
                self.stall(format!("the spool has no room, and destination {name} has not had the oldest segment"));
                Some(name)
            }
            Relief::Nothing => {
                self.stall("the disk has no room, and nothing of the spool can be deleted; make room".to_owned());
                None
            }
        };
        let since = match &*self.room.borrow() {
            Room::Free => None,
            Room::Full { since, held_by: before } => Some((*since, *before == held_by)),
        };
        let was_free = since.is_none();
        if !since.is_some_and(|(_, same)| same) {
            let since = since.map_or_else(self.shared.clock, |(since, _)| since);
            self.room.send_replace(Room::Full { since, held_by });
        }
        // Who is refused must find that there is none, and wait until there is.
        if was_free {
            add(&self.shared.counters.full, 1);
            self.shared.queue.set_no_room(true);
        }
        false
    }

    pub(super) fn stall(&self, reason: String) {
        let now_us = (self.shared.clock)();
        let mut state = locked(&self.shared.state);
        let since_us = state.stall.as_ref().map_or(now_us, |(_, since_us)| *since_us);
        state.stall = Some((reason, since_us));
    }

    /// Deletes the oldest segments, or one between others: first it is made durable that they are gone, then their files
    /// go.
    fn delete(&self, at: usize, count: usize) -> io::Result<()> {
        let shared = &self.shared;
        let deleted = (|| {
            shared.disk.fault("delete.before")?;
            match at {
                0 => locked(&shared.state).leave_behind(count),
                _ => locked(&shared.state).leave_out(at),
            }
            shared.write_cursors(true)?;
            shared.disk.fault("delete.after-cursor-sync")?;
            for _ in 0..count {
                let Some(first) = locked(&shared.state).segments.get(at).map(|segment| segment.first) else { break };
                let path = path_of(&shared.options.path, first);
                // A reader may have it open, and until that is done a removed file keeps its blocks.
                let _ = shared.disk.open(&path, true).and_then(|file| file.set_len(0));
                match shared.disk.remove(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                locked(&shared.state).segments.remove(at);
                add(&shared.counters.segments_deleted, 1);
                shared.disk.fault("delete.half")?;
            }
            shared.disk.sync_dir(&shared.options.path)
        })();
        deleted.inspect_err(|_| add(&shared.counters.delete_errors, 1))
    }

    /// Writes cursors and deletes what nobody needs, when it is time. Errors are counted and tried again later.
    pub(super) fn look_after(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.cursors_written) >= CURSORS_EVERY {
            self.cursors_written = now;
            let sync = now.duration_since(self.cursors_synced) >= SYNC_CURSORS_EVERY;
            let dirty = locked(&self.shared.state).dirty;
            let unsynced = locked(&self.shared.cursors).as_ref().is_some_and(Cursors::is_unsynced);
            if dirty || sync && unsynced {
                if sync {
                    self.cursors_synced = now;
                }
                let _ = self.shared.write_cursors(sync);
            }
        }
        if now.duration_since(self.looked) >= CURSORS_EVERY {
            self.looked = now;
            let keep_us = i64::try_from(self.shared.options.keep.as_micros()).unwrap_or(i64::MAX);
            let expired = locked(&self.shared.state).expired((self.shared.clock)(), keep_us);
            if expired > 0 {
                let _ = self.delete(0, expired);
            }
        }
    }
}
