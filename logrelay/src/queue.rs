//! The way of messages that do not go through the spool: a queue in memory before each destination.
//!
//! Bounded by octets. Whoever can wait does so while the destination makes progress; when it fails, or cannot wait, the
//! newest messages are dropped and counted, as with syslog-ng's soft flow control. Nothing of it survives a crash.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::message::Batch;

/// Batches in a queue at most, besides the limit in octets.
const BATCHES_MAX: usize = 4_096;

/// The queue before one destination.
#[derive(Debug)]
pub struct Queue {
    sender: mpsc::Sender<Queued>,
    receiver: Mutex<mpsc::Receiver<Queued>>,
    room: Arc<Semaphore>,
    octets_max: usize,
    takes_nothing: AtomicBool,
    /// What was done when somebody waited in vain: nobody waits again until that has changed. `u64::MAX`: nobody did.
    stuck_at: AtomicU64,
    look_every: Duration,
    /// What happened.
    pub counters: QueueCounters,
}

/// A batch that waits, with its claim on the room.
#[derive(Debug)]
pub struct Queued {
    /// The records; those of other destinations among them are not this one's business.
    pub batch: Arc<Batch>,
    /// Records for this destination.
    pub count: u64,
    _room: OwnedSemaphorePermit,
}

/// Counts since the start, in messages.
#[derive(Debug, Default)]
pub struct QueueCounters {
    /// Put into the queue.
    pub accepted: AtomicU64,
    /// Delivered, or given up when the destination was stopped.
    pub done: AtomicU64,
    /// Of those, given up.
    pub given_up: AtomicU64,
    /// Dropped before: there was no room, and the sender cannot wait.
    pub dropped_full: AtomicU64,
    /// Dropped before: there was no room, and the destination takes nothing.
    pub dropped_failing: AtomicU64,
}

impl Queue {
    /// A queue for so many octets.
    pub fn new(octets_max: usize) -> Self {
        let octets_max = octets_max.clamp(1 << 20, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        // One place more than can ever be taken, since each batch takes at least its share of the octets.
        let (sender, receiver) = mpsc::channel(BATCHES_MAX + 1);
        let room = Arc::new(Semaphore::new(octets_max));
        let receiver = Mutex::new(receiver);
        let (takes_nothing, stuck_at) = (AtomicBool::new(false), AtomicU64::new(u64::MAX));
        let (look_every, counters) = (LOOK_EVERY, QueueCounters::default());
        Self { sender, receiver, room, octets_max, takes_nothing, stuck_at, look_every, counters }
    }

    /// Says whether the destination takes nothing for now, because it fails or is paused: then nobody waits for it.
    pub fn set_takes_nothing(&self, takes_nothing: bool) {
        self.takes_nothing.store(takes_nothing, Relaxed);
    }

    /// Puts a batch in, waiting for room while the destination makes progress. `count` records of it are for this destination.
    pub async fn put(&self, batch: &Arc<Batch>, count: u64) {
        let permits = self.permits(batch);
        if let Ok(room) = self.room.clone().try_acquire_many_owned(permits) {
            return self.insert(batch, count, room);
        }
        // A destination that begins to fail while we wait gives room back only when it drops or delivers, and one whose
        // disk hangs cannot even say that it fails; so the wait is looked at again from time to time.
        let mut claim = std::pin::pin!(self.room.clone().acquire_many_owned(permits));
        let (mut done, mut looks) = (self.counters.done.load(Relaxed), 0);
        while !self.takes_nothing.load(Relaxed) && self.stuck_at.load(Relaxed) != done {
            looks += 1;
            match self.counters.done.load(Relaxed) {
                now if now != done => (done, looks) = (now, 0),
                _ if looks > LOOKS_MAX => self.stuck_at.store(done, Relaxed),
                _ => {}
            }
            match tokio::time::timeout(self.look_every, &mut claim).await {
                Ok(Ok(room)) => return self.insert(batch, count, room),
                // The destination is gone.
                Ok(Err(_)) => break,
                Err(_) => {}
            }
        }
        self.counters.dropped_failing.fetch_add(count, Relaxed);
    }

    /// Puts a batch in, or drops and counts it when there is no room.
    pub fn put_or_drop(&self, batch: &Arc<Batch>, count: u64) {
        match self.room.clone().try_acquire_many_owned(self.permits(batch)) {
            Ok(room) => self.insert(batch, count, room),
            Err(_) if self.takes_nothing.load(Relaxed) => {
                self.counters.dropped_failing.fetch_add(count, Relaxed);
            }
            Err(_) => {
                self.counters.dropped_full.fetch_add(count, Relaxed);
            }
        }
    }

    /// Counts what its sender has given up before there was room.
    pub fn drop_unsent(&self, count: u64) {
        self.counters.dropped_failing.fetch_add(count, Relaxed);
    }

    /// Who has room has a place.
    fn insert(&self, batch: &Arc<Batch>, count: u64, room: OwnedSemaphorePermit) {
        match self.sender.try_send(Queued { batch: batch.clone(), count, _room: room }) {
            Ok(()) => self.counters.accepted.fetch_add(count, Relaxed),
            Err(_) => self.counters.dropped_failing.fetch_add(count, Relaxed),
        };
    }

    /// At least a share of the octets, so that places cannot run out before them; a batch larger than the whole queue
    /// goes in alone.
    fn permits(&self, batch: &Batch) -> u32 {
        let octets = batch.bytes().len().max(self.octets_max / BATCHES_MAX);
        octets.min(self.octets_max).try_into().unwrap_or(u32::MAX)
    }

    /// Takes the next batch out; for the destination alone. Safe to cancel.
    pub async fn take(&self) -> Option<Queued> {
        self.receiver.lock().await.recv().await
    }

    /// So many messages that were taken out are delivered.
    pub fn delivered(&self, count: u64) {
        self.counters.done.fetch_add(count, Relaxed);
    }

    /// So many messages that were taken out will not be.
    pub fn given_up(&self, count: u64) {
        self.counters.given_up.fetch_add(count, Relaxed);
        self.counters.done.fetch_add(count, Relaxed);
    }

    /// Takes nothing any more: who waits for room is let go, and what is left is given up.
    pub async fn close(&self) {
        self.set_takes_nothing(true);
        self.room.close();
        let mut receiver = self.receiver.lock().await;
        receiver.close();
        while let Some(left) = receiver.recv().await {
            self.given_up(left.count);
        }
    }

    /// Messages that wait, or are being delivered.
    pub fn pending(&self) -> u64 {
        let done = self.counters.done.load(Relaxed);
        self.counters.accepted.load(Relaxed).saturating_sub(done)
    }
}

/// How often a wait for room is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How many looks without any progress end a wait.
const LOOKS_MAX: u32 = 25;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    fn batch(octets: usize) -> Arc<Batch> {
        let mut batch = Batch::default();
        batch.push(&Message::unread(&vec![b'x'; octets], 0));
        Arc::new(batch)
    }

