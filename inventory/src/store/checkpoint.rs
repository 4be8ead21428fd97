//! Carrying the write-ahead log over into the database, beside the commits.
//!
//! SQLite would do it within a commit, about every 300 changes, and that change would wait for a thousand pages and two
//! syncs more. Here a thread with a connection of its own does it. When it has reached the end and nothing was committed
//! meanwhile, the log begins anew; so under commits without any pause it goes on growing, and at [`PAGES_MAX`] a commit does
//! the rest itself after all, unless the thread is at it. A crash loses nothing: the log counts until it is carried over and synced.

use std::{
    path::Path,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::{Builder, JoinHandle},
};

use rusqlite::{Connection, OpenFlags};

/// Commits after which the log is carried over.
const COMMITS: u32 = 128;
/// Changed rows after which it is.
const ROWS: usize = 512;
/// Pages of 4 KiB in the log at which a commit does it.
const PAGES_MAX: u32 = 4096;
/// How often the thread tries to reach the end of a log to which commits still add.
const ROUNDS: u32 = 4;

/// The thread, and what was committed since it was last called.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    /// None when the thread has died, and while it is being dropped.
    bell: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    commits: u32,
    rows: usize,
}

impl Checkpointer {
    /// Begins with the database at `path`, which `conn` has open and whose commits it relieves. None: it cannot.
    pub(crate) fn beside(conn: &Connection, path: &Path) -> Option<Self> {
        let begun = Self::begin(path).and_then(|this| {
            conn.pragma_update(None, "wal_autocheckpoint", PAGES_MAX)?;
            Ok(this)
        });
        begun.inspect_err(|error| tracing::warn!(%error, "commits carry over the write-ahead log themselves")).ok()
    }

    fn begin(path: &Path) -> Result<Self, super::DbError> {
        let conn =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update(None, "cache_size", -128)?;
        // One call may wait while another is served.
        let (bell, calls) = sync_channel(1);
        let thread = Builder::new().name("checkpoint".into()).spawn(move || serve(&conn, &calls))?;
        Ok(Self { bell: Some(bell), thread: Some(thread), commits: 0, rows: 0 })
    }

    /// Notes a commit, and calls the thread when it is time.
    pub(crate) fn committed(&mut self, rows: usize) {
        self.commits += 1;
        self.rows += rows;
        if self.commits >= COMMITS || self.rows >= ROWS {
            (self.commits, self.rows) = (0, 0);
            // A call that waits already is enough.
            if let Some(Err(TrySendError::Disconnected(()))) = self.bell.as_ref().map(|bell| bell.try_send(())) {
                tracing::error!("the thread that carries over the write-ahead log has died; commits do its work");
                self.bell = None;
            }
        }
    }
}

/// Waits for the thread: its connection must be closed before the files are moved, or closing it would remove the log of
/// another database that has their names by then.
impl Drop for Checkpointer {
    fn drop(&mut self) {
        drop(self.bell.take());
        // Whether it has died makes no difference here.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(conn: &Connection, calls: &Receiver<()>) {
    for () in calls {
        if let Err(error) = carry_over(conn) {
            // Commits go on, into a longer log.
            tracing::warn!(%error, "the write-ahead log could not be carried over into the database");
        }
    }
}

/// Until a round finds no page that the last one did not, or a reader is in the way.
fn carry_over(conn: &Connection) -> rusqlite::Result<()> {
    let mut before = None;
    for _ in 0..ROUNDS {
        // PASSIVE waits for nobody and keeps nobody waiting. The pages that it tells of are those at its beginning.
        let (pages, done): (i64, i64) =
            conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(1)?, row.get(2)?)))?;
        if done < pages || before == Some(pages) {
            break;
        }
        before = Some(pages);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// A database with one table.
    fn database(path: &Path) -> Connection {
        let conn = Connection::open(path).unwrap();
        conn.pragma_update(None, "journal_mode", "WAL").unwrap();
        conn.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY, body BLOB)").unwrap();
        conn
    }

    fn commit(conn: &Connection) {
        conn.execute("INSERT INTO t (body) VALUES (randomblob(3000))", []).unwrap();
    }

    /// Pages in the log that are not in the database.
    fn behind(conn: &Connection) -> i64 {
        conn.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))
            .unwrap()
    }

    #[test]
    fn the_log_is_carried_over_after_commits_or_rows_and_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let log = || folder.path().join("state.db-wal").metadata().map_or(0, |meta| meta.len());
        let conn = database(&path);
        for (commits, rows) in [(COMMITS, 1), (1, ROWS)] {
            let mut checkpointer = Checkpointer::beside(&conn, &path).unwrap();
            for _ in 0..commits {
                assert!(behind(&conn) < i64::from(PAGES_MAX));
                commit(&conn);
                checkpointer.committed(rows);
            }
            let deadline = Instant::now() + Duration::from_secs(60);
            while behind(&conn) > 0 {
                assert!(Instant::now() < deadline, "after {commits} commits of {rows} rows");
                std::thread::yield_now();
            }
            // Its last round is over, too: while a round still holds its lock, the log goes on.
            drop(checkpointer);
            let length = log();
            commit(&conn);
            assert_eq!(log(), length, "the next commit goes to the beginning of the log");
        }
        let checkpointer = Checkpointer::beside(&conn, &path).unwrap();
        drop(conn);
        drop(checkpointer);
        assert_eq!(log(), 0, "whoever closes last leaves no log");
        let kept: i64 =
            Connection::open(&path).unwrap().query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, i64::from(COMMITS) + 3);
    }

    #[test]
    fn the_log_of_commits_without_a_pause_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let conn = database(&path);
        let mut checkpointer = Checkpointer::beside(&conn, &path).unwrap();
        // A frame is a page and its header of 24 octets.
        let frames = || folder.path().join("state.db-wal").metadata().unwrap().len() / (4096 + 24);
        // The thread is not called: commits do it by themselves. The last one may go beyond.
        for _ in 0..PAGES_MAX {
            commit(&conn);
        }
        assert!(frames() < u64::from(PAGES_MAX + 64), "{} frames", frames());
        // It is called: commits go beyond while one of its rounds keeps them from it. Without an end there would be three
        // times as many.
        for _ in 0..2 * PAGES_MAX {
            commit(&conn);
            checkpointer.committed(1);
        }
        assert!(frames() < u64::from(PAGES_MAX + PAGES_MAX / 4), "{} frames", frames());
    }
}
