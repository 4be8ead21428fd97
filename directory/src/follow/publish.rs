//! From the source to the keeper: proposals, and what becomes of them.

use std::{sync::Arc, time::Duration};

use inventory::{Author, Cookie, Edit, Entry, Keeper, Outcome, Proposal, Refused, Row, State, entry::DIRECTORY};

use super::status::{Status, now_ms};

/// Pause before something that could not be made durable is proposed again.
const AGAIN: Duration = Duration::from_secs(1);

/// What became of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Published {
    /// It is what is served.
    Done,
    /// A person has to accept it.
    Held {
        /// Its number.
        id: u64,
        /// Why.
        reasons: String,
    },
    /// It cannot be applied; the sentence says why.
    Refused(String),
}

/// What published content is, without its cookie: whether a person is asked about the same thing again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest([u8; 32]);

/// A change that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) id: u64,
    pub(crate) reasons: String,
    /// Of the content that was proposed.
    pub(crate) digest: Digest,
    /// The cookie row that comes with it.
    pub(crate) cookie: Option<Arc<Cookie>>,
}

impl Waiting {
    /// Whether it waits still.
    pub(crate) fn is_held(&self, keeper: &Keeper) -> bool {
        keeper.held().iter().any(|held| held.id == self.id)
    }

    /// Whether it was accepted: what is served stands where it led to.
    pub(crate) fn is_accepted(&self, state: &State) -> bool {
        self.cookie.as_ref().is_some_and(|cookie| state.cookie(DIRECTORY) == Some(cookie))
    }
}

/// The digest of a content, in whatever order it came.
fn digest(entries: &[Arc<Entry>]) -> Digest {
    let mut sum = [0u8; 32];
    for entry in entries {
        let mut hasher = blake3::Hasher::new();
        // Writing into a hasher does not fail, and entries hold nothing that JSON cannot.
        drop(serde_json::to_writer(&mut hasher, entry));
        for (byte, other) in sum.iter_mut().zip(hasher.finalize().as_bytes()) {
            *byte ^= other;
        }
    }
    Digest(sum)
}

/// The edit that makes the directory exactly these entries, with the cookie that stands for them.
fn whole(entries: Vec<Arc<Entry>>, cookie: Option<Arc<Cookie>>) -> Edit {
    let rows = entries.into_iter().map(Row::Entry).chain(cookie.map(Row::Cookie));
    Edit::Sync { source: DIRECTORY.into(), rows: rows.collect() }
}

/// Proposes the whole content. What is the same as what waits already is not proposed again, so that a person who
/// looked at a held change finds it under the number that he saw.
pub(crate) async fn propose_whole(
    keeper: &Keeper,
    status: &Status,
    entries: Vec<Arc<Entry>>,
    cookie: Option<Arc<Cookie>>,
    before: Option<&Waiting>,
    why: &str,
) -> Result<Result<(), Waiting>, String> {
    let copy = entries.clone();
    let waits = before.filter(|waiting| waiting.is_held(keeper));
    if let Some(waiting) = waits
        && waiting.digest == digest_of(copy.clone()).await?
    {
        return Ok(Err(waiting.clone()));
    }
    match propose(keeper, status, vec![whole(entries, cookie.clone())], why).await {
        Published::Done => Ok(Ok(())),
        Published::Held { id, reasons } => Ok(Err(Waiting { id, reasons, digest: digest_of(copy).await?, cookie })),
        Published::Refused(why) => Err(why),
    }
}

async fn digest_of(entries: Vec<Arc<Entry>>) -> Result<Digest, String> {
    tokio::task::spawn_blocking(move || digest(&entries)).await.map_err(|_| "the node is stopping".into())
}

/// Proposes edits until they are applied, held, or refused for what they are. Trouble with the disk is waited out.
pub(crate) async fn propose(keeper: &Keeper, status: &Status, edits: Vec<Edit>, why: &str) -> Published {
    let before = status.report();
    let mut told = false;
    loop {
        let author = Author { who: DIRECTORY.into(), when_ms: now_ms(), why: why.to_owned() };
        let proposed = keeper.propose(Proposal { author, edits: edits.clone() }).await;
        if told {
            status.phase(before.phase, before.reason.clone());
        }
        match proposed {
            Ok(Outcome::Applied { .. }) => {
                let (entries, now) = (keeper.state().entry_count() as u64, now_ms());
                status.change(|report| (report.entries, report.last_change_ms) = (entries, Some(now)));
                return Published::Done;
            }
            Ok(Outcome::Unchanged { .. }) => return Published::Done,
            Ok(Outcome::Held { id, reasons }) => return Published::Held { id, reasons: reasons.join("; ") },
            Err(Refused::Stopped) => return Published::Refused("the node is stopping".into()),
            Err(refused @ Refused::Conflicts(_)) => return Published::Refused(refused.to_string()),
            Err(refused @ (Refused::Busy | Refused::NotDurable(_))) => {
                status.phase(before.phase, refused.to_string());
                told = true;
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
