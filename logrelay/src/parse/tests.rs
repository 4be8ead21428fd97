//! Lines of all kinds; what `syslog_loose` is known to misread is numbered as in its list of shapes; properties.

use proptest::prelude::*;
use syslog_loose::{ProcId, Variant, parse_message_with_year_exact_tz};

use super::{Flags, Hints, Parsed, Stamp, Status, parse, time::days_from_civil};
use crate::config::Profile;

/// 2026-11-20T17:00:00Z
const RECEIVED_US: i64 = 1_795_194_000_000_000;
const HOUR_US: i64 = 3_600_000_000;

/// What a test compares: pri, status, host, program, pid, message.
type Row<'a> = (Option<u8>, Status, &'a str, &'a str, &'a str, &'a str);

fn hints(profile: Profile) -> Hints {
    Hints { received_us: RECEIVED_US, profile, offset_min: 0 }
}

fn utf8(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

fn row<'a>(parsed: &Parsed<'a>) -> Row<'a> {
    let Parsed { pri, status, host, program, pid, message, .. } = *parsed;
    (pri, status, utf8(host), utf8(program), utf8(pid), utf8(message))
}

fn by(profile: Profile, line: &str) -> Parsed<'_> {
    parse(line.as_bytes(), &hints(profile))
}

fn rfc(line: &str) -> Parsed<'_> {
    by(Profile::Rfc, line)
}

fn us(year: i32, month: u8, day: u8, hour: i64, minute: i64, second: i64) -> i64 {
    ((days_from_civil(year, month, day) * 24 + hour) * 60 + minute) * 60_000_000 + second * 1_000_000
}

/// Reads the line, compares the row, returns the time.
#[track_caller]
fn check(profile: Profile, line: &str, expected: Row<'_>) -> Option<i64> {
    let parsed = by(profile, line);
    assert_eq!(row(&parsed), expected, "{line}");
    assert_eq!(parsed.flags.has(Flags::NO_STAMP), parsed.stamp.is_none(), "{line}");
    parsed.stamp.map(|stamp| stamp.us)
}

const BSD: Status = Status::Rfc3164;

#[test]
fn pri_is_kept_or_the_line_is_the_message() {
    for (line, pri, rest) in [
        ("<0>x y", 0, "x y"),
        ("<7>x y", 7, "x y"),
        ("<13>", 13, ""),
        ("<191>\t", 191, "\t"),
        ("<190> {\"a\": 1}", 190, " {\"a\": 1}"),
    ] {
        check(Profile::Rfc, line, (Some(pri), Status::PriOnly, "", "", "", rest));
        assert!(!rfc(line).flags.has(Flags::NO_PRI));
    }
    for line in [
        "<192>Oct 11 22:14:15 host su: x",
        "<999>x",
        "<1000>x",
        "<00>x",
        "<013>Oct 11 22:14:15 host su: x",
        "<>x",
        "<-1>x",
        "<1 >x",
        "<13",
        "<a>x",
        "",
        "no header",
    ] {
        check(Profile::Rfc, line, (None, Status::Unparsed, "", "", "", line));
        assert_eq!(rfc(line).flags, Flags::NO_PRI.with(Flags::NO_STAMP), "{line}");
    }
}