    #[tokio::test]
    async fn who_can_wait_waits_while_there_is_progress() {
        let queue = Arc::new(Queue::new(1 << 20));
        let half = batch(600 << 10);
        queue.put(&half, 1).await;
        queue.put_or_drop(&half, 1);
        assert_eq!(queue.counters.dropped_full.load(Relaxed), 1);
        let waiting = tokio::spawn({
            let (queue, half) = (queue.clone(), half.clone());
            async move { queue.put(&half, 1).await }
        });
        tokio::task::yield_now().await;
        assert_eq!((queue.pending(), waiting.is_finished()), (1, false));
        let first = queue.take().await.unwrap();
        assert_eq!((first.count, queue.pending()), (1, 1));
        queue.delivered(first.count);
        drop(first);
        waiting.await.unwrap();
        assert_eq!(queue.pending(), 1);
        assert_eq!(queue.counters.dropped_failing.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_destination_that_fails() {
        let queue = Arc::new(Queue::new(1 << 20));
        let whole = batch(3 << 19);
        queue.put(&whole, 1).await;
        let waiting = tokio::spawn({
            let (queue, whole) = (queue.clone(), whole.clone());
            async move { queue.put(&whole, 3).await }
        });
        tokio::task::yield_now().await;
        queue.set_takes_nothing(true);
        waiting.await.unwrap();
        assert_eq!(queue.counters.dropped_failing.load(Relaxed), 3);
        queue.put(&whole, 2).await;
        assert_eq!(queue.counters.dropped_failing.load(Relaxed), 5);
        assert_eq!(queue.pending(), 1);
    }

    #[tokio::test]
    async fn a_destination_that_hangs_is_waited_for_once_and_not_for_ever() {
        let queue = Queue { look_every: Duration::from_millis(1), ..Queue::new(1 << 20) };
        let whole = batch(3 << 19);
        queue.put(&whole, 1).await;
        let hung = queue.take().await.unwrap();
        let begun = std::time::Instant::now();
        queue.put(&whole, 3).await;
        assert_eq!(queue.counters.dropped_failing.load(Relaxed), 3);
        assert!(begun.elapsed() >= queue.look_every * LOOKS_MAX);
        let again = std::pin::pin!(queue.put(&whole, 2));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(again.poll(&mut context).is_ready(), "nobody waits again");
        assert_eq!(queue.counters.dropped_failing.load(Relaxed), 5);
        queue.delivered(hung.count);
        drop(hung);
        queue.put(&whole, 4).await;
        assert_eq!(queue.pending(), 4);
    }

    #[tokio::test]
    async fn many_small_batches_do_not_fill_the_places_before_the_octets() {
        let queue = Queue::new(1 << 20);
        let small = batch(1);
        for _ in 0..2 * BATCHES_MAX {
            queue.put_or_drop(&small, 1);
        }
        assert_eq!(queue.pending(), BATCHES_MAX as u64);
        assert_eq!(queue.counters.dropped_full.load(Relaxed), BATCHES_MAX as u64);
        queue.set_takes_nothing(true);
        queue.put(&small, 1).await;
        assert_eq!(queue.counters.dropped_failing.load(Relaxed), 1);
        queue.close().await;
        queue.put(&small, 1).await;
        assert_eq!((queue.pending(), queue.counters.given_up.load(Relaxed)), (0, BATCHES_MAX as u64));
    }
}
