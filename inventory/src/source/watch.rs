//! Watching the inventory folder.
//!
//! The system's notices are only a hint to look: every look reads the whole folder, and the result
//! is sent when it differs from the one sent last. The folder is read when its files have been still for
//! a second, so that a file that is written slowly is not taken by halves; who writes with longer pauses
//! writes under another name and renames. A timer looks without any hint, so a lost notice,
//! a file system without notices or a folder that was made anew costs time, never correctness.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::AccessKind, event::AccessMode};
use tokio::{
    sync::{Notify, mpsc},
    task, time,
};

use super::{Defaults, Fault, folder};
use crate::change::Row;

/// How long after a hint the folder is looked at: an editor may take the old file away first.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How long names, lengths and times of the files must have been the same: a file that is still being written
/// must not be taken for the whole.
const STILL: Duration = Duration::from_secs(1);
/// Shortest pause before the files are looked at again while they change.
const STILL_LOOK: Duration = Duration::from_millis(20);
/// How long the files may keep changing until that is told; they are not read before they are still.
const RESTLESS: Duration = Duration::from_secs(30);
/// Shortest time between two looks of the timer.
const EVERY_MIN: Duration = Duration::from_millis(10);

/// What a look at the folder gave.
#[derive(Debug)]
pub enum Reading {
    /// The whole inventory of the folder. No files is possible: the folder is there and empty.
    Rows {
        /// All rows.
        rows: Vec<Row>,
        /// How many files they come from.
        files: usize,
    },
    /// The folder is not to be applied; the former state stays.
    Broken(Vec<Fault>),
}

/// Sends a [`Reading`] at once, and again whenever the folder's content has changed.
///
/// Looks upon hints of the system, every `every`, and upon `reload` (woken by `notify_one`), after which a
/// reading is sent even if nothing has changed. Ends when the receiver is gone. A full channel makes it wait.
pub async fn watch_folder(
    dir: PathBuf,
    defaults: Defaults,
    every: Duration,
    reload: Arc<Notify>,
    out: mpsc::Sender<Reading>,
) {
    let hint = Arc::new(Notify::new());
    let fresh = || Look { dir: dir.clone(), defaults: defaults.clone(), hints: Hints::new(dir.clone(), hint.clone()) };
    let mut look = fresh();
    let mut sent = None;
    let mut always = true;
    loop {
        let Some(told) = still(&dir, &out).await else { return };
        always |= told;
        let known = if always { None } else { sent };
        let looked = task::spawn_blocking(move || {
            let seen = look.read(known);
            (look, seen)
        });
        let seen = match looked.await {
            Ok((same, seen)) => {
                look = same;
                seen
            }
            Err(cause) => {
                tracing::error!(folder = %dir.display(), %cause, "reading the inventory folder failed; it is tried again");
                look = fresh();
                None
            }
        };
        if let Some((fingerprint, reading)) = seen {
            if out.send(reading).await.is_err() {
                return;
            }
            sent = Some(fingerprint);
        }
        always = tokio::select! {
            biased;
            () = out.closed() => return,
            () = reload.notified() => true,
            () = hint.notified() => {
                time::sleep(DEBOUNCE).await;
                false
            }
            () = time::sleep(every.max(EVERY_MIN)) => false,
        };
    }
}

