//! What was written to a stream last, and may not have arrived.
//!
//! A write to a TCP socket succeeds when the kernel has the octets; those that the peer has not confirmed are lost with
//! the connection. At most a send buffer of them and one segment are unconfirmed, so the last octets of that number are
//! kept, and sent again after a break: some messages come twice instead of not at all.
//!
//! Limits: the send buffer and a segment, and the chunk in which they begin. A crash loses it: RELP is for those who need more.

use std::collections::VecDeque;

use super::{options::Framing, render::Sent};
use crate::destination::counters::Counters;

/// The last octets that were sent.
#[derive(Debug, Default)]
pub(super) struct Tail {
    chunks: VecDeque<Sent>,
    /// Octets at the end of `chunks` that may not have arrived.
    unconfirmed: usize,
}

impl Tail {
    pub(super) fn is_empty(&self) -> bool {
        self.unconfirmed == 0
    }

    /// Everything arrived.
    pub(super) fn clear(&mut self) {
        self.chunks.clear();
        self.unconfirmed = 0;
    }

    /// A chunk was written; at most `bound` octets are unconfirmed now. Returns a former chunk, for its memory.
    pub(super) fn push(&mut self, sent: Sent, bound: usize) -> Sent {
        self.unconfirmed = self.unconfirmed.saturating_add(sent.octets.len()).min(bound);
        self.chunks.push_back(sent);
        self.forget()
    }

    /// So many octets were written after the tail, and are known elsewhere: at most `bound` of both are unconfirmed.
    pub(super) fn written_after(&mut self, octets: usize, bound: usize) {
        self.unconfirmed = self.unconfirmed.min(bound.saturating_sub(octets));
        self.forget();
    }

    /// Forgets chunks that arrived.
    fn forget(&mut self) -> Sent {
        let mut total: usize = self.chunks.iter().map(|chunk| chunk.octets.len()).sum();
        let mut former = Sent::default();
        while let Some(first) = self.chunks.front() {
            if total - first.octets.len() < self.unconfirmed {
                break;
            }
            total -= first.octets.len();
            former = self.chunks.pop_front().unwrap_or_default();
        }
        former
    }

    /// Copies the messages that may not have arrived, framed for the receiver that gets them now.
    pub(super) fn unconfirmed(&self, framing: Option<Framing>, counters: &Counters) -> Sent {
        let total: usize = self.chunks.iter().map(|chunk| chunk.octets.len()).sum();
        let (mut skip, mut sent) = (total.saturating_sub(self.unconfirmed), Sent { framing, ..Sent::default() });
        for chunk in &self.chunks {
            // From the first message that does not end before.
            sent.extend(chunk, chunk.whole(skip), counters);
            skip = skip.saturating_sub(chunk.octets.len());
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(lengths: &[usize]) -> Sent {
        let mut sent = Sent::default();
        for length in lengths {
            sent.octets.resize(sent.octets.len() + length, b'0' + *length as u8);
            sent.ends.push((sent.octets.len(), 0));
        }
        sent
    }

    fn unconfirmed(tail: &Tail) -> (String, usize) {
        let sent = tail.unconfirmed(None, &Counters::default());
        (String::from_utf8(sent.octets).unwrap(), sent.ends.len())
    }

    #[test]
    fn whole_messages_of_the_last_octets() {
        let mut tail = Tail::default();
        tail.push(sent(&[1, 2, 3]), 4);
        assert_eq!(unconfirmed(&tail), ("22333".into(), 2));
        tail.push(sent(&[2]), 4);
        assert_eq!(unconfirmed(&tail), ("33322".into(), 2));
        assert_eq!(tail.chunks.len(), 2);
        tail.push(sent(&[5]), 4);
        assert_eq!(unconfirmed(&tail), ("55555".into(), 1));
        assert_eq!(tail.chunks.len(), 1);
        tail.written_after(3, 4);
        assert_eq!(unconfirmed(&tail), ("55555".into(), 1), "its last octet may be missing");
        tail.written_after(4, 4);
        assert!(tail.is_empty() && tail.chunks.is_empty());
        assert_eq!(unconfirmed(&tail), (String::new(), 0));
    }
}
