use proptest::prelude::*;

use super::*;
use crate::message::{Field, Flags, Status};

fn write(template: &str, message: &Message<'_>, env: &Env<'_>) -> String {
    let mut out = b"before ".to_vec();
    let template = Template::parse(template).unwrap_or_else(|error| panic!("{error}"));
    assert!(template.write(message, env, &mut DateCache::default(), &mut out));
    String::from_utf8(out).unwrap().strip_prefix("before ").unwrap().into()
}

const ENV: Env<'static> =
    Env { now_us: 1_795_726_989_594_344, loghost: "relay1", offset_min: 0, zone_min: None, frac_digits: 0 };

/// A line as the parser hands it on.
fn read(
    raw: &'static str,
    pri: u8,
    stamp: (i64, i16),
    names: [&'static str; 3],
    message: &'static str,
) -> Message<'static> {
    let mut read = Message::unread(raw.as_bytes(), 1_795_726_989_594_344);
    read.status = Status::Rfc3164;
    (read.pri, read.stamp_us, read.stamp_offset_min) = (pri, stamp.0, stamp.1);
    read.message = &raw.as_bytes()[raw.len() - message.len()..];
    for (field, name) in [Field::Host, Field::Program, Field::Pid].into_iter().zip(names) {
        read.set(field, name.as_bytes());
    }
    read
}

/// The lines that were given to syslog-ng 3.38.
fn lines() -> [Message<'static>; 6] {
    [
        read(
            "<34>Oct 11 22:14:15 mymachine su[12]: 'su root' failed",
            34,
            (1_791_756_855_000_000, 0),
            ["mymachine", "su", "12"],
            "'su root' failed",
        ),
        read(
            "<13>Feb  5 17:32:18 10.0.0.99 prog:no space",
            13,
            (1_770_312_738_000_000, 0),
            ["10.0.0.99", "prog", ""],
            "no space",
        ),
        read(
            "<13>Feb  5 17:32:18 host1 prog:  two spaces",
            13,
            (1_770_312_738_000_000, 0),
            ["host1", "prog", ""],
            " two spaces",
        ),
        read(
            "<191>2026-11-20T17:05:05.123456+05:30 hostx app[99]: hi",
            191,
            (1_795_174_505_123_456, 330),
            ["hostx", "app", "99"],
            "hi",
        ),
        read(
            "<13>Nov 20 17:05:05 hosty just some text without tag",
            13,
            (1_795_194_305_000_000, 0),
            ["hosty", "just", ""],
            "some text without tag",
        ),
        read(
            "<199>2026-01-01T00:00:00+00:00 hosty a/b[x]: facility 24",
            199,
            (1_767_225_600_000_000, 0),
            ["hosty", "a/b", "x"],
            "facility 24",
        ),
    ]
}

#[test]
fn files_look_as_syslog_ng_writes_them() {
    let written: String = lines().iter().map(|message| write(FILE_TEMPLATE, message, &ENV)).collect();
    assert_eq!(
        written,
        "Oct 11 22:14:15 mymachine su[12]: 'su root' failed\n\
         Feb  5 17:32:18 10.0.0.99 prog:no space\n\
         Feb  5 17:32:18 host1 prog:  two spaces\n\
         Nov 20 17:05:05 hostx app[99]: hi\n\
         Nov 20 17:05:05 hosty just some text without tag\n\
         Jan  1 00:00:00 hosty a/b[x]: facility 24\n"
    );
}

