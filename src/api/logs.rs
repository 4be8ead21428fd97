//! /v1/logs: what comes in, what is kept, where it goes, and who is silent. What messages say is for those who may
//! read about access: everybody on this machine, and holders of the token.

use std::{
    collections::VecDeque,
    net::IpAddr,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, Query, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use logrelay::{
    filter::{Context, Filter},
    hosts::Silence,
    message::{Flags, Message},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{App, error::ApiError, peer::Peer};
use crate::{
    clock,
    logs::{Logs, show},
};

/// Messages in one answer of a search at most.
const FOUND_MAX: usize = 100_000;
/// Octets of messages, as JSON, in one answer of a search at most; for a moment they are there twice.
const FOUND_OCTETS_MAX: usize = 64 << 20;
/// Searches at once.
const SEARCHES_MAX: usize = 2;
/// Searches that go on.
static SEARCHES: Semaphore = Semaphore::const_new(SEARCHES_MAX);

/// The relay, for a peer that may read what messages say.
fn part<'a>(app: &'a App, peer: Peer, headers: &HeaderMap) -> Result<&'a Logs, ApiError> {
    peer.may_read_access(&app.token, headers)?;
    app.logs.as_ref().ok_or_else(|| ApiError::not_found("this node has no [logrelay] part"))
}

/// A filter of a request.
fn filter(text: Option<&str>) -> Result<Option<Filter>, ApiError> {
    let mut files = |path: &str| Err(format!("{path} is not read for a request; name the values in the filter"));
    text.map(|text| Filter::parse(text, &mut files)).transpose().map_err(|e| ApiError::bad(format!("filter: {e}")))
}

/// What is watched for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Watched {
    filter: Option<String>,
}

/// GET /v1/logs/tail: one JSON object per line, until the client goes away. `{"missed": N}` says that it was too slow.
pub(crate) async fn tail(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    watched: Result<Query<Watched>, QueryRejection>,
) -> Result<Response, ApiError> {
    let logs = part(&app, peer, &headers)?;
    let Query(watched) = watched?;
    let filter = filter(watched.filter.as_deref())?;
    let busy = || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too many are watching already; end one of them");
    let watch = logs.0.watch().ok_or_else(busy)?;
    let shutdown = app.shutdown.clone();
    let lines = stream::unfold((watch, filter, shutdown), |(mut watch, filter, shutdown)| async move {
        loop {
            let batch = tokio::select! {
                () = shutdown.cancelled() => return None,
                batch = watch.next() => batch?,
            };
            let mut text = String::new();
            if let missed @ 1.. = watch.missed() {
                text.push_str(&format!("{}\n", json!({ "missed": missed })));
            }
            for message in batch.records().filter_map(Message::decode).filter(|m| takes(filter.as_ref(), m)) {
                text.push_str(&show::json(&message).to_string());
                text.push('\n');
            }
            if !text.is_empty() {
                return Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), (watch, filter, shutdown)));
            }
        }
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

fn takes(filter: Option<&Filter>, message: &Message<'_>) -> bool {
    let context = Context { had_been_silent: false, now_us: message.received_us };
    filter.is_none_or(|filter| filter.matches(message, &context))
}

/// What is searched for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    pattern: Option<String>,
    filter: Option<String>,
    since: String,
    until: Option<String>,
    limit: Option<usize>,
}

