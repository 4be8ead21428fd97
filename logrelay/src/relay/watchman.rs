//! The task that looks after everything once a second: shedding is told with its counts, silence is told once, the table of
//! hosts is written down, threads that must live are checked.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::time::{MissedTickBehavior, interval};

use super::{Node, Relay};
use crate::{
    config::Config,
    hosts::{Hosts, Notice, Rules, Silence, State, changes, look},
    intake::Intake,
};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);
/// Looks between reviews of who is silent.
const REVIEW: u64 = 10;
/// Looks between writing the table of hosts down.
const SAVE: u64 = 60;
/// Lines about silence in one review at most; the rest is counted in one line.
const TOLD_MAX: usize = 100;
/// Severities of what is told.
const WARNING: u8 = 4;
const NOTICE: u8 = 5;

/// What it needs between its looks.
pub(super) struct Watchman {
    hosts: Arc<Hosts>,
    file: PathBuf,
    rules: ArcSwap<Option<Rules>>,
    listening_us: i64,
    inventory: crate::labels::Inventory,
    clock: fn() -> i64,
}

impl Watchman {
    /// Reads back who was seen before.
    pub(super) fn new(node: &Node, config: &Config) -> Self {
        let file = node.folder.join("hosts");
        let limit = config.limits.hosts;
        let hosts = match std::fs::read(&file) {
            Ok(octets) => {
                let (hosts, loaded) = Hosts::load(&octets, limit);
                if let Err(e) = loaded {
                    tracing::warn!("{}: {e}", file.display());
                }
                hosts
            }
            Err(_) => Hosts::new(limit),
        };
        let listening_us = (node.clock)();
        let rules = ArcSwap::from_pointee(Rules::new(config, listening_us).ok());
        Self { hosts: Arc::new(hosts), file, rules, listening_us, inventory: node.inventory.clone(), clock: node.clock }
    }

    pub(super) fn hosts(&self) -> Arc<Hosts> {
        self.hosts.clone()
    }

    /// Since when the relay listens, microseconds since 1970.
    pub(super) fn listening_us(&self) -> i64 {
        self.listening_us
    }

    /// Takes other rules.
    pub(super) fn rules(&self, config: &Config) {
        self.rules.store(Arc::new(Rules::new(config, self.listening_us).ok()));
    }

    /// Everybody, and how they stand.
    pub(super) fn silence(&self) -> Vec<Silence> {
        match &**self.rules.load() {
            Some(rules) => look(&(self.inventory.all)(), &self.hosts, rules, (self.clock)()),
            None => Vec::new(),
        }
    }

    /// Writes the table of hosts down, beside the former one and then in its place.
    pub(super) fn save(&self) {
        let new = self.file.with_extension("new");
        let written = std::fs::write(&new, self.hosts.save()).and_then(|()| std::fs::rename(&new, &self.file));
        if let Err(e) = written {
            tracing::warn!(
                "{} cannot be written, so a restart forgets which hosts were seen: {e}",
                self.file.display()
            );
        }
    }

    /// Looks until the relay stops.
    ///
    /// # Errors
    /// What must not end has ended.
    pub(super) async fn watch(&self, relay: &Relay, mut intake: Intake) -> Result<(), String> {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = 0u64;
        loop {
            tokio::select! {
                () = relay.0.shutdown.cancelled() => break,
                _ = tick.tick() => looks += 1,
            }
            let now_us = (self.clock)();
            self.tell_shedding(&mut intake, self.hosts.sweep(now_us), now_us);
            if looks.is_multiple_of(REVIEW) {
                self.tell_silence(&mut intake, now_us).await;
            }
            if looks.is_multiple_of(SAVE) {
                tokio::task::block_in_place(|| self.save());
            }
            intake.flush_or_shed();
            relay.ended()?;
        }
        let now_us = (self.clock)();
        self.tell_shedding(&mut intake, self.hosts.end(now_us), now_us);
        intake.flush_or_shed();
        Ok(())
    }

    fn tell_shedding(&self, intake: &mut Intake, notices: Vec<Notice>, now_us: i64) {
        for notice in notices {
            tracing::warn!("{notice}");
            intake.internal(WARNING, &notice.to_string(), now_us);
        }
    }

    async fn tell_silence(&self, intake: &mut Intake, now_us: i64) {
        let rules = self.rules.load_full();
        let Some(rules) = &*rules else { return };
        // The inventory may be large.
        let changed = tokio::task::block_in_place(|| changes(&(self.inventory.all)(), &self.hosts, rules, now_us));
        let left_out = changed.len().saturating_sub(TOLD_MAX);
        for row in changed.iter().take(TOLD_MAX) {
            let (severity, text) = words(row);
            tracing::info!("{text}");
            intake.internal(severity, &text, now_us);
        }
        if left_out > 0 {
            let text =
                format!("{left_out} more hosts have fallen silent or are back; `gatehouse logs silent` lists them");
            intake.internal(WARNING, &text, now_us);
        }
    }
}

fn words(row: &Silence) -> (u8, String) {
    let who = &row.who;
    match row.state {
        State::Silent => (WARNING, format!("{who} has fallen silent")),
        State::NeverSeen => (WARNING, format!("{who} is in the inventory and was never heard")),
        State::Withdrawn => (WARNING, format!("{who} is not in service any more and still logs")),
        _ => (NOTICE, format!("{who} logs again as expected")),
    }
}

impl Relay {
    /// Everybody, and how they stand.
    pub fn silence(&self) -> Vec<Silence> {
        self.0.watchman.silence()
    }

    /// Whether a task or thread has ended that must not.
    fn ended(&self) -> Result<(), String> {
        if self.0.shared.spool.frontier().has_changed().is_err() {
            return Err("the spool's thread has ended".into());
        }
        for (name, (_, destination)) in &*self.0.destinations.lock().unwrap_or_else(PoisonError::into_inner) {
            if !destination.is_alive() {
                return Err(format!("the thread of the destination {name} has ended"));
            }
        }
        let mut sources = self.0.sources.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, source) in &mut *sources {
            if let Some(ended) = source.tasks.try_join_next()
                && !source.stop.is_cancelled()
            {
                let why = match ended {
                    Ok(Ok(())) => "it must run for ever".to_owned(),
                    Ok(Err(why)) => why,
                    Err(e) => e.to_string(),
                };
                return Err(format!("the source {name} has ended: {why}"));
            }
        }
        Ok(())
    }
}
