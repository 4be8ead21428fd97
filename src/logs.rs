//! The one place where the binary meets the `logrelay` crate: binding, starting, asking. Everything else here knows logs only
//! through these functions.

use std::{
    net::IpAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Release},
    },
};

use inventory::{Host, Keeper, State};
use logrelay::{
    config::Config,
    labels::{Asked, Inventory, Labels},
    relay::{self, Relay},
};
use prometheus_client::registry::Registry;
use serde_json::{Map, Value};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    exit::{Exit, Failure},
    node::task::{self, Ended},
    status::Stall,
};

mod metrics;
pub(crate) mod show;

/// Sockets of the log relay, bound and not served yet.
pub(crate) struct Bound(relay::Bound);

/// The running log relay.
#[derive(Clone)]
pub(crate) struct Logs(pub(crate) Relay);

/// Binds the sockets of `[logrelay]`, while the process may still do so.
///
/// # Errors
/// Which address or path cannot be had, and why.
pub(crate) fn bind(config: &Config) -> Result<Bound, Failure> {
    relay::bind(config).map(Bound).map_err(|e| Failure::new(Exit::Os, format!("[logrelay] {e}")))
}

impl Bound {
    /// Starts to receive. Tasks that must not end go into `tasks`.
    ///
    /// # Errors
    /// Why it cannot.
    pub(crate) async fn start(
        self,
        name: &str,
        product: Option<&str>,
        data_dir: &Path,
        keeper: &Keeper,
        shutdown: &CancellationToken,
        tasks: &mut JoinSet<Ended>,
    ) -> Result<Logs, Failure> {
        let generation = Arc::new(AtomicU64::new(1));
        let node = relay::Node {
            name: name.to_owned(),
            folder: data_dir.join("logs"),
            inventory: published(keeper, product.unwrap_or_default(), generation.clone()),
            clock: clock::now_us,
            fault: inventory::fault::point,
        };
        let relay = self.0.start(node, shutdown.clone()).await;
        let relay = relay.map_err(|e| Failure::new(Exit::Io, format!("[logrelay] {e}")))?;
        task::spawn(tasks, "labels of log senders", keep_up(keeper.subscribe(), generation, shutdown.clone()));
        task::spawn(tasks, "log relay", relay.clone().run());
        Ok(Logs(relay))
    }
}

/// Tells the relay of every new state; what it knows of senders it asks anew then.
async fn keep_up(
    mut states: watch::Receiver<Arc<State>>,
    generation: Arc<AtomicU64>,
    shutdown: CancellationToken,
) -> Result<(), String> {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            changed = states.changed() => {
                changed.map_err(|_| "no new states are published".to_owned())?;
                states.mark_unchanged();
                generation.fetch_add(1, Release);
            }
        }
    }
}

/// The inventory as the relay sees it: looked up in the state that is published at that moment.
fn published(keeper: &Keeper, product: &str, generation: Arc<AtomicU64>) -> Inventory {
    let (one, all, product) = (keeper.clone(), keeper.clone(), product.to_owned());
    Inventory {
        generation,
        find: Arc::new(move |asked| find(&one.state(), &product, asked).map(|host| Arc::new(labels(host)))),
        all: Arc::new(move || {
            all.state().hosts().filter(|host| host.is_named()).map(|h| Arc::new(labels(h))).collect()
        }),
    }
}

fn find<'s>(state: &'s State, product: &str, asked: Asked<'_>) -> Option<&'s Host> {
    match asked {
        Asked::Address(address) => at(state, address),
        Asked::Name(name) => named(state, product, name),
    }
}

fn at(state: &State, address: IpAddr) -> Option<&Host> {
    state.host_at(address.to_canonical()).map(|host| &**host).filter(|host| host.is_named())
}

/// `db01`, while one host alone has that name; `db01.us-east-1b`; or a name that goes on with zone or region and product.
fn named<'s>(state: &'s State, product: &str, name: &str) -> Option<&'s Host> {
    let lower = name.trim_end_matches('.').to_ascii_lowercase();
    let mut labels = lower.split('.');
    let (short, place) = (labels.next()?, labels.next());
    let product = labels.next().unwrap_or(product);
    let fits = |host: &&Host| {
        host.is_named()
            && place.is_none_or(|place| host.key.zone == place || host.region == place || host.key.product == place)
    };
    let product = place.filter(|place| state.product(place).is_some()).unwrap_or(product);
    let mut found = state.hosts_named(product, short).map(|host| &**host).filter(fits);
    match (found.next(), found.next()) {
        (Some(host), None) => Some(host),
        _ => None,
    }
}

