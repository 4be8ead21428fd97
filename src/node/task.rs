//! Tasks that must not end: the first one that does ends the node, with its name and its reason.

use tokio::task::{JoinError, JoinSet};

use crate::exit::{Exit, Failure};

/// How an essential task ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Which task.
    pub name: &'static str,
    /// Why; a task that was asked to stop ends with `Ok`.
    pub result: Result<(), String>,
}

/// Starts an essential task.
pub(crate) fn spawn(
    tasks: &mut JoinSet<Ended>,
    name: &'static str,
    work: impl Future<Output = Result<(), String>> + Send + 'static,
) {
    tasks.spawn(async move { Ended { name, result: work.await } });
}

/// The failure that the end of a task is while nobody asked it to stop.
pub(crate) fn failure(ended: Result<Ended, JoinError>) -> Failure {
    let sentence = match ended {
        Ok(Ended { name, result: Ok(()) }) => format!("the task {name} ended, although it must run for ever"),
        Ok(Ended { name, result: Err(why) }) => format!("the task {name} failed: {why}"),
        Err(e) if e.is_panic() => format!("a task panicked: {}", panic_text(e)),
        Err(e) => format!("a task was lost: {e}"),
    };
    Failure::new(Exit::Software, sentence)
}

fn panic_text(error: JoinError) -> String {
    let payload = error.into_panic();
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_end_has_a_reason() {
        let mut tasks = JoinSet::new();
        spawn(&mut tasks, "control", async { Err("the socket is gone".into()) });
        let ended = tasks.join_next().await.unwrap();
        assert_eq!(failure(ended).sentence, "the task control failed: the socket is gone");
        spawn(&mut tasks, "http", async { Ok(()) });
        let ended = tasks.join_next().await.unwrap();
        assert_eq!(failure(ended).sentence, "the task http ended, although it must run for ever");
        spawn(&mut tasks, "folder", async { panic!("a fault of ours") });
        let ended = tasks.join_next().await.unwrap();
        assert_eq!(failure(ended).sentence, "a task panicked: a fault of ours");
    }
}
