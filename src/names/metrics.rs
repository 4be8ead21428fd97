//! What /metrics shows of names.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use dns::{
    rr::rcode_name,
    service::Snapshot,
    stats::{EVENTS, LATENCY_BOUNDS_NS, Sums},
    verdict::REASONS,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::Names;

struct NameMetrics(Names);

impl std::fmt::Debug for NameMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NameMetrics")
    }
}

/// Adds the metrics of names to a registry.
pub(super) fn register(registry: &mut Registry, names: Names) {
    registry.register_collector(Box::new(NameMetrics(names)));
}

type Labels<'a> = [(&'static str, &'a str)];

struct Page<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl Page<'_, '_> {
    fn gauge(&mut self, name: &str, help: &str, value: f64) -> std::fmt::Result {
        ConstGauge::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    fn counters<'v>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (Vec<(&'static str, String)>, u64)> + 'v,
    ) -> std::fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            let labels: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (*key, value.as_str())).collect();
            let labels: &Labels<'_> = &labels;
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn transports(now: &Snapshot) -> [(&'static str, &Sums); 2] {
    [("udp", &now.udp), ("stream", &now.stream)]
}

impl Collector for NameMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let inner = &self.0.0;
        let now = inner.service.snapshot();
        let mut page = Page(&mut encoder);
        page.gauge("gatehouse_dns_serial", "Serial of the state that answers come from", now.serial as f64)?;
        page.gauge("gatehouse_dns_zones", "Zones that are served", now.zones as f64)?;
        page.gauge("gatehouse_dns_names", "Names in all zones, empty non-terminals included", now.names as f64)?;
        page.gauge(
            "gatehouse_dns_last_make_seconds",
            "Time that the newest zones took to make",
            now.last_make_us as f64 / 1e6,
        )?;
        page.gauge("gatehouse_dns_connections", "Open TCP, TLS and HTTPS connections", inner.limits.open() as f64)?;
        page.gauge("gatehouse_dns_cache_entries", "Forwarded answers in the cache", now.cache.0 as f64)?;
        page.gauge("gatehouse_dns_cache_bytes", "Octets of forwarded answers in the cache", now.cache.1 as f64)?;
        answers(&mut page, &now)?;
        streams(&mut page, &self.0)?;
        forwarding(&mut page, &self.0)?;
        latency(&mut encoder, &now.udp)
    }
}

fn answers(page: &mut Page<'_, '_>, now: &Snapshot) -> std::fmt::Result {
    let by_rcode = transports(now).into_iter().flat_map(|(transport, sums)| {
        let used = sums.rcodes.iter().enumerate().filter(|(rcode, count)| *rcode < 6 || **count > 0);
        used.map(move |(rcode, count)| {
            (vec![("transport", transport.to_owned()), ("rcode", rcode_name(rcode as u16).into_owned())], *count)
        })
    });
    page.counters("gatehouse_dns_answers", "Answers by transport and response code", by_rcode)?;
    let by_reason = transports(now).into_iter().flat_map(|(transport, sums)| {
        REASONS.iter().zip(sums.reasons).map(move |(reason, count)| {
            let reason = format!("{reason:?}").to_ascii_lowercase();
            (vec![("transport", transport.to_owned()), ("reason", reason)], count)
        })
    });
    page.counters("gatehouse_dns_answer_reasons", "Answers by transport and reason", by_reason)?;
    let by_event = transports(now).into_iter().flat_map(|(transport, sums)| {
        EVENTS.iter().zip(sums.events).map(move |((_, event), count)| {
            (vec![("transport", transport.to_owned()), ("event", (*event).to_owned())], count)
        })
    });
    page.counters("gatehouse_dns_events", "What happened to queries that got no usual answer", by_event)?;
    page.counters("gatehouse_dns_made", "Times that new zones were made", one(now.made))?;
    page.counters("gatehouse_dns_query_log_lost", "Lines that the query log lost", one(now.query_log_lost))
}

fn one(value: u64) -> impl Iterator<Item = (Vec<(&'static str, String)>, u64)> {
    std::iter::once((Vec::new(), value))
}

fn labelled<'a>(
    key: &'static str,
    values: &'a [(&'static str, &'a AtomicU64)],
) -> impl Iterator<Item = (Vec<(&'static str, String)>, u64)> + 'a {
    values.iter().map(move |(name, value)| (vec![(key, (*name).to_owned())], value.load(Relaxed)))
}

fn streams(page: &mut Page<'_, '_>, names: &Names) -> std::fmt::Result {
    let (stream, accept) = (&names.0.stream.counters, &names.0.limits.counters);
    let events = [
        ("accepted", &accept.accepted),
        ("refused_total", &accept.refused_total),
        ("idle_closed", &stream.idle_closed),
        ("write_timeout", &stream.write_timeouts),
        ("garbage", &stream.garbage),
    ];
    page.counters("gatehouse_dns_stream_events", "What happened to stream connections", labelled("event", &events))?;
    let notify = names.0.service.notify_stats();
    let events = [
        ("sent", &notify.sent),
        ("acknowledged", &notify.acknowledged),
        ("refused", &notify.refused),
        ("given_up", &notify.given_up),
    ];
    page.counters("gatehouse_dns_notify", "NOTIFY messages by what became of them", labelled("event", &events))
}

fn forwarding(page: &mut Page<'_, '_>, names: &Names) -> std::fmt::Result {
    let Some(forwarder) = names.0.service.forwarder() else { return Ok(()) };
    let counters = forwarder.counters();
    let events = [("query", &counters.queries), ("hit", &counters.hits), ("stale", &counters.stale)];
    page.counters("gatehouse_dns_forward", "Forwarded questions by how they were answered", labelled("event", &events))
}

/// Latency as a Prometheus histogram in seconds.
fn latency(encoder: &mut DescriptorEncoder<'_>, udp: &Sums) -> std::fmt::Result {
    let mut metric = encoder.encode_descriptor(
        "gatehouse_dns_udp_seconds",
        "Time from receiving a batch of datagrams to having sent its answers, for each answer",
        None,
        MetricType::Histogram,
    )?;
    let bounds = LATENCY_BOUNDS_NS.iter().map(|ns| *ns as f64 / 1e9).chain([f64::MAX]);
    let buckets: Vec<(f64, u64)> = bounds.zip(udp.latency).collect();
    let count = udp.latency.iter().sum();
    metric.encode_histogram::<prometheus_client::encoding::NoLabelSet>(
        udp.latency_sum_ns as f64 / 1e9,
        count,
        &buckets,
        None,
    )
}
