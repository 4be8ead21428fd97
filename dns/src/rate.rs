//! Response rate limiting by source network.
//!
//! A server that answers to forged addresses lends its bandwidth to attackers. Each source network
//! (/24 or /56, as in BIND and NSD) has a token bucket; when it is empty every second answer is
//! sent truncated ("slip 2"), so that a real client behind that network comes back by TCP, and the
//! rest is dropped.
//!
//! Memory is fixed: 65,536 slots of one 64-bit word, chosen by a keyed hash, so nobody can aim at
//! a slot. Networks that share a slot share its bucket, which is only stricter. No locks: a word
//! holds the time of the last refill and the tokens, and is replaced by compare-and-swap.
//!
//! Layout of a word: bits 63..24 milliseconds since the start (40 bits, wrapping), 23..1 tokens in
//! thousandths, bit 0 whether the next limited answer slips.

use std::{
    hash::Hasher,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use siphasher::sip::SipHasher13;

/// Slots of the table; half a megabyte.
pub const SLOTS: usize = 1 << 16;
/// Largest rate: a second's worth of thousandths must fit the token field.
pub const RATE_MAX: u32 = 8_000;

const TOKEN: u64 = 1000;
/// The bits of the clock in a word.
const CLOCK: u64 = (1 << 40) - 1;
/// A reading this much older than the last one comes from another thread, not from a whole round.
const STEP_BACK_MS: u64 = 60_000;

/// What to do with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rated {
    /// Send it.
    Pass,
    /// Send an empty answer with TC set instead.
    Slip,
    /// Send nothing.
    Drop,
}

/// Token buckets of all source networks.
pub struct RateLimiter {
    slots: Box<[AtomicU64]>,
    key: (u64, u64),
    rate: u64,
    start_ms: u64,
}

impl RateLimiter {
    /// `rate` answers a second to one network (0: no limit, at most `RATE_MAX`), bursts of one
    /// second's worth; `key` should be random; `now_ms` is the time base of later calls.
    pub fn new(rate: u32, key: (u64, u64), now_ms: u64) -> Self {
        let rate = u64::from(rate.min(RATE_MAX));
        // A full bucket at time zero.
        let full = (rate * TOKEN) << 1;
        Self { slots: (0..SLOTS).map(|_| AtomicU64::new(full)).collect(), key, rate, start_ms: now_ms }
    }

    /// Takes one answer to `source` from its bucket.
    pub fn check(&self, source: IpAddr, now_ms: u64) -> Rated {
        if self.rate == 0 {
            return Rated::Pass;
        }
        let Some(slot) = self.slots.get(self.slot(source)) else { return Rated::Pass };
        let now = now_ms.wrapping_sub(self.start_ms) & CLOCK;
        let mut outcome = Rated::Pass;
        // Fails never: the closure always gives a new word.
        let _ = slot.fetch_update(Relaxed, Relaxed, |word| {
            let (next, rated) = step(word, now, self.rate);
            outcome = rated;
            Some(next)
        });
        outcome
    }

    fn slot(&self, source: IpAddr) -> usize {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        match source.to_canonical() {
            IpAddr::V4(v4) => hasher.write_u32(v4.to_bits() >> 8),
            IpAddr::V6(v6) => hasher.write_u64((v6.to_bits() >> 72) as u64),
        }
        hasher.finish() as usize % SLOTS
    }
}

