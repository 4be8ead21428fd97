//! How many messages a second a host may send: a token bucket in one atomic number.
//!
//! The number is the time at which the bucket will be full again (the virtual scheduling form of the generic cell rate
//! algorithm, ITU-T I.371 annex A). What was admitted within any span of time is at most `burst + per_second * span`,
//! however many threads ask and however their clocks differ.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// The bucket counts in 1/1024 microseconds, so that a million messages a second are told apart well.
const FINE: u32 = 10;
/// The latest time that the bucket knows, microseconds since 1970: the year 2112.
const LATEST_US: i64 = 1 << 52;
/// A bucket that would be full only this long after it could be is from before the clock was set back.
const SLACK: i64 = 1_000_000 << FINE;

/// What a host may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_second: u32,
    burst: u32,
    spare: u8,
    /// Time in which one message is earned, in 1/1024 microseconds; rounded up.
    interval: i64,
}

impl Rate {
    /// `per_second` messages a second, `burst` saved up at most (at least 1), messages of severity `spare` and worse
    /// always. None when `per_second` is 0: no limit.
    pub fn new(per_second: u32, burst: u32, spare: u8) -> Option<Self> {
        let interval =
            (1_000_000_i64 << FINE).checked_add(i64::from(per_second) - 1)?.checked_div(per_second.into())?;
        Some(Self { per_second, burst: burst.max(1), spare, interval })
    }

    /// Messages a second.
    pub fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Messages that may be saved up.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// The least severe severity that is never shed.
    pub fn spare(&self) -> u8 {
        self.spare
    }
}

/// Whether a message may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// It may.
    Pass,
    /// Its host sends more than it may.
    Shed,
}

/// Tokens of one host.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// When it will be full, 1/1024 microseconds since 1970.
    full_at: AtomicI64,
}

impl Bucket {
    /// Takes a token if there is one.
    pub(super) fn take(&self, rate: &Rate, now_us: i64) -> bool {
        let now = now_us.clamp(0, LATEST_US) << FINE;
        let room = i64::from(rate.burst) * rate.interval;
        let mut full_at = self.full_at.load(Relaxed);
        loop {
            let missing = (full_at - now).max(0);
            let fits = missing + rate.interval <= room;
            let next = if fits {
                now + missing + rate.interval
            } else if missing > room + SLACK {
                // The clock was set back, or the rate raised: the bucket is empty, but not for longer than it takes to
                // fill it.
                now + room
            } else {
                return false;
            };
            match self.full_at.compare_exchange_weak(full_at, next, Relaxed, Relaxed) {
                Ok(_) => return fits,
                Err(other) => full_at = other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: i64 = 1_790_000_000_000_000;

    #[test]
    fn no_rate_is_no_limit_and_extremes_do_not_overflow() {
        assert_eq!(Rate::new(0, 5, 3), None);
        for (per_second, burst) in [(1, u32::MAX), (u32::MAX, u32::MAX), (u32::MAX, 1)] {
            let (rate, bucket) = (Rate::new(per_second, burst, 3).unwrap(), Bucket::default());
            for now in [i64::MIN, 0, START, i64::MAX, START, i64::MIN] {
                bucket.take(&rate, now);
            }
        }
    }

    #[test]
    fn a_clock_that_was_set_back_costs_one_filling() {
        let (rate, bucket) = (Rate::new(10, 20, 3).unwrap(), Bucket::default());
        assert!(bucket.take(&rate, START));
        let before = START - 3_600_000_000;
        assert!(!bucket.take(&rate, before));
        assert!(!bucket.take(&rate, before + 50_000));
        assert!(bucket.take(&rate, before + 100_001));
        assert_eq!((0..30).filter(|_| bucket.take(&rate, before + 10_000_000)).count(), 20);
    }

    proptest! {
        /// Compared with a bucket of fractions that earns exactly.
        #[test]
        fn admits_what_was_earned_and_no_more(
            per_second in 1u32..200_000,
            burst in 1u32..500,
            steps in proptest::collection::vec(0i64..20_000, 1..400),
        ) {
            let (rate, bucket) = (Rate::new(per_second, burst, 3).unwrap(), Bucket::default());
            let (mut now, mut tokens, mut admitted) = (START, f64::from(burst), 0u64);
            for step in steps {
                now += step;
                tokens = (tokens + step as f64 * f64::from(per_second) / 1e6).min(f64::from(burst));
                let took = bucket.take(&rate, now);
                // Rounding may lose a message where the model stands at the edge, and is never generous.
                prop_assert!(!took || tokens >= 1.0 - 1e-6);
                prop_assert!(took || tokens < 1.0 + 0.2 * f64::from(burst));
                if took {
                    tokens -= 1.0;
                    admitted += 1;
                }
                let most = f64::from(burst) + (now - START) as f64 * f64::from(per_second) / 1e6;
                prop_assert!(admitted as f64 <= most + 1e-6);
            }
        }
    }

    #[test]
    fn a_steady_sender_gets_its_rate() {
        for per_second in [1, 7, 1_000, 999_983] {
            let (rate, bucket) = (Rate::new(per_second, 10, 3).unwrap(), Bucket::default());
            // Twice the rate for as long as 20,000 messages take.
            let seconds = 10_000.0 / f64::from(per_second);
            let took =
                (0..20_000).filter(|n| bucket.take(&rate, START + (f64::from(*n) * seconds * 50.0) as i64)).count();
            assert!((9_980..=10_011).contains(&took), "{per_second}: {took}");
        }
    }

    #[test]
    fn threads_with_clocks_of_their_own_get_no_more_together() {
        let (rate, bucket) = (Rate::new(1_000, 50, 3).unwrap(), Bucket::default());
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let bucket = &bucket;
                    scope.spawn(move || {
                        (0..25_000).filter(|n| bucket.take(&rate, START + n * 20 - thread * 400)).count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!((500..=551).contains(&admitted), "{admitted}");
    }
}