fn labels(host: &Host) -> Labels {
    let list = |items: &[compact_str::CompactString]| items.iter().map(|item| format!("{item}\n")).collect();
    Labels {
        name: host.key.name.to_string(),
        zone: host.key.zone.to_string(),
        region: host.region.to_string(),
        product: host.key.product.to_string(),
        roles: list(&host.roles),
        groups: list(&host.groups),
        tags: host.tags.iter().map(|(key, value)| format!("{key}={value}\n")).collect(),
        expected: host.is_serving(),
    }
}

impl Logs {
    /// Reads `[logrelay]` again, opens files and reads certificates again.
    pub(crate) fn reload(&self, file: &Path) {
        self.0.reopen();
        let (relay, file) = (self.0.clone(), file.to_owned());
        tokio::spawn(async move {
            let read = || match crate::config::load(&file) {
                Ok(config) => Ok(config.logrelay.unwrap_or_default()),
                Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
            };
            match relay.apply_latest(read).await {
                Ok(()) => tracing::info!("the log relay follows its configuration"),
                Err(error) => {
                    let outcome = if error.in_part { "changes only in part" } else { "stays as it is" };
                    error.problems.iter().for_each(|problem| tracing::error!("the log relay {outcome}: {problem}"));
                }
            }
        });
    }

    /// Adds the metrics of the log relay to the registry behind /metrics.
    pub(crate) fn register(&self, registry: &mut Registry) {
        metrics::register(registry, self.clone());
    }

    /// For `gatehouse status`.
    pub(crate) fn summary(&self) -> Value {
        let report = self.0.report();
        let mut out = Map::new();
        for source in &report.sources {
            let b = &source.books;
            let text = format!(
                "{} messages, {} spooled, {} in memory only, {} without a route, {} shed",
                b.received,
                b.spooled,
                b.memory,
                b.unrouted,
                b.shed.rate + b.shed.full + b.shed.no_room
            );
            out.insert(format!("source {}", source.name), text.into());
        }
        for d in &report.destinations {
            let text = format!(
                "{}, {} delivered, {} waiting, {} dropped",
                d.state,
                d.delivered + d.memory_delivered,
                d.pending + d.memory_pending,
                d.dropped + d.memory_dropped + d.unsendable
            );
            out.insert(format!("destination {}", d.name), text.into());
        }
        out.insert("spool".into(), format!("{} segments, {} octets", report.spool.segments, report.spool.bytes).into());
        out.into()
    }

    /// What stands still in the log relay.
    pub(crate) fn stalls(&self) -> Vec<Stall> {
        let ours = |stall: relay::Stall| {
            let since_ms = u64::try_from(stall.since_us / 1000).unwrap_or(0);
            Stall { what: stall.what, reason: stall.reason, since_ms, remedy: stall.remedy }
        };
        self.0.stalls().into_iter().map(ours).collect()
    }
}

/// A destination of /v1/logs/destinations as a row for people.
pub(crate) fn destination_row(destination: &Value) -> Vec<String> {
    let number = |names: &[&str]| {
        let sum: u64 = names.iter().filter_map(|name| destination.get(name).and_then(Value::as_u64)).sum();
        sum.to_string()
    };
    let text = |name: &str| destination.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let ms = destination.get("last_us").and_then(Value::as_u64).map(|us| us / 1000);
    let last = ms.map_or("never".into(), |ms| format!("{} ago", clock::age(clock::now_ms().saturating_sub(ms))));
    vec![
        text("name"),
        text("state"),
        number(&["delivered", "memory_delivered"]),
        number(&["pending", "memory_pending"]),
        number(&["dropped", "memory_dropped", "unsendable"]),
        last,
    ]
}

/// The report of a spool for people: every value that is not a list or an object, then a line for each destination.
pub(crate) fn spool_page(report: &Value) -> String {
    let mut lines = Vec::new();
    let plain = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        _ => None,
    };
    for (name, value) in report.as_object().into_iter().flatten() {
        if let Some(value) = plain(value) {
            lines.push(format!("{:<12} {value}", name.replace('_', " ")));
        }
    }
    for destination in report.get("destinations").and_then(Value::as_array).into_iter().flatten() {
        let fields = destination.as_object().into_iter().flatten();
        let fields = fields.filter(|(name, _)| *name != "name");
        let rest: Vec<String> =
            fields.filter_map(|(name, value)| Some(format!("{} {}", name.replace('_', " "), plain(value)?))).collect();
        let name = destination.get("name").and_then(Value::as_str).unwrap_or_default();
        lines.push(format!("{:<12} {name}: {}", "destination", rest.join(", ")));
    }
    lines.join("\n")
}
