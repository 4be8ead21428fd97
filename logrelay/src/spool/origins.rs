//! What other relays of ours sent last: duplicates are recognised, gaps are named.
//!
//! A relayed record carries [`Field::Origin`](crate::message::Field::Origin) as `stream/epoch/sequence/previous`: the
//! stream is the sender's relay id and the name of its destination, epoch and sequence are those of the record in the
//! sender's spool, previous is the sequence of the record that it sent before on this stream (0: none). (epoch,
//! sequence) grows along a stream. Encoded in segment headers: their number (4 octets), then for each its name (2 +
//! length), epoch and sequence (8 each), least recently used first.
//!
//! What is sent on a stream need not come to the spool: it may have no route here, or go to memory only, or be shed. The
//! intake says so by [`Spool::seen`](super::Spool::seen), and it is noted by the same kind of marks, in memory only: they
//! keep such records from looking like gaps, and never make a duplicate of anything. Because there is one such mark for a
//! stream, a gap between records that were seen in this way may go unnoticed; none is counted that is not there, unless
//! the relay was started anew in between.
//!
//! Limits: [`STREAMS_MAX`] streams, a name of [`STREAM_MAX`] octets, and as many octets as a header may carry. When there
//! are more, the least recently used are forgotten and counted; a resend on a forgotten stream is delivered twice.

use std::collections::HashMap;

use super::octets::{Octets, put_text, put_u64s};

/// Streams that are remembered at most.
pub const STREAMS_MAX: usize = 4096;
/// Octets of a stream's name at most.
const STREAM_MAX: usize = 256;
/// Of the limits this part is freed at once, so that looking for the oldest is rare.
const FORGET: usize = 16;

/// An origin, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin<'a> {
    pub(super) stream: &'a [u8],
    pub(super) epoch: u64,
    pub(super) sequence: u64,
    pub(super) previous: u64,
}

impl<'a> Origin<'a> {
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let mut parts = text.rsplitn(4, |octet| *octet == b'/');
        let (previous, sequence, epoch) = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
        let stream = parts.next().filter(|stream| !stream.is_empty() && stream.len() <= STREAM_MAX)?;
        Some(Self { stream, epoch, sequence, previous })
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    epoch: u64,
    sequence: u64,
}

/// What a record is to what was received before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It follows, or its stream is new.
    Fresh,
    /// It is here already.
    Duplicate,
    /// It is new, but sequences of its sender, from the first to the second number, were not kept here before it.
    Gap(u64, u64),
}

/// Marks of streams that are not yet durable; merged by [`Origins::merge`] when they are.
#[derive(Debug, Default)]
pub(super) struct Pending(HashMap<Box<[u8]>, Mark>);

/// Marks of streams, durable.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins {
    streams: HashMap<Box<[u8]>, (Mark, u64)>,
    /// Grows with every merge.
    now: u64,
    /// Octets that they take when encoded, without their number, and how many these may be at most, if that is limited.
    bytes: usize,
    bytes_max: Option<usize>,
}

/// Octets of a stream when it is encoded.
fn size(stream: &[u8]) -> usize {
    2 + stream.len() + 16
}

impl PartialEq for Origins {
    fn eq(&self, other: &Self) -> bool {
        let marks = |origins: &Self| -> HashMap<_, _> {
            origins.streams.iter().map(|(name, (mark, _))| (name.clone(), *mark)).collect()
        };
        marks(self) == marks(other)
    }
}

impl Origins {
    /// Judges a record by what is durable and what is pending, and notes it as pending unless it is a duplicate.
    pub(super) fn judge(&self, pending: &mut Pending, origin: &Origin<'_>) -> Verdict {
        let mark = Mark { epoch: origin.epoch, sequence: origin.sequence };
        let noted = pending.0.get_mut(origin.stream);
        let before = noted.as_deref().copied().or_else(|| self.streams.get(origin.stream).map(|(mark, _)| *mark));
        if before.is_some_and(|before| mark <= before) {
            return Verdict::Duplicate;
        }
        match noted {
            Some(noted) => *noted = mark,
            None => drop(pending.0.insert(origin.stream.into(), mark)),
        }
        match before {
            Some(before) if origin.previous > before.sequence => Verdict::Gap(before.sequence + 1, origin.previous),
            _ => Verdict::Fresh,
        }
    }

