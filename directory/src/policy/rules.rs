//! The patterns that hold for one subject (a user, a group, an entry with `host` values), and the search among them.
//!
//! Few patterns are a sorted slice that is walked. Many are filed by kind, zone or region, and the letters before their
//! first wildcard, under a 64-bit digest of these; what is found there is compared in full, so that equal digests cost
//! time and nothing else. Either form depends on its content alone, however it came about.

use std::{cmp::Ordering, ops::ControlFlow, sync::Arc};

use compact_str::CompactString;
use imbl::{GenericHashMap, OrdSet, shared_ptr::DefaultSharedPtr};
use inventory::{
    Grant, Host,
    entry::Entry,
    pattern::{Hosts, Pattern},
};

/// The service that only grants with `sudo` admit to.
pub const SUDO: &str = "sudo";
/// Up to this number the patterns of a subject are walked one by one.
const FEW_MAX: usize = 24;
/// Patterns are told apart by at most this many octets before their first wildcard; a label holds 63.
const PREFIX_MAX: usize = 63;

/// One pattern, and what it comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) pattern: Pattern,
    /// First second at which it no longer holds; the greatest number if it always does.
    pub(super) until: u64,
    pub(super) origin: Origin,
}

/// Where a pattern is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Grant(Arc<Grant>),
    /// A `host` value of a person or a group.
    Value(Arc<Entry>),
}

impl Held {
    /// Whether it lets somebody in for a service, on its hosts and in its time.
    pub(super) fn admits_to(&self, service: &str) -> bool {
        !self.pattern.denies
            && match &self.origin {
                Origin::Grant(grant) if service == SUDO => grant.sudo.is_some(),
                Origin::Grant(grant) => grant.services.is_empty() || names(grant, service),
                Origin::Value(_) => service != SUDO,
            }
    }

    /// Whether it keeps somebody out for a service. What is denied for all services is denied for sudo too.
    pub(super) fn denies(&self, service: &str) -> bool {
        self.pattern.denies
            && match &self.origin {
                Origin::Grant(grant) => {
                    grant.services.is_empty() || names(grant, service) || (service == SUDO && grant.sudo.is_some())
                }
                Origin::Value(_) => true,
            }
    }

    pub(super) fn grant(&self) -> Option<&Arc<Grant>> {
        match &self.origin {
            Origin::Grant(grant) => Some(grant),
            Origin::Value(_) => None,
        }
    }

    pub(super) fn is_live(&self, now_s: u64) -> bool {
        now_s < self.until
    }

    fn origin_key(&self) -> (&str, &[u8]) {
        match &self.origin {
            Origin::Grant(grant) => (&grant.name, &[]),
            Origin::Value(entry) => ("", &entry.id.0),
        }
    }
}

/// The name `sudo` among services is no service: `sudo` decides.
fn names(grant: &Grant, service: &str) -> bool {
    service != SUDO && grant.services.iter().any(|name| name.eq_ignore_ascii_case(service))
}

/// Held patterns with those first that hold longest, so that what is over stands at the end.
#[derive(Debug, Clone)]
pub(super) struct Ordered(Arc<Held>);

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.0, &other.0);
        let times = b.until.cmp(&a.until);
        times.then_with(|| a.pattern.cmp(&b.pattern)).then_with(|| a.origin_key().cmp(&b.origin_key()))
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Which patterns are looked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// Those that deny a service.
    Denying(&'a str),
    /// Those that admit to a service.
    Admitting(&'a str),
    /// Those that admit to anything.
    AdmittingAtAll,
}

impl Wanted<'_> {
    fn includes(self, held: &Held) -> bool {
        match self {
            Self::Denying(service) => held.denies(service),
            Self::Admitting(service) => held.admits_to(service),
            Self::AdmittingAtAll => !held.pattern.denies,
        }
    }
}

/// The patterns of one subject.
#[derive(Debug, Clone)]
pub(super) enum Rules {
    Few(Arc<[Ordered]>),
    Many(Arc<Index>),
}

impl Default for Rules {
    fn default() -> Self {
        Self::Few(Arc::default())
    }
}

