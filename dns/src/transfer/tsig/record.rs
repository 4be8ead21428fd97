//! TSIG records (RFC 8945 section 4.2): read, checked, written.

use subtle::ConstantTimeEq;

use super::{Fault, Key};
use crate::{
    name::{self, Name},
    rr::{CLASS_ANY, rtype},
    transfer::message::{Raw, Records, Section, read_name, u16_at},
};

/// A TSIG record that was read.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) key: Name,
    pub(super) algorithm: Name,
    pub(super) time: u64,
    pub(super) fudge: u16,
    pub(super) mac: Vec<u8>,
    original_id: u16,
    pub(super) error: u16,
    pub(super) other: Vec<u8>,
    /// Where the record begins in its message.
    pub(super) start: usize,
}

impl Signature {
    /// `None`: malformed, or TSIG is not the last record of the additional section (RFC 8945 section 5.1).
    #[expect(clippy::option_option, reason = "no signature and a malformed one are two things")]
    pub(super) fn find(message: &[u8]) -> Option<Option<Self>> {
        let mut records = Records::new(message)?;
        let mut found: Option<Raw<'_>> = None;
        while let Some(record) = records.next()? {
            if found.is_some() || (record.rtype == rtype::TSIG && record.section != Section::Additional) {
                return None;
            }
            if record.rtype == rtype::TSIG {
                found = Some(record);
            }
        }
        match found {
            None => Some(None),
            Some(record) => Self::read(message, &record).map(Some),
        }
    }

    fn read(message: &[u8], record: &Raw<'_>) -> Option<Self> {
        if record.class != CLASS_ANY || record.ttl != 0 || record.end != message.len() {
            return None;
        }
        let rdata = record.rdata;
        let (algorithm, rest) = rdata.split_at(name::wire_len(rdata)?);
        let (fixed, rest) = rest.split_at_checked(10)?;
        let (mac, rest) = rest.split_at_checked(usize::from(u16_at(fixed, 8)?))?;
        let (tail, other) = rest.split_at_checked(6)?;
        let time = fixed[..6].iter().fold(0, |time, octet| time << 8 | u64::from(*octet));
        (other.len() == usize::from(u16_at(tail, 4)?)).then_some(())?;
        Some(Self {
            key: read_name(message, record.start)?,
            algorithm: Name::from_wire(&algorithm.to_ascii_lowercase()),
            time,
            fudge: u16_at(fixed, 6)?,
            mac: mac.to_vec(),
            original_id: u16_at(tail, 0)?,
            error: u16_at(tail, 2)?,
            other: other.to_vec(),
            start: record.start,
        })
    }

    /// Checks MAC, time and truncation, in this order (RFC 8945 section 5.2). `None`: FORMERR for the length of the MAC.
    pub(super) fn check(
        &self,
        key: &Key,
        message: &[u8],
        prior: Option<&[u8]>,
        first: bool,
        now_s: u64,
    ) -> Option<Result<(), Fault>> {
        let mut unsigned = message.get(..self.start)?.to_vec();
        let additional = u16_at(message, 10)?.checked_sub(1)?;
        unsigned[..2].copy_from_slice(&self.original_id.to_be_bytes());
        unsigned[10..12].copy_from_slice(&additional.to_be_bytes());
        let record = Record {
            key: &self.key,
            algorithm: &self.algorithm,
            time: self.time,
            fudge: self.fudge,
            error: self.error,
            other: self.other.clone(),
        };
        let right = key.mac(&record.signed_octets(&unsigned, prior, first))?;
        // Section 5.2.2.1: not longer than the hash, not shorter than half of it or 10 octets.
        if self.mac.len() > right.len() || self.mac.len() < (right.len() / 2).max(10) {
            return None;
        }
        if !bool::from(right[..self.mac.len()].ct_eq(&self.mac)) {
            return Some(Err(Fault::BadSig));
        }
        if self.time.abs_diff(now_s) > u64::from(self.fudge) {
            return Some(Err(Fault::BadTime));
        }
        Some(if self.mac.len() < right.len() { Err(Fault::BadTrunc) } else { Ok(()) })
    }
}

/// What a TSIG record says besides its MAC and the original identifier.
pub(super) struct Record<'a> {
    pub(super) key: &'a Name,
    pub(super) algorithm: &'a Name,
    pub(super) time: u64,
    pub(super) fudge: u16,
    pub(super) error: u16,
    pub(super) other: Vec<u8>,
}

impl Record<'_> {
    /// The octets that the MAC is over (section 4.3): the prior MAC, the message, and the variables;
    /// from the second message of a transfer on only the timers.
    pub(super) fn signed_octets(&self, message: &[u8], prior: Option<&[u8]>, first: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(message.len() + 256);
        if let Some(prior) = prior {
            out.extend((prior.len() as u16).to_be_bytes());
            out.extend_from_slice(prior);
        }
        out.extend_from_slice(message);
        if first {
            out.extend_from_slice(self.key);
            out.extend(CLASS_ANY.to_be_bytes());
            out.extend([0; 4]);
            out.extend_from_slice(self.algorithm);
        }
        out.extend_from_slice(&self.time.to_be_bytes()[2..]);
        out.extend(self.fudge.to_be_bytes());
        if first {
            out.extend(self.error.to_be_bytes());
            out.extend((self.other.len() as u16).to_be_bytes());
            out.extend_from_slice(&self.other);
        }
        out
    }

    /// Appends the record to a message; `None` if that is none, or then too long.
    pub(super) fn append(&self, message: &mut Vec<u8>, mac: &[u8]) -> Option<()> {
        let (id, additional) = (u16_at(message, 0)?, u16_at(message, 10)?.checked_add(1)?);
        let length = self.algorithm.len() + 16 + mac.len() + self.other.len();
        if message.len() + self.key.len() + 10 + length > usize::from(u16::MAX) {
            return None;
        }
        message[10..12].copy_from_slice(&additional.to_be_bytes());
        message.extend_from_slice(self.key);
        message.extend(rtype::TSIG.to_be_bytes());
        message.extend(CLASS_ANY.to_be_bytes());
        message.extend([0; 4]);
        message.extend((length as u16).to_be_bytes());
        message.extend_from_slice(self.algorithm);
        message.extend_from_slice(&self.time.to_be_bytes()[2..]);
        message.extend(self.fudge.to_be_bytes());
        message.extend((mac.len() as u16).to_be_bytes());
        message.extend_from_slice(mac);
        message.extend(id.to_be_bytes());
        message.extend(self.error.to_be_bytes());
        message.extend((self.other.len() as u16).to_be_bytes());
        message.extend_from_slice(&self.other);
        Some(())
    }
}
