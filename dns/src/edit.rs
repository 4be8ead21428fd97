//! Making the next zones from the present ones.
//!
//! An [`Editor`] takes single records away and adds others, keeps the empty non-terminals between
//! a name and its apex, and in the end yields new [`Zones`] and, for IXFR, what changed in each
//! zone. Its cost grows with the changed names only. Operations are idempotent: adding what is
//! there and removing what is not change nothing.

mod settle;

use std::{collections::HashMap, sync::Arc};

use crate::{
    name::{self, Name},
    node::{APEX, CUT, RrSet, WILDCARD_BELOW, cuts, pack},
    rr::{Rdata, Rr},
    table::{Hashed, Index, Table},
    zone::Soa,
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

/// Names being changed. They are the operators' own, so what keeps them apart may be quick.
type Drafts = HashMap<Name, Draft, foldhash::fast::RandomState>;

/// Records whose places are fetched together.
const AT_ONCE: usize = 16;

/// A record with the index of its owner.
pub(crate) struct Indexed {
    rr: Rr,
    index: Index,
}

impl From<Rr> for Indexed {
    fn from(rr: Rr) -> Self {
        Self { index: Index::of(&rr.owner), rr }
    }
}

/// Zones in the making.
pub struct Editor {
    zones: Zones,
    /// The names at the start, for the differences of delegations.
    before: Table,
    list: Vec<Arc<Zone>>,
    drafts: Drafts,
    /// Nobody needs the differences, so that a new name with one set is packed at once.
    building: bool,
}

impl Editor {
    /// Starts from present zones.
    pub fn new(zones: &Zones) -> Self {
        Self {
            zones: zones.clone(),
            before: zones.table.clone(),
            list: zones.zones.to_vec(),
            drafts: Drafts::default(),
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
        if self.building {
            self.add_new(owner, &Hashed::new(owner), rtype, ttl, rdata)
        } else {
            self.add_to_draft(owner, rtype, ttl, rdata)
        }
    }

    /// Adds a record while building: differences are not kept.
    fn add_new(&mut self, owner: &Name, hashed: &Hashed<'_>, rtype: u16, ttl: u32, rdata: Rdata) -> bool {
        if self.exists(owner, hashed) {
            self.add_to_draft(owner, rtype, ttl, rdata)
        } else {
            self.place(owner, hashed, RrSet::of_one(rtype, ttl, rdata))
        }
    }

    /// Adds many records while building from nothing. The processor fetches what the next ones need meanwhile.
    pub(crate) fn add_all(&mut self, records: Vec<Indexed>) {
        debug_assert!(self.building, "differences would be missing");
        let mut records = records.into_iter();
        loop {
            let next = records.as_slice().iter().take(AT_ONCE);
            next.clone().for_each(|next| self.zones.table.prefetch_chunk(next.index.hash()));
            next.clone().for_each(|next| self.zones.table.prefetch_slot(next.index.hash()));
            if next.len() == 0 {
                return;
            }
            for Indexed { rr, index } in records.by_ref().take(AT_ONCE) {
                self.add_new(&rr.owner, &Hashed::with(&rr.owner, &index), rr.rtype, rr.ttl, rr.rdata);
            }
        }
    }

    fn add_to_draft(&mut self, owner: &Name, rtype: u16, ttl: u32, rdata: Rdata) -> bool {
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

    /// Packs a name that is new, with one set of records.
    fn place(&mut self, owner: &Name, hashed: &Hashed<'_>, set: RrSet) -> bool {
        let Some(id) = self.zone_from(hashed, 1) else { return false };
        let records = set.len() as u64;
        let sets = [set];
        let is_cut = cuts(&sets, false);
        let zone = Arc::make_mut(&mut self.list[usize::from(id)]);
        zone.cuts += u32::from(is_cut);
        zone.records += records;
        self.zones.table.insert(hashed, pack(owner, id, if is_cut { CUT } else { 0 }, 0, &sets));
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
        if self.building {
            let hashed = Hashed::new(owner);
            if !self.exists(owner, &hashed) {
                if let Some(set) = wanted.filter(|set| set.len() > 0) {
                    self.place(owner, &hashed, set);
                }
                return;
            }
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
    fn exists(&self, owner: &Name, hashed: &Hashed<'_>) -> bool {
        self.drafts.contains_key(owner) || self.zones.table.get(hashed, 0).is_some()
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
        self.zone_from(&Hashed::new(owner), 0)
    }

    /// The zone of a name that has lost its first labels, or of the next name above that exists.
    fn zone_from(&self, hashed: &Hashed<'_>, skip: usize) -> Option<u16> {
        (skip..=hashed.labels).find_map(|skip| {
            let draft = self.drafts.get(hashed.suffix(skip)).filter(|draft| draft.exists());
            draft.map(|draft| draft.zone).or_else(|| {
                let node = self.zones.table.get(hashed, skip)?;
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
}
