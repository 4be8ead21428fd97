use std::sync::Arc;

use inventory::{Host, HostKey, HostState, Record, RecordKey, Role, Row, Scope};

use super::*;
use crate::make::Maker;

fn host(short: &str, ip: [u8; 4], roles: &[&str], state: HostState) -> Row {
    let (name, zone) = short.split_once('.').unwrap();
    Row::Host(Arc::new(Host {
        key: HostKey { product: "acme".into(), name: name.into(), zone: zone.into() },
        region: inventory::label::region_of_zone(zone).into(),
        private_ip: ip.into(),
        public_ip: (name == "web01").then(|| [192, 0, 2, ip[3]].into()),
        ipv6: None,
        roles: roles.iter().map(|role| (*role).into()).collect(),
        groups: Box::default(),
        tags: Box::default(),
        state,
        source: "test".into(),
    }))
}

fn record(name: &str, rtype: &str, data: &str) -> Row {
    let key = RecordKey { name: name.into(), rtype: rtype.into(), data: data.into() };
    Row::Record(Arc::new(Record { key, ttl: Some(300), source: "test".into() }))
}

fn role(name: &str, port: Option<u16>, scope: Scope) -> Row {
    let proto = "tcp".into();
    Row::Role(Arc::new(Role { name: name.into(), port, proto, scope, ttl: None, source: "test".into() }))
}

fn settings() -> Settings {
    Settings {
        region: "us-east-1".into(),
        product: "acme".into(),
        ttl: 60,
        negative_ttl: 30,
        own_addresses: vec![[10, 255, 0, 2].into()],
    }
}

fn world() -> (State, Zones) {
    use HostState::{Draining, Running, Stopped, Terminated};
    let mut rows = vec![
        host("web01.us-east-1a", [10, 0, 0, 1], &["web"], Running),
        host("web01.us-west-2a", [10, 0, 0, 2], &["web"], Running),
        host("web02.us-east-1b", [10, 0, 0, 3], &["web"], Draining),
        host("db01.us-east-1b", [10, 0, 0, 4], &["mysql"], Running),
        host("db02.us-east-1b", [10, 0, 0, 5], &["mysql", "batch"], Stopped),
        host("cache01.us-east-1a", [10, 0, 0, 6], &["cache"], Running),
        host("cache02.us-west-2a", [10, 0, 0, 7], &["cache"], Running),
        host("queue01.us-west-2a", [10, 0, 0, 8], &["queue"], Running),
        host("old01.us-east-1a", [10, 0, 0, 9], &[], Terminated),
        role("mysql", Some(3306), Scope::All),
        role("cache", Some(11211), Scope::Nearest),
        role("queue", None, Scope::Nearest),
        role("ghost", Some(1), Scope::All),
        record("www.acme.private", "CNAME", "web02.acme.private."),
        record("*.apps.acme.private", "A", "10.2.0.80"),
        record("deep.er.acme.private", "TXT", "x"),
        record("lab.acme.private", "NS", "ns.lab.example."),
        record("old.acme.private", "DNAME", "us-east-1a.acme.private."),
        record("away.acme.private", "CNAME", "www.example.org."),
        record("corp.example", "SOA", "ns1.corp.example. admin.corp.example. 7 3600 600 604800 30"),
        record("corp.example", "NS", "ns1.corp.example."),
    ];
    rows.extend((0..30).map(|i| host(&format!("job{i:02}.us-east-1b"), [10, 1, 0, i], &["job"], Running)));
    rows.extend((0..10).map(|i| host(&format!("idle{i}.us-east-1b"), [10, 2, 0, i], &["idle"], Draining)));
    let state = State::from_rows(1, 1, 4, rows).unwrap();
    let zones = Maker::new(settings()).build(&state);
    (state, zones)
}

fn ask(name: &str) -> Explanation {
    let (state, zones) = world();
    explain(&state, &zones, &settings(), &complete(&state, &zones, &settings(), name).unwrap())
}

/// `TYPE data: rule [rows]` of every record at every place.
fn records(explanation: &Explanation) -> Vec<String> {
    let rows = |rows: &[RowKey]| rows.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let all = explanation.places.iter().flat_map(|place| &place.records);
    all.map(|made| format!("{} {}: {} [{}]", made.rtype, made.data, made.rule, rows(&made.rows))).collect()
}

fn notes(name: &str) -> Vec<String> {
    ask(name).notes.into_iter().map(|note| note.text).collect()
}

fn outcomes(explanation: &Explanation) -> Vec<&Outcome> {
    explanation.places.iter().map(|place| &place.outcome).collect()
}

