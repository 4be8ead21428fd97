//! `syslog_loose`, for headers that our own readers do not know: blanks and digits in odd numbers, tabs.
//!
//! It is asked whether there is a header, what time it names and where the time ends. Everything after the time is read
//! by us, because it takes parts of the message for structured data, the message's first word for a program, and so on.
//!
//! Limits: it sees the first [`HEAD`] octets, copied so that each octet that is not ASCII is a `?`: it needs UTF-8, and
//! so places in the copy are places in the line. It allocates a few dozen octets for months.

use chrono::FixedOffset;
use syslog_loose::{Protocol, Variant, parse_message_with_year_exact_tz};

use super::{
    Hints, Parsed, Stamp, bsd, ietf, stamp,
    time::{Wall, year_of},
};
use crate::config::Profile;

/// Octets of a line that are looked at: a header and more.
const HEAD: usize = 1_024;

/// Reads a line after its PRI.
pub(super) fn read<'a>(text: &'a [u8], hints: &Hints) -> Option<Parsed<'a>> {
    // It is asked only where it could succeed: most lines without a header end here.
    let month = || text.first_chunk().is_some_and(|letters| stamp::month(*letters).is_some());
    if !text.first()?.is_ascii_digit() && !month() {
        return None;
    }
    let mut copy = [0u8; HEAD];
    for (octet, original) in copy.iter_mut().zip(text) {
        *octet = if original.is_ascii() { *original } else { b'?' };
    }
    let head = std::str::from_utf8(copy.get(..text.len().min(HEAD))?).ok()?;
    let year = |(month, day, hour, minute, second): (u32, u32, u32, u32, u32)| {
        let small = |value: u32| u8::try_from(value).unwrap_or(u8::MAX);
        let (month, day, hour, minute, second) = (small(month), small(day), small(hour), small(minute), small(second));
        let wall = Wall { month, day, hour, minute, second, ..Wall::default() };
        // In UTC, because the year is asked for that the clock shows.
        let utc = Hints { received_us: hints.received_us.saturating_add(offset_us(hints)), offset_min: 0, ..*hints };
        wall.stamp(&utc).map_or(1970, |stamp| year_of(stamp.us))
    };
    // Its own handling of zones differs from form to form, so all are read as UTC and moved by us.
    let message = parse_message_with_year_exact_tz(head, year, FixedOffset::east_opt(0), Variant::Either).ok()?;
    let zoned = message.protocol != Protocol::RFC3164 || !month();
    let stamp = message.timestamp.and_then(|time| {
        let us = time.timestamp_micros();
        let offset_min = if zoned { (time.offset().local_minus_utc() / 60) as i16 } else { hints.offset_min };
        let us = if zoned { us } else { us.saturating_sub(offset_us(hints)) };
        let had_year = zoned || has_year(text);
        (0..=253_402_300_799_999_999).contains(&us).then_some(Stamp { us, offset_min, had_zone: zoned, had_year })
    });
    if message.protocol != Protocol::RFC3164 {
        return ietf::lenient(text, stamp);
    }
    // A dash stands for a time that is not there, and might be the first octet of the message.
    message.timestamp?;
    let place = |part: &str| (part.as_ptr() as usize).checked_sub(head.as_ptr() as usize);
    let start = message.hostname.or(message.appname).and_then(place).filter(|&start| start > 0)?;
    text.get(start - 1).filter(|octet| octet.is_ascii_whitespace())?;
    Some(Parsed { stamp, ..bsd::after_stamp(text.get(start..)?, hints.profile == Profile::Devlog) })
}

fn offset_us(hints: &Hints) -> i64 {
    i64::from(hints.offset_min) * 60_000_000
}

/// Whether a third number stands between month and time: `Oct 11 2026 22:14:15`.
fn has_year(text: &[u8]) -> bool {
    let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.take(3).nth(2).is_some_and(|word| word.iter().all(u8::is_ascii_digit))
}
