//! One followed file: how far it was read, and the reading of it piece by piece.

use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    FileReport, IDLE, SWEEP, SWEEP_IDLE,
    checkpoint::Entry,
    find::Before,
    identity::{HEAD, Head, Key, Stat, compression, read_full, read_head},
    lines::{Piece, Place, Tally},
};
use crate::message::Flags;

/// A file that lost its name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rotated {
    pub(super) since: Instant,
    /// How long it must not grow before it is closed.
    pub(super) grace: Duration,
}

/// A followed file.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) path: Arc<Path>,
    pub(super) key: Key,
    pub(super) born: u64,
    pub(super) head: Head,
    pub(super) file: Option<File>,
    pub(super) place: Place,
    /// Offset up to which the lines are safe.
    pub(super) acknowledged: u64,
    /// Grows when the file is read from its start again; acknowledgements of before do not count then.
    pub(super) generation: u32,
    pub(super) size: u64,
    pub(super) modified: i64,
    /// Size and time of the last writing at which all was read.
    pub(super) at_end: Option<(u64, i64)>,
    pub(super) grown_at: Instant,
    pub(super) look_at: Instant,
    pub(super) rotated: Option<Rotated>,
    /// Whether it is among those to be read.
    pub(super) ready: bool,
    /// Whether its place changed since the last mark.
    pub(super) touched: bool,
    /// Whether a line without an end is to be taken now.
    pub(super) take_partial: bool,
}

/// What a step of reading came to.
#[derive(Debug)]
pub(super) enum Step {
    /// So many octets; there may be more.
    More(usize),
    /// So many octets, and the taker has enough.
    Enough(usize),
    /// All is read.
    End,
    /// It is compressed, and so not followed.
    Compressed(&'static str),
    /// It was cut off, or replaced in place; it will be read from its start.
    Truncated(Before),
}

/// What a look at a file came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    Same,
    Changed,
    /// Its name leads to another file, or to none.
    Elsewhere,
}

impl Followed {
    pub(super) fn new(path: Arc<Path>, stat: &Stat, head: Head, file: File, offset: u64, now: Instant) -> Self {
        Self {
            path,
            key: stat.key,
            born: stat.born,
            head,
            file: Some(file),
            place: Place::at(offset),
            acknowledged: offset,
            generation: 0,
            size: stat.size,
            modified: stat.modified,
            at_end: None,
            grown_at: now,
            look_at: now,
            rotated: None,
            ready: false,
            touched: false,
            take_partial: false,
        }
    }

