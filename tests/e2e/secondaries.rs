//! NSD, Knot and BIND follow a node by AXFR and IXFR with TSIG, and then answer as it does.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use crate::{
    harness::{Node, Setup, host, wait_for},
    message::{Message, NOERROR, NXDOMAIN, Question, Record, Udp, rtype},
    peers::{KEY, Plan, Secondary, transfer},
    questions::{hosts, questions, world},
};

const HOSTS: usize = 600;
const QUESTIONS: usize = 20_000;

#[test]
fn nsd_knot_and_bind_follow_and_give_the_same_answers() {
    let plan = Plan::new();
    let node = primary(&plan);
    let zones = zones_of(&node);
    for name in ["acme.private", "acme.public", "lab.in.acme.private"] {
        assert!(zones.iter().any(|zone| zone == name), "no zone {name} in {zones:?}");
    }
    let mut secondaries = plan.start(node.dir.path(), node.dns, &zones);
    settle(&node, &mut secondaries, &zones);
    same_zones(&node, &secondaries, &zones);

    let before = serial(node.dns, "acme.private");
    thousand_changes(&node);
    let after = settle(&node, &mut secondaries, &zones);
    assert_ne!(before, Some(after), "1,000 changes and the same serial");
    incremental(&node, &secondaries, before.unwrap());
    let existing = same_zones(&node, &secondaries, &zones);
    delegated(&node, &secondaries);

    let differences = compare(node.dns, &secondaries, &questions(&existing, QUESTIONS));
    assert!(
        differences.is_empty(),
        "{} of {QUESTIONS} questions:\n{}",
        differences.len(),
        differences[..differences.len().min(20)].join("\n")
    );
}

fn primary(plan: &Plan) -> Node {
    let notify: Vec<_> = plan.all().iter().map(|address| format!("\"{address}\"")).collect();
    Node::start(Setup {
        inventory: vec![("world.toml", world(HOSTS))],
        dns: format!(
            "transfer = [\"127.0.0.0/8\"]\nnotify = [{}]\n[[dns.key]]\nname = \"{}\"\nsecret_file = \"{{dir}}/transfer.key\"\n",
            notify.join(", "),
            KEY.name
        ),
        files: vec![("transfer.key", KEY.secret.into())],
        ..Setup::default()
    })
}

/// The apexes that the node is authoritative for, found by asking about names that its inventory must have.
fn zones_of(node: &Node) -> Vec<String> {
    let mut apexes = BTreeSet::new();
    let reverse_v6 = format!("{}8.b.d.0.1.0.0.2.ip6.arpa", "0.".repeat(24));
    let reverse_ula = format!("{}0.1.0.0.0.0.d.f.ip6.arpa", "0.".repeat(24));
    wait_for("the inventory", || (!node.addresses("ns.lab.in.acme.private").is_empty()).then_some(()));
    let names = [
        "acme.private",
        "lab.in.acme.private",
        "acme.public",
        "1.0.1.10.in-addr.arpa",
        "1.0.2.10.in-addr.arpa",
        "1.0.3.10.in-addr.arpa",
    ];
    for name in names.into_iter().chain([&*reverse_v6, &*reverse_ula, "1.0.51.198.in-addr.arpa"]) {
        let reply = node.ask(name, rtype::SOA);
        apexes.extend(
            reply
                .answer
                .iter()
                .chain(&reply.authority)
                .filter(|record| record.rtype == rtype::SOA)
                .map(|record| record.owner.trim_end_matches('.').to_owned()),
        );
    }
    apexes.into_iter().collect()
}

fn serial(server: SocketAddr, zone: &str) -> Option<u32> {
    let reply = Udp::to(server).try_ask(&Question::new(zone, rtype::SOA))?;
    let soa = reply.answer.iter().find(|record| record.rtype == rtype::SOA)?;
    let numbers = soa.rdata.len() - 20;
    Some(u32::from_be_bytes(soa.rdata[numbers..numbers + 4].try_into().unwrap()))
}

