//! How many decisions a source may have recorded.
//!
//! The log is bounded, so whoever could fill it could rotate out what others did. Each source, as connections are
//! limited by, has a budget that refills; what is beyond is counted and not recorded. The table of sources is bounded:
//! when it is full, those with a full budget are forgotten, and if there are none, newcomers share one budget.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
};

/// Decisions that a source may have recorded at once.
const BURST: u64 = 512;
/// Decisions that it may have recorded per second after that.
const PER_SECOND: u64 = 8;
/// Sources with budgets of their own.
const SOURCES_MAX: usize = 4096;

/// What is left in thousandths of a decision, and at which time in unix milliseconds.
#[derive(Clone, Copy)]
struct Budget {
    left: u64,
    at_ms: u64,
}

impl Budget {
    fn at(self, now_ms: u64) -> Self {
        let gained = now_ms.saturating_sub(self.at_ms).saturating_mul(PER_SECOND);
        Self { left: self.left.saturating_add(gained).min(BURST * 1000), at_ms: now_ms }
    }
}

/// The budgets of all sources.
#[derive(Default)]
pub(super) struct Budgets(Mutex<HashMap<IpAddr, Budget>>);

impl Budgets {
    /// Takes one decision from the budget of a source. `false` if nothing is left.
    pub(super) fn take(&self, source: IpAddr, now_ms: u64) -> bool {
        let mut source = wire::source(source);
        let mut budgets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if budgets.len() >= SOURCES_MAX && !budgets.contains_key(&source) {
            budgets.retain(|_, budget| budget.at(now_ms).left < BURST * 1000);
            if budgets.len() >= SOURCES_MAX {
                source = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            }
        }
        let full = Budget { left: BURST * 1000, at_ms: now_ms };
        let budget = budgets.entry(source).or_insert(full);
        *budget = budget.at(now_ms);
        let Some(left) = budget.left.checked_sub(1000) else { return false };
        budget.left = left;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_that_asks_without_end_does_not_fill_the_log() {
        let budgets = Budgets::default();
        let taken = (0..10_000).filter(|_| budgets.take(address("10.0.0.1"), 1000)).count() as u64;
        assert_eq!(taken, BURST);
        assert!(budgets.take(address("10.0.0.2"), 1000), "others have their own");
        let later = (0..10_000).filter(|_| budgets.take(address("10.0.0.1"), 3000)).count() as u64;
        assert_eq!(later, 2 * PER_SECOND);
    }

    #[test]
    fn a_flood_of_sources_is_bounded() {
        let budgets = Budgets::default();
        for host in 0..3 * SOURCES_MAX as u32 {
            budgets.take(IpAddr::V4((host + 1).into()), 1000);
        }
        assert!(budgets.0.lock().unwrap().len() <= SOURCES_MAX + 1);
        assert!(!budgets.take(address("99.0.0.1"), 1000), "newcomers share what is left");
    }
}
