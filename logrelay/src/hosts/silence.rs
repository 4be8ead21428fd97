//! Who should be logging and is not, and who logs and should not.
//!
//! What is shown follows at once: a host that speaks again is `Ok` at the next review. What is told (`changed`) has
//! hysteresis: that a host is silent is told once, and that it is back only after it has spoken regularly for one of its
//! intervals, so that a host that speaks too seldom is one alert and not one each time.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
};

use serde::Serialize;

use super::{entry::HostEntry, rules::Rules, table::Hosts, who::Who};
use crate::labels::Labels;

/// Who is never called silent counts as talking for this long after a message, microseconds.
const TALKING_US: i64 = 3_600_000_000;

/// How a sender stands. The worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Default)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum State {
    /// Expected to log; not heard for three times its interval.
    Silent,
    /// Expected to log; not heard since it came into the inventory, for as long.
    NeverSeen,
    /// Not in the inventory any more, or not running; heard nevertheless.
    Withdrawn,
    /// Expected to log; not heard for longer than its interval.
    Late,
    /// Expected to log; not heard yet, and not missed yet.
    #[default]
    New,
    /// Not expected to log, and not heard.
    Off,
    /// Heard as expected, or a sender of which nothing is expected.
    Ok,
}

impl State {
    /// All of them, the worst first.
    pub const ALL: [Self; 7] =
        [Self::Silent, Self::NeverSeen, Self::Withdrawn, Self::Late, Self::New, Self::Off, Self::Ok];

    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::NeverSeen => "never_seen",
            Self::Withdrawn => "withdrawn",
            Self::Late => "late",
            Self::New => "new",
            Self::Off => "off",
            Self::Ok => "ok",
        }
    }

    /// Whether somebody should be told.
    pub fn is_alarming(self) -> bool {
        self <= Self::Withdrawn
    }
}

/// What somebody should be told. From and to are never both unalarming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What was told last, or how the host stood.
    pub from: State,
    /// How it stands.
    pub to: State,
    /// Since when, microseconds since 1970.
    pub at_us: i64,
}

/// A row of `logs silent`. Times are microseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Silence {
    /// Who.
    pub who: Who,
    /// How it stands.
    pub state: State,
    /// Since when it does.
    pub since_us: i64,
    /// When it was last heard.
    pub last_us: Option<i64>,
    /// Within what time it is expected to log; none: it is never called silent.
    pub expected_us: Option<i64>,
    /// Messages received.
    pub received: u64,
    /// Messages shed.
    pub shed: u64,
    /// A stranger at the address of a host that left the inventory: that host. What is still there is likely it.
    pub formerly: Option<Who>,
    /// What somebody should be told, once.
    pub changed: Option<Change>,
}

/// What a review remembers of a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) state: State,
    pub(super) since_us: i64,
    /// The alarm that was told and not called off; `Ok`: none.
    pub(super) told: State,
    /// Since when nothing alarming was seen.
    pub(super) fine_us: i64,
    /// Whether it is expected to log; none before the first review.
    pub(super) expected: Option<bool>,
    /// Since when it is, or is not.
    pub(super) turned_us: i64,
}

impl Default for Memory {
    fn default() -> Self {
        Self { state: State::New, since_us: 0, told: State::Ok, fine_us: 0, expected: None, turned_us: 0 }
    }
}

impl Memory {
    /// Notes whether it is expected now; true when that changed.
    fn turn(&mut self, is_expected: bool, now_us: i64) -> bool {
        // After the clock was set back, nothing was in the future.
        for time in [&mut self.since_us, &mut self.fine_us, &mut self.turned_us] {
            *time = (*time).min(now_us);
        }
        let turned = self.expected.replace(is_expected) != Some(is_expected);
        if turned {
            self.turned_us = now_us;
        }
        turned
    }

    /// How a host stands that is expected to log.
    fn expected(&self, last_us: Option<i64>, interval_us: Option<i64>, rules: &Rules, now_us: i64) -> State {
        let Some(interval_us) = interval_us else { return State::Ok };
        // A host is blamed for no time in which it was not expected, or in which nobody listened.
        let from_us = self.turned_us.max(rules.listening_us.min(now_us));
        let quiet_us = now_us.saturating_sub(last_us.map_or(from_us, |us| us.max(from_us)));
        let too_long = quiet_us > rules.silent_after_us(interval_us);
        match (self.state, last_us) {
            (State::NeverSeen, None) => State::NeverSeen,
            (_, None) if too_long => State::NeverSeen,
            (_, None) => State::New,
            // Only a message ends a silence, not a restart of ours, nor a longer interval.
            (State::Silent, Some(last_us)) if last_us <= self.since_us => State::Silent,
            (_, Some(_)) if too_long => State::Silent,
            (_, Some(_)) if quiet_us > interval_us => State::Late,
            (_, Some(_)) => State::Ok,
        }
    }

