//! Stamps as they are written, and where they end.
//!
//! | form | from |
//! |---|---|
//! | `Oct 11 22:14:15` | RFC 3164 section 4.1.2 |
//! | `Oct 11 22:14:15.123`, `,123` | precise stamps of IOS and syslog-ng |
//! | `Oct 11 2026 22:14:15`, `2026 Oct 11 22:14:15`, `Oct 11 22:14:15 2026` | ASA, NX-OS and others |
//! | `2026-10-11T22:14:15.003+02:00` | RFC 3339, with or without the zone |
//!
//! Each may be followed by `UTC`, `GMT`, `Z` or an offset, and by a colon. Of fractions six digits count, however many
//! there are. A stamp ends at a blank, a colon or the end of the line; else it is none.

use super::{time::Wall, trim_blanks, zone};

/// Digits of a year at most; what has more is not read as one.
const YEAR_DIGITS: usize = 9;

/// A stamp.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read<'a> {
    /// What it says.
    pub(super) wall: Wall,
    /// Whether a colon followed it: then no host does.
    pub(super) colon: bool,
    /// What follows, without blanks before it.
    pub(super) rest: &'a [u8],
}

/// A stamp at the start of the text, in any of the forms.
#[inline]
pub(super) fn any(text: &[u8]) -> Option<Read<'_>> {
    match text.first()? {
        b'0'..=b'9' => iso(text).or_else(|| year_first(text)),
        b'A'..=b'Z' | b'a'..=b'z' => common(text).or_else(|| bsd(text, None)),
        _ => None,
    }
}

/// The number of a month by its first three letters.
#[inline]
pub(super) fn month(letters: [u8; 3]) -> Option<u8> {
    Some(match &letters.map(|letter| letter | 0x20) {
        b"jan" => 1,
        b"feb" => 2,
        b"mar" => 3,
        b"apr" => 4,
        b"may" => 5,
        b"jun" => 6,
        b"jul" => 7,
        b"aug" => 8,
        b"sep" => 9,
        b"oct" => 10,
        b"nov" => 11,
        b"dec" => 12,
        _ => return None,
    })
}

/// `Mmm dd hh:mm:ss` and a blank, exactly: most lines.
#[inline]
fn common(text: &[u8]) -> Option<Read<'_>> {
    let (&[a, b, c, b' ', d1, d2, b' ', h1, h2, b':', m1, m2, b':', s1, s2, b' '], rest) = text.split_first_chunk()?
    else {
        return None;
    };
    // What may be a zone or a year is looked at by `tail`.
    if matches!(rest.first(), Some(b'U' | b'G' | b'Z' | b'+' | b'-' | b'0'..=b'9' | b' ')) {
        return None;
    }
    let wall = Wall {
        month: month([a, b, c])?,
        day: if d1 == b' ' { two(b'0', d2)? } else { two(d1, d2)? },
        hour: two(h1, h2)?,
        minute: two(m1, m2)?,
        second: two(s1, s2)?,
        ..Wall::default()
    };
    Some(Read { wall, colon: false, rest })
}

/// `Mmm d [yyyy] h:m:s[.fraction]`
fn bsd(text: &[u8], year: Option<i32>) -> Option<Read<'_>> {
    let (letters, rest) = text.split_first_chunk()?;
    let month = month(*letters)?;
    let (day, rest) = number(blanks(rest)?, 2)?;
    let mut rest = blanks(rest)?;
    let mut wall = Wall { year, month, day: day as u8, ..Wall::default() };
    if let Some((year, after)) = number(rest, YEAR_DIGITS)
        && let Some(after) = blanks(after)
    {
        wall.year = Some(year as i32);
        rest = after;
    }
    let rest = time(&mut wall, rest)?;
    tail(wall, rest)
}

/// `yyyy Mmm d h:m:s[.fraction]`
fn year_first(text: &[u8]) -> Option<Read<'_>> {
    let (year, rest) = number(text, YEAR_DIGITS)?;
    bsd(blanks(rest)?, Some(year as i32))
}

