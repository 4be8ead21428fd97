//! All names of all zones: a persistent hash trie from name to node.
//!
//! Two levels of 256 branches by the upper 16 bits of the hash, then a leaf of (tag, node) slots.
//! A change copies one leaf and the two arrays above it; every older table stays as it was, so
//! answering threads read without locks while the next table is made. At 4,000,000 names a leaf
//! holds about 64 slots, so the cost of a change hardly depends on the size.
//!
//! The hash of a name is built label by label from the right, so that one pass over a question
//! yields the hash of the name and of all its ancestors.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::node::Node;

const FAN_OUT: usize = 256;

/// A name and the hashes of the name and all its ancestors.
pub(crate) struct Hashed<'a> {
    /// The name in lower case.
    pub(crate) name: &'a [u8],
    /// Where label `i` starts in `name`; the root is the last. Room for names under ip6.arpa without a heap.
    starts: SmallVec<[u8; 40]>,
    /// Hash of the last `i` labels.
    hashes: SmallVec<[u64; 40]>,
    /// Labels without the root.
    pub(crate) labels: usize,
}

impl<'a> Hashed<'a> {
    /// Of a whole name in lower case.
    pub(crate) fn new(name: &'a [u8]) -> Self {
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
        Self { name, starts, hashes, labels }
    }

    /// The name without its first `skip` labels.
    pub(crate) fn suffix(&self, skip: usize) -> &'a [u8] {
        &self.name[usize::from(self.starts[skip])..]
    }

    /// How many first labels to skip to come to an ancestor of `length` octets.
    pub(crate) fn skip_to(&self, length: usize) -> usize {
        (0..=self.labels).find(|&skip| self.suffix(skip).len() <= length).unwrap_or(self.labels)
    }

    fn hash(&self, skip: usize) -> u64 {
        self.hashes[self.labels - skip]
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

#[derive(Clone)]
struct Slot {
    tag: u32,
    node: Node,
}

type Leaf = Arc<Vec<Slot>>;

#[derive(Clone)]
struct Branch(Box<[Option<Leaf>; FAN_OUT]>);

/// The table. Cloning it is cheap and gives an independent one.
#[derive(Clone)]
pub(crate) struct Table {
    branches: Arc<[Option<Arc<Branch>>; FAN_OUT]>,
    len: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { branches: Arc::new([const { None }; FAN_OUT]), len: 0 }
    }
}

fn path(hash: u64) -> (usize, usize, u32) {
    ((hash >> 56) as usize, (hash >> 48) as usize & 0xff, hash as u32)
}

impl Table {
    /// The node at the name without its first `skip` labels.
    #[inline]
    pub(crate) fn get(&self, name: &Hashed<'_>, skip: usize) -> Option<&Node> {
        let (high, low, tag) = path(name.hash(skip));
        let leaf = self.branches[high].as_ref()?.0[low].as_ref()?;
        let wanted = name.suffix(skip);
        leaf.iter().find(|slot| slot.tag == tag && slot.node.name() == wanted).map(|slot| &slot.node)
    }

    /// The node at `*` below the name without its first `skip` labels.
    pub(crate) fn get_wildcard(&self, name: &Hashed<'_>, skip: usize) -> Option<&Node> {
        let (high, low, tag) = path(mix_label(name.hash(skip), b"\x01*"));
        let leaf = self.branches[high].as_ref()?.0[low].as_ref()?;
        let below = name.suffix(skip);
        let is_it = |node: &Node| node.name().strip_prefix(b"\x01*") == Some(below);
        leaf.iter().find(|slot| slot.tag == tag && is_it(&slot.node)).map(|slot| &slot.node)
    }

    /// Puts a node under its name.
    pub(crate) fn insert(&mut self, name: &Hashed<'_>, node: Node) {
        let (leaf, tag) = self.leaf_mut(name);
        match leaf.iter_mut().find(|slot| slot.tag == tag && slot.node.name() == name.name) {
            Some(slot) => slot.node = node,
            None => {
                leaf.push(Slot { tag, node });
                self.len += 1;
            }
        }
    }

    /// Takes the node at a name away.
    pub(crate) fn remove(&mut self, name: &Hashed<'_>) {
        let (leaf, tag) = self.leaf_mut(name);
        if let Some(at) = leaf.iter().position(|slot| slot.tag == tag && slot.node.name() == name.name) {
            leaf.swap_remove(at);
            self.len -= 1;
        }
    }

    fn leaf_mut(&mut self, name: &Hashed<'_>) -> (&mut Vec<Slot>, u32) {
        let (high, low, tag) = path(name.hash(0));
        let branch = Arc::make_mut(&mut self.branches)[high]
            .get_or_insert_with(|| Arc::new(Branch(Box::new([const { None }; FAN_OUT]))));
        let leaf = Arc::make_mut(branch).0[low].get_or_insert_default();
        (Arc::make_mut(leaf), tag)
    }

    /// How many names there are, empty non-terminals included.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All nodes, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Node> {
        let branches = self.branches.iter().flatten();
        branches.flat_map(|branch| branch.0.iter().flatten()).flat_map(|leaf| leaf.iter().map(|slot| &slot.node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{name::Name, node::pack};

    #[test]
    fn old_tables_stay_as_they_were() {
        let names: Vec<Name> = (0..5000).map(|i| Name::parse(&format!("h{i}.z.acme.private")).unwrap()).collect();
        let mut table = Table::default();
        for name in &names {
            table.insert(&Hashed::new(name), pack(name, 0, 0, 0, &[]));
        }
        let old = table.clone();
        for name in &names[..2500] {
            table.remove(&Hashed::new(name));
        }
        assert_eq!((old.len(), table.len(), table.iter().count()), (5000, 2500, 2500));
        for (i, name) in names.iter().enumerate() {
            let hashed = Hashed::new(name);
            assert_eq!(old.get(&hashed, 0).map(Node::name), Some(&**name));
            assert_eq!(table.get(&hashed, 0).is_some(), i >= 2500);
            assert!(table.get(&hashed, 1).is_none(), "ancestors are not there by themselves");
        }
    }
}