#[test]
fn macros_write_what_syslog_ng_writes() {
    let template = "$DATE|$ISODATE|$FULLDATE|$STAMP|$UNIXTIME|${S_UNIXTIME}|$R_YEAR|$TZ|$TZOFFSET|$WEEKDAY|$WEEK_DAY|\
                    $WEEK_DAY_ABBREV|$WEEK_DAY_NAME|$WEEK|$ISOWEEK|$YEAR_DAY|$MONTH_WEEK|$MONTH_ABBREV|$MONTH_NAME|\
                    $MONTH|$DAY|$HOUR|$HOUR12|$AMPM|$MIN|$SEC|$USEC|$MSEC|<$MSGHDR>|$FACILITY|$FACILITY_NUM|$LEVEL|\
                    $LEVEL_NUM|$PRI|$TAG|$BSDTAG|$SOURCEIP|$$|${nope:-dflt}|${HOST}@@x|${HOST}@y|$-|x$";
    let expected = [
        "Oct 11 22:14:15|2026-10-11T22:14:15+00:00|2026 Oct 11 22:14:15|Oct 11 22:14:15|1791756855|1791756855|2026|\
         +00:00|+00:00|Sun|1|Sun|Sunday|40|41|284|1|Oct|October|10|11|22|10|PM|14|15|000000|000|<su[12]: >|auth|4|\
         crit|2|34|22|2E|127.0.0.1|$|dflt|mymachine@x|mymachine@y|$-|x$",
        "Feb  5 17:32:18|2026-02-05T17:32:18+00:00|2026 Feb  5 17:32:18|Feb  5 17:32:18|1770312738|1770312738|2026|\
         +00:00|+00:00|Thu|5|Thu|Thursday|05|06|036|1|Feb|February|02|05|17|05|PM|32|18|000000|000|<prog:>|user|1|\
         notice|5|13|0d|5B|127.0.0.1|$|dflt|10.0.0.99@x|10.0.0.99@y|$-|x$",
        "Feb  5 17:32:18|2026-02-05T17:32:18+00:00|2026 Feb  5 17:32:18|Feb  5 17:32:18|1770312738|1770312738|2026|\
         +00:00|+00:00|Thu|5|Thu|Thursday|05|06|036|1|Feb|February|02|05|17|05|PM|32|18|000000|000|<prog: >|user|1|\
         notice|5|13|0d|5B|127.0.0.1|$|dflt|host1@x|host1@y|$-|x$",
        "Nov 20 17:05:05|2026-11-20T17:05:05+05:30|2026 Nov 20 17:05:05|Nov 20 17:05:05|1795174505|1795174505|2026|\
         +05:30|+05:30|Fri|6|Fri|Friday|46|47|324|3|Nov|November|11|20|17|05|PM|05|05|123456|123|<app[99]: >|local7|\
         23|debug|7|191|bf|7X|127.0.0.1|$|dflt|hostx@x|hostx@y|$-|x$",
        "Nov 20 17:05:05|2026-11-20T17:05:05+00:00|2026 Nov 20 17:05:05|Nov 20 17:05:05|1795194305|1795194305|2026|\
         +00:00|+00:00|Fri|6|Fri|Friday|46|47|324|3|Nov|November|11|20|17|05|PM|05|05|000000|000|<just >|user|1|\
         notice|5|13|0d|5B|127.0.0.1|$|dflt|hosty@x|hosty@y|$-|x$",
        "Jan  1 00:00:00|2026-01-01T00:00:00+00:00|2026 Jan  1 00:00:00|Jan  1 00:00:00|1767225600|1767225600|2026|\
         +00:00|+00:00|Thu|5|Thu|Thursday|00|01|001|0|Jan|January|01|01|00|12|AM|00|00|000000|000|<a/b[x]: >|18|24|\
         debug|7|199|c7|7Y|127.0.0.1|$|dflt|hosty@x|hosty@y|$-|x$",
    ];
    for (message, expected) in lines().iter().zip(expected) {
        assert_eq!(write(template, message, &ENV), expected);
    }
    let [.., shifted, _, _] = lines();
    let env = Env { frac_digits: 3, ..ENV };
    assert_eq!(
        write("$DATE|$ISODATE|$FULLDATE|$UNIXTIME|$STAMP", &shifted, &env),
        "Nov 20 17:05:05.123|2026-11-20T17:05:05.123+05:30|2026 Nov 20 17:05:05.123|1795174505.123|Nov 20 17:05:05.123"
    );
}