    /// Takes over what has become durable; the number of streams that were forgotten for it.
    pub(super) fn merge(&mut self, pending: Pending) -> u64 {
        self.now += 1;
        for (stream, mark) in pending.0 {
            self.insert(stream, mark);
        }
        self.forget()
    }

    fn insert(&mut self, stream: Box<[u8]>, mark: Mark) {
        let size = size(&stream);
        if self.streams.insert(stream, (mark, self.now)).is_none() {
            self.bytes += size;
        }
    }

    /// Notes that a record was seen, if it is the furthest of its stream.
    pub(super) fn see(&mut self, origin: &Origin<'_>) {
        self.now += 1;
        let (mark, now) = (Mark { epoch: origin.epoch, sequence: origin.sequence }, self.now);
        match self.streams.get_mut(origin.stream) {
            Some(seen) => *seen = (mark.max(seen.0), now),
            None => {
                self.insert(origin.stream.into(), mark);
                self.forget();
            }
        }
    }

    /// What of a gap remains, from the first to the last sequence, when what was seen is taken into account.
    pub(super) fn unseen(&self, stream: &[u8], from: u64, to: u64) -> Option<(u64, u64)> {
        let from = self.streams.get(stream).map_or(from, |(mark, _)| from.max(mark.sequence.saturating_add(1)));
        (from <= to).then_some((from, to))
    }

    /// From now on they take this many octets at most when they are encoded.
    pub(super) fn limit(&mut self, bytes_max: usize) {
        self.bytes_max = Some(bytes_max);
    }

    fn forget(&mut self) -> u64 {
        let bytes_max = self.bytes_max.unwrap_or(usize::MAX);
        if self.streams.len() <= STREAMS_MAX && self.bytes <= bytes_max {
            return 0;
        }
        let mut used: Vec<_> = self.streams.iter().map(|(stream, (_, used))| (*used, stream.clone())).collect();
        used.sort_unstable();
        let (count, bytes) = (STREAMS_MAX - STREAMS_MAX / FORGET, bytes_max - bytes_max / FORGET);
        let mut gone = 0;
        for (_, stream) in used {
            if self.streams.len() <= count && self.bytes <= bytes {
                break;
            }
            self.bytes -= size(&stream);
            self.streams.remove(&stream);
            gone += 1;
        }
        gone
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut streams: Vec<_> = self.streams.iter().collect();
        streams.sort_unstable_by_key(|(_, (_, used))| *used);
        out.extend_from_slice(&(streams.len() as u32).to_le_bytes());
        for (stream, (mark, _)) in streams {
            put_text(out, stream);
            put_u64s(out, [mark.epoch, mark.sequence]);
        }
    }

