//! The SQLite database: tables, loading, and one transaction for one batch.
//!
//! `meta` has one row (format, position, size of the change log, next number for what is held); `row` the present rows; `change` and
//! `change_row` the change log with old and new values; `held` what waits for a person. SQLite keeps
//! next to nothing in memory: the state is there already. Prepared statements are few and cached.

use std::{path::Path, sync::Arc, sync::mpsc, thread};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};

use super::{DbError, Step, checkpoint::Checkpointer};
use crate::{
    change::{Author, ChangeSet, Row, RowChange},
    keeper::{HeldBody, HeldList},
    position::{Position, hex},
    state::{HISTORY_ROWS_MAX, HISTORY_SETS_MAX, State},
};

/// Version of the tables.
const FORMAT: u32 = 1;
/// Changed rows that the change log keeps.
pub(crate) const LOG_ROWS_MAX: u64 = 1_000_000;
/// Rows that are handed over at once while loading.
const LOAD_CHUNK: usize = 1024;

const NEXT_HELD: &str = "SELECT next_held FROM meta WHERE id = 0";

const TABLES: &str = "
    CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 0), format INTEGER NOT NULL, cluster_id INTEGER NOT NULL,
        epoch INTEGER NOT NULL, serial INTEGER NOT NULL, state_hash TEXT NOT NULL, log_rows INTEGER NOT NULL,
        next_held INTEGER NOT NULL DEFAULT 1);
    CREATE TABLE row (kind TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID;
    CREATE TABLE change (serial INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, who TEXT NOT NULL,
        when_ms INTEGER NOT NULL, why TEXT NOT NULL, rows INTEGER NOT NULL);
    CREATE TABLE change_row (serial INTEGER NOT NULL, n INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL,
        old BLOB, new BLOB, PRIMARY KEY (serial, n)) WITHOUT ROWID;
    CREATE INDEX change_row_key ON change_row (kind, key, serial);
    CREATE TABLE held (id INTEGER PRIMARY KEY, body BLOB NOT NULL);";

/// An open database.
#[derive(Debug)]
pub(crate) struct Database {
    conn: Connection,
    /// None where no other connection may or can be; then commits do its work, as SQLite has them do it.
    checkpointer: Option<Checkpointer>,
}

impl Database {
    /// Opens a database that [`Database::build`] made. `alone` needs no file beside it and so no free space; it keeps
    /// every other connection out.
    pub(crate) fn open(path: &Path, alone: bool) -> Result<Self, DbError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        if alone {
            conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        }
        // Reading first: a file that is no database is left as it is.
        let format: u32 = conn.query_row("SELECT format FROM meta WHERE id = 0", [], |row| row.get(0))?;
        if format > FORMAT {
            return Err(DbError::Newer(format));
        }
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update(None, "cache_size", -2048)?;
        conn.pragma_update(None, "journal_size_limit", 64 << 20)?;
        conn.set_prepared_statement_cache_capacity(16);
        // Databases of early days lack the column.
        if !alone && conn.prepare(NEXT_HELD).is_err() {
            conn.execute_batch("ALTER TABLE meta ADD COLUMN next_held INTEGER NOT NULL DEFAULT 1")?;
        }
        let checkpointer = if alone { None } else { Checkpointer::beside(&conn, path) };
        Ok(Self { conn, checkpointer })
    }

    /// Writes a new database with the rows and the remembered changes of `state`. The file must not exist; it is
    /// complete and synced when this returns, and worthless if it fails.
    pub(crate) fn build(path: &Path, state: &State, held: &HeldList) -> Result<(), DbError> {
        let mut conn = Connection::open(path)?;
        conn.pragma_update(None, "journal_mode", "OFF")?;
        conn.pragma_update(None, "synchronous", "OFF")?;
        let tx = conn.transaction()?;
        tx.execute_batch(TABLES)?;
        let p = state.position();
        tx.execute(
            "INSERT INTO meta VALUES (0, ?1, ?2, ?3, ?4, ?5, 0, ?6)",
            params![
                FORMAT,
                p.cluster_id.cast_signed(),
                p.epoch,
                p.serial.cast_signed(),
                hex::encode(&p.state_hash),
                held.next.cast_signed()
            ],
        )?;
        for row in state.rows() {
            put_row(&tx, &row)?;
        }
        for set in state.history() {
            log_set(&tx, set)?;
        }
        for body in &held.bodies {
            put_held(&tx, body)?;
        }
        tx.commit()?;
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.close().map_err(|(_, error)| error)?;
        std::fs::File::open(path)?.sync_all()?;
        Ok(())
    }

    /// Reads the position.
    pub(crate) fn position(&self) -> Result<Position, DbError> {
        let query = "SELECT cluster_id, epoch, serial, state_hash FROM meta WHERE id = 0";
        let (cluster_id, epoch, serial, hash) = self.conn.query_row(query, [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get::<_, i64>(2)?, row.get::<_, String>(3)?))
        })?;
        let state_hash = hex::decode(&hash).ok_or_else(|| DbError::Damaged("its state hash is no hash".into()))?;
        Ok(Position { cluster_id: cluster_id.cast_unsigned(), epoch, serial: serial.cast_unsigned(), state_hash })
    }

    /// Loads all rows and compares their hash with the stored one, then the changes that led here.
    /// One thread reads and decodes, another hashes and files.
    pub(crate) fn load(&self) -> Result<State, DbError> {
        let stored = self.position()?;
        let (sender, receiver) = mpsc::sync_channel::<Vec<Row>>(8);
        let state = thread::scope(|scope| {
            let p = stored;
            let filing =
                scope.spawn(move || State::from_rows(p.cluster_id, p.epoch, p.serial, receiver.into_iter().flatten()));
            let read = self.read_rows(&sender);
            drop(sender);
            let filed = filing.join().map_err(|_| DbError::Damaged("its rows could not be filed".into()))?;
            read?;
            filed.map_err(|conflict| DbError::Damaged(conflict.to_string()))
        })?;
        if state.position() != stored {
            return Err(DbError::Damaged("its rows do not have the state hash that was stored with them".into()));
        }
        Ok(state.with_history(self.recent()?))
    }

    fn read_rows(&self, sender: &mpsc::SyncSender<Vec<Row>>) -> Result<(), DbError> {
        let mut statement = self.conn.prepare("SELECT kind, key, body FROM row")?;
        let mut rows = statement.query([])?;
        let mut chunk = Vec::with_capacity(LOAD_CHUNK);
        while let Some(stored) = rows.next()? {
            let (kind, key) = (text(stored.get_ref(0)?)?, text(stored.get_ref(1)?)?);
            let body = stored.get_ref(2)?.as_blob().map_err(|e| DbError::Damaged(e.to_string()))?;
            let row = decode(kind, body)?;
            if row.key().text() != key {
                return Err(DbError::Damaged(format!("{} is filed under {key:?}", row.key())));
            }
            chunk.push(row);
            if chunk.len() == LOAD_CHUNK && sender.send(std::mem::take(&mut chunk)).is_err() {
                // The other side met a conflict and tells of it.
                return Ok(());
            }
        }
        drop(sender.send(chunk));
        Ok(())
    }

    /// The newest change sets as far as a state remembers them, oldest first.
    fn recent(&self) -> Result<Vec<Arc<ChangeSet>>, DbError> {
        let mut heads =
            self.conn.prepare("SELECT serial, epoch, who, when_ms, why, rows FROM change ORDER BY serial DESC")?;
        let mut found = heads.query([])?;
        let (mut sets, mut total) = (Vec::new(), 0);
        while let Some(row) = found.next()? {
            let (mut set, rows) = head(row)?;
            total += rows;
            if sets.len() == HISTORY_SETS_MAX || total > HISTORY_ROWS_MAX {
                break;
            }
            set.rows = change_rows(&self.conn, set.serial, rows)?;
            sets.push(Arc::new(set));
        }
        sets.reverse();
        Ok(sets)
    }

    /// The held changes.
    pub(crate) fn held(&self) -> Result<HeldList, DbError> {
        let mut list = HeldList::new();
        // Without the column, which cannot be added while nothing can be written, the present numbers must do.
        if let Ok(mut next) = self.conn.prepare(NEXT_HELD) {
            list.raise(next.query_row([], |row| row.get::<_, i64>(0))?.cast_unsigned());
        }
        let mut statement = self.conn.prepare("SELECT body FROM held ORDER BY id")?;
        let bodies = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        for body in bodies {
            let body = held_body(&body?)?;
            list.raise(body.id + 1);
            list.bodies.push(body);
        }
        Ok(list)
    }

    /// One held change.
    pub(crate) fn held_one(&self, id: u64) -> Result<Option<HeldBody>, DbError> {
        let query = "SELECT body FROM held WHERE id = ?1";
        let body = self.conn.query_row(query, [id.cast_signed()], |row| row.get::<_, Vec<u8>>(0)).optional()?;
        body.map(|body| held_body(&body)).transpose()
    }

    /// Writes a batch in one transaction. `before_commit` runs when all is written and nothing is committed; if it fails,
    /// or the commit does, nothing has happened.
    pub(crate) fn commit(
        &mut self,
        steps: &[Step],
        before_commit: impl FnOnce() -> std::io::Result<()>,
    ) -> Result<(), DbError> {
        let tx = self.conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut logged = 0_usize;
        for step in steps {
            match step {
                Step::Change { set, .. } => {
                    write_set(&tx, set)?;
                    logged += set.rows.len();
                }
                Step::Hold(body) => {
                    put_held(&tx, body)?;
                    raise_next_held(&tx, body.id + 1)?;
                }
                Step::Unhold(id) => {
                    tx.execute("DELETE FROM held WHERE id = ?1", [id.cast_signed()])?;
                    raise_next_held(&tx, id + 1)?;
                }
            }
        }
        let last = steps.iter().rev().find_map(|step| match step {
            Step::Change { after, .. } => Some(after),
            _ => None,
        });
        if let Some(p) = last {
            tx.prepare_cached("UPDATE meta SET epoch = ?1, serial = ?2, state_hash = ?3 WHERE id = 0")?
                .execute(params![p.epoch, p.serial.cast_signed(), hex::encode(&p.state_hash)])?;
            prune(&tx, logged as u64, LOG_ROWS_MAX)?;
        }
        before_commit()?;
        tx.commit()?;
        if let Some(checkpointer) = &mut self.checkpointer {
            checkpointer.committed(logged);
        }
        Ok(())
    }

    /// Takes another epoch.
    pub(crate) fn set_epoch(&mut self, epoch: u32) -> Result<(), DbError> {
        Ok(self.conn.execute("UPDATE meta SET epoch = ?1 WHERE id = 0", [epoch]).map(drop)?)
    }

    /// Writes something small, to see whether writing works again.
    pub(crate) fn probe(&mut self) -> Result<(), DbError> {
        Ok(self.conn.execute("UPDATE meta SET format = format", []).map(drop)?)
    }

    /// A random number for a new cluster, from the operating system by way of SQLite.
    pub(crate) fn random() -> Result<u64, DbError> {
        let number: i64 = Connection::open_in_memory()?.query_row("SELECT random()", [], |row| row.get(0))?;
        Ok(number.cast_unsigned())
    }
}

