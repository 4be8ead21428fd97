//! How the following of the source goes: written by its task, read by status, metrics and decisions.
//!
//! The age of what we have is counted from the last time at which we knew that we were in step with the source. It is
//! kept in a small file as well, so that a restart during an outage does not make old content look new, or unknown. Where
//! that file is gone or torn, it counts from the newest change that came from the source; and if none is remembered, from
//! [`LONG_AGO_MS`]: content of unknown age is old.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use inventory::{State, entry::DIRECTORY};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// How often the file is written at most, in milliseconds.
const KEEP_EVERY_MS: u64 = 30_000;

/// Since when content of unknown age is counted, in Unix milliseconds: long before any limit.
const LONG_AGO_MS: u64 = 1;

/// How far a time may be ahead of the clock, in milliseconds, before the clock is thought to have been wrong.
const CLOCK_SLACK_MS: u64 = 3_600_000;

/// What the following is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing has happened yet.
    #[default]
    Starting,
    /// A connection is being made.
    Connecting,
    /// The whole content, or what changed meanwhile, is being taken over; the former content is served.
    Refreshing,
    /// Changes are taken over as they happen.
    Following,
    /// The whole content is read again and again.
    Polling,
    /// What the source holds would remove too much; the former content is served until a person accepts.
    Held,
    /// No server can be reached or used; the former content is served.
    Down,
    /// The source is wrong: the file, or the configuration; the former content is served.
    Broken,
    /// The node is stopping.
    Stopped,
}

/// How it goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What is being done.
    pub phase: Phase,
    /// Why it is at a stall, with the remedy where there is one; empty while all is well.
    pub reason: String,
    /// Since when, in milliseconds since 1970-01-01 UTC.
    pub since_ms: u64,
    /// Since when what is served is not kept up with the source: through all attempts, until one succeeds.
    pub trouble_since_ms: Option<u64>,
    /// The server, or the file.
    pub source: String,
    /// Entries that are served.
    pub entries: u64,
    /// When an entry changed last.
    pub last_change_ms: Option<u64>,
    /// When it was last known that what is served is what the source holds.
    pub in_step_ms: Option<u64>,
    /// By how much the newest change of the server is newer than ours, where servers tell (contextCSN).
    pub behind_ms: Option<u64>,
    /// Our newest CSN.
    pub csn: Option<String>,
    /// Connections that were made.
    pub connects: u64,
    /// Connections that ended or could not be made.
    pub failures: u64,
    /// Panics of the LDAP library, each of which cost a connection.
    pub panics: u64,
    /// Refreshes and listings that were published, or found nothing to publish.
    pub refreshes: u64,
    /// Refreshes and listings that were incomplete or wrong and were discarded.
    pub discarded: u64,
    /// Changes older than what was known, which were passed over.
    pub outdated: u64,
    /// Entries that differed when the whole content was compared although nothing had been told of them.
    pub drift: u64,
    /// When the whole content was last compared.
    pub compared_ms: Option<u64>,
    /// Number of the change that a person has to accept.
    pub held: Option<u64>,
    /// What is wrong with the file, one sentence each, with its line.
    pub faults: Vec<String>,
}

/// Shared between the task that follows and everybody who asks how it goes.
#[derive(Debug, Default)]
pub struct Status {
    report: Mutex<Report>,
    /// Beside the report, so that a decision reads it without a lock; 0 for never.
    in_step_ms: AtomicU64,
    kept_ms: AtomicU64,
    memory: Option<PathBuf>,
    retry: Notify,
    compare: Notify,
}

impl Status {
    /// A status that remembers in the file `memory` when we were in step.
    pub fn open(memory: &Path) -> Self {
        let kept = fs::read_to_string(memory).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let status = Self { memory: Some(memory.to_owned()), in_step_ms: AtomicU64::new(kept), ..Self::default() };
        status.change(|report| report.in_step_ms = (kept > 0).then_some(kept));
        status
    }

    /// A copy for a report.
    pub fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How old what we have may be; `None` when there is nothing. No lock, no disk.
    pub fn age_ms(&self, now_ms: u64) -> Option<u64> {
        let at = self.in_step_ms.load(Ordering::Relaxed);
        // A time ahead of the clock says nothing: the content then counts as old as can be, never as fresh.
        let age = if at > now_ms.saturating_add(CLOCK_SLACK_MS) { now_ms } else { now_ms.saturating_sub(at) };
        (at > 0).then_some(age)
    }

    /// Asks for the next attempt at once: of a connection, or of what is held.
    pub fn retry(&self) {
        self.retry.notify_one();
    }

    /// Asks for a full comparison with the upstream now, without waiting for `reconcile_h`.
    pub fn compare(&self) {
        self.compare.notify_one();
    }

    /// Waits until somebody asks for a comparison.
    pub(crate) async fn comparison(&self) {
        self.compare.notified().await;
    }

    /// Waits until somebody asks for the next attempt.
    pub(crate) async fn retried(&self) {
        self.retry.notified().await;
    }

