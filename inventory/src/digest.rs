//! The state hash: one digest per row, summed into 256 buckets, one root over the buckets.
//!
//! A row's digest is BLAKE3 over its key and its canonical JSON. A bucket is the lane-wise sum
//! (four u64, wrapping) of the digests of its rows, so adding and removing a row costs the same at
//! any size, and order does not matter. Two nodes that differ compare buckets to find which of 256
//! slices of the rows to compare. The sum is an equality check between nodes that trust each
//! other, not a commitment against an adversary who chooses rows.

use crate::change::Row;

/// Number of buckets.
pub const BUCKETS: usize = 256;

/// Sums of row digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets(Box<[[u64; 4]; BUCKETS]>);

impl Default for Buckets {
    fn default() -> Self {
        Self(Box::new([[0; 4]; BUCKETS]))
    }
}

impl Buckets {
    /// Adds a row.
    pub fn add(&mut self, row: &Row) {
        self.fold(row, u64::wrapping_add);
    }

    /// Takes a row away that was added before.
    pub fn remove(&mut self, row: &Row) {
        self.fold(row, u64::wrapping_sub);
    }

    fn fold(&mut self, row: &Row, op: fn(u64, u64) -> u64) {
        let digest = row_digest(row);
        let lanes = &mut self.0[usize::from(digest[0])];
        for (lane, bytes) in lanes.iter_mut().zip(digest.as_chunks::<8>().0) {
            *lane = op(*lane, u64::from_le_bytes(*bytes));
        }
    }

    /// The root: BLAKE3 over all buckets in order.
    pub fn root(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for lane in self.0.iter().flatten() {
            hasher.update(&lane.to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// Digest of one row.
pub fn row_digest(row: &Row) -> [u8; 32] {
    let key = row.key();
    let mut hasher = blake3::Hasher::new();
    hasher.update(key.kind().as_bytes());
    hasher.update(&[0]);
    hasher.update(key.text().as_bytes());
    hasher.update(&[0]);
    hasher.update(&row.encode());
    *hasher.finalize().as_bytes()
}
