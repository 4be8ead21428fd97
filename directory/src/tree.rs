//! The directory as searches see it: entries with their names, indexes and encodings, made from the state.
//!
//! A tree is persistent: [`Tree::advance`] shares all that a change does not touch, so any number of searches keep any
//! number of old trees. It is a pure function of the state, except that entryUSNs of changes that the state no longer
//! remembers are rounded up when a tree is built afresh. Nothing here touches disk or clock; a crash loses nothing.
//!
//! A DN may be held by two entries while the source is refreshed (RFC 4533 section 3.6). The newer one is shown: that
//! with the greater entryCSN, else modifyTimestamp, else createTimestamp, else entryUUID. Entries whose DN cannot be
//! read are counted and left out.

pub(crate) mod ber;
mod index;
mod keys;
mod node;
mod places;
mod search;
mod select;
mod slots;

use std::{collections::HashMap, sync::Arc};

use imbl::{OrdMap, Vector};
use inventory::{
    change::{ChangeSet, Row},
    entry::{Entry, EntryId},
    state::State,
};

use crate::{
    dn::Dn,
    filter::{Context, Filter, Term, attribute::Id},
};
use index::Index;
pub use node::{Node, SUBSCHEMA_DN, encode_attribute};
use places::Places;
pub use search::{Scope, Search, Step, TooMany};
pub use select::{NAMES_MAX, Selection};

/// By how many bits the epoch stands above the serial in an entryUSN.
const EPOCH_SHIFT: u32 = 40;

/// Every entry that is shown, indexed.
#[derive(Clone, Default)]
pub struct Tree {
    nodes: Places<Arc<Node>>,
    free: Vector<u32>,
    /// All entries that were ever shown are at or below this name; none before the first.
    top: Option<Dn>,
    index: Index,
    /// Entries whose DN a newer entry holds.
    shadowed: OrdMap<(Dn, EntryId), Arc<Node>>,
    unreadable: usize,
    epoch: u32,
    serial: u64,
    /// See [`Tree::changed_usn`].
    changed: u64,
}

/// Sizes of a tree, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Entries that searches see.
    pub entries: usize,
    /// Entries whose DN cannot be read.
    pub unreadable: usize,
    /// Entries whose DN a newer entry holds.
    pub shadowed: usize,
    /// Different values in the indexes.
    pub index_keys: usize,
}

/// The entryUSN of a change: the serial, above it the epoch, so that it never goes back, restores included. In the
/// first epoch it is the serial.
fn usn(epoch: u32, serial: u64) -> u64 {
    (u64::from(epoch.saturating_sub(1)) << EPOCH_SHIFT) + serial
}

impl Tree {
    /// The tree of a state.
    ///
    /// An entry whose last change the state remembers has the USN of that change, every other entry that of the newest
    /// change that is forgotten: a client that asks for what changed since is told too much, never too little.
    pub fn build(state: &State) -> Self {
        let position = state.position();
        let now = usn(position.epoch, position.serial);
        let mut tree = Self { epoch: position.epoch, serial: position.serial, changed: now, ..Self::default() };
        let mut changed = HashMap::new();
        let mut forgotten = position.serial;
        for set in state.history().filter(|set| set.epoch == position.epoch) {
            forgotten = forgotten.min(set.serial.saturating_sub(1));
            for row in &set.rows {
                if let Some(Row::Entry(entry)) = &row.new {
                    changed.insert(entry.id, set.serial);
                }
            }
        }
        for entry in state.entries() {
            let serial = changed.get(&entry.id).copied().unwrap_or(forgotten);
            tree.add(entry, usn(position.epoch, serial));
        }
        tree
    }

    /// The tree of `state`, to which `sets` lead from this tree's. Costs as much as the entries that changed. If the
    /// sets do not join the two, the tree is built afresh.
    pub fn advance(&self, state: &State, sets: &[Arc<ChangeSet>]) -> Self {
        let position = state.position();
        let serials = sets.iter().map(|set| (set.epoch, set.serial));
        let wanted = (self.serial + 1..=position.serial).map(|serial| (self.epoch, serial));
        if position.epoch != self.epoch || position.serial < self.serial || !serials.eq(wanted) {
            return Self::build(state);
        }
        let mut tree = self.clone();
        for set in sets {
            let usn = usn(set.epoch, set.serial);
            for row in &set.rows {
                tree.set(entry_of(row.old.as_ref()), entry_of(row.new.as_ref()), usn);
            }
        }
        tree.serial = position.serial;
        tree
    }

