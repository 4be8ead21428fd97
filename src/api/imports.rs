//! /v1/hosts:import: many rows at once, as a whole or not at all.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Extension, Json,
    extract::{Query, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use compact_str::CompactString;
use inventory::{
    Author, ChangeSet, Edit, Proposal, Row, RowChange, RowKey, State, guard,
    import::{self, Format},
};
use serde::{Deserialize, Serialize};

use super::{App, author, error::ApiError, forms, peer::Peer, reply};
use crate::names;

/// Rows that a trial names one by one.
const ROWS_SHOWN: usize = 100;

/// How to import.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    format: String,
    /// Also remove what earlier imports of the format brought and this one lacks.
    #[serde(default)]
    sync: bool,
    /// Say what would change, and change nothing.
    #[serde(default)]
    dry_run: bool,
    /// Name of the file, for messages.
    file: Option<String>,
}

/// What an import would do.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trial {
    /// Rows that are new.
    pub added: usize,
    /// Rows that are there with other values.
    pub changed: usize,
    /// Rows that are there already.
    pub unchanged: usize,
    /// Rows that `--sync` would remove.
    pub removed: usize,
    /// The first of the rows that change, each with its verb.
    pub first_rows: Vec<String>,
    /// Why it would be refused as things are now; empty: it would not.
    #[serde(default)]
    pub refused: Vec<String>,
    /// Why it would be held until a person accepts it; empty: it would not.
    #[serde(default)]
    pub held: Vec<String>,
}

/// POST /v1/hosts:import?format=&sync=&dry_run=
pub(crate) async fn import(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    options: Result<Query<Options>, QueryRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let Query(options) = options?;
    let format: Format = options.format.parse().map_err(|e: import::UnknownFormat| ApiError::bad(e.to_string()))?;
    let author = author(peer, &headers, None).await?;
    let file = options.file.clone().unwrap_or_else(|| "import".into());
    let defaults = forms::defaults(app.product.as_ref())?;
    // A million rows take a second or two; that must not hold up a thread that serves others.
    let parse = move || match std::str::from_utf8(&body) {
        Ok(text) => import::parse(format, text, &file, &defaults).map_err(forms::faulty),
        Err(e) => Err(ApiError::bad(format!("{file} is no UTF-8 text: octet {} is wrong", e.valid_up_to()))),
    };
    let rows = tokio::task::spawn_blocking(parse).await;
    let lost = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the import was given up");
    let rows = rows.map_err(lost)??;
    let source = CompactString::from(format!("import:{}", options.format));
    if options.dry_run {
        let (state, product) = (app.keeper.state(), app.product.clone().unwrap_or_default());
        let look = move || {
            let (mut trial, changes) = trial(&state, &rows, &source, options.sync);
            judge(&mut trial, &state, changes, author, &product);
            trial
        };
        return Ok(Json(tokio::task::spawn_blocking(look).await.map_err(lost)?).into_response());
    }
    let edits = match options.sync {
        true => vec![Edit::Sync { source, rows }],
        false => rows.into_iter().map(Edit::Put).collect(),
    };
    Ok(reply(app.change(Proposal { author, edits }).await?, false))
}

/// What `rows` of `source` would change in `state`; with `sync`, what the source has and `rows` lack goes.
fn trial(state: &State, rows: &[Row], source: &str, sync: bool) -> (Trial, Vec<RowChange>) {
    let (mut trial, mut changes, mut kept) = (Trial::default(), Vec::new(), BTreeSet::new());
    for row in rows {
        let key = row.key();
        let old = state.get(&key);
        match &old {
            None => {
                trial.added += 1;
                trial.note("add", &key);
            }
            Some(old) if old == row => trial.unchanged += 1,
            Some(other) if other.source() != source => {
                trial.refuse(format!("{key} is defined by {} already; change or remove it there", other.source()));
            }
            Some(_) => {
                trial.changed += 1;
                trial.note("change", &key);
            }
        }
        if old.as_ref() != Some(row) {
            changes.push(RowChange { old, new: Some(row.clone()) });
        }
        kept.insert(key);
    }
    for row in state.rows().filter(|row| sync && row.source() == source) {
        let key = row.key();
        if !kept.contains(&key) {
            trial.removed += 1;
            trial.note("remove", &key);
            changes.push(RowChange { old: Some(row), new: None });
        }
    }
    (trial, changes)
}

