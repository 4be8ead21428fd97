//! The keeper: the one who changes the state.
//!
//! One thread owns the store and takes commands from a bounded queue. Commands that wait together
//! share one transaction and one sync of each file; each keeps its own serial. Then the new state is published by
//! `watch`, once, and only then is anybody told. Readers take the published state and never meet the writer.
//! A crash loses nothing that anybody was told of; see [`crate::fault`] for the points at which that is tested.

mod draft;
mod edit;
mod health;
mod preview;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError},
    },
};

pub use draft::HELD_MAX;
pub(crate) use draft::{HeldBody, HeldList};
pub use edit::{Edit, Proposal};
pub use health::{Health, Trouble};
pub use preview::Preview;
use tokio::sync::{Semaphore, oneshot, watch};

pub use crate::store::{
    OpenError,
    history::{History, HistoryError, HistoryQuery, ROWS_MAX as HISTORY_ROWS_MAX, SETS_MAX as HISTORY_SETS_MAX},
    past::PastError,
};
use crate::{
    change::{Author, ChangeSet},
    position::Position,
    state::State,
    store::{Opening, Store, history, past},
};
use health::Shared;
use writer::{Command, Queued, Writer};

/// Commands that may wait for the writer.
pub const QUEUE_MAX: usize = 1024;
/// Questions about history that are answered at a time; others wait.
const HISTORY_READERS: usize = 2;

/// Judges a change that fits the rows: before, after, what changed. Each sentence refuses it.
pub type Review = Arc<dyn Fn(&State, &State, &ChangeSet) -> Vec<String> + Send + Sync>;

/// What became of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// On disk and published.
    Applied {
        /// The position that it led to.
        position: Position,
        /// Rows that it changed.
        changed: usize,
    },
    /// The state was that already.
    Unchanged {
        /// The position at which it was compared.
        position: Position,
    },
    /// On disk, but not applied: a person has to accept it.
    Held {
        /// Number for [`Keeper::accept`] and [`Keeper::discard`].
        id: u64,
        /// Why.
        reasons: Vec<String>,
    },
}

/// Why nothing became of a proposal. State and position are what they were.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It does not fit; each sentence names the parties.
    #[error("{}", .0.join("; "))]
    Conflicts(Vec<String>),
    /// It could not be made durable.
    #[error("the change could not be written and was not made: {0}")]
    NotDurable(String),
    /// Too many commands wait.
    #[error("{QUEUE_MAX} changes are waiting already; try again")]
    Busy,
    /// The keeper is closed.
    #[error("the node is stopping")]
    Stopped,
}

/// A change that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its number.
    pub id: u64,
    /// Who proposed it.
    pub author: Author,
    /// Why it is held.
    pub reasons: Vec<String>,
    /// Rows that it would have changed.
    pub rows: usize,
}

/// An open keeper.
#[derive(Debug)]
pub struct Opened {
    /// The keeper.
    pub keeper: Keeper,
    /// A sentence if the database was replaced by its standby copy, or a restored folder took the next epoch.
    pub recovered: Option<String>,
}

/// Handle of the keeper; clones share it. The writer ends when [`Keeper::close`] is called or the last clone is dropped.
#[derive(Clone)]
pub struct Keeper {
    commands: SyncSender<Queued>,
    published: watch::Receiver<Arc<State>>,
    shared: Arc<Shared>,
    database: PathBuf,
    history: Arc<Semaphore>,
    review: Review,
    previews: Arc<Semaphore>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("database", &self.database).finish_non_exhaustive()
    }
}

impl Keeper {
    /// Opens the store in `dir` and loads the state; blocks until it is there, then starts the writer.
    pub fn open(dir: &Path, review: Review) -> Result<Opened, OpenError> {
        Self::open_as(dir, false, review)
    }

    /// [`Keeper::open`] for a folder into which a backup was put back. Serials after the backup were given already, to
    /// changes that are lost now; the epoch grows by one, so that they are not given again and the SOA serial jumps over
    /// them. Call it once per restore.
    pub fn open_restored(dir: &Path, review: Review) -> Result<Opened, OpenError> {
        Self::open_as(dir, true, review)
    }

