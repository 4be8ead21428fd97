//! Which files are open: at most [`OPEN_MAX`]; others are opened again when they grow.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use super::Follower;
use crate::follow::{
    OPEN_MAX,
    find::{self, Folders},
    identity::Stat,
};

impl Follower {
    /// Opens a file that was closed for others; whether it is open then.
    pub(super) fn make_open(&mut self, id: u64) -> bool {
        let Some(file) = self.table.get(id) else { return false };
        if file.file.is_some() {
            return true;
        }
        let (path, key, born) = (file.path.clone(), file.key, file.born);
        if !self.make_room() {
            self.counters.add(|c| &c.open_waits, 1);
            return false;
        }
        let is_it = |stat: &Stat| stat.key == key && stat.born_like(born);
        let opened = open_it(&path, is_it).or_else(|_| {
            let moved = Folders::default().by_inode(&path, key.1).ok_or(io::ErrorKind::NotFound)?;
            self.counters.add(|c| &c.found_again, 1);
            open_it(&moved, is_it).map(|(file, stat, _)| (file, stat, moved.into()))
        });
        match opened {
            Ok((opened, _, path)) => {
                if let Some(file) = self.table.get(id) {
                    (file.file, file.path) = (Some(opened), path);
                }
                self.open += 1;
                self.opened.push_back(id);
                true
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                self.lose(id);
                false
            }
            Err(cause) => {
                self.counters.add(|c| &c.open_errors, 1);
                tracing::debug!(?path, %cause, "a followed file cannot be opened again now");
                false
            }
        }
    }

    /// Gives up a file that cannot be found any more.
    pub(super) fn lose(&mut self, id: u64) {
        let Some(file) = self.forget(id) else { return };
        // What was read to its end when it was last looked at was merely deleted.
        let whole = file.at_end.is_some() && file.place.pending() == 0;
        self.counters.add(|c| if whole { &c.deletions } else { &c.lost_sight }, 1);
        self.remembered.done(file.entry());
    }

    /// Makes room for one more open file by closing the one that was opened first and can be opened again.
    pub(super) fn make_room(&mut self) -> bool {
        let mut left = self.opened.len();
        while self.open >= OPEN_MAX {
            let Some(id) = self.opened.pop_front().filter(|_| left > 0) else { return false };
            left -= 1;
            let Some(file) = self.table.get(id) else { continue };
            // A file without a name cannot be opened again. It may have lost it since the folders were read last.
            let has_no_name = |file: &fs::File| file.metadata().is_ok_and(|found| found.nlink() == 0);
            if file.rotated.is_some() || file.file.as_ref().is_some_and(has_no_name) {
                self.opened.push_back(id);
            } else {
                file.file = None;
                self.open -= 1;
                self.counters.add(|c| &c.closed_for_others, 1);
            }
        }
        true
    }
}

/// Opens a file if it is the one that is meant.
pub(super) fn open_it(path: &Path, is_it: impl Fn(&Stat) -> bool) -> io::Result<(fs::File, Stat, Arc<Path>)> {
    let file = find::open(path)?;
    let stat = Stat::of(&file.metadata()?);
    match stat.regular && is_it(&stat) {
        true => Ok((file, stat, path.into())),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}