/// Whether the changes would be refused or held, by the rules of a real import: rows, names, guard.
fn judge(trial: &mut Trial, state: &State, rows: Vec<RowChange>, author: Author, product: &str) {
    if rows.is_empty() || !trial.refused.is_empty() {
        return;
    }
    let position = state.position();
    let set = Arc::new(ChangeSet { epoch: position.epoch, serial: position.serial + 1, author, rows });
    let after = match state.apply(set.clone()) {
        Ok(after) => after,
        Err(conflicts) => return conflicts.iter().for_each(|conflict| trial.refuse(conflict.to_string())),
    };
    names::review(product, &after, &set).into_iter().for_each(|sentence| trial.refuse(sentence));
    if trial.refused.is_empty() {
        trial.held = guard::reasons(state, &after, &set).iter().map(ToString::to_string).collect();
    }
}

impl Trial {
    fn note(&mut self, verb: &str, key: &RowKey) {
        if self.first_rows.len() < ROWS_SHOWN {
            self.first_rows.push(format!("{verb} {key}"));
        }
    }

    fn refuse(&mut self, sentence: String) {
        if self.refused.len() < ROWS_SHOWN {
            self.refused.push(sentence);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use inventory::{Host, HostKey, HostState};

    use super::*;

    fn host(name: &str, last: u8) -> Row {
        let key = HostKey { product: "acme".into(), name: name.into(), zone: "us-east-1a".into() };
        Row::Host(Arc::new(Host {
            key,
            region: "us-east-1".into(),
            private_ip: [10, 0, 0, last].into(),
            public_ip: None,
            ipv6: None,
            roles: Box::default(),
            groups: Box::default(),
            tags: Box::default(),
            state: HostState::Running,
            source: "import:csv".into(),
        }))
    }

    #[test]
    fn a_trial_counts_and_names() {
        let state = State::from_rows(1, 1, 1, [host("a", 1), host("b", 2), host("c", 3)]).unwrap();
        let rows = [host("a", 1), host("b", 9), host("d", 4)];
        let (found, changes) = trial(&state, &rows, "import:csv", true);
        assert_eq!((found.added, found.changed, found.unchanged, found.removed), (1, 1, 1, 1));
        assert_eq!(
            found.first_rows,
            ["change host b.us-east-1a.acme", "add host d.us-east-1a.acme", "remove host c.us-east-1a.acme"]
        );
        assert_eq!(changes.len(), 3);
        assert_eq!(trial(&state, &rows, "import:csv", false).0.removed, 0);
    }

    fn judged(before: &[Row], rows: &[Row]) -> Trial {
        let state = State::from_rows(1, 1, 1, before.iter().cloned()).unwrap();
        let (mut found, changes) = trial(&state, rows, "import:csv", true);
        judge(&mut found, &state, changes, Author { who: "a".into(), when_ms: 1, why: String::new() }, "acme");
        found
    }

    #[test]
    fn a_trial_says_what_would_be_refused_or_held() {
        let fine = judged(&[host("a", 1)], &[host("a", 1), host("b", 2)]);
        assert_eq!((fine.refused, fine.held), (Vec::new(), Vec::new()));
        let refused = |before: &[Row], rows: &[Row]| judged(before, rows).refused.join(" ");
        let foreign = forms::with_source(host("a", 1), "file:hosts.toml");
        assert!(refused(&[foreign], &[host("a", 2)]).contains("defined by file:hosts.toml"));
        let other = forms::with_source(host("z", 1), "api");
        assert!(refused(&[other], &[host("a", 1)]).contains("10.0.0.1"));
        let before: Vec<Row> = (1..=4).map(|n| host(&format!("h{n}"), n)).collect();
        let held = judged(&before, &before[..1]).held;
        assert!(held[0].contains("it removes 3 of the 4 hosts"), "{held:?}");
    }
}