    pub(super) fn decode(from: &mut Octets<'_>) -> Option<Self> {
        let count = from.u32().filter(|count| *count as usize <= STREAMS_MAX)?;
        let mut origins = Self::default();
        for _ in 0..count {
            let stream = from.text()?;
            let mark = Mark { epoch: from.u64()?, sequence: from.u64()? };
            origins.now += 1;
            origins.insert(stream.into(), mark);
        }
        Some(origins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(origins: &Origins, pending: &mut Pending, text: &str) -> Verdict {
        origins.judge(pending, &Origin::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn origins_in_text() {
        let origin = Origin { stream: b"gw-01:central", epoch: 2, sequence: 30, previous: 29 };
        assert_eq!(Origin::parse(b"gw-01:central/2/30/29"), Some(origin));
        for wrong in ["", "a/1/2", "/1/2/3", "a/1/2/x", "a/1/+2/3", "a/1//3", "a/1/99999999999999999999/3"] {
            assert_eq!(Origin::parse(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(Origin::parse(&[b"x".repeat(257), b"/1/2/1".to_vec()].concat()), None);
    }

    #[test]
    fn duplicates_and_gaps() {
        let (mut origins, mut pending) = (Origins::default(), Pending::default());
        assert_eq!(judge(&origins, &mut pending, "a/1/10/7"), Verdict::Fresh, "nothing is known of its past");
        assert_eq!(judge(&origins, &mut pending, "a/1/10/7"), Verdict::Duplicate);
        assert_eq!(judge(&origins, &mut pending, "a/1/12/10"), Verdict::Fresh);
        assert_eq!(origins.merge(pending), 0);
        let mut pending = Pending::default();
        assert_eq!(judge(&origins, &mut pending, "a/1/11/10"), Verdict::Duplicate);
        assert_eq!(judge(&origins, &mut pending, "a/2/13/12"), Verdict::Fresh, "a new epoch goes on");
        assert_eq!(judge(&origins, &mut pending, "a/1/14/13"), Verdict::Duplicate, "an old epoch does not");
        assert_eq!(judge(&origins, &mut pending, "a/2/20/18"), Verdict::Gap(14, 18));
        assert_eq!(judge(&origins, &mut pending, "b/1/1/0"), Verdict::Fresh);
    }

    #[test]
    fn the_least_recently_used_are_forgotten() {
        let mut origins = Origins::default();
        for i in 0..STREAMS_MAX {
            let mut pending = Pending::default();
            judge(&origins, &mut pending, &format!("s{i}/1/1/0"));
            assert_eq!(origins.merge(pending), 0);
        }
        let mut pending = Pending::default();
        judge(&origins, &mut pending, "s0/1/2/1");
        judge(&origins, &mut pending, "new/1/1/0");
        assert_eq!(origins.merge(pending), 1 + (STREAMS_MAX / FORGET) as u64);
        let mut out = Vec::new();
        origins.encode(&mut out);
        let back = Origins::decode(&mut Octets(&out)).unwrap();
        assert!(back == origins && back.streams.len() == STREAMS_MAX - STREAMS_MAX / FORGET);
        let mut pending = Pending::default();
        assert_eq!(judge(&back, &mut pending, "s0/1/2/1"), Verdict::Duplicate, "it was used just now");
        assert_eq!(judge(&back, &mut pending, "s1/1/1/0"), Verdict::Fresh, "it is forgotten");
    }

    #[test]
    fn they_take_no_more_octets_than_they_may() {
        let mut origins = Origins::default();
        origins.limit(2048);
        let mut forgotten = 0;
        for i in 0..500 {
            let mut pending = Pending::default();
            judge(&origins, &mut pending, &format!("stream{i}/1/1/0"));
            forgotten += origins.merge(pending);
            let mut out = Vec::new();
            origins.encode(&mut out);
            assert!(out.len() == origins.bytes + 4 && origins.bytes <= 2048);
        }
        assert!(forgotten + origins.streams.len() as u64 == 500 && origins.bytes > 1800);
        assert!(origins.streams.contains_key(b"stream499".as_slice()));
    }

    #[test]
    fn what_was_seen_is_no_gap() {
        let mut seen = Origins::default();
        for text in ["a/1/9/8", "a/1/7/6", "b/1/5/4"] {
            seen.see(&Origin::parse(text.as_bytes()).unwrap());
        }
        assert_eq!((seen.unseen(b"a", 3, 9), seen.unseen(b"a", 3, 12)), (None, Some((10, 12))));
        assert_eq!((seen.unseen(b"b", 6, 9), seen.unseen(b"c", 1, 1)), (Some((6, 9)), Some((1, 1))));
    }
}
