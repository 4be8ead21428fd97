//! AXFR (RFC 5936) and IXFR (RFC 1995): the messages that a secondary gets.

use std::{iter::once, sync::Arc};

use super::{
    message::Request,
    pack::{MESSAGE_MAX, MESSAGE_TARGET, Packer},
};
use crate::{
    name::Name,
    rr::{Rr, rcode},
    zone::{Soa, ZoneDiff},
};

/// Records, packed into messages as they are asked for. When a record fits no message the last
/// message is SERVFAIL, and the secondary keeps what it has (RFC 5936 section 2.2).
pub struct Messages<I> {
    request: Request,
    records: I,
    held: Option<Rr>,
    first: bool,
    done: bool,
}

impl<I: Iterator<Item = Rr>> Messages<I> {
    fn new(request: &Request, records: I) -> Self {
        Self { request: request.clone(), records, held: None, first: true, done: false }
    }
}

impl<I: Iterator<Item = Rr>> Iterator for Messages<I> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.done {
            return None;
        }
        // The question is in the first message only (RFC 5936 section 2.2.2).
        let mut packer = Packer::new(&self.request, self.first, rcode::NOERROR);
        loop {
            let Some(rr) = self.held.take().or_else(|| self.records.next()) else {
                self.done = true;
                if packer.is_empty() {
                    return None;
                }
                break;
            };
            if packer.push(&rr, MESSAGE_TARGET) {
                continue;
            }
            if !packer.is_empty() {
                self.held = Some(rr);
                break;
            }
            // One record alone may be larger than the target.
            if !packer.push(&rr, MESSAGE_MAX) {
                self.done = true;
                return Some(Packer::new(&self.request, self.first, rcode::SERVFAIL).finish());
            }
            break;
        }
        self.first = false;
        Some(packer.finish())
    }
}

/// The whole zone, between two SOA records. `records` are those without the SOA.
pub fn axfr<I: Iterator<Item = Rr>>(
    request: &Request,
    apex: &Name,
    soa: &Soa,
    records: I,
) -> Messages<impl Iterator<Item = Rr> + use<I>> {
    let soa = soa.rr(apex);
    Messages::new(request, once(soa.clone()).chain(records).chain(once(soa)))
}

/// What an IXFR client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Its serial is the current one, or newer: the SOA alone.
    Current,
    /// The differences since its serial.
    Differences,
    /// The whole zone, as AXFR: the differences are not known or larger than the zone.
    Whole,
}

/// Decides by the client's serial. `diffs` are those since it, oldest first; `zone_records` is the size of the zone.
pub fn form(soa: &Soa, client: u32, diffs: Option<&[Arc<ZoneDiff>]>, zone_records: usize) -> Form {
    if client == soa.serial || is_newer(client, soa.serial) {
        return Form::Current;
    }
    let Some(diffs) = diffs.filter(|diffs| !diffs.is_empty()) else { return Form::Whole };
    let mut serial = client;
    let mut records = 0_usize;
    for diff in diffs {
        if diff.from.serial != serial {
            return Form::Whole;
        }
        serial = diff.to.serial;
        records += diff.removed.len() + diff.added.len() + 2;
    }
    if serial == soa.serial && records <= zone_records { Form::Differences } else { Form::Whole }
}

/// Whether serial `a` comes after `b` (RFC 1982 section 3.2). Of two that are 2^31 apart neither does.
pub fn is_newer(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

/// Answers an IXFR request over TCP; arguments as for [`axfr`] and [`form`].
pub fn ixfr<'a>(
    request: &Request,
    apex: &Name,
    soa: &Soa,
    diffs: Option<Vec<Arc<ZoneDiff>>>,
    zone_records: usize,
    records: impl Iterator<Item = Rr> + Send + 'a,
) -> Messages<Box<dyn Iterator<Item = Rr> + Send + 'a>> {
    let client = request.client_serial.unwrap_or(soa.serial.wrapping_sub(1 << 31));
    let rr = soa.rr(apex);
    let stream: Box<dyn Iterator<Item = Rr> + Send + 'a> = match form(soa, client, diffs.as_deref(), zone_records) {
        Form::Current => Box::new(once(rr)),
        Form::Differences => {
            let sequences = diffs.unwrap_or_default().into_iter().flat_map(sequence);
            Box::new(once(rr.clone()).chain(sequences).chain(once(rr)))
        }
        Form::Whole => Box::new(once(rr.clone()).chain(records).chain(once(rr))),
    };
    Messages::new(request, stream)
}

/// Answers an IXFR request over UDP in at most `limit` octets: the SOA alone unless the differences
/// fit, which tells the client to come over TCP (RFC 1995 section 2). For a signed reply `limit` must leave
/// room for [`super::tsig::Session::overhead`]. A SOA that does not fit is for the caller to cut.
pub fn ixfr_udp(
    request: &Request,
    apex: &Name,
    soa: &Soa,
    diffs: Option<&[Arc<ZoneDiff>]>,
    zone_records: usize,
    limit: usize,
) -> Vec<u8> {
    let (client, rr) = (request.client_serial.unwrap_or(soa.serial), soa.rr(apex));
    if form(soa, client, diffs, zone_records) == Form::Differences {
        let sequences = diffs.unwrap_or_default().iter().cloned().flat_map(sequence);
        let mut packer = Packer::new(request, true, rcode::NOERROR);
        if once(rr.clone()).chain(sequences).chain(once(rr.clone())).all(|rr| packer.push(&rr, limit)) {
            return packer.finish();
        }
    }
    let mut packer = Packer::new(request, true, rcode::NOERROR);
    packer.push(&rr, MESSAGE_MAX);
    packer.finish()
}

/// One difference: the old SOA, what is gone, the new SOA, what is new (RFC 1995 section 4).
fn sequence(diff: Arc<ZoneDiff>) -> impl Iterator<Item = Rr> {
    let (from, to) = (diff.from.rr(&diff.apex), diff.to.rr(&diff.apex));
    let added = diff.clone();
    let removed = (0..diff.removed.len()).filter_map(move |at| diff.removed.get(at).cloned());
    let added = (0..added.added.len()).filter_map(move |at| added.added.get(at).cloned());
    once(from).chain(removed).chain(once(to)).chain(added)
}

/// A reply without records, such as REFUSED for a transfer that is not allowed. `rcode` up to 15.
pub fn error_reply(request: &Request, rcode: u16) -> Vec<u8> {
    let mut reply = Packer::new(request, true, rcode).finish();
    if let Some(flags) = reply.get_mut(2) {
        // Not authoritative: nothing is said about the zone.
        *flags &= !0x04;
    }
    reply
}

#[cfg(test)]
mod tests;
