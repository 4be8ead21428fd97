//! From batches to a group: records get their sequence and CRC, duplicates stay out, destinations are counted.
//!
//! A relayed message that takes several roads stands in its batch as several records, one right after the other, all
//! with the origin of the message. They are judged as one, and each but the last is marked by [`Flags::MORE`], so that of
//! a write that did not come to its end it can be told whether the last message is whole.

use bytes::Bytes;

use super::{
    octets::Octets,
    origins::{Origin, Origins, Pending, Verdict},
    queue::Entry,
    table::Count,
    walk::received_us,
};
use crate::message::{FIELDS, Field, Flags, HEADER, Records};

/// Offset of the flags in a record, as [`crate::message`] lays it out.
const FLAGS: usize = 54;

/// Of one destination in a group or a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) id: u16,
    pub(super) count: Count,
    /// Time of receipt of the first of its records.
    pub(super) first_us: i64,
    /// Totals before them; known once they are durable.
    pub(super) before: Count,
}

/// Counts records by destination. Neighbours mostly go to the same ones, so a list is remembered as it stands.
#[derive(Debug, Default)]
pub(super) struct Shares {
    list: Vec<Share>,
    same: Vec<u8>,
    run: Count,
    run_us: i64,
}

impl Shares {
    pub(super) fn add(&mut self, record: &[u8], destinations: &[u8]) {
        if destinations != self.same || self.run.records == 0 {
            self.flush();
            self.same.clear();
            self.same.extend_from_slice(destinations);
            self.run_us = received_us(record);
        }
        self.run.add(Count { records: 1, bytes: record.len() as u64 });
    }

    fn flush(&mut self) {
        let run = std::mem::take(&mut self.run);
        if run.records == 0 {
            return;
        }
        let pairs = self.same.as_chunks::<2>().0;
        for (i, pair) in pairs.iter().enumerate() {
            // A number that stands there twice is still one delivery.
            if pairs.iter().take(i).any(|before| before == pair) {
                continue;
            }
            let id = u16::from_le_bytes(*pair);
            match self.list.iter_mut().find(|share| share.id == id) {
                Some(share) => share.count.add(run),
                None => self.list.push(Share { id, count: run, first_us: self.run_us, before: Count::default() }),
            }
        }
    }

    pub(super) fn finish(mut self) -> Vec<Share> {
        self.flush();
        self.list
    }
}

/// Origin and destinations of a record, without reading the rest of it.
pub(super) fn routing(record: &[u8]) -> Option<(&[u8], &[u8])> {
    let lengths: &[u8; 2 * FIELDS] = record.get(HEADER - 2 * FIELDS..)?.first_chunk()?;
    let (lengths, _) = lengths.as_chunks::<2>();
    let length = |field: Field| lengths.get(field as usize).map(|pair| usize::from(u16::from_le_bytes(*pair)));
    let before: usize =
        lengths.iter().take(Field::Origin as usize).map(|pair| usize::from(u16::from_le_bytes(*pair))).sum();
    let mut octets = Octets(record.get(HEADER + before..)?);
    Some((octets.take(length(Field::Origin)?)?, octets.take(length(Field::Destinations)?)?))
}

/// Whether the record behind it is of the same message.
pub(super) fn has_more(record: &[u8]) -> bool {
    let pair = record.get(FLAGS..).and_then(|flags| flags.first_chunk());
    pair.is_some_and(|pair| Flags(u16::from_le_bytes(*pair)).has(Flags::MORE))
}

/// What of encoded records is for one destination.
pub(super) fn share_of(bytes: &[u8], id: u16) -> Option<Share> {
    let mut share: Option<Share> = None;
    for record in Records(bytes) {
        let Some((_, destinations)) = routing(record) else { continue };
        if destinations.as_chunks::<2>().0.contains(&id.to_le_bytes()) {
            let none = Count::default();
            let share = share.get_or_insert(Share { id, count: none, first_us: received_us(record), before: none });
            share.count.add(Count { records: 1, bytes: record.len() as u64 });
        }
    }
    share
}

/// The record before, in its batch: the next one of the same message shares its fate.
#[derive(Debug, Default)]
struct Before<'a> {
    origin: &'a [u8],
    is_new: bool,
}

/// A record that is to be written.
struct Admitted<'a> {
    destinations: &'a [u8],
    /// It is of the same message as the one before.
    goes_on: bool,
}

/// Records on the way to the disk; kept until they are durable, whatever fails.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// The records, ready to be written.
    pub(super) bytes: Bytes,
    pub(super) records: u64,
    /// All sequences from the first to the last were claimed by these batches; duplicates leave theirs unused.
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) received_us: i64,
    pub(super) shares: Vec<Share>,
    /// Marks of origins, to be merged when it is durable.
    pub(super) origins: Pending,
    /// Messages that were here already.
    pub(super) duplicates: u64,
    /// Origins that could not be read; such records are taken as they are.
    pub(super) bad_origins: u64,
    /// Records that were none, or more than their batch had claimed; they are left out.
    pub(super) malformed: u64,
    /// Gaps of streams: the stream, and the first and last sequence that is missing.
    pub(super) gaps: Vec<(Box<[u8]>, u64, u64)>,
}

