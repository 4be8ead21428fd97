//! The line of those who wait for room in the queue: only the first is woken, and the next one's turn comes when that one
//! has what it wants, or gives up. So a large batch is not passed by small ones that fit sooner, and nobody is woken in
//! vain.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::{Mutex, MutexGuard, Notify};

/// The line.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Held by the first one. Its waiters are served in order.
    first: Mutex<()>,
    /// How many stand in line.
    length: AtomicUsize,
    moved: Notify,
}

/// A place in the line, left when dropped.
struct Place<'a>(&'a Line);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.length.fetch_sub(1, Relaxed);
    }
}

/// The first place.
pub(super) struct Turn<'a> {
    _first: MutexGuard<'a, ()>,
    place: Place<'a>,
}

impl Line {
    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.length.load(Relaxed) == 0
    }

    /// Waits until all who came before are gone.
    pub(super) async fn turn(&self) -> Turn<'_> {
        self.length.fetch_add(1, Relaxed);
        let place = Place(self);
        Turn { _first: self.first.lock().await, place }
    }

    /// There may be room, or none any more: the first one looks again. Kept if nobody waits just now.
    pub(super) fn wake(&self) {
        self.moved.notify_one();
    }
}

impl Turn<'_> {
    /// Waits until it is worth while to look again.
    pub(super) async fn moved(&self) {
        self.place.0.moved.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn turns_come_in_order_and_one_at_a_time() {
        let line = Arc::new(Line::default());
        let done = Arc::new(std::sync::Mutex::new(Vec::new()));
        let first = line.turn().await;
        let mut tasks = Vec::new();
        for i in 0..5 {
            let (line, done) = (Arc::clone(&line), Arc::clone(&done));
            tasks.push(tokio::spawn(async move {
                let turn = line.turn().await;
                turn.moved().await;
                done.lock().unwrap().push(i);
                turn.place.0.wake();
            }));
            tokio::task::yield_now().await;
        }
        assert!(!line.is_empty());
        // One in the middle gives up.
        tasks.remove(2).abort();
        drop(first);
        line.wake();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*done.lock().unwrap(), [0, 1, 3, 4]);
        assert!(line.is_empty());
    }
}
