//! Small worlds at random: what sudo makes of the roles is what the policy decides, and advancing is building.

use std::collections::BTreeMap;

use inventory::RowKey;
use proptest::{prelude::*, sample::select};

use super::*;

const NOW: u64 = 1000;
const USERS: [&str; 4] = ["ada", "Bob", "carol", "dan"];
const GROUPS: [&str; 3] = ["dba", "Ops", "night"];
const HOSTS: [(&str, &str); 4] =
    [("db1", "us-east-1a"), ("db2", "us-east-1b"), ("web1", "us-east-1a"), ("db1", "eu-west-1a")];

fn texts(list: &[&'static str], most: usize) -> impl Strategy<Value = Vec<&'static str>> + use<> {
    prop::collection::vec(select(list.to_vec()), 0..=most)
}

fn some_person() -> impl Strategy<Value = Row> {
    let parts = (0..USERS.len(), select(vec!["100", "200"]), texts(&["!db1", "!web*", "*"], 1));
    parts.prop_map(|(at, gid, host)| {
        let (uid, number) = (USERS[at], u8::try_from(at).unwrap() + 1);
        let attributes: &[(&str, &[&str])] =
            &[("objectClass", &["posixAccount"]), ("uid", &[uid]), ("gidNumber", &[gid]), ("host", &host)];
        entry(number, &format!("uid={uid},dc=acme"), attributes)
    })
}

fn some_group() -> impl Strategy<Value = Row> {
    let dns = ["uid=ada,dc=acme", "uid=bob,dc=acme", "cn=ops,dc=acme", "cn=night,dc=acme", "cn=dba,dc=acme"];
    let classes = select(vec!["posixGroup", "groupOfNames"]);
    let host = texts(&["!db2", "!*.eu-west-1"], 1);
    let gid = select(vec!["100", "300"]);
    let parts = (0..GROUPS.len(), classes, texts(&["ada", "bob", "Bob", "carol", "eve"], 2), texts(&dns, 2), host, gid);
    parts.prop_map(|(at, class, uids, members, host, gid)| {
        let (cn, number) = (GROUPS[at], u8::try_from(at).unwrap() + 11);
        let attributes: &[(&str, &[&str])] = &[
            ("objectClass", &[class]),
            ("cn", &[cn]),
            ("memberUid", &uids),
            ("member", &members),
            ("host", &host),
            ("gidNumber", &[gid]),
        ];
        entry(number, &format!("cn={cn},dc=acme"), attributes)
    })
}

fn some_host() -> impl Strategy<Value = Row> {
    (0..HOSTS.len(), texts(&["mysql", "web"], 2), any::<bool>()).prop_map(|(at, mut roles, is_tagged)| {
        roles.sort_unstable();
        roles.dedup();
        let (name, zone) = HOSTS[at];
        let mut host = Host::clone(&host(name, zone, &roles));
        host.private_ip = std::net::Ipv4Addr::new(10, 0, 0, u8::try_from(at).unwrap());
        if is_tagged {
            host.tags = [("env".into(), "dev".into())].into();
        }
        Row::Host(Arc::new(host))
    })
}

fn some_grant() -> impl Strategy<Value = Row> {
    let who = prop::collection::btree_set(select(vec!["ada", "bob", "carol", "dan", "@dba", "@ops", "@night"]), 1..3);
    let patterns = [
        "*",
        "db*",
        "db1.us-east-1a",
        "*.us-east-1",
        "*.eu-*",
        "role:mysql",
        "role:m*",
        "tag:env=dev",
        "tag:env",
        "db1.acme.private",
        "!db1",
        "!role:mysql",
        "!*.us-east-1",
        "!tag:env=d*",
        "!db?.us-east-1b",
    ];
    let on = prop::collection::vec(select(patterns.to_vec()), 1..3);
    let sudo = select(vec![None, Some(vec![]), Some(vec!["/bin/ls"]), Some(vec!["/bin/id", "/bin/ps"])]);
    let until = select(vec![None, Some(NOW), Some(NOW + 1)]);
    (0..4, who, on, texts(&["sshd"], 1), sudo, until).prop_map(|(n, who, on, services, sudo, until)| {
        let list = |list: Vec<&str>| list.into_iter().map(CompactString::from).collect::<Box<[_]>>();
        let grant = Grant::clone(&grant(&format!("g{n}"), &on, false));
        let (who, services, sudo) = (list(who.into_iter().collect()), list(services), sudo.map(list));
        Row::Grant(Arc::new(Grant { who, services, sudo, until, ..grant }))
    })
}

fn some_row() -> impl Strategy<Value = Row> {
    prop_oneof![2 => some_person(), 2 => some_group(), 2 => some_host(), 3 => some_grant()]
}

/// The same matching as fnmatch(3), as far as our names need it.
fn is_match(glob: &[u8], text: &[u8]) -> bool {
    match (glob.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), text_parts) => {
            is_match(rest, text) || text_parts.is_some_and(|(_, text)| is_match(glob, text))
        }
        (Some((byte, glob)), Some((own, text))) => (byte == own || *byte == b'?') && is_match(glob, text),
        _ => false,
    }
}

