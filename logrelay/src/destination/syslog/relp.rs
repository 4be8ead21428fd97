//! RELP towards a receiver (librelp, doc/relp.md): frames go out while answers come in, and only what was answered with
//! `200` counts.
//!
//! We offer the commands `syslog` and `gatehouse`; a receiver that offers `gatehouse` too is a relay of ours and gets whole
//! records. Limits: the window, 64 KiB of frames that wait for the socket, answers of 64 KiB, `timeout_s` without progress.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, sleep_until, timeout},
};

use super::{
    connect::{Connection, Heard},
    feed::Feed,
    target::Transport,
    window::Window,
};
use crate::{
    destination::Delivered,
    relp::frame::{Decoder, Frame, Response, encode, offer},
};

/// Frames that may be unacknowledged unless the operator says otherwise; as librelp.
const WINDOW: usize = 128;
/// The same towards a relay of ours, which acknowledges when its disk has the records: groups must be large.
const WINDOW_RECORDS: usize = 4096;
/// Octets of frames after which they are written.
const WRITE: usize = 64 << 10;
/// Octets of an answer at most.
const ANSWER_MAX: usize = 64 << 10;
/// Reads of 16 KiB at most, when what is there already is taken in at once.
const READS: usize = 64;
/// Longest wait for the answer to `close`.
const CLOSE: Duration = Duration::from_secs(1);
const OFFERS: &[u8] = b"relp_version=0\nrelp_software=gatehouse\ncommands=syslog,gatehouse";

/// A session with a receiver.
#[derive(Debug)]
pub(super) struct Relp {
    connection: Connection,
    transport: Transport,
    patience: Duration,
    /// Octets that were read and are no whole frame yet.
    input: Vec<u8>,
    /// Frames that wait for the socket.
    output: Vec<u8>,
    written: usize,
    /// Octets written in all.
    wrote: u64,
    flushed: bool,
    window: Window,
    /// Whether the receiver takes records.
    records: bool,
    /// The receiver said that it closes.
    closing: bool,
    /// Data of the next frame; kept for its memory.
    data: Vec<u8>,
}

/// How a chunk ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) delivered: Delivered,
    /// Index of the first record that is not done; the length of the chunk and more if all are.
    pub(super) next_record: usize,
    /// Last sequence that was acknowledged; 0 if there was none.
    pub(super) acked: u64,
    /// Frames that were made and not acknowledged.
    pub(super) open: u64,
    /// What went wrong; the session is over then.
    pub(super) failed: Option<Failed>,
}

/// Why a session is over.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) reason: String,
    /// The records that were answered with `500`.
    pub(super) refused: Vec<usize>,
}

impl From<String> for Failed {
    fn from(reason: String) -> Self {
        Self { reason, refused: Vec::new() }
    }
}

impl Relp {
    /// Opens a session.
    ///
    /// # Errors
    /// The receiver does not answer, refuses, or does not speak RELP.
    pub(super) async fn open(
        connection: Connection,
        transport: Transport,
        window: Option<usize>,
        patience: Duration,
    ) -> Result<Self, String> {
        let mut session = Self {
            connection,
            transport,
            patience,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            wrote: 0,
            flushed: true,
            window: Window::after(1, window.unwrap_or(WINDOW)),
            records: false,
            closing: false,
            data: Vec::new(),
        };
        encode(1, b"open", OFFERS, &mut session.output);
        let answered = timeout(patience, async {
            loop {
                session.pump().await?;
                let Some((frame, length)) = decode(&session.input)? else { continue };
                let answer = Response::parse(frame.data).filter(|_| frame.txnr == 1 && frame.command == b"rsp");
                let Some(answer) = answer else { return Err("it does not answer `open` as RELP wants it".to_owned()) };
                if answer.code != 200 {
                    return Err(format!("it refuses the session: {}", String::from_utf8_lossy(answer.text)));
                }
                let takes = offer(answer.data, "commands").is_some_and(|mut all| all.any(|one| one == b"gatehouse"));
                session.input.drain(..length);
                return Ok(takes);
            }
        });
        let late = |_| format!("it does not answer `open` within {} s; is it a RELP receiver?", patience.as_secs());
        session.records = answered.await.map_err(late)??;
        if session.records {
            session.window = Window::after(1, window.unwrap_or(WINDOW_RECORDS));
        }
        Ok(session)
    }

    /// Sends what `feed` has and waits until all of it is acknowledged.
    pub(super) async fn deliver(&mut self, feed: &mut Feed<'_>) -> End {
        let mut end = End { delivered: Delivered::default(), next_record: 0, acked: 0, open: 0, failed: None };
        let result = self.send(feed, &mut end).await;
        end.failed = result.err();
        end.next_record = match (self.window.front(), &end.failed) {
            (Some(record), _) => record,
            (None, None) => usize::MAX,
            (None, Some(_)) => end.next_record,
        };
        end.open = self.window.len() as u64;
        end.delivered.unsendable = feed.count_unsendable(end.next_record);
        end
    }

