//! The one place of the binary that reads the wall clock, and times as people read them.

use jiff::Timestamp;

/// Milliseconds since 1970-01-01 UTC.
#[expect(clippy::disallowed_methods, reason = "tasks and commands get the time from here")]
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A time as RFC 3339 writes it, in UTC, to the second.
pub(crate) fn text(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| format!("{ms} ms"), |t| t.to_string())
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
    fn times_for_people() {
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(1_321_000_000_999), "2011-11-11T08:26:40Z");
        assert_eq!(
            [age(12), age(59_999), age(61_000), age(7_260_000), age(90_000_000)],
            ["12 ms", "59 s", "1 min 1 s", "2 h 1 min", "1 d 1 h"]
        );
    }
}
