//! Dates as text, quickly: messages come many to the second, so that the last seconds' texts are kept.
//!
//! The owner of a [`DateCache`] is a task; nothing is shared. Years outside 1 to 9999 are written as the nearest of
//! these.

use jiff::civil::DateTime;

/// Seconds that are kept; hosts' clocks differ by a few.
const SLOTS: usize = 8;
/// The first second of year 1, and the last that jiff knows, in the last days of year 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_207_200;

/// Names of the months.
pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// Names of the days of the week, from Sunday.
pub(super) const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Texts of the seconds that were last asked for.
#[derive(Debug, Clone)]
pub struct DateCache {
    slots: [Second; SLOTS],
}

/// A second in a zone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Second {
    /// Seconds since 1970, clamped.
    seconds: i64,
    /// Minutes east of UTC.
    offset_min: i16,
    /// Date and time of day there.
    pub(super) civil: DateTime,
    /// `Nov  5 17:05:05`
    pub(super) bsd: [u8; 15],
    /// `2026-11-05T17:05:05`
    pub(super) iso: [u8; 19],
    /// `+05:30`
    pub(super) zone: [u8; 6],
}

impl Default for DateCache {
    fn default() -> Self {
        let empty = Second::new(0, 0);
        // A second that belongs into another slot is never found in this one.
        let slots = std::array::from_fn(|slot| if slot == 0 { empty } else { Second { seconds: i64::MIN, ..empty } });
        Self { slots }
    }
}

impl DateCache {
    /// The texts of a second in a zone.
    pub(super) fn at(&mut self, seconds: i64, offset_min: i16) -> &Second {
        let slot = &mut self.slots[seconds.rem_euclid(SLOTS as i64) as usize];
        if slot.seconds != seconds || slot.offset_min != offset_min {
            *slot = Second::new(seconds, offset_min);
        }
        slot
    }
}

impl Second {
    fn new(seconds: i64, offset_min: i16) -> Self {
        let there = (seconds.saturating_add(i64::from(offset_min) * 60)).clamp(*SECONDS.start(), *SECONDS.end());
        let civil =
            jiff::Timestamp::from_second(there).map_or(DateTime::ZERO, |at| jiff::tz::Offset::UTC.to_datetime(at));
        let month = MONTHS[(civil.month() - 1).unsigned_abs() as usize].as_bytes();
        let [y1, y2] = two((civil.year() / 100).unsigned_abs());
        let [y3, y4] = two((civil.year() % 100).unsigned_abs());
        let two8 = |number: i8| two(u16::from(number.unsigned_abs()));
        let ([m1, m2], [d1, d2]) = (two8(civil.month()), two8(civil.day()));
        let ([h1, h2], [i1, i2], [s1, s2]) = (two8(civil.hour()), two8(civil.minute()), two8(civil.second()));
        let blank = if d1 == b'0' { b' ' } else { d1 };
        let bsd = [month[0], month[1], month[2], b' ', blank, d2, b' ', h1, h2, b':', i1, i2, b':', s1, s2];
        let iso = [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', i1, i2, b':', s1, s2];
        let sign = if offset_min < 0 { b'-' } else { b'+' };
        let ([o1, o2], [p1, p2]) = (two(offset_min.unsigned_abs() / 60), two(offset_min.unsigned_abs() % 60));
        Self { seconds, offset_min, civil, bsd, iso, zone: [sign, o1, o2, b':', p1, p2] }
    }

    /// Day of the week, from Sunday = 0.
    pub(super) fn weekday(&self) -> usize {
        usize::from(self.civil.weekday().to_sunday_zero_offset().unsigned_abs())
    }

    /// Day of the year, from 0.
    pub(super) fn yearday(&self) -> u16 {
        (self.civil.day_of_year() - 1).unsigned_abs()
    }
}

/// Two digits; of a larger number the last two.
pub(super) fn two(number: u16) -> [u8; 2] {
    let number = (number % 100) as u8;
    [b'0' + number / 10, b'0' + number % 10]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(seconds: i64, offset: i16) -> String {
        let mut cache = DateCache::default();
        let at = cache.at(seconds, offset);
        [&at.bsd[..], b"|", &at.iso, &at.zone].concat().iter().map(|octet| char::from(*octet)).collect()
    }

    #[test]
    fn dates_in_zones() {
        assert_eq!(texts(0, 0), "Jan  1 00:00:00|1970-01-01T00:00:00+00:00");
        assert_eq!(texts(1_795_174_505, 330), "Nov 20 17:05:05|2026-11-20T17:05:05+05:30");
        assert_eq!(texts(1_772_384_887, -480), "Mar  1 09:08:07|2026-03-01T09:08:07-08:00");
        assert_eq!(texts(i64::MAX, i16::MIN), "Dec 30 22:00:00|9999-12-30T22:00:00-46:08");
        assert_eq!(texts(i64::MIN, 0), "Jan  1 00:00:00|0001-01-01T00:00:00+00:00");
    }

    #[test]
    fn what_is_kept_is_what_would_be_made() {
        let mut cache = DateCache::default();
        for seconds in [0, 8, 0, 1, 9, -8, 1, i64::MIN, i64::MIN, 0] {
            for offset in [0, 60, 0, -60] {
                let kept = *cache.at(seconds, offset);
                let made = Second::new(seconds, offset);
                assert_eq!((kept.bsd, kept.iso, kept.zone), (made.bsd, made.iso, made.zone), "{seconds} {offset}");
            }
        }
    }
}
