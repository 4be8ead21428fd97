//! One question in, one answer out: `answer(zones, facts, asker, query) -> bytes`, for every transport.
//!
//! A plain function without I/O, clock or locks. What it cannot do alone (ask another server, send a
//! zone) it names in its [`Verdict`]. The common case, a name that exists in a zone without
//! delegations, costs one probe and one copy.

use crate::{
    cookie::{self, CookieState},
    name::Name,
    query::{self, Edns, Fault, HEADER, Query, flag},
    reply::Reply,
    rr::{CLASS_ANY, CLASS_CH, CLASS_IN, rcode, rtype},
    verdict::{Asker, Facts, Reason, Verdict},
    zones::Zones,
};

/// Answers one message. `out` is overwritten.
pub fn answer(zones: &Zones, facts: &Facts, asker: &Asker, raw: &[u8], out: &mut Vec<u8>) -> Verdict {
    answer_parsed(zones, facts, asker, raw, &query::parse(raw), out)
}

/// [`answer`] for a message that has been read already.
#[inline]
pub(crate) fn answer_parsed(
    zones: &Zones,
    facts: &Facts,
    asker: &Asker,
    raw: &[u8],
    parsed: &Result<Query<'_>, Fault>,
    out: &mut Vec<u8>,
) -> Verdict {
    match parsed {
        Ok(query) => Answering { zones, facts, asker, query, proven: false }.run(out),
        Err(Fault::Silence) => Verdict::Silence,
        Err(Fault::Code(code)) => {
            bare_reply(raw, *code, out);
            let reason = if *code == rcode::NOTIMP { Reason::Unsupported } else { Reason::Malformed };
            Verdict::Reply { rcode: *code, reason, proven: false }
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

/// One query on its way to an answer.
pub(crate) struct Answering<'a> {
    pub(crate) zones: &'a Zones,
    pub(crate) facts: &'a Facts,
    pub(crate) asker: &'a Asker,
    pub(crate) query: &'a Query<'a>,
    proven: bool,
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
            if query.qtype == rtype::IXFR && query.ixfr_serial.is_none()
                || query.qtype == rtype::AXFR && !self.asker.stream
            {
                return self.short(out, rcode::FORMERR, Reason::Malformed, cookie);
            }
            return Verdict::Transfer { apex: Name::from_wire(query.name()) };
        }
        let opt = self.opt(rcode::NOERROR, cookie);
        let limit = self.limit() - opt.as_ref().map_or(0, Opt::len);
        let mut reply = Reply::new(out, query, limit);
        let Some(ending) = self.look_up(&mut reply) else { return self.outside(out, opt, cookie) };
        reply.finish(query, ending.flags | self.recursion_available(), ending.rcode, opt.as_deref());
        match ending.chase {
            Some(target) => Verdict::Chase { target },
            None => Verdict::Reply { rcode: ending.rcode, reason: ending.reason, proven: self.proven },
        }
    }

    /// A name that is not ours. The asker gets cookie, NSID and keepalive with a resolver's answer as
    /// with our own: who expects a cookie discards a reply without one (RFC 7873 section 5.3).
    fn outside(&self, out: &mut Vec<u8>, opt: Option<Opt>, cookie: Option<[u8; 24]>) -> Verdict {
        if self.recurses() {
            out.clear();
            out.extend_from_slice(opt.as_deref().and_then(|opt| opt.get(OPT_HEAD..)).unwrap_or_default());
            return Verdict::Forward;
        }
        self.short(out, rcode::REFUSED, Reason::NotOurs, cookie)
    }

    /// Whether this asker's question may be asked elsewhere.
    pub(crate) fn recurses(&self) -> bool {
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
            CookieState::Good => self.proven = true,
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
        let length = (opt.len() - OPT_HEAD) as u16; // an id of 63 octets, a cookie and a keepalive are below 200
        opt[9..11].copy_from_slice(&length.to_be_bytes());
        Some(opt)
    }
}

/// OPT record of a reply.
type Opt = smallvec::SmallVec<[u8; 64]>;
/// Octets of an OPT record before its options.
const OPT_HEAD: usize = 11;

fn push_option(opt: &mut Opt, code: u16, data: &[u8]) {
    opt.extend_from_slice(&code.to_be_bytes());
    opt.extend_from_slice(&(data.len() as u16).to_be_bytes());
    opt.extend_from_slice(data);
}
