//! What the writer, the readers and reports share: segments, destinations, and the rules between them. No I/O.

use std::collections::VecDeque;

use super::{
    Damage, Gap, Policy,
    group::Group,
    table::{Count, Destination, Table, Totals},
};

/// Gaps, and damaged ranges, that are remembered.
pub(super) const REMEMBERED: usize = 256;
/// Segments that may be deleted between others, neighbours counted as one.
pub(super) const HOLES_MAX: usize = 512;
/// Octets between two entries of a segment's index.
const INDEX_STEP: u64 = 256 << 10;

/// A segment as it is known without reading it.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) first: u64,
    /// Octets that are durable, header included.
    pub(super) len: u64,
    /// Where records begin; 0 if the header is damaged.
    pub(super) header_len: u64,
    pub(super) created_us: i64,
    pub(super) epoch: u64,
    /// Totals before its first record.
    pub(super) totals: Totals,
    /// Some of it is damaged, so its counts may be too low.
    pub(super) inexact: bool,
    /// (sequence, offset) of some records, in order; only of segments written since the opening.
    pub(super) index: Vec<(u64, u64)>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Oldest first; the last one is being written if `active`.
    pub(super) segments: VecDeque<Segment>,
    pub(super) active: bool,
    pub(super) table: Table,
    /// Everything up to here is durable.
    pub(super) durable: u64,
    pub(super) deleted_below: u64,
    /// First and last sequences of segments that were deleted between others, in order.
    pub(super) holes: Vec<(u64, u64)>,
    pub(super) gaps: VecDeque<Gap>,
    pub(super) damage: VecDeque<Damage>,
    /// Why nothing is made durable at present, and since when.
    pub(super) stall: Option<(String, i64)>,
    /// Something of the table has changed since it was written.
    pub(super) dirty: bool,
}

/// How room can be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Relief {
    /// The segment at this place goes.
    Delete(usize),
    /// The segment being written must be closed first; it is the only one.
    Close,
    /// A destination needs the oldest segment and may not lose it.
    Held(String),
    /// There is nothing to delete.
    Nothing,
}

impl State {
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// The last sequence that a segment can hold, and the totals behind it.
    pub(super) fn end_of(&self, at: usize) -> (u64, &Totals) {
        match self.segments.get(at + 1) {
            Some(next) => (next.first - 1, &next.totals),
            None => (self.durable, &self.table.totals),
        }
    }

    /// Number of segments that are not written to any more.
    fn sealed(&self) -> usize {
        self.segments.len() - usize::from(self.active)
    }

    /// The segment in which a sequence is, or would be.
    pub(super) fn position(&self, sequence: u64) -> Option<usize> {
        self.segments.partition_point(|segment| segment.first <= sequence).checked_sub(1)
    }

    /// Whether a destination has records in a segment that it has not had.
    fn needs(&self, at: usize, id: u16, destination: &Destination) -> bool {
        let Some(segment) = self.segments.get(at) else { return false };
        let (end, totals) = self.end_of(at);
        // What was done does not count here if it all lies before: damage that was found since may have taken records away
        // that it counts.
        let before = segment.totals.get(id).records;
        let had = if destination.cursor < segment.first { before } else { destination.done.records.max(before) };
        destination.cursor < end && (segment.inexact || totals.get(id).records > had)
    }

    fn needed(&self, at: usize) -> bool {
        self.table.destinations.iter().any(|(id, destination)| self.needs(at, *id, destination))
    }

    /// Segments from the oldest on that were sealed `keep_us` ago and that nobody needs.
    pub(super) fn expired(&self, now_us: i64, keep_us: i64) -> usize {
        let sealed_us = |at: usize| self.segments.get(at + 1).map_or(now_us, |next| next.created_us);
        (0..self.sealed())
            .take_while(|at| now_us.saturating_sub(sealed_us(*at)) >= keep_us && !self.needed(*at))
            .count()
    }

