//! Zones from a state: all at once, or the next from the present ones and what changed.
//!
//! [`Maker::advance`] costs O(changed names). Four rare changes build everything anew, off the
//! answering path: a static zone (SOA record) or the definition of a role comes, goes or changes, a
//! host makes the first names of a zone inside another (`beta.private` in a static `private`), or so many changes were missed that the state no longer remembers them.

mod reach;
mod shared;

use std::{
    collections::BTreeSet,
    sync::{Arc, mpsc},
};

use compact_str::CompactString;
use inventory::{ChangeSet, Host, Record, Row, RowChange, State, position::soa_serial};

use crate::{
    edit::{Editor, Indexed},
    generate::{NEAREST_ROLES, Settings, host_records, is_nearest, private_reverse_zones, reverse_zones_of},
    name::Name,
    rr::{Rdata, rtype},
    statics,
    zone::{Soa, ZoneDiff},
    zones::Zones,
};
use reach::{needs_build, splits_zone, touches_inner_zone};
use shared::ShortName;

/// Chunks of records that wait to be put into zones.
const CHUNKS_WAITING: usize = 4;

/// Timers of generated zones, in seconds; secondaries serve for four weeks without us.
const REFRESH_S: u32 = 3600;
const RETRY_S: u32 = 300;
const EXPIRE_S: u32 = 28 * 86_400;

/// Makes zones.
#[derive(Debug, Clone)]
pub struct Maker {
    settings: Settings,
}

/// Product, name and region of hosts.
type Scopes = BTreeSet<(CompactString, CompactString, CompactString)>;

/// Names whose records depend on more than one host and are looked at again after a change.
#[derive(Default)]
struct Touched {
    short: Scopes,
    nearest: BTreeSet<(CompactString, CompactString)>,
}

/// What was made of a chunk of hosts.
struct Made {
    records: Vec<Indexed>,
    short: Vec<ShortName>,
    nearest: BTreeSet<(CompactString, CompactString)>,
    /// Whether it is time to pack.
    flush_after: bool,
}

/// How hosts are taken while building from nothing. A 0 counts as 1.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Hosts whose records are made in one go.
    pub hosts: usize,
    /// Such chunks that are put into zones before they are packed, to bound memory.
    pub chunks: usize,
    /// Whether chunks are made on a thread of their own, while those before are put into zones: on an idle machine that
    /// takes about half of the time. Nothing else is to be done at a start; later it takes a processor from others.
    pub beside: bool,
}

impl Pace {
    /// What a start takes.
    pub const USUAL: Self = Self { hosts: 500, chunks: 40, beside: true };
}

impl Maker {
    /// With these settings.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// All zones of a state.
    pub fn build(&self, state: &State) -> Zones {
        self.build_at(Pace::USUAL, state)
    }

    /// The same, at another pace.
    pub fn build_at(&self, pace: Pace, state: &State) -> Zones {
        let mut editor = Editor::from_nothing();
        let serial = state.position().soa_serial();
        let products: BTreeSet<&str> =
            state.products().map(|(name, _)| name.as_str()).chain([self.settings.product.as_str()]).collect();
        // Zones before names: a name goes into the zones that are there when it comes.
        self.add_zones(&mut editor, state, &products, serial);
        for record in state.records() {
            statics::add(&mut editor, record, self.settings.ttl);
        }
        let mut nearest = BTreeSet::new();
        self.for_hosts(pace, state, |made| {
            editor.add_all(made.records);
            // Short names of hosts that are still to come are looked at again with them.
            made.short.into_iter().for_each(|short| self.set_short_name(&mut editor, state, short));
            nearest.extend(made.nearest);
            if made.flush_after {
                editor.flush();
            }
        });
        for product in &products {
            nearest.extend(NEAREST_ROLES.iter().map(|role| ((*product).into(), (*role).into())));
        }
        self.set_nearest(&mut editor, state, &nearest);
        editor.finish()
    }

