//! What a few rare rules need to know of the whole state, gathered at most once per review.
//!
//! Delegations, DNAMEs, zones of their own and names in reverse zones outside of private address
//! space ask "is there anything below?", for which the state keeps no table. Cost: O(hosts) or
//! O(records) for a change that holds such a record, nothing for all others.

use std::{cell::OnceCell, collections::BTreeMap, net::IpAddr, sync::Arc};

use inventory::{Host, Record, State};

use crate::{
    generate::reverse_zone,
    name::{Name, first_label, parent},
};

/// Tables over one state, made when first asked for.
pub(super) struct Index<'a> {
    after: &'a State,
    scopes: OnceCell<BTreeMap<(&'a str, &'a str), &'a Arc<Host>>>,
    addresses: OnceCell<Vec<(IpAddr, &'a Arc<Host>)>>,
    names: OnceCell<Vec<(Vec<u8>, &'a Arc<Record>)>>,
}

impl<'a> Index<'a> {
    pub(super) fn new(after: &'a State) -> Self {
        Self { after, scopes: OnceCell::new(), addresses: OnceCell::new(), names: OnceCell::new() }
    }

    /// A host of a product in a zone or region of this label.
    pub(super) fn host_in(&self, product: &str, label: &str) -> Option<&'a Arc<Host>> {
        let named = || self.after.hosts().filter(|host| host.is_named());
        let of = |host: &'a Arc<Host>| {
            let product = host.key.product.as_str();
            [((product, host.key.zone.as_str()), host), ((product, host.region.as_str()), host)]
        };
        self.scopes.get_or_init(|| named().flat_map(of).collect()).get(&(product, label)).copied()
    }

    /// A host with a private address in the range, ends included.
    pub(super) fn host_within(&self, (low, high): (IpAddr, IpAddr)) -> Option<(IpAddr, &'a Arc<Host>)> {
        let all = self.addresses.get_or_init(|| {
            let mut all = Vec::with_capacity(self.after.host_count());
            for host in self.after.hosts().filter(|host| host.is_named()) {
                all.push((IpAddr::V4(host.private_ip), host));
                all.extend(host.ipv6.map(|v6| (IpAddr::V6(v6), host)));
            }
            all.sort_unstable_by_key(|(address, _)| *address);
            all
        });
        let at = all.partition_point(|(address, _)| *address < low);
        all.get(at).filter(|(address, _)| *address <= high).copied()
    }

    /// The static records at a name and below it.
    pub(super) fn records_within(&self, name: &[u8]) -> impl Iterator<Item = &'a Arc<Record>> + '_ {
        let all = self.names.get_or_init(|| {
            let keyed = |record: &'a Arc<Record>| Some((reversed(&Name::parse(&record.key.name).ok()?), record));
            let mut all: Vec<_> = self.after.records().filter_map(keyed).collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all
        });
        let prefix = reversed(name);
        let at = all.partition_point(|(key, _)| *key < prefix);
        all[at..].iter().take_while(move |(key, _)| key.starts_with(&prefix)).map(|(_, record)| *record)
    }
}

/// Labels from the top down, each with its length: names within a name begin with it.
fn reversed(name: &[u8]) -> Vec<u8> {
    let mut labels = Vec::new();
    let mut here = name;
    while let Some(above) = parent(here) {
        labels.push(&here[..=first_label(here).len()]);
        here = above;
    }
    labels.into_iter().rev().flatten().copied().collect()
}

/// The addresses whose reverse names are `labels` or lie below; `None` for names that no address has.
pub(super) fn reverse_range(labels: &[&str]) -> Option<(IpAddr, IpAddr)> {
    match labels {
        [octets @ .., "in-addr", "arpa"] if octets.len() <= 4 => {
            let (mut low, mut high) = ([0; 4], [255; 4]);
            for (i, label) in octets.iter().rev().enumerate() {
                let octet = label.parse::<u8>().ok().filter(|octet| octet.to_string() == **label)?;
                (low[i], high[i]) = (octet, octet);
            }
            Some((IpAddr::from(low), IpAddr::from(high)))
        }
        [nibbles @ .., "ip6", "arpa"] if nibbles.len() <= 32 => {
            let (mut low, mut high) = (0_u128, u128::MAX);
            for (i, label) in nibbles.iter().rev().enumerate() {
                let [digit] = label.as_bytes() else { return None };
                let nibble = u128::from(char::from(*digit).to_digit(16)?);
                let shift = 124 - 4 * i;
                low |= nibble << shift;
                high &= !((15 - nibble) << shift);
            }
            Some((IpAddr::from(low.to_be_bytes()), IpAddr::from(high.to_be_bytes())))
        }
        _ => None,
    }
}

/// Apex of the reverse zone around a host's address, as text.
pub(super) fn reverse_apex(address: IpAddr) -> String {
    text(&reverse_zone(address))
}

/// A name as the inventory writes it: without the trailing dot.
pub(super) fn text(name: &Name) -> String {
    let mut text = name.to_string();
    text.pop();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reverse_name_stands_for_a_range_of_addresses() {
        let range = |name: &str| {
            let labels: Vec<&str> = name.split('.').collect();
            reverse_range(&labels).map(|(low, high)| format!("{low} {high}"))
        };
        assert_eq!(range("3.2.10.in-addr.arpa").unwrap(), "10.2.3.0 10.2.3.255");
        assert_eq!(range("4.3.2.10.in-addr.arpa").unwrap(), "10.2.3.4 10.2.3.4");
        assert_eq!(range("d.f.ip6.arpa").unwrap(), "fd00:: fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        assert_eq!(range("0/25.3.2.10.in-addr.arpa"), None);
        assert_eq!(range("03.2.10.in-addr.arpa"), None);
        assert_eq!(range("1.5.4.3.2.10.in-addr.arpa"), None);
    }

    #[test]
    fn names_below_begin_with_the_name_above() {
        let key = |name: &str| reversed(&Name::parse(name).unwrap());
        assert!(key("a.b.c").starts_with(&key("b.c")));
        assert!(!key("a.xb.c").starts_with(&key("b.c")));
        assert!(!key("bx.c").starts_with(&key("b.c")));
    }
}
