//! Hosts, entries and grants to decide about.

use std::{net::Ipv4Addr, sync::Arc};

use compact_str::CompactString;
use inventory::{
    Grant, Host, HostKey, HostState, State,
    change::Row,
    entry::{Attribute, DIRECTORY, Entry, EntryId, Value},
    label::region_of_zone,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

/// The time of all questions: some day in 2026.
pub(crate) const NOW: u64 = 1_780_000_000;

pub(crate) fn host(n: usize, name: &str, zone: &str, product: &str) -> Host {
    Host {
        key: HostKey { product: product.into(), name: name.into(), zone: zone.into() },
        region: region_of_zone(zone).into(),
        private_ip: Ipv4Addr::from(0x0a00_0001 + u32::try_from(n).expect("small")),
        public_ip: None,
        ipv6: None,
        roles: Box::new([]),
        groups: Box::new([]),
        tags: Box::new([]),
        state: HostState::Running,
        source: "api".into(),
    }
}

pub(crate) fn entry(n: u8, dn: &str, attributes: &[(&str, &str)]) -> Entry {
    let mut list: Vec<Attribute> = Vec::new();
    for (name, value) in attributes {
        match list.iter_mut().find(|Attribute(other, _)| other == name) {
            Some(Attribute(_, values)) => {
                let mut more = values.to_vec();
                more.push(Value::from(*value));
                *values = more.into();
            }
            None => list.push(Attribute((*name).into(), [Value::from(*value)].into())),
        }
    }
    Entry { id: EntryId([n; 16]), dn: dn.into(), attributes: list.into(), source: DIRECTORY.into() }
}

pub(crate) fn grant(name: &str, who: &[&str], on: &[&str]) -> Grant {
    let texts = |list: &[&str]| list.iter().map(|text| CompactString::from(*text)).collect();
    Grant {
        name: name.into(),
        who: texts(who),
        on: texts(on),
        services: Box::new([]),
        sudo: None,
        until: None,
        by: "t".into(),
        why: "a test".into(),
        source: "api".into(),
    }
}

pub(crate) fn state(rows: &[Row]) -> Arc<State> {
    let state = State::from_rows(1, 1, 1, rows.iter().cloned());
    Arc::new(state.unwrap_or_else(|conflict| panic!("{conflict:?}")))
}

/// Rows by place; a place may be empty.
#[derive(Debug, Clone)]
pub(crate) struct World {
    hosts: Vec<Option<Host>>,
    people: Vec<Option<Entry>>,
    groups: Vec<Option<Entry>>,
    grants: Vec<Option<Grant>>,
}

impl World {
    pub(crate) fn rows(&self) -> Vec<Row> {
        let hosts = self.hosts.iter().flatten().cloned().map(|host| Row::Host(host.into()));
        let entries = self.people.iter().chain(&self.groups).flatten().cloned().map(|entry| Row::Entry(entry.into()));
        let grants = self.grants.iter().flatten().cloned().map(|grant| Row::Grant(grant.into()));
        hosts.chain(entries).chain(grants).collect()
    }

    /// Names to ask for: some are nobody's, some several hosts', and they change with the world only in number.
    pub(crate) fn host_names(&self) -> Vec<&'static str> {
        let many = self.hosts.iter().flatten().count() > 3;
        let names = [
            "dev-mysql01",
            "Dev-MySQL01.us-east-1b.",
            "dev-mysql01.us-east-1",
            "dev-mysql02.us-east-1a.acme.private",
            "web01.us-east-1a",
            "web01.us-east-1a.other",
            "web01.acme.public",
            "nowhere",
        ];
        names[..if many { names.len() } else { 6 }].to_vec()
    }
}

const NAMES: [(&str, &str, &str); 7] = [
    ("dev-mysql01", "us-east-1b", "acme"),
    ("dev-mysql01", "eu-west-1a", "acme"),
    ("dev-mysql01", "us-east-1a", "acme"),
    ("dev-mysql02", "us-east-1a", "acme"),
    ("web01", "us-east-1a", "acme"),
    ("web01", "us-east-1a", "other"),
    ("web01", "fra", "other"),
];

