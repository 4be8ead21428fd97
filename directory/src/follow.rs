//! Following the upstream directory.
//!
//! One task per connection does the work (`visit`, and then `session` or `poll`) and ends with a reason; this one chooses the server,
//! the pause before the next attempt, and whether the next refresh begins without a cookie. What is served stays as it
//! was through all of that. The client library panics on some odd input: that ends a connection's task and is counted.
//!
//! A crash loses nothing: entries and cookie are stored together, and the next start goes on from that cookie.

mod address;
mod ber;
mod changes;
pub mod check;
mod compare;
mod connect;
mod control;
mod cookie;
mod ends;
pub(crate) mod entry;
mod gate;
mod job;
mod names;
mod poll;
pub(crate) mod publish;
mod pulse;
mod range;
mod refresh;
mod root;
mod search;
mod session;
pub(crate) mod status;
mod visit;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use inventory::{Entry, Keeper, State};
use tokio::time;
use tokio_util::sync::CancellationToken;

pub use connect::{ConnectError, Servers, connect, guarded};
use job::{End, Job};
use publish::Waiting;
pub use status::{Phase, Report, Status};

use crate::config::Upstream;

/// First and longest pause after all servers have failed.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_LONGEST: Duration = Duration::from_secs(30);
/// How often what is held is tried again.
const HELD_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked at whether somebody has accepted.
const HELD_LOOK: Duration = Duration::from_millis(500);
/// Shortest time between two connections that begin because the one before asked for it.
const AGAIN_EVERY: Duration = Duration::from_secs(5);

/// Follows the upstream until `shutdown`. Changes go to `keeper`, how it goes to `status`.
pub async fn run(config: &Upstream, keeper: Keeper, status: Arc<Status>, shutdown: CancellationToken) {
    let mut follower = Follower {
        upstream: Arc::new(config.clone()),
        servers: Servers::new(config.clone()),
        keeper,
        status,
        whole: false,
        waiting: None,
        pause: PAUSE_FIRST,
        again: None,
    };
    follower.status.serves(&follower.keeper.state());
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = follower.follow() => {}
    }
    follower.status.phase(Phase::Stopped, "");
}

struct Follower {
    upstream: Arc<Upstream>,
    servers: Servers,
    keeper: Keeper,
    status: Arc<Status>,
    /// The next refresh begins without a cookie.
    whole: bool,
    waiting: Option<Waiting>,
    pause: Duration,
    /// When a connection ended last that asked for the next.
    again: Option<time::Instant>,
}

/// Ends the task of a connection when nobody waits for it any more.
struct Guarded(tokio::task::JoinHandle<End>);

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Follower {
    async fn follow(&mut self) {
        if self.upstream.urls.is_empty() {
            let why = "no server is configured; name one in [directory.upstream] urls";
            self.status.phase(Phase::Broken, why);
            return std::future::pending().await;
        }
        self.status.phase(Phase::Connecting, "");
        loop {
            let urls = self.servers.order();
            let mut failed = true;
            for url in urls {
                match self.session(&url).await {
                    // The next one may do better.
                    false => {}
                    true => {
                        failed = false;
                        break;
                    }
                }
            }
            if failed {
                self.pause().await;
            }
        }
    }

    /// One connection. False when the next server should be tried.
    async fn session(&mut self, url: &str) -> bool {
        let good = Arc::new(AtomicBool::new(false));
        let job = Job {
            upstream: self.upstream.clone(),
            keeper: self.keeper.clone(),
            status: self.status.clone(),
            url: url.to_owned(),
            whole: self.whole,
            waiting: self.waiting.clone(),
            good: good.clone(),
        };
        let mut task = Guarded(tokio::spawn(visit::run(job)));
        let end = match (&mut task.0).await {
            Ok(end) => end,
            Err(error) => {
                if error.is_panic() {
                    self.status.change(|report| report.panics += 1);
                }
                End::Failed(format!("{url}: {}", gate::GAVE_UP))
            }
        };
        let good = good.load(Ordering::Relaxed);
        if good {
            (self.whole, self.waiting, self.pause) = (false, None, PAUSE_FIRST);
        }
        self.ended(url, end, good).await
    }

    async fn ended(&mut self, url: &str, end: End, good: bool) -> bool {
        let failed = |phase: Phase, why: String, status: &Status| {
            tracing::warn!(%url, %why, "the directory is not being followed; what is known is served");
            status.change(|report| report.failures += 1);
            status.phase(phase, why);
        };
        match end {
            End::CatchUp => {
                self.unhurried().await;
                true
            }
            End::Failed(why) => {
                self.servers.note(url, false);
                failed(if self.waiting.is_some() { Phase::Held } else { Phase::Down }, why, &self.status);
                // A server that had served well gets another chance at once, but not again and again.
                if good {
                    self.unhurried().await;
                }
                good && self.servers.order().len() == 1
            }
            End::Broken(why) => {
                failed(Phase::Broken, why, &self.status);
                false
            }
            End::Whole(why) => {
                tracing::info!(%url, %why, "the whole directory is read");
                self.whole = true;
                self.unhurried().await;
                true
            }
            End::Held(waiting) => {
                self.held(waiting).await;
                true
            }
        }
    }

    /// Waits until a person has decided, or it is time to look whether the upstream has come to its senses.
    async fn held(&mut self, waiting: Waiting) {
        let why = format!(
            "change {} is held: {}; look at it and accept it, or mend the upstream; what was known before is served",
            waiting.id, waiting.reasons
        );
        if self.waiting.as_ref() != Some(&waiting) {
            tracing::warn!(id = waiting.id, %why, "the directory is held");
        }
        self.status.phase_with(Phase::Held, why, |report| report.held = Some(waiting.id));
        let until = time::Instant::now() + HELD_EVERY;
        while waiting.is_held(&self.keeper) && time::Instant::now() < until {
            tokio::select! {
                () = time::sleep(HELD_LOOK) => {}
                () = self.status.retried() => break,
            }
        }
        self.whole = !waiting.is_accepted(&self.keeper.state());
        self.waiting = Some(waiting).filter(|waiting| waiting.is_held(&self.keeper));
    }

    /// Waits when this connection was asked for again and again: a server may ask for it without end.
    async fn unhurried(&mut self) {
        let again = self.again.replace(time::Instant::now());
        let pause = again.map_or(Duration::ZERO, |again| AGAIN_EVERY.saturating_sub(again.elapsed()));
        self.rest(pause).await;
    }

    /// Waits before the next round; somebody may ask for it earlier.
    async fn pause(&mut self) {
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_LONGEST);
        self.rest(jittered(pause)).await;
    }

    async fn rest(&self, pause: Duration) {
        tokio::select! {
            () = time::sleep(pause) => {}
            () = self.status.retried() => {}
        }
    }
}

/// Between half of it and all of it, so that many nodes do not come back at one moment.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 2];
    // Without random octets the pause is the same everywhere, which does little harm.
    let _ = getrandom::fill(&mut random);
    pause.mul_f64(0.5 + f64::from(u16::from_le_bytes(random)) / 131_072.0)
}

/// The content to publish; `None` if it is what is served.
pub(crate) fn content(state: &State, entries: Vec<Arc<Entry>>) -> Option<Vec<Arc<Entry>>> {
    poll::differs(state, entries)
}

/// Any octets as the controls, messages and cookies that a server sends, for a fuzzer.
pub fn fuzz(data: &[u8]) {
    control::fuzz(data);
}
