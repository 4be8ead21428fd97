//! A persistent map from index keys to sets of entries, laid out for searches that find nothing in the cache.
//!
//! Keys are random (see [`super::index`]), so their upper bits spread them evenly: eight bits choose a branch, the next
//! ones a page of it, and within a page, which is sorted, the rest tells about where a key stands. A lookup reads three
//! or four places in memory, where a tree of sorted nodes reads some fifteen. A key that comes or goes makes its page
//! anew; the list of the pages of its branch and the list of branches are copied, unless nobody else holds them. At
//! 1,000,000 people a branch has some thousand pages. A branch whose pages grow full gets twice as many. Pages do not
//! become fewer.

use std::sync::Arc;

use super::slots::Slots;

const BRANCH_BITS: u32 = 8;
/// Keys of a page, beyond which its branch is spread over twice as many.
const PAGE_MAX: usize = 64;
/// Bits that choose a page, at most: if keys were not random, pages would grow beyond their limit instead.
const PAGE_BITS_MAX: u32 = 16;

/// Sorted by key.
type Page = Arc<[(u64, Slots)]>;
/// A power of two of pages.
type Branch = Arc<[Page]>;

/// The map; a clone copies nothing.
#[derive(Clone)]
pub(super) struct Keys {
    branches: Arc<[Branch]>,
    len: usize,
}

impl Default for Keys {
    fn default() -> Self {
        let empty: Branch = Arc::new([Page::from([])]);
        Self { branches: (0..1 << BRANCH_BITS).map(|_| empty.clone()).collect(), len: 0 }
    }
}

/// Which branch a key is in.
fn branch_of(key: u64) -> usize {
    (key >> (u64::BITS - BRANCH_BITS)) as usize
}

/// Which page of so many a key is in, and its place among all keys of that page, as a fraction of 2^64.
fn page_of(key: u64, pages: usize) -> (usize, u64) {
    let rest = key << BRANCH_BITS;
    match pages.trailing_zeros() {
        0 => (0, rest),
        bits => ((rest >> (u64::BITS - bits)) as usize, rest << bits),
    }
}

/// Where a key stands in a page, or would stand: from the place at which it is to be expected, one by one.
fn find(page: &[(u64, Slots)], key: u64, place: u64) -> Result<usize, usize> {
    let expected = (u128::from(place) * page.len() as u128) >> u64::BITS;
    let mut at = usize::try_from(expected).unwrap_or(0);
    while let Some((before, _)) = at.checked_sub(1).and_then(|before| page.get(before))
        && *before >= key
    {
        at -= 1;
    }
    while let Some((found, _)) = page.get(at)
        && *found < key
    {
        at += 1;
    }
    match page.get(at) {
        Some((found, _)) if *found == key => Ok(at),
        _ => Err(at),
    }
}

