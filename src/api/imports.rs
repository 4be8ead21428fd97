//! /v1/hosts:import: many rows at once, as a whole or not at all.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Query, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use compact_str::CompactString;
use inventory::{
    Edit, Preview, Proposal,
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
    let count = rows.len();
    let source = CompactString::from(format!("import:{}", options.format));
    let edits = match options.sync {
        true => vec![Edit::Sync { source, rows }],
        false => rows.into_iter().map(Edit::Put).collect(),
    };
    let proposal = Proposal { author, edits };
    if options.dry_run {
        return Ok(Json(Trial::of(app.keeper.preview(proposal).await?, count)).into_response());
    }
    Ok(reply(app.change(proposal).await?, false))
}

impl Trial {
    /// The keeper's judgement of an import of `count` rows.
    fn of(preview: Preview, count: usize) -> Self {
        let mut trial = Self { refused: preview.refused, held: preview.held, ..Self::default() };
        for change in &preview.changes {
            let verb = match (&change.old, &change.new) {
                (None, _) => {
                    trial.added += 1;
                    "add"
                }
                (Some(_), Some(_)) => {
                    trial.changed += 1;
                    "change"
                }
                (Some(_), None) => {
                    trial.removed += 1;
                    "remove"
                }
            };
            if let Some(key) = change.key().filter(|_| trial.first_rows.len() < ROWS_SHOWN) {
                trial.first_rows.push(format!("{verb} {key}"));
            }
        }
        // Rows that do not fit at all change nothing and leave nothing.
        if trial.refused.is_empty() || !preview.changes.is_empty() {
            trial.unchanged = count.saturating_sub(trial.added + trial.changed);
        }
        trial
    }
}
