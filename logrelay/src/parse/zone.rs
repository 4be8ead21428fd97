//! Offsets from UTC: as text, as the words that devices write, and as learned from a sender's own stamps.

/// Stamps in a row that must agree before an offset is believed, or given up for another.
const AGREE: u8 = 5;
/// Zones lie on quarters of an hour.
const QUARTER_US: i64 = 900_000_000;
/// How far from a quarter of an hour the difference may be: clocks that are wrong by more teach nothing.
const TOLERANCE_US: i64 = 300_000_000;
/// Offsets that are in use: -12:00 to +14:00, minutes.
const IN_USE: std::ops::RangeInclusive<i64> = -720..=840;

/// What a sender's stamps, which name no zone, tell of the zone of its clock.
///
/// An offset is believed after five stamps in a row that differ from their receipt by the same quarter of an hour,
/// within five minutes; and it is given up for another after five stamps in a row that agree on the other (the clocks
/// were changed). Stamps that fit no quarter of an hour end a row. A sender that repeats hours of old lines after an
/// outage can mislead it until new lines come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Zone {
    believed: Option<i16>,
    other: i16,
    row: u8,
}

impl Zone {
    /// Takes the time of receipt and the time in a message, read as if it were UTC ([`super::Stamp::wall_us`]), both in
    /// microseconds since 1970; returns the offset that is believed now.
    pub fn feed(&mut self, received_us: i64, stamp_us: i64) -> Option<i16> {
        match quarter(received_us, stamp_us) {
            None => self.row = 0,
            seen if seen == self.believed => self.row = 0,
            Some(seen) => {
                self.row = if self.row > 0 && seen == self.other { self.row + 1 } else { 1 };
                self.other = seen;
                if self.row >= AGREE {
                    *self = Self { believed: Some(seen), ..Self::default() };
                }
            }
        }
        self.believed
    }

    /// The offset that is believed, minutes.
    pub fn offset(&self) -> Option<i16> {
        self.believed
    }
}

/// The quarter of an hour by which a stamp differs from its receipt, minutes.
fn quarter(received_us: i64, stamp_us: i64) -> Option<i16> {
    let difference = stamp_us.checked_sub(received_us)?;
    let quarters = difference.checked_add(QUARTER_US / 2)?.div_euclid(QUARTER_US);
    let off = difference - quarters * QUARTER_US;
    let minutes = quarters * 15;
    (off.abs() <= TOLERANCE_US && IN_USE.contains(&minutes)).then_some(minutes as i16)
}

/// Reads an offset: `+02:00`, `-0530`, `+2`, `Z`, `UTC`, `GMT`, `UTC+01:00`; minutes, less than a day.
pub fn offset(text: &str) -> Option<i16> {
    offset_of(text.as_bytes())
}