    /// How a host stands that is not.
    fn unexpected(&self, last_us: Option<i64>, interval_us: Option<i64>, rules: &Rules, now_us: i64) -> State {
        let after_us = self.turned_us.saturating_add(rules.last_words_us);
        match last_us {
            Some(last_us) if last_us > after_us && is_talking(last_us, interval_us, now_us) => State::Withdrawn,
            _ => State::Off,
        }
    }

    /// Takes the new state, and says what is to be told. `confirm_us`: how long nothing alarming must be seen before an
    /// alarm is called off.
    fn settle(&mut self, state: State, confirm_us: i64, now_us: i64) -> Option<Change> {
        let before = *self;
        if state != before.state {
            (self.state, self.since_us) = (state, now_us);
        }
        if state.is_alarming() {
            let from = if before.told.is_alarming() { before.told } else { before.state };
            self.told = state;
            return (state != before.told).then_some(Change { from, to: state, at_us: self.since_us });
        }
        if before.state.is_alarming() {
            self.fine_us = now_us;
        }
        let is_over = confirm_us == 0 || (state == State::Ok && now_us.saturating_sub(self.fine_us) > confirm_us);
        if !before.told.is_alarming() || !is_over {
            return None;
        }
        self.told = State::Ok;
        Some(Change { from: before.told, to: state, at_us: self.fine_us })
    }
}

fn is_talking(last_us: i64, interval_us: Option<i64>, now_us: i64) -> bool {
    now_us.saturating_sub(last_us) <= interval_us.unwrap_or(TALKING_US)
}

/// Reviews all hosts of the inventory and all senders: a row for each host in `inventory`, for each stranger that talks,
/// and for whatever changed. The worst first, then by name.
pub fn review(inventory: &[Arc<Labels>], hosts: &Hosts, rules: &Rules, now_us: i64) -> Vec<Silence> {
    collect(inventory, hosts, rules, now_us, true, |_| true)
}

/// As [`review`], with only the rows of which somebody should be told: for the task that does it every few seconds.
pub fn changes(inventory: &[Arc<Labels>], hosts: &Hosts, rules: &Rules, now_us: i64) -> Vec<Silence> {
    collect(inventory, hosts, rules, now_us, true, |row| row.changed.is_some())
}

/// As [`review`], for who only wants to know: nothing is remembered, so nothing is missing from the next review.
pub fn look(inventory: &[Arc<Labels>], hosts: &Hosts, rules: &Rules, now_us: i64) -> Vec<Silence> {
    collect(inventory, hosts, rules, now_us, false, |_| true)
}

fn collect(
    inventory: &[Arc<Labels>],
    hosts: &Hosts,
    rules: &Rules,
    now_us: i64,
    commit: bool,
    keep: impl Fn(&Silence) -> bool,
) -> Vec<Silence> {
    let mut rows = Vec::new();
    let mut number = hosts.reviews.lock().unwrap_or_else(PoisonError::into_inner);
    *number += 1;
    let mut review = Review { rules, now_us, commit, number: *number, gone: HashMap::new() };
    let mut unwatched = 0;
    for labels in inventory {
        match hosts.find(Who::host_key(labels), || Who::host(labels), now_us) {
            Some(entry) => rows.extend(review.known(&entry, labels).filter(&keep)),
            None => unwatched += 1,
        }
    }
    hosts.counters().unwatched.store(unwatched, Relaxed);
    hosts.each(|entry| rows.extend(review.gone(entry).filter(&keep)));
    hosts.each(|entry| rows.extend(review.stranger(entry).filter(&keep)));
    rows.sort_by(|a, b| (a.state, &a.who).cmp(&(b.state, &b.who)));
    rows
}

struct Review<'a> {
    rules: &'a Rules,
    now_us: i64,
    commit: bool,
    number: u64,
    /// Who left the inventory, by last address: the one heard last.
    gone: HashMap<IpAddr, Gone>,
}

struct Gone {
    who: Who,
    last_us: i64,
    turned_us: i64,
}

