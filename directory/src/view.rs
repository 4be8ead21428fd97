//! What one state means for lookups: the tree, the policy and the roles of sudo, made together and published together.
//!
//! A task follows the states and makes the next view from the last one and the change sets between, O(changed). Lookups
//! load the published view and keep it as long as they need it; nothing waits for the maker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use inventory::{EntryId, Position, RowKey, State};
use tokio::sync::watch;

use crate::{dn::Dn, policy::Access, sudo::SudoRoles, tree::Tree};

/// Everything that lookups read, at one position.
#[derive(Clone)]
pub struct View {
    /// The state that it is made of.
    pub state: Arc<State>,
    /// Entries as searches walk them.
    pub tree: Tree,
    /// People, groups and grants as decisions ask them.
    pub access: Access,
    /// Grants of sudo as sudoRole entries.
    pub sudo: SudoRoles,
}

impl View {
    /// The view of a state, made from all its rows. The roles of sudo stand below `base`.
    pub fn build(state: Arc<State>, base: &Dn) -> Self {
        let tree = Tree::build(&state);
        Self { sudo: SudoRoles::build(&state, &tree, base), access: Access::build(state.clone()), tree, state }
    }

    /// The view of a later state: what changed is made anew, the rest is shared. Across epochs, and when change sets
    /// between are forgotten, everything is made anew.
    pub fn advance(&self, state: Arc<State>) -> Self {
        let (before, after) = (self.position(), state.position());
        let sets = state.changes_since(before.serial).filter(|_| before.epoch == after.epoch);
        match sets {
            Some(sets) => {
                let tree = self.tree.advance(&state, &sets);
                let sudo = self.sudo.advance(&state, &tree, &sets);
                Self { access: self.access.advance(state.clone(), &sets), sudo, tree, state }
            }
            None => Self::build(state, self.sudo.base()),
        }
    }

    /// Where the view is in history.
    pub fn position(&self) -> Position {
        self.state.position()
    }
}

/// The published view, and how the last one was made.
pub struct Views {
    current: ArcSwap<View>,
    last_make_us: AtomicU64,
}

impl Views {
    /// Publishes the view of a first state, of a directory that begins at `base`.
    pub fn new(state: Arc<State>, base: &Dn) -> Self {
        Self { current: ArcSwap::from_pointee(View::build(state, base)), last_make_us: AtomicU64::new(0) }
    }

    /// The view of this moment.
    pub fn load(&self) -> Arc<View> {
        self.current.load_full()
    }

    /// Time that the newest view took to make.
    pub fn last_make(&self) -> Duration {
        Duration::from_micros(self.last_make_us.load(Ordering::Relaxed))
    }

    /// Makes a view of each newer state, publishes it, and then tells of each entry that changed, until no more states
    /// come. Nothing is told when everything was made anew. Made on a thread of its own: a first refresh of an upstream
    /// is large.
    pub async fn follow(
        self: Arc<Self>,
        mut states: watch::Receiver<Arc<State>>,
        changed: impl Fn(&View, EntryId) + Send + Sync + 'static,
    ) {
        let changed = Arc::new(changed);
        loop {
            let state = states.borrow_and_update().clone();
            if state.position() != self.load().position() {
                let (views, changed) = (self.clone(), changed.clone());
                let made = tokio::task::spawn_blocking(move || views.make(state, &*changed)).await;
                if let Err(error) = made {
                    tracing::error!(%error, "a view could not be made; lookups answer from the former one");
                }
            }
            if states.changed().await.is_err() {
                return;
            }
        }
    }

    fn make(&self, state: Arc<State>, changed: &impl Fn(&View, EntryId)) {
        let begun = std::time::Instant::now();
        let before = self.load();
        let next = Arc::new(before.advance(state));
        self.current.store(next.clone());
        let spent = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last_make_us.store(spent, Ordering::Relaxed);
        for set in next.state.changes_since(before.position().serial).unwrap_or_default() {
            for row in set.rows.iter().filter_map(|change| change.key()) {
                if let RowKey::Entry(id) = row {
                    changed(&next, id);
                }
            }
        }
    }
}
