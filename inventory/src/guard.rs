//! The guard: changes too large to be believed are held until a person accepts them.
//!
//! An empty folder, a query that returned half, a file of another product: each looks like the
//! orderly removal of hosts, records or zones. The guard looks only at the rows that change, so it costs O(changed).

mod entries;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::{
    change::{ChangeSet, Row, RowChange},
    model::Host,
    state::State,
};

/// Share, in percent, of a product's hosts, of a source's static records, or of the role definitions that one change set
/// may remove without being held.
pub const REMOVED_PERCENT_MAX: u64 = 30;
/// Static records or role definitions that may always be removed: a small file is emptied more easily than by mistake.
pub const REMOVED_ALWAYS: u64 = 9;
/// Entries of a class, or with an attribute, from which on losing all of them is held.
pub const ALL_OF_CLASS_MIN: u64 = 3;
/// Zones that one sentence names; the rest is counted.
const ZONES_TOLD: usize = 5;

/// One reason for which a change is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// Too many hosts of a product lose their names.
    Hosts {
        /// The product.
        product: CompactString,
        /// Hosts whose names go.
        gone: u64,
        /// Hosts that have names now.
        all: u64,
    },
    /// The product-wide name of a role would no longer answer.
    Role {
        /// The product.
        product: CompactString,
        /// The role.
        role: CompactString,
        /// Running members now.
        members: u64,
    },
    /// Too many static records of a source go.
    Records {
        /// The source.
        source: CompactString,
        /// Records that go while nothing of their name and type is left.
        gone: u64,
        /// Records of the source now.
        all: u64,
    },
    /// Too many role definitions go.
    Roles {
        /// Definitions that go.
        gone: u64,
        /// Definitions now.
        all: u64,
    },
    /// Zones lose their SOA record, and with it every name in them.
    Zones(Vec<CompactString>),
    /// Too many directory entries of a class go, or all of them.
    Entries {
        /// The object class, in lower case.
        class: CompactString,
        /// Entries of it that go.
        gone: u64,
        /// Entries of it now.
        all: u64,
    },
    /// Too many directory entries stay but lose an attribute: what a changed access rule of the upstream looks like.
    Attribute {
        /// The attribute, in lower case.
        attribute: CompactString,
        /// Entries that lose it.
        gone: u64,
        /// Entries that have it now.
        all: u64,
    },
    /// A group goes that a grant with sudo is for.
    Admins {
        /// Its name, in lower case.
        group: CompactString,
        /// The first such grant.
        grant: CompactString,
    },
    /// Too many grants of a source go at once.
    Grants {
        /// Grants that go.
        gone: u64,
        /// Grants now.
        all: u64,
    },
    /// A source that defines rows was read as empty.
    Emptied {
        /// The source.
        source: CompactString,
        /// Rows of it now.
        rows: u64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX: u64 = REMOVED_PERCENT_MAX;
        match self {
            Self::Hosts { product, gone, all } => {
                write!(f, "it removes {gone} of the {all} hosts of product {product}, more than {MAX} %")
            }
            Self::Role { product, role, members } => {
                write!(f, "it leaves role {role} of product {product} without a running host; it has {members} now")
            }
            Self::Records { source, gone, all } => {
                write!(f, "it removes {gone} of the {all} static records of {source}, more than {MAX} %")
            }
            Self::Roles { gone, all } => {
                write!(f, "it removes {gone} of the {all} role definitions, more than {MAX} %")
            }
            Self::Zones(zones) => {
                let told: Vec<&str> = zones.iter().take(ZONES_TOLD).map(CompactString::as_str).collect();
                let more = zones.len() - told.len();
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                write!(f, "it removes the SOA record of {}{more} and so whole zones", told.join(", "))
            }
            Self::Entries { class, gone, all } if gone == all => {
                write!(f, "it removes all {all} directory entries of class {class}")
            }
            Self::Entries { class, gone, all } => {
                write!(f, "it removes {gone} of the {all} directory entries of class {class}, more than {MAX} %")
            }
            Self::Attribute { attribute, gone, all } => {
                write!(
                    f,
                    "it takes {attribute} from {gone} of the {all} directory entries that have it, more than {MAX} %"
                )
            }
            Self::Admins { group, grant } => {
                let group = group.escape_debug();
                write!(f, "it removes the group {group}, for which grant {grant} gives sudo, and no other has its name")
            }
            Self::Grants { gone, all } => {
                write!(f, "it removes {gone} of the {all} grants, more than {MAX} %")
            }
            Self::Emptied { source, rows } => write!(f, "{source} is empty but defines {rows} rows now"),
        }
    }
}

