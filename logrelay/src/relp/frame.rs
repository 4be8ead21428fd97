//! RELP frames: `TXNR SP COMMAND SP DATALEN [SP DATA] LF`.
//!
//! Limits: numbers have at most 9 digits, a command at most [`COMMAND_MAX`] letters, DATA what the decoder is told. A
//! frame that breaks the rules ends the connection, as the protocol wants ("on any framing error close").

use std::ops::Range;

/// The largest transaction number; after it comes 1 again. 0 is for hints, which are not answered.
pub const TXNR_MAX: u32 = 999_999_999;
/// Letters of a command at most.
pub const COMMAND_MAX: usize = 32;
/// Octets of a frame besides its data at most.
pub const OVERHEAD: usize = 9 + 1 + COMMAND_MAX + 1 + 9 + 1 + 1;
/// Octets of data that every peer must be able to take (relp.md: "in relp version 1, it is always 128K").
pub const DATA_MAX: usize = 128 << 10;

const DIGITS_MAX: usize = 9;

/// A frame, borrowed from what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Transaction number, 0 to [`TXNR_MAX`].
    pub txnr: u32,
    /// Letters.
    pub command: &'a [u8],
    /// The data; empty if there is none.
    pub data: &'a [u8],
}

/// Why the connection must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum Bad {
    /// No transaction number.
    #[error("a frame begins with no transaction number of one to nine digits; is the peer speaking RELP?")]
    Txnr,
    /// No command.
    #[error("a frame has no command of one to 32 letters")]
    Command,
    /// No length.
    #[error("a frame has no length of one to nine digits")]
    Length,
    /// The data is longer than allowed.
    #[error("a frame is longer than any line that we could cut (4 MiB); lower the size of messages at the sender")]
    TooLong,
    /// The data does not end where its length says.
    #[error("a frame does not end with LF where its length says")]
    Trailer,
    /// The transaction number is not the one after the former.
    #[error("a transaction number is not the one after the former")]
    Order,
    /// A command that is not allowed yet, or any more.
    #[error("a command came before open, or after close")]
    State,
}

impl Bad {
    /// Number of reasons.
    pub const COUNT: usize = 7;

