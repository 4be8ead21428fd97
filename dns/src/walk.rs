//! From the name asked for to what decides about it: data, CNAME and DNAME chains, referrals, and
//! names or types that do not exist.

use smallvec::SmallVec;

use crate::{
    answer::Answering,
    find::{Found, find},
    name::{self, Name, is_within},
    node::{APEX, Node, SetRef},
    query::{HEADER, flag},
    reply::{Place, Reply, Section},
    rr::{CLASS_IN, rcode, rtype},
    table::Hashed,
    verdict::Reason,
    zones::Zone,
};

/// Names of a CNAME or DNAME chain that are followed at most.
const CHAIN_MAX: usize = 12;

/// Offset in the message and text of the name to go on with; `None`: no room to say so.
type Next = Option<(usize, Name)>;

/// How a lookup ended, before it is written to the header.
pub(crate) struct Ending {
    pub(crate) flags: u16,
    pub(crate) rcode: u16,
    pub(crate) reason: Reason,
    /// A name of somebody else, or below a delegation, at which the chain ends.
    pub(crate) chase: Option<Name>,
}

impl Ending {
    fn new(flags: u16, rcode: u16, reason: Reason) -> Self {
        Self { flags, rcode, reason, chase: None }
    }
}

impl Answering<'_> {
    /// Walks from the name asked for along CNAMEs and DNAMEs to what decides; `None` if that is not ours at all.
    pub(crate) fn look_up(&self, reply: &mut Reply<'_>) -> Option<Ending> {
        let mut buffer: Name;
        let mut seen: SmallVec<[usize; CHAIN_MAX]> = SmallVec::new();
        let mut here = Place { at: HEADER, name: self.query.name() };
        for step in 0..CHAIN_MAX {
            let hashed = if step == 0 { self.query.hashed() } else { Hashed::new(here.name) };
            let next = match find(self.zones, &hashed) {
                Found::Outside if step == 0 => return None,
                Found::Outside => return Some(self.leave(here)),
                Found::Name(node) => match self.at_name(reply, here, node) {
                    Ok(ending) => return Some(ending),
                    Err(next) => next,
                },
                Found::NoName(zone) => return Some(negative(reply, here, zone, rcode::NXDOMAIN)),
                // DS is the parent's word about the child (RFC 4035 section 3.1.4.1).
                Found::Cut { node, skip: 0 } if self.query.qtype == rtype::DS => {
                    return Some(match node.set(rtype::DS) {
                        Some(set) => self.data(reply, here, set),
                        None => negative(reply, here, self.zones.zone_of(node), rcode::NOERROR),
                    });
                }
                // Who may have names resolved gets the answer of the delegated zone, as from any resolver.
                Found::Cut { .. } if self.recurses() && self.query.qclass == CLASS_IN => {
                    let flags = if step > 0 { flag::AA } else { 0 };
                    let chase = Some(Name::from_wire(here.name));
                    return Some(Ending { chase, ..Ending::new(flags, rcode::NOERROR, Reason::Referral) });
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
            seen.push(here.at);
            if seen.iter().any(|&at| reply.is_name_at(at, &target)) {
                break;
            }
            buffer = target;
            here = Place { at, name: &buffer };
        }
        // A loop, or a chain as long as one: what has been found is all there is.
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
            return Ok(self.data(reply, here, set));
        }
        let zone = self.zones.zone_of(node);
        if qtype == rtype::SOA && here.name.len() == zone.apex.len() && node.name() == &*zone.apex {
            let soa = zone.soa.rr(&zone.apex);
            let fits = reply.record(Section::Answer, here, rtype::SOA, soa.ttl, &soa.rdata);
            return Ok(if fits { Ending::new(flag::AA, rcode::NOERROR, Reason::Data) } else { truncated() });
        }
        let Some(cname) = node.set(rtype::CNAME) else {
            // That a child has no DS is the parent's to say (RFC 4035 section 3.1.4.1).
            let above = zone.above.filter(|_| qtype == rtype::DS && node.head().flags & APEX != 0);
            let zone = above.map_or(zone, |above| &self.zones.zones[usize::from(above)]);
            return Ok(negative(reply, here, zone, rcode::NOERROR));
        };
        if !reply.set(Section::Answer, here, cname, 0) {
            return Err(None);
        }
        let target = cname.data().next().map(Name::from_wire).unwrap_or_else(Name::root);
        Err(Some((reply.len() - target.len(), target)))
    }

    /// The set that was asked for. What does not fit whole is marked over streams too: nobody may
    /// take a part of a set for the set (RFC 2181 section 5).
    #[inline]
    fn data(&self, reply: &mut Reply<'_>, here: Place<'_>, set: SetRef<'_>) -> Ending {
        if !reply.set(Section::Answer, here, set, self.asker.spin) {
            return truncated();
        }
        self.add_addresses(reply);
        Ending::new(flag::AA, rcode::NOERROR, Reason::Data)
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
        if fits { Ending::new(flag::AA, rcode::NOERROR, Reason::Data) } else { truncated() }
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
}

fn truncated() -> Ending {
    Ending::new(flag::AA | flag::TC, rcode::NOERROR, Reason::Data)
}

/// NXDOMAIN or NODATA with the SOA of the zone (RFC 2308).
fn negative(reply: &mut Reply<'_>, here: Place<'_>, zone: &Zone, code: u16) -> Ending {
    let above = here.name.len() - zone.apex.len();
    reply.soa(Place { at: here.at + above, name: &zone.apex }, zone);
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
