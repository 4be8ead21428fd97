//! Many patterns of one subject, filed so that a host finds the few that may mean it.
//!
//! A pattern lies in drawers. A drawer is named by a 64-bit digest of what the pattern is of (name, role, group, tag), its
//! zone or region, its letters before the first wildcard, and for what it is wanted (denying or admitting, and to which
//! service). A host opens the drawers of all beginnings of its own names. What lies there is compared in full, so that
//! equal digests cost time and nothing else. What takes time is patterns that lie in one drawer and mean other hosts: those
//! that differ only behind their first wildcard.

use std::{cell::OnceCell, ops::ControlFlow, sync::Arc};

use compact_str::{CompactString, format_compact};
use imbl::{GenericHashMap, OrdSet, shared_ptr::DefaultSharedPtr};
use inventory::{
    Host,
    pattern::{Hosts, Pattern},
};
use smallvec::SmallVec;

use super::rules::{Held, Ordered, Origin, SUDO, Wanted, concerns_sudo, is_sudo};

/// Patterns are told apart by at most this many octets before their first wildcard; a label holds 63.
const PREFIX_MAX: usize = 63;

/// What a pattern names.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A name in any zone and region, or in those of a glob.
    Name,
    /// A name in one zone or region.
    Placed,
    Role,
    Group,
    Tag,
}

const KINDS: usize = 5;

/// Whether patterns deny or admit.
#[derive(Debug, Clone, Copy)]
enum Side {
    Deny,
    Admit,
}

const SIDES: usize = 2;

/// For what a pattern is filed: a side, and the digest of a service or of one of these words, which no service is.
type Class = u64;

fn class(side: Side, service: &str) -> Class {
    let state = fed(SEED, &[side as u8]);
    service.bytes().fold(state, |state, byte| fed(state, &[byte.to_ascii_lowercase()]))
}

/// All services (but sudo, if it admits).
const ALL: &str = " all";
/// Whatever it is.
const SOME: &str = " some";

/// Many patterns, filed.
#[derive(Debug, Clone)]
pub(super) struct Index {
    all: OrdSet<Ordered>,
    drawers: GenericHashMap<u64, OrdSet<Ordered>, Digested, DefaultSharedPtr>,
    /// How many patterns are filed for each class, in the order of classes: what nobody uses is not looked for.
    classes: Vec<(Class, u32)>,
    /// How many patterns of each side and kind have each length of prefix, for the same end.
    lengths: [[Lengths; KINDS]; SIDES],
}

#[derive(Debug, Clone, Copy)]
struct Lengths {
    counts: [u32; PREFIX_MAX + 1],
    /// Bit by bit, which counts are not zero.
    used: u64,
}

impl Lengths {
    fn count(&mut self, length: usize, change: i32) {
        let count = &mut self.counts[length];
        *count = count.saturating_add_signed(change);
        let bit = 1 << length;
        self.used = if *count > 0 { self.used | bit } else { self.used & !bit };
    }
}

impl Index {
    pub(super) fn of(list: Vec<Ordered>) -> Self {
        let none = Lengths { counts: [0; PREFIX_MAX + 1], used: 0 };
        let mut index = Self {
            all: OrdSet::new(),
            drawers: GenericHashMap::default(),
            classes: Vec::new(),
            lengths: [[none; KINDS]; SIDES],
        };
        list.into_iter().for_each(|held| index.add(held));
        index
    }

    pub(super) fn all(&self) -> &OrdSet<Ordered> {
        &self.all
    }

    pub(super) fn add(&mut self, held: Ordered) {
        if self.all.insert(held.clone()).is_some() {
            return;
        }
        let filing = Filing::of(&held.0);
        self.lengths[filing.side as usize][filing.kind as usize].count(filing.prefix.len(), 1);
        for class in classes(&held.0, filing.side) {
            self.drawers.entry(drawer(class, filing.digest)).or_default().insert(held.clone());
            match self.classes.binary_search_by_key(&class, |(class, _)| *class) {
                Ok(at) => self.classes[at].1 += 1,
                Err(at) => self.classes.insert(at, (class, 1)),
            }
        }
    }

    pub(super) fn remove(&mut self, held: &Ordered) {
        let Some(held) = self.all.remove(held) else { return };
        let filing = Filing::of(&held.0);
        self.lengths[filing.side as usize][filing.kind as usize].count(filing.prefix.len(), -1);
        for class in classes(&held.0, filing.side) {
            let digest = drawer(class, filing.digest);
            if let Some(drawer) = self.drawers.get_mut(&digest) {
                drawer.remove(&held);
                if drawer.is_empty() {
                    self.drawers.remove(&digest);
                }
            }
            if let Ok(at) = self.classes.binary_search_by_key(&class, |(class, _)| *class) {
                self.classes[at].1 -= 1;
                if self.classes[at].1 == 0 {
                    self.classes.remove(at);
                }
            }
        }
    }

