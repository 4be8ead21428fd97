//! A world with everything that zones can hold, and questions of all kinds about it.

use std::collections::BTreeSet;

use crate::{
    harness::{Random, host, record},
    message::{Question, rtype},
};

const ZONES: [&str; 6] = ["us-east-1a", "us-east-1b", "us-west-1a", "us-west-1b", "eu-west-1a", "eu-west-1b"];

/// Static records of every kind that changes how an answer is found.
pub(crate) fn records() -> String {
    let far = "a".repeat(60);
    [
        record("*.wild.acme.private", "A", "192.0.2.1"),
        record("*.wild.acme.private", "MX", "10 mail.acme.private."),
        record("host.wild.acme.private", "TXT", "\"no wildcard here\""),
        record("below.host.wild.acme.private", "A", "192.0.2.2"),
        record("*.alias.acme.private", "CNAME", "big.acme.private."),
        record("chain1.acme.private", "CNAME", "chain2.acme.private."),
        record("chain2.acme.private", "CNAME", "chain3.acme.private."),
        record("chain3.acme.private", "CNAME", "mail.acme.private."),
        record("dangling.acme.private", "CNAME", "nowhere.acme.private."),
        record("outside.acme.private", "CNAME", "www.example.net."),
        record("intowild.acme.private", "CNAME", "anything.wild.acme.private."),
        record("intosub.acme.private", "CNAME", "www.sub.acme.private."),
        record("deep.empty.nonterminal.acme.private", "A", "192.0.2.3"),
        record("old.acme.private", "DNAME", "new.acme.private."),
        record("www.new.acme.private", "A", "192.0.2.4"),
        record("mail.new.acme.private", "CNAME", "mail.acme.private."),
        record("sub.acme.private", "NS", "ns1.sub.acme.private."),
        record("sub.acme.private", "NS", "ns2.sub.acme.private."),
        record("sub.acme.private", "NS", "ns.example.net."),
        record("ns1.sub.acme.private", "A", "192.0.2.5"),
        record("ns1.sub.acme.private", "AAAA", "2001:db8::5"),
        record("ns2.sub.acme.private", "A", "192.0.2.6"),
        record("lab.in.acme.private", "SOA", "ns1.acme.private. hostmaster.acme.private. 7 3600 600 604800 30"),
        record("lab.in.acme.private", "NS", "ns.lab.in.acme.private."),
        record("lab.in.acme.private", "NS", "ns1.acme.private."),
        record("ns.lab.in.acme.private", "A", "192.0.2.9"),
        record("ns.lab.in.acme.private", "TXT", "\"only in its own zone\""),
        record("mail.acme.private", "A", "192.0.2.7"),
        record("mail.acme.private", "AAAA", "2001:db8::7"),
        record("mail.acme.private", "MX", "5 mail.acme.private."),
        record("acme.private", "MX", "10 mail.acme.private."),
        record("acme.private", "TXT", "\"v=spf1 -all\""),
        record("acme.private", "CAA", "0 issue \"ca.example.net\""),
        record("_sip._udp.acme.private", "SRV", "10 60 5060 mail.acme.private."),
        record("key.acme.private", "SSHFP", "4 2 123456789ABCDEF67890123456789ABCDEF67890123456789ABCDEF123456789"),
        record("number.acme.private", "NAPTR", "100 10 \"u\" \"E2U+sip\" \"!^.*$!sip:info@acme.private!\" ."),
        record("strange.acme.private", "TYPE65280", "\\# 4 0A000001"),
        record(&format!("{far}.{far}.{far}.acme.private"), "A", "192.0.2.8"),
        (0..20).map(|i| record("big.acme.private", "TXT", &format!("\"{i:03} {}\"", "x".repeat(50)))).collect(),
        (0..40).map(|i| record("mid.acme.private", "A", &format!("192.0.2.{}", 100 + i))).collect(),
    ]
    .concat()
}

/// `count` hosts, numbered from `first`; some share a short name, some roles have very many members.
pub(crate) fn hosts(first: usize, count: usize) -> String {
    (first..first + count)
        .map(|i| {
            let zone = ZONES[i % ZONES.len()];
            let role = if i % 3 == 0 { "java" } else { ["web", "mysql", "cache", "kafka", "lb"][i % 5] };
            let name = if i % 50 == 7 { format!("twin{:02}", i / 100) } else { format!("prod-{role}{i:04}") };
            let mut text = host(&name, zone, &format!("10.{}.{}.{}", 1 + i % 3, i / 250, 1 + i % 250), &[role]);
            if i % 4 == 0 {
                text = format!(
                    "{}public_ip = \"198.51.{}.{}\"\n\n",
                    text.trim_end_matches('\n').to_owned() + "\n",
                    i / 250,
                    1 + i % 250
                );
            }
            if i % 6 == 0 {
                text = format!("{}ipv6 = \"fd00:10::{i:x}\"\n\n", text.trim_end_matches('\n').to_owned() + "\n");
            }
            text
        })
        .collect()
}