/// Waits until every secondary has every zone with the serial that the node has; returns that of acme.private.
fn settle(node: &Node, secondaries: &mut [Secondary], zones: &[String]) -> u32 {
    for secondary in secondaries {
        for zone in zones {
            wait_for(&format!("{} to have {zone} as the node has it", secondary.name), || {
                secondary.process.assert_running();
                (serial(secondary.address, zone)? == serial(node.dns, zone)?).then_some(())
            });
        }
    }
    serial(node.dns, "acme.private").unwrap()
}

/// Every secondary holds exactly the records that the node transfers; returns owners and types of them all.
fn same_zones(node: &Node, secondaries: &[Secondary], zones: &[String]) -> Vec<(String, String)> {
    let mut existing = Vec::new();
    for zone in zones {
        let ours: BTreeSet<_> = transfer(node.dns, zone, Some(&KEY)).into_iter().collect();
        for secondary in secondaries {
            let theirs: BTreeSet<_> = transfer(secondary.address, zone, None).into_iter().collect();
            let missing: Vec<_> = ours.difference(&theirs).take(5).collect();
            let extra: Vec<_> = theirs.difference(&ours).take(5).collect();
            assert!(
                missing.is_empty() && extra.is_empty(),
                "{} {zone}: lacks {missing:#?}, has too much {extra:#?}",
                secondary.name
            );
        }
        existing.extend(ours.iter().map(|line| {
            let fields: Vec<_> = line.splitn(5, ' ').collect();
            (fields[0].to_owned(), fields[3].to_owned())
        }));
    }
    existing
}

