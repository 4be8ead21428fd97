//! The thread that owns the store.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::{oneshot, watch};

use super::{
    Outcome, Proposal, Refused, Review,
    draft::{Draft, HeldBody, HeldList},
    health::Shared,
};
use crate::{
    change::Author,
    fault,
    state::State,
    store::{Step, Store},
};

/// Commands in one transaction.
const BATCH_MAX: usize = 64;
/// Changed rows after which no further command joins a transaction.
const BATCH_ROWS_MAX: usize = 10_000;
/// How often the writer looks after the standby copy, and tries again after trouble, when nothing else happens.
const TEND_EVERY: Duration = Duration::from_secs(2);

type Reply<T> = oneshot::Sender<Result<T, Refused>>;

/// What the writer is asked.
#[derive(Debug)]
pub(super) enum Command {
    Propose { proposal: Proposal, reply: Reply<Outcome> },
    Accept { id: u64, author: Author, reply: Reply<Outcome> },
    Discard { id: u64, author: Author, reply: Reply<()> },
}

/// What waits in the queue.
#[derive(Debug)]
pub(super) enum Queued {
    Command(Command),
    /// Nothing that comes after this is done.
    Close(oneshot::Sender<()>),
}

/// An answer that waits for the commit.
enum Answer {
    Outcome(Reply<Outcome>, Result<Outcome, Refused>),
    Discarded(Reply<()>, Result<(), Refused>),
}

impl Answer {
    fn send(self) {
        // The asker may have gone away; what was asked is done all the same.
        match self {
            Self::Outcome(reply, result) => drop(reply.send(result)),
            Self::Discarded(reply, result) => drop(reply.send(result)),
        }
    }

    /// The batch was not durable, so nothing in it was answered from a true state.
    fn fail(self, why: &str) {
        let refused = Refused::NotDurable(why.to_owned());
        match self {
            Self::Outcome(reply, _) => drop(reply.send(Err(refused))),
            Self::Discarded(reply, _) => drop(reply.send(Err(refused))),
        }
    }
}

/// Milliseconds since 1970-01-01 UTC.
#[expect(clippy::disallowed_methods, reason = "the writer dates its troubles and what it moves aside")]
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(super) struct Writer {
    store: Store,
    draft: Draft,
    publish: watch::Sender<Arc<State>>,
    review: Review,
    shared: Arc<Shared>,
    tended: Instant,
}

impl Writer {
    pub(super) fn new(
        store: Store,
        publish: watch::Sender<Arc<State>>,
        held: &HeldList,
        review: Review,
        shared: Arc<Shared>,
        trouble: Option<String>,
    ) -> Self {
        let state = publish.borrow().clone();
        // The rows are counted by source when the thread runs: nobody waits for that.
        let draft = Draft::empty(state, held);
        let writer = Self { store, draft, publish, review, shared, tended: Instant::now() };
        if let Some(trouble) = trouble {
            writer.shared.trouble(trouble, now_ms());
        }
        writer.show();
        writer
    }

