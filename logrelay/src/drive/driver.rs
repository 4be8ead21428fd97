//! The task of a destination's thread: take, deliver, try again, obey.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at},
};

use super::{Change, Command, IDLE_EVERY, PAUSE_MIN, Progress, STOP_WITHIN};
use crate::{
    destination::{Delivered, Sink},
    queue::{Queue, Queued},
    spool::{Chunk, Reader},
};

/// What is to be delivered.
enum Work {
    Spool(Chunk),
    Memory(Queued),
}

pub(super) struct Driver {
    pub(super) name: String,
    pub(super) number: u16,
    pub(super) sink: Sink,
    pub(super) reader: Reader,
    pub(super) queue: Arc<Queue>,
    pub(super) progress: Arc<Progress>,
    pub(super) inbox: mpsc::Receiver<Command>,
    pub(super) pause: Duration,
    pub(super) pause_max: Duration,
    pub(super) clock: fn() -> i64,
}

impl Driver {
    pub(super) async fn run(mut self) {
        let mut tick = interval(IDLE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.queue.set_takes_nothing(self.progress.paused.load(Relaxed));
        let done = loop {
            let paused = self.progress.paused.load(Relaxed);
            // In no fixed order: neither road may starve the other.
            let work = tokio::select! {
                command = self.inbox.recv() => match self.obey(command).await {
                    Some(done) => break done,
                    None => continue,
                },
                _ = tick.tick() => {
                    self.sink.idle((self.clock)()).await;
                    self.show();
                    continue;
                }
                Some(queued) = self.queue.take(), if !paused => Work::Memory(queued),
                chunk = self.reader.next(), if !paused => match chunk {
                    Some(chunk) => Work::Spool(chunk),
                    // The spool is closed; what is left in memory is still delivered until we are stopped.
                    None => break self.after_the_spool().await,
                },
            };
            if let Some(done) = self.deliver(work).await {
                break done;
            }
        };
        self.finish().await;
        let _ = done.send(());
    }

    /// Carries out a command; the answer that is waited for when it is to stop.
    async fn obey(&mut self, command: Option<Command>) -> Option<oneshot::Sender<()>> {
        match command {
            None => return Some(oneshot::channel().0),
            Some(Command::Stop(done)) => return Some(done),
            Some(Command::Reopen) => self.sink.reopen().await,
            Some(Command::Pause(paused)) => self.set_paused(paused),
            Some(Command::Change(Change { sink, paused, pause_max })) => {
                if let Some(sink) = sink {
                    let mut former = std::mem::replace(&mut self.sink, *sink);
                    former.close().await;
                    self.sink.continue_from(former);
                }
                self.pause_max = pause_max.max(PAUSE_MIN);
                self.set_paused(paused);
            }
        }
        // Whatever was told may have mended it.
        self.pause = PAUSE_MIN;
        None
    }

    fn set_paused(&self, paused: bool) {
        self.progress.paused.store(paused, Relaxed);
        self.queue.set_takes_nothing(paused || self.progress.trouble().is_some());
    }

    async fn after_the_spool(&mut self) -> oneshot::Sender<()> {
        loop {
            let done = tokio::select! {
                command = self.inbox.recv() => self.obey(command).await,
                Some(queued) = self.queue.take() => self.deliver(Work::Memory(queued)).await,
            };
            if let Some(done) = done {
                return done;
            }
        }
    }

    /// Delivers, trying again as often as it takes; the answer that is waited for when it was told to stop meanwhile.
    async fn deliver(&mut self, work: Work) -> Option<oneshot::Sender<()>> {
        let (mut rest, epoch) = match &work {
            Work::Spool(chunk) => (chunk.records(), chunk.epoch()),
            Work::Memory(queued) => (queued.batch.records(), 0),
        };
        let mut done = 0;
        loop {
            match self.sink.deliver(rest.clone(), epoch, self.number, (self.clock)()).await {
                Ok(delivered) => {
                    self.count(&work, delivered);
                    if let Work::Spool(chunk) = &work {
                        self.reader.commit(chunk.last());
                    }
                    self.settle(&work, u64::MAX);
                    self.healed();
                    return None;
                }
                Err(trouble) => {
                    self.count(&work, trouble.delivered);
                    done += trouble.delivered.messages + trouble.delivered.unsendable;
                    if let (Some(until), Work::Spool(_)) = (trouble.delivered_until, &work) {
                        self.reader.commit(until);
                    }
                    rest.by_ref().take(trouble.records).for_each(drop);
                    if trouble.records > 0 {
                        self.pause = PAUSE_MIN;
                    }
                    if !trouble.retry {
                        self.pause = self.pause_max;
                    }
                    self.fail(trouble.reason);
                    if let Some(stopped) = self.wait_out().await {
                        self.settle(&work, done);
                        return Some(stopped);
                    }
                }
            }
        }
    }

    /// A batch from memory is gone from the queue's books: so many of its messages are done, the others are given up.
    fn settle(&self, work: &Work, done: u64) {
        if let Work::Memory(queued) = work {
            let done = done.min(queued.count);
            self.queue.delivered(done);
            self.queue.given_up(queued.count - done);
        }
    }

    fn count(&self, work: &Work, delivered: Delivered) {
        let progress = &self.progress;
        let of_road = match work {
            Work::Spool(_) => &progress.from_spool,
            Work::Memory(_) => &progress.from_memory,
        };
        of_road.fetch_add(delivered.messages, Relaxed);
        progress.octets.fetch_add(delivered.octets, Relaxed);
        progress.unsendable.fetch_add(delivered.unsendable, Relaxed);
        if delivered.messages > 0 {
            progress.last_us.store((self.clock)(), Relaxed);
        }
    }

    fn healed(&mut self) {
        self.pause = PAUSE_MIN;
        if let Some((_, since_us)) = self.progress.healed() {
            self.queue.set_takes_nothing(self.progress.paused.load(Relaxed));
            let seconds = ((self.clock)() - since_us) / 1_000_000;
            tracing::info!(destination = self.name, seconds, "delivers again");
        }
    }

    fn fail(&mut self, reason: String) {
        if self.progress.trouble().is_none() {
            tracing::warn!(
                destination = self.name,
                reason,
                "cannot deliver; will try again, the spool keeps what is durable"
            );
        }
        self.queue.set_takes_nothing(true);
        self.progress.failed(reason, (self.clock)());
        self.show();
    }

    /// The pause before the next attempt, somewhat spread so that many relays do not return to a receiver at once.
    async fn wait_out(&mut self) -> Option<oneshot::Sender<()>> {
        let spread = u32::try_from((self.clock)().rem_euclid(256)).unwrap_or(0);
        let until = Instant::now() + self.pause * (256 + spread) / 384;
        self.pause = (self.pause * 2).min(self.pause_max);
        loop {
            tokio::select! {
                biased;
                command = self.inbox.recv() => match command {
                    // Something may be mended by it, or the spool's chunk is not wanted any more.
                    Some(Command::Stop(done)) => return Some(done),
                    None => return Some(oneshot::channel().0),
                    command => {
                        self.obey(command).await;
                        if !self.progress.paused.load(Relaxed) {
                            return None;
                        }
                    }
                },
                () = sleep_until(until), if !self.progress.paused.load(Relaxed) => return None,
            }
        }
    }

    fn show(&self) {
        *self.progress.state.lock().unwrap_or_else(PoisonError::into_inner) = self.sink.state();
        *self.progress.events.lock().unwrap_or_else(PoisonError::into_inner) = self.sink.counters().all();
    }

    /// Delivers what is in memory, which nobody else keeps, unless the destination is paused; and closes.
    async fn finish(&mut self) {
        let until = Instant::now() + STOP_WITHIN / 2;
        while self.queue.pending() > 0 && !self.progress.paused.load(Relaxed) {
            let Ok(Some(queued)) = timeout_at(until, self.queue.take()).await else { break };
            let delivery = self.sink.deliver(queued.batch.records(), 0, self.number, (self.clock)());
            let result = timeout_at(until, delivery).await;
            let (delivered, is_over) = match result {
                Ok(Ok(delivered)) => (delivered, false),
                Ok(Err(trouble)) => (trouble.delivered, true),
                Err(_) => {
                    tracing::warn!(destination = self.name, "what was left in memory could not be delivered in time");
                    (Delivered::default(), true)
                }
            };
            let work = Work::Memory(queued);
            self.count(&work, delivered);
            self.settle(&work, if is_over { delivered.messages + delivered.unsendable } else { u64::MAX });
            if is_over {
                break;
            }
        }
        self.queue.close().await;
        self.sink.close().await;
    }
}
