//! Reading a segment in steps: each gives the valid records that lie one behind the other.
//!
//! When octets cannot be read, they are read again page by page, and what lies before the first bad page is given as
//! always. Only at a record that begins in the bad page, or goes on into it, is there an error; the caller asks again, or
//! gives the page up.

use std::{io, sync::Arc};

use bytes::Bytes;

use super::{
    disk::{self, DiskFile},
    walk::{Step, Walker, sequence},
};

/// Octets that are read at once; more only for a longer record.
pub(super) const STEP: usize = 256 << 10;
/// What is given up at once when it cannot be read.
const PAGE: u64 = 4096;

/// Records that lie one behind the other.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) bytes: Bytes,
    /// Offset in the file.
    pub(super) offset: u64,
    /// Sequence of the first and the last record.
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) records: u64,
}

/// What was skipped, for the caller to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Skipped {
    /// Damaged places.
    pub(super) ranges: u64,
    /// Octets in them.
    pub(super) bytes: u64,
}

/// A segment being read.
pub(super) struct SegmentReader {
    file: Arc<dyn DiskFile>,
    walker: Walker,
    at: u64,
    end: u64,
    in_damage: bool,
    /// Where the page begins at which reading failed last.
    bad: u64,
    pub(super) skipped: Skipped,
}

impl SegmentReader {
    /// Reads from `at` to `end`; all sequences are above `after` and below `before`.
    pub(super) fn new(file: Arc<dyn DiskFile>, at: u64, end: u64, after: u64, before: u64) -> Self {
        let walker = Walker::new(after, before);
        Self { file, walker, at, end, in_damage: false, bad: 0, skipped: Skipped::default() }
    }

    /// More has become durable, and perhaps the segment has got its last sequence.
    pub(super) fn extend(&mut self, end: u64, before: u64) {
        self.end = self.end.max(end);
        self.walker.limit(before);
    }

    /// Whether all of it was read.
    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.end
    }

    /// Sequence of the last record that was read.
    pub(super) fn last(&self) -> u64 {
        self.walker.last()
    }

    /// The next run; `None` at the end.
    pub(super) fn next_run(&mut self) -> io::Result<Option<Run>> {
        let mut size = STEP;
        while self.at < self.end {
            let wanted = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(size);
            let (bytes, error) = self.read(wanted);
            if let Some(error) = error {
                // What goes on into the bad page is as bad as what begins in it.
                if bytes.is_empty() {
                    return Err(error);
                }
                match self.collect(bytes, false) {
                    Ok(run) => return Ok(Some(run)),
                    Err(Some(_)) => return Err(error),
                    Err(None) => continue,
                }
            }
            if bytes.len() < wanted {
                // The file is shorter than it was: what is missing is damage.
                self.end = self.at + bytes.len() as u64;
                self.note(wanted - bytes.len());
            }
            let complete = self.at + bytes.len() as u64 == self.end;
            size = STEP;
            match self.collect(bytes, complete) {
                Ok(run) => return Ok(Some(run)),
                Err(Some(need)) => size = need,
                Err(None) => {}
            }
        }
        Ok(None)
    }

    /// Octets from here on; if not all can be read, those before the first bad page, and the error.
    fn read(&mut self, wanted: usize) -> (Vec<u8>, Option<io::Error>) {
        match disk::read(&*self.file, self.at, wanted) {
            Ok(bytes) => (bytes, None),
            Err(_) => self.read_pages(wanted),
        }
    }

    fn read_pages(&mut self, wanted: usize) -> (Vec<u8>, Option<io::Error>) {
        let mut bytes = Vec::with_capacity(wanted);
        while bytes.len() < wanted {
            let at = self.at + bytes.len() as u64;
            let page = ((PAGE - at % PAGE) as usize).min(wanted - bytes.len());
            match disk::read(&*self.file, at, page) {
                Ok(read) => {
                    bytes.extend_from_slice(&read);
                    if read.len() < page {
                        break;
                    }
                }
                Err(error) => {
                    self.bad = at - at % PAGE;
                    return (bytes, Some(error));
                }
            }
        }
        (bytes, None)
    }

    /// The records at the start of `bytes`, behind damage if there is any. Without one: how many octets it takes to say.
    fn collect(&mut self, bytes: Vec<u8>, complete: bool) -> Result<Run, Option<usize>> {
        let (mut start, mut end, mut records, mut first) = (0, 0, 0, 0);
        let need = loop {
            let rest = bytes.get(end..).unwrap_or_default();
            // What follows the run is looked at again with the next one.
            let before = self.walker.clone();
            match self.walker.step(rest, complete) {
                Step::Record(length) => {
                    if records == 0 {
                        (start, first) = (end, sequence(rest));
                    }
                    (end, records) = (end + length, records + 1);
                    self.in_damage = false;
                }
                Step::Damage(length) if records == 0 => {
                    self.note(length);
                    end += length;
                }
                Step::Damage(_) => {
                    self.walker = before;
                    break None;
                }
                Step::Need(need) => break Some(need),
                Step::End => break None,
            }
        };
        let offset = self.at + start as u64;
        self.at += end as u64;
        if records == 0 {
            return Err(need.filter(|_| end == 0));
        }
        let bytes = Bytes::from(bytes).slice(start..end);
        Ok(Run { bytes, offset, first, last: self.walker.last(), records })
    }

    /// Gives the page up at which reading failed, and what of a record lies before it.
    pub(super) fn skip_page(&mut self) {
        let bad = self.bad.max(self.at - self.at % PAGE);
        let skipped = (bad + PAGE).min(self.end).saturating_sub(self.at);
        self.at += skipped;
        self.walker.interrupted();
        self.note(skipped as usize);
    }

    fn note(&mut self, length: usize) {
        self.skipped.ranges += u64::from(!self.in_damage);
        self.skipped.bytes += length as u64;
        self.in_damage = true;
    }

    /// What was skipped since this was asked last.
    pub(super) fn take_skipped(&mut self) -> Skipped {
        std::mem::take(&mut self.skipped)
    }
}
