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
use serde::{Deserialize, Serialize};

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

/// A page of changes.
#[derive(Debug, Serialize)]
pub(crate) struct Changes {
    #[serde(flatten)]
    page: Page<ChangeSet>,
    /// Rows of the last change that are not shown, because it has so many.
    #[serde(skip_serializing_if = "is_zero")]
    rows_left_out: usize,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// GET /v1/changes
pub(crate) async fn list(
    Extension(app): Extension<Arc<App>>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Changes>, ApiError> {
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
    let found = app.keeper.history_page(query).await.map_err(unreadable)?;
    // Only the last set can be cut, and only when nothing comes after it.
    let (last, serial) = (found.sets.len() <= limit, found.sets.last().map(|set| set.serial.to_string()));
    let mut page = Page::cut(found.sets.into_iter(), limit, |set| set.serial.to_string());
    if last && found.more {
        page.next = serial;
    }
    Ok(Json(Changes { page, rows_left_out: if last { found.cut } else { 0 } }))
}
