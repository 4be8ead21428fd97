//! One visit to a server: connect, ask what it can do, and follow it in the way that it allows.

use std::time::Duration;

use super::{
    connect,
    cookie::SyncCookie,
    job::{End, Job},
    poll, root, session,
};
use crate::config::Follow;

/// Follows one server until something ends it. Run it in a task of its own: the library may panic in it.
pub(super) async fn run(job: Job) -> End {
    let mut connection = match connect::open_bound((*job.upstream).clone(), job.url.clone()).await {
        Ok(connection) => connection,
        Err(error) => return End::Failed(error.to_string()),
    };
    job.status.change(|report| {
        report.connects += 1;
        report.source.clone_from(&job.url);
    });
    let link = connection.link.clone();
    let limit = Duration::from_secs(job.upstream.timeout_s.max(1));
    let end = match root::read(&mut connection, &job.upstream.base, limit).await {
        Err(why) => End::Failed(why),
        Ok(root) => {
            let sync = match job.upstream.follow {
                Follow::Auto => root.sync,
                Follow::Sync => true,
                Follow::Poll => false,
            };
            if sync {
                let foreign = |cookie: &SyncCookie| root.is_389 && matches!(cookie, SyncCookie::Csns(_));
                let cookie = Some(job.cookie()).filter(|cookie| !foreign(cookie)).unwrap_or_default();
                session::run(job.clone(), connection, root, cookie).await
            } else {
                poll::run(job.clone(), connection, &root).await
            }
        }
    };
    if link.panicked() {
        job.status.change(|report| report.panics += 1);
    }
    match end {
        End::Failed(why) => End::Failed(format!("{}: {why}", job.url)),
        end => end,
    }
}
