//! One question in, one answer out: `answer(zones, facts, asker, query) -> bytes`, for every transport.
//!
//! A plain function without I/O, clock or locks. What it cannot do alone (ask another server, send a
//! zone) it names in its [`Verdict`]. The common case, a name that exists in a zone without
//! delegations, costs one probe and one copy.

use std::net::IpAddr;

use crate::{
    cookie::{self, CookieState},
    find::{Found, find},
    name::{self, Name, is_within},
    node::Node,
    query::{self, Edns, Fault, HEADER, Query, flag},
    reply::{Place, Reply, Section},
    rr::{CLASS_ANY, CLASS_CH, CLASS_IN, rcode, rtype},
    table::Hashed,
    zones::{Zone, Zones},
};

/// Names of a CNAME or DNAME chain that are followed at most.
const CHAIN_MAX: usize = 12;

/// What the server says about itself, and its limits.
pub struct Facts {
    /// Name of the node: NSID (RFC 5001) and `id.server` (RFC 4892).
    pub id: String,
    /// Answer to `version.bind`.
    pub version: String,
    /// Largest UDP answer in octets.
    pub udp_payload_max: u16,
    /// Whether names that are not ours are asked for elsewhere.
    pub forwards: bool,
    /// Secrets for DNS cookies, the one to make new ones first.
    pub cookie_secrets: Vec<[u8; 16]>,
    /// Idle time of stream connections in units of 100 ms (RFC 7828).
    pub keepalive_ds: u16,
}

/// Who asks, and how.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    /// Source address.
    pub address: IpAddr,
    /// Over TCP, TLS or HTTPS: no size limit but that of the message.
    pub stream: bool,
    /// In a network that may ask for names that are not ours.
    pub trusted: bool,
    /// Unix time in seconds, for cookies.
    pub now_s: u32,
    /// Octets that a signature will add to the reply: set when the query's TSIG has been verified.
    pub signature: Option<usize>,
    /// Changes from query to query; chooses which of several addresses comes first.
    pub spin: u32,
}

/// Why an answer is what it is; counted together with its response code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Data at the name asked for.
    Data,
    /// The name exists, the type does not.
    NoData,
    /// The name does not exist.
    NoName,
    /// A server further down is responsible.
    Referral,
    /// About the server itself (class CH).
    Server,
    /// The message makes no sense.
    Malformed,
    /// An operation or question type that we do not do.
    Unsupported,
    /// EDNS version above 0.
    EdnsVersion,
    /// Neither ours nor to be forwarded for this asker.
    NotOurs,
    /// DNAME would make a name too long.
    NameTooLong,
    /// Only a cookie was asked for.
    Cookie,
}

/// All reasons, in the order of their numbers.
pub const REASONS: [Reason; 11] = [
    Reason::Data,
    Reason::NoData,
    Reason::NoName,
    Reason::Referral,
    Reason::Server,
    Reason::Malformed,
    Reason::Unsupported,
    Reason::EdnsVersion,
    Reason::NotOurs,
    Reason::NameTooLong,
    Reason::Cookie,
];

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Send what was written.
    Reply {
        /// Response code.
        rcode: u16,
        /// Why.
        reason: Reason,
        /// A valid cookie came with the query: the source address is not forged.
        proven: bool,
    },
    /// Send nothing.
    Silence,
    /// A TSIG record closes the query: verify it, then ask again with [`Asker::signature`] set.
    Signed,
    /// Not our name: ask a resolver.
    Forward,
    /// What was written ends in a CNAME to a name that is not ours: ask a resolver for it and append its answer.
    Chase {
        /// The name to ask for.
        target: Name,
    },
    /// A zone transfer (RFC 5936, RFC 1995).
    Transfer {
        /// Apex of the zone, which may or may not be ours.
        apex: Name,
        /// For IXFR, the serial that the client has.
        ixfr_from: Option<u32>,
    },
}

