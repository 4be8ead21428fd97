use hickory_proto::{op::MessageType, rr::rdata};

use super::*;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn record(text: &str) -> Record {
    let mut fields = text.split(' ');
    let mut field = || fields.next().unwrap();
    let parse = |text: &str| hickory_proto::rr::Name::from_ascii(format!("{text}.")).unwrap();
    let (owner, rtype, data) = (parse(field()), field(), field());
    let data = match rtype {
        "A" => RData::A(rdata::A(data.parse().unwrap())),
        "AAAA" => RData::AAAA(rdata::AAAA(data.parse().unwrap())),
        "NS" => RData::NS(rdata::NS(parse(data))),
        "CNAME" => RData::CNAME(rdata::CNAME(parse(data))),
        "SOA" => RData::SOA(rdata::SOA::new(parse(data), parse(data), 1, 2, 3, 4, 5)),
        other => panic!("{other}"),
    };
    Record::from_rdata(owner, 60, data)
}

fn reply(code: ResponseCode, sections: [&[&str]; 3]) -> Message {
    let mut message = Message::query();
    message.metadata.message_type = MessageType::Response;
    message.metadata.response_code = code;
    let [answers, authorities, additionals] = sections.map(|lines| lines.iter().map(|line| record(line)).collect());
    (message.answers, message.authorities, message.additionals) = (answers, authorities, additionals);
    message
}

fn cut() -> Cut {
    Cut { apex: name("sub.z"), servers: Vec::new() }
}

#[test]
fn a_pointer_further_down_is_followed_with_the_addresses_of_that_zone_only() {
    let authority = ["low.SUB.z NS ns.low.sub.z", "low.sub.z NS ns.sub.z", "low.sub.z NS ns.elsewhere"];
    let additional =
        ["NS.low.sub.z A 10.0.0.1", "ns.low.sub.z AAAA fd00::1", "ns.sub.z A 10.0.0.2", "ns.elsewhere A 10.0.0.3"];
    let reply = reply(ResponseCode::NoError, [&[], &authority, &additional]);
    let expected = Cut {
        apex: name("low.sub.z"),
        servers: vec![
            (name("ns.low.sub.z"), vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()]),
            (name("ns.sub.z"), vec!["10.0.0.2".parse().unwrap()]),
            (name("ns.elsewhere"), vec![]),
        ],
    };
    assert_eq!(cut().below(&reply, &name("www.low.sub.z")), Some(expected));
}

#[test]
fn a_pointer_that_leads_nowhere_is_none() {
    fn below(code: ResponseCode, sections: [&[&str]; 3]) -> Option<Cut> {
        cut().below(&reply(code, sections), &name("www.low.sub.z"))
    }
    let down: &[&str] = &["low.sub.z NS ns.low.sub.z"];
    assert!(below(ResponseCode::NoError, [&[], down, &[]]).is_some());
    for authority in ["sub.z NS ns.sub.z", "z NS ns.z", "other.sub.z NS ns.sub.z", "low.other NS ns.other"] {
        assert_eq!(below(ResponseCode::NoError, [&[], &[authority], &[]]), None, "{authority}");
    }
    assert_eq!(below(ResponseCode::NXDomain, [&[], down, &[]]), None);
    assert_eq!(below(ResponseCode::NoError, [&["www.low.sub.z A 10.0.0.1"], down, &[]]), None, "an answer");
    assert_eq!(below(ResponseCode::NoError, [&[], &[down[0], "sub.z SOA ns.sub.z"], &[]]), None, "no such data");
}

/// Types and owners that are taken for `www.sub.z A`, and where the chain goes on.
fn taken(code: ResponseCode, answers: &[&str], authorities: &[&str]) -> (Vec<String>, Option<String>, u16, usize) {
    let found = take(reply(code, [answers, authorities, &[]]), &name("sub.z"), &name("www.sub.z"), rtype::A);
    let answers =
        found.piece.answers.iter().map(|record| format!("{} {}", record.name, record.record_type())).collect();
    (answers, found.open.map(|name| name.to_string()), found.piece.rcode, found.piece.authorities.len())
}

#[test]
fn of_an_answer_what_lies_in_the_zone_is_taken() {
    let chain = ["c.sub.z A 10.0.0.1", "WWW.sub.z CNAME c.sub.z", "c.sub.z A 10.0.0.2", "bank.example A 10.6.6.6"];
    let (answers, open, code, _) = taken(ResponseCode::NoError, &chain, &[]);
    assert_eq!((answers.len(), open, code), (3, None, 0));
    let (answers, open, _, authorities) = taken(
        ResponseCode::NXDomain,
        &["www.sub.z CNAME w.example", "w.example A 10.6.6.6"],
        &["example SOA a.example"],
    );
    assert_eq!((answers, open), (vec!["www.sub.z. CNAME".to_owned()], Some("w.example.".to_owned())));
    assert_eq!(authorities, 0, "the zone says nothing about names elsewhere");
    let (answers, open, ..) =
        taken(ResponseCode::NoError, &["www.sub.z CNAME x.low.sub.z"], &["low.sub.z NS ns.low.sub.z"]);
    assert_eq!((answers.len(), open), (1, Some("x.low.sub.z.".to_owned())), "the server points further down");
}

#[test]
fn what_does_not_exist_is_told_with_its_soa() {
    let soa = ["sub.z SOA ns.sub.z"];
    assert_eq!(taken(ResponseCode::NXDomain, &[], &soa), (vec![], None, rcode::NXDOMAIN, 1));
    assert_eq!(taken(ResponseCode::NoError, &[], &soa), (vec![], None, rcode::NOERROR, 1));
    let (answers, open, code, _) = taken(ResponseCode::NXDomain, &["www.sub.z CNAME c.sub.z"], &soa);
    assert_eq!((answers.len(), open, code), (1, None, rcode::NXDOMAIN));
    let (answers, open, ..) = taken(ResponseCode::NoError, &["www.sub.z CNAME www.sub.z"], &[]);
    assert_eq!((answers.len(), open), (1, None), "a name that is its own end");
}
