//! The guard: changes too large to be believed are held until a person accepts them.
//!
//! An empty folder, a query that returned half, a file of another product: each looks like the
//! orderly removal of hosts. The guard looks only at the rows that change, so it costs O(changed).

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;

use crate::{
    change::{ChangeSet, Row},
    model::Host,
    state::State,
};

/// Share of a product's hosts, in percent, that one change set may remove without being held.
pub const REMOVED_PERCENT_MAX: u64 = 30;

/// The reasons for which `set`, which leads from `before` to `after`, should be held; none when it may be served.
///
/// A host counts as removed when its names go: removed, renamed, moved to another zone, or terminated.
pub fn reasons(before: &State, after: &State, set: &ChangeSet) -> Vec<String> {
    let mut removed: BTreeMap<&CompactString, u64> = BTreeMap::new();
    let mut emptied: BTreeSet<(&CompactString, &CompactString)> = BTreeSet::new();
    for old in set.rows.iter().filter_map(|change| host(change.old.as_ref())) {
        let product = &old.key.product;
        if old.is_named() && !after.host(&old.key).is_some_and(|host| host.is_named()) {
            *removed.entry(product).or_default() += 1;
        }
        if old.is_serving() {
            emptied.extend(
                old.roles.iter().filter(|role| after.role_members(product, role) == 0).map(|role| (product, role)),
            );
        }
    }
    let mut reasons = Vec::new();
    for (product, gone) in removed {
        let all = before.product(product).map_or(0, |tally| tally.hosts);
        if gone.saturating_mul(100) > all.saturating_mul(REMOVED_PERCENT_MAX) {
            reasons.push(format!(
                "it removes {gone} of the {all} hosts of product {product}, more than {REMOVED_PERCENT_MAX} %"
            ));
        }
    }
    for (product, role) in emptied {
        let members = before.role_members(product, role);
        reasons
            .push(format!("it leaves role {role} of product {product} without a running host; it has {members} now"));
    }
    reasons
}

fn host(row: Option<&Row>) -> Option<&Host> {
    match row {
        Some(Row::Host(host)) => Some(host),
        _ => None,
    }
}