/// Answers one message. `out` is overwritten.
pub fn answer(zones: &Zones, facts: &Facts, asker: &Asker, raw: &[u8], out: &mut Vec<u8>) -> Verdict {
    match query::parse(raw) {
        Ok(query) => Answering { zones, facts, asker, query: &query, proven: false }.run(out),
        Err(Fault::Silence) => Verdict::Silence,
        Err(Fault::Code(code)) => {
            bare_reply(raw, code, out);
            let reason = if code == rcode::NOTIMP { Reason::Unsupported } else { Reason::Malformed };
            Verdict::Reply { rcode: code, reason, proven: false }
        }
    }
}

/// A reply of a header alone with a response code; empty if the query has no header.
pub(crate) fn error(query: &[u8], code: u16) -> Vec<u8> {
    let mut out = Vec::new();
    if query.len() >= HEADER {
        bare_reply(query, code, &mut out);
    }
    out
}

/// A header alone, with the query's id and operation code.
fn bare_reply(raw: &[u8], code: u16, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&raw[..2]); // a header was read, or the fault would be silence
    let flags = u16::from_be_bytes([raw[2], raw[3]]) & (flag::OPCODE | flag::RD);
    out.extend_from_slice(&(flags | flag::QR | code).to_be_bytes());
    out.extend_from_slice(&[0; 8]);
}

struct Answering<'a> {
    zones: &'a Zones,
    facts: &'a Facts,
    asker: &'a Asker,
    query: &'a Query<'a>,
    proven: bool,
}

/// How a lookup ended, before it is written to the header.
struct Ending {
    flags: u16,
    rcode: u16,
    reason: Reason,
    chase: Option<Name>,
}

impl Ending {
    fn new(flags: u16, rcode: u16, reason: Reason) -> Self {
        Self { flags, rcode, reason, chase: None }
    }
}

impl<'a> Answering<'a> {
    fn run(&mut self, out: &mut Vec<u8>) -> Verdict {
        let query = self.query;
        if query.signed && self.asker.signature.is_none() {
            return Verdict::Signed;
        }
        let mut cookie = None;
        if let Some(edns) = &query.edns {
            if edns.version > 0 {
                return self.short(out, rcode::BADVERS, Reason::EdnsVersion, None);
            }
            match self.cookie(edns) {
                Ok(made) => cookie = made,
                Err(()) => return self.short(out, rcode::FORMERR, Reason::Malformed, None),
            }
        }
        if query.question_end == HEADER {
            return self.short(out, rcode::NOERROR, Reason::Cookie, cookie);
        }
        match query.qtype {
            rtype::OPT | rtype::TSIG => return self.short(out, rcode::FORMERR, Reason::Malformed, cookie),
            rtype::MAILA | rtype::MAILB => return self.short(out, rcode::NOTIMP, Reason::Unsupported, cookie),
            _ => {}
        }
        match query.qclass {
            CLASS_IN | CLASS_ANY => {}
            CLASS_CH => return self.about_server(out, cookie),
            _ => return self.short(out, rcode::REFUSED, Reason::NotOurs, cookie),
        }
        if matches!(query.qtype, rtype::AXFR | rtype::IXFR) {
            let ixfr_from = if query.qtype == rtype::IXFR { query.ixfr_serial } else { None };
            if query.qtype == rtype::IXFR && ixfr_from.is_none() || query.qtype == rtype::AXFR && !self.asker.stream {
                return self.short(out, rcode::FORMERR, Reason::Malformed, cookie);
            }
            return Verdict::Transfer { apex: Name::from_wire(query.name()), ixfr_from };
        }
        let opt = self.opt(rcode::NOERROR, cookie);
        let limit = self.limit() - opt.as_ref().map_or(0, Opt::len);
        let mut reply = Reply::new(out, query, limit);
        let Some(ending) = self.look_up(&mut reply) else { return self.outside(out, cookie) };
        reply.finish(query, ending.flags | self.recursion_available(), ending.rcode, opt.as_deref());
        match ending.chase {
            Some(target) => Verdict::Chase { target },
            None => Verdict::Reply { rcode: ending.rcode, reason: ending.reason, proven: self.proven },
        }
    }

    fn outside(&self, out: &mut Vec<u8>, cookie: Option<[u8; 24]>) -> Verdict {
        if self.recurses() {
            return Verdict::Forward;
        }
        self.short(out, rcode::REFUSED, Reason::NotOurs, cookie)
    }

