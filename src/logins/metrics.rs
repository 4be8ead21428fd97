//! What /metrics shows of the directory part.

use std::sync::atomic::Ordering::Relaxed;

use directory::follow::Phase;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::Logins;
use crate::clock;

struct LoginMetrics(Logins);

impl std::fmt::Debug for LoginMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoginMetrics")
    }
}

/// Adds the metrics of the directory part to a registry.
pub(super) fn register(registry: &mut Registry, logins: Logins) {
    registry.register_collector(Box::new(LoginMetrics(logins)));
}

fn gauge(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> std::fmt::Result {
    ConstGauge::new(value).encode(out.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn counters<'v>(
    out: &mut DescriptorEncoder<'_>,
    (name, label, help): (&str, &'static str, &str),
    values: impl Iterator<Item = (&'v str, u64)>,
) -> std::fmt::Result {
    let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (kind, value) in values {
        ConstCounter::new(value).encode(family.encode_family(&[(label, kind)])?)?;
    }
    Ok(())
}

impl Collector for LoginMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let out = &mut encoder;
        self.source(out)?;
        self.views(out)?;
        self.traffic(out)?;
        self.decisions(out)
    }
}

impl LoginMetrics {
    fn source(&self, out: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let status = &self.0.0.status;
        let report = status.report();
        let age = status.age_ms(clock::now_ms()).map_or(f64::INFINITY, |ms| ms as f64 / 1000.0);
        gauge(out, "gatehouse_directory_age_seconds", "Time since the content was known to be the source's", age)?;
        let behind = report.behind_ms.unwrap_or(0) as f64 / 1000.0;
        gauge(
            out,
            "gatehouse_directory_behind_seconds",
            "How much newer the source's contextCSN is than ours",
            behind,
        )?;
        let fine = matches!(report.phase, Phase::Following | Phase::Polling | Phase::Refreshing);
        gauge(out, "gatehouse_directory_source_ok", "1 while the source is being followed", f64::from(fine))?;
        let counts = [
            ("connects", report.connects),
            ("failures", report.failures),
            ("panics", report.panics),
            ("refreshes", report.refreshes),
            ("discarded", report.discarded),
            ("outdated", report.outdated),
            ("drift", report.drift),
        ];
        let what = ("gatehouse_directory_source_events", "event", "What happened while following the source");
        counters(out, what, counts.into_iter())
    }

    fn views(&self, out: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let (view, inner) = (self.0.view(), &self.0.0);
        let counts = view.access.counts();
        gauge(
            out,
            "gatehouse_directory_serial",
            "Serial of the state that answers come from",
            view.position().serial as f64,
        )?;
        gauge(out, "gatehouse_directory_entries", "Directory entries", view.state.entry_count() as f64)?;
        gauge(out, "gatehouse_directory_people", "Entries that are people", counts.people as f64)?;
        gauge(out, "gatehouse_directory_groups", "Entries that are groups", counts.groups as f64)?;
        gauge(out, "gatehouse_grants", "Grants", view.state.grant_count() as f64)?;
        let made = inner.views.last_make().as_secs_f64();
        gauge(out, "gatehouse_directory_last_make_seconds", "Time that the newest view took to make", made)
    }

    fn traffic(&self, out: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let inner = &self.0.0;
        gauge(out, "gatehouse_ldap_connections", "Open connections", inner.limits.open() as f64)?;
        let now = inner.server.counters();
        let what = ("gatehouse_ldap_events", "event", "Operations and limits of the LDAP server");
        counters(out, what, now.fields().filter(|(name, _)| *name != "open"))?;
        let limits = &inner.limits.counters;
        let refused = [
            ("total", limits.refused_total.load(Relaxed)),
            ("source", limits.refused_source.load(Relaxed)),
            ("handshake_timeout", limits.handshake_timeouts.load(Relaxed)),
            ("handshake_failure", limits.handshake_failures.load(Relaxed)),
            ("panic", limits.panics.load(Relaxed)),
        ];
        let what = ("gatehouse_ldap_refused_connections", "limit", "Connections that were turned away or failed");
        counters(out, what, refused.into_iter())?;
        let c = inner.passwords.counters();
        let (lost, forgotten) = inner.passwords.limits_hit();
        let judged = [
            ("right_upstream", c.right_upstream.load(Relaxed)),
            ("right_hash", c.right_hash.load(Relaxed)),
            ("right_verifier", c.right_verifier.load(Relaxed)),
            ("wrong", c.wrong.load(Relaxed)),
            ("throttled", c.throttled.load(Relaxed)),
            ("busy", c.busy.load(Relaxed)),
            ("unavailable", c.unavailable.load(Relaxed)),
            ("abandoned", c.abandoned.load(Relaxed)),
            ("offline", c.offline.load(Relaxed)),
            ("upstream_lost", lost),
            ("guessers_forgotten", forgotten),
        ];
        counters(out, ("gatehouse_passwords", "outcome", "Passwords judged"), judged.into_iter())?;
        gauge(out, "gatehouse_password_verifiers", "People with a local verifier", inner.passwords.verifiers() as f64)
    }

    fn decisions(&self, out: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let c = self.0.0.decisions.counters();
        let counts = [
            ("written", c.written.load(Relaxed)),
            ("merged", c.merged.load(Relaxed)),
            ("lost", c.lost.load(Relaxed)),
            ("torn", c.torn.load(Relaxed)),
            ("failed", c.failed.load(Relaxed)),
            ("removed", c.removed.load(Relaxed)),
        ];
        counters(out, ("gatehouse_decision_log", "event", "What happened to the log of decisions"), counts.into_iter())
    }
}