#[test]
fn headers_of_rfc_3164() {
    let at = Some(us(2026, 10, 11, 22, 14, 15));
    for (line, expected) in [
        ("<34>Oct 11 22:14:15 web01 su: 'su root' failed", (Some(34), BSD, "web01", "su", "", "'su root' failed")),
        ("<34>Oct 11 22:14:15 web01 sshd[4721]: x: y", (Some(34), BSD, "web01", "sshd", "4721", "x: y")),
        ("<34>Oct 11 22:14:15 web01 sshd[4721]:", (Some(34), BSD, "web01", "sshd", "4721", "")),
        ("<34>Oct 11 22:14:15 web01 app[main]: x", (Some(34), BSD, "web01", "app", "main", "x")),
        ("<34>Oct 11 22:14:15 web01 app[12] x", (Some(34), BSD, "web01", "app", "12", "x")),
        ("<34>Oct 11 22:14:15 web01 app[12]:x", (Some(34), BSD, "web01", "app", "12", "x")),
        ("<34>Oct 11 22:14:15 web01 app:x y", (Some(34), BSD, "web01", "app", "", "x y")),
        ("<34>Oct 11 22:14:15 web01 http://x is down", (Some(34), BSD, "web01", "", "", "http://x is down")),
        ("<34>Oct 11 22:14:15 web01 {\"a\": 1}", (Some(34), BSD, "web01", "", "", "{\"a\": 1}")),
        ("<34>Oct 11 22:14:15 {\"a\": 1}", (Some(34), BSD, "", "", "", "{\"a\": 1}")),
        ("<34>Oct 11 22:14:15 web01 sshd(pam_unix)[1]: x", (Some(34), BSD, "web01", "sshd(pam_unix)", "1", "x")),
        ("<34>Oct 11 22:14:15 sshd(pam_unix)[1]: x", (Some(34), BSD, "", "sshd(pam_unix)", "1", "x")),
        ("<34>Oct 11 22:14:15 web01 foo[bar][12]: x", (Some(34), BSD, "web01", "foo[bar]", "12", "x")),
        ("<34>Oct 11 22:14:15 web01 postfix/smtpd[9]: x", (Some(34), BSD, "web01", "postfix/smtpd", "9", "x")),
        ("<6>Oct 11 22:14:15 web01 kernel: [  1.5] x", (Some(6), BSD, "web01", "kernel", "", "[  1.5] x")),
        ("<34>Oct 11 22:14:15 2001:db8::1 su: x", (Some(34), BSD, "2001:db8::1", "su", "", "x")),
        ("<34>Oct 11 22:14:15 10.0.0.1 su: x", (Some(34), BSD, "10.0.0.1", "su", "", "x")),
        ("<34>Oct 11 22:14:15 - su: x", (Some(34), BSD, "", "su", "", "x")),
        ("<34>Oct 11 22:14:15 : x", (Some(34), BSD, "", "", "", "x")),
        ("<34>OCT 11 22:14:15 web01", (Some(34), BSD, "web01", "", "", "")),
        ("<34> Oct 11 22:14:15 web01 su: x", (Some(34), BSD, "web01", "su", "", "x")),
        ("<34>Oct 11 22:14:15 web01 -- MARK --", (Some(34), BSD, "web01", "", "", "-- MARK --")),
        ("<46>Oct 11 22:14:15 -- MARK --", (Some(46), BSD, "", "", "", "-- MARK --")),
        (
            "<46>Oct 11 22:14:15 last message repeated 2 times",
            (Some(46), BSD, "", "", "", "last message repeated 2 times"),
        ),
        ("<38>Oct 11 22:14:15 Message forwarded from aix1: su: x", (Some(38), BSD, "aix1", "su", "", "x")),
        ("<34>Oct 11 22:14:15 wéb01 sü: ö", (Some(34), BSD, "wéb01", "sü", "", "ö")),
        ("Oct 11 22:14:15 web01 su: x", (None, BSD, "web01", "su", "", "x")),
        ("<14>Oct 11 22:14:15", (Some(14), BSD, "", "", "", "")),
        ("<34>2026-10-11T22:14:15Z web01 su[3]: x", (Some(34), BSD, "web01", "su", "3", "x")),
        ("<34>2026-10-11T22:14:15 web01 su: x", (Some(34), BSD, "web01", "su", "", "x")),
        ("2026-10-12T00:14:15+02:00 web01 su: x", (None, BSD, "web01", "su", "", "x")),
    ] {
        assert_eq!(check(Profile::Rfc, line, expected), at, "{line}");
    }
    let parsed = rfc("<30>2026-11-20T17:05:05.123456+01:00 web01 systemd[1]: Started x.");
    let us = us(2026, 11, 20, 16, 5, 5) + 123_456;
    assert_eq!(parsed.stamp, Some(Stamp { us, offset_min: 60, had_zone: true, had_year: true }));
    assert_eq!(parsed.stamp.unwrap().wall_us(), us + HOUR_US);
    assert_eq!(row(&parsed), (Some(30), BSD, "web01", "systemd", "1", "Started x."));
}

#[test]
fn headers_of_rfc_5424() {
    let at = us(2003, 10, 11, 22, 14, 15) + 3_000;
    let sdata = r#"[ex@32473 iut="3" eventSource="App\]"][p@1 c="high"]"#;
    for (line, sd, expected) in [
        ("<34>1 2003-10-11T22:14:15.003Z h su - ID47 - 'su' failed".to_owned(), "", "'su' failed"),
        ("<34>1 2003-10-11T22:14:15.003Z h su - ID47 -".to_owned(), "", ""),
        ("<34>1 2003-10-11T22:14:15.003Z h su - ID47".to_owned(), "", ""),
        ("<34>12 2003-10-12T00:14:15.003+02:00 h su - ID47 -  x ".to_owned(), "", " x "),
        (format!("<34>1 2003-10-11T22:14:15.003Z h su - ID47 {sdata} x"), sdata, "x"),
        (format!("<34>1 2003-10-11T22:14:15.003Z h su - ID47 {sdata}"), sdata, ""),
        ("<34>1 2003-10-11T22:14:15.003Z h su - ID47 no data".to_owned(), "", "no data"),
    ] {
        let parsed = rfc(&line);
        assert_eq!(row(&parsed), (Some(34), Status::Rfc5424, "h", "su", "", expected), "{line}");
        assert_eq!((utf8(parsed.msgid), utf8(parsed.sdata)), ("ID47", sd), "{line}");
        assert_eq!(parsed.stamp.unwrap().us, at, "{line}");
        assert_eq!(parsed.flags, Flags::SKEWED, "{line}");
    }
    check(Profile::Rfc, "<14>1 - - - - - -", (Some(14), Status::Rfc5424, "", "", "", ""));
    check(Profile::Rfc, "<14>1 - h a 7 - - x", (Some(14), Status::Rfc5424, "h", "a", "7", "x"));
    check(Profile::Rfc, "<14>1 - this is no header", (Some(14), Status::PriOnly, "", "", "", "1 - this is no header"));
    check(Profile::Rfc, "<14>1 2003-13-41T22:14:15Z h a - - - x", (Some(14), Status::Rfc5424, "h", "a", "", "x"));
    check(Profile::Devlog, "<14>1 2026-11-20T17:00:00Z h a - - - x", (Some(14), Status::Rfc5424, "h", "a", "", "x"));
}

