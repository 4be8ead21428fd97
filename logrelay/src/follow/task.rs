//! The task that drives a [`Follower`]: timers and hints in, batches to the intake, acknowledgements back.
//!
//! Everything that touches files runs on the pool for blocking work, so a slow disk holds up nobody else. While the
//! intake has no room the folders are still read, so that files that are renamed meanwhile are held open. Limit:
//! [`RECEIPTS_MAX`] batches that are not safe yet.

use std::{collections::VecDeque, panic, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Counters, FileReport, Follower, Mark, RESCAN, SWEEP,
    watch::{Hints, Watch},
};
use crate::intake::{Intake, Line, Receipt, Stopping};

/// Batches that are not safe yet; before another one the oldest is waited for.
const RECEIPTS_MAX: usize = 64;
/// Shortest time between two looks because of hints; and at least twenty times what a look takes.
const HINT_PAUSE: Duration = Duration::from_millis(100);
/// How long the end waits for the last batches.
const STOP: Duration = Duration::from_secs(5);

/// Where lines go.
pub(super) enum Outlet {
    /// To the relay.
    Intake(Box<Intake>),
    /// To a test.
    #[cfg(test)]
    Probe(tests::Probe),
}

/// For a batch: when it is safe.
pub(super) enum Ack {
    Receipt(Receipt),
    #[cfg(test)]
    Probe(tests::Ack),
}

impl Outlet {
    /// Takes a line; whether the batch should be handed on.
    fn line(&mut self, line: Line<'_>) -> bool {
        match self {
            Self::Intake(intake) => {
                intake.line(line);
                intake.is_full()
            }
            #[cfg(test)]
            Self::Probe(probe) => probe.line(line),
        }
    }

    async fn flush(&mut self) -> Result<Ack, Stopping> {
        match self {
            Self::Intake(intake) => intake.flush().await.map(Ack::Receipt),
            #[cfg(test)]
            Self::Probe(probe) => probe.flush().await.map(Ack::Probe),
        }
    }
}

impl Ack {
    fn is_durable(&self) -> bool {
        match self {
            Self::Receipt(receipt) => receipt.is_durable(),
            #[cfg(test)]
            Self::Probe(ack) => ack.is_durable(),
        }
    }

    async fn durable(self) -> Result<(), Stopping> {
        match self {
            Self::Receipt(receipt) => receipt.durable().await,
            #[cfg(test)]
            Self::Probe(ack) => ack.durable().await,
        }
    }
}

/// What works on files, in one piece so that it can move to the pool and back.
struct Work {
    follower: Follower,
    watch: Watch,
    hints: Arc<Hints>,
    counters: Arc<Counters>,
    report: Arc<ArcSwap<Vec<FileReport>>>,
    swept: Option<std::time::Instant>,
    rescanned: Option<std::time::Instant>,
    saved: Option<std::time::Instant>,
    /// Time until hints are listened to again.
    pause: Duration,
}

impl Work {
    /// Reads folders and looks at files as far as it is time; `hinted`: as if it were.
    fn look(&mut self, hinted: bool) {
        let now = std::time::Instant::now();
        let due = |last: Option<std::time::Instant>, every| last.is_none_or(|last| now.duration_since(last) >= every);
        let names = self.hints.take_names();
        let mut rescan = names || due(self.rescanned, RESCAN);
        if hinted || rescan || due(self.swept, SWEEP) {
            rescan |= self.follower.sweep(now, hinted || names);
            self.swept = Some(now);
            self.report.store(Arc::new(self.follower.report()));
        }
        if rescan {
            self.follower.rescan(now);
            self.watch.update(self.follower.folders(), &self.counters);
            self.rescanned = Some(now);
        }
        self.pause = HINT_PAUSE.max(now.elapsed() * 20);
    }

    /// Whether it is time for a checkpoint.
    fn is_save_due(&self) -> bool {
        self.saved.is_none_or(|last| last.elapsed() >= self.follower.save_every())
    }

    /// Closes what is finished and writes the checkpoint.
    fn save(&mut self) {
        let now = std::time::Instant::now();
        self.follower.tidy(now);
        self.saved = Some(now);
        if let Err(cause) = self.follower.save() {
            tracing::warn!(%cause, "the offsets of followed files cannot be written; lines may come twice after a restart");
        }
    }
}

