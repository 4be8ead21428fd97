//! /v1/held: changes that wait for a person.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, rejection::PathRejection},
    http::HeaderMap,
    response::Response,
};
use inventory::Held;
use serde::{Deserialize, Serialize};

use super::{App, Page, author, error::ApiError, forms, peer::Peer, reply};

/// A held change as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldView {
    /// Number for `accept`.
    pub id: u64,
    /// Who proposed it.
    pub who: String,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub when_ms: u64,
    /// The reason that the author gave.
    pub why: String,
    /// Why it is held.
    pub reasons: Vec<String>,
    /// How many rows it changes.
    pub rows: usize,
    /// What to do.
    pub remedy: String,
}

impl From<Held> for HeldView {
    fn from(held: Held) -> Self {
        let remedy = forms::remedy(held.id);
        let author = held.author;
        let (who, when_ms, why) = (author.who, author.when_ms, author.why);
        Self { id: held.id, who, when_ms, why, reasons: held.reasons, rows: held.rows, remedy }
    }
}

/// GET /v1/held
pub(crate) async fn list(Extension(app): Extension<Arc<App>>) -> Json<Page<HeldView>> {
    Json(Page { items: app.keeper.held().into_iter().map(HeldView::from).collect(), next: None })
}

/// POST /v1/held/{id}/accept
pub(crate) async fn accept(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    id: Result<Path<u64>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = known(&app, id?.0)?;
    let author = author(peer, &headers, None).await?;
    let outcome = app.keeper.accept(id, author).await?;
    app.answered(&outcome).await;
    Ok(reply(outcome.into(), false))
}

/// POST /v1/held/{id}/discard
pub(crate) async fn discard(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    id: Result<Path<u64>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<serde_json::Value>, ApiError> {
    let id = known(&app, id?.0)?;
    let author = author(peer, &headers, None).await?;
    app.keeper.discard(id, author).await?;
    Ok(Json(serde_json::json!({ "discarded": id })))
}

fn known(app: &App, id: u64) -> Result<u64, ApiError> {
    let held = app.keeper.held();
    match held.iter().any(|h| h.id == id) {
        true => Ok(id),
        false => Err(ApiError::not_found(format!("no change {id} is held; `gatehouse accept` lists those that are"))),
    }
}