#[test]
fn every_rule_is_named_with_its_rows() {
    let only = |name: &str| records(&ask(name)).join("\n");
    assert_eq!(only("db01.us-east-1b"), "A 10.0.0.4: own name of the host [host db01.us-east-1b.acme]");
    assert_eq!(
        only("web01.us-east-1a.acme.public"),
        "A 192.0.2.1: public name of the host [host web01.us-east-1a.acme]"
    );
    assert_eq!(
        only("mysql.us-east-1"),
        "A 10.0.0.4: member of role mysql in region us-east-1 [host db01.us-east-1b.acme]"
    );
    assert_eq!(
        only("mysql.us-east-1b"),
        "A 10.0.0.4: member of role mysql in zone us-east-1b [host db01.us-east-1b.acme]"
    );
    assert_eq!(only("mysql"), "A 10.0.0.4: member of role mysql in product acme [host db01.us-east-1b.acme]");
    assert_eq!(
        only("10.0.0.4"),
        "PTR db01.us-east-1b.acme.private.: reverse name of 10.0.0.4 [host db01.us-east-1b.acme]"
    );
    assert_eq!(
        only("_mysql._tcp.us-east-1"),
        "SRV 0 10 3306 db01.us-east-1b.acme.private.: service of role mysql (port 3306) in region us-east-1 \
         [host db01.us-east-1b.acme, role mysql]"
    );
    assert_eq!(
        only("cache"),
        "A 10.0.0.6: nearest cache: members in the own region us-east-1 [host cache01.us-east-1a.acme, role cache]"
    );
    assert_eq!(
        only("queue"),
        "A 10.0.0.8: nearest queue: all members, because none is in the own region us-east-1 \
         [host queue01.us-west-2a.acme, role queue]"
    );
    assert_eq!(
        only("_cache._tcp"),
        "SRV 0 10 11211 cache01.us-east-1a.acme.private.: service of role cache (port 11211), nearest cache: members \
         in the own region us-east-1 [host cache01.us-east-1a.acme, role cache]"
    );
    assert_eq!(only("ns1"), "A 10.255.0.2: this appliance, because no host of product acme has the role ns1 []");
    assert_eq!(only("deep.er.acme.private"), "TXT \"x\": static record [record deep.er.acme.private TXT x]");
}

#[test]
fn an_apex_shows_where_its_zone_comes_from() {
    let made = ask("acme.private");
    assert_eq!(made.zone, Some(Authority { apex: "acme.private.".into(), serial: 5, generated: true }));
    assert_eq!(
        records(&made),
        [
            "SOA ns1.acme.private. hostmaster.acme.private. 5 3600 300 2419200 30: \
         start of the zone; its serial follows the inventory []",
            "NS ns1.acme.private.: name server of every zone made from hosts []",
        ]
    );
    let given = ask("corp.example.");
    assert_eq!(given.zone, Some(Authority { apex: "corp.example.".into(), serial: 12, generated: false }));
    assert!(records(&given)[0].contains("static record; the serial goes on from it [record corp.example SOA"));
}

#[test]
fn chains_are_followed_to_their_end() {
    let www = ask("www");
    let names: Vec<&str> = www.places.iter().map(|place| place.name.as_str()).collect();
    assert_eq!(names, ["www.acme.private.", "web02.acme.private.", "web02.us-east-1b.acme.private."]);
    assert_eq!(
        records(&www),
        [
            "CNAME web02.acme.private.: static record [record www.acme.private CNAME web02.acme.private.]",
            "CNAME web02.us-east-1b.acme.private.: short name: the only host called web02 in product acme \
         [host web02.us-east-1b.acme]",
            "A 10.0.0.3: own name of the host [host web02.us-east-1b.acme]",
        ]
    );
    let away = ask("away");
    assert_eq!(outcomes(&away), [&Outcome::Exists, &Outcome::NotOurs]);
    let moved = ask("web01.old.acme.private");
    assert_eq!(moved.places[0].outcome, Outcome::Dname { at: "old.acme.private.".into() });
    assert_eq!(moved.places[1].name, "web01.us-east-1a.acme.private.");
}

#[test]
fn what_decides_about_a_name() {
    let first = |name: &str| ask(name).places.remove(0).outcome;
    assert_eq!(first("er.acme.private"), Outcome::EmptyNonTerminal);
    assert_eq!(first("a.b.apps.acme.private"), Outcome::Wildcard { owner: "*.apps.acme.private.".into() });
    assert_eq!(first("x.lab.acme.private"), Outcome::Delegation { at: "lab.acme.private.".into() });
    assert_eq!(first("lab.acme.private"), Outcome::Delegation { at: "lab.acme.private.".into() });
    assert_eq!(first("nobody.acme.private"), Outcome::NoName);
    assert_eq!(first("www.example.org"), Outcome::NotOurs);
    assert_eq!(ask("www.example.org").zone, None);
    assert!(ask("x.corp.example").zone.is_some_and(|zone| zone.apex == "corp.example."));
}

