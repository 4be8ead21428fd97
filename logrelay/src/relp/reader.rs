//! Frames of a server's connection, out of its read buffer. Of a line that is longer than `max_line` the rest is dropped as
//! it arrives, so a client holds no more memory with long lines than with short ones.
//!
//! Limits: of data, what [`Session::data_max`] allows for the command.

use super::{
    frame::{Bad, Frame, Head, head},
    session::{LINE, Session},
};
use crate::framing::Buffer;

/// A frame that has arrived whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole<'a> {
    /// The frame; of a line at most `max_line` octets.
    pub(super) frame: Frame<'a>,
    /// Octets of data that it had on the wire.
    pub(super) length: usize,
    /// Octets of the buffer that it takes.
    pub(super) used: usize,
}

/// Reads the frames of one connection.
#[derive(Debug)]
pub(super) struct Reader {
    max_line: usize,
    /// Octets of the data of the present frame that were dropped.
    dropped: usize,
}

impl Reader {
    pub(super) fn new(max_line: usize) -> Self {
        Self { max_line, dropped: 0 }
    }

    /// The first frame in the buffer, which the caller consumes; `None` when more must arrive.
    ///
    /// # Errors
    /// What stands there is no frame, or too long a one; nothing after it can be read.
    pub(super) fn next<'b>(&mut self, session: &Session, buffer: &'b mut Buffer) -> Result<Option<Whole<'b>>, Bad> {
        let pending = buffer.pending();
        let Some(Head { txnr, command, start, length }) = head(pending)? else { return Ok(None) };
        let name = pending.get(command.clone()).unwrap_or_default();
        if length > session.data_max(name) {
            return Err(Bad::TooLong);
        }
        let keep = if name == LINE { length.min(self.max_line) } else { length };
        // What was dropped was behind what is kept.
        let end = start + length - self.dropped;
        let arrived = pending.len();
        if arrived <= end {
            let most = start + keep;
            self.dropped += arrived.saturating_sub(most);
            buffer.truncate(most);
            return Ok(None);
        }
        let pending = buffer.pending();
        if pending.get(end) != Some(&b'\n') {
            return Err(Bad::Trailer);
        }
        self.dropped = 0;
        let command = pending.get(command).unwrap_or_default();
        let data = pending.get(start..start + keep).unwrap_or_default();
        Ok(Some(Whole { frame: Frame { txnr, command, data }, length, used: end + 1 }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        message::RECORD_MAX,
        relp::{
            frame::{DATA_MAX, encode},
            session::Answers,
        },
    };

    fn open(commands: &str) -> Session {
        let mut session = Session::new(true);
        let offers = format!("commands={commands}");
        session
            .take(Frame { txnr: 1, command: b"open", data: offers.as_bytes() }, &mut Answers::default())
            .map(|_| session)
            .unwrap()
    }

    fn next(session: &Session, octets: &str) -> Result<bool, Bad> {
        let mut buffer = Buffer::new(100);
        buffer.put(octets.as_bytes());
        Reader::new(10).next(session, &mut buffer).map(|whole| whole.is_some())
    }

    #[test]
    fn only_what_was_agreed_on_may_be_long() {
        let (new, lines, all) = (Session::default(), open("syslog"), open("syslog,gatehouse"));
        for (session, command, most) in [
            (&new, "syslog", DATA_MAX),
            (&new, "open", DATA_MAX),
            (&lines, "syslog", RECORD_MAX),
            (&lines, "gatehouse", DATA_MAX),
            (&lines, "other", DATA_MAX),
            (&all, "gatehouse", RECORD_MAX),
        ] {
            assert_eq!(next(session, &format!("1 {command} {most} x")), Ok(false), "{command}");
            assert_eq!(next(session, &format!("1 {command} {} x", most + 1)), Err(Bad::TooLong), "{command}");
        }
    }

    #[test]
    fn a_long_line_takes_no_more_room_than_a_short_one() {
        let (session, mut reader, mut buffer) = (open("syslog"), Reader::new(1000), Buffer::new(4096));
        let mut octets = Vec::new();
        encode(2, b"syslog", &vec![b'x'; 3_000_000], &mut octets);
        for piece in octets.chunks(2000) {
            assert!(reader.next(&session, &mut buffer).unwrap().is_none());
            assert!(buffer.pending().len() < 1100);
            buffer.put(piece);
        }
        let whole = reader.next(&session, &mut buffer).unwrap().unwrap();
        assert_eq!((whole.frame.data.len(), whole.length), (1000, 3_000_000));
        let used = whole.used;
        buffer.consume(used);
        assert!(buffer.pending().is_empty() && buffer.capacity() < 16_000);
        assert_eq!(next(&session, "2 syslog 12 0123456789abX"), Err(Bad::Trailer));
    }

    proptest! {
        #[test]
        fn in_whatever_pieces_lines_are_cut_and_the_rest_is_whole(
            frames in proptest::collection::vec(("syslog|gatehouse|x", proptest::collection::vec(any::<u8>(), 0..40)), 1..8),
            size in 1usize..60,
        ) {
            let (session, mut reader, mut buffer) = (open("syslog,gatehouse"), Reader::new(10), Buffer::new(16));
            let (mut octets, mut got) = (Vec::new(), Vec::new());
            for (command, data) in &frames {
                encode(7, command.as_bytes(), data, &mut octets);
            }
            for piece in octets.chunks(size) {
                buffer.put(piece);
                while let Some(Whole { frame, length, used }) = reader.next(&session, &mut buffer).unwrap() {
                    got.push((String::from_utf8(frame.command.to_vec()).unwrap(), frame.data.to_vec(), length));
                    buffer.consume(used);
                }
            }
            let cut = |(command, data): (String, Vec<u8>)| {
                let keep = if command == "syslog" { data.len().min(10) } else { data.len() };
                (command, data[..keep].to_vec(), data.len())
            };
            prop_assert_eq!(got, frames.into_iter().map(cut).collect::<Vec<_>>());
            prop_assert!(buffer.pending().is_empty());
        }
    }
}
