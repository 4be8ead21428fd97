//! A zone of ours inside another: what secondaries of the upper one get to know of the lower one.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeSet, sync::Arc};

use dns::{
    answer::answer,
    conflicts::conflicts,
    generate::Settings,
    make::Maker,
    name::Name,
    rr::{Rr, rtype},
    verdict::{Asker, Facts},
    zone::ZoneDiff,
    zones::Zones,
};
use hickory_proto::op::{Message, ResponseCode};
use inventory::{Author, ChangeSet, Host, HostKey, HostState, Record, RecordKey, Row, RowChange, State};

const SOA: &str = "ns1.acme.private hostmaster.acme.private 7 3600 600 604800 30";
const DS: &str = "1 8 2 00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF";

fn record(name: &str, rtype: &str, data: &str) -> Row {
    let key = RecordKey { name: name.into(), rtype: rtype.into(), data: data.into() };
    Row::Record(Arc::new(Record { key, ttl: None, source: "test".into() }))
}

fn host(product: &str) -> Row {
    Row::Host(Arc::new(Host {
        key: HostKey { product: product.into(), name: "h1".into(), zone: "us-east-1a".into() },
        region: "us-east-1".into(),
        private_ip: [10, 2, 0, 1].into(),
        public_ip: None,
        ipv6: None,
        roles: Box::default(),
        groups: Box::default(),
        tags: Box::default(),
        state: HostState::Running,
        source: "test".into(),
    }))
}

/// `lab.in.acme.private`, a zone of its own with a server inside, two outside, and other data.
fn lab() -> Vec<Row> {
    [
        ("lab.in.acme.private", "SOA", SOA),
        ("lab.in.acme.private", "NS", "ns1.acme.private"),
        ("lab.in.acme.private", "NS", "ns.lab.in.acme.private"),
        ("lab.in.acme.private", "NS", "ns.elsewhere.example"),
        ("lab.in.acme.private", "DS", DS),
        ("lab.in.acme.private", "TXT", "the lab"),
        ("ns.lab.in.acme.private", "A", "10.9.0.1"),
        ("ns.lab.in.acme.private", "TXT", "a server"),
        ("www.lab.in.acme.private", "A", "10.9.0.2"),
    ]
    .map(|(name, rtype, data)| record(name, rtype, data))
    .into()
}

struct World {
    maker: Maker,
    state: State,
    zones: Zones,
}

impl World {
    fn new(rows: impl IntoIterator<Item = Row>) -> Self {
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
        rows.into_iter().for_each(|row| world.change(None, Some(row)));
        world
    }

    fn change(&mut self, old: Option<Row>, new: Option<Row>) {
        let author = Author { who: "test".into(), when_ms: 0, why: String::new() };
        let (serial, rows) = (self.state.position().serial + 1, vec![RowChange { old, new }]);
        let set = Arc::new(ChangeSet { epoch: 1, serial, author, rows });
        let next = self.state.apply(set.clone()).unwrap();
        assert!(conflicts(&next, &set, "acme").is_empty());
        self.zones = self.maker.advance(&self.zones, &self.state, &next);
        self.state = next;
    }

    /// What the zone transfers of names at and below `name`, as `OWNER TYPE`.
    fn transferred(&self, apex: &str, name: &str) -> BTreeSet<String> {
        let (apex, name) = (Name::parse(apex).unwrap(), Name::parse(name).unwrap());
        let records = self.zones.records(&apex).filter(|rr| dns::name::is_within(&rr.owner, &name));
        records.map(|rr| text(&rr)).collect()
    }

    /// The last difference of a zone.
    fn difference(&self, apex: &str, from: u32) -> Vec<Arc<ZoneDiff>> {
        self.zones.zone(&Name::parse(apex).unwrap()).unwrap().diffs_since(from).unwrap()
    }

    fn serial(&self, apex: &str) -> u32 {
        self.zones.zone(&Name::parse(apex).unwrap()).unwrap().soa.serial
    }

    fn ask(&self, name: &str, qtype: u16) -> Message {
        let facts = Facts {
            id: "test".into(),
            version: "test".into(),
            udp_payload_max: 1232,
            forwards: false,
            cookie_secrets: Vec::new(),
            keepalive_ds: 300,
        };
        let address = [127, 0, 0, 1].into();
        let asker = Asker { address, stream: false, trusted: false, now_s: 0, signature: None, spin: 0 };
        let mut query = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend_from_slice(&Name::parse(name).unwrap());
        query.extend([qtype.to_be_bytes(), [0, 1]].concat());
        let mut out = Vec::new();
        answer(&self.zones, &facts, &asker, &query, &mut out);
        Message::from_vec(&out).unwrap()
    }
}

fn text(rr: &Rr) -> String {
    format!("{} {}", rr.owner.to_string().trim_end_matches('.'), dns::text::type_name(rr.rtype))
}

fn texts<const N: usize>(texts: [&str; N]) -> BTreeSet<String> {
    texts.map(str::to_owned).into()
}

