//! Names below a delegation in our zones, for those who may have names resolved: the servers of the
//! delegated zone are asked, and those of zones that it delegates further (RFC 1034 section 5.3.3).
//!
//! Their addresses come from glue and from our own zones; where both know none, from the resolvers behind
//! us. Of an answer only what lies in the delegated zone is taken: the end of a CNAME elsewhere is
//! asked for there (RFC 2181 section 5.4.1). Cache, time limits and stale answers are those of
//! forwarding, but a zone whose servers are silent neither slows forwarding down nor takes its room.
//!
//! Limits: [`REFERRALS_MAX`] delegations one below the other, [`SERVERS_MAX`] addresses for each,
//! [`LOOKUPS_MAX`] servers looked up elsewhere, [`UNDER_WAY_MAX`] questions at once (beyond, counted as shed),
//! [`LISTS_MAX`] lists of servers whose times are remembered.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, Record, RecordType},
    serialize::binary::BinEncodable,
};
use tokio::sync::Semaphore;

use super::{
    cache::Key,
    chase::Piece,
    check::check_upstreams,
    engine::{Forwarder, Shared},
    message::{Query, ede},
    special::special,
};
use crate::{
    find::{Found as Place, find},
    name::{Name, is_within},
    rr::{CLASS_IN, rcode, rtype},
    table::Hashed,
    zones::Zones,
};

/// Delegations that are followed from one to the one below.
const REFERRALS_MAX: usize = 8;
/// Addresses of one zone's servers that are asked.
const SERVERS_MAX: usize = 12;
/// Servers without an address of which one is looked up elsewhere.
const LOOKUPS_MAX: usize = 3;
/// Names of a chain of CNAMEs that are taken from one reply.
const CHAIN_MAX: usize = 12;
/// Questions to delegated zones at once, all together.
const UNDER_WAY_MAX: usize = 96;
/// Lists of servers of which is remembered how fast they are.
const LISTS_MAX: u64 = 256;
/// Time for one server, repeats included: the client's four seconds must do for more than one.
const PATIENCE: Duration = Duration::from_millis(1_300);
const PORT: u16 = 53;

/// A delegation: the apex, and each server with the addresses that came along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) apex: Name,
    servers: Vec<(Name, Vec<IpAddr>)>,
}

/// What the servers of a delegated zone said.
pub(crate) struct Found {
    /// What belongs into the reply.
    pub(crate) piece: Piece,
    /// Where the chain goes on.
    pub(crate) open: Option<Name>,
    /// The extended error that goes with it.
    pub(crate) error: Option<(u16, &'static str)>,
}

/// Those who ask delegated zones, by the servers they ask.
pub(super) struct Delegates {
    forwarders: moka::sync::Cache<Vec<SocketAddr>, Forwarder>,
    room: Arc<Semaphore>,
}

impl Default for Delegates {
    fn default() -> Self {
        Self { forwarders: moka::sync::Cache::new(LISTS_MAX), room: Arc::new(Semaphore::new(UNDER_WAY_MAX)) }
    }
}

impl Delegates {
    fn to(&self, servers: Vec<SocketAddr>, shared: &Arc<Shared>) -> Option<Forwarder> {
        let make = || Forwarder::to(&servers, PATIENCE, shared.clone(), self.room.clone(), None).ok();
        self.forwarders.optionally_get_with(servers.clone(), make)
    }
}

impl Cut {
    /// The delegation in our zones at or above a name.
    pub(crate) fn of(zones: &Zones, name: &Name) -> Option<Self> {
        let Place::Cut { node, .. } = find(zones, &Hashed::new(name)) else { return None };
        let servers = node.set(rtype::NS)?.data().map(|name| (Name::from_wire(name), Vec::new())).collect();
        Some(Self { apex: Name::from_wire(node.name()), servers })
    }

    /// The delegation further down that a reply to the question for `name` points to. Addresses are believed of
    /// names in the zone that was asked; a pointer that leads no further down is none.
    fn below(&self, reply: &Message, name: &Name) -> Option<Self> {
        let is_referral = reply.metadata.response_code == ResponseCode::NoError
            && reply.answers.is_empty()
            && !reply.authorities.iter().any(|record| record.record_type() == RecordType::SOA);
        let servers = |record: &Record| match &record.data {
            RData::NS(server) => Some((wire(&record.name)?, wire(&server.0)?)),
            _ => None,
        };
        let all: Vec<(Name, Name)> = reply.authorities.iter().filter_map(servers).collect();
        let apex = all.first()?.0.clone();
        if !is_referral || apex == self.apex || !is_within(&apex, &self.apex) || !is_within(name, &apex) {
            return None;
        }
        let glue = |server: &Name| {
            let of = reply.additionals.iter().filter(|record| {
                is_within(server, &self.apex) && wire(&record.name).is_some_and(|owner| owner == *server)
            });
            of.filter_map(address).collect()
        };
        let servers = all.into_iter().filter(|(owner, _)| *owner == apex);
        Some(Self { servers: servers.map(|(_, server)| (server.clone(), glue(&server))).collect(), apex })
    }
}

impl Forwarder {
    /// Asks the servers of `cut`, and those that they point to, for a name in it.
    pub(crate) async fn delegated(&self, zones: &Zones, mut cut: Cut, name: &Name, client: &Query) -> Found {
        let question = [&name[..], &client.rtype.to_be_bytes(), &CLASS_IN.to_be_bytes()].concat();
        let query = Query { question, name: name.to_vec(), class: CLASS_IN, ad: false, cd: false, ..client.clone() };
        for _ in 0..REFERRALS_MAX {
            let servers = self.servers_of(zones, &cut).await;
            let shared = &self.0.shared;
            let delegates = self.0.delegates.as_ref().filter(|_| !servers.is_empty());
            let Some(asking) = delegates.and_then(|delegates| delegates.to(servers, shared)) else {
                return failed("no server of the delegated zone has an address");
            };
            let answer = asking.resolve(&key_of(&query, &cut)).await;
            let Ok(reply) = Message::from_vec(&answer.write(&query)) else {
                return failed("the servers of the delegated zone send damaged replies");
            };
            let Some(lower) = cut.below(&reply, name) else {
                let points = reply.authorities.iter().any(|record| record.record_type() == RecordType::NS);
                let mut found = take(reply, &cut.apex, name, client.rtype);
                let is_empty = found.piece.answers.is_empty() && found.piece.authorities.is_empty();
                if points && is_empty && found.piece.rcode == rcode::NOERROR {
                    return failed("the servers of the delegated zone point to others in vain");
                }
                found.error = answer.error();
                return found;
            };
            cut = lower;
        }
        failed("too many delegations one below the other")
    }

