//! What the queued commands make of the state, before anything is durable.
//!
//! A draft begins at the published state, takes one command after the other, and collects the steps for
//! the store. If the store refuses, the draft is thrown away. Plain functions: no disk, no clock.

use std::{collections::BTreeMap, sync::Arc};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::{
    Held, Outcome, Proposal, Refused, Review,
    edit::{SENTENCES_MAX, Sources, resolve},
};
use crate::{
    change::{Author, ChangeSet, Row, RowChange},
    guard::{self, Reason},
    state::{Conflict, State},
    store::Step,
};

/// Changes that may be held at once.
pub const HELD_MAX: usize = 64;

/// A held change as it is stored: with the rows as they were shown, old and new. Accepting makes these changes and no
/// others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldBody {
    pub(crate) id: u64,
    pub(crate) author: Author,
    pub(crate) reasons: Vec<Reason>,
    /// The synced source: a later sync of it replaces this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<CompactString>,
    /// The rows that it changes.
    pub(crate) changes: Vec<RowChange>,
}

/// All held changes, oldest first, and the number that the next one gets. A number is never given twice, so that nobody
/// accepts another change than the one that he looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldList {
    pub(crate) next: u64,
    pub(crate) bodies: Vec<HeldBody>,
}

impl HeldList {
    /// Nothing is held and nothing was.
    pub(crate) fn new() -> Self {
        Self { next: 1, bodies: Vec::new() }
    }

    /// Notes that numbers below `next` were given.
    pub(crate) fn raise(&mut self, next: u64) {
        self.next = self.next.max(next);
    }
}

/// A held change as it is remembered: without its rows, of which there may be a million.
#[derive(Debug, Clone)]
pub(crate) struct HeldHead {
    pub(crate) shown: Held,
    source: Option<CompactString>,
    /// Digest of the changes: a source that is read again and again holds the same change once.
    digest: [u8; 32],
}

impl From<&HeldBody> for HeldHead {
    fn from(body: &HeldBody) -> Self {
        let reasons = sentences(&body.reasons);
        let shown = Held { id: body.id, author: body.author.clone(), reasons, rows: body.changes.len() };
        Self { shown, source: body.source.clone(), digest: digest(&body.changes) }
    }
}

fn sentences(reasons: &[Reason]) -> Vec<String> {
    reasons.iter().map(Reason::to_string).collect()
}

fn digest(changes: &[RowChange]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    // Writing into a hasher does not fail, and rows hold nothing that JSON cannot.
    drop(serde_json::to_writer(&mut hasher, changes));
    *hasher.finalize().as_bytes()
}

/// A change that fits the rows and the names, and why it is to be held, if it is.
pub(super) struct Judged {
    set: Arc<ChangeSet>,
    after: State,
    reasons: Vec<Reason>,
}

impl Judged {
    /// Why it is to be held, in sentences.
    pub(super) fn held(&self) -> Vec<String> {
        sentences(&self.reasons)
    }
}

/// What is to become of the state.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) state: Arc<State>,
    pub(crate) sources: Sources,
    pub(crate) held: Vec<HeldHead>,
    pub(crate) next_id: u64,
    pub(crate) steps: Vec<Step>,
    /// Rows in `steps`.
    pub(crate) rows: usize,
}

impl Draft {
    /// The draft that changes nothing; [`Draft::count_sources`] completes it.
    pub(crate) fn empty(state: Arc<State>, held: &HeldList) -> Self {
        let (held, next_id) = (held.bodies.iter().map(HeldHead::from).collect(), held.next);
        Self { state, sources: Sources::new(), held, next_id, steps: Vec::new(), rows: 0 }
    }

    /// Counts the rows of every source: one pass over all rows.
    pub(crate) fn count_sources(&mut self) {
        let mut counts = BTreeMap::<CompactString, u64>::new();
        for row in self.state.rows() {
            match counts.get_mut(row.source()) {
                Some(n) => *n += 1,
                None => drop(counts.insert(row.source().into(), 1)),
            }
        }
        self.sources = counts.into_iter().collect();
    }

    /// A proposal: applied, held, or refused.
    pub(crate) fn propose(&mut self, proposal: Proposal, review: &Review) -> Result<Outcome, Refused> {
        let rows = self.changes(&proposal)?;
        if rows.is_empty() {
            self.unhold_source(proposal.synced());
            return Ok(Outcome::Unchanged { position: self.state.position() });
        }
        let Judged { set, after, reasons } = self.judge(&proposal, rows, review)?;
        if !reasons.is_empty() {
            return self.hold(proposal, reasons, set.rows.clone());
        }
        self.unhold_source(proposal.synced());
        Ok(self.adopt(set, after))
    }

    /// The rows that a proposal changes.
    pub(super) fn changes(&self, proposal: &Proposal) -> Result<Vec<RowChange>, Refused> {
        resolve(&self.state, &self.sources, &proposal.edits).map_err(Refused::Conflicts)
    }

    /// What is to become of the rows that a proposal changes.
    pub(super) fn judge(&self, proposal: &Proposal, rows: Vec<RowChange>, review: &Review) -> Result<Judged, Refused> {
        let (set, after) = self.next(rows, proposal.author.clone(), review)?;
        let mut reasons = proposal.emptied(&self.sources);
        reasons.extend(guard::reasons(&self.state, &after, &set));
        if proposal.synced().is_some() {
            reasons.extend(guard::of_grants(&self.state, &set));
        }
        Ok(Judged { set, after, reasons })
    }

