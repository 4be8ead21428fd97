//! What the relay says of itself: for `status`, for metrics, and for tests that check that the books balance.

use std::sync::{PoisonError, atomic::Ordering::Relaxed};

use serde::Serialize;

use super::Relay;
use crate::{
    hosts::{self, HostReport},
    spool,
};

/// Everything. Counts are since the start of the process, but for those of the spool, which lives longer.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// By name.
    pub sources: Vec<SourceReport>,
    /// In the order of the configuration.
    pub routes: Vec<RouteReport>,
    /// By name.
    pub destinations: Vec<DestinationReport>,
    /// The spool.
    pub spool: spool::Report,
}

/// A source.
#[derive(Debug, Clone, Serialize)]
pub struct SourceReport {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub listens: Vec<String>,
    /// Connections now.
    pub connections: usize,
    /// Its books.
    #[serde(flatten)]
    pub books: hosts::SourceReport,
    /// Whether they balance.
    pub balanced: bool,
    /// What happened at its sockets and files, by name.
    pub events: Vec<(&'static str, u64)>,
    /// Since when somebody is not read from for want of room, microseconds since 1970.
    pub waiting_since_us: Option<i64>,
    /// Files that are followed, and octets of them that are not safe yet.
    pub files: Option<(usize, u64)>,
}

/// A route.
#[derive(Debug, Clone, Serialize)]
pub struct RouteReport {
    /// Its name.
    pub name: String,
    /// Messages that it took.
    pub taken: u64,
    /// Of them, those shed for want of room.
    pub shed: u64,
    /// Times that a rewrite rule could not do what it says.
    pub not_rewritten: u64,
}

/// A destination.
#[derive(Debug, Clone, Serialize)]
pub struct DestinationReport {
    /// Its name.
    pub name: String,
    /// Number in the spool.
    pub number: u16,
    /// `delivering`, `paused`, `failing`.
    pub state: &'static str,
    /// The receiver that it is connected to, or the template of its files.
    pub target: Option<String>,
    /// Messages that came for it by way of the spool since the spool has known it.
    pub accepted: u64,
    /// Messages of them that are delivered.
    pub delivered: u64,
    /// Deliveries from the spool since the start, those that were repeated included.
    pub sent: u64,
    /// Messages that wait in the spool.
    pub pending: u64,
    /// Octets of them.
    pub pending_octets: u64,
    /// Messages that were for it and went because there was no room.
    pub dropped: u64,
    /// Messages that came for it by way of memory.
    pub memory_accepted: u64,
    /// Messages delivered from memory.
    pub memory_delivered: u64,
    /// Messages that wait in memory.
    pub memory_pending: u64,
    /// Messages that found no room in memory, or were given up there when it was stopped.
    pub memory_dropped: u64,
    /// Messages that can never be delivered.
    pub unsendable: u64,
    /// Octets delivered.
    pub octets: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// What happened at its files and connections, by name.
    pub events: Vec<(&'static str, u64)>,
    /// When something was last delivered, microseconds since 1970.
    pub last_us: Option<i64>,
    /// Why it fails, and since when.
    pub trouble: Option<(String, i64)>,
    /// When the oldest message that waits came in.
    pub oldest_us: Option<i64>,
}

/// Something that stands still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    /// What.
    pub what: String,
    /// Why.
    pub reason: String,
    /// Since when, microseconds since 1970.
    pub since_us: i64,
    /// What to do.
    pub remedy: String,
}

impl Relay {
    /// Everything, now.
    pub fn report(&self) -> Report {
        let spool = self.spool().report();
        let rules = self.0.shared.rules.load();
        let routes = rules.routes.iter().map(|route| RouteReport {
            name: route.name.clone(),
            taken: route.counters.taken.load(Relaxed),
            shed: route.counters.shed.load(Relaxed),
            not_rewritten: route.counters.not_rewritten.load(Relaxed),
        });
        let routes = routes.collect();
        Report { sources: self.sources(), routes, destinations: self.destinations(&spool), spool }
    }