fn step(word: u64, now: u64, rate: u64) -> (u64, Rated) {
    let (then, tokens, slip) = (word >> 24, word >> 1 & 0x7f_ffff, word & 1);
    // Threads read the clock at slightly different times; an older reading adds nothing.
    let elapsed = now.wrapping_sub(then) & CLOCK;
    let (elapsed, time) = if CLOCK - elapsed < STEP_BACK_MS { (0, then) } else { (elapsed, now) };
    let tokens = tokens.saturating_add(elapsed.saturating_mul(rate)).min(rate * TOKEN);
    if tokens >= TOKEN {
        return (time << 24 | (tokens - TOKEN) << 1 | slip, Rated::Pass);
    }
    (time << 24 | tokens << 1 | (slip ^ 1), if slip == 0 { Rated::Slip } else { Rated::Drop })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_burst_then_every_second_one_slips() {
        let limiter = RateLimiter::new(20, (1, 2), 5_000);
        for _ in 0..20 {
            assert_eq!(limiter.check(ip("192.0.2.1"), 5_000), Rated::Pass);
        }
        assert_eq!(limiter.check(ip("192.0.2.2"), 5_000), Rated::Slip, "the same /24");
        assert_eq!(limiter.check(ip("192.0.2.3"), 5_000), Rated::Drop);
        assert_eq!(limiter.check(ip("192.0.2.3"), 5_000), Rated::Slip);
        assert_eq!(limiter.check(ip("192.0.3.1"), 5_000), Rated::Pass, "another /24");
        assert_eq!(limiter.check(ip("::ffff:192.0.2.1"), 5_000), Rated::Drop, "a mapped address is the same network");
        // 20 a second is one every 50 ms.
        assert_eq!(limiter.check(ip("192.0.2.1"), 5_050), Rated::Pass);
        assert_eq!(limiter.check(ip("192.0.2.1"), 5_099), Rated::Slip);
        assert_eq!(limiter.check(ip("192.0.2.1"), 5_100), Rated::Pass);
    }

    #[test]
    fn ipv6_networks_are_slash_56() {
        let limiter = RateLimiter::new(1, (1, 2), 0);
        assert_eq!(limiter.check(ip("2001:db8:0:1ff::1"), 0), Rated::Pass);
        assert_ne!(limiter.check(ip("2001:db8:0:100::1"), 0), Rated::Pass);
        assert_eq!(limiter.check(ip("2001:db8:0:200::1"), 0), Rated::Pass);
    }

    #[test]
    fn zero_is_no_limit() {
        let limiter = RateLimiter::new(0, (0, 0), 0);
        assert!((0..1000).all(|_| limiter.check(ip("192.0.2.1"), 0) == Rated::Pass));
    }

    #[test]
    fn the_clock_wraps_and_may_step_back() {
        let limiter = RateLimiter::new(1, (1, 2), 0);
        let last = CLOCK - 10;
        assert_eq!(limiter.check(ip("192.0.2.1"), 0), Rated::Pass);
        for now in [last - 3_000_000, last] {
            assert_eq!(limiter.check(ip("192.0.2.1"), now), Rated::Pass);
            assert_ne!(limiter.check(ip("192.0.2.1"), now - 5), Rated::Pass, "an older reading adds nothing");
        }
        assert_eq!(limiter.check(ip("192.0.2.1"), last + 1_000), Rated::Pass);
    }

    #[test]
    fn unix_time_needs_no_start() {
        let limiter = RateLimiter::new(1, (1, 2), 0);
        let now = 1_795_000_000_000;
        assert_eq!(limiter.check(ip("192.0.2.1"), now), Rated::Pass);
        assert_ne!(limiter.check(ip("192.0.2.1"), now + 999), Rated::Pass);
        assert_eq!(limiter.check(ip("192.0.2.1"), now + 1_000), Rated::Pass);
    }

    proptest! {
        /// Over any stretch of time no network gets more than its rate and one burst.
        #[test]
        fn never_more_than_the_rate(rate in 1u32..=RATE_MAX, gaps in prop::collection::vec(0u64..50, 1..500)) {
            let limiter = RateLimiter::new(rate, (7, 9), 0);
            let (mut now, mut passed) = (0, 0u64);
            for gap in gaps {
                now += gap;
                passed += u64::from(limiter.check(ip("192.0.2.1"), now) == Rated::Pass);
            }
            prop_assert!(passed <= u64::from(rate) + now * u64::from(rate) / 1000 + 1);
        }
    }
}
