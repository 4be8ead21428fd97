//! Answers from a zone file, byte for byte as a client gets them.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use dns::{
    answer::answer,
    edit::Editor,
    name::Name,
    rr::rtype,
    verdict::{Asker, Facts, Verdict},
    zonefile,
    zones::Zones,
};
use hickory_proto::{op::Message, rr::RecordType};

const HEAD: &str = "$ORIGIN z.\n$TTL 60\n@ SOA ns1 h 1 3600 900 604800 30\n@ NS ns1\nns1 A 10.0.0.1\n";

/// The zones of a file that begins with [`HEAD`].
fn zones(records: &str) -> Zones {
    let file = zonefile::parse(&format!("{HEAD}{records}"), "test", None, None).unwrap();
    let mut editor = Editor::from_nothing();
    editor.add_zone(&file.origin, file.soa, false, 0);
    for rr in file.records {
        editor.add(&rr.owner, rr.rtype, rr.ttl, rr.rdata);
    }
    editor.finish()
}

fn facts() -> Facts {
    Facts {
        id: "node-1".into(),
        version: "test".into(),
        udp_payload_max: 1232,
        forwards: true,
        cookie_secrets: vec![[7; 16]],
        keepalive_ds: 300,
    }
}

fn asker(stream: bool) -> Asker {
    Asker { address: [127, 0, 0, 1].into(), stream, trusted: true, now_s: 1000, signature: None, spin: 0 }
}

/// A query for `name`, with the OPT record whose options are `options`.
fn query(name: &str, qtype: u16, options: Option<&[u8]>) -> Vec<u8> {
    let mut raw = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(options.is_some())];
    raw.extend_from_slice(&Name::parse(name).unwrap());
    raw.extend([qtype.to_be_bytes(), [0, 1]].concat());
    if let Some(options) = options {
        raw.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\0\0");
        raw.extend((options.len() as u16).to_be_bytes());
        raw.extend_from_slice(options);
    }
    raw
}

fn ask(zones: &Zones, name: &str, qtype: u16, stream: bool) -> Message {
    let mut out = Vec::new();
    let verdict = answer(zones, &facts(), &asker(stream), &query(name, qtype, None), &mut out);
    assert!(matches!(verdict, Verdict::Reply { .. }), "{verdict:?}");
    Message::from_vec(&out).unwrap()
}

fn types(records: &[hickory_proto::rr::Record]) -> Vec<RecordType> {
    records.iter().map(hickory_proto::rr::Record::record_type).collect()
}

/// `count` addresses of `name`.
fn addresses(name: &str, count: usize) -> String {
    (0..count).map(|n| format!("{name} A 10.1.{}.{}\n", n >> 8, n & 255)).collect()
}

#[test]
fn ds_is_answered_by_the_parent() {
    let signed = format!("sub NS ns.sub\nns.sub A 10.0.0.2\nsub DS 1 8 2 {}\nplain NS ns.sub\n", "ab".repeat(32));
    let zones = zones(&signed);
    let reply = ask(&zones, "sub.z", rtype::DS, false);
    assert_eq!((types(&reply.answers), reply.authoritative), (vec![RecordType::DS], true));
    let reply = ask(&zones, "plain.z", rtype::DS, false);
    assert_eq!((reply.answers.len(), types(&reply.authorities), reply.authoritative), (0, vec![RecordType::SOA], true));
    let reply = ask(&zones, "x.sub.z", rtype::DS, false);
    assert_eq!((types(&reply.authorities), reply.authoritative), (vec![RecordType::NS], false), "the child's own");
}

#[test]
fn an_additional_set_is_sent_whole_or_not_at_all() {
    let zones = zones(&format!("m MX 10 big\nm MX 20 small\nsmall A 10.0.0.9\n{}", addresses("big", 60)));
    let reply = ask(&zones, "m.z", rtype::MX, false);
    assert_eq!((reply.answers.len(), reply.additionals.len(), reply.truncation), (2, 1, false));
    assert_eq!(reply.additionals[0].name.to_string(), "small.z.");
    assert_eq!(ask(&zones, "m.z", rtype::MX, true).additionals.len(), 61);
}

#[test]
fn a_large_additional_set_is_sent_whole_or_not_at_all() {
    // More than a packed set holds, at a name that is pointed at.
    let zones = zones(&format!("m MX 10 big\n{}", addresses("big", 300)));
    assert_eq!(ask(&zones, "m.z", rtype::MX, false).additionals.len(), 0);
    assert_eq!(ask(&zones, "m.z", rtype::MX, true).additionals.len(), 300);
}

#[test]
fn glue_that_does_not_fit_is_told() {
    let zones = zones(&format!("sub NS ns.sub\n{}", addresses("ns.sub", 60)));
    let reply = ask(&zones, "www.sub.z", rtype::A, false);
    assert_eq!((types(&reply.authorities), reply.additionals.len(), reply.truncation), (vec![RecordType::NS], 0, true));
    let reply = ask(&zones, "www.sub.z", rtype::A, true);
    assert_eq!((reply.additionals.len(), reply.truncation), (60, false));
}

#[test]
fn a_set_that_fits_no_message_is_told_over_streams() {
    let zones = zones(&format!("{}{}", addresses("fits", 4000), addresses("big", 5000)));
    for qtype in [rtype::A, rtype::ANY] {
        let reply = ask(&zones, "fits.z", qtype, true);
        assert_eq!((reply.answers.len(), reply.truncation), (4000, false));
        let reply = ask(&zones, "big.z", qtype, true);
        assert!(reply.truncation && reply.answers.len() > 4000, "type {qtype}");
    }
}

#[test]
fn a_cname_loop_is_told_once() {
    let zones = zones("a CNAME b\nb CNAME c\nc CNAME b\nself CNAME self\nd DNAME d\n");
    assert_eq!(ask(&zones, "A.z", rtype::A, false).answers.len(), 3, "a, b and c");
    assert_eq!(ask(&zones, "SELF.z", rtype::A, false).answers.len(), 1);
    assert_eq!(
        types(&ask(&zones, "x.d.z", rtype::A, false).answers),
        [RecordType::from(rtype::DNAME), RecordType::CNAME]
    );
    let long: String = (0..20).map(|n| format!("l{n} CNAME l{}\n", n + 1)).collect();
    assert_eq!(ask(&self::zones(&long), "l0.z", rtype::A, false).answers.len(), 12, "no loop, but long");
}
