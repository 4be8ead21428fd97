//! Watching the LDIF file: it is read when its time, its length or the file itself has changed and has then been still
//! for a second, and when somebody asks. A file that is wrong changes nothing but the status.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use inventory::{Entry, Keeper};
use tokio::{sync::Notify, time};
use tokio_util::sync::CancellationToken;

use super::LdifError;
use crate::follow::{
    Phase, Status, content,
    publish::{self, Waiting},
    status::now_ms,
};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often it is looked at while it changes, and how long it must have been still.
const STILL_LOOK: Duration = Duration::from_millis(250);
const STILL: Duration = Duration::from_secs(1);

/// What tells one state of the file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    length: u64,
    modified: Option<SystemTime>,
    /// Seconds and nanoseconds of the change of the inode: tools that set the old time of a file again leave a trace here.
    changed: (i64, i64),
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some(Stamp {
        inode: (meta.dev(), meta.ino()),
        length: meta.len(),
        modified: meta.modified().ok(),
        changed: (meta.ctime(), meta.ctime_nsec()),
    })
}

/// Keeps the directory as the file is until `shutdown`. `reload` (woken by `notify_one`) reads it at once.
pub async fn follow(
    path: PathBuf,
    keeper: Keeper,
    status: Arc<Status>,
    reload: Arc<Notify>,
    shutdown: CancellationToken,
) {
    let mut watch = Watch { path, keeper, status, applied: false, waiting: None };
    let source = watch.path.display().to_string();
    watch.status.serves(&watch.keeper.state());
    watch.status.change(|report| report.source = source);
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = watch.run(&reload) => {}
    }
    watch.status.phase(Phase::Stopped, "");
}

struct Watch {
    path: PathBuf,
    keeper: Keeper,
    status: Arc<Status>,
    /// What the file held when it was last read is what is served.
    applied: bool,
    waiting: Option<Waiting>,
}

impl Watch {
    async fn run(&mut self, reload: &Notify) {
        let mut known = None;
        loop {
            let now = self.still(known).await;
            if known != Some(now) {
                self.read().await;
                known = Some(now);
            } else if self.applied {
                self.status.in_step(now_ms());
            }
            let decided = self.waiting.as_ref().is_some_and(|waiting| !waiting.is_held(&self.keeper));
            if decided {
                // Somebody has accepted or discarded it; reading it again tells which.
                known = None;
                self.waiting = None;
                continue;
            }
            tokio::select! {
                () = reload.notified() => known = None,
                () = self.status.retried() => known = None,
                () = time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// The stamp of the file, once it is still, or as soon as it is the known one.
    async fn still(&self, known: Option<Option<Stamp>>) -> Option<Stamp> {
        let mut last = self.stamp().await;
        let mut since = time::Instant::now();
        loop {
            let age = last.and_then(|stamp| stamp.modified).and_then(|at| at.elapsed().ok()).unwrap_or_default();
            if known == Some(last) || last.is_none() || age.max(since.elapsed()) >= STILL {
                return last;
            }
            time::sleep(STILL_LOOK).await;
            let now = self.stamp().await;
            if now != last {
                (last, since) = (now, time::Instant::now());
            }
        }
    }

    async fn stamp(&self) -> Option<Stamp> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || stamp(&path)).await.ok().flatten()
    }

    async fn read(&mut self) {
        let (path, state) = (self.path.clone(), self.keeper.state());
        let at = now_ms();
        let reading = tokio::task::spawn_blocking(move || super::read(&path).map(|all| content(&state, all)));
        self.applied = false;
        match reading.await {
            Ok(Ok(None)) => self.fine(at),
            Ok(Ok(Some(entries))) => self.publish(entries, at).await,
            Ok(Err(faults)) => self.broken(&faults),
            Err(_) => self.broken(&[LdifError::of_file("reading it failed")]),
        }
    }

    async fn publish(&mut self, entries: Vec<Arc<Entry>>, at: u64) {
        let why = format!("all of {}", self.path.display());
        let proposed =
            publish::propose_whole(&self.keeper, &self.status, entries, None, self.waiting.as_ref(), &why).await;
        match proposed {
            Ok(Ok(())) => self.fine(at),
            Ok(Err(waiting)) => {
                let (id, reasons) = (waiting.id, &waiting.reasons);
                let why = format!("change {id} is held: {reasons}; look at it and accept it, or mend the file");
                self.status
                    .phase_with(Phase::Held, why, |report| (report.held, report.faults) = (Some(id), Vec::new()));
                self.waiting = Some(waiting);
            }
            Err(why) => self.broken(&[LdifError::of_file(why)]),
        }
    }

    fn fine(&mut self, at: u64) {
        (self.applied, self.waiting) = (true, None);
        let entries = self.keeper.state().entry_count() as u64;
        self.status.phase_with(Phase::Following, "", |report| {
            report.faults.clear();
            report.entries = entries;
            report.refreshes += 1;
        });
        self.status.in_step(at);
    }

    fn broken(&self, faults: &[LdifError]) {
        let told: Vec<String> = faults.iter().map(|fault| format!("{}: {fault}", self.path.display())).collect();
        let first = told.first().cloned().unwrap_or_default();
        tracing::warn!(faults = told.len(), %first, "the directory is not taken from the file; what was known is served");
        self.status.phase_with(Phase::Broken, first, |report| {
            report.discarded += 1;
            report.faults = told;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, time::Instant};

    use super::*;

    #[test]
    fn a_file_with_its_former_length_and_time_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("people.ldif");
        fs::write(&path, "one").unwrap();
        let before = stamp(&path).unwrap();
        let began = Instant::now();
        loop {
            fs::write(&path, "two").unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(before.modified.unwrap()).unwrap();
            let now = stamp(&path).unwrap();
            assert_eq!((now.inode, now.length, now.modified), (before.inode, before.length, before.modified));
            // Clocks of file systems go in steps of some milliseconds.
            if now != before {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(20));
        }
    }
}