/// A zone inside another is delegated in the upper one, with the address of its server, which has changed since.
fn delegated(node: &Node, secondaries: &[Secondary]) {
    let lines: Vec<_> = transfer(node.dns, "acme.private", Some(&KEY));
    let below = |line: &&String| line.split(' ').next().is_some_and(|owner| owner.ends_with("in.acme.private."));
    let ours: Vec<_> =
        lines.iter().filter(below).map(|line| line.split(' ').skip(3).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(ours, ["NS ns.lab.in.acme.private.", "NS ns1.acme.private.", "A 192.0.2.10", "A 192.0.2.9"]);
    for secondary in secondaries {
        let theirs = transfer(secondary.address, "acme.private", None);
        assert_eq!(theirs.iter().filter(below).count(), 4, "{}: {theirs:?}", secondary.name);
    }
}

/// 1,000 changes in as many change sets: hosts and records added, changed and removed.
fn thousand_changes(node: &Node) {
    for i in 0..400 {
        let ip = format!("10.9.{}.{}", i / 200, 1 + i % 200);
        node.add_host(&format!("late-{i:03}"), "us-east-1a", &ip, "late").expect_ok();
    }
    for i in 0..200 {
        node.command(&["host", "remove", &format!("late-{i:03}.us-east-1a")]).expect_ok();
    }
    for i in 0..400 {
        let (owner, text) = (format!("r{}.static.acme.private", i % 150), format!("\"change {i}\""));
        node.command(&["record", "add", &owner, "TXT", &text]).expect_ok();
    }
    node.command(&["record", "add", "ns.lab.in.acme.private", "A", "192.0.2.10"]).expect_ok();
    // And what only a file can do: many rows in one change set.
    node.write_inventory("more.toml", &(hosts(HOSTS, 60) + &host("one-more", "eu-west-1b", "10.200.0.1", &["web"])));
    wait_for("the new file", || (!node.addresses("one-more.eu-west-1b.acme.private").is_empty()).then_some(()));
}

/// The changes went over as differences, not as whole zones.
fn incremental(node: &Node, secondaries: &[Secondary], before: u32) {
    let key = KEY.dig();
    let question = format!("IXFR={}", before.wrapping_add(500));
    let text = node.dig(&["-y", &key, "+noall", "+answer", "acme.private", &question]).expect_ok();
    let soas = text.lines().filter(|line| line.contains("\tSOA\t")).count();
    assert!(
        soas > 2,
        "an IXFR answer has the SOA more than twice:\n{}",
        text.lines().take(20).collect::<Vec<_>>().join("\n")
    );

    for secondary in secondaries {
        match secondary.name {
            // Knot says which kind of transfer it was.
            "Knot" => {
                assert!(secondary.process.log().contains("[acme.private.] IXFR, incoming"), "Knot did not use IXFR")
            }
            // BIND keeps a journal of differences that it received.
            "BIND" => wait_for("BIND's journal", || node.path("bind/acme.private.zone.jnl").exists().then_some(())),
            _ => {}
        }
    }
}

/// Asks everybody everything; one text for each question on which somebody differs.
fn compare(ours: SocketAddr, secondaries: &[Secondary], questions: &[Question]) -> Vec<String> {
    let mut us = Udp::to(ours);
    let mut them: Vec<_> = secondaries.iter().map(|secondary| (secondary.name, Udp::to(secondary.address))).collect();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut differences = Vec::new();
    for question in questions {
        let expected = us.ask(question);
        assert_eq!(
            expected.question,
            Some((question.name.clone(), question.qtype)),
            "the question is echoed with its case"
        );
        assert_eq!(expected.has_opt, question.edns.is_some(), "OPT exactly where it was asked with: {question:?}");
        *kinds.entry(kind(&expected)).or_default() += 1;
        for (name, peer) in &mut them {
            let theirs = peer.ask(question);
            if essence(&theirs) != essence(&expected) {
                differences.push(format!(
                    "{question:?}\n  us   {:?}\n  {name} {:?}",
                    essence(&expected),
                    essence(&theirs)
                ));
            }
        }
    }
    eprintln!("kinds of answers compared: {kinds:?}");
    for kind in ["answer", "truncated", "NODATA", "NXDOMAIN", "referral", "rcode 5"] {
        assert!(kinds.get(kind).is_some_and(|n| *n >= 50), "too few answers of the kind {kind}: {kinds:?}");
    }
    differences
}

fn kind(message: &Message) -> String {
    match message.rcode() {
        _ if message.truncated() => "truncated".into(),
        NOERROR if !message.answer.is_empty() => "answer".into(),
        NOERROR if message.authoritative() => "NODATA".into(),
        NOERROR => "referral".into(),
        NXDOMAIN => "NXDOMAIN".into(),
        other => format!("rcode {other}"),
    }
}

/// What two servers must agree on. The order of records, and records beside the answer, are each server's own affair.
#[derive(Debug, PartialEq, Eq)]
struct Essence {
    rcode: u8,
    authoritative: bool,
    truncated: bool,
    answer: BTreeSet<Record>,
    /// SOA of a negative answer, or the delegation of a referral.
    authority: BTreeSet<Record>,
    /// Addresses of a delegation's servers inside it.
    glue: BTreeSet<Record>,
}

fn essence(message: &Message) -> Essence {
    // How much of a cut answer is still sent is free; the client asks again over TCP.
    let cut = message.truncated();
    let referral = !message.authoritative()
        || message.authority.iter().any(|r| r.rtype == rtype::NS && r.owner == "sub.acme.private.");
    let keep = |records: &[Record], wanted: &dyn Fn(&Record) -> bool| -> BTreeSet<Record> {
        records.iter().filter(|record| !cut && wanted(record)).cloned().collect()
    };
    let delegated = |record: &Record| referral && record.owner.ends_with("sub.acme.private.");
    Essence {
        rcode: message.rcode(),
        authoritative: message.authoritative(),
        truncated: cut,
        answer: keep(&message.answer, &|_| true),
        authority: keep(&message.authority, &|record| {
            record.rtype == rtype::SOA || (record.rtype == rtype::NS && delegated(record))
        }),
        glue: keep(&message.additional, &delegated),
    }
}