    fn recurses(&self) -> bool {
        self.facts.forwards && self.asker.trusted && self.query.flags() & flag::RD != 0
    }

    fn recursion_available(&self) -> u16 {
        if self.facts.forwards && self.asker.trusted { flag::RA } else { 0 }
    }

    fn limit(&self) -> usize {
        let signature = self.asker.signature.unwrap_or(0);
        if self.asker.stream {
            return usize::from(u16::MAX) - signature;
        }
        self.query.udp_limit(self.facts.udp_payload_max) - signature
    }

    /// A reply without records.
    fn short(&self, out: &mut Vec<u8>, code: u16, reason: Reason, cookie: Option<[u8; 24]>) -> Verdict {
        let opt = self.opt(code, cookie);
        Reply::new(out, self.query, self.limit()).finish(self.query, self.recursion_available(), code, opt.as_deref());
        Verdict::Reply { rcode: code, reason, proven: self.proven }
    }

    /// Walks from the name asked for along CNAMEs and DNAMEs to what decides; `None` if that is not ours at all.
    fn look_up(&self, reply: &mut Reply<'_>) -> Option<Ending> {
        let mut buffer: Name;
        let mut here = Place { at: HEADER, name: self.query.name() };
        for step in 0..CHAIN_MAX {
            let hashed = Hashed::new(here.name);
            let next = match find(self.zones, &hashed) {
                Found::Outside if step == 0 => return None,
                Found::Outside => return Some(self.leave(here)),
                Found::Name(node) => match self.at_name(reply, here, node) {
                    Ok(ending) => return Some(ending),
                    Err(next) => next,
                },
                Found::NoName(zone) => return Some(negative(reply, here, zone, rcode::NXDOMAIN)),
                Found::Cut { node, skip: 0 } if self.query.qtype == rtype::DS => {
                    return Some(negative(reply, here, self.zones.zone_of(node), rcode::NOERROR));
                }
                Found::Cut { node, skip } => {
                    let cut = here.suffix(&hashed, skip);
                    return Some(self.referral(reply, cut, node, step));
                }
                Found::Dname { node, skip } => match self.dname(reply, here, here.suffix(&hashed, skip), node) {
                    Ok(next) => next,
                    Err(ending) => return Some(ending),
                },
            };
            let Some((at, target)) = next else { return Some(truncated()) };
            buffer = target;
            here = Place { at, name: &buffer };
        }
        // A chain that long is a loop: what has been found is all there is.
        Some(Ending::new(flag::AA, rcode::NOERROR, Reason::Data))
    }

    /// A chain left our zones.
    fn leave(&self, here: Place<'_>) -> Ending {
        let chase = self.recurses().then(|| Name::from_wire(here.name));
        Ending { chase, ..Ending::new(flag::AA, rcode::NOERROR, Reason::Data) }
    }

    /// Answers from a node, or says which name to go on with (`None`: no room for the CNAME).
    fn at_name(&self, reply: &mut Reply<'_>, here: Place<'_>, node: &Node) -> Result<Ending, Next> {
        let qtype = self.query.qtype;
        if qtype == rtype::ANY {
            return Ok(self.any(reply, here, node));
        }
        if let Some(set) = node.set(qtype) {
            if !reply.set(Section::Answer, here, set, self.asker.spin) && !self.asker.stream {
                return Ok(truncated());
            }
            self.add_addresses(reply);
            return Ok(Ending::new(flag::AA, rcode::NOERROR, Reason::Data));
        }
        let zone = self.zones.zone_of(node);
        if qtype == rtype::SOA && here.name.len() == zone.apex.len() && node.name() == &*zone.apex {
            let soa = zone.soa.rr(&zone.apex);
            let fits = reply.record(Section::Answer, here, rtype::SOA, soa.ttl, &soa.rdata);
            return Ok(if fits { Ending::new(flag::AA, rcode::NOERROR, Reason::Data) } else { truncated() });
        }
        let Some(cname) = node.set(rtype::CNAME) else {
            return Ok(negative(reply, here, zone, rcode::NOERROR));
        };
        if !reply.set(Section::Answer, here, cname, 0) {
            return Err(None);
        }
        let target = cname.data().next().map(Name::from_wire).unwrap_or_else(Name::root);
        Err(Some((reply.len() - target.len(), target)))
    }