/// Waits until the files have been still. Whether a sentence was sent meanwhile, so that a reading must follow;
/// None when nobody waits for readings any more.
///
/// Files whose last change is long enough ago, as after a rename, are still at once. The clock of a file system
/// may differ from ours, so files that stay the same for as long are still whatever their times say.
async fn still(dir: &Path, out: &mpsc::Sender<Reading>) -> Option<bool> {
    let begin = time::Instant::now();
    let (mut known, mut since, mut told) = (None, begin, false);
    loop {
        let path = dir.to_owned();
        let Ok(now) = task::spawn_blocking(move || folder::stamps(&path)).await else { return Some(told) };
        let Some(stamps) = &now else { return Some(told) };
        let age = folder::last_change(stamps).map_or(STILL, |at| at.elapsed().unwrap_or_default());
        if known != now {
            (known, since) = (now, time::Instant::now());
        }
        let rest = STILL.saturating_sub(age.max(since.elapsed()));
        if rest.is_zero() {
            return Some(told);
        }
        if begin.elapsed() > RESTLESS && !told {
            told = true;
            if out.send(Reading::Broken(folder::restless(dir))).await.is_err() {
                return None;
            }
        }
        tokio::select! {
            () = out.closed() => return None,
            () = time::sleep(rest.max(STILL_LOOK)) => {}
        }
    }
}

/// What one look needs; it moves to a blocking thread and back.
struct Look {
    dir: PathBuf,
    defaults: Defaults,
    hints: Hints,
}

impl Look {
    /// Reads the folder. None when its fingerprint is the `known` one.
    fn read(&mut self, known: Option<[u8; 32]>) -> Option<([u8; 32], Reading)> {
        // Hints first: what changes after this is noticed.
        self.hints.arm();
        let (fingerprint, parsed) = match folder::snapshot(&self.dir) {
            Ok(files) => {
                let fingerprint = files.fingerprint();
                if known == Some(fingerprint) {
                    return None;
                }
                let count = files.len();
                (fingerprint, files.parse(&self.dir, &self.defaults).map(|rows| (rows, count)))
            }
            Err(faults) => (of_faults(&faults), Err(faults)),
        };
        if known == Some(fingerprint) {
            return None;
        }
        Some((
            fingerprint,
            match parsed {
                Ok((rows, files)) => Reading::Rows { rows, files },
                Err(faults) => Reading::Broken(faults),
            },
        ))
    }
}

fn of_faults(faults: &[Fault]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("gatehouse inventory faults");
    for fault in faults {
        hasher.update(fault.to_string().as_bytes());
        hasher.update(b"\n");
    }
    *hasher.finalize().as_bytes()
}

/// The system's notices for the folder, set up again when the folder is another one.
struct Hints {
    dir: PathBuf,
    hint: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
    /// Device and inode of the folder that is watched.
    watched: Option<(u64, u64)>,
    /// Set when the folder that is watched was removed or renamed.
    stale: Arc<AtomicBool>,
    complained: bool,
}

impl Hints {
    fn new(dir: PathBuf, hint: Arc<Notify>) -> Self {
        Self { dir, hint, watcher: None, watched: None, stale: Arc::default(), complained: false }
    }

    /// Makes sure that the folder at the path is the one that is watched.
    fn arm(&mut self) {
        let identity = fs::metadata(&self.dir).ok().map(|meta| (meta.dev(), meta.ino()));
        let stale = self.stale.swap(false, Ordering::AcqRel);
        if identity.is_some() && identity == self.watched && !stale {
            return;
        }
        (self.watcher, self.watched) = (None, None);
        if identity.is_none() {
            return;
        }
        match self.watch() {
            Ok(watcher) => (self.watcher, self.watched) = (Some(watcher), identity),
            Err(cause) if !self.complained => {
                self.complained = true;
                tracing::warn!(folder = %self.dir.display(), %cause, "no notices of changes; the folder is read by the timer alone");
            }
            Err(_) => {}
        }
    }

    fn watch(&self) -> notify::Result<RecommendedWatcher> {
        let (hint, stale, dir) = (self.hint.clone(), self.stale.clone(), self.dir.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return hint.notify_one() };
            match event.kind {
                // Our own reading opens files; only a close after writing is news.
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
                EventKind::Access(_) => return,
                EventKind::Remove(_) | EventKind::Modify(notify::event::ModifyKind::Name(_))
                    if event.paths.contains(&dir) =>
                {
                    stale.store(true, Ordering::Release);
                }
                _ => {}
            }
            hint.notify_one();
        })?;
        watcher.watch(&self.dir, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }
}
