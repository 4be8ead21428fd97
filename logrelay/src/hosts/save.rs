//! The table on disk, so that a restart forgets neither who was seen nor what was learned.
//!
//! All integers little-endian:
//!
//! | octets | what |
//! |---|---|
//! | 0..4 | `GHLH` |
//! | 4 | version: 1 |
//! | 5..9 | number of records |
//! | .. | the records |
//! | last 4 | CRC32C of everything before |
//!
//! A record: length of the key (2) and the key (a letter for the kind, then the name or address); first and last
//! time of receipt (8 each, `i64::MIN` for never); last address (1 for its length: 0, 4 or 16, then the octets); state,
//! alarm told, expected (1 each; 0 unknown, 1 no, 2 yes); their times since, fine, turned (8 each); average pause (8);
//! number of pauses that follow (1) and each as bucket (1) and count (2).
//!
//! Limits: as many records as the table may have; hosts of the inventory come first. Counters are not kept. The caller
//! writes it beside the old one and renames, so that a crash leaves one of both; what is damaged is refused as a whole.

use std::{cmp::Reverse, net::IpAddr, sync::Arc};

use super::{
    entry::{HostEntry, Inner},
    gaps::{BUCKETS, Gaps},
    silence::{Memory, State},
    table::Hosts,
    who::Who,
};

const MAGIC: &[u8; 4] = b"GHLH";
const VERSION: u8 = 1;
/// Octets before the records.
const HEADER: usize = 9;
const NEVER: i64 = i64::MIN;

/// Why a saved table is not used. The relay begins with an empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// It does not begin as it should.
    #[error(
        "the saved table of hosts begins with other octets than \"GHLH\"; who was seen is not known until heard again"
    )]
    Foreign,
    /// A later version wrote it.
    #[error(
        "the saved table of hosts has version {0} but this program reads {VERSION}; who was seen is not known until heard again"
    )]
    Version(u8),
    /// Its checksum is wrong: cut, or changed.
    #[error("the saved table of hosts does not match its checksum; who was seen is not known until heard again")]
    Checksum,
    /// Its checksum is right, but its records contradict each other.
    #[error("record {0} of the saved table of hosts makes no sense; who was seen is not known until heard again")]
    Record(u32),
}

impl Hosts {
    /// The table as octets: everyone who was seen or is expected.
    pub fn save(&self) -> Vec<u8> {
        let mut entries: Vec<Arc<HostEntry>> = Vec::new();
        self.each(|entry| {
            if *entry.who() != Who::Others && (entry.last_us().is_some() || entry.is_in_inventory()) {
                entries.push(entry.clone());
            }
        });
        // A smaller table that reads this later keeps those that matter.
        entries.sort_by_cached_key(|entry| (!entry.is_in_inventory(), Reverse(entry.last_us())));
        let mut out = [&MAGIC[..], &[VERSION], &[0; 4]].concat();
        let mut count = 0u32;
        for entry in &entries {
            count += u32::from(write(entry, &mut out));
        }
        out[5..HEADER].copy_from_slice(&count.to_le_bytes());
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// A table of at most `limit` senders from what `save` gave. What is damaged gives an empty table, and why.
    pub fn load(octets: &[u8], limit: usize) -> (Self, Result<usize, Damaged>) {
        let hosts = Self::new(limit);
        match read_all(octets, &hosts) {
            Ok(()) => {
                let loaded = hosts.len();
                (hosts, Ok(loaded))
            }
            Err(damaged) => (Self::new(limit), Err(damaged)),
        }
    }
}

/// Appends a record; false when its name does not fit one, which no name does.
fn write(entry: &HostEntry, out: &mut Vec<u8>) -> bool {
    let key = entry.who().key();
    let Ok(length) = u16::try_from(key.len()) else { return false };
    let inner = entry.inner();
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&key);
    for time in [inner.first_us, entry.last_us()] {
        out.extend_from_slice(&time.unwrap_or(NEVER).to_le_bytes());
    }
    match inner.address {
        None => out.push(0),
        Some(IpAddr::V4(v4)) => out.extend([&[4], &v4.octets()[..]].concat()),
        Some(IpAddr::V6(v6)) => out.extend([&[16], &v6.octets()[..]].concat()),
    }
    let memory = &inner.memory;
    out.extend([memory.state as u8, memory.told as u8, memory.expected.map_or(0, |yes| 1 + u8::from(yes))]);
    for number in [memory.since_us, memory.fine_us, memory.turned_us, inner.gaps.mean_us] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let pauses = || (0u8..).zip(&inner.gaps.counts).filter(|(_, count)| **count > 0);
    // At most BUCKETS.
    out.push(pauses().count() as u8);
    for (bucket, count) in pauses() {
        out.push(bucket);
        out.extend_from_slice(&count.to_le_bytes());
    }
    true
}