#[test]
fn what_is_not_there_has_a_reason() {
    assert_eq!(
        notes("web01"),
        ["web01 is ambiguous in acme, so this short name does not exist; 2 hosts clash: \
         web01.us-east-1a (10.0.0.1), web01.us-west-2a (10.0.0.2)"]
    );
    assert_eq!(notes("web01.us-east-1"), Vec::<String>::new());
    assert_eq!(notes("web02.us-west-2"), ["there is no host web02 in us-west-2; there is web02.us-east-1b (10.0.0.3)"]);
    assert_eq!(notes("old01"), ["old01.us-east-1a is terminated; terminated hosts have no names"]);
    assert_eq!(notes("old01.us-east-1a"), ["old01.us-east-1a is terminated; terminated hosts have no names"]);
    assert_eq!(notes("db01.us-east-1b.acme.public"), ["host db01.us-east-1b has no public address"]);
    assert_eq!(notes("nobody"), ["no host is called nobody in acme, and no host carries a role nobody"]);
    assert_eq!(notes("10.0.0.9"), ["no host in service has the address 10.0.0.9"]);
    assert_eq!(notes("web01.zz.other.private"), ["there is no product other; there are acme"]);
}

#[test]
fn roles_say_who_is_missing() {
    assert_eq!(notes("mysql"), ["not running, so not under the names of role mysql: db02.us-east-1b (stopped)"]);
    assert_eq!(notes("batch"), ["not running, so not under the names of role batch: db02.us-east-1b (stopped)"]);
    assert_eq!(notes("ghost"), ["no running host in acme carries the role ghost"]);
    assert_eq!(notes("mysql.us-west-2"), ["no running host in us-west-2 carries the role mysql (1 elsewhere in acme)"]);
    assert_eq!(
        notes("cache"),
        ["of 2 running members only 1 in the own region us-east-1 answer, because the role cache is nearest"]
    );
    assert_eq!(notes("_web._tcp"), ["the role web is not defined, so it has no port and no SRV records"]);
    assert_eq!(notes("_queue._tcp"), ["the role queue has no port, so it has no SRV records"]);
    assert_eq!(notes("_mysql._udp"), ["the service of role mysql is over tcp: ask for _mysql._tcp"]);
}

#[test]
fn no_record_is_without_a_rule() {
    let (state, zones) = world();
    let names: Vec<Name> = zones.zones().flat_map(|zone| zones.records(&zone.apex)).map(|rr| rr.owner).collect();
    assert!(names.len() > 100);
    for name in names {
        let place = explain(&state, &zones, &settings(), &name).places.remove(0);
        for made in &place.records {
            assert!(!made.rule.contains("just changed"), "{name} {made:?}");
        }
    }
}

#[test]
fn lists_are_bounded() {
    let job = ask("job");
    assert_eq!((job.places[0].records.len(), job.places[0].more), (RECORDS_MAX, 30 - RECORDS_MAX));
    let [idle] = &ask("idle").notes[..] else { panic!() };
    assert!(idle.text.ends_with("idle7.us-east-1b (draining) and 2 more"), "{}", idle.text);
    assert_eq!(idle.rows.len(), notes::HOSTS_MAX);
}

#[test]
fn short_forms_are_completed() {
    let (state, zones) = world();
    let complete = |text: &str| complete(&state, &zones, &settings(), text).unwrap().to_string();
    assert_eq!(complete("web01"), "web01.acme.private.");
    assert_eq!(complete("Web01.us-east-1b"), "web01.us-east-1b.acme.private.");
    assert_eq!(complete("web01.us-east-9z"), "web01.us-east-9z.acme.private.");
    assert_eq!(complete("_mysql._tcp"), "_mysql._tcp.acme.private.");
    assert_eq!(complete("web01."), "web01.");
    assert_eq!(complete("www.example.org"), "www.example.org.");
    assert_eq!(complete("host.corp.example"), "host.corp.example.");
    assert_eq!(complete("web01.acme.private"), "web01.acme.private.");
    assert_eq!(complete("10.0.0.1"), "1.0.0.10.in-addr.arpa.");
    assert!(complete("fd00::1").ends_with(".0.0.d.f.ip6.arpa."));
    assert_eq!(complete("1.0.0.10.in-addr.arpa"), "1.0.0.10.in-addr.arpa.");
}

#[test]
fn explanations_survive_json() {
    let explanation = ask("www");
    let text = serde_json::to_string(&explanation).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&text).unwrap(), explanation);
}
