//! The HTTP API: one router for the control socket and for `[admin] listen`.
//!
//! Everything below /v1 is JSON and is described in `openapi.json`. Whoever is not allowed to write
//! is told so before the body is read. Until the store is open, every path but /healthz answers
//! 503 with the reason.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Request, State},
    http::{Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use bytes::Bytes;
use compact_str::CompactString;
use inventory::{Author, Keeper, Outcome, Proposal};
use prometheus_client::registry::Registry;

mod access;
pub(crate) mod changes;
pub(crate) mod counts;
pub(crate) mod error;
pub(crate) mod forms;
mod grants;
pub(crate) mod held;
pub(crate) mod hosts;
pub(crate) mod imports;
mod live;
mod logs;
mod patience;
pub(crate) mod peer;
pub(crate) mod records;
pub(crate) mod serve;
mod slots;
#[cfg(test)]
mod tests;

use counts::Counts;
use error::ApiError;
use peer::{Peer, Token};

use crate::{
    clock, logging::LogLevel, logins::Logins, logs::Logs, names::Names, node::sources::Sources, status::Facts,
};

/// Largest body of an ordinary request, in octets.
const BODY_MAX: usize = 1 << 20;
/// Largest body of an import, in octets: a million hosts as JSON.
const IMPORT_BODY_MAX: usize = 512 << 20;
/// How long a request may take; imports of a million hosts take a while.
const REQUEST_TIME: Duration = Duration::from_secs(300);
/// How long a change waits for its names to be answered, and how often it looks.
const ANSWERED_TIME: Duration = Duration::from_secs(2);
const ANSWERED_LOOK: Duration = Duration::from_millis(1);
/// Longest reason for a change, in octets.
const WHY_MAX: usize = 1000;
/// Header that carries the reason for a change.
pub(crate) const WHY_HEADER: &str = "x-gatehouse-why";

/// What the handlers share.
pub(crate) struct App {
    /// The configuration's file.
    pub config_file: std::path::PathBuf,
    /// Facts that do not change while the node runs.
    pub facts: Facts,
    /// Product of hosts that name none.
    pub product: Option<CompactString>,
    /// The state and its writer.
    pub keeper: Keeper,
    /// The DNS part, if there is one.
    pub names: Option<Names>,
    /// The directory part, if there is one.
    pub logins: Option<Logins>,
    /// The log relay, if there is one.
    pub logs: Option<Logs>,
    /// How the inventory's sources are.
    pub sources: Arc<Sources>,
    /// The log's level.
    pub log: LogLevel,
    /// Whether the store held nothing when the node started and what its sources hold was not answered yet.
    pub unfilled: AtomicBool,
    /// The token for writing through HTTP.
    pub token: Arc<Token>,
    /// What the API counts.
    pub counts: Arc<Counts>,
    /// What /metrics shows.
    pub metrics: Registry,
    /// Whether the node is stopping.
    pub shutdown: tokio_util::sync::CancellationToken,
}

impl App {
    /// Makes a change; returns when it is on disk and its names are answered.
    async fn change(&self, proposal: Proposal) -> Result<forms::Written, ApiError> {
        let outcome = self.keeper.propose(proposal).await?;
        self.answered(&outcome).await;
        Ok(outcome.into())
    }

    /// Waits until everything is answered from the state that `outcome` speaks of, but not for ever: the change is made.
    async fn answered(&self, outcome: &Outcome) {
        let (Outcome::Applied { position, .. } | Outcome::Unchanged { position }) = outcome else { return };
        let caught_up = async {
            while self.is_behind(position.serial) {
                tokio::time::sleep(ANSWERED_LOOK).await;
            }
        };
        if tokio::time::timeout(ANSWERED_TIME, caught_up).await.is_err() {
            tracing::warn!(serial = position.serial, "a change is stored, but its answers are late");
        }
    }

    /// Whether names or logins are answered from an earlier state than that of `serial`.
    fn is_behind(&self, serial: u64) -> bool {
        self.names.as_ref().is_some_and(|names| names.serial() < serial)
            || self.logins.as_ref().is_some_and(|logins| logins.serial() < serial)
    }
}

/// Filled once, when the store is open and names are answered.
pub(crate) type Gate = Arc<OnceLock<Arc<App>>>;

/// The routes. Requests before the gate opens get 503.
pub(crate) fn router(gate: Gate, counts: Arc<Counts>) -> Router {
    let small = Router::new()
        .route("/v1/hosts", get(hosts::list).post(hosts::add))
        .route("/v1/hosts/{host}", get(hosts::show).put(hosts::put).patch(hosts::patch).delete(hosts::remove))
        .route("/v1/grants", get(grants::list).post(grants::add))
        .route("/v1/grants/{name}", axum::routing::delete(grants::remove))
        .route("/v1/access/explain", get(access::explain))
        .route("/v1/access/who", get(access::who))
        .route("/v1/access/where", get(access::places))
        .route("/v1/access/diff", post(access::diff))
        .route("/v1/access/lint", post(access::lint))
        .route("/v1/access/log", get(access::log))
        .route("/v1/access/log/verify", get(access::verify))
        .route("/v1/logs/tail", get(logs::tail))
        .route("/v1/logs/grep", get(logs::grep))
        .route("/v1/logs/silent", get(logs::silent))
        .route("/v1/logs/explain", get(logs::explain))
        .route("/v1/logs/spool", get(logs::spool))
        .route("/v1/logs/destinations", get(logs::destinations))
        .route("/v1/logs/destinations/{name}/pause", post(logs::pause))
        .route("/v1/logs/destinations/{name}/resume", post(logs::resume))
        .route("/v1/changes", get(changes::list))
        .route("/v1/status", get(live::status))
        .route("/v1/held", get(held::list))
        .route("/v1/held/{id}/accept", post(held::accept))
        .route("/v1/held/{id}/discard", post(held::discard))
        .route("/v1/log-level", put(live::set_log_level).get(live::log_level))
        .route("/v1/dns/explain", get(live::explain))
        .route("/v1/openapi.json", get(live::openapi))
        .route("/readyz", get(live::ready))
        .route("/metrics", get(live::metrics))
        .layer(DefaultBodyLimit::max(BODY_MAX));
    let large = Router::new()
        .route("/v1/hosts:import", post(imports::import))
        .route("/v1/records", get(records::list).post(records::add).delete(records::remove))
        .layer(DefaultBodyLimit::max(IMPORT_BODY_MAX));
    let open = small.merge(large).layer(middleware::from_fn_with_state(gate.clone(), guard));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .merge(open)
        .fallback(|| async { ApiError::not_found("there is no such path; /v1/openapi.json lists them") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this path has no such method; see /v1/openapi.json")
        })
        .layer(middleware::from_fn(in_our_words))
        .layer(middleware::from_fn_with_state(counts, count))
        .with_state(gate)
}

/// Lets requests through once the node serves, and writers only where something is written.
async fn guard(
    State(gate): State<Gate>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(app) = gate.get() else {
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the node is starting: it opens its store"));
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) && !only_asks(request.uri().path()) {
        peer.may_write(&app.token, request.headers())?;
    }
    request.extensions_mut().insert(app.clone());
    match tokio::time::timeout(REQUEST_TIME, next.run(request)).await {
        Ok(answer) => Ok(answer),
        Err(_) => {
            app.counts.given_up.fetch_add(1, Relaxed);
            let text = "there was no answer in time; if it was a change, it may still be made: \
                        look at `gatehouse host history` or /v1/changes before repeating it";
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text))
        }
    }
}

