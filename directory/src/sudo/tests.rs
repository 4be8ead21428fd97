//! What grants become, and that advancing is building.

use inventory::{
    HostKey, HostState,
    change::{Author, RowChange},
};

use super::*;

fn host(name: &str, zone: &str, roles: &[&str]) -> Arc<Host> {
    let number: usize = name
        .bytes()
        .chain(zone.bytes())
        .map(usize::from)
        .fold(7_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    Arc::new(Host {
        key: HostKey { product: "acme".into(), name: name.into(), zone: zone.into() },
        region: zone[..zone.len() - 1].into(),
        private_ip: std::net::Ipv4Addr::from_bits(0x0a00_0000 | (number as u32 & 0xff_ffff)),
        public_ip: None,
        ipv6: None,
        roles: roles.iter().map(|role| (*role).into()).collect(),
        groups: Box::default(),
        tags: Box::default(),
        state: HostState::Running,
        source: "test".into(),
    })
}

fn grant(name: &str, on: &[&str], sudo: bool) -> Arc<Grant> {
    Arc::new(Grant {
        name: name.into(),
        who: ["@dba".into(), "ada".into()].into(),
        on: on.iter().map(|text| (*text).into()).collect(),
        services: Box::default(),
        sudo: sudo.then(|| ["/bin/ls".into()].into()),
        until: None,
        by: "test".into(),
        why: "tests".into(),
        source: "test".into(),
    })
}

fn roles_of(rows: Vec<Row>) -> (State, SudoRoles) {
    let state = State::from_rows(1, 1, 1, rows).unwrap();
    let roles = SudoRoles::build(&state, &Dn::parse("dc=acme").unwrap(), 1).unwrap();
    (state, roles)
}

/// `cn: host host` of every role, as somebody sees them.
fn shown(roles: &SudoRoles, host: Option<&Host>, now_s: u64) -> Vec<String> {
    let line = |node: &Arc<Node>| {
        let hosts: Vec<_> = node.entry.texts("sudoHost").collect();
        format!("{}: {}", node.entry.text("cn").unwrap(), hosts.join(" "))
    };
    roles.nodes(host, now_s).map(line).collect()
}

#[test]
fn patterns_become_the_names_that_sudo_compares() {
    let hosts = [host("db1", "us-east-1a", &["mysql"]), host("db2", "us-east-1b", &[]), host("x", "eu-1a", &["mysql"])];
    for (on, expected) in [
        (&["*"][..], "g: ALL"),
        (&["db*"], "g: db*"),
        (&["db*.us-east-1"], "g: db*.us-east-1a.acme.private db*.us-east-1b.acme.private"),
        (&["db?.us-east-1b"], "g: db?.us-east-1b.acme.private"),
        (&["*.us-*"], "g: *.us-east-1a.acme.private *.us-east-1b.acme.private"),
        (&["role:mysql"], "g: db1.us-east-1a.acme.private x.eu-1a.acme.private"),
    ] {
        let rows = hosts.iter().cloned().map(Row::Host).chain([Row::Grant(grant("g", on, true))]);
        let (_, roles) = roles_of(rows.collect());
        assert_eq!(shown(&roles, None, 0), [expected], "{on:?}");
    }
    let rows = vec![Row::Grant(grant("g", &["db*.nowhere"], true))];
    assert!(shown(&roles_of(rows).1, None, 0).is_empty(), "no such zone, no role");
}

#[test]
fn a_denial_is_a_role_above_all_others() {
    let (db1, db2) = (host("db1", "us-east-1a", &[]), host("db2", "us-east-1a", &[]));
    let rows = vec![
        Row::Host(db1.clone()),
        Row::Host(db2.clone()),
        Row::Grant(grant("all", &["*"], true)),
        Row::Grant(grant("not", &["!db1.us-east-1a"], false)),
    ];
    let (_, roles) = roles_of(rows);
    assert_eq!(shown(&roles, None, 0), ["all: ALL", "deny-not: db1.us-east-1a.acme.private"]);
    assert_eq!(shown(&roles, Some(&db1), 0), ["all: ALL", "deny-not: ALL"]);
    assert_eq!(shown(&roles, Some(&db2), 0), ["all: ALL"]);
    let denial = roles.nodes(Some(&db1), 0).last().unwrap();
    assert_eq!(denial.entry.text("sudoCommand"), Some("!ALL"));
    assert_eq!(denial.entry.texts("sudoUser").collect::<Vec<_>>(), ["%dba", "ada"]);
    let order = |node: &Arc<Node>| node.entry.text("sudoOrder").unwrap().parse::<u32>().unwrap();
    let orders: Vec<u32> = roles.nodes(Some(&db1), 0).map(order).collect();
    assert!(orders[1] > orders[0]);
}

#[test]
fn a_denial_within_a_grant_and_of_an_entry_counts_too() {
    let db1 = host("db1", "us-east-1a", &[]);
    let entry = Entry {
        id: EntryId([9; 16]),
        dn: "uid=bob".into(),
        attributes: [attribute("uid", ["bob"]), attribute("host", ["*", "!db1"])].into(),
        source: DIRECTORY.into(),
    };
    let rows = vec![
        Row::Host(db1.clone()),
        Row::Grant(grant("g", &["*.us-east-1", "!db1.us-east-1a"], true)),
        Row::Entry(Arc::new(entry)),
    ];
    let (_, roles) = roles_of(rows);
    let general = shown(&roles, None, 0);
    assert_eq!(general[0], "g: *.us-east-1a.acme.private !db1.us-east-1a.acme.private");
    assert_eq!(general[1..], ["deny-g: db1.us-east-1a.acme.private", "deny-host-of-bob: db1"]);
    assert_eq!(shown(&roles, Some(&db1), 0), ["deny-g: ALL", "deny-host-of-bob: ALL"]);
}

#[test]
fn what_cannot_be_said_is_never_said_wider() {
    let many = (0..=NAMES_MAX).map(|n| Row::Host(host(&format!("h{n}"), "us-east-1a", &["many"])));
    let mut rows: Vec<Row> = many.collect();
    rows.push(Row::Grant(grant("g", &["role:many"], true)));
    rows.push(Row::Grant(grant("not", &["!role:many"], false)));
    rows.push(Row::Grant(grant("but", &["*", "!role:many"], true)));
    let (state, roles) = roles_of(rows);
    assert_eq!(shown(&roles, None, 0), ["deny-but: ALL", "deny-not: ALL"]);
    assert_eq!(roles.left_out(), 2);
    let one = state.hosts().next().unwrap();
    assert_eq!(shown(&roles, Some(one), 0), ["g: ALL", "deny-but: ALL", "deny-not: ALL"], "its own hosts are told");
    let (_, roles) = roles_of(vec![Row::Grant(grant("odd", &["*", "!what is this"], true))]);
    assert!(shown(&roles, None, 0).is_empty(), "an unreadable denial might mean any host");
}

#[test]
fn a_grant_that_is_over_is_gone() {
    let until = Grant { until: Some(1_800_000_000), ..Grant::clone(&grant("g", &["*"], true)) };
    let (_, roles) = roles_of(vec![Row::Grant(Arc::new(until))]);
    assert_eq!(shown(&roles, None, 1_799_999_999).len(), 1);
    let node = roles.nodes(None, 0).next().unwrap();
    assert_eq!(node.entry.text("sudoNotAfter"), Some("20270115080000Z"));
    assert!(shown(&roles, None, 1_800_000_000).is_empty());
}

#[test]
fn advancing_is_building() {
    let base = Dn::parse("dc=acme").unwrap();
    let state = State::from_rows(1, 1, 1, vec![]).unwrap();
    let steps: Vec<(Option<Row>, Option<Row>)> = {
        let one = Row::Host(host("db1", "us-east-1a", &["mysql"]));
        let same = Row::Host(host("db1", "us-east-1a", &[]));
        let two = Row::Host(host("db2", "us-east-1b", &["mysql"]));
        let wide = Row::Grant(grant("g", &["role:mysql", "db*.us-east-1"], true));
        let narrow = Row::Grant(grant("g", &["!role:mysql", "db1"], true));
        vec![
            (None, Some(wide.clone())),
            (None, Some(one.clone())),
            (None, Some(two.clone())),
            (Some(one), Some(same)),
            (Some(wide), Some(narrow.clone())),
            (Some(two), None),
            (Some(narrow), None),
        ]
    };
    let (mut state, mut roles) = (state.clone(), SudoRoles::build(&state, &base, 1).unwrap());
    for (at, (old, new)) in steps.into_iter().enumerate() {
        let set = ChangeSet {
            epoch: 1,
            serial: state.position().serial + 1,
            author: Author { who: "test".into(), when_ms: 0, why: String::new() },
            rows: vec![RowChange { old, new }],
        };
        state = state.apply(Arc::new(set)).unwrap();
        roles = roles.advance(&state, state.position().serial);
        let built = SudoRoles::build(&state, &base, 1).unwrap();
        assert_eq!(roles.position(), state.position());
        assert_eq!(shown(&roles, None, 0), shown(&built, None, 0), "step {at}");
    }
}
