//! /v1/hosts: the hosts.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, Query, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use bytes::Bytes;
use compact_str::CompactString;
use inventory::{Author, Edit, Host, HostKey, HostState, Proposal, Row, RowKey};
use serde::Deserialize;
use serde_json::Value;

use super::{
    App, Page, author,
    error::ApiError,
    forms::{self, HostView, host_key},
    json, page_limit,
    peer::Peer,
    reply,
};

/// How often a change of one host is made again because others came first; then 409 says so.
const ATTEMPTS: usize = 8;

/// Which hosts to list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    product: Option<CompactString>,
    region: Option<CompactString>,
    zone: Option<CompactString>,
    role: Option<CompactString>,
    state: Option<HostState>,
    /// Beginning of the name.
    name: Option<CompactString>,
    limit: Option<usize>,
    /// `name.zone.product` of the last host of the page before.
    after: Option<String>,
}

impl Filter {
    fn admits(&self, host: &Host) -> bool {
        // Labels are kept in lower case, and people ask for them as they like.
        let same = |wanted: &Option<CompactString>, have: &CompactString| {
            wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(have))
        };
        same(&self.product, &host.key.product)
            && same(&self.region, &host.region)
            && same(&self.zone, &host.key.zone)
            && self.role.as_ref().is_none_or(|role| host.roles.iter().any(|have| have.eq_ignore_ascii_case(role)))
            && self.state.is_none_or(|state| host.state == state)
            && self.name.as_ref().is_none_or(|prefix| host.key.name.starts_with(prefix.as_str()))
    }
}