fn write_set(tx: &Transaction<'_>, set: &ChangeSet) -> Result<(), DbError> {
    // Removals first, as in `State::apply`; a key is in a set once, so the order matters to nobody else.
    for change in &set.rows {
        match (&change.old, &change.new) {
            (_, Some(new)) => put_row(tx, new)?,
            (Some(old), None) => {
                let key = old.key();
                let mut delete = tx.prepare_cached("DELETE FROM row WHERE kind = ?1 AND key = ?2")?;
                if delete.execute(params![key.kind(), key.text()])? != 1 {
                    return Err(DbError::Damaged(format!("{key} is missing")));
                }
            }
            (None, None) => {}
        }
    }
    log_set(tx, set)
}

fn put_row(tx: &Transaction<'_>, row: &Row) -> Result<(), DbError> {
    let key = row.key();
    tx.prepare_cached("INSERT OR REPLACE INTO row VALUES (?1, ?2, ?3)")?.execute(params![
        key.kind(),
        key.text(),
        row.encode()
    ])?;
    Ok(())
}

fn put_held(tx: &Transaction<'_>, body: &HeldBody) -> Result<(), DbError> {
    let json = serde_json::to_vec(body).map_err(|e| DbError::Damaged(e.to_string()))?;
    tx.execute("INSERT OR REPLACE INTO held VALUES (?1, ?2)", params![body.id.cast_signed(), json])?;
    Ok(())
}

