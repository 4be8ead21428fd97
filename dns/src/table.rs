//! All names of all zones: a persistent hash table from name to node.
//!
//! Two levels of 128 arrays by the upper 14 bits of the hash, then a chunk: an open-addressed table of
//! (tag, node) slots with linear probing, at most three quarters full. A probe reads one slot and one
//! node that are not in the nearest cache; that is what an answer costs beside the kernel's work. A
//! change copies one chunk and the two arrays above it; every older table stays as it was, so
//! answering threads read without locks while the next table is made. At 4,000,000 names a chunk
//! holds about 250 slots, so the cost of a change hardly depends on the size.
//!
//! The hash of a name is built label by label from the right, so that one pass over a question
//! yields the hash of the name and of all its ancestors.

use std::{borrow::Cow, sync::Arc};

use smallvec::SmallVec;

use crate::{node::Node, sys};

const FAN_OUT: usize = 128;
/// Slots of the smallest chunk.
const SLOTS_MIN: usize = 4;

/// Where the labels of a name start, and the hashes of the name and all its ancestors.
#[derive(Clone)]
pub(crate) struct Index {
    /// Where label `i` starts; the root is the last. Room for all but names under ip6.arpa without a heap.
    starts: SmallVec<[u8; 16]>,
    /// Hash of the last `i` labels.
    hashes: SmallVec<[u64; 16]>,
}

impl Index {
    /// Of a whole name in lower case.
    #[inline]
    pub(crate) fn of(name: &[u8]) -> Self {
        let mut starts = SmallVec::new();
        let mut at = 0;
        while name[at] != 0 {
            starts.push(at as u8); // names have at most 255 octets
            at += usize::from(name[at]) + 1;
        }
        let labels = starts.len();
        starts.push(at as u8);
        let mut hashes = SmallVec::new();
        let mut hash = SEED;
        hashes.push(hash);
        for i in (0..labels).rev() {
            hash = mix_label(hash, &name[usize::from(starts[i])..usize::from(starts[i + 1])]);
            hashes.push(hash);
        }
        Self { starts, hashes }
    }

    /// Hash of the whole name.
    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        self.hashes[self.hashes.len() - 1]
    }
}

/// A name with its index.
pub(crate) struct Hashed<'a> {
    /// The name in lower case.
    pub(crate) name: &'a [u8],
    index: Cow<'a, Index>,
    /// Labels without the root.
    pub(crate) labels: usize,
}

impl<'a> Hashed<'a> {
    /// Of a whole name in lower case.
    pub(crate) fn new(name: &'a [u8]) -> Self {
        let index = Index::of(name);
        Self { name, labels: index.starts.len() - 1, index: Cow::Owned(index) }
    }

    /// Of a name whose index is known.
    #[inline]
    pub(crate) fn with(name: &'a [u8], index: &'a Index) -> Self {
        Self { name, labels: index.starts.len() - 1, index: Cow::Borrowed(index) }
    }

    /// The name without its first `skip` labels.
    pub(crate) fn suffix(&self, skip: usize) -> &'a [u8] {
        &self.name[usize::from(self.index.starts[skip])..]
    }

    /// How many first labels to skip to come to an ancestor of `length` octets.
    pub(crate) fn skip_to(&self, length: usize) -> usize {
        (0..=self.labels).find(|&skip| self.suffix(skip).len() <= length).unwrap_or(self.labels)
    }

    /// Hash of the name without its first `skip` labels.
    pub(crate) fn hash(&self, skip: usize) -> u64 {
        self.index.hashes[self.labels - skip]
    }
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;

fn fold(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word) * u128::from(FACTOR);
    product as u64 ^ (product >> 64) as u64
}

/// Mixes in one label with its length octet.
fn mix_label(mut hash: u64, label: &[u8]) -> u64 {
    let (words, rest) = label.as_chunks::<8>();
    for word in words {
        hash = fold(hash, u64::from_le_bytes(*word));
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = fold(hash, u64::from_le_bytes(last));
    }
    fold(hash, label.len() as u64)
}

