//! What `gatehouse status` says: the report that the node gives and the page that people read.
//!
//! Everything that stands still is in the list of stalls, with its reason, since when, and what to do.

use std::fmt::Write;

use inventory::Position;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    api::held::HeldView,
    clock::{age, text},
    node::sources::SourceStatus,
};

/// Faults and rows of a list that the page shows; the rest is counted.
const LINES_MAX: usize = 10;

/// Facts that do not change while the node runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Name of the appliance.
    pub node: String,
    /// Region of the appliance.
    pub region: String,
    /// Version of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// When the node was started, in milliseconds since 1970-01-01 UTC.
    pub started_ms: u64,
    /// What the store had to do to come back, if it was not all well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<String>,
}

/// How much there is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Hosts, terminated ones included.
    pub hosts: usize,
    /// Role definitions.
    pub roles: usize,
    /// Static records.
    pub records: usize,
    /// Products that have hosts.
    pub products: usize,
    /// Grants.
    #[serde(default)]
    pub grants: usize,
    /// Directory entries.
    #[serde(default)]
    pub entries: usize,
}

/// Something that the store cannot do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoreTrouble {
    /// What.
    pub text: String,
    /// Since when.
    pub since_ms: u64,
}

/// Something that stands still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stall {
    /// What stands still.
    pub what: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since_ms: u64,
    /// What to do.
    pub remedy: String,
}

/// The whole report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Facts that do not change.
    #[serde(flatten)]
    pub facts: Facts,
    /// When the report was made.
    pub now_ms: u64,
    /// `serving` or `draining`.
    pub phase: String,
    /// Where the state is in history.
    pub position: Position,
    /// When the state was made; absent for the empty state of a new store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_ms: Option<u64>,
    /// How much there is.
    pub counts: Counts,
    /// The inventory's sources.
    pub sources: Vec<SourceStatus>,
    /// Changes that wait for a person.
    pub held: Vec<HeldView>,
    /// What the store cannot do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreTrouble>,
    /// The log's level.
    pub log_level: String,
    /// The DNS part; absent without `[dns]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Value>,
    /// The directory part; absent without `[directory]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<Value>,
    /// What the directory part says stands still.
    #[serde(default)]
    pub directory_stalls: Vec<Stall>,
    /// The log relay; absent without `[logrelay]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<Value>,
    /// What the log relay says stands still.
    #[serde(default)]
    pub logs_stalls: Vec<Stall>,
    /// Everything that stands still; computed from the rest by [`stalls`].
    #[serde(default)]
    pub stalls: Vec<Stall>,
}

/// Everything in a report that stands still.
pub(crate) fn stalls(report: &Report) -> Vec<Stall> {
    let mut out = Vec::new();
    if let Some(trouble) = &report.store {
        out.push(Stall {
            what: "the store".into(),
            reason: trouble.text.clone(),
            since_ms: trouble.since_ms,
            remedy: "answers go on from memory; free the disk or replace it, changes are refused until then".into(),
        });
    }
    for source in &report.sources {
        if let (Some(reason), Some(since_ms)) = (&source.trouble, source.trouble_since_ms) {
            out.push(Stall {
                what: format!("source {}", source.name),
                reason: reason.clone(),
                since_ms,
                remedy: source.remedy.clone().unwrap_or_default(),
            });
        }
    }
    out.extend(report.directory_stalls.iter().chain(&report.logs_stalls).cloned());
    for held in &report.held {
        out.push(Stall {
            what: format!("change {} by {}", held.id, held.who),
            reason: held.reasons.join("; "),
            since_ms: held.when_ms,
            remedy: held.remedy.clone(),
        });
    }
    out
}

/// The page for people.
pub(crate) fn page(report: &Report) -> String {
    let mut out = String::new();
    let since = |ms: u64| age(report.now_ms.saturating_sub(ms));
    let facts = &report.facts;
    let mut line = |label: &str, value: String| {
        // Writing into a String cannot fail.
        let _ = writeln!(out, "{label:<10} {value}");
    };
    line("node", format!("{} in {}, version {}, process {}", facts.node, facts.region, facts.version, facts.pid));
    line("state", format!("{} since {}", report.phase, since(facts.started_ms)));
    let p = &report.position;
    let hash: String = inventory::position::hex::encode(&p.state_hash).chars().take(12).collect();
    line("position", format!("cluster {:016x}, epoch {}, serial {}, hash {hash}", p.cluster_id, p.epoch, p.serial));
    line(
        "changed",
        match report.changed_ms {
            Some(ms) => format!("{} ago, {}", since(ms), text(ms)),
            None if p.serial == 0 => "never: the store is new".into(),
            None => "before the store's memory begins".into(),
        },
    );
    let c = &report.counts;
    line(
        "holds",
        format!(
            "{} hosts, {} static records, {} role definitions, {} products, {} grants, {} directory entries",
            c.hosts, c.records, c.roles, c.products, c.grants, c.entries
        ),
    );
    if let Some(recovered) = &facts.recovered {
        line("recovered", recovered.clone());
    }
    for source in &report.sources {
        line("source", source_line(source, &since));
        source.faults.iter().take(LINES_MAX).for_each(|fault| line("", format!("  {fault}")));
        if source.faults.len() > LINES_MAX {
            line("", format!("  and {} more", source.faults.len() - LINES_MAX));
        }
    }
    for (part, values) in [("dns", &report.dns), ("directory", &report.directory), ("logs", &report.logs)] {
        for (name, value) in values.iter().filter_map(Value::as_object).flatten() {
            line(part, format!("{name}: {}", value.as_str().map_or_else(|| value.to_string(), Into::into)));
        }
    }
    line("log level", report.log_level.clone());
    match report.stalls.is_empty() {
        true => line("stalls", "none".into()),
        false => line("stalls", report.stalls.len().to_string()),
    }
    for stall in &report.stalls {
        line("", format!("{}, for {}: {}", stall.what, since(stall.since_ms), stall.reason));
        line("", format!("  remedy: {}", stall.remedy));
    }
    out
}