fn raise_next_held(tx: &Transaction<'_>, next: u64) -> Result<(), DbError> {
    Ok(tx.execute("UPDATE meta SET next_held = max(next_held, ?1) WHERE id = 0", [next.cast_signed()]).map(drop)?)
}

fn log_set(tx: &Transaction<'_>, set: &ChangeSet) -> Result<(), DbError> {
    let (serial, a) = (set.serial.cast_signed(), &set.author);
    tx.prepare_cached("INSERT INTO change VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
        serial,
        set.epoch,
        a.who,
        a.when_ms.cast_signed(),
        a.why,
        set.rows.len().cast_signed()
    ])?;
    let mut insert = tx.prepare_cached("INSERT INTO change_row VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for (n, change) in set.rows.iter().enumerate() {
        let Some(key) = change.key() else { continue };
        let (old, new) = (change.old.as_ref().map(Row::encode), change.new.as_ref().map(Row::encode));
        insert.execute(params![serial, n.cast_signed(), key.kind(), key.text(), old, new])?;
    }
    tx.prepare_cached("UPDATE meta SET log_rows = log_rows + ?1 WHERE id = 0")?
        .execute([set.rows.len().cast_signed()])?;
    Ok(())
}

/// Takes the oldest rows out of the change log while it holds more than `max`; at most about twice as many as were
/// `added`, so that no change pays for a large one of long ago. A change set that loses rows loses its head first, so it
/// is never shown in part.
fn prune(tx: &Transaction<'_>, added: u64, max: u64) -> Result<(), DbError> {
    let kept: i64 = tx.prepare_cached("SELECT log_rows FROM meta WHERE id = 0")?.query_row([], |row| row.get(0))?;
    let surplus = kept.cast_unsigned().saturating_sub(max);
    let mut budget = surplus.min(added * 2 + 64);
    let mut gone = 0;
    while budget > 0 {
        let mut oldest = tx.prepare_cached("SELECT min(serial) FROM change_row")?;
        let Some(serial) = oldest.query_row([], |row| row.get::<_, Option<i64>>(0))? else { break };
        tx.prepare_cached("DELETE FROM change WHERE serial <= ?1")?.execute([serial])?;
        let mut delete = tx.prepare_cached(
            "DELETE FROM change_row WHERE serial = ?1
             AND n IN (SELECT n FROM change_row WHERE serial = ?1 ORDER BY n LIMIT ?2)",
        )?;
        let n = delete.execute(params![serial, budget.cast_signed()])? as u64;
        gone += n;
        budget = budget.saturating_sub(n.max(1));
    }
    if gone > 0 {
        tx.prepare_cached("UPDATE meta SET log_rows = log_rows - ?1 WHERE id = 0")?.execute([gone.cast_signed()])?;
    }
    Ok(())
}