/// The whole inventory, hosts and records.
pub(crate) fn world(count: usize) -> String {
    format!("[[role]]\nname = \"mysql\"\nport = 3306\n\n{}{}", hosts(0, count), records())
}

const TYPES: [u16; 13] = [
    rtype::A,
    rtype::AAAA,
    rtype::NS,
    rtype::CNAME,
    rtype::SOA,
    rtype::PTR,
    rtype::MX,
    rtype::TXT,
    rtype::SRV,
    rtype::DNAME,
    rtype::DS,
    257,
    65_280,
];

/// `count` questions, the same in every run, around the names that the zones hold (`owner`, `type mnemonic`).
pub(crate) fn questions(existing: &[(String, String)], count: usize) -> Vec<Question> {
    let mut random = Random(20_000);
    let owners: Vec<&String> = existing.iter().map(|(owner, _)| owner).collect::<BTreeSet<_>>().into_iter().collect();
    (0..count)
        .map(|_| {
            let (owner, mnemonic) = random.pick(existing).clone();
            let mut qtype = type_number(&mnemonic);
            if random.below(4) == 0 {
                qtype = *random.pick(&TYPES);
            }
            let number = random.next();
            let name = match random.below(20) {
                0..8 => owner,
                // Does not exist, beside and below something that does, in every zone.
                8 => format!("nx{number:x}.{}", owner.split_once('.').map_or("", |(_, parent)| parent)),
                9 => format!("nx{number:x}.{owner}"),
                // Parents: empty non-terminals, apexes, names above all zones.
                10 => owner.split_once('.').map_or(owner.clone(), |(_, parent)| parent.to_owned()),
                11 => owner.splitn(3, '.').last().filter(|name| !name.is_empty()).unwrap_or(".").to_owned(),
                12 => format!("w{number:x}.wild.acme.private."),
                13 => format!("a.b{number:x}.wild.acme.private."),
                14 => format!("w{number:x}.alias.acme.private."),
                15 => format!("{}.old.acme.private.", random.pick(&["www", "mail", "nope", "a.b"])),
                16 if random.below(3) == 0 => {
                    format!("{}in.acme.private.", random.pick(&["", "lab.", "ns.lab.", "x."]))
                }
                16 => format!("{}sub.acme.private.", random.pick(&["", "www.", "ns1.", "a.b.c."])),
                17 => {
                    let apex = ["chain1", "dangling", "outside", "intowild", "intosub", "big", "mid", "mail", "*.wild"];
                    format!("{}.acme.private.", random.pick(&apex))
                }
                18 => {
                    format!("{}.acme.private.", random.pick(&["java", "web", "mysql", "_mysql._tcp", "java.us-east-1"]))
                }
                _ => (*random.pick(&owners)).clone(),
            };
            let name = if random.below(4) == 0 { mixed_case(&name, &mut random) } else { name };
            let edns = *random.pick(&[None, Some(512), Some(1232), Some(1232), Some(4096)]);
            Question { name, qtype, edns, recursion_desired: false }
        })
        .collect()
}

fn mixed_case(name: &str, random: &mut Random) -> String {
    name.chars().map(|c| if random.below(2) == 0 { c.to_ascii_uppercase() } else { c }).collect()
}

fn type_number(mnemonic: &str) -> u16 {
    let known = [
        ("A", 1),
        ("NS", 2),
        ("CNAME", 5),
        ("SOA", 6),
        ("PTR", 12),
        ("MX", 15),
        ("TXT", 16),
        ("AAAA", 28),
        ("SRV", 33),
        ("NAPTR", 35),
        ("DNAME", 39),
        ("SSHFP", 44),
        ("CAA", 257),
    ];
    known.iter().find(|(name, _)| *name == mnemonic).map_or_else(
        || {
            mnemonic
                .strip_prefix("TYPE")
                .and_then(|n| n.parse().ok())
                .unwrap_or_else(|| panic!("unknown type {mnemonic}"))
        },
        |(_, number)| *number,
    )
}