    /// ANY: one set over UDP, all over streams (RFC 8482 section 4.1).
    fn any(&self, reply: &mut Reply<'_>, here: Place<'_>, node: &Node) -> Ending {
        let zone = self.zones.zone_of(node);
        let mut fits = true;
        if node.name() == &*zone.apex {
            let soa = zone.soa.rr(&zone.apex);
            fits = reply.record(Section::Answer, here, rtype::SOA, soa.ttl, &soa.rdata);
        } else if node.is_empty() {
            return negative(reply, here, zone, rcode::NOERROR);
        }
        let sets = if self.asker.stream { usize::MAX } else { usize::from(node.name() != &*zone.apex) };
        for set in node.sets().take(sets) {
            fits &= reply.set(Section::Answer, here, set, self.asker.spin);
        }
        if fits || self.asker.stream { Ending::new(flag::AA, rcode::NOERROR, Reason::Data) } else { truncated() }
    }

    /// DNAME with the CNAME made from it (RFC 6672).
    fn dname(&self, reply: &mut Reply<'_>, here: Place<'_>, owner: Place<'_>, node: &Node) -> Result<Next, Ending> {
        let Some(set) = node.set(rtype::DNAME) else { return Ok(None) };
        let Some(target) = set.data().next() else { return Ok(None) };
        if !reply.set(Section::Answer, owner, set, 0) {
            return Err(truncated());
        }
        let prefix = &here.name[..here.name.len() - owner.name.len()];
        if prefix.len() + target.len() > name::NAME_MAX {
            return Err(Ending::new(flag::AA, rcode::YXDOMAIN, Reason::NameTooLong));
        }
        let made = Name::from_wire(&[prefix, target].concat());
        if !reply.record(Section::Answer, here, rtype::CNAME, set.ttl(), &made) {
            return Err(truncated());
        }
        if self.query.qtype == rtype::CNAME {
            return Err(Ending::new(flag::AA, rcode::NOERROR, Reason::Data));
        }
        Ok(Some((reply.len() - made.len(), made)))
    }

    /// Points to the servers of a delegated zone, with the addresses that we have of them.
    fn referral(&self, reply: &mut Reply<'_>, cut: Place<'_>, node: &Node, step: usize) -> Ending {
        let Some(servers) = node.set(rtype::NS) else { return truncated() };
        let mut fits = reply.set(Section::Authority, cut, servers, 0);
        for at in std::mem::take(&mut reply.targets) {
            let target = reply.name_at(at);
            // Without the addresses of servers inside the zone nobody can reach it (RFC 9471).
            let needed = is_within(&target, cut.name);
            let glue = self.zones.table.get(&Hashed::new(&target), 0);
            for rtype in [rtype::A, rtype::AAAA] {
                let Some(set) = glue.and_then(|node| node.set(rtype)) else { continue };
                let place = Place { at: usize::from(at), name: &target };
                fits &= reply.set(Section::Additional, place, set, 0) || !needed;
            }
        }
        let flags = if step > 0 { flag::AA } else { 0 } | if fits { 0 } else { flag::TC };
        Ending::new(flags, rcode::NOERROR, Reason::Referral)
    }

    /// Addresses of the hosts named in MX, NS and SRV answers, as far as they are ours and fit.
    fn add_addresses(&self, reply: &mut Reply<'_>) {
        for at in std::mem::take(&mut reply.targets) {
            let target = reply.name_at(at);
            if let Found::Name(node) = find(self.zones, &Hashed::new(&target)) {
                for rtype in [rtype::A, rtype::AAAA] {
                    let Some(set) = node.set(rtype) else { continue };
                    let place = Place { at: usize::from(at), name: &target };
                    reply.set(Section::Additional, place, set, self.asker.spin);
                }
            }
        }
    }

