//! What the node says of itself: status, readiness, metrics, log level, explanations.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use axum::{
    Extension, Json,
    extract::{Query, rejection::QueryRejection},
    http::StatusCode,
    response::Response,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{App, error::ApiError, held::HeldView, json, typed};
use crate::{
    clock,
    logins::Logins,
    status::{self, Counts, Report, StoreTrouble},
};

/// The API in OpenAPI 3.1.
pub(crate) const OPENAPI: &str = include_str!("../openapi.json");

/// GET /v1/status
pub(crate) async fn status(Extension(app): Extension<Arc<App>>) -> Json<Report> {
    let state = app.keeper.state();
    let mut report = Report {
        facts: app.facts.clone(),
        now_ms: clock::now_ms(),
        phase: if app.shutdown.is_cancelled() { "draining" } else { "serving" }.into(),
        position: state.position(),
        changed_ms: state.history().next_back().map(|set| set.author.when_ms),
        counts: Counts {
            hosts: state.host_count(),
            roles: state.roles().count(),
            records: state.record_count(),
            products: state.products().count(),
            grants: state.grant_count(),
            entries: state.entry_count(),
        },
        sources: app.sources.all(),
        held: app.keeper.held().into_iter().map(HeldView::from).collect(),
        store: app.keeper.health().trouble.map(|t| StoreTrouble { text: t.text, since_ms: t.since_ms }),
        log_level: app.log.current(),
        dns: app.names.as_ref().map(|names| names.summary()),
        directory: app.logins.as_ref().map(|logins| logins.summary()),
        logs: app.logs.as_ref().map(|logs| logs.summary()),
        logs_stalls: app.logs.as_ref().map(|logs| logs.stalls()).unwrap_or_default(),
        directory_stalls: app.logins.as_ref().map(|logins| logins.stalls()).unwrap_or_default(),
        stalls: Vec::new(),
    };
    report.stalls = status::stalls(&report);
    Json(report)
}

/// GET /readyz
pub(crate) async fn ready(Extension(app): Extension<Arc<App>>) -> Result<&'static str, ApiError> {
    let unready = |why: String| Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, why));
    if app.shutdown.is_cancelled() {
        return unready("the node is stopping".into());
    }
    // A store that was empty at the start beside a source that was never applied would call every name and person unknown.
    if !app.unfilled.load(Relaxed) {
        return Ok("ready\n");
    }
    if let Some(source) = app.sources.all().into_iter().find(|s| s.ok_ms.is_none()) {
        let why = source.trouble.unwrap_or_else(|| "it is being read".into());
        return unready(format!("the store is new and {} was never applied: {why}", source.name));
    }
    if let Some(why) = app.logins.as_ref().and_then(Logins::never_in_step) {
        return unready(format!("the store is new and the directory was never received: {why}"));
    }
    // What was applied is in the state, but answers are made from it beside.
    let serial = app.keeper.state().position().serial;
    if app.is_behind(serial) {
        return unready(format!("the store is new and the answers of serial {serial} are being made"));
    }
    app.unfilled.store(false, Relaxed);
    Ok("ready\n")
}

/// GET /metrics
pub(crate) async fn metrics(Extension(app): Extension<Arc<App>>) -> Result<Response, ApiError> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &app.metrics)
        .map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics cannot be written: {e}")))?;
    Ok(typed("application/openmetrics-text; version=1.0.0; charset=utf-8", text))
}

/// GET /v1/openapi.json
pub(crate) async fn openapi() -> Response {
    typed("application/json", OPENAPI)
}

/// Body of the log level.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Level {
    /// Level or filter.
    pub level: String,
}

/// GET /v1/log-level
pub(crate) async fn log_level(Extension(app): Extension<Arc<App>>) -> Json<Level> {
    Json(Level { level: app.log.current() })
}

/// PUT /v1/log-level
pub(crate) async fn set_log_level(Extension(app): Extension<Arc<App>>, body: Bytes) -> Result<Json<Level>, ApiError> {
    let wanted: Level = json(&body)?;
    app.log.set(&wanted.level).map_err(ApiError::bad)?;
    tracing::info!(level = wanted.level, "the log level was changed");
    Ok(Json(wanted))
}

/// Which name to explain.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    name: String,
}

/// GET /v1/dns/explain?name=
pub(crate) async fn explain(
    Extension(app): Extension<Arc<App>>,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let Query(question) = question?;
    let names = app.names.as_ref().ok_or_else(|| ApiError::not_found("this node has no [dns] part"))?;
    names.explain(&app.keeper, &question.name).await.map(Json).map_err(ApiError::bad)
}
