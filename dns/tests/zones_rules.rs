//! Which static records may stand beside what hosts and roles make, and what is made of them: step by
//! step and all at once alike.

use std::sync::Arc;

use dns::{conflicts::conflicts, generate::Settings, make::Maker, name::Name, rr::Rr, zones::Zones};
use inventory::{Author, ChangeSet, Host, HostKey, HostState, Record, RecordKey, Role, Row, RowChange, Scope, State};

const SOA: &str = "ns1.acme.private hostmaster.acme.private 7 3600 600 604800 30";

fn record(name: &str, rtype: &str, data: &str) -> Row {
    with_ttl(name, rtype, data, None)
}

fn with_ttl(name: &str, rtype: &str, data: &str, ttl: Option<u32>) -> Row {
    let key = RecordKey { name: name.into(), rtype: rtype.into(), data: data.into() };
    Row::Record(Arc::new(Record { key, ttl, source: "test".into() }))
}

fn host(product: &str, name: &str, address: [u8; 4], roles: &[&str]) -> Row {
    Row::Host(Arc::new(Host {
        key: HostKey { product: product.into(), name: name.into(), zone: "us-east-1a".into() },
        region: "us-east-1".into(),
        private_ip: address.into(),
        public_ip: Some([192, 0, 2, address[3]].into()),
        ipv6: None,
        roles: roles.iter().map(|role| (*role).into()).collect(),
        groups: Box::default(),
        tags: Box::default(),
        state: HostState::Running,
        source: "test".into(),
    }))
}

fn h1() -> Row {
    host("acme", "h1", [10, 1, 0, 1], &["web"])
}

fn role(name: &str, port: Option<u16>) -> Row {
    let (scope, ttl) = (Scope::All, None);
    Row::Role(Arc::new(Role { name: name.into(), port, proto: "tcp".into(), scope, ttl, source: "test".into() }))
}

/// A state and the zones made of it step by step.
struct World {
    maker: Maker,
    state: State,
    zones: Zones,
}

impl World {
    fn new(rows: &[Row]) -> Self {
        let maker = Maker::new(Settings {
            region: "us-east-1".into(),
            product: "acme".into(),
            ttl: 60,
            negative_ttl: 30,
            own_addresses: vec![[10, 255, 0, 2].into()],
        });
        let state = State::empty(7);
        let zones = maker.build(&state);
        let mut world = Self { maker, state, zones };
        for row in rows {
            world.accept(&[(None, Some(row.clone()))]);
        }
        world
    }

    fn next(&self, rows: &[(Option<Row>, Option<Row>)]) -> (State, Vec<String>) {
        let author = Author { who: "test".into(), when_ms: 0, why: String::new() };
        let rows = rows.iter().cloned().map(|(old, new)| RowChange { old, new }).collect();
        let set = Arc::new(ChangeSet { epoch: 1, serial: self.state.position().serial + 1, author, rows });
        let next = self.state.apply(set.clone()).expect("rows that can stand together");
        let against = conflicts(&next, &set, "acme");
        (next, against)
    }

    fn accept(&mut self, rows: &[(Option<Row>, Option<Row>)]) {
        let (next, against) = self.next(rows);
        assert!(against.is_empty(), "{against:?}");
        self.zones = self.maker.advance(&self.zones, &self.state, &next);
        self.state = next;
    }

    fn add(&mut self, row: Row) {
        self.accept(&[(None, Some(row))]);
    }

    fn remove(&mut self, row: Row) {
        self.accept(&[(Some(row), None)]);
    }

    /// The sentences against adding a row; there must be some.
    fn refusal(&self, row: &Row) -> String {
        self.refusal_of(&[(None, Some(row.clone()))])
    }

    fn refusal_of(&self, rows: &[(Option<Row>, Option<Row>)]) -> String {
        let (_, against) = self.next(rows);
        assert!(!against.is_empty(), "accepted: {rows:?}");
        against.join("\n")
    }

