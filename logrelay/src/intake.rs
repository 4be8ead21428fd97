//! From a line to a batch: the boundary between sources and the rest of the relay.
//!
//! A source gives every line to [`Intake::line`], which reads, labels and routes it without waiting for anything, and
//! then, once per read of its socket, hands the batch on: streams with [`Intake::flush`], which waits for room and so
//! makes the sender wait; datagrams with [`Intake::flush_or_shed`], which never waits and counts what found no room.
//!
//! A batch has two halves: records for the spool, and records for destinations of routes that are not durable. Every
//! line ends up in exactly one of the source's counters: spooled, memory, unrouted, shed, rejected. A record that another
//! relay had sent before counts as spooled here; the spool leaves it out and counts it once more as a duplicate.

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::{
    hosts::{Admit, Hosts, Outcome},
    labels::Inventory,
    message::{Batch, Field, Flags, Message},
    parse::{Hints, parse},
    route::Rules,
    spool::{Refused, Room, Spool},
};

mod known;
mod place;
mod tally;

pub use known::Origin;
use known::{Known, Senders};
use place::Placing;
use tally::Count;

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

/// What all intakes share.
#[derive(Debug)]
pub struct Shared {
    /// The rules in force.
    pub rules: ArcSwap<Rules>,
    /// Where durable routes go.
    pub spool: Spool,
    /// Senders.
    pub hosts: Arc<Hosts>,
    /// What is known of them.
    pub inventory: Inventory,
    /// Microseconds since 1970.
    pub clock: fn() -> i64,
    /// Name of this node: host of lines without an address and without a name.
    pub node: String,
    /// Those who watch everything that comes in.
    pub taps: crate::tap::Taps,
}

/// The road of one connection, worker or file into the relay. It holds no memory for batches while nothing is under way.
pub struct Intake {
    shared: Arc<Shared>,
    origin: Arc<Origin>,
    rules: Arc<Rules>,
    order: Vec<usize>,
    senders: Senders,
    known: Arc<Known>,
    room: watch::Receiver<Room>,
    placing: Placing,
    count: Count,
    /// Nothing of the present batch came in yet: rules, labels and room are looked at when it does.
    fresh: bool,
    /// The half for the spool is being handed on: if that is given up midway, its messages found no room.
    handing: bool,
    /// The half in memory that is being handed on, and how many queues have it.
    handing_memory: Option<(Arc<Batch>, usize)>,
}

/// Octets of a batch after which a source should hand it on, even within one read.
pub const BATCH_BYTES: usize = 256 << 10;

impl Intake {
    /// A road for lines of one source.
    pub fn new(shared: Arc<Shared>, origin: Arc<Origin>) -> Self {
        let rules = shared.rules.load_full();
        let order = rules.of_source(&origin.name);
        let mut senders = Senders::new(shared.clone(), origin.clone());
        let known = senders.find(&Sender::default(), &rules);
        let room = shared.spool.room();
        let count = Count::new(origin.counters.clone(), known.entry.clone());
        let placing = Placing::new(shared.spool.clone());
        let (fresh, handing, handing_memory) = (true, false, None);
        Self { shared, origin, rules, order, senders, known, room, placing, count, fresh, handing, handing_memory }
    }

    /// Sets who sends the lines that follow. Streams call it once, datagram sockets for each datagram; the same sender
    /// as before costs a comparison.
    pub fn sender(&mut self, sender: &Sender) {
        self.begin();
        if !self.senders.is_current(sender) {
            self.known = self.senders.find(sender, &self.rules);
        }
        // The lines may come much later.
        self.fresh = self.placing.is_untouched();
    }

    /// Takes a line: it will be in the next batch, or is counted as shed or without a route.
    pub fn line(&mut self, line: Line<'_>) {
        self.begin();
        self.labelled(line, |intake, message, known| {
            intake.route(message, known);
        });
    }

    /// The record of a line as it would be routed; it is not, and nothing is counted.
    pub(crate) fn read(&mut self, line: Line<'_>) -> Vec<u8> {
        let mut record = Vec::new();
        self.labelled(line, |_, message, _| {
            message.encode(&mut record);
        });
        record
    }

