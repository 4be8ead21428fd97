//! Lines of one connection: TCP, TLS, a unix stream socket, a pipe.
//!
//! Read, split, hand on, again: a connection is not read from while there is no room for what it sent, so the sender is
//! held back by TCP itself. At most [`TURN`] octets are read before other connections have their turn. At shutdown, what
//! has arrived by then is read and handed on.

use std::{
    future::poll_fn,
    io,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    io::AsyncRead,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    Clock, Counters, Road,
    input::{Input, Pool},
    road::hand_on,
};
use crate::{
    framing::{Splitter, TooManyErrors},
    intake::{Line, Sender, Stopping},
};

/// Octets of one connection that are read before others have their turn.
const TURN: usize = 1 << 20;
/// Octets that are read after the signal to shut down, at most.
const DRAIN_MAX: usize = 4 << 20;
/// Silence after which nothing more is read then. What has arrived is seen at once, but not before the runtime has asked
/// the kernel.
const SETTLE: Duration = Duration::from_millis(10);

/// What all connections of a listener share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) max_line: usize,
    pub(crate) partial_timeout: Duration,
    /// Whether senders may be relays of ours; `None`: those that presented a certificate that was verified.
    pub(crate) relays: Option<bool>,
    pub(crate) clock: Clock,
    pub(crate) counters: Arc<Counters>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) shutdown: CancellationToken,
}

/// How a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the sender has closed it")]
    Closed,
    #[error("the sender has ended TLS without saying so")]
    Torn,
    #[error("we are shutting down")]
    Shutdown,
    #[error("a line took longer to arrive than partial_timeout_s")]
    Partial,
    #[error(transparent)]
    Framing(#[from] TooManyErrors),
    #[error("all connections together hold too much of unfinished lines")]
    Memory,
    #[error("reading failed: {0}")]
    Read(io::Error),
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Reads lines from `stream` until it ends, or the signal to shut down.
pub(crate) async fn serve<R: Road, S: AsyncRead + Unpin>(stream: S, road: R, sender: Sender, shared: &Shared) {
    Lines::new(stream, road, sender, Splitter::new(shared.max_line), shared).run(false).await;
}

/// The same for a pipe: lines with LF only, and a writer that takes too long does not end it. After the signal to shut down
/// it has `grace`, as connections have: if what it read finds no room until then, it is given up.
pub(crate) async fn serve_pipe<R: Road, S: AsyncRead + Unpin>(stream: S, road: R, shared: &Shared, grace: Duration) {
    let lines = Lines::new(stream, road, Sender::default(), Splitter::lines(shared.max_line), shared);
    let late = async {
        shared.shutdown.cancelled().await;
        sleep(grace).await;
    };
    tokio::select! {
        biased;
        () = lines.run(true) => {}
        () = late => {
            warn!("what was read from a pipe last found no room until the end, and is given up");
            shared.counters.closed_stopping.fetch_add(1, Relaxed);
            shared.counters.ended.fetch_add(1, Relaxed);
        }
    }
}

struct Lines<'a, R, S> {
    stream: S,
    road: R,
    sender: Sender,
    splitter: Splitter,
    input: Input,
    /// When the unfinished line began to arrive.
    partial: Option<Instant>,
    turn: usize,
    shared: &'a Shared,
}

impl<'a, R: Road, S: AsyncRead + Unpin> Lines<'a, R, S> {
    fn new(stream: S, mut road: R, sender: Sender, splitter: Splitter, shared: &'a Shared) -> Self {
        road.sender(&sender);
        let input = Input::new(shared.pool.clone());
        Self { stream, road, sender, splitter, input, partial: None, turn: 0, shared }
    }

    async fn run(mut self, goes_on: bool) {
        let counters = &*self.shared.counters;
        counters.opened.fetch_add(1, Relaxed);
        let end = loop {
            let end = self.read_on().await;
            if !(goes_on && matches!(end, End::Partial | End::Framing(_) | End::Memory)) {
                break end;
            }
            self.count(&end);
            if let Err(stopping) = self.finish(true).await {
                break stopping.into();
            }
        };
        // The last line of a connection that was closed in order is whole (RFC 6587 section 3.4.2).
        let _ = self.finish(!matches!(end, End::Closed)).await;
        self.count(&end);
        counters.ended.fetch_add(1, Relaxed);
    }