    /// The words in metrics, in the order of the reasons.
    pub const WORDS: [&'static str; Self::COUNT] =
        ["txnr", "command", "length", "too_long", "trailer", "order", "state"];
}

/// The transaction number after this one.
pub fn next_txnr(txnr: u32) -> u32 {
    if txnr >= TXNR_MAX { 1 } else { txnr + 1 }
}

/// Appends a frame. The command must be letters, and the data shorter than 1,000,000,000 octets.
pub fn encode(txnr: u32, command: &[u8], data: &[u8], out: &mut Vec<u8>) {
    out.reserve(OVERHEAD + data.len());
    number(txnr, out);
    out.push(b' ');
    out.extend_from_slice(command);
    out.push(b' ');
    number(u32::try_from(data.len()).unwrap_or(TXNR_MAX), out);
    if !data.is_empty() {
        out.push(b' ');
        out.extend_from_slice(data);
    }
    out.push(b'\n');
}

fn number(mut value: u32, out: &mut Vec<u8>) {
    let start = out.len();
    loop {
        out.push(b'0' + (value % 10) as u8); // a digit
        value /= 10;
        if value == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

/// Reads frames. It keeps nothing: the octets of an incomplete frame stay with the caller.
#[derive(Debug, Clone, Copy)]
pub struct Decoder {
    /// Octets of data at most.
    pub max_data: usize,
}

impl Decoder {
    /// The first frame of `octets` and the number of octets that it takes; `None` when more must arrive.
    ///
    /// # Errors
    /// What stands there is no frame, or too long a one; nothing after it can be read.
    pub fn decode<'a>(&self, octets: &'a [u8]) -> Result<Option<(Frame<'a>, usize)>, Bad> {
        let Some(Head { txnr, command, start, length }) = head(octets)? else { return Ok(None) };
        if length > self.max_data {
            return Err(Bad::TooLong);
        }
        let end = start + length;
        match octets.get(end) {
            None => Ok(None),
            Some(b'\n') => {
                let command = octets.get(command).unwrap_or_default();
                let data = octets.get(start..end).unwrap_or_default();
                Ok(Some((Frame { txnr, command, data }, end + 1)))
            }
            Some(_) => Err(Bad::Trailer),
        }
    }
}

/// What comes before the data of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) txnr: u32,
    /// Where the command stands.
    pub(super) command: Range<usize>,
    /// Where the data begins.
    pub(super) start: usize,
    /// Octets of data.
    pub(super) length: usize,
}

/// Reads what comes before the data of the first frame; `None` when more must arrive.
pub(super) fn head(octets: &[u8]) -> Result<Option<Head>, Bad> {
    let place = |rest: &[u8]| octets.len() - rest.len();
    let Some((txnr, rest)) = field(octets, DIGITS_MAX, u8::is_ascii_digit, Bad::Txnr)? else { return Ok(None) };
    let Some(rest) = blank(rest, Bad::Txnr)? else { return Ok(None) };
    let from = place(rest);
    let Some((_, rest)) = field(rest, COMMAND_MAX, u8::is_ascii_alphabetic, Bad::Command)? else { return Ok(None) };
    let command = from..place(rest);
    let Some(rest) = blank(rest, Bad::Command)? else { return Ok(None) };
    let Some((length, rest)) = field(rest, DIGITS_MAX, u8::is_ascii_digit, Bad::Length)? else { return Ok(None) };
    let length = value(length) as usize;
    let start = match (rest.first(), length) {
        (None, _) => return Ok(None),
        (Some(b' '), _) => place(rest) + 1,
        (Some(b'\n'), 0) => place(rest),
        _ => return Err(Bad::Length),
    };
    Ok(Some(Head { txnr: value(txnr), command, start, length }))
}

type Pair<'a> = (&'a [u8], &'a [u8]);

/// One to `most` octets of a kind, and what follows; `None` when it may go on beyond what is there.
fn field(octets: &[u8], most: usize, kind: fn(&u8) -> bool, bad: Bad) -> Result<Option<Pair<'_>>, Bad> {
    let length = octets.iter().take(most + 1).take_while(|octet| kind(octet)).count();
    match octets.split_at_checked(length) {
        _ if length > most => Err(bad),
        Some((_, [])) | None => Ok(None),
        Some(_) if length == 0 => Err(bad),
        split => Ok(split),
    }
}

fn blank(octets: &[u8], bad: Bad) -> Result<Option<&[u8]>, Bad> {
    match octets.split_first() {
        None => Ok(None),
        Some((b' ', rest)) => Ok(Some(rest)),
        Some(_) => Err(bad),
    }
}

/// The value of at most nine digits.
fn value(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'))
}

/// The data of a `rsp`: `RSP-CODE [SP HUMANMSG] [LF CMDDATA]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// 200 or 500; 0 for the empty answer to `close`.
    pub code: u16,
    /// Words for people.
    pub text: &'a [u8],
    /// What the command is answered with, such as the offers of `open`.
    pub data: &'a [u8],
}

impl<'a> Response<'a> {
    /// Reads the data of a `rsp`; `None` if it begins with no code of three digits.
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        if data.is_empty() {
            return Some(Self { code: 0, text: b"", data: b"" });
        }
        let (code, rest) = data.split_first_chunk::<3>()?;
        if !code.iter().all(u8::is_ascii_digit) || !matches!(rest.first(), None | Some(b' ' | b'\n')) {
            return None;
        }
        let (text, data) = match memchr::memchr(b'\n', rest) {
            Some(at) => (rest.get(..at)?, rest.get(at + 1..)?),
            None => (rest, &b""[..]),
        };
        let code = u16::try_from(value(code)).ok()?;
        Some(Self { code, text: text.strip_prefix(b" ").unwrap_or(text), data })
    }
}

