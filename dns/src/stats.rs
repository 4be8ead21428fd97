//! Counters of the answering side.
//!
//! Every UDP worker has its own [`Counters`], so counting never makes two processors share a cache
//! line; readers add them up. Latency is measured per batch, from the receive call's return to the
//! send call's return, and counted for every answer of the batch.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::verdict::{REASONS, Reason};

/// Response codes that are counted by themselves; higher ones share the last place.
pub const RCODES: usize = 24;
/// Upper bounds of the latency buckets in nanoseconds; one more bucket is open above.
pub const LATENCY_BOUNDS_NS: [u64; 12] =
    [2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 5_000_000, 25_000_000, 100_000_000];

/// What happens to a datagram or message that gets no answer of the usual kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Answered with silence: too short, or a response.
    Silent,
    /// Dropped by rate limiting.
    RateDropped,
    /// Sent truncated by rate limiting.
    RateSlipped,
    /// Handed to the forwarder.
    Forwarded,
    /// Not handed to the forwarder, because its queue was full; dropped.
    Shed,
    /// The kernel refused to send.
    SendFailed,
    /// A zone transfer.
    Transfer,
    /// The answering code panicked; the query was dropped.
    Panicked,
    /// A signed query was refused: key, signature or time are wrong.
    BadSignature,
    /// A zone transfer was refused: the source may not have it, or not over this transport.
    TransferRefused,
}

/// All events with their names in metrics.
pub const EVENTS: [(Event, &str); 10] = [
    (Event::Silent, "silent"),
    (Event::RateDropped, "rate_dropped"),
    (Event::RateSlipped, "rate_slipped"),
    (Event::Forwarded, "forwarded"),
    (Event::Shed, "shed"),
    (Event::SendFailed, "send_failed"),
    (Event::Transfer, "transfer"),
    (Event::Panicked, "panicked"),
    (Event::BadSignature, "bad_signature"),
    (Event::TransferRefused, "transfer_refused"),
];

/// Counters of one worker or transport.
#[derive(Default)]
#[repr(align(128))]
pub struct Counters {
    rcodes: [AtomicU64; RCODES],
    reasons: [AtomicU64; REASONS.len()],
    events: [AtomicU64; EVENTS.len()],
    latency: [AtomicU64; LATENCY_BOUNDS_NS.len() + 1],
    latency_sum_ns: AtomicU64,
    batches: AtomicU64,
}

impl Counters {
    /// Counts an answer with its response code and reason.
    #[inline]
    pub fn answered(&self, rcode: u16, reason: Reason) {
        bump(&self.rcodes[usize::from(rcode).min(RCODES - 1)], 1);
        bump(&self.reasons[reason as usize], 1);
    }

    /// [`Counters::answered`] by the one thread that counts answers here: without a locked instruction.
    #[inline]
    pub fn answered_alone(&self, rcode: u16, reason: Reason) {
        bump_alone(&self.rcodes[usize::from(rcode).min(RCODES - 1)], 1);
        bump_alone(&self.reasons[reason as usize], 1);
    }

    /// Counts an answer that came from a resolver.
    pub fn relayed(&self, rcode: u16) {
        bump(&self.rcodes[usize::from(rcode).min(RCODES - 1)], 1);
    }

    /// Counts an event.
    #[inline]
    pub fn event(&self, event: Event) {
        bump(&self.events[event as usize], 1);
    }

    /// Counts `answers` that took `ns` from receiving to sending; for the one thread that does so.
    #[inline]
    pub fn took(&self, ns: u64, answers: u64) {
        let bucket = LATENCY_BOUNDS_NS.iter().position(|&bound| ns <= bound).unwrap_or(LATENCY_BOUNDS_NS.len());
        bump_alone(&self.latency[bucket], answers);
        bump_alone(&self.latency_sum_ns, ns.saturating_mul(answers));
        bump_alone(&self.batches, 1);
    }
}

#[inline]
fn bump(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Relaxed);
}

/// For counters with one writer.
#[inline]
fn bump_alone(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

/// The counters of one transport, added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// Answers by response code.
    pub rcodes: [u64; RCODES],
    /// Answers by reason, in the order of [`REASONS`].
    pub reasons: [u64; REASONS.len()],
    /// Events, in the order of [`EVENTS`].
    pub events: [u64; EVENTS.len()],
    /// Answers by latency, not cumulative, in the order of [`LATENCY_BOUNDS_NS`] and one above.
    pub latency: [u64; LATENCY_BOUNDS_NS.len() + 1],
    /// Sum of the latencies in nanoseconds.
    pub latency_sum_ns: u64,
    /// Receive calls that brought something.
    pub batches: u64,
}

/// Adds up the counters of several workers.
pub fn sum(all: &[Arc<Counters>]) -> Sums {
    let mut sums = Sums::default();
    let add = |into: &mut [u64], from: &[AtomicU64]| {
        for (into, from) in into.iter_mut().zip(from) {
            *into += from.load(Relaxed);
        }
    };
    for counters in all {
        add(&mut sums.rcodes, &counters.rcodes);
        add(&mut sums.reasons, &counters.reasons);
        add(&mut sums.events, &counters.events);
        add(&mut sums.latency, &counters.latency);
        sums.latency_sum_ns += counters.latency_sum_ns.load(Relaxed);
        sums.batches += counters.batches.load(Relaxed);
    }
    sums
}
