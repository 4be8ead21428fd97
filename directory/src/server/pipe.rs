//! The octets of one connection: what has arrived, and what waits to be sent.
//!
//! Both buffers are bounded by who calls: reading stops at a full message or at [`ROOM`], and answers are sent whenever
//! [`CHUNK`] octets wait, so a client that does not read stops its own operations and nothing else. While answers wait
//! for the client, what it sends is still taken in up to [`ROOM`], because an Abandon may be among it. A client that
//! takes nothing at all for [`WRITE_TIMEOUT`] is disconnected.

use std::{
    future::{Future, poll_fn},
    io, mem,
    pin::{Pin, pin},
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWrite},
    runtime::Handle,
    time::{Instant, Sleep, error::Elapsed, sleep_until, timeout_at},
};
use wire::Stream;

use super::counters::Counters;

/// Octets of requests that are taken in while others are being answered.
pub(super) const ROOM: usize = 64 << 10;
/// Octets of answers after which they are sent.
pub(super) const CHUNK: usize = 64 << 10;
/// Time in which a client must take at least one octet of what waits for it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time in which a client must take all that waits, and more for every [`RATE_MIN`] octets: who takes an octet now and
/// then holds a search, and what it keeps in memory, no longer than this.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// Octets per second that a client must take beyond that.
const RATE_MIN: usize = 8 << 10;
/// Octets of the first read; it grows while reads fill it.
const READ_MIN: usize = 4 << 10;
/// Time after which a connection that waits gives its buffers back: most connections wait most of the time.
const QUIET: Duration = Duration::from_secs(2);

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// The client is gone.
    Gone,
    /// Nothing complete arrived in time.
    Idle,
    /// The client does not read.
    Slow,
}

/// Nothing came by the deadline.
struct Late;

/// One connection's stream and buffers.
pub(super) struct Pipe<'a> {
    stream: Stream,
    counters: &'a Counters,
    /// Arrived, not yet decoded.
    pub(super) inbox: BytesMut,
    /// Not yet sent.
    pub(super) outbox: BytesMut,
    /// The client sends no more.
    pub(super) ended: bool,
    /// Octets of the outbox that were sent and are not counted yet.
    sent: u64,
    read_size: usize,
    timers: &'a Handle,
    /// Ends the wait for a client that sends nothing.
    alarm: Option<Pin<Box<Sleep>>>,
    write_timeout: Duration,
    flush_timeout: Duration,
    rate_min: usize,
    quiet: Duration,
}

impl<'a> Pipe<'a> {
    pub(super) fn new(stream: Stream, counters: &'a Counters, timers: &'a Handle) -> Self {
        let (inbox, outbox) = (BytesMut::new(), BytesMut::new());
        Self {
            stream,
            counters,
            timers,
            inbox,
            outbox,
            ended: false,
            sent: 0,
            read_size: READ_MIN,
            alarm: None,
            write_timeout: WRITE_TIMEOUT,
            flush_timeout: FLUSH_TIMEOUT,
            rate_min: RATE_MIN,
            quiet: QUIET,
        }
    }

    /// The stream, for StartTLS; what is buffered is lost.
    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    /// Waits from `now` on for more octets, until `deadline`. `whole` is the length of the message that has begun to
    /// arrive.
    pub(super) async fn read(&mut self, whole: Option<usize>, now: Instant, deadline: Instant) -> Result<(), Over> {
        let missing = whole.map_or(0, |whole| whole.saturating_sub(self.inbox.len())).min(ROOM);
        self.inbox.reserve(self.read_size.max(missing));
        let quiet = deadline.min(now + self.quiet);
        let mut read = poll_fn(|cx| self.poll_read(cx, quiet)).await;
        if read.is_err() {
            self.shrink();
            read = poll_fn(|cx| self.poll_read(cx, deadline)).await;
        }
        match read {
            Err(_) => Err(Over::Idle),
            Ok(Err(_)) => Err(Over::Gone),
            Ok(Ok(0)) => {
                self.ended = true;
                Ok(())
            }
            Ok(Ok(octets)) => {
                self.counters.bytes_in.fetch_add(octets as u64, Relaxed);
                if octets >= self.read_size {
                    self.read_size = (self.read_size * 2).min(ROOM);
                }
                Ok(())
            }
        }
    }

    /// Reads, or is late. The alarm goes off no later than `deadline` and is set anew only when it does: a client that
    /// asks all the time would have it set and taken back for each of its requests.
    fn poll_read(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<Result<io::Result<usize>, Late>> {
        if let Poll::Ready(read) = pin!(self.stream.read_buf(&mut self.inbox)).poll(cx) {
            return Poll::Ready(Ok(read));
        }
        let alarm = self.alarm.get_or_insert_with(|| {
            let _on = self.timers.enter();
            Box::pin(sleep_until(deadline))
        });
        if alarm.deadline() > deadline {
            alarm.as_mut().reset(deadline);
        }
        while alarm.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(Err(Late));
            }
            alarm.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    /// Gives back what an idle connection does not need.
    fn shrink(&mut self) {
        self.read_size = READ_MIN;
        let mut inbox = BytesMut::with_capacity(self.inbox.len() + 512);
        inbox.extend_from_slice(&self.inbox);
        self.inbox = inbox;
        if self.outbox.is_empty() {
            self.outbox = BytesMut::new();
        }
    }

    /// Sends all that waits.
    pub(super) async fn flush(&mut self) -> Result<(), Over> {
        // As a rule the socket takes it at once, and no time needs to be told.
        match poll_fn(|cx| Poll::Ready(self.poll_out(cx))).await {
            Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(_)) => Err(Over::Gone),
            Poll::Pending => self.flush_slowly().await,
        }
    }

