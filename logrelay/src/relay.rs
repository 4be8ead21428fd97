//! The relay of a node: sources, rules, spool and destinations put together, and changed while it runs.
//!
//! [`bind`] takes the sockets, needs no runtime and may run before privileges are dropped; [`Bound::start`] opens the
//! spool and begins to receive. [`Relay::apply`] takes another configuration: what is the same goes on untouched,
//! connections and spool included; if anything in the new one is wrong, nothing changes.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU32},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{self, Config},
    destination::{Identity, Sink},
    drive::Destination,
    hosts::SourceCounters,
    intake::{BATCH_BYTES, Intake, Origin, Shared},
    labels::Inventory,
    message::RECORD_MAX,
    problem::Problem,
    queue::Queue,
    route::{INTERNAL, Rules, Target},
    source,
    spool::Spool,
    tap::Taps,
};

mod change;
mod destinations;
mod explain;
mod report;
mod sources;
mod watchman;

pub use change::NotApplied;
pub use explain::Explanation;
pub use report::{DestinationReport, Report, RouteReport, SourceReport, Stall};
use sources::Running;

/// What a relay needs of its node.
#[derive(Clone)]
pub struct Node {
    /// Name, which other relays and `${LOGHOST}` see.
    pub name: String,
    /// Folder for the spool and for what is remembered of followed files and hosts.
    pub folder: PathBuf,
    /// What is known of senders.
    pub inventory: Inventory,
    /// Microseconds since 1970.
    pub clock: fn() -> i64,
    /// Named fault points of tests.
    pub fault: fn(&'static str) -> std::io::Result<()>,
}

/// Sockets of all sources, bound and not served yet.
pub struct Bound {
    config: Config,
    sources: Vec<(config::Source, source::Bound)>,
}

/// A running relay. Cheap to clone.
#[derive(Clone)]
pub struct Relay(Arc<Inner>);

struct Inner {
    node: Node,
    shared: Arc<Shared>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    config: ArcSwap<Config>,
    versions: AtomicU32,
    sources: Mutex<BTreeMap<String, Running>>,
    /// By name of the source; they go on when a source is closed and opened again.
    books: Mutex<BTreeMap<String, Arc<SourceCounters>>>,
    destinations: Mutex<BTreeMap<String, (config::Destination, Arc<Destination>)>>,
    watchman: watchman::Watchman,
    shutdown: CancellationToken,
}

/// Binds the sockets of all sources.
///
/// # Errors
/// Which address or path cannot be had, and why.
pub fn bind(config: &Config) -> Result<Bound, String> {
    let mut sources = Vec::new();
    for source in &config.source {
        sources.push((source.clone(), source::bind(source, &mut source::Kept::default())?));
    }
    Ok(Bound { config: config.clone(), sources })
}

/// Everything that is wrong with a configuration. Opens no socket and no spool.
pub fn review(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let queue = Arc::new(Queue::new(0));
    let known = |name: &str| config.destination.iter().position(|destination| destination.name == name);
    let target = |name: &str| {
        let number = u16::try_from(known(name)?).ok()?;
        Some(Target { name: name.into(), number, queue: queue.clone() })
    };
    if let Err(found) = Rules::build(config, (0, "node"), 0, &target, &mut read_list) {
        problems.extend(found);
    }
    // A batch is appended to the spool as a whole.
    if config.spool.max_bytes / 2 < (BATCH_BYTES + RECORD_MAX) as u64 {
        let text = format!(
            "max_bytes = {}, but a batch with a long record takes up to {} octets, and may take half; raise it",
            config.spool.max_bytes,
            BATCH_BYTES + RECORD_MAX
        );
        problems.push(Problem::new("spool", 0, "max_bytes", text));
    }
    let identity = Identity { node: "node", relay: "relay" };
    for (index, source) in config.source.iter().enumerate() {
        let zone = Origin::new(source, Arc::default()).err();
        problems.extend(zone.map(|text| Problem::new("source", index, "time_zone", text)));
        problems.extend(sources::review(index, source));
        if config.source.iter().take(index).any(|other| other.name == source.name) || source.name == INTERNAL {
            let text = format!("the name {:?} is taken by another source; names must differ", source.name);
            problems.push(Problem::new("source", index, "name", text));
        }
    }
    for (index, destination) in config.destination.iter().enumerate() {
        let wrong = Sink::build(destination, identity).err();
        problems.extend(wrong.map(|text| Problem::new("destination", index, "", text)));
        if known(&destination.name) != Some(index) {
            let text = format!("two destinations have the name {:?}; names must differ", destination.name);
            problems.push(Problem::new("destination", index, "name", text));
        }
    }
    problems
}

/// Largest file that an `in-list` may name.
const LIST_MAX: u64 = 16 << 20;

/// Reads a file of an `in-list`.
fn read_list(path: &str) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|e| format!("{path} cannot be read: {e}"))?.len();
    if size > LIST_MAX {
        return Err(format!("{path} has {size} octets, but a list has at most {LIST_MAX}"));
    }
    std::fs::read_to_string(path).map_err(|e| format!("{path} cannot be read: {e}"))
}