/// GET /v1/logs/grep: the newest messages that fit, oldest first.
pub(crate) async fn grep(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, ApiError> {
    let logs = part(&app, peer, &headers)?;
    let Query(wanted) = wanted?;
    let filter = filter(wanted.filter.as_deref())?;
    let pattern = wanted.pattern.as_deref().map(logrelay::filter::pattern).transpose().map_err(ApiError::bad)?;
    let time = |text: &str| clock::ago(text).or_else(|_| clock::parse(text)).map_err(ApiError::bad);
    let us = |ms: u64| i64::try_from(ms.saturating_mul(1000)).unwrap_or(i64::MAX);
    let (from, to) = (us(time(&wanted.since)?), wanted.until.as_deref().map(time).transpose()?.map_or(i64::MAX, us));
    let limit = wanted.limit.unwrap_or(10_000).min(FOUND_MAX);
    let spool = logs.0.spool().clone();
    let busy =
        || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "two searches go on already; try again when one is done");
    let place = SEARCHES.try_acquire().map_err(|_| busy())?;
    // Whoever asked may go away; then nobody needs the answer.
    let gone = Arc::new(AtomicBool::new(false));
    let _leaving = Leaving(gone.clone());
    let search = tokio::task::spawn_blocking(move || {
        let _place = place;
        let (mut found, mut octets, mut left_out) = (VecDeque::<Box<str>>::new(), 0, 0u64);
        let result = spool.scan(from, to, &mut |message| {
            // What is not shown must not be found either.
            let text = if message.flags.has(Flags::REWRITTEN) { message.message } else { message.raw };
            if takes(filter.as_ref(), message) && pattern.as_ref().is_none_or(|p| p.is_match(text)) {
                // As text it takes a fraction of what it takes as a value, and what it takes is known.
                let shown = show::json(message).to_string().into_boxed_str();
                octets += shown.len();
                found.push_back(shown);
                while found.len() > limit || octets > FOUND_OCTETS_MAX {
                    left_out += 1;
                    octets -= found.pop_front().map_or(octets, |gone| gone.len());
                }
            }
            if gone.load(Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        result.map(|_| answer(found, left_out))
    });
    let found = search
        .await
        .map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the search failed: {e}")))?;
    found
        .map(|text| ([(header::CONTENT_TYPE, "application/json")], text).into_response())
        .map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the spool cannot be read: {e}")))
}

/// The items, oldest first, and how many older ones there were.
fn answer(items: VecDeque<Box<str>>, left_out: u64) -> String {
    let octets: usize = items.iter().map(|item| item.len() + 1).sum();
    let mut text = String::with_capacity(octets + 64);
    text.push_str("{\"items\":[");
    for (number, item) in items.into_iter().enumerate() {
        text.push_str(if number > 0 { "," } else { "" });
        text.push_str(&item);
    }
    text.push_str(&format!("],\"left_out\":{left_out}}}"));
    text
}

/// Says that nobody waits for an answer any more.
struct Leaving(Arc<AtomicBool>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// GET /v1/logs/silent
pub(crate) async fn silent(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let relay = part(&app, peer, &headers)?.0.clone();
    let review = tokio::task::spawn_blocking(move || relay.silence()).await;
    let rows =
        review.map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the review failed: {e}")))?;
    let now_us = clock::now_us();
    let items: Vec<Value> = rows.iter().map(|row| silence(row, now_us)).collect();
    Ok(Json(json!({ "items": items })))
}

fn silence(row: &Silence, now_us: i64) -> Value {
    let ago_s = |us: i64| now_us.saturating_sub(us).max(0) / 1_000_000;
    json!({
        "name": row.who.to_string(),
        "state": row.state.as_str(),
        "since": show::time(row.since_us),
        "seen": row.last_us.map(show::time),
        "seen_ago_s": row.last_us.map(ago_s),
        "expected_s": row.expected_us.map(|us| us / 1_000_000),
        "received": row.received,
        "shed": row.shed,
        "formerly": row.formerly.as_ref().map(ToString::to_string),
    })
}

/// What is to be explained.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    line: String,
    from: Option<IpAddr>,
    source: Option<String>,
}

/// GET /v1/logs/explain
pub(crate) async fn explain(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    line: Result<Query<Line>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let logs = part(&app, peer, &headers)?;
    let Query(line) = line?;
    let explanation = logs.0.explain(line.line.as_bytes(), line.from, line.source.as_deref()).map_err(ApiError::bad)?;
    let mut value = serde_json::to_value(&explanation).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("message".into(), explanation.with(show::json));
        fields.insert("text".into(), explanation.to_string().into());
    }
    Ok(Json(value))
}

/// GET /v1/logs/spool
pub(crate) async fn spool(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let logs = part(&app, peer, &headers)?;
    Ok(Json(serde_json::to_value(logs.0.spool().report()).unwrap_or_default()))
}

/// GET /v1/logs/destinations
pub(crate) async fn destinations(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let logs = part(&app, peer, &headers)?;
    Ok(Json(json!({ "items": logs.0.report().destinations })))
}

/// POST /v1/logs/destinations/{name}/pause
pub(crate) async fn pause(
    Extension(app): Extension<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    set_paused(&app, &name, true)
}

/// POST /v1/logs/destinations/{name}/resume
pub(crate) async fn resume(
    Extension(app): Extension<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    set_paused(&app, &name, false)
}

fn set_paused(app: &App, name: &str, paused: bool) -> Result<Json<Value>, ApiError> {
    let logs = app.logs.as_ref().ok_or_else(|| ApiError::not_found("this node has no [logrelay] part"))?;
    match logs.0.pause(name, paused) {
        Some(true) => Ok(Json(json!({ "name": name, "paused": paused }))),
        Some(false) => Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the destination {name:?} is too busy to be told; try again"),
        )),
        None => Err(ApiError::not_found(format!("there is no destination {name:?}; /v1/logs/destinations lists them"))),
    }
}