impl Reason {
    /// Whether somebody who was shown `shown` has been shown this as well: the same loss, and no larger a share in
    /// whole percent.
    pub(crate) fn is_covered_by(&self, shown: &Self) -> bool {
        let share = |gone: u64, all: u64| gone.saturating_mul(100) / all.max(1);
        let same = match (self, shown) {
            (Self::Hosts { product, .. }, Self::Hosts { product: p, .. }) => product == p,
            (Self::Role { product, role, .. }, Self::Role { product: p, role: r, .. }) => product == p && role == r,
            (Self::Records { source, .. }, Self::Records { source: s, .. }) => source == s,
            (Self::Roles { .. }, Self::Roles { .. }) => true,
            (Self::Entries { class, .. }, Self::Entries { class: c, .. }) => class == c,
            (Self::Attribute { attribute, .. }, Self::Attribute { attribute: a, .. }) => attribute == a,
            (Self::Admins { group, .. }, Self::Admins { group: g, .. }) => group == g,
            (Self::Grants { .. }, Self::Grants { .. }) => true,
            (Self::Zones(zones), Self::Zones(shown)) => zones.iter().all(|zone| shown.contains(zone)),
            _ => false,
        };
        let percent = |reason: &Self| match reason {
            Self::Hosts { gone, all, .. }
            | Self::Records { gone, all, .. }
            | Self::Entries { gone, all, .. }
            | Self::Attribute { gone, all, .. }
            | Self::Grants { gone, all }
            | Self::Roles { gone, all } => share(*gone, *all),
            _ => 0,
        };
        same && percent(self) <= percent(shown)
    }
}

/// The reasons for which `set`, which leads from `before` to `after`, should be held; none when it may be served.
///
/// A host counts as removed when its names go: removed, renamed, moved to another zone, or terminated.
/// A role counts as emptied when its product-wide name would no longer answer. That a region or a zone loses its last
/// member is not held: with one member per zone that happens with every host that is replaced.
///
/// A record counts as removed when nothing of its name and type is left, so that other data in its place is no loss.
pub fn reasons(before: &State, after: &State, set: &ChangeSet) -> Vec<Reason> {
    let mut reasons = of_hosts(before, after, set);
    reasons.extend(of_records(before, after, set));
    reasons.extend(of_roles(before, after, set));
    reasons.extend(entries::reasons(before, after, set));
    reasons
}

fn is_too_much(gone: u64, all: u64) -> bool {
    gone.saturating_mul(100) > all.saturating_mul(REMOVED_PERCENT_MAX)
}

fn of_hosts(before: &State, after: &State, set: &ChangeSet) -> Vec<Reason> {
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
        if is_too_much(gone, all) {
            reasons.push(Reason::Hosts { product: product.clone(), gone, all });
        }
    }
    for (product, role) in emptied {
        let members = before.role_members(product, role);
        reasons.push(Reason::Role { product: product.clone(), role: role.clone(), members });
    }
    reasons
}

fn of_records(before: &State, after: &State, set: &ChangeSet) -> Vec<Reason> {
    let mut left: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    let mut removed: BTreeMap<&CompactString, u64> = BTreeMap::new();
    let mut zones: BTreeSet<&CompactString> = BTreeSet::new();
    for change in &set.rows {
        let (Some(Row::Record(old)), None) = (&change.old, &change.new) else { continue };
        let is_left = left
            .entry((&old.key.name, &old.key.rtype))
            .or_insert_with(|| after.records_at(&old.key.name).any(|record| record.key.rtype == old.key.rtype));
        if *is_left {
            continue;
        }
        *removed.entry(&old.source).or_default() += 1;
        if old.key.rtype == "SOA" {
            zones.insert(&old.key.name);
        }
    }
    let removed = removed.into_iter().map(|(source, gone)| (source, gone, before.records_of(source)));
    let large = removed.filter(|(_, gone, all)| *gone > REMOVED_ALWAYS && is_too_much(*gone, *all));
    let mut reasons: Vec<Reason> =
        large.map(|(source, gone, all)| Reason::Records { source: source.clone(), gone, all }).collect();
    if !zones.is_empty() {
        reasons.push(Reason::Zones(zones.into_iter().cloned().collect()));
    }
    reasons
}

fn of_roles(before: &State, after: &State, set: &ChangeSet) -> Option<Reason> {
    let is_gone = |row: &Row| matches!(row, Row::Role(role) if after.role(&role.name).is_none());
    let gone = set.rows.iter().filter_map(|change| change.old.as_ref()).filter(|row| is_gone(row)).count() as u64;
    // Counting them all is left to the few changes that remove many.
    let all = if gone > REMOVED_ALWAYS { before.roles().count() as u64 } else { return None };
    is_too_much(gone, all).then_some(Reason::Roles { gone, all })
}

/// Grants that a source takes back at once by being read anew. What a person revokes is never held.
pub(crate) fn of_grants(before: &State, set: &ChangeSet) -> Option<Reason> {
    let is_gone = |change: &&RowChange| matches!((&change.old, &change.new), (Some(Row::Grant(_)), None));
    let (gone, all) = (set.rows.iter().filter(is_gone).count() as u64, before.grant_count() as u64);
    (gone > REMOVED_ALWAYS && is_too_much(gone, all)).then_some(Reason::Grants { gone, all })
}

fn host(row: Option<&Row>) -> Option<&Host> {
    match row {
        Some(Row::Host(host)) => Some(host),
        _ => None,
    }
}