impl Bound {
    /// Opens the spool, starts destinations, and begins to receive.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn start(self, node: Node, shutdown: CancellationToken) -> Result<Relay, String> {
        let Self { config, sources } = self;
        let folder = node.folder.display();
        std::fs::create_dir_all(&node.folder).map_err(|e| format!("the folder {folder} cannot be made: {e}"))?;
        let spool = open_spool(&config, &node)?;
        let watchman = watchman::Watchman::new(&node, &config);
        let shared = Arc::new(Shared {
            rules: ArcSwap::default(),
            spool,
            hosts: watchman.hosts(),
            inventory: node.inventory.clone(),
            clock: node.clock,
            node: node.name.clone(),
            taps: Taps::default(),
        });
        let relay = Relay(Arc::new(Inner {
            node,
            shared,
            changing: tokio::sync::Mutex::default(),
            config: ArcSwap::from_pointee(Config { source: Vec::new(), destination: Vec::new(), ..config.clone() }),
            versions: AtomicU32::new(0),
            sources: Mutex::default(),
            books: Mutex::default(),
            destinations: Mutex::default(),
            watchman,
            shutdown,
        }));
        let started = async {
            let sinks = relay.sinks(&config)?;
            let targets = relay.targets(&config)?;
            let rules = relay.rules(&config, &targets)?;
            let prepared = relay.prepare_destinations(sinks, &targets)?;
            relay.change(config, sources, rules, prepared, &targets).await
        };
        started.await.map_err(|problems: Vec<String>| problems.join("; "))?;
        Ok(relay)
    }
}

fn open_spool(config: &Config, node: &Node) -> Result<Spool, String> {
    let options = crate::spool::Options {
        path: config.spool.path.clone().unwrap_or_else(|| node.folder.join("spool")),
        max_bytes: config.spool.max_bytes,
        segment_bytes: config.spool.segment_bytes,
        sync_every: Duration::from_millis(config.spool.sync_ms),
        sync_bytes: config.spool.sync_bytes,
        keep: Duration::from_secs(config.spool.keep_s),
        queue_bytes: config.limits.queue_bytes,
        node: node.name.clone(),
    };
    let disk = Arc::new(crate::spool::RealDisk { fault: Some(node.fault) });
    Spool::open(options, disk, node.clock).map_err(|e| e.to_string())
}

impl Relay {
    /// A road into the relay for a source.
    fn intake(&self, origin: Arc<Origin>) -> Intake {
        Intake::new(self.0.shared.clone(), origin)
    }

    /// Opens the files of destinations again, and reads certificates again.
    pub fn reopen(&self) {
        let running = self.0.destinations.lock().unwrap_or_else(PoisonError::into_inner);
        running.values().for_each(|(_, destination)| destination.reopen());
        drop(running);
        self.reload_certificates();
    }

    /// Begins to watch what comes in; `None` when too many do.
    pub fn watch(&self) -> Option<crate::tap::Watch> {
        self.0.shared.taps.watch()
    }

    /// The spool.
    pub fn spool(&self) -> &Spool {
        &self.0.shared.spool
    }

    /// Looks after hosts and threads until the node stops; then takes in what is under way, delivers what is in memory, and
    /// closes the spool.
    ///
    /// # Errors
    /// What must not end has ended.
    pub async fn run(self) -> Result<(), String> {
        let origin = Arc::new(Origin::internal(self.books(INTERNAL)));
        let ended = self.0.watchman.watch(&self, self.intake(origin)).await;
        self.stop().await;
        ended
    }

    async fn stop(&self) {
        let _one = self.0.changing.lock().await;
        let sources = self.running_sources();
        all_of(sources.iter().map(|source| self.stop_source(&source.name))).await;
        self.0.watchman.save();
        let destinations: Vec<_> = {
            let mut running = self.0.destinations.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *running).into_values().collect()
        };
        all_of(destinations.iter().map(|(_, destination)| destination.stop())).await;
        if let Err(e) = self.0.shared.spool.close().await {
            tracing::error!("{e}");
        }
    }
}

/// Waits for all of them at once.
async fn all_of<F: Future<Output = ()>>(all: impl Iterator<Item = F>) {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        all.retain_mut(|one| one.as_mut().poll(cx).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
