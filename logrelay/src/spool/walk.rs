//! Finding the records in the octets of a segment, however damaged: pure, and never slower than in proportion.
//!
//! A record is valid if its length makes sense, its CRC is right, and its sequence is higher than that of the record
//! before it and lower than the first of the next segment. Behind an invalid one, its length is trusted if a valid
//! record is where it says; else the next place is searched at which a valid record begins. That the octets end there is
//! no reason for trust: what is found must not depend on how much is known of the file behind it. A candidate
//! found by searching must also be near in sequence, so that a record inside the text of a log line is not taken for one
//! of ours by chance.

use crate::message::{HEADER, RECORD_MAX};

/// A candidate found by searching is at most this much higher in sequence than the record before.
const NEAR: u64 = 1 << 24;
/// Octets for whose CRC a search may pay, per segment; behind that the rest of the segment counts as damaged.
const SEARCH_BUDGET: u64 = 256 << 20;

/// What is at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A valid record of this many octets.
    Record(usize),
    /// This many octets are damaged.
    Damage(usize),
    /// It takes this many octets from here, as far as there are any, to say.
    Need(usize),
    /// Nothing is left.
    End,
}

/// Where a walk over a segment is.
#[derive(Debug, Clone)]
pub(super) struct Walker {
    /// Sequence of the last valid record, or what all must be above.
    after: u64,
    /// What all sequences are below.
    before: u64,
    searching: bool,
    budget: u64,
}

