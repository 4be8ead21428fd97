//! The client's end of a RELP connection, and what it is owed: answers go out when what they acknowledge is durable.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Sleep, sleep, timeout},
};

use super::{
    serve::End,
    session::{Answers, server_close},
};
use crate::{
    intake::Stopping,
    source::{Counters, Road, input::Input},
};

/// Octets of answers that wait for the client at most, before more are made.
const OUT_MAX: usize = 64 << 10;
/// Time in which the client must take some of what waits for it.
const WRITE: Duration = Duration::from_secs(30);
/// Time that answers have at the end. With twice [`LINGER`] it is less than the grace that [`wire::Limits`] gives.
const FINISH: Duration = Duration::from_secs(2);
/// Time that the client has to close its end, so that the last answers reach it.
const LINGER: Duration = Duration::from_secs(1);

type Durable = Pin<Box<dyn Future<Output = Result<(), Stopping>> + Send>>;

/// The connection itself, and what it is owed.
pub(super) struct Link<'a, R: Road, S> {
    pub(super) stream: S,
    pub(super) input: Input,
    /// Answers to be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    unflushed: bool,
    /// Runs while the client takes nothing.
    stuck: Option<Pin<Box<Sleep>>>,
    /// Answers, and when they may go out.
    pub(super) owed: VecDeque<(Answers, Option<R::Receipt>)>,
    /// The wait for the first of them.
    front: Option<Durable>,
    counters: &'a Counters,
}

impl<'a, R: Road, S: AsyncRead + AsyncWrite + Unpin> Link<'a, R, S> {
    pub(super) fn new(stream: S, input: Input, counters: &'a Counters) -> Self {
        Self {
            stream,
            input,
            out: Vec::new(),
            written: 0,
            unflushed: false,
            stuck: None,
            owed: VecDeque::new(),
            front: None,
            counters,
        }
    }

    /// Sends the answers that may go out. Ready only when the connection must end.
    pub(super) fn poll_answers(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            match self.poll_write(cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(error.into()),
                Poll::Ready(Ok(())) => self.stuck = None,
                Poll::Pending => {
                    let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(WRITE)));
                    ready!(stuck.as_mut().poll(cx));
                    return Poll::Ready(End::Stuck);
                }
            }
            let Some((_, receipt)) = self.owed.front_mut() else { return Poll::Pending };
            match receipt.take() {
                Some(receipt) if !R::is_durable(&receipt) => self.front = Some(Box::pin(R::durable(receipt))),
                _ => {}
            }
            if let Some(front) = &mut self.front {
                if let Err(stopping) = ready!(front.as_mut().poll(cx)) {
                    return Poll::Ready(stopping.into());
                }
                self.front = None;
            }
            if let Some((answers, _)) = self.owed.pop_front() {
                answers.write(&mut self.out);
                self.counters.relp_answered.fetch_add(answers.count(), Relaxed);
            }
        }
    }

    /// Writes what waits. Pending while the client takes nothing; a little may wait without that.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.out.get(self.written..) {
            match Pin::new(&mut self.stream).poll_write(cx, rest)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => {
                    self.written += count;
                    self.unflushed = true;
                    self.stuck = None;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        self.out.clear();
        self.out.shrink_to(OUT_MAX);
        self.written = 0;
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what is owed, if it becomes durable soon, and closes.
    pub(super) async fn finish(mut self, end: &End) {
        let connected = !matches!(end, End::Io(_) | End::Stuck);
        if connected && !matches!(end, End::Stopping(_)) {
            let _ = timeout(FINISH, self.answer_all()).await;
        }
        let left: u64 = self.owed.iter().map(|(answers, _)| answers.count()).sum();
        self.counters.relp_unanswered.fetch_add(left, Relaxed);
        self.owed.clear();
        self.front = None;
        if !connected {
            return;
        }
        // What the session owes may not follow what is not owed: a hint is no answer, and always allowed.
        server_close(&mut self.out);
        let _ = timeout(LINGER, self.answer_all()).await;
        let _ = timeout(LINGER, async {
            self.stream.shutdown().await?;
            // With octets unread, closing resets the connection and the client may lose the last answers.
            while self.stream.read(&mut [0; 512]).await? > 0 {}
            io::Result::Ok(())
        })
        .await;
    }

    async fn answer_all(&mut self) {
        poll_fn(|cx| {
            let polled = self.poll_answers(cx);
            let done = self.owed.is_empty() && self.out.is_empty() && !self.unflushed;
            if polled.is_ready() || done { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
