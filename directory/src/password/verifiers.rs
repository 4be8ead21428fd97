//! Local verifiers: what lets somebody in whose password only the gone upstream knows.
//!
//! After the upstream said yes, an argon2id hash of the password is kept, bound to a digest of what the entry says about
//! its password. When the entry says something else (a new hash, time of change, lock), the verifier is gone at once.
//! Where the account that we read with sees neither hash nor time of change, any change of the entry ends it: better one
//! verifier too few than one that outlives its password. One that the upstream has not confirmed for [`AGE_MAX_S`] is
//! gone as well.
//!
//! On disk: `verifiers`, JSON lines, only for this user to read; a line replaces the one before it with the same id.
//! Lines are appended and synced by one thread, after the answer; when most are out of date the file is written anew and
//! swapped in. A torn last line costs that verifier. At most [`PEOPLE_MAX`] are kept, the oldest go first.
//! A file that cannot be read or written (a full disk) never ends the node: it goes on with what could be read, keeps
//! new verifiers in memory, and writes all of them as soon as the disk takes them.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use inventory::entry::{Entry, EntryId};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::phc;

/// People with a verifier.
pub(super) const PEOPLE_MAX: usize = 50_000;
/// Verifiers that wait to be made.
const QUEUE_MAX: usize = 256;
/// Octets of the file that are read: several times what `PEOPLE_MAX` need.
const FILE_MAX: u64 = 64 << 20;
/// Lines out of date before the file is written anew.
const SLACK: usize = 1000;
/// Seconds for which a verifier that was confirmed is not made again.
const CONFIRMED_S: u64 = 600;

/// Seconds after its last confirmation by the upstream at which a verifier is gone: 30 days.
pub(super) const AGE_MAX_S: u64 = 30 * 86_400;
/// Seconds after which a confirmation is written to the file, so that the age survives a restart: a day.
const REMEMBER_S: u64 = 86_400;

/// What tells that a password changed.
const PASSWORD: [&str; 6] =
    ["userPassword", "pwdChangedTime", "shadowLastChange", "krbLastPwdChange", "pwdLastSet", "sambaPwdLastSet"];
/// What tells of locks.
const LOCKS: [&str; 3] = ["pwdAccountLockedTime", "pwdReset", "nsAccountLock"];
/// What tells that anything changed, best first: for entries of which none of [`PASSWORD`] can be seen.
const ANYTHING: [&str; 2] = ["entryCSN", "modifyTimestamp"];

/// Digest of what an entry says about its password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct About([u8; 16]);

impl About {
    pub(super) fn of(entry: &Entry) -> Self {
        let mut hasher = blake3::Hasher::new();
        let is_seen = |name: &&&str| !entry.values(name).is_empty();
        let anything = match PASSWORD.iter().any(|name| is_seen(&name)) {
            true => None,
            false => ANYTHING.iter().find(is_seen),
        };
        for (at, name) in PASSWORD.iter().chain(&LOCKS).chain(anything).enumerate() {
            let mut values: Vec<&[u8]> = entry.values(name).iter().map(|value| &*value.0).collect();
            values.sort_unstable();
            for value in values {
                hasher.update(&[at as u8]).update(&(value.len() as u64).to_le_bytes()).update(value);
            }
        }
        let mut out = [0; 16];
        hasher.finalize_xof().fill(&mut out);
        Self(out)
    }
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    id: EntryId,
    /// Unix seconds of the success, or of a later one that confirmed it.
    at: u64,
    about: About,
    /// PHC string; none when the verifier was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verifier: Option<Box<str>>,
}

#[derive(Debug, Clone)]
struct Verifier {
    at: u64,
    about: About,
    text: Arc<str>,
    /// Unix seconds at which the upstream last agreed with it.
    confirmed: u64,
}

enum Job {
    Learn {
        id: EntryId,
        about: About,
        password: Arc<Zeroizing<String>>,
        now_s: u64,
    },
    Drop(EntryId),
    #[cfg(test)]
    Flush(SyncSender<()>),
}

