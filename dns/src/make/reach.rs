//! How far a change set reaches: whether zones can follow it step by step, or must be made anew.

use std::sync::Arc;

use inventory::{ChangeSet, Host, Row};

use crate::{
    generate::reverse_zones_of,
    name::{self, Name},
    zones::Zones,
};

/// Whether a change set changes what the records of unchanged rows are.
pub(super) fn needs_build(set: &ChangeSet) -> bool {
    set.rows.iter().flat_map(|change| [&change.old, &change.new]).flatten().any(|row| match row {
        Row::Role(_) => true,
        Row::Record(record) => record.key.rtype == "SOA",
        Row::Host(_) | Row::Grant(_) | Row::Entry(_) | Row::Cookie(_) => false,
    })
}

/// Apexes of the zones that the hosts of a change set have names in.
fn apexes(set: &ChangeSet) -> impl Iterator<Item = Name> {
    set.rows.iter().flat_map(|change| [&change.old, &change.new]).flatten().flat_map(|row| {
        let host = if let Row::Host(host) = row { Some(host) } else { None };
        let of = |host: &Arc<Host>| {
            let product = ["private", "public"].map(|top| crate::generate::join(&[&host.key.product, top]));
            product.into_iter().chain(reverse_zones_of(host)).collect::<Vec<_>>()
        };
        host.map(of).unwrap_or_default()
    })
}

/// Whether a change set makes a zone inside a present one, whose names would have to move, or around one, which would
/// have to hear of it.
pub(super) fn splits_zone(zones: &Zones, set: &ChangeSet) -> bool {
    let around = |apex: &Name| zones.zones().any(|zone| name::is_within(&zone.apex, apex));
    apexes(set).any(|apex| zones.zone(&apex).is_none() && (zones.zone_for(&apex).is_some() || around(&apex)))
}

/// Whether a change set may have made a zone inside another.
pub(super) fn touches_inner_zone(zones: &Zones, set: &ChangeSet) -> bool {
    apexes(set).any(|apex| name::parent(&apex).is_some_and(|above| zones.zone_for(above).is_some()))
}
