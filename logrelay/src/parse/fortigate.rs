//! FortiGate: `date=2024-11-20 time=12:00:00 devname="fw1" ... eventtime=1732100400123456789 tz="+0100" ...`.
//!
//! Host is `devname`, program is `subtype`, or `fortigate` if there is none. The time is `eventtime` (seconds,
//! milliseconds, microseconds or nanoseconds since 1970, told apart by their digits), unless it is missing or far from
//! `date` and `time`. The message is the whole text of pairs. A header of another kind may stand before it.
//! Limits: [`PAIRS`] pairs are looked at.

use memchr::memmem;

use super::{Hints, Parsed, Stamp, stamp, time::Wall, trim_blanks, zone};
use crate::message::Status;

/// Pairs looked at, at most: what is looked for stands near the start.
const PAIRS: usize = 48;
/// Octets of a header before the pairs, at most.
const BEFORE_MAX: usize = 256;
/// `eventtime` and `date` with `time` may differ by this: any zone, and some more.
const APART_MAX_US: u64 = 36 * 3_600_000_000;

/// What the pairs say.
#[derive(Default)]
struct Found<'a> {
    date: Option<Wall>,
    time: Option<Wall>,
    event_us: Option<i64>,
    zone: Option<i16>,
    devname: Option<&'a [u8]>,
    subtype: Option<&'a [u8]>,
}

/// Reads a line after its PRI; none if it has no pairs that name a time.
pub(super) fn read<'a>(text: &'a [u8], hints: &Hints) -> Option<Parsed<'a>> {
    let text = trim_blanks(text);
    let first = text.iter().position(|octet| matches!(octet, b'=' | b' '))?;
    let message = if text.get(first) == Some(&b'=') {
        text
    } else {
        let at = memmem::find(text.get(..text.len().min(BEFORE_MAX))?, b" date=")?;
        text.get(at + 1..)?
    };
    let found = pairs(message);
    if found.event_us.is_none() && (found.date.is_none() || found.time.is_none()) {
        return None;
    }
    Some(Parsed {
        host: found.devname.unwrap_or_default(),
        program: found.subtype.filter(|subtype| !subtype.is_empty()).unwrap_or(b"fortigate"),
        ..Parsed::new(Status::Vendor, found.stamp(hints), message)
    })
}

/// The first pairs of a text.
fn pairs(text: &[u8]) -> Found<'_> {
    let (mut found, mut rest) = (Found::default(), text);
    for _ in 0..PAIRS {
        let Some((key, value, after)) = pair(rest) else { break };
        rest = after;
        match key {
            b"date" => found.date = stamp::date(value),
            b"time" => {
                let mut wall = Wall::default();
                found.time = stamp::time(&mut wall, value).filter(|rest| rest.is_empty()).map(|_| wall);
            }
            b"eventtime" => found.event_us = since_1970(value),
            b"tz" => found.zone = zone::offset_of(value),
            b"devname" => found.devname = Some(value),
            b"subtype" => found.subtype = Some(value),
            _ => continue,
        }
        if found.event_us.is_some() && found.zone.is_some() && found.devname.is_some() && found.subtype.is_some() {
            break;
        }
    }
    found
}

/// One pair: key, value without its quotes, what follows.
fn pair(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let text = trim_blanks(text);
    let equals =
        text.iter().position(|octet| matches!(octet, b'=' | b' ')).filter(|&at| text.get(at) == Some(&b'='))?;
    let (key, rest) = (text.get(..equals)?, text.get(equals + 1..)?);
    let Some(quoted) = rest.strip_prefix(b"\"") else {
        let end = rest.iter().position(|&octet| octet == b' ').unwrap_or(rest.len());
        return Some((key, rest.get(..end)?, rest.get(end..)?));
    };
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', quoted.get(at..)?)?;
        if quoted.get(at) == Some(&b'"') {
            return Some((key, quoted.get(..at)?, quoted.get(at + 1..)?));
        }
        at += 2;
    }
}

/// Microseconds since 1970.
fn since_1970(digits: &[u8]) -> Option<i64> {
    let value: i64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match digits.len() {
        10 => Some(value * 1_000_000),
        13 => Some(value * 1_000),
        16 => Some(value),
        19 => Some(value / 1_000),
        _ => None,
    }
}

impl Found<'_> {
    fn stamp(&self, hints: &Hints) -> Option<Stamp> {
        let clock = match (self.date, self.time) {
            (Some(date), Some(time)) => {
                let (hour, minute, second, micros) = (time.hour, time.minute, time.second, time.micros);
                Wall { hour, minute, second, micros, zone: self.zone, ..date }.stamp(hints)
            }
            _ => None,
        };
        let offset_min = self.zone.unwrap_or(hints.offset_min);
        let event = self.event_us.map(|us| Stamp { us, offset_min, had_zone: true, had_year: true });
        match (event, clock) {
            (Some(event), Some(clock)) if event.us.abs_diff(clock.us) > APART_MAX_US => Some(clock),
            (event, clock) => event.or(clock),
        }
    }
}