impl Keys {
    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: u64) -> Option<&Slots> {
        let branch = self.branches.get(branch_of(key))?;
        let (number, place) = page_of(key, branch.len());
        let page = branch.get(number)?;
        find(page, key, place).ok().and_then(|at| page.get(at)).map(|(_, slots)| slots)
    }

    /// Adds an entry to the set of a key.
    pub(super) fn put(&mut self, key: u64, slot: u32) {
        let Some((page, place)) = self.page_mut(key) else { return };
        match find(page, key, place) {
            Ok(at) => {
                if let Some((_, slots)) = Arc::make_mut(page).get_mut(at) {
                    slots.insert(slot);
                }
            }
            Err(at) => {
                let (before, behind) = page.split_at(at);
                let all = before.iter().cloned().chain([(key, Slots::One(slot))]).chain(behind.iter().cloned());
                *page = all.collect();
                let is_full = page.len() > PAGE_MAX;
                self.len += 1;
                if is_full {
                    self.spread(branch_of(key));
                }
            }
        }
    }

    /// Takes an entry out of the set of a key, and the key with the last one.
    pub(super) fn take(&mut self, key: u64, slot: u32) {
        let Some((page, place)) = self.page_mut(key) else { return };
        let Ok(at) = find(page, key, place) else { return };
        if matches!(page.get(at), Some((_, Slots::One(only))) if *only == slot) {
            *page = page.iter().take(at).chain(page.iter().skip(at + 1)).cloned().collect();
            self.len -= 1;
        } else if let Some((_, slots)) = Arc::make_mut(page).get_mut(at) {
            // One entry is always `One`, so another is left.
            slots.remove(slot);
        }
    }

    fn page_mut(&mut self, key: u64) -> Option<(&mut Page, u64)> {
        let branch = Arc::make_mut(&mut self.branches).get_mut(branch_of(key))?;
        let (number, place) = page_of(key, branch.len());
        Arc::make_mut(branch).get_mut(number).map(|page| (page, place))
    }

    /// Gives a branch twice as many pages.
    fn spread(&mut self, number: usize) {
        let Some(branch) = Arc::make_mut(&mut self.branches).get_mut(number) else { return };
        let pages = branch.len() * 2;
        if pages.trailing_zeros() > PAGE_BITS_MAX {
            return;
        }
        let halves = branch.iter().enumerate().flat_map(|(number, page)| {
            let middle = page.partition_point(|(key, _)| page_of(*key, pages).0 == number * 2);
            let (left, right) = page.split_at(middle);
            [Page::from(left), Page::from(right)]
        });
        *branch = halves.collect();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    type Model = BTreeMap<u64, BTreeSet<u32>>;

    fn check(keys: &Keys, model: &Model, asked: &[u64]) {
        assert_eq!(keys.len(), model.len());
        for key in asked {
            let found: Option<BTreeSet<u32>> = keys.get(*key).map(|slots| slots.iter().collect());
            assert_eq!(found.as_ref(), model.get(key), "{key:x}");
        }
        let mut all = 0;
        for page in keys.branches.iter().flat_map(|branch| branch.iter()) {
            assert!(page.windows(2).all(|pair| pair[0].0 < pair[1].0), "sorted");
            all += page.len();
        }
        assert_eq!(all, model.len());
    }

    proptest! {
        #[test]
        fn it_is_a_map_of_sets_and_older_ones_stay(
            // Some keys stand close together, so that branches are spread and places are guessed wrongly.
            keys in prop::collection::vec(prop_oneof![any::<u64>(), (0..400u64).prop_map(|low| low << 40)], 1..500),
            steps in prop::collection::vec((any::<prop::sample::Index>(), 0..3u32, 0..4u8), 1..1500),
        ) {
            let (mut map, mut model) = (Keys::default(), Model::new());
            let mut old = Vec::new();
            for (number, (at, slot, action)) in steps.into_iter().enumerate() {
                let key = keys[at.index(keys.len())];
                if action > 0 {
                    map.put(key, slot);
                    model.entry(key).or_default().insert(slot);
                } else {
                    map.take(key, slot);
                    if model.get_mut(&key).is_some_and(|slots| slots.remove(&slot) && slots.is_empty()) {
                        model.remove(&key);
                    }
                }
                if number % 400 == 0 {
                    old.push((map.clone(), model.clone()));
                }
            }
            check(&map, &model, &keys);
            for (map, model) in &old {
                check(map, model, &keys);
            }
        }
    }

    #[test]
    fn pages_stay_small_when_keys_are_random_and_none_is_lost_when_they_are_not() {
        let mut map = Keys::default();
        let mut key = 1u64;
        for _ in 0..100_000 {
            key = key.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            map.put(key.rotate_left(32) ^ key, 1);
        }
        let longest = map.branches.iter().flat_map(|branch| branch.iter()).map(|page| page.len()).max().unwrap();
        assert!(longest <= PAGE_MAX && map.len() == 100_000, "{longest}");
        let mut map = Keys::default();
        (0..1_000).for_each(|key| map.put(key, 7));
        assert!((0..1_000).all(|key| map.get(key).is_some()) && map.get(1_000).is_none());
    }
}
