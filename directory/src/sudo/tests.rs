//! What grants become, and that advancing is building.

use inventory::{
    Grant, HostKey, HostState,
    change::Author,
    entry::{Attribute, DIRECTORY, Value},
};

use super::*;
use crate::policy::Access;

mod world;

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

fn base() -> Dn {
    Dn::parse("dc=acme").unwrap()
}

fn made(state: &State) -> SudoRoles {
    SudoRoles::build(state, &Tree::build(state), &base())
}

fn roles_of(rows: Vec<Row>) -> (State, SudoRoles) {
    let state = State::from_rows(1, 1, 1, rows).unwrap();
    let roles = made(&state);
    (state, roles)
}

fn entry(number: u8, dn: &str, attributes: &[(&str, &[&str])]) -> Row {
    let attributes = attributes
        .iter()
        .map(|(name, values)| Attribute((*name).into(), values.iter().map(|value| Value::from(*value)).collect()));
    let (dn, attributes) = (dn.into(), attributes.collect());
    Row::Entry(Arc::new(Entry { id: EntryId([number; 16]), dn, attributes, source: DIRECTORY.into() }))
}

/// What somebody sees, in the order of origins, without the container.
fn seen(roles: &SudoRoles, host: Option<&Host>, now_s: u64) -> Vec<Arc<Node>> {
    let is_role = |node: &&Arc<Node>| node.entry.is_a("sudoRole") && roles.sees(node, host, now_s);
    let mut nodes: Vec<_> = roles.tree(host.is_some()).nodes().filter(is_role).cloned().collect();
    nodes.sort_by_key(|node| roles.by_id.get(&node.entry.id));
    nodes
}

/// `cn: host host` of every role, as somebody sees them.
fn shown(roles: &SudoRoles, host: Option<&Host>, now_s: u64) -> Vec<String> {
    let line = |node: &Arc<Node>| {
        let hosts: Vec<_> = node.entry.texts("sudoHost").collect();
        format!("{}: {}", node.entry.text("cn").unwrap(), hosts.join(" "))
    };
    seen(roles, host, now_s).iter().map(line).collect()
}

fn users(roles: &SudoRoles, cn: &str) -> Vec<String> {
    let node = roles.by_dn(&Dn::parse(&format!("cn={cn},ou=sudoers,dc=acme")).unwrap(), None, 0);
    node.map(|node| node.entry.texts("sudoUser").map(String::from).collect()).unwrap_or_default()
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
    assert_eq!(shown(&roles, None, 0), ["all: ALL", "deny:not: db1.us-east-1a.acme.private"]);
    assert_eq!(shown(&roles, Some(&db1), 0), ["all: ALL", "deny:not: ALL"]);
    assert_eq!(shown(&roles, Some(&db2), 0), ["all: ALL"]);
    let denial = seen(&roles, Some(&db1), 0).pop().unwrap();
    assert_eq!(denial.entry.text("sudoCommand"), Some("!ALL"));
    assert_eq!(denial.entry.texts("sudoUser").collect::<Vec<_>>(), ["%dba", "ada"]);
    let order = |node: &Arc<Node>| node.entry.text("sudoOrder").unwrap().parse::<u32>().unwrap();
    let orders: Vec<u32> = seen(&roles, Some(&db1), 0).iter().map(order).collect();
    assert!(orders[1] > orders[0]);
}

#[test]
fn a_denial_within_a_grant_and_of_an_entry_counts_too() {
    let db1 = host("db1", "us-east-1a", &[]);
    let bob = entry(9, "uid=bob", &[("objectClass", &["account"]), ("uid", &["bob"]), ("host", &["*", "!db1"])]);
    let rows = vec![Row::Host(db1.clone()), Row::Grant(grant("g", &["*.us-east-1", "!db1.us-east-1a"], true)), bob];
    let (_, roles) = roles_of(rows);
    let general = shown(&roles, None, 0);
    assert_eq!(general[0], "g: *.us-east-1a.acme.private !db1.us-east-1a.acme.private");
    assert_eq!(
        general[1..],
        ["deny:g: db1.us-east-1a.acme.private", "deny-host:09090909-0909-0909-0909-090909090909: db1"]
    );
    assert_eq!(shown(&roles, Some(&db1), 0), ["deny:g: ALL", "deny-host:09090909-0909-0909-0909-090909090909: ALL"]);
}

