//! /v1/grants: who may use what, where, until when, and why.
//!
//! Reading through HTTP needs the token like writing does: grants say where the keys to everything are.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, Query, rejection::PathRejection, rejection::QueryRejection},
    http::HeaderMap,
    response::Response,
};
use bytes::Bytes;
use compact_str::{CompactString, ToCompactString};
use inventory::{Edit, Grant, Proposal, Row, RowKey};
use serde::Deserialize;
use serde_json::Value;

use super::{App, Page, author, error::ApiError, forms, json, page_limit, peer::Peer, reply};

/// Which grants to list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// User or `@group`, as the grant names it.
    who: Option<CompactString>,
    limit: Option<usize>,
    /// Name of the last grant of the page before.
    after: Option<CompactString>,
}

/// GET /v1/grants
pub(crate) async fn list(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Page<Arc<Grant>>>, ApiError> {
    peer.may_read_access(&app.token, &headers)?;
    let Query(filter) = filter?;
    let limit = page_limit(filter.limit)?;
    let state = app.keeper.state();
    let wanted = |grant: &&Arc<Grant>| {
        filter.who.as_ref().is_none_or(|who| grant.who.contains(who))
            && filter.after.as_ref().is_none_or(|after| grant.name > *after)
    };
    Ok(Json(Page::cut(state.grants().filter(wanted).cloned(), limit, |grant| grant.name.to_string())))
}

/// POST /v1/grants: one grant, or a list that is applied as a whole.
pub(crate) async fn add(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let body: Value = json(&body)?;
    let items = match body {
        Value::Array(items) => items,
        item => vec![item],
    };
    // The reason belongs to the grant; the change gets it from the header.
    let author = author(peer, &headers, None).await?;
    let by = author.who.to_compact_string();
    let rows = forms::rows("grants", items, app.product.as_ref())?;
    let edits = rows.into_iter().map(|row| Edit::Add(given_by(row, &by))).collect();
    Ok(reply(app.change(Proposal { author, edits }).await?, true))
}

/// Who gives a grant through the API is known; nobody says it himself.
fn given_by(row: Row, by: &CompactString) -> Row {
    match row {
        Row::Grant(grant) => Row::Grant(Grant { by: by.clone(), ..Grant::clone(&grant) }.into()),
        other => other,
    }
}

/// DELETE /v1/grants/{name}
pub(crate) async fn remove(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    name: Result<Path<CompactString>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Path(name) = name?;
    if app.keeper.state().grant(&name).is_none() {
        return Err(ApiError::not_found(format!("there is no grant {name:?}; `gatehouse grants` lists them")));
    }
    let author = author(peer, &headers, None).await?;
    let edits = vec![Edit::Remove(RowKey::Grant(name))];
    Ok(reply(app.change(Proposal { author, edits }).await?, false))
}
