//! Whom a role names, in sudo's words.
//!
//! sudo compares `sudoUser` with login names by case and `%group` with Unix groups. So names are spelled as the
//! directory's entries spell them, and members whom a Unix group would not have (nested groups, groupOfNames) are named
//! one by one, up to [`MEMBERS_MAX`]. A denial names all members: which groups a host knows is not in our hands. Whom it
//! cannot name makes it incomplete. A role that admits leaves such people out, and those whose uid several entries have.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::{CompactString, ToCompactString, format_compact};
use inventory::entry::{Entry, EntryId};

use super::{Key, MEMBERS_MAX};
use crate::{
    dn::Dn,
    policy::{folded, is_group, is_person},
    tree::Tree,
};

/// How many groups deep membership is followed, as the policy does.
const NESTING_MAX: usize = 32;
/// Most names that are looked up for one role's members.
const KEYS_MAX: usize = 4 * MEMBERS_MAX;
/// Attributes by which people and groups are found, and list each other.
const TELLING: [&str; 7] = ["objectClass", "uid", "cn", "gidNumber", "memberUid", "member", "uniqueMember"];

/// Whether an entry changed in what roles are made of.
pub(super) fn differs(old: Option<&Entry>, new: Option<&Entry>) -> bool {
    match (old, new) {
        (None, None) => false,
        (Some(old), Some(new)) => old.dn != new.dn || TELLING.iter().any(|name| old.values(name) != new.values(name)),
        _ => true,
    }
}

/// Under what roles may have found an entry.
pub(super) fn keys_of(entry: &Entry) -> impl Iterator<Item = Key> {
    let uids = entry.texts("uid").map(|uid| Key::Uid(folded(uid)));
    let names = entry.texts("cn").map(|name| Key::Cn(folded(name)));
    uids.chain(names).chain(Dn::parse(&entry.dn).ok().map(Key::Dn)).chain(gid(entry).map(Key::Gid))
}

fn gid(entry: &Entry) -> Option<u32> {
    entry.text("gidNumber").and_then(|number| number.trim().parse().ok())
}

/// Finds whom a role names, and remembers where it looked.
pub(super) struct Finder<'a> {
    tree: &'a Tree,
    denies: bool,
    keys: BTreeSet<Key>,
    users: BTreeSet<CompactString>,
    is_unsaid: bool,
}

/// What a finder found.
pub(super) struct Found {
    pub(super) users: BTreeSet<CompactString>,
    pub(super) keys: BTreeSet<Key>,
    /// Whether somebody who is meant is not named.
    pub(super) is_unsaid: bool,
}

