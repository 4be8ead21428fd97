//! The durable store: a SQLite database and a standby copy beside it.
//!
//! A batch is durable when two files hold it: SQLite's write-ahead log and the standby journal, both
//! synced. The order is: write into the open transaction, append to the journal and sync it, commit. If the
//! journal fails the transaction is rolled back; if the commit fails the journal is cut back. A crash in between leaves the
//! journal one batch ahead, which opening makes good (see [`open`]). So each file alone is
//! enough to get back everything that was acknowledged.
//!
//! Limits: one process per folder (`lock`), [`database::LOG_ROWS_MAX`] rows of change log, a journal of about half of
//! its snapshot or 8 MiB.

mod chain;
mod checkpoint;
mod database;
pub(crate) mod files;
mod frame;
pub(crate) mod history;
mod open;
pub(crate) mod past;
mod standby;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use database::Database;
pub use open::OpenError;
pub(crate) use open::Opening;
use standby::Standby;

use crate::{
    change::ChangeSet,
    fault,
    keeper::{HeldBody, HeldList},
    position::Position,
    state::State,
};

/// What a batch is made of.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A change set and the position that it leads to.
    Change { set: Arc<ChangeSet>, after: Position },
    /// A change is held.
    Hold(Arc<HeldBody>),
    /// A held change is no longer held.
    Unhold(u64),
}

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DbError {
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Damaged(String),
    #[error("it was written by a newer version (format {0})")]
    Newer(u32),
}

impl DbError {
    /// Whether the file's content is at fault; otherwise it is its surroundings: space, permission, a lock.
    fn is_damage(&self) -> bool {
        use rusqlite::{ErrorCode, ffi};
        match self {
            Self::Damaged(_) => true,
            Self::Newer(_) | Self::Io(_) => false,
            Self::Sqlite(rusqlite::Error::SqliteFailure(error, _)) => match error.code {
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown => true,
                ErrorCode::SystemIoFailure => {
                    matches!(error.extended_code, ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ)
                }
                _ => false,
            },
            // No such row, wrong type and the like.
            Self::Sqlite(_) => true,
        }
    }
}

/// The database, or why there is none at the moment.
#[derive(Debug)]
enum Db {
    Open(Database),
    /// Whole, but could not be opened for writing (no space); tried again before the next commit, and then
    /// [`Store::pending`] comes first.
    Shut,
    /// Gone or damaged; built from the state before the next commit.
    Gone,
}

/// The two copies and the lock on the folder.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    db: Db,
    standby: Option<Standby>,
    /// What the standby journal has and a database that is shut does not.
    pending: Vec<Step>,
    lock: File,
}

impl Store {
    /// Makes a batch durable. `before` is the state before it; `now_ms` names what may have to be moved aside.
    /// After an error neither copy holds anything of the batch.
    pub(crate) fn commit(&mut self, before: &State, steps: &[Step], now_ms: u64) -> Result<(), String> {
        let tried = self.try_commit(before, steps, now_ms);
        let tried = match tried {
            Err(error) if error.is_damage() => {
                tracing::error!(%error, "the database is damaged; building it anew from memory");
                self.db = Db::Gone;
                self.try_commit(before, steps, now_ms)
            }
            other => other,
        };
        tried.map_err(|error| format!("{}: {error}", files::database(&self.dir).display()))
    }

    fn try_commit(&mut self, before: &State, steps: &[Step], now_ms: u64) -> Result<(), DbError> {
        fault::point("commit.before-sqlite")?;
        self.make_whole(before, now_ms)?;
        let (Db::Open(db), Some(standby)) = (&mut self.db, &mut self.standby) else {
            return Err(DbError::Io(io::Error::other("the store is not open")));
        };
        let mut appended = false;
        let committed = db.commit(steps, || {
            fault::point("commit.before-journal")?;
            standby.append(steps)?;
            appended = true;
            fault::point("commit.after-journal")
        });
        if let Err(error) = committed {
            if appended && let Err(error) = standby.undo() {
                // The next append cuts it off; until then a crash may bring back a change that was refused.
                tracing::error!(%error, "the standby journal could not be cut back after a failed commit");
            }
            return Err(error);
        }
        drop(fault::point("commit.after-sqlite"));
        Ok(())
    }

    /// Makes sure that both copies are there and writable.
    fn make_whole(&mut self, state: &State, now_ms: u64) -> Result<(), DbError> {
        match self.db {
            Db::Open(_) => {}
            Db::Shut => {
                let mut db = Database::open(&files::database(&self.dir), false)?;
                if !self.pending.is_empty() {
                    db.commit(&self.pending, || fault::point("open.before-commit"))?;
                    self.pending.clear();
                }
                self.db = Db::Open(db);
            }
            Db::Gone => {
                rebuild(&self.dir, state, &self.rescue_held(state), now_ms)?;
                self.pending.clear();
                self.db = Db::Open(Database::open(&files::database(&self.dir), false)?);
            }
        }
        if self.standby.is_none() {
            let held = self.database()?.held()?;
            self.standby = Some(Standby::create(&self.dir, state, &held)?);
        }
        Ok(())
    }

