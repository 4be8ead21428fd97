//! The full comparison: everything that the server holds against everything that is served.
//!
//! It runs on a connection of its own beside the following. An entry counts as different only when two listings in a row
//! say so: a change that was on its way during one of them is none.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use inventory::{Entry, EntryId, State};
use tokio::task::JoinHandle;

use super::{
    connect, entry,
    gate::GAVE_UP,
    job::Job,
    search::{self, Unlisted},
};

/// Pause between the two listings.
const PAUSE: Duration = Duration::from_secs(5);

/// A comparison, if one is under way. Dropping it ends it.
#[derive(Debug, Default)]
pub(super) struct Comparison(Option<JoinHandle<Result<usize, String>>>);

impl Drop for Comparison {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Comparison {
    /// Begins one, unless one is under way.
    pub(super) fn begin(&mut self, job: &Job, paged: bool) {
        if self.0.is_none() {
            self.0 = Some(tokio::spawn(run(job.clone(), paged)));
        }
    }

    /// How many entries differ, when that is known.
    pub(super) async fn found(&mut self) -> Result<usize, String> {
        let found = match &mut self.0 {
            Some(task) => task.await.unwrap_or_else(|_| Err(GAVE_UP.into())),
            None => std::future::pending().await,
        };
        self.0 = None;
        found
    }
}

async fn run(job: Job, paged: bool) -> Result<usize, String> {
    let first = differing(&job, paged).await?;
    if first.is_empty() {
        return Ok(0);
    }
    tokio::time::sleep(PAUSE).await;
    Ok(differing(&job, paged).await?.intersection(&first).count())
}

async fn differing(job: &Job, paged: bool) -> Result<HashSet<EntryId>, String> {
    let opened = connect::open_bound((*job.upstream).clone(), job.url.clone()).await;
    let mut connection = opened.map_err(|error| error.to_string())?;
    let limit = Duration::from_secs(job.upstream.timeout_s.max(1));
    let listed = search::list(&mut connection, &job.request(), paged, job.upstream.entries_max, limit).await;
    let listed = listed.map_err(|why| match why {
        Unlisted::Failed(why) => why,
        Unlisted::Many(max) => format!("the server holds more than {max} entries"),
    })?;
    let state = job.keeper.state();
    let task = tokio::task::spawn_blocking(move || differ(&state, listed));
    task.await.map_err(|_| "the node is stopping".to_owned())
}

/// The entries that one side lacks, and those that say something else although ours are no newer.
fn differ(state: &Arc<State>, listed: Vec<Entry>) -> HashSet<EntryId> {
    let listed: HashMap<EntryId, Entry> = listed.into_iter().map(|entry| (entry.id, entry)).collect();
    let ours = state.entries().filter(|entry| !listed.contains_key(&entry.id)).map(|entry| entry.id);
    let newer =
        |ours: &Entry, theirs: &Entry| matches!((entry::csn(ours), entry::csn(theirs)), (Some(a), Some(b)) if a > b);
    let theirs = listed
        .values()
        .filter(|theirs| state.entry(theirs.id).is_none_or(|ours| !entry::same(ours, theirs) && !newer(ours, theirs)));
    ours.chain(theirs.map(|entry| entry.id)).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::changes::tests::{a_state, an_entry},
        *,
    };

    #[test]
    fn what_differs_is_found_and_what_is_newer_here_is_not() {
        let state = Arc::new(a_state([an_entry(1, "ou=a", 1), an_entry(2, "ou=b", 5), an_entry(3, "ou=c", 1)]));
        let listed = vec![an_entry(1, "ou=a", 1), an_entry(2, "ou=older", 4), an_entry(4, "ou=d", 1)];
        assert_eq!(differ(&state, listed), HashSet::from([EntryId([3; 16]), EntryId([4; 16])]));
        let moved = vec![an_entry(1, "ou=x", 1), an_entry(2, "ou=b", 5), an_entry(3, "ou=c", 1)];
        assert_eq!(differ(&state, moved), HashSet::from([EntryId([1; 16])]));
    }
}
