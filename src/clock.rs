//! The one place of the binary that reads the wall clock, and times as people read them.

use jiff::Timestamp;

/// Milliseconds since 1970-01-01 UTC.
#[expect(clippy::disallowed_methods, reason = "tasks and commands get the time from here")]
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Microseconds since 1970-01-01 UTC.
#[expect(clippy::disallowed_methods, reason = "tasks and commands get the time from here")]
pub(crate) fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A time as RFC 3339 writes it, in UTC, to the second.
pub(crate) fn text(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| format!("{ms} ms"), |t| t.to_string())
}

/// A time as people give it: RFC 3339, or a date, which means the end of that day (UTC). Milliseconds.
///
/// # Errors
/// A sentence with the remedy.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let day = |date: jiff::civil::Date| {
        let end = date.tomorrow().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(end.timestamp().as_millisecond() - 1)
    };
    let time = text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
    let time = time.or_else(|| text.parse::<jiff::civil::Date>().ok().and_then(day));
    time.and_then(|ms| u64::try_from(ms).ok())
        .ok_or_else(|| format!("{text:?} is no time; write 2026-11-17T09:30:00Z or 2026-11-17"))
}

/// The time before which lies what is older than a duration such as `15m`, `24h` or `7d`. Milliseconds.
///
/// # Errors
/// A sentence with the remedy.
pub(crate) fn ago(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no duration; write a number and s, m, h or d, as in 15m");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    Ok(now_ms().saturating_sub(number.saturating_mul(seconds).saturating_mul(1000)))
}

/// An age for people: the largest unit and the next (`3 min 20 s`, `2 d 4 h`).
pub(crate) fn age(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_people() {
        assert_eq!(parse("2011-11-11T08:26:40Z"), Ok(1_321_000_000_000));
        assert_eq!(parse("1970-01-01"), Ok(86_399_999));
        assert!(parse("yesterday").is_err() && parse("1969-01-01").is_err());
        assert!(now_ms() - ago("15m").unwrap() >= 900_000);
        assert!(ago("15").is_err() && ago("m").is_err() && ago("").is_err() && ago("ä").is_err());
    }

    #[test]
    fn times_for_people() {
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(1_321_000_000_999), "2011-11-11T08:26:40Z");
        assert_eq!(
            [age(12), age(59_999), age(61_000), age(7_260_000), age(90_000_000)],
            ["12 ms", "59 s", "1 min 1 s", "2 h 1 min", "1 d 1 h"]
        );
    }
}