/// Counts of the store since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Verifiers made.
    pub learned: AtomicU64,
    /// Verifiers dropped because the entry says something else about its password or is gone, or for their age.
    pub dropped: AtomicU64,
    /// Successes of which none was made: the queue was full.
    pub skipped: AtomicU64,
    /// Verifiers forgotten because there were too many.
    pub evicted: AtomicU64,
    /// Lines of the file that could not be read.
    pub damaged: AtomicU64,
    /// Reads and writes that the disk refused.
    pub failed: AtomicU64,
}

type Table = Arc<Mutex<HashMap<EntryId, Verifier>>>;

fn lock(table: &Table) -> std::sync::MutexGuard<'_, HashMap<EntryId, Verifier>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The store.
pub(super) struct Verifiers {
    table: Table,
    jobs: SyncSender<Job>,
    pub(super) counters: Arc<Counters>,
}

impl Verifiers {
    /// Reads the file in a folder, which is made if need be, and starts the thread that keeps it. What the disk refuses
    /// is counted and logged; an error means that there is no thread to be had.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let counters = Arc::new(Counters::default());
        let table: Table = Arc::default();
        let mut store = Store {
            path: dir.join("verifiers"),
            file: None,
            lines: 0,
            table: table.clone(),
            counters: counters.clone(),
        };
        if let Err(error) = store.load() {
            store.refused(&error);
        }
        let (jobs, waiting) = sync_channel(QUEUE_MAX);
        std::thread::Builder::new().name("verifiers".into()).spawn(move || store.run(&waiting))?;
        Ok(Self { table, jobs, counters })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        lock(&self.table).len()
    }

    /// The verifier of an entry as it is now, at a time in Unix seconds.
    pub(super) fn of(&self, entry: &Entry, now_s: u64) -> Option<Arc<str>> {
        self.changed(entry.id, Some(entry));
        let mut table = lock(&self.table);
        let verifier = table.get(&entry.id)?;
        if now_s.saturating_sub(verifier.at.max(verifier.confirmed)) < AGE_MAX_S {
            return Some(verifier.text.clone());
        }
        table.remove(&entry.id);
        drop(table);
        self.dropped(entry.id);
        None
    }

    /// Drops the verifier of an entry that is gone or says something else about its password.
    pub(super) fn changed(&self, id: EntryId, entry: Option<&Entry>) {
        let mut table = lock(&self.table);
        let Some(verifier) = table.get(&id) else { return };
        if entry.is_some_and(|entry| About::of(entry) == verifier.about) {
            return;
        }
        table.remove(&id);
        drop(table);
        self.dropped(id);
    }

    fn dropped(&self, id: EntryId) {
        self.counters.dropped.fetch_add(1, Relaxed);
        // When the queue is full the line stays on disk, and is dropped when it is next compared.
        let _ = self.jobs.try_send(Job::Drop(id));
    }

    /// Has a verifier made of a password that the upstream just took, without waiting for it.
    pub(super) fn learn(&self, entry: &Entry, password: &Arc<Zeroizing<String>>, now_s: u64) {
        let about = About::of(entry);
        let fresh = |verifier: &Verifier| verifier.about == about && now_s < verifier.confirmed + CONFIRMED_S;
        if lock(&self.table).get(&entry.id).is_some_and(fresh) {
            return;
        }
        let job = Job::Learn { id: entry.id, about, password: password.clone(), now_s };
        if self.jobs.try_send(job).is_err() {
            self.counters.skipped.fetch_add(1, Relaxed);
        }
    }

    #[cfg(test)]
    pub(super) fn flush(&self) {
        let (done, told) = sync_channel(1);
        self.jobs.send(Job::Flush(done)).unwrap();
        told.recv().unwrap();
    }
}

/// The thread's side: the file.
struct Store {
    path: PathBuf,
    file: Option<File>,
    /// Lines in the file.
    lines: usize,
    table: Table,
    counters: Arc<Counters>,
}

