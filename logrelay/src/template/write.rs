//! What each macro writes.

use std::{io::Write as _, net::IpAddr};

use super::{
    DateCache, Env, Known, Macro, Time,
    dates::{DAYS, MONTHS, two},
    header,
    macros::Date,
};
use crate::message::{FACILITIES, Field, Flags, Message, SEVERITIES, Status};

/// What the groups of a pattern matched, for the replacement of `subst()`.
#[derive(Debug)]
pub struct Matches<'a> {
    /// What was searched.
    pub(crate) subject: &'a [u8],
    /// Where the groups lie in it.
    pub(crate) groups: Option<&'a regex::bytes::CaptureLocations>,
    /// Where the whole match lies, when there are no groups.
    pub(crate) whole: (usize, usize),
}

impl Matches<'_> {
    /// No match.
    pub const NONE: Self = Self { subject: b"", groups: None, whole: (0, 0) };

    /// What a group matched; empty if it matched nothing.
    pub(super) fn group(&self, number: u8) -> &[u8] {
        let place = match self.groups {
            Some(groups) => groups.get(usize::from(number)),
            None => (number == 0).then_some(self.whole),
        };
        place.and_then(|(start, end)| self.subject.get(start..end)).unwrap_or_default()
    }
}

impl Macro {
    /// Appends what the macro stands for.
    pub(crate) fn write(&self, message: &Message<'_>, env: &Env<'_>, dates: &mut DateCache, out: &mut Vec<u8>) {
        match self {
            Self::Known(known) => known.write(message, env, dates, out),
            Self::Date(time, date) => date.write(*time, message, env, dates, out),
            Self::Sdata(path) => unescape(sdata(message.sdata, path), out),
            Self::Value(_) => out.extend_from_slice(self.borrow(message).unwrap_or_default()),
        }
    }
}

impl Known {
    fn write(self, message: &Message<'_>, env: &Env<'_>, dates: &mut DateCache, out: &mut Vec<u8>) {
        match self {
            Self::Message => out.extend_from_slice(message.message),
            Self::Host => out.extend_from_slice(message.field(Field::Host)),
            Self::MsgHdr => header::legacy(message, out),
            Self::HostFrom => match message.address {
                _ if message.flags.has(Flags::KNOWN) => out.extend_from_slice(message.field(Field::Host)),
                Some(address) => display(address, out),
                None => out.extend_from_slice(env.loghost.as_bytes()),
            },
            Self::LogHost => out.extend_from_slice(env.loghost.as_bytes()),
            Self::HostId => display(format_args!("{:08x}", crc32c::crc32c(env.loghost.as_bytes())), out),
            Self::SourceIp => match message.address {
                Some(IpAddr::V4(address)) => dotted(address.octets(), out),
                Some(address) => display(address, out),
                None => out.extend_from_slice(b"127.0.0.1"),
            },
            Self::SourcePort => display(message.port, out),
            Self::Facility => match FACILITIES.get(usize::from(message.facility())) {
                Some(name) => out.extend_from_slice(name.as_bytes()),
                None => display(format_args!("{:x}", message.facility()), out),
            },
            Self::FacilityNum => octet(message.facility(), out),
            Self::Level => out.extend_from_slice(SEVERITIES[usize::from(message.severity())].as_bytes()),
            Self::LevelNum => octet(message.severity(), out),
            Self::Pri => octet(message.pri, out),
            Self::Tag => display(format_args!("{:02x}", message.pri), out),
            Self::BsdTag => out.extend_from_slice(&[b'0' + message.severity(), b'A' + message.facility()]),
            Self::Sequence if message.sequence == 0 => {}
            Self::Sequence => display(message.sequence, out),
            Self::UniqId if message.sequence == 0 => {}
            Self::UniqId => {
                Self::HostId.write(message, env, dates, out);
                display(format_args!("@{:016x}", message.sequence), out);
            }
            Self::RawMsgSize => display(message.original_len, out),
            Self::Tags => list(message, Field::Tags, out),
            Self::Roles => list(message, Field::Roles, out),
            Self::Groups => list(message, Field::Groups, out),
            Self::Labels => list(message, Field::Labels, out),
            Self::Rfc5424Header => header::rfc5424(message, env, dates, out),
            _ => out.extend_from_slice(Macro::Known(self).borrow(message).unwrap_or_default()),
        }
    }
}

/// The time in microseconds since 1970 and its zone.
pub(super) fn time(time: Time, message: &Message<'_>, env: &Env<'_>) -> (i64, i16) {
    let (us, own) = match time {
        Time::Stamp if message.flags.has(Flags::NO_STAMP) => (message.stamp_us, None),
        Time::Stamp => (message.stamp_us, Some(message.stamp_offset_min)),
        Time::Received => (message.received_us, None),
        Time::Now => (env.now_us, None),
    };
    (us, env.zone_min.or(own).unwrap_or(env.offset_min))
}

