//! DNS over a stream: TCP (RFC 7766) and TLS (RFC 7858).
//!
//! Each message has its length before it, two octets. Several queries of a connection are under
//! way at once and answered in any order (RFC 7766 section 6.2.1.1). One task per connection.
//!
//! The framing is our own and not hickory's `TcpStream` with `TimeoutStream`: those read nothing
//! while they write (a client that first sends everything stalls itself), set no time limit on a
//! write, measure idle time between queries only (a transfer longer than that is cut), lose
//! answers under way when the client closes its half, and copy the length into a segment of its
//! own.
//!
//! Limits: `pipeline_max` queries under way, `QUEUE` answers waiting to be written, after which
//! nothing more is read. So a connection holds at most `pipeline_max + QUEUE + 1` answers and one
//! query. An octet counts when it has arrived, not when a length announces it.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::{Buf, BufMut, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// Answers of one connection that wait to be written.
pub const QUEUE: usize = 4;
/// Octets of small answers that are written together.
const BATCH: usize = 16 * 1024;
/// Octets asked of the socket at a time.
const READ: usize = 4 * 1024;
/// Octets of a DNS header; nothing shorter is a message.
pub(crate) const HEADER: usize = 12;

/// What a query came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Plain TCP.
    Tcp,
    /// DNS over TLS.
    Tls,
    /// DNS over HTTPS.
    Https,
}

impl Transport {
    /// The name in the query log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Https => "https",
        }
    }
}

/// A query as it arrived; at least a header long, otherwise unchecked.
#[derive(Debug, Clone)]
pub struct Question {
    /// The message.
    pub bytes: Vec<u8>,
    /// Who asks.
    pub peer: SocketAddr,
    /// The address that was asked.
    pub local: SocketAddr,
    /// How it came.
    pub transport: Transport,
}

/// Takes the messages of an answer: one as a rule, many for a transfer, none to stay silent.
pub type Replies = mpsc::Sender<Vec<u8>>;

/// Limits of one connection. Clones share the counters.
#[derive(Debug, Clone)]
pub struct StreamLimits {
    /// Time without a query, an answer or a query under way, after which the connection is closed.
    pub idle: Duration,
    /// Queries under way at once.
    pub pipeline_max: usize,
    /// Time in which the client must take what is written.
    pub write_timeout: Duration,
    /// Ends the connection once the queries under way are answered.
    pub shutdown: CancellationToken,
    /// What happened.
    pub counters: Arc<StreamCounters>,
}

/// Counts since the start, of all connections.
#[derive(Debug, Default)]
pub struct StreamCounters {
    /// Queries read.
    pub queries: AtomicU64,
    /// Connections closed for being idle.
    pub idle_closed: AtomicU64,
    /// Connections closed because the client did not take its answers.
    pub write_timeouts: AtomicU64,
    /// Connections closed, or HTTP requests refused, because what came was no DNS.
    pub garbage: AtomicU64,
    /// HTTP requests refused because as many were under way as may be.
    pub refused: AtomicU64,
    /// Answers that do not fit a frame, not sent.
    pub too_long: AtomicU64,
}

