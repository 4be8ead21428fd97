//! Where a line ends: octet counting and newlines (RFC 6587), decided per connection from its first octets, then kept.
//!
//! A connection whose first octets are a number without leading zero, a blank and `<` counts octets (`MSG-LEN SP MSG`,
//! section 3.4.1, and RFC 5425 section 4.3; a message begins with its PRI); every other one ends its lines with LF (section 3.4.2), or with NUL, as the C
//! library and Python do over streams, and as syslog-ng takes it (`find_eom` in logproto-text-server.c). CR before LF is
//! left to whoever reads the line.
//!
//! Limits: MSG-LEN has at most [`DIGITS_MAX`] digits; of a longer line than `max_line` its start is kept and the rest is
//! dropped as it arrives, so a connection never needs more than `max_line` octets and one read; after [`ERRORS_MAX`]
//! places where a MSG-LEN should be and is not, the connection is given up. Nothing is lost silently: what stands in
//! place of a MSG-LEN is a line of its own, up to the next LF or NUL, marked [`Flags::INCOMPLETE`].

use memchr::memchr2;

use crate::message::Flags;

mod buffer;
#[cfg(test)]
mod tests;

pub use buffer::Buffer;

/// Digits of MSG-LEN at most.
pub const DIGITS_MAX: usize = 7;
/// Wrong MSG-LENs of a connection after which it is given up.
pub const ERRORS_MAX: u32 = 16;

/// A line, borrowed from the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The octets, at most `max_line`, without length, LF or NUL.
    pub raw: &'a [u8],
    /// Octets that it has, or would have had, on the wire.
    pub original_len: u32,
    /// [`Flags::TRUNCATED`] and [`Flags::INCOMPLETE`].
    pub flags: Flags,
}

/// Counts since the last [`Splitter::take_counts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Lines given out.
    pub lines: u64,
    /// Lines of nothing, or of one CR; they are skipped.
    pub empty: u64,
    /// Places where MSG-LEN should be and is not, or after which the connection ended.
    pub errors: u64,
    /// Lines that were longer than allowed.
    pub truncated: u64,
    /// Lines of which the end is missing or uncertain.
    pub incomplete: u64,
}

/// The connection is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{ERRORS_MAX} times no octet count where one must be; the sender should count the octets of each line (RFC 6587)"
)]
pub struct TooManyErrors;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is decided.
    Start,
    /// Lines with LF or NUL.
    Lines,
    /// MSG-LEN comes next.
    Length,
    /// A frame of that many octets comes next.
    Body(usize),
    /// That many octets of a frame that was too long come next.
    Rest(usize),
    /// Up to the next LF or NUL, then MSG-LEN.
    Resync,
}

/// What to do with the octets that are there.
enum Step {
    /// A line is there whole: `keep` octets of the first `consume`.
    Line { keep: usize, consume: usize, original_len: usize, flags: Flags },
    /// Octets that are no part of a line.
    Skip(usize),
    /// The line is too long: only so many octets are kept.
    Cut(usize),
    /// More must arrive.
    More,
}

/// Splits the octets of one connection.
#[derive(Debug)]
pub struct Splitter {
    max_line: usize,
    state: State,
    /// Octets at the start of the buffer in which no line ends.
    scanned: usize,
    /// Octets of the present line that were dropped.
    dropped: usize,
    errors: u32,
    counts: Counts,
}

impl Splitter {
    /// For a connection that decides its framing with its first octets.
    pub fn new(max_line: usize) -> Self {
        let max_line = max_line.max(1);
        Self { max_line, state: State::Start, scanned: 0, dropped: 0, errors: 0, counts: Counts::default() }
    }

    /// For a pipe: lines with LF or NUL, whatever comes first.
    pub fn lines(max_line: usize) -> Self {
        Self { state: State::Lines, ..Self::new(max_line) }
    }

