//! Hints of the kernel that something happened in the folders (inotify). Nothing depends on them: they only make the
//! next look come sooner. A folder that cannot be watched, or whose file system tells nothing (NFS), is read on time.
//!
//! Limit: [`WATCHES_MAX`] folders of a source.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::ModifyKind};
use tokio::sync::Notify;

use super::{Counters, identity::Key};

/// Folders that one source watches.
const WATCHES_MAX: usize = 1024;

/// What the kernel hinted at since it was last asked.
#[derive(Debug, Default)]
pub(super) struct Hints {
    names: AtomicBool,
    wake: Notify,
}

impl Hints {
    /// Waits for a hint; one that came before counts.
    pub(super) async fn wait(&self) {
        self.wake.notified().await;
    }

    /// Whether names came or went, so that the folders are worth reading. Forgets it.
    pub(super) fn take_names(&self) -> bool {
        self.names.swap(false, Relaxed)
    }

    /// Takes an event, on the thread of the watcher.
    fn note(&self, event: &notify::Result<Event>, counters: &Counters) {
        match event {
            Ok(event) if event.need_rescan() => {
                counters.add(|c| &c.watch_overflows, 1);
                self.names.store(true, Relaxed);
            }
            Err(_) => self.names.store(true, Relaxed),
            Ok(event) => match event.kind {
                // Our own opening and reading is among these.
                EventKind::Access(_) => return,
                EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => {}
                _ => self.names.store(true, Relaxed),
            },
        }
        self.wake.notify_one();
    }
}

/// The folders that are watched.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    watched: HashMap<PathBuf, Key>,
}

impl Watch {
    /// Begins with no folder.
    pub(super) fn new(hints: Arc<Hints>, counters: Arc<Counters>) -> Self {
        let for_handler = counters.clone();
        let watcher = notify::recommended_watcher(move |event| hints.note(&event, &for_handler));
        let watcher = watcher.inspect_err(|cause| {
            counters.add(|c| &c.watch_errors, 1);
            tracing::info!(%cause, "the kernel gives no hints of changed files; folders are read every 10 s");
        });
        Self { watcher: watcher.ok(), watched: HashMap::new() }
    }

    /// Watches these folders and no others. A folder that was replaced by another of its name is watched anew.
    pub(super) fn update(&mut self, folders: &BTreeMap<PathBuf, Key>, counters: &Counters) {
        let Some(watcher) = &mut self.watcher else { return };
        self.watched.retain(|folder, key| {
            let stays = folders.get(folder) == Some(key);
            if !stays {
                // It may be gone, and its watch with it.
                let _ = watcher.unwatch(folder);
            }
            stays
        });
        for (folder, key) in folders {
            if self.watched.contains_key(folder) {
                continue;
            }
            if self.watched.len() >= WATCHES_MAX || watcher.watch(folder, RecursiveMode::NonRecursive).is_err() {
                counters.add(|c| &c.watch_errors, 1);
                continue;
            }
            self.watched.insert(folder.clone(), *key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use notify::event::{AccessKind, CreateKind, DataChange, Flag};

    use super::*;

    #[test]
    fn only_names_and_overflow_make_the_folders_worth_reading() {
        let (hints, counters) = (Hints::default(), Counters::default());
        let note = |kind| {
            hints.note(&Ok(Event::new(kind)), &counters);
            hints.take_names()
        };
        assert!(!note(EventKind::Access(AccessKind::Any)));
        assert!(!note(EventKind::Modify(ModifyKind::Data(DataChange::Any))));
        assert!(note(EventKind::Create(CreateKind::File)));
        assert!(note(EventKind::Modify(ModifyKind::Name(notify::event::RenameMode::From))));
        hints.note(&Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)), &counters);
        assert!(hints.take_names());
        assert_eq!(counters.watch_overflows.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn a_folder_that_came_anew_is_watched_anew() {
        let root = tempfile::tempdir().unwrap();
        let (hints, counters) = (Arc::new(Hints::default()), Arc::new(Counters::default()));
        let mut watch = Watch::new(hints.clone(), counters.clone());
        let folder = root.path().join("a");
        for key in [(1, 1), (1, 2)] {
            fs::create_dir(&folder).unwrap();
            watch.update(&BTreeMap::from([(folder.clone(), key)]), &counters);
            while hints.take_names() {}
            fs::write(folder.join("1.log"), "x").unwrap();
            while !hints.take_names() {
                hints.wait().await;
            }
            fs::remove_dir_all(&folder).unwrap();
        }
        watch.update(&BTreeMap::from([(root.path().join("nothing"), (0, 0))]), &counters);
        assert_eq!(counters.watch_errors.load(Relaxed), 1);
    }
}
