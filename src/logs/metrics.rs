//! What /metrics shows of the log relay.

use std::collections::BTreeMap;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::Logs;
use logrelay::relay::Report;

/// Hosts whose counts are shown one by one; all are in `gatehouse logs silent --all --json`.
const HOSTS_MAX: usize = 20_000;

struct LogMetrics(Logs);

impl std::fmt::Debug for LogMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogMetrics")
    }
}

/// Adds the metrics of the log relay to a registry.
pub(super) fn register(registry: &mut Registry, logs: Logs) {
    registry.register_collector(Box::new(LogMetrics(logs)));
}

/// What a family is: name, help, and the names of its two labels.
type Family<'a> = (&'a str, &'a str, [&'static str; 2]);

fn family<'v>(
    out: &mut DescriptorEncoder<'_>,
    kind: MetricType,
    (name, help, labels): Family<'_>,
    values: impl Iterator<Item = ([&'v str; 2], u64)>,
) -> std::fmt::Result {
    let mut family = out.encode_descriptor(name, help, None, kind)?;
    for (of, value) in values {
        let labels: Vec<(&str, &str)> = labels.into_iter().zip(of).filter(|(name, _)| !name.is_empty()).collect();
        match kind {
            MetricType::Counter => ConstCounter::new(value).encode(family.encode_family(&labels)?)?,
            _ => ConstGauge::new(value as f64).encode(family.encode_family(&labels)?)?,
        }
    }
    Ok(())
}

impl Collector for LogMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let report = self.0.0.report();
        let out = &mut encoder;
        sources(out, &report)?;
        routes(out, &report)?;
        destinations(out, &report)?;
        spool(out, &report)?;
        self.hosts(out)
    }
}

fn sources(out: &mut DescriptorEncoder<'_>, report: &Report) -> std::fmt::Result {
    let books = report.sources.iter().flat_map(|source| {
        let b = &source.books;
        let outcomes = [
            ("received", b.received),
            ("spooled", b.spooled),
            ("memory", b.memory),
            ("unrouted", b.unrouted),
            ("shed_rate", b.shed.rate),
            ("shed_full", b.shed.full),
            ("shed_no_room", b.shed.no_room),
            ("rejected", b.rejected),
        ];
        outcomes.map(|(outcome, count)| ([source.name.as_str(), outcome], count))
    });
    let what = ("gatehouse_log_messages", "Messages that came in, and what became of them", ["source", "outcome"]);
    family(out, MetricType::Counter, what, books)?;
    let read = report.sources.iter().flat_map(|source| {
        let s = &source.books.status;
        let how = [
            ("rfc5424", s.rfc5424),
            ("rfc3164", s.rfc3164),
            ("vendor", s.vendor),
            ("pri_only", s.pri_only),
            ("unparsed", s.unparsed),
        ];
        how.map(|(how, count)| ([source.name.as_str(), how], count))
    });
    let what = ("gatehouse_log_read_as", "Messages by how well they could be read", ["source", "status"]);
    family(out, MetricType::Counter, what, read)?;
    let events = report.sources.iter().flat_map(|s| s.events.iter().map(|(event, n)| ([s.name.as_str(), *event], *n)));
    let what = ("gatehouse_log_source_events", "What happened at sockets and files", ["source", "event"]);
    family(out, MetricType::Counter, what, events)?;
    let octets = report.sources.iter().map(|s| ([s.name.as_str(), ""], s.books.octets));
    family(out, MetricType::Counter, ("gatehouse_log_octets", "Octets that came in", ["source", ""]), octets)?;
    let open = report.sources.iter().map(|s| ([s.name.as_str(), ""], s.connections as u64));
    family(out, MetricType::Gauge, ("gatehouse_log_connections", "Open connections", ["source", ""]), open)
}

fn routes(out: &mut DescriptorEncoder<'_>, report: &Report) -> std::fmt::Result {
    let counts = report.routes.iter().flat_map(|r| {
        let outcomes = [("taken", r.taken), ("shed", r.shed), ("not_rewritten", r.not_rewritten)];
        outcomes.map(|(outcome, count)| ([r.name.as_str(), outcome], count))
    });
    let what = (
        "gatehouse_log_routed",
        "Messages that a route took, those of them that were shed, and rewrite rules that could not do what they say",
        ["route", "outcome"],
    );
    family(out, MetricType::Counter, what, counts)
}

