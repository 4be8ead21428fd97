//! From octets to lines: plain functions over what was read, with the place in the file that they lead to.

use crate::message::Flags;

/// How far a file was gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// Offset of the first octet that is in no line yet.
    pub(super) start: u64,
    /// Offset up to which there is no LF after `start`.
    pub(super) scanned: u64,
    /// Whether all octets between the two are NUL.
    pub(super) nul: bool,
}

/// A line, or what stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) raw: &'a [u8],
    pub(super) original_len: u32,
    pub(super) flags: Flags,
}

/// What was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    pub(super) lines: u64,
    pub(super) empty: u64,
    pub(super) cut: u64,
    pub(super) incomplete: u64,
    pub(super) nul: u64,
    /// Whether the taker wants no more for now.
    pub(super) enough: bool,
}

impl Place {
    pub(super) fn at(offset: u64) -> Self {
        Self { start: offset, scanned: offset, nul: false }
    }

    /// Octets of a line that has not ended.
    pub(super) fn pending(&self) -> u64 {
        self.scanned - self.start
    }

    /// Whether there is a line without an end that could be taken.
    pub(super) fn has_partial(&self) -> bool {
        self.pending() > 0 && !self.nul
    }

    /// Goes through `buffer`, the octets from `start` on, and gives out the lines that end in it, until `emit` says
    /// that it has enough.
    pub(super) fn cut(&mut self, buffer: &[u8], max_line: usize, emit: &mut impl FnMut(Piece<'_>) -> bool) -> Tally {
        let mut tally = Tally::default();
        let known = usize::try_from(self.pending()).unwrap_or(usize::MAX).min(buffer.len());
        // What was known without LF need not be searched again.
        let (mut from, mut search) = (0, known);
        while let Some(end) = buffer.get(search..).and_then(|rest| memchr::memchr(b'\n', rest)).map(|at| search + at) {
            let line = &buffer[from..end];
            let nul = leading_nul(line);
            let line = &line[nul..];
            tally.nul += nul as u64;
            (from, search) = (end + 1, end + 1);
            match tally.give(line.strip_suffix(b"\r").unwrap_or(line), max_line, Flags::default(), emit) {
                false => {}
                true => {
                    *self = Self::at(self.start + from as u64);
                    return tally;
                }
            }
        }
        let rest = &buffer[from..];
        let nul = leading_nul(rest);
        let all_nul = nul == rest.len();
        // NUL octets are passed over only once something follows them: a writer may be about to fill them.
        let skip = if all_nul { 0 } else { nul };
        tally.nul += skip as u64;
        let end = self.start + buffer.len() as u64;
        *self = Self { start: self.start + (from + skip) as u64, scanned: end, nul: all_nul && !rest.is_empty() };
        tally
    }

    /// Goes through `buffer`, the octets from `scanned` on, looking only for the end of a line that is longer than what
    /// is kept of it. The offset of its LF.
    pub(super) fn skim(&mut self, buffer: &[u8]) -> (Option<u64>, Tally) {
        let mut tally = Tally::default();
        if self.nul {
            let nul = leading_nul(buffer);
            if nul == buffer.len() {
                self.scanned += nul as u64;
            } else {
                let start = self.scanned + nul as u64;
                tally.nul = start - self.start;
                *self = Self::at(start);
            }
            return (None, tally);
        }
        match memchr::memchr(b'\n', buffer) {
            Some(at) => (Some(self.scanned + at as u64), tally),
            None => {
                self.scanned += buffer.len() as u64;
                (None, tally)
            }
        }
    }
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.lines += other.lines;
        self.empty += other.empty;
        self.cut += other.cut;
        self.incomplete += other.incomplete;
        self.nul += other.nul;
        self.enough |= other.enough;
    }

