//! What the queued commands make of the state, before anything is durable.
//!
//! A draft begins at the published state, takes one command after the other, and collects the steps for
//! the store. If the store refuses, the draft is thrown away. Plain functions: no disk, no clock.

use std::{collections::BTreeMap, sync::Arc};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::{
    Edit, Held, Outcome, Proposal, Refused, Review,
    edit::{Sources, resolve},
};
use crate::{
    change::{Author, ChangeSet, Row, RowChange},
    guard,
    state::{Conflict, State},
    store::Step,
};

/// Changes that may be held at once.
pub const HELD_MAX: usize = 64;

/// A held change as it is stored: with its edits, which are resolved anew when it is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldBody {
    pub(crate) id: u64,
    pub(crate) author: Author,
    pub(crate) reasons: Vec<String>,
    /// The synced source: a later sync of it replaces this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<CompactString>,
    /// Rows that it changes.
    pub(crate) rows: usize,
    pub(crate) edits: Vec<Edit>,
}

/// A held change as it is remembered: without its rows, of which there may be a million.
#[derive(Debug, Clone)]
pub(crate) struct HeldHead {
    pub(crate) shown: Held,
    source: Option<CompactString>,
    /// Digest of the edits: a source that is read again and again holds the same change once.
    digest: [u8; 32],
}

impl From<&HeldBody> for HeldHead {
    fn from(body: &HeldBody) -> Self {
        let (author, reasons) = (body.author.clone(), body.reasons.clone());
        let shown = Held { id: body.id, author, reasons, rows: body.rows };
        Self { shown, source: body.source.clone(), digest: digest(&body.edits) }
    }
}

fn digest(edits: &[Edit]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    // Writing into a hasher does not fail, and rows hold nothing that JSON cannot.
    drop(serde_json::to_writer(&mut hasher, edits));
    *hasher.finalize().as_bytes()
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
    pub(crate) fn empty(state: Arc<State>, held: Vec<HeldHead>) -> Self {
        let next_id = held.iter().map(|held| held.shown.id).max().unwrap_or(0) + 1;
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
        let rows = resolve(&self.state, &self.sources, &proposal.edits).map_err(Refused::Conflicts)?;
        if rows.is_empty() {
            self.unhold_source(proposal.synced());
            return Ok(Outcome::Unchanged { position: self.state.position() });
        }
        let (set, after) = self.next(rows, proposal.author.clone(), review)?;
        let reasons = guard::reasons(&self.state, &after, &set);
        if !reasons.is_empty() {
            return self.hold(proposal, reasons, set.rows.len());
        }
        self.unhold_source(proposal.synced());
        Ok(self.adopt(set, after))
    }

    /// Applies a held change to the state as it is now; the guard is not asked again.
    pub(crate) fn accept(&mut self, body: &HeldBody, author: Author, review: &Review) -> Result<Outcome, Refused> {
        if !self.held.iter().any(|held| held.shown.id == body.id) {
            return Err(not_held(body.id));
        }
        let rows = resolve(&self.state, &self.sources, &body.edits).map_err(Refused::Conflicts)?;
        let who = format!("{}, accepted by {}", body.author.who, author.who);
        let why = [&body.author.why, &author.why].map(String::as_str).into_iter().filter(|why| !why.is_empty());
        let why = why.collect::<Vec<_>>().join("; ");
        let author = Author { who, when_ms: author.when_ms, why };
        let outcome = if rows.is_empty() {
            Outcome::Unchanged { position: self.state.position() }
        } else {
            let (set, after) = self.next(rows, author, review)?;
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
        let sentences = |conflicts: Vec<Conflict>| conflicts.iter().map(Conflict::to_string).collect();
        let after = self.state.apply(set.clone()).map_err(|conflicts| Refused::Conflicts(sentences(conflicts)))?;
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

    fn hold(&mut self, proposal: Proposal, reasons: Vec<String>, rows: usize) -> Result<Outcome, Refused> {
        let source = proposal.synced().cloned();
        let digest = digest(&proposal.edits);
        let same = |held: &&HeldHead| held.digest == digest && held.shown.reasons == reasons;
        if let Some(known) = self.held.iter().find(same) {
            return Ok(Outcome::Held { id: known.shown.id, reasons });
        }
        self.unhold_source(source.as_ref());
        if self.held.len() >= HELD_MAX {
            let full = format!("{HELD_MAX} changes are held already; accept or discard some of them first");
            return Err(Refused::Conflicts(vec![full].into_iter().chain(reasons).collect()));
        }
        let id = self.next_id;
        self.next_id += 1;
        let body = HeldBody { id, author: proposal.author, reasons, source, rows, edits: proposal.edits };
        let shown = Held { id, author: body.author.clone(), reasons: body.reasons.clone(), rows };
        let reasons = shown.reasons.clone();
        self.held.push(HeldHead { shown, source: body.source.clone(), digest });
        self.rows += rows;
        self.steps.push(Step::Hold(Arc::new(body)));
        Ok(Outcome::Held { id, reasons })
    }

    fn unhold_source(&mut self, source: Option<&CompactString>) {
        let Some(source) = source else { return };
        for held in self.held.extract_if(.., |held| held.source.as_ref() == Some(source)) {
            self.steps.push(Step::Unhold(held.shown.id));
        }
    }
}

pub(super) fn not_held(id: u64) -> Refused {
    Refused::Conflicts(vec![format!("no change with the number {id} is held")])
}
