//! The change log, read by a connection of its own.
//!
//! A question never meets the writer: it opens the database read-only, reads at most
//! [`ROWS_MAX`] rows, and closes it. Old changes fall out of the log; what is gone is not shown.

use std::path::Path;

use compact_str::CompactString;
use rusqlite::{Connection, OpenFlags, params};

use super::{
    DbError,
    database::{change_row, change_rows, head},
};
use crate::change::ChangeSet;

/// Change sets in one answer.
pub const SETS_MAX: usize = 1000;
/// Rows in one answer; the change set at which it is reached shows its first rows only.
pub const ROWS_MAX: usize = 20_000;

/// Which changes to show, newest first.
#[derive(Debug, Clone, Default)]
pub struct HistoryQuery {
    /// `host`, `role` or `record`; needed with `key_text`.
    pub key_kind: Option<CompactString>,
    /// [`crate::RowKey::text`] of one row: only changes of that row, each with that row alone.
    pub key_text: Option<CompactString>,
    /// Only changes after this serial.
    pub since_serial: Option<u64>,
    /// Only changes before this serial: the last one of the page before.
    pub before_serial: Option<u64>,
    /// How many; at most [`SETS_MAX`].
    pub limit: usize,
}

/// A part of the change log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The change sets, newest first.
    pub sets: Vec<ChangeSet>,
    /// Whether the reader stopped at [`ROWS_MAX`] rows while there were older change sets that fit the question. The
    /// next page begins before the last set of this one.
    pub more: bool,
    /// How many rows of the last set are not shown.
    pub cut: usize,
}

/// Why the change log could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the change log cannot be read: {0}")]
pub struct HistoryError(pub(crate) String);

/// Answers a question from the database at `path`.
pub(crate) fn read(path: &Path, query: &HistoryQuery) -> Result<History, HistoryError> {
    read_inner(path, query).map_err(|error| HistoryError(error.to_string()))
}

fn read_inner(path: &Path, query: &HistoryQuery) -> Result<History, DbError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(std::time::Duration::from_secs(2))?;
    conn.pragma_update(None, "cache_size", -512)?;
    // One snapshot for all statements.
    conn.execute_batch("BEGIN")?;
    let since = query.since_serial.unwrap_or(0).cast_signed();
    let before = query.before_serial.map_or(i64::MAX, |serial| i64::try_from(serial).unwrap_or(i64::MAX));
    let limit = query.limit.min(SETS_MAX).cast_signed();
    let mut sets = Vec::new();
    if let Some(text) = &query.key_text {
        let kind = query.key_kind.as_deref().unwrap_or("host");
        let mut statement = conn.prepare(
            "SELECT c.serial, c.epoch, c.who, c.when_ms, c.why, c.rows, r.n FROM change_row r JOIN change c USING (serial)
             WHERE r.kind = ?1 AND r.key = ?2 AND r.serial > ?3 AND r.serial < ?4 ORDER BY r.serial DESC LIMIT ?5",
        )?;
        let mut found = statement.query(params![kind, text.as_str(), since, before, limit])?;
        let mut one = conn.prepare("SELECT kind, old, new FROM change_row WHERE serial = ?1 AND n = ?2")?;
        while let Some(row) = found.next()? {
            let (mut set, _) = head(row)?;
            let mut rows = one.query(params![set.serial.cast_signed(), row.get::<_, i64>(6)?])?;
            if let Some(row) = rows.next()? {
                set.rows.push(change_row(row)?);
            }
            sets.push(set);
        }
        return Ok(History { sets, ..History::default() });
    }
    let mut statement = conn.prepare(
        "SELECT serial, epoch, who, when_ms, why, rows FROM change
         WHERE serial > ?1 AND serial < ?2 ORDER BY serial DESC LIMIT ?3",
    )?;
    let mut found = statement.query(params![since, before, limit])?;
    let (mut left, mut cut) = (ROWS_MAX, 0);
    while let Some(row) = found.next()? {
        if left == 0 {
            return Ok(History { sets, more: true, cut });
        }
        let (mut set, rows) = head(row)?;
        set.rows = change_rows(&conn, set.serial, rows.min(left))?;
        left -= set.rows.len();
        cut = rows - set.rows.len();
        sets.push(set);
    }
    Ok(History { sets, more: false, cut })
}