/// Sequence of a record, which must have a whole header.
pub(super) fn sequence(record: &[u8]) -> u64 {
    record.get(8..16).and_then(|octets| octets.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Time of receipt of a record.
pub(super) fn received_us(record: &[u8]) -> i64 {
    record.get(16..24).and_then(|octets| octets.try_into().ok()).map_or(0, i64::from_le_bytes)
}

/// Length of the record that begins here, if it can be one.
fn length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    (HEADER..=RECORD_MAX).contains(&length).then_some(length)
}

/// Whether the CRC of a whole record is right.
fn is_sound(record: &[u8]) -> bool {
    let (Some(crc), Some(covered)) = (record.get(4..8), record.get(8..)) else { return false };
    crc == crc32c::crc32c(covered).to_le_bytes()
}

impl Walker {
    /// A walk over records with sequences above `after` and below `before`.
    pub(super) fn new(after: u64, before: u64) -> Self {
        Self { after, before, searching: false, budget: SEARCH_BUDGET }
    }

    /// Sequence of the last valid record.
    pub(super) fn last(&self) -> u64 {
        self.after
    }

    /// The segment has got an end.
    pub(super) fn limit(&mut self, before: u64) {
        self.before = before;
    }

    /// Some octets cannot be read: what is behind them may begin within a record.
    pub(super) fn interrupted(&mut self) {
        self.searching = true;
    }

    fn is_due(&self, bytes: &[u8], highest: u64) -> bool {
        let sequence = sequence(bytes);
        bytes.len() >= 16 && sequence > self.after && sequence < self.before && sequence <= highest
    }

    /// The length of the valid record that begins here, if there is one.
    fn valid(&self, bytes: &[u8]) -> Option<usize> {
        let record = bytes.get(..length(bytes)?)?;
        (self.is_due(record, u64::MAX) && is_sound(record)).then_some(record.len())
    }

    /// What is at the start of `bytes`; `complete` says that the segment ends with them.
    pub(super) fn step(&mut self, bytes: &[u8], complete: bool) -> Step {
        if bytes.is_empty() {
            return Step::End;
        }
        let promised = length(bytes).filter(|_| bytes.len() >= 16);
        if !complete && bytes.len() < 16 {
            return Step::Need(HEADER);
        }
        if let Some(length) = promised
            && length > bytes.len()
            && !complete
            && (!self.searching || self.is_due(bytes, self.after.saturating_add(NEAR)))
        {
            return Step::Need(length);
        }
        if let Some(length) = self.valid(bytes) {
            self.after = sequence(bytes);
            self.searching = false;
            return Step::Record(length);
        }
        match promised {
            Some(length) if !self.searching => self.trust(bytes, length, complete),
            _ => self.search(bytes, complete),
        }
    }

    /// The record is damaged; its length may be right.
    fn trust(&mut self, bytes: &[u8], length: usize, complete: bool) -> Step {
        let Some(rest) = bytes.get(length..) else { return self.search(bytes, complete) };
        if self.valid(rest).is_some() {
            return Step::Damage(length);
        }
        if !complete {
            // The one behind it must be seen whole.
            let next = self::length(rest).unwrap_or(if rest.len() < 4 { HEADER } else { 0 });
            if rest.len() < next {
                return Step::Need(length + next);
            }
        }
        self.search(bytes, complete)
    }

    /// Looks for the next place at which a valid record begins.
    fn search(&mut self, bytes: &[u8], complete: bool) -> Step {
        self.searching = true;
        let highest = self.after.saturating_add(NEAR);
        for at in 1..bytes.len().saturating_sub(15) {
            let Some(candidate) = bytes.get(at..) else { break };
            let Some(length) = length(candidate) else { continue };
            if !self.is_due(candidate, highest) {
                continue;
            }
            if length > candidate.len() && complete {
                continue;
            }
            let Some(budget) = self.budget.checked_sub(length as u64) else { return Step::Damage(bytes.len()) };
            self.budget = budget;
            // What continues behind the octets that we see is looked at again, from where it begins.
            if length > candidate.len() || self.valid(candidate).is_some() {
                return Step::Damage(at);
            }
        }
        let seen = if complete { bytes.len() } else { bytes.len().saturating_sub(15).max(1) };
        Step::Damage(seen)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Message;

    fn record(sequence: u64, raw: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut message = Message::unread(raw, 5);
        message.sequence = sequence;
        assert!(message.encode(&mut out));
        let crc = crc32c::crc32c(&out[8..]).to_le_bytes();
        out[4..8].copy_from_slice(&crc);
        out
    }

    /// Walks with a window of `window` octets that grows when asked; sequences found and octets damaged.
    fn walk(bytes: &[u8], before: u64, window: usize) -> (Vec<u64>, usize) {
        let (mut walker, mut at, mut found, mut damaged, mut size) = (Walker::new(0, before), 0, vec![], 0, window);
        loop {
            let end = (at + size).min(bytes.len());
            size = window;
            match walker.step(&bytes[at..end], end == bytes.len()) {
                Step::Record(length) => {
                    found.push(sequence(&bytes[at..]));
                    at += length;
                }
                Step::Damage(length) => {
                    assert!(length > 0);
                    damaged += length;
                    at += length;
                }
                Step::Need(need) => {
                    assert!(need > end - at, "it would be asked for ever");
                    size = need;
                }
                Step::End => return (found, damaged),
            }
        }
    }

    #[test]
    fn a_record_with_a_wrong_crc_is_skipped_by_its_length() {
        let mut bytes = [record(1, b"one"), record(2, b"two"), record(4, b"four")].concat();
        let length = record(1, b"one").len();
        bytes[length + 100] ^= 1;
        assert_eq!(walk(&bytes, u64::MAX, 64), (vec![1, 4], length));
    }

    #[test]
    fn a_record_with_a_wrong_length_is_searched_past() {
        let length = record(1, b"one").len();
        for wrong in [0u32, 7, 200, 100_000, u32::MAX] {
            let mut bytes = [record(1, b"one"), record(2, b"two"), record(3, b"three")].concat();
            bytes[length..length + 4].copy_from_slice(&wrong.to_le_bytes());
            for window in [16, 50, 1000] {
                assert_eq!(walk(&bytes, u64::MAX, window), (vec![1, 3], length), "{wrong} {window}");
            }
        }
    }

    /// Opening looks at the whole file, readers only as far as the last record that it kept.
    #[test]
    fn a_damaged_length_that_names_the_end_hides_no_record() {
        let record = record(1, b"one");
        let mut bytes = vec![7; 20];
        bytes[..4].copy_from_slice(&((20 + record.len()) as u32).to_le_bytes());
        bytes.extend(&record);
        let behind = [bytes.as_slice(), &[0; 30]].concat();
        assert_eq!(walk(&behind, u64::MAX, 4096).0, [1]);
        assert_eq!(walk(&bytes, u64::MAX, 4096).0, [1]);
    }

    #[test]
    fn records_out_of_order_or_of_the_next_segment_are_none() {
        let bytes = [record(1, b"one"), record(5, b"five"), record(3, b"three"), record(7, b"seven")].concat();
        assert_eq!(walk(&bytes, u64::MAX, 4096).0, [1, 5, 7]);
        assert_eq!(walk(&bytes, 7, 4096).0, [1, 5]);
        let far = [&[0u8; 9], record(NEAR + 1, b"inside a line").as_slice()].concat();
        assert_eq!(walk(&far, u64::MAX, 4096).0, [0u64; 0]);
    }

    #[test]
    fn a_search_has_a_budget() {
        let plausible = [(RECORD_MAX as u32).to_le_bytes(), [0; 4], 1u32.to_le_bytes(), [0; 4]].concat();
        let bytes = plausible.repeat((12 << 20) / plausible.len());
        let (mut walker, mut at) = (Walker::new(0, u64::MAX), 0);
        let mut steps = 0;
        while let Step::Damage(length) = walker.step(&bytes[at..], true) {
            at += length;
            steps += 1;
        }
        assert!(at == bytes.len() && steps < 5 && walker.budget < RECORD_MAX as u64);
    }

    proptest! {
        #[test]
        fn undamaged_records_are_found_whatever_the_window(
            raws in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
            window in 1usize..2000,
            cut in any::<prop::sample::Index>(),
            flip in any::<Option<(prop::sample::Index, u8)>>(),
        ) {
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            for (i, raw) in raws.iter().enumerate() {
                bytes.extend(record(i as u64 + 1, raw));
                ends.push(bytes.len());
            }
            let kept = cut.index(bytes.len() + 1);
            bytes.truncate(kept);
            let whole = ends.iter().filter(|end| **end <= kept).count() as u64;
            let mut expected: Vec<u64> = (1..=whole).collect();
            if let Some((at, mask)) = flip && !bytes.is_empty() && mask != 0 {
                let at = at.index(bytes.len());
                bytes[at] ^= mask;
                let hit = ends.iter().filter(|end| **end <= at).count() as u64 + 1;
                expected.retain(|sequence| *sequence != hit);
            }
            let (found, damaged) = walk(&bytes, u64::MAX, window);
            prop_assert_eq!(&found, &expected);
            let valid: usize = expected.iter().map(|n| ends[*n as usize - 1] - n.checked_sub(2).map_or(0, |n| ends[n as usize])).sum();
            prop_assert_eq!(valid + damaged, bytes.len());
        }

        #[test]
        fn octets_of_any_kind_are_walked_to_the_end(bytes in prop::collection::vec(any::<u8>(), 0..3000), window in 1usize..500) {
            let (found, damaged) = walk(&bytes, u64::MAX, window);
            prop_assert!(found.is_empty() && damaged == bytes.len());
        }
    }
}
