//! Making the next zones from the present ones.
//!
//! An [`Editor`] takes single records away and adds others, keeps the empty non-terminals between
//! a name and its apex, and in the end yields new [`Zones`] and, for IXFR, what changed in each
//! zone. Its cost grows with the changed names only. Operations are idempotent: adding what is
//! there and removing what is not change nothing.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    delegation,
    name::{self, Name},
    node::{APEX, CUT, RrSet, WILDCARD_BELOW, cuts, pack},
    rr::{Rdata, Rr},
    table::{Hashed, Table},
    zone::{Soa, ZoneDiff},
    zones::{Zone, Zones},
};

/// A name being changed.
struct Draft {
    zone: u16,
    apex: bool,
    wildcard_below: bool,
    children: u32,
    sets: Vec<RrSet>,
    was_cut: bool,
    removed: Vec<(u16, u32, Rdata)>,
    added: Vec<(u16, u32, Rdata)>,
}

impl Draft {
    fn exists(&self) -> bool {
        self.apex || self.children > 0 || !self.sets.is_empty()
    }

    fn set_mut(&mut self, rtype: u16, ttl: u32) -> &mut RrSet {
        let at = match self.sets.binary_search_by_key(&rtype, |set| set.rtype) {
            Ok(at) => at,
            Err(at) => {
                self.sets.insert(at, RrSet::new(rtype, ttl));
                at
            }
        };
        &mut self.sets[at]
    }
}

/// Zones in the making.
pub struct Editor {
    zones: Zones,
    /// The names at the start, for the differences of delegations.
    before: Table,
    list: Vec<Arc<Zone>>,
    drafts: HashMap<Name, Draft>,
    /// Nobody needs the differences, so that a new name with one record is packed at once.
    building: bool,
}

impl Editor {
    /// Starts from present zones.
    pub fn new(zones: &Zones) -> Self {
        Self {
            zones: zones.clone(),
            before: zones.table.clone(),
            list: zones.zones.to_vec(),
            drafts: HashMap::new(),
            building: false,
        }
    }

    /// Starts from nothing; differences are not kept.
    pub fn from_nothing() -> Self {
        Self { building: true, ..Self::new(&Zones::default()) }
    }

    /// Adds an empty zone; does nothing if there is one with this apex, or if there are 65,535 already.
    /// Names that exist already and lie below it stay with the zone they are in, and zones below it
    /// do not hear of it: create zones before names, and those above before those below.
    /// `serial_base` is added to the serials of later commits.
    pub fn add_zone(&mut self, apex: &Name, soa: Soa, generated: bool, serial_base: u32) {
        let Ok(id) = u16::try_from(self.list.len()) else { return };
        let above = name::parent(apex).and_then(|above| self.zone_id(&Name::from_wire(above)));
        let existing = self.load(apex, id);
        if existing.apex {
            return;
        }
        let existed = existing.exists();
        // What stands there already was counted in the zone above, as a cut perhaps.
        let before = usize::from(existing.zone);
        let was_cut = std::mem::take(&mut existing.was_cut);
        let present: usize = existing.sets.iter().map(RrSet::len).sum();
        let counted = (present + existing.removed.len()).saturating_sub(existing.added.len()) as u64;
        existing.apex = true;
        existing.zone = id;
        let mut zone = Zone::new(apex.clone(), soa, generated, serial_base, above);
        zone.records = counted;
        if let Some(above) = self.list.get_mut(before).filter(|_| existed) {
            let above = Arc::make_mut(above);
            above.cuts = above.cuts.saturating_sub(u32::from(was_cut));
            above.records = above.records.saturating_sub(counted);
        }
        self.list.push(Arc::new(zone));
        if !existed {
            self.link(apex);
        }
    }

    /// Whether a zone has exactly this apex.
    pub fn has_zone(&mut self, apex: &Name) -> bool {
        self.load_existing(apex).is_some_and(|draft| draft.apex)
    }

    /// Adds a record. The TTL becomes that of the whole set (RFC 2181 section 5.2). False when no zone holds the name.
    pub fn add(&mut self, owner: &Name, rtype: u16, ttl: u32, rdata: Rdata) -> bool {
        if self.building && !self.exists(owner) {
            return self.place(owner, RrSet::of_one(rtype, ttl, rdata));
        }
        let Some(draft) = self.load_existing(owner) else { return false };
        let existed = draft.exists();
        let set = draft.set_mut(rtype, ttl);
        let old_ttl = set.ttl;
        if old_ttl != ttl {
            set.ttl = ttl;
            let all: Vec<Rdata> = set.iter().cloned().collect();
            draft.removed.extend(all.iter().map(|rdata| (rtype, old_ttl, rdata.clone())));
            draft.added.extend(all.into_iter().map(|rdata| (rtype, ttl, rdata)));
        }
        if draft.set_mut(rtype, ttl).insert(rdata.clone()) {
            draft.added.push((rtype, ttl, rdata));
        }
        if !existed {
            self.link(owner);
        }
        true
    }

    /// Packs a name that is new.
    fn place(&mut self, owner: &Name, set: RrSet) -> bool {
        let Some(id) = self.zone_id(owner) else { return false };
        let sets = [set];
        let is_cut = cuts(&sets, false);
        let zone = Arc::make_mut(&mut self.list[usize::from(id)]);
        zone.cuts += u32::from(is_cut);
        zone.records += 1;
        self.zones.table.insert(&Hashed::new(owner), pack(owner, id, if is_cut { CUT } else { 0 }, 0, &sets));
        self.link(owner);
        true
    }

