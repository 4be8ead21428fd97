//! What a zone says of a zone of ours below it.
//!
//! A name stands once in the table, in the lowest zone that holds it, so the delegation of a child zone
//! is not among the parent's own names, and no answer needs it: the child's zone answers. Whoever transfers
//! the parent alone does need it (RFC 1034 section 4.2.1): the child's NS and DS and the addresses of
//! servers below the child, as a primary that reads zone files would have them. They are taken from
//! the child, so that the two never differ.

use std::collections::BTreeSet;

use crate::{
    name::{self, Name},
    node::Node,
    rr::{Rr, rtype},
    table::{Hashed, Table},
};

/// Types that a delegation may consist of; a change of other types never changes one.
const TYPES: [u16; 4] = [rtype::A, rtype::NS, rtype::AAAA, rtype::DS];

/// The records that the zone above transfers for the zone with this apex.
pub(crate) fn records(table: &Table, apex: &Name) -> Vec<Rr> {
    let Some(node) = table.get(&Hashed::new(apex), 0) else { return Vec::new() };
    let servers: BTreeSet<&[u8]> = node.set(rtype::NS).into_iter().flat_map(|set| set.data()).collect();
    let mut all = of_types(node, &[rtype::NS, rtype::DS]);
    for server in servers.into_iter().filter(|server| name::is_within(server, apex)) {
        all.extend(
            table.get(&Hashed::new(server), 0).into_iter().flat_map(|node| of_types(node, &[rtype::A, rtype::AAAA])),
        );
    }
    all
}

/// Whether a change of this type may change a delegation.
pub(crate) fn may_change(rtype: u16) -> bool {
    TYPES.contains(&rtype)
}

fn of_types(node: &Node, types: &[u16]) -> Vec<Rr> {
    let sets = types.iter().filter_map(|rtype| node.set(*rtype));
    sets.flat_map(|set| {
        let rr = move |rdata: &[u8]| Rr {
            owner: Name::from_wire(node.name()),
            rtype: set.rtype(),
            ttl: set.ttl(),
            rdata: rdata.into(),
        };
        set.data().map(rr)
    })
    .collect()
}
