//! Files that were closed although what was written to them may not be on disk yet.
//!
//! Limits: [`EACH_MAX`] files are kept open for it. When more were closed, or more files than that are to be made durable
//! at once, their file systems are, as a whole: one call for each.

use std::{fs::File, io};

use nix::unistd::syncfs;

/// Files that are made durable one by one.
const EACH_MAX: usize = 64;
/// File systems that are told apart beyond; a destination has one, unless something is mounted in its folders.
const DEVICES_MAX: usize = 8;

/// Files that wait to be made durable, with their devices.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    closed: Vec<(u64, File)>,
    /// Whether there were more than are in `closed`; each device of theirs is.
    more: bool,
}

impl Unsynced {
    /// Takes a file that is not needed any more.
    ///
    /// # Errors
    /// There are too many file systems, so it was made durable at once, which failed.
    pub(super) fn add(&mut self, device: u64, file: File) -> io::Result<()> {
        if self.closed.len() < EACH_MAX {
            self.closed.push((device, file));
            return Ok(());
        }
        self.more = true;
        if self.closed.iter().any(|(known, _)| *known == device) {
            return Ok(());
        }
        if self.closed.len() < EACH_MAX + DEVICES_MAX {
            self.closed.push((device, file));
            return Ok(());
        }
        file.sync_data()
    }

    /// Makes them durable, and the files of `open` too; calls `failed` for every failure.
    pub(super) fn sync(&mut self, open: Vec<(u64, &File)>, mut failed: impl FnMut(&io::Error)) {
        let closed = std::mem::take(&mut self.closed);
        let mut files: Vec<(u64, &File)> = open;
        files.extend(closed.iter().map(|(device, file)| (*device, file)));
        let whole = std::mem::take(&mut self.more) || files.len() > EACH_MAX;
        if whole {
            files.sort_by_key(|(device, _)| *device);
            files.dedup_by_key(|(device, _)| *device);
        }
        for (_, file) in files {
            let result = if whole { syncfs(file).map_err(io::Error::from) } else { file.sync_data() };
            if let Err(error) = result {
                failed(&error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_kept_up_to_a_limit() {
        let file = || tempfile::tempfile().unwrap();
        let mut unsynced = Unsynced::default();
        for device in [1, 2] {
            (0..100).for_each(|_| unsynced.add(device, file()).unwrap());
        }
        assert!(unsynced.more && unsynced.closed.len() == EACH_MAX + 1, "one of the second device");
        let open = file();
        unsynced.sync(vec![(3, &open)], |error| panic!("{error}"));
        assert!(unsynced.closed.is_empty() && !unsynced.more);
        // A pipe cannot be made durable.
        let (reader, _writer) = io::pipe().unwrap();
        unsynced.add(1, File::from(std::os::fd::OwnedFd::from(reader))).unwrap();
        let mut failures = 0;
        unsynced.sync(vec![(1, &open)], |_| failures += 1);
        assert_eq!(failures, 1);
    }
}
