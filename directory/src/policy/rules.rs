//! The patterns that hold for one subject (a user, a group, an entry with `host` values), and the search among them.
//!
//! Few patterns are a sorted slice that is walked, many are filed (`index`). Either form depends on its content alone,
//! however it came about.

use std::{cmp::Ordering, ops::ControlFlow, sync::Arc};

use inventory::{Grant, entry::Entry, pattern::Pattern};

use super::index::{Index, Probe};

/// The service that only grants with `sudo` admit to.
pub const SUDO: &str = "sudo";
/// The PAM services that are sudo: the second is what `sudo -i` opens its session with.
const SUDO_SERVICES: [&str; 2] = [SUDO, "sudo-i"];
/// Up to this number the patterns of a subject are walked one by one.
const FEW_MAX: usize = 24;

/// Whether a PAM service, in any case, is sudo.
pub fn is_sudo(service: &str) -> bool {
    SUDO_SERVICES.iter().any(|name| name.eq_ignore_ascii_case(service))
}

/// The service that decides about a PAM service: [`SUDO`] for all that are sudo, any other for itself.
pub(super) fn deciding(service: &str) -> &str {
    if is_sudo(service) { SUDO } else { service }
}

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

/// By what tells patterns of one subject apart; equal patterns have equal hashes.
impl std::hash::Hash for Held {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.pattern, self.until, self.origin_key()).hash(state);
    }
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
                    grant.services.is_empty() || names(grant, service) || (service == SUDO && concerns_sudo(grant))
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

/// Whether what a grant denies is denied for sudo. Its name among services gives nothing, but takes away.
pub(super) fn concerns_sudo(grant: &Grant) -> bool {
    grant.sudo.is_some() || grant.services.iter().any(|service| is_sudo(service))
}

/// The name `sudo` among services is no service that is given: `sudo` decides.
fn names(grant: &Grant, service: &str) -> bool {
    service != SUDO && grant.services.iter().any(|name| name.eq_ignore_ascii_case(service))
}

/// Held patterns with those first that hold longest, so that what is over stands at the end.
#[derive(Debug, Clone)]
pub(super) struct Ordered(pub(super) Arc<Held>);

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
    pub(super) fn includes(self, held: &Held) -> bool {
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
            Self::Many(index) => index.all().len(),
        }
    }

    /// What tells tables apart without looking into them: equal addresses mean equal tables.
    pub(super) fn address(&self) -> usize {
        match self {
            Self::Few(list) => Arc::as_ptr(list).cast::<u8>() as usize,
            Self::Many(index) => Arc::as_ptr(index).cast::<u8>() as usize,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Held>> {
        let (few, many) = match self {
            Self::Few(list) => (Some(list.iter()), None),
            Self::Many(index) => (None, Some(index.all().iter())),
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
                if index.all().len() <= FEW_MAX {
                    *self = Self::Few(index.all().iter().cloned().collect());
                }
            }
        }
    }

    /// Shows `see` the wanted patterns that mean the host, live or not, until it breaks off.
    pub(super) fn matching<'a>(
        &'a self,
        probe: &Probe<'_>,
        wanted: Wanted<'_>,
        see: &mut impl FnMut(&'a Arc<Held>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self {
            Self::Few(list) => {
                for Ordered(held) in list.iter() {
                    if wanted.includes(held) && held.pattern.matches(probe.host) {
                        see(held)?;
                    }
                }
                ControlFlow::Continue(())
            }
            Self::Many(index) => index.matching(probe, wanted, see),
        }
    }
}