/// Questions with a body: they change nothing, and judge for themselves who may ask.
fn only_asks(path: &str) -> bool {
    matches!(path, "/v1/access/diff" | "/v1/access/lint")
}

/// Refusals of the library are plain text; every refusal of ours is JSON.
async fn in_our_words(request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    let status = answer.status();
    let plain =
        answer.headers().get(header::CONTENT_TYPE).is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !status.is_client_error() || !plain {
        return answer;
    }
    let text = match status {
        StatusCode::PAYLOAD_TOO_LARGE => {
            format!("the body is too large: at most {BODY_MAX} octets, for imports and records {IMPORT_BODY_MAX}")
        }
        _ => {
            let text = axum::body::to_bytes(answer.into_body(), WHY_MAX).await.unwrap_or_default();
            match text.is_empty() {
                true => "the request cannot be understood".to_owned(),
                false => format!("the request cannot be understood: {}", String::from_utf8_lossy(&text).trim()),
            }
        }
    };
    ApiError::new(status, text).into_response()
}

/// Counts every answer.
async fn count(State(counts): State<Arc<Counts>>, request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    counts.answer(answer.status());
    answer
}

/// The author of a change: the peer, now, and the reason from the header or from the body.
async fn author(peer: Peer, headers: &axum::http::HeaderMap, in_body: Option<String>) -> Result<Author, ApiError> {
    let header = headers.get(WHY_HEADER).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    let why = in_body.or(header).unwrap_or_default();
    if why.len() > WHY_MAX {
        return Err(ApiError::bad(format!("the reason has {} octets, at most {WHY_MAX} are kept", why.len())));
    }
    if why.chars().any(char::is_control) {
        // It is printed on terminals and in logs.
        return Err(ApiError::bad("the reason holds control characters; write it on one line, without them"));
    }
    Ok(Author { who: peer.who().await, when_ms: clock::now_ms(), why })
}

/// A body as JSON.
fn json<T: serde::de::DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|e| ApiError::bad(format!("the body is not the JSON that is expected: {e}")))
}

/// A page of a list, and where the next page begins.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Value of `after` (of `before` for changes) for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Items of one page at most.
pub(crate) const PAGE_MAX: usize = 10_000;
/// Items of one page when the client names no limit.
const PAGE_DEFAULT: usize = 1000;

fn page_limit(asked: Option<usize>) -> Result<usize, ApiError> {
    match asked.unwrap_or(PAGE_DEFAULT) {
        n @ 1..=PAGE_MAX => Ok(n),
        n => Err(ApiError::bad(format!("limit={n} is not between 1 and {PAGE_MAX}"))),
    }
}

impl<T> Page<T> {
    /// The first `limit` of `items`; `cursor` is the text from which the page after an item continues.
    fn cut(items: impl Iterator<Item = T>, limit: usize, cursor: impl Fn(&T) -> String) -> Self {
        let mut items: Vec<T> = items.take(limit + 1).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(cursor);
        Self { items, next }
    }
}

/// A text answer with its media type.
fn typed(media: &'static str, text: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, media)], text.into()).into_response()
}

/// An answer that says "created" or "held" by its code and the outcome by its body.
fn reply(reply: forms::Written, created: bool) -> Response {
    let status = match &reply {
        forms::Written::Held { .. } => StatusCode::ACCEPTED,
        forms::Written::Applied { .. } if created => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    (status, Json(reply)).into_response()
}