#[test]
fn zones_of_times() {
    let [.., mut message, _, _] = lines();
    let berlin = Env { offset_min: 60, ..ENV };
    let template = "$ISODATE $R_ISODATE $C_HOUR";
    assert_eq!(write(template, &message, &berlin), "2026-11-20T17:05:05+05:30 2026-11-26T22:03:09+01:00 22");
    let fixed = Env { zone_min: Some(-120), ..berlin };
    assert_eq!(write(template, &message, &fixed), "2026-11-20T09:35:05-02:00 2026-11-26T19:03:09-02:00 19");
    message.flags = Flags::NO_STAMP;
    assert_eq!(write("$ISODATE", &message, &berlin), "2026-11-20T12:35:05+01:00", "a time that is not its own");
}

#[test]
fn what_the_inventory_and_rules_say() {
    let mut message = lines()[0];
    message.sdata = br#"[ex@1 k="v\"1" z="2" p="C:\new"][b@2.3 q="x]"][e]"#;
    message.sequence = 77;
    message.address = Some("10.1.2.3".parse().unwrap());
    message.port = 514;
    message.set(Field::Roles, b"web\nfront\n");
    message.set(Field::Groups, b"edge\n");
    message.set(Field::Values, b".app.user=bob\nn=a=b\n");
    message.set(Field::Zone, b"us-east-1b");
    message.set(Field::HeaderHost, b"spoofed");
    let cases = [
        ("$ROLE|$ROLES|$GROUPS|$ZONE|$HEADERHOST", "web|web,front|edge|us-east-1b|spoofed"),
        ("${.app.user}|${n}|${.app}|${nope}", "bob|a=b||"),
        ("${.SDATA.ex@1.k}|${.SDATA.ex@1.z}|${.SDATA.ex@1.p}|${.SDATA.b@2.3.q}", r#"v"1|2|C:\new|x]"#),
        ("${.SDATA.ex@1.nope}|${.SDATA.e.x}|${.SDATA.e}", "||"),
        ("$SOURCEIP:$SOURCEPORT $HOST_FROM $LOGHOST", "10.1.2.3:514 10.1.2.3 relay1"),
        ("$RCPTID $SEQNUM ${UNIQID}", "77 77 b2151ac4@000000000000004d"),
        ("$RAWMSG_SIZE $RAWMSG", "54 <34>Oct 11 22:14:15 mymachine su[12]: 'su root' failed"),
    ];
    for (template, expected) in cases {
        assert_eq!(write(template, &message, &ENV), expected, "{template}");
    }
    message.flags = Flags::KNOWN;
    message.address = Some("2001:db8::1".parse().unwrap());
    assert_eq!(write("$HOST_FROM $SOURCEIP", &message, &ENV), "mymachine 2001:db8::1");
}

#[test]
fn messages_for_other_relays() {
    let mut message = lines()[3];
    assert_eq!(write(RFC3164_TEMPLATE, &message, &ENV), "<191>Nov 20 17:05:05 hostx app[99]: hi");
    assert_eq!(write(RFC5424_TEMPLATE, &message, &ENV), "<191>1 2026-11-20T17:05:05.123456+05:30 hostx app 99 - - hi");
    let long = "p".repeat(300);
    for field in [Field::Host, Field::Program, Field::Pid, Field::MsgId] {
        message.set(field, long.as_bytes());
    }
    message.sdata = b"[a b=\"c\"]";
    message.message = b"";
    message.stamp_us = 1_767_225_600_000_000;
    message.stamp_offset_min = 0;
    let [host, program, pid, id] = [255, 48, 128, 32].map(|length| "p".repeat(length));
    assert_eq!(
        write(RFC5424_TEMPLATE, &message, &ENV),
        format!("<191>1 2026-01-01T00:00:00+00:00 {host} {program} {pid} {id} [a b=\"c\"]")
    );
    let bare = Message::unread("ä b".as_bytes(), 0);
    assert_eq!(write(RFC3164_TEMPLATE, &bare, &ENV), "<13>Jan  1 00:00:00 - ä b");
    assert_eq!(write(RFC5424_TEMPLATE, &bare, &ENV), "<13>1 1970-01-01T00:00:00+00:00 - - - - - ä b");
    message.set(Field::Program, "a b\u{e9}".as_bytes());
    assert!(write(RFC5424_TEMPLATE, &message, &ENV).contains(" a_b__ "));
}

#[test]
fn errors_have_columns() {
    let cases = [
        ("x ${HOST", 3, "no }"),
        ("ü ${HOST:+x}", 9, ":-TEXT"),
        ("${}", 1, "name is missing"),
        ("a $(format-json --scope all)", 3, "functions"),
        ("$*", 1, "not known"),
        ("a $1", 3, "subst()"),
        ("${HOST}@12", 8, "@@"),
    ];
    for (text, column, why) in cases {
        let error = Template::parse(text).unwrap_err();
        assert!(error.column == column && error.text.contains(why), "{error}");
    }
    assert!(Template::parse(&"x".repeat(TEXT_MAX + 1)).is_err());
    assert!(Template::parse(&"$PRI".repeat(PARTS_MAX)).is_ok());
    assert!(Template::parse(&"$PRI".repeat(PARTS_MAX + 1)).is_err());
    assert!(Template::parse_replacement("$9 ${0}").is_ok() && Template::parse_replacement("$10").is_err());
}

#[test]
fn doubts_name_what_is_hardly_meant() {
    let doubts = |text| Template::parse(text).unwrap().doubts();
    assert!(doubts("$HOST ${.app.user} ${CUSTOM} ${app}\n").is_empty());
    assert!(doubts("${PROGARM}")[0].contains("${PROGRAM}"), "{:?}", doubts("${PROGARM}"));
    assert!(doubts("$MSG\\n")[0].contains("backslash"));
}

#[test]
fn a_template_writes_only_so_much() {
    let raw = vec![b'x'; 1 << 20];
    let message = Message::unread(&raw, 0);
    let mut out = Vec::new();
    let template = Template::parse(&"$MSG".repeat(4000)).unwrap();
    assert!(!template.write(&message, &ENV, &mut DateCache::default(), &mut out));
    assert!(out.len() <= WRITTEN_MAX + raw.len() + 1);
}

fn path(template: &str, message: &Message<'_>) -> (String, PathNotes) {
    let mut out = Vec::new();
    let notes = Template::parse(template).unwrap().write_path(message, &ENV, &mut DateCache::default(), &mut out);
    (String::from_utf8_lossy(&out).into(), notes)
}

#[test]
fn paths_stay_below_their_folder() {
    let mut message = lines()[0];
    let mut made = |host: &'static [u8]| {
        message.set(Field::Host, host);
        path("/var/log/${HOST}/$YEAR.log", &message)
    };
    assert_eq!(made(b"web01"), ("/var/log/web01/2026.log".into(), PathNotes::default()));
    let replaced = PathNotes { replaced: 1, cut: 0 };
    assert_eq!(made(b"../../etc"), ("/var/log/___.._etc/2026.log".into(), replaced));
    assert_eq!(made(b".."), ("/var/log/__/2026.log".into(), replaced));
    assert_eq!(made(b"...x."), ("/var/log/___x./2026.log".into(), replaced));
    assert_eq!(made(b""), ("/var/log/_/2026.log".into(), replaced));
    assert_eq!(made(b"a\0b\nc/\x7f"), ("/var/log/a_b_c__/2026.log".into(), replaced));
    let (cut, notes) = made(&[b'x'; 1000]);
    assert_eq!((cut.len(), notes), ("/var/log//2026.log".len() + INSERT_MAX, PathNotes { replaced: 0, cut: 1 }));
    let long = "ä".repeat(100);
    message.set(Field::Host, long.as_bytes());
    assert_eq!(path("/a/x$HOST", &message).0, format!("/a/x{}", "ä".repeat(64)));
    let wide = path("/a/$HOST$HOST$HOST.log", &message);
    assert_eq!((wide.0.len(), wide.1.cut), (3 + 254, 4), "a component is cut as well");
    message.set(Field::Host, b"web01");
    assert_eq!(path("/a/.$nope", &message).0, "/a/._");
}