/// The values of an offer (`NAME=VALUE[,VALUE]`, each on a line of its own), and nothing if it is not there.
pub fn offer<'a>(offers: &'a [u8], name: &str) -> Option<impl Iterator<Item = &'a [u8]> + use<'a>> {
    offers.split(|octet| *octet == b'\n').find_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let values = line.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(values.split(|octet| *octet == b','))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DECODER: Decoder = Decoder { max_data: 1000 };

    fn bad(octets: &[u8]) -> Bad {
        DECODER.decode(octets).unwrap_err()
    }

    #[test]
    fn frames_of_the_specification() {
        let (frame, used) = DECODER.decode(b"1 open 3 a=b\n2 close 0\n").unwrap().unwrap();
        assert_eq!((frame, used), (Frame { txnr: 1, command: b"open", data: b"a=b" }, 13));
        let close = Frame { txnr: 2, command: b"close", data: b"" };
        assert_eq!(DECODER.decode(b"2 close 0\nx"), Ok(Some((close, 10))));
        assert_eq!(DECODER.decode(b"2 close 0 \n"), Ok(Some((close, 11))));
        assert_eq!(DECODER.decode(b"999999999 syslog 2 \n\n\n").unwrap().unwrap().0.data, b"\n\n");
        for end in 0..13 {
            assert_eq!(DECODER.decode(&b"1 open 3 a=b\n"[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn what_is_no_frame_has_a_reason() {
        assert_eq!(bad(b"<13>x"), Bad::Txnr);
        assert_eq!(bad(b" 1 x 0\n"), Bad::Txnr);
        assert_eq!(bad(b"1234567890"), Bad::Txnr);
        assert_eq!(bad(b"1\n"), Bad::Txnr);
        assert_eq!(bad(b"1  0\n"), Bad::Command);
        assert_eq!(bad(b"1 op3n 0\n"), Bad::Command);
        assert_eq!(bad(&[b"1 ".to_vec(), b"a".repeat(33)].concat()), Bad::Command);
        assert_eq!(bad(b"1 open x\n"), Bad::Length);
        assert_eq!(bad(b"1 open 3\n"), Bad::Length);
        assert_eq!(bad(b"1 open 1234567890 "), Bad::Length);
        assert_eq!(bad(b"1 open 1001 "), Bad::TooLong);
        assert_eq!(bad(b"1 open 3 abcd\n"), Bad::Trailer);
        for (i, word) in Bad::WORDS.iter().enumerate() {
            assert_eq!(Bad::State as usize + 1, Bad::COUNT, "{i} {word}");
        }
    }

    #[test]
    fn responses_and_offers() {
        let response = Response::parse(b"200 OK\nrelp_version=0\ncommands=syslog,gatehouse").unwrap();
        assert_eq!((response.code, response.text), (200, b"OK".as_slice()));
        let commands: Vec<_> = offer(response.data, "commands").unwrap().collect();
        assert_eq!(commands, [b"syslog".as_slice(), b"gatehouse"]);
        assert!(offer(response.data, "command").is_none());
        assert_eq!(Response::parse(b"500 no").unwrap(), Response { code: 500, text: b"no", data: b"" });
        assert_eq!(Response::parse(b"").unwrap().code, 0);
        assert_eq!(Response::parse(b"200").unwrap().code, 200);
        assert!(Response::parse(b"20 OK").is_none() && Response::parse(b"2000").is_none());
        assert_eq!((next_txnr(0), next_txnr(1), next_txnr(TXNR_MAX)), (1, 2, 1));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            txnr in 0..=TXNR_MAX, command in "[a-zA-Z]{1,32}", data in proptest::collection::vec(any::<u8>(), 0..100)
        ) {
            let mut octets = Vec::new();
            encode(txnr, command.as_bytes(), &data, &mut octets);
            prop_assert!(octets.len() <= data.len() + OVERHEAD);
            for end in 0..octets.len() {
                prop_assert_eq!(DECODER.decode(&octets[..end]), Ok(None));
            }
            let frame = Frame { txnr, command: command.as_bytes(), data: &data };
            prop_assert_eq!(DECODER.decode(&octets), Ok(Some((frame, octets.len()))));
        }

        #[test]
        fn an_error_does_not_depend_on_what_follows(octets in "[0-9a-z \n]{0,40}", more in any::<Vec<u8>>()) {
            if let Err(error) = DECODER.decode(octets.as_bytes()) {
                let longer = [octets.as_bytes(), &more].concat();
                prop_assert_eq!(DECODER.decode(&longer), Err(error));
            }
        }
    }
}