#[test]
fn misread_1_no_timestamp() {
    let line = r#"<189>date=2024-11-20 time=12:00:00 devname="fw1""#;
    check(Profile::Rfc, line, (Some(189), Status::PriOnly, "", "", "", &line[5..]));
    let line = "<189>29: *Mar  1 18:46:11.123: %SYS-5-CONFIG_I: Configured";
    check(Profile::Rfc, line, (Some(189), Status::PriOnly, "", "", "", &line[5..]));
    check(Profile::Rfc, "<34>su: 'su root' failed", (Some(34), BSD, "", "su", "", "'su root' failed"));
    check(Profile::Rfc, "<34>sshd[7]: x", (Some(34), BSD, "", "sshd", "7", "x"));
    check(Profile::Rfc, "sshd[7]: x", (None, BSD, "", "sshd", "7", "x"));
    check(Profile::Rfc, "ERROR: x", (None, Status::Unparsed, "", "", "", "ERROR: x"));
}

#[test]
fn misread_2_no_host() {
    for profile in [Profile::Devlog, Profile::Rfc] {
        let at = check(profile, "<13>Nov 20 12:00:00 root: hi", (Some(13), BSD, "", "root", "", "hi"));
        assert_eq!(at, Some(us(2026, 11, 20, 12, 0, 0)));
        check(profile, "<30>Nov 20 12:00:00 sshd[9]: hi", (Some(30), BSD, "", "sshd", "9", "hi"));
    }
    check(Profile::Devlog, "<13>Nov 20 12:00:00 some words: hi", (Some(13), BSD, "", "", "", "some words: hi"));
    check(Profile::Devlog, "<13>Nov 20 12:00:00 some text", (Some(13), BSD, "", "", "", "some text"));
    check(Profile::Devlog, "<13>Nov 20 12:00:00 ", (Some(13), BSD, "", "", "", ""));
}

#[test]
fn misread_3_asa_without_host() {
    let at = Some(us(2026, 5, 25, 17, 51, 17));
    for (profile, status) in [(Profile::Rfc, BSD), (Profile::Cisco, Status::Vendor)] {
        let line = "<188>May 25 17:51:17: %ASA-4-313005: No matching";
        assert_eq!(check(profile, line, (Some(188), status, "", "%ASA-4-313005", "", "No matching")), at);
        for host in ["fw1", "fw1:", "fw1 :"] {
            let line = format!("<188>May 25 17:51:17 {host} %ASA-4-313005: No matching");
            assert_eq!(check(profile, &line, (Some(188), status, "fw1", "%ASA-4-313005", "", "No matching")), at);
        }
    }
}

#[test]
fn misread_4_year_bearing_stamps_are_local_too() {
    for line in
        ["<14>May 19 2024 12:00:00 h a: x", "<14>2024 May 19 12:00:00 h a: x", "<14>May 19 12:00:00 2024 h a: x"]
    {
        let berlin = Hints { offset_min: 120, ..hints(Profile::Rfc) };
        let parsed = parse(line.as_bytes(), &berlin);
        let us = us(2024, 5, 19, 10, 0, 0);
        assert_eq!(parsed.stamp, Some(Stamp { us, offset_min: 120, had_zone: false, had_year: true }), "{line}");
        assert_eq!(row(&parsed), (Some(14), BSD, "h", "a", "", "x"));
    }
}

#[test]
fn misread_5_fractions() {
    let at = check(Profile::Rfc, "<14>Oct 11 22:14:15.003 h app: x", (Some(14), BSD, "h", "app", "", "x"));
    assert_eq!(at, Some(us(2026, 10, 11, 22, 14, 15) + 3_000));
    let line = format!("<14>2026-10-11T22:14:15.{}Z h app: x", "9".repeat(60));
    assert_eq!(check(Profile::Rfc, &line, (Some(14), BSD, "h", "app", "", "x")), at.map(|at| at + 996_999));
}

