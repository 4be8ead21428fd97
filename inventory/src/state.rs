//! The immutable state, and the one function that makes the next.
//!
//! All tables are persistent maps (`imbl`): `apply` copies O(changed · log n) and shares the rest,
//! so any number of readers keep any number of old states. Nothing here touches disk or clock.
//! A crash loses nothing that is not also in the store.

mod access;
mod conflict;
mod tally;

use std::{borrow::Borrow, cmp::Ordering, net::IpAddr, sync::Arc};

use compact_str::CompactString;
use imbl::{OrdMap, OrdSet, Vector};

use crate::{
    change::{ChangeSet, Row, RowKey},
    digest::Buckets,
    entry::{Cookie, Entry, EntryId},
    model::{Grant, Host, HostKey, Record, RecordKey, Role},
    position::Position,
};
pub use access::Carried;
pub(crate) use access::carried;
pub use conflict::Conflict;
use tally::Counted;
pub use tally::ProductTally;

/// How many change sets a state remembers for followers that missed some.
pub(crate) const HISTORY_SETS_MAX: usize = 1024;
/// How many rows these change sets hold together at most; a larger change empties the history.
pub(crate) const HISTORY_ROWS_MAX: usize = 20_000;

/// A host in the order of its key; the key is not kept a second time.
#[derive(Debug, Clone)]
struct ByName(Arc<Host>);

