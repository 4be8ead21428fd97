//! What the API counts: connections, limits that were reached, answers by class.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use axum::http::StatusCode;

/// Counters of all listeners together.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Connections now.
    pub connections: AtomicI64,
    /// Connections refused because there were too many, in all or of one peer.
    pub full: AtomicU64,
    /// Connections that could not be accepted.
    pub accept_failures: AtomicU64,
    /// Requests that took too long.
    pub given_up: AtomicU64,
    /// Answers with a code below 400.
    pub fine: AtomicU64,
    /// Answers with a code from 400 to 499.
    pub refused: AtomicU64,
    /// Answers with a code of 500 or more.
    pub failed: AtomicU64,
}

impl Counts {
    /// Counts an answer.
    pub(crate) fn answer(&self, status: StatusCode) {
        let class = match status.as_u16() {
            ..400 => &self.fine,
            400..500 => &self.refused,
            500.. => &self.failed,
        };
        class.fetch_add(1, Relaxed);
    }
}