pub(super) fn offset_of(text: &[u8]) -> Option<i16> {
    let rest = match text {
        b"Z" | b"z" => b"",
        [b'U', b'T', b'C', rest @ ..] | [b'G', b'M', b'T', rest @ ..] => rest,
        [b'+' | b'-', ..] => text,
        _ => return None,
    };
    let (negative, digits) = match rest {
        [] => return Some(0),
        [b'+', digits @ ..] => (false, digits),
        [b'-', digits @ ..] => (true, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits {
        [h] => ([b'0', *h], [b'0'; 2]),
        [h1, h2] => ([*h1, *h2], [b'0'; 2]),
        [h, b':', m1, m2] => ([b'0', *h], [*m1, *m2]),
        [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => ([*h1, *h2], [*m1, *m2]),
        _ => return None,
    };
    let two = |[tens, ones]: [u8; 2]| {
        (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i16::from(tens - b'0') * 10 + i16::from(ones - b'0'))
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let offset = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
    Some(if negative { -offset } else { offset })
}

/// The offset, minutes, of a zone's word as network devices write it. Words with several meanings (`IST`, `BST`) have
/// the one that is most used on networks; unknown words have none.
pub(super) fn word(word: &[u8]) -> Option<i16> {
    const WORDS: [(&[u8], i16); 35] = [
        (b"UTC", 0),
        (b"GMT", 0),
        (b"Z", 0),
        (b"WET", 0),
        (b"WEST", 60),
        (b"BST", 60),
        (b"CET", 60),
        (b"MET", 60),
        (b"MEZ", 60),
        (b"CEST", 120),
        (b"MEST", 120),
        (b"MESZ", 120),
        (b"EET", 120),
        (b"SAST", 120),
        (b"EEST", 180),
        (b"MSK", 180),
        (b"IST", 330),
        (b"SGT", 480),
        (b"HKT", 480),
        (b"AWST", 480),
        (b"JST", 540),
        (b"KST", 540),
        (b"ACST", 570),
        (b"AEST", 600),
        (b"AEDT", 660),
        (b"NZST", 720),
        (b"NZDT", 780),
        (b"EDT", -240),
        (b"EST", -300),
        (b"CDT", -300),
        (b"CST", -360),
        (b"MDT", -360),
        (b"MST", -420),
        (b"PDT", -420),
        (b"PST", -480),
    ];
    WORDS.iter().find(|(known, _)| *known == word).map(|(_, offset)| *offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_790_000_000_000_000;
    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn offsets_as_text() {
        for (text, expected) in [
            ("+02:00", Some(120)),
            ("-0530", Some(-330)),
            ("+05:45", Some(345)),
            ("-00:00", Some(0)),
            ("+1", Some(60)),
            ("-11", Some(-660)),
            ("Z", Some(0)),
            ("UTC", Some(0)),
            ("UTC+1:00", Some(60)),
            ("", None),
            ("+", None),
            ("02:00", None),
            ("+24:00", None),
            ("+02:60", None),
            ("+02:0x", None),
            ("learn", None),
            ("Europe/Berlin", None),
        ] {
            assert_eq!(offset(text), expected, "{text}");
        }
        assert_eq!((word(b"CEST"), word(b"PST"), word(b"XYZ"), word(b"")), (Some(120), Some(-480), None, None));
    }

    #[test]
    fn a_zone_is_learned_after_five_stamps() {
        let mut zone = Zone::default();
        for i in 0..4 {
            assert_eq!(zone.feed(NOON + i, NOON + 2 * HOUR + i * 60_000_000), None);
        }
        assert_eq!(zone.feed(NOON, NOON + 2 * HOUR - 299_000_000), Some(120));
        assert_eq!(zone.offset(), Some(120));
    }

    #[test]
    fn it_changes_its_mind_after_five_others_in_a_row() {
        let mut zone = Zone::default();
        (0..5).for_each(|_| _ = zone.feed(NOON, NOON - 5 * HOUR));
        for others in [4, 4, 5] {
            for i in 0..others {
                assert_eq!(zone.offset(), Some(-300), "{i} of {others}");
                zone.feed(NOON, NOON - 4 * HOUR);
            }
            if others == 4 {
                zone.feed(NOON, NOON - 5 * HOUR);
            }
        }
        assert_eq!(zone.offset(), Some(-240));
        for hours in [1, 2, 1, 2, 1, 2] {
            zone.feed(NOON, NOON + hours * HOUR);
        }
        assert_eq!(zone.offset(), Some(-240), "others that do not agree");
    }

    #[test]
    fn clocks_that_are_merely_wrong_teach_nothing() {
        let mut zone = Zone::default();
        for stamp in [7 * 60_000_000, 20 * HOUR, -13 * HOUR, i64::MAX, i64::MIN] {
            (0..6).for_each(|_| _ = zone.feed(NOON, NOON.saturating_add(stamp)));
            assert_eq!(zone.offset(), None, "{stamp}");
        }
        (0..4).for_each(|_| _ = zone.feed(NOON, NOON));
        zone.feed(NOON, NOON + 7 * 60_000_000);
        assert_eq!(zone.feed(NOON, NOON), None, "the row was ended");
        assert_eq!(Zone::default().feed(i64::MIN, i64::MAX), None);
    }
}
