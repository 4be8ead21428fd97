//! The rest of an answer that begins in our zones and ends elsewhere: a CNAME to a name of somebody else, or
//! a name below a delegation of ours. Each part is asked for where it belongs, for trusted askers only.
//!
//! Bounded: [`PARTS_MAX`] parts, and [`DEADLINE`] for all of them together; then SERVFAIL with the reason.

use std::net::IpAddr;

use tokio::time::timeout;

use crate::{
    forward::{
        Cut, DEADLINE, Forwarder, Piece, join,
        message::{self, Query, ede},
        special,
    },
    name::Name,
    respond::{Responder, now_ms},
    rr::{CLASS_IN, rcode, rtype},
    verdict::Verdict,
};

/// Times that an answer goes on in another place.
const PARTS_MAX: usize = 8;

impl Responder {
    /// Completes `partial`, which says nothing yet of `target`. It comes back as it is where nobody may be asked.
    pub(crate) async fn follow(&self, partial: Vec<u8>, target: Name, query: &[u8], peer: IpAddr) -> Vec<u8> {
        let (Some(forwarder), Some(query)) = (&self.forwarder, Query::parse(query)) else { return partial };
        match timeout(DEADLINE, self.follow_on(forwarder, partial.clone(), target, &query, peer)).await {
            Ok(reply) => reply,
            Err(_) => failed(partial, "no reply in time"),
        }
    }

    async fn follow_on(
        &self,
        forwarder: &Forwarder,
        mut partial: Vec<u8>,
        mut target: Name,
        query: &Query,
        peer: IpAddr,
    ) -> Vec<u8> {
        for _ in 0..PARTS_MAX {
            let zones = self.engine.zones_full();
            // DS is the parent's word about the child.
            let cut = Cut::of(&zones, &target).filter(|cut| query.rtype != rtype::DS || cut.apex != target);
            let (piece, next) = if let Some(cut) = cut {
                let found = forwarder.delegated(&zones, cut, &target, query).await;
                if let Some((code, text)) = found.error {
                    message::append_options(&mut partial, &message::extended_error(code, text));
                }
                (Some(found.piece), found.open)
            } else if zones.zone_for(&target).is_some() {
                self.part_of_ours(&target, query.rtype, peer)
            } else if special::special(&target).is_some() {
                return partial;
            } else {
                return forwarder.chase(partial, &target, query.rtype).await;
            };
            let Some(joined) = piece.and_then(|piece| join(&partial, &piece)) else { return partial };
            partial = joined;
            match next {
                Some(next) => target = next,
                None => return partial,
            }
        }
        failed(partial, "the chain of names is too long")
    }

    /// What our zones say about a name, and where a chain that leaves them goes on.
    fn part_of_ours(&self, name: &Name, qtype: u16, peer: IpAddr) -> (Option<Piece>, Option<Name>) {
        let question = [&name[..], &qtype.to_be_bytes(), &CLASS_IN.to_be_bytes()].concat();
        let query = [&[0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &question].concat();
        let mut reply = Vec::new();
        match self.engine.answer_slowly(&query, peer, true, None, now_ms(), &mut reply) {
            Verdict::Reply { .. } => (Piece::read(&reply), None),
            Verdict::Chase { target } => (Piece::read(&reply), Some(target)),
            Verdict::Silence | Verdict::Signed | Verdict::Forward | Verdict::Transfer { .. } => (None, None),
        }
    }
}

fn failed(mut partial: Vec<u8>, why: &str) -> Vec<u8> {
    message::set_rcode(&mut partial, rcode::SERVFAIL);
    message::append_options(&mut partial, &message::extended_error(ede::NO_REACHABLE_AUTHORITY, why));
    partial
}