    /// Takes a record away, whatever its TTL.
    pub fn remove(&mut self, owner: &Name, rtype: u16, rdata: &Rdata) {
        let Some(draft) = self.load_existing(owner) else { return };
        let Ok(at) = draft.sets.binary_search_by_key(&rtype, |set| set.rtype) else { return };
        let set = &mut draft.sets[at];
        if !set.remove(rdata) {
            return;
        }
        draft.removed.push((rtype, set.ttl, rdata.clone()));
        if set.len() == 0 {
            draft.sets.remove(at);
        }
        if !draft.exists() {
            self.unlink(owner);
        }
    }

    /// The present set at a name.
    pub(crate) fn set(&mut self, owner: &Name, rtype: u16) -> Option<RrSet> {
        let draft = self.load_existing(owner)?;
        draft.sets.iter().find(|set| set.rtype == rtype).cloned()
    }

    /// Makes the set at a name equal to `wanted`; none or an empty one removes it.
    pub(crate) fn replace(&mut self, owner: &Name, rtype: u16, wanted: Option<RrSet>) {
        if self.building && !self.exists(owner) {
            for (set, rdata) in wanted.iter().flat_map(|set| set.iter().map(move |rdata| (set, rdata))) {
                self.add(owner, rtype, set.ttl, rdata.clone());
            }
            return;
        }
        let present = self.set(owner, rtype);
        if present == wanted {
            return;
        }
        for rdata in present.iter().flat_map(RrSet::iter) {
            if wanted.as_ref().is_none_or(|set| !set.contains(rdata)) {
                self.remove(owner, rtype, rdata);
            }
        }
        if let Some(set) = wanted {
            for rdata in set.iter() {
                self.add(owner, rtype, set.ttl, rdata.clone());
            }
        }
    }

    /// Whether there is a draft or a node of this name.
    fn exists(&self, owner: &Name) -> bool {
        self.drafts.contains_key(owner) || self.zones.table.get(&Hashed::new(owner), 0).is_some()
    }

    /// The draft of a name inside some zone.
    fn load_existing(&mut self, owner: &Name) -> Option<&mut Draft> {
        if !self.drafts.contains_key(owner) {
            let zone = self.zone_id(owner)?;
            return Some(self.load(owner, zone));
        }
        self.drafts.get_mut(owner)
    }

    fn zone_id(&self, owner: &Name) -> Option<u16> {
        let hashed = Hashed::new(owner);
        (0..=hashed.labels).find_map(|skip| {
            let draft = self.drafts.get(hashed.suffix(skip)).filter(|draft| draft.exists());
            draft.map(|draft| draft.zone).or_else(|| {
                let node = self.zones.table.get(&hashed, skip)?;
                (!self.drafts.contains_key(hashed.suffix(skip))).then(|| node.head().zone)
            })
        })
    }

    /// The draft of a name; a name that is new belongs to `zone`.
    fn load(&mut self, owner: &Name, zone: u16) -> &mut Draft {
        let table = &self.zones.table;
        self.drafts.entry(owner.clone()).or_insert_with(|| match table.get(&Hashed::new(owner), 0) {
            Some(node) => Draft {
                zone: node.head().zone,
                apex: node.head().flags & APEX != 0,
                wildcard_below: node.head().flags & WILDCARD_BELOW != 0,
                was_cut: node.head().flags & CUT != 0,
                children: node.head().children,
                sets: {
                    let mut sets: Vec<RrSet> = node.sets().map(RrSet::from_ref).collect();
                    sets.sort_by_key(|set| set.rtype);
                    sets
                },
                removed: Vec::new(),
                added: Vec::new(),
            },
            None => Draft {
                zone,
                apex: false,
                wildcard_below: false,
                was_cut: false,
                children: 0,
                sets: Vec::new(),
                removed: Vec::new(),
                added: Vec::new(),
            },
        })
    }

    /// Tells the parent that `owner` has come to exist, and so on upwards to the apex of the zone above.
    fn link(&mut self, owner: &Name) {
        self.for_parent(owner, |draft, is_wildcard| {
            draft.children += 1;
            draft.wildcard_below |= is_wildcard;
        });
    }

    /// Tells the parent that `owner` is gone.
    fn unlink(&mut self, owner: &Name) {
        self.for_parent(owner, |draft, is_wildcard| {
            draft.children = draft.children.saturating_sub(1);
            draft.wildcard_below &= !is_wildcard;
        });
    }

    fn for_parent(&mut self, owner: &Name, change: fn(&mut Draft, bool)) {
        let Some(above) = name::parent(owner).map(Name::from_wire) else { return };
        let is_wildcard = name::first_label(owner) == b"*";
        // The apex of a zone that lies in no other zone has no parent here.
        let Some(draft) = self.load_existing(&above) else { return };
        let existed = draft.exists();
        change(draft, is_wildcard);
        match (existed, draft.exists()) {
            (false, true) => self.link(&above),
            (true, false) => self.unlink(&above),
            _ => {}
        }
    }

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