    fn sources(&self) -> Vec<SourceReport> {
        let sources = self.0.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let report = sources.iter().map(|(name, source)| {
            let mut events: Vec<(&'static str, u64)> = Vec::new();
            let listeners = source.listeners.iter().flat_map(|(_, counters)| counters.all());
            let files = source.followed.iter().flat_map(|(_, counters)| counters.all());
            for (event, count) in listeners.chain(files) {
                match events.iter_mut().find(|(known, _)| *known == event) {
                    Some((_, sum)) => *sum += count,
                    None => events.push((event, count)),
                }
            }
            let waiting = source.listeners.iter().map(|(_, counters)| counters.waiting_since_us.load(Relaxed));
            SourceReport {
                name: name.clone(),
                listens: source.listeners.iter().map(|(listen, _)| listen.to_string()).collect(),
                connections: source.limits.open(),
                books: source.counters.report(),
                balanced: source.counters.balance().is_ok(),
                events,
                waiting_since_us: waiting.filter(|us| *us != 0).min(),
                files: source.followed.as_ref().map(|(following, _)| {
                    let files = following.report();
                    (files.len(), files.iter().map(|file| file.lag).sum())
                }),
            }
        });
        report.collect()
    }

    fn destinations(&self, spool: &spool::Report) -> Vec<DestinationReport> {
        let destinations = self.0.destinations.lock().unwrap_or_else(PoisonError::into_inner);
        let report = destinations.iter().map(|(name, (_, destination))| {
            let (progress, queue) = (&destination.progress, &destination.queue);
            let of_spool = spool.destinations.iter().find(|known| known.id == destination.number);
            let trouble = progress.trouble();
            DestinationReport {
                name: name.clone(),
                number: destination.number,
                state: match (progress.paused.load(Relaxed), &trouble) {
                    (true, _) => "paused",
                    (false, Some(_)) => "failing",
                    (false, None) => "delivering",
                },
                target: progress.state().target,
                accepted: of_spool.map_or(0, |of| of.appended),
                delivered: of_spool.map_or(0, |of| of.delivered),
                sent: progress.from_spool.load(Relaxed),
                pending: of_spool.map_or(0, |of| of.pending),
                pending_octets: of_spool.map_or(0, |of| of.pending_bytes),
                dropped: of_spool.map_or(0, |of| of.dropped + of.lost),
                memory_accepted: queue.counters.accepted.load(Relaxed),
                memory_delivered: progress.from_memory.load(Relaxed),
                memory_pending: queue.pending(),
                memory_dropped: [
                    &queue.counters.dropped_full,
                    &queue.counters.dropped_failing,
                    &queue.counters.given_up,
                ]
                .map(|counter| counter.load(Relaxed))
                .into_iter()
                .sum(),
                unsendable: progress.unsendable.load(Relaxed),
                octets: progress.octets.load(Relaxed),
                failures: progress.failures.load(Relaxed),
                events: progress.events(),
                last_us: Some(progress.last_us.load(Relaxed)).filter(|us| *us != 0),
                trouble,
                oldest_us: of_spool.and_then(|of| of.oldest_pending_us),
            }
        });
        report.collect()
    }

    /// The counts of every sender, one after the other.
    pub fn hosts(&self, mut each: impl FnMut(HostReport)) {
        self.0.shared.hosts.each(|entry| each(entry.report()));
    }

    /// What happened to the table of senders, by name.
    pub fn host_events(&self) -> [(&'static str, u64); 2] {
        let counters = self.0.shared.hosts.counters();
        [("evicted", counters.evicted.load(Relaxed)), ("overflowed", counters.overflowed.load(Relaxed))]
    }

    /// Everything that stands still.
    pub fn stalls(&self) -> Vec<Stall> {
        let report = self.report();
        let mut stalls = Vec::new();
        if let Some((reason, since_us)) = report.spool.stall.clone() {
            let remedy = "what is not durable is not acknowledged; free the disk or replace it".into();
            stalls.push(Stall { what: "the spool".into(), reason, since_us, remedy });
        }
        for destination in &report.destinations {
            let what = format!("the destination {}", destination.name);
            if let Some((reason, since_us)) = destination.trouble.clone() {
                let waits = destination.pending + destination.memory_pending;
                let remedy =
                    format!("{waits} messages wait for it; bring it back, or remove it from the configuration");
                stalls.push(Stall { what, reason, since_us, remedy });
            } else if destination.state == "paused" {
                let since_us = destination.oldest_us.unwrap_or_else(self.0.node.clock);
                let reason = format!("it is paused; {} messages wait for it", destination.pending);
                let remedy = format!("`gatehouse logs destination --resume {}`", destination.name);
                stalls.push(Stall { what, reason, since_us, remedy });
            }
        }
        for source in &report.sources {
            if let Some(since_us) = source.waiting_since_us {
                let what = format!("the source {}", source.name);
                let reason = "senders wait, because the spool or a destination has no room for what they send".into();
                let remedy = "see which destination is behind: `gatehouse logs destination`".into();
                stalls.push(Stall { what, reason, since_us, remedy });
            }
        }
        stalls
    }
}