    /// Class CH: `version.bind`, `version.server`, `id.server`, `hostname.bind` (RFC 4892).
    fn about_server(&self, out: &mut Vec<u8>, cookie: Option<[u8; 24]>) -> Verdict {
        let text = match self.query.name() {
            b"\x07version\x04bind\0" | b"\x07version\x06server\0" => &self.facts.version,
            b"\x02id\x06server\0" | b"\x08hostname\x04bind\0" => &self.facts.id,
            _ => return self.short(out, rcode::REFUSED, Reason::NotOurs, cookie),
        };
        let opt = self.opt(rcode::NOERROR, cookie);
        let mut reply = Reply::new(out, self.query, self.limit() - opt.as_ref().map_or(0, Opt::len));
        if matches!(self.query.qtype, rtype::TXT | rtype::ANY) {
            let text = &text.as_bytes()[..text.len().min(255)];
            reply.chaos_text(text);
        }
        reply.finish(self.query, flag::AA, rcode::NOERROR, opt.as_deref());
        Verdict::Reply { rcode: rcode::NOERROR, reason: Reason::Server, proven: self.proven }
    }

    /// The cookie option of the reply: the client's half and a fresh server half. `Err`: malformed.
    fn cookie(&mut self, edns: &Edns<'_>) -> Result<Option<[u8; 24]>, ()> {
        let (Some(option), Some(secret)) = (edns.cookie, self.facts.cookie_secrets.first()) else { return Ok(None) };
        match cookie::check(&self.facts.cookie_secrets, option, self.asker.now_s, self.asker.address) {
            CookieState::Malformed => return Err(()),
            CookieState::Good { .. } => self.proven = true,
            CookieState::ClientOnly | CookieState::Bad => {}
        }
        let Some(client) = option.first_chunk::<8>() else { return Err(()) };
        let server = cookie::make(secret, client, self.asker.now_s, self.asker.address);
        let mut both = [0; 24];
        both[..8].copy_from_slice(client);
        both[8..].copy_from_slice(&server);
        Ok(Some(both))
    }

    /// The OPT record of the reply, if the query had one.
    fn opt(&self, code: u16, cookie: Option<[u8; 24]>) -> Option<Opt> {
        let edns = self.query.edns.as_ref()?;
        let mut opt = Opt::from_slice(b"\0\0\x29");
        opt.extend_from_slice(&self.facts.udp_payload_max.to_be_bytes());
        opt.extend_from_slice(&[(code >> 4) as u8, 0, if edns.dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]);
        if edns.nsid {
            push_option(&mut opt, 3, self.facts.id.as_bytes());
        }
        if let Some(cookie) = cookie {
            push_option(&mut opt, 10, &cookie);
        }
        if edns.keepalive && self.asker.stream {
            push_option(&mut opt, 11, &self.facts.keepalive_ds.to_be_bytes());
        }
        let length = (opt.len() - 11) as u16; // an id of 63 octets, a cookie and a keepalive are below 200
        opt[9..11].copy_from_slice(&length.to_be_bytes());
        Some(opt)
    }
}

/// OPT record of a reply.
type Opt = smallvec::SmallVec<[u8; 64]>;
/// Offset in the message and text of the name to go on with; `None`: no room to say so.
type Next = Option<(usize, Name)>;

fn push_option(opt: &mut Opt, code: u16, data: &[u8]) {
    opt.extend_from_slice(&code.to_be_bytes());
    opt.extend_from_slice(&(data.len() as u16).to_be_bytes());
    opt.extend_from_slice(data);
}

fn truncated() -> Ending {
    Ending::new(flag::AA | flag::TC, rcode::NOERROR, Reason::Data)
}

/// NXDOMAIN or NODATA with the SOA of the zone (RFC 2308).
fn negative(reply: &mut Reply<'_>, here: Place<'_>, zone: &Zone, code: u16) -> Ending {
    let above = here.name.len() - zone.apex.len();
    reply.soa(Place { at: here.at + above, name: &zone.apex }, &zone.negative);
    let reason = if code == rcode::NXDOMAIN { Reason::NoName } else { Reason::NoData };
    Ending::new(flag::AA, code, reason)
}

impl<'n> Place<'n> {
    /// The ancestor without the first `skip` labels, which stands in the same place further on.
    fn suffix(&self, hashed: &Hashed<'n>, skip: usize) -> Self {
        let name = hashed.suffix(skip);
        Place { at: self.at + self.name.len() - name.len(), name }
    }
}