    /// Makes the records of all hosts, chunk by chunk, and has each chunk put into zones.
    fn for_hosts(&self, pace: Pace, state: &State, mut put: impl FnMut(Made)) {
        let all: Vec<&Arc<Host>> = state.hosts().collect();
        let make = |(number, hosts): (usize, &[&Arc<Host>])| {
            let mut touched = Touched::default();
            hosts.iter().for_each(|host| self.touch(host, state, &mut touched));
            let records = hosts.iter().flat_map(|host| host_records(host, state, &self.settings)).map(Into::into);
            let short = self.short_names(state, &touched.short).collect();
            let (records, nearest) = (records.collect(), touched.nearest);
            Made { records, short, nearest, flush_after: (number + 1).is_multiple_of(pace.chunks.max(1)) }
        };
        let mut made = all.chunks(pace.hosts.max(1)).enumerate().map(make);
        if pace.beside && all.len() > pace.hosts {
            std::thread::scope(|scope| {
                let (sender, receiver) = mpsc::sync_channel(CHUNKS_WAITING);
                let chunks = made.by_ref();
                let making = std::thread::Builder::new().name("zones".into());
                let making = making.spawn_scoped(scope, move || {
                    // The other side is there until the last one has been sent.
                    for chunk in chunks {
                        if sender.send(chunk).is_err() {
                            break;
                        }
                    }
                });
                if making.is_ok() {
                    receiver.into_iter().for_each(&mut put);
                }
            });
        }
        // Without a thread, one after the other.
        made.for_each(put);
    }

    /// All zones, those above before those below, so that the names between two exist in the upper one. Where a
    /// static zone and a generated one have the same apex, the static one is made.
    fn add_zones(&self, editor: &mut Editor, state: &State, products: &BTreeSet<&str>, serial: u32) {
        let mut all: Vec<(Name, Result<&Arc<Record>, &str>)> = Vec::new();
        for record in state.records().filter(|record| record.key.rtype == "SOA") {
            all.extend(Name::parse(&record.key.name).ok().map(|apex| (apex, Ok(record))));
        }
        for product in products {
            all.extend(["private", "public"].map(|top| (crate::generate::join(&[product, top]), Err(*product))));
        }
        let named = state.hosts().filter(|host| host.is_named());
        let reverse: BTreeSet<Name> = named.flat_map(|host| reverse_zones_of(host)).collect();
        let own = self.settings.product.as_str();
        all.extend(private_reverse_zones().iter().cloned().chain(reverse).map(|apex| (apex, Err(own))));
        // A name is longer than the one above it; equal ones keep their order.
        all.sort_by_key(|(apex, _)| apex.len());
        for (apex, made) in all {
            match made {
                Ok(record) => statics::add_zone(editor, record, serial),
                Err(product) => self.add_generated_zone(editor, &apex, product, serial),
            }
        }
    }

    /// The zones of `state`, made from those of an earlier state and the change sets between.
    pub fn advance(&self, zones: &Zones, before: &State, state: &State) -> Zones {
        match state.changes_since(before.position().serial) {
            Some(sets)
                if before.position().epoch == state.position().epoch
                    && !sets.iter().any(|set| needs_build(set) || splits_zone(zones, set)) =>
            {
                self.edit(zones, before, state, &sets).commit(state.position().soa_serial())
            }
            _ => self.build(state),
        }
    }

    /// Fills the IXFR history of fresh zones from the change sets that the state remembers, newest first.
    pub fn recall(&self, zones: &Zones, state: &State) -> Zones {
        let mut list = zones.zones.to_vec();
        let (mut past_zones, mut past) = (zones.clone(), state.clone());
        let sets: Vec<&Arc<ChangeSet>> = state.history().collect();
        for set in sets.into_iter().rev().take_while(|set| !needs_build(set) && !touches_inner_zone(zones, set)) {
            let serial = set.serial.saturating_sub(1);
            let rows = set.rows.iter().map(inventory::RowChange::inverse).collect();
            let inverse = Arc::new(ChangeSet { serial, rows, ..ChangeSet::clone(set) });
            let Ok(before) = past.apply(inverse.clone()) else { break };
            let mut editor = self.edit(&past_zones, &past, &before, &[inverse]);
            let (from_serial, to_serial) = (soa_serial(set.epoch, serial), soa_serial(set.epoch, set.serial));
            let mut full = false;
            for (id, (removed, added)) in editor.settle_all() {
                let Some(zone) = list.get_mut(usize::from(id)) else { continue };
                let zone = Arc::make_mut(zone);
                let soa = |serial: u32| Soa { serial: zone.serial_base.wrapping_add(serial), ..zone.soa.clone() };
                let (from, to) = (soa(from_serial), soa(to_serial));
                let diff = ZoneDiff { apex: zone.apex.clone(), from, to, removed: added, added: removed };
                full |= !zone.remember_older(Arc::new(diff));
            }
            if full {
                break;
            }
            for zone in &mut list {
                Arc::make_mut(zone).lower_floor(from_serial);
            }
            (past_zones, past) = (editor.finish(), before);
        }
        Zones { table: zones.table.clone(), zones: Arc::new(list) }
    }