#[test]
fn misread_6_zone_words_marks_and_years_first() {
    let expected = (Some(14), BSD, "h", "app", "", "x");
    let at = Some(us(2026, 10, 11, 22, 14, 15));
    assert_eq!(check(Profile::Rfc, "<14>Oct 11 22:14:15 UTC h app: x", expected), at);
    assert_eq!(check(Profile::Rfc, "<14>2026 Oct 11 22:14:15 h app: x", expected), at);
    assert_eq!(check(Profile::Rfc, "<14>Oct 11 22:14:15 UTC: app: x", (Some(14), BSD, "", "app", "", "x")), at);
    assert!(rfc("<14>Oct 11 22:14:15 UTC: x").stamp.unwrap().had_zone);
    let at = check(
        Profile::Cisco,
        "<189>*Mar  1 18:46:11: %SYS-5-CONFIG_I: x",
        (Some(189), Status::Vendor, "", "%SYS-5-CONFIG_I", "", "x"),
    );
    assert_eq!(at, Some(us(2027, 3, 1, 18, 46, 11)), "101 days after receipt, 264 before");
}

#[test]
fn misread_7_a_dash_at_the_start_of_the_message() {
    check(Profile::Rfc, "<14>Oct 11 22:14:15 h app: -1 degrees", (Some(14), BSD, "h", "app", "", "-1 degrees"));
    check(Profile::Rfc, "<14>Oct\t11 22:14:15 h app: -1 degrees", (Some(14), BSD, "h", "app", "", "-1 degrees"));
    check(Profile::Rfc, "<14>-1 degrees", (Some(14), Status::PriOnly, "", "", "", "-1 degrees"));
    check(Profile::Rfc, "<14>- h app: x", (Some(14), Status::PriOnly, "", "", "", "- h app: x"));
}

