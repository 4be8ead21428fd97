//! Episodes of shedding: when they begin and end, with exact counts.
//!
//! Who sheds counts first and looks afterwards whether an episode is open; who ends one closes it first and takes the
//! counts afterwards. So each message that was shed is in exactly one notice, whatever the order. No lock is taken per
//! message: the list is locked once per episode, and by the sweep.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicI64, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use super::{entry::HostEntry, rate::Rate, who::Who};
use crate::message::SEVERITIES;

/// Without shedding for this long, an episode is over, microseconds.
const CALM_US: i64 = 10_000_000;

/// The begin or the end of shedding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Messages of a host are shed.
    Begin {
        /// Whose.
        who: Who,
        /// Time of the first, microseconds since 1970.
        at_us: i64,
        /// What it may send.
        rate: Rate,
    },
    /// They are not shed any more.
    End {
        /// Whose.
        who: Who,
        /// Time of the first, microseconds since 1970.
        from_us: i64,
        /// Time of the last.
        to_us: i64,
        /// How many were shed, by severity.
        shed: [u64; 8],
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin { who, rate, .. } => write!(
                f,
                "{who} sends more than {} messages a second; what is less severe than {} is shed",
                rate.per_second(),
                SEVERITIES.get(usize::from(rate.spare())).unwrap_or(&"debug"),
            ),
            Self::End { who, from_us, to_us, shed } => {
                let seconds = to_us.saturating_sub(*from_us).max(0) as f64 / 1e6;
                let total: u64 = shed.iter().sum();
                write!(f, "{total} messages of {who} were shed in {seconds:.3} s")?;
                for (severity, n) in SEVERITIES.iter().zip(shed).filter(|(_, n)| **n > 0) {
                    write!(f, " {severity}={n}")?;
                }
                Ok(())
            }
        }
    }
}

/// What a host has shed in its present episode.
#[derive(Debug, Default)]
pub(super) struct Shed {
    by_severity: [AtomicU64; 8],
    open: AtomicBool,
    last_us: AtomicI64,
}

impl Shed {
    /// Counts a message; true when an episode begins with it.
    pub(super) fn count(&self, severity: u8, now_us: i64) -> bool {
        self.by_severity[usize::from(severity & 7)].fetch_add(1, SeqCst);
        self.last_us.store(now_us, Relaxed);
        !self.open.load(SeqCst) && !self.open.swap(true, SeqCst)
    }

    fn is_empty(&self) -> bool {
        self.by_severity.iter().all(|n| n.load(SeqCst) == 0)
    }

    /// Closes the episode and takes its counts.
    fn close(&self) -> [u64; 8] {
        self.open.swap(false, SeqCst);
        self.by_severity.each_ref().map(|n| n.swap(0, SeqCst))
    }
}

/// An episode that was not ended yet.
#[derive(Debug)]
struct Episode {
    entry: Arc<HostEntry>,
    rate: Rate,
    from_us: i64,
    is_told: bool,
}

/// All episodes: as many as hosts shed at the moment.
#[derive(Debug, Default)]
pub(super) struct Episodes(Mutex<Vec<Episode>>);

impl Episodes {
    pub(super) fn begin(&self, entry: Arc<HostEntry>, rate: Rate, from_us: i64) {
        let episode = Episode { entry, rate, from_us, is_told: false };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(episode);
    }

