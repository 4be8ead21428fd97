//! A RELP connection: frames in, batches to the intake, answers out when the batches are durable.
//!
//! Reading goes on while batches are on their way to the disk, up to [`OWED_MAX`] of them; then the client waits. When a
//! batch will not be durable its lines are not acknowledged and the connection is closed. Answers that are owed at the end
//! have two seconds to become durable and to leave, so that as little as possible is sent again.
//!
//! A line that is longer than `max_line` is cut and acknowledged: if the connection ended instead, the client would send
//! that line again for ever. Only what is longer than [`RECORD_MAX`] ends it. A frame may take `partial_timeout_s` without
//! a new octet, and [`SLOWEST`] times that in all.

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::atomic::Ordering::Relaxed,
    task::Poll,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep},
};
use tracing::{debug, info};

use super::{
    frame::{Bad, OVERHEAD},
    link::Link,
    reader::{Reader, Whole},
    session::{Answers, Asked, Session},
};
use crate::{
    framing::Counts,
    intake::{Line, Sender, Stopping},
    message::{Flags, RECORD_MAX},
    source::{
        Counters, Road,
        counters::Waiting,
        input::Input,
        stream::{Shared, until},
    },
};

/// Batches that are not durable at most.
const OWED_MAX: usize = 64;
/// Octets of a frame at most.
const FRAME_MAX: usize = RECORD_MAX + OVERHEAD;
/// Octets read before other connections have their turn.
const TURN: usize = 1 << 20;
/// How often it is asked whether a client is gone whose batch waits for room.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Multiple of `partial_timeout_s` that one frame may take while its octets keep coming.
const SLOWEST: u32 = 10;

/// How a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the client has closed it")]
    Closed,
    #[error("the client said close")]
    Close,
    #[error("we are shutting down")]
    Shutdown,
    #[error("a frame did not arrive further for partial_timeout_s, or not in full for ten times that")]
    Partial,
    #[error(transparent)]
    Bad(#[from] Bad),
    #[error("all connections together hold too much of unfinished frames")]
    Memory,
    #[error("reading or writing failed: {0}")]
    Io(#[from] io::Error),
    #[error("the client does not take its answers")]
    Stuck,
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Serves a client until it ends the connection, or the signal to shut down. `may_relay`: it may send records of a relay of
/// ours. `is_gone` asks whether the client has ended the connection, behind whatever was not read.
pub(crate) async fn serve<R, S>(
    stream: S,
    mut road: R,
    sender: Sender,
    may_relay: bool,
    is_gone: fn(&S) -> bool,
    shared: &Shared,
) where
    R: Road,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let counters = &*shared.counters;
    counters.opened.fetch_add(1, Relaxed);
    road.sender(&sender);
    let link = Link::new(stream, Input::new(shared.pool.clone()), counters);
    let session = Session::new(may_relay);
    let mut connection = Connection {
        road,
        link,
        session,
        reader: Reader::new(shared.max_line),
        partial: None,
        full: None,
        is_gone,
        shared,
    };
    let end = connection.run().await;
    count(&end, &sender, counters);
    connection.full = None;
    connection.link.finish(&end).await;
    counters.ended.fetch_add(1, Relaxed);
}

fn count(end: &End, sender: &Sender, counters: &Counters) {
    let counter = match end {
        End::Closed | End::Close | End::Shutdown => return,
        End::Partial => &counters.partial_timeouts,
        End::Bad(reason) => match counters.relp_errors.get(*reason as usize) {
            Some(counter) => counter,
            None => return,
        },
        End::Memory => &counters.closed_memory,
        End::Io(_) => &counters.read_errors,
        End::Stuck => &counters.relp_stuck,
        End::Stopping(_) => &counters.closed_stopping,
    };
    match counter.fetch_add(1, Relaxed) {
        0 => info!(?sender, reason = %end, "RELP connection closed; others of this kind are only counted"),
        _ => debug!(?sender, reason = %end, "RELP connection closed"),
    }
}

struct Connection<'a, R: Road, S> {
    is_gone: fn(&S) -> bool,
    road: R,
    link: Link<'a, R, S>,
    session: Session,
    reader: Reader,
    /// While a frame is unfinished.
    partial: Option<Partial>,
    /// While it is not read from because too much is owed.
    full: Option<Waiting<'a>>,
    shared: &'a Shared,
}

/// An unfinished frame.
#[derive(Debug, Clone, Copy)]
struct Partial {
    /// When it began to arrive.
    began: Instant,
    /// When octets of it arrived last.
    moved: Instant,
}

impl Partial {
    fn begin(now: Instant) -> Self {
        Self { began: now, moved: now }
    }

    /// When it is given up.
    fn deadline(self, partial_timeout: Duration) -> Instant {
        (self.moved + partial_timeout).min(self.began + partial_timeout * SLOWEST)
    }
}

