//! RELP frames that wait for their acknowledgement.

use std::collections::VecDeque;

use crate::relp::frame::{TXNR_MAX, next_txnr};

/// A frame that was made and is not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Index of the record in the chunk.
    pub(super) record: usize,
    /// Its sequence.
    pub(super) sequence: u64,
    /// Octets of the frame.
    pub(super) octets: usize,
    acked: bool,
}

/// The frames in the order of their numbers, which follow one another.
#[derive(Debug)]
pub(super) struct Window {
    waiting: VecDeque<Waiting>,
    /// Number of the first that waits.
    first: u32,
    /// Number of the next frame.
    next: u32,
    limit: usize,
}

impl Window {
    /// The frame after `used` is next.
    pub(super) fn after(used: u32, limit: usize) -> Self {
        let next = next_txnr(used);
        Self { waiting: VecDeque::new(), first: next, next, limit }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= self.limit
    }

    /// Whether frames should be made now. Not for every single acknowledgement, so that writes stay large.
    pub(super) fn wants_more(&self) -> bool {
        self.waiting.len() <= self.limit / 2
    }

    /// Index of the record that waits longest.
    pub(super) fn front(&self) -> Option<usize> {
        self.waiting.front().map(|waiting| waiting.record)
    }

    /// Number of the next frame.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// The next frame was made.
    pub(super) fn push(&mut self, record: usize, sequence: u64, octets: usize) {
        self.waiting.push_back(Waiting { record, sequence, octets, acked: false });
        self.next = next_txnr(self.next);
    }

    /// The frame with this number, if it waits.
    pub(super) fn get(&self, txnr: u32) -> Option<Waiting> {
        self.waiting.get(self.place(txnr)).copied()
    }

    /// The frame with this number is acknowledged; false if none with it waits.
    pub(super) fn ack(&mut self, txnr: u32) -> bool {
        let place = self.place(txnr);
        self.waiting.get_mut(place).map(|waiting| waiting.acked = true).is_some()
    }

    /// Takes the frame that waited longest, once it is acknowledged.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let done = self.waiting.pop_front_if(|waiting| waiting.acked)?;
        self.first = next_txnr(self.first);
        Some(done)
    }

    fn place(&self, txnr: u32) -> usize {
        let past = if txnr >= self.first { txnr - self.first } else { txnr + TXNR_MAX - self.first };
        past as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_again_at_one() {
        let mut window = Window::after(TXNR_MAX - 2, 4);
        let mut numbers = Vec::new();
        for record in 0..4 {
            numbers.push(window.next());
            window.push(record, 0, 1);
        }
        assert_eq!(numbers, [TXNR_MAX - 1, TXNR_MAX, 1, 2]);
        assert!(window.is_full() && !window.ack(3) && !window.ack(TXNR_MAX - 2));
        assert!(window.ack(1) && window.pop().is_none(), "the ones before still wait");
        assert_eq!(window.get(TXNR_MAX).map(|waiting| waiting.record), Some(1));
        assert!(window.ack(TXNR_MAX - 1));
        assert_eq!(window.pop().map(|waiting| waiting.record), Some(0));
        assert!(window.ack(TXNR_MAX));
        assert_eq!([window.pop(), window.pop(), window.pop()].map(|w| w.map(|w| w.record)), [Some(1), Some(2), None]);
        assert_eq!((window.front(), window.len(), window.wants_more()), (Some(3), 1, true));
        assert!(window.ack(2) && window.pop().is_some() && window.is_empty());
    }
}