#[test]
fn the_upper_zone_transfers_a_delegation() {
    let world = World::new(lab());
    assert_eq!(
        world.transferred("acme.private", "in.acme.private"),
        texts(["lab.in.acme.private NS", "lab.in.acme.private DS", "ns.lab.in.acme.private A"])
    );
    assert_eq!(
        world.zones.records(&Name::parse("acme.private").unwrap()).filter(|rr| rr.rtype == rtype::NS).count(),
        1 + 3,
        "its own, and all of the lower zone"
    );
    assert_eq!(world.transferred("lab.in.acme.private", "lab.in.acme.private").len(), 6, "each owner and type");
}

#[test]
fn names_between_two_zones_exist_as_they_do_for_secondaries() {
    let world = World::new(lab());
    let reply = world.ask("in.acme.private", rtype::A);
    assert_eq!(
        (reply.metadata.response_code, reply.authorities[0].name.to_string()),
        (ResponseCode::NoError, "acme.private.".into())
    );
    assert_eq!(world.ask("nx.acme.private", rtype::A).metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn that_a_lower_zone_has_no_ds_is_said_by_the_upper_one() {
    let world = World::new(lab().into_iter().filter(|row| !matches!(row, Row::Record(r) if r.key.rtype == "DS")));
    let soa_of = |name, qtype| world.ask(name, qtype).authorities[0].name.to_string();
    assert_eq!(soa_of("lab.in.acme.private", rtype::DS), "acme.private.");
    assert_eq!(soa_of("lab.in.acme.private", rtype::AAAA), "lab.in.acme.private.");
    assert_eq!(soa_of("acme.private", rtype::DS), "acme.private.", "nothing of ours is above");
}

#[test]
fn differences_carry_what_changes_in_a_delegation() {
    let mut world = World::new(lab());
    let mut change = |old: Option<Row>, new: Option<Row>| {
        let before = world.serial("acme.private");
        world.change(old, new);
        let diffs = world.difference("acme.private", before);
        let all = |of: fn(&ZoneDiff) -> &Vec<Rr>| diffs.iter().flat_map(|diff| of(diff)).map(text).collect::<Vec<_>>();
        (all(|diff| &diff.removed), all(|diff| &diff.added))
    };
    let glue = |address| record("ns.lab.in.acme.private", "A", address);
    let (none, one) = (Vec::<String>::new(), |text: &str| vec![text.to_owned()]);
    assert_eq!(change(None, Some(glue("10.9.0.3"))), (none.clone(), one("ns.lab.in.acme.private A")));
    assert_eq!(change(Some(glue("10.9.0.1")), None), (one("ns.lab.in.acme.private A"), none.clone()));
    assert_eq!(change(None, Some(record("new.lab.in.acme.private", "A", "10.9.0.9"))), (none.clone(), none.clone()));
    let server = record("lab.in.acme.private", "NS", "new.lab.in.acme.private");
    let (removed, added) = change(None, Some(server.clone()));
    assert_eq!(
        (removed, added),
        (none.clone(), vec!["lab.in.acme.private NS".into(), "new.lab.in.acme.private A".into()])
    );
    assert_eq!(change(Some(server), None).0.len(), 2, "a server that goes takes its address along");
    let ds = record("lab.in.acme.private", "DS", DS);
    assert_eq!(change(Some(ds), None), (one("lab.in.acme.private DS"), none.clone()));
    assert_eq!(change(None, Some(record("x.lab.in.acme.private", "TXT", "x"))), (none.clone(), none));
}

#[test]
fn an_address_two_zones_down_is_glue_of_both() {
    let mut world = World::new(lab());
    world.change(None, Some(record("deep.lab.in.acme.private", "SOA", SOA)));
    world.change(None, Some(record("lab.in.acme.private", "NS", "ns.deep.lab.in.acme.private")));
    world.change(None, Some(record("deep.lab.in.acme.private", "NS", "ns.deep.lab.in.acme.private")));
    let serials = ["acme.private", "lab.in.acme.private"].map(|apex| (apex, world.serial(apex)));
    world.change(None, Some(record("ns.deep.lab.in.acme.private", "A", "10.9.0.4")));
    for (apex, before) in serials {
        assert_eq!(world.difference(apex, before)[0].added.len(), 1, "{apex}");
        assert!(world.transferred(apex, apex).contains("ns.deep.lab.in.acme.private A"), "{apex}");
    }
}

#[test]
fn a_product_may_come_around_a_static_zone() {
    let mut world = World::new([record("lab.in.beta.private", "SOA", SOA)]);
    world.change(None, Some(record("lab.in.beta.private", "NS", "ns.example")));
    world.change(None, Some(host("beta")));
    assert_eq!(world.transferred("beta.private", "in.beta.private"), texts(["lab.in.beta.private NS"]));
    assert_eq!(world.ask("in.beta.private", rtype::A).metadata.response_code, ResponseCode::NoError);
}
