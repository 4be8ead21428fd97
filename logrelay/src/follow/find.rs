//! Finding again a file that lost its name: in the folder where it was last, by inode, or by how it begins.
//!
//! Limits: [`ENTRIES_MAX`] names of a folder, [`FILES_MAX`] of them that may be copies, [`COPIES_MAX`] that are opened.

use std::{
    cmp::Reverse,
    collections::HashMap,
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirEntryExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use super::{
    FILES_MAX,
    identity::{HEAD, Head, Stat, read_head},
};

/// Names of a folder that are looked at.
const ENTRIES_MAX: usize = 100_000;
/// Octets that two starts must have in common to be taken for the same.
const ALIKE_MIN: usize = 16;
/// Files whose starts are compared, the newest.
const COPIES_MAX: usize = 64;

/// Opens a file to read it; never waits for the writer of a pipe.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC).open(path)
}

/// Folders that were read while files were looked for, so that each is read once.
#[derive(Debug, Default)]
pub(super) struct Folders(HashMap<PathBuf, HashMap<u64, PathBuf>>);

impl Folders {
    /// Where the file with this inode is now, if it is still in the folder where it was.
    pub(super) fn by_inode(&mut self, was: &Path, inode: u64) -> Option<PathBuf> {
        let folder = was.parent()?;
        if !self.0.contains_key(folder) {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(ENTRIES_MAX);
            self.0.insert(folder.to_owned(), entries.map(|entry| (entry.ino(), entry.path())).collect());
        }
        self.0.get(folder)?.get(&inode).cloned()
    }
}

/// What a file was before it was cut off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    pub(super) head: Head,
    /// Octets that were read as lines.
    pub(super) start: u64,
    /// Octets whose lines are safe.
    pub(super) safe: u64,
    /// When it was last written, as far as was seen.
    pub(super) modified: i64,
}

/// Copies of a file that was cut off, beside it and with its name at their start (`app.log.1`, `app.log-20260101`):
/// what begins in the same way, has something that is not safe, and was made or written after what was read was written.
/// The newest. A copy may have been begun before the original was written and read last, but not have been finished.
pub(super) fn copy_of(path: &Path, before: Before) -> Option<(PathBuf, Stat)> {
    if before.head.octets < ALIKE_MIN {
        return None;
    }
    let (folder, name) = (path.parent()?, path.file_name()?);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(ENTRIES_MAX);
    let near = entries.filter(|entry| is_named_after(&entry.file_name(), name)).take(FILES_MAX);
    let mut near: Vec<(PathBuf, Stat)> = near
        .map(|entry| entry.path())
        .filter_map(|path| fs::metadata(&path).ok().map(|found| (path, Stat::of(&found))))
        .filter(|(_, stat)| may_be_copy(stat, before))
        .collect();
    near.sort_by_key(|(_, stat)| Reverse(finished(stat)));
    near.truncate(COPIES_MAX);
    near.into_iter().find_map(|(path, _)| {
        let file = open(&path).ok()?;
        let stat = Stat::of(&file.metadata().ok()?);
        let mut start = [0; HEAD];
        let got = read_head(&file, &mut start).ok()?;
        let is_copy = may_be_copy(&stat, before) && before.head.fits(start.get(..got)?);
        is_copy.then_some((path, stat))
    })
}

fn may_be_copy(stat: &Stat, before: Before) -> bool {
    stat.regular && stat.size >= before.start && stat.size > before.safe && finished(stat) >= before.modified
}

/// When a copy was finished, as well as can be told: one that keeps the times of the original is made later than these.
fn finished(stat: &Stat) -> i64 {
    stat.made().max(stat.modified)
}

/// Whether a file with this path may be a copy of the one that was at the other, by its name and by how it begins.
pub(super) fn is_like(path: &Path, start: &[u8], original: &Path, head: &Head) -> bool {
    let (Some(name), Some(of)) = (path.file_name(), original.file_name()) else { return false };
    head.octets >= ALIKE_MIN && path.parent() == original.parent() && is_named_after(name, of) && head.fits(start)
}