#[test]
fn what_cannot_be_said_is_never_said_wider() {
    let many = (0..=NAMES_MAX).map(|n| Row::Host(host(&format!("h{n}"), "us-east-1a", &["many"])));
    let mut rows: Vec<Row> = many.collect();
    rows.push(Row::Grant(grant("g", &["role:many"], true)));
    rows.push(Row::Grant(grant("not", &["!role:many"], false)));
    rows.push(Row::Grant(grant("but", &["*", "!role:many"], true)));
    let (state, roles) = roles_of(rows);
    assert_eq!(shown(&roles, None, 0), ["deny:but: ALL", "deny:not: ALL"]);
    assert_eq!(roles.left_out(), 2);
    let one = state.hosts().next().unwrap();
    assert_eq!(shown(&roles, Some(one), 0), ["g: ALL", "deny:but: ALL", "deny:not: ALL"], "its own hosts are told");
    let (_, roles) = roles_of(vec![Row::Grant(grant("odd", &["*", "!what is this"], true))]);
    assert!(shown(&roles, None, 0).is_empty(), "an unreadable denial might mean any host");
}

#[test]
fn a_grant_that_is_over_is_gone() {
    let until = Grant { until: Some(1_800_000_000), ..Grant::clone(&grant("g", &["*"], true)) };
    let (_, roles) = roles_of(vec![Row::Grant(Arc::new(until))]);
    assert_eq!(shown(&roles, None, 1_799_999_999).len(), 1);
    let node = seen(&roles, None, 0).pop().unwrap();
    assert_eq!(node.entry.text("sudoNotAfter"), Some("20270115080000Z"));
    assert!(shown(&roles, None, 1_800_000_000).is_empty());
}

fn people_and_groups() -> Vec<Row> {
    let person = |number, uid: &str| {
        entry(number, &format!("uid={uid},dc=acme"), &[("objectClass", &["posixAccount"]), ("uid", &[uid])])
    };
    let posix: &[(&str, &[&str])] = &[("objectClass", &["posixGroup"]), ("cn", &["DBA"]), ("memberUid", &["ada"])];
    let names: &[(&str, &[&str])] =
        &[("objectClass", &["groupOfNames"]), ("cn", &["ops"]), ("member", &["uid=bob,dc=acme", "cn=night,dc=acme"])];
    let nested: &[(&str, &[&str])] =
        &[("objectClass", &["groupOfNames"]), ("cn", &["night"]), ("member", &["uid=Carol,dc=acme"])];
    vec![
        person(1, "ada"),
        person(2, "bob"),
        person(3, "Carol"),
        entry(4, "cn=dba,dc=acme", posix),
        entry(5, "cn=ops,dc=acme", names),
        entry(6, "cn=night,dc=acme", nested),
    ]
}

fn of(who: &[&str], grant: Arc<Grant>) -> Row {
    Row::Grant(Arc::new(Grant { who: who.iter().map(|who| (*who).into()).collect(), ..Grant::clone(&grant) }))
}

#[test]
fn names_are_spelled_as_the_directory_spells_them() {
    let mut rows = people_and_groups();
    rows.push(of(&["@dba", "carol"], grant("g", &["*"], true)));
    assert_eq!(users(&roles_of(rows).1, "g"), ["%DBA", "Carol"]);
}

#[test]
fn a_denial_names_the_members_that_a_unix_group_has_not() {
    let mut rows = people_and_groups();
    rows.push(of(&["@ops"], grant("g", &["*", "!db1"], true)));
    let (_, roles) = roles_of(rows);
    assert_eq!(users(&roles, "deny:g"), ["%ops", "Carol", "bob"]);
    assert_eq!(users(&roles, "g"), ["%ops", "Carol", "bob"]);
}

#[test]
fn a_denial_of_too_many_withholds_the_grants_on_its_hosts() {
    let members: Vec<String> = (0..=MEMBERS_MAX).map(|n| format!("u{n}")).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    let all: &[(&str, &[&str])] = &[("objectClass", &["posixGroup"]), ("cn", &["all"]), ("memberUid", &members)];
    let (db1, web1) = (host("db1", "us-east-1a", &[]), host("web1", "us-east-1a", &[]));
    let denial = Grant { until: Some(100), ..Grant::clone(&grant("no", &["!db1"], false)) };
    let rows = vec![
        Row::Host(db1.clone()),
        Row::Host(web1.clone()),
        entry(1, "cn=all", all),
        Row::Grant(grant("db", &["db*"], true)),
        Row::Grant(grant("web", &["web*"], true)),
        of(&["@all"], Arc::new(denial)),
    ];
    let (_, roles) = roles_of(rows);
    assert_eq!(shown(&roles, None, 0), ["web: web*", "deny:no: db1"]);
    assert_eq!(shown(&roles, Some(&db1), 0), ["deny:no: ALL"]);
    assert_eq!(shown(&roles, Some(&web1), 0), ["web: ALL"]);
    assert_eq!(roles.left_out(), 1);
    assert_eq!(shown(&roles, None, 100), ["db: db*", "web: web*"], "the denial is over");
    assert_eq!(shown(&roles, Some(&db1), 100), ["db: ALL"]);
}