    fn count(&self, end: &End) {
        let counters = &*self.shared.counters;
        let counter = match end {
            End::Closed | End::Torn | End::Shutdown => return,
            End::Partial => &counters.partial_timeouts,
            End::Framing(_) => &counters.closed_framing,
            End::Memory => &counters.closed_memory,
            End::Read(_) => &counters.read_errors,
            End::Stopping(_) => &counters.closed_stopping,
        };
        let (address, port) = (self.sender.address, self.sender.port);
        // The first of its kind is news; the rest is in the counters.
        match counter.fetch_add(1, Relaxed) {
            0 => info!(?address, port, reason = %end, "connection closed; others of this kind are only counted"),
            _ => debug!(?address, port, reason = %end, "connection closed"),
        }
    }

    /// Reads until there is a reason not to. Only waiting for octets is broken off by the signal to shut down: what was
    /// read is handed on in any case.
    async fn read_on(&mut self) -> End {
        let mut shutdown = pin!(self.shared.shutdown.cancelled());
        loop {
            let deadline = self.partial.map(|since| since + self.shared.partial_timeout);
            let read = poll_fn(|cx| self.input.poll_read(cx, &mut self.stream, self.shared.max_line));
            let read = tokio::select! {
                biased;
                () = &mut shutdown => return self.drain().await,
                read = until(deadline, read) => read,
            };
            let Some(read) = read else { return End::Partial };
            match self.took(read).await {
                Ok(0) => return End::Closed,
                Ok(octets) => self.turn += octets,
                Err(end) => return end,
            }
            if self.turn >= TURN {
                self.turn = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// What has arrived by now.
    async fn drain(&mut self) -> End {
        let mut drained = 0;
        while drained < DRAIN_MAX {
            let read = poll_fn(|cx| self.input.poll_read(cx, &mut self.stream, self.shared.max_line));
            let Ok(read) = timeout(SETTLE, read).await else { break };
            match self.took(read).await {
                Ok(0) => return End::Closed,
                Ok(octets) => drained += octets,
                Err(end) => return end,
            }
        }
        End::Shutdown
    }

    /// Splits what was read and hands it on.
    async fn took(&mut self, read: io::Result<usize>) -> Result<usize, End> {
        let octets = match read {
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => return Err(End::Memory),
            // A TLS peer that closes without close_notify, as most log senders do. Somebody on the way may have cut the
            // connection off as well (RFC 8446 section 6.1), so an unfinished line may lack its end.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(End::Torn),
            Err(error) => return Err(End::Read(error)),
        };
        if octets == 0 {
            return Ok(0);
        }
        let Shared { counters, clock, .. } = self.shared;
        counters.octets.fetch_add(octets as u64, Relaxed);
        let received_us = clock();
        let buffer = self.input.buffer();
        let mut lines = 0;
        let verdict = loop {
            match self.splitter.next(buffer) {
                Ok(Some(frame)) => {
                    lines += 1;
                    let (raw, original_len, flags) = (frame.raw, frame.original_len, frame.flags);
                    self.road.line(Line { raw, received_us, original_len, flags });
                }
                Ok(None) => break Ok(octets),
                Err(error) => break Err(error.into()),
            }
            if self.road.is_full() {
                hand_on(&mut self.road, counters, *clock).await?;
            }
        };
        if !self.splitter.is_within(buffer) {
            self.partial = None;
        } else if lines > 0 || self.partial.is_none() {
            self.partial = Some(Instant::now());
        }
        counters.add(self.splitter.take_counts());
        if lines > 0 {
            hand_on(&mut self.road, counters, *clock).await?;
        }
        verdict
    }

    /// Hands on what is left of an unfinished line.
    async fn finish(&mut self, cut: bool) -> Result<(), Stopping> {
        let Shared { counters, clock, .. } = self.shared;
        self.partial = None;
        if let Some(frame) = self.splitter.finish(self.input.buffer(), cut) {
            let (raw, original_len, flags) = (frame.raw, frame.original_len, frame.flags);
            self.road.line(Line { raw, received_us: clock(), original_len, flags });
        }
        counters.add(self.splitter.take_counts());
        hand_on(&mut self.road, counters, *clock).await.map(drop)
    }
}

/// What comes of `future` before the deadline, if there is one.
pub(crate) async fn until<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match deadline {
        None => Some(future.await),
        Some(deadline) => timeout_at(deadline, future).await.ok(),
    }
}