    /// Gives out one line; whether the taker has enough.
    pub(super) fn give(
        &mut self,
        line: &[u8],
        max_line: usize,
        flags: Flags,
        emit: &mut impl FnMut(Piece<'_>) -> bool,
    ) -> bool {
        self.give_long(line, line.len() as u64, max_line, flags, emit)
    }

    /// The same for a line of which `line` is only the start.
    pub(super) fn give_long(
        &mut self,
        line: &[u8],
        length: u64,
        max_line: usize,
        flags: Flags,
        emit: &mut impl FnMut(Piece<'_>) -> bool,
    ) -> bool {
        if line.is_empty() {
            self.empty += 1;
            return false;
        }
        let cut = length > max_line as u64;
        let flags = if cut { flags.with(Flags::TRUNCATED) } else { flags };
        self.lines += 1;
        self.cut += u64::from(cut);
        self.incomplete += u64::from(flags.has(Flags::INCOMPLETE));
        let original_len = u32::try_from(length).unwrap_or(u32::MAX);
        self.enough |= emit(Piece { raw: line.get(..max_line).unwrap_or(line), original_len, flags });
        self.enough
    }
}

fn leading_nul(octets: &[u8]) -> usize {
    octets.iter().position(|&octet| octet != 0).unwrap_or(octets.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Got = Vec<(Vec<u8>, u32, u16)>;

    fn take(got: &mut Got) -> impl FnMut(Piece<'_>) -> bool {
        |piece| {
            got.push((piece.raw.to_vec(), piece.original_len, piece.flags.0));
            false
        }
    }

    #[test]
    fn lines_end_at_lf_and_the_rest_waits() {
        let (mut place, mut got) = (Place::at(10), Got::new());
        let tally = place.cut(b"one\r\n\n\0\0two\nthr", 3, &mut take(&mut got));
        assert_eq!(got, [(b"one".to_vec(), 3, 0), (b"two".to_vec(), 3, 0)]);
        assert_eq!((tally.lines, tally.empty, tally.nul), (2, 1, 2));
        assert_eq!(place, Place { start: 22, scanned: 25, nul: false });
        place.cut(b"three\n", 3, &mut take(&mut got));
        assert_eq!(got.pop().unwrap(), (b"thr".to_vec(), 5, Flags::TRUNCATED.0));
        assert_eq!(place, Place::at(28));
    }

    #[test]
    fn a_taker_that_has_enough_gets_no_more() {
        let mut place = Place::default();
        let tally = place.cut(b"a\nb\nc\n", 9, &mut |_| true);
        assert!(tally.enough && tally.lines == 1);
        assert_eq!(place, Place::at(2));
    }

    #[test]
    fn nul_octets_wait_for_what_follows_them() {
        let (mut place, mut got) = (Place::default(), Got::new());
        place.cut(b"\0\0\0\0", 9, &mut take(&mut got));
        assert_eq!(place, Place { start: 0, scanned: 4, nul: true });
        assert!(!place.has_partial());
        place.skim(b"\0\0");
        assert_eq!(place, Place { start: 0, scanned: 6, nul: true });
        let (end, tally) = place.skim(b"\0x\n");
        assert_eq!((end, tally.nul, place), (None, 7, Place::at(7)));
    }

    /// Reads as a file is read: from `start` while the line fits, else from `scanned`.
    fn feed(content: &[u8], chunks: &[usize], max_line: usize) -> (Got, Place) {
        let (mut place, mut got, mut size) = (Place::default(), Got::new(), 0);
        for chunk in chunks.iter().chain([&content.len()]) {
            size = (size + chunk).min(content.len());
            while (place.scanned as usize) < size {
                if place.pending() <= max_line as u64 {
                    let end = size.min(place.start as usize + max_line + 2);
                    place.cut(&content[place.start as usize..end], max_line, &mut take(&mut got));
                } else if let (Some(end), _) = place.skim(&content[place.scanned as usize..size]) {
                    let line = &content[place.start as usize..place.start as usize + max_line];
                    let length = end - place.start;
                    Tally::default().give_long(line, length, max_line, Flags::default(), &mut take(&mut got));
                    place = Place::at(end + 1);
                }
            }
        }
        (got, place)
    }

    proptest! {
        #[test]
        fn in_whatever_pieces_a_file_grows_its_lines_are_the_same(
            content in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(b'\r'), Just(0u8), Just(b'b')], 0..200),
            chunks in proptest::collection::vec(0usize..20, 0..20),
            max_line in 1usize..12,
        ) {
            let (got, place) = feed(&content, &chunks, max_line);
            let whole = content.iter().rposition(|&octet| octet == b'\n').map_or(0, |at| at + 1);
            let want: Vec<_> = content[..whole].split(|&octet| octet == b'\n').filter_map(|line| {
                let line = &line[leading_nul(line)..];
                let stripped = line.strip_suffix(b"\r").unwrap_or(line);
                (!stripped.is_empty()).then(|| stripped[..stripped.len().min(max_line)].to_vec())
            }).collect();
            prop_assert_eq!(got.into_iter().map(|line| line.0).collect::<Vec<_>>(), want);
            prop_assert_eq!(place.scanned as usize, content.len());
            prop_assert!(place.start as usize >= whole);
        }
    }
}