#[test]
fn names_that_sudo_reads_otherwise_admit_nobody() {
    let person =
        entry(1, "uid=x,dc=acme", &[("objectClass", &["account"]), ("uid", &["ALL", "#0", "+net", "%wheel", "ok"])]);
    let rows = vec![person, of(&["ok", "#0", "@#0"], grant("g", &["*"], true))];
    assert_eq!(users(&roles_of(rows).1, "g"), ["ok"]);
}

#[test]
fn a_denial_holds_for_sudo_as_the_policy_has_it() {
    let sshd = |sudo| {
        let grant = grant("g", &["*", "!db1"], sudo);
        vec![Row::Grant(Arc::new(Grant { services: ["sshd".into()].into(), ..Grant::clone(&grant) }))]
    };
    assert_eq!(
        shown(&roles_of(sshd(true)).1, None, 0),
        ["g: !db1 ALL", "deny:g: db1"].map(|s| s.replace("!db1 ALL", "ALL !db1"))
    );
    assert!(shown(&roles_of(sshd(false)).1, None, 0).is_empty());
}

#[test]
fn a_user_and_a_group_of_one_name_have_denials_of_their_own() {
    let host: (&str, &[&str]) = ("host", &["!db1"]);
    let rows = vec![
        entry(1, "uid=ada,dc=acme", &[("objectClass", &["account"]), ("uid", &["ada"]), host]),
        entry(2, "cn=ada,dc=acme", &[("objectClass", &["posixGroup"]), ("cn", &["ada"]), host]),
        Row::Grant(grant("deny-ada", &["*"], true)),
        Row::Grant(grant("ada", &["*", "!db1"], true)),
    ];
    let (_, roles) = roles_of(rows);
    let nodes = seen(&roles, None, 0);
    let names: BTreeSet<_> = nodes.iter().map(|node| node.dn.clone()).collect();
    assert_eq!((nodes.len(), names.len()), (5, 5));
}

#[test]
fn roles_stand_among_those_of_the_directory() {
    let ours = Dn::parse("ou=sudoers,dc=acme").unwrap();
    let (_, roles) = roles_of(vec![Row::Grant(grant("g", &["*"], true))]);
    assert!(roles.by_dn(&ours, None, 0).is_some());
    let rows = vec![
        entry(1, "ou=sudoers,dc=acme", &[("objectClass", &["organizationalUnit"]), ("ou", &["sudoers"])]),
        entry(2, "cn=g,ou=sudoers,dc=acme", &[("objectClass", &["sudoRole"]), ("cn", &["g"])]),
        Row::Grant(grant("g", &["*"], true)),
        Row::Grant(grant("h", &["*"], true)),
    ];
    let (_, roles) = roles_of(rows);
    assert!(roles.by_dn(&ours, None, 0).is_none(), "theirs is served");
    assert_eq!(shown(&roles, None, 0), ["gatehouse:g: ALL", "h: ALL"]);
}

#[test]
fn only_searches_of_the_container_reach_roles() {
    let (_, roles) = roles_of(vec![]);
    for (base, scope, is) in [
        ("dc=acme", Scope::Subtree, true),
        ("", Scope::Subtree, true),
        ("dc=acme", Scope::One, true),
        ("dc=acme", Scope::Base, false),
        ("ou=sudoers,dc=acme", Scope::Base, true),
        ("cn=g,ou=sudoers,dc=acme", Scope::Base, true),
        ("ou=sudoers,dc=other", Scope::Subtree, false),
        ("cn=x,ou=sudoersx,dc=acme", Scope::Subtree, false),
    ] {
        assert_eq!(roles.is_reached(&Dn::parse(base).unwrap(), scope), is, "{base} {scope:?}");
    }
}
