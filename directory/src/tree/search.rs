//! One search: the filter chooses the smallest set of candidates that an index gives, then judges each of them.

use std::vec;

use imbl::{ordmap, shared_ptr::DefaultSharedPtr};

use super::{
    Node, Tree,
    index::ByTree,
    slots::{Slots, SlotsIter},
};
use crate::{
    dn::Dn,
    filter::{Assertion, Context, Filter, Term, attribute::Id, rule::integer},
};
use std::sync::Arc;

/// A range of an ordered index with more entries than this is not used: the other parts of the filter choose.
const RANGE_MAX: usize = 4096;
/// With so few candidates no further part of a filter is asked.
const GOOD_ENOUGH: usize = 8;
/// With more candidates than this, it is tried whether the part of the tree that is searched has fewer entries.
const BELOW_TRIED: usize = 256;

/// Octets of values that a filter reads at the cost of one candidate.
const READ_PER_CANDIDATE: usize = 4096;
/// Most that one entry may cost, in candidates: 256 MiB are read in some tens of milliseconds, and nobody else has a
/// turn meanwhile.
const ENTRY_COST_MAX: usize = 1 << 16;

/// How far a search goes from its base (RFC 4511 section 4.5.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The base itself.
    Base,
    /// Entries right below it.
    One,
    /// The base and everything below.
    Subtree,
    /// Everything below (draft-sermersheim-ldap-subordinate-scope).
    Children,
}

/// More candidates than allowed were looked at in vain: adminLimitExceeded (11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the search costs too much after {0} entries that do not match; ask by an attribute that is indexed")]
pub struct TooMany(pub usize);

/// What a step of a search came to.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// An entry.
    Found(&'a Arc<Node>),
    /// Nothing yet.
    Paused,
    /// The search is over without an end.
    TooMany(TooMany),
    /// There are no more entries.
    End,
}

/// The entries that a search finds, in no order that means anything. Ends after an error.
pub struct Search<'a> {
    tree: &'a Tree,
    filter: &'a Filter,
    ask: &'a Context<'a>,
    base: Dn,
    scope: Scope,
    /// Whatever is found is in scope.
    is_everything: bool,
    source: Source<'a>,
    in_vain: usize,
    in_vain_max: usize,
    /// What entries cost beyond one candidate each, found ones included.
    dear: usize,
    /// Cost since the last pause.
    turn: usize,
}

/// Where candidates come from.
enum Source<'a> {
    Slots(SlotsIter<'a>),
    Listed(vec::IntoIter<u32>),
    /// In the order of names, from the base on; it ends where the base's part of the tree ends.
    Below(ordmap::RangedIter<'a, ByTree, u32, DefaultSharedPtr>),
    Nothing,
}

/// Entries that an index gives for a part of a filter: all that match it are among them.
enum Candidates<'a> {
    Nothing,
    Indexed(&'a Slots),
    Listed(Vec<u32>),
}

impl Candidates<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Indexed(slots) => slots.len(),
            Self::Listed(slots) => slots.len(),
        }
    }

    fn append_to(&self, all: &mut Vec<u32>) {
        match self {
            Self::Nothing => {}
            Self::Indexed(slots) => all.extend(slots.iter()),
            Self::Listed(slots) => all.extend(slots),
        }
    }
}

impl<'a> From<Option<&'a Slots>> for Candidates<'a> {
    fn from(slots: Option<&'a Slots>) -> Self {
        slots.map_or(Self::Nothing, Self::Indexed)
    }
}

impl<'a> Search<'a> {
    pub(super) fn new(
        tree: &'a Tree,
        base: &Dn,
        scope: Scope,
        filter: &'a Filter,
        ask: &'a Context<'a>,
        in_vain_max: usize,
    ) -> Self {
        let source = tree.source(base, scope, &filter.root);
        let is_everything = scope == Scope::Subtree && tree.is_all_within(base);
        let base = base.clone();
        Self { tree, filter, ask, base, scope, is_everything, source, in_vain: 0, in_vain_max, dear: 0, turn: 0 }
    }

    /// How many candidates did not match so far.
    pub fn in_vain(&self) -> usize {
        self.in_vain
    }

    fn next_candidate(&mut self) -> Option<u32> {
        match &mut self.source {
            Source::Slots(slots) => slots.next(),
            Source::Listed(slots) => slots.next(),
            Source::Below(names) => {
                names.next().filter(|(name, _)| name.0.is_within(&self.base)).map(|(_, slot)| *slot)
            }
            Source::Nothing => None,
        }
    }