    async fn flush_slowly(&mut self) -> Result<(), Over> {
        let seconds = u64::try_from(self.outbox.len() / self.rate_min.max(1)).unwrap_or(u64::MAX);
        let end = Instant::now() + self.flush_timeout + Duration::from_secs(seconds);
        while !self.outbox.is_empty() {
            let patience = end.min(Instant::now() + self.write_timeout);
            match self.until(patience, Self::poll_progress).await {
                Err(_) => return Err(Over::Slow),
                Ok(Err(_)) => return Err(Over::Gone),
                Ok(Ok(())) => {}
            }
        }
        match self.until(Instant::now() + self.write_timeout, Self::poll_out).await {
            Err(_) => Err(Over::Slow),
            Ok(Err(_)) => Err(Over::Gone),
            Ok(Ok(())) => Ok(()),
        }
    }

    /// Sends all that waits, what TLS has kept included.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            ready!(self.poll_progress(cx))?;
        }
        self.counters.bytes_out.fetch_add(mem::take(&mut self.sent), Relaxed);
        if self.outbox.capacity() > 2 * CHUNK {
            self.outbox = BytesMut::new();
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Writes something; while that is not possible, takes in what arrives.
    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_write(cx, &self.outbox) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(octets)) => {
                self.outbox.advance(octets);
                self.sent += octets as u64;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.poll_intake(cx)?;
                Poll::Pending
            }
        }
    }

    /// Takes in what has arrived, without waiting.
    pub(super) async fn peek(&mut self) -> Result<(), Over> {
        poll_fn(|cx| Poll::Ready(self.poll_intake(cx))).await.map_err(|_| Over::Gone)
    }

    fn poll_intake(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while !self.ended && self.inbox.len() < ROOM {
            self.inbox.reserve(READ_MIN);
            let read = pin!(self.stream.read_buf(&mut self.inbox)).poll(cx);
            match read {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(octets)) => {
                    self.counters.bytes_in.fetch_add(octets as u64, Relaxed);
                }
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Closes our side.
    pub(super) async fn close(mut self) {
        // The client may be gone, and it is over either way.
        let shut = |pipe: &mut Self, cx: &mut Context<'_>| Pin::new(&mut pipe.stream).poll_shutdown(cx);
        let _ = self.until(Instant::now() + Duration::from_secs(1), shut).await;
    }

    /// Waits for something until a deadline, which the runtime of the timers ends.
    async fn until<T>(
        &mut self,
        deadline: Instant,
        mut poll: impl FnMut(&mut Self, &mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Elapsed> {
        let timers = self.timers;
        let end = {
            let _on = timers.enter();
            timeout_at(deadline, poll_fn(|cx| poll(self, cx)))
        };
        end.await
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn what_arrives_while_the_client_does_not_read_is_taken_in_up_to_a_bound() {
        let (mut client, server) = pair().await;
        let (counters, timers) = (Counters::default(), Handle::current());
        let mut pipe = Pipe::new(Stream::Plain(server), &counters, &timers);
        pipe.write_timeout = Duration::from_millis(300);
        pipe.outbox.resize(64 << 20, 0);
        let sender = tokio::spawn(async move {
            let sent = client.write_all(&vec![1; 16 << 20]).await;
            (sent.is_ok(), client)
        });
        assert_eq!(pipe.flush().await, Err(Over::Slow));
        assert!(pipe.inbox.len() >= ROOM && pipe.inbox.len() < 3 * ROOM, "{}", pipe.inbox.len());
        sender.abort();
    }

    #[tokio::test]
    async fn who_takes_an_octet_now_and_then_is_too_slow() {
        let (mut client, server) = pair().await;
        let (counters, timers) = (Counters::default(), Handle::current());
        let mut pipe = Pipe::new(Stream::Plain(server), &counters, &timers);
        (pipe.flush_timeout, pipe.rate_min) = (Duration::from_millis(200), usize::MAX);
        pipe.outbox.resize(256 << 20, 0);
        let reader = tokio::spawn(async move {
            let mut some = vec![0; 64 << 10];
            while client.read(&mut some).await.is_ok_and(|octets| octets > 0) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert_eq!(pipe.flush().await, Err(Over::Slow));
        reader.abort();
    }

    #[tokio::test]
    async fn a_connection_that_waits_holds_little() {
        let (mut client, server) = pair().await;
        let (counters, timers) = (Counters::default(), Handle::current());
        let mut pipe = Pipe::new(Stream::Plain(server), &counters, &timers);
        pipe.quiet = Duration::from_millis(10);
        client.write_all(&[1; 3000]).await.unwrap();
        while pipe.inbox.len() < 3000 {
            pipe.read(None, Instant::now(), Instant::now() + Duration::from_secs(5)).await.unwrap();
        }
        pipe.inbox.advance(2990);
        pipe.outbox.reserve(CHUNK);
        assert_eq!(pipe.read(None, Instant::now(), Instant::now() + Duration::from_millis(50)).await, Err(Over::Idle));
        assert_eq!(pipe.inbox[..], [1; 10]);
        assert!(pipe.inbox.capacity() < 1024 && pipe.outbox.capacity() == 0);
    }

    #[tokio::test]
    async fn a_silent_client_is_idle_and_a_gone_one_is_at_its_end() {
        let (client, server) = pair().await;
        let (counters, timers) = (Counters::default(), Handle::current());
        let mut pipe = Pipe::new(Stream::Plain(server), &counters, &timers);
        let soon = Instant::now() + Duration::from_millis(20);
        assert_eq!(pipe.read(None, Instant::now(), soon).await, Err(Over::Idle));
        drop(client);
        assert_eq!(pipe.read(None, Instant::now(), Instant::now() + Duration::from_secs(5)).await, Ok(()));
        assert!(pipe.ended);
    }
}
