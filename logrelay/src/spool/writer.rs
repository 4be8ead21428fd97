//! The thread that writes: groups and segments, and what it does when the disk fails. Room, cursors and deletions are in
//! `writer/room.rs`.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    Gap, Room,
    counters::add,
    disk::{DiskFile, is_full},
    group::Group,
    header::{Header, path_of},
    origins::Origins,
    queue::{Entry, Gather},
    shared::{Shared, locked},
    state::Segment,
};

mod room;

/// How often cursors are written at most, and how often the thread looks after things.
const CURSORS_EVERY: Duration = Duration::from_millis(200);
/// Wait after the second failure in a row, doubled with each further one, and its limit.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A look at whether there is room again, if no destination moved before.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(100);

/// The segment being written.
struct Active {
    file: Arc<dyn DiskFile>,
    first: u64,
    header_len: u64,
    /// Octets that are durable.
    len: u64,
}

/// The thread's own.
pub(super) struct Writer {
    shared: Arc<Shared>,
    frontier: watch::Sender<u64>,
    room: watch::Sender<Room>,
    origins: Origins,
    active: Option<Active>,
    /// Failures in a row.
    failures: u32,
    cursors_written: Instant,
    cursors_synced: Instant,
    looked: Instant,
}

/// Whatever ends the thread, nobody waits for it any longer.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.queue.close();
        *locked(&self.0.cursors) = None;
    }
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        frontier: watch::Sender<u64>,
        room: watch::Sender<Room>,
        origins: Origins,
    ) -> Self {
        let now = Instant::now();
        let mut origins = origins;
        // Each segment carries them in its header.
        origins.limit(usize::try_from(shared.options.segment_bytes / 8).unwrap_or(usize::MAX));
        let (cursors_written, cursors_synced, looked) = (now, now, now);
        Self { shared, frontier, room, origins, active: None, failures: 0, cursors_written, cursors_synced, looked }
    }

    /// Runs until the spool is closed.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _ending = Ending(&shared);
        let options = &shared.options;
        let most = (options.sync_bytes.saturating_mul(4))
            .min(usize::try_from(options.segment_bytes / 2).unwrap_or(usize::MAX));
        let gather = Gather { wait: options.sync_every, enough: options.sync_bytes.min(most), most };
        let mut entries: Vec<Entry> = Vec::new();
        while shared.queue.gather(&mut entries, gather, CURSORS_EVERY) {
            if !entries.is_empty() {
                let group = Group::build(&entries, &self.origins);
                shared.queue.recycle(&mut entries);
                if !self.store(group) {
                    break;
                }
            }
            self.look_after();
        }
        // Errors are counted; there is nobody left to tell, and the cursors of a second ago are as safe.
        let _ = shared.write_cursors(true);
    }

    /// Makes a group durable, however long it takes; false if the spool is closed before.
    fn store(&mut self, group: Group) -> bool {
        loop {
            let closed = self.shared.queue.is_closed();
            match self.attempt(&group) {
                Ok(offset) => {
                    self.finish(group, offset);
                    return true;
                }
                Err(error) if is_full(&error) => {
                    self.cut_back();
                    if self.relieve() {
                        continue;
                    }
                    if closed {
                        return false;
                    }
                    self.shared.queue.pause(LOOK_FOR_ROOM);
                }
                Err(error) => {
                    self.leave();
                    self.failures += 1;
                    add(&self.shared.counters.reappended, 1);
                    if self.failures > 1 {
                        if closed {
                            return false;
                        }
                        self.stall(format!(
                            "the spool cannot be written: {error}; nothing is acknowledged until it can"
                        ));
                        let wait = BACKOFF.saturating_mul(1 << (self.failures - 2).min(16)).min(BACKOFF_MAX);
                        self.shared.queue.pause(wait);
                    }
                }
            }
            self.look_after();
        }
    }

    /// Writes and syncs a group; the offset at which it lies.
    fn attempt(&mut self, group: &Group) -> io::Result<u64> {
        let length = group.bytes.len() as u64;
        if length == 0 {
            return Ok(0);
        }
        let options = &self.shared.options;
        let is_past = |active: &Active| active.len > active.header_len && active.len + length > options.segment_bytes;
        if self.active.as_ref().is_some_and(is_past) {
            self.seal();
        }
        let header = if self.active.is_none() { Some(self.header(group.first)) } else { None };
        let need = length + header.as_ref().map_or(0, |header| header.len() as u64);
        if locked(&self.shared.state).bytes() + need > self.shared.options.max_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Some(header) = header {
            self.begin(group.first, &header)?;
        }
        let Some(active) = &self.active else { return Err(io::Error::other("no segment")) };
        let counters = &self.shared.counters;
        let offset = active.len;
        self.write(active, &group.bytes).inspect_err(|_| add(&counters.write_errors, 1))?;
        let disk = &self.shared.disk;
        add(&counters.syncs, 1);
        // For want of room too: a file whose sync has failed is not written to again.
        let sync =
            || active.file.sync().map_err(|error| io::Error::other(format!("it cannot be made durable: {error}")));
        let synced = disk.fault("spool.before-sync").and_then(|()| sync());
        synced.and_then(|()| disk.fault("spool.after-sync")).inspect_err(|_| add(&counters.sync_errors, 1))?;
        if let Some(active) = &mut self.active {
            active.len = offset + length;
        }
        Ok(offset)
    }

    fn write(&self, active: &Active, bytes: &[u8]) -> io::Result<()> {
        let disk = &self.shared.disk;
        disk.fault("spool.before-write")?;
        if !disk.halves() {
            return active.file.write_at(bytes, active.len);
        }
        let (one, two) = bytes.split_at(bytes.len() / 2);
        active.file.write_at(one, active.len)?;
        disk.fault("spool.half-write")?;
        active.file.write_at(two, active.len + one.len() as u64)
    }

    /// A group is durable: everybody may know.
    fn finish(&mut self, mut group: Group, offset: u64) {
        let counters = &self.shared.counters;
        let mut state = locked(&self.shared.state);
        state.durable(&mut group, offset);
        state.stall = None;
        let at_us = (self.shared.clock)();
        let seen = locked(&self.shared.seen);
        for (stream, from, to) in &group.gaps {
            let Some((from, to)) = seen.unseen(stream, *from, *to) else { continue };
            add(&counters.gaps, 1);
            add(&counters.gap_sequences, to - from + 1);
            let stream = String::from_utf8_lossy(stream).into_owned();
            state.remember_gap(Gap { stream, from, to, at_us });
        }
        drop(seen);
        drop(state);
        locked(&self.shared.tail).push(&group, self.shared.epoch);
        add(&counters.forgotten_streams, self.origins.merge(std::mem::take(&mut group.origins)));
        add(&counters.groups, 1);
        add(&counters.appended, group.records);
        add(&counters.appended_bytes, group.bytes.len() as u64);
        add(&counters.duplicates, group.duplicates);
        add(&counters.bad_origins, group.bad_origins);
        add(&counters.malformed, group.malformed);
        self.failures = 0;
        // It is durable whatever happens at this point.
        let _ = self.shared.disk.fault("spool.before-frontier");
        if *self.room.borrow() != Room::Free {
            // Who is told that there is room must find it.
            self.shared.queue.set_no_room(false);
            self.room.send_replace(Room::Free);
        }
        self.frontier.send_replace(group.last);
    }

    /// The header of a segment that begins now: everything in it is durable already.
    fn header(&self, first: u64) -> Vec<u8> {
        let state = locked(&self.shared.state);
        let header = Header {
            epoch: self.shared.epoch,
            first,
            created_us: (self.shared.clock)(),
            previous: state.segments.back().map_or(0, |segment| segment.first),
            relay: self.shared.relay.clone(),
            table: state.table.clone(),
            origins: self.origins.clone(),
        };
        drop(state);
        header.encode()
    }

    fn begin(&mut self, first: u64, header: &[u8]) -> io::Result<()> {
        let (disk, dir) = (&self.shared.disk, &self.shared.options.path);
        let path = path_of(dir, first);
        disk.fault("seal.before")?;
        let file = match disk.create(&path) {
            // Left behind by a failure before its first record.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                disk.remove(&path)?;
                disk.create(&path)?
            }
            created => created?,
        };
        let made = disk
            .fault("seal.after-create")
            .and_then(|()| file.write_at(header, 0))
            .and_then(|()| file.sync())
            .and_then(|()| disk.fault("seal.before-dirsync"))
            .and_then(|()| disk.sync_dir(dir));
        if let Err(error) = made {
            add(&self.shared.counters.write_errors, 1);
            let _ = disk.remove(&path);
            return Err(error);
        }
        add(&self.shared.counters.segments_created, 1);
        let len = header.len() as u64;
        let mut state = locked(&self.shared.state);
        let totals = state.table.totals.clone();
        let (created_us, epoch, index) = ((self.shared.clock)(), self.shared.epoch, Vec::new());
        let segment = Segment { first, len, header_len: len, created_us, epoch, totals, inexact: false, index };
        state.segments.push_back(segment);
        state.active = true;
        self.active = Some(Active { file, first, header_len: len, len });
        Ok(())
    }

    /// Closes the segment being written; nothing is written for it.
    fn seal(&mut self) {
        self.active = None;
        locked(&self.shared.state).active = false;
    }

    /// Takes away what is behind the last durable end: the next group is written there.
    fn cut_back(&mut self) {
        if let Some(active) = &self.active
            && (active.len == active.header_len || active.file.set_len(active.len).is_err())
        {
            self.leave();
        }
    }

    /// Leaves the segment at its last durable end, for good.
    fn leave(&mut self) {
        let Some(active) = self.active.take() else { return };
        // If it fails, what is behind has sequences of the next segment, and readers know that it is not for them.
        let _ = active.file.set_len(active.len);
        let mut state = locked(&self.shared.state);
        state.active = false;
        if active.len == active.header_len {
            state.segments.pop_back();
            drop(state);
            let _ = self.shared.disk.remove(&path_of(&self.shared.options.path, active.first));
        }
    }
}
