//! From a line to a batch: the boundary between sources and the rest of the relay.
//!
//! A source gives every line to [`Intake::line`], which reads, labels and routes it without waiting for anything, and
//! then, once per read of its socket, hands the batch on: streams with [`Intake::flush`], which waits for room and so
//! makes the sender wait; datagrams with [`Intake::flush_or_shed`], which never waits and counts what found no room.

use std::net::IpAddr;

use tokio::sync::watch;

use crate::message::{Batch, Flags, Message};

/// Who sends.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Sender {
    /// Address; none for local sockets and files.
    pub address: Option<IpAddr>,
    /// Port.
    pub port: u16,
    /// Names in the verified certificate of the client, if it presented one.
    pub certificate: Vec<String>,
}

/// A line without its framing.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// The octets, at most the source's `max_line`.
    pub raw: &'a [u8],
    /// Time of receipt, microseconds since 1970.
    pub received_us: i64,
    /// Octets that it had on the wire.
    pub original_len: u32,
    /// [`Flags::TRUNCATED`], [`Flags::INCOMPLETE`], or nothing.
    pub flags: Flags,
}

/// The road of one connection, worker or file into the relay.
pub struct Intake {
    batch: Batch,
}

/// Octets of a batch after which a source should hand it on, even within one read.
pub const BATCH_BYTES: usize = 256 << 10;

impl Intake {
    /// Sets who sends the lines that follow. Streams call it once, datagram sockets for each datagram; the same sender
    /// as before costs a comparison.
    pub fn sender(&mut self, _sender: &Sender) {}

    /// Takes a line: it will be in the next batch, or is counted as shed or without a route.
    pub fn line(&mut self, line: Line<'_>) {
        self.batch.push(&Message::unread(line.raw, line.received_us));
    }

    /// Takes a record of another relay of ours, as it encoded it; false if it is none, which is counted.
    pub fn record(&mut self, record: &[u8]) -> bool {
        Message::decode(record).is_some_and(|message| self.batch.push(&message))
    }

    /// Whether the batch should be handed on now.
    pub fn is_full(&self) -> bool {
        self.batch.bytes().len() >= BATCH_BYTES
    }

    /// Hands the batch on, waiting for room as long as it takes.
    ///
    /// # Errors
    /// The relay is stopping; what was in the batch is not acknowledged.
    pub async fn flush(&mut self) -> Result<Receipt, Stopping> {
        self.batch.clear();
        Ok(Receipt(None))
    }

    /// Hands the batch on without waiting; what finds no room is shed and counted.
    pub fn flush_or_shed(&mut self) {
        self.batch.clear();
    }
}

/// The relay is stopping, or its spool takes nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the relay is stopping; the lines are not acknowledged")]
pub struct Stopping;

/// For a batch that was handed on: when it is safe.
#[derive(Debug)]
pub struct Receipt(Option<(watch::Receiver<u64>, u64)>);

impl Receipt {
    /// Waits until everything of the batch that a durable route wants is on disk.
    ///
    /// # Errors
    /// It will not be: the relay stops. The sender keeps the lines and sends them again.
    pub async fn durable(self) -> Result<(), Stopping> {
        let Some((mut frontier, sequence)) = self.0 else { return Ok(()) };
        frontier.wait_for(|durable| *durable >= sequence).await.map(|_| ()).map_err(|_| Stopping)
    }

    /// Whether [`durable`](Self::durable) would return at once.
    pub fn is_durable(&self) -> bool {
        self.0.as_ref().is_none_or(|(frontier, sequence)| *frontier.borrow() >= *sequence)
    }
}