/// GET /v1/hosts
pub(crate) async fn list(
    Extension(app): Extension<Arc<App>>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Page<HostView>>, ApiError> {
    let Query(filter) = filter?;
    let limit = page_limit(filter.limit)?;
    let after = filter.after.as_deref().map(|text| host_key(text, app.product.as_ref())).transpose()?;
    let state = app.keeper.state();
    let hosts = state.hosts().filter(|h| after.as_ref().is_none_or(|a| h.key > *a)).filter(|h| filter.admits(h));
    let page = Page::cut(hosts, limit, |h| RowKey::Host(h.key.clone()).text());
    Ok(Json(Page { items: page.items.into_iter().map(|h| HostView::from(&**h)).collect(), next: page.next }))
}

/// GET /v1/hosts/{host}
pub(crate) async fn show(
    Extension(app): Extension<Arc<App>>,
    Path(host): Path<String>,
) -> Result<Json<HostView>, ApiError> {
    let key = host_key(&host, app.product.as_ref())?;
    Ok(Json(HostView::from(&*existing(&app, &key)?)))
}

/// POST /v1/hosts
pub(crate) async fn add(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let mut item: Value = json(&body)?;
    let author = author(peer, &headers, forms::take_why(&mut item)).await?;
    let row = one(item, &app)?;
    let key = row.key();
    if let Some(present) = app.keeper.state().get(&key) {
        let text = match present.source().strip_prefix("file:") {
            Some(file) => format!("{key} is there already, defined in {file}; change it there"),
            None => format!("{key} is there already; `gatehouse host set` changes it"),
        };
        return Err(ApiError::new(StatusCode::CONFLICT, text));
    }
    let written = app.change(Proposal { author, edits: vec![Edit::Add(row)] }).await?;
    Ok(reply(written, true))
}

/// PUT /v1/hosts/{host}: the host as the body says, whether it is there already or not.
pub(crate) async fn put(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Path(host): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let key = host_key(&host, app.product.as_ref())?;
    let mut item: Value = json(&body)?;
    let author = author(peer, &headers, forms::take_why(&mut item)).await?;
    let row = one(named(item, &key)?, &app)?;
    let make = |present: Option<&Host>| Ok(owned(row.clone(), present));
    let (written, created) = merged(&app, &key, &author, make).await?;
    Ok(reply(written, created))
}

/// PATCH /v1/hosts/{host}: a merge patch (RFC 7396); name, zone and product stay.
pub(crate) async fn patch(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Path(host): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let key = host_key(&host, app.product.as_ref())?;
    let mut patch: Value = json(&body)?;
    let author = author(peer, &headers, forms::take_why(&mut patch)).await?;
    let Value::Object(patch) = patch else { return Err(ApiError::bad("the body is not a JSON object")) };
    let make = |present: Option<&Host>| {
        let Some(present) = present else { return Err(missing(&app, &key)) };
        let Ok(Value::Object(mut fields)) = serde_json::to_value(HostView::from(present)) else {
            return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the host cannot be written as JSON"));
        };
        forms::merge(&mut fields, patch.clone());
        Ok(owned(one(named(Value::Object(fields), &key)?, &app)?, Some(present)))
    };
    let (written, _) = merged(&app, &key, &author, make).await?;
    Ok(reply(written, false))
}

/// Changes one host to what `make` makes of it; tells whether it was new. The writer accepts only what was made of the
/// host as it is then. When another change came first, it is made again from what that one left.
async fn merged(
    app: &App,
    key: &HostKey,
    author: &Author,
    make: impl Fn(Option<&Host>) -> Result<Row, ApiError>,
) -> Result<(forms::Written, bool), ApiError> {
    let mut attempt = 1;
    loop {
        let present = app.keeper.state().host(key).cloned();
        let new = make(present.as_deref())?;
        let edit = match &present {
            Some(old) => Edit::Replace { old: Row::Host(old.clone()), new },
            None => Edit::Add(new),
        };
        match app.change(Proposal { author: author.clone(), edits: vec![edit] }).await {
            // What made it stale was published before the refusal came back.
            Err(error) if error.status == StatusCode::CONFLICT && attempt < ATTEMPTS => {
                if app.keeper.state().host(key) == present.as_ref() {
                    return Err(error);
                }
                attempt += 1;
            }
            other => return other.map(|written| (written, present.is_none())),
        }
    }
}

/// DELETE /v1/hosts/{host}
pub(crate) async fn remove(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Path(host): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let key = host_key(&host, app.product.as_ref())?;
    existing(&app, &key)?;
    let author = author(peer, &headers, None).await?;
    let edits = vec![Edit::Remove(RowKey::Host(key))];
    Ok(reply(app.change(Proposal { author, edits }).await?, false))
}

/// The host, or 404.
fn existing(app: &App, key: &HostKey) -> Result<Arc<Host>, ApiError> {
    app.keeper.state().host(key).cloned().ok_or_else(|| missing(app, key))
}

/// 404 with a hint at the namesakes.
fn missing(app: &App, key: &HostKey) -> ApiError {
    let state = app.keeper.state();
    let namesakes: Vec<String> = state.hosts_named(&key.product, &key.name).map(|h| h.short()).collect();
    let hint = match namesakes.is_empty() {
        true => String::new(),
        false => format!("; there is {}", namesakes.join(", ")),
    };
    ApiError::not_found(format!("there is no host {}.{} of product {}{hint}", key.name, key.zone, key.product))
}

/// The one row that a body makes.
fn one(item: Value, app: &App) -> Result<Row, ApiError> {
    let rows = forms::rows("hosts", vec![item], app.product.as_ref())?;
    rows.into_iter().next().ok_or_else(|| ApiError::bad("the body holds no host"))
}

/// A host that an import brought stays the import's, so that the next import may change it again.
fn owned(row: Row, present: Option<&Host>) -> Row {
    match present {
        Some(host) => forms::with_source(row, &host.source),
        None => row,
    }
}

/// The body with the names from the path; names in the body must be the same.
fn named(mut item: Value, key: &HostKey) -> Result<Value, ApiError> {
    let fields = item.as_object_mut().ok_or_else(|| ApiError::bad("the body is not a JSON object"))?;
    for (field, label) in [("name", &key.name), ("zone", &key.zone), ("product", &key.product)] {
        match fields.insert(field.into(), Value::String(label.to_string())) {
            Some(Value::String(other)) if !other.eq_ignore_ascii_case(label) => {
                let text = format!(
                    "{field} is {other:?} in the body but {label:?} in the path; \
                     a host is renamed by removing it and adding it"
                );
                return Err(ApiError::bad(text));
            }
            _ => {}
        }
    }
    Ok(item)
}