impl<R: Road, S: AsyncRead + AsyncWrite + Unpin> Connection<'_, R, S> {
    async fn run(&mut self) -> End {
        let mut shutdown = pin!(self.shared.shutdown.cancelled());
        let mut turn = 0;
        loop {
            let deadline = self.partial.map(|partial| partial.deadline(self.shared.partial_timeout));
            // Whether it was not read from for a while.
            let mut paused = false;
            let Self { link, full, shared, .. } = &mut *self;
            let read = poll_fn(|cx| {
                if let Poll::Ready(end) = link.poll_answers(cx) {
                    return Poll::Ready(Err(end));
                }
                if link.owed.len() >= OWED_MAX {
                    paused = true;
                    full.get_or_insert_with(|| shared.counters.wait(shared.clock));
                    return Poll::Pending;
                }
                *full = None;
                link.input.poll_read(cx, &mut link.stream, FRAME_MAX).map_err(End::from)
            });
            let read = tokio::select! {
                biased;
                () = &mut shutdown => return End::Shutdown,
                read = until(deadline, read) => read,
            };
            match read {
                // A frame is not late because we do not read.
                None if paused => self.partial = Some(Partial::begin(Instant::now())),
                None => return End::Partial,
                Some(Ok(0)) => return End::Closed,
                Some(Ok(octets)) => {
                    if let Err(end) = self.took(octets).await {
                        return end;
                    }
                    turn += octets;
                }
                Some(Err(End::Io(error))) if error.kind() == io::ErrorKind::OutOfMemory => return End::Memory,
                Some(Err(End::Io(error))) if error.kind() == io::ErrorKind::UnexpectedEof => return End::Closed,
                Some(Err(end)) => return end,
            }
            if turn >= TURN {
                turn = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Takes the frames that are there whole, and hands their batch on.
    async fn took(&mut self, octets: usize) -> Result<(), End> {
        let received_us = (self.shared.clock)();
        self.shared.counters.octets.fetch_add(octets as u64, Relaxed);
        let was_open = self.session.is_open();
        let (mut answers, mut counts, mut records, mut frames) = (Answers::default(), Counts::default(), 0u64, 0u64);
        let verdict = loop {
            let Whole { frame, length, used } = match self.reader.next(&self.session, self.link.input.buffer()) {
                Ok(Some(whole)) => whole,
                Ok(None) => break Ok(()),
                Err(bad) => break Err(bad.into()),
            };
            frames += 1;
            match self.session.take(frame, &mut answers) {
                Ok(Asked::Answered) => {}
                Ok(Asked::Close) => break Err(End::Close),
                Err(bad) => break Err(bad.into()),
                Ok(Asked::Line(data)) => {
                    match line(data, length, received_us, &mut counts) {
                        Some(line) => self.road.line(line),
                        None => counts.empty += 1,
                    }
                    answers.ok(frame.txnr);
                }
                Ok(Asked::Record(data)) if self.road.record(data) => {
                    records += 1;
                    answers.ok(frame.txnr);
                }
                Ok(Asked::Record(_)) => answers.refused(frame.txnr),
            }
            self.link.input.buffer().consume(used);
            if self.road.is_full()
                && let Err(end) = self.hand_on(std::mem::take(&mut answers)).await
            {
                break Err(end);
            }
        };
        self.shared.counters.add(counts);
        self.shared.counters.records.fetch_add(records, Relaxed);
        if !was_open && self.session.is_held_to_lines() && self.shared.counters.relp_no_relay.fetch_add(1, Relaxed) == 0
        {
            info!(
                "a RELP client offers whole records, but may not send them and is held to lines; see `relays` of the source"
            );
        }
        if !answers.is_empty() {
            self.hand_on(answers).await?;
        }
        // After that: a frame is not late because the batch before it waits for room.
        let now = Instant::now();
        self.partial = match self.partial {
            _ if self.link.input.buffer().pending().is_empty() => None,
            Some(partial) if frames == 0 => Some(Partial { moved: now, ..partial }),
            _ => Some(Partial::begin(now)),
        };
        verdict
    }

    /// Hands the batch on; its answers are owed from then on. Answers to former ones go out meanwhile. A client that gives
    /// up while the batch waits for room sends it again elsewhere, or here: then it is let go of, or a full spool would take
    /// it as often as the client has tried, when there is room again.
    async fn hand_on(&mut self, answers: Answers) -> Result<(), End> {
        let Self { road, link, shared, is_gone, .. } = self;
        let counters = &*shared.counters;
        let handed = {
            let (mut flush, mut look, mut waiting) = (pin!(road.flush()), pin!(sleep(LOOK_EVERY)), None);
            poll_fn(|cx| {
                if let Poll::Ready(receipt) = flush.as_mut().poll(cx) {
                    return Poll::Ready(receipt.map_err(End::from));
                }
                waiting.get_or_insert_with(|| counters.wait(shared.clock));
                if let Poll::Ready(end) = link.poll_answers(cx) {
                    return Poll::Ready(Err(end));
                }
                while look.as_mut().poll(cx).is_ready() {
                    if is_gone(&link.stream) {
                        return Poll::Ready(Err(End::Closed));
                    }
                    look.as_mut().reset(Instant::now() + LOOK_EVERY);
                }
                Poll::Pending
            })
            .await
        };
        match handed {
            Ok(receipt) => link.owed.push_back((answers, Some(receipt))),
            Err(end) => {
                road.give_up();
                counters.relp_unanswered.fetch_add(answers.count(), Relaxed);
                return Err(end);
            }
        }
        Ok(())
    }
}

/// The line in data that had `length` octets on the wire.
fn line<'a>(raw: &'a [u8], length: usize, received_us: i64, counts: &mut Counts) -> Option<Line<'a>> {
    if raw.is_empty() {
        return None;
    }
    let flags = if raw.len() < length { Flags::TRUNCATED } else { Flags::default() };
    counts.lines += 1;
    counts.truncated += u64::from(flags.has(Flags::TRUNCATED));
    Some(Line { raw, received_us, original_len: u32::try_from(length).unwrap_or(u32::MAX), flags })
}
