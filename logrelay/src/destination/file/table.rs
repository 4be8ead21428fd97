//! The paths that messages go to, and which of their files are open.
//!
//! Limits: `open_files` files are open; when one more is needed, an eighth of them, least recently used first, is closed.
//! Paths without an open file are forgotten when there are many, or after `close_s`. Closed files that are not on disk yet
//! stay open until they are, see `unsynced`.

use std::{
    collections::HashMap,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    sync::Arc,
};

use super::{
    super::counters::{Counters, count},
    beneath::{self, Fault},
    link,
    options::Options,
    rotate::{self, Compressor},
    slot::{Open, Slot},
    unsynced::Unsynced,
};

/// Paths that are remembered though their file is closed, beyond four for each file that may be open.
const REMEMBERED: usize = 1024;
/// Octets of buffers that are kept from one chunk to the next.
const RETAINED: usize = 16 << 20;
/// How often the name of an open file is looked at, microseconds.
const CHECK_US: i64 = 1_000_000;
/// How long a rotation that failed is not tried again, microseconds.
const ROTATE_AGAIN_US: i64 = 60_000_000;

/// The paths of a destination.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) options: Options,
    pub(super) counters: Arc<Counters>,
    pub(super) slots: Vec<Slot>,
    index: HashMap<Box<[u8]>, usize>,
    free: Vec<usize>,
    open: usize,
    chunk: u64,
    compressor: Compressor,
    unsynced: Unsynced,
}

impl Table {
    pub(super) fn new(options: Options, counters: Arc<Counters>) -> Self {
        Self {
            options,
            counters,
            slots: Vec::new(),
            index: HashMap::new(),
            free: Vec::new(),
            open: 0,
            chunk: 0,
            compressor: Compressor::default(),
            unsynced: Unsynced::default(),
        }
    }

    /// Number of files that are open.
    pub(super) fn open_files(&self) -> usize {
        self.open
    }

    /// The place of a path.
    pub(super) fn find(&self, path: &[u8]) -> Option<usize> {
        self.index.get(path).copied()
    }

    /// A place for a path that has none.
    pub(super) fn add(&mut self, path: &[u8], link: Option<Box<[u8]>>) -> usize {
        let at = self.free.pop().unwrap_or(self.slots.len());
        if at == self.slots.len() {
            self.slots.push(Slot::default());
        }
        let slot = &mut self.slots[at];
        slot.path = path.into();
        slot.link = link;
        self.index.insert(path.into(), at);
        at
    }

    /// Writes the lines of a slot. After an error its `written` tells how far it got.
    pub(super) fn flush(&mut self, at: usize, now_us: i64) -> Result<(), Fault> {
        let result = self.write(at, now_us);
        let slot = &mut self.slots[at];
        (slot.used_us, slot.chunk) = (now_us, self.chunk);
        let result = result.and_then(|()| self.sync(at));
        if result.is_err() {
            // What an error left behind is looked at anew: the folder may be another, the file system repaired.
            self.close(at);
        }
        result
    }

    fn write(&mut self, at: usize, now_us: i64) -> Result<(), Fault> {
        self.ready(at, now_us)?;
        let period = self.options.period(now_us);
        let slot = &self.slots[at];
        if now_us >= slot.rotate_from_us && slot.open.as_ref().is_some_and(|open| open.period < period && open.size > 0)
        {
            self.rotate(at, now_us)?;
        }
        while self.slots[at].written < self.slots[at].buffer.len() {
            let slot = &self.slots[at];
            let limit = self.options.rotate_bytes.filter(|_| now_us >= slot.rotate_from_us).unwrap_or(u64::MAX);
            let Some(end) = slot.fits(limit) else {
                self.rotate(at, now_us)?;
                continue;
            };
            let slot = &mut self.slots[at];
            slot.write(end).map_err(|torn| {
                if torn.cut {
                    count(&self.counters.torn);
                }
                Fault::io("write", &slot.path, &torn.error)
            })?;
            if let Some(open) = slot.open.as_mut().filter(|_| now_us >= slot.rotate_from_us) {
                open.period = period;
            }
        }
        Ok(())
    }

