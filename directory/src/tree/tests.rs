//! What the tree shows, that searches by index find what a look at everything finds, and that advancing is building.

use std::collections::BTreeSet;

use bytes::BytesMut;
use inventory::{
    change::{Author, RowChange},
    entry::{Attribute, DIRECTORY, Value},
};
use ldap3_proto::proto::LdapPartialAttribute;
use proptest::prelude::*;

use super::*;

type Attributes<'a> = &'a [(&'a str, &'a [&'a str])];

fn entry(id: u8, dn: &str, attributes: Attributes<'_>) -> Arc<Entry> {
    let attributes = attributes
        .iter()
        .map(|(name, values)| Attribute((*name).into(), values.iter().map(|value| Value::from(*value)).collect()));
    Arc::new(Entry { id: EntryId([id; 16]), dn: dn.into(), attributes: attributes.collect(), source: DIRECTORY.into() })
}

fn person(id: u8, uid: &str) -> Arc<Entry> {
    let number = (1000 + u32::from(id)).to_string();
    entry(
        id,
        &format!("uid={uid},ou=people,dc=acme"),
        &[
            ("objectClass", &["inetOrgPerson", "posixAccount"]),
            ("uid", &[uid]),
            ("cn", &[&uid.to_uppercase(), "Somebody"]),
            ("uidNumber", &[&number]),
            ("userPassword", &["{SSHA}secret"]),
            ("userCertificate;binary", &["x"]),
            ("createTimestamp", &["20260101000000Z"]),
        ],
    )
}

/// An entry before and after.
type Change = (Option<Arc<Entry>>, Option<Arc<Entry>>);

/// A state that grows by changes of entries, each a change set of its own.
struct World(State);

impl World {
    fn new(entries: &[Arc<Entry>]) -> Self {
        let mut world = Self(State::empty(1));
        for entry in entries {
            world.set(&[(None, Some(entry.clone()))]);
        }
        world
    }

    fn set(&mut self, changes: &[Change]) {
        let rows = changes
            .iter()
            .map(|(old, new)| RowChange { old: old.clone().map(Row::Entry), new: new.clone().map(Row::Entry) });
        let set = ChangeSet {
            epoch: self.0.position().epoch,
            serial: self.0.position().serial + 1,
            author: Author { who: "test".into(), when_ms: 0, why: String::new() },
            rows: rows.collect(),
        };
        self.0 = self.0.apply(Arc::new(set)).unwrap();
    }

    fn advance(&self, tree: &Tree) -> Tree {
        tree.advance(&self.0, &self.0.changes_since(tree.serial).unwrap())
    }
}

fn acme() -> World {
    World::new(&[
        entry(1, "dc=acme", &[("objectClass", &["domain"])]),
        entry(2, "ou=People, dc=acme", &[("objectClass", &["organizationalUnit"])]),
        person(3, "ada"),
        person(4, "bob"),
        entry(5, "cn=g,dc=acme", &[("objectClass", &["posixGroup"]), ("cn", &["g"]), ("memberUid", &["ada", "bob"])]),
        entry(6, "no name", &[]),
    ])
}

fn dn(text: &str) -> Dn {
    Dn::parse(text).unwrap()
}

fn found(tree: &Tree, base: &str, scope: Scope, filter: &str) -> Vec<String> {
    let filter = Filter::parse(filter).unwrap();
    let search = tree.search(&dn(base), scope, &filter, &Context::NOBODY, 1000);
    let mut names: Vec<String> = search.map(|node| node.unwrap().dn.to_string()).collect();
    names.sort();
    names
}

fn wire(node: &Node, names: &[&str], types_only: bool) -> Vec<LdapPartialAttribute> {
    use ldap3_proto::{LdapCodec, proto::LdapOp};
    use tokio_util::codec::Decoder;
    let (mut message, mut list) = (BytesMut::new(), BytesMut::new());
    let select = Selection::new(names.iter().copied());
    node.encode_message(70_000, &select, types_only, &[], &mut message);
    node.encode(&select, types_only, &mut list);
    assert!(message.ends_with(&list), "the message ends with the list");
    let message = LdapCodec::default().decode(&mut message).unwrap().unwrap();
    assert_eq!(message.msgid, 70_000);
    let LdapOp::SearchResultEntry(entry) = message.op else { panic!("{:?}", message.op) };
    assert_eq!(entry.dn, &*node.entry.dn);
    entry.attributes
}

fn names_on_wire(node: &Node, names: &[&str]) -> Vec<String> {
    wire(node, names, false).into_iter().map(|attribute| attribute.atype).collect()
}

#[test]
fn scopes() {
    let tree = Tree::build(&acme().0);
    let (ada, bob, people) = ("uid=ada,ou=people,dc=acme", "uid=bob,ou=people,dc=acme", "ou=people,dc=acme");
    let all = "(objectClass=*)";
    assert_eq!(found(&tree, "dc=acme", Scope::Base, all), ["dc=acme"]);
    assert_eq!(found(&tree, "dc=acme", Scope::One, all), ["cn=g,dc=acme", people]);
    assert_eq!(found(&tree, people, Scope::Subtree, all), [people, ada, bob]);
    assert_eq!(found(&tree, people, Scope::Children, all), [ada, bob]);
    assert_eq!(found(&tree, "", Scope::Subtree, all).len(), 5);
    assert_eq!(found(&tree, "dc=elsewhere", Scope::Subtree, all), [""; 0]);
    assert_eq!(found(&tree, people, Scope::Subtree, "(uid=ADA)"), [ada]);
    assert_eq!(found(&tree, "cn=g,dc=acme", Scope::Subtree, "(uid=ada)"), [""; 0]);
    assert_eq!(found(&tree, "dc=acme", Scope::Subtree, "(|(uid=ada)(memberUid=bob))"), ["cn=g,dc=acme", ada]);
    assert_eq!(found(&tree, "dc=acme", Scope::Subtree, "(&(objectClass=posixAccount)(!(uid=ada)))"), [bob]);
    assert_eq!(found(&tree, "dc=acme", Scope::One, "(hasSubordinates=TRUE)"), [people]);
}

#[test]
fn an_equality_on_an_indexed_attribute_looks_at_nothing_else() {
    let tree = Tree::build(&acme().0);
    for text in [
        "(&(objectClass=posixAccount)(uid=ada))",
        "(uid=nobody)",
        "(&(objectClass=person)(uidNumber=1003)(cn=*))",
        "(|(uid=ada)(uid=bob)(cn=g))",
        "(entryUUID=03030303-0303-0303-0303-030303030303)",
        "(entryDN=uid=ada,ou=people,dc=acme)",
        "(entryUSN>=3)",
        "(uidNumber=nonsense)",
    ] {
        let filter = Filter::parse(text).unwrap();
        let mut search = tree.search(&dn(""), Scope::Subtree, &filter, &Context::NOBODY, 0);
        fn may_be_held_across_an_await<T: Send>(_: &T) {}
        may_be_held_across_an_await(&search);
        assert!(search.by_ref().all(|node| node.is_ok()), "{text}");
        assert_eq!(search.in_vain(), 0, "{text}");
    }
}

#[test]
fn a_scan_ends_at_its_limit() {
    let tree = Tree::build(&acme().0);
    let filter = Filter::parse("(description=x)").unwrap();
    let all: Vec<_> = tree.search(&dn(""), Scope::Subtree, &filter, &Context::NOBODY, 2).collect();
    assert!(matches!(all.as_slice(), [Err(TooMany(3))]));
}

#[test]
fn values_lead_to_entries() {
    let tree = Tree::build(&acme().0);
    let find = |name, value| tree.find(name, value).map(|node| node.dn.to_string()).collect::<Vec<_>>();
    assert_eq!(find("UID", "Ada"), ["uid=ada,ou=people,dc=acme"]);
    assert_eq!(find("memberUid", "ada"), ["cn=g,dc=acme"]);
    assert_eq!(find("memberUid", "ADA"), [""; 0]);
    assert_eq!(find("createTimestamp", "20260101000000Z").len(), 2);
    assert_eq!(find("userPassword", "{SSHA}secret"), [""; 0]);
    assert_eq!(tree.by_id(EntryId([3; 16])).map(|node| node.dn.as_str()), Some("uid=ada,ou=people,dc=acme"));
    assert_eq!(tree.by_dn(&dn("OU=people,DC=acme")).map(|node| node.usn), Some(2));
    assert_eq!(tree.counts(), Counts { entries: 5, unreadable: 1, shadowed: 0, index_keys: tree.index.len() });
}

#[test]
fn selections() {
    let tree = Tree::build(&acme().0);
    let ada = tree.by_id(EntryId([3; 16])).unwrap();
    let user = ["objectClass", "uid", "cn", "uidNumber", "userCertificate;binary"];
    assert_eq!(names_on_wire(ada, &[]), user);
    assert_eq!(names_on_wire(ada, &["*"]), user);
    assert_eq!(names_on_wire(ada, &["1.1"]), [""; 0]);
    assert_eq!(names_on_wire(ada, &["dn"]), [""; 0]);
    assert_eq!(names_on_wire(ada, &["1.1", "UID"]), ["uid"]);
    assert_eq!(names_on_wire(ada, &["commonName", "uid", "unheardOf", "uid"]), ["uid", "cn"]);
    assert_eq!(names_on_wire(ada, &["userCertificate"]), ["userCertificate;binary"]);
    assert_eq!(names_on_wire(ada, &["uid;binary", "usercertificate;binary"]), ["userCertificate;binary"]);
    assert_eq!(names_on_wire(ada, &["userPassword", "gatehouseAccess"]), [""; 0]);
    let operational = ["createTimestamp", "entryUUID", "entryDN", "entryUSN", "hasSubordinates", "subschemaSubentry"];
    assert_eq!(names_on_wire(ada, &["+"]), operational);
    assert_eq!(names_on_wire(ada, &["*", "+"]).len(), user.len() + operational.len());
    let values = |name| wire(ada, &[name], false).remove(0).vals;
    assert_eq!(values("cn"), [b"ADA".to_vec(), b"Somebody".to_vec()]);
    assert_eq!(values("entryUUID"), [b"03030303-0303-0303-0303-030303030303"]);
    assert_eq!(values("entryUSN"), [b"3"]);
    assert_eq!(values("hasSubordinates"), [b"FALSE"]);
    let types = wire(ada, &["uid", "entryDN"], true);
    assert!(types.iter().map(|a| (a.atype.as_str(), a.vals.len())).eq([("uid", 0), ("entryDN", 0)]), "{types:?}");
    assert!(Selection::new(["gatehouseaccess"]).names("gatehouseAccess"));
    assert!(!Selection::new(["*", "+"]).names("gatehouseAccess"));
    assert!(Selection::new(["1.1"]).is_none() && !Selection::new([]).is_none());
}

#[test]
fn further_attributes_join_the_list() {
    let tree = Tree::build(&acme().0);
    let (mut more, mut out) = (BytesMut::new(), BytesMut::new());
    encode_attribute("gatehouseAccess", [&b"web1"[..], b"web2"].into_iter(), &mut more);
    tree.by_id(EntryId([3; 16])).unwrap().encode_with(&Selection::new(["uid"]), false, &more, &mut out);
    let expected = b"\x30\x2f\x30\x0c\x04\x03uid\x31\x05\x04\x03ada\
        \x30\x1f\x04\x0fgatehouseAccess\x31\x0c\x04\x04web1\x04\x04web2";
    assert_eq!(out[..], expected[..]);
}

#[test]
fn the_newer_of_two_entries_with_one_name_is_shown() {
    let old = entry(9, "uid=x,dc=acme", &[("uid", &["x"]), ("entryCSN", &["20260101000000.0Z#0#0#0"])]);
    let new = entry(8, "UID=x,dc=acme", &[("uid", &["x"]), ("entryCSN", &["20260102000000.0Z#0#0#0"])]);
    for entries in [[old.clone(), new.clone()], [new.clone(), old.clone()]] {
        let mut world = World::new(&entries);
        let tree = Tree::build(&world.0);
        let holder = |tree: &Tree| tree.by_dn(&dn("uid=x,dc=acme")).map(|node| node.entry.id.0[0]);
        assert_eq!((holder(&tree), tree.counts().shadowed), (Some(8), 1));
        assert_eq!(tree.find("uid", "x").count(), 1);
        world.set(&[(Some(new.clone()), None)]);
        let tree = world.advance(&tree);
        assert_eq!((holder(&tree), tree.counts().shadowed), (Some(9), 0));
        world.set(&[(Some(old.clone()), None)]);
        let tree = world.advance(&tree);
        assert_eq!(tree.counts(), Counts { entries: 0, unreadable: 0, shadowed: 0, index_keys: 0 });
    }
}

#[test]
fn usns_never_go_back() {
    let mut world = acme();
    let tree = Tree::build(&world.0);
    assert_eq!(tree.last_usn(), 6);
    let (ada, other) = (person(3, "ada"), person(3, "ada2"));
    world.set(&[(Some(ada), Some(other))]);
    let tree = world.advance(&tree);
    assert_eq!(tree.by_id(EntryId([3; 16])).map(|node| node.usn), Some(7));
    // What the state forgot has the number of the newest forgotten change.
    let short = world.0.clone().with_history(world.0.history().skip(4).cloned());
    let usns: BTreeSet<u64> = Tree::build(&short).nodes().map(|node| node.usn).collect();
    assert_eq!(usns, BTreeSet::from([4, 5, 7]));
    let restored = world.0.clone().in_epoch(2);
    let later = tree.advance(&restored, &[]);
    assert!(later.nodes().all(|node| node.usn > tree.last_usn() && node.usn <= later.last_usn()));
}

/// Everything that can be seen of a tree, by every way that leads there.
fn seen(tree: &Tree) -> (BTreeSet<String>, Counts, Vec<Vec<String>>) {
    let line = |node: &Arc<Node>| format!("{} {} {} {}", node.dn, node.entry.id, node.usn, node.has_subordinates);
    let all: Vec<Arc<Node>> = tree.nodes().cloned().collect();
    let mut answers = Vec::new();
    for text in FILTERS {
        let filter = Filter::parse(text).unwrap();
        let matching: BTreeSet<String> =
            all.iter().filter(|node| filter.matches(node, &Context::NOBODY)).map(line).collect();
        for base in ["", "dc=a", "ou=p,dc=a", "uid=u1,dc=a"] {
            let base = dn(base);
            for scope in [Scope::Base, Scope::One, Scope::Subtree, Scope::Children] {
                let is_in = |node: &&Arc<Node>| match scope {
                    Scope::Base => node.dn == base,
                    Scope::One => node.dn.parent().as_ref() == Some(&base),
                    Scope::Subtree => node.dn.is_within(&base),
                    Scope::Children => node.dn.is_within(&base) && node.dn != base,
                };
                let expected: Vec<String> = all
                    .iter()
                    .filter(is_in)
                    .map(line)
                    .collect::<BTreeSet<_>>()
                    .intersection(&matching)
                    .cloned()
                    .collect();
                let mut found: Vec<String> = tree
                    .search(&base, scope, &filter, &Context::NOBODY, 1000)
                    .map(|node| line(node.unwrap()))
                    .collect();
                found.sort();
                assert_eq!(found, expected, "{text} {base} {scope:?}");
                answers.push(found);
            }
        }
    }
    for node in &all {
        assert!(tree.by_dn(&node.dn).is_some_and(|other| Arc::ptr_eq(node, other)));
        assert!(tree.by_id(node.entry.id).is_some_and(|other| Arc::ptr_eq(node, other)));
    }
    (all.iter().map(line).collect(), tree.counts(), answers)
}

const FILTERS: &[&str] = &[
    "(objectClass=*)",
    "(uid=u1)",
    "(uid=u*)",
    "(cn=*)",
    "(!(uid=u1))",
    "(|(uid=u1)(uid=U2))",
    "(&(objectClass=posixAccount)(uid=u2))",
    "(uidNumber>=2)",
    "(entryUSN>=3)",
    "(entryUSN<=2)",
    "(modifyTimestamp>=20260103000000Z)",
    "(member=uid=u1,dc=a)",
    "(hasSubordinates=TRUE)",
];

fn any_entry(id: u8) -> impl Strategy<Value = Option<Arc<Entry>>> {
    let name = prop::sample::select(vec![
        "dc=a",
        "ou=p,dc=a",
        "OU=P, dc=a",
        "uid=u1,ou=p,dc=a",
        "uid=u2,ou=p,dc=a",
        "uid=u1,dc=a",
        "uid=u2,dc=a",
        "broken",
        "",
    ]);
    let values = (0u8..4, 0u8..4, 1u8..5, any::<bool>());
    prop::option::weighted(0.8, (name, values)).prop_map(move |made| {
        made.map(|(dn, (uid, number, day, has_time))| {
            let (uid, number) = (format!("U{uid}"), number.to_string());
            let member = format!("uid={uid},dc=a");
            let (time, csn) = (format!("2026010{day}000000Z"), format!("2026010{day}000000.0Z#0#0#0"));
            let mut attributes: Vec<(&str, &[&str])> = vec![];
            let (uids, numbers, members, times, csns) =
                ([uid.as_str(), "both"], [&*number], [&*member], [&*time], [&*csn]);
            attributes.push(("objectClass", &["posixAccount", "person"]));
            attributes.push(("uid", &uids));
            if number != "0" {
                attributes.push(("uidNumber", &numbers));
                attributes.push(("member", &members));
            }
            if has_time {
                attributes.push(("modifyTimestamp", &times));
                attributes.push(("entryCSN", &csns));
            }
            entry(id, dn, &attributes)
        })
    })
}

fn any_set() -> impl Strategy<Value = Vec<(u8, Option<Arc<Entry>>)>> {
    prop::collection::btree_set(0u8..8, 1..5).prop_flat_map(|ids| {
        ids.into_iter().map(|id| any_entry(id).prop_map(move |entry| (id, entry))).collect::<Vec<_>>()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn advancing_is_building(sets in prop::collection::vec(any_set(), 1..12)) {
        let mut world = World::new(&[]);
        let mut tree = Tree::build(&world.0);
        for set in sets {
            let changes: Vec<_> = set
                .into_iter()
                .map(|(id, new)| (world.0.entry(EntryId([id; 16])).cloned(), new))
                .filter(|(old, new)| old != new)
                .collect();
            world.set(&changes);
            let before = tree.clone();
            let shown = before.nodes().count();
            tree = world.advance(&tree);
            prop_assert_eq!(before.nodes().count(), shown, "an old tree stays as it was");
            prop_assert_eq!(seen(&tree), seen(&Tree::build(&world.0)));
        }
    }
}
