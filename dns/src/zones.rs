//! All zones of a node at one position: what answers and transfers read.
//!
//! A value of [`Zones`] never changes. [`crate::edit::Editor`] makes the next one from it and shares
//! all that stays. Bounds: 65,535 zones, and per zone [`HISTORY_SETS_MAX`] differences of
//! [`HISTORY_RECORDS_MAX`] records for IXFR. Nothing is on disk; after a crash zones are built from
//! the inventory again.

use std::sync::Arc;

use imbl::Vector;

use crate::{
    delegation,
    name::Name,
    negative::Negative,
    node::{APEX, Node},
    rr::Rr,
    table::{Hashed, Table},
    transfer::out::is_newer,
    zone::{Soa, ZoneDiff},
};

/// Differences kept per zone.
const HISTORY_SETS_MAX: usize = 1024;
/// Records in these differences, all together; a larger one makes secondaries take the whole zone.
const HISTORY_RECORDS_MAX: usize = 100_000;

/// One zone that we are authoritative for.
#[derive(Clone)]
pub struct Zone {
    /// Its highest name.
    pub apex: Name,
    /// Its SOA record.
    pub soa: Soa,
    /// Whether names are made from hosts; otherwise all records are static.
    pub generated: bool,
    /// The SOA as negative answers carry it.
    pub(crate) negative: Negative,
    /// What is added to the serial of the state: a static zone goes on from the serial that it came with.
    pub(crate) serial_base: u32,
    /// The zone of ours that this one lies in.
    pub(crate) above: Option<u16>,
    /// Delegations and DNAMEs in the zone; while 0, a name that is found is answered without looking above it.
    pub(crate) cuts: u32,
    /// Records, without the SOA.
    pub(crate) records: u64,
    history: Vector<Arc<ZoneDiff>>,
    history_records: usize,
    /// Serial since which the history knows every change.
    history_floor: u32,
}

impl Zone {
    pub(crate) fn new(apex: Name, soa: Soa, generated: bool, serial_base: u32, above: Option<u16>) -> Self {
        Self {
            negative: Negative::new(&apex, &soa),
            apex,
            history_floor: soa.serial,
            soa,
            generated,
            serial_base,
            above,
            cuts: 0,
            records: 0,
            history: Vector::new(),
            history_records: 0,
        }
    }

    /// Moves the zone to a new serial and remembers how it got there.
    pub(crate) fn advance(&mut self, diff: Arc<ZoneDiff>) {
        self.soa = diff.to.clone();
        self.negative = Negative::new(&self.apex, &self.soa);
        self.history_records += diff.removed.len() + diff.added.len();
        self.history.push_back(diff);
        while self.history.len() > HISTORY_SETS_MAX || self.history_records > HISTORY_RECORDS_MAX {
            let Some(oldest) = self.history.pop_front() else { break };
            self.history_records -= oldest.removed.len() + oldest.added.len();
            self.history_floor = oldest.to.serial;
        }
    }

    /// Puts an older difference in front, as found in the change log after a start. False when there is no room.
    pub(crate) fn remember_older(&mut self, diff: Arc<ZoneDiff>) -> bool {
        let records = diff.removed.len() + diff.added.len();
        if self.history.len() >= HISTORY_SETS_MAX || self.history_records + records > HISTORY_RECORDS_MAX {
            return false;
        }
        self.history_records += records;
        self.history_floor = diff.from.serial;
        self.history.push_front(diff);
        true
    }

    /// Says that the history knows every change since `serial` of the state.
    pub(crate) fn lower_floor(&mut self, serial: u32) {
        self.history_floor = self.serial_base.wrapping_add(serial);
    }

    /// The differences from `serial` to now, contiguous, oldest first; `None` when they are not all
    /// known and the whole zone must be sent. Empty when `serial` is not older than now.
    pub fn diffs_since(&self, serial: u32) -> Option<Vec<Arc<ZoneDiff>>> {
        if !is_newer(self.soa.serial, serial) {
            return Some(Vec::new());
        }
        if is_newer(self.history_floor, serial) {
            return None;
        }
        let mut from = Soa { serial, ..self.soa.clone() };
        let mut out = Vec::new();
        for diff in self.history.iter().filter(|diff| is_newer(diff.to.serial, serial)) {
            // Serials are shared by all zones, so a zone may skip some: the chain is closed here.
            out.push(Arc::new(ZoneDiff { from: from.clone(), ..ZoneDiff::clone(diff) }));
            from = diff.to.clone();
        }
        if from.serial != self.soa.serial {
            let (to, apex) = (self.soa.clone(), self.apex.clone());
            out.push(Arc::new(ZoneDiff { apex, from, to, removed: Vec::new(), added: Vec::new() }));
        }
        Some(out)
    }
}

/// Every zone and every name.
#[derive(Clone, Default)]
pub struct Zones {
    pub(crate) table: Table,
    pub(crate) zones: Arc<Vec<Arc<Zone>>>,
}

impl Zones {
    /// The zone with exactly this apex.
    pub fn zone(&self, apex: &[u8]) -> Option<&Arc<Zone>> {
        let node = self.table.get(&Hashed::new(apex), 0)?;
        (node.head().flags & APEX != 0).then(|| self.zone_of(node))
    }

    /// The zone that would answer for a name: the one with the longest apex that contains it.
    pub fn zone_for(&self, name: &[u8]) -> Option<&Arc<Zone>> {
        let hashed = Hashed::new(name);
        (0..=hashed.labels).find_map(|skip| self.table.get(&hashed, skip)).map(|node| self.zone_of(node))
    }

    /// All zones, in no particular order.
    pub fn zones(&self) -> impl Iterator<Item = &Arc<Zone>> {
        self.zones.iter()
    }

    /// How many names there are, empty non-terminals included.
    pub fn name_count(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn zone_of(&self, node: &Node) -> &Arc<Zone> {
        &self.zones[usize::from(node.head().zone)]
    }

    /// All records of a zone without its SOA, as it is transferred: with the delegations of zones of ours below it.
    pub fn records(&self, apex: &[u8]) -> impl Iterator<Item = Rr> + '_ {
        let id = self.table.get(&Hashed::new(apex), 0).map(|node| node.head().zone);
        let nodes = self.table.iter().filter(move |node| Some(node.head().zone) == id);
        let below = self.zones.iter().filter(move |zone| id.is_some() && zone.above == id);
        nodes.flat_map(records_of).chain(below.flat_map(|zone| delegation::records(&self.table, &zone.apex)))
    }

    /// The records at one name, as they stand, without wildcards or chains.
    pub fn records_at(&self, name: &[u8]) -> Vec<Rr> {
        self.table.get(&Hashed::new(name), 0).map(|node| records_of(node).collect()).unwrap_or_default()
    }

    /// Apex and SOA of every zone, for NOTIFY.
    pub fn soas(&self) -> Vec<(Name, Soa)> {
        self.zones.iter().map(|zone| (zone.apex.clone(), zone.soa.clone())).collect()
    }
}

fn records_of(node: &Node) -> impl Iterator<Item = Rr> + '_ {
    let owner = Name::from_wire(node.name());
    node.sets().flat_map(move |set| {
        let owner = owner.clone();
        let (rtype, ttl) = (set.rtype(), set.ttl());
        set.data().map(move |rdata| Rr { owner: owner.clone(), rtype, ttl, rdata: rdata.into() })
    })
}