    /// With `fsync`: what was written is on disk, or none of it counts.
    fn sync(&mut self, at: usize) -> Result<(), Fault> {
        let slot = &mut self.slots[at];
        if let Some(open) = slot.open.as_mut().filter(|_| self.options.rights.fsync) {
            // After a failure the kernel knows nothing of it any more: what was written is written again.
            open.unsynced = false;
            if let Err(error) = open.file.sync_data() {
                slot.written = 0;
                return Err(Fault::io("make durable", &slot.path, &error));
            }
        }
        Ok(())
    }

    /// Makes durable what was written since the last time. The first failure: lines may be lost in a power cut then.
    pub(super) fn sync_written(&mut self) -> Result<(), Fault> {
        let mut result = Ok(());
        let written = self.slots.iter().filter_map(|slot| slot.open.as_ref().filter(|open| open.unsynced));
        self.unsynced.sync(written.map(|open| (open.device, &open.file)).collect(), |error| {
            count(&self.counters.sync_failed);
            if result.is_ok() {
                result = Err(Fault::io("make durable what is below", self.options.base.as_os_str().as_bytes(), error));
            }
        });
        for open in self.slots.iter_mut().filter_map(|slot| slot.open.as_mut()) {
            open.unsynced = false;
        }
        result
    }

    /// The slot's file is open, and is what its name leads to.
    fn ready(&mut self, at: usize, now_us: i64) -> Result<(), Fault> {
        let slot = &mut self.slots[at];
        if let Some(open) = &mut slot.open {
            if now_us.saturating_sub(open.checked_us) < CHECK_US && now_us >= open.checked_us {
                return Ok(());
            }
            open.checked_us = now_us;
            if !slot.moved(self.options.fixed) {
                return Ok(());
            }
            count(&self.counters.moved);
            self.close(at);
        }
        self.open(at, now_us)
    }

    fn open(&mut self, at: usize, now_us: i64) -> Result<(), Fault> {
        if self.open >= self.options.open_files {
            self.evict();
        }
        let (options, slot) = (&self.options, &mut self.slots[at]);
        let (folder, name) = beneath::parent(&options.base, &slot.path, Some(&options.rights))?;
        // A path without macros is the operator's as well.
        let fault = |errno| match options.fixed {
            true => Fault::new("open", &slot.path, errno),
            false => Fault::of_path("open", &slot.path, errno),
        };
        let opened = beneath::append(&folder, name, options.fixed, &options.rights).map_err(fault)?;
        let known = opened.file.metadata().map_err(|error| Fault::io("open", &slot.path, &error))?;
        slot.open = Some(Open {
            file: opened.file,
            device: known.dev(),
            inode: known.ino(),
            size: known.len(),
            unsynced: false,
            period: options.period(known.mtime().saturating_mul(1_000_000)),
            checked_us: now_us,
        });
        self.open += 1;
        count(&self.counters.opened);
        if !opened.owned {
            count(&self.counters.attributes_failed);
        }
        if let Some(link) = &slot.link
            && let Err(fault) = link::point(&options.link_base, link, &slot.path, opened.created, &options.rights)
        {
            count(&self.counters.attributes_failed);
            tracing::warn!(destination = options.name, reason = fault.text, "the symbolic link stays as it is");
        }
        Ok(())
    }

