//! `dns explain` inside the node: what the names say, with the last change of each row behind them.
//!
//! At most [`ROWS_MAX`] rows are looked up in the change log, by connections of their own, so neither
//! answers nor the writer wait.

use dns::explain::{Explanation, Note, Place};
use inventory::{ChangeSet, Keeper, Row, RowChange, RowKey, keeper::HistoryQuery};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Names;
use crate::clock;

/// Rows whose last change is looked up for one explanation.
const ROWS_MAX: usize = 16;

/// What GET /v1/dns/explain answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// What the names say.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// Whether names that are not ours are asked of other servers.
    pub forwards: bool,
    /// The last change of each row that the explanation speaks of, in that order.
    pub changes: Vec<RowHistory>,
    /// Rows that were not looked up, because there are too many.
    pub changes_left_out: usize,
    /// Why the change log could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes_trouble: Option<String>,
}

/// A row and its last change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RowHistory {
    /// `host web01.us-east-1a.acme`, `role mysql`, `record www.acme.private A 10.0.0.1`.
    pub row: String,
    /// None when the change log does not go back that far.
    pub last: Option<LastChange>,
}

/// One change of one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastChange {
    /// Serial of the state that it led to.
    pub serial: u64,
    /// RFC 3339.
    pub when: String,
    /// Who made it.
    pub who: String,
    /// The reason that was given; may be empty.
    pub why: String,
    /// `added`, or for each field that differs what it was.
    pub what: Vec<String>,
}

impl Names {
    /// Which host, rule and change made each record of a name.
    ///
    /// # Errors
    /// A sentence when the text is no name.
    pub(crate) async fn explain(&self, keeper: &Keeper, text: &str) -> Result<Value, String> {
        let (names, state, asked) = (self.clone(), keeper.state(), text.to_owned());
        // Role names need a walk over the hosts.
        let work = tokio::task::spawn_blocking(move || names.0.service.explain(&state, &asked));
        let explanation = work.await.map_err(|e| format!("the explanation has failed: {e}"))?;
        let explanation = explanation.map_err(|e| format!("this is no name: {e}"))?;
        let forwards = self.0.service.forwarder().is_some();
        let answer = with_changes(keeper, explanation, forwards).await;
        serde_json::to_value(answer).map_err(|e| format!("the explanation cannot be written: {e}"))
    }
}

async fn with_changes(keeper: &Keeper, explanation: Explanation, forwards: bool) -> Answer {
    let mut rows = rows(&explanation);
    let changes_left_out = rows.len().saturating_sub(ROWS_MAX);
    rows.truncate(ROWS_MAX);
    let (mut changes, mut changes_trouble) = (Vec::new(), None);
    for row in rows {
        let query = HistoryQuery {
            key_kind: Some(row.kind().into()),
            key_text: Some(row.text().into()),
            limit: 1,
            ..HistoryQuery::default()
        };
        match keeper.history(query).await {
            Ok(sets) => changes.push(RowHistory { row: row.to_string(), last: sets.first().map(last_change) }),
            Err(error) => {
                changes_trouble = Some(error.to_string());
                break;
            }
        }
    }
    Answer { explanation, forwards, changes, changes_left_out, changes_trouble }
}

/// The rows that an explanation speaks of, each once.
fn rows(explanation: &Explanation) -> Vec<RowKey> {
    let of_place = |place: &Place| place.records.iter().flat_map(|made| made.rows.clone()).collect::<Vec<_>>();
    let of_note = |note: &Note| note.rows.clone();
    let all = explanation.places.iter().flat_map(of_place).chain(explanation.notes.iter().flat_map(of_note));
    let mut out: Vec<RowKey> = Vec::new();
    for row in all {
        if !out.contains(&row) {
            out.push(row);
        }
    }
    out
}

fn last_change(set: &ChangeSet) -> LastChange {
    LastChange {
        serial: set.serial,
        when: clock::text(set.author.when_ms),
        who: set.author.who.clone(),
        why: set.author.why.clone(),
        what: set.rows.iter().flat_map(was).collect(),
    }
}

