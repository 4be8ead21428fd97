//! What was made durable last, in memory, for readers that keep up.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    group::{Group, Share},
    walk::sequence,
};
use crate::message::Records;

/// Octets that are kept.
pub(super) const TAIL_MAX: usize = 8 << 20;
/// Groups that are kept.
const GROUPS_MAX: usize = 4096;

/// A group that is durable.
#[derive(Debug, Clone)]
pub(super) struct Durable {
    pub(super) bytes: Bytes,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) epoch: u64,
    shares: Vec<Share>,
}

impl Durable {
    /// What of it is for a destination, if anything is.
    pub(super) fn share(&self, id: u16) -> Option<Share> {
        self.shares.iter().find(|share| share.id == id).copied()
    }
}

/// The groups that became durable last, oldest first.
#[derive(Debug, Default)]
pub(super) struct Tail {
    groups: VecDeque<Durable>,
    bytes: usize,
}

impl Tail {
    pub(super) fn push(&mut self, group: &Group, epoch: u64) {
        if group.bytes.is_empty() {
            // Nothing but duplicates: their numbers belong to the group before.
            if let Some(back) = self.groups.back_mut() {
                back.last = group.last;
            }
            return;
        }
        self.bytes += group.bytes.len();
        let (bytes, shares) = (group.bytes.clone(), group.shares.clone());
        self.groups.push_back(Durable { bytes, first: group.first, last: group.last, epoch, shares });
        while self.bytes > TAIL_MAX || self.groups.len() > GROUPS_MAX {
            let Some(gone) = self.groups.pop_front() else { break };
            self.bytes -= gone.bytes.len();
        }
    }

    /// The group with the first record at or behind a sequence, if all from there on are here.
    pub(super) fn from(&self, sequence: u64) -> Option<&Durable> {
        self.all_from(sequence).next()
    }

    /// Time of receipt of a destination's first record at or behind a sequence, if all from there on are here.
    pub(super) fn first_us(&self, sequence: u64, id: u16) -> Option<i64> {
        self.all_from(sequence).find_map(|group| group.share(id)).map(|share| share.first_us)
    }

    fn all_from(&self, sequence: u64) -> impl Iterator<Item = &Durable> {
        let all = self.groups.front().is_some_and(|front| front.first <= sequence);
        let at = if all { self.groups.partition_point(|group| group.last < sequence) } else { self.groups.len() };
        self.groups.range(at..)
    }
}

/// Offset of the first record at or behind a sequence.
pub(super) fn offset_of(bytes: &[u8], wanted: u64) -> usize {
    Records(bytes).take_while(|record| sequence(record) < wanted).map(<[u8]>::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(first: u64, last: u64, length: usize) -> Group {
        Group { bytes: Bytes::from(vec![0; length]), first, last, ..Group::default() }
    }

    #[test]
    fn the_last_groups_are_here() {
        let mut tail = Tail::default();
        assert!(tail.from(1).is_none());
        tail.push(&group(1, 10, TAIL_MAX / 2), 1);
        tail.push(&group(11, 12, TAIL_MAX / 2), 1);
        tail.push(&group(13, 14, 0), 1);
        assert_eq!(tail.from(5).map(|group| group.first), Some(1));
        assert_eq!(tail.from(11).map(|group| (group.first, group.last)), Some((11, 14)));
        assert!(tail.from(15).is_none());
        tail.push(&group(15, 15, 1), 1);
        assert!(tail.from(5).is_none(), "it made room");
        assert_eq!(tail.from(14).map(|group| group.first), Some(11));
    }
}
