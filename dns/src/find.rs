//! Finding the place in the zones that decides about a name (RFC 1034 section 4.3.2, RFC 4592).

use std::sync::Arc;

use crate::{
    node::{APEX, CUT, Node, WILDCARD_BELOW},
    rr::rtype,
    table::Hashed,
    zones::{Zone, Zones},
};

/// What decides about a name.
pub(crate) enum Found<'z> {
    /// The name itself, or the wildcard that covers it.
    Name(&'z Node),
    /// A delegation at the name without its first `skip` labels.
    Cut { node: &'z Node, skip: usize },
    /// A DNAME at the name without its first `skip` labels.
    Dname { node: &'z Node, skip: usize },
    /// The name lies in this zone and does not exist.
    NoName(&'z Arc<Zone>),
    /// The name lies in none of our zones.
    Outside,
}

/// Finds what decides about `name`. Two probes at most for names in zones without delegations, plus
/// one for each label by which the name lies below what exists.
#[inline]
pub(crate) fn find<'z>(zones: &'z Zones, name: &Hashed<'_>) -> Found<'z> {
    if let Some(node) = zones.table.get(name, 0) {
        let zone = zones.zone_of(node);
        if zone.cuts > 0
            && let Some(cut) = find_cut(zones, zone, name)
        {
            return cut;
        }
        return Found::Name(node);
    }
    let Some((skip, closest)) = (1..=name.labels).find_map(|skip| Some((skip, zones.table.get(name, skip)?))) else {
        return Found::Outside;
    };
    let zone = zones.zone_of(closest);
    if zone.cuts > 0
        && let Some(cut) = find_cut(zones, zone, name)
    {
        return cut;
    }
    if closest.head().flags & WILDCARD_BELOW != 0
        && let Some(wildcard) = zones.table.get_wildcard(name, skip)
    {
        return Found::Name(wildcard);
    }
    Found::NoName(zone)
}

/// The highest delegation or DNAME between the apex and `name`. A DNAME says nothing of its own owner.
fn find_cut<'z>(zones: &'z Zones, zone: &Zone, name: &Hashed<'_>) -> Option<Found<'z>> {
    for skip in (0..=name.skip_to(zone.apex.len())).rev() {
        let node = zones.table.get(name, skip)?;
        if node.head().flags & CUT == 0 {
            continue;
        }
        if node.head().flags & APEX == 0 && node.set(rtype::NS).is_some() {
            return Some(Found::Cut { node, skip });
        }
        if skip > 0 && node.set(rtype::DNAME).is_some() {
            return Some(Found::Dname { node, skip });
        }
    }
    None
}