fn destinations(out: &mut DescriptorEncoder<'_>, report: &Report) -> std::fmt::Result {
    let counts = report.destinations.iter().flat_map(|d| {
        let outcomes = [
            ("accepted", d.accepted + d.memory_accepted),
            ("delivered", d.delivered + d.memory_delivered),
            ("dropped_oldest", d.dropped),
            ("dropped_no_room", d.memory_dropped),
            ("unsendable", d.unsendable),
            ("failed_attempts", d.failures),
        ];
        outcomes.map(|(outcome, count)| ([d.name.as_str(), outcome], count))
    });
    let what = (
        "gatehouse_log_destination",
        "Messages of a destination, and attempts that failed",
        ["destination", "outcome"],
    );
    family(out, MetricType::Counter, what, counts)?;
    let events =
        report.destinations.iter().flat_map(|d| d.events.iter().map(|(event, n)| ([d.name.as_str(), *event], *n)));
    let what = ("gatehouse_log_destination_events", "What happened at files and connections", ["destination", "event"]);
    family(out, MetricType::Counter, what, events)?;
    let pending = report
        .destinations
        .iter()
        .flat_map(|d| [([d.name.as_str(), "spool"], d.pending), ([d.name.as_str(), "memory"], d.memory_pending)]);
    let what = ("gatehouse_log_pending", "Messages that wait for a destination", ["destination", "where"]);
    family(out, MetricType::Gauge, what, pending)?;
    let failing = report.destinations.iter().map(|d| ([d.name.as_str(), ""], u64::from(d.trouble.is_some())));
    let what = ("gatehouse_log_failing", "1 while nothing can be delivered", ["destination", ""]);
    family(out, MetricType::Gauge, what, failing)
}

fn spool(out: &mut DescriptorEncoder<'_>, report: &Report) -> std::fmt::Result {
    let spool = &report.spool;
    let bytes = [(["", ""], spool.bytes)];
    family(out, MetricType::Gauge, ("gatehouse_log_spool_bytes", "Octets of the spool", ["", ""]), bytes.into_iter())?;
    let stalled = [(["", ""], u64::from(spool.stall.is_some()))];
    let what = ("gatehouse_log_spool_stalled", "1 while nothing can be made durable", ["", ""]);
    family(out, MetricType::Gauge, what, stalled.into_iter())?;
    let events = spool.counts.each().map(|(event, count)| ([event, ""], count));
    family(
        out,
        MetricType::Counter,
        ("gatehouse_log_spool_events", "What happened to the spool", ["event", ""]),
        events,
    )
}

impl LogMetrics {
    fn hosts(&self, out: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        // A name in a header may look like an address; then both are one here.
        let mut by_name: BTreeMap<String, (u64, u64, i64)> = BTreeMap::new();
        self.0.0.hosts(|host| {
            if by_name.len() < HOSTS_MAX {
                let shed = host.counters.shed.rate + host.counters.shed.full + host.counters.shed.no_room;
                let row = by_name.entry(host.who.to_string()).or_default();
                *row = (row.0 + host.counters.received, row.1 + shed, row.2.max(host.last_us.unwrap_or(0)));
            }
        });
        let rows: Vec<_> = by_name.into_iter().map(|(who, (received, shed, us))| (who, received, shed, us)).collect();
        let counts = rows.iter().flat_map(|(who, received, shed, _)| {
            [([who.as_str(), "received"], *received), ([who.as_str(), "shed"], *shed)]
        });
        let what = (
            "gatehouse_log_host_messages",
            "Messages of a host, and those of them that were shed",
            ["host", "outcome"],
        );
        family(out, MetricType::Counter, what, counts)?;
        let seen =
            rows.iter().map(|(who, .., last_us)| ([who.as_str(), ""], u64::try_from(last_us / 1_000_000).unwrap_or(0)));
        let what = ("gatehouse_log_host_seen_timestamp_seconds", "When a host was last heard; 0: never", ["host", ""]);
        family(out, MetricType::Gauge, what, seen)?;
        let counters = self.0.0.host_events();
        let what = ("gatehouse_log_host_events", "What happened to the table of hosts", ["event", ""]);
        family(out, MetricType::Counter, what, counters.into_iter().map(|(event, count)| ([event, ""], count)))
    }
}