fn text(value: rusqlite::types::ValueRef<'_>) -> Result<&str, DbError> {
    value.as_str().map_err(|e| DbError::Damaged(e.to_string()))
}

fn decode(kind: &str, body: &[u8]) -> Result<Row, DbError> {
    Row::decode(kind, body).map_err(|e| DbError::Damaged(e.to_string()))
}

fn held_body(json: &[u8]) -> Result<HeldBody, DbError> {
    serde_json::from_slice(json).map_err(|e| DbError::Damaged(format!("a held change is unreadable: {e}")))
}

/// A change set without its rows, and how many it has, from `serial, epoch, who, when_ms, why, rows`.
pub(crate) fn head(row: &rusqlite::Row<'_>) -> Result<(ChangeSet, usize), DbError> {
    let author = Author { who: row.get(2)?, when_ms: row.get::<_, i64>(3)?.cast_unsigned(), why: row.get(4)? };
    let serial = row.get::<_, i64>(0)?.cast_unsigned();
    let set = ChangeSet { epoch: row.get(1)?, serial, author, rows: Vec::new() };
    Ok((set, usize::try_from(row.get::<_, i64>(5)?).unwrap_or(0)))
}

/// The first `limit` rows of a change set.
pub(crate) fn change_rows(conn: &Connection, serial: u64, limit: usize) -> Result<Vec<RowChange>, DbError> {
    let query = "SELECT kind, old, new FROM change_row WHERE serial = ?1 ORDER BY n LIMIT ?2";
    let mut statement = conn.prepare_cached(query)?;
    let mut found = statement.query(params![serial.cast_signed(), limit.cast_signed()])?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push(change_row(row)?);
    }
    Ok(rows)
}