    /// Until told to close, or nobody is left to ask.
    pub(super) fn run(mut self, queue: &Receiver<Queued>) {
        self.draft.count_sources();
        let closing = loop {
            let first = match queue.recv_timeout(TEND_EVERY) {
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => {
                    self.tend();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break None,
            };
            if let Some(reply) = self.batch(first, queue) {
                break Some(reply);
            }
            if self.tended.elapsed() >= TEND_EVERY || self.store.wants_tending() {
                self.tend();
            }
        };
        self.store.close();
        if let Some(reply) = closing {
            let _ = reply.send(());
        }
    }

    /// Takes what waits, makes it durable, publishes, answers.
    fn batch(&mut self, first: Queued, queue: &Receiver<Queued>) -> Option<oneshot::Sender<()>> {
        let mut draft = self.draft.clone();
        let (mut answers, mut closing) = (Vec::new(), None);
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Queued::Close(reply) => {
                    // What was queued before it is in this batch or was in an earlier one.
                    closing = Some(reply);
                    break;
                }
                Queued::Command(command) => {
                    self.shared.taken();
                    answers.push(self.take(&mut draft, command));
                }
            }
            let full = answers.len() >= BATCH_MAX || draft.rows >= BATCH_ROWS_MAX;
            next = if full { None } else { queue.try_recv().ok() };
        }
        self.finish(draft, answers);
        closing
    }

    fn take(&self, draft: &mut Draft, command: Command) -> Answer {
        match command {
            Command::Propose { proposal, reply } => Answer::Outcome(reply, draft.propose(proposal, &self.review)),
            Command::Accept { id, author, reply } => {
                let result = match self.body(draft, id) {
                    Ok(body) => draft.accept(&body, author, &self.review),
                    Err(refused) => Err(refused),
                };
                Answer::Outcome(reply, result)
            }
            Command::Discard { id, author, reply } => {
                let result = draft.discard(id);
                if result.is_ok() {
                    tracing::info!(id, who = author.who, why = author.why, "held change discarded");
                }
                Answer::Discarded(reply, result)
            }
        }
    }

    /// A held change, from this batch or from the store.
    fn body(&self, draft: &Draft, id: u64) -> Result<Arc<HeldBody>, Refused> {
        let in_batch = draft.steps.iter().find_map(|step| match step {
            Step::Hold(body) if body.id == id => Some(body.clone()),
            _ => None,
        });
        if let Some(body) = in_batch {
            return Ok(body);
        }
        let stored = self.store.held(id).map_err(Refused::NotDurable)?;
        stored.map(Arc::new).ok_or_else(|| super::draft::not_held(id))
    }

    fn finish(&mut self, mut draft: Draft, answers: Vec<Answer>) {
        let steps = std::mem::take(&mut draft.steps);
        draft.rows = 0;
        if !steps.is_empty() {
            let began = Instant::now();
            if let Err(why) = self.store.commit(&self.draft.state, &steps, now_ms()) {
                tracing::error!(%why, "changes could not be made durable");
                self.shared.trouble(why.clone(), now_ms());
                self.shared.update(|health| health.failures += 1);
                answers.into_iter().for_each(|answer| answer.fail(&why));
                return;
            }
            self.note(&steps, began.elapsed());
            self.draft = draft;
            self.show();
            let moved = self.publish.borrow().position() != self.draft.state.position();
            if moved {
                // The old state is dropped here, outside of the channel's lock.
                drop(self.publish.send_replace(self.draft.state.clone()));
            }
            drop(fault::point("commit.before-reply"));
        }
        answers.into_iter().for_each(Answer::send);
    }

    fn note(&self, steps: &[Step], took: Duration) {
        let (database_bytes, standby_bytes) = self.store.sizes();
        let changes = steps.iter().filter(|step| matches!(step, Step::Change { .. })).count() as u64;
        self.shared.update(|health| {
            health.commits += 1;
            health.changes += changes;
            health.commit_time += took;
            health.last_commit_time = took;
            (health.database_bytes, health.standby_bytes) = (database_bytes, standby_bytes);
            health.trouble = None;
        });
    }

    fn show(&self) {
        self.shared.set_held(self.draft.held.iter().map(|held| held.shown.clone()).collect());
        let (database_bytes, standby_bytes) = self.store.sizes();
        self.shared.update(|health| (health.database_bytes, health.standby_bytes) = (database_bytes, standby_bytes));
    }

    /// Renews the standby copy when it is time, and finds out whether trouble is over.
    fn tend(&mut self) {
        self.tended = Instant::now();
        if let Err(why) = self.store.tend(&self.draft.state) {
            tracing::warn!(%why, "will be tried again");
            self.shared.trouble(why, now_ms());
        } else if self.shared.is_troubled() {
            match self.store.probe(&self.draft.state, now_ms()) {
                Ok(()) => self.shared.no_trouble(),
                Err(why) => self.shared.trouble(why, now_ms()),
            }
        }
    }
}
