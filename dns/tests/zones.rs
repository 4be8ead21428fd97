//! Zones made step by step equal zones made at once, and the differences kept for IXFR add up.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dns::{
    conflicts::conflicts,
    generate::Settings,
    make::{Maker, Pace},
    rr::Rr,
    zones::Zones,
};
use inventory::{
    Author, ChangeSet, Host, HostKey, HostState, Record, RecordKey, Role, Row, RowChange, RowKey, Scope, State,
};
use proptest::prelude::*;

const ZONES: [&str; 5] = ["us-east-1a", "us-east-1b", "eu-west-1a", "fra", "eu-west-1c"];
const PRODUCTS: [&str; 3] = ["acme", "acme", "beta"];
/// Where static records stand: at names of their own and where generated ones are or come to be.
const OWNERS: [&str; 20] = [
    "deep.er.acme.private",
    "s.acme.private",
    "x.s.acme.private",
    "*.w.acme.private",
    "s.beta.private",
    "beta.private",
    "private",
    "acme.private",
    "us-east-1a.acme.private",
    "h1.us-east-1a.acme.private",
    "h1.us-east-1a.acme.public",
    "h2.acme.private",
    "mysql.acme.private",
    "_mysql._tcp.acme.private",
    "ns1.acme.private",
    "ldap.beta.private",
    "9.9.9.10.in-addr.arpa",
    "7.0.1.10.in-addr.arpa",
    "9.1.64.100.in-addr.arpa",
    "64.100.in-addr.arpa",
];
const DATA: [(&str, &str); 14] = [
    ("TXT", "hello"),
    ("TXT", "world"),
    ("A", "10.9.9.9"),
    ("A", "10.255.0.2"),
    ("AAAA", "fd00::99"),
    ("CNAME", "x.example"),
    ("PTR", "x.example"),
    ("SRV", "0 10 3306 x.example"),
    ("NS", "ns.elsewhere.example"),
    ("NS", "x.s.acme.private"),
    ("DS", "1 8 2 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
    ("MX", "10 mail.acme.private"),
    ("DNAME", "other.example"),
    ("SOA", "ns1.acme.private hostmaster.acme.private 7 3600 600 604800 30"),
];
const ROLES: [&str; 4] = ["mysql", "web", "ns1", "cache"];

/// Product, name and zone.
type HostNumbers = (usize, u8, usize);

/// One edit of a random history; numbers choose from small pools, so that edits meet.
#[derive(Debug, Clone)]
enum Edit {
    Host { key: HostNumbers, address: u8, roles: u8, state: u8, more: bool },
    RemoveHost { key: HostNumbers },
    Record { name: usize, kind: usize, ttl: u8 },
    RemoveRecord { name: usize, kind: usize },
    Role { name: usize, nearest: bool, port: bool },
}

fn edit() -> impl Strategy<Value = Edit> {
    let key = || (0..PRODUCTS.len(), 0..6u8, 0..ZONES.len());
    prop_oneof![
        8 => (key(), 0..40u8, 0..16u8, 0..5u8, any::<bool>()).prop_map(
            |(key, address, roles, state, more)| Edit::Host { key, address, roles, state, more }),
        3 => key().prop_map(|key| Edit::RemoveHost { key }),
        6 => (0..OWNERS.len(), 0..DATA.len(), 0..3u8).prop_map(|(name, kind, ttl)| Edit::Record { name, kind, ttl }),
        2 => (0..OWNERS.len(), 0..DATA.len()).prop_map(|(name, kind)| Edit::RemoveRecord { name, kind }),
        1 => (0..ROLES.len(), any::<bool>(), any::<bool>()).prop_map(
            |(name, nearest, port)| Edit::Role { name, nearest, port }),
    ]
}

fn host((product, name, zone): HostNumbers, address: u8, roles: u8, state: u8, more: bool) -> Row {
    let roles = ROLES.iter().enumerate().filter(|(i, _)| roles & (1 << i) != 0).map(|(_, role)| (*role).into());
    const STATES: [HostState; 5] =
        [HostState::Running, HostState::Running, HostState::Draining, HostState::Stopped, HostState::Terminated];
    Row::Host(Arc::new(Host {
        key: HostKey { product: PRODUCTS[product].into(), name: format!("h{name}").into(), zone: ZONES[zone].into() },
        // The last zone lies in a region that is called as another zone.
        region: if zone == 4 { ZONES[1] } else { inventory::label::region_of_zone(ZONES[zone]) }.into(),
        // Some lie outside of private address space, where a host makes its reverse zone.
        private_ip: if address < 30 { [10, 1, 0, address].into() } else { [100, 64, 1, address].into() },
        public_ip: more.then(|| [192, 0, 2, address].into()),
        ipv6: more.then(|| [0xfd00, 0, 0, 0, 0, 0, 0, address.into()].into()),
        roles: roles.collect(),
        groups: Box::default(),
        tags: Box::default(),
        state: STATES[usize::from(state)],
        source: "test".into(),
    }))
}

fn record(name: usize, kind: usize, ttl: u8) -> Record {
    let (rtype, data) = DATA[kind];
    Record {
        key: RecordKey { name: OWNERS[name].into(), rtype: rtype.into(), data: data.into() },
        ttl: [None, Some(300), Some(30)][usize::from(ttl)],
        source: "test".into(),
    }
}

fn apply(state: &State, edit: &Edit) -> Option<State> {
    let (key, new) = match edit {
        Edit::Host { key, address, roles, state, more } => {
            let row = host(*key, *address, *roles, *state, *more);
            (row.key(), Some(row))
        }
        Edit::RemoveHost { key } => (host(*key, 0, 0, 0, false).key(), None),
        Edit::Record { name, kind, ttl } => {
            let row = Row::Record(Arc::new(record(*name, *kind, *ttl)));
            (row.key(), Some(row))
        }
        Edit::RemoveRecord { name, kind } => (RowKey::Record(record(*name, *kind, 0).key), None),
        Edit::Role { name, nearest, port } => {
            let row = Row::Role(Arc::new(Role {
                name: ROLES[*name].into(),
                port: port.then_some(3306),
                proto: "tcp".into(),
                scope: if *nearest { Scope::Nearest } else { Scope::All },
                ttl: None,
                source: "test".into(),
            }));
            (row.key(), Some(row))
        }
    };
    let old = state.get(&key);
    if old == new {
        return None;
    }
    let author = Author { who: "test".into(), when_ms: 0, why: String::new() };
    let serial = state.position().serial + 1;
    let set = Arc::new(ChangeSet { epoch: 1, serial, author, rows: vec![RowChange { old, new }] });
    state.apply(set.clone()).ok().filter(|next| conflicts(next, &set, "acme").is_empty())
}

fn contents(zones: &Zones) -> BTreeMap<String, BTreeSet<Rr>> {
    zones.zones().map(|zone| (zone.apex.to_string(), zones.records(&zone.apex).collect())).collect()
}

/// A zone that holds nothing but its NS may stay after its last host has gone, and with it its delegation.
fn without_empty(all: BTreeMap<String, BTreeSet<Rr>>) -> BTreeMap<String, BTreeSet<Rr>> {
    let (empty, mut others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        all.into_iter().partition(|(_, records)| records.len() <= 1);
    for records in others.values_mut() {
        records.retain(|rr| !empty.contains_key(&rr.owner.to_string()));
    }
    others.retain(|_, records| records.len() > 1);
    others
}

fn maker() -> Maker {
    Maker::new(Settings {
        region: "us-east-1".into(),
        product: "acme".into(),
        ttl: 60,
        negative_ttl: 30,
        own_addresses: vec![[10, 255, 0, 2].into()],
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn step_by_step_equals_at_once(edits in proptest::collection::vec(edit(), 1..50)) {
        let maker = maker();
        let mut state = State::empty(7);
        let mut zones = maker.build(&state);
        let mut past = vec![(state.clone(), zones.clone())];
        for edit in &edits {
            let Some(next) = apply(&state, edit) else { continue };
            zones = maker.advance(&zones, &state, &next);
            state = next;
            past.push((state.clone(), zones.clone()));
            let at_once = maker.build(&state);
            prop_assert_eq!(without_empty(contents(&zones)), without_empty(contents(&at_once)), "after {:?}", edit);
        }
        // Whatever is made in one go, on whichever thread.
        for (hosts, chunks, beside) in [(1, 1, true), (3, 2, true), (2, 3, false)] {
            let made = maker.build_at(Pace { hosts, chunks, beside }, &state);
            prop_assert_eq!(contents(&made), contents(&maker.build(&state)), "{} hosts at once", hosts);
        }
        // From any past state in one go, as after missed publications.
        for (before, old) in &past {
            let jumped = maker.advance(old, before, &state);
            prop_assert_eq!(without_empty(contents(&jumped)), without_empty(contents(&zones)));
            differences_add_up(old, &jumped)?;
        }
        // After a restart, from the change log.
        let fresh = maker.recall(&maker.build(&state), &state);
        for (_, old) in &past {
            differences_add_up(old, &fresh)?;
        }
    }
}

/// Found by the property test above: a host went and a record came under its short name, both followed at once.
#[test]
fn a_record_takes_the_short_name_of_a_host_that_has_gone() {
    let maker = maker();
    let steps = [
        Edit::Host { key: (0, 2, 4), address: 0, roles: 0, state: 0, more: false },
        Edit::RemoveHost { key: (0, 2, 4) },
        Edit::Record { name: 11, kind: 0, ttl: 0 },
    ];
    let mut states = vec![State::empty(7)];
    for step in &steps {
        states.push(apply(states.last().unwrap(), step).expect("each step is allowed"));
    }
    let (before, after) = (&states[1], &states[3]);
    let jumped = maker.advance(&maker.build(before), before, after);
    assert_eq!(without_empty(contents(&jumped)), without_empty(contents(&maker.build(after))));
}

fn differences_add_up(old: &Zones, new: &Zones) -> Result<(), TestCaseError> {
    for zone in new.zones() {
        let Some(was) = old.zone(&zone.apex) else { continue };
        let Some(diffs) = zone.diffs_since(was.soa.serial) else { continue };
        let mut records: BTreeSet<Rr> = old.records(&zone.apex).collect();
        let mut serial = was.soa.serial;
        for diff in diffs {
            prop_assert_eq!(diff.from.serial, serial);
            for rr in &diff.removed {
                prop_assert!(records.remove(rr), "{:?} was not in {}", rr, zone.apex);
            }
            for rr in &diff.added {
                prop_assert!(records.insert(rr.clone()), "{:?} was in {} already", rr, zone.apex);
            }
            serial = diff.to.serial;
        }
        prop_assert_eq!(serial, zone.soa.serial);
        prop_assert_eq!(records, new.records(&zone.apex).collect::<BTreeSet<Rr>>());
    }
    Ok(())
}
