//! Zones as transfers see them: apex, SOA and the difference between two serials.

use crate::{
    name::Name,
    rr::{Rdata, Rr, rtype},
};

/// The fields of a SOA record (RFC 1035 section 3.3.13); times in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Soa {
    /// Time to live of the record itself.
    pub ttl: u32,
    /// Primary server.
    pub mname: Name,
    /// Mailbox of the person responsible.
    pub rname: Name,
    /// Version of the zone, compared as RFC 1982 says.
    pub serial: u32,
    /// How often secondaries ask.
    pub refresh: u32,
    /// How soon they ask again after a failure.
    pub retry: u32,
    /// How long they serve without an answer.
    pub expire: u32,
    /// Time to live of negative answers (RFC 2308).
    pub minimum: u32,
}

impl Soa {
    /// The record at `apex`.
    pub fn rr(&self, apex: &Name) -> Rr {
        let mut rdata = Vec::with_capacity(self.mname.len() + self.rname.len() + 20);
        rdata.extend_from_slice(&self.mname);
        rdata.extend_from_slice(&self.rname);
        for number in [self.serial, self.refresh, self.retry, self.expire, self.minimum] {
            rdata.extend_from_slice(&number.to_be_bytes());
        }
        Rr { owner: apex.clone(), rtype: rtype::SOA, ttl: self.ttl, rdata: Rdata::from(rdata) }
    }

    /// Reads uncompressed RDATA; `None` if it is malformed.
    pub fn from_rdata(ttl: u32, rdata: &[u8]) -> Option<Self> {
        let mname = crate::name::wire_len(rdata)?;
        let rname = crate::name::wire_len(&rdata[mname..])?;
        let numbers = rdata.get(mname + rname..).filter(|rest| rest.len() == 20)?;
        let number = |i: usize| u32::from_be_bytes([numbers[i], numbers[i + 1], numbers[i + 2], numbers[i + 3]]);
        Some(Self {
            ttl,
            mname: Name::from_wire(&rdata[..mname]),
            rname: Name::from_wire(&rdata[mname..mname + rname]),
            serial: number(0),
            refresh: number(4),
            retry: number(8),
            expire: number(12),
            minimum: number(16),
        })
    }
}

/// What changed in one zone from one serial to the next, as IXFR sends it (RFC 1995).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneDiff {
    /// Apex of the zone.
    pub apex: Name,
    /// SOA before.
    pub from: Soa,
    /// SOA after.
    pub to: Soa,
    /// Records that are gone, without the SOA.
    pub removed: Vec<Rr>,
    /// Records that are new, without the SOA.
    pub added: Vec<Rr>,
}