impl Borrow<HostKey> for ByName {
    fn borrow(&self) -> &HostKey {
        &self.0.key
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for ByName {}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

/// Everything that is known, at one position.
#[derive(Debug, Clone)]
pub struct State {
    position: Position,
    hosts: OrdSet<ByName>,
    addresses: OrdMap<IpAddr, Arc<Host>>,
    roles: OrdMap<CompactString, Arc<Role>>,
    records: OrdMap<RecordKey, Arc<Record>>,
    grants: OrdMap<CompactString, Arc<Grant>>,
    entries: OrdMap<EntryId, Arc<Entry>>,
    cookies: OrdMap<CompactString, Arc<Cookie>>,
    products: OrdMap<CompactString, ProductTally>,
    members: OrdMap<(CompactString, CompactString), u64>,
    /// Static records by source.
    brought: OrdMap<CompactString, u64>,
    /// Entries by what they carry: object classes and attributes.
    carried: OrdMap<Carried, u64>,
    buckets: Arc<Buckets>,
    history: Vector<Arc<ChangeSet>>,
    history_rows: usize,
}

impl State {
    /// The empty state of a new cluster.
    pub fn empty(cluster_id: u64) -> Self {
        let buckets = Buckets::default();
        Self {
            position: Position { cluster_id, epoch: 1, serial: 0, state_hash: buckets.root() },
            hosts: OrdSet::new(),
            addresses: OrdMap::new(),
            roles: OrdMap::new(),
            records: OrdMap::new(),
            grants: OrdMap::new(),
            entries: OrdMap::new(),
            cookies: OrdMap::new(),
            products: OrdMap::new(),
            members: OrdMap::new(),
            brought: OrdMap::new(),
            carried: OrdMap::new(),
            buckets: Arc::new(buckets),
            history: Vector::new(),
            history_rows: 0,
        }
    }

    /// The state that stored rows make up at `cluster_id`, `epoch` and `serial`. The hash is computed afresh:
    /// the caller compares it with the stored one.
    pub fn from_rows(
        cluster_id: u64,
        epoch: u32,
        serial: u64,
        rows: impl IntoIterator<Item = Row>,
    ) -> Result<Self, Conflict> {
        let mut state = Self::empty(cluster_id);
        let mut buckets = Buckets::default();
        let mut counted = Counted::default();
        for row in rows {
            buckets.add(&row);
            state.file(&row)?;
            counted.add(&row);
        }
        counted.into_state(&mut state);
        state.position = Position { cluster_id, epoch, serial, state_hash: buckets.root() };
        state.buckets = Arc::new(buckets);
        Ok(state)
    }

    /// The next state: `set.rows` applied whole, or the reasons why not.
    ///
    /// `set.serial` is set by the caller to the next serial. Every `old` value must be the present one.
    /// Removals come before additions, so hosts may swap names and addresses in one set.
    pub fn apply(&self, set: Arc<ChangeSet>) -> Result<Self, Vec<Conflict>> {
        let mut next = self.clone();
        let mut buckets = Buckets::clone(&self.buckets);
        let mut conflicts = Vec::new();
        for change in &set.rows {
            let Some(key) = change.key() else { continue };
            if self.get(&key) != change.old {
                let present = self.get(&key);
                let key = Box::new(key);
                conflicts.push(match (&change.old, present, &change.new) {
                    (None, Some(first), Some(second)) => {
                        Conflict::Twice { key, first: first.source().into(), second: second.source().into() }
                    }
                    _ => Conflict::Stale { key },
                });
            } else if let Some(old) = &change.old {
                buckets.remove(old);
                next.remove(old);
            }
        }
        for new in set.rows.iter().filter_map(|change| change.new.as_ref()) {
            buckets.add(new);
            if let Err(conflict) = next.insert(new)
                && !conflicts.iter().any(|c| matches!(c, Conflict::Twice { key, .. } if **key == new.key()))
            {
                conflicts.push(conflict);
            }
        }
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        next.position.epoch = set.epoch;
        next.position.serial = set.serial;
        next.position.state_hash = buckets.root();
        next.buckets = Arc::new(buckets);
        next.remember(set);
        Ok(next)
    }

    fn remember(&mut self, set: Arc<ChangeSet>) {
        self.history_rows += set.rows.len();
        self.history.push_back(set);
        while self.history.len() > HISTORY_SETS_MAX || self.history_rows > HISTORY_ROWS_MAX {
            let Some(oldest) = self.history.pop_front() else { break };
            self.history_rows -= oldest.rows.len();
        }
    }

    fn insert(&mut self, row: &Row) -> Result<(), Conflict> {
        self.file(row)?;
        self.count(row, 1);
        Ok(())
    }

    /// Files a row without counting it.
    fn file(&mut self, row: &Row) -> Result<(), Conflict> {
        let twice = |first: &str| Conflict::Twice {
            key: Box::new(row.key()),
            first: first.into(),
            second: row.source().into(),
        };
        match row {
            Row::Host(host) => {
                if let Some(other) = self.host(&host.key) {
                    return Err(twice(&other.source));
                }
                for address in host.addresses() {
                    if let Some(other) = self.addresses.get(&address) {
                        return Err(Conflict::Address { address, first: other.short(), second: host.short() });
                    }
                }
                for address in host.addresses() {
                    self.addresses.insert(address, host.clone());
                }
                self.hosts.insert(ByName(host.clone()));
            }
            Row::Role(role) => {
                if let Some(other) = self.roles.insert(role.name.clone(), role.clone()) {
                    return Err(twice(&other.source));
                }
            }
            Row::Record(record) => {
                if let Some(other) = self.records.insert(record.key.clone(), record.clone()) {
                    return Err(twice(&other.source));
                }
            }
            Row::Grant(grant) => {
                if let Some(other) = self.grants.insert(grant.name.clone(), grant.clone()) {
                    return Err(twice(&other.source));
                }
            }
            Row::Entry(entry) => {
                if let Some(other) = self.entries.insert(entry.id, entry.clone()) {
                    return Err(twice(&other.source));
                }
            }
            Row::Cookie(cookie) => {
                if let Some(other) = self.cookies.insert(cookie.source.clone(), cookie.clone()) {
                    return Err(twice(&other.source));
                }
            }
        }
        Ok(())
    }

    fn remove(&mut self, row: &Row) {
        self.count(row, -1);
        match row {
            Row::Host(host) => {
                for address in host.addresses() {
                    self.addresses.remove(&address);
                }
                self.hosts.remove(&host.key);
            }
            Row::Role(role) => drop(self.roles.remove(&role.name)),
            Row::Record(record) => drop(self.records.remove(&record.key)),
            Row::Grant(grant) => drop(self.grants.remove(&grant.name)),
            Row::Entry(entry) => drop(self.entries.remove(&entry.id)),
            Row::Cookie(cookie) => drop(self.cookies.remove(&cookie.source)),
        }
    }
}

/// What readers ask.
impl State {
    /// Where this state is in history.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The row under a key.
    pub fn get(&self, key: &RowKey) -> Option<Row> {
        match key {
            RowKey::Host(k) => self.host(k).cloned().map(Row::Host),
            RowKey::Role(k) => self.roles.get(k).cloned().map(Row::Role),
            RowKey::Record(k) => self.records.get(k).cloned().map(Row::Record),
            RowKey::Grant(k) => self.grants.get(k).cloned().map(Row::Grant),
            RowKey::Entry(k) => self.entries.get(k).cloned().map(Row::Entry),
            RowKey::Cookie(k) => self.cookies.get(k).cloned().map(Row::Cookie),
        }
    }

    /// All hosts, ordered by product, name and zone.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.hosts.iter().map(|ByName(host)| host)
    }

    /// One host.
    pub fn host(&self, key: &HostKey) -> Option<&Arc<Host>> {
        self.hosts.get(key).map(|ByName(host)| host)
    }

    /// The hosts of a product that share a short name, ordered by zone.
    pub fn hosts_named<'a>(&'a self, product: &str, name: &str) -> impl Iterator<Item = &'a Arc<Host>> {
        let key = |zone: &str| HostKey { product: product.into(), name: name.into(), zone: zone.into() };
        // Zones are labels, so every one sorts before the tilde.
        self.hosts.range(key("")..key("~")).map(|ByName(host)| host)
    }

    /// The host that has an address.
    pub fn host_at(&self, address: IpAddr) -> Option<&Arc<Host>> {
        self.addresses.get(&address)
    }

    /// All role definitions.
    pub fn roles(&self) -> impl Iterator<Item = &Arc<Role>> {
        self.roles.values()
    }

    /// The definition of a role.
    pub fn role(&self, name: &str) -> Option<&Arc<Role>> {
        self.roles.get(name)
    }

    /// How many running hosts of a product carry a role.
    pub fn role_members(&self, product: &str, role: &str) -> u64 {
        self.members.get(&(product.into(), role.into())).copied().unwrap_or(0)
    }

    /// Every (product, role) that running hosts carry, with their number.
    pub fn members(&self) -> impl Iterator<Item = (&(CompactString, CompactString), &u64)> {
        self.members.iter()
    }

    /// All static records, ordered by owner, type and data.
    pub fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.records.values()
    }

    /// How many static records there are.
    pub fn record_count(&self) -> usize {
        self.records.len()
    }

    /// The static records of one owner name (lower case, no trailing dot).
    pub fn records_at<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Arc<Record>> + use<'a> {
        let key = |name: &str, rtype: &str| RecordKey { name: name.into(), rtype: rtype.into(), data: "".into() };
        // Type mnemonics are upper-case letters and digits, so every one sorts before the tilde.
        self.records.range(key(name, "")..key(name, "~")).map(|(_, record)| record)
    }

    /// Products that have hosts, with their tallies.
    pub fn products(&self) -> impl Iterator<Item = (&CompactString, &ProductTally)> {
        self.products.iter()
    }

    /// The tally of one product.
    pub fn product(&self, name: &str) -> Option<&ProductTally> {
        self.products.get(name)
    }

    /// The row digests, summed.
    pub fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// All rows: hosts, roles, records, grants, entries, cookies.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        let hosts = self.hosts().cloned().map(Row::Host);
        let roles = self.roles.values().cloned().map(Row::Role);
        let records = self.records.values().cloned().map(Row::Record);
        hosts.chain(roles).chain(records).chain(self.access_rows())
    }

    /// The remembered change sets, oldest first; they end at this state and may begin late.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &Arc<ChangeSet>> {
        self.history.iter()
    }

    /// The change sets that lead from `serial` to this state; `None` when some are forgotten.
    pub fn changes_since(&self, serial: u64) -> Option<Vec<Arc<ChangeSet>>> {
        let missing = usize::try_from(self.position.serial.checked_sub(serial)?).ok()?;
        let skip = self.history.len().checked_sub(missing)?;
        Some(self.history.iter().skip(skip).cloned().collect())
    }

    /// The same rows in another epoch: what a restore or a promotion makes of a state.
    pub fn in_epoch(mut self, epoch: u32) -> Self {
        self.position.epoch = epoch;
        self
    }

    /// The same state with the change sets that led to it, oldest first, as a store remembers them.
    pub fn with_history(mut self, sets: impl IntoIterator<Item = Arc<ChangeSet>>) -> Self {
        self.history = Vector::new();
        self.history_rows = 0;
        for set in sets {
            self.remember(set);
        }
        self
    }
}

impl Host {
    /// The addresses by which the host is known: private, IPv6 and public, as far as it has them.
    /// A terminated host has none: its addresses may belong to another by now.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let all = [Some(IpAddr::V4(self.private_ip)), self.ipv6.map(IpAddr::V6), self.public_ip.map(IpAddr::V4)];
        let named = self.is_named();
        all.into_iter().flatten().filter(move |_| named)
    }
}