impl Date {
    fn write(self, which: Time, message: &Message<'_>, env: &Env<'_>, dates: &mut DateCache, out: &mut Vec<u8>) {
        let (us, offset) = time(which, message, env);
        let (seconds, micros) = (us.div_euclid(1_000_000), us.rem_euclid(1_000_000).unsigned_abs() as u32);
        let at = dates.at(seconds, offset);
        let civil = at.civil;
        let small = |number: i8| two(u16::from(number.unsigned_abs()));
        match self {
            Self::Bsd => {
                out.extend_from_slice(&at.bsd);
                fraction(micros, env.frac_digits, out);
            }
            Self::Iso => {
                out.extend_from_slice(&at.iso);
                fraction(micros, env.frac_digits, out);
                out.extend_from_slice(&at.zone);
            }
            Self::Full => {
                out.extend_from_slice(&at.iso[..4]);
                out.push(b' ');
                out.extend_from_slice(&at.bsd);
                fraction(micros, env.frac_digits, out);
            }
            Self::UnixTime => {
                display(seconds, out);
                fraction(micros, env.frac_digits, out);
            }
            Self::Year => out.extend_from_slice(&at.iso[..4]),
            Self::YearDay => display(format_args!("{:03}", at.yearday() + 1), out),
            Self::Month => out.extend_from_slice(&at.iso[5..7]),
            Self::MonthAbbrev => out.extend_from_slice(&at.bsd[..3]),
            Self::MonthName => out.extend_from_slice(month_name(civil.month()).as_bytes()),
            Self::MonthWeek => display(month_week(civil.day(), at.weekday()), out),
            Self::Day => out.extend_from_slice(&at.iso[8..10]),
            Self::Hour => out.extend_from_slice(&at.iso[11..13]),
            Self::Hour12 => out.extend_from_slice(&small((civil.hour() + 11) % 12 + 1)),
            Self::AmPm => out.extend_from_slice(if civil.hour() < 12 { b"AM" } else { b"PM" }),
            Self::Min => out.extend_from_slice(&at.iso[14..16]),
            Self::Sec => out.extend_from_slice(&at.iso[17..19]),
            Self::Msec => display(format_args!("{:03}", micros / 1000), out),
            Self::Usec => display(format_args!("{micros:06}"), out),
            Self::WeekDay => display(at.weekday() + 1, out),
            Self::WeekDayAbbrev => out.extend_from_slice(&DAYS[at.weekday()].as_bytes()[..3]),
            Self::WeekDayName => out.extend_from_slice(DAYS[at.weekday()].as_bytes()),
            // Weeks begin on Monday; the days before the first one are week 0.
            Self::Week => out.extend_from_slice(&two((at.yearday() + 7 - (at.weekday() as u16 + 6) % 7) / 7)),
            Self::IsoWeek => out.extend_from_slice(&small(civil.date().iso_week_date().week())),
            Self::Zone => out.extend_from_slice(&at.zone),
        }
    }
}

fn month_name(month: i8) -> &'static str {
    MONTHS.get(usize::from(month.unsigned_abs()).saturating_sub(1)).copied().unwrap_or_default()
}

/// Week of the month as syslog-ng counts it: days 1 to 6 before the first Sunday are week 0.
fn month_week(day: i8, weekday: usize) -> usize {
    let day = usize::from(day.unsigned_abs());
    day / 7 + usize::from(weekday > 0 && day % 7 >= weekday)
}

/// `.123` with as many digits as asked for.
pub(super) fn fraction(micros: u32, digits: u8, out: &mut Vec<u8>) {
    if digits == 0 {
        return;
    }
    out.push(b'.');
    let mut unit = 100_000;
    for _ in 0..digits.min(6) {
        out.push(b'0' + (micros / unit % 10) as u8);
        unit /= 10;
    }
}

/// Appends what `text` displays. Writing into a vector cannot fail.
fn display(text: impl std::fmt::Display, out: &mut Vec<u8>) {
    let _ = write!(out, "{text}");
}

/// Appends a number of one octet: the formatting machinery costs more than all of it.
pub(super) fn octet(number: u8, out: &mut Vec<u8>) {
    if number >= 100 {
        out.push(b'0' + number / 100);
    }
    if number >= 10 {
        out.push(b'0' + number / 10 % 10);
    }
    out.push(b'0' + number % 10);
}

fn dotted(octets: [u8; 4], out: &mut Vec<u8>) {
    for (at, number) in octets.into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        octet(number, out);
    }
}

/// Appends a list with commas between.
fn list(message: &Message<'_>, field: Field, out: &mut Vec<u8>) {
    for (at, item) in message.list(field).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(item);
    }
}

/// The value of `id.key` in structured data, as it stands there; empty if there is none.
pub(super) fn sdata<'a>(mut rest: &'a [u8], path: &str) -> &'a [u8] {
    let path = path.as_bytes();
    while let Some(element) = rest.strip_prefix(b"[") {
        let id_len = memchr::memchr2(b' ', b']', element).unwrap_or(element.len());
        let (id, mut params) = element.split_at(id_len);
        let wanted = path.strip_prefix(id).and_then(|rest| rest.strip_prefix(b"."));
        while let Some(param) = params.strip_prefix(b" ") {
            let Some(equals) = memchr::memchr(b'=', param) else { return b"" };
            let (name, value) = param.split_at(equals);
            let Some(value) = value.strip_prefix(b"=\"") else { return b"" };
            let Some(end) = quote(value) else { return b"" };
            if wanted == Some(name) {
                return &value[..end];
            }
            params = &value[end + 1..];
        }
        let Some(next) = params.strip_prefix(b"]") else { return b"" };
        rest = next;
    }
    b""
}

/// Where the quote is that ends a value.
fn quote(value: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', value.get(at..)?)?;
        if value[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// Appends a value of structured data without the escapes of RFC 5424 section 6.3.3; other backslashes stand for themselves.
fn unescape(mut value: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = memchr::memchr(b'\\', value) {
        out.extend_from_slice(&value[..at]);
        let after = &value[at + 1..];
        if !matches!(after.first(), Some(b'"' | b'\\' | b']')) {
            out.push(b'\\');
        }
        let Some((next, rest)) = after.split_first() else { return };
        out.push(*next);
        value = rest;
    }
    out.extend_from_slice(value);
}

/// Whether the line was read as RFC 3164, so that what stood before the message can be repeated.
pub(super) fn is_legacy(message: &Message<'_>) -> bool {
    message.status == Status::Rfc3164
}
