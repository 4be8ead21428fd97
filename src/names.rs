//! The one place where the binary meets the `dns` crate: binding, starting, asking, and the
//! commands under `gatehouse dns`. Everything else here knows names only through these functions.

use std::sync::Arc;

use inventory::{ChangeSet, State};
use prometheus_client::registry::Registry;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    args::{DnsCompare, DnsImportZone, DnsServeZone},
    exit::{Exit, Failure},
    node::task::Ended,
};

/// Sockets of the DNS part, bound and not served yet.
pub(crate) struct Bound {}

/// The running DNS part.
#[derive(Clone)]
pub(crate) struct Names {}

/// What the DNS part knows about its node.
pub(crate) struct Settings {
    /// Name of the appliance, for NSID and `id.server`.
    pub node: String,
    /// Region of the appliance, for nearest scope.
    pub region: String,
    /// Product of hosts that name none.
    pub product: Option<String>,
    /// Version of the program, for `version.bind`.
    pub version: &'static str,
}

fn absent() -> Failure {
    Failure::new(Exit::Unavailable, "this build has no DNS part; remove [dns] from the configuration")
}

/// Binds the sockets of `[dns]` and reads its TLS files, while the process may still do so.
///
/// # Errors
/// Which address or file cannot be had, and why.
pub(crate) fn bind(_config: &dns::config::Config) -> Result<Bound, Failure> {
    Err(absent())
}

impl Bound {
    /// Starts answering from the states that `states` brings. Tasks that must not end go into `tasks`.
    ///
    /// # Errors
    /// Why nothing can be answered.
    pub(crate) fn start(
        self,
        _settings: Settings,
        _states: watch::Receiver<Arc<State>>,
        _shutdown: CancellationToken,
        _tasks: &mut JoinSet<Ended>,
    ) -> Result<Names, Failure> {
        Err(absent())
    }
}

impl Names {
    /// The part of `gatehouse status` about names; a JSON object of numbers, texts and lists.
    pub(crate) fn summary(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Which host, rule and change made each record of a name.
    ///
    /// # Errors
    /// A sentence when the text is no name.
    pub(crate) fn explain(&self, _name: &str) -> Result<serde_json::Value, String> {
        Err(absent().sentence)
    }

    /// Adds the metrics of names to the registry behind /metrics.
    pub(crate) fn register(&self, _registry: &mut Registry) {}

    /// Reads TLS files and cookie secrets again and reopens the query log.
    pub(crate) fn reload(&self) {}
}

/// What speaks against publishing a change, from the view of names; empty when nothing does.
pub(crate) fn review(_before: &State, _after: &State, _set: &ChangeSet) -> Vec<String> {
    Vec::new()
}

/// What `gatehouse dns explain` prints for people.
pub(crate) fn explanation(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// The records of a zone file as POST /v1/records takes them (`name`, `type`, `data`, `ttl`), with the
/// source that they are filed under (`zone:corp.example`).
///
/// # Errors
/// The faults of the file.
pub(crate) fn zone_records(_args: &DnsImportZone) -> Result<(String, Vec<serde_json::Value>), Failure> {
    Err(absent())
}

/// `gatehouse dns compare`; `ours` is the first address of the running node.
///
/// # Errors
/// Why the servers cannot be compared.
pub(crate) async fn compare(_args: &DnsCompare) -> Result<(), Failure> {
    Err(absent())
}

/// `gatehouse dns serve-zone`.
///
/// # Errors
/// What is wrong with the file, or which address cannot be had.
pub(crate) fn serve_zone(_args: &DnsServeZone) -> Result<(), Failure> {
    Err(absent())
}
