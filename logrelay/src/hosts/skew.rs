//! How far a host's clock is from ours: the median of its last few samples.
//!
//! A sample is time in the message - time of receipt, of the message of a batch that waited least. A median is not moved
//! by a few old lines that a host sends again.

/// Samples.
const SAMPLES: usize = 9;
/// One sample in this time, microseconds: the samples shall not all be of one backlog.
const EVERY_US: i64 = 10_000_000;

/// The last samples, milliseconds; what does not fit is as far as fits (24 days).
#[derive(Debug, Clone, Default)]
pub(super) struct Skew {
    samples: [i32; SAMPLES],
    taken: u32,
    last_us: i64,
}

impl Skew {
    /// Takes a sample, unless the last is too near.
    pub(super) fn learn(&mut self, ahead_us: i64, now_us: i64) {
        if self.taken > 0 && now_us.abs_diff(self.last_us) < EVERY_US.unsigned_abs() {
            return;
        }
        self.last_us = now_us;
        let clamped = (ahead_us / 1000).clamp(i32::MIN.into(), i32::MAX.into());
        self.samples[self.taken as usize % SAMPLES] = clamped as i32;
        self.taken = if self.taken as usize == 2 * SAMPLES - 1 { SAMPLES as u32 } else { self.taken + 1 };
    }

    /// Milliseconds that the host's clock is ahead of ours; negative when it is behind.
    pub(super) fn ahead_ms(&self) -> Option<i64> {
        let (mut sorted, n) = (self.samples, (self.taken as usize).min(SAMPLES));
        sorted[..n].sort_unstable();
        sorted[..n].get(n / 2).map(|ms| i64::from(*ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_does_not_move_the_median_and_a_new_clock_does() {
        let mut skew = Skew::default();
        assert_eq!(skew.ahead_ms(), None);
        let mut now = 0;
        let mut learn = |skew: &mut Skew, ahead_us| {
            now += EVERY_US;
            skew.learn(ahead_us, now);
            // Too soon.
            skew.learn(i64::MIN, now + 1);
        };
        (0..20).for_each(|n| learn(&mut skew, 2_500_000 + n * 1000));
        assert_eq!(skew.ahead_ms(), Some(2515));
        (0..4).for_each(|_| learn(&mut skew, -86_400_000_000));
        assert_eq!(skew.ahead_ms(), Some(2515));
        (0..9).for_each(|_| learn(&mut skew, i64::MAX));
        assert_eq!(skew.ahead_ms(), Some(i64::from(i32::MAX)));
    }
}
