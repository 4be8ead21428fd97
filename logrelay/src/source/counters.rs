//! What happened at one listener.

use std::{
    fmt::Debug,
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::Clock;
use crate::{framing, relp::frame::Bad};

/// Counts since the start of one listener. Connections that were refused are counted by [`wire::Limits`].
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections, pipes and datagram sockets that were read from.
    pub opened: AtomicU64,
    /// Those of them that ended.
    pub ended: AtomicU64,
    /// Lines handed to the intake.
    pub lines: AtomicU64,
    /// Records of other relays of ours handed to the intake.
    pub records: AtomicU64,
    /// Octets read.
    pub octets: AtomicU64,
    /// Lines of nothing that were skipped.
    pub empty: AtomicU64,
    /// Lines longer than `max_line`, of which the start was kept.
    pub truncated: AtomicU64,
    /// Lines of which the end is missing or uncertain.
    pub incomplete: AtomicU64,
    /// Places where an octet count should be and is not.
    pub framing_errors: AtomicU64,
    /// Connections closed because of too many of them.
    pub closed_framing: AtomicU64,
    /// Connections closed because a line took too long to arrive.
    pub partial_timeouts: AtomicU64,
    /// Connections closed because all connections together held too much of unfinished lines.
    pub closed_memory: AtomicU64,
    /// Connections that ended in an error, such as a reset.
    pub read_errors: AtomicU64,
    /// Connections closed because the intake takes nothing any more.
    pub closed_stopping: AtomicU64,
    /// Times that a connection was not read from because there was no room for what it sends.
    pub waits: AtomicU64,
    /// Microseconds of all of them together; those that go on are not in it.
    pub waited_us: AtomicU64,
    /// Connections that are not read from now.
    pub waiting: AtomicU64,
    /// Since when there has been one, microseconds since 1970; 0: there is none.
    pub waiting_since_us: AtomicI64,
    /// Datagrams that the kernel dropped because its buffer was full.
    pub kernel_drops: AtomicU64,
    /// Errors of reading from a datagram socket.
    pub receive_errors: AtomicU64,
    /// Commands of RELP clients that were answered, lines that are durable above all.
    pub relp_answered: AtomicU64,
    /// Those that were not, because the connection ended first: the client sends them again.
    pub relp_unanswered: AtomicU64,
    /// RELP connections closed because the client did not take its answers.
    pub relp_stuck: AtomicU64,
    /// RELP clients that offered records of a relay and were held to lines, because they may not send any; see `relays`
    /// of the source.
    pub relp_no_relay: AtomicU64,
    /// RELP connections closed because of what the client sent, by reason, in the order of [`Bad::WORDS`].
    pub relp_errors: [AtomicU64; Bad::COUNT],
}

impl Counters {
    /// Names and values, for metrics.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        let named = [
            ("opened", &self.opened),
            ("ended", &self.ended),
            ("lines", &self.lines),
            ("records", &self.records),
            ("octets", &self.octets),
            ("empty", &self.empty),
            ("truncated", &self.truncated),
            ("incomplete", &self.incomplete),
            ("framing_errors", &self.framing_errors),
            ("closed_framing", &self.closed_framing),
            ("partial_timeouts", &self.partial_timeouts),
            ("closed_memory", &self.closed_memory),
            ("read_errors", &self.read_errors),
            ("closed_stopping", &self.closed_stopping),
            ("waits", &self.waits),
            ("waited_us", &self.waited_us),
            ("kernel_drops", &self.kernel_drops),
            ("receive_errors", &self.receive_errors),
            ("relp_answered", &self.relp_answered),
            ("relp_unanswered", &self.relp_unanswered),
            ("relp_stuck", &self.relp_stuck),
            ("relp_no_relay", &self.relp_no_relay),
        ];
        let named = named.into_iter().map(|(name, counter)| (name, counter.load(Relaxed)));
        let relp = Bad::WORDS.into_iter().zip(&self.relp_errors).map(|(word, n)| (word, n.load(Relaxed)));
        named.chain(relp).collect()
    }

    pub(crate) fn add(&self, counts: framing::Counts) {
        let pairs = [
            (&self.lines, counts.lines),
            (&self.empty, counts.empty),
            (&self.truncated, counts.truncated),
            (&self.incomplete, counts.incomplete),
            (&self.framing_errors, counts.errors),
        ];
        for (counter, count) in pairs {
            if count > 0 {
                counter.fetch_add(count, Relaxed);
            }
        }
    }

    /// Counts from now until the guard is dropped as waiting.
    pub(crate) fn wait(&self, clock: Clock) -> Waiting<'_> {
        self.waits.fetch_add(1, Relaxed);
        if self.waiting.fetch_add(1, Relaxed) == 0 {
            self.waiting_since_us.store(clock(), Relaxed);
        }
        Waiting { counters: self, since: Instant::now() }
    }
}

/// A connection that is not read from.
pub(crate) struct Waiting<'a> {
    counters: &'a Counters,
    since: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.counters.waited_us.fetch_add(micros(self.since.elapsed()), Relaxed);
        if self.counters.waiting.fetch_sub(1, Relaxed) == 1 {
            self.counters.waiting_since_us.store(0, Relaxed);
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
