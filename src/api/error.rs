//! Refusals of the API: a code, a sentence, and one line for each further fact.

use axum::{
    Json,
    extract::rejection::{PathRejection, QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use inventory::Refused;
use serde::{Deserialize, Serialize};

/// The body of every refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorBody {
    /// What happened and what to do about it.
    pub error: String,
    /// One line for each further fact.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// A refusal.
#[derive(Debug)]
pub(crate) struct ApiError {
    /// The code.
    pub status: StatusCode,
    /// The sentences.
    pub body: ErrorBody,
}

impl ApiError {
    /// A refusal that one sentence explains.
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, body: ErrorBody { error: error.into(), details: Vec::new() } }
    }

    /// 400: the request cannot be understood, or what it carries is wrong.
    pub(crate) fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// 404
    pub(crate) fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    /// The same refusal with one line for each further fact.
    pub(crate) fn with_details(mut self, details: Vec<String>) -> Self {
        self.body.details = details;
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Conflicts(conflicts) => {
                Self::new(StatusCode::CONFLICT, "the change contradicts the inventory; nothing was changed")
                    .with_details(conflicts)
            }
            Refused::NotDurable(why) => {
                let text = format!("the change cannot be stored, so it was not made: {why}");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
            }
            Refused::Busy => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "too many changes wait to be stored; try again in a moment")
            }
            Refused::Stopped => Self::new(StatusCode::SERVICE_UNAVAILABLE, "the node is stopping"),
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad(format!("the query cannot be read: {}", rejection.body_text()))
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::bad(format!("the path cannot be read: {}", rejection.body_text()))
    }
}
