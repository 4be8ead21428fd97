//! Any text as a filter, a template or a rewrite rule (first line) over a message whose fields and text are the other
//! lines: read, evaluated, explained, written as text and as a path, applied; never a panic, never a path that leaves
//! its folder, and a message that a rule changed can be read again.
#![no_main]

use logrelay::{
    filter::{Context, Filter},
    message::{Field, Flags, Message, Status},
    rewrite::Rewrite,
    template::{DateCache, Env, Template},
};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (first, rest) = data.split_at(data.iter().position(|octet| *octet == b'\n').unwrap_or(data.len()));
    let text = String::from_utf8_lossy(first);
    let mut message = Message::unread(rest, 1_795_194_305_123_456);
    let mut lines = rest.split(|octet| *octet == b'\n').skip(1);
    let mut line = || lines.next().unwrap_or_default();
    for field in [Field::Host, Field::Program, Field::Pid, Field::Zone] {
        message.set(field, line());
    }
    message.pri = line().first().copied().unwrap_or(13);
    message.sdata = line();
    // Lists are lines themselves: all of them, and what is left of the text.
    message.set(Field::Roles, rest);
    message.set(Field::Values, rest);
    message.message = line();
    message.status = Status::Rfc3164;
    message.flags = Flags(u16::from(message.pri));
    message.stamp_us = i64::from_le_bytes(rest.first_chunk().copied().unwrap_or_default());

    let mut files = |path: &str| if path.len() % 2 == 0 { Ok("a\nb\n".into()) } else { Err("no".into()) };
    let context = Context { had_been_silent: true, now_us: 0 };
    let env = Env { loghost: "relay", frac_digits: 9, ..Env::default() };
    let (mut dates, mut out) = (DateCache::default(), Vec::new());
    match Filter::parse(&text, &mut files) {
        Ok(filter) => {
            let outcome = filter.matches(&message, &context);
            assert_eq!(filter.explain(&message, &context)[0].1, outcome);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match Template::parse(&text) {
        Ok(template) => {
            template.write(&message, &env, &mut dates, &mut out);
            out.clear();
            template.write_path(&message, &env, &mut dates, &mut out);
            if template.check_path().is_ok() {
                assert!(out.starts_with(template.as_str().split('$').next().unwrap_or_default().as_bytes()));
                assert!(out[1..].split(|octet| *octet == b'/').all(|part| !matches!(part, b"" | b"." | b"..")));
            }
            template.doubts();
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match Rewrite::parse(&text, &mut files) {
        Ok(rule) => {
            if rule.apply(&message, &context, &env, &mut dates, &mut out).changed() {
                let changed = Message::decode(&out).expect("a record that can be read again");
                assert!(changed.flags.has(Flags::REWRITTEN) && changed.raw == message.raw);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