    /// The records at a name, equal step by step and at once.
    fn at(&self, name: &str) -> Vec<Rr> {
        let name = Name::parse(name).expect("a name");
        let here = self.zones.records_at(&name);
        assert_eq!(here, self.maker.build(&self.state).records_at(&name));
        here
    }

    fn data_at(&self, name: &str) -> Vec<Vec<u8>> {
        self.at(name).iter().map(|rr| rr.rdata.to_vec()).collect()
    }
}

/// Both orders are refused, and both sentences name both parties.
#[track_caller]
fn never_together(first: &[Row], one: &Row, other: &Row, parties: [&str; 2]) {
    for (present, new) in [(one, other), (other, one)] {
        let mut world = World::new(first);
        world.add(present.clone());
        let sentence = world.refusal(new);
        assert!(parties.iter().all(|party| sentence.contains(party)), "{sentence}");
    }
}

#[test]
fn delegations_and_dnames_hide_no_generated_names() {
    let srv = || vec![role("web", Some(80))];
    let cases = [
        ("us-east-1a.acme.private", "NS", "ns.example"),
        ("us-east-1.acme.private", "DNAME", "x.example"),
        ("h1.us-east-1a.acme.private", "NS", "ns.example"),
        ("h1.us-east-1.acme.private", "NS", "ns.example"),
        ("h1.acme.private", "DNAME", "x.example"),
        ("web.acme.private", "NS", "ns.example"),
        ("_tcp.acme.private", "NS", "ns.example"),
        ("_tcp.us-east-1.acme.private", "DNAME", "x.example"),
        ("us-east-1a.acme.public", "NS", "ns.example"),
        ("0.1.10.in-addr.arpa", "NS", "ns.example"),
        ("1.0.1.10.in-addr.arpa", "NS", "ns.example"),
        ("us-east-1a.acme.private", "SOA", SOA),
    ];
    for (name, rtype, data) in cases {
        let party = if name.starts_with("_tcp") || name.starts_with("web") { "web" } else { "h1" };
        never_together(&srv(), &record(name, rtype, data), &h1(), [party, name]);
    }
    for (name, rtype, data) in [
        ("acme.private", "NS", "ns.example"),
        ("acme.private", "CNAME", "x.example"),
        ("acme.private", "DNAME", "x.example"),
        ("acme.public", "DNAME", "x.example"),
        ("10.in-addr.arpa", "NS", "ns.example"),
        ("ns1.acme.private", "NS", "ns.example"),
    ] {
        assert!(World::new(&[]).refusal(&record(name, rtype, data)).contains(name));
    }
    // Where nothing is below they are welcome.
    let mut world = World::new(&[h1()]);
    world.add(record("lab.acme.private", "NS", "ns.lab.acme.private"));
    world.add(record("ns.lab.acme.private", "A", "10.9.0.53"));
    world.add(record("old.acme.private", "DNAME", "acme.private"));
    world.add(record("0.2.10.in-addr.arpa", "NS", "ns.example"));
}

#[test]
fn a_product_does_not_come_to_exist_below_a_delegation() {
    let zone = record("private", "SOA", SOA);
    let beta = host("beta", "h1", [10, 2, 0, 1], &[]);
    never_together(&[zone], &record("beta.private", "NS", "ns.example"), &beta, ["beta", "beta.private NS"]);
    let at_zone = record("beta.private", "SOA", SOA);
    never_together(&[], &at_zone, &beta, ["beta", "beta.private SOA"]);
}

#[test]
fn a_dname_has_nothing_below_and_stands_once() {
    let dname = record("old.acme.private", "DNAME", "acme.private");
    never_together(&[], &dname, &record("x.old.acme.private", "TXT", "x"), ["DNAME", "x.old.acme.private"]);
    let second = record("old.acme.private", "DNAME", "example");
    never_together(&[], &dname, &second, ["DNAME acme.private", "DNAME example"]);
}

