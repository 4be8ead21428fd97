//! A resolver's reply as the cache remembers it: the records as they came, with the places of their TTLs.

use super::message::{
    FLAG_AD, FLAG_QR, FLAG_TC, HEADER, Query, is_negative, lifetime, places, put_u16, question_end, rcode_of,
    smallest_ttl,
};
use crate::rr::rtype;

/// A reply as it is remembered: without OPT, with the places of its TTLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// Counts of the three sections.
    counts: [u16; 3],
    /// What follows the question.
    records: Box<[u8]>,
    /// Where TTLs lie in `records`.
    ttls: Box<[u16]>,
    /// Response code.
    pub(super) rcode: u16,
    /// The resolver vouches for the data (DNSSEC).
    authentic: bool,
    /// Seconds for which the reply holds; `None` if it says nothing about that.
    pub(super) ttl: Option<u32>,
    /// Whether it says that something does not exist.
    pub(super) negative: bool,
}

impl Kept {
    /// Takes a resolver's reply to `question` apart. `None` if it is damaged, truncated or answers
    /// something else.
    pub(super) fn parse(message: &[u8], question: &[u8]) -> Option<Self> {
        let (flags, more) = (*message.get(2)?, *message.get(3)?);
        let start = question_end(message)?;
        if flags & FLAG_QR == 0 || flags & FLAG_TC != 0 || !message.get(HEADER..start)?.eq_ignore_ascii_case(question) {
            return None;
        }
        let places = places(message)?;
        // Names may point backwards only, so what stands before the OPT does not need it. What
        // stands behind it (hardly ever anything) is additional data, which may be left out.
        let opt = places.iter().position(|place| place.rtype == rtype::OPT).unwrap_or(places.len());
        if places.get(opt).is_some_and(|opt| opt.section != 2 || opt.ttl >> 24 != 0) {
            return None;
        }
        let kept = places.get(..opt)?;
        let end = kept.last().map_or(start, |place| place.end);
        let count = |section| kept.iter().filter(|place| place.section == section).count() as u16;
        Some(Self {
            counts: [count(0), count(1), count(2)],
            records: message.get(start..end)?.into(),
            ttls: kept.iter().filter_map(|place| u16::try_from(place.fixed + 4 - start).ok()).collect(),
            rcode: rcode_of(message),
            authentic: more & FLAG_AD != 0,
            ttl: smallest_ttl(message),
            negative: is_negative(message, kept),
        })
    }

    /// A reply without records.
    pub(super) fn empty(rcode: u16) -> Self {
        Self {
            counts: [0; 3],
            records: Box::new([]),
            ttls: Box::new([]),
            rcode,
            authentic: false,
            ttl: None,
            negative: true,
        }
    }

    /// Octets on the heap.
    pub(super) fn size(&self) -> usize {
        self.records.len() + self.ttls.len() * 2
    }

    /// The reply for one client, without OPT. Each TTL is `change`d.
    pub(super) fn write(&self, query: &Query, change: impl Fn(u32) -> u32) -> Vec<u8> {
        let understands = query.ad || query.edns.is_some_and(|edns| edns.dnssec);
        let mut out = query.reply(self.rcode, self.authentic && understands);
        for (section, count) in self.counts.iter().enumerate() {
            put_u16(&mut out, 6 + 2 * section, *count);
        }
        let base = out.len();
        out.extend_from_slice(&self.records);
        for at in &self.ttls {
            let at = base + usize::from(*at);
            if let Some(place) = out.get_mut(at..at + 4).and_then(|place| place.first_chunk_mut::<4>()) {
                *place = change(lifetime(u32::from_be_bytes(*place))).to_be_bytes();
            }
        }
        out
    }
}
