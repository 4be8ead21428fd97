//! What every transport shares: the zones of the moment, who may ask what, and the counters.
//!
//! The zones are swapped whole; an answering thread holds one version for one batch and never waits
//! for whoever makes the next.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use arc_swap::{ArcSwap, Guard};
use ipnet::IpNet;

use crate::{
    answer::{answer, answer_parsed},
    cookie::{self, CookieState},
    query::{self, Fault, Query},
    querylog::QueryLog,
    rate::{RateLimiter, Rated},
    stats::{Counters, Event},
    verdict::{Asker, Facts, Verdict},
    zones::Zones,
};

/// The answering core.
pub struct Engine {
    zones: ArcSwap<Zones>,
    facts: Facts,
    allow: Vec<IpNet>,
    rate: Option<RateLimiter>,
    pub(crate) query_log: Option<QueryLog>,
}

/// A datagram as the engine sees it.
pub(crate) struct Datagram<'a> {
    pub(crate) query: &'a [u8],
    pub(crate) peer: SocketAddr,
    pub(crate) spin: u32,
    pub(crate) now_ms: u64,
}

impl Engine {
    /// With no zones yet.
    pub(crate) fn new(facts: Facts, allow: Vec<IpNet>, rate: Option<RateLimiter>, query_log: Option<QueryLog>) -> Self {
        Self { zones: ArcSwap::from_pointee(Zones::default()), facts, allow, rate, query_log }
    }

    /// The zones that answers come from now.
    pub fn zones(&self) -> Guard<Arc<Zones>> {
        self.zones.load()
    }

    /// The zones that answers come from now, to keep.
    pub fn zones_full(&self) -> Arc<Zones> {
        self.zones.load_full()
    }

    /// Lets answers come from other zones from now on.
    pub(crate) fn publish(&self, zones: Arc<Zones>) {
        self.zones.store(zones);
    }

    /// Whether an address may ask for names that are not ours.
    pub(crate) fn is_trusted(&self, address: IpAddr) -> bool {
        self.allow.iter().any(|net| net.contains(&address))
    }

    /// What is said about the server.
    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Answers one message off the fast path: of a stream, or with a signature that has been verified.
    pub(crate) fn answer_slowly(
        &self,
        query: &[u8],
        peer: IpAddr,
        stream: bool,
        signature: Option<usize>,
        now_ms: u64,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let asker = Asker {
            address: peer,
            stream,
            trusted: self.is_trusted(peer),
            now_s: (now_ms / 1000) as u32, // RFC 9018 wants 32 bits, modulo
            signature,
            spin: now_ms as u32,
        };
        answer(&self.zones.load(), &self.facts, &asker, query, out)
    }

    /// Answers one datagram, with rate limiting and counting. What is left in `out` is sent; a verdict
    /// is returned when somebody else has to finish the answer.
    #[inline]
    pub(crate) fn answer_datagram(
        &self,
        zones: &Zones,
        datagram: &Datagram<'_>,
        parsed: &Result<Query<'_>, Fault>,
        counters: &Counters,
        out: &mut Vec<u8>,
    ) -> Option<Verdict> {
        let address = datagram.peer.ip();
        let trusted = self.is_trusted(address);
        let now_s = (datagram.now_ms / 1000) as u32; // RFC 9018 wants 32 bits, modulo
        let asker = Asker { address, stream: false, trusted, now_s, signature: None, spin: datagram.spin };
        let verdict = answer_parsed(zones, &self.facts, &asker, datagram.query, parsed, out);
        match verdict {
            Verdict::Reply { rcode, reason, proven } => {
                counters.answered_alone(rcode, reason);
                if !trusted && !proven {
                    self.limit(datagram, counters, out);
                }
                None
            }
            Verdict::Silence => {
                counters.event(Event::Silent);
                out.clear();
                None
            }
            Verdict::Signed | Verdict::Forward | Verdict::Chase { .. } | Verdict::Transfer { .. } => Some(verdict),
        }
    }

    /// Rate limiting of what was finished off the fast path; as there, trusted networks and holders
    /// of a cookie are spared.
    pub(crate) fn limit_slowly(&self, datagram: &Datagram<'_>, counters: &Counters, out: &mut Vec<u8>) {
        if !self.is_trusted(datagram.peer.ip()) && !self.is_proven(datagram) {
            self.limit(datagram, counters, out);
        }
    }

    fn is_proven(&self, datagram: &Datagram<'_>) -> bool {
        let (address, now_s) = (datagram.peer.ip(), (datagram.now_ms / 1000) as u32); // as in `answer_datagram`
        let option = query::parse(datagram.query).ok().and_then(|query| query.edns?.cookie);
        option.is_some_and(|option| {
            cookie::check(&self.facts.cookie_secrets, option, now_s, address) == CookieState::Good
        })
    }

    /// Response rate limiting: the answer stays, is cut to a truncated header and question, or is dropped.
    fn limit(&self, datagram: &Datagram<'_>, counters: &Counters, out: &mut Vec<u8>) {
        let Some(rate) = &self.rate else { return };
        match rate.check(datagram.peer.ip(), datagram.now_ms) {
            Rated::Pass => {}
            Rated::Slip => {
                counters.event(Event::RateSlipped);
                query::cut_to_question(datagram.query, out);
            }
            Rated::Drop => {
                counters.event(Event::RateDropped);
                out.clear();
            }
        }
    }
}
