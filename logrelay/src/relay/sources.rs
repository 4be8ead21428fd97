//! Starting and stopping sources while the relay runs.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wire::TlsIdentity;

use super::Relay;
use crate::{
    config::{self, Listen},
    follow,
    hosts::SourceCounters,
    intake::Origin,
    labels::Asked,
    problem::Problem,
    source::{self, Around},
};

/// How long a source may take to take in what it has read; connections have a grace of 5 s within it.
const STOP_WITHIN: Duration = Duration::from_secs(7);
/// Characters of a source's name: files are named after it.
const NAME_MAX: usize = 64;
/// Longest line that may be configured: a record must hold it.
const LINE_MAX: usize = 1 << 20;

/// A source that is received from.
pub(super) struct Running {
    pub config: config::Source,
    pub counters: Arc<SourceCounters>,
    pub origin: Arc<Origin>,
    pub listeners: Vec<(Listen, Arc<source::Counters>)>,
    pub limits: Arc<wire::Limits>,
    pub followed: Option<(follow::Following, Arc<follow::Counters>)>,
    pub stop: CancellationToken,
    pub tasks: JoinSet<Result<(), String>>,
    /// Its sockets once more, for whoever listens there next.
    kept: source::Kept,
    identity: Option<TlsIdentity>,
}

/// What is wrong with the source of this index.
pub(super) fn review(index: usize, source: &config::Source) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut wrong = |key, text: String| {
        found.push(Problem::new("source", index, key, format!("source {}: {text}", source.name)));
    };
    if source.listen.is_empty() && source.follow.is_empty() {
        wrong("name", "it has neither `listen` nor `follow`: nothing would come in".to_owned());
    }
    if let Some(listen) = source.listen.iter().find(|listen| listen.is_tls())
        && (source.tls_cert.is_none() || source.tls_key.is_none())
    {
        wrong("listen", format!("{listen} needs both tls_cert and tls_key"));
    }
    let plain = |c: char| c.is_ascii_graphic() && c != '/';
    if source.name.is_empty() || source.name.len() > NAME_MAX || !source.name.chars().all(plain) {
        wrong("name", format!("a name has 1 to {NAME_MAX} visible ASCII characters, and no `/`"));
    }
    if source.max_line == 0 || source.max_line > LINE_MAX {
        wrong("max_line", format!("max_line = {}, but a line has 1 to {LINE_MAX} octets", source.max_line));
    }
    if source.reserved > source.connections {
        let text = format!("reserved = {}, but there are only connections = {}", source.reserved, source.connections);
        wrong("reserved", text);
    }
    if let Err(e) = follow::Settings::of(source, std::path::PathBuf::new()) {
        wrong("follow", e.to_string());
    }
    found
}

impl Relay {
    pub(super) fn start_source(&self, config: config::Source, bound: source::Bound) -> Result<(), Vec<String>> {
        let stop = self.0.shutdown.child_token();
        let counters = self.books(&config.name);
        let origin = Arc::new(Origin::new(&config, counters.clone()).map_err(|e| vec![e])?);
        let (roads, road_origin, inventory) = (self.clone(), origin.clone(), self.0.node.inventory.clone());
        let around = Around {
            roads: move |_: &Listen| roads.intake(road_origin.clone()),
            known: Arc::new(move |address| (inventory.find)(Asked::Address(address)).is_some()),
            clock: self.0.node.clock,
            shutdown: stop.clone(),
        };
        let (identity, mut kept) = (bound.identity().cloned(), source::Kept::default());
        bound.keep(&mut kept);
        let started = source::start(&config, bound, &around);
        let mut tasks = JoinSet::new();
        for task in started.tasks {
            tasks.spawn(async move { task.run.await.map_err(|e| format!("{}: {e}", task.name)) });
        }
        let mut followed = None;
        if !config.follow.is_empty() {
            let (folder, counters) = (self.0.node.folder.join("follow"), Arc::<follow::Counters>::default());
            let intake = self.intake(origin.clone());
            let started = follow::start(&config, folder, intake, self.0.node.clock, stop.clone(), counters.clone());
            let (following, task) = started.map_err(|e| {
                // Threads that read sockets look at nothing else.
                stop.cancel();
                vec![format!("source {}: {e}", config.name)]
            })?;
            tasks.spawn(async move {
                task.await;
                Ok(())
            });
            followed = Some((following, counters));
        }
        let (listeners, limits) = (started.listeners, started.limits);
        let name = config.name.clone();
        let running = Running { config, counters, origin, listeners, limits, followed, stop, tasks, kept, identity };
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner).insert(name, running);
        Ok(())
    }

    /// Takes the sockets of a source that is about to be stopped.
    pub(super) fn keep_sockets(&self, name: &str, kept: &mut source::Kept) {
        let mut running = self.0.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = running.get_mut(name) {
            kept.append(&mut source.kept);
        }
    }

    /// Stops a source: it takes in what it has read, and gives its addresses up.
    pub(super) async fn stop_source(&self, name: &str) {
        let running = self.0.sources.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(mut running) = running {
            // Who calls now is to be refused, not kept waiting.
            running.kept = source::Kept::default();
            running.stop.cancel();
            let ended = async { while running.tasks.join_next().await.is_some() {} };
            if tokio::time::timeout(STOP_WITHIN, ended).await.is_err() {
                tracing::warn!(source = name, "did not come to an end in time; it is cut off");
                running.tasks.shutdown().await;
            }
        }
    }

    /// The configurations of the sources that run.
    pub(super) fn running_sources(&self) -> Vec<config::Source> {
        let running = self.0.sources.lock().unwrap_or_else(PoisonError::into_inner);
        running.values().map(|source| source.config.clone()).collect()
    }

    /// The books of a source.
    pub(super) fn books(&self, name: &str) -> Arc<SourceCounters> {
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone()
    }

    /// Reads the certificates of all sources again; what cannot be read stays as it was.
    pub(super) fn reload_certificates(&self) {
        let running = self.0.sources.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, source) in &*running {
            if let Some(Err(error)) = source.identity.as_ref().map(TlsIdentity::reload) {
                tracing::error!(source = name, %error, "the former certificate stays in use");
            }
        }
    }
}
