//! The end of editing: drafts become packed nodes, and what changed in each zone is found.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{Draft, Editor};
use crate::{
    delegation,
    name::Name,
    node::{APEX, CUT, WILDCARD_BELOW, cuts, pack},
    rr::Rr,
    table::Hashed,
    zone::{Soa, ZoneDiff},
    zones::Zones,
};

impl Editor {
    /// Packs what has been changed so far, without remembering differences, to bound memory while building.
    pub fn flush(&mut self) {
        let drafts = std::mem::take(&mut self.drafts);
        for (owner, draft) in drafts {
            self.settle(&owner, &draft);
        }
    }

    fn settle(&mut self, owner: &Name, draft: &Draft) {
        let hashed = Hashed::new(owner);
        let is_cut = cuts(&draft.sets, draft.apex);
        let zone = Arc::make_mut(&mut self.list[usize::from(draft.zone)]);
        zone.cuts = zone.cuts + u32::from(is_cut) - u32::from(draft.was_cut);
        zone.records = (zone.records + draft.added.len() as u64).saturating_sub(draft.removed.len() as u64);
        if !draft.exists() {
            self.zones.table.remove(&hashed);
            return;
        }
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        let flags = flag(draft.apex, APEX) | flag(draft.wildcard_below, WILDCARD_BELOW) | flag(is_cut, CUT);
        self.zones.table.insert(&hashed, pack(owner, draft.zone, flags, draft.children, &draft.sets));
    }

    /// The new zones, with the serials that they were made with.
    pub fn finish(mut self) -> Zones {
        self.flush();
        Zones { table: self.zones.table, zones: Arc::new(self.list) }
    }

    /// The new zones, in which every changed zone has `serial` and remembers the difference.
    pub fn commit(mut self, serial: u32) -> Zones {
        for (id, (removed, added)) in self.settle_all() {
            let zone = Arc::make_mut(&mut self.list[usize::from(id)]);
            let from = zone.soa.clone();
            let to = Soa { serial: zone.serial_base.wrapping_add(serial), ..from.clone() };
            zone.advance(Arc::new(ZoneDiff { apex: zone.apex.clone(), from, to, removed, added }));
        }
        Zones { table: self.zones.table, zones: Arc::new(self.list) }
    }

    /// Packs all drafts and returns what was removed and added, by zone.
    pub(crate) fn settle_all(&mut self) -> HashMap<u16, (Vec<Rr>, Vec<Rr>)> {
        let mut changes: HashMap<u16, (Vec<Rr>, Vec<Rr>)> = HashMap::new();
        let mut delegated = BTreeSet::new();
        for (owner, mut draft) in std::mem::take(&mut self.drafts) {
            self.settle(&owner, &draft);
            cancel(&mut draft.removed, &mut draft.added);
            if draft.removed.is_empty() && draft.added.is_empty() {
                continue;
            }
            if draft.removed.iter().chain(&draft.added).any(|(rtype, ..)| delegation::may_change(*rtype)) {
                self.note_delegated(draft.zone, &mut delegated);
            }
            let (removed, added) = changes.entry(draft.zone).or_default();
            let rr = |(rtype, ttl, rdata)| Rr { owner: owner.clone(), rtype, ttl, rdata };
            removed.extend(draft.removed.into_iter().map(rr));
            added.extend(draft.added.into_iter().map(rr));
        }
        for (zone, above) in delegated {
            let apex = &self.list[usize::from(zone)].apex;
            let mut removed = delegation::records(&self.before, apex);
            let mut added = delegation::records(&self.zones.table, apex);
            cancel(&mut removed, &mut added);
            if !removed.is_empty() || !added.is_empty() {
                let change = changes.entry(above).or_default();
                change.0.append(&mut removed);
                change.1.append(&mut added);
            }
        }
        changes
    }

    /// Notes the zones, each with the one above it, whose delegation a change in `zone` may be part of: its own, and
    /// those of zones above it, whose servers may have names in it.
    fn note_delegated(&self, mut zone: u16, delegated: &mut BTreeSet<(u16, u16)>) {
        while let Some(above) = self.list[usize::from(zone)].above {
            delegated.insert((zone, above));
            zone = above;
        }
    }
}

/// Removes what stands in both lists, and sorts them.
fn cancel<T: Ord>(removed: &mut Vec<T>, added: &mut Vec<T>) {
    removed.sort_unstable();
    added.sort_unstable();
    let (mut keep_removed, mut keep_added) = (Vec::new(), Vec::new());
    let (mut old, mut new) = (removed.drain(..).peekable(), added.drain(..).peekable());
    loop {
        match (old.peek(), new.peek()) {
            (Some(a), Some(b)) if a == b => {
                old.next();
                new.next();
            }
            (Some(a), Some(b)) if a < b => keep_removed.extend(old.next()),
            (Some(_), None) => keep_removed.extend(old.next()),
            (_, Some(_)) => keep_added.extend(new.next()),
            (None, None) => break,
        }
    }
    drop((old, new));
    (*removed, *added) = (keep_removed, keep_added);
}
