//! A sign of life on the terminal while the node does not serve yet.

use std::{io::IsTerminal, time::Duration};

use indicatif::ProgressBar;

/// Work that is done sooner needs no sign.
const SHOWN_AFTER: Duration = Duration::from_secs(1);
/// How often the sign moves.
const TICK: Duration = Duration::from_millis(120);

/// Does `work`; when it takes long and a person looks at standard error, `what` and the time are shown meanwhile.
pub(super) async fn shown<T>(what: String, work: impl Future<Output = T>) -> T {
    if !std::io::stderr().is_terminal() {
        return work.await;
    }
    tokio::pin!(work);
    if let Ok(done) = tokio::time::timeout(SHOWN_AFTER, &mut work).await {
        return done;
    }
    let bar = ProgressBar::new_spinner().with_message(what);
    bar.enable_steady_tick(TICK);
    let done = work.await;
    bar.finish_and_clear();
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_work_is_done() {
        assert_eq!(shown("counting".into(), async { 6 * 7 }).await, 42);
    }
}