    /// How room for more can be made: by what nobody needs, else by the oldest.
    pub(super) fn relief(&self) -> Relief {
        if self.segments.is_empty() {
            return Relief::Nothing;
        }
        let mut between = 0..if self.holes.len() < HOLES_MAX { self.sealed() } else { 0 };
        if let Some(at) = between.find(|at| !self.needed(*at)) {
            return Relief::Delete(at);
        }
        let mut needing = self.table.destinations.iter().filter(|(id, destination)| self.needs(0, **id, destination));
        if let Some((_, holder)) = needing.find(|(_, destination)| destination.policy != Policy::DropOldest) {
            return Relief::Held(holder.name.clone());
        }
        if self.sealed() == 0 { Relief::Close } else { Relief::Delete(0) }
    }

    /// Moves all cursors behind the oldest `count` segments, and counts what is lost by it.
    pub(super) fn leave_behind(&mut self, count: usize) {
        for at in 0..count {
            let (end, totals) = self.end_of(at);
            let totals = totals.clone();
            for (id, destination) in &mut self.table.destinations {
                if destination.cursor < end {
                    let total = totals.get(*id);
                    destination.dropped += total.records.saturating_sub(destination.done.records);
                    destination.pass(end, total);
                }
            }
        }
        self.deleted_below = match self.segments.get(count) {
            Some(next) => next.first,
            None => self.durable + 1,
        };
        let deleted_below = self.deleted_below;
        self.holes.retain(|(from, _)| *from >= deleted_below);
        self.dirty = true;
    }

    /// Notes that a segment between others is gone, which nobody needs.
    pub(super) fn leave_out(&mut self, at: usize) {
        let Some(segment) = self.segments.get(at) else { return };
        let (from, to) = (segment.first, self.end_of(at).0);
        let place = self.holes.partition_point(|hole| hole.1 < from);
        self.holes.insert(place, (from, to));
        self.holes.dedup_by(|next, before| {
            let adjacent = next.0 <= before.1.saturating_add(1);
            before.1 = if adjacent { before.1.max(next.1) } else { before.1 };
            adjacent
        });
        self.dirty = true;
    }

    /// Whether a segment that begins there was deleted.
    pub(super) fn is_deleted(&self, first: u64) -> bool {
        first < self.deleted_below || self.holes.iter().any(|(from, to)| (*from..=*to).contains(&first))
    }

    /// Takes over a group that is durable.
    pub(super) fn durable(&mut self, group: &mut Group, offset: u64) {
        for share in &mut group.shares {
            share.before = self.table.totals.get(share.id);
            self.table.totals.add(share.id, share.count);
        }
        self.durable = group.last;
        // So that the cursors file tells how far is sure, should this segment be found damaged.
        self.dirty = true;
        if group.bytes.is_empty() {
            return;
        }
        if let Some(segment) = self.segments.back_mut() {
            segment.len = offset + group.bytes.len() as u64;
            if segment.index.last().is_none_or(|(_, last)| offset - last >= INDEX_STEP) {
                segment.index.push((group.first, offset));
            }
        }
    }

    /// Takes over that a destination has had everything up to `cursor`, of which the totals count `done`.
    pub(super) fn commit(&mut self, id: u16, cursor: u64, done: Count, lost: u64, oldest_us: Option<i64>) {
        let Some(destination) = self.table.destinations.get_mut(&id) else { return };
        if cursor > destination.cursor {
            destination.lost += lost;
            destination.pass(cursor, done);
            destination.oldest_us = oldest_us;
            self.dirty = true;
        }
    }

    pub(super) fn remember_damage(&mut self, damage: Damage) {
        remember(&mut self.damage, damage);
    }

    pub(super) fn remember_gap(&mut self, gap: Gap) {
        remember(&mut self.gaps, gap);
    }
}

fn remember<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() == REMEMBERED {
        list.pop_front();
    }
    list.push_back(item);
}