#[test]
fn misread_8_brackets_at_the_start_of_the_message() {
    for stamp in ["Oct 11 22:14:15", "Oct\t11 22:14:15", "2026-10-11T22:14:15Z"] {
        let line = format!(r#"<14>{stamp} h app: [id k="v"] x"#);
        check(Profile::Rfc, &line, (Some(14), BSD, "h", "app", "", r#"[id k="v"] x"#));
        assert!(rfc(&line).sdata.is_empty());
    }
}

#[test]
fn misread_9_colons_in_the_tag() {
    check(Profile::Rfc, "<14>Oct 11 22:14:15 h a::b: x", (Some(14), BSD, "h", "a::b", "", "x"));
    check(Profile::Rfc, "<14>Oct 11 22:14:15 h a::b[3]: x", (Some(14), BSD, "h", "a::b", "3", "x"));
}

#[test]
fn misread_10_malformed_structured_data_is_not_lost() {
    let line = "<14>1 2026-11-20T17:00:00Z h app 1 id [good@1 a=\"b\"][bad c] x";
    let parsed = rfc(line);
    assert_eq!(row(&parsed), (Some(14), Status::Rfc5424, "h", "app", "1", "[good@1 a=\"b\"][bad c] x"));
    assert!(parsed.sdata.is_empty());
}

#[test]
fn misread_11_values_stay_as_they_are() {
    let line = r#"<14>1 2026-11-20T17:00:00Z h app 1 id [p@1 path="C:\new\]"] x"#;
    assert_eq!(utf8(rfc(line).sdata), r#"[p@1 path="C:\new\]"]"#);
}

#[test]
fn misread_12_odd_dates_keep_the_header() {
    let expected = (Some(14), BSD, "h", "app", "", "x");
    let at = check(Profile::Rfc, "<14>Jun 30 23:59:60 h app: x", expected);
    assert_eq!(at, Some(us(2026, 7, 1, 0, 0, 0) - 1));
    let line = "<14>Feb 29 12:00:00 h app: x";
    let leap = Hints { received_us: us(2028, 3, 1, 0, 0, 0), ..hints(Profile::Rfc) };
    assert_eq!(parse(line.as_bytes(), &leap).stamp.unwrap().us, us(2028, 2, 29, 12, 0, 0));
    assert_eq!(check(Profile::Rfc, line, expected), Some(us(2028, 2, 29, 12, 0, 0)), "466 days after, 995 before");
    for line in [
        "<14>Feb 30 12:00:00 h app: x",
        "<14>Feb 29 2026 12:00:00 h app: x",
        "<14>Oct 11 25:00:00 h app: x",
        "<14>Oct 11 262142 12:00:00 h app: x",
        "<14>Oct 11 1969 12:00:00 h app: x",
        "<14>0000-10-11T12:00:00Z h app: x",
    ] {
        assert_eq!(check(Profile::Rfc, line, expected), None, "{line}");
    }
    let line = "<14>9999-12-31T23:59:59.999999-23:59 h app: x";
    assert!(check(Profile::Rfc, line, expected).is_some());
    assert_eq!(rfc(line).flags, Flags::SKEWED);
}

#[test]
fn misread_13_no_tag() {
    check(Profile::Rfc, "<14>Oct 11 22:14:15 h some text: x", (Some(14), BSD, "h", "", "", "some text: x"));
    check(Profile::Rfc, "<14>Oct 11 22:14:15 h 12: x", (Some(14), BSD, "h", "", "", "12: x"));
    check(Profile::Rfc, "<14>Oct 11 22:14:15 h  text", (Some(14), BSD, "h", "", "", "text"));
}

#[test]
fn misread_14_bom_and_blanks() {
    let parsed = rfc("<14>1 2026-11-20T17:00:00Z h app - - - \u{feff} x \r\n\0");
    assert_eq!((utf8(parsed.message), parsed.status), (" x ", Status::Rfc5424));
    check(Profile::Rfc, "<14>Oct 11 22:14:15 h app:   x ", (Some(14), BSD, "h", "app", "", "  x "));
}

#[test]
fn misread_15_host_twice() {
    for line in ["<14>Oct 11 22:14:15 web01 web01 app[1]: x", "<14>Oct 11 22:14:15 web01 WEB01.acme.private app[1]: x"]
    {
        check(Profile::Rfc, line, (Some(14), BSD, "web01", "app", "1", "x"));
    }
    for body in ["web02 app[1]: x", "web01 is down", "web010 app[1]: x", "Oct 11 22:14:14 web02 app: x"] {
        let line = format!("<14>Oct 11 22:14:15 web01 {body}");
        check(Profile::Rfc, &line, (Some(14), BSD, "web01", "", "", body));
    }
}

#[test]
fn ends_of_lines_and_other_octets() {
    for end in ["", "\0", "\n", "\r\n", "\n\0", "\r\r\0\0"] {
        let line = format!("<14>Oct 11 22:14:15 h app: a\0b\rc {end}");
        check(Profile::Rfc, &line, (Some(14), BSD, "h", "app", "", "a\0b\rc "));
        check(Profile::Rfc, &format!("<14>{end}"), (Some(14), Status::PriOnly, "", "", "", ""));
        check(Profile::Rfc, &format!("x{end}"), (None, Status::Unparsed, "", "", "", "x"));
    }
    let parsed = parse(b"<14>Oct 11 22:14:15 h app: caf\xe9", &hints(Profile::Rfc));
    assert_eq!((parsed.message, parsed.flags), (b"caf\xe9".as_slice(), Flags::NOT_UTF8));
}

#[test]
fn plain_reads_the_pri_alone() {
    let line = "<14>Oct 11 22:14:15 h app: x";
    check(Profile::Plain, line, (Some(14), Status::PriOnly, "", "", "", &line[4..]));
    check(Profile::Plain, &line[4..], (None, Status::Unparsed, "", "", "", &line[4..]));
}

#[test]
fn cisco() {
    let march = us(2027, 3, 1, 18, 46, 11);
    let config = (Some(189), Status::Vendor, "", "%SYS-5-CONFIG_I", "", "Configured from console");
    let from = |host| (config.0, config.1, host, config.3, config.4, config.5);
    for (before, host, at) in [
        ("29: *Mar  1 18:46:11.123:", "", Some(march + 123_000)),
        ("29: .Mar  1 18:46:11:", "", Some(march)),
        ("29: Mar  1 2027 18:46:11 UTC:", "", Some(march)),
        ("29: Mar  1 18:46:11 CET:", "", Some(march - HOUR_US)),
        ("29: 000123: Mar  1 10:46:11.000 PST:", "", Some(march)),
        ("29: R1: *Mar  1 18:46:11:", "R1", Some(march)),
        ("29: R1: 000123: *Mar  1 18:46:11:", "R1", Some(march)),
        ("29: 10.1.1.1: *Mar  1 18:46:11:", "10.1.1.1", Some(march)),
        (": 2027 Mar  1 18:46:11 UTC:", "", Some(march)),
        ("29: 1w2d:", "", None),
        ("29: 00:01:23:", "", None),
        ("Mar  1 18:46:11 r1 29:", "r1", Some(march)),
        ("Mar  1 18:46:12 10.1.1.1 585917: Mar  1 18:46:11.272:", "10.1.1.1", Some(march + 272_000)),
        ("Mar  1 18:46:11 10.1.1.1 29: *Mar  1 00:00:09:", "10.1.1.1", Some(march)),
        ("", "", None),
    ] {
        let line = format!("<189>{before} %SYS-5-CONFIG_I: Configured from console");
        assert_eq!(check(Profile::Cisco, &line, from(host)), at, "{line}");
    }
    let line = "<189>29: RP/0/RSP0/CPU0:Mar  1 18:46:11.5 UTC: SSHD_[65715]: %SECURITY-SSHD-6-INFO : x";
    let at = check(Profile::Cisco, line, (Some(189), Status::Vendor, "", "%SECURITY-SSHD-6-INFO", "65715", "x"));
    assert_eq!(at, Some(march + 500_000));
    for (line, expected) in [
        ("<189>29: *Mar  1 18:46:11: some text", (Some(189), Status::Vendor, "", "", "", "some text")),
        ("<189>29: R1: .Mar  1 18:46:11: hello", (Some(189), Status::Vendor, "R1", "", "", "hello")),
        (
            "<189>Mar  1 18:46:11 h app[1]: bad %SYS-5-CONFIG_I: x",
            (Some(189), BSD, "h", "app", "1", "bad %SYS-5-CONFIG_I: x"),
        ),
        ("<189>Mar  1 18:46:11 h app[1]: x", (Some(189), BSD, "h", "app", "1", "x")),
        ("<189>29: hello there", (Some(189), Status::PriOnly, "", "", "", "29: hello there")),
    ] {
        check(Profile::Cisco, line, expected);
    }
}

#[test]
fn fortigate() {
    let body = r#"date=2026-11-20 time=18:00:00 devname="fw1" devid="FG1" eventtime=1795194000123456789 tz="+0100" logid="1" type="traffic" subtype="forward" msg="a \"b\"""#;
    let line = format!("<189>{body}");
    let expected = (Some(189), Status::Vendor, "fw1", "forward", "", body);
    assert_eq!(check(Profile::Fortigate, &line, expected), Some(RECEIVED_US + 123_456));
    assert_eq!(by(Profile::Fortigate, &line).stamp.unwrap().offset_min, 60);
    let line = format!("<189>Nov 20 18:00:01 relay {body}");
    assert_eq!(check(Profile::Fortigate, &line, expected), Some(RECEIVED_US + 123_456));
    let seconds = RECEIVED_US / 1_000_000;
    for (body, host, program, at) in [
        ("date=2026-11-20 time=18:00:00 devname=fw1 tz=\"+0100\"".to_owned(), "fw1", "fortigate", RECEIVED_US),
        ("date=2026-11-20 time=17:00:00 subtype=vpn".to_owned(), "", "vpn", RECEIVED_US),
        (format!("logver=700 eventtime={seconds} subtype=\"\""), "", "fortigate", RECEIVED_US),
        (format!("date=2026-11-20 time=17:00:00 eventtime={}", seconds - 999_999), "", "fortigate", RECEIVED_US),
    ] {
        let line = format!("<189>{body}");
        let expected = (Some(189), Status::Vendor, host, program, "", body.as_str());
        assert_eq!(check(Profile::Fortigate, &line, expected), Some(at), "{line}");
    }
    check(Profile::Fortigate, "<189>Nov 20 18:00:01 h app: x", (Some(189), BSD, "h", "app", "", "x"));
    check(Profile::Fortigate, "<189>a=\"b", (Some(189), Status::PriOnly, "", "", "", "a=\"b"));
    check(Profile::Fortigate, "<189>date=x time=", (Some(189), Status::PriOnly, "", "", "", "date=x time="));
}

#[test]
fn the_fallback_reads_odd_blanks_and_digits() {
    let at = us(2026, 10, 11, 22, 14, 15);
    let local = Hints { offset_min: 60, ..hints(Profile::Rfc) };
    for (line, at) in [
        ("<14>Oct\t11\t22:14:15 h app[3]: x", at - HOUR_US),
        ("<14>Oct 011 022:14:15 h app[3]: x", at - HOUR_US),
        ("<14>Oct 011 2026 022:14:15 h app[3]: x", at - HOUR_US),
    ] {
        let parsed = parse(line.as_bytes(), &local);
        assert_eq!(row(&parsed), (Some(14), BSD, "h", "app", "3", "x"), "{line}");
        let had_year = line.contains("2026");
        assert_eq!(parsed.stamp, Some(Stamp { us: at, offset_min: 60, had_zone: false, had_year }), "{line}");
    }
    let line = "<14>1  2026-10-11T22:14:15Z h  app\t- ID47  [a b=\"c\"] é x";
    let parsed = parse(line.as_bytes(), &local);
    assert_eq!(row(&parsed), (Some(14), Status::Rfc5424, "h", "app", "", "é x"));
    assert_eq!((utf8(parsed.msgid), utf8(parsed.sdata)), ("ID47", "[a b=\"c\"]"));
    assert_eq!(parsed.stamp, Some(Stamp { us: at, offset_min: 0, had_zone: true, had_year: true }));
    let line = "<14>Oct 011 022:14:15 : -1 [a] x";
    check(Profile::Rfc, line, (Some(14), Status::PriOnly, "", "", "", &line[4..]));
}

#[test]
fn years_are_the_nearest_whatever_the_zone() {
    for (received, line, expected) in [
        (us(2027, 1, 1, 0, 0, 5), "<14>Dec 31 23:59:59 h a: x", us(2026, 12, 31, 23, 59, 59)),
        (us(2026, 12, 31, 23, 59, 59), "<14>Jan  1 00:00:01 h a: x", us(2027, 1, 1, 0, 0, 1)),
        (us(2026, 12, 31, 16, 0, 0), "<14>Jan  1 00:00:00 h a: x", us(2027, 1, 1, 0, 0, 0)),
    ] {
        for offset_min in [-720, 0, 480, 840] {
            let hints = Hints { received_us: received, profile: Profile::Rfc, offset_min };
            let stamp = parse(line.as_bytes(), &hints).stamp.unwrap();
            assert_eq!(stamp.wall_us(), expected, "{line} {offset_min}");
        }
    }
}

fn profile() -> impl Strategy<Value = Profile> {
    use Profile::{Cisco, Devlog, Fortigate, Plain, Rfc};
    prop::sample::select(vec![Rfc, Devlog, Cisco, Fortigate, Plain])
}

/// Any octets, and octets made of what headers are made of.
fn line() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&str; 44] = [
        "<13>",
        "<",
        ">",
        "1 ",
        "Oct 11 22:14:15",
        "Feb 29 23:59:60",
        "2026-10-11T22:14:15.5+02:00",
        "-",
        " ",
        "  ",
        ":",
        ": ",
        "h",
        "app",
        "[12]",
        "[",
        "]",
        "[a b=\"c\"]",
        "\"",
        "\\",
        "=",
        "%ASA-4-3:",
        "%",
        "*",
        ".",
        "29: ",
        "UTC",
        "\t",
        "\u{feff}",
        "é",
        "\0",
        "\r\n",
        "date=2026-10-11 ",
        "time=22:14:15 ",
        "eventtime=",
        "1795194000",
        "devname=\"",
        "tz=",
        "Oct",
        "99999999999999999999",
        "262142",
        "+",
        "last message repeated ",
        "Message forwarded from ",
    ];
    let piece = prop::sample::select(PIECES.to_vec()).prop_map(|piece| piece.as_bytes().to_vec());
    let any = prop::collection::vec(any::<u8>(), 0..40);
    prop::collection::vec(prop_oneof![9 => piece, 1 => any], 0..24).prop_map(|pieces| pieces.concat())
}

/// Lines with a header of which some octets are replaced.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    const LINES: [&str; 7] = [
        "<34>Oct 11 22:14:15.5 web01 sshd[4721]: x",
        "<34>Oct 11 2026 22:14:15 web01 web01 a::b: x",
        "<30>2026-11-20T17:05:05.123456+01:00 web01 systemd[1]: x",
        "<34>1 2026-10-11T22:14:15.003Z h su - ID47 [x@1 a=\"\\\"\" b=\"\"][y] \u{feff}x",
        "<14>Oct\t011 022:14:15 h app[3]: x",
        "<189>29: R1: *Mar  1 18:46:11.123 CET: %SYS-5-CONFIG_I: x",
        "<189>date=2026-11-20 time=18:00:00 devname=\"fw1\" eventtime=1795194000123456789 tz=\"+0100\" x",
    ];
    let replaced = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    (prop::sample::select(LINES.to_vec()), replaced).prop_map(|(line, replaced)| {
        let mut line = line.as_bytes().to_vec();
        for (at, octet) in replaced {
            let at = at.index(line.len());
            line[at] = octet;
        }
        line
    })
}

