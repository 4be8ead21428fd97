//! /v1/records: the static records.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Query, rejection::QueryRejection},
    http::HeaderMap,
    response::Response,
};
use bytes::Bytes;
use compact_str::CompactString;
use inventory::{Edit, Proposal, Record, RecordKey, Row, RowKey};
use serde::Deserialize;
use serde_json::Value;

use super::{App, Page, author, error::ApiError, forms, json, page_limit, peer::Peer, reply};

/// Which records to list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    name: Option<String>,
    #[serde(rename = "type")]
    rtype: Option<String>,
    limit: Option<usize>,
    /// `name TYPE data` of the last record of the page before.
    after: Option<String>,
}

/// Which records to remove.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    name: String,
    #[serde(rename = "type")]
    rtype: Option<String>,
    data: Option<String>,
}

fn owner(name: &str) -> CompactString {
    let name = name.strip_suffix('.').unwrap_or(name);
    CompactString::from(name.to_ascii_lowercase())
}

fn is_type(record: &Record, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| record.key.rtype.eq_ignore_ascii_case(wanted))
}

/// GET /v1/records
pub(crate) async fn list(
    Extension(app): Extension<Arc<App>>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Page<Arc<Record>>>, ApiError> {
    let Query(filter) = filter?;
    let limit = page_limit(filter.limit)?;
    let after = filter.after.as_deref().map(cursor).transpose()?;
    let name = filter.name.as_deref().map(owner);
    let state = app.keeper.state();
    let wanted = |r: &&Arc<Record>| {
        name.as_ref().is_none_or(|n| r.key.name == *n)
            && is_type(r, filter.rtype.as_deref())
            && after.as_ref().is_none_or(|a| r.key > *a)
    };
    let records = state.records().filter(wanted).cloned();
    Ok(Json(Page::cut(records, limit, |r| RowKey::Record(r.key.clone()).text())))
}

fn cursor(text: &str) -> Result<RecordKey, ApiError> {
    let mut parts = text.splitn(3, ' ').map(CompactString::from);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some(rtype), Some(data)) => Ok(RecordKey { name, rtype, data }),
        _ => Err(ApiError::bad("after= is not what `next` of the page before said")),
    }
}

/// POST /v1/records: one record, or a list that is applied as a whole.
pub(crate) async fn add(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let mut body: Value = json(&body)?;
    let why = forms::take_why(&mut body);
    let items = match body {
        Value::Array(items) => items,
        item => vec![item],
    };
    let author = author(peer, &headers, why).await?;
    let edits = forms::rows("records", items, app.product.as_ref())?.into_iter().map(Edit::Add).collect();
    Ok(reply(app.keeper.propose(Proposal { author, edits }).await?.into(), true))
}

/// DELETE /v1/records?name=&type=&data=
pub(crate) async fn remove(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    target: Result<Query<Target>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(target) = target?;
    let data = canonical_data(&target, &app);
    let state = app.keeper.state();
    let found = state.records_at(&owner(&target.name)).filter(|r| is_type(r, target.rtype.as_deref()));
    let found = found.filter(|r| data.as_ref().is_none_or(|data| r.key.data == *data));
    let edits: Vec<Edit> = found.map(|r| Edit::Remove(RowKey::Record(r.key.clone()))).collect();
    if edits.is_empty() {
        let what = [Some(target.name), target.rtype, target.data].into_iter().flatten().collect::<Vec<_>>().join(" ");
        return Err(ApiError::not_found(format!("there is no static record {what}")));
    }
    let author = author(peer, &headers, None).await?;
    Ok(reply(app.keeper.propose(Proposal { author, edits }).await?.into(), false))
}

/// The data as records keep it, so that people need not type it in its one canonical form.
fn canonical_data(target: &Target, app: &App) -> Option<CompactString> {
    let (rtype, data) = (target.rtype.as_ref()?, target.data.as_ref()?);
    let item = serde_json::json!({ "name": target.name, "type": rtype, "data": data });
    let canonical = forms::rows("records", vec![item], app.product.as_ref()).ok().and_then(|rows| match rows.first() {
        Some(Row::Record(record)) => Some(record.key.data.clone()),
        _ => None,
    });
    canonical.or_else(|| Some(CompactString::from(data)))
}
