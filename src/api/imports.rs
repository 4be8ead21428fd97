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
    Edit, Proposal, Row, RowKey, State,
    import::{self, Format},
};
use serde::{Deserialize, Serialize};

use super::{App, author, error::ApiError, forms, peer::Peer, reply};

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
        let synced = options.sync.then_some(source.as_str());
        return Ok(Json(trial(&app.keeper.state(), &rows, synced)).into_response());
    }
    let edits = match options.sync {
        true => vec![Edit::Sync { source, rows }],
        false => rows.into_iter().map(Edit::Put).collect(),
    };
    Ok(reply(app.change(Proposal { author, edits }).await?, false))
}

/// What `rows` would change in `state`; with `synced`, what that source has and `rows` lack goes.
fn trial(state: &State, rows: &[Row], synced: Option<&str>) -> Trial {
    let mut trial = Trial::default();
    let mut note = |verb: &str, key: &RowKey| {
        if trial.first_rows.len() < ROWS_SHOWN {
            trial.first_rows.push(format!("{verb} {key}"));
        }
    };
    let (mut added, mut changed, mut unchanged, mut removed) = (0, 0, 0, 0);
    let mut kept = BTreeSet::new();
    for row in rows {
        let key = row.key();
        match state.get(&key) {
            None => {
                added += 1;
                note("add", &key);
            }
            Some(old) if old == *row => unchanged += 1,
            Some(_) => {
                changed += 1;
                note("change", &key);
            }
        }
        kept.insert(key);
    }
    if let Some(source) = synced {
        for row in state.rows().filter(|row| row.source() == source) {
            let key = row.key();
            if !kept.contains(&key) {
                removed += 1;
                note("remove", &key);
            }
        }
    }
    Trial { added, changed, unchanged, removed, ..trial }
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
        let found = trial(&state, &rows, Some("import:csv"));
        assert_eq!((found.added, found.changed, found.unchanged, found.removed), (1, 1, 1, 1));
        assert_eq!(
            found.first_rows,
            ["change host b.us-east-1a.acme", "add host d.us-east-1a.acme", "remove host c.us-east-1a.acme"]
        );
        assert_eq!(trial(&state, &rows, None).removed, 0);
    }
}
