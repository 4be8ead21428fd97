//! Following a server that cannot push: the whole content is listed again and again, and what differs is published under
//! the same guard. A listing that is not whole is discarded.

use std::{collections::HashMap, sync::Arc, time::Duration};

use inventory::{Entry, EntryId, State, entry::DIRECTORY};

use super::{
    connect::Connection,
    entry,
    job::{End, Job},
    publish,
    root::Root,
    search::{self, Unlisted},
    status::{Phase, now_ms},
};

/// Lists until something ends it.
pub(super) async fn run(job: Job, mut connection: Connection, root: &Root) -> End {
    let limit = Duration::from_secs(job.upstream.timeout_s.max(1));
    let every = Duration::from_secs(job.upstream.poll_s.max(1));
    let request = job.request();
    loop {
        let at = now_ms();
        let listed = search::list(&mut connection, &request, root.paged, job.upstream.entries_max, limit).await;
        let listed = match listed {
            Ok(listed) => listed,
            Err(why) => {
                job.discarded();
                return match why {
                    Unlisted::Failed(why) => End::Failed(why),
                    Unlisted::Many(max) => End::Broken(format!(
                        "the server holds more than {max} entries; raise [directory.upstream] entries_max if that is right"
                    )),
                };
            }
        };
        if let Err(end) = publish(&job, listed).await {
            return end;
        }
        job.status.change(|report| report.compared_ms = Some(at));
        job.has_content(Phase::Polling, at);
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = job.status.retried() => {}
        }
    }
}

async fn publish(job: &Job, listed: Vec<Entry>) -> Result<(), End> {
    let state = job.keeper.state();
    let task = tokio::task::spawn_blocking(move || differs(&state, listed.into_iter().map(Arc::new).collect()));
    let Some(entries) = task.await.map_err(|_| End::Failed("the node is stopping".into()))? else { return Ok(()) };
    let why = format!("all of {}", job.url);
    let proposed = publish::propose_whole(&job.keeper, &job.status, entries, None, job.waiting.as_ref(), &why).await;
    let refused = |why| End::Broken(format!("what the server sent cannot be taken over: {why}"));
    proposed.map_err(refused)?.map_err(End::Held)
}

/// The content to publish; `None` if it is what is served. Of two entries under one identity the later counts.
pub(super) fn differs(state: &State, listed: Vec<Arc<Entry>>) -> Option<Vec<Arc<Entry>>> {
    let mut same = state.cookie(DIRECTORY).is_none();
    let mut content: HashMap<EntryId, Arc<Entry>> = HashMap::with_capacity(listed.len());
    for new in listed {
        let kept = match state.entry(new.id) {
            Some(old) if entry::same(old, &new) => old.clone(),
            _ => {
                same = false;
                new
            }
        };
        content.insert(kept.id, kept);
    }
    (!same || content.len() != state.entry_count()).then(|| content.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::{
        super::changes::tests::{a_state, an_entry},
        *,
    };

    #[test]
    fn only_what_differs_is_proposed() {
        let state = a_state([an_entry(1, "ou=a", 1), an_entry(2, "ou=b", 1)]);
        let differs = |entries: Vec<Entry>| differs(&state, entries.into_iter().map(Arc::new).collect());
        assert!(differs(vec![an_entry(2, "ou=b", 1), an_entry(1, "ou=a", 1)]).is_none());
        assert_eq!(differs(vec![an_entry(1, "ou=a", 1)]).map(|all| all.len()), Some(1));
        assert_eq!(differs(vec![an_entry(1, "ou=a", 1), an_entry(2, "ou=c", 1)]).map(|all| all.len()), Some(2));
    }
}