impl Destination {
    /// Moves the cursor forward.
    fn pass(&mut self, cursor: u64, done: Count) {
        self.cursor = cursor;
        self.done = done;
        self.oldest_us = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments of ten sequences each, all of them for `a` (0), the even segments' for `b` (1) too.
    fn state(segments: u64) -> (State, u16, u16) {
        let mut state = State { active: true, ..State::default() };
        let (a, b) = (state.table.insert("a", 0).unwrap(), state.table.insert("b", 0).unwrap());
        for i in 0..segments {
            state.segments.push_back(Segment {
                first: 1 + i * 10,
                len: 100,
                header_len: 10,
                created_us: i as i64 * 1000,
                epoch: 1,
                totals: state.table.totals.clone(),
                inexact: false,
                index: Vec::new(),
            });
            state.table.totals.add(a, Count { records: 10, bytes: 90 });
            if i % 2 == 0 {
                state.table.totals.add(b, Count { records: 10, bytes: 90 });
            }
        }
        state.durable = segments * 10;
        (state, a, b)
    }

    fn commit(state: &mut State, id: u16, cursor: u64, records: u64) {
        state.commit(id, cursor, Count { records, bytes: 0 }, 0, None);
    }

    #[test]
    fn what_nobody_needs_expires_when_it_is_old() {
        let (mut state, a, b) = state(4);
        assert_eq!(state.expired(i64::MAX, 0), 0);
        commit(&mut state, a, 35, 35);
        commit(&mut state, b, 9, 9);
        assert_eq!(state.expired(10_000, 0), 0, "b needs the tenth");
        commit(&mut state, b, 10, 10);
        assert_eq!(state.expired(10_000, 0), 2, "the second holds nothing for b");
        assert_eq!(state.expired(2_500, 1000), 1, "the second was sealed at 2000");
        commit(&mut state, a, 40, 40);
        commit(&mut state, b, 40, 20);
        assert_eq!(state.expired(10_000, 0), 3, "the active one stays");
    }

    #[test]
    fn room_is_made_by_policy_and_counted() {
        let (mut state, a, b) = state(3);
        commit(&mut state, a, 4, 4);
        assert_eq!(state.relief(), Relief::Delete(0));
        state.leave_behind(1);
        let of = |state: &State, id| {
            let destination = &state.table.destinations[&id];
            (destination.cursor, destination.done.records, destination.dropped)
        };
        assert_eq!((of(&state, a), of(&state, b)), ((10, 10, 6), (10, 10, 10)));
        assert_eq!(state.deleted_below, 11);
        state.segments.pop_front();
        state.table.destinations.get_mut(&b).unwrap().policy = Policy::Block;
        assert_eq!(state.relief(), Relief::Delete(0), "nothing of it is for b");
        state.leave_behind(1);
        state.segments.pop_front();
        assert_eq!(state.relief(), Relief::Held("b".into()));
        commit(&mut state, b, 30, 20);
        assert_eq!(state.relief(), Relief::Close);
        state.active = false;
        state.leave_behind(1);
        state.segments.pop_front();
        assert_eq!((state.relief(), state.deleted_below), (Relief::Nothing, 31));
        assert_eq!((of(&state, a), of(&state, b)), ((30, 30, 26), (30, 20, 10)));
    }

    #[test]
    fn what_nobody_needs_goes_first_even_between_others() {
        let (mut state, a, b) = state(6);
        state.table.destinations.get_mut(&b).unwrap().policy = Policy::Block;
        assert_eq!(state.relief(), Relief::Held("b".into()));
        commit(&mut state, a, 60, 60);
        assert_eq!(state.relief(), Relief::Delete(1), "only a wanted it");
        for at in [1, 1] {
            state.leave_out(at);
            state.segments.remove(at);
        }
        assert_eq!(state.holes, [(11, 30)], "neighbours are one");
        assert_eq!(state.relief(), Relief::Delete(1), "it begins at 31");
        assert!(state.is_deleted(21) && !state.is_deleted(31));
        state.leave_behind(1);
        assert_eq!((state.deleted_below, state.holes.len()), (31, 0));
    }

    #[test]
    fn damage_makes_counts_unreliable_and_cursors_count_alone() {
        let (mut state, a, b) = state(2);
        state.segments[0].inexact = true;
        commit(&mut state, a, 9, 10);
        commit(&mut state, b, 10, 10);
        assert_eq!(state.expired(10_000, 0), 0);
        commit(&mut state, a, 10, 10);
        assert_eq!(state.expired(10_000, 0), 1);
    }
}
