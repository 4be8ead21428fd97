//! What would become of a proposal: the judgement of a real one, of which nothing is written and nobody is told.
//!
//! It reads the published state and does not wait for the writer, so a real proposal may come in between. Limit:
//! [`READERS`] at a time, since each holds a state beside the published one.

use std::sync::Arc;

use super::{
    Keeper, Proposal, Refused, Review,
    draft::{Draft, HeldList},
};
use crate::{change::RowChange, state::State};

/// Previews at a time; others wait.
pub(super) const READERS: usize = 2;

/// What would become of a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preview {
    /// The rows that it would change, in the order of their keys. Empty when the edits themselves do not fit the rows.
    pub changes: Vec<RowChange>,
    /// Why it would be refused; empty: it would not.
    pub refused: Vec<String>,
    /// Why it would be held until a person accepts it; empty: it would not.
    pub held: Vec<String>,
}

impl Keeper {
    /// Judges a proposal as [`Keeper::propose`] would now, and changes nothing. That no more changes can be held is not
    /// judged.
    ///
    /// # Errors
    /// [`Refused::Stopped`] when the node is stopping; what is against the proposal is in the [`Preview`].
    pub async fn preview(&self, proposal: Proposal) -> Result<Preview, Refused> {
        let permit = self.previews.clone().acquire_owned().await.map_err(|_| Refused::Stopped)?;
        let (state, review) = (self.state(), self.review.clone());
        let look = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            preview(state, &proposal, &review)
        });
        look.await.map_err(|_| Refused::Stopped)
    }
}

fn preview(state: Arc<State>, proposal: &Proposal, review: &Review) -> Preview {
    let mut draft = Draft::empty(state, &HeldList::new());
    draft.count_sources();
    let mut preview = Preview::default();
    let refused = match draft.changes(proposal) {
        Ok(rows) if rows.is_empty() => Ok(()),
        Ok(rows) => {
            preview.changes.clone_from(&rows);
            draft.judge(proposal, rows, review).map(|judged| preview.held = judged.held())
        }
        Err(refused) => Err(refused),
    };
    preview.refused = match refused {
        Ok(()) => Vec::new(),
        Err(Refused::Conflicts(sentences)) => sentences,
        Err(other) => vec![other.to_string()],
    };
    preview
}