    fn open_as(dir: &Path, restored: bool, review: Review) -> Result<Opened, OpenError> {
        let Opening { store, state, held, recovered, trouble } = Store::open(dir, restored, writer::now_ms())?;
        let (publish, published) = watch::channel(Arc::new(state));
        let shared = Arc::new(Shared::default());
        let (commands, queue) = std::sync::mpsc::sync_channel(QUEUE_MAX);
        let writer = Writer::new(store, publish, &held, review.clone(), shared.clone(), trouble);
        drop(held);
        std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || writer.run(&queue))
            .map_err(|error| OpenError::Io { path: dir.to_owned(), error: error.to_string() })?;
        let database = crate::store::files::database(dir);
        let history = Arc::new(Semaphore::new(HISTORY_READERS));
        let previews = Arc::new(Semaphore::new(preview::READERS));
        let keeper = Self { commands, published, shared, database, history, review, previews };
        Ok(Opened { keeper, recovered })
    }

    /// The published state. Never waits for the writer.
    pub fn state(&self) -> Arc<State> {
        self.published.borrow().clone()
    }

    /// Every published state, or the newest for those who are slow.
    pub fn subscribe(&self) -> watch::Receiver<Arc<State>> {
        self.published.clone()
    }

    /// Proposes a change; returns when it is durable and published. If the caller goes away meanwhile, it is made all
    /// the same.
    pub async fn propose(&self, proposal: Proposal) -> Result<Outcome, Refused> {
        self.ask(|reply| Command::Propose { proposal, reply }).await
    }

    /// Makes the changes that were held. It is refused when a row has changed meanwhile, or when the guard finds more in
    /// it by now than when it was held.
    pub async fn accept(&self, id: u64, author: Author) -> Result<Outcome, Refused> {
        self.ask(|reply| Command::Accept { id, author, reply }).await
    }

    /// Drops a held change.
    pub async fn discard(&self, id: u64, author: Author) -> Result<(), Refused> {
        self.ask(|reply| Command::Discard { id, author, reply }).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T, Refused>>) -> Command) -> Result<T, Refused> {
        let (reply, answer) = oneshot::channel();
        self.shared.queued();
        if let Err(error) = self.commands.try_send(Queued::Command(command(reply))) {
            self.shared.taken();
            return Err(match error {
                TrySendError::Full(_) => {
                    self.shared.refused_busy();
                    Refused::Busy
                }
                TrySendError::Disconnected(_) => Refused::Stopped,
            });
        }
        answer.await.unwrap_or(Err(Refused::Stopped))
    }

    /// The changes that wait for a person, oldest first.
    pub fn held(&self) -> Vec<Held> {
        self.shared.held()
    }

    /// How the writer is doing.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// The change log, newest first, from the database by a connection of its own.
    pub async fn history(&self, query: HistoryQuery) -> Result<Vec<ChangeSet>, HistoryError> {
        self.history_page(query).await.map(|page| page.sets)
    }

    /// The state as it was at a time (milliseconds since 1970-01-01 UTC), from the change log. Shares the readers of the
    /// history.
    ///
    /// # Errors
    /// The log does not reach back so far, or cannot be read.
    pub async fn state_at(&self, when_ms: u64) -> Result<State, PastError> {
        let stopped = |_| PastError::Unreadable("the node is stopping".into());
        let permit = self.history.clone().acquire_owned().await.map_err(stopped)?;
        let (path, present) = (self.database.clone(), self.state());
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            past::state_at(&path, &present, when_ms)
        });
        read.await.unwrap_or_else(|_| Err(PastError::Unreadable("the reader has died".into())))
    }

    /// [`Keeper::history`], with whether there is more of it.
    pub async fn history_page(&self, query: HistoryQuery) -> Result<History, HistoryError> {
        let stopped = |_| HistoryError("the node is stopping".into());
        let permit = self.history.clone().acquire_owned().await.map_err(stopped)?;
        let path = self.database.clone();
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            history::read(&path, &query)
        });
        read.await.unwrap_or_else(|_| Err(HistoryError("the reader has died".into())))
    }

    /// Makes what is queued durable, then ends the writer and closes the store. Later proposals are
    /// [`Refused::Stopped`]; the state stays readable.
    pub async fn close(self) {
        let (reply, done) = oneshot::channel();
        let mut command = Queued::Close(reply);
        // The queue drains by itself, so a full one is waited for.
        while let Err(TrySendError::Full(back)) = self.commands.try_send(command) {
            command = back;
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        drop(done.await);
    }
}
