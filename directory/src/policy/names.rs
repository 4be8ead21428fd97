//! Hosts by the names that people and machines use for them.
//!
//! `name`, `name.zone`, `name.region`, each also in full with the product and `private` or `public` behind it; case and
//! a trailing dot do not matter. A name stands for a host only if no other is meant as well.

use std::sync::Arc;

use compact_str::CompactString;
use imbl::HashMap;
use inventory::Host;
use smallvec::SmallVec;

/// Most octets of a host's name (RFC 1035 section 3.1).
const NAME_OCTETS_MAX: usize = 254;

/// Why a name stands for no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoHost {
    /// No host has that name.
    #[error("no host of the inventory has that name")]
    Unknown,
    /// Several have it.
    #[error("{first} and {second} both have that name; write it with zone and product")]
    Ambiguous {
        /// One of them, in full.
        first: CompactString,
        /// Another.
        second: CompactString,
    },
}

/// Hosts by their first label.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(HashMap<CompactString, SmallVec<[Arc<Host>; 1]>>);

/// `name.zone.product`.
pub(super) fn in_full(host: &Host) -> CompactString {
    compact_str::format_compact!("{}.{}.{}", host.key.name, host.key.zone, host.key.product)
}

impl Names {
    pub(super) fn add(&mut self, host: &Arc<Host>) {
        let hosts = self.0.entry(host.key.name.clone()).or_default();
        match hosts.binary_search_by(|other| other.key.cmp(&host.key)) {
            Ok(at) => hosts[at] = host.clone(),
            Err(at) => hosts.insert(at, host.clone()),
        }
    }

    pub(super) fn remove(&mut self, host: &Host) {
        if let Some(hosts) = self.0.get_mut(&host.key.name) {
            hosts.retain(|other| other.key != host.key);
            if hosts.is_empty() {
                self.0.remove(&host.key.name);
            }
        }
    }

    /// The host of a name. Terminated hosts have given their names up, so they are found only if no other host is.
    pub(super) fn find(&self, name: &str) -> Result<&Arc<Host>, NoHost> {
        let name = name.trim();
        if name.len() > NAME_OCTETS_MAX {
            return Err(NoHost::Unknown);
        }
        let mut lower = CompactString::new(name.strip_suffix('.').unwrap_or(name));
        lower.make_ascii_lowercase();
        let mut labels = [None; 5];
        for (at, label) in lower.split('.').enumerate() {
            *labels.get_mut(at).ok_or(NoHost::Unknown)? = Some(label);
        }
        let (label, place, product) = match labels {
            [Some(name), None, ..] => (name, None, None),
            [Some(name), Some(place), None, ..] => (name, Some(place), None),
            [Some(name), Some(product), Some("private" | "public"), None, _] => (name, None, Some(product)),
            [Some(name), Some(place), Some(product), None, _]
            | [Some(name), Some(place), Some(product), Some("private" | "public"), None] => {
                (name, Some(place), Some(product))
            }
            _ => return Err(NoHost::Unknown),
        };
        let is_meant = |host: &&Arc<Host>| {
            place.is_none_or(|place| host.key.zone == place || host.region == place)
                && product.is_none_or(|product| host.key.product == product)
        };
        let meant = || self.0.get(label).into_iter().flatten().filter(is_meant);
        let mut living = meant().filter(|host| host.is_named());
        match (living.next(), living.next()) {
            (Some(only), None) => Ok(only),
            (Some(first), Some(second)) => Err(NoHost::Ambiguous { first: in_full(first), second: in_full(second) }),
            (None, _) => meant().next().ok_or(NoHost::Unknown),
        }
    }
}