/// Words without what ends them.
fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z][a-zA-Z0-9_./-]{0,20}[a-z0-9]"
}

fn content() -> impl Strategy<Value = String> {
    // Begins with a letter: where the message would otherwise begin is what the tests by name are about.
    "[a-zA-Z]([ -~]{0,60}[!-~])?"
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_octets_are_read(raw in prop_oneof![line(), damaged()], profile in profile(), received_us in any::<i64>(), offset_min in any::<i16>()) {
        let parsed = parse(&raw, &Hints { received_us, profile, offset_min });
        let within = raw.as_ptr_range();
        let Parsed { host, program, pid, msgid, sdata, message, .. } = parsed;
        for (i, slice) in [message, sdata, host, program, pid, msgid].into_iter().enumerate() {
            let range = slice.as_ptr_range();
            let inside = within.start <= range.start && range.end <= within.end;
            prop_assert!(slice.is_empty() || inside || (i == 3 && slice == b"fortigate"));
        }
        prop_assert!(raw.starts_with(b"<") || parsed.pri.is_none());
        prop_assert_eq!(parsed.flags.has(Flags::NO_PRI), parsed.pri.is_none());
        prop_assert_eq!(parsed.flags.has(Flags::NO_STAMP), parsed.stamp.is_none());
        prop_assert!(!matches!(message.last(), Some(b'\r' | b'\n' | 0)));
        // Every octet after the PRI is in a field, or is header.
        if matches!(parsed.status, Status::PriOnly | Status::Unparsed) {
            let rest = raw.len() - raw.iter().rev().take_while(|octet| matches!(octet, b'\r' | b'\n' | 0)).count();
            prop_assert!(message.len() + 5 >= rest);
        }
    }

    #[test]
    fn lines_of_rfc_3164_give_back_what_was_put_in(
        pri in 0u8..192, month in 0usize..12, day in 1u8..29, seconds in 0i64..86_400, host in word(), program in word(),
        pid in prop::option::of(0u32..4_194_304), message in content(),
    ) {
        let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let tag = pid.map_or(program.clone(), |pid| format!("{program}[{pid}]"));
        let line = format!("<{pri}>{} {day:2} {h:02}:{m:02}:{s:02} {host} {tag}: {message}", MONTHS[month]);
        let parsed = rfc(&line);
        let pid = pid.map(|pid| pid.to_string()).unwrap_or_default();
        prop_assert_eq!(row(&parsed), (Some(pri), BSD, &*host, &*program, &*pid, &*message));
        let stamp = parsed.stamp.unwrap();
        let years = [2025, 2026, 2027].map(|year| us(year, month as u8 + 1, day, h, m, s));
        prop_assert_eq!(Some(stamp.us), years.into_iter().min_by_key(|us| us.abs_diff(RECEIVED_US)));
        prop_assert_eq!(parsed.flags, Flags::default());
        let theirs = parse_message_with_year_exact_tz(&line, |_| super::time::year_of(stamp.us), chrono::FixedOffset::east_opt(0), Variant::RFC3164);
        same_as_theirs(&parsed, &theirs.unwrap())?;
    }

    #[test]
    fn lines_of_rfc_5424_give_back_what_was_put_in(
        pri in 0u8..192, year in 1970i32..9999, month in 1u8..13, day in 1u8..29, seconds in 0i64..86_400, micros in 0i64..1_000_000,
        fields in [word(), word(), word(), word()], value in r#"([ -!#-Z^-~]|\\["\\\]]){0,30}"#, elements in 0usize..3, message in content(),
    ) {
        let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let [host, program, pid, msgid] = &fields;
        let sdata = format!("[x@1 a=\"{value}\" b=\"\"]").repeat(elements);
        let sd = if elements == 0 { "-" } else { &*sdata };
        let line = format!("<{pri}>1 {year}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{micros:06}Z {host} {program} {pid} {msgid} {sd} {message}");
        let parsed = rfc(&line);
        prop_assert_eq!(row(&parsed), (Some(pri), Status::Rfc5424, &**host, &**program, &**pid, &*message));
        prop_assert_eq!((utf8(parsed.msgid), utf8(parsed.sdata)), (&**msgid, &*sdata));
        prop_assert_eq!(parsed.stamp.unwrap().us, us(year, month, day, h, m, s) + micros);
        let theirs = parse_message_with_year_exact_tz(&line, |_| 0, chrono::FixedOffset::east_opt(0), Variant::RFC5424);
        same_as_theirs(&parsed, &theirs.unwrap())?;
    }
}

