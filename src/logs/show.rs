//! A message as programs and as people read it.

use jiff::Timestamp;
use logrelay::message::{FACILITIES, Field, Flags, Message, SEVERITIES};
use serde_json::{Map, Value};

/// The words for [`Flags`].
const FLAGS: [(Flags, &str); 10] = [
    (Flags::TRUNCATED, "truncated"),
    (Flags::INCOMPLETE, "incomplete"),
    (Flags::NOT_UTF8, "not_utf8"),
    (Flags::NO_PRI, "no_pri"),
    (Flags::NO_STAMP, "no_stamp"),
    (Flags::MISMATCH, "host_mismatch"),
    (Flags::KNOWN, "known"),
    (Flags::REWRITTEN, "rewritten"),
    (Flags::INTERNAL, "internal"),
    (Flags::SKEWED, "skewed"),
];

/// Fields that are texts, under the names that the JSON has.
const TEXTS: [(Field, &str); 10] = [
    (Field::Source, "source"),
    (Field::Host, "host"),
    (Field::HeaderHost, "header_host"),
    (Field::Program, "program"),
    (Field::Pid, "pid"),
    (Field::MsgId, "msgid"),
    (Field::Zone, "zone"),
    (Field::Region, "region"),
    (Field::Product, "product"),
    (Field::Origin, "origin"),
];

/// Fields that are lists.
const LISTS: [(Field, &str); 5] = [
    (Field::Roles, "roles"),
    (Field::Groups, "groups"),
    (Field::Labels, "labels"),
    (Field::Tags, "tags"),
    (Field::Values, "values"),
];

/// A message as a JSON object; what is empty is left out.
pub(crate) fn json(message: &Message<'_>) -> Value {
    let mut out = Map::new();
    let lossy = |octets: &[u8]| Value::from(String::from_utf8_lossy(octets).into_owned());
    out.insert("sequence".into(), message.sequence.into());
    out.insert("received".into(), time(message.received_us).into());
    out.insert("stamp".into(), time(message.stamp_us).into());
    out.insert("facility".into(), facility(message).into());
    out.insert("severity".into(), severity(message).into());
    if let Some(address) = message.address {
        out.insert("address".into(), address.to_string().into());
    }
    for (field, name) in TEXTS {
        if !message.field(field).is_empty() {
            out.insert(name.into(), lossy(message.field(field)));
        }
    }
    for (field, name) in LISTS {
        let items: Vec<Value> = message.list(field).map(lossy).collect();
        if !items.is_empty() {
            out.insert(name.into(), items.into());
        }
    }
    if !message.sdata.is_empty() {
        out.insert("structured_data".into(), lossy(message.sdata));
    }
    out.insert("message".into(), lossy(message.message));
    // A rule may have taken out what nobody is to see.
    if !message.flags.has(Flags::REWRITTEN) {
        out.insert("raw".into(), lossy(message.raw));
    }
    out.insert("status".into(), message.status.as_str().into());
    let flags: Vec<Value> =
        FLAGS.iter().filter(|(flag, _)| message.flags.has(*flag)).map(|(_, word)| (*word).into()).collect();
    out.insert("flags".into(), flags.into());
    out.into()
}

/// The JSON object as a line for people.
pub(crate) fn line(message: &Value) -> String {
    let text = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default();
    let host = match text("zone") {
        "" => text("host").to_owned(),
        zone => format!("{}.{zone}", text("host")),
    };
    let program = match (text("program"), text("pid")) {
        ("", _) => String::new(),
        (program, "") => format!("{program}: "),
        (program, pid) => format!("{program}[{pid}]: "),
    };
    let (facility, severity) = (text("facility"), text("severity"));
    readable(&format!("{} {host} {facility}.{severity} {program}{}", text("stamp"), text("message")))
}

/// Control characters, which a terminal might obey, as `\x1b`.
pub(crate) fn readable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '\t' => out.push(c),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
        out
    })
}

fn facility(message: &Message<'_>) -> &'static str {
    FACILITIES.get(usize::from(message.facility())).copied().unwrap_or("unknown")
}

fn severity(message: &Message<'_>) -> &'static str {
    SEVERITIES.get(usize::from(message.severity())).copied().unwrap_or("unknown")
}

/// RFC 3339 in UTC, to the microsecond where there are any.
pub(crate) fn time(us: i64) -> String {
    Timestamp::from_microsecond(us).map_or_else(|_| format!("{us} us"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_for_programs_and_for_people() {
        let mut message = Message::unread(b"<11>x", 1_700_000_000_000_000);
        message.pri = 27;
        message.message = b"disk is \x1b[31mfull";
        message.flags = Flags::KNOWN.with(Flags::MISMATCH);
        for (field, value) in
            [(Field::Host, b"db01".as_slice()), (Field::Zone, b"us-east-1b"), (Field::Program, b"mysqld")]
        {
            message.set(field, value);
        }
        message.set(Field::Roles, b"mysql\ndb\n");
        let json = json(&message);
        assert_eq!(json["roles"], serde_json::json!(["mysql", "db"]));
        assert_eq!(json["flags"], serde_json::json!(["host_mismatch", "known"]));
        assert!(json.get("pid").is_none());
        assert_eq!(line(&json), "2023-11-14T22:13:20Z db01.us-east-1b daemon.err mysqld: disk is \\x1b[31mfull");
    }
}