impl Group {
    /// Builds a group from batches that were claimed one after the other.
    pub(super) fn build(entries: &[Entry], origins: &Origins) -> Self {
        let mut group = Self { first: entries.first().map_or(0, |entry| entry.first), ..Self::default() };
        let mut out = Vec::with_capacity(entries.iter().map(|entry| entry.bytes.len()).sum());
        let mut shares = Shares::default();
        for entry in entries {
            let mut before = Before::default();
            let mut records = Records(&entry.bytes);
            let mut seen = 0;
            // Where the record begins that is complete when it is known whether the next is of the same message.
            let mut unsealed = None;
            for record in records.by_ref().take(entry.count as usize) {
                if let Some(admitted) = group.admits(record, &mut before, origins) {
                    shares.add(record, admitted.destinations);
                    seal(&mut out, unsealed, admitted.goes_on);
                    unsealed = Some(out.len());
                    group.record(&mut out, record, entry.first + seen);
                }
                seen += 1;
            }
            seal(&mut out, unsealed, false);
            group.malformed += u64::from(entry.count) - seen + records.count() as u64;
            group.last = (entry.first + u64::from(entry.count)).saturating_sub(1);
        }
        group.received_us = received_us(&out);
        group.shares = shares.finish();
        group.bytes = Bytes::from(out);
        group
    }

    /// What a record is that is to be written: it is one, and its message is not here already.
    fn admits<'a>(&mut self, record: &'a [u8], before: &mut Before<'a>, origins: &Origins) -> Option<Admitted<'a>> {
        let Some((origin, destinations)) = routing(record) else {
            self.malformed += 1;
            return None;
        };
        let goes_on = !origin.is_empty() && origin == before.origin;
        if !goes_on {
            *before = Before { origin, is_new: self.is_new(origin, origins) };
        }
        before.is_new.then_some(Admitted { destinations, goes_on })
    }

    /// Judges the origin of a message, and counts.
    fn is_new(&mut self, origin: &[u8], origins: &Origins) -> bool {
        if origin.is_empty() {
            return true;
        }
        let Some(origin) = Origin::parse(origin) else {
            self.bad_origins += 1;
            return true;
        };
        match origins.judge(&mut self.origins, &origin) {
            Verdict::Duplicate => {
                self.duplicates += 1;
                return false;
            }
            Verdict::Gap(from, to) => self.gaps.push((origin.stream.into(), from, to)),
            Verdict::Fresh => {}
        }
        true
    }

    fn record(&mut self, out: &mut Vec<u8>, record: &[u8], sequence: u64) {
        let start = out.len();
        out.extend_from_slice(record);
        if let Some(written) = out.get_mut(start..)
            && let Some((header, _)) = written.split_first_chunk_mut::<HEADER>()
        {
            header[8..16].copy_from_slice(&sequence.to_le_bytes());
        }
        self.records += 1;
    }
}