/// What a change did, in words: what was, since what is stands in the explanation.
fn was(change: &RowChange) -> Vec<String> {
    match (&change.old, &change.new) {
        (None, _) => vec!["added".into()],
        (Some(_), None) => vec!["removed".into()],
        (Some(old), Some(new)) => {
            let (old, new) = (fields(old), fields(new));
            let gone = new.keys().filter(|key| !old.contains_key(*key));
            let differs = old.keys().chain(gone).filter(|key| old.get(*key) != new.get(*key));
            let verb = |key: &str| if key.ends_with('s') { "were" } else { "was" };
            differs.map(|key| format!("{key} {} {}", verb(key), word(key, old.get(key)))).collect()
        }
    }
}

fn fields(row: &Row) -> Map<String, Value> {
    match serde_json::from_slice(&row.encode()) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// A field's value in words. Fields at their default are left out of the encoding.
fn word(key: &str, value: Option<&Value>) -> String {
    match (key, value) {
        ("state", None) => "running".into(),
        ("scope", None) => "all".into(),
        ("proto", None) => "tcp".into(),
        (_, None) => "not set".into(),
        ("tags", Some(Value::Array(pairs))) => {
            let pair = |pair: &Value| match pair.as_array().map(Vec::as_slice) {
                Some([key, value]) => format!("{}={}", plain(key), plain(value)),
                _ => plain(pair),
            };
            pairs.iter().map(pair).collect::<Vec<_>>().join(", ")
        }
        (_, Some(value)) => plain(value),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use inventory::{Author, Host, HostKey, HostState};

    use super::*;

    fn host(ip: u8, roles: &[&str], state: HostState) -> Row {
        Row::Host(Arc::new(Host {
            key: HostKey { product: "acme".into(), name: "web01".into(), zone: "us-east-1a".into() },
            region: "us-east-1".into(),
            private_ip: [10, 0, 0, ip].into(),
            public_ip: None,
            ipv6: None,
            roles: roles.iter().map(|role| (*role).into()).collect(),
            groups: Box::default(),
            tags: Box::new([("env".into(), "prod".into())]),
            state,
            source: "api".into(),
        }))
    }

    #[test]
    fn a_change_says_what_was() {
        let before = host(1, &["cache", "web"], HostState::Running);
        let after = host(2, &["web"], HostState::Draining);
        let change = |old: Option<&Row>, new: Option<&Row>| RowChange { old: old.cloned(), new: new.cloned() };
        assert_eq!(was(&change(None, Some(&after))), ["added"]);
        let mut changed = was(&change(Some(&before), Some(&after)));
        changed.sort();
        assert_eq!(changed, ["private_ip was 10.0.0.1", "roles were cache, web", "state was running"]);
    }

    #[test]
    fn tags_are_pairs() {
        let Some(Value::Array(tags)) = fields(&host(1, &[], HostState::Running)).remove("tags") else { panic!() };
        assert_eq!(word("tags", Some(&Value::Array(tags))), "env=prod");
        assert_eq!(word("public_ip", None), "not set");
    }

    #[tokio::test]
    async fn rows_carry_their_last_change() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::open(dir.path(), Arc::new(|_, _, _| Vec::new())).unwrap().keeper;
        let author = |why: &str| Author { who: "alice via socket".into(), when_ms: 1_321_000_000_000, why: why.into() };
        for (ip, why) in [(1, "new"), (2, "moved")] {
            let edits = vec![inventory::Edit::Put(host(ip, &[], HostState::Running))];
            keeper.propose(inventory::Proposal { author: author(why), edits }).await.unwrap();
        }
        let state = keeper.state();
        let settings = dns::generate::Settings {
            region: "us-east-1".into(),
            product: "acme".into(),
            ttl: 60,
            negative_ttl: 30,
            own_addresses: Vec::new(),
        };
        let zones = dns::make::Maker::new(settings.clone()).build(&state);
        let name = dns::explain::complete(&state, &zones, &settings, "web01").unwrap();
        let explanation = dns::explain::explain(&state, &zones, &settings, &name);
        let answer = with_changes(&keeper, explanation, true).await;
        let last = LastChange {
            serial: 2,
            when: "2011-11-11T08:26:40Z".into(),
            who: "alice via socket".into(),
            why: "moved".into(),
            what: vec!["private_ip was 10.0.0.1".into()],
        };
        assert_eq!(answer.changes, [RowHistory { row: "host web01.us-east-1a.acme".into(), last: Some(last) }]);
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!(serde_json::from_value::<Answer>(json).unwrap(), answer);
        keeper.close().await;
    }
}