/// Follows until `shutdown`, or until the intake takes nothing any more.
pub(super) async fn run(
    follower: Follower,
    mut outlet: Outlet,
    clock: fn() -> i64,
    shutdown: CancellationToken,
    report: Arc<ArcSwap<Vec<FileReport>>>,
) {
    let (hints, counters) = (Arc::new(Hints::default()), follower.counters().clone());
    let watch = Watch::new(hints.clone(), counters.clone());
    let (swept, rescanned, saved) = (None, None, None);
    let work = Work { follower, watch, hints, counters, report, swept, rescanned, saved, pause: HINT_PAUSE };
    let mut work = Box::new(work);
    let mut waiting = VecDeque::new();
    let mut hinted = false;
    while !shutdown.is_cancelled() {
        let more;
        let mark;
        (work, outlet, more, mark) = blocking(move || {
            work.look(hinted);
            let now = std::time::Instant::now();
            let more = work.follower.fill(now, clock(), &mut |line| outlet.line(line));
            let mark = work.follower.mark();
            (work, outlet, more, mark)
        })
        .await;
        if !mark.is_empty() {
            let ack;
            (work, ack) = hand_on(work, &mut outlet, &shutdown).await;
            let Ok(ack) = ack else { break };
            waiting.push_back((ack, mark));
        }
        work = match settle(work, &mut waiting, &shutdown).await {
            Ok(work) => work,
            Err(back) => {
                work = back;
                break;
            }
        };
        hinted = !more && wait(&work, &shutdown).await;
    }
    // What was handed on may still become safe.
    let _ = timeout(STOP, async {
        while let Some((ack, mark)) = waiting.pop_front() {
            if ack.durable().await.is_err() {
                break;
            }
            work.follower.acknowledge(&mark);
        }
    })
    .await;
    blocking(move || work.save()).await;
}

/// Waits for a hint or for the next look; whether it was a hint.
async fn wait(work: &Work, shutdown: &CancellationToken) -> bool {
    let until = |last: Option<std::time::Instant>, after| {
        last.map_or_else(Instant::now, |last| Instant::from_std(last + after))
    };
    let hint = async {
        work.hints.wait().await;
        sleep_until(until(work.swept, work.pause)).await;
    };
    tokio::select! {
        () = hint => true,
        () = sleep_until(until(work.swept, SWEEP)) => false,
        () = shutdown.cancelled() => false,
    }
}

/// Hands a batch on. While that waits for room the folders are read on time.
async fn hand_on(
    mut work: Box<Work>,
    outlet: &mut Outlet,
    shutdown: &CancellationToken,
) -> (Box<Work>, Result<Ack, Stopping>) {
    let flush = outlet.flush();
    let stopping = async {
        shutdown.cancelled().await;
        sleep(STOP).await;
    };
    tokio::pin!(flush, stopping);
    loop {
        tokio::select! {
            biased;
            ack = &mut flush => return (work, ack),
            () = &mut stopping => return (work, Err(Stopping)),
            hinted = wait_unless_stopped(&work) => {
                work = blocking(move || {
                    work.look(hinted);
                    work
                })
                .await;
            }
        }
    }
}

async fn wait_unless_stopped(work: &Work) -> bool {
    wait(work, &CancellationToken::new()).await
}

/// Takes note of what became safe, waiting if too much is not, and writes the checkpoint when it is time.
async fn settle(
    mut work: Box<Work>,
    waiting: &mut VecDeque<(Ack, Mark)>,
    shutdown: &CancellationToken,
) -> Result<Box<Work>, Box<Work>> {
    while let Some((ack, mark)) = waiting.pop_front() {
        if !ack.is_durable() {
            if waiting.len() < RECEIPTS_MAX {
                waiting.push_front((ack, mark));
                break;
            }
            let safe = tokio::select! {
                safe = ack.durable() => safe.is_ok(),
                () = shutdown.cancelled() => false,
            };
            if !safe {
                return Err(work);
            }
        }
        work.follower.acknowledge(&mark);
    }
    if !work.is_save_due() {
        return Ok(work);
    }
    Ok(blocking(move || {
        work.save();
        work
    })
    .await)
}

/// Runs what may take as long as a disk does.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
        // The runtime ends, and this task with it.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