impl Store {
    /// Reads what can be read, and writes it anew so that a torn line is no longer there. After an error there is no open
    /// file: the next line writes all of them.
    fn load(&mut self) -> io::Result<()> {
        let mut text = Vec::new();
        let read = match File::open(&self.path) {
            Ok(file) => io::Read::read_to_end(&mut io::Read::take(file, FILE_MAX), &mut text).map(drop),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        let mut table = lock(&self.table);
        for line in text.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice::<Kept>(line) {
                Ok(Kept { id, at, about, verifier: Some(text) }) if phc::check(&text).is_ok() => {
                    table.insert(id, Verifier { at, about, text: text.into(), confirmed: 0 });
                }
                Ok(Kept { id, verifier: None, .. }) => drop(table.remove(&id)),
                _ => drop(self.counters.damaged.fetch_add(1, Relaxed)),
            }
        }
        drop(table);
        read?;
        if text.is_empty() { Ok(()) } else { self.rewrite() }
    }

    /// Takes note of what the disk refused.
    fn refused(&mut self, error: &io::Error) {
        self.file = None;
        self.counters.failed.fetch_add(1, Relaxed);
        tracing::error!(path = %self.path.display(), %error, "password verifiers are not saved, those in memory go on; is the disk full?");
    }

    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            let done = match job {
                Job::Learn { id, about, password, now_s } => self.learn(id, about, &password, now_s),
                Job::Drop(id) => self.append(&Kept { id, at: 0, about: About([0; 16]), verifier: None }),
                #[cfg(test)]
                Job::Flush(told) => told.send(()).map_err(io::Error::other),
            };
            if let Err(error) = done {
                self.refused(&error);
            }
        }
    }

    fn learn(&mut self, id: EntryId, about: About, password: &str, now_s: u64) -> io::Result<()> {
        let known = lock(&self.table).get(&id).filter(|known| known.about == about).cloned();
        if known.is_some_and(|known| phc::matches(&known.text, password.as_bytes())) {
            let mut table = lock(&self.table);
            let Some(verifier) = table.get_mut(&id) else { return Ok(()) };
            verifier.confirmed = now_s;
            if now_s < verifier.at.saturating_add(REMEMBER_S) {
                return Ok(());
            }
            verifier.at = now_s;
            let kept = Kept { id, at: now_s, about, verifier: Some((&*verifier.text).into()) };
            drop(table);
            return self.append(&kept);
        }
        let text =
            phc::make(password.as_bytes()).ok_or_else(|| io::Error::other("the system gives no random octets"))?;
        let kept = Kept { id, at: now_s, about, verifier: Some(text.clone()) };
        let mut table = lock(&self.table);
        if table.len() >= PEOPLE_MAX
            && !table.contains_key(&id)
            && let Some(oldest) = table.iter().min_by_key(|(_, verifier)| verifier.at).map(|(id, _)| *id)
        {
            table.remove(&oldest);
            self.counters.evicted.fetch_add(1, Relaxed);
        }
        table.insert(id, Verifier { at: now_s, about, text: text.into(), confirmed: now_s });
        drop(table);
        self.counters.learned.fetch_add(1, Relaxed);
        self.append(&kept)
    }

    fn append(&mut self, kept: &Kept) -> io::Result<()> {
        let live = lock(&self.table).len();
        if self.file.is_none() || self.lines > 2 * live + SLACK {
            return self.rewrite();
        }
        let mut line = serde_json::to_vec(kept).map_err(io::Error::other)?;
        line.push(b'\n');
        if let Some(file) = &mut self.file {
            file.write_all(&line)?;
            file.sync_data()?;
        }
        self.lines += 1;
        Ok(())
    }

    /// Writes what is in memory to a new file and swaps it in.
    fn rewrite(&mut self) -> io::Result<()> {
        let mut text = Vec::new();
        let mut lines = 0;
        for (id, verifier) in lock(&self.table).iter() {
            let Verifier { at, about, text: phc, .. } = verifier;
            let kept = Kept { id: *id, at: *at, about: *about, verifier: Some((&**phc).into()) };
            serde_json::to_writer(&mut text, &kept).map_err(io::Error::other)?;
            text.push(b'\n');
            lines += 1;
        }
        if let Some(dir) = self.path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let new = self.path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        if let Some(dir) = self.path.parent() {
            File::open(dir)?.sync_all()?;
        }
        (self.file, self.lines) = (Some(file), lines);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