    /// The USN of the newest change: `lastUSN` of the root DSE. Every entryUSN is at most this.
    pub fn last_usn(&self) -> u64 {
        usn(self.epoch, self.serial)
    }

    /// A USN since which no entry has changed: that of the newest change to one, or of the state that the tree was built
    /// of. Trees of one directory that have it in common show the same.
    pub fn changed_usn(&self) -> u64 {
        self.changed
    }

    /// The entry with a name.
    pub fn by_dn(&self, dn: &Dn) -> Option<&Arc<Node>> {
        self.slot_of(dn).and_then(|slot| self.node(slot))
    }

    /// The entry with an entryUUID, unless a newer one holds its DN.
    pub fn by_id(&self, id: EntryId) -> Option<&Arc<Node>> {
        self.slot_by_id(id).and_then(|slot| self.node(slot))
    }

    /// Entries with a value, by the attribute's index. An attribute that is not indexed, or is computed by policy,
    /// is answered by a look at every entry.
    pub fn find<'a>(&'a self, attribute: &str, value: &str) -> impl Iterator<Item = &'a Arc<Node>> + use<'a> {
        let filter = Filter::equality(attribute, value);
        let slots = match &filter.root {
            Term::Equal(asserted) if asserted.is_indexed() => {
                Some(self.index.equal(asserted.name.id, &asserted.normal).into_iter().flat_map(|slots| slots.iter()))
            }
            _ => None,
        };
        let scan = slots.is_none().then(|| self.nodes.iter());
        let found = slots.into_iter().flatten().filter_map(|slot| self.node(slot));
        found.chain(scan.into_iter().flatten()).filter(move |node| filter.matches(node, &Context::NOBODY))
    }

    /// Searches. At most `candidates_max` entries are looked at in vain.
    pub fn search<'a>(
        &'a self,
        base: &Dn,
        scope: Scope,
        filter: &'a Filter,
        ask: &'a Context<'a>,
        candidates_max: usize,
    ) -> Search<'a> {
        Search::new(self, base, scope, filter, ask, candidates_max)
    }

    /// Every entry that is shown.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.iter()
    }

    /// Sizes for metrics.
    pub fn counts(&self) -> Counts {
        Counts {
            entries: self.nodes.len() - self.free.len(),
            unreadable: self.unreadable,
            shadowed: self.shadowed.len(),
            index_keys: self.index.len(),
        }
    }

    /// Whether every entry is at or below a name.
    fn is_all_within(&self, base: &Dn) -> bool {
        self.top.as_ref().is_none_or(|top| top.is_within(base))
    }

    fn node(&self, slot: u32) -> Option<&Arc<Node>> {
        usize::try_from(slot).ok().and_then(|slot| self.nodes.get(slot))
    }

    fn slot_of(&self, dn: &Dn) -> Option<u32> {
        let mut slots = self.index.equal(Id::ENTRY_DN, dn.as_str().as_bytes())?.iter();
        slots.find(|slot| self.node(*slot).is_some_and(|node| node.dn == *dn))
    }

    fn slot_by_id(&self, id: EntryId) -> Option<u32> {
        let mut slots = self.index.equal(Id::ENTRY_UUID, &id.0)?.iter();
        slots.find(|slot| self.node(*slot).is_some_and(|node| node.entry.id == id))
    }
}

/// How a tree changes.
impl Tree {
    /// Takes in one entry in place of another.
    pub(crate) fn set(&mut self, old: Option<&Arc<Entry>>, new: Option<&Arc<Entry>>, usn: u64) {
        match (old, new) {
            (Some(old), Some(new)) => self.change(old, new, usn),
            (Some(old), None) => self.drop_entry(old),
            (None, Some(new)) => self.add(new, usn),
            (None, None) => return,
        }
        self.changed = usn;
    }