    /// Reads a line, finds out who it is from, and hands it to `then`.
    fn labelled(&mut self, line: Line<'_>, then: impl FnOnce(&mut Self, &mut Message<'_>, &Known)) {
        let sender = self.known.clone();
        let hints = Hints { received_us: line.received_us, profile: sender.profile, offset_min: sender.offset_min };
        let parsed = parse(line.raw, &hints);
        let by_name = self.senders.by_header(&sender, parsed.host, &self.rules);
        let known = by_name.as_ref().unwrap_or(&sender);
        let mut message = Message::unread(line.raw, line.received_us);
        message.pri = parsed.pri.unwrap_or(message.pri);
        message.status = parsed.status;
        message.flags = parsed.flags.with(line.flags);
        message.original_len = line.original_len;
        message.message = parsed.message;
        message.sdata = parsed.sdata;
        if let Some(stamp) = &parsed.stamp {
            let stamp = known.zoned(stamp, line.received_us);
            message.stamp_us = stamp.us;
            message.stamp_offset_min = stamp.offset_min;
        }
        message.set(Field::Program, parsed.program);
        message.set(Field::Pid, parsed.pid);
        message.set(Field::MsgId, parsed.msgid);
        message.set(Field::HeaderHost, parsed.host);
        known.label(&mut message, self.senders.port());
        // The address of a relay is not that of the host whose line it brings.
        self.count.of(&known.entry, if by_name.is_some() { None } else { message.address });
        then(self, &mut message, known);
    }

    /// Takes a record of another relay of ours, as it encoded it; false if it is none or too long, which is counted. Its
    /// labels stay as the first relay set them; the time of receipt is ours, and theirs is kept as the value
    /// `relay_received_us`.
    pub fn record(&mut self, record: &[u8]) -> bool {
        self.begin();
        let received_us = (self.shared.clock)();
        let Some(mut message) = Message::decode(record) else {
            self.count.of(&self.known.entry, None);
            self.count.rejected(record.len().try_into().unwrap_or(u32::MAX), received_us);
            return false;
        };
        let mut values = message.field(Field::Values).to_vec();
        values.extend_from_slice(format!("relay_received_us={}\n", message.received_us).as_bytes());
        message.set(Field::Values, &values);
        let origin = self.origin.clone();
        message.set(Field::Source, origin.name.as_bytes());
        message.received_us = received_us;
        // The spool gives it ours; on the way through memory it has none.
        message.sequence = 0;
        message.flags = message.flags.without(Flags::MORE);
        let known = self.senders.of_record(&message, &self.rules);
        self.count.of(&known.entry, None);
        let outcome = self.route(&mut message, &known);
        if outcome != Outcome::Spooled {
            // What does not reach the spool must not look like a gap there.
            self.shared.spool.seen(message.field(Field::Origin));
        }
        outcome != Outcome::Rejected
    }

    /// Takes a message that the relay itself writes.
    pub fn internal(&mut self, severity: u8, text: &str, received_us: i64) {
        self.begin();
        let mut message = Message::unread(text.as_bytes(), received_us);
        // Facility syslog.
        message.pri = 5 << 3 | (severity & 7);
        message.status = crate::message::Status::Rfc5424;
        message.flags = Flags::INTERNAL;
        let known = self.known.clone();
        known.label(&mut message, 0);
        message.set(Field::Program, b"gatehouse");
        self.count.of(&known.entry, None);
        self.route(&mut message, &known);
    }

    /// Decides where a message goes, and puts it there.
    fn route(&mut self, message: &mut Message<'_>, known: &Known) -> Outcome {
        message.config_version = self.rules.version;
        self.count.received(message);
        let outcome = match known.entry.admit(known.rate.as_ref(), message.received_us, message.severity()) {
            Admit::Shed => Outcome::ShedRate,
            Admit::Pass => {
                let context = self.count.context(message.received_us);
                self.placing.place(&self.rules, &self.order, message, &context)
            }
        };
        self.count.outcome(outcome);
        outcome
    }

    /// Whether the batch should be handed on now.
    pub fn is_full(&self) -> bool {
        self.placing.octets() >= BATCH_BYTES
    }

    /// Hands the batch on, waiting for room as long as it takes.
    ///
    /// # Errors
    /// The relay is stopping; what was in the batch is not acknowledged.
    pub async fn flush(&mut self) -> Result<Receipt, Stopping> {
        self.placing.tap(&self.shared.taps);
        let receipt = match self.placing.messages() {
            0 => Receipt(None),
            _ => self.append().await?,
        };
        self.handing_memory = self.placing.take_memory().map(|memory| (memory, 0));
        while let Some((memory, done)) = &mut self.handing_memory
            && let Some((queue, count)) = self.placing.queues().nth(*done)
        {
            queue.put(memory, count).await;
            *done += 1;
        }
        self.handing_memory = None;
        self.settle();
        Ok(receipt)
    }

    async fn append(&mut self) -> Result<Receipt, Stopping> {
        loop {
            let (records, count) = self.placing.take_spool();
            if count == 0 {
                return Ok(Receipt(None));
            }
            self.handing = true;
            let appended = self.shared.spool.append(records, count).await;
            self.handing = false;
            match appended {
                Ok(appended) => return Ok(Receipt(Some((self.shared.spool.frontier(), appended.last)))),
                Err(Refused::NoRoom(back)) => {
                    // Routes that rather shed than wait do so; for the others the sender waits.
                    let shed = self.placing.put_back(back);
                    self.count.turned(Outcome::ShedFull, &shed);
                    if self.placing.messages() == 0 {
                        return Ok(Receipt(None));
                    }
                    let free = self.room.wait_for(|room| matches!(room, Room::Free)).await;
                    free.map_err(|_| Stopping)?;
                }
                Err(Refused::Closed | Refused::TooLong) => {
                    let shed = self.placing.shed_all();
                    self.count.turned(Outcome::ShedNoRoom, &shed);
                    return Err(Stopping);
                }
            }
        }
    }

    /// Hands the batch on without waiting; what finds no room is shed and counted.
    pub fn flush_or_shed(&mut self) {
        self.placing.tap(&self.shared.taps);
        let (records, count) = self.placing.take_spool();
        if count > 0 && self.shared.spool.try_append(records, count).is_err() {
            let shed = self.placing.shed_all();
            self.count.turned(Outcome::ShedNoRoom, &shed);
        }
        if let Some(memory) = self.placing.take_memory() {
            for (queue, count) in self.placing.queues() {
                queue.put_or_drop(&memory, count);
            }
        }
        self.settle();
    }

    /// Gives up a batch whose sender will send it again, because it knows that it was not acknowledged: also the half in
    /// memory, as far as no destination has it.
    pub fn give_up(&mut self) {
        self.shed_rest();
        let begun = self.handing_memory.take().map(|(_, done)| done);
        if let Some(done) = begun.or_else(|| self.placing.take_memory().map(|_| 0)) {
            self.placing.queues().skip(done).for_each(|(queue, count)| queue.drop_unsent(count));
        }
        self.settle();
    }

    fn shed_rest(&mut self) {
        if self.handing || self.placing.messages() > 0 {
            let shed = self.placing.shed_all();
            self.count.turned(Outcome::ShedNoRoom, &shed);
        }
        self.handing = false;
    }

    /// Counts what the batch brought.
    fn settle(&mut self) {
        self.count.settle();
        self.placing.settle(&self.rules);
        self.fresh = true;
    }

    /// Takes up rules, labels and room as they are now, at the first message of a batch.
    fn begin(&mut self) {
        if !std::mem::take(&mut self.fresh) {
            return;
        }
        self.placing.begin(!matches!(*self.room.borrow(), Room::Free));
        let newest = self.shared.rules.load();
        if newest.version != self.rules.version || self.senders.is_stale() {
            self.rules = newest.clone();
            self.order = self.rules.of_source(&self.origin.name);
            self.known = self.senders.again(&self.rules);
        }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.shed_rest();
        let begun = self.handing_memory.take();
        if let Some((memory, done)) = begun.or_else(|| Some((self.placing.take_memory()?, 0))) {
            // Nobody can wait any more.
            for (queue, count) in self.placing.queues().skip(done) {
                queue.put_or_drop(&memory, count);
            }
        }
        self.settle();
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

#[cfg(test)]
mod tests;