/// One changed row from `kind, old, new`.
pub(crate) fn change_row(row: &rusqlite::Row<'_>) -> Result<RowChange, DbError> {
    let kind: String = row.get(0)?;
    let side = |n| -> Result<Option<Row>, DbError> {
        row.get::<_, Option<Vec<u8>>>(n)?.map(|body| decode(&kind, &body)).transpose()
    };
    Ok(RowChange { old: side(1)?, new: side(2)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Record, RecordKey};

    fn row(n: u64, ttl: u32) -> Row {
        let key = RecordKey { name: format!("n{n}.example").into(), rtype: "TXT".into(), data: "x".into() };
        Row::Record(Arc::new(Record { key, ttl: Some(ttl), source: "api".into() }))
    }

    fn set(serial: u64, rows: u64) -> ChangeSet {
        let change = |n| RowChange { old: None, new: Some(row(n, serial as u32)) };
        let author = Author { who: "alice".into(), when_ms: 1, why: String::new() };
        ChangeSet { epoch: 1, serial, author, rows: (0..rows).map(change).collect() }
    }

    /// Rows in the log, as counted and as stored, and the change sets that are shown.
    fn log(tx: &Transaction<'_>) -> (u64, u64, Vec<u64>) {
        let one = |query| tx.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap().cast_unsigned();
        let counted = one("SELECT log_rows FROM meta");
        let stored = one("SELECT count(*) FROM change_row");
        let mut heads = tx.prepare("SELECT serial FROM change ORDER BY serial").unwrap();
        let shown = heads.query_map([], |row| row.get::<_, i64>(0)).unwrap().map(|n| n.unwrap().cast_unsigned());
        (counted, stored, shown.collect())
    }

    #[test]
    fn the_log_is_bounded_and_a_small_change_does_not_pay_for_a_large_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        Database::build(&path, &State::empty(1), &HeldList::new()).unwrap();
        let mut db = Database::open(&path, false).unwrap();
        let tx = db.conn.transaction().unwrap();
        for (serial, rows) in [(1, 1000), (2, 10), (3, 10)] {
            log_set(&tx, &set(serial, rows)).unwrap();
        }
        assert_eq!(log(&tx), (1020, 1020, vec![1, 2, 3]));
        prune(&tx, 10, 2000).unwrap();
        assert_eq!(log(&tx), (1020, 1020, vec![1, 2, 3]));
        prune(&tx, 10, 100).unwrap();
        assert_eq!(log(&tx), (936, 936, vec![2, 3]), "84 rows at once; the set that lost some is not shown");
        for _ in 0..20 {
            prune(&tx, 10, 100).unwrap();
        }
        assert_eq!(log(&tx), (100, 100, vec![2, 3]));
    }
}
