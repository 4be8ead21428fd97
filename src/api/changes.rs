//! /v1/changes: who changed what, when, why, and what it was before.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::{
    Extension, Json,
    extract::{Query, rejection::QueryRejection},
};
use inventory::{
    ChangeSet, RowKey,
    keeper::{HistoryError, HistoryQuery},
};
use serde::Deserialize;

use super::{App, Page, error::ApiError, forms::host_key, page_limit};

/// Changes of one page at most.
const CHANGES_MAX: usize = 500;

/// Which changes to list, the latest first.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// Only changes of this host.
    host: Option<String>,
    limit: Option<usize>,
    /// Only changes before this serial.
    before: Option<u64>,
}

/// GET /v1/changes
pub(crate) async fn list(
    Extension(app): Extension<Arc<App>>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Page<ChangeSet>>, ApiError> {
    let Query(filter) = filter?;
    let limit = page_limit(filter.limit)?;
    let host = filter.host.as_deref().map(|text| host_key(text, app.product.as_ref())).transpose()?;
    let key = host.map(RowKey::Host);
    let limit = limit.min(CHANGES_MAX);
    let query = HistoryQuery {
        key_kind: key.as_ref().map(|key| key.kind().into()),
        key_text: key.as_ref().map(|key| key.text().into()),
        since_serial: None,
        before_serial: filter.before,
        limit: limit + 1,
    };
    let unreadable = |e: HistoryError| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, e.to_string());
    let sets = app.keeper.history(query).await.map_err(unreadable)?;
    Ok(Json(Page::cut(sets.into_iter(), limit, |set| set.serial.to_string())))
}
