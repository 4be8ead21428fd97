//! Taking up files: those that a reading of the folders found, those that a checkpoint knows, and copies of those that
//! were cut off.

use std::{
    collections::HashSet,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Follower, descriptors::open_it};
use crate::follow::{
    FILES_MAX, GRACE, GRACE_ALONE,
    checkpoint::Entry,
    file::{Followed, Rotated, end_of_lines},
    find::{self, Before, Folders},
    glob,
    identity::{HEAD, Head, Stat, compression, read_head},
    reconcile::{Changes, reconcile},
};

/// How long a file that may be a copy is left alone, and how long it is remembered that one was cut off.
const SUSPECT: Duration = Duration::from_secs(30);
/// How long in all, while it grows: a log of its own may begin like another, and grow for ever.
const SUSPECT_MAX: Duration = Duration::from_secs(300);

impl Follower {
    /// Reads the folders and takes up what is new. What is new is read from its start; only when the source itself is
    /// new and says `from_end`, from its end.
    pub fn rescan(&mut self, now: Instant) {
        let walk = glob::walk(&self.settings.patterns, &self.counters);
        let Changes { new, stay, renamed, replaced, vanished } = reconcile(self.table.known(), &walk.files);
        let keys: HashSet<_> = walk.files.values().map(|stat| stat.key).collect();
        self.refused.keep(|key| keys.contains(&key));
        self.unreadable.keep(|key| keys.contains(&key));
        self.suspects.retain(|key, _| keys.contains(key));
        for id in stay {
            if let Some(file) = self.table.get(id) {
                file.rotated = None;
            }
        }
        for (id, path) in renamed {
            if let Some(file) = self.table.get(id) {
                (file.path, file.rotated) = (path.into(), None);
                self.counters.add(|c| &c.rotations, 1);
                self.unsaved = true;
            }
        }
        for id in replaced {
            self.counters.add(|c| &c.reused, 1);
            self.forget(id);
        }
        let mut folders = Folders::default();
        for (id, successor) in vanished {
            self.vanished(id, successor, &mut folders, now);
        }
        let mut over = 0;
        for (path, stat) in new {
            if self.refused.has(&stat) {
                continue;
            }
            if self.table.len() >= FILES_MAX {
                over += 1;
                continue;
            }
            self.adopt(&path, now);
        }
        self.over_limit(over);
        if !self.began {
            for entry in self.remembered.sought() {
                self.seek(entry, &mut folders, now);
            }
        }
        self.began = true;
        self.folders = walk.folders;
    }

    fn over_limit(&mut self, over: u64) {
        self.counters.add(|c| &c.over_limit, over);
        if over > 0 && !self.told_of_limit {
            self.told_of_limit = true;
            let source = &self.settings.name;
            tracing::warn!(
                source,
                over,
                "the patterns match more than {FILES_MAX} files; make several sources of them"
            );
        }
    }

    /// A followed file has no matching name any more: it is read to its end.
    fn vanished(&mut self, id: u64, successor: bool, folders: &mut Folders, now: Instant) {
        let Some(file) = self.table.get(id) else { return };
        let links = file.file.as_ref().and_then(|file| file.metadata().ok()).map_or(1, |meta| Stat::of(&meta).links);
        let grace = if successor || links == 0 { GRACE } else { GRACE_ALONE };
        if let Some(rotated) = &mut file.rotated {
            rotated.grace = rotated.grace.min(grace);
            return;
        }
        file.rotated = Some(Rotated { since: now, grace });
        if file.file.is_some() {
            let counters = &self.counters;
            counters.add(|c| if links == 0 { &c.deletions } else { &c.rotations }, 1);
            self.make_ready(id);
            return;
        }
        // It was closed for others, and must be found before it can be read.
        let (path, inode) = (file.path.clone(), file.key.1);
        match folders.by_inode(&path, inode) {
            Some(moved) => {
                file.path = moved.into();
                self.counters.add(|c| &c.rotations, 1);
                self.make_ready(id);
            }
            None => self.lose(id),
        }
    }

    /// Takes up a file that the folders have and the table has not.
    fn adopt(&mut self, path: &Path, now: Instant) {
        if !self.make_room() {
            self.counters.add(|c| &c.open_waits, 1);
            return;
        }
        let (file, stat, path) = match open_it(path, |_| true) {
            Ok(opened) => opened,
            Err(cause) => {
                self.counters.add(|c| &c.open_errors, 1);
                if let Ok(stat) = std::fs::metadata(path).map(|meta| Stat::of(&meta))
                    && self.unreadable.add(&stat)
                {
                    tracing::warn!(?path, %cause, source = self.settings.name, "a file is to be followed but cannot be opened; tried again every 10 s");
                }
                return;
            }
        };
        self.unreadable.remove(stat.key);
        let mut start = [0; HEAD];
        let Ok(got) = read_head(&file, &mut start) else {
            self.counters.add(|c| &c.read_errors, 1);
            return;
        };
        let start = start.get(..got).unwrap_or_default();
        if self.table.has(stat.key) {
            return;
        }
        if let Some(name) = compression(start) {
            self.counters.add(|c| &c.compressed, 1);
            if self.refused.add(&stat) {
                tracing::warn!(
                    ?path,
                    source = self.settings.name,
                    "compressed with {name}, and so not followed; narrow the pattern"
                );
            }
            return;
        }
        let entry = self.remembered.take(&path, &stat);
        let is_new = entry.as_ref().is_none_or(|entry| !stat.born_like(entry.born));
        let copied = self.copied(&path, &stat, start, now).filter(|_| is_new);
        if is_new && copied.is_none() && self.is_suspect(&path, &stat, start, now) {
            return;
        }
        let offset = match &entry {
            Some(entry) if is_same(entry, &stat, start) => entry.offset,
            _ if copied.is_some() => copied.unwrap_or(0),
            None if self.is_new && !self.began && self.settings.from_end => {
                end_of_lines(&file, stat.size, &mut self.buffer).unwrap_or(stat.size)
            }
            _ => 0,
        };
        self.insert(Followed::new(path.clone(), &stat, Head::of(start), file, offset, now));
        // The file that the checkpoint knew, if this is not it any more.
        let Some(entry) = entry.filter(|entry| !is_same(entry, &stat, start)) else { return };
        if stat.born_like(entry.born) {
            self.counters.add(|c| &c.truncations, 1);
            if !self.adopt_copy(&path, before(&entry), now) {
                self.note_cut_off(path, before(&entry), now);
            }
        } else {
            self.counters.add(|c| &c.reused, 1);
        }
    }