#[test]
fn static_records_take_the_place_of_no_generated_ones() {
    let srv = || vec![role("web", Some(80))];
    let cases = [
        ("h1.us-east-1a.acme.private", "A", "10.9.9.9"),
        ("h1.us-east-1a.acme.private", "AAAA", "fd00::9"),
        ("h1.us-east-1a.acme.private", "CNAME", "x.example"),
        ("h1.us-east-1a.acme.public", "A", "192.0.2.1"),
        ("h1.us-east-1a.acme.public", "CNAME", "x.example"),
        ("h1.us-east-1.acme.private", "TXT", "x"),
        ("h1.acme.private", "TXT", "x"),
        ("1.0.1.10.in-addr.arpa", "PTR", "h1.us-east-1a.acme.private"),
        ("1.0.1.10.in-addr.arpa", "CNAME", "x.example"),
        ("web.acme.private", "A", "10.1.0.1"),
        ("web.acme.private", "CNAME", "x.example"),
        ("web.us-east-1.acme.private", "A", "10.1.0.1"),
        ("web.us-east-1a.acme.private", "AAAA", "fd00::1"),
        ("_web._tcp.acme.private", "SRV", "0 10 80 h1.us-east-1a.acme.private"),
        ("_web._tcp.us-east-1a.acme.private", "CNAME", "x.example"),
    ];
    for (name, rtype, data) in cases {
        never_together(
            &srv(),
            &record(name, rtype, data),
            &h1(),
            [if name.contains("web") { "web" } else { "h1" }, name],
        );
    }
    let mut world = World::new(&[h1()]);
    for name in ["h1.us-east-1a.acme.private", "h1.us-east-1a.acme.public", "1.0.1.10.in-addr.arpa", "web.acme.private"]
    {
        world.add(record(name, "TXT", "x"));
        assert_eq!(world.at(name).len(), 2);
        world.remove(record(name, "TXT", "x"));
        assert_eq!(world.at(name).len(), 1);
    }
}

#[test]
fn a_role_gets_no_port_where_static_srv_records_stand() {
    let mut world = World::new(&[h1()]);
    world.add(record("_web._tcp.acme.private", "SRV", "0 10 80 x.example"));
    let sentence = world.refusal(&role("web", Some(80)));
    assert!(sentence.contains("_web._tcp.acme.private") && sentence.contains("h1"), "{sentence}");
}

#[test]
fn records_of_one_set_share_their_ttl() {
    let a = |last: u8, ttl| with_ttl("s.acme.private", "A", &format!("10.0.0.{last}"), Some(ttl));
    let mut world = World::new(&[a(2, 300)]);
    let sentence = world.refusal(&a(1, 30));
    assert!(sentence.contains("10.0.0.1") && sentence.contains("10.0.0.2"), "{sentence}");
    world.accept(&[(None, Some(a(1, 30))), (Some(a(2, 300)), Some(a(2, 30)))]);
    assert!(world.at("s.acme.private").iter().all(|rr| rr.ttl == 30));
}

#[test]
fn one_record_is_written_one_way() {
    let world = World::new(&[record("s.acme.private", "MX", "10 mail.example")]);
    assert!(world.refusal(&record("s.acme.private", "MX", "10 Mail.example.")).contains("say the same"));
}

#[test]
fn generated_zones_have_no_static_soa() {
    for apex in ["acme.private", "acme.public", "10.in-addr.arpa", "d.f.ip6.arpa"] {
        assert!(World::new(&[]).refusal(&record(apex, "SOA", SOA)).contains("generated"));
    }
}

#[test]
fn a_zone_goes_with_its_records() {
    let soa = record("corp.example", "SOA", SOA);
    let www = record("www.corp.example", "A", "10.0.0.1");
    let mut world = World::new(&[soa.clone(), www.clone()]);
    let sentence = world.refusal_of(&[(Some(soa.clone()), None)]);
    assert!(sentence.contains("corp.example SOA") && sentence.contains("www.corp.example A"), "{sentence}");
    world.accept(&[(Some(soa), None), (Some(www), None)]);
}