fn source_line(source: &SourceStatus, since: &impl Fn(u64) -> String) -> String {
    let read = source.read_ms.map_or("not read yet".into(), |ms| format!("read {} ago", since(ms)));
    let applied = source.ok_ms.map_or("never applied".into(), |ms| format!("last in order {} ago", since(ms)));
    format!("{}: {read}, {applied}, {} files, {} rows", source.name, source.files, source.rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            facts: Facts {
                node: "gw1".into(),
                region: "us-east-1".into(),
                version: "0.1.0".into(),
                pid: 7,
                started_ms: 0,
                recovered: None,
            },
            now_ms: 100_000,
            phase: "serving".into(),
            position: Position { cluster_id: 0xabc, epoch: 1, serial: 42, state_hash: [0xee; 32] },
            changed_ms: Some(40_000),
            counts: Counts { hosts: 40, roles: 3, records: 7, products: 1, grants: 4, entries: 30 },
            sources: vec![SourceStatus {
                name: "folder /inv".into(),
                read_ms: Some(99_000),
                ok_ms: Some(95_000),
                files: 2,
                rows: 50,
                ..SourceStatus::default()
            }],
            held: Vec::new(),
            store: None,
            log_level: "info".into(),
            dns: Some(serde_json::json!({ "listen": "127.0.0.1:53", "queries": 5 })),
            directory: Some(serde_json::json!({ "people": 20 })),
            directory_stalls: Vec::new(),
            logs: None,
            logs_stalls: Vec::new(),
            stalls: Vec::new(),
        }
    }

    #[test]
    fn all_is_well() {
        assert_eq!(
            page(&report()),
            "\
node       gw1 in us-east-1, version 0.1.0, process 7
state      serving since 1 min 40 s
position   cluster 0000000000000abc, epoch 1, serial 42, hash eeeeeeeeeeee
changed    1 min 0 s ago, 1970-01-01T00:00:40Z
holds      40 hosts, 7 static records, 3 role definitions, 1 products, 4 grants, 30 directory entries
source     folder /inv: read 1 s ago, last in order 5 s ago, 2 files, 50 rows
dns        listen: 127.0.0.1:53
dns        queries: 5
directory  people: 20
log level  info
stalls     none
"
        );
    }

    #[test]
    fn every_stall_has_a_reason_an_age_and_a_remedy() {
        let mut report = report();
        report.store = Some(StoreTrouble { text: "disk full".into(), since_ms: 90_000 });
        report.sources[0].trouble = Some("2 faults in its files; the inventory stays as it was".into());
        report.sources[0].trouble_since_ms = Some(95_000);
        report.sources[0].remedy = Some("correct the files".into());
        report.sources[0].faults = vec!["hosts.toml:3: no".into(), "hosts.toml:9: no".into()];
        report.held = vec![HeldView {
            id: 3,
            who: "file".into(),
            when_ms: 10_000,
            why: String::new(),
            reasons: vec!["it removes 20 of the 40 hosts".into()],
            rows: 20,
            remedy: "`gatehouse accept 3` serves it".into(),
        }];
        report.stalls = stalls(&report);
        let page = page(&report);
        let tail: Vec<&str> = page.lines().skip_while(|l| !l.starts_with("stalls")).map(str::trim).collect();
        assert_eq!(
            tail,
            [
                "stalls     3",
                "the store, for 10 s: disk full",
                "remedy: answers go on from memory; free the disk or replace it, changes are refused until then",
                "source folder /inv, for 5 s: 2 faults in its files; the inventory stays as it was",
                "remedy: correct the files",
                "change 3 by file, for 1 min 30 s: it removes 20 of the 40 hosts",
                "remedy: `gatehouse accept 3` serves it",
            ]
        );
        assert!(page.contains("hosts.toml:9: no"));
    }

    #[test]
    fn the_report_survives_the_wire() {
        let report = report();
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