    /// The next line in the buffer; `None` when more must arrive.
    ///
    /// # Errors
    /// The connection is to be closed; [`finish`](Self::finish) gives what is left.
    pub fn next<'a>(&mut self, buffer: &'a mut Buffer) -> Result<Option<Frame<'a>>, TooManyErrors> {
        loop {
            match self.step(buffer.pending())? {
                Step::Line { keep, consume, original_len, flags } => {
                    return Ok(Some(self.give(buffer, keep, consume, original_len, flags)));
                }
                Step::Skip(octets) => {
                    buffer.consume(octets);
                }
                Step::Cut(octets) => buffer.truncate(octets),
                Step::More => return Ok(None),
            }
        }
    }

    /// What is left when the connection ends, as a line. `cut`: it ends before its time, so the line is
    /// [`Flags::INCOMPLETE`] in either framing.
    pub fn finish<'a>(&mut self, buffer: &'a mut Buffer, cut: bool) -> Option<Frame<'a>> {
        let length = buffer.pending().len();
        let keep = length.min(self.max_line);
        let whole = length.saturating_add(std::mem::take(&mut self.dropped));
        self.scanned = 0;
        let long = if whole > keep { Flags::TRUNCATED } else { Flags::default() };
        let (original_len, flags) = match self.state {
            State::Start | State::Lines if cut => (whole, long.with(Flags::INCOMPLETE)),
            State::Start | State::Lines => (whole, long),
            State::Resync => (whole, long.with(Flags::INCOMPLETE)),
            State::Body(announced) => {
                self.state = State::Length;
                self.counts.errors += u64::from(length == 0);
                (announced, Flags::TRUNCATED.with(Flags::INCOMPLETE))
            }
            State::Length => {
                self.counts.errors += u64::from(length > 0);
                (whole, long.with(Flags::INCOMPLETE))
            }
            // Its line was given out, marked as too long.
            State::Rest(_) => return None,
        };
        if whole == length && is_blank(buffer.pending()) {
            buffer.consume(length);
            return None;
        }
        Some(self.give(buffer, keep, length, original_len, flags))
    }

    /// Whether a line has begun and not ended.
    pub fn is_within(&self, buffer: &Buffer) -> bool {
        !buffer.pending().is_empty() || matches!(self.state, State::Body(_) | State::Rest(_))
    }

    /// Counts since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    fn give<'a>(
        &mut self,
        buffer: &'a mut Buffer,
        keep: usize,
        consume: usize,
        original_len: usize,
        flags: Flags,
    ) -> Frame<'a> {
        self.counts.lines += 1;
        self.counts.truncated += u64::from(flags.has(Flags::TRUNCATED));
        self.counts.incomplete += u64::from(flags.has(Flags::INCOMPLETE));
        let taken = buffer.consume(consume);
        let original_len = u32::try_from(original_len).unwrap_or(u32::MAX);
        Frame { raw: taken.get(..keep).unwrap_or(taken), original_len, flags }
    }

    fn step(&mut self, pending: &[u8]) -> Result<Step, TooManyErrors> {
        loop {
            match self.state {
                State::Lines | State::Resync => return Ok(self.line(pending)),
                State::Start => match count(pending) {
                    Count::More => return Ok(Step::More),
                    Count::Wrong => self.state = State::Lines,
                    // A line may begin with a number too, but a message that is counted begins with its PRI.
                    Count::Is { header, .. } => match pending.get(header) {
                        None => return Ok(Step::More),
                        Some(b'<') => self.state = State::Length,
                        Some(_) => self.state = State::Lines,
                    },
                },
                State::Length if self.errors >= ERRORS_MAX => return Err(TooManyErrors),
                // Some senders end a counted frame with an octet that they did not count.
                State::Length if pending.first().is_some_and(|octet| b"\n\r\0".contains(octet)) => {
                    self.counts.empty += 1;
                    return Ok(Step::Skip(1));
                }
                State::Length => match count(pending) {
                    Count::More => return Ok(Step::More),
                    Count::Wrong => {
                        self.errors += 1;
                        self.counts.errors += 1;
                        self.state = State::Resync;
                    }
                    Count::Is { length, header } => {
                        self.state = State::Body(length);
                        return Ok(Step::Skip(header));
                    }
                },
                State::Body(length) => return Ok(self.body(pending, length)),
                State::Rest(left) if pending.is_empty() && left > 0 => return Ok(Step::More),
                State::Rest(left) => {
                    let skipped = left.min(pending.len());
                    self.state = if skipped == left { State::Length } else { State::Rest(left - skipped) };
                    return Ok(Step::Skip(skipped));
                }
            }
        }
    }

    fn body(&mut self, pending: &[u8], length: usize) -> Step {
        let keep = length.min(self.max_line);
        if pending.len() < keep {
            return Step::More;
        }
        let (state, flags) = match length - keep {
            0 => (State::Length, Flags::default()),
            left => (State::Rest(left), Flags::TRUNCATED),
        };
        self.state = state;
        Step::Line { keep, consume: keep, original_len: length, flags }
    }

    fn line(&mut self, pending: &[u8]) -> Step {
        let Some(at) = memchr2(b'\n', 0, pending.get(self.scanned..).unwrap_or_default()) else {
            if pending.len() <= self.max_line {
                self.scanned = pending.len();
                return Step::More;
            }
            self.dropped = self.dropped.saturating_add(pending.len() - self.max_line);
            self.scanned = self.max_line;
            return Step::Cut(self.max_line);
        };
        let length = self.scanned + at;
        self.scanned = 0;
        let original_len = length.saturating_add(std::mem::take(&mut self.dropped));
        let keep = length.min(self.max_line);
        let mut flags = if original_len > keep { Flags::TRUNCATED } else { Flags::default() };
        if self.state == State::Resync {
            self.state = State::Length;
            flags = flags.with(Flags::INCOMPLETE);
        }
        if original_len == length && is_blank(pending.get(..length).unwrap_or_default()) {
            self.counts.empty += 1;
            return Step::Skip(length + 1);
        }
        Step::Line { keep, consume: length + 1, original_len, flags }
    }
}

/// Nothing, or what is left of an empty line of another make.
fn is_blank(line: &[u8]) -> bool {
    matches!(line, [] | [b'\r'])
}

enum Count {
    Is { length: usize, header: usize },
    Wrong,
    More,
}

/// MSG-LEN SP at the start of `octets`: NONZERO-DIGIT *DIGIT (RFC 6587 section 3.4.1).
fn count(octets: &[u8]) -> Count {
    let mut length = 0;
    for (i, octet) in octets.iter().take(DIGITS_MAX + 1).enumerate() {
        match octet {
            b'1'..=b'9' | b'0' if i < DIGITS_MAX && (i > 0 || *octet != b'0') => {
                length = length * 10 + usize::from(octet - b'0');
            }
            b' ' if i > 0 => return Count::Is { length, header: i + 1 },
            _ => return Count::Wrong,
        }
    }
    Count::More
}