#[test]
fn the_last_host_of_a_product_goes_with_its_static_records() {
    let beta = host("beta", "h1", [10, 2, 0, 1], &[]);
    let txt = record("s.beta.private", "TXT", "x");
    let mut world = World::new(&[beta.clone(), txt.clone()]);
    let sentence = world.refusal_of(&[(Some(beta.clone()), None)]);
    assert!(sentence.contains("h1.us-east-1a") && sentence.contains("s.beta.private TXT"), "{sentence}");
    world.accept(&[(Some(beta), None), (Some(txt), None)]);
}

#[test]
fn a_static_serial_never_goes_back() {
    let soa = |serial: u32| record("corp.example", "SOA", &format!("ns1.x hostmaster.x {serial} 3600 600 604800 30"));
    let mut world = World::new(&[soa(2_024_010_100)]);
    let sentence = world.refusal_of(&[(Some(soa(2_024_010_100)), None), (None, Some(soa(5)))]);
    assert!(sentence.contains("2024010100") && sentence.contains(" 5 "), "{sentence}");
    world.accept(&[(Some(soa(2_024_010_100)), None), (None, Some(soa(2_024_010_101)))]);
}

#[test]
fn reverse_zones_outside_of_private_space_take_static_records() {
    let ptr = record("9.1.64.100.in-addr.arpa", "PTR", "gateway.acme.private");
    let mut world = World::new(&[]);
    assert!(world.refusal(&ptr).contains("none of our zones"));
    world.add(host("acme", "h1", [100, 64, 1, 1], &[]));
    world.add(ptr);
    assert_eq!(world.at("9.1.64.100.in-addr.arpa").len(), 1);
}

#[test]
fn roles_leave_an_octet_for_the_underscore() {
    let long = "r".repeat(63);
    assert!(World::new(&[]).refusal(&role(&long, Some(80))).contains("62"));
    assert!(World::new(&[]).refusal(&host("acme", "h1", [10, 1, 0, 1], &[&long])).contains("62"));
    World::new(&[role(&long[1..], Some(80)), host("acme", "h1", [10, 1, 0, 1], &[&long[1..]])]);
}

#[test]
fn static_addresses_win_over_the_appliance_and_nearest_members() {
    let own = vec![vec![10, 255, 0, 2]];
    for role in ["ns1", "ldap", "log"] {
        let name = format!("{role}.acme.private");
        let by_hand = record(&name, "A", "10.9.9.9");
        let mut world = World::new(&[]);
        assert_eq!(world.data_at(&name), own);
        world.add(by_hand.clone());
        assert_eq!(world.data_at(&name), [[10, 9, 9, 9]]);
        world.add(host("acme", "h1", [10, 1, 0, 1], &[role]));
        assert_eq!(world.data_at(&name), [[10, 9, 9, 9]]);
        world.remove(by_hand.clone());
        assert_eq!(world.data_at(&name), [[10, 1, 0, 1]]);
        world.add(by_hand.clone());
        world.remove(host("acme", "h1", [10, 1, 0, 1], &[role]));
        assert_eq!(world.data_at(&name), [[10, 9, 9, 9]]);
        world.remove(by_hand);
        assert_eq!(world.data_at(&name), own);
    }
    let srv = record("_ldap._tcp.acme.private", "SRV", "0 10 389 x.example");
    let mut world = World::new(&[role("ldap", Some(389)), srv]);
    world.add(record("ldap.acme.private", "A", "10.9.9.9"));
    assert_eq!(world.at("_ldap._tcp.acme.private").len(), 1, "static SRV records stay");
    assert!(world.refusal(&record("log.acme.private", "CNAME", "x.example")).contains("role log"));
}

#[test]
fn the_first_host_of_a_product_brings_its_nearest_names() {
    let mut world = World::new(&[host("beta", "h1", [10, 2, 0, 1], &[])]);
    for name in ["ns1.beta.private", "ldap.beta.private", "log.beta.private"] {
        assert_eq!(world.data_at(name), [[10, 255, 0, 2]]);
    }
    world.remove(host("beta", "h1", [10, 2, 0, 1], &[]));
    assert!(world.at("ns1.beta.private").is_empty());
}

