//! Sets of entries by number: most indexed values lead to one entry, a few to all.

use std::sync::Arc;

use imbl::{OrdSet, shared_ptr::DefaultSharedPtr};

/// Beyond this many numbers a set is a tree: a change then no longer copies it whole.
const FEW_MAX: usize = 64;

/// A set that is never empty. One number takes no allocation; a clone copies nothing.
#[derive(Debug, Clone)]
pub(super) enum Slots {
    One(u32),
    /// Sorted.
    Few(Arc<Vec<u32>>),
    Many(Box<OrdSet<u32>>),
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Few(slots) => slots.len(),
            Self::Many(slots) => slots.len(),
        }
    }

    pub(super) fn insert(&mut self, slot: u32) {
        match self {
            Self::One(only) if *only == slot => {}
            Self::One(only) => *self = Self::Few(Arc::new(vec![slot.min(*only), slot.max(*only)])),
            Self::Few(slots) => {
                let Err(at) = slots.binary_search(&slot) else { return };
                if slots.len() < FEW_MAX {
                    Arc::make_mut(slots).insert(at, slot);
                } else {
                    let mut many: OrdSet<u32> = slots.iter().copied().collect();
                    many.insert(slot);
                    *self = Self::Many(Box::new(many));
                }
            }
            Self::Many(slots) => drop(slots.insert(slot)),
        }
    }

    /// Takes a number out and says whether another one is left.
    pub(super) fn remove(&mut self, slot: u32) -> bool {
        match self {
            Self::One(only) => *only != slot,
            Self::Few(slots) => {
                if let Ok(at) = slots.binary_search(&slot) {
                    Arc::make_mut(slots).remove(at);
                }
                if let [only] = slots.as_slice() {
                    *self = Self::One(*only);
                }
                true
            }
            Self::Many(slots) => {
                slots.remove(&slot);
                // Half of the limit, so that a set at the limit does not go to and fro.
                if slots.len() <= FEW_MAX / 2 {
                    *self = Self::Few(Arc::new(slots.iter().copied().collect()));
                }
                true
            }
        }
    }

    pub(super) fn iter(&self) -> SlotsIter<'_> {
        match self {
            Self::One(only) => SlotsIter::One(Some(*only)),
            Self::Few(slots) => SlotsIter::Few(slots.iter()),
            Self::Many(slots) => SlotsIter::Many(Box::new(slots.iter())),
        }
    }
}

pub(super) enum SlotsIter<'a> {
    One(Option<u32>),
    Few(std::slice::Iter<'a, u32>),
    Many(Box<imbl::ordset::Iter<'a, u32, DefaultSharedPtr>>),
}

impl Iterator for SlotsIter<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        match self {
            Self::One(only) => only.take(),
            Self::Few(slots) => slots.next().copied(),
            Self::Many(slots) => slots.next().copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_is_a_set(steps in prop::collection::vec((0u32..100, any::<bool>()), 1..600)) {
            let mut slots: Option<Slots> = None;
            let mut expected = BTreeSet::new();
            for (slot, comes) in steps {
                if comes {
                    expected.insert(slot);
                    match &mut slots {
                        Some(slots) => slots.insert(slot),
                        None => slots = Some(Slots::One(slot)),
                    }
                } else {
                    expected.remove(&slot);
                    slots = slots.and_then(|mut slots| slots.remove(slot).then_some(slots));
                }
                let found: Vec<u32> = slots.iter().flat_map(Slots::iter).collect();
                prop_assert_eq!(found.len(), slots.as_ref().map_or(0, Slots::len));
                prop_assert_eq!(found, expected.iter().copied().collect::<Vec<_>>());
            }
        }
    }
}
