//! Another configuration, taken while the relay runs: first all that can fail, then what is felt outside.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::{
    Relay,
    destinations::{Prepared, policy},
    read_list, review,
};
use crate::{
    config::{self, Config},
    route::{Rules, Target},
    source,
};

/// A configuration that does not come into force as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}; {}", problems.join("; "), if *in_part { "it is changed in part" } else { "nothing has changed" })]
pub struct NotApplied {
    /// A sentence each.
    pub problems: Vec<String>,
    /// Whether something has changed all the same: the system refused a source in the very last moment, or one that was
    /// to be opened again.
    pub in_part: bool,
}

impl From<Vec<String>> for NotApplied {
    fn from(problems: Vec<String>) -> Self {
        Self { problems, in_part: false }
    }
}

impl Relay {
    /// Takes another configuration. What it leaves as it was goes on untouched. A source that changes keeps its sockets
    /// where it listens on the same address as before, with what waits in them; its connections are ended.
    ///
    /// # Errors
    /// Everything that is wrong with it; then nothing has changed. If the system refuses a source in the very last moment,
    /// it says so, and all else has changed.
    pub async fn apply(&self, config: Config) -> Result<(), NotApplied> {
        self.apply_latest(|| Ok(config)).await
    }

    /// As [`apply`](Self::apply), with what `read` gives once all changes before are done: so that of two that are asked
    /// for at nearly the same time the latter does not read what the former found.
    ///
    /// # Errors
    /// Those of `read` and of `apply`.
    pub async fn apply_latest(&self, read: impl FnOnce() -> Result<Config, Vec<String>>) -> Result<(), NotApplied> {
        let _one = self.0.changing.lock().await;
        let config = read()?;
        let problems = review(&config);
        if !problems.is_empty() {
            return Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().into());
        }
        if self.0.shutdown.is_cancelled() {
            return Err(vec!["the node is stopping".to_owned()].into());
        }
        let present = self.0.config.load_full();
        if config.spool != present.spool || config.limits != present.limits {
            let text = "[logrelay.spool] and [logrelay.limits] cannot change while the node runs; restart it";
            return Err(vec![text.to_owned()].into());
        }
        // Everything that can fail without touching what runs comes first.
        let sinks = self.sinks(&config)?;
        let targets = self.targets(&config)?;
        let rules = self.rules(&config, &targets)?;
        let prepared = self.prepare_destinations(sinks, &targets)?;
        match self.open_changed(&config).await {
            Ok(bound) => {
                let changed = self.change(config, bound, rules, prepared, &targets).await;
                changed.map_err(|problems| NotApplied { problems, in_part: true })
            }
            Err(problems) => {
                prepared.give_up().await;
                Err(NotApplied { in_part: problems.len() > 1, problems })
            }
        }
    }

    /// Opens the sources that are new or changed, after those were closed that changed or are gone: one may want the
    /// address of another. If one cannot be opened, the former ones are opened again.
    async fn open_changed(&self, config: &Config) -> Result<Vec<(config::Source, source::Bound)>, Vec<String>> {
        let running = self.running_sources();
        let (mut closed, mut bound, mut kept) = (Vec::new(), Vec::new(), source::Kept::default());
        for former in running.iter().filter(|former| !config.source.contains(former)) {
            self.keep_sockets(&former.name, &mut kept);
            self.stop_source(&former.name).await;
            closed.push(former.clone());
        }
        kept.retain(|listen| config.source.iter().any(|source| source.listen.contains(listen)));
        for source in config.source.iter().filter(|source| !running.contains(source)) {
            match source::bind(source, &mut kept) {
                Ok(sockets) => bound.push((source.clone(), sockets)),
                Err(e) => {
                    bound.iter().for_each(|(_, sockets)| sockets.keep(&mut kept));
                    drop(bound);
                    // What only the new ones wanted must be free for the former ones.
                    kept.retain(|listen| closed.iter().any(|former| former.listen.contains(listen)));
                    return Err(self.open_again(closed, &mut kept, e));
                }
            }
        }
        Ok(bound)
    }

    fn open_again(&self, closed: Vec<config::Source>, kept: &mut source::Kept, why: String) -> Vec<String> {
        let mut problems = vec![why];
        for former in closed {
            let name = former.name.clone();
            let opened =
                source::bind(&former, kept).map_err(|e| vec![e]).and_then(|sockets| self.start_source(former, sockets));
            for e in opened.err().into_iter().flatten() {
                problems.push(format!("and {name} could not be opened again as it was: {e}; it is closed now"));
            }
        }
        problems
    }

    /// The rules of a configuration, in a version of their own.
    pub(super) fn rules(&self, config: &Config, targets: &BTreeMap<String, Target>) -> Result<Rules, Vec<String>> {
        let target = |name: &str| targets.get(name).cloned();
        let node = (self.0.versions.fetch_add(1, Relaxed) + 1, self.0.node.name.as_str());
        let rules = Rules::build(config, node, self.0.watchman.listening_us(), &target, &mut read_list);
        let mut rules = rules.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        rules.keep_counters(&self.0.shared.rules.load());
        Ok(rules)
    }

    pub(super) async fn change(
        &self,
        config: Config,
        bound: Vec<(config::Source, source::Bound)>,
        rules: Rules,
        prepared: Prepared,
        targets: &BTreeMap<String, Target>,
    ) -> Result<(), Vec<String>> {
        for (name, target) in targets {
            self.0.shared.spool.set_policy(target.number, policy(&rules, name));
        }
        self.take_destinations(prepared);
        self.0.shared.rules.store(Arc::new(rules));
        let mut problems = Vec::new();
        for (source, sockets) in bound {
            let name = source.name.clone();
            if let Err(found) = self.start_source(source, sockets) {
                problems.extend(found.iter().map(|e| format!("the source {name} is closed: {e}")));
            }
        }
        self.stop_destinations(&config).await;
        self.0.watchman.rules(&config);
        self.0.config.store(Arc::new(config));
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}