/// `yyyy-mm-ddThh:mm:ss[.fraction][zone]`
#[inline]
pub(super) fn iso(text: &[u8]) -> Option<Read<'_>> {
    let (&[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T' | b't', h1, h2, b':', i1, i2, b':', s1, s2], rest) =
        text.split_first_chunk()?
    else {
        return None;
    };
    let year = i32::from(two(y1, y2)?) * 100 + i32::from(two(y3, y4)?);
    let mut wall = Wall {
        year: Some(year),
        month: two(m1, m2)?,
        day: two(d1, d2)?,
        hour: two(h1, h2)?,
        minute: two(i1, i2)?,
        second: two(s1, s2)?,
        ..Wall::default()
    };
    let rest = fraction(&mut wall, rest);
    match rest {
        [b'Z' | b'z', b' ', rest @ ..] => {
            wall.zone = Some(0);
            Some(Read { wall, colon: false, rest: trim_blanks(rest) })
        }
        // Most lines; what is no offset after all is left to `tail`.
        &[sign @ (b'+' | b'-'), h1, h2, b':', m1, m2, b' ', ref rest @ ..]
            if let (Some(hours @ ..24), Some(minutes @ ..60)) = (two(h1, h2), two(m1, m2)) =>
        {
            let offset = i16::from(hours) * 60 + i16::from(minutes);
            wall.zone = Some(if sign == b'-' { -offset } else { offset });
            Some(Read { wall, colon: false, rest: trim_blanks(rest) })
        }
        _ => tail(wall, rest),
    }
}

/// `h:m:s[.fraction]`; what follows.
pub(super) fn time<'a>(wall: &mut Wall, text: &'a [u8]) -> Option<&'a [u8]> {
    let (hour, rest) = number(text, 2)?;
    let (minute, rest) = number(rest.strip_prefix(b":")?, 2)?;
    let (second, rest) = number(rest.strip_prefix(b":")?, 2)?;
    (wall.hour, wall.minute, wall.second) = (hour as u8, minute as u8, second as u8);
    Some(fraction(wall, rest))
}

/// `yyyy-mm-dd`, all of the text.
pub(super) fn date(text: &[u8]) -> Option<Wall> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else { return None };
    let year = i32::from(two(y1, y2)?) * 100 + i32::from(two(y3, y4)?);
    Some(Wall { year: Some(year), month: two(m1, m2)?, day: two(d1, d2)?, ..Wall::default() })
}

/// What may stand after the time: a zone, a year, a colon; and then the end, a blank or what the colon separates.
fn tail(mut wall: Wall, text: &[u8]) -> Option<Read<'_>> {
    let mut rest = zone_at(&mut wall, text).unwrap_or(text);
    if let [b' ', after @ ..] = rest {
        let after = trim_blanks(after);
        if let Some(past) = year_after(&mut wall, after) {
            rest = past;
        }
        if let [b' ', after @ ..] = rest
            && let Some(past) = zone_at(&mut wall, trim_blanks(after))
        {
            rest = past;
        }
    }
    match rest {
        [] => Some(Read { wall, colon: false, rest }),
        [b' ', after @ ..] => Some(Read { wall, colon: false, rest: trim_blanks(after) }),
        [b':', after @ ..] => Some(Read { wall, colon: true, rest: trim_blanks(after) }),
        _ => None,
    }
}

/// A zone: `Z`, `UTC`, `GMT`, `+02:00`, `-0530`, `+02`. It ends at a blank, a colon or the end.
fn zone_at<'a>(wall: &mut Wall, text: &'a [u8]) -> Option<&'a [u8]> {
    let length = match text {
        [b'U', b'T', b'C', ..] | [b'G', b'M', b'T', ..] => 3,
        [b'Z' | b'z', ..] => 1,
        [b'+' | b'-', _, _, b':', b'0'..=b'9', b'0'..=b'9', ..] => 6,
        [b'+' | b'-', _, _, b'0'..=b'9', b'0'..=b'9', ..] => 5,
        [b'+' | b'-', _, _, ..] => 3,
        _ => return None,
    };
    let (word, rest) = text.split_at_checked(length)?;
    if wall.zone.is_some() || !ends(rest) {
        return None;
    }
    wall.zone = Some(zone::offset_of(word)?);
    Some(rest)
}

/// A year after the time, if there was none before it. Hosts are not named so; `2001:db8::1` is one.
fn year_after<'a>(wall: &mut Wall, text: &'a [u8]) -> Option<&'a [u8]> {
    let (year, rest) = number(text, 4)?;
    if wall.year.is_some() || !(1970..2200).contains(&year) || !matches!(rest, [] | [b' ', ..] | [b':', b' ', ..]) {
        return None;
    }
    wall.year = Some(year as i32);
    Some(rest)
}

fn ends(rest: &[u8]) -> bool {
    matches!(rest.first(), None | Some(b' ' | b':'))
}

/// A fraction of a second, if there is one.
#[inline]
fn fraction<'a>(wall: &mut Wall, text: &'a [u8]) -> &'a [u8] {
    let [b'.' | b',', digits @ ..] = text else { return text };
    let (mut micros, mut unit, mut rest) = (0, 100_000, digits);
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        micros += u32::from(digit - b'0') * unit;
        unit /= 10;
        rest = after;
    }
    if rest.len() == digits.len() {
        return text;
    }
    wall.micros = micros;
    rest
}