fn is_named_after(name: &OsStr, original: &OsStr) -> bool {
    let rest = name.as_bytes().strip_prefix(original.as_bytes());
    rest.is_some_and(|rest| matches!(rest.first(), Some(b'.' | b'-' | b'_')))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_renamed_file_is_found_by_its_inode() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("app.log");
        fs::write(&path, "x").unwrap();
        let inode = Stat::of(&fs::metadata(&path).unwrap()).key.1;
        fs::rename(&path, root.path().join("app.log.1")).unwrap();
        assert_eq!(Folders::default().by_inode(&path, inode), Some(root.path().join("app.log.1")));
        fs::remove_file(root.path().join("app.log.1")).unwrap();
        assert_eq!(Folders::default().by_inode(&path, inode), None);
    }

    #[test]
    fn only_a_longer_copy_with_the_same_start_counts() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("app.log");
        let text = b"a first line of some length\nand a second\n";
        for (name, text) in [
            ("app.log.2", &b"another beginning that is as long as the first one\n"[..]),
            ("app.log.3", &text[..28]),
            ("other.log", text),
        ] {
            fs::write(root.path().join(name), text).unwrap();
        }
        let before = Before { head: Head::of(&text[..28]), start: 28, safe: 28, modified: 0 };
        assert!(copy_of(&path, before).is_none());
        fs::write(root.path().join("app.log.1"), text).unwrap();
        assert_eq!(copy_of(&path, before).unwrap().0, root.path().join("app.log.1"));
        assert!(copy_of(&path, Before { modified: i64::MAX, ..before }).is_none());
        assert!(copy_of(&path, Before { head: Head::of(&text[..4]), ..before }).is_none());
    }

    fn set_modified(path: &Path, time: SystemTime) {
        fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn a_copy_counts_that_was_begun_before_the_last_reading_and_finished_after_it() {
        let root = tempfile::tempdir().unwrap();
        let (path, copy) = (root.path().join("app.log"), root.path().join("app.log.1"));
        let text = b"a first line of some length\nand a second\n";
        fs::write(&copy, text).unwrap();
        let begun = Stat::of(&fs::metadata(&copy).unwrap());
        let second = 1_000_000_000;
        let before =
            Before { head: Head::of(&text[..28]), start: 28, safe: 28, modified: finished(&begun) + 60 * second };
        assert!(copy_of(&path, before).is_none(), "it is older than what was read");
        let later = UNIX_EPOCH + Duration::from_nanos(u64::try_from(before.modified + second).unwrap());
        set_modified(&copy, later);
        assert_eq!(copy_of(&path, before).unwrap().0, copy);
        // `cp -p` gives it the times of the original; it was made later all the same.
        set_modified(&copy, UNIX_EPOCH + Duration::from_secs(1));
        assert_eq!(copy_of(&path, Before { modified: begun.made() - second, ..before }).unwrap().0, copy);
    }

    #[test]
    fn the_newest_copy_is_found_among_many_old_ones() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("app.log");
        let text = b"a first line of some length\nand a second\n";
        let began = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        for i in 0..3 * COPIES_MAX as u64 {
            let old = root.path().join(format!("app.log.{i}"));
            fs::write(&old, b"another beginning that is as long as the first one\n").unwrap();
            set_modified(&old, began + Duration::from_secs(i));
        }
        let before = Before { head: Head::of(&text[..28]), start: 28, safe: 28, modified: 0 };
        for (name, after) in [("app.log-a", 10_000), ("app.log-b", 20_000), ("app.log-c", 15_000)] {
            fs::write(root.path().join(name), text).unwrap();
            set_modified(&root.path().join(name), began + Duration::from_secs(after));
        }
        assert_eq!(copy_of(&path, before).unwrap().0, root.path().join("app.log-b"));
    }
}
