//! One line for each decision, to the system's log: facility authpriv, RFC 3164, over the local datagram socket.
//!
//! A log that does not take the line costs [`PATIENCE`] at most; the decision stands, and standard error says so.

use std::{
    fmt::{self, Write},
    os::unix::net::UnixDatagram,
    path::Path,
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};

/// Where local logs listen.
pub(super) const SOCKET: &str = "/dev/log";
/// Most octets of a packet (RFC 3164 section 4.1).
const LINE_OCTETS_MAX: usize = 1024;
/// How long a full log may delay a login.
const PATIENCE: Duration = Duration::from_millis(100);
/// authpriv, times eight.
const FACILITY: u8 = 10 << 3;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Nobody could decide, or the decision came from disk.
    Warning = 4,
    /// Somebody was denied.
    Notice = 5,
    /// Somebody was admitted.
    Info = 6,
}

/// A line of `key=value` pairs, the values quoted where they need it.
#[derive(Debug)]
pub(super) struct Line(String);

impl Line {
    /// A line that begins with what was decided.
    pub(super) fn new(head: &str) -> Self {
        Self(head.to_owned())
    }

    /// With one more pair.
    #[must_use]
    pub(super) fn with(mut self, key: &str, value: impl fmt::Display) -> Self {
        let value = value.to_string();
        let is_plain = |c: char| c.is_alphanumeric() || "-_.:/@+[]*".contains(c);
        // Writing to a string does not fail.
        if !value.is_empty() && value.chars().all(is_plain) {
            let _ = write!(self.0, " {key}={value}");
        } else {
            let _ = write!(self.0, " {key}={value:?}");
        }
        self
    }

    /// With one more pair whose value somebody outside chose: at most `octets_max` as it is written here, so that it cannot
    /// push what follows out of the line.
    #[must_use]
    pub(super) fn with_clipped(self, key: &str, value: &str, octets_max: usize) -> Self {
        let mut written = 0;
        let fits = |c: &char| {
            written += c.escape_debug().map(char::len_utf8).sum::<usize>();
            written <= octets_max
        };
        let clipped: String = value.chars().take_while(fits).collect();
        let mark = if clipped.len() < value.len() { "…" } else { "" };
        self.with(key, format_args!("{clipped}{mark}"))
    }

    /// With one more pair, if there is a value.
    #[must_use]
    pub(super) fn maybe(self, key: &str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Sends it.
    pub(super) fn send(&self, socket: &Path, level: Level, now_ms: u64, zone: &TimeZone) {
        let packet = self.packet(level, now_ms, zone, std::process::id());
        if let Err(error) = send(socket, packet.as_bytes()) {
            super::complain(&format!("the log {} did not take this line ({error}): {}", socket.display(), self.0));
        }
    }

    fn packet(&self, level: Level, now_ms: u64, zone: &TimeZone, pid: u32) -> String {
        let at =
            Timestamp::from_millisecond(i64::try_from(now_ms).unwrap_or(i64::MAX)).unwrap_or(Timestamp::UNIX_EPOCH);
        let stamp = at.to_zoned(zone.clone()).strftime("%b %e %H:%M:%S").to_string();
        let mut packet = format!("<{}>{stamp} gatehouse[{pid}]: {}", FACILITY | level as u8, self.0);
        packet.truncate(packet.floor_char_boundary(LINE_OCTETS_MAX));
        packet
    }
}

fn send(socket: &Path, packet: &[u8]) -> std::io::Result<()> {
    let datagram = UnixDatagram::unbound()?;
    datagram.set_write_timeout(Some(PATIENCE))?;
    datagram.connect(socket)?;
    datagram.send(packet).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_is_in_it() {
        let line = Line::new("keys: deny").with("user", "eve\n<0>forged").with("rule", "grant a \"b\"").with("x", "");
        assert_eq!(line.0, r#"keys: deny user="eve\n<0>forged" rule="grant a \"b\"" x="""#);
    }

    #[test]
    fn a_long_value_is_cut_by_what_it_takes_when_written() {
        let clipped = |value: &str| Line::new("x").with_clipped("user", value, 8).0;
        assert_eq!(clipped("alice"), "x user=alice");
        assert_eq!(clipped("12345678"), "x user=12345678");
        assert_eq!(clipped("123456789"), "x user=\"12345678…\"");
        assert_eq!(clipped(&"\"".repeat(9)), r#"x user="\"\"\"\"…""#);
        assert_eq!(clipped("\u{200b}\u{200b}"), r#"x user="\u{200b}…""#);
    }

    #[test]
    fn the_packet_is_as_rfc_3164_says() {
        let line = Line::new("keys: allow").with("user", "alice").maybe("rhost", None::<&str>);
        let packet = line.packet(Level::Info, 1_320_364_800_000, &TimeZone::UTC, 7);
        assert_eq!(packet, "<86>Nov  4 00:00:00 gatehouse[7]: keys: allow user=alice");
        let packet = Line::new(&"ä".repeat(2000)).packet(Level::Warning, 0, &TimeZone::UTC, 7);
        assert!(packet.starts_with("<84>") && (1023..=1024).contains(&packet.len()));
    }

    #[test]
    fn the_log_receives_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = UnixDatagram::bind(dir.path().join("log")).unwrap();
        Line::new("check: deny").send(&dir.path().join("log"), Level::Notice, 0, &TimeZone::UTC);
        let mut octets = [0; 256];
        let n = log.recv(&mut octets).unwrap();
        let text = std::str::from_utf8(&octets[..n]).unwrap();
        assert!(text.starts_with("<85>Jan  1 00:00:00 gatehouse[") && text.ends_with("]: check: deny"), "{text}");
    }
}