    /// The notices that are due. With `all`, every episode ends.
    pub(super) fn sweep(&self, now_us: i64, all: bool) -> Vec<Notice> {
        let (mut notices, mut episodes) = (Vec::new(), self.0.lock().unwrap_or_else(PoisonError::into_inner));
        episodes.retain_mut(|episode| {
            let Episode { entry, rate, from_us, is_told } = episode;
            let (who, shed) = (entry.who(), entry.shed_by_rate());
            let mut begin = |notices: &mut Vec<Notice>| {
                if !std::mem::replace(is_told, true) {
                    notices.push(Notice::Begin { who: who.clone(), at_us: *from_us, rate: *rate });
                }
            };
            // Also over when the clock was set back by more than that.
            let is_over = now_us.abs_diff(shed.last_us.load(Relaxed)) >= CALM_US.unsigned_abs();
            if !is_over && !all {
                if !shed.is_empty() {
                    begin(&mut notices);
                }
                return true;
            }
            let counts = shed.close();
            // Empty: its one message was counted when the episode before was closed.
            if counts != [0; 8] {
                begin(&mut notices);
                let to_us = shed.last_us.load(Relaxed).max(*from_us);
                notices.push(Notice::End { who: who.clone(), from_us: *from_us, to_us, shed: counts });
            }
            false
        });
        notices
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use proptest::prelude::*;

    use super::super::{Admit, Hosts};
    use super::*;

    const START: i64 = 1_790_000_000_000_000;
    const SECOND: i64 = 1_000_000;

    /// Sums of End by severity, after checking that Begin and End alternate for each host.
    fn sums(notices: &[Notice]) -> [u64; 8] {
        let (mut open, mut sums) = (std::collections::HashSet::new(), [0; 8]);
        for notice in notices {
            match notice {
                Notice::Begin { who, .. } => assert!(open.insert(who), "two begins of {who}"),
                Notice::End { who, from_us, to_us, shed } => {
                    assert!(open.remove(who), "an end without a begin of {who}");
                    assert!(from_us <= to_us);
                    sums.iter_mut().zip(shed).for_each(|(sum, n)| *sum += n);
                }
            }
        }
        assert!(open.is_empty());
        sums
    }

    #[test]
    fn an_episode_begins_once_and_ends_after_ten_calm_seconds() {
        let hosts = Hosts::new(100);
        let entry = hosts.address("10.0.0.1".parse().unwrap(), START);
        let rate = Rate::new(10, 2, 3);
        let all: Vec<Admit> = (0..5).map(|_| entry.admit(rate.as_ref(), START, 6)).collect();
        assert_eq!(all, [Admit::Pass, Admit::Pass, Admit::Shed, Admit::Shed, Admit::Shed]);
        assert_eq!(entry.admit(rate.as_ref(), START, 3), Admit::Pass, "err is spared");
        assert_eq!(entry.admit(None, START, 7), Admit::Pass);
        assert_eq!(entry.admit(rate.as_ref(), START + 4, 7), Admit::Shed);
        let begin = hosts.sweep(START + SECOND);
        assert_eq!(begin, [Notice::Begin { who: entry.who().clone(), at_us: START, rate: rate.unwrap() }]);
        assert!(begin[0].to_string().starts_with("10.0.0.1 sends more than 10 messages a second"));
        assert_eq!(hosts.sweep(START + 9 * SECOND), []);
        let end = hosts.sweep(START + 10 * SECOND + 4);
        let shed = [0, 0, 0, 0, 0, 0, 3, 1];
        assert_eq!(end, [Notice::End { who: entry.who().clone(), from_us: START, to_us: START + 4, shed }]);
        assert_eq!(end[0].to_string(), "4 messages of 10.0.0.1 were shed in 0.000 s info=3 debug=1");
        assert_eq!(hosts.sweep(START + 99 * SECOND), []);
    }

    #[test]
    fn the_end_of_the_relay_ends_all() {
        let hosts = Hosts::new(100);
        let rate = Rate::new(1, 1, 0);
        for host in 1..=3u8 {
            let entry = hosts.address([10, 0, 0, host].into(), START);
            (0..=host).for_each(|_| _ = entry.admit(rate.as_ref(), START, 5));
        }
        let notices = hosts.end(START);
        assert_eq!((notices.len(), sums(&notices)[5]), (6, 6));
    }

    proptest! {
        #[test]
        fn every_shed_message_is_in_one_notice(
            steps in proptest::collection::vec((0u8..3, 0i64..4 * SECOND, 0u8..8, 0usize..30), 1..200),
        ) {
            let hosts = Hosts::new(100);
            let rate = Rate::new(3, 4, 2);
            let (mut now, mut shed, mut notices) = (START, [0u64; 8], Vec::new());
            for (host, step, severity, n) in steps {
                now += step;
                let entry = hosts.address([10, 0, 0, host].into(), now);
                for _ in 0..n {
                    if entry.admit(rate.as_ref(), now, severity) == Admit::Shed {
                        shed[usize::from(severity)] += 1;
                    }
                }
                notices.extend(hosts.sweep(now));
            }
            notices.extend(hosts.end(now));
            prop_assert_eq!(sums(&notices), shed);
        }
    }

    /// Many short rounds, so that the last message of a round often meets the end of its episode.
    #[test]
    fn counts_are_exact_with_many_threads_and_a_sweep_beside_them() {
        let hosts = Hosts::new(100);
        let entry = hosts.address("10.0.0.1".parse().unwrap(), START);
        let rate = Rate::new(1_000, 10, 0);
        let (clock, left) = (AtomicI64::new(START), AtomicUsize::new(0));
        let (mut admitted, mut shed, mut told, mut episodes) = (0u64, 0u64, 0u64, 0);
        for round in 0..500 {
            left.store(3, SeqCst);
            let mut notices = Vec::new();
            std::thread::scope(|scope| {
                let mut threads = Vec::new();
                for thread in 0..3u8 {
                    let (entry, clock, left) = (&entry, &clock, &left);
                    threads.push(scope.spawn(move || {
                        let admit = |n: &u32| {
                            // The sweep gets its turns on one processor, too.
                            if n.is_multiple_of(16) {
                                std::thread::yield_now();
                            }
                            entry.admit(rate.as_ref(), clock.fetch_add(1, SeqCst), 1 + thread)
                        };
                        let passed = (0..200).map(|n| admit(&n)).filter(|admit| *admit == Admit::Pass).count() as u64;
                        left.fetch_sub(1, SeqCst);
                        passed
                    }));
                }
                // The sweep is ahead of time, so that episodes end at any moment.
                while left.load(SeqCst) > 0 {
                    notices.extend(hosts.sweep(clock.load(SeqCst) + CALM_US));
                }
                let passed: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
                (admitted, shed) = (admitted + passed, shed + 600 - passed);
            });
            notices.extend(hosts.end(clock.load(SeqCst)));
            told += sums(&notices).iter().sum::<u64>();
            assert_eq!(told, shed, "in round {round}");
            episodes += notices.len() / 2;
        }
        assert!(episodes > 600, "{episodes}");
        let span_us = u64::try_from(clock.load(SeqCst) - START).unwrap();
        assert!(admitted <= 10 + span_us / 1_000 + 1);
    }
}