/// Whether sudoHost means a host: a negated value wins (sudoers.ldap(5)).
fn hosts_match(role: &Entry, host: &Host) -> bool {
    let full = format!("{}.{}.{}.private", host.key.name, host.key.zone, host.key.product);
    let is = |value: &str| {
        let own = if value.contains('.') { &full } else { host.key.name.as_str() };
        value == "ALL" || is_match(value.as_bytes(), own.as_bytes())
    };
    let (off, on): (Vec<&str>, Vec<&str>) = role.texts("sudoHost").partition(|value| value.starts_with('!'));
    on.into_iter().any(is) && !off.into_iter().any(|value| is(&value[1..]))
}

/// The Unix groups of somebody, as a host without nested groups knows them.
fn unix_groups(state: &State, uid: &str) -> Vec<String> {
    let person = state.entries().find(|entry| entry.text("uid") == Some(uid));
    let gid = person.and_then(|entry| entry.text("gidNumber"));
    let groups = state.entries().filter(|entry| entry.is_a("posixGroup"));
    let has = |entry: &&Arc<Entry>| {
        entry.texts("memberUid").any(|name| name == uid) || (gid.is_some() && entry.text("gidNumber") == gid)
    };
    groups.filter(has).filter_map(|entry| entry.text("cn")).map(|cn| format!("%{cn}")).collect()
}

/// What sudo lets somebody run, by its own rules: of the roles that match, the highest order decides.
fn sudo(nodes: &[Arc<Node>], state: &State, uid: &str, host: &Host) -> Option<BTreeSet<String>> {
    let groups = unix_groups(state, uid);
    let names_user =
        |entry: &Entry| entry.texts("sudoUser").any(|user| user == uid || groups.iter().any(|g| g == user));
    let matching: Vec<&Entry> =
        nodes.iter().map(|node| &*node.entry).filter(|entry| names_user(entry) && hosts_match(entry, host)).collect();
    let order = |entry: &Entry| entry.text("sudoOrder").unwrap().parse::<u32>().unwrap();
    let highest = matching.iter().map(|entry| order(entry)).max()?;
    let deciding = matching.into_iter().filter(|entry| order(entry) == highest);
    let commands: BTreeSet<String> =
        deciding.flat_map(|entry| entry.texts("sudoCommand").map(String::from).collect::<Vec<_>>()).collect();
    (!commands.contains("!ALL")).then_some(commands)
}

fn decided(access: &Access, uid: &str, host: &Host) -> Option<BTreeSet<String>> {
    let sudo = access.sudo(uid, host, NOW)?;
    Some(sudo.commands.map_or_else(|| ["ALL".into()].into(), |list| list.iter().map(ToString::to_string).collect()))
}

/// What two makings of the same roles must have in common.
fn told(roles: &SudoRoles) -> Vec<String> {
    let roles_told = roles.roles.iter().map(|(origin, role)| {
        let entry =
            |entry: &Option<Arc<Entry>>| entry.as_ref().map(|entry| (entry.dn.clone(), entry.attributes.clone()));
        format!(
            "{origin:?} {:?} {:?} {:?} {}",
            entry(&role.exact),
            entry(&role.general),
            role.keys,
            role.withheld_until
        )
    });
    let served = |tree: &Tree| {
        let mut names: Vec<_> = tree.nodes().map(|node| format!("{:?}", node.entry)).collect();
        names.sort();
        format!("{names:?}")
    };
    let rest = format!(
        "{:?} {:?} {:?} {}",
        roles.names,
        roles.made_of,
        roles.unsaid.keys().collect::<Vec<_>>(),
        roles.is_container_theirs
    );
    roles_told.chain([served(&roles.exact), served(&roles.general), rest]).collect()
}

proptest! {
    #[test]
    fn sudo_says_what_the_policy_decides(rows in prop::collection::vec(some_row(), 4..24)) {
        let rows: BTreeMap<RowKey, Row> = rows.into_iter().map(|row| (row.key(), row)).collect();
        let (state, roles) = roles_of(rows.into_values().collect());
        let access = Access::build(Arc::new(state.clone()));
        let general = seen(&roles, None, NOW);
        for host in state.hosts() {
            let exact = seen(&roles, Some(host), NOW);
            for uid in USERS.into_iter().filter(|uid| state.entries().any(|entry| entry.text("uid") == Some(uid))) {
                let wanted = decided(&access, uid, host);
                prop_assert_eq!(sudo(&exact, &state, uid, host), wanted.clone(), "{} on {:?}", uid, host.key);
                prop_assert_eq!(sudo(&general, &state, uid, host), wanted, "{} on {:?}, by names", uid, host.key);
            }
        }
    }

    #[test]
    fn advancing_is_building(steps in prop::collection::vec((some_row(), prop::bool::weighted(0.3)), 1..24)) {
        let mut state = State::from_rows(1, 1, 1, vec![]).unwrap();
        let mut roles = made(&state);
        for (row, is_gone) in steps {
            let old = state.get(&row.key());
            let new = (!is_gone).then_some(row);
            if old == new {
                continue;
            }
            let author = Author { who: "test".into(), when_ms: 0, why: String::new() };
            let serial = state.position().serial + 1;
            let set = Arc::new(ChangeSet { epoch: 1, serial, author, rows: vec![RowChange { old, new }] });
            state = state.apply(set.clone()).unwrap();
            roles = roles.advance(&state, &Tree::build(&state), &[set]);
            prop_assert_eq!(roles.position(), state.position());
            prop_assert_eq!(told(&roles), told(&made(&state)));
        }
    }
}