    /// The held changes of a database that is to be built anew: from the standby copy, or else from what can still be
    /// read of the old one.
    fn rescue_held(&self, state: &State) -> HeldList {
        let standby = match chain::Chain::read(&self.dir) {
            Ok(Some(chain)) if chain.tip() == Some(state.position()) => return chain.held,
            Ok(_) => "it is missing or behind".to_owned(),
            Err(why) => why,
        };
        let old = Database::open(&files::database(&self.dir), true).and_then(|db| db.held());
        old.unwrap_or_else(|database| {
            tracing::error!(%database, standby, "neither copy tells which changes are held; propose them again");
            HeldList::new()
        })
    }

    fn database(&self) -> Result<&Database, DbError> {
        match &self.db {
            Db::Open(db) => Ok(db),
            _ => Err(DbError::Io(io::Error::other("the database is not open"))),
        }
    }

    /// The whole of a held change.
    pub(crate) fn held(&self, id: u64) -> Result<Option<HeldBody>, String> {
        self.database().and_then(|db| db.held_one(id)).map_err(|error| error.to_string())
    }

    /// Whether the standby journal has grown so much that [`Store::tend`] should not wait.
    pub(crate) fn wants_tending(&self) -> bool {
        self.standby.as_ref().is_some_and(Standby::has_grown)
    }

    /// Looks after the standby copy between commits: takes the end of a renewal, begins one when the journal has grown.
    pub(crate) fn tend(&mut self, state: &Arc<State>) -> Result<(), String> {
        let cannot = |error: &dyn std::fmt::Display| format!("the standby copy cannot be renewed: {error}");
        let Some(standby) = &mut self.standby else { return Ok(()) };
        standby.take_check();
        if let Some(done) = standby.renewed(false) {
            done.map_err(|error| cannot(&error))?;
        }
        if standby.wants_renewal() {
            let Db::Open(db) = &self.db else { return Ok(()) };
            let held = db.held().map_err(|error| cannot(&error))?;
            standby.renew(state.clone(), &held).map_err(|error| cannot(&error))?;
        }
        Ok(())
    }

    /// Tries whether the store can be written, after a failure.
    pub(crate) fn probe(&mut self, state: &State, now_ms: u64) -> Result<(), String> {
        fault::point("commit.before-sqlite").map_err(|error| error.to_string())?;
        self.make_whole(state, now_ms).map_err(|error| error.to_string())?;
        match &mut self.db {
            Db::Open(db) => db.probe().map_err(|error| error.to_string()),
            _ => Ok(()),
        }
    }

    /// Bytes of the database with its write-ahead log, and of the standby copy.
    pub(crate) fn sizes(&self) -> (u64, u64) {
        let path = files::database(&self.dir);
        let size = |path: &Path| path.metadata().map_or(0, |meta| meta.len());
        let standby = self.standby.as_ref().map_or(0, Standby::bytes);
        (size(&path) + size(&files::beside(&path, "-wal")), standby)
    }

    /// Waits for a renewal under way, so that nothing is written after the end.
    pub(crate) fn close(mut self) {
        if let Some(Err(error)) = self.standby.as_mut().and_then(|standby| standby.renewed(true)) {
            tracing::warn!(%error, "the standby snapshot was not finished");
        }
        self.db = Db::Gone;
        // Not left to the closing of the file: a child process that is just being started may share it for a moment.
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the data folder stays locked until the process ends");
        }
    }
}

/// Builds the database from a state beside the present one, moves that aside, and puts the new one in its place.
/// Returns where the old one went, if there was one.
fn rebuild(dir: &Path, state: &State, held: &HeldList, now_ms: u64) -> Result<Option<PathBuf>, DbError> {
    let path = files::database(dir);
    let temporary = files::beside(&path, ".new");
    files::remove_database(&temporary)?;
    if let Err(error) = Database::build(&temporary, state, held) {
        // Give the space back at once: it may be what is lacking.
        drop(files::remove_database(&temporary));
        return Err(error);
    }
    fault::point("rebuild.before-aside")?;
    let existed = ["", "-wal", "-shm"].iter().any(|suffix| files::beside(&path, suffix).exists());
    let aside = if existed { Some(files::move_aside(dir, now_ms)?) } else { None };
    fault::point("rebuild.before-rename")?;
    fs::rename(&temporary, &path)?;
    files::sync_dir(dir)?;
    Ok(aside)
}