    /// Where the servers of a zone are asked.
    async fn servers_of(&self, zones: &Zones, cut: &Cut) -> Vec<SocketAddr> {
        let own = |name: &Name| zones.records_at(name).into_iter().filter_map(|rr| own_address(rr.rtype, &rr.rdata));
        let mut known: Vec<IpAddr> = Vec::new();
        for (name, glue) in &cut.servers {
            known.extend(glue);
            if glue.is_empty() {
                known.extend(own(name));
            }
        }
        if known.is_empty() {
            let elsewhere = |name: &&Name| zones.zone_for(name).is_none() && special(name).is_none();
            let names = cut.servers.iter().map(|(name, _)| name).filter(elsewhere).take(LOOKUPS_MAX);
            let lookups = names.flat_map(|name| [rtype::A, rtype::AAAA].map(|rtype| self.addresses_of(name, rtype)));
            known = join_all(lookups).await.concat();
        }
        let mut servers: Vec<_> = known.into_iter().map(|address| SocketAddr::new(address, PORT)).collect();
        servers.sort_unstable();
        servers.dedup();
        // Our own address would be asked for ever, others never answer.
        servers.retain(|server| check_upstreams(&[*server], &self.0.shared.listen).is_ok());
        servers.truncate(SERVERS_MAX);
        servers
    }

    /// Addresses of a server, as the resolvers behind us know it.
    async fn addresses_of(&self, name: &Name, rtype: u16) -> Vec<IpAddr> {
        let question = [&name[..], &rtype.to_be_bytes(), &CLASS_IN.to_be_bytes()].concat();
        let message = [&[0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &question].concat();
        let Some(query) = Query::parse(&message) else { return Vec::new() };
        let reply = self.resolve(&super::engine::key_of(&query)).await.write(&query);
        let reply = Message::from_vec(&reply).map(|reply| reply.answers).unwrap_or_default();
        reply.iter().filter_map(address).take(SERVERS_MAX).collect()
    }
}

fn key_of(query: &Query, cut: &Cut) -> Key {
    Key { cut: (*cut.apex).into(), ..super::engine::key_of(query) }
}

fn failed(why: &'static str) -> Found {
    let piece = Piece { rcode: rcode::SERVFAIL, ..Piece::default() };
    Found { piece, open: None, error: Some((ede::NO_REACHABLE_AUTHORITY, why)) }
}

/// What a reply of the servers of `apex` says about `name`: the chain of CNAMEs from it as far as it lies in
/// the zone, and what stands at its end.
fn take(reply: Message, apex: &Name, name: &Name, qtype: u16) -> Found {
    let mut here = name.clone();
    let mut answers: Vec<Record> = Vec::new();
    let mut ended = false;
    for _ in 0..CHAIN_MAX {
        if ended || !is_within(&here, apex) {
            break;
        }
        let mut next = None;
        for record in &reply.answers {
            let Some(owner) = wire(&record.name) else { continue };
            let above = record.record_type() == RecordType::DNAME && owner != here && is_within(&here, &owner);
            if owner != here && !(above && is_within(&owner, apex)) || answers.contains(record) {
                continue;
            }
            answers.push(record.clone());
            let rtype = u16::from(record.record_type());
            ended |= owner == here && (rtype == qtype || qtype == rtype::ANY);
            if let RData::CNAME(target) = &record.data {
                next = wire(&target.0);
            }
        }
        match next {
            Some(target) if !ended => here = target,
            _ => break,
        }
    }
    let negative = reply.authorities.iter().any(|record| record.record_type() == RecordType::SOA);
    let code = reply.metadata.response_code;
    let left = !is_within(&here, apex);
    // A zone further down holds the end of the chain, and the server says no more about it.
    let unfinished = !ended && !answers.is_empty() && !negative && code == ResponseCode::NoError && here != *name;
    if !ended && (left || unfinished) {
        return Found { piece: Piece { answers, ..Piece::default() }, open: Some(here), error: None };
    }
    let piece = Piece { rcode: u16::from(code), answers, authorities: reply.authorities };
    Found { piece, open: None, error: None }
}

fn wire(name: &hickory_proto::rr::Name) -> Option<Name> {
    name.to_lowercase().to_bytes().ok().map(|wire| Name::from_wire(&wire))
}

fn address(record: &Record) -> Option<IpAddr> {
    match &record.data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    }
}

fn own_address(rtype: u16, rdata: &[u8]) -> Option<IpAddr> {
    match rtype {
        rtype::A => <[u8; 4]>::try_from(rdata).ok().map(IpAddr::from),
        rtype::AAAA => <[u8; 16]>::try_from(rdata).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