const PATTERNS: [&str; 30] = [
    "dev-mysql01.us-east-1b",
    "dev-mysql01",
    "web01.us-east-1a",
    "dev-mysql*.us-east-1b",
    "dev-*",
    "*mysql0?",
    "*.us-east-1",
    "*.us-east-1a",
    "*.eu-*",
    "*",
    "web*",
    "w?b01.*",
    "*.us-east-1a.other.private",
    "web01.other.public",
    "role:mysql",
    "role:web",
    "role:*",
    "role:my*",
    "group:db",
    "group:?b",
    "tag:env=dev",
    "tag:env",
    "tag:env=*",
    "tag:Env=dev",
    "tag:env=d*",
    "web01.corp.example.com.",
    "not a pattern",
    "dev-mysql02.us-east-1a.acme",
    "x*",
    "dev-mysql01.us-east-1b.acme.private",
];

fn pattern() -> impl Strategy<Value = String> {
    (select(PATTERNS.to_vec()), 0..9_u8)
        .prop_map(|(pattern, deny)| if deny == 0 { format!("!{pattern}") } else { pattern.to_owned() })
}

fn a_host(n: usize) -> impl Strategy<Value = Host> {
    let labels = |list: &'static [&'static str]| {
        proptest::sample::subsequence(list, 0..=list.len())
            .prop_map(|list| list.into_iter().map(CompactString::from).collect::<Box<[_]>>())
    };
    let tags = select(vec![vec![], vec![("env", "dev")], vec![("env", "prod")], vec![("Env", "dev"), ("env", "DEV")]]);
    let gone = (0..6_u8).prop_map(|n| if n == 0 { HostState::Terminated } else { HostState::Running });
    (labels(&["mysql", "web"]), labels(&["db"]), tags, gone).prop_map(move |(roles, groups, tags, state)| {
        let (name, zone, product) = NAMES[n];
        let tags = tags.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        Host { roles, groups, tags, state, ..host(n, name, zone, product) }
    })
}

fn attributes(list: &'static [(&'static str, &'static str)]) -> impl Strategy<Value = Vec<(String, String)>> {
    // Mostly nothing of what keeps people out, or else hardly anybody would come in.
    let owned = |list: Vec<(&str, &str)>| list.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    proptest::sample::subsequence(list, 0..=2).prop_map(owned)
}

const PERSON_ODDITIES: [(&str, &str); 13] = [
    ("pwdAccountLockedTime", "000001010000Z"),
    ("pwdAccountLockedTime", "20990101000000Z"),
    ("nsAccountLock", "TRUE"),
    ("nsAccountLock", "false"),
    ("loginDisabled", "FALSE"),
    ("shadowExpire", "-1"),
    ("shadowExpire", "20602"),
    ("shadowExpire", "99999"),
    ("loginShell", "/bin/bash"),
    ("loginShell", "/usr/sbin/nologin"),
    ("pwdEndTime", "20991231235959Z"),
    ("gidNumber", "500"),
    ("gidNumber", "501"),
];

fn a_person(n: u8) -> impl Strategy<Value = Entry> {
    let odd = prop_oneof![2 => Just(Vec::new()), 1 => attributes(&PERSON_ODDITIES)];
    let uids = select(vec![vec!["ada"], vec!["Bob"], vec!["cyd"], vec!["dan"], vec!["ada", "adi"], vec!["cyd", "bob"]]);
    let class = select(vec!["posixAccount", "inetOrgPerson", "account", "posixaccount", "device"]);
    (uids, odd, vec(pattern(), 0..3), class).prop_map(move |(uids, odd, hosts, class)| {
        let uids = if n < 4 { vec![["ada", "bob", "cyd", "dan"][usize::from(n)]] } else { uids };
        let mut list = vec![("objectClass", class)];
        list.extend(uids.iter().map(|uid| ("uid", *uid)));
        list.extend(odd.iter().map(|(name, value)| (&**name, &**value)));
        list.extend(hosts.iter().map(|pattern| ("host", &**pattern)));
        entry(n, &format!("uid=p{n},ou=people,dc=acme"), &list)
    })
}

