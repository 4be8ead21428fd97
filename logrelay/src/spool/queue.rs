//! The way into the writer: batches in memory, bounded by octets, numbered as they come in; and emptied buffers back.

use std::{
    collections::VecDeque,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::line::Line;

/// Emptied buffers that are kept for others at most.
const POOL: usize = 64;
/// Capacity of a buffer that is kept at most.
const POOLED: usize = 1 << 20;
/// Batches that wait at most, whatever their size.
const ENTRIES_MAX: usize = 65_536;

/// A batch with the sequences that it claimed.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) bytes: Vec<u8>,
    pub(super) first: u64,
    pub(super) count: u32,
}

#[derive(Debug, Default)]
struct Inside {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Sequence that is claimed next.
    next: u64,
    /// When the oldest batch came in.
    since: Option<Instant>,
    closed: bool,
    no_room: bool,
    nudged: bool,
}

/// When the writer takes what there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gather {
    /// Wait for others at most.
    pub(super) wait: Duration,
    /// Octets for which it does not wait.
    pub(super) enough: usize,
    /// Octets that it takes at most, except that one batch is always taken whole.
    pub(super) most: usize,
}

/// Why a batch was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum No {
    Full,
    Room,
    Closed,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    inside: Mutex<Inside>,
    writer: Condvar,
    /// Those who wait for room.
    pub(super) line: Line,
    /// The writer waits for destinations to go on.
    pub(super) starving: AtomicBool,
    pool: Mutex<Vec<Vec<u8>>>,
    limit: usize,
    enough: usize,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    pub(super) fn new(next: u64, limit: usize, enough: usize) -> Self {
        Self {
            inside: Mutex::new(Inside { next, ..Inside::default() }),
            writer: Condvar::new(),
            line: Line::default(),
            starving: AtomicBool::new(false),
            pool: Mutex::default(),
            limit,
            enough,
        }
    }

    /// Takes a batch and claims `count` sequences for it; the last of them. An empty queue takes a batch of any size.
    pub(super) fn push(&self, bytes: Vec<u8>, count: u32) -> Result<u64, (No, Vec<u8>)> {
        let mut inside = locked(&self.inside);
        let no = if inside.closed {
            Some(No::Closed)
        } else if inside.no_room {
            Some(No::Room)
        } else if !inside.entries.is_empty()
            && (inside.bytes + bytes.len() > self.limit || inside.entries.len() >= ENTRIES_MAX)
        {
            Some(No::Full)
        } else {
            None
        };
        if let Some(no) = no {
            return Err((no, bytes));
        }
        if count == 0 {
            return Ok(inside.next - 1);
        }
        let before = inside.bytes;
        inside.bytes += bytes.len();
        let first = inside.next;
        inside.next += u64::from(count);
        let wake = inside.entries.is_empty() || before < self.enough && inside.bytes >= self.enough;
        if inside.entries.is_empty() {
            inside.since = Some(Instant::now());
        }
        inside.entries.push_back(Entry { bytes, first, count });
        let last = inside.next - 1;
        drop(inside);
        if wake {
            self.writer.notify_one();
        }
        Ok(last)
    }

    /// Takes what is due into `out`, waiting for `idle` at most if nothing is; false when the queue is closed and empty.
    pub(super) fn gather(&self, out: &mut Vec<Entry>, gather: Gather, idle: Duration) -> bool {
        let mut inside = locked(&self.inside);
        let until = Instant::now() + idle;
        loop {
            let now = Instant::now();
            let due = inside.since.map(|since| since + gather.wait);
            if due.is_some_and(|due| now >= due) || inside.bytes >= gather.enough || inside.closed {
                break;
            }
            let wake = due.unwrap_or(until).min(until);
            if now >= wake || inside.nudged {
                inside.nudged = false;
                return true;
            }
            let (guard, _) = self.writer.wait_timeout(inside, wake - now).unwrap_or_else(PoisonError::into_inner);
            inside = guard;
        }
        let mut taken = 0;
        while let Some(entry) = inside.entries.front() {
            if !out.is_empty() && taken + entry.bytes.len() > gather.most {
                break;
            }
            taken += entry.bytes.len();
            out.extend(inside.entries.pop_front());
        }
        inside.bytes -= taken;
        if inside.entries.is_empty() {
            inside.since = None;
        }
        let more = !(inside.closed && out.is_empty());
        drop(inside);
        self.line.wake();
        more
    }

    /// Sleeps for `time` unless something moves: a destination goes on, or the queue is closed.
    pub(super) fn pause(&self, time: Duration) {
        let inside = locked(&self.inside);
        let still = |inside: &mut Inside| !inside.nudged && !inside.closed;
        let (mut inside, _) =
            self.writer.wait_timeout_while(inside, time, still).unwrap_or_else(PoisonError::into_inner);
        inside.nudged = false;
    }

    /// Wakes the writer if it waits for destinations.
    pub(super) fn nudge(&self) {
        if self.starving.load(Relaxed) {
            locked(&self.inside).nudged = true;
            self.writer.notify_one();
        }
    }

    /// From now on batches are refused, or no longer.
    pub(super) fn set_no_room(&self, no_room: bool) {
        self.starving.store(no_room, Relaxed);
        locked(&self.inside).no_room = no_room;
        self.line.wake();
    }

    pub(super) fn close(&self) {
        locked(&self.inside).closed = true;
        self.writer.notify_one();
        self.line.wake();
    }

    pub(super) fn is_closed(&self) -> bool {
        locked(&self.inside).closed
    }

    /// Sequence that was claimed last, and octets that wait.
    pub(super) fn state(&self) -> (u64, usize) {
        let inside = locked(&self.inside);
        (inside.next - 1, inside.bytes)
    }

    /// An empty buffer, used before if there is one.
    pub(super) fn buffer(&self) -> Vec<u8> {
        locked(&self.pool).pop().unwrap_or_default()
    }

    /// Gives the buffers of batches back.
    pub(super) fn recycle(&self, entries: &mut Vec<Entry>) {
        let mut pool = locked(&self.pool);
        for mut entry in entries.drain(..) {
            if pool.len() < POOL && entry.bytes.capacity() <= POOLED {
                entry.bytes.clear();
                pool.push(entry.bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Gather = Gather { wait: Duration::ZERO, enough: 100, most: 150 };

    #[test]
    fn batches_are_numbered_bounded_and_taken_whole() {
        let queue = Queue::new(1, 300, 100);
        assert_eq!(queue.push(vec![0; 100], 2).unwrap(), 2);
        assert_eq!(queue.push(vec![0; 100], 3).unwrap(), 5);
        assert_eq!(queue.push(vec![], 0).unwrap(), 5);
        assert_eq!(queue.push(vec![0; 101], 1).unwrap_err().0, No::Full);
        let mut out = Vec::new();
        assert!(queue.gather(&mut out, NOW, Duration::ZERO));
        assert_eq!(out.iter().map(|e| (e.first, e.count)).collect::<Vec<_>>(), [(1, 2)]);
        queue.recycle(&mut out);
        assert_eq!(queue.buffer().capacity(), 100);
        assert!(queue.gather(&mut out, NOW, Duration::ZERO));
        assert_eq!(out.iter().map(|e| (e.first, e.count)).collect::<Vec<_>>(), [(3, 3)]);
        assert_eq!(queue.push(vec![0; 1000], 1).unwrap(), 6, "an empty queue takes any size");
    }

    #[test]
    fn refusals_say_why() {
        let queue = Queue::new(1, 300, 100);
        queue.set_no_room(true);
        assert_eq!(queue.push(vec![1], 1).unwrap_err(), (No::Room, vec![1]));
        queue.set_no_room(false);
        queue.push(vec![1], 1).unwrap();
        queue.close();
        assert_eq!(queue.push(vec![1], 1).unwrap_err().0, No::Closed);
        let mut out = Vec::new();
        assert!(queue.gather(&mut out, NOW, Duration::ZERO) && out.len() == 1, "what was taken is still written");
        out.clear();
        assert!(!queue.gather(&mut out, NOW, Duration::ZERO));
    }
}