    fn add(&mut self, entry: &Arc<Entry>, usn: u64) {
        let Ok(node) = Node::new(entry.clone(), usn) else {
            self.unreadable += 1;
            return;
        };
        let Some(slot) = self.slot_of(&node.dn) else { return self.show(node) };
        let Some(holder) = self.node(slot).cloned() else { return self.show(node) };
        let older = if age(&holder.entry) < age(&node.entry) {
            self.hide(slot, &holder);
            self.show(node);
            holder
        } else {
            Arc::new(node)
        };
        self.shadowed.insert((older.dn.clone(), older.entry.id), older);
    }

    fn drop_entry(&mut self, entry: &Arc<Entry>) {
        let Ok(dn) = Dn::parse(&entry.dn) else {
            self.unreadable = self.unreadable.saturating_sub(1);
            return;
        };
        let key = (dn, entry.id);
        if self.shadowed.remove(&key).is_some() {
            return;
        }
        let Some(slot) = self.slot_by_id(entry.id) else { return };
        let Some(node) = self.node(slot).cloned() else { return };
        self.hide(slot, &node);
        let others = self.shadowed.range((key.0.clone(), EntryId([0; 16]))..=(key.0, EntryId([0xff; 16])));
        let newest = others.max_by(|one, two| age(&one.1.entry).cmp(&age(&two.1.entry)));
        if let Some((key, heir)) = newest.map(|(key, heir)| (key.clone(), heir.clone())) {
            self.shadowed.remove(&key);
            self.show(Node::clone(&heir));
        }
    }

    /// An entry that keeps a name that nobody else claims keeps its place.
    fn change(&mut self, old: &Arc<Entry>, new: &Arc<Entry>, usn: u64) {
        let place = self.slot_by_id(old.id).and_then(|slot| self.node(slot).map(|node| (slot, node.clone())));
        let made = Node::new(new.clone(), usn);
        match (place, made) {
            (Some((slot, before)), Ok(mut node)) if self.shadowed.is_empty() && before.dn == node.dn => {
                node.has_subordinates = before.has_subordinates;
                self.index.replace(slot, &before, &node);
                self.put(slot, Some(Arc::new(node)));
            }
            _ => {
                self.drop_entry(old);
                self.add(new, usn);
            }
        }
    }

    fn show(&mut self, mut node: Node) {
        let slot = match self.free.pop_back() {
            Some(slot) => slot,
            // The store refuses a directory of so many entries long before.
            None => u32::try_from(self.nodes.push()).unwrap_or(u32::MAX),
        };
        node.has_subordinates = self.index.children(node.dn.as_str()).is_some();
        self.top = Some(match self.top.take() {
            Some(top) => top.common(&node.dn),
            None => node.dn.clone(),
        });
        self.index.insert(slot, &node);
        let parent = node.dn.parent();
        self.put(slot, Some(Arc::new(node)));
        self.tell_parent(parent);
    }

    fn hide(&mut self, slot: u32, node: &Node) {
        self.index.remove(slot, node);
        self.put(slot, None);
        self.free.push_back(slot);
        self.tell_parent(node.dn.parent());
    }

    fn put(&mut self, slot: u32, node: Option<Arc<Node>>) {
        if let Ok(place) = usize::try_from(slot) {
            self.nodes.set(place, node);
        }
    }

    /// Keeps `hasSubordinates` of the entry above: it changes with the first child and the last.
    fn tell_parent(&mut self, parent: Option<Dn>) {
        let Some(parent) = parent else { return };
        let has = self.index.children(parent.as_str()).is_some();
        let Some(slot) = self.slot_of(&parent) else { return };
        if let Some(node) = self.node(slot).filter(|node| node.has_subordinates != has) {
            let mut node = Node::clone(node);
            node.has_subordinates = has;
            self.put(slot, Some(Arc::new(node)));
        }
    }
}

fn entry_of(row: Option<&Row>) -> Option<&Arc<Entry>> {
    match row {
        Some(Row::Entry(entry)) => Some(entry),
        _ => None,
    }
}

/// What tells the newer of two entries that claim one DN.
fn age(entry: &Entry) -> impl Ord + use<'_> {
    let texts = ["entryCSN", "modifyTimestamp", "createTimestamp"].map(|name| entry.text(name));
    (texts, entry.id)
}

#[cfg(test)]
mod tests;