    /// Notes what is served at the start. Entries whose age is not known are not taken for fresh.
    pub(crate) fn serves(&self, state: &State) {
        let entries = state.entry_count() as u64;
        self.change(|report| report.entries = entries);
        if entries == 0 || self.in_step_ms.load(Ordering::Relaxed) > 0 {
            return;
        }
        let newest = state.history().rev().find(|set| set.author.who == DIRECTORY).map(|set| set.author.when_ms);
        self.in_step_ms.fetch_max(newest.unwrap_or(0).max(LONG_AGO_MS), Ordering::Relaxed);
        tracing::warn!(
            entries,
            ?newest,
            "it is not known when the directory was last in step; it counts from its newest change"
        );
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes a phase and why; the time stays while both do.
    pub(crate) fn phase(&self, phase: Phase, reason: impl Into<String>) {
        self.phase_with(phase, reason, |_| ());
    }

    /// Notes a phase, and at once what belongs to it.
    pub(crate) fn phase_with(&self, phase: Phase, reason: impl Into<String>, also: impl FnOnce(&mut Report)) {
        let (reason, now) = (reason.into(), now_ms());
        self.change(|report| {
            if report.phase != phase || report.reason.is_empty() != reason.is_empty() || report.since_ms == 0 {
                report.since_ms = now;
            }
            match phase {
                Phase::Following | Phase::Polling => report.trouble_since_ms = None,
                Phase::Down | Phase::Broken | Phase::Held => {
                    report.trouble_since_ms.get_or_insert(now);
                }
                Phase::Starting | Phase::Connecting | Phase::Refreshing | Phase::Stopped => {}
            }
            (report.phase, report.reason) = (phase, reason);
            if phase != Phase::Held {
                report.held = None;
            }
            also(report);
        });
    }

    /// Notes that what is served was what the source holds, at `at_ms`.
    pub(crate) fn in_step(&self, at_ms: u64) {
        let known = self.in_step_ms.load(Ordering::Relaxed);
        // Steps back are of threads that overtook one another, unless the clock was wrong and has been set.
        if at_ms <= known && known - at_ms <= CLOCK_SLACK_MS {
            return;
        }
        self.in_step_ms.store(at_ms, Ordering::Relaxed);
        self.change(|report| report.in_step_ms = Some(at_ms));
        if at_ms.abs_diff(self.kept_ms.load(Ordering::Relaxed)) >= KEEP_EVERY_MS {
            self.kept_ms.store(at_ms, Ordering::Relaxed);
            self.keep(at_ms);
        }
    }

    /// Writes the file by renaming, so that it is never half there. A failure costs accuracy after a restart only.
    fn keep(&self, at_ms: u64) {
        let Some(path) = self.memory.clone() else { return };
        tokio::task::spawn_blocking(move || {
            let new = path.with_extension("new");
            if let Err(cause) = fs::write(&new, format!("{at_ms}\n")).and_then(|()| fs::rename(&new, &path)) {
                tracing::debug!(%cause, path = %path.display(), "the time at which the directory was in step was not kept");
            }
        });
    }
}

/// Milliseconds since 1970-01-01 UTC.
#[expect(clippy::disallowed_methods, reason = "the tasks that follow date what they note")]
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use inventory::{Author, ChangeSet, Row, RowChange};

    use super::{super::changes::tests::an_entry, *};

    #[tokio::test]
    async fn the_age_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("in-step");
        assert_eq!(Status::open(&file).age_ms(5), None);
        let status = Status::open(&file);
        status.in_step(1_000_000);
        status.in_step(900_000);
        assert_eq!(status.age_ms(1_000_500), Some(500));
        while !file.exists() {
            tokio::task::yield_now().await;
        }
        let again = Status::open(&file);
        assert_eq!((again.age_ms(1_060_000), again.report().in_step_ms), (Some(60_000), Some(1_000_000)));
        fs::write(&file, "rubbish").unwrap();
        assert_eq!(Status::open(&file).age_ms(5), None);
    }

    #[tokio::test]
    async fn a_clock_that_was_wrong_once_does_not_make_content_fresh_for_years() {
        let dir = tempfile::tempdir().unwrap();
        let status = Status::open(&dir.path().join("in-step"));
        let (year, now) = (31_536_000_000, 1_700_000_000_000);
        status.in_step(now + year);
        assert_eq!(status.age_ms(now), Some(now), "not fresh");
        status.in_step(now);
        assert_eq!((status.age_ms(now + 5), status.report().in_step_ms), (Some(5), Some(now)));
    }

    #[test]
    fn entries_of_unknown_age_are_not_fresh() {
        let dir = tempfile::tempdir().unwrap();
        let torn = dir.path().join("in-step");
        fs::write(&torn, "").unwrap();
        let state = |who: &str| {
            let one = Row::Entry(Arc::new(an_entry(1, "ou=a,dc=x", 1)));
            let author = Author { who: who.into(), when_ms: 1_000_000, why: String::new() };
            let rows = vec![RowChange { old: None, new: Some(one) }];
            State::empty(1).apply(Arc::new(ChangeSet { epoch: 1, serial: 1, author, rows })).unwrap()
        };
        let age = |state: &State| {
            let status = Status::open(&torn);
            status.serves(state);
            status.age_ms(1_060_000)
        };
        assert_eq!(age(&State::empty(1)), None);
        assert_eq!(age(&state(DIRECTORY)), Some(60_000));
        // A change by somebody else says nothing of the source.
        assert_eq!(age(&state("alice via socket")), Some(1_060_000 - LONG_AGO_MS));
        let known = Status::default();
        known.in_step_ms.store(1_050_000, Ordering::Relaxed);
        known.serves(&state(DIRECTORY));
        assert_eq!(known.age_ms(1_060_000), Some(10_000));
    }

    #[test]
    fn trouble_lasts_until_the_content_is_there_again() {
        let status = Status::default();
        status.phase(Phase::Down, "no answer");
        let since = status.report().trouble_since_ms;
        assert!(since.is_some());
        status.phase(Phase::Refreshing, "");
        status.phase(Phase::Held, "too much goes");
        status.change(|report| report.held = Some(7));
        assert_eq!((status.report().trouble_since_ms, status.report().held), (since, Some(7)));
        status.phase(Phase::Following, "");
        assert_eq!((status.report().trouble_since_ms, status.report().held), (None, None));
    }
}