    /// Makes the changes that were held: those rows and no others. It is refused when one of the rows has changed
    /// meanwhile, or when the guard finds more in it by now than was shown; what is as it should be already is passed
    /// over.
    pub(crate) fn accept(&mut self, body: &HeldBody, author: Author, review: &Review) -> Result<Outcome, Refused> {
        if !self.held.iter().any(|held| held.shown.id == body.id) {
            return Err(not_held(body.id));
        }
        let who = format!("{}, accepted by {}", body.author.who, author.who);
        let why = [&body.author.why, &author.why].map(String::as_str).into_iter().filter(|why| !why.is_empty());
        let why = why.collect::<Vec<_>>().join("; ");
        let author = Author { who, when_ms: author.when_ms, why };
        let lacking = |change: &&RowChange| change.key().is_some_and(|key| self.state.get(&key) != change.new);
        let rows: Vec<RowChange> = body.changes.iter().filter(lacking).cloned().collect();
        let outcome = if rows.is_empty() {
            Outcome::Unchanged { position: self.state.position() }
        } else {
            let (set, after) = self.next(rows, author, review).map_err(|refused| outdated(refused, body.id))?;
            let reasons = guard::reasons(&self.state, &after, &set);
            let shown = |reason: &Reason| body.reasons.iter().any(|shown| reason.is_covered_by(shown));
            let grown: Vec<Reason> = reasons.into_iter().filter(|reason| !shown(reason)).collect();
            if !grown.is_empty() {
                return Err(outdated(Refused::Conflicts(sentences(&grown)), body.id));
            }
            self.adopt(set, after)
        };
        self.discard(body.id)?;
        Ok(outcome)
    }

    /// Forgets a held change.
    pub(crate) fn discard(&mut self, id: u64) -> Result<(), Refused> {
        let at = self.held.iter().position(|held| held.shown.id == id).ok_or_else(|| not_held(id))?;
        self.held.remove(at);
        self.steps.push(Step::Unhold(id));
        Ok(())
    }

    fn next(&self, rows: Vec<RowChange>, author: Author, review: &Review) -> Result<(Arc<ChangeSet>, State), Refused> {
        let position = self.state.position();
        let set = Arc::new(ChangeSet { epoch: position.epoch, serial: position.serial + 1, author, rows });
        let after = self.state.apply(set.clone()).map_err(refused)?;
        let refused = review(&self.state, &after, &set);
        if refused.is_empty() { Ok((set, after)) } else { Err(Refused::Conflicts(refused)) }
    }

    fn adopt(&mut self, set: Arc<ChangeSet>, after: State) -> Outcome {
        for change in &set.rows {
            self.count(change.old.as_ref(), -1);
            self.count(change.new.as_ref(), 1);
        }
        let (position, changed) = (after.position(), set.rows.len());
        self.rows += changed;
        self.state = Arc::new(after);
        self.steps.push(Step::Change { set, after: position });
        Outcome::Applied { position, changed }
    }

    fn count(&mut self, row: Option<&Row>, by: i64) {
        let Some(row) = row else { return };
        let n = self.sources.get(row.source()).copied().unwrap_or(0).saturating_add_signed(by);
        if n == 0 {
            self.sources.remove(row.source());
        } else {
            self.sources.insert(row.source().into(), n);
        }
    }

    fn hold(&mut self, proposal: Proposal, reasons: Vec<Reason>, changes: Vec<RowChange>) -> Result<Outcome, Refused> {
        let source = proposal.synced().cloned();
        let (digest, told) = (digest(&changes), sentences(&reasons));
        let same = |held: &&HeldHead| held.digest == digest && held.shown.reasons == told;
        if let Some(known) = self.held.iter().find(same) {
            return Ok(Outcome::Held { id: known.shown.id, reasons: told });
        }
        self.unhold_source(source.as_ref());
        if self.held.len() >= HELD_MAX {
            let full = format!("{HELD_MAX} changes are held already; accept or discard some of them first");
            return Err(Refused::Conflicts(vec![full].into_iter().chain(told).collect()));
        }
        let id = self.next_id;
        self.next_id += 1;
        self.rows += changes.len();
        let body = HeldBody { id, author: proposal.author, reasons, source, changes };
        let shown = Held { id, author: body.author.clone(), reasons: told.clone(), rows: body.changes.len() };
        self.held.push(HeldHead { shown, source: body.source.clone(), digest });
        self.steps.push(Step::Hold(Arc::new(body)));
        Ok(Outcome::Held { id, reasons: told })
    }

    fn unhold_source(&mut self, source: Option<&CompactString>) {
        let Some(source) = source else { return };
        for held in self.held.extract_if(.., |held| held.source.as_ref() == Some(source)) {
            self.steps.push(Step::Unhold(held.shown.id));
        }
    }
}

/// What contradicts the state, in at most [`SENTENCES_MAX`] sentences.
fn refused(conflicts: Vec<Conflict>) -> Refused {
    let more = conflicts.len().saturating_sub(SENTENCES_MAX);
    let mut told: Vec<String> = conflicts.iter().take(SENTENCES_MAX).map(Conflict::to_string).collect();
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    Refused::Conflicts(told)
}

/// The same refusal, with what is to become of the held change.
fn outdated(refused: Refused, id: u64) -> Refused {
    match refused {
        Refused::Conflicts(mut told) => {
            told.push(format!("change {id} is not what it was when it was held; discard it and propose it again"));
            Refused::Conflicts(told)
        }
        other => other,
    }
}

pub(super) fn not_held(id: u64) -> Refused {
    Refused::Conflicts(vec![format!("no change with the number {id} is held")])
}
