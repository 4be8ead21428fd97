//! Whether an account may be used at all: locks, expiry, login shell.

use inventory::entry::Entry;
use serde::Serialize;

/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// What keeps somebody out everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Barrier {
    Locked,
    Expired,
    NoShell,
}

/// The first second of each barrier, and the attribute that says so.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    barriers: Box<[(u64, Barrier, &'static str)]>,
}

impl Standing {
    pub(super) fn of(entry: &Entry) -> Self {
        let mut barriers = Vec::new();
        // draft-behera-ldap-password-policy section 5.3.3: 000001010000Z is a lock for good; a later time is when it began.
        for time in entry.texts("pwdAccountLockedTime") {
            barriers.push((generalized_time(time).unwrap_or(0), Barrier::Locked, "pwdAccountLockedTime"));
        }
        for attribute in ["nsAccountLock", "loginDisabled"] {
            if entry.texts(attribute).any(|value| value.trim().eq_ignore_ascii_case("true")) {
                barriers.push((0, Barrier::Locked, attribute));
            }
        }
        // shadow(5): days since 1970-01-01; a negative number is none. What cannot be read is over.
        for days in entry.texts("shadowExpire") {
            match days.trim().parse::<i64>().map(u64::try_from) {
                Ok(Ok(days)) => barriers.push((days.saturating_mul(DAY_S), Barrier::Expired, "shadowExpire")),
                Ok(Err(_)) => {}
                Err(_) => barriers.push((0, Barrier::Expired, "shadowExpire")),
            }
        }
        for time in entry.texts("pwdEndTime") {
            barriers.push((generalized_time(time).unwrap_or(0), Barrier::Expired, "pwdEndTime"));
        }
        let is_none = |shell: &str| matches!(shell.trim().rsplit('/').next(), Some("nologin" | "false"));
        if entry.texts("loginShell").any(is_none) {
            barriers.push((0, Barrier::NoShell, "loginShell"));
        }
        Self { barriers: barriers.into() }
    }

    /// What keeps the person out at a time, and the attribute.
    pub(super) fn barrier(&self, now_s: u64) -> Option<(Barrier, &'static str)> {
        self.barriers.iter().find(|(from, ..)| *from <= now_s).map(|(_, barrier, attribute)| (*barrier, *attribute))
    }
}

/// Why the account of an entry may not be used at a time (seconds since 1970-01-01 UTC), as
/// [`Reason::as_str`](super::Reason::as_str) says it: locks and ends. A shell says nothing about a password, for service
/// accounts have none.
pub fn barred(entry: &Entry, now_s: u64) -> Option<&'static str> {
    let standing = Standing::of(entry);
    let mut barriers = standing.barriers.iter().filter(|(from, ..)| *from <= now_s);
    barriers.find_map(|(_, barrier, _)| match barrier {
        Barrier::Locked => Some(super::Reason::AccountLocked.as_str()),
        Barrier::Expired => Some(super::Reason::AccountExpired.as_str()),
        Barrier::NoShell => None,
    })
}

/// Seconds since 1970-01-01 UTC of a GeneralizedTime (RFC 4517 section 3.3.13); times before that are 0. None if the
/// text is no such time.
fn generalized_time(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at_checked(digits)?;
    let number = |from: usize, to: usize| digits.get(from..to)?.parse::<i16>().ok();
    let part = |from| number(from, from + 2).and_then(|part| i8::try_from(part).ok());
    let (minute, second) = match digits.len() {
        10 => (0, 0),
        12 => (part(10)?, 0),
        14 => (part(10)?, part(12)?.min(59)),
        _ => return None,
    };
    let zone = rest.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | ','));
    let offset_s = match zone.split_at_checked(1)? {
        ("Z", "") => 0,
        (sign @ ("+" | "-"), zone) if zone.len() == 2 || zone.len() == 4 => {
            let hours: i64 = zone.get(..2)?.parse().ok()?;
            let minutes: i64 = if zone.len() == 4 { zone.get(2..)?.parse().ok()? } else { 0 };
            (hours * 3600 + minutes * 60) * if sign == "+" { 1 } else { -1 }
        }
        _ => return None,
    };
    let time = jiff::civil::DateTime::new(number(0, 4)?, part(4)?, part(6)?, part(8)?, minute, second, 0).ok()?;
    let seconds = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second() - offset_s;
    Some(u64::try_from(seconds).unwrap_or(0))
}
