//! The state as it was: the present one with the change log undone.
//!
//! Reads the database as the history does, with a connection of its own. Memory is that of the two states and of one
//! change set at a time; time grows with what has changed since.

use std::{path::Path, sync::Arc};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::{
    DbError,
    database::{change_rows, head},
};
use crate::{
    change::{ChangeSet, RowChange},
    state::State,
};

/// Why a past state cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// The log does not reach back so far.
    #[error("the change log begins with serial {0}, after that time")]
    Forgotten(u64),
    /// The log and the state do not fit together.
    #[error("the change log does not lead back beyond serial {0}")]
    Broken(u64),
    /// The log cannot be read.
    #[error("the change log cannot be read: {0}")]
    Unreadable(String),
}

/// `present` as it was at `when_ms`: every change set after the last one of that time is undone, newest first.
pub(crate) fn state_at(path: &Path, present: &State, when_ms: u64) -> Result<State, PastError> {
    let unreadable = |error: DbError| PastError::Unreadable(error.to_string());
    let log = Log::open(path).map_err(unreadable)?;
    let last = log.last_until(when_ms).map_err(unreadable)?;
    let first = log.first().map_err(unreadable)?;
    let keep = match (last, first) {
        (Some(serial), _) => serial,
        (None, Some(first)) if first > 1 => return Err(PastError::Forgotten(first)),
        (None, _) => 0,
    };
    let mut state = present.clone();
    while state.position().serial > keep {
        let serial = state.position().serial;
        let set = log.set(serial).map_err(unreadable)?.ok_or(PastError::Broken(serial))?;
        let rows = set.rows.iter().map(RowChange::inverse).collect();
        let undo = ChangeSet { serial: serial - 1, rows, ..set };
        state = state.apply(Arc::new(undo)).map_err(|_| PastError::Broken(serial))?;
    }
    Ok(state)
}

struct Log(Connection);

impl Log {
    fn open(path: &Path) -> Result<Self, DbError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.busy_timeout(std::time::Duration::from_secs(2))?;
        // One snapshot for all statements.
        conn.execute_batch("BEGIN")?;
        Ok(Self(conn))
    }

    /// The last change set made at or before a time.
    fn last_until(&self, when_ms: u64) -> Result<Option<u64>, DbError> {
        let when = i64::try_from(when_ms).unwrap_or(i64::MAX);
        let query = "SELECT max(serial) FROM change WHERE when_ms <= ?1";
        let serial: Option<i64> = self.0.query_row(query, params![when], |row| row.get(0))?;
        Ok(serial.map(i64::cast_unsigned))
    }

    fn first(&self) -> Result<Option<u64>, DbError> {
        let serial: Option<i64> = self.0.query_row("SELECT min(serial) FROM change", [], |row| row.get(0))?;
        Ok(serial.map(i64::cast_unsigned))
    }

    fn set(&self, serial: u64) -> Result<Option<ChangeSet>, DbError> {
        let query = "SELECT serial, epoch, who, when_ms, why, rows FROM change WHERE serial = ?1";
        let mut statement = self.0.prepare_cached(query)?;
        let found = statement.query_row(params![serial.cast_signed()], |row| Ok(head(row))).optional()?;
        let Some((mut set, rows)) = found.transpose()? else { return Ok(None) };
        set.rows = change_rows(&self.0, serial, rows)?;
        Ok(Some(set))
    }
}
