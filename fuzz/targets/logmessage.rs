//! Any line is read, by any profile: never a panic, and nothing that was not in the line.
//!
//! The first octet of the input is the profile, the second the zone, the rest is the line.
#![no_main]

use logrelay::{
    config::Profile,
    message::{Flags, Status},
    parse::{Hints, Parsed, parse, zone::offset},
};

const RECEIVED_US: i64 = 1_795_194_000_000_000;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [profile, quarters, raw @ ..] = data else { return };
    let profile = match profile % 5 {
        0 => Profile::Rfc,
        1 => Profile::Devlog,
        2 => Profile::Cisco,
        3 => Profile::Fortigate,
        _ => Profile::Plain,
    };
    let hints = Hints { received_us: RECEIVED_US, profile, offset_min: i16::from(quarters.cast_signed()) * 15 };
    let parsed = parse(raw, &hints);
    let Parsed { pri, status, stamp, host, program, pid, msgid, sdata, message, flags } = parsed;

    let line = raw.as_ptr_range();
    for slice in [host, program, pid, msgid, sdata, message] {
        let part = slice.as_ptr_range();
        let within = line.start <= part.start && part.end <= line.end;
        assert!(slice.is_empty() || within || slice == b"fortigate", "{parsed:?}");
    }
    assert!(pri.is_none_or(|pri| pri < 192 && raw.starts_with(b"<")));
    assert_eq!(flags.has(Flags::NO_PRI), pri.is_none());
    assert_eq!(flags.has(Flags::NO_STAMP), stamp.is_none());
    assert_eq!(flags.has(Flags::NOT_UTF8), str::from_utf8(raw).is_err());
    assert!(!matches!(message.last(), Some(b'\r' | b'\n' | 0)));
    if profile == Profile::Plain || matches!(status, Status::PriOnly | Status::Unparsed) {
        // What was not read is the message.
        let end = raw.len() - raw.iter().rev().take_while(|octet| matches!(octet, b'\r' | b'\n' | 0)).count();
        let start = pri.map_or(0, |pri| pri.to_string().len() + 2);
        assert_eq!(message, &raw[start..end]);
    }
    if let Ok(text) = str::from_utf8(raw) {
        assert!(offset(text).is_none_or(|minutes| minutes.abs() < 1_440));
    }
});