impl Rules {
    pub(super) fn of(held: impl IntoIterator<Item = Held>) -> Self {
        let mut rules = Self::default();
        held.into_iter().for_each(|held| rules.add(Arc::new(held)));
        rules
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(list) => list.len(),
            Self::Many(index) => index.all.len(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Held>> {
        let (few, many) = match self {
            Self::Few(list) => (Some(list.iter()), None),
            Self::Many(index) => (None, Some(index.all.iter())),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten()).map(|Ordered(held)| held)
    }

    pub(super) fn add(&mut self, held: Arc<Held>) {
        match self {
            Self::Few(list) => {
                let mut next = list.to_vec();
                let held = Ordered(held);
                if let Err(at) = next.binary_search(&held) {
                    next.insert(at, held);
                }
                *self =
                    if next.len() > FEW_MAX { Self::Many(Arc::new(Index::of(next))) } else { Self::Few(next.into()) };
            }
            Self::Many(index) => Arc::make_mut(index).add(Ordered(held)),
        }
    }

    pub(super) fn remove(&mut self, held: &Arc<Held>) {
        let held = Ordered(held.clone());
        match self {
            Self::Few(list) => *list = list.iter().filter(|other| **other != held).cloned().collect(),
            Self::Many(index) => {
                let index = Arc::make_mut(index);
                index.remove(&held);
                if index.all.len() <= FEW_MAX {
                    *self = Self::Few(index.all.iter().cloned().collect());
                }
            }
        }
    }

    /// Shows `see` the wanted patterns that mean the host, live or not, until it breaks off.
    pub(super) fn matching<'a>(
        &'a self,
        host: &Host,
        wanted: Wanted<'_>,
        see: &mut impl FnMut(&'a Arc<Held>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self {
            Self::Few(list) => {
                for Ordered(held) in list.iter() {
                    if wanted.includes(held) && held.pattern.matches(host) {
                        see(held)?;
                    }
                }
                ControlFlow::Continue(())
            }
            Self::Many(index) => index.matching(host, wanted, see),
        }
    }
}

/// What a pattern names.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Name,
    Role,
    Group,
    Tag,
}

const KINDS: usize = 4;

/// Many patterns, filed.
#[derive(Debug, Clone)]
pub(super) struct Index {
    all: OrdSet<Ordered>,
    drawers: GenericHashMap<u64, OrdSet<Ordered>, Digested, DefaultSharedPtr>,
    /// How many filings each kind has with each length of prefix: what nobody uses is not looked for.
    lengths: [[u32; PREFIX_MAX + 1]; KINDS],
}

impl Index {
    fn of(list: Vec<Ordered>) -> Self {
        let mut index =
            Self { all: OrdSet::new(), drawers: GenericHashMap::default(), lengths: [[0; PREFIX_MAX + 1]; KINDS] };
        list.into_iter().for_each(|held| index.add(held));
        index
    }

    fn add(&mut self, held: Ordered) {
        if self.all.insert(held.clone()).is_some() {
            return;
        }
        let filing = Filing::of(&held.0.pattern);
        self.lengths[filing.kind as usize][filing.prefix.len()] += 1;
        each_class(&held.0, |class| {
            self.drawers.entry(filing.digest(class)).or_default().insert(held.clone());
        });
    }

    fn remove(&mut self, held: &Ordered) {
        if self.all.remove(held).is_none() {
            return;
        }
        let filing = Filing::of(&held.0.pattern);
        self.lengths[filing.kind as usize][filing.prefix.len()] -= 1;
        each_class(&held.0, |class| {
            let digest = filing.digest(class);
            if let Some(drawer) = self.drawers.get_mut(&digest) {
                drawer.remove(held);
                if drawer.is_empty() {
                    self.drawers.remove(&digest);
                }
            }
        });
    }

    fn matching<'a>(
        &'a self,
        host: &Host,
        wanted: Wanted<'_>,
        see: &mut impl FnMut(&'a Arc<Held>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let classes = match wanted {
            Wanted::Denying(service) => [Some(Class::DenyAll), Some(Class::Deny(service))],
            Wanted::Admitting(SUDO) => [Some(Class::Admit(SUDO)), None],
            Wanted::Admitting(service) => [Some(Class::AdmitAll), Some(Class::Admit(service))],
            Wanted::AdmittingAtAll => [Some(Class::Every), None],
        };
        for class in classes.into_iter().flatten() {
            let mut open = |digest: u64| -> ControlFlow<()> {
                let Some(drawer) = self.drawers.get(&digest) else { return ControlFlow::Continue(()) };
                for Ordered(held) in drawer.iter().filter(|Ordered(held)| wanted.includes(held)) {
                    if held.pattern.matches(host) {
                        see(held)?;
                    }
                }
                ControlFlow::Continue(())
            };
            self.digests(class, host, &mut open)?;
        }
        ControlFlow::Continue(())
    }

    /// The drawers in which patterns may lie that mean the host.
    fn digests(&self, class: Class<'_>, host: &Host, open: &mut impl FnMut(u64) -> ControlFlow<()>) -> ControlFlow<()> {
        let region = (host.region != host.key.zone).then_some(&*host.region);
        for place in [Some(""), Some(&*host.key.zone), region].into_iter().flatten() {
            self.prefixes(head(class, Kind::Name, place), Kind::Name, [&host.key.name, "", ""], open)?;
        }
        for role in &host.roles {
            self.prefixes(head(class, Kind::Role, ""), Kind::Role, [role, "", ""], open)?;
        }
        for group in &host.groups {
            self.prefixes(head(class, Kind::Group, ""), Kind::Group, [group, "", ""], open)?;
        }
        for (key, value) in &host.tags {
            self.prefixes(head(class, Kind::Tag, ""), Kind::Tag, [key, "=", value], open)?;
        }
        ControlFlow::Continue(())
    }

    fn prefixes(
        &self,
        mut state: u64,
        kind: Kind,
        parts: [&str; 3],
        open: &mut impl FnMut(u64) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let lengths = &self.lengths[kind as usize];
        let mut bytes = parts.into_iter().flat_map(str::bytes);
        for count in lengths {
            if *count > 0 {
                open(mixed(state))?;
            }
            let Some(byte) = bytes.next() else { break };
            state = fed(state, &[byte]);
        }
        ControlFlow::Continue(())
    }
}

