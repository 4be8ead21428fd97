//! Who is still to be told of which zone: the state of NOTIFY, without sockets and clock.
//!
//! Per target: zones that wait (each once, whatever changes meanwhile), and up to
//! [`OUTSTANDING_MAX`] messages that wait for their reply. A silent target fills only its own places.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    message::{OPCODE_NOTIFY, u16_at},
    tsig::{Keys, Session},
};
use crate::{
    name::{self, Name},
    rr::{CLASS_IN, rtype},
    zone::Soa,
};

/// Messages to one target that may wait for their replies at once.
pub const OUTSTANDING_MAX: usize = 64;
/// How often a message is sent again (RFC 1996 section 3.6).
pub const RETRIES_MAX: u32 = 5;

/// What became of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// The target knows.
    Acknowledged,
    /// The target answered with this rcode, and is not asked again.
    Refused(u16),
    /// It answers nothing that is open, or its signature is wrong.
    Ignored,
}

/// The zones and what each target still has to learn.
pub(super) struct Rounds {
    zones: HashMap<Name, Soa>,
    targets: Vec<Target>,
    keys: Keys,
    key: Option<Name>,
    first_wait: Duration,
}

struct Target {
    address: SocketAddr,
    waiting: VecDeque<Name>,
    queued: HashSet<Name>,
    flights: Vec<Flight>,
}

/// A message that was sent.
struct Flight {
    apex: Name,
    id: u16,
    retries: u32,
    due: Instant,
    message: Vec<u8>,
    session: Option<Session>,
}

/// What a step yields: messages to send, and how many were given up.
#[derive(Default)]
pub(super) struct Step {
    pub send: Vec<(SocketAddr, Vec<u8>)>,
    pub given_up: u64,
}

impl Rounds {
    pub(super) fn new(targets: &[SocketAddr], keys: Keys, key: Option<Name>, first_wait: Duration) -> Self {
        let target = |address: &SocketAddr| Target {
            address: *address,
            waiting: VecDeque::new(),
            queued: HashSet::new(),
            flights: Vec::new(),
        };
        Self { zones: HashMap::new(), targets: targets.iter().map(target).collect(), keys, key, first_wait }
    }

    /// Takes the zones as they are now; those that are new or have another serial are told to every target.
    pub(super) fn changed(&mut self, zones: &[(Name, Soa)]) {
        let names: HashSet<&Name> = zones.iter().map(|(apex, _)| apex).collect();
        self.zones.retain(|apex, _| names.contains(apex));
        for target in &mut self.targets {
            target.flights.retain(|flight| names.contains(&flight.apex));
            target.waiting.retain(|apex| names.contains(apex));
            target.queued.retain(|apex| names.contains(apex));
        }
        for (apex, soa) in zones {
            if self.zones.get(apex).is_some_and(|known| known.serial == soa.serial) {
                continue;
            }
            self.zones.insert(apex.clone(), soa.clone());
            for target in &mut self.targets {
                // What is on its way says an older serial; its reply would say nothing about this one.
                target.flights.retain(|flight| flight.apex != *apex);
                if target.queued.insert(apex.clone()) {
                    target.waiting.push_back(apex.clone());
                }
            }
        }
    }

    /// What is to be sent now. `id` yields random identifiers; `now_s` is for signatures.
    pub(super) fn step(&mut self, now: Instant, now_s: u64, mut id: impl FnMut() -> u16) -> Step {
        let mut step = Step::default();
        for target in &mut self.targets {
            let address = target.address;
            let before = target.flights.len();
            target.flights.retain(|flight| flight.due > now || flight.retries < RETRIES_MAX);
            step.given_up += (before - target.flights.len()) as u64;
            for flight in target.flights.iter_mut().filter(|flight| flight.due <= now) {
                flight.retries += 1;
                flight.due = now + self.first_wait * (1 << flight.retries);
                step.send.push((address, flight.message.clone()));
            }
            while target.flights.len() < OUTSTANDING_MAX {
                let Some(apex) = target.waiting.pop_front() else { break };
                target.queued.remove(&apex);
                let Some(soa) = self.zones.get(&apex) else { continue };
                let mut id = id();
                while target.flights.iter().any(|flight| flight.id == id) {
                    id = id.wrapping_add(1);
                }
                let mut message = notify(id, &apex, soa);
                let mut session = self.key.as_ref().and_then(|key| self.keys.signer(Some(key)));
                if let Some(session) = &mut session
                    && session.sign(&mut message, now_s).is_err()
                {
                    step.given_up += 1;
                    continue;
                }
                step.send.push((address, message.clone()));
                let due = now + self.first_wait;
                target.flights.push(Flight { apex, id, retries: 0, due, message, session });
            }
        }
        step
    }

    /// When [`Rounds::step`] has something to do again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.targets.iter().flat_map(|target| &target.flights).map(|flight| flight.due).min()
    }

    /// Takes a datagram: it must come from a target, with an identifier that is open there (RFC 1996 section 4.6).
    pub(super) fn reply(&mut self, from: SocketAddr, message: &[u8], now_s: u64) -> Reply {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let (Some(id), Some(flags)) = (u16_at(message, 0), u16_at(message, 2)) else { return Reply::Ignored };
        if flags & 0x8000 == 0 || (flags >> 11 & 15) as u8 != OPCODE_NOTIFY {
            return Reply::Ignored;
        }
        for target in self.targets.iter_mut().filter(|target| target.address == from) {
            let Some(at) = target.flights.iter().position(|flight| flight.id == id) else { continue };
            let verified = |session: &Session| session.verify_reply(message, now_s).is_ok();
            if !target.flights[at].session.as_ref().is_none_or(verified) {
                return Reply::Ignored;
            }
            target.flights.swap_remove(at);
            return match flags & 15 {
                0 => Reply::Acknowledged,
                rcode => Reply::Refused(rcode),
            };
        }
        Reply::Ignored
    }
}

/// NOTIFY with the SOA in the answer section (RFC 1996 section 3.7).
fn notify(id: u16, apex: &Name, soa: &Soa) -> Vec<u8> {
    debug_assert!(name::wire_len(apex) == Some(apex.len()));
    let rr = soa.rr(apex);
    let mut out = Vec::with_capacity(64 + apex.len() + rr.rdata.len());
    out.extend(id.to_be_bytes());
    out.extend([OPCODE_NOTIFY << 3 | 0x04, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
    out.extend_from_slice(apex);
    out.extend(rtype::SOA.to_be_bytes());
    out.extend(CLASS_IN.to_be_bytes());
    // The owner is the name at offset 12.
    out.extend([0xc0, 12]);
    out.extend(rtype::SOA.to_be_bytes());
    out.extend(CLASS_IN.to_be_bytes());
    out.extend(rr.ttl.to_be_bytes());
    out.extend((rr.rdata.len() as u16).to_be_bytes());
    out.extend_from_slice(&rr.rdata);
    out
}

#[cfg(test)]
mod tests;