    /// Moves the slot's file away and opens a new one. When that does not work the file is written on, and it is tried
    /// again a minute later.
    fn rotate(&mut self, at: usize, now_us: i64) -> Result<(), Fault> {
        if !self.compressor.is_free(&self.slots[at].path) {
            count(&self.counters.rotation_waits);
            self.slots[at].rotate_from_us = now_us.saturating_add(CHECK_US);
            return Ok(());
        }
        self.sync(at)?;
        let slot = &mut self.slots[at];
        let moved = beneath::parent(&self.options.base, &slot.path, None).and_then(|(folder, name)| {
            rotate::shift(&folder, name, self.options.keep)
                .map_err(|errno| Fault::new("rotate", &slot.path, errno))
                .map(|()| (folder, name))
        });
        match moved {
            Ok((folder, name)) => {
                count(&self.counters.rotated);
                if let Some(how) = self.options.compress.filter(|_| self.options.keep > 0) {
                    self.compressor.compress(folder, name, &slot.path, how, &self.counters);
                }
                self.close(at);
                self.open(at, now_us)
            }
            Err(fault) => {
                count(&self.counters.rotation_failed);
                tracing::warn!(destination = self.options.name, reason = fault.text, "the file is written on");
                slot.rotate_from_us = now_us.saturating_add(ROTATE_AGAIN_US);
                Ok(())
            }
        }
    }

    fn close(&mut self, at: usize) {
        let Some(open) = self.slots[at].open.take() else { return };
        self.open -= 1;
        count(&self.counters.closed);
        if open.unsynced && self.unsynced.add(open.device, open.file).is_err() {
            count(&self.counters.sync_failed);
        }
    }

    /// Closes an eighth of the files, at least one: those that were used longest ago.
    fn evict(&mut self) {
        let mut by_age: Vec<_> = (0..self.slots.len()).filter(|at| self.slots[*at].open.is_some()).collect();
        let some = (by_age.len() / 8).max(1).min(by_age.len());
        if some > 0 {
            by_age.select_nth_unstable_by_key(some - 1, |at| (self.slots[*at].chunk, self.slots[*at].used_us));
        }
        for at in &by_age[..some] {
            self.close(*at);
        }
    }

    /// A chunk has ended: forgets its lines, and paths when there are too many. Whether paths were forgotten.
    pub(super) fn end_chunk(&mut self, touched: &mut Vec<usize>) -> bool {
        let mut retained = 0;
        for at in touched.drain(..) {
            let slot = &mut self.slots[at];
            slot.clear();
            retained += slot.buffer.capacity();
            if retained > RETAINED {
                slot.buffer = Vec::new();
            }
        }
        self.chunk += 1;
        let many = REMEMBERED.saturating_add(self.options.open_files.saturating_mul(4));
        self.index.len() > many && self.forget(|_| true)
    }

    /// Forgets paths whose file is closed and of which `old` is true. Whether there were any.
    fn forget(&mut self, old: impl Fn(&Slot) -> bool) -> bool {
        let before = self.index.len();
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            if !slot.path.is_empty() && slot.open.is_none() && slot.owed.is_empty() && old(slot) {
                self.index.remove(&slot.path);
                *slot = Slot::default();
                self.free.push(at);
            }
        }
        self.index.len() < before
    }

    /// Closes files that were not used for `close_s`, and rotates those whose time has come. Whether paths were
    /// forgotten.
    pub(super) fn idle(&mut self, now_us: i64) -> bool {
        let (close_us, period) = (self.options.close_us, self.options.period(now_us));
        for at in 0..self.slots.len() {
            let Some(open) = &self.slots[at].open else { continue };
            let due = open.period < period && open.size > 0 && now_us >= self.slots[at].rotate_from_us;
            if due && self.ready(at, now_us).and_then(|()| self.rotate(at, now_us)).is_err() {
                self.close(at);
            }
            if now_us.saturating_sub(self.slots[at].used_us) >= close_us {
                self.close(at);
            }
        }
        self.forget(|slot| now_us.saturating_sub(slot.used_us) >= close_us)
    }

    /// Closes all files.
    pub(super) fn close_all(&mut self) {
        for at in 0..self.slots.len() {
            self.close(at);
        }
    }

    /// Ends the compression of rotated files.
    pub(super) fn stop(&mut self) {
        self.compressor.stop();
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.close_all();
        if let Err(fault) = self.sync_written() {
            tracing::warn!(destination = self.options.name, reason = fault.text, "lines may be lost in a power cut");
        }
    }
}