/// For what a pattern is filed.
#[derive(Debug, Clone, Copy)]
enum Class<'a> {
    /// It denies every service.
    DenyAll,
    /// It denies this service.
    Deny(&'a str),
    /// It admits to every service but sudo.
    AdmitAll,
    /// It admits to this service.
    Admit(&'a str),
    /// It admits to something.
    Every,
}

fn each_class(held: &Held, mut file: impl FnMut(Class<'_>)) {
    let class = |service| if held.pattern.denies { Class::Deny(service) } else { Class::Admit(service) };
    if !held.pattern.denies {
        file(Class::Every);
    }
    let for_all = if held.pattern.denies { Class::DenyAll } else { Class::AdmitAll };
    match &held.origin {
        Origin::Value(_) => file(for_all),
        Origin::Grant(grant) => {
            if grant.services.is_empty() {
                file(for_all);
            }
            grant.services.iter().filter(|service| *service != SUDO).for_each(|service| file(class(service)));
            if grant.sudo.is_some() {
                file(class(SUDO));
            }
        }
    }
}

/// What tells a pattern from others before it is compared.
struct Filing {
    kind: Kind,
    place: CompactString,
    prefix: CompactString,
}

impl Filing {
    fn of(pattern: &Pattern) -> Self {
        let is_wild = |text: &str| text.contains(['*', '?']);
        let (kind, place, glob) = match &pattern.hosts {
            Hosts::Named { name, place, .. } => {
                let place = place.as_ref().filter(|place| !is_wild(place)).cloned().unwrap_or_default();
                (Kind::Name, place, name.clone())
            }
            Hosts::Role(role) => (Kind::Role, CompactString::default(), role.clone()),
            Hosts::Group(group) => (Kind::Group, CompactString::default(), group.clone()),
            Hosts::Tag(key, None) => (Kind::Tag, CompactString::default(), key.clone()),
            Hosts::Tag(key, Some(value)) => {
                // The key of a tag is no glob: an asterisk in it is an asterisk, and only ends the prefix early.
                (Kind::Tag, CompactString::default(), compact_str::format_compact!("{key}={value}"))
            }
        };
        let end = glob.floor_char_boundary(glob.find(['*', '?']).unwrap_or(glob.len()).min(PREFIX_MAX));
        let prefix = glob.get(..end).unwrap_or_default().into();
        Self { kind, place, prefix }
    }

    fn digest(&self, class: Class<'_>) -> u64 {
        mixed(fed(head(class, self.kind, &self.place), self.prefix.as_bytes()))
    }
}

/// The digest of everything but the prefix.
fn head(class: Class<'_>, kind: Kind, place: &str) -> u64 {
    let (code, service) = match class {
        Class::DenyAll => (0, ""),
        Class::Deny(service) => (1, service),
        Class::AdmitAll => (2, ""),
        Class::Admit(service) => (3, service),
        Class::Every => (4, ""),
    };
    let mut state = fed(0xcbf2_9ce4_8422_2325, &[code, kind as u8]);
    for byte in service.bytes() {
        state = fed(state, &[byte.to_ascii_lowercase()]);
    }
    fed(fed(fed(state, &[0xff]), place.as_bytes()), &[0xff])
}

/// FNV-1a, because it goes on from any prefix.
fn fed(mut state: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    state
}

/// Spreads a digest over all bits (the finisher of SplitMix64).
fn mixed(mut state: u64) -> u64 {
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