impl Review<'_> {
    /// A host of the inventory; none when it was there already.
    fn known(&mut self, entry: &HostEntry, labels: &Labels) -> Option<Silence> {
        let (last_us, mut inner) = (entry.heal(self.now_us), entry.inner());
        if std::mem::replace(&mut inner.review, self.number) == self.number {
            return None;
        }
        let interval_us = self.rules.expected_us(Some(labels), inner.gaps.high_us());
        let mut memory = inner.memory;
        let turned = memory.turn(labels.expected, self.now_us);
        let (state, confirm_us) = if labels.expected {
            let back = matches!(memory.told, State::Silent | State::NeverSeen);
            let confirm_us = interval_us.filter(|_| back).unwrap_or(0);
            (memory.expected(last_us, interval_us, self.rules, self.now_us), confirm_us)
        } else {
            (memory.unexpected(last_us, interval_us, self.rules, self.now_us), 0)
        };
        let changed = memory.settle(state, confirm_us, self.now_us);
        if self.commit {
            let silent = |state| matches!(state, State::Silent | State::NeverSeen);
            if silent(memory.state) != silent(inner.memory.state) {
                entry.set_silent(silent(memory.state));
            }
            if turned {
                inner.pause_from_us = None;
            }
            inner.pause_max_us = interval_us.map(|us| self.rules.silent_after_us(us));
            inner.memory = memory;
        }
        drop(inner);
        Some(row(entry, &memory, last_us, interval_us, None, changed))
    }

    /// A host that the inventory does not have any more; none while there is nothing to say of it.
    fn gone(&mut self, entry: &HostEntry) -> Option<Silence> {
        if !entry.who().is_host() {
            return None;
        }
        let (last_us, mut inner) = (entry.heal(self.now_us), entry.inner());
        if std::mem::replace(&mut inner.review, self.number) == self.number {
            return None;
        }
        entry.set_in_inventory(false);
        let interval_us = self.rules.expected_us(None, inner.gaps.high_us());
        let mut memory = inner.memory;
        memory.turn(false, self.now_us);
        let state = memory.unexpected(last_us, interval_us, self.rules, self.now_us);
        let changed = memory.settle(state, 0, self.now_us);
        if self.commit {
            entry.set_silent(false);
            inner.pause_from_us = None;
            inner.memory = memory;
        }
        if let (Some(address), Some(last_us)) = (inner.address, last_us) {
            let gone = Gone { who: entry.who().clone(), last_us, turned_us: memory.turned_us };
            if self.gone.get(&address).is_none_or(|other| other.last_us < last_us) {
                self.gone.insert(address, gone);
            }
        }
        drop(inner);
        let row = row(entry, &memory, last_us, interval_us, None, changed);
        Some(row).filter(|row| row.state == State::Withdrawn || row.changed.is_some())
    }

    /// A sender that was never in the inventory; none when it does not talk.
    fn stranger(&mut self, entry: &HostEntry) -> Option<Silence> {
        if entry.who().is_host() {
            return None;
        }
        let (last_us, mut inner) = (entry.heal(self.now_us), entry.inner());
        let interval_us = self.rules.expected_us(None, inner.gaps.high_us());
        let formerly = match entry.who() {
            Who::Address(address) => self.gone.get(address),
            _ => None,
        };
        // Who talked as a stranger before that host was heard last is another, behind the same address.
        let (talked, since_us) = (matches!(inner.memory.state, State::Ok | State::Withdrawn), inner.memory.since_us);
        let formerly = formerly.filter(|gone| !talked || since_us >= gone.last_us);
        let mut memory = inner.memory;
        memory.turn(false, self.now_us);
        let state = match (last_us, formerly) {
            (Some(last_us), _) if !is_talking(last_us, interval_us, self.now_us) => State::Off,
            (None, _) => State::Off,
            (Some(last_us), Some(gone)) if last_us > gone.turned_us.saturating_add(self.rules.last_words_us) => {
                State::Withdrawn
            }
            (Some(_), _) => State::Ok,
        };
        let changed = memory.settle(state, 0, self.now_us);
        if self.commit {
            inner.memory = memory;
        }
        drop(inner);
        let formerly = formerly.map(|gone| gone.who.clone());
        let row = row(entry, &memory, last_us, interval_us, formerly, changed);
        Some(row).filter(|row| row.state != State::Off || row.changed.is_some())
    }
}

fn row(
    entry: &HostEntry,
    memory: &Memory,
    last_us: Option<i64>,
    expected_us: Option<i64>,
    formerly: Option<Who>,
    changed: Option<Change>,
) -> Silence {
    Silence {
        who: entry.who().clone(),
        state: memory.state,
        since_us: memory.since_us,
        last_us,
        expected_us,
        received: entry.counters().received(),
        shed: entry.counters().shed(),
        formerly,
        changed,
    }
}