#[derive(Clone, Default)]
struct Slot {
    tag: u32,
    node: Option<Node>,
}

/// A power of two of slots, at least one of them free. The slice's length stands beside its pointer,
/// so that a probe goes straight to the slot.
#[derive(Clone)]
struct Chunk {
    slots: Arc<[Slot]>,
    taken: u32,
}

type Branch = Arc<[Option<Chunk>; FAN_OUT]>;

/// The table. Cloning it is cheap and gives an independent one.
#[derive(Clone)]
pub(crate) struct Table {
    branches: Arc<[Option<Branch>; FAN_OUT]>,
    len: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { branches: Arc::new([const { None }; FAN_OUT]), len: 0 }
    }
}

fn path(hash: u64) -> (usize, usize, u32) {
    ((hash >> 57) as usize, (hash >> 50) as usize & (FAN_OUT - 1), hash as u32)
}

impl Chunk {
    fn with_slots(slots: usize) -> Self {
        Self { slots: (0..slots).map(|_| Slot::default()).collect(), taken: 0 }
    }

    /// The slot of the first node with the tag that `is_it`, or the free slot where one would go.
    #[inline]
    fn find(&self, tag: u32, is_it: impl Fn(&Node) -> bool) -> (usize, Option<&Node>) {
        let mask = self.slots.len() - 1;
        let mut at = tag as usize & mask;
        loop {
            match &self.slots[at] {
                Slot { node: None, .. } => return (at, None),
                Slot { tag: other, node: Some(node) } if *other == tag && is_it(node) => return (at, Some(node)),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// Puts a node in its place; true if the name is new.
    fn insert(&mut self, tag: u32, name: &[u8], node: Node) -> bool {
        if self.taken as usize * 4 >= self.slots.len() * 3 {
            self.grow();
        }
        let (at, present) = self.find(tag, |node| node.name() == name);
        let is_new = present.is_none();
        Arc::make_mut(&mut self.slots)[at] = Slot { tag, node: Some(node) };
        self.taken += u32::from(is_new);
        is_new
    }

    fn grow(&mut self) {
        let mut larger = Self::with_slots(self.slots.len() * 2);
        let slots = Arc::make_mut(&mut larger.slots);
        let mask = slots.len() - 1;
        for slot in self.slots.iter().filter(|slot| slot.node.is_some()) {
            let mut at = slot.tag as usize & mask;
            while slots[at].node.is_some() {
                at = (at + 1) & mask;
            }
            slots[at] = slot.clone();
        }
        self.slots = larger.slots;
    }

    /// Takes a node away and moves back those that were put further on because of it. True if it was there.
    fn remove(&mut self, tag: u32, name: &[u8]) -> bool {
        let (at, Some(_)) = self.find(tag, |node| node.name() == name) else { return false };
        let slots = Arc::make_mut(&mut self.slots);
        let mask = slots.len() - 1;
        let mut hole = at;
        let mut next = (hole + 1) & mask;
        while slots[next].node.is_some() {
            let home = slots[next].tag as usize & mask;
            // A node may move back as far as its home.
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                slots.swap(hole, next);
                hole = next;
            }
            next = (next + 1) & mask;
        }
        slots[hole] = Slot::default();
        self.taken -= 1;
        true
    }
}

impl Table {
    /// The node at the name without its first `skip` labels.
    #[inline]
    pub(crate) fn get(&self, name: &Hashed<'_>, skip: usize) -> Option<&Node> {
        let (high, low, tag) = path(name.hash(skip));
        let wanted = name.suffix(skip);
        self.branches[high].as_ref()?[low].as_ref()?.find(tag, |node| node.name() == wanted).1
    }

    /// First of three steps that have the processor fetch what a probe will read, while other work
    /// goes on: the place of the chunk. The next step is for when this one has come.
    #[inline]
    pub(crate) fn prefetch_chunk(&self, hash: u64) {
        let (high, low, _) = path(hash);
        if let Some(branch) = &self.branches[high] {
            sys::prefetch(&branch[low]);
        }
    }

    /// Second step: the slot.
    #[inline]
    pub(crate) fn prefetch_slot(&self, hash: u64) {
        if let Some(slot) = self.first_slot(hash) {
            sys::prefetch(slot);
        }
    }

    /// Third step: the node, if the slot has one of this hash.
    #[inline]
    pub(crate) fn prefetch_node(&self, hash: u64) {
        if let Some(Slot { tag, node: Some(node) }) = self.first_slot(hash)
            && *tag == hash as u32
        {
            node.prefetch();
        }
    }

    #[inline]
    fn first_slot(&self, hash: u64) -> Option<&Slot> {
        let (high, low, tag) = path(hash);
        let chunk = self.branches[high].as_ref()?[low].as_ref()?;
        Some(&chunk.slots[tag as usize & (chunk.slots.len() - 1)])
    }

    /// The node at `*` below the name without its first `skip` labels.
    pub(crate) fn get_wildcard(&self, name: &Hashed<'_>, skip: usize) -> Option<&Node> {
        let (high, low, tag) = path(mix_label(name.hash(skip), b"\x01*"));
        let below = name.suffix(skip);
        let is_it = |node: &Node| node.name().strip_prefix(b"\x01*") == Some(below);
        self.branches[high].as_ref()?[low].as_ref()?.find(tag, is_it).1
    }

    /// Puts a node under its name.
    pub(crate) fn insert(&mut self, name: &Hashed<'_>, node: Node) {
        let (chunk, tag) = self.chunk_mut(name);
        let is_new = chunk.insert(tag, name.name, node);
        self.len += usize::from(is_new);
    }

    /// Takes the node at a name away.
    pub(crate) fn remove(&mut self, name: &Hashed<'_>) {
        let (chunk, tag) = self.chunk_mut(name);
        let was_there = chunk.remove(tag, name.name);
        self.len -= usize::from(was_there);
    }

    fn chunk_mut(&mut self, name: &Hashed<'_>) -> (&mut Chunk, u32) {
        let (high, low, tag) = path(name.hash(0));
        let branch = Arc::make_mut(&mut self.branches)[high].get_or_insert_with(|| Arc::new([const { None }; FAN_OUT]));
        (Arc::make_mut(branch)[low].get_or_insert_with(|| Chunk::with_slots(SLOTS_MIN)), tag)
    }

    /// How many names there are, empty non-terminals included.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All nodes, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Node> {
        let chunks = self.branches.iter().flatten().flat_map(|branch| branch.iter().flatten());
        chunks.flat_map(|chunk| chunk.slots.iter().filter_map(|slot| slot.node.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{name::Name, node::pack};

    #[test]
    fn old_tables_stay_as_they_were() {
        let names: Vec<Name> = (0..50_000).map(|i| Name::parse(&format!("h{i}.z.acme.private")).unwrap()).collect();
        let mut table = Table::default();
        for name in &names {
            table.insert(&Hashed::new(name), pack(name, 0, 0, 0, &[]));
        }
        let old = table.clone();
        for name in &names[..25_000] {
            table.remove(&Hashed::new(name));
            table.remove(&Hashed::new(name));
        }
        assert_eq!((old.len(), table.len(), table.iter().count()), (50_000, 25_000, 25_000));
        for (i, name) in names.iter().enumerate() {
            let hashed = Hashed::new(name);
            assert_eq!(old.get(&hashed, 0).map(Node::name), Some(&**name));
            assert_eq!(table.get(&hashed, 0).is_some(), i >= 25_000);
            assert!(table.get(&hashed, 1).is_none(), "ancestors are not there by themselves");
        }
    }
}