fn read_all(octets: &[u8], hosts: &Hosts) -> Result<(), Damaged> {
    let (body, checksum) = octets.split_last_chunk::<4>().ok_or(Damaged::Foreign)?;
    let mut rest = body.strip_prefix(MAGIC).ok_or(Damaged::Foreign)?;
    let [version] = take(&mut rest).ok_or(Damaged::Foreign)?;
    if version != VERSION {
        return Err(Damaged::Version(version));
    }
    if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
        return Err(Damaged::Checksum);
    }
    let count = u32::from_le_bytes(take(&mut rest).ok_or(Damaged::Record(0))?);
    for n in 0..count {
        let (key, last_us, inner) = read(&mut rest).ok_or(Damaged::Record(n))?;
        let who = Who::from_key(key).ok_or(Damaged::Record(n))?;
        if hosts.is_full() {
            return Ok(());
        }
        let Some(entry) = hosts.find(key.to_vec(), || who, 0) else { return Ok(()) };
        entry.set_last_us(last_us);
        entry.set_silent(matches!(inner.memory.state, State::Silent | State::NeverSeen));
        *entry.inner() = inner;
    }
    if rest.is_empty() { Ok(()) } else { Err(Damaged::Record(count)) }
}

/// One record: key, last time of receipt, and the rest.
fn read<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], Option<i64>, Inner)> {
    let length = usize::from(u16::from_le_bytes(take(rest)?));
    let (key, after) = rest.split_at_checked(length)?;
    *rest = after;
    let first_us = Some(i64::from_le_bytes(take(rest)?)).filter(|us| *us != NEVER);
    let last_us = Some(i64::from_le_bytes(take(rest)?)).filter(|us| *us != NEVER);
    let address = match take(rest)? {
        [0] => None,
        [4] => Some(IpAddr::from(take::<4>(rest)?)),
        [16] => Some(IpAddr::from(take::<16>(rest)?)),
        _ => return None,
    };
    let [state, told, expected] = take(rest)?;
    let state_of = |number: u8| State::ALL.get(usize::from(number)).copied();
    let memory = Memory {
        state: state_of(state)?,
        told: state_of(told)?,
        expected: [None, Some(false), Some(true)].get(usize::from(expected)).copied()?,
        since_us: i64::from_le_bytes(take(rest)?),
        fine_us: i64::from_le_bytes(take(rest)?),
        turned_us: i64::from_le_bytes(take(rest)?),
    };
    let mut gaps = Gaps { mean_us: i64::from_le_bytes(take(rest)?), ..Gaps::default() };
    let [pauses] = take(rest)?;
    for _ in 0..usize::from(pauses).min(BUCKETS) {
        let [bucket] = take(rest)?;
        *gaps.counts.get_mut(usize::from(bucket))? = u16::from_le_bytes(take(rest)?);
    }
    // No pause is learned across a restart: it may be our own.
    Some((key, last_us, Inner { first_us, address, gaps, memory, ..Inner::default() }))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use proptest::prelude::*;

    use super::super::{HostReport, Outcome, Rules, Tally, look, review};
    use super::*;
    use crate::{config::Config, labels::Labels, message::Message};

    const START: i64 = 1_790_000_000_000_000;
    const SECOND: i64 = 1_000_000;

    fn inventory() -> Vec<Arc<Labels>> {
        let host = |n: usize| Labels { name: format!("h{n}"), expected: n != 3, ..Labels::default() };
        (0..6).map(|n| Arc::new(host(n))).collect()
    }

    fn sample() -> Hosts {
        let hosts = Hosts::new(100);
        let rules = Rules::new(&Config::default(), START).unwrap();
        for step in 0..40 {
            let now = START + step * 60 * SECOND;
            let mut tally = Tally::default();
            tally.read(&Message::unread(b"x", now));
            tally.count(Outcome::Spooled, 1);
            for labels in &inventory()[..3] {
                hosts.host(labels, now).add(&tally, Some("2001:db8::1".parse().unwrap()));
            }
            hosts.address("10.0.0.1".parse().unwrap(), now).add(&tally, Some("10.0.0.1".parse().unwrap()));
            hosts.header(b"fw", now).add(&tally, None);
            review(&inventory(), &hosts, &rules, now);
        }
        review(&inventory(), &hosts, &rules, START + 86_400 * SECOND);
        hosts
    }

    fn reports(hosts: &Hosts) -> Vec<HostReport> {
        let mut reports = Vec::new();
        hosts.each(|entry| reports.push(HostReport { counters: Default::default(), skew_ms: None, ..entry.report() }));
        reports.sort_by(|a, b| a.who.cmp(&b.who));
        reports
    }

    #[test]
    fn a_restart_forgets_nobody_and_tells_nothing_twice() {
        let hosts = sample();
        let saved = hosts.save();
        let (loaded, result) = Hosts::load(&saved, 100);
        assert_eq!(result, Ok(8));
        assert_eq!(reports(&loaded), reports(&hosts));
        let now = START + 90_000 * SECOND;
        let rules = Rules::new(&Config::default(), now).unwrap();
        let before = look(&inventory(), &hosts, &rules, now);
        let after = review(&inventory(), &loaded, &rules, now);
        let essence = |rows: &[super::super::Silence]| {
            rows.iter()
                .map(|row| (row.who.clone(), row.state, row.since_us, row.last_us, row.changed))
                .collect::<Vec<_>>()
        };
        assert_eq!(essence(&after), essence(&before));
        assert!(after.iter().any(|row| row.state == State::Silent) && after.iter().all(|row| row.changed.is_none()));
        assert!(after.iter().any(|row| row.state == State::NeverSeen));
        assert!(loaded.host(&inventory()[0], now).note_seen(now) && !loaded.host(&inventory()[0], now).note_seen(now));
        // 60 s apart is what was learned.
        assert_eq!(loaded.get(&Who::header(b"fw")).unwrap().pauses_us().1, Some(64 * SECOND));
    }

    #[test]
    fn a_smaller_table_keeps_the_hosts_of_the_inventory() {
        let (loaded, result) = Hosts::load(&sample().save(), 6);
        assert_eq!(result, Ok(6));
        assert!(reports(&loaded).iter().all(|report| report.kind == "host"));
        let (empty, result) = Hosts::load(&Hosts::new(1).save(), 6);
        assert_eq!((empty.len(), result), (0, Ok(0)));
    }

    #[test]
    fn what_is_damaged_is_an_empty_table_and_a_reason() {
        let saved = sample().save();
        let reason = |octets: &[u8]| {
            let (hosts, result) = Hosts::load(octets, 100);
            assert!(hosts.is_empty());
            result.unwrap_err()
        };
        assert_eq!(reason(b""), Damaged::Foreign);
        assert_eq!(reason(b"something else"), Damaged::Foreign);
        for cut in 9..saved.len() {
            assert_eq!(reason(&saved[..cut]), Damaged::Checksum, "{cut}");
        }
        for at in 5..saved.len() {
            let mut damaged = saved.clone();
            damaged[at] ^= 0x10;
            assert_eq!(reason(&damaged), Damaged::Checksum, "{at}");
        }
        let mut later = saved.clone();
        later[4] = 2;
        assert_eq!(reason(&later), Damaged::Version(2));
        let mut more = saved[..saved.len() - 4].to_vec();
        more[5] += 1;
        more.extend(crc32c::crc32c(&more).to_le_bytes());
        assert_eq!(reason(&more), Damaged::Record(8));
        assert!(Damaged::Record(8).to_string().starts_with("record 8 of"));
    }

    proptest! {
        /// Also with a right checksum, nothing panics and nothing grows beyond its limit.
        #[test]
        fn no_octets_panic(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            noise in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            static SAVED: OnceLock<Vec<u8>> = OnceLock::new();
            let mut octets = SAVED.get_or_init(|| sample().save()).clone();
            octets.truncate(octets.len() - 4);
            for (at, value) in changes {
                let at = 5 + at.index(octets.len() - 5);
                octets[at] = value;
            }
            for mut body in [octets, [&b"GHLH\x01"[..], &noise].concat()] {
                body.extend(crc32c::crc32c(&body).to_le_bytes());
                let (hosts, _) = Hosts::load(&body, 5);
                prop_assert!(hosts.len() <= 5);
                let rules = Rules::new(&Config::default(), 0).unwrap();
                review(&inventory(), &hosts, &rules, START);
                hosts.save();
            }
        }
    }
}
