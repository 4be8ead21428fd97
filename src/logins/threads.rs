//! Threads that serve LDAP, each with a runtime of its own.
//!
//! A lookup takes microseconds, so waking another thread for it would cost more than the lookup: a connection lives on
//! the thread that accepted it. All threads wait on the same listening sockets. When the accept loops of a thread have
//! ended, the thread ends with them.
//!
//! These runtimes have no timers: looking for one that is due would be part of every answer. What ends a wait, or judges
//! passwords, is on the node's own runtime, whose threads give way to answers.

use std::pin::Pin;

use tokio::sync::oneshot;

/// Threads at most; lookups are cheap, and names are answered on the same processors.
const THREADS_MAX: usize = 4;

/// What a thread does, made on the thread itself.
pub(super) type Work = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = Result<(), String>>>> + Send>;

/// How many threads there are to be.
pub(super) fn count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
}

/// Starts a thread that does all of `work` at once. What comes back tells how the first of it ended that failed, or
/// that all is done.
///
/// # Errors
/// The system gives no thread or no runtime.
pub(super) fn spawn(work: Vec<Work>) -> std::io::Result<oneshot::Receiver<Result<(), String>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (tell, ended) = oneshot::channel();
    std::thread::Builder::new().name("ldap".into()).spawn(move || {
        let result = runtime.block_on(async {
            futures_util::future::try_join_all(work.into_iter().map(|work| work())).await.map(drop)
        });
        // Nobody listens when the node has ended already.
        let _ = tell.send(result);
    })?;
    Ok(ended)
}