    /// Reads one piece and gives out its lines. The file must be open; `buffer` has room for more than a line.
    pub(super) fn step(
        &mut self,
        buffer: &mut [u8],
        max_line: usize,
        now: Instant,
        tally: &mut Tally,
        emit: &mut impl FnMut(Piece<'_>) -> bool,
    ) -> io::Result<Step> {
        let Some(file) = &self.file else { return Ok(Step::End) };
        let stat = Stat::of(&file.metadata()?);
        let mut start = [0; HEAD];
        let got = read_head(file, &mut start)?;
        let start = start.get(..got).unwrap_or_default();
        if stat.size < self.place.scanned || !self.head.fits(start) {
            return Ok(Step::Truncated(self.restart(&stat, start, now)));
        }
        if self.place.start == 0
            && let Some(name) = compression(start)
        {
            return Ok(Step::Compressed(name));
        }
        if got > self.head.octets {
            self.head = Head::of(start);
        }
        (self.size, self.modified) = (stat.size, stat.modified);
        let before = self.place;
        let step = if before.scanned >= stat.size {
            if self.take_partial && before.has_partial() {
                let want = max_line.min(usize::try_from(before.pending()).unwrap_or(max_line));
                let line = read_into(file, buffer, want, before.start)?;
                tally.give_long(line, before.pending(), max_line, Flags::INCOMPLETE, emit);
                self.place = Place::at(before.scanned);
            }
            self.take_partial = false;
            self.at_end = Some((stat.size, stat.modified));
            Step::End
        } else {
            self.grown_at = now;
            self.read(buffer, max_line, tally, emit)?
        };
        self.touched |= self.place.start != before.start;
        Ok(step)
    }

    fn read(
        &mut self,
        buffer: &mut [u8],
        max_line: usize,
        tally: &mut Tally,
        emit: &mut impl FnMut(Piece<'_>) -> bool,
    ) -> io::Result<Step> {
        let Some(file) = &self.file else { return Ok(Step::End) };
        let before = self.place;
        // A line that is longer than what is kept of it is not read from its start again each time that it grows.
        let long = before.pending() > max_line as u64;
        let from = if long { before.scanned } else { before.start };
        let want = usize::try_from(self.size - from).unwrap_or(usize::MAX);
        let octets = read_into(file, buffer, want, from)?;
        if from + octets.len() as u64 <= before.scanned {
            // It has a size but no content, or was cut off this moment: the next look will tell.
            self.at_end = Some((self.size, self.modified));
            return Ok(Step::End);
        }
        let took = octets.len();
        if long {
            let (end, met) = self.place.skim(octets);
            tally.add(met);
            if let Some(end) = end {
                let line = read_into(file, buffer, max_line, before.start)?;
                tally.give_long(line, end - before.start, max_line, Flags::default(), emit);
                self.place = Place::at(end + 1);
            }
        } else {
            let met = self.place.cut(octets, max_line, emit);
            tally.add(met);
        }
        Ok(if tally.enough { Step::Enough(took) } else { Step::More(took) })
    }

    /// Forgets what was read of a file that begins anew.
    fn restart(&mut self, stat: &Stat, start: &[u8], now: Instant) -> Before {
        let before =
            Before { head: self.head, start: self.place.start, safe: self.acknowledged, modified: self.modified };
        self.head = Head::of(start);
        self.place = Place::at(0);
        self.acknowledged = 0;
        self.generation += 1;
        (self.size, self.modified) = (stat.size, stat.modified);
        self.at_end = None;
        self.grown_at = now;
        self.take_partial = false;
        before
    }

    /// Looks whether it changed since all of it was read.
    pub(super) fn look(&mut self, now: Instant) -> io::Result<Look> {
        let idle = now.saturating_duration_since(self.grown_at) >= IDLE && self.rotated.is_none();
        self.look_at = now + if idle { SWEEP_IDLE } else { SWEEP };
        let stat = match &self.file {
            Some(file) => Stat::of(&file.metadata()?),
            None => match fs::metadata(&self.path) {
                Ok(metadata) => Stat::of(&metadata),
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Look::Elsewhere),
                Err(cause) => return Err(cause),
            },
        };
        if stat.key != self.key || !stat.born_like(self.born) {
            return Ok(Look::Elsewhere);
        }
        self.size = stat.size;
        Ok(if self.at_end == Some((stat.size, stat.modified)) { Look::Same } else { Look::Changed })
    }

    /// How long it has not grown, or since it lost its name if that is less.
    pub(super) fn quiet(&self, now: Instant) -> Duration {
        let since = self.rotated.map_or(self.grown_at, |rotated| rotated.since.max(self.grown_at));
        now.saturating_duration_since(since)
    }

    /// Whether a file that lost its name was read and acknowledged to its end, and does not grow.
    pub(super) fn is_finished(&self, now: Instant) -> bool {
        let grace = self.rotated.map(|rotated| rotated.grace);
        grace.is_some_and(|grace| self.quiet(now) >= grace)
            && !self.ready
            && self.at_end.is_some()
            && !self.place.has_partial()
            && self.acknowledged == self.place.start
    }

    pub(super) fn entry(&self) -> Entry {
        Entry {
            path: self.path.clone(),
            key: self.key,
            born: self.born,
            head: self.head,
            modified: self.modified,
            offset: self.acknowledged,
            done: false,
        }
    }

    pub(super) fn report(&self) -> FileReport {
        FileReport {
            path: self.path.clone(),
            size: self.size,
            read: self.place.start,
            acknowledged: self.acknowledged,
            lag: self.size.saturating_sub(self.acknowledged),
            rotated: self.rotated.is_some(),
            open: self.file.is_some(),
        }
    }
}

/// Reads up to `want` octets at `offset`.
fn read_into<'b>(file: &File, buffer: &'b mut [u8], want: usize, offset: u64) -> io::Result<&'b [u8]> {
    let want = want.min(buffer.len());
    let into = buffer.get_mut(..want).unwrap_or_default();
    let got = read_full(file, into, offset)?;
    Ok(into.get(..got).unwrap_or_default())
}

/// Where reading begins in a file that is followed from its end: after its last LF, so that a line that is being written
/// is read whole.
pub(super) fn end_of_lines(file: &File, size: u64, buffer: &mut [u8]) -> io::Result<u64> {
    let from = size.saturating_sub(buffer.len() as u64);
    let want = usize::try_from(size - from).unwrap_or(buffer.len());
    let tail = read_into(file, buffer, want, from)?;
    Ok(memchr::memrchr(b'\n', tail).map_or(size, |at| from + at as u64 + 1))
}
