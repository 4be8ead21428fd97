use std::cell::Cell;

use hickory_proto::{
    op::Message,
    rr::RecordType,
    serialize::binary::{BinEncodable, BinEncoder, NameEncoding},
};
use proptest::prelude::*;

use super::*;
use crate::{
    rr::{Rdata, rtype},
    text::{parse_rdata, type_number},
};

fn apex() -> Name {
    Name::parse("acme.private").unwrap()
}

fn soa(serial: u32) -> Soa {
    let name = |text| Name::parse(text).unwrap();
    let (mname, rname) = (name("ns1.acme.private"), name("hostmaster.acme.private"));
    Soa { ttl: 60, mname, rname, serial, refresh: 1, retry: 2, expire: 3, minimum: 4 }
}

fn rr(owner: &str, mnemonic: &str, data: &str) -> Rr {
    let rtype = type_number(mnemonic).unwrap();
    let owner = crate::text::parse_name(owner, &apex()).unwrap();
    Rr { owner, rtype, ttl: 60, rdata: parse_rdata(rtype, data, &apex()).unwrap() }
}

fn request(rtype: u16, client: Option<u32>, edns: bool) -> Request {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, u8::from(client.is_some()), 0, u8::from(edns)];
    message.extend(b"\x04Acme\x07private\x00");
    message.extend(rtype.to_be_bytes());
    message.extend([0, 1]);
    if let Some(serial) = client {
        let soa = soa(serial).rr(&apex());
        message.extend(b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00");
        message.extend((soa.rdata.len() as u16).to_be_bytes());
        message.extend_from_slice(&soa.rdata);
    }
    if edns {
        message.extend(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00");
    }
    Request::read(&message).unwrap()
}

/// The records of the messages as hickory-proto reads them, uncompressed again.
fn records(messages: &[Vec<u8>]) -> Vec<Rr> {
    let mut all = Vec::new();
    for message in messages {
        let message = Message::from_vec(message).unwrap();
        for record in &message.answers {
            let owner = Name::parse(&record.name.to_ascii()).unwrap();
            let mut rdata = Vec::new();
            {
                let mut encoder = BinEncoder::new(&mut rdata);
                let mut encoder = encoder.with_name_encoding(NameEncoding::Uncompressed);
                record.data.emit(&mut encoder).unwrap();
            }
            all.push(Rr { owner, rtype: record.record_type().into(), ttl: record.ttl, rdata: Rdata::from(rdata) });
        }
    }
    all
}

fn world(hosts: usize) -> Vec<Rr> {
    let mut zone = vec![
        rr("@", "NS", "ns1"),
        rr("@", "MX", "10 mail.us-east-1a"),
        rr("ns1", "A", "10.0.0.1"),
        rr("txt", "TXT", "\"a b\" \\000"),
        rr("_mysql._tcp", "SRV", "1 2 3306 host1.us-east-1a"),
        rr("odd", "TYPE65001", "\\# 3 c00c00"),
    ];
    for host in 0..hosts {
        let full = format!("host{host}.us-east-1{}", ["a", "b", "c"][host % 3]);
        zone.push(rr(&full, "A", &format!("10.{}.{}.{}", host >> 16, host >> 8 & 255, host & 255)));
        zone.push(rr(&format!("host{host}"), "CNAME", &full));
    }
    zone
}

#[test]
fn axfr_carries_the_zone_between_two_soa_records() {
    let zone = world(20_000);
    for edns in [false, true] {
        let messages: Vec<_> = axfr(&request(252, None, edns), &apex(), &soa(7), zone.iter().cloned()).collect();
        let expected: Vec<_> =
            std::iter::once(soa(7).rr(&apex())).chain(zone.iter().cloned()).chain([soa(7).rr(&apex())]).collect();
        assert!(records(&messages) == expected);
        for (at, message) in messages.iter().enumerate() {
            assert!(message.len() <= MESSAGE_TARGET);
            let read = Message::from_vec(message).unwrap();
            assert_eq!((read.id, read.authoritative, read.truncation), (0x1234, true, false));
            assert_eq!(read.queries.len(), usize::from(at == 0), "the question is in the first message");
            assert_eq!(read.edns.is_some(), edns);
        }
        assert_eq!(&messages[0][12..18], b"\x04Acme\x07", "the question as it came");
        let octets: usize = messages.iter().map(Vec::len).sum();
        let uncompressed: usize = expected.iter().map(|rr| rr.owner.len() + rr.rdata.len() + 10).sum();
        assert!(octets < uncompressed * 3 / 5, "{octets} of {uncompressed} octets are left");
    }
}

#[test]
fn a_zone_is_never_collected() {
    let taken = Cell::new(0);
    let endless = (0_u32..).map(|n| {
        taken.set(n);
        rr(&format!("h{n}"), "A", "10.0.0.1")
    });
    let mut messages = axfr(&request(252, None, false), &apex(), &soa(1), endless);
    assert!(messages.next().unwrap().len() > MESSAGE_TARGET - 100);
    assert!(taken.get() < 2000, "{} records for one message", taken.get());
}

#[test]
fn large_records_and_those_that_fit_no_message() {
    let large = |octets: usize| Rr { owner: apex(), rtype: 65001, ttl: 1, rdata: Rdata::from(vec![7; octets]) };
    let send = |octets: usize| -> Vec<Vec<u8>> {
        axfr(&request(252, None, true), &apex(), &soa(1), [rr("a", "A", "10.0.0.1"), large(octets)].into_iter())
            .collect()
    };
    let messages = send(64_000);
    assert_eq!(messages.iter().map(Vec::len).collect::<Vec<_>>()[1..2], [12 + 14 + 10 + 64_000 + 11]);
    assert_eq!(records(&messages).len(), 4);
    let messages = send(65_535);
    let last = Message::from_vec(messages.last().unwrap()).unwrap();
    assert_eq!(
        (messages.len(), last.response_code, last.answers.len()),
        (2, hickory_proto::op::ResponseCode::ServFail, 0)
    );
}

fn diff(from: u32, removed: Vec<Rr>, added: Vec<Rr>) -> Arc<ZoneDiff> {
    Arc::new(ZoneDiff { apex: apex(), from: soa(from), to: soa(from + 1), removed, added })
}

#[test]
fn the_form_of_an_ixfr() {
    let a = || rr("a", "A", "10.0.0.1");
    let diffs = [diff(5, vec![a()], vec![]), diff(6, vec![], vec![a()])];
    let form = |client, diffs: Option<&[Arc<ZoneDiff>]>, size| form(&soa(7), client, diffs, size);
    assert_eq!(form(5, Some(&diffs), 100), Form::Differences);
    assert_eq!(form(6, Some(&diffs[1..]), 100), Form::Differences);
    assert_eq!(form(7, None, 100), Form::Current);
    assert_eq!(form(8, None, 100), Form::Current, "the client is newer");
    assert_eq!(form(4, None, 100), Form::Whole, "too old");
    assert_eq!(form(5, Some(&diffs[1..]), 100), Form::Whole, "differences that do not begin at the client's serial");
    assert_eq!(form(5, Some(&diffs[..1]), 100), Form::Whole, "differences that do not end at ours");
    assert_eq!(form(5, Some(&diffs), 5), Form::Whole, "larger than the zone");
    assert_eq!(form(7_u32.wrapping_sub(1 << 31), None, 100), Form::Whole, "no order between the two");
    assert_eq!(form(u32::MAX, None, 9), Form::Whole, "serials wrap around");
    assert!(is_newer(0, u32::MAX) && !is_newer(u32::MAX, 0) && !is_newer(3, 3));
}

#[test]
fn ixfr_sends_difference_sequences() {
    let [a, b, c] = ["a", "b", "c"].map(|owner| rr(owner, "A", "10.0.0.1"));
    let diffs = vec![diff(5, vec![a.clone()], vec![b.clone()]), diff(6, vec![], vec![c.clone()])];
    let at = |serial| soa(serial).rr(&apex());
    let expected = vec![at(7), at(5), a, at(6), b, at(6), at(7), c, at(7)];
    let request = request(rtype::IXFR, Some(5), true);
    let messages: Vec<_> = ixfr(&request, &apex(), &soa(7), Some(diffs.clone()), 100, std::iter::empty()).collect();
    assert_eq!(records(&messages), expected);
    assert_eq!(Message::from_vec(&messages[0]).unwrap().queries[0].query_type(), RecordType::IXFR);
    let udp = |limit| records(&[ixfr_udp(&request, &apex(), &soa(7), Some(&diffs), 100, limit)]);
    assert_eq!(udp(1232), expected);
    let many: Vec<_> = (0..100).map(|n| rr(&format!("n{n}"), "A", "10.0.0.1")).collect();
    let diffs = [diff(6, vec![], many)];
    let reply = ixfr_udp(&self::request(rtype::IXFR, Some(6), true), &apex(), &soa(7), Some(&diffs), 1000, 1232);
    assert_eq!(records(&[reply]), [at(7)], "what does not fit is fetched over TCP");
}

#[test]
fn ixfr_over_udp_keeps_the_room_for_a_signature() {
    let diffs = [diff(6, vec![], (0..12).map(|n| rr(&format!("n{n}"), "A", "10.0.0.1")).collect())];
    let request = request(rtype::IXFR, Some(6), true);
    let whole = ixfr_udp(&request, &apex(), &soa(7), Some(&diffs), 1000, 1232).len();
    assert!((300..512).contains(&whole), "{whole} octets would fit, were it not for the signature");
    for limit in 200..=whole {
        let reply = ixfr_udp(&request, &apex(), &soa(7), Some(&diffs), 1000, limit);
        assert!(reply.len() <= limit && (reply.len() == whole) == (limit == whole), "{limit}");
    }
}

#[test]
fn ixfr_of_a_current_and_of_an_unknown_serial() {
    let zone = [rr("a", "A", "10.0.0.1")];
    let send = |client| -> Vec<u16> {
        let request = request(rtype::IXFR, Some(client), false);
        let messages: Vec<_> = ixfr(&request, &apex(), &soa(7), None, 1, zone.iter().cloned()).collect();
        records(&messages).iter().map(|rr| rr.rtype).collect()
    };
    assert_eq!(send(7), [6]);
    assert_eq!(send(8), [6]);
    assert_eq!(send(1), [6, 1, 6]);
}

#[test]
fn an_error_says_nothing_about_the_zone() {
    let reply = Message::from_vec(&error_reply(&request(252, None, true), rcode::REFUSED)).unwrap();
    assert_eq!((u16::from(reply.response_code), reply.authoritative, reply.queries.len()), (5, false, 1));
    assert!(reply.edns.is_some() && reply.to_bytes().is_ok());
}

proptest! {
    #[test]
    fn any_names_survive_compression(owners in prop::collection::vec(prop::collection::vec("[ab]{1,2}", 0..6), 1..60)) {
        let zone: Vec<_> = owners.windows(2).map(|pair| {
            let text = |labels: &Vec<String>| if labels.is_empty() { "@".to_owned() } else { labels.join(".") };
            rr(&text(&pair[0]), "CNAME", &text(&pair[1]))
        }).collect();
        let messages: Vec<_> = axfr(&request(252, None, false), &apex(), &soa(1), zone.iter().cloned()).collect();
        let read = records(&messages);
        prop_assert_eq!(&read[1..read.len() - 1], &zone[..]);
    }

    #[test]
    fn any_octets_are_read_or_refused(mut data in prop::collection::vec(any::<u8>(), 0..120), question in any::<bool>()) {
        if question && data.len() > 12 {
            data[2..12].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, 0, 1]);
        }
        crate::transfer::fuzz(&data);
    }
}
