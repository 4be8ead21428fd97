//! From a date on a sender's clock to microseconds since 1970.
//!
//! The arithmetic of the Gregorian calendar is our own (after Howard Hinnant, "chrono-compatible low-level date
//! algorithms"), so that no year, however odd, can panic. Limits: years 1970 to 9999; others are no time.

use super::{Hints, Stamp};

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;
/// Years that a stamp may name.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9999;
/// The end of 9999, microseconds since 1970.
const END_US: i64 = 253_402_300_799_999_999;
/// A stamp this close to its receipt is closer in no other year.
const NEAR_US: u64 = 182 * DAY_US.unsigned_abs();

/// A date and time as written, not yet checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wall {
    /// None: the stamp has no year.
    pub(super) year: Option<i32>,
    /// 1 to 12.
    pub(super) month: u8,
    /// 1 to 31.
    pub(super) day: u8,
    /// 0 to 23.
    pub(super) hour: u8,
    /// 0 to 59.
    pub(super) minute: u8,
    /// 0 to 60.
    pub(super) second: u8,
    /// Microseconds of the second.
    pub(super) micros: u32,
    /// Offset from UTC, minutes, if the stamp names it.
    pub(super) zone: Option<i16>,
}

impl Wall {
    /// The time that it means; none if there is no such date or time.
    pub(super) fn stamp(&self, hints: &Hints) -> Option<Stamp> {
        let possible = (1..=12).contains(&self.month)
            && (1..=days_in(2000, self.month)).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second <= 60;
        if !possible {
            return None;
        }
        let offset_min = self.zone.unwrap_or(hints.offset_min);
        let (second, micros) = if self.second == 60 { (59, 999_999) } else { (self.second, self.micros) };
        let minutes = i64::from(self.hour) * 60 + i64::from(self.minute) - i64::from(offset_min);
        let of_day = (minutes * 60 + i64::from(second)) * 1_000_000 + i64::from(micros);
        let us = match self.year {
            Some(year) if YEARS.contains(&year) && self.day <= days_in(year, self.month) => self.at(year, of_day),
            Some(_) => return None,
            None => self.nearest(hints.received_us.clamp(0, END_US), of_day)?,
        };
        Some(Stamp { us, offset_min, had_zone: self.zone.is_some(), had_year: self.year.is_some() })
    }

    /// The time in a year.
    fn at(&self, year: i32, of_day: i64) -> i64 {
        days_from_civil(year, self.month, self.day) * DAY_US + of_day
    }

    /// The time in the year in which it is closest to `received_us`; of two as close, the earlier.
    fn nearest(&self, received_us: i64, of_day: i64) -> Option<i64> {
        let year = year_of(received_us);
        let distance = |us: &i64| us.abs_diff(received_us);
        if self.month == 2 && self.day == 29 {
            // Up to eight years lie between leap years: 1896 and 1904, 2096 and 2104.
            let years = (year - 8..=year + 8).filter(|&year| is_leap(year));
            return years.map(|year| self.at(year, of_day)).min_by_key(distance);
        }
        let us = self.at(year, of_day);
        if distance(&us) <= NEAR_US {
            return Some(us);
        }
        [year - 1, year, year + 1].map(|year| self.at(year, of_day)).into_iter().min_by_key(distance)
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
pub(super) fn days_from_civil(year: i32, month: u8, day: u8) -> i64 {
    let (month, day) = (i64::from(month), i64::from(day));
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The year of a time; `us` is from 1970 to 9999.
pub(super) fn year_of(us: i64) -> i32 {
    let days = us.div_euclid(DAY_US) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Years of this calendar begin in March; day 306 is the first of January.
    (year_of_era + era * 400) as i32 + i32::from(day_of_year >= 306)
}

fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days of a month, 1 to 12.
fn days_in(year: i32, month: u8) -> u8 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Profile;

    fn at(received_us: i64) -> Hints {
        Hints { received_us, profile: Profile::Rfc, offset_min: 0 }
    }

    fn us(year: i32, month: u8, day: u8) -> i64 {
        days_from_civil(year, month, day) * DAY_US
    }

    #[test]
    fn days_and_years_agree_with_chrono() {
        use chrono::{Datelike, NaiveDate};
        let mut day = NaiveDate::from_ymd_opt(1969, 12, 30).unwrap();
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        while day.year() < 2410 {
            let days = (day - epoch).num_days();
            assert_eq!(days_from_civil(day.year(), day.month() as u8, day.day() as u8), days);
            assert_eq!(year_of(days * DAY_US + 5), day.year());
            assert_eq!(day.leap_year(), is_leap(day.year()));
            day = day.succ_opt().unwrap();
        }
        assert_eq!(year_of(END_US), 9999);
        assert_eq!(us(10_000, 1, 1), END_US + 1);
    }

    #[test]
    fn a_missing_year_is_the_nearest() {
        let year = |received, month, day| {
            let wall = Wall { month, day, ..Wall::default() };
            year_of(wall.stamp(&at(received)).unwrap().us)
        };
        assert_eq!(year(us(2026, 1, 1), 12, 31), 2025);
        assert_eq!(year(us(2025, 12, 31), 1, 1), 2026);
        assert_eq!(year(us(2026, 7, 1), 1, 2), 2026);
        assert_eq!(year(us(2026, 7, 1), 12, 31), 2025, "182 days before, 183 days after");
        assert_eq!(year(us(2026, 7, 2), 12, 31), 2026);
        assert_eq!(year(us(2024, 2, 28), 2, 29), 2024);
        assert_eq!(year(us(2026, 2, 28), 2, 29), 2024, "730 days before, 731 days after");
        assert_eq!(year(us(2027, 3, 1), 2, 29), 2028);
        assert_eq!(year(us(2101, 3, 1), 2, 29), 2104);
        assert_eq!(year(us(2099, 3, 1), 2, 29), 2096);
        for received in [i64::MIN, i64::MAX, 0, END_US] {
            for (month, day) in [(1, 1), (12, 31), (2, 29)] {
                assert!(Wall { month, day, ..Wall::default() }.stamp(&at(received)).is_some());
            }
        }
    }

    #[test]
    fn dates_and_times_that_do_not_exist_are_none() {
        let noon = Wall { year: Some(2026), month: 2, day: 28, hour: 12, ..Wall::default() };
        assert!(noon.stamp(&at(0)).is_some());
        for wall in [
            Wall { day: 29, ..noon },
            Wall { day: 0, ..noon },
            Wall { month: 0, ..noon },
            Wall { month: 13, ..noon },
            Wall { hour: 24, ..noon },
            Wall { minute: 60, ..noon },
            Wall { second: 61, ..noon },
            Wall { year: Some(1969), ..noon },
            Wall { year: Some(10_000), ..noon },
            Wall { year: None, day: 30, ..noon },
        ] {
            assert_eq!(wall.stamp(&at(0)), None, "{wall:?}");
        }
    }

    #[test]
    fn a_leap_second_is_the_end_of_the_second_before() {
        let wall = Wall { year: Some(2016), month: 12, day: 31, hour: 23, minute: 59, second: 60, ..Wall::default() };
        assert_eq!(wall.stamp(&at(0)).unwrap().us, us(2017, 1, 1) - 1);
    }
}
