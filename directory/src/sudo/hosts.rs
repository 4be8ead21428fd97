//! Patterns as the host names that sudo compares with its own.

use compact_str::{CompactString, format_compact};
use imbl::OrdMap;
use inventory::{
    Host, State,
    pattern::{Hosts, Pattern},
};

use super::NAMES_MAX;

/// The zones that have hosts: zone, region, product.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Zones(OrdMap<(CompactString, CompactString, CompactString), usize>);

impl Zones {
    pub(super) fn count(&mut self, host: &Host, change: isize) {
        let key = (host.key.zone.clone(), host.region.clone(), host.key.product.clone());
        let hosts = self.0.get(&key).copied().unwrap_or(0).saturating_add_signed(change);
        if hosts == 0 {
            self.0.remove(&key);
        } else {
            self.0.insert(key, hosts);
        }
    }
}

/// What patterns become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    Names(Vec<CompactString>),
    TooMany,
}

/// Whether the names of a pattern depend on which zones there are.
pub(super) fn names_zones(pattern: &Pattern) -> bool {
    matches!(&pattern.hosts, Hosts::Named { place, product, .. } if place.is_some() || product.is_some())
}

/// Whether the names of a pattern are those of hosts.
pub(super) fn lists_hosts(pattern: &Pattern) -> bool {
    !matches!(pattern.hosts, Hosts::Named { .. })
}

/// The names that a list of patterns becomes.
pub(super) fn shown(patterns: &[Pattern], state: &State, zones: &Zones) -> Shown {
    let mut names = Vec::new();
    for pattern in patterns {
        match &pattern.hosts {
            Hosts::Named { name, place: None, product: None } if name == "*" => names.push("ALL".into()),
            Hosts::Named { name, place: None, product: None } => names.push(name.clone()),
            Hosts::Named { name, .. } => {
                for (zone, _, product) in zones.0.keys().filter(|zone| is_meant(pattern, zone)) {
                    names.push(format_compact!("{name}.{zone}.{product}.private"));
                }
            }
            _ => {
                let hosts = state.hosts().filter(|host| host.is_named() && pattern.matches(host));
                let limit = NAMES_MAX + 1 - names.len().min(NAMES_MAX);
                names.extend(hosts.take(limit).map(|host| in_full(host)));
            }
        }
        if names.len() > NAMES_MAX {
            return Shown::TooMany;
        }
    }
    names.sort_unstable();
    names.dedup();
    Shown::Names(names)
}

fn in_full(host: &Host) -> CompactString {
    format_compact!("{}.{}.{}.private", host.key.name, host.key.zone, host.key.product)
}

/// Whether a pattern means hosts of a zone. The pattern's own matching decides, on a host of any name that is there.
fn is_meant(pattern: &Pattern, zone: &(CompactString, CompactString, CompactString)) -> bool {
    let Hosts::Named { place, product, .. } = &pattern.hosts else { return false };
    let any = Hosts::Named { name: "*".into(), place: place.clone(), product: product.clone() };
    let (zone, region, product) = zone;
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
