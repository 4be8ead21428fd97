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

/// Longest name of a zone in a source: the longest domain name.
const SOURCE_MAX: usize = 255;

/// Records of the same name that a refusal lists.
const HINTS_MAX: usize = 10;

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

/// Where the records of a request come from.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Origin {
    /// `zone:` and the name of a zone, for the records of a zone file.
    source: Option<CompactString>,
    /// Also remove what the same source brought earlier and this request lacks.
    #[serde(default)]
    sync: bool,
}

/// POST /v1/records: one record, or a list that is applied as a whole.
pub(crate) async fn add(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    origin: Result<Query<Origin>, QueryRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let Query(origin) = origin?;
    let mut body: Value = json(&body)?;
    let why = forms::take_why(&mut body);
    let items = match body {
        Value::Array(items) => items,
        item => vec![item],
    };
    let author = author(peer, &headers, why).await?;
    let edits = edits(forms::rows("records", items, app.product.as_ref())?, origin)?;
    Ok(reply(app.change(Proposal { author, edits }).await?, true))
}

fn edits(rows: Vec<Row>, origin: Origin) -> Result<Vec<Edit>, ApiError> {
    let Some(source) = origin.source else {
        return match origin.sync {
            true => Err(ApiError::bad("sync needs a source; otherwise it would remove every record of the API")),
            false => Ok(rows.into_iter().map(Edit::Add).collect()),
        };
    };
    let zone = source.strip_prefix("zone:").filter(|zone| !zone.is_empty() && zone.len() <= SOURCE_MAX);
    if zone.is_none() {
        return Err(ApiError::bad(format!(
            "source={source:?} is not allowed here; write zone: and the name of a zone"
        )));
    }
    let rows = rows.into_iter().map(|row| forms::with_source(row, &source));
    Ok(match origin.sync {
        true => vec![Edit::Sync { rows: rows.collect(), source }],
        false => rows.map(Edit::Put).collect(),
    })
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
        let there = state.records_at(&owner(what.split(' ').next().unwrap_or_default()));
        let there =
            there.map(|r| format!("there is {}", RowKey::Record(r.key.clone()).text())).take(HINTS_MAX).collect();
        return Err(ApiError::not_found(format!("there is no static record {what}")).with_details(there));
    }
    let author = author(peer, &headers, None).await?;
    Ok(reply(app.change(Proposal { author, edits }).await?, false))
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
