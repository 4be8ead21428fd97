//! Opening: which of the two copies to believe, and making the other equal.
//!
//! | database | standby copy | what happens |
//! |---|---|---|
//! | whole | ends at the same position | both are used as they are |
//! | whole | leads on from the database's position | the database missed the end (a crash between journal and commit, a lost write-ahead log): the missing changes are committed |
//! | whole | missing, damaged, or ends earlier | the standby copy is written anew |
//! | whole | ends later, on another history | the database was put back; the standby copy wins, as below |
//! | missing or damaged | whole | what is there is moved aside, the database is built from the standby copy, the epoch grows |
//! | restored by hand, and told so | whatever fits above | the epoch grows: serials after the backup were given already |
//! | missing | missing, and nothing was moved aside | a new cluster begins |
//! | anything else | | an error; nothing is touched |
//!
//! A full disk stops none of this from serving: what cannot be written now is written before the next commit.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Database, Db, DbError, Standby, Step, Store, chain::Chain, files, rebuild};
use crate::{fault, keeper::HeldList, state::State};

/// Why a store does not open. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process works on the folder.
    #[error("another process holds {path}; two must never share a data folder, stop the other one first")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The folder or a file cannot be used.
    #[error("{path}: {error}")]
    Io {
        /// Folder or file.
        path: PathBuf,
        /// What the system says.
        error: String,
    },
    /// Written by a newer version.
    #[error("{path} was written by a newer version (format {format}); install that version again")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// Two clusters in one folder.
    #[error(
        "{path} belongs to cluster {database:x}, but the standby files beside it to cluster {standby:x}; \
         move away those that do not belong here"
    )]
    Mixed {
        /// The database.
        path: PathBuf,
        /// Its cluster.
        database: u64,
        /// The standby files' cluster.
        standby: u64,
    },
    /// Neither copy can be read.
    #[error(
        "the database {path} cannot be used ({database}), nor can its standby copy standby-*.rows and standby-*.log \
         ({standby}); restore a backup of the folder and start once with --restored, or move all of its files away to \
         begin empty"
    )]
    BothUnreadable {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        database: String,
        /// What is wrong with the standby copy.
        standby: String,
    },
}

/// An opened store.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) store: Store,
    pub(crate) state: State,
    pub(crate) held: HeldList,
    /// What was recovered, for people.
    pub(crate) recovered: Option<String>,
    /// What could not be written.
    pub(crate) trouble: Option<String>,
}

struct Folder<'a> {
    dir: &'a Path,
    path: PathBuf,
    now_ms: u64,
    trouble: Option<String>,
    recovered: Option<String>,
    /// What the database lacks and could not be given.
    pending: Vec<Step>,
}

impl Store {
    /// Opens the store in `dir`, which is made if it is missing. `restored`: somebody has put a backup there, and
    /// changes that were made after it are lost, so the epoch grows.
    pub(crate) fn open(dir: &Path, restored: bool, now_ms: u64) -> Result<Opening, OpenError> {
        let io = |error: io::Error| OpenError::Io { path: dir.to_owned(), error: error.to_string() };
        fs::create_dir_all(dir).map_err(io)?;
        let lock = lock(dir)?;
        files::remove_unfinished(dir).map_err(io)?;
        let path = files::database(dir);
        let mut folder = Folder { dir, path, now_ms, trouble: None, recovered: None, pending: Vec::new() };
        // The two copies are read side by side.
        let (chain, found) = std::thread::scope(|scope| {
            let reading = scope.spawn(|| Chain::read(dir));
            let found = folder.open_database();
            (reading.join().unwrap_or_else(|_| Err("its reader has died".into())), found)
        });
        let chosen = match found {
            Ok(found) => folder.reconcile(found, chain)?,
            Err(damage) => folder.replace(&damage, chain, true)?,
        };
        let (db, state, held, chain) = if restored { folder.next_epoch(chosen)? } else { chosen };
        let standby = folder.standby(&state, chain, &held);
        let store = Self { dir: dir.to_owned(), db, standby, pending: folder.pending, lock };
        Ok(Opening { store, state, held, recovered: folder.recovered, trouble: folder.trouble })
    }
}

type Found = (Db, State, HeldList);
type Chosen = (Db, State, HeldList, Option<Chain>);

