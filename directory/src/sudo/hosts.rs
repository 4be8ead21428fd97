//! Patterns as the host names that sudo compares with its own.
//!
//! A pattern without zone becomes the glob of a short name, others `GLOB.ZONE.PRODUCT.private` for every zone that there
//! is, roles, groups and tags the hosts that have them. These lists are kept for the patterns in use and follow each host
//! that changes; hosts are gone through once for all patterns that are new.

use std::collections::BTreeSet;

use compact_str::{CompactString, format_compact};
use imbl::{OrdMap, OrdSet};
use inventory::{
    Host, State,
    pattern::{Hosts, Pattern},
};

use super::NAMES_MAX;

/// A list is kept up to this length, so that one around [`NAMES_MAX`] is not made anew with each host.
const KEPT_MAX: usize = 2 * NAMES_MAX;

/// Zone, region, product.
pub(super) type Zone = (CompactString, CompactString, CompactString);

/// The names of hosts, as far as patterns need them.
#[derive(Debug, Clone, Default)]
pub(super) struct HostNames {
    /// The zones that have hosts, and how many.
    zones: OrdMap<Zone, usize>,
    /// Hosts of the patterns that list hosts.
    lists: OrdMap<Hosts, Listed>,
    /// Those of the patterns that hold wildcards; all others are found by what a host carries.
    globs: OrdSet<Hosts>,
}

#[derive(Debug, Clone, Default)]
struct Listed {
    count: usize,
    names: OrdSet<CompactString>,
    /// Whether there were too many to keep their names.
    is_cut: bool,
}

/// What a change of hosts touched.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Patterns whose lists changed.
    pub(super) lists: BTreeSet<Hosts>,
    /// Zones that came or went.
    pub(super) zones: Vec<Zone>,
    /// Patterns whose lists must be made anew, as few enough are left.
    pub(super) starved: BTreeSet<Hosts>,
}

/// What patterns become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    Names(Vec<CompactString>),
    TooMany,
}

/// Whether the names of a pattern depend on which zones there are.
pub(super) fn names_zones(hosts: &Hosts) -> bool {
    matches!(hosts, Hosts::Named { place, product, .. } if place.is_some() || product.is_some())
}

/// Whether the names of a pattern are those of hosts.
pub(super) fn lists_hosts(hosts: &Hosts) -> bool {
    !matches!(hosts, Hosts::Named { .. })
}

impl Listed {
    fn add(&mut self, name: CompactString) {
        self.count += 1;
        if !self.is_cut {
            self.names.insert(name);
            if self.names.len() > KEPT_MAX {
                (self.names, self.is_cut) = (OrdSet::new(), true);
            }
        }
    }

    /// Returns whether the names are missing now.
    fn remove(&mut self, name: &CompactString) -> bool {
        self.count = self.count.saturating_sub(1);
        self.names.remove(name);
        self.is_cut && self.count <= NAMES_MAX
    }
}

impl HostNames {
    /// Follows one host.
    pub(super) fn change(&mut self, old: Option<&Host>, new: Option<&Host>, touched: &mut Touched) {
        for (host, change) in [(old, -1), (new, 1)] {
            if let Some(zone) = host.and_then(|host| self.count_zone(host, change)) {
                touched.zones.push(zone);
            }
        }
        let meant = |host: Option<&Host>| host.map(|host| self.meant(host)).unwrap_or_default();
        let (before, after) = (meant(old), meant(new));
        let name = old.or(new).map(in_full).unwrap_or_default();
        for hosts in before.difference(&after) {
            if self.lists.get_mut(hosts).is_some_and(|list| list.remove(&name)) {
                touched.starved.insert(hosts.clone());
            }
            touched.lists.insert(hosts.clone());
        }
        for hosts in after.difference(&before) {
            if let Some(list) = self.lists.get_mut(hosts) {
                list.add(name.clone());
            }
            touched.lists.insert(hosts.clone());
        }
    }

    /// Returns the zone if it is the first host there, or was the last one.
    fn count_zone(&mut self, host: &Host, change: isize) -> Option<Zone> {
        let zone = (host.key.zone.clone(), host.region.clone(), host.key.product.clone());
        let before = self.zones.get(&zone).copied().unwrap_or(0);
        let hosts = before.saturating_add_signed(change);
        if hosts == 0 {
            self.zones.remove(&zone);
        } else {
            self.zones.insert(zone.clone(), hosts);
        }
        ((hosts == 0) != (before == 0)).then_some(zone)
    }

    /// The patterns with lists that mean a host.
    fn meant(&self, host: &Host) -> BTreeSet<Hosts> {
        if !host.is_named() || self.lists.is_empty() {
            return BTreeSet::new();
        }
        let roles = host.roles.iter().cloned().map(Hosts::Role);
        let groups = host.groups.iter().cloned().map(Hosts::Group);
        let tags = host
            .tags
            .iter()
            .flat_map(|(key, value)| [Hosts::Tag(key.clone(), None), Hosts::Tag(key.clone(), Some(value.clone()))]);
        let carried = roles.chain(groups).chain(tags).filter(|hosts| self.lists.contains_key(hosts));
        carried.chain(self.globs.iter().filter(|hosts| hosts.contain(host)).cloned()).collect()
    }

    /// Whether there is a list for a pattern.
    pub(super) fn lists(&self, hosts: &Hosts) -> bool {
        self.lists.contains_key(hosts)
    }