/// Serves one connection until the client closes it, a limit is hit or the shutdown is over.
pub async fn serve<S, H, Fut>(
    stream: S,
    peer: SocketAddr,
    local: SocketAddr,
    transport: Transport,
    limits: StreamLimits,
    handler: H,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    H: Fn(Question, Replies) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    let (mut read, write) = tokio::io::split(stream);
    let (replies, queue) = mpsc::channel(QUEUE);
    let writing = AtomicBool::new(false);
    let writer = write_loop(write, queue, &limits, &writing);
    tokio::pin!(writer);
    let mut frames = Frames::default();
    let mut under_way = FuturesUnordered::new();
    let mut open = true;
    let mut deadline = Instant::now() + limits.idle;
    while open || !under_way.is_empty() {
        let next = async {
            // Room for an answer first: who does not read is not read from. Fails only when the
            // writer has ended, which ends this loop too.
            let _ = replies.reserve().await;
            frames.next(&mut read).await
        };
        tokio::select! {
            biased;
            _ = &mut writer => return,
            Some(()) = under_way.next(), if !under_way.is_empty() => deadline = Instant::now() + limits.idle,
            () = limits.shutdown.cancelled(), if open => open = false,
            frame = next, if open && under_way.len() < limits.pipeline_max => match frame {
                Ok(Some(bytes)) if bytes.len() >= HEADER => {
                    limits.counters.queries.fetch_add(1, Relaxed);
                    deadline = Instant::now() + limits.idle;
                    under_way.push(handler(Question { bytes, peer, local, transport }, replies.clone()));
                }
                Ok(Some(_)) => {
                    limits.counters.garbage.fetch_add(1, Relaxed);
                    open = false;
                }
                Ok(None) => open = false,
                Err(_) => return,
            },
            () = sleep_until(deadline), if open => {
                if !under_way.is_empty() || writing.load(Relaxed) || replies.capacity() < QUEUE {
                    deadline = Instant::now() + limits.idle;
                } else {
                    limits.counters.idle_closed.fetch_add(1, Relaxed);
                    open = false;
                }
            }
        }
    }
    drop(under_way);
    drop(replies);
    // Every write has its own limit.
    let _ = writer.await;
}

/// Writes answers until all senders are gone; fails when the client is gone or too slow.
async fn write_loop<W: AsyncWrite + Unpin>(
    mut write: W,
    mut queue: mpsc::Receiver<Vec<u8>>,
    limits: &StreamLimits,
    writing: &AtomicBool,
) -> io::Result<()> {
    let mut out = Vec::new();
    while let Some(message) = queue.recv().await {
        writing.store(true, Relaxed);
        out.clear();
        frame(&mut out, &message, limits);
        while out.len() < BATCH {
            let Ok(message) = queue.try_recv() else { break };
            frame(&mut out, &message, limits);
        }
        let all = async {
            write.write_all(&out).await?;
            write.flush().await
        };
        match timeout(limits.write_timeout, all).await {
            Ok(done) => done?,
            Err(_) => {
                limits.counters.write_timeouts.fetch_add(1, Relaxed);
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        // One transfer does not leave its buffer to a connection that is idle from now on.
        out.shrink_to(BATCH);
        writing.store(false, Relaxed);
    }
    timeout(limits.write_timeout, write.shutdown()).await.unwrap_or(Ok(()))
}

fn frame(out: &mut Vec<u8>, message: &[u8], limits: &StreamLimits) {
    match u16::try_from(message.len()) {
        Ok(length) => {
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(message);
        }
        Err(_) => _ = limits.counters.too_long.fetch_add(1, Relaxed),
    }
}

/// Cuts a stream of octets into messages. `next` may be dropped at any time and loses nothing.
#[derive(Default)]
struct Frames(BytesMut);

impl Frames {
    /// The next message; `None` at the end of the stream.
    async fn next<R: AsyncRead + Unpin>(&mut self, read: &mut R) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(message) = self.cut() {
                return Ok(Some(message));
            }
            self.0.reserve(READ);
            if read.read_buf(&mut (&mut self.0).limit(READ)).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn cut(&mut self) -> Option<Vec<u8>> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let message = rest.get(..length)?.to_vec();
        self.0.advance(2 + length);
        if self.0.is_empty() {
            // An idle connection holds no buffer.
            self.0 = BytesMut::new();
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However the octets are cut on their way, the same messages come out.
        #[test]
        fn frames_do_not_depend_on_segments(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            cuts in prop::collection::vec(1usize..40, 1..50),
        ) {
            let mut octets = Vec::new();
            for message in &messages {
                octets.extend_from_slice(&(message.len() as u16).to_be_bytes());
                octets.extend_from_slice(message);
            }
            let mut frames = Frames::default();
            let mut found = Vec::new();
            let mut rest = &octets[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                frames.0.extend_from_slice(now);
                rest = later;
                found.extend(std::iter::from_fn(|| frames.cut()));
            }
            prop_assert_eq!(found, messages);
            prop_assert!(frames.0.is_empty());
        }
    }
}