impl Folder<'_> {
    fn io(&self, error: &dyn std::fmt::Display) -> OpenError {
        OpenError::Io { path: self.path.clone(), error: error.to_string() }
    }

    /// Opens and loads the database; with a full disk, alone, without any file beside it, just to read.
    fn open_database(&mut self) -> Result<Found, DbError> {
        if !self.path.exists() {
            return Err(DbError::Damaged("it is missing".into()));
        }
        let load = |db: Database| Ok((db.load()?, db.held()?, db));
        match Database::open(&self.path, false).and_then(load) {
            Ok((state, held, db)) => Ok((Db::Open(db), state, held)),
            Err(error) if error.is_damage() || matches!(error, DbError::Newer(_)) => Err(error),
            Err(first) => {
                let (state, held, _) = Database::open(&self.path, true).and_then(load)?;
                self.trouble = Some(format!("{} cannot be written: {first}", self.path.display()));
                Ok((Db::Shut, state, held))
            }
        }
    }

    /// Compares a whole database with the standby copy.
    fn reconcile(
        &mut self,
        (db, state, held): Found,
        chain: Result<Option<Chain>, String>,
    ) -> Result<Chosen, OpenError> {
        let mine = state.position();
        let chain = match chain {
            Ok(chain) => chain,
            Err(why) => {
                tracing::warn!(%why, "the standby copy is unreadable and will be written anew");
                None
            }
        };
        let Some((chain, tip)) = chain.and_then(|chain| chain.tip().map(|tip| (chain, tip))) else {
            return Ok((db, state, held, None));
        };
        if tip.cluster_id != mine.cluster_id {
            let (database, standby) = (mine.cluster_id, tip.cluster_id);
            return Err(OpenError::Mixed { path: self.path.clone(), database, standby });
        }
        if chain.contains(&mine) {
            return self.catch_up((db, state, held), chain);
        }
        if (tip.epoch, tip.serial) > (mine.epoch, mine.serial) {
            drop(db);
            let why = DbError::Damaged(format!(
                "it is at epoch {} serial {}, behind its standby copy at epoch {} serial {}",
                mine.epoch, mine.serial, tip.epoch, tip.serial
            ));
            return self.replace(&why, Ok(Some(chain)), false);
        }
        tracing::warn!("the standby copy is behind the database and will be written anew");
        Ok((db, state, held, None))
    }

    /// Commits what only the standby journal has: it is synced first, so the database may lack the end of it.
    fn catch_up(&mut self, (mut db, state, present): Found, chain: Chain) -> Result<Chosen, OpenError> {
        let (serial, tip) = (state.position().serial, chain.tip());
        let (mut next, mut steps) = (state, Vec::new());
        if tip != Some(next.position()) {
            for (set, after) in chain.sets_after(self.dir, serial).map_err(|e| self.io(&e))? {
                let conflict = |_| self.io(&format!("change {} of the standby journal does not fit", set.serial));
                next = next.apply(set.clone()).map_err(conflict)?;
                steps.push(Step::Change { set, after });
            }
        }
        let gone = present.bodies.iter().filter(|body| !chain.held.bodies.contains(body));
        steps.extend(gone.map(|body| Step::Unhold(body.id)));
        let lacking = chain.held.bodies.iter().filter(|body| !present.bodies.contains(body));
        steps.extend(lacking.map(|body| Step::Hold(Arc::new(body.clone()))));
        if chain.held.next > present.next {
            // Numbers that were given and taken back: the last of them keeps the others from being given again.
            let last = chain.held.next - 1;
            if !chain.held.bodies.iter().any(|body| body.id == last) {
                steps.push(Step::Unhold(last));
            }
        }
        let mut held = chain.held.clone();
        held.raise(present.next);
        if steps.is_empty() {
            return Ok((db, next, held, Some(chain)));
        }
        tracing::info!(steps = steps.len(), serial, "committing what only the standby journal has");
        let committed = match &mut db {
            Db::Open(open) => open.commit(&steps, || fault::point("open.before-commit")),
            _ => Err(DbError::Io(io::Error::other("it is not open"))),
        };
        if let Err(error) = committed {
            self.trouble = Some(format!("{} cannot be written: {error}", self.path.display()));
            // A lack of space is no damage: the database stays and is given the rest when it can be written.
            db = if error.is_damage() { Db::Gone } else { Db::Shut };
            self.pending = steps;
        }
        Ok((db, next, held, Some(chain)))
    }

    /// Goes on in the next epoch, on disk before anything is served from it. The standby copy is written anew.
    fn next_epoch(&mut self, (mut db, state, held, _): Chosen) -> Result<Chosen, OpenError> {
        let position = state.position();
        let epoch = position.epoch + 1;
        match &mut db {
            Db::Open(open) => open.set_epoch(epoch).map_err(|e| self.io(&e))?,
            _ => return Err(self.io(&"the new epoch of the restored folder cannot be written; make room first")),
        }
        let done = format!("the restored folder goes on at serial {} in epoch {epoch}", position.serial);
        let before = self.recovered.take().map_or(String::new(), |before| before + "; ");
        self.recovered = Some(before + &done);
        Ok((db, state.in_epoch(epoch), held, None))
    }

    /// Builds the database from the standby copy, or begins a new cluster in an empty folder.
    fn replace(
        &mut self,
        why: &DbError,
        chain: Result<Option<Chain>, String>,
        may_begin: bool,
    ) -> Result<Chosen, OpenError> {
        if let DbError::Newer(format) = why {
            return Err(OpenError::Newer { path: self.path.clone(), format: *format });
        }
        if !why.is_damage() {
            // Permission, a lock, a full disk that even reading cannot do without: not for us to move anything.
            return Err(self.io(why));
        }
        let both =
            |standby: String| OpenError::BothUnreadable { path: self.path.clone(), database: why.to_string(), standby };
        let chain = match chain {
            Ok(Some(chain)) => chain,
            Ok(None) if may_begin && self.is_new().map_err(|e| self.io(&e))? => return self.begin(),
            Ok(None) => return Err(both("it is missing".into())),
            Err(damage) => return Err(both(damage)),
        };
        let state = chain.state(self.dir).map_err(both)?;
        let position = state.position();
        let state = state.in_epoch(position.epoch + 1);
        let (db, aside) = match self.put_in_place(&state, &chain.held) {
            Ok((db, aside)) => (Db::Open(db), aside),
            Err(error) => {
                self.trouble = Some(format!("{} cannot be written: {error}", self.path.display()));
                (Db::Gone, None)
            }
        };
        let kept = aside.map_or(String::new(), |aside| format!("; the old file is kept as {}", aside.display()));
        self.recovered = Some(format!(
            "the database {} could not be used ({why}) and was replaced by its standby copy at serial {}, now epoch {}{kept}",
            self.path.display(),
            position.serial,
            position.epoch + 1,
        ));
        let held = chain.held.clone();
        Ok((db, state, held, Some(chain)))
    }

    fn put_in_place(&self, state: &State, held: &HeldList) -> Result<(Database, Option<PathBuf>), DbError> {
        let aside = rebuild(self.dir, state, held, self.now_ms)?;
        Ok((Database::open(&self.path, false)?, aside))
    }

    /// Whether nothing was ever here: no database, no rest of one, nothing moved aside.
    fn is_new(&self) -> io::Result<bool> {
        let rest = ["", "-wal"].iter().any(|suffix| files::beside(&self.path, suffix).exists());
        Ok(!rest && !files::has_damaged(self.dir)?)
    }

    fn begin(&self) -> Result<Chosen, OpenError> {
        let state = State::empty(Database::random().map_err(|e| self.io(&e))?);
        let (db, _) = self.put_in_place(&state, &HeldList::new()).map_err(|e| self.io(&e))?;
        Ok((Db::Open(db), state, HeldList::new(), None))
    }

    /// Goes on with the standby copy if it ends at the state, or writes it anew.
    fn standby(&mut self, state: &State, chain: Option<Chain>, held: &HeldList) -> Option<Standby> {
        let ready = match chain {
            Some(chain) if chain.tip() == Some(state.position()) && chain.held.bodies == held.bodies => {
                Standby::resume(self.dir, &chain)
            }
            _ => Standby::create(self.dir, state, held),
        };
        match ready {
            Ok(standby) => Some(standby),
            Err(error) => {
                self.trouble = Some(format!("the standby copy in {} cannot be written: {error}", self.dir.display()));
                None
            }
        }
    }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let io = |error: io::Error| OpenError::Io { path: path.clone(), error: error.to_string() };
    let file = File::options().create(true).append(true).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path }),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}
