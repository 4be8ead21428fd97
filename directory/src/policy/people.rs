//! People and groups as the policy sees them, made of directory entries.
//!
//! Membership is never taken from `memberOf`: it is found by asking which groups list a person, upwards, from `memberUid`
//! (RFC 2307), `member` and `uniqueMember` (RFC 4519) and the primary group's `gidNumber`. So a changed group costs what
//! changed in its list, and nothing is kept per member. Names and DNs are compared in lower case.

use std::{collections::HashMap, sync::Arc};

use compact_str::CompactString;
use inventory::entry::{Entry, EntryId};
use smallvec::SmallVec;

use crate::dn::Dn;

use super::{
    rules::{Held, Origin, Rules},
    standing::Standing,
};

/// Classes of entries that are people if they have a `uid`.
const PERSON_CLASSES: &[&str] = &[
    "posixAccount",
    "account",
    "person",
    "organizationalPerson",
    "inetOrgPerson",
    "shadowAccount",
    "ldapPublicKey",
    "uidObject",
];
/// Classes of entries that are groups if they have a `cn`.
const GROUP_CLASSES: &[&str] = &["posixGroup", "groupOfNames", "groupOfUniqueNames", "groupOfMembers"];

/// How a group lists somebody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Member {
    /// By name (`memberUid`).
    Uid(CompactString),
    /// By DN (`member`, `uniqueMember`); a group can be listed like that too.
    Dn(Dn),
    /// By being their primary group.
    Gid(u32),
}

/// An entry with a `uid`.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) entry: Arc<Entry>,
    pub(super) uids: SmallVec<[CompactString; 1]>,
    /// Under what groups may list the person.
    pub(super) listed_as: Box<[Member]>,
    /// Its `host` values.
    pub(super) rules: Rules,
    pub(super) standing: Standing,
}

/// An entry that lists people.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) entry: Arc<Entry>,
    pub(super) names: SmallVec<[CompactString; 1]>,
    /// Under what other groups may list it; none if its DN cannot be read.
    pub(super) listed_as: Option<Member>,
    /// Its `host` values.
    pub(super) rules: Rules,
}

/// A name as it is compared: in lower case and without spaces around it.
pub(crate) fn folded(text: &str) -> CompactString {
    let text = text.trim();
    if !text.is_ascii() {
        return text.to_lowercase().into();
    }
    let mut name = CompactString::new(text);
    name.make_ascii_lowercase();
    name
}

fn names(entry: &Entry, attribute: &str) -> SmallVec<[CompactString; 1]> {
    let mut names: SmallVec<[CompactString; 1]> =
        entry.texts(attribute).map(folded).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn gid(entry: &Entry) -> Option<Member> {
    entry.text("gidNumber").and_then(|number| number.trim().parse().ok()).map(Member::Gid)
}

impl Person {
    /// The person of an entry, if it is one.
    pub(super) fn of(entry: &Arc<Entry>) -> Option<Self> {
        if !is_person(entry) {
            return None;
        }
        let uids = names(entry, "uid");
        if uids.is_empty() {
            return None;
        }
        let by_name = uids.iter().cloned().map(Member::Uid);
        let listed_as = by_name.chain(dn(&entry.dn)).chain(gid(entry)).collect();
        Some(Self { entry: entry.clone(), uids, listed_as, rules: rules(entry), standing: Standing::of(entry) })
    }
}

impl Group {
    /// The group of an entry, if it is one.
    pub(super) fn of(entry: &Arc<Entry>) -> Option<Self> {
        let names = names(entry, "cn");
        (is_group(entry) && !names.is_empty()).then(|| Self {
            entry: entry.clone(),
            names,
            listed_as: dn(&entry.dn),
            rules: rules(entry),
        })
    }
}

/// Whether an entry is a person's, if it has a `uid`.
pub(crate) fn is_person(entry: &Entry) -> bool {
    PERSON_CLASSES.iter().any(|class| entry.is_a(class))
}

/// Whether an entry is a group's, if it has a `cn`.
pub(crate) fn is_group(entry: &Entry) -> bool {
    GROUP_CLASSES.iter().any(|class| entry.is_a(class))
}

/// The `host` values of an entry as patterns. A value that names no host of ours by its form is left aside; if it is a
/// denial, the entry's other values admit nobody, since nobody knows whom it meant to keep out. A value that is no text may
/// be one.
fn rules(entry: &Arc<Entry>) -> Rules {
    let (patterns, complete) = read_patterns(entry.values("host").iter().map(inventory::entry::Value::text));
    let held = |pattern| Held { pattern, until: u64::MAX, origin: Origin::Value(entry.clone()) };
    Rules::of(patterns.into_iter().filter(|pattern| complete || pattern.denies).map(held))
}

/// The patterns that can be read, and whether all denials could; none stands for a value that is no text.
pub(super) fn read_patterns<'a>(
    texts: impl Iterator<Item = Option<&'a str>>,
) -> (Vec<inventory::pattern::Pattern>, bool) {
    let (mut patterns, mut complete) = (Vec::new(), true);
    for text in texts {
        let Some(text) = text else {
            complete = false;
            continue;
        };
        match inventory::pattern::Pattern::parse(text) {
            Ok(pattern) => patterns.push(pattern),
            Err(_) => complete &= !text.trim_start().starts_with('!'),
        }
    }
    (patterns, complete)
}

