//! The messages of a chunk, one by one, as the data of RELP frames.

use std::{io::Write, iter::Enumerate};

use super::{refusals::Refusals, render::Texts, target::Transport};
use crate::{
    destination::{
        Unsendable,
        counters::{Counters, count},
        key, read,
    },
    message::{Field, Flags, Records},
};

/// A message that is to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    /// Index of its record in the chunk.
    pub(super) record: usize,
    /// Its sequence; 0 if it has none.
    pub(super) sequence: u64,
}

/// Walks over a chunk.
pub(super) struct Feed<'a> {
    pub(super) records: Enumerate<Records<'a>>,
    pub(super) number: u16,
    pub(super) now_us: i64,
    pub(super) texts: &'a mut Texts,
    pub(super) counters: &'a Counters,
    /// With the epoch and the sequences of a record and of the one before, told to relays of ours: RELP's own frames
    /// carry none of it.
    pub(super) stream: &'a str,
    /// Epoch of the chunk.
    pub(super) epoch: u64,
    /// Sequence that was sent before the next.
    pub(super) previous: u64,
    /// Messages that the receiver refused.
    pub(super) refusals: &'a Refusals,
    /// How often it must have refused one that it will never take.
    pub(super) limit: u32,
    /// Records that no attempt can deliver, with the reason.
    pub(super) unsendable: Vec<(usize, Unsendable)>,
    pub(super) origin: Vec<u8>,
}

impl Feed<'_> {
    /// Writes the next message in place of what is in `data`: a record of ours, or a line; `None` at the end.
    pub(super) fn next(&mut self, transport: Transport, as_record: bool, data: &mut Vec<u8>) -> Option<Item> {
        loop {
            let (record, octets) = self.records.next()?;
            let mut message = match read(octets, self.number) {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(_) => {
                    self.unsendable.push((record, Unsendable::Unreadable));
                    continue;
                }
            };
            if self.refusals.reached(self.limit, || key(&message, octets)) {
                self.unsendable.push((record, Unsendable::Refused));
                continue;
            }
            let sequence = message.sequence;
            if as_record {
                self.origin.clear();
                if sequence != 0 {
                    let Self { stream, epoch, previous, .. } = self;
                    let _ = write!(self.origin, "{stream}/{epoch}/{sequence}/{previous}");
                }
                message.set(Field::Origin, &self.origin);
                message.set(Field::Destinations, b"");
                // What of the message lies behind it here does not come along.
                message.flags = message.flags.without(Flags::MORE);
                data.clear();
                if !message.encode(data) {
                    self.unsendable.push((record, Unsendable::Long));
                    continue;
                }
            } else {
                self.texts.line(transport, &message, self.now_us, data);
            }
            if sequence != 0 {
                self.previous = sequence;
            }
            return Some(Item { record, sequence });
        }
    }

    /// Counts what could not be sent before the record with index `end`.
    pub(super) fn count_unsendable(&self, end: usize) -> u64 {
        let before = self.unsendable.iter().filter(|(record, _)| *record < end);
        before.map(|(_, why)| self.counters.unsendable(*why, 1)).count() as u64
    }

    /// Counts an acknowledgement.
    pub(super) fn acked(&self) {
        count(&self.counters.acks);
    }
}
