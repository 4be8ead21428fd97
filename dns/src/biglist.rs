//! The records of a large set: sorted, shared between versions, cheap to change and to start anywhere.
//!
//! Chunks of at most [`CHUNK_MAX`] records behind one list of chunks. A change copies one chunk and
//! the list: at 125,000 records that is 250 records and about 700 pointers. `imbl::Vector` was tried:
//! inserting in its middle splits and joins trees, which took half of the time of a start at 1,000,000 hosts.

use std::sync::Arc;

use crate::rr::Rdata;

/// Records of a chunk at most; a chunk that grows beyond is halved.
const CHUNK_MAX: usize = 256;

/// Sorted records without repetition.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct BigList {
    /// None of them is empty.
    chunks: Arc<Vec<Arc<Vec<Rdata>>>>,
    len: usize,
}

impl BigList {
    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All records in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rdata> + Send {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// All records, beginning at a place that `spin` chooses.
    pub(crate) fn iter_from(&self, spin: u32) -> impl Iterator<Item = &Rdata> + Send {
        let spin = spin as usize;
        let first = spin % self.chunks.len().max(1);
        let offset = self.chunks.get(first).map_or(0, |chunk| spin / self.chunks.len() % chunk.len());
        let (before, after) = self.chunks.split_at(first);
        let head = after.iter().flat_map(|chunk| chunk.iter()).skip(offset);
        let tail = before.iter().flat_map(|chunk| chunk.iter());
        let rest = after.first().into_iter().flat_map(move |chunk| chunk.iter().take(offset));
        head.chain(tail).chain(rest)
    }

    /// The chunk in which a record is or would be.
    fn chunk_of(&self, rdata: &Rdata) -> usize {
        self.chunks.partition_point(|chunk| chunk.first().is_some_and(|first| first <= rdata)).saturating_sub(1)
    }

    /// Whether the record is there.
    pub(crate) fn contains(&self, rdata: &Rdata) -> bool {
        self.chunks.get(self.chunk_of(rdata)).is_some_and(|chunk| chunk.binary_search(rdata).is_ok())
    }

    /// Adds a record in its place; false if it is there already.
    pub(crate) fn insert(&mut self, rdata: Rdata) -> bool {
        let at = self.chunk_of(&rdata);
        let Some(chunk) = self.chunks.get(at) else {
            self.chunks = Arc::new(vec![Arc::new(vec![rdata])]);
            self.len = 1;
            return true;
        };
        let Err(place) = chunk.binary_search(&rdata) else { return false };
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[at]);
        chunk.insert(place, rdata);
        if chunk.len() > CHUNK_MAX {
            let half = chunk.split_off(CHUNK_MAX / 2);
            chunks.insert(at + 1, Arc::new(half));
        }
        self.len += 1;
        true
    }

    /// Takes a record away; false if it is not there.
    pub(crate) fn remove(&mut self, rdata: &Rdata) -> bool {
        let at = self.chunk_of(rdata);
        let Some(Ok(place)) = self.chunks.get(at).map(|chunk| chunk.binary_search(rdata)) else { return false };
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[at]);
        chunk.remove(place);
        if chunk.is_empty() {
            chunks.remove(at);
        }
        self.len -= 1;
        true
    }
}

impl FromIterator<Rdata> for BigList {
    fn from_iter<T: IntoIterator<Item = Rdata>>(records: T) -> Self {
        let mut list = Self::default();
        for rdata in records {
            list.insert(rdata);
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_sorted_set(edits in proptest::collection::vec((any::<bool>(), 0..900_u16), 0..3000), spin: u32) {
            let (mut list, mut model) = (BigList::default(), BTreeSet::new());
            for (add, number) in edits {
                let rdata = Rdata::from(number.to_be_bytes());
                if add {
                    prop_assert_eq!(list.insert(rdata.clone()), model.insert(rdata));
                } else {
                    prop_assert_eq!(list.remove(&rdata), model.remove(&rdata));
                }
            }
            prop_assert_eq!(list.len(), model.len());
            prop_assert!(list.iter().eq(model.iter()));
            prop_assert!(model.iter().all(|rdata| list.contains(rdata)));
            let turned: Vec<&Rdata> = list.iter_from(spin).collect();
            prop_assert_eq!(turned.len(), model.len());
            prop_assert_eq!(turned.into_iter().collect::<BTreeSet<_>>(), model.iter().collect::<BTreeSet<_>>());
        }
    }
}
