//! One path: what waits to be written there, the file if it is open, and how far it got.

use std::{
    fs::File,
    io::{self, Seek, Write},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
};

/// A file that is open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) file: File,
    pub(super) device: u64,
    pub(super) inode: u64,
    /// Octets in it.
    pub(super) size: u64,
    /// Whether something was written since it was made durable.
    pub(super) unsynced: bool,
    /// Period of rotation in which it was written last.
    pub(super) period: u64,
    /// When the name was last looked at, microseconds.
    pub(super) checked_us: i64,
}

/// A path that messages go to.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The path, as its template made it.
    pub(super) path: Box<[u8]>,
    /// The symbolic link to it, if there shall be one.
    pub(super) link: Option<Box<[u8]>>,
    pub(super) open: Option<Open>,
    /// Lines of this chunk.
    pub(super) buffer: Vec<u8>,
    /// The end of each in `buffer`.
    pub(super) ends: Vec<usize>,
    /// Octets of `buffer` that are in the file; always at the end of a line.
    pub(super) written: usize,
    /// The rest of a line that was torn by a full disk and could not be cut off; comes first.
    pub(super) owed: Vec<u8>,
    /// When it was last used, microseconds.
    pub(super) used_us: i64,
    /// Number of the chunk that used it last.
    pub(super) chunk: u64,
    /// No rotation before this time, because one just failed or must wait; microseconds.
    pub(super) rotate_from_us: i64,
}

/// What writing came to.
#[derive(Debug)]
pub(super) struct Torn {
    pub(super) error: io::Error,
    /// Whether a line was torn and cut off again.
    pub(super) cut: bool,
}

impl Slot {
    /// Where to write up to now so that the file has at most `limit` octets; `None` if the file must be rotated first.
    /// A line that is longer than `limit` has a file of its own.
    pub(super) fn fits(&self, limit: u64) -> Option<usize> {
        let size = self.open.as_ref().map_or(0, |open| open.size);
        let room = usize::try_from(limit.saturating_sub(size)).unwrap_or(usize::MAX);
        let most = self.written.saturating_add(room);
        if self.buffer.len() <= most {
            return Some(self.buffer.len());
        }
        let next = self.ends.partition_point(|end| *end <= self.written);
        let after = self.ends.partition_point(|end| *end <= most);
        match after.checked_sub(1).and_then(|last| self.ends.get(last)) {
            Some(end) if after > next => Some(*end),
            _ if size == 0 => self.ends.get(next).copied(),
            _ => None,
        }
    }

    /// Writes what is owed, then the lines up to `end`. After an error `written` tells how far it got.
    pub(super) fn write(&mut self, end: usize) -> Result<(), Torn> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.unsynced = true;
        if !self.owed.is_empty() {
            let (done, result) = write_all(&open.file, &self.owed);
            self.owed.drain(..done);
            open.size += done as u64;
            result.map_err(|error| Torn { error, cut: false })?;
        }
        let (done, result) = write_all(&open.file, &self.buffer[self.written..end]);
        let reached = self.written + done;
        let Err(error) = result else {
            open.size += done as u64;
            self.written = reached;
            return Ok(());
        };
        let next = self.ends.partition_point(|end| *end <= reached);
        let whole = next.checked_sub(1).map_or(0, |last| self.ends[last]);
        let torn = (reached - whole) as u64;
        open.size += done as u64;
        self.written = whole;
        if torn == 0 {
            return Err(Torn { error, cut: false });
        }
        // Cut only what is ours: nobody else may have appended since.
        let at = (&open.file).stream_position().ok();
        let cut = at.is_some_and(|at| {
            open.file.metadata().is_ok_and(|known| known.len() == at)
                && at.checked_sub(torn).is_some_and(|whole| open.file.set_len(whole).is_ok())
        });
        if cut {
            open.size -= torn;
        } else if let Some(line_end) = self.ends.get(next) {
            self.owed.extend_from_slice(&self.buffer[reached..*line_end]);
            self.written = *line_end;
        }
        Err(Torn { error, cut })
    }

    /// Whether the name leads to another file than the one that is open, or to none. Learns the size.
    pub(super) fn moved(&mut self, follow: bool) -> bool {
        let Some(open) = &mut self.open else { return false };
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(&self.path));
        let known = if follow { path.metadata() } else { path.symlink_metadata() };
        match known {
            Ok(known) if (known.dev(), known.ino()) == (open.device, open.inode) => {
                open.size = known.len();
                false
            }
            _ => true,
        }
    }

    /// Forgets the lines and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.ends.clear();
        self.written = 0;
    }
}

/// Writes all of `octets`; how many were written, also in the case of an error.
fn write_all(mut file: &File, octets: &[u8]) -> (usize, io::Result<()>) {
    let mut done = 0;
    while done < octets.len() {
        match file.write(&octets[done..]) {
            Ok(0) => return (done, Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (done, Err(error)),
        }
    }
    (done, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(lines: &[usize], written: usize, size: u64) -> Slot {
        let mut slot = Slot { written, ..Slot::default() };
        for line in lines {
            slot.buffer.resize(slot.buffer.len() + line, b'x');
            slot.ends.push(slot.buffer.len());
        }
        let file = tempfile::tempfile().unwrap();
        slot.open = Some(Open { file, device: 0, inode: 0, size, unsynced: false, period: 0, checked_us: 0 });
        slot
    }

    #[test]
    fn as_many_lines_as_fit() {
        assert_eq!(slot(&[10, 10, 10], 0, 0).fits(100), Some(30));
        assert_eq!(slot(&[10, 10, 10], 0, 75).fits(100), Some(20));
        assert_eq!(slot(&[10, 10, 10], 10, 75).fits(100), Some(30));
        assert_eq!(slot(&[10, 10, 10], 0, 91).fits(100), None);
        assert_eq!(slot(&[10, 10, 10], 10, 200).fits(100), None);
        assert_eq!(slot(&[200, 10], 0, 0).fits(100), Some(200), "longer than the limit");
        assert_eq!(slot(&[10, 200, 10], 10, 0).fits(100), Some(210));
    }
}