#[test]
fn what_cannot_be_a_path() {
    let check = |text| Template::parse(text).unwrap().check_path();
    assert_eq!(check("/var/log/${HOST}/$PROGRAM.log"), Ok(()));
    assert_eq!(check("/var/log/messages"), Ok(()));
    for (text, column) in [
        ("var/log", 1),
        ("${HOST}/x", 1),
        ("/${HOST}/x", 2),
        ("/log-$HOST", 6),
        ("/var/../x", 6),
        ("/var/./$HOST", 6),
        ("/var//x", 6),
        ("/var/log/", 10),
        ("/var/$HOST/..", 12),
        ("/var/$HOST\n", 11),
        (&*format!("/var/{}$HOST", "x".repeat(256)), 1),
    ] {
        let error = check(text).expect_err(text);
        assert_eq!(error.column, column, "{error}");
    }
}

proptest! {
    #[test]
    fn no_message_writes_outside_the_folder(
        hostile in prop::collection::vec(prop_oneof![Just(b'.'), Just(b'/'), Just(0), any::<u8>()], 0..300),
        template in prop_oneof![
            Just("/var/log/$HOST/$PROGRAM.log"), Just("/var/log/.$HOST"), Just("/var/log/$HOST.$PROGRAM/${.x:-../y}"),
            Just("/var/log/$MSG$HOST"), Just("/var/log/${HOST}./.${HOST}"), Just("/var/log/../$HOST//./$PID/"),
        ],
    ) {
        let mut message = Message::unread(&hostile, 0);
        message.set(Field::Host, &hostile);
        message.set(Field::Program, &hostile[..hostile.len() / 2]);
        let mut out = Vec::new();
        Template::parse(template).unwrap().write_path(&message, &ENV, &mut DateCache::default(), &mut out);
        prop_assert!(out.starts_with(b"/var/log/"));
        prop_assert_eq!(
            out.iter().filter(|octet| **octet == b'/').count(),
            template.split(":-").next().unwrap().matches('/').count(),
            "no message adds a component"
        );
        for component in out[1..].split(|octet| *octet == b'/') {
            prop_assert!(!matches!(component, b"" | b"." | b".."), "{}", String::from_utf8_lossy(&out));
            prop_assert!(component.len() <= 255 && !component.contains(&0));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[$@:{}()A-Z_\\-ü.*0-9]{0,40}") {
        let message = Message::unread(b"x", 0);
        match Template::parse(&text) {
            Ok(template) => {
                let mut out = Vec::new();
                template.write(&message, &ENV, &mut DateCache::default(), &mut out);
                if let Some(borrowed) = template.borrow(&message) {
                    prop_assert_eq!(borrowed, &*out);
                }
            }
            Err(error) => prop_assert!(error.column <= text.chars().count() + 1),
        }
    }

    #[test]
    fn any_structured_data_is_searched(sdata in "[\\[\\]=\"\\\\ ab.]{0,40}", path in "[ab.]{0,5}") {
        let mut message = Message::unread(b"x", 0);
        message.sdata = sdata.as_bytes();
        let found = write(&format!("${{.SDATA.{path}}}"), &message, &ENV);
        prop_assert!(found.len() <= sdata.len());
    }
}
