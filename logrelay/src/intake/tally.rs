//! What a batch brought, counted where nobody else looks, and added to the shared books once per batch.

use std::{net::IpAddr, sync::Arc};

use crate::{
    filter::Context,
    hosts::{HostEntry, Outcome, SourceCounters, Tally},
    message::Message,
};

/// The counts of one intake.
pub(super) struct Count {
    source: Arc<SourceCounters>,
    of_source: Tally,
    entry: Arc<HostEntry>,
    address: Option<IpAddr>,
    of_host: Tally,
    had_been_silent: bool,
}

impl Count {
    pub(super) fn new(source: Arc<SourceCounters>, entry: Arc<HostEntry>) -> Self {
        let (of_source, of_host) = (Tally::default(), Tally::default());
        Self { source, of_source, entry, address: None, of_host, had_been_silent: false }
    }

    /// The messages that follow are from this host; the same as before costs a comparison.
    pub(super) fn of(&mut self, entry: &Arc<HostEntry>, address: Option<IpAddr>) {
        if !Arc::ptr_eq(&self.entry, entry) {
            self.settle_host();
            self.entry = entry.clone();
        }
        self.address = address;
    }

    /// A message came in.
    pub(super) fn received(&mut self, message: &Message<'_>) {
        if self.of_host.is_empty() {
            self.had_been_silent = self.entry.note_seen(message.received_us);
        }
        self.of_host.read(message);
    }

    /// What filters may ask beside the message: only the first after a silence ends it.
    pub(super) fn context(&mut self, now_us: i64) -> Context {
        Context { had_been_silent: std::mem::take(&mut self.had_been_silent), now_us }
    }

    /// What became of the message that came in last.
    pub(super) fn outcome(&mut self, outcome: Outcome) {
        self.of_host.count(outcome, 1);
    }

    /// Something came in that was no message at all.
    pub(super) fn rejected(&mut self, octets: u32, received_us: i64) {
        self.of_host.received(octets, crate::message::Status::Unparsed, received_us);
        self.of_host.count(Outcome::Rejected, 1);
    }

    /// So many messages of this batch that were on the way to the spool have come to this instead. Of a batch with the
    /// lines of several hosts the last one's books are corrected.
    pub(super) fn turned(&mut self, to: Outcome, messages: u64) {
        if messages > 0 {
            self.settle_host();
            self.of_source.turn(Outcome::Spooled, to, messages);
            self.entry.counters().turn(Outcome::Spooled, to, messages);
        }
    }

    fn settle_host(&mut self) {
        if !self.of_host.is_empty() {
            self.of_source.merge(&self.of_host);
            self.entry.add(&self.of_host, self.address);
            self.of_host.clear();
        }
    }

    /// Adds everything to the shared books, once per batch.
    pub(super) fn settle(&mut self) {
        self.settle_host();
        if !self.of_source.is_empty() {
            self.source.add(&self.of_source);
            self.of_source.clear();
        }
    }
}
