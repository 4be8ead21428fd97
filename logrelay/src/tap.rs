//! Those who watch messages as they come in (`gatehouse logs tail`). Watching costs nothing while nobody does; a watcher
//! that is too slow misses messages and is told how many.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::message::Batch;

/// Watchers at once.
pub const WATCHERS_MAX: usize = 16;
/// Batches that wait for a watcher.
const BATCHES_MAX: usize = 32;

#[derive(Debug)]
struct Watcher {
    sender: mpsc::Sender<Arc<Batch>>,
    missed: std::sync::atomic::AtomicU64,
}

/// All watchers.
#[derive(Debug, Default)]
pub struct Taps {
    list: ArcSwap<Vec<Arc<Watcher>>>,
    change: Mutex<()>,
}

/// One who watches. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    receiver: mpsc::Receiver<Arc<Batch>>,
    watcher: Arc<Watcher>,
}

impl Taps {
    /// Begins to watch; `None` when too many do.
    pub fn watch(&self) -> Option<Watch> {
        let _one = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> = self.list.load().iter().filter(|watcher| !watcher.sender.is_closed()).cloned().collect();
        if list.len() >= WATCHERS_MAX {
            return None;
        }
        let (sender, receiver) = mpsc::channel(BATCHES_MAX);
        let watcher = Arc::new(Watcher { sender, missed: 0.into() });
        list.push(watcher.clone());
        self.list.store(Arc::new(list));
        Some(Watch { receiver, watcher })
    }

    /// Whether anybody watches.
    pub fn is_watched(&self) -> bool {
        !self.list.load().is_empty()
    }

    /// Shows a batch to all who watch.
    pub fn show(&self, batch: &Arc<Batch>) {
        let list = self.list.load();
        for watcher in list.iter() {
            if watcher.sender.try_send(batch.clone()).is_err() {
                watcher.missed.fetch_add(u64::from(batch.count()), std::sync::atomic::Ordering::Relaxed);
            }
        }
        if list.iter().any(|watcher| watcher.sender.is_closed()) {
            let _one = self.change.lock().unwrap_or_else(PoisonError::into_inner);
            let open = self.list.load().iter().filter(|watcher| !watcher.sender.is_closed()).cloned().collect();
            self.list.store(Arc::new(open));
        }
    }
}

impl Watch {
    /// The next batch; `None` when the relay has ended.
    pub async fn next(&mut self) -> Option<Arc<Batch>> {
        self.receiver.recv().await
    }

    /// Messages that were missed since this was last asked.
    pub fn missed(&self) -> u64 {
        self.watcher.missed.swap(0, std::sync::atomic::Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    #[tokio::test]
    async fn who_is_slow_is_told_what_was_missed() {
        let taps = Taps::default();
        let mut watch = taps.watch().unwrap();
        let mut batch = Batch::default();
        batch.push(&Message::unread(b"x", 0));
        let batch = Arc::new(batch);
        for _ in 0..BATCHES_MAX + 3 {
            taps.show(&batch);
        }
        assert_eq!((watch.next().await.unwrap().count(), watch.missed(), watch.missed()), (1, 3, 0));
        drop(watch);
        taps.show(&batch);
        assert!(!taps.is_watched());
    }
}