/// Gives the last record, which begins at `start`, its mark of whether the next is of the same message, and its CRC.
fn seal(out: &mut [u8], start: Option<usize>, more: bool) {
    let Some(record) = start.and_then(|start| out.get_mut(start..)).filter(|record| record.len() >= HEADER) else {
        return;
    };
    let flags = Flags(u16::from_le_bytes([record[FLAGS], record[FLAGS + 1]]));
    let flags = if more { flags.with(Flags::MORE) } else { flags.without(Flags::MORE) };
    record[FLAGS..FLAGS + 2].copy_from_slice(&flags.0.to_le_bytes());
    let crc = crc32c::crc32c(&record[8..]).to_le_bytes();
    record[4..8].copy_from_slice(&crc);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Batch, Message};

    fn entry(first: u64, messages: &[(&str, &[u8])]) -> Entry {
        let mut batch = Batch::default();
        for (i, (origin, destinations)) in messages.iter().enumerate() {
            let mut message = Message::unread(b"raw", first as i64 * 100 + i as i64);
            message.set(Field::Origin, origin.as_bytes());
            message.set(Field::Destinations, destinations);
            assert!(batch.push(&message));
        }
        Entry { bytes: batch.bytes().to_vec(), first, count: batch.count() }
    }

    #[test]
    fn a_group_is_numbered_sealed_and_counted() {
        let entries = [
            entry(7, &[("", &[1, 0]), ("s/1/5/0", &[1, 0, 2, 0]), ("s/1/4/0", &[1, 0])]),
            entry(10, &[("s/1/9/7", &[2, 0, 2, 0]), ("what", &[])]),
        ];
        let group = Group::build(&entries, &Origins::default());
        let sequences: Vec<_> = Records(&group.bytes).map(|r| Message::decode(r).unwrap().sequence).collect();
        assert_eq!(sequences, [7, 8, 10, 11], "a duplicate leaves its number unused");
        for record in Records(&group.bytes) {
            assert_eq!(record[4..8], crc32c::crc32c(&record[8..]).to_le_bytes());
        }
        assert_eq!((group.first, group.last, group.records, group.received_us), (7, 11, 4, 700));
        assert_eq!((group.duplicates, group.bad_origins, group.malformed), (1, 1, 0));
        assert_eq!(group.gaps, [(b"s".as_slice().into(), 6, 7)]);
        let of = |id| group.shares.iter().find(|share| share.id == id).map(|s| (s.count.records, s.first_us)).unwrap();
        assert_eq!((of(1), of(2)), ((2, 700), (2, 701)));
        for id in [1, 2] {
            let share = group.shares.iter().find(|share| share.id == id).copied();
            assert_eq!(share_of(&group.bytes, id), share);
        }
        assert_eq!(share_of(&group.bytes, 3), None);
    }

    #[test]
    fn records_of_one_message_share_its_fate() {
        let mut origins = Origins::default();
        let twice: &[(&str, &[u8])] =
            &[("s/1/5/0", &[1, 0]), ("s/1/5/0", &[2, 0]), ("s/1/9/7", &[1, 0]), ("s/1/9/7", &[2, 0])];
        let mut group = Group::build(&[entry(1, twice)], &origins);
        assert_eq!((group.records, group.duplicates, group.gaps.len()), (4, 0, 1), "a gap is counted once");
        origins.merge(std::mem::take(&mut group.origins));
        let new: &[(&str, &[u8])] =
            &[("s/1/9/7", &[1, 0]), ("s/1/9/7", &[2, 0]), ("s/1/10/9", &[1, 0]), ("s/1/10/9", &[2, 0])];
        let group = Group::build(&[entry(5, new), entry(9, &[("s/1/10/9", &[3, 0])])], &origins);
        let sequences: Vec<_> = Records(&group.bytes).map(|r| Message::decode(r).unwrap().sequence).collect();
        assert_eq!(sequences, [7, 8], "in another batch it is a resend");
        assert_eq!((group.duplicates, group.gaps.len()), (2, 0));
        let bad = Group::build(&[entry(1, &[("what", &[1, 0]), ("what", &[2, 0])])], &origins);
        assert_eq!((bad.records, bad.bad_origins), (2, 1));
    }

    #[test]
    fn a_record_says_whether_the_next_is_of_the_same_message_whatever_it_said_before() {
        let mut origins = Origins::default();
        let known = Group::build(&[entry(1, &[("s/1/3/0", &[1, 0])])], &origins);
        origins.merge(known.origins);
        let mut all = entry(
            2,
            &[
                ("", &[1, 0]),
                ("", &[2, 0]),
                ("s/1/4/3", &[1, 0]),
                ("s/1/4/3", &[2, 0]),
                ("s/1/4/3", &[3, 0]),
                ("s/1/3/0", &[1, 0]),
                ("s/1/5/4", &[1, 0]),
                ("s/1/5/4", &[2, 0]),
            ],
        );
        for came_with in [0, Flags::MORE.0 | Flags::KNOWN.0] {
            let mut at = 0;
            while at < all.bytes.len() {
                all.bytes[at + FLAGS..at + FLAGS + 2].copy_from_slice(&came_with.to_le_bytes());
                at += u32::from_le_bytes(*all.bytes[at..].first_chunk().unwrap()) as usize;
            }
            let group = Group::build(std::slice::from_ref(&all), &origins);
            let found: Vec<_> = Records(&group.bytes).map(|r| Message::decode(r).unwrap().flags).collect();
            let more: Vec<bool> = found.iter().map(|flags| flags.has(Flags::MORE)).collect();
            assert_eq!(more, [false, false, true, true, false, true, false]);
            assert!(found.iter().all(|flags| flags.has(Flags::KNOWN) == (came_with != 0)), "others stay");
            for record in Records(&group.bytes) {
                assert_eq!(record[4..8], crc32c::crc32c(&record[8..]).to_le_bytes());
            }
        }
        // The last of a batch says nothing of the next batch.
        let batches = [entry(1, &[("s/1/6/5", &[1, 0])]), entry(2, &[("s/1/7/6", &[1, 0])])];
        let group = Group::build(&batches, &origins);
        assert!(Records(&group.bytes).all(|record| !has_more(record)));
    }

    #[test]
    fn what_is_no_record_is_left_out_and_counted() {
        let mut short = entry(1, &[("", &[]), ("", &[])]);
        short.bytes.truncate(short.bytes.len() - 1);
        let mut more = entry(3, &[("", &[]), ("", &[])]);
        more.count = 1;
        let mut lying = entry(4, &[("", &[])]);
        lying.bytes[HEADER - 2] = 200;
        let group = Group::build(&[short, more, lying], &Origins::default());
        assert_eq!((group.records, group.malformed, group.last), (2, 3, 4));
    }
}