const MEMBERS: [&str; 10] = [
    "uid=p0,ou=people,dc=acme",
    "UID=P1, ou=People, dc=acme",
    "uid=p2,ou=people,dc=acme",
    "uid=p3,ou=people,dc=acme",
    "uid=p4,ou=people,dc=acme",
    "cn=g0,dc=acme",
    "CN=G1,dc=acme",
    "cn=g2,dc=acme",
    "cn=g3 , dc=acme",
    "uid=gone,dc=acme",
];

fn a_group(n: u8) -> impl Strategy<Value = Entry> {
    let kind = select(vec![
        ("posixGroup", "memberUid"),
        ("groupOfNames", "member"),
        ("groupOfUniqueNames", "uniqueMember"),
        ("device", "member"),
    ]);
    let names = select(vec![vec!["dba"], vec!["Ops"], vec!["all", "everybody"], vec!["web"]]);
    let uids = vec(select(vec!["ada", "bob", "CYD", "dan", "adi"]), 0..5);
    let dns = vec(select(MEMBERS.to_vec()), 0..5);
    let gid = select(vec!["500", "501", "502"]);
    let rest = (vec(pattern(), 0..2), gid);
    (kind, names, uids, dns, rest).prop_map(move |((class, attribute), names, uids, dns, (hosts, gid))| {
        let mut list = vec![("objectClass", class), ("gidNumber", gid)];
        list.extend(names.iter().map(|name| ("cn", *name)));
        let members = if attribute == "memberUid" { &uids } else { &dns };
        list.extend(members.iter().map(|member| (attribute, *member)));
        list.extend(hosts.iter().map(|pattern| ("host", &**pattern)));
        entry(0x80 + n, &format!("cn=g{n},dc=acme"), &list)
    })
}

fn a_grant(n: usize) -> impl Strategy<Value = Grant> {
    // One group has most of the grants, so that both forms of a subject's rules are met.
    let who = vec(select(vec!["ada", "bob", "Cyd", "@dba", "@ops", "@all", "@all", "@all"]), 1..3);
    let services = select(vec![vec![], vec![], vec!["sshd"], vec!["login", "sshd"], vec!["cron"]]);
    let sudo = select(vec![None, None, Some(vec![]), Some(vec!["/bin/ls"])]);
    let until = select(vec![None, None, Some(NOW - 1), Some(NOW), Some(NOW + 100_000)]);
    (who, vec(pattern(), 1..3), services, sudo, until).prop_map(move |(who, on, services, sudo, until)| {
        let texts = |list: Vec<&str>| list.into_iter().map(CompactString::from).collect::<Box<[_]>>();
        let on: Vec<&str> = on.iter().map(String::as_str).collect();
        Grant { services: texts(services), sudo: sudo.map(texts), until, ..grant(&format!("g{n}"), &who, &on) }
    })
}

/// Small worlds, and some in which one group has many grants.
pub(crate) fn worlds() -> impl Strategy<Value = World> {
    let hosts: Vec<_> = (0..NAMES.len()).map(|n| option::weighted(0.7, a_host(n))).collect();
    let people: Vec<_> = (0..5).map(|n| option::weighted(if n == 4 { 0.2 } else { 0.9 }, a_person(n))).collect();
    let groups: Vec<_> = (0..4).map(|n| option::weighted(0.7, a_group(n))).collect();
    let grants = |filled| (0..60).map(move |n| option::weighted(filled, a_grant(n))).collect::<Vec<_>>();
    let grants = prop_oneof![2 => grants(0.06), 1 => grants(0.7)];
    (hosts, people, groups, grants).prop_map(|(hosts, people, groups, grants)| World { hosts, people, groups, grants })
}
