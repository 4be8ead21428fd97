//! How often a host speaks: a histogram of the pauses between its messages.
//!
//! Pauses under a second are no pauses: a burst, or the lines of one batch, says nothing of how long a host may be quiet.
//! The bounds grow by the square root of 2, from a second to more than a week. Old pauses count less: when there are
//! 2,048 in it, all counts are halved.

/// Number of bounds.
pub(super) const BUCKETS: usize = 40;
/// The shortest pause, microseconds.
pub(super) const PAUSE_US: i64 = 1_000_000;
/// Pauses after which counts are halved.
const FULL: u32 = 2_048;
/// Pauses before anything was learned.
const LEARNED: u32 = 20;
/// Upper bounds, microseconds; what is longer is in the last.
const BOUNDS: [i64; BUCKETS] = bounds();

const fn bounds() -> [i64; BUCKETS] {
    let (mut bounds, mut n) = ([0; BUCKETS], 0);
    while n < BUCKETS {
        let power = PAUSE_US << (n / 2);
        bounds[n] = if n % 2 == 0 { power } else { power / 1_000_000 * 1_414_213 };
        n += 1;
    }
    bounds
}

/// The pauses of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gaps {
    pub(super) counts: [u16; BUCKETS],
    /// Moving average of pauses, an eighth each; microseconds.
    pub(super) mean_us: i64,
}

impl Default for Gaps {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], mean_us: 0 }
    }
}

impl Gaps {
    /// Learns a pause; what is shorter than a second is none.
    pub(super) fn learn(&mut self, gap_us: i64) {
        if gap_us < PAUSE_US {
            return;
        }
        let total = self.total();
        self.mean_us =
            if total == 0 { gap_us } else { self.mean_us.saturating_add(gap_us.saturating_sub(self.mean_us) / 8) };
        if total >= FULL {
            self.counts.iter_mut().for_each(|n| *n /= 2);
        }
        let bucket = BOUNDS.partition_point(|bound| *bound < gap_us).min(BUCKETS - 1);
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
    }

    /// Pauses in the histogram.
    fn total(&self) -> u32 {
        self.counts.iter().map(|n| u32::from(*n)).sum()
    }

    /// Bound under which 99 of 100 pauses are, microseconds; the longest of fewer than 100 is passed over. None before
    /// 20 pauses.
    pub(super) fn high_us(&self) -> Option<i64> {
        let total = self.total();
        if total < LEARNED {
            return None;
        }
        let (rank, mut below) = (total * 99 / 100, 0);
        let position = self.counts.iter().position(|n| {
            below += u32::from(*n);
            below >= rank
        });
        position.map(|n| BOUNDS[n])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_learned_from_few_pauses_or_from_bursts() {
        let mut gaps = Gaps::default();
        (0..1000).for_each(|n| gaps.learn(n * 999));
        (0..19).for_each(|_| gaps.learn(30 * PAUSE_US));
        assert_eq!(gaps.high_us(), None);
        gaps.learn(30 * PAUSE_US);
        assert_eq!((gaps.high_us(), gaps.mean_us), (Some(32 * PAUSE_US), 30 * PAUSE_US));
    }

    #[test]
    fn one_long_pause_is_passed_over_many_are_a_habit() {
        let mut gaps = Gaps::default();
        (0..60).for_each(|_| gaps.learn(60 * PAUSE_US));
        gaps.learn(i64::MAX);
        assert_eq!(gaps.high_us(), Some(64 * PAUSE_US));
        (0..30).for_each(|_| gaps.learn(3600 * PAUSE_US));
        assert_eq!(gaps.high_us(), Some(4096 * PAUSE_US));
        // Old habits fade.
        (0..10_000).for_each(|_| gaps.learn(2 * PAUSE_US));
        assert_eq!((gaps.high_us(), gaps.total() <= FULL), (Some(2 * PAUSE_US), true));
    }

    #[test]
    fn the_estimate_is_at_most_the_root_of_two_too_high() {
        for seconds in [1, 2, 3, 59, 3_599, 86_400, 700_000] {
            let mut gaps = Gaps::default();
            (0..50).for_each(|_| gaps.learn(seconds * PAUSE_US));
            let high = gaps.high_us().unwrap() as f64 / (seconds * PAUSE_US) as f64;
            assert!((1.0..1.42).contains(&high), "{seconds}: {high}");
        }
    }
}