/// Members of groups.
#[derive(Default)]
struct Members<'a> {
    /// Each with whether Unix groups have them under the group's name.
    people: BTreeMap<EntryId, (&'a Entry, bool)>,
    /// Names in memberUid without an entry.
    strangers: BTreeSet<CompactString>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(tree: &'a Tree, denies: bool) -> Self {
        Self { tree, denies, keys: BTreeSet::new(), users: BTreeSet::new(), is_unsaid: false }
    }

    pub(super) fn found(self) -> Found {
        Found { users: self.users, keys: self.keys, is_unsaid: self.is_unsaid }
    }

    /// Names a subject of a grant: `name` or `@group`.
    pub(super) fn subject(&mut self, who: &str) {
        match who.strip_prefix('@') {
            Some(group) => self.named_group(group),
            None => self.named_user(who),
        }
    }

    /// Names the subjects of an entry's own values.
    pub(super) fn entry(&mut self, entry: &'a Entry) {
        if is_person(entry) {
            self.uids(entry);
        }
        if is_group(entry) {
            self.groups(vec![entry], "");
        }
    }

    fn named_user(&mut self, name: &str) {
        let people = self.people(name);
        if people.is_empty() || self.denies {
            self.user(name);
        }
        people.into_iter().for_each(|entry| self.uids(entry));
    }

    fn named_group(&mut self, name: &str) {
        let wanted = folded(name);
        self.keys.insert(Key::Cn(wanted.clone()));
        let found = self.tree.find("cn", name).map(|node| &*node.entry);
        let is_meant = |entry: &&Entry| is_group(entry) && entry.texts("cn").any(|cn| folded(cn) == wanted);
        let groups: Vec<_> = found.filter(is_meant).collect();
        if groups.is_empty() || self.denies {
            self.group(name);
        }
        self.groups(groups, &wanted);
    }

    /// Names groups and their members. A role that admits names them by the one name that was granted to.
    fn groups(&mut self, groups: Vec<&'a Entry>, wanted: &str) {
        for name in groups.iter().flat_map(|group| group.texts("cn")) {
            if self.denies || folded(name) == wanted {
                self.group(name);
            }
        }
        let Some(Members { people, strangers }) = self.members(groups) else {
            self.is_unsaid |= self.denies;
            return;
        };
        for (entry, is_unix) in people.into_values() {
            if self.denies || !is_unix {
                self.uids(entry);
            }
        }
        if self.denies {
            strangers.iter().for_each(|name| self.user(name));
        }
    }

    /// All members of groups, nested ones included; none if they are too many.
    fn members(&mut self, groups: Vec<&'a Entry>) -> Option<Members<'a>> {
        let mut members = Members::default();
        let mut seen: BTreeSet<EntryId> = groups.iter().map(|group| group.id).collect();
        let mut level = groups;
        for depth in 0..=NESTING_MAX {
            let mut nested = Vec::new();
            for group in std::mem::take(&mut level) {
                self.listed(group, depth == 0, &mut members, &mut nested)?;
            }
            level.extend(nested.into_iter().filter(|group| seen.insert(group.id)));
        }
        Some(members)
    }

    /// Whom one group lists.
    fn listed(
        &mut self,
        group: &'a Entry,
        is_first: bool,
        members: &mut Members<'a>,
        nested: &mut Vec<&'a Entry>,
    ) -> Option<()> {
        let is_unix = is_first && group.is_a("posixGroup");
        for name in group.texts("memberUid") {
            let people = self.people(name);
            if people.is_empty() {
                members.strangers.insert(name.trim().into());
            }
            for entry in people {
                members.add(entry, is_unix && entry.texts("uid").all(|uid| uid == name));
            }
            self.is_enough(members)?;
        }
        let unique = group.texts("uniqueMember").map(|text| text.rsplit_once("#'").map_or(text, |(dn, _)| dn));
        for dn in group.texts("member").chain(unique).filter_map(|text| Dn::parse(text).ok()) {
            self.keys.insert(Key::Dn(dn.clone()));
            let Some(node) = self.tree.by_dn(&dn) else {
                self.is_enough(members)?;
                continue;
            };
            if is_person(&node.entry) {
                members.add(&node.entry, false);
            }
            if is_group(&node.entry) {
                nested.push(&node.entry);
            }
            self.is_enough(members)?;
        }
        if let Some(number) = gid(group).filter(|_| group.is_a("posixGroup")) {
            self.keys.insert(Key::Gid(number));
            for node in self.tree.find("gidNumber", &number.to_compact_string()) {
                if is_person(&node.entry) {
                    members.add(&node.entry, is_unix);
                    self.is_enough(members)?;
                }
            }
        }
        Some(())
    }

    fn is_enough(&self, members: &Members<'_>) -> Option<()> {
        let count = members.people.len() + members.strangers.len();
        (count <= MEMBERS_MAX && self.keys.len() <= KEYS_MAX).then_some(())
    }

    /// The people with a uid.
    fn people(&mut self, name: &str) -> Vec<&'a Entry> {
        let wanted = folded(name);
        self.keys.insert(Key::Uid(wanted.clone()));
        let found = self.tree.find("uid", name).map(|node| &*node.entry);
        found.filter(|entry| is_person(entry) && entry.texts("uid").any(|uid| folded(uid) == wanted)).collect()
    }

    /// Names somebody by all their uids, unless they are to be admitted and cannot be told from somebody else.
    fn uids(&mut self, entry: &'a Entry) {
        let is_ambiguous = !self.denies && entry.texts("uid").any(|uid| self.people(uid).len() > 1);
        if !is_ambiguous {
            entry.texts("uid").for_each(|uid| self.user(uid));
        }
    }

    fn user(&mut self, name: &str) {
        let name = name.trim();
        if is_sayable(name) && !name.starts_with(['#', '+', '%']) && name != "ALL" {
            self.users.insert(name.into());
        } else {
            self.is_unsaid |= self.denies;
        }
    }

    fn group(&mut self, name: &str) {
        let name = name.trim();
        // `%#` is a number and `%:` a group that is none of Unix. The members are named besides.
        if is_sayable(name) && !name.starts_with(['#', ':']) {
            self.users.insert(format_compact!("%{name}"));
        }
    }
}

impl<'a> Members<'a> {
    fn add(&mut self, entry: &'a Entry, is_unix: bool) {
        self.people.entry(entry.id).or_insert((entry, false)).1 |= is_unix;
    }
}

/// Whether sudo takes a name for nothing but a name.
fn is_sayable(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(['!', '@']) && !name.contains(['"', '\\'])
}
