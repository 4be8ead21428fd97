//! What /metrics shows of the node, its store and its sources; names add theirs beside it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use inventory::Keeper;
use nix::sys::resource::{UsageWho, getrusage};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, family::Family, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};

use crate::{api::counts::Counts, node::sources::Sources, status::Facts};

/// Reads everything at the moment of a scrape.
struct NodeMetrics {
    keeper: Keeper,
    sources: Arc<Sources>,
    api: Arc<Counts>,
    started_ms: u64,
}

impl std::fmt::Debug for NodeMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeMetrics")
    }
}

/// Adds the node's metrics to a registry.
pub(crate) fn register(
    registry: &mut Registry,
    facts: &Facts,
    keeper: Keeper,
    sources: Arc<Sources>,
    api: Arc<Counts>,
) {
    let build = Info::new(vec![
        ("version", facts.version.clone()),
        ("node", facts.node.clone()),
        ("region", facts.region.clone()),
    ]);
    registry.register("gatehouse_build", "Version, name and region of the node", build);
    registry.register_collector(Box::new(NodeMetrics { keeper, sources, api, started_ms: facts.started_ms }));
}

fn gauge(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> std::fmt::Result {
    let gauge = ConstGauge::new(value);
    gauge.encode(out.encode_descriptor(name, help, None, gauge.metric_type())?)
}

fn counter(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> std::fmt::Result {
    let counter = ConstCounter::new(value);
    counter.encode(out.encode_descriptor(name, help, None, counter.metric_type())?)
}

/// Counts are shown as floating point; they are exact up to 2^53.
fn exact(n: usize) -> f64 {
    n as f64
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

impl Collector for NodeMetrics {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> std::fmt::Result {
        let out = &mut out;
        self.state(out)?;
        self.store(out)?;
        self.sources(out)?;
        self.api(out)?;
        process(out, self.started_ms)
    }
}

impl NodeMetrics {
    fn state(&self, out: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let state = self.keeper.state();
        let position = state.position();
        gauge(out, "gatehouse_position_epoch", "Epoch of the state that is served", f64::from(position.epoch))?;
        gauge(out, "gatehouse_position_serial", "Serial of the state that is served", position.serial as f64)?;
        gauge(out, "gatehouse_hosts", "Hosts, terminated ones included", exact(state.host_count()))?;
        gauge(out, "gatehouse_records", "Static records", exact(state.record_count()))?;
        gauge(out, "gatehouse_roles", "Role definitions", exact(state.roles().count()))?;
        let changed = state.history().next_back().map_or(0, |set| set.author.when_ms);
        gauge(out, "gatehouse_changed_timestamp_seconds", "When the state was made; 0: unknown", seconds(changed))
    }

    fn store(&self, out: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let health = self.keeper.health();
        gauge(out, "gatehouse_held_changes", "Changes that wait for accept", exact(self.keeper.held().len()))?;
        let since = health.trouble.as_ref().map_or(0, |t| t.since_ms);
        gauge(out, "gatehouse_store_trouble", "1 while the store cannot work", f64::from(health.trouble.is_some()))?;
        gauge(out, "gatehouse_store_trouble_since_timestamp_seconds", "Since when; 0: no trouble", seconds(since))?;
        counter(out, "gatehouse_store_commits", "Transactions", health.commits as f64)?;
        counter(out, "gatehouse_store_changes", "Change sets in transactions", health.changes as f64)?;
        counter(out, "gatehouse_store_failures", "Transactions that failed", health.failures as f64)?;
        let spent = health.commit_time.as_secs_f64();
        counter(out, "gatehouse_store_commit_seconds", "Time in transactions that succeeded, syncs included", spent)?;
        let last = health.last_commit_time.as_secs_f64();
        gauge(out, "gatehouse_store_last_commit_seconds", "Time of the last transaction", last)?;
        gauge(out, "gatehouse_store_bytes", "Octets of the database and its log", health.database_bytes as f64)?;
        gauge(out, "gatehouse_store_standby_bytes", "Octets of the standby copy", health.standby_bytes as f64)?;
        gauge(out, "gatehouse_store_queue", "Changes that wait for the store", exact(health.queue_length))?;
        counter(out, "gatehouse_store_busy", "Changes refused because too many waited", health.busy as f64)
    }

    fn sources(&self, out: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        type Labels = Vec<(&'static str, String)>;
        let ok: Family<Labels, prometheus_client::metrics::gauge::Gauge> = Family::default();
        let faults = ok_like(&ok);
        let success = ok_like(&ok);
        for source in self.sources.all() {
            let labels = vec![("source", source.name.clone())];
            let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            ok.get_or_create(&labels).set(i64::from(source.trouble.is_none() && source.ok_ms.is_some()));
            faults.get_or_create(&labels).set(whole(source.fault_count as u64));
            success.get_or_create(&labels).set(whole(source.ok_ms.unwrap_or(0) / 1000));
        }
        let families = [
            ("gatehouse_source_ok", "1 while what the source holds is what is served", ok),
            ("gatehouse_source_faults", "Faults in the source's last reading", faults),
            ("gatehouse_source_success_timestamp_seconds", "When its content last came into force; 0: never", success),
        ];
        for (name, help, family) in families {
            family.encode(out.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}

impl NodeMetrics {
    fn api(&self, out: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let api = &self.api;
        let now = api.connections.load(Relaxed);
        gauge(out, "gatehouse_api_connections", "Connections of the API now", now as f64)?;
        let read = |counter: &AtomicU64| counter.load(Relaxed) as f64;
        counter(
            out,
            "gatehouse_api_connections_full",
            "Connections refused because there were too many",
            read(&api.full),
        )?;
        let failures = read(&api.accept_failures);
        counter(out, "gatehouse_api_accept_failures", "Connections that could not be accepted", failures)?;
        counter(out, "gatehouse_api_given_up", "Requests that took too long", read(&api.given_up))?;
        let mut out =
            out.encode_descriptor("gatehouse_api_answers", "Answers of the API", None, MetricType::Counter)?;
        for (class, value) in [("fine", &api.fine), ("refused", &api.refused), ("failed", &api.failed)] {
            let value = ConstCounter::new(value.load(Relaxed));
            value.encode(out.encode_family(&[("class", class)])?)?;
        }
        Ok(())
    }
}

/// An empty family of the same kind.
fn ok_like<T: Default>(_: &T) -> T {
    T::default()
}

fn process(out: &mut DescriptorEncoder<'_>, started_ms: u64) -> std::fmt::Result {
    gauge(out, "process_start_time_seconds", "When the process was started", seconds(started_ms))?;
    if let Some(bytes) = resident_bytes() {
        gauge(out, "process_resident_memory_bytes", "Resident memory", bytes as f64)?;
    }
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Ok(()) };
    let spent = usage.user_time() + usage.system_time();
    let spent = spent.tv_sec() as f64 + spent.tv_usec() as f64 / 1e6;
    let cpu = ConstCounter::new(spent);
    let unit = Some(&Unit::Seconds);
    cpu.encode(out.encode_descriptor("process_cpu", "Processor time, user and system", unit, cpu.metric_type())?)
}

/// Resident memory by the kernel's account.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_knows_its_memory() {
        assert!(resident_bytes().unwrap() > 100_000);
    }
}