/// A host `db` of product acme.
fn placed(zone: &str, region: &str, last: u8) -> Row {
    let Row::Host(row) = host("acme", "db", [10, 3, 0, last], &[]) else { panic!("a host") };
    let key = HostKey { zone: zone.into(), ..row.key.clone() };
    Row::Host(Arc::new(Host { key, region: region.into(), public_ip: None, ..Host::clone(&row) }))
}

#[test]
fn a_short_name_in_a_region_is_no_own_name_in_a_zone_of_the_same_label() {
    let (own, short) = (placed("east", "us", 1), placed("cellar", "east", 2));
    never_together(&[], &own, &short, ["host db.east by its zone", "host db.cellar by its region"]);
    assert_eq!(World::new(std::slice::from_ref(&own)).refusal(&short).lines().count(), 1, "told once");
    let both = World::new(&[]).refusal_of(&[(None, Some(own.clone())), (None, Some(short.clone()))]);
    assert_eq!(both.lines().count(), 1, "{both}");
    // Two short names hide each other, until one of them goes.
    let mut world = World::new(&[short.clone(), placed("attic", "east", 3)]);
    assert!(world.refusal(&own).contains("db.east.acme.private"));
    world.remove(short);
    assert_eq!(world.at("db.east.acme.private").len(), 1);
    // A zone that is its own region makes one name of the two.
    let mut world = World::new(&[placed("east", "east", 1), placed("cellar", "east", 2)]);
    assert_eq!(world.data_at("db.east.acme.private"), [[10, 3, 0, 1]]);
    // Another name, or another product, is nobody's.
    world.add(host("acme", "web1", [10, 3, 0, 9], &[]));
}

#[test]
fn a_host_and_a_record_of_its_new_zones_come_together() {
    let mut world = World::new(&[]);
    let rows = [record("s.beta.private", "TXT", "x"), host("beta", "h1", [100, 64, 1, 1], &[])];
    world.accept(&rows.map(|row| (None, Some(row))));
    assert_eq!(world.at("s.beta.private").len(), 1);
}

#[test]
fn a_reverse_zone_goes_with_its_static_records() {
    let (one, two) = (host("acme", "h1", [100, 64, 1, 1], &[]), host("acme", "h2", [100, 64, 1, 2], &[]));
    let mut world = World::new(&[one.clone(), two.clone(), record("9.1.64.100.in-addr.arpa", "PTR", "x.example")]);
    world.remove(one);
    assert!(world.refusal_of(&[(Some(two), None)]).contains("9.1.64.100.in-addr.arpa PTR x.example"));
}

#[test]
fn a_product_takes_its_names_out_of_a_static_zone_above() {
    let mut world = World::new(&[record("private", "SOA", SOA), record("s.beta.private", "TXT", "x")]);
    world.add(host("beta", "h1", [10, 2, 0, 1], &[]));
    let name = Name::parse("s.beta.private").unwrap();
    assert_eq!(world.zones.zone_for(&name).unwrap().apex.to_string(), "beta.private.");
    assert_eq!(world.at("s.beta.private").len(), 1);
}

#[test]
fn a_zone_at_a_delegation_of_another_counts_anew() {
    // An older version accepted the delegation: nothing is asked here, the zones are made.
    let mut world = World::new(&[record("private", "SOA", SOA), record("beta.private", "NS", "ns.example")]);
    let (next, against) = world.next(&[(None, Some(host("beta", "h1", [10, 2, 0, 1], &[])))]);
    assert!(!against.is_empty());
    world.zones = world.maker.advance(&world.zones, &world.state, &next);
    world.state = next;
    assert_eq!(world.at("h1.us-east-1a.beta.private").len(), 1);
    let mut editor = dns::edit::Editor::new(&World::new(&[record("lab.acme.private", "NS", "ns.example")]).zones);
    let apex = Name::parse("lab.acme.private").unwrap();
    let soa = world.zones.zone(&Name::parse("acme.private").unwrap()).unwrap().soa.clone();
    editor.add_zone(&apex, soa, false, 0);
    let zones = editor.finish();
    assert_eq!(zones.zone_for(&apex).unwrap().apex, apex);
}