    /// Makes the lists of patterns, in one pass over the hosts.
    pub(super) fn fill(&mut self, state: &State, wanted: BTreeSet<Hosts>) {
        if wanted.is_empty() {
            return;
        }
        let globs = wanted.iter().filter(|hosts| is_glob(hosts)).cloned().collect();
        let lists = wanted.into_iter().map(|hosts| (hosts, Listed::default())).collect();
        let mut fresh = Self { zones: OrdMap::new(), lists, globs };
        for host in state.hosts() {
            let name = in_full(host);
            for hosts in fresh.meant(host) {
                if let Some(list) = fresh.lists.get_mut(&hosts) {
                    list.add(name.clone());
                }
            }
        }
        self.globs.extend(fresh.globs);
        self.lists.extend(fresh.lists);
    }

    /// Drops the list of a pattern.
    pub(super) fn forget(&mut self, hosts: &Hosts) {
        self.lists.remove(hosts);
        self.globs.remove(hosts);
    }

    /// The names that a number of patterns becomes.
    pub(super) fn shown(&self, patterns: &[Pattern]) -> Shown {
        let mut names = Vec::new();
        for pattern in patterns {
            match &pattern.hosts {
                Hosts::Named { name, place: None, product: None } if name == "*" => names.push("ALL".into()),
                Hosts::Named { name, place: None, product: None } => names.push(name.clone()),
                Hosts::Named { name, .. } => {
                    for (zone, _, product) in self.zones.keys().filter(|zone| is_meant(&pattern.hosts, zone)) {
                        names.push(format_compact!("{name}.{zone}.{product}.private"));
                    }
                }
                hosts => match self.lists.get(hosts) {
                    Some(list) if list.count > NAMES_MAX => return Shown::TooMany,
                    Some(list) => names.extend(list.names.iter().cloned()),
                    None => {}
                },
            }
            if names.len() > NAMES_MAX {
                names.sort_unstable();
                names.dedup();
            }
            if names.len() > NAMES_MAX {
                return Shown::TooMany;
            }
        }
        names.sort_unstable();
        names.dedup();
        Shown::Names(names)
    }
}

fn is_glob(hosts: &Hosts) -> bool {
    match hosts {
        Hosts::Role(text) | Hosts::Group(text) | Hosts::Tag(_, Some(text)) => text.contains(['*', '?']),
        Hosts::Tag(_, None) | Hosts::Named { .. } => false,
    }
}

fn in_full(host: &Host) -> CompactString {
    format_compact!("{}.{}.{}.private", host.key.name, host.key.zone, host.key.product)
}

/// Whether a pattern means hosts of a zone. The pattern's own matching decides, on a host of any name that is there.
pub(super) fn is_meant(hosts: &Hosts, (zone, region, product): &Zone) -> bool {
    let Hosts::Named { place, product: wanted, .. } = hosts else { return false };
    let any = Hosts::Named { name: "*".into(), place: place.clone(), product: wanted.clone() };
    any.contain(&Host {
        key: inventory::HostKey { product: product.clone(), name: "any".into(), zone: zone.clone() },
        region: region.clone(),
        private_ip: std::net::Ipv4Addr::UNSPECIFIED,
        public_ip: None,
        ipv6: None,
        roles: Box::default(),
        groups: Box::default(),
        tags: Box::default(),
        state: inventory::HostState::Running,
        source: CompactString::const_new(""),
    })
}

/// Whether two sets could have a host in common, as far as their forms tell: when in doubt, they could.
pub(super) fn may_meet(one: &Hosts, other: &Hosts) -> bool {
    let (Hosts::Named { name, product, .. }, Hosts::Named { name: second, product: made, .. }) = (one, other) else {
        return true;
    };
    let products_meet = match (product, made) {
        (Some(one), Some(other)) => globs_meet(one.as_bytes(), other.as_bytes()),
        _ => true,
    };
    products_meet && globs_meet(name.as_bytes(), second.as_bytes())
}

/// Whether some text matches both globs. Costs the product of their lengths.
fn globs_meet(one: &[u8], other: &[u8]) -> bool {
    // `row[at]` tells whether what is left of `one` and what `other` has from `at` on have a text in common.
    let mut row = vec![true; other.len() + 1];
    for at in (0..other.len()).rev() {
        row[at] = row[at + 1] && other[at] == b'*';
    }
    for &byte in one.iter().rev() {
        let below = row.clone();
        row[other.len()] = byte == b'*' && below[other.len()];
        for at in (0..other.len()).rev() {
            row[at] = match (byte, other[at]) {
                (b'*', _) | (_, b'*') => below[at] || row[at + 1],
                (one, other) => (one == other || one == b'?' || other == b'?') && below[at + 1],
            };
        }
    }
    row[0]
}

#[cfg(test)]
mod tests {
    use super::globs_meet;

    #[test]
    fn globs_meet_if_a_text_matches_both() {
        for (one, other, is) in [
            ("db1", "db1", true),
            ("db1", "db2", false),
            ("db*", "*1", true),
            ("db*", "web*", false),
            ("a?c", "*b*", true),
            ("a?", "a", false),
            ("*", "", true),
            ("a*b", "b*a", false),
            ("*a*", "*b*", true),
        ] {
            assert_eq!(globs_meet(one.as_bytes(), other.as_bytes()), is, "{one} {other}");
            assert_eq!(globs_meet(other.as_bytes(), one.as_bytes()), is, "{other} {one}");
        }
    }
}