    fn is_in_scope(&self, node: &Node) -> bool {
        match self.scope {
            Scope::Base => node.dn == self.base,
            Scope::One => crate::dn::parent_of(node.dn.as_str()) == Some(self.base.as_str()),
            Scope::Subtree => node.dn.is_within(&self.base),
            Scope::Children => node.dn != self.base && node.dn.is_within(&self.base),
        }
    }
}

impl<'a> Search<'a> {
    /// Goes on until an entry is found or candidates at the cost of `budget` were looked at, so that whoever searches
    /// can let others have their turn.
    pub fn step(&mut self, budget: usize) -> Step<'a> {
        loop {
            let node = match self.step_unjudged(budget) {
                Step::Found(node) => node,
                other => return other,
            };
            match self.judge(node) {
                Ok(true) => return Step::Found(node),
                Ok(false) => {}
                Err(error) => return Step::TooMany(error),
            }
        }
    }

    /// As [`Search::step`], but finds every entry in scope that an index gives for the filter: all that match are among
    /// them, and so is every entry that matches without some of its values. Whoever shows only parts of entries judges
    /// what is left of them with [`Search::judge`].
    pub fn step_unjudged(&mut self, budget: usize) -> Step<'a> {
        loop {
            if self.turn >= budget {
                self.turn = 0;
                return Step::Paused;
            }
            let Some(slot) = self.next_candidate() else { break };
            let Some(node) = self.tree.node(slot) else { continue };
            if self.is_everything || self.is_in_scope(node) {
                return Step::Found(node);
            }
            if let Err(error) = self.pass_over(1) {
                return Step::TooMany(error);
            }
        }
        self.source = Source::Nothing;
        Step::End
    }

    /// Whether the filter is true for an entry; if not it was looked at in vain.
    ///
    /// # Errors
    /// That was one too many, or the filter costs too much with this entry.
    pub fn judge(&mut self, node: &Node) -> Result<bool, TooMany> {
        let more = self.filter.octets_read(node) / READ_PER_CANDIDATE;
        self.turn = self.turn.saturating_add(more);
        self.dear = self.dear.saturating_add(more);
        if more > ENTRY_COST_MAX {
            self.source = Source::Nothing;
            return Err(TooMany(self.in_vain));
        }
        let is_match = self.filter.matches(node, self.ask);
        if !is_match {
            self.pass_over(1)?;
        }
        Ok(is_match)
    }

    /// Counts what was looked at in vain.
    ///
    /// # Errors
    /// That was one too many.
    pub fn pass_over(&mut self, candidates: usize) -> Result<(), TooMany> {
        self.in_vain = self.in_vain.saturating_add(candidates);
        self.turn = self.turn.saturating_add(candidates);
        if self.in_vain.saturating_add(self.dear) > self.in_vain_max {
            self.source = Source::Nothing;
            return Err(TooMany(self.in_vain));
        }
        Ok(())
    }
}

impl<'a> Iterator for Search<'a> {
    type Item = Result<&'a Arc<Node>, TooMany>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step(usize::MAX) {
                Step::Found(node) => return Some(Ok(node)),
                Step::TooMany(error) => return Some(Err(error)),
                Step::Paused => {}
                Step::End => return None,
            }
        }
    }
}

