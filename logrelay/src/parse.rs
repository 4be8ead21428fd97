//! Reading a line: PRI, header, time. A line is never refused; what could not be read is the message.
//!
//! A line is one frame without its framing. PRI is read first, so that facility and severity survive whatever follows.
//! Then come our own readers, by profile: RFC 5424 (`ietf`), RFC 3164 and its kin (`bsd`), Cisco, FortiGate. Only where
//! they find no header is `syslog_loose` asked (`loose`), and only where a stamp ends; what follows is read by us.
//!
//! Limits: nothing is allocated but by `syslog_loose`, which sees the first 1,024 octets at most. All work is linear in
//! the length of the line. Nothing is kept from line to line; what a sender's stamps teach is in [`zone::Zone`], which
//! the caller holds.

use crate::{
    config::Profile,
    message::{Flags, Status},
};

mod bsd;
mod cisco;
mod fortigate;
mod ietf;
mod loose;
mod stamp;
#[cfg(test)]
mod tests;
mod time;
pub mod zone;

/// Stamps further than this from the time of receipt are marked [`Flags::SKEWED`]: ten years.
const SKEW_MAX_US: u64 = 3_652 * 86_400 * 1_000_000;

/// What is known beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hints {
    /// Time of receipt, microseconds since 1970: stamps without a year are given the year that brings them closest to it.
    pub received_us: i64,
    /// How the line is read.
    pub profile: Profile,
    /// Offset from UTC, minutes, of stamps that name none.
    pub offset_min: i16,
}

/// A time in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Microseconds since 1970, UTC. A leap second (`:60`) is the last microsecond of the second before it.
    pub us: i64,
    /// Offset from UTC, minutes: as the stamp says, else as [`Hints::offset_min`] says.
    pub offset_min: i16,
    /// Whether the stamp itself named its offset.
    pub had_zone: bool,
    /// Whether the stamp named its year.
    pub had_year: bool,
}

impl Stamp {
    /// The time on the sender's clock, read as if it were UTC: what [`zone::Zone::feed`] learns from.
    pub fn wall_us(&self) -> i64 {
        self.us.saturating_add(i64::from(self.offset_min) * 60_000_000)
    }
}

/// A line, taken apart. All slices point into the line, but for the program name of FortiGate lines that name none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// Facility * 8 + severity, 0 to 191; none if the line had no valid PRI (RFC 3164 section 4.3.3 assumes 13).
    pub pri: Option<u8>,
    /// How well the line could be read.
    pub status: Status,
    /// The time in the line, if there is one that exists.
    pub stamp: Option<Stamp>,
    /// HOSTNAME; empty if there is none, or NIL.
    pub host: &'a [u8],
    /// APP-NAME, or TAG without its PID. Cisco's mnemonic stays as it is, `%ASA-4-313005`: so do syslog-ng and rsyslog
    /// read it, and a line that is sent on in the format of RFC 3164 is Cisco's own again.
    pub program: &'a [u8],
    /// PROCID, or what stands in brackets after TAG.
    pub pid: &'a [u8],
    /// MSGID of RFC 5424.
    pub msgid: &'a [u8],
    /// STRUCTURED-DATA of RFC 5424 as it stood there, brackets and escapes included; empty for NIL.
    pub sdata: &'a [u8],
    /// The rest. Carriage returns, newlines and NULs at its end are left out, and the BOM of RFC 5424 at its start.
    pub message: &'a [u8],
    /// [`Flags::NOT_UTF8`], [`Flags::NO_PRI`], [`Flags::NO_STAMP`], [`Flags::SKEWED`].
    pub flags: Flags,
}

impl<'a> Parsed<'a> {
    fn new(status: Status, stamp: Option<Stamp>, message: &'a [u8]) -> Self {
        Self {
            pri: None,
            status,
            stamp,
            host: b"",
            program: b"",
            pid: b"",
            msgid: b"",
            sdata: b"",
            message,
            flags: Flags::default(),
        }
    }
}

/// Reads a line. Never fails: see [`Status`] and [`Flags`] for how far it came.
///
/// A line that begins with `<` and has no valid PRI is the message as a whole. One that begins otherwise may still have
/// a header, as in a file that a syslog daemon wrote.
pub fn parse<'a>(raw: &'a [u8], hints: &Hints) -> Parsed<'a> {
    let line = trim_end(raw);
    let (pri, text) = match pri(line) {
        Some((pri, text)) => (Some(pri), text),
        None => (None, line),
    };
    let parsed = if pri.is_none() && line.first() == Some(&b'<') {
        None
    } else {
        match hints.profile {
            Profile::Rfc | Profile::Devlog => by_rfc(text, hints, pri.is_some()),
            Profile::Cisco => cisco::read(text, hints).or_else(|| by_rfc(text, hints, pri.is_some())),
            Profile::Fortigate => fortigate::read(text, hints).or_else(|| by_rfc(text, hints, pri.is_some())),
            Profile::Plain => None,
        }
    };
    let rest_only = if pri.is_some() { Status::PriOnly } else { Status::Unparsed };
    let mut parsed = parsed.unwrap_or_else(|| Parsed::new(rest_only, None, text));
    parsed.pri = pri;
    let mut flags = Flags::default();
    if pri.is_none() {
        flags = flags.with(Flags::NO_PRI);
    }
    match parsed.stamp {
        None => flags = flags.with(Flags::NO_STAMP),
        Some(stamp) if stamp.us.abs_diff(hints.received_us) > SKEW_MAX_US => flags = flags.with(Flags::SKEWED),
        Some(_) => {}
    }
    if !raw.is_ascii() && std::str::from_utf8(raw).is_err() {
        flags = flags.with(Flags::NOT_UTF8);
    }
    parsed.flags = flags;
    parsed
}

/// RFC 5424, RFC 3164, what `syslog_loose` makes of it, and a TAG without a time before it, in this order.
fn by_rfc<'a>(text: &'a [u8], hints: &Hints, has_pri: bool) -> Option<Parsed<'a>> {
    let text = trim_blanks(text);
    ietf::read(text, hints, has_pri)
        .or_else(|| bsd::read(text, hints))
        .or_else(|| loose::read(text, hints))
        .or_else(|| bsd::tag_only(text, has_pri))
}

/// PRI (RFC 5424 section 6.2.1): `<0>` to `<191>`, without leading zeros.
fn pri(line: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = match line {
        [b'<', a, b'>', rest @ ..] => ([b'0', b'0', *a], rest),
        [b'<', a @ b'1'..=b'9', b, b'>', rest @ ..] => ([b'0', *a, *b], rest),
        [b'<', b'1', b, c, b'>', rest @ ..] => ([b'1', *b, *c], rest),
        _ => return None,
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    (value <= 191).then_some((value as u8, rest))
}

/// Without carriage returns, newlines and NULs at the end (Python's SysLogHandler adds a NUL).
fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r' | b'\n' | 0] = text {
        text = rest;
    }
    text
}

fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = text {
        text = rest;
    }
    text
}

/// Without one blank at the start: the separator after TAG or STRUCTURED-DATA. More are part of the message.
fn after_blank(text: &[u8]) -> &[u8] {
    text.strip_prefix(b" ").unwrap_or(text)
}

/// Empty for the NILVALUE of RFC 5424.
fn unless_nil(field: &[u8]) -> &[u8] {
    if field == b"-" { b"" } else { field }
}