    fn edit(&self, zones: &Zones, before: &State, state: &State, sets: &[Arc<ChangeSet>]) -> Editor {
        let mut editor = Editor::new(zones);
        let serial = state.position().soa_serial();
        let mut touched = Touched::default();
        let changes = || sets.iter().flat_map(|set| &set.rows);
        for change in changes() {
            self.touch_product(change, before, state, &mut touched);
            if let Some(Row::Host(host)) = &change.new {
                self.add_zones_of(&mut editor, host, serial);
            }
        }
        for change in changes() {
            for row in [&change.old, &change.new].into_iter().flatten() {
                self.touch_static(row, before, state, &mut touched);
            }
            match &change.old {
                Some(Row::Host(host)) => {
                    for rr in host_records(host, before, &self.settings) {
                        editor.remove(&rr.owner, rr.rtype, &rr.rdata);
                    }
                    self.touch(host, before, &mut touched);
                }
                Some(Row::Record(record)) => statics::remove(&mut editor, record),
                // What concerns access only has no names.
                Some(Row::Role(_) | Row::Grant(_) | Row::Entry(_) | Row::Cookie(_)) | None => {}
            }
            match &change.new {
                Some(Row::Host(host)) => {
                    self.add_host(&mut editor, host, state);
                    self.touch(host, state, &mut touched);
                }
                Some(Row::Record(record)) => statics::add(&mut editor, record, self.settings.ttl),
                Some(Row::Role(_) | Row::Grant(_) | Row::Entry(_) | Row::Cookie(_)) | None => {}
            }
        }
        self.set_short_names(&mut editor, state, &touched.short);
        self.set_nearest(&mut editor, state, &touched.nearest);
        editor
    }

    fn add_product(&self, editor: &mut Editor, product: &str, serial: u32) {
        for top in ["private", "public"] {
            self.add_generated_zone(editor, &crate::generate::join(&[product, top]), product, serial);
        }
    }

    fn add_generated_zone(&self, editor: &mut Editor, apex: &Name, product: &str, serial: u32) {
        if editor.has_zone(apex) {
            return;
        }
        let server = crate::generate::join(&["ns1", product, "private"]);
        let soa = Soa {
            ttl: self.settings.ttl,
            mname: server.clone(),
            rname: crate::generate::join(&["hostmaster", product, "private"]),
            serial,
            refresh: REFRESH_S,
            retry: RETRY_S,
            expire: EXPIRE_S,
            minimum: self.settings.negative_ttl,
        };
        editor.add_zone(apex, soa, true, 0);
        editor.add(apex, rtype::NS, self.settings.ttl, Rdata::from(&*server));
    }

    /// The zones that a host's names lie in.
    fn add_zones_of(&self, editor: &mut Editor, host: &Host, serial: u32) {
        if host.is_named() {
            self.add_product(editor, &host.key.product, serial);
            for apex in reverse_zones_of(host) {
                self.add_generated_zone(editor, &apex, &self.settings.product, serial);
            }
        }
    }

    fn add_host(&self, editor: &mut Editor, host: &Host, state: &State) {
        for rr in host_records(host, state, &self.settings) {
            editor.add(&rr.owner, rr.rtype, rr.ttl, rr.rdata);
        }
    }

    fn touch(&self, host: &Host, state: &State, touched: &mut Touched) {
        touched.short.insert((host.key.product.clone(), host.key.name.clone(), host.region.clone()));
        for role in &host.roles {
            if is_nearest(role, state.role(role).map(|role| &**role)) {
                touched.nearest.insert((host.key.product.clone(), role.clone()));
            }
        }
    }

    /// The nearest names of a product whose first host comes or last one goes.
    fn touch_product(&self, change: &RowChange, before: &State, state: &State, touched: &mut Touched) {
        for row in [&change.old, &change.new].into_iter().flatten() {
            let Row::Host(host) = row else { continue };
            let product = &host.key.product;
            if self.has_product(before, product) != self.has_product(state, product) {
                touched.nearest.extend(NEAREST_ROLES.iter().map(|role| (product.clone(), (*role).into())));
            }
        }
    }

    /// A static record at the product-wide name of a nearest role: it takes the place of what is made there.
    fn touch_static(&self, row: &Row, before: &State, state: &State, touched: &mut Touched) {
        let Row::Record(record) = row else { return };
        let labels: Vec<&str> = record.key.name.split('.').collect();
        let (role, product) = match labels[..] {
            [role, product, "private"] => (role, product),
            [service, _, product, "private"] => (service.strip_prefix('_').unwrap_or_default(), product),
            _ => return,
        };
        let nearest = |state: &State| is_nearest(role, state.role(role).map(|role| &**role));
        if nearest(before) || nearest(state) {
            touched.nearest.insert((product.into(), role.into()));
        }
    }

    fn has_product(&self, state: &State, product: &str) -> bool {
        product == self.settings.product || state.product(product).is_some()
    }
}
