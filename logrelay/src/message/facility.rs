//! Names of facilities and severities (RFC 5424 section 6.2.1; the words are those of syslog(3) and syslog-ng).

/// Names of the facilities by number.
pub const FACILITIES: [&str; 24] = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "security",
    "console",
    "solaris-cron",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];

/// Names of the severities by number.
pub const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// The number of a facility by its name, or by the number in text.
pub fn facility(name: &str) -> Option<u8> {
    let number = name.parse().ok().filter(|&n: &u8| usize::from(n) < FACILITIES.len());
    number.or_else(|| FACILITIES.iter().position(|known| *known == name).and_then(|n| n.try_into().ok()))
}

/// The number of a severity by its name, by a former name (`panic`, `error`, `warn`), or by the number in text.
pub fn severity(name: &str) -> Option<u8> {
    match name {
        "panic" => return Some(0),
        "error" => return Some(3),
        "warn" => return Some(4),
        _ => {}
    }
    let number = name.parse().ok().filter(|&n: &u8| usize::from(n) < SEVERITIES.len());
    number.or_else(|| SEVERITIES.iter().position(|known| *known == name).and_then(|n| n.try_into().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(
            (facility("authpriv"), facility("10"), facility("24"), facility("x")),
            (Some(10), Some(10), None, None)
        );
        assert_eq!((severity("warn"), severity("7"), severity("8"), severity("")), (Some(4), Some(7), None, None));
    }
}
