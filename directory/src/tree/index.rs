//! The indexes: which entries have a value, which have an attribute, which lie below a name, and which changed since.
//!
//! An index key is a hash of attribute and normalised value; the value itself is not kept again, because whoever reads
//! an index evaluates the filter on what it finds. A key that two values share costs one evaluation more, and keys are
//! seeded at random, so nobody can choose values that share one.

use std::{
    cmp::Ordering,
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
};

use compact_str::CompactString;
use imbl::{OrdMap, OrdSet};

use super::{Node, keys::Keys, slots::Slots};
use crate::{
    dn::{Dn, parent_of},
    filter::{
        attribute::Id,
        rule::{Rule, Scratch},
    },
};

/// What an index key is about.
#[derive(Clone, Copy)]
enum Kind {
    Value = 0,
    Present = 1,
    Children = 2,
}

/// A name in the order of the tree: an entry right before everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ByTree(pub(super) Dn);

impl Ord for ByTree {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.rdns().rev().cmp(other.0.rdns().rev())
    }
}

impl PartialOrd for ByTree {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// All indexes over the entries that the tree shows.
#[derive(Clone, Default)]
pub(super) struct Index {
    seed: RandomState,
    keys: Keys,
    pub(super) by_usn: OrdSet<(u64, u32)>,
    /// By modifyTimestamp in normalised form.
    pub(super) by_modified: OrdSet<(CompactString, u32)>,
    pub(super) by_name: OrdMap<ByTree, u32>,
}

impl Index {
    fn key(&self, kind: Kind, id: Id, value: &[u8]) -> u64 {
        let mut hasher = self.seed.build_hasher();
        hasher.write_u64(u64::from(id.number()) << 8 | kind as u64);
        hasher.write(value);
        hasher.finish()
    }

    /// Entries with a normalised value, and others whose key is the same.
    pub(super) fn equal(&self, id: Id, normal: &[u8]) -> Option<&Slots> {
        self.keys.get(self.key(Kind::Value, id, normal))
    }

    /// Entries with an indexed attribute.
    pub(super) fn present(&self, id: Id) -> Option<&Slots> {
        self.keys.get(self.key(Kind::Present, id, &[]))
    }

    /// Entries right below a normalised name.
    pub(super) fn children(&self, name: &str) -> Option<&Slots> {
        self.keys.get(self.key(Kind::Children, Id::ENTRY_DN, name.as_bytes()))
    }

    /// How many different keys there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn insert(&mut self, slot: u32, node: &Node) {
        for key in self.keys_of(node) {
            self.keys.put(key, slot);
        }
        self.by_usn.insert((node.usn, slot));
        for time in times_of(node) {
            self.by_modified.insert((time, slot));
        }
        self.by_name.insert(ByTree(node.dn.clone()), slot);
    }

    pub(super) fn remove(&mut self, slot: u32, node: &Node) {
        for key in self.keys_of(node) {
            self.keys.take(key, slot);
        }
        self.by_usn.remove(&(node.usn, slot));
        for time in times_of(node) {
            self.by_modified.remove(&(time, slot));
        }
        self.by_name.remove(&ByTree(node.dn.clone()));
    }

    /// Files an entry that has changed under the same name: only what differs is touched.
    pub(super) fn replace(&mut self, slot: u32, old: &Node, new: &Node) {
        let (before, after) = (self.keys_of(old), self.keys_of(new));
        for key in before.iter().filter(|key| after.binary_search(key).is_err()) {
            self.keys.take(*key, slot);
        }
        for key in after.iter().filter(|key| before.binary_search(key).is_err()) {
            self.keys.put(*key, slot);
        }
        self.by_usn.remove(&(old.usn, slot));
        self.by_usn.insert((new.usn, slot));
        for time in times_of(old) {
            self.by_modified.remove(&(time, slot));
        }
        for time in times_of(new) {
            self.by_modified.insert((time, slot));
        }
    }

    /// Every key of an entry once, sorted.
    fn keys_of(&self, node: &Node) -> Vec<u64> {
        let name = node.dn.as_str();
        let mut keys = vec![
            self.key(Kind::Value, Id::ENTRY_UUID, &node.entry.id.0),
            self.key(Kind::Value, Id::ENTRY_DN, name.as_bytes()),
        ];
        keys.extend(parent_of(name).map(|parent| self.key(Kind::Children, Id::ENTRY_DN, parent.as_bytes())));
        let mut scratch = Scratch::new();
        for (id, part) in node.attributes().filter(|(id, _)| id.is_indexed()) {
            keys.push(self.key(Kind::Present, id, &[]));
            for value in part.values() {
                let normal = id.rule().normalise(value, &mut scratch);
                keys.extend(normal.map(|normal| self.key(Kind::Value, id, normal)));
            }
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// The modifyTimestamp of an entry, as it is compared.
fn times_of(node: &Node) -> impl Iterator<Item = CompactString> {
    let all = node.attributes().filter(|(id, _)| *id == Id::MODIFY_TIMESTAMP).flat_map(|(_, part)| part.values());
    all.filter_map(|value| {
        let mut scratch = Scratch::new();
        CompactString::from_utf8(Rule::Time.normalise(value, &mut scratch)?).ok()
    })
}