    async fn send(&mut self, feed: &mut Feed<'_>, end: &mut End) -> Result<(), Failed> {
        let mut more = true;
        let mut deadline = Instant::now() + self.patience;
        loop {
            if more && !self.closing && self.window.wants_more() {
                more = self.fill(feed);
            }
            if self.window.is_empty() && (!more || self.closing) && self.output.is_empty() {
                return if more { Err("the receiver closes the session".to_owned().into()) } else { Ok(()) };
            }
            let wrote = self.wrote;
            let moved = tokio::select! {
                biased;
                moved = self.pump() => moved,
                () = sleep_until(deadline) => {
                    let seconds = self.patience.as_secs();
                    return Err(format!("the receiver acknowledged nothing within {seconds} s").into());
                }
            };
            let before = end.delivered.messages;
            // Answers that came before the connection broke count.
            self.answers(feed, end)?;
            moved?;
            if end.delivered.messages > before || self.wrote != wrote {
                deadline = Instant::now() + self.patience;
            }
        }
    }

    /// Makes frames until the window or the buffer is full; false when there are no more messages.
    fn fill(&mut self, feed: &mut Feed<'_>) -> bool {
        let command: &[u8] = if self.records { b"gatehouse" } else { b"syslog" };
        while !self.window.is_full() && self.output.len() < WRITE {
            let Some(item) = feed.next(self.transport, self.records, &mut self.data) else { return false };
            let before = self.output.len();
            encode(self.window.next(), command, &self.data, &mut self.output);
            self.window.push(item.record, item.sequence, self.output.len() - before);
        }
        true
    }

    /// Reads the answers that have come.
    fn answers(&mut self, feed: &Feed<'_>, end: &mut End) -> Result<(), Failed> {
        let (mut done, mut refused, mut said) = (0, Vec::new(), None);
        while let Some((frame, length)) = decode(self.input.get(done..).unwrap_or_default())? {
            done += length;
            if frame.txnr == 0 {
                self.closing |= frame.command == b"serverclose";
                continue;
            }
            let waiting = self.window.get(frame.txnr);
            let answer = Response::parse(frame.data).filter(|_| frame.command == b"rsp");
            let (Some(waiting), Some(answer)) = (waiting, answer) else {
                return Err("the receiver answers something that was not sent".to_owned().into());
            };
            if answer.code != 200 {
                said.get_or_insert_with(|| String::from_utf8_lossy(answer.text).into_owned());
                refused.push(waiting.record);
                continue;
            }
            self.window.ack(frame.txnr);
            while let Some(acked) = self.window.pop() {
                end.delivered.add(acked.octets);
                end.next_record = acked.record + 1;
                if acked.sequence != 0 {
                    end.acked = acked.sequence;
                }
                feed.acked();
            }
        }
        self.input.drain(..done);
        match said {
            Some(said) => Err(Failed { reason: format!("the receiver refuses a message: {said}"), refused }),
            None => Ok(()),
        }
    }

    /// Writes and reads what can be, and waits until something can. After an error what had come before is in `input`.
    async fn pump(&mut self) -> Result<(), String> {
        let Err(error) = poll_fn(|cx| self.poll_pump(cx)).await else { return Ok(()) };
        tokio::task::yield_now().await;
        self.drain();
        Err(format!("the connection broke: {error}"))
    }

    /// Takes in what is there; false if the connection is at its end.
    fn drain(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..READS {
            match self.poll_input(&mut context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return false,
                Poll::Pending => break,
            }
        }
        true
    }

    fn poll_pump(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut moved = false;
        while let Some(rest) = self.output.get(self.written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.connection).poll_write(cx, rest)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(n) => {
                    self.written += n;
                    self.wrote += n as u64;
                    (self.flushed, moved) = (false, true);
                }
                Poll::Pending => break,
            }
        }
        if !self.output.is_empty() && self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
        if !self.flushed && Pin::new(&mut self.connection).poll_flush(cx)?.is_ready() {
            self.flushed = true;
        }
        match self.poll_input(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending if moved => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut octets = [0; 16 << 10];
        let mut buffer = ReadBuf::new(&mut octets);
        ready!(Pin::new(&mut self.connection).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the receiver ended it")));
        }
        self.input.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }

    /// Whether the receiver takes records of ours.
    pub(super) fn takes_records(&self) -> bool {
        self.records
    }

    /// Whether the receiver has ended the session, or said that it will.
    pub(super) async fn is_over(&mut self) -> bool {
        match self.connection.peek() {
            Heard::Nothing => return self.closing,
            Heard::Words => tokio::task::yield_now().await,
            Heard::End => return true,
        }
        if self.closing || !self.drain() {
            return true;
        }
        // Between chunks nothing is unanswered, so what arrives is a hint: number 0.
        loop {
            match decode(&self.input) {
                Ok(Some((frame, length))) if frame.txnr == 0 => {
                    self.closing |= frame.command == b"serverclose";
                    self.input.drain(..length);
                }
                Ok(None) => return self.closing,
                Ok(Some(_)) | Err(_) => return true,
            }
        }
    }

    /// Ends the session in order.
    pub(super) async fn close(mut self) {
        encode(self.window.next(), b"close", b"", &mut self.output);
        let _ = timeout(CLOSE, async {
            while self.pump().await.is_ok() && self.input.is_empty() {}
            self.connection.shutdown().await
        })
        .await;
    }
}

fn decode(input: &[u8]) -> Result<Option<(Frame<'_>, usize)>, String> {
    Decoder { max_data: ANSWER_MAX }.decode(input).map_err(|bad| format!("the receiver's answer is not RELP: {bad}"))
}