/// Whom a group lists: one item for each value.
fn list(entry: &Entry) -> impl Iterator<Item = (&'static str, &[u8])> {
    let of = |name: &'static str| entry.values(name).iter().map(move |value| (name, &*value.0));
    of("memberUid").chain(of("member")).chain(of("uniqueMember"))
}

fn member((attribute, value): (&str, &[u8])) -> Option<Member> {
    let text = std::str::from_utf8(value).ok()?;
    match attribute {
        "memberUid" => Some(Member::Uid(folded(text))),
        "member" => dn(text),
        // Name and optional UID (RFC 4517 section 3.3.21): the DN may end in #'0101'B.
        _ => dn(text.rsplit_once("#'").map_or(text, |(dn, _)| dn)),
    }
}

/// What changed in the list of a group from `old` to `new`: who is listed once more (or less) often than before.
/// Costs a comparison of the values in order, and more only for what lies between the first and the last difference.
pub(super) fn relisted(old: Option<&Entry>, new: Option<&Entry>, mut change: impl FnMut(Member, i32)) {
    let is_listing = |entry: &&Entry| is_group(entry) && entry.text("cn").is_some();
    let (old, new) = (old.filter(is_listing), new.filter(is_listing));
    let values = |entry: Option<_>| entry.map(list).into_iter().flatten().collect::<Vec<_>>();
    let (before, after) = (values(old), values(new));
    let same = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    let (before, after) = (&before[same..], &after[same..]);
    let same = before.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| a == b).count();
    let mut counts: HashMap<_, i32> = HashMap::new();
    after[..after.len() - same].iter().for_each(|item| *counts.entry(*item).or_default() += 1);
    before[..before.len() - same].iter().for_each(|item| *counts.entry(*item).or_default() -= 1);
    for (item, count) in counts {
        if let (Some(member), 1..) | (Some(member), ..=-1) = (member(item), count) {
            change(member, count);
        }
    }
    let gid_of = |entry: Option<&Entry>| entry.filter(|entry| entry.is_a("posixGroup")).and_then(gid);
    let (before, after) = (gid_of(old), gid_of(new));
    if before != after {
        after.into_iter().for_each(|gid| change(gid, 1));
        before.into_iter().for_each(|gid| change(gid, -1));
    }
}

/// Entries, each with how often it is meant, in the order of their ids.
#[derive(Debug, Clone, Default)]
pub(super) struct Ids(SmallVec<[(EntryId, u32); 1]>);

impl Ids {
    pub(super) fn iter(&self) -> impl Iterator<Item = EntryId> {
        self.0.iter().map(|(id, _)| *id)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn only(&self) -> Option<EntryId> {
        match *self.0 {
            [(id, _)] => Some(id),
            _ => None,
        }
    }

    pub(super) fn count(&mut self, id: EntryId, change: i32) {
        match self.0.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => {
                let left = self.0[at].1.saturating_add_signed(change);
                if left == 0 {
                    self.0.remove(at);
                } else {
                    self.0[at].1 = left;
                }
            }
            Err(at) => {
                if let Ok(count @ 1..) = u32::try_from(change) {
                    self.0.insert(at, (id, count));
                }
            }
        }
    }
}

/// Somebody listed by a DN; a text that is none lists nobody.
fn dn(text: &str) -> Option<Member> {
    Dn::parse(text).ok().map(Member::Dn)
}