impl Tree {
    fn source(&self, base: &Dn, scope: Scope, filter: &Term) -> Source<'_> {
        if scope == Scope::Base {
            return self.slot_of(base).map_or(Source::Nothing, |slot| Source::Slots(SlotsIter::One(Some(slot))));
        }
        let candidates = self.candidates(filter);
        if scope == Scope::One {
            let children = Candidates::from(self.index.children(base.as_str()));
            return match candidates {
                Some(found) if found.len() <= children.len() => found.into(),
                _ => children.into(),
            };
        }
        match candidates {
            None => Source::Below(self.below(base)),
            Some(found) if found.len() > BELOW_TRIED && !self.is_larger(base, BELOW_TRIED) => {
                Source::Below(self.below(base))
            }
            Some(found) => found.into(),
        }
    }

    fn below(&self, base: &Dn) -> ordmap::RangedIter<'_, ByTree, u32, DefaultSharedPtr> {
        self.index.by_name.range(ByTree(base.clone())..)
    }

    /// Whether a part of the tree has more entries than `limit`.
    fn is_larger(&self, base: &Dn, limit: usize) -> bool {
        self.below(base).take(limit + 1).take_while(|(name, _)| name.0.is_within(base)).count() > limit
    }

    /// What the indexes give for a part of a filter; none if they do not help.
    fn candidates(&self, part: &Term) -> Option<Candidates<'_>> {
        match part {
            Term::And(parts) => {
                let mut best: Option<Candidates<'_>> = None;
                // Of a class there are many; whatever else is asked for finds fewer, and often one.
                let (others, classes) =
                    (parts.iter().filter(|part| !is_class(part)), parts.iter().filter(|part| is_class(part)));
                for part in others.chain(classes) {
                    let found = self.candidates(part);
                    best = match (best, found) {
                        (Some(best), Some(found)) => Some(if found.len() < best.len() { found } else { best }),
                        (best, found) => best.or(found),
                    };
                    if best.as_ref().is_some_and(|best| best.len() <= GOOD_ENOUGH) {
                        break;
                    }
                }
                best
            }
            Term::Or(parts) => self.union(parts),
            Term::Equal(asserted) if asserted.is_indexed() => {
                Some(self.index.equal(asserted.name.id, &asserted.normal).into())
            }
            Term::Equal(asserted) if asserted.name.id == Id::ENTRY_USN && !asserted.dn_too => {
                self.by_usn(asserted, true, true)
            }
            Term::AtLeast(asserted) if asserted.name.id == Id::ENTRY_USN => self.by_usn(asserted, true, false),
            Term::AtMost(asserted) if asserted.name.id == Id::ENTRY_USN => self.by_usn(asserted, false, true),
            Term::AtLeast(asserted) if asserted.name.id == Id::MODIFY_TIMESTAMP => self.modified_since(asserted),
            Term::AtLeast(asserted) | Term::AtMost(asserted) => self.having(asserted.name.id),
            Term::Present(name) => self.having(name.id),
            Term::Pieces(pieces) => self.having(pieces.name.id),
            Term::Admits(_) | Term::Sudo(_) => self.having(Id::UID),
            Term::Undefined => Some(Candidates::Nothing),
            Term::Equal(_) | Term::Not(_) | Term::Bits(_) => None,
        }
    }

    /// Entries that have an indexed attribute, unless that could be all.
    fn having(&self, id: Id) -> Option<Candidates<'_>> {
        let is_told = id.is_indexed() && !id.is_computed() && id != Id::OBJECT_CLASS;
        is_told.then(|| self.index.present(id).into())
    }

    fn union<'a>(&'a self, parts: &[Term]) -> Option<Candidates<'a>> {
        let mut found = Vec::new();
        let mut total = 0;
        for part in parts {
            let candidates = self.candidates(part)?;
            total += candidates.len();
            // A scan is not dearer, and the list would grow with the filter.
            if total > self.nodes.len() {
                return None;
            }
            if candidates.len() > 0 {
                found.push(candidates);
            }
        }
        if found.len() < 2 {
            return Some(found.pop().unwrap_or(Candidates::Nothing));
        }
        let mut all = Vec::with_capacity(total);
        found.iter().for_each(|candidates| candidates.append_to(&mut all));
        all.sort_unstable();
        all.dedup();
        Some(Candidates::Listed(all))
    }

    fn by_usn(&self, asserted: &Assertion, from: bool, to: bool) -> Option<Candidates<'_>> {
        let wanted = integer(&asserted.normal)?;
        // A number beyond the range of all USNs on the side that is asked for leaves nothing, or everything.
        let usn = u64::try_from(wanted.max(0)).unwrap_or(u64::MAX);
        let first = if from { usn } else { 0 };
        let last = if to { usn } else { u64::MAX };
        listed(self.index.by_usn.range((first, 0)..=(last, u32::MAX)).map(|(_, slot)| *slot))
    }

    fn modified_since(&self, asserted: &Assertion) -> Option<Candidates<'_>> {
        let since = std::str::from_utf8(&asserted.normal).ok()?;
        listed(self.index.by_modified.range((since.into(), 0)..).map(|(_, slot)| *slot))
    }
}

/// Whether a part of a filter asks for entries of a class, or of one of several: a class stands for its subclasses too.
fn is_class(part: &Term) -> bool {
    match part {
        Term::Equal(asserted) => asserted.name.id == Id::OBJECT_CLASS,
        Term::Or(parts) => !parts.is_empty() && parts.iter().all(is_class),
        _ => false,
    }
}

fn listed<'a>(slots: impl Iterator<Item = u32>) -> Option<Candidates<'a>> {
    let slots: Vec<u32> = slots.take(RANGE_MAX + 1).collect();
    (slots.len() <= RANGE_MAX).then_some(Candidates::Listed(slots))
}

impl<'a> From<Candidates<'a>> for Source<'a> {
    fn from(candidates: Candidates<'a>) -> Self {
        match candidates {
            Candidates::Nothing => Self::Nothing,
            Candidates::Indexed(slots) => Self::Slots(slots.iter()),
            Candidates::Listed(slots) => Self::Listed(slots.into_iter()),
        }
    }
}
