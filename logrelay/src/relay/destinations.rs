//! Starting, changing and stopping destinations while the relay runs.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::Relay;
use crate::{
    config::{self, Config},
    destination::{Identity, Sink},
    drive::{Change, Destination, Place, Start},
    queue::Queue,
    route::{Full, Rules, Target},
    spool::Policy,
};

/// How long a destination that is taken away goes on.
const LINGER: Duration = Duration::from_millis(500);
/// Longest pause between attempts of a destination that sets none: syslog-ng's `time-reopen`.
const REOPEN_S: u64 = 60;

impl Relay {
    /// Sinks of destinations that are new or changed; none for one of which only `paused` is different.
    pub(super) fn sinks(&self, config: &Config) -> Result<Vec<(config::Destination, Option<Sink>)>, Vec<String>> {
        let spool = &self.0.shared.spool;
        let running = self.0.destinations.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut sinks, mut problems) = (Vec::new(), Vec::new());
        for destination in &config.destination {
            let known = running.get(&destination.name).map(|(known, _)| known);
            if known == Some(destination) {
                continue;
            }
            let paused = destination.paused;
            if known.is_some_and(|known| config::Destination { paused, ..known.clone() } == *destination) {
                sinks.push((destination.clone(), None));
                continue;
            }
            let identity = Identity { node: &self.0.node.name, relay: spool.relay() };
            match Sink::build(destination, identity) {
                Ok(sink) => sinks.push((destination.clone(), Some(sink))),
                Err(e) => problems.push(e),
            }
        }
        if problems.is_empty() { Ok(sinks) } else { Err(problems) }
    }

    /// Number and queue of every destination of the configuration.
    pub(super) fn targets(&self, config: &Config) -> Result<BTreeMap<String, Target>, Vec<String>> {
        let mut targets = BTreeMap::new();
        for destination in &config.destination {
            let name = destination.name.clone();
            let running = self.0.destinations.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
            let (number, queue) = match running {
                Some((_, destination)) => (destination.number, destination.queue.clone()),
                None => {
                    let spool = &self.0.shared.spool;
                    let number = tokio::task::block_in_place(|| spool.destination(&name));
                    (number.map_err(|e| vec![e.to_string()])?, Arc::new(Queue::new(config.limits.queue_bytes)))
                }
            };
            targets.insert(name.clone(), Target { name, number, queue });
        }
        Ok(targets)
    }

    /// Starts the destinations that are new, for which there is nothing to do yet, and makes sure that those which change
    /// can be told.
    pub(super) fn prepare_destinations(
        &self,
        sinks: Vec<(config::Destination, Option<Sink>)>,
        targets: &BTreeMap<String, Target>,
    ) -> Result<Prepared, Vec<String>> {
        let running = self.0.destinations.lock().unwrap_or_else(PoisonError::into_inner);
        let mut prepared = Prepared::default();
        for (config, sink) in sinks {
            let Some(target) = targets.get(&config.name) else { continue };
            let pause_max = Duration::from_secs(config.to_syslog.reopen_s.unwrap_or(REOPEN_S));
            if let Some((_, destination)) = running.get(&config.name) {
                let place = destination.reserve().ok_or_else(|| {
                    vec![format!("the destination {} is too busy to be changed; try again", config.name)]
                })?;
                let change = Change { sink: sink.map(Box::new), paused: config.paused, pause_max };
                prepared.changed.push((config, place, change));
                continue;
            }
            let Some(sink) = sink else { continue };
            let start = Start {
                name: config.name.clone(),
                number: target.number,
                sink,
                reader: self.0.shared.spool.reader(target.number),
                queue: target.queue.clone(),
                paused: config.paused,
                pause_max,
                clock: self.0.node.clock,
            };
            let destination = Destination::start(start)
                .map_err(|e| vec![format!("the destination {} has no thread: {e}", config.name)])?;
            prepared.started.push((config, Arc::new(destination)));
        }
        Ok(prepared)
    }

    /// What was prepared comes into force.
    pub(super) fn take_destinations(&self, prepared: Prepared) {
        let mut running = self.0.destinations.lock().unwrap_or_else(PoisonError::into_inner);
        for (config, place, change) in prepared.changed {
            place.change(change);
            if let Some((known, _)) = running.get_mut(&config.name) {
                *known = config;
            }
        }
        for (config, destination) in prepared.started {
            running.insert(config.name.clone(), (config, destination));
        }
    }

    /// Stops what the configuration does not have any more, and forgets it: also what was taken out of it while no node ran.
    pub(super) async fn stop_destinations(&self, config: &Config) {
        let is_gone = |name: &str| config.destination.iter().all(|destination| destination.name != name);
        let gone: Vec<_> = {
            let mut running = self.0.destinations.lock().unwrap_or_else(PoisonError::into_inner);
            let names: Vec<_> = running.keys().filter(|name| is_gone(name)).cloned().collect();
            names.iter().filter_map(|name| running.remove(name)).collect()
        };
        if !gone.is_empty() {
            // Batches that were begun under the former rules are still on their way.
            tokio::time::sleep(LINGER).await;
        }
        for (_, destination) in gone {
            destination.stop().await;
        }
        let spool = &self.0.shared.spool;
        for name in spool.report().destinations.into_iter().map(|known| known.name).filter(|name| is_gone(name)) {
            match tokio::task::block_in_place(|| spool.forget(&name)) {
                Ok(dropped) => tracing::warn!(
                    destination = name,
                    dropped,
                    "is not in the configuration any more; what the spool held for it is dropped"
                ),
                Err(e) => tracing::warn!("{e}"),
            }
        }
    }

    /// Pauses a destination, or lets it go on; `None` if there is none of that name, false if it is too busy to be told.
    pub fn pause(&self, destination: &str, paused: bool) -> Option<bool> {
        let running = self.0.destinations.lock().unwrap_or_else(PoisonError::into_inner);
        running.get(destination).map(|(_, destination)| destination.pause(paused))
    }
}

/// Destinations that another configuration starts or changes, before it comes into force.
#[derive(Default)]
pub(super) struct Prepared {
    started: Vec<(config::Destination, Arc<Destination>)>,
    changed: Vec<(config::Destination, Place, Change)>,
}

impl Prepared {
    /// It will not come into force.
    pub(super) async fn give_up(self) {
        for (_, destination) in self.started {
            destination.stop().await;
        }
    }
}

/// What the spool may do with records of a destination when it is full: the least harmful that any of its routes asks for.
pub(super) fn policy(rules: &Rules, name: &str) -> Policy {
    let routes = rules.routes.iter().filter(|route| route.durable && route.to.iter().any(|target| target.name == name));
    let policies = routes.map(|route| match route.full {
        Full::DropOldest => Policy::DropOldest,
        Full::DropNewest => Policy::DropNewest,
        Full::Block => Policy::Block,
        Full::Shed(severity) => Policy::Shed(severity),
    });
    policies.reduce(|one, other| if one == Policy::DropOldest { other } else { one }).unwrap_or(Policy::DropOldest)
}
