//! Tallies: hosts by product and region, running members by product and role, static records by source.
//!
//! A change keeps them in persistent maps, O(changed). Loading counts in plain maps and files the sums once: for
//! a million hosts the persistent maps would cost more than the hosts themselves.

use std::collections::BTreeMap;

use compact_str::CompactString;
use imbl::OrdMap;

use super::{Carried, State, access::carried};
use crate::{change::Row, model::Host};

/// How many hosts a product has, in all and by region; terminated ones do not count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProductTally {
    /// All hosts with names.
    pub hosts: u64,
    /// Hosts with names by region.
    pub regions: OrdMap<CompactString, u64>,
}

type Counts = BTreeMap<CompactString, BTreeMap<CompactString, u64>>;

/// Hosts that are being counted: by product and region, by product and role.
#[derive(Debug, Default)]
pub(super) struct Counted {
    regions: Counts,
    members: Counts,
    brought: BTreeMap<CompactString, u64>,
    carried: BTreeMap<Carried, u64>,
}

impl Counted {
    /// Counts one row.
    pub(super) fn add(&mut self, row: &Row) {
        match row {
            Row::Host(host) => self.add_host(host),
            Row::Record(record) => *entry(&mut self.brought, &record.source) += 1,
            Row::Entry(entry) => carried(entry).into_iter().for_each(|key| *self.carried.entry(key).or_default() += 1),
            Row::Role(_) | Row::Grant(_) | Row::Cookie(_) => {}
        }
    }

    fn add_host(&mut self, host: &Host) {
        let product = &host.key.product;
        if host.is_named() {
            *entry(entry(&mut self.regions, product), &host.region) += 1;
        }
        for role in host.roles.iter().filter(|_| host.is_serving()) {
            *entry(entry(&mut self.members, product), role) += 1;
        }
    }

    /// Files the sums.
    pub(super) fn into_state(self, state: &mut State) {
        let tally = |regions: BTreeMap<_, u64>| ProductTally {
            hosts: regions.values().sum(),
            regions: regions.into_iter().collect(),
        };
        state.products = self.regions.into_iter().map(|(product, regions)| (product, tally(regions))).collect();
        let by_role = |(product, roles): (CompactString, BTreeMap<_, u64>)| {
            roles.into_iter().map(move |(role, n)| ((product.clone(), role), n))
        };
        state.carried = self.carried.into_iter().collect();
        state.brought = self.brought.into_iter().collect();
        state.members = self.members.into_iter().flat_map(by_role).collect();
    }
}

fn entry<'a, V: Default>(map: &'a mut BTreeMap<CompactString, V>, key: &CompactString) -> &'a mut V {
    map.entry(key.clone()).or_default()
}

impl State {
    /// How many hosts there are, terminated ones included.
    pub fn host_count(&self) -> usize {
        self.hosts.len()
    }

    /// How many static records a source defines.
    pub fn records_of(&self, source: &str) -> u64 {
        self.brought.get(source).copied().unwrap_or(0)
    }

    /// Keeps the tallies.
    pub(super) fn count(&mut self, row: &Row, by: i64) {
        match row {
            Row::Host(host) => self.count_host(host, by),
            Row::Record(record) => {
                let n = self.records_of(&record.source).saturating_add_signed(by);
                put(&mut self.brought, record.source.clone(), n, n == 0);
            }
            Row::Entry(entry) => {
                for key in carried(entry) {
                    let n = self.carried(&key).saturating_add_signed(by);
                    put(&mut self.carried, key, n, n == 0);
                }
            }
            Row::Role(_) | Row::Grant(_) | Row::Cookie(_) => {}
        }
    }

    fn count_host(&mut self, host: &Host, by: i64) {
        let step = |n: u64| n.saturating_add_signed(by);
        if host.is_named() {
            let mut tally = self.products.get(&host.key.product).cloned().unwrap_or_default();
            tally.hosts = step(tally.hosts);
            let in_region = step(tally.regions.get(&host.region).copied().unwrap_or(0));
            put(&mut tally.regions, host.region.clone(), in_region, in_region == 0);
            let empty = tally.hosts == 0;
            put(&mut self.products, host.key.product.clone(), tally, empty);
        }
        if host.is_serving() {
            for role in &host.roles {
                let key = (host.key.product.clone(), role.clone());
                let n = step(self.members.get(&key).copied().unwrap_or(0));
                put(&mut self.members, key, n, n == 0);
            }
        }
    }
}

/// Sets `key`, or removes it when its value has become empty.
fn put<K: Ord + Clone, V: Clone>(map: &mut OrdMap<K, V>, key: K, value: V, empty: bool) {
    if empty {
        map.remove(&key);
    } else {
        map.insert(key, value);
    }
}
