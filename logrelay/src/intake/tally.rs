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
    /// Whose messages of this batch are on the way to the spool, in their order, each with the number of those up to its
    /// last.
    runs: Vec<(u32, Arc<HostEntry>)>,
    had_been_silent: bool,
}

impl Count {
    pub(super) fn new(source: Arc<SourceCounters>, entry: Arc<HostEntry>) -> Self {
        let (of_source, of_host) = (Tally::default(), Tally::default());
        Self { source, of_source, entry, address: None, of_host, runs: Vec::new(), had_been_silent: false }
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

    /// These of the batch's messages that were on the way to the spool, by their number in it, have come to this instead.
    pub(super) fn turned(&mut self, to: Outcome, messages: &[u32]) {
        self.settle_host();
        self.of_source.turn(Outcome::Spooled, to, messages.len() as u64);
        let mut rest = messages;
        for (end, entry) in &self.runs {
            let (of_entry, others) = rest.split_at(rest.partition_point(|message| message < end));
            if !of_entry.is_empty() {
                entry.counters().turn(Outcome::Spooled, to, of_entry.len() as u64);
            }
            rest = others;
        }
    }

    fn settle_host(&mut self) {
        if !self.of_host.is_empty() {
            self.of_source.merge(&self.of_host);
            self.entry.add(&self.of_host, self.address);
            let spooled = self.of_host.of(Outcome::Spooled);
            if spooled > 0 {
                let before = self.runs.last().map_or(0, |(end, _)| *end);
                self.runs.push((before + u32::try_from(spooled).unwrap_or(u32::MAX), self.entry.clone()));
            }
            self.of_host.clear();
        }
    }

    /// Adds everything to the shared books, once per batch.
    pub(super) fn settle(&mut self) {
        self.settle_host();
        self.runs.clear();
        if !self.of_source.is_empty() {
            self.source.add(&self.of_source);
            self.of_source.clear();
        }
    }
}