/// A number of one to `digits` digits.
pub(super) fn number(text: &[u8], digits: usize) -> Option<(u32, &[u8])> {
    let (mut value, mut rest) = (0u32, text);
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        value = value.checked_mul(10)?.checked_add(u32::from(digit - b'0'))?;
        rest = after;
    }
    let count = text.len() - rest.len();
    ((1..=digits).contains(&count)).then_some((value, rest))
}

/// What follows one or more blanks.
fn blanks(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b" ").map(trim_blanks)
}

/// Two digits.
#[inline]
fn two(tens: u8, ones: u8) -> Option<u8> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| tens * 10 + ones)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(Wall, bool, &str)> {
        any(text.as_bytes()).map(|read| (read.wall, read.colon, std::str::from_utf8(read.rest).unwrap()))
    }

    #[test]
    fn all_forms_say_the_same() {
        let wall = Wall { month: 10, day: 1, hour: 22, minute: 4, second: 5, ..Wall::default() };
        let year = Some(2026);
        for (text, expected) in [
            ("Oct  1 22:04:05 h", wall),
            ("OCT 01 22:04:05 h", wall),
            ("Oct 1 22:4:5 h", wall),
            ("Oct  1 22:04:05.003 h", Wall { micros: 3_000, ..wall }),
            ("Oct  1 22:04:05,1234567 h", Wall { micros: 123_456, ..wall }),
            ("Oct  1 2026 22:04:05 h", Wall { year, ..wall }),
            ("Oct  1 262142 22:04:05 h", Wall { year: Some(262_142), ..wall }),
            ("2026 Oct  1 22:04:05 h", Wall { year, ..wall }),
            ("Oct  1 22:04:05 2026 h", Wall { year, ..wall }),
            ("Oct  1 22:04:05 UTC h", Wall { zone: Some(0), ..wall }),
            ("Oct  1 22:04:05 2026 GMT h", Wall { year, zone: Some(0), ..wall }),
            ("Oct  1 22:04:05 -0530 h", Wall { zone: Some(-330), ..wall }),
            ("Oct  1 22:04:05Z h", Wall { zone: Some(0), ..wall }),
            ("2026-10-01T22:04:05 h", Wall { year, ..wall }),
            ("2026-10-01T22:04:05Z h", Wall { year, zone: Some(0), ..wall }),
            ("2026-10-01t22:04:05z  h", Wall { year, zone: Some(0), ..wall }),
            ("2026-10-01T22:04:05.5+02:00 h", Wall { year, micros: 500_000, zone: Some(120), ..wall }),
            ("2026-10-01T22:04:05-0800 h", Wall { year, zone: Some(-480), ..wall }),
        ] {
            assert_eq!(read(text), Some((expected, false, "h")), "{text}");
        }
    }

    #[test]
    fn where_a_stamp_ends() {
        let rest = |text| read(text).map(|(_, colon, rest)| (colon, rest));
        assert_eq!(rest("Oct 11 22:14:15"), Some((false, "")));
        assert_eq!(rest("Oct 11 22:14:15: %ASA"), Some((true, "%ASA")));
        assert_eq!(rest("Oct 11 22:14:15 UTC: x"), Some((true, "x")));
        assert_eq!(rest("Oct 11 22:14:15 UTC1 x"), Some((false, "UTC1 x")));
        assert_eq!(rest("Oct 11 22:14:15 10.0.0.1 x"), Some((false, "10.0.0.1 x")));
        assert_eq!(rest("Oct 11 22:14:15 1969 x"), Some((false, "1969 x")));
        assert_eq!(rest("Oct 11 22:14:15 - x"), Some((false, "- x")));
        let long = format!("2026-10-01T22:04:05.{}Z h", "1234567890".repeat(6));
        assert_eq!(read(&long).unwrap().0.micros, 123_456);
        for text in [
            "",
            "Oct",
            "Oct 11",
            "Okt 11 22:14:15 x",
            "Oct 11 22:14:15x",
            "Oct 11 22:14 x",
            "Oct 111 22:14:15 x",
            "Oct 11 4294967296 22:14:15 x",
            "2026-10-01 22:04:05 x",
            "2026-1-1T22:04:05Z x",
            "2026-10-01T22:04:05. x",
            "29: x",
            "O\u{e9}t 11 22:14:15 x",
            "Oct \u{e9} 22:14:15 x",
            "Oct 11 22:14:\u{e9} x",
            "2026-10-01T22:14:\u{e9}Z x",
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