/// Compares one by one; `PartialEq` of theirs leaves fields out.
fn same_as_theirs(parsed: &Parsed<'_>, theirs: &syslog_loose::Message<&str>) -> Result<(), TestCaseError> {
    let pri = theirs.facility.zip(theirs.severity).map(|(facility, severity)| facility as u8 * 8 + severity as u8);
    prop_assert_eq!(parsed.pri, pri);
    prop_assert_eq!(parsed.stamp.map(|stamp| stamp.us), theirs.timestamp.map(|time| time.timestamp_micros()));
    prop_assert_eq!(utf8(parsed.host), theirs.hostname.unwrap_or_default());
    prop_assert_eq!(utf8(parsed.program), theirs.appname.unwrap_or_default());
    let pid = match theirs.procid {
        None => String::new(),
        Some(ProcId::PID(number)) => number.to_string(),
        Some(ProcId::Name(name)) => name.to_owned(),
    };
    prop_assert_eq!(utf8(parsed.pid), pid);
    prop_assert_eq!(utf8(parsed.msgid), theirs.msgid.unwrap_or_default());
    let element = |element: &syslog_loose::StructuredElement<&str>| {
        let params: String = element.params.iter().map(|(name, value)| format!(" {name}=\"{value}\"")).collect();
        format!("[{}{params}]", element.id)
    };
    prop_assert_eq!(utf8(parsed.sdata), theirs.structured_data.iter().map(element).collect::<String>());
    prop_assert_eq!(utf8(parsed.message), theirs.msg);
    Ok(())
}