    /// Where the lines of a file begin that were not read before, if it is the copy of a file that was cut off.
    fn copied(&mut self, path: &Path, stat: &Stat, start: &[u8], now: Instant) -> Option<u64> {
        self.cut_off.retain(|(.., at)| now.duration_since(*at) < SUSPECT);
        let is_copy = |before: &Before| stat.size >= before.start;
        let mut cut_off = self.cut_off.iter().filter(|(of, before, _)| find::is_like(path, start, of, &before.head));
        cut_off.find(|(_, before, _)| is_copy(before)).map(|(_, before, _)| before.start)
    }

    /// Whether it may be a copy that is made before the original is cut off (logrotate's `copytruncate`, when the pattern
    /// takes its name too). What it has beyond the original is known when that happens; if it does not, it is a file as
    /// others.
    fn is_suspect(&mut self, path: &Path, stat: &Stat, start: &[u8], now: Instant) -> bool {
        let is_copied = |file: &Followed| file.rotated.is_none() && find::is_like(path, start, &file.path, &file.head);
        let was_copied = |entry: &Entry| !entry.done && find::is_like(path, start, &entry.path, &entry.head);
        let may_be = self.began && self.table.iter().any(is_copied) || self.remembered.iter().any(was_copied);
        if !may_be {
            return false;
        }
        let (size, grown, first) = self.suspects.entry(stat.key).or_insert((stat.size, now, now));
        if *size != stat.size {
            // It is still being made.
            (*size, *grown) = (stat.size, now);
        }
        now.duration_since(*grown) < SUSPECT && now.duration_since(*first) < SUSPECT_MAX
    }

    /// A followed file was cut off, and no copy of it has anything that was not read.
    pub(super) fn note_cut_off(&mut self, path: Arc<Path>, before: Before, now: Instant) {
        self.cut_off.retain(|(known, ..)| *known != path);
        if self.cut_off.len() < FILES_MAX {
            self.cut_off.push((path, before, now));
        }
    }

    fn insert(&mut self, file: Followed) {
        let id = self.table.insert(file);
        self.open += 1;
        self.opened.push_back(id);
        self.unsaved = true;
        self.make_ready(id);
    }

    /// Looks for a file that the checkpoint knows and whose name has another, or none: in its folder, by what it is; or
    /// else for a copy of it.
    fn seek(&mut self, entry: Entry, folders: &mut Folders, now: Instant) {
        let found = folders.by_inode(&entry.path, entry.key.1).and_then(|path| {
            let (file, stat, path) = open_it(&path, |stat| stat.key == entry.key).ok()?;
            let mut start = [0; HEAD];
            let got = read_head(&file, &mut start).ok()?;
            let start = start.get(..got)?;
            is_same(&entry, &stat, start).then(|| (file, stat, path, Head::of(start)))
        });
        if let Some((file, stat, path, head)) = found.filter(|_| self.make_room()) {
            self.counters.add(|c| &c.found_again, 1);
            self.remembered.take(&path, &stat);
            let file = Followed::new(path, &stat, head, file, entry.offset, now);
            self.insert_rotated(file, now);
        } else {
            if !self.adopt_copy(&entry.path, before(&entry), now) {
                self.counters.add(|c| &c.lost_sight, 1);
            }
            self.remembered.done(entry);
        }
    }

    fn insert_rotated(&mut self, mut file: Followed, now: Instant) {
        file.rotated = Some(Rotated { since: now, grace: GRACE });
        self.insert(file);
    }

    /// Takes up the copy of a file that was cut off, if there is one with something that is not safe; whether there was.
    pub(super) fn adopt_copy(&mut self, path: &Arc<Path>, before: Before, now: Instant) -> bool {
        let Some((copy, _)) = find::copy_of(path, before) else { return false };
        let Ok((file, stat, copy)) = open_it(&copy, |_| true) else { return false };
        if self.table.has(stat.key) || !self.make_room() {
            return false;
        }
        self.counters.add(|c| &c.copies, 1);
        let mut file = Followed::new(copy, &stat, before.head, file, before.start, now);
        file.acknowledged = before.safe;
        // Even if there is nothing more to read, what is on its way is acknowledged through the copy.
        file.touched = true;
        self.insert_rotated(file, now);
        self.touched.push(self.table.last());
        true
    }
}

fn is_same(entry: &Entry, stat: &Stat, start: &[u8]) -> bool {
    stat.born_like(entry.born) && stat.size >= entry.offset && entry.head.fits(start)
}

fn before(entry: &Entry) -> Before {
    Before { head: entry.head, start: entry.offset, safe: entry.offset, modified: entry.modified }
}