    /// As for [`super::rules::Rules::matching`].
    pub(super) fn matching<'a>(
        &'a self,
        probe: &Probe<'_>,
        wanted: Wanted<'_>,
        see: &mut impl FnMut(&'a Arc<Held>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (side, services) = match wanted {
            Wanted::Denying(service) => (Side::Deny, [Some(ALL), Some(service)]),
            Wanted::Admitting(SUDO) => (Side::Admit, [Some(SUDO), None]),
            Wanted::Admitting(service) => (Side::Admit, [Some(ALL), Some(service)]),
            Wanted::AdmittingAtAll => (Side::Admit, [Some(SOME), None]),
        };
        for class in services.into_iter().flatten().map(|service| class(side, service)) {
            if self.classes.binary_search_by_key(&class, |(class, _)| *class).is_err() {
                continue;
            }
            for (kind, digests) in probe.beginnings() {
                let mut used = self.lengths[side as usize][kind as usize].used;
                while let Some(digest) = digests.get(used.trailing_zeros() as usize) {
                    used &= used - 1;
                    let Some(drawer) = self.drawers.get(&drawer(class, *digest)) else { continue };
                    for Ordered(held) in drawer {
                        if wanted.includes(held) && held.pattern.matches(probe.host) {
                            see(held)?;
                        }
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// A host, with the digests of all beginnings of its names once somebody needs them.
pub(super) struct Probe<'h> {
    pub(super) host: &'h Host,
    beginnings: OnceCell<Beginnings>,
}

#[derive(Default)]
struct Beginnings {
    digests: SmallVec<[u64; 128]>,
    /// Where those of each name end.
    ends: SmallVec<[(Kind, usize); 16]>,
}

impl<'h> Probe<'h> {
    pub(super) fn of(host: &'h Host) -> Self {
        Self { host, beginnings: OnceCell::new() }
    }

    fn beginnings(&self) -> impl Iterator<Item = (Kind, &[u64])> {
        let Beginnings { digests, ends } = self.beginnings.get_or_init(|| Beginnings::of(self.host));
        let mut from = 0;
        ends.iter().map(move |(kind, to)| {
            let part = digests.get(from..*to).unwrap_or_default();
            from = *to;
            (*kind, part)
        })
    }
}

impl Beginnings {
    fn of(host: &Host) -> Self {
        let mut all = Self::default();
        let key = &host.key;
        all.add(Kind::Name, "", [&key.name, "", ""]);
        all.add(Kind::Placed, &key.zone, [&key.name, "", ""]);
        if host.region != key.zone {
            all.add(Kind::Placed, &host.region, [&key.name, "", ""]);
        }
        host.roles.iter().for_each(|role| all.add(Kind::Role, "", [role, "", ""]));
        host.groups.iter().for_each(|group| all.add(Kind::Group, "", [group, "", ""]));
        host.tags.iter().for_each(|(key, value)| all.add(Kind::Tag, "", [key, "=", value]));
        all
    }

    fn add(&mut self, kind: Kind, place: &str, parts: [&str; 3]) {
        let mut state = head(kind, place);
        self.digests.push(state);
        for byte in parts.into_iter().flat_map(str::bytes).take(PREFIX_MAX) {
            state = fed(state, &[byte]);
            self.digests.push(state);
        }
        self.ends.push((kind, self.digests.len()));
    }
}

/// The classes that a pattern is filed for.
fn classes(held: &Held, side: Side) -> SmallVec<[Class; 4]> {
    let mut classes = SmallVec::new();
    if matches!(side, Side::Admit) {
        classes.push(class(side, SOME));
    }
    match &held.origin {
        Origin::Value(_) => classes.push(class(side, ALL)),
        Origin::Grant(grant) => {
            if grant.services.is_empty() {
                classes.push(class(side, ALL));
            }
            classes
                .extend(grant.services.iter().filter(|service| !is_sudo(service)).map(|service| class(side, service)));
            if grant.sudo.is_some() || (matches!(side, Side::Deny) && concerns_sudo(grant)) {
                classes.push(class(side, SUDO));
            }
        }
    }
    classes.sort_unstable();
    classes.dedup();
    classes
}

/// What tells a pattern from others before it is compared.
struct Filing {
    side: Side,
    kind: Kind,
    prefix: CompactString,
    digest: u64,
}

impl Filing {
    fn of(held: &Held) -> Self {
        let Pattern { denies, hosts } = &held.pattern;
        let is_wild = |text: &str| text.contains(['*', '?']);
        let (kind, place, glob) = match hosts {
            Hosts::Named { name, place: Some(place), .. } if !is_wild(place) => (Kind::Placed, &**place, name.clone()),
            Hosts::Named { name, .. } => (Kind::Name, "", name.clone()),
            Hosts::Role(role) => (Kind::Role, "", role.clone()),
            Hosts::Group(group) => (Kind::Group, "", group.clone()),
            Hosts::Tag(key, None) => (Kind::Tag, "", key.clone()),
            // The key of a tag is no glob: an asterisk in it only ends the prefix early.
            Hosts::Tag(key, Some(value)) => (Kind::Tag, "", format_compact!("{key}={value}")),
        };
        let end = glob.floor_char_boundary(glob.find(['*', '?']).unwrap_or(glob.len()).min(PREFIX_MAX));
        let prefix = CompactString::from(glob.get(..end).unwrap_or_default());
        let digest = fed(head(kind, place), prefix.as_bytes());
        Self { side: if *denies { Side::Deny } else { Side::Admit }, kind, prefix, digest }
    }
}

/// The digest of everything but the prefix.
fn head(kind: Kind, place: &str) -> u64 {
    fed(fed(fed(SEED, &[kind as u8]), place.as_bytes()), &[0xff])
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, because it goes on from any prefix.
fn fed(mut state: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    state
}

/// The name of a drawer; spread over all bits (the finisher of SplitMix64).
fn drawer(class: Class, digest: u64) -> u64 {
    let mut state = class.rotate_left(32) ^ digest;
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// Digests are hashes already.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Digested;

impl std::hash::BuildHasher for Digested {
    type Hasher = Digest;

    fn build_hasher(&self) -> Digest {
        Digest(0)
    }
}

#[derive(Debug)]
pub(super) struct Digest(u64);

impl std::hash::Hasher for Digest {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = fed(self.0, bytes);
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }
}
