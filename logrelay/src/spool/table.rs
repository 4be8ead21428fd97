//! The destinations: names, numbers, cursors, and how many records each has had.
//!
//! Counts are cumulative over the life of the spool: `totals` is how many records for a number were ever made durable,
//! `done` how many of them lie behind the cursor. So what is pending is a subtraction, for a segment as for the whole,
//! without reading a record. Encoded in the cursors file and in the header of every segment:
//!
//! | octets | what |
//! |---|---|
//! | 2 | number that was given last |
//! | 2 | number of destinations |
//! | each | number (2), policy (1), severity (1), name (2 + length), then cursor, done records, done octets, records before it existed, dropped, lost (8 each) |
//! | 2 | length of the totals |
//! | each | records, octets (8 each), by destination number |

use std::collections::BTreeMap;

use super::{
    Policy, SpoolError,
    octets::{Octets, put_text, put_u64s},
};

/// Destinations at most.
pub const DESTINATIONS_MAX: usize = 1024;
/// Octets of a destination's name at most.
pub const NAME_MAX: usize = 64;

/// Records and their octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Count {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl Count {
    pub(super) fn add(&mut self, other: Self) {
        self.records = self.records.saturating_add(other.records);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Counts by destination number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Totals(Vec<Count>);

impl Totals {
    pub(super) fn get(&self, id: u16) -> Count {
        self.0.get(usize::from(id)).copied().unwrap_or_default()
    }

    /// Adds to a number; numbers that cannot be a destination's are ignored.
    pub(super) fn add(&mut self, id: u16, count: Count) {
        let at = usize::from(id);
        if at < DESTINATIONS_MAX {
            if at >= self.0.len() {
                self.0.resize(at + 1, Count::default());
            }
            self.0[at].add(count);
        }
    }
}

/// A destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) name: String,
    pub(super) policy: Policy,
    /// Everything up to this sequence is delivered, dropped or lost.
    pub(super) cursor: u64,
    /// What of the totals lies behind the cursor.
    pub(super) done: Count,
    /// Records in the totals from before it existed.
    pub(super) base: u64,
    /// Records that made room for others.
    pub(super) dropped: u64,
    /// Records that could not be read back.
    pub(super) lost: u64,
    /// Time of receipt of the first record behind the cursor, as far as a reader saw it; not kept.
    pub(super) oldest_us: Option<i64>,
}

/// All destinations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Table {
    pub(super) destinations: BTreeMap<u16, Destination>,
    pub(super) totals: Totals,
    /// Number given last; numbers go round so that one is not used again soon.
    last_id: u16,
}

impl Table {
    pub(super) fn find(&self, name: &str) -> Option<u16> {
        self.destinations.iter().find(|(_, destination)| destination.name == name).map(|(id, _)| *id)
    }

    /// A new destination whose first record is the one after `cursor`.
    pub(super) fn insert(&mut self, name: &str, cursor: u64) -> Result<u16, SpoolError> {
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(SpoolError::Name(name.to_owned()));
        }
        let count = DESTINATIONS_MAX as u16;
        let free = |id: &u16| !self.destinations.contains_key(id);
        let id = (1..=count).map(|step| (self.last_id + step) % count).find(free).ok_or(SpoolError::TooMany)?;
        self.last_id = id;
        let done = self.totals.get(id);
        let (policy, base) = (Policy::DropOldest, done.records);
        let destination =
            Destination { name: name.to_owned(), policy, cursor, done, base, dropped: 0, lost: 0, oldest_us: None };
        self.destinations.insert(id, destination);
        Ok(id)
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.last_id.to_le_bytes());
        out.extend_from_slice(&(self.destinations.len() as u16).to_le_bytes());
        for (id, destination) in &self.destinations {
            let (policy, severity) = match destination.policy {
                Policy::DropOldest => (0, 0),
                Policy::Block => (1, 0),
                Policy::DropNewest => (2, 0),
                Policy::Shed(severity) => (3, severity),
            };
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&[policy, severity]);
            put_text(out, destination.name.as_bytes());
            let Destination { cursor, done, base, dropped, lost, .. } = destination;
            put_u64s(out, [*cursor, done.records, done.bytes, *base, *dropped, *lost]);
        }
        out.extend_from_slice(&(self.totals.0.len() as u16).to_le_bytes());
        for count in &self.totals.0 {
            put_u64s(out, [count.records, count.bytes]);
        }
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` if it contradicts itself.
    pub(super) fn decode(from: &mut Octets<'_>) -> Option<Self> {
        let mut table = Self { last_id: from.u16()? % DESTINATIONS_MAX as u16, ..Self::default() };
        for _ in 0..from.u16()? {
            let id = from.u16().filter(|id| usize::from(*id) < DESTINATIONS_MAX)?;
            let policy = match (from.u8()?, from.u8()?) {
                (0, _) => Policy::DropOldest,
                (1, _) => Policy::Block,
                (2, _) => Policy::DropNewest,
                (3, severity) => Policy::Shed(severity),
                _ => return None,
            };
            let name = str::from_utf8(from.text()?).ok()?.to_owned();
            let cursor = from.u64()?;
            let done = Count { records: from.u64()?, bytes: from.u64()? };
            let (base, dropped, lost) = (from.u64()?, from.u64()?, from.u64()?);
            let destination = Destination { name, policy, cursor, done, base, dropped, lost, oldest_us: None };
            table.destinations.insert(id, destination);
        }
        let length = from.u16().map(usize::from).filter(|length| *length <= DESTINATIONS_MAX)?;
        for _ in 0..length {
            table.totals.0.push(Count { records: from.u64()?, bytes: from.u64()? });
        }
        Some(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_comes_back() {
        let mut table = Table::default();
        for (name, policy) in [("files", Policy::Block), ("central", Policy::Shed(4)), ("c", Policy::DropNewest)] {
            let id = table.insert(name, 9).unwrap();
            table.destinations.get_mut(&id).unwrap().policy = policy;
            table.totals.add(id, Count { records: 3, bytes: 999 });
        }
        table.totals.add(u16::MAX, Count { records: 1, bytes: 1 });
        let mut out = Vec::new();
        table.encode(&mut out);
        assert_eq!(Table::decode(&mut Octets(&out)), Some(table.clone()));
        for cut in 0..out.len() {
            assert_eq!(Table::decode(&mut Octets(&out[..cut])), None);
        }
        assert_eq!(table.find("central"), Some(2));
        assert_eq!((table.totals.get(1).records, table.totals.get(9)), (3, Count::default()));
    }

    #[test]
    fn names_and_numbers_have_a_limit_and_numbers_are_not_used_again_at_once() {
        let mut table = Table::default();
        assert!(table.insert("", 0).is_err() && table.insert(&"x".repeat(65), 0).is_err());
        for i in 0..DESTINATIONS_MAX {
            table.insert(&format!("d{i}"), 0).unwrap();
        }
        assert!(matches!(table.insert("one more", 0), Err(SpoolError::TooMany)));
        let mut table = Table::default();
        let first = table.insert("a", 0).unwrap();
        table.destinations.remove(&first);
        assert_ne!(table.insert("b", 0).unwrap(), first);
    }
}
