//! From the watched folder to the keeper, and how that went.
//!
//! Each reading is proposed as a whole. What cannot be stored now is tried again with growing
//! pauses until it succeeds or a newer reading takes its place; what contradicts the inventory is
//! tried again once the inventory has changed; what is wrong waits for the next reading. Either way the old state stays and the status says why.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use inventory::{
    Author, Edit, Keeper, Outcome, Proposal, Refused, Row, State,
    source::{self, Reading},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::clock;

/// Who proposes what the folder holds.
const FOLDER: &str = "file";
/// Readings that wait; a newer one makes an older one pointless.
const READINGS_MAX: usize = 1;
/// First and longest pause before a refused reading is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// How often sources are looked at until all have come to something.
const SETTLED_LOOK: Duration = Duration::from_millis(10);
/// How often a held change is looked at.
const HELD_LOOK: Duration = Duration::from_secs(1);
/// How often a reading that clashes looks whether the inventory has changed.
const CLASH_LOOK: Duration = Duration::from_millis(250);
/// Faults that are kept for the status; the rest is counted.
const FAULTS_MAX: usize = 100;

/// How one source is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceStatus {
    /// What it is: `folder /etc/gatehouse/inventory`.
    pub name: String,
    /// When it was last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_ms: Option<u64>,
    /// When what it holds last became what is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok_ms: Option<u64>,
    /// Files of the last reading that was in order.
    pub files: usize,
    /// Rows of that reading.
    pub rows: usize,
    /// Faults of the last reading, with file, line and key.
    #[serde(default)]
    pub faults: Vec<String>,
    /// How many faults there are in all.
    pub fault_count: usize,
    /// Why it stands still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble_since_ms: Option<u64>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// What a reading or a proposal came to.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// It is what is served.
    Fine { files: usize, rows: usize },
    /// It stands still; `held` is the number of the change that waits for a person.
    Stuck {
        trouble: String,
        /// What is wrong, one sentence each; the last may say how many more there are.
        faults: Vec<String>,
        /// How many faults there are in all.
        count: usize,
        remedy: String,
        held: Option<u64>,
    },
}

impl News {
    fn held(&self) -> Option<u64> {
        match self {
            Self::Stuck { held, .. } => *held,
            Self::Fine { .. } => None,
        }
    }
}

impl SourceStatus {
    fn note(&mut self, news: News, now_ms: u64) {
        match news {
            News::Fine { files, rows } => {
                *self = Self {
                    name: std::mem::take(&mut self.name),
                    read_ms: self.read_ms,
                    ok_ms: Some(now_ms),
                    files,
                    rows,
                    ..Self::default()
                }
            }
            News::Stuck { trouble, faults, count, remedy, .. } => {
                self.trouble_since_ms.get_or_insert(now_ms);
                self.trouble = Some(trouble);
                self.remedy = Some(remedy);
                self.fault_count = count;
                self.faults = faults.into_iter().take(FAULTS_MAX).collect();
            }
        }
    }
}

/// How all sources are; written by their tasks, read by status and metrics.
#[derive(Default)]
pub(crate) struct Sources(Mutex<Vec<SourceStatus>>);

impl Sources {
    /// A copy for a report.
    pub(crate) fn all(&self) -> Vec<SourceStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A new source under its name; the number is how its task finds it again.
    pub(crate) fn add(&self, name: String) -> usize {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(SourceStatus { name, ..SourceStatus::default() });
        all.len() - 1
    }

    /// Waits until every source has come to something, good or bad.
    pub(crate) async fn settled(&self) {
        while self.all().iter().any(|s| s.ok_ms.is_none() && s.trouble.is_none()) {
            tokio::time::sleep(SETTLED_LOOK).await;
        }
    }

    fn change(&self, index: usize, change: impl FnOnce(&mut SourceStatus)) {
        if let Some(status) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
            change(status);
        }
    }
}

/// The watched folder.
pub(crate) struct Folder {
    /// Its number among the sources.
    pub index: usize,
    /// Where it is.
    pub path: std::path::PathBuf,
    /// What its files take for granted.
    pub defaults: source::Defaults,
    /// Time between full readings.
    pub every: Duration,
    /// Rung for a reading at once.
    pub reload: Arc<Notify>,
}

/// Follows the folder until `shutdown`.
///
/// # Errors
/// Why the folder can no longer be followed.
pub(crate) async fn follow(
    folder: Folder,
    keeper: Keeper,
    sources: Arc<Sources>,
    shutdown: CancellationToken,
) -> Result<(), String> {
    let index = folder.index;
    let (out, mut readings) = mpsc::channel(READINGS_MAX);
    let watch = source::watch_folder(folder.path, folder.defaults, folder.every, folder.reload, out);
    let apply = async {
        let mut waiting = None;
        loop {
            let reading = match waiting.take() {
                Some(reading) => reading,
                None => match readings.recv().await {
                    Some(reading) => reading,
                    None => return Err("the folder is no longer watched".to_owned()),
                },
            };
            sources.change(index, |s| s.read_ms = Some(clock::now_ms()));
            waiting = settle(reading, &keeper, &mut readings, |news| {
                sources.change(index, |s| s.note(news, clock::now_ms()));
            })
            .await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        _ = watch => Err("the watch on the folder ended".into()),
        ended = apply => ended,
    }
}

/// Takes one reading as far as it goes; returns a newer reading that came in between.
async fn settle(
    reading: Reading,
    keeper: &Keeper,
    newer: &mut mpsc::Receiver<Reading>,
    tell: impl Fn(News),
) -> Option<Reading> {
    let (rows, files) = match reading {
        Reading::Rows { rows, files } => (rows, files),
        Reading::Broken(faults) => {
            let count = source::count(&faults);
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            tracing::error!(
                faults = count,
                "the inventory stays as it was, for its files are wrong: {}",
                faults.join(" | ")
            );
            tell(broken(faults, count));
            return None;
        }
    };
    let mut pause = RETRY_FIRST;
    loop {
        let seen = clash(keeper);
        let (news, again) = judged(propose(keeper, rows.clone()).await, files, rows.len());
        if let News::Stuck { trouble, faults, .. } = &news {
            tracing::warn!("the folder's inventory is not served: {trouble} {}", faults.join(" | "));
        }
        let held = news.held();
        tell(news);
        if let Some(id) = held {
            tokio::select! {
                reading = newer.recv() => return reading,
                () = until_decided(keeper, id) => tell(decided(&keeper.state(), &rows, files)),
            }
        }
        let wait = async {
            match again {
                Again::No => {}
                Again::Soon => tokio::time::sleep(pause).await,
                Again::AfterChange => {
                    // A pause as well: the inventory may change many times a second, and this reading may be large.
                    tokio::time::sleep(pause).await;
                    while clash(keeper) == seen {
                        tokio::time::sleep(CLASH_LOOK).await;
                    }
                }
            }
        };
        if again == Again::No {
            return None;
        }
        tokio::select! {
            reading = newer.recv() => return reading,
            () = wait => pause = (pause * 2).min(RETRY_LONGEST),
        }
    }
}

/// What a reading can clash with: the serial of the state and how many changes are held.
fn clash(keeper: &Keeper) -> (u64, usize) {
    (keeper.state().position().serial, keeper.held().len())
}

/// Waits until somebody has accepted or discarded a held change.
async fn until_decided(keeper: &Keeper, id: u64) {
    while keeper.held().iter().any(|held| held.id == id) {
        tokio::time::sleep(HELD_LOOK).await;
    }
}

/// What a decision on the held change means: accepted, the rows are what is served; otherwise it was discarded.
fn decided(state: &State, rows: &[Row], files: usize) -> News {
    let own = |row: &Row| row.source() == FOLDER || row.source().starts_with("file:");
    let served = rows.iter().all(|row| state.get(&row.key()).as_ref() == Some(row));
    match served && state.rows().filter(own).count() == rows.len() {
        true => News::Fine { files, rows: rows.len() },
        false => News::Stuck {
            trouble: "its last change was discarded, so its files differ from what is served".into(),
            faults: Vec::new(),
            count: 0,
            remedy: "correct the files, or send SIGHUP to propose them again".into(),
            held: None,
        },
    }
}

async fn propose(keeper: &Keeper, rows: Vec<Row>) -> Result<Outcome, Refused> {
    let author = Author { who: FOLDER.into(), when_ms: clock::now_ms(), why: String::new() };
    keeper.propose(Proposal { author, edits: vec![Edit::Sync { source: FOLDER.into(), rows }] }).await
}

fn broken(faults: Vec<String>, count: usize) -> News {
    let trouble = match faults.first() {
        Some(first) if count <= 1 => format!("{first}; nothing of the folder was applied"),
        Some(first) => format!("{first}; and {} more; nothing of the folder was applied", count - 1),
        None => "the folder cannot be read".into(),
    };
    let remedy = "correct the files; they are read again as soon as they change".into();
    News::Stuck { trouble, faults, count, remedy, held: None }
}

/// Whether a reading is proposed again without a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// No: it is done, or waits for a person.
    No,
    /// After a pause: nothing is wrong with it.
    Soon,
    /// When the inventory or the held changes are others: what it clashes with may be gone.
    AfterChange,
}

/// What a proposal came to, and whether to try it again.
fn judged(outcome: Result<Outcome, Refused>, files: usize, rows: usize) -> (News, Again) {
    let stuck = |trouble: String, faults: Vec<String>, remedy: &str| {
        let (remedy, count) = (remedy.into(), faults.len());
        News::Stuck { trouble, faults, count, remedy, held: None }
    };
    match outcome {
        Ok(Outcome::Applied { .. } | Outcome::Unchanged { .. }) => (News::Fine { files, rows }, Again::No),
        Ok(Outcome::Held { id, reasons }) => {
            let trouble = format!("its last change is held: {}", reasons.join("; "));
            let remedy = crate::api::forms::remedy(id);
            (News::Stuck { trouble, faults: Vec::new(), count: 0, remedy, held: Some(id) }, Again::No)
        }
        Err(Refused::Conflicts(all)) => {
            let trouble = "its files contradict what is there; nothing of the folder was applied".into();
            let remedy = "correct the files, or remove what they clash with; either way they are proposed again";
            (stuck(trouble, all, remedy), Again::AfterChange)
        }
        Err(Refused::NotDurable(why)) => {
            (stuck(format!("it cannot be stored: {why}"), Vec::new(), "it is tried again; see the store"), Again::Soon)
        }
        Err(Refused::Busy) => (stuck("the store is busy".into(), Vec::new(), "it is tried again"), Again::Soon),
        Err(Refused::Stopped) => (stuck("the store has stopped".into(), Vec::new(), "restart the node"), Again::No),
    }
}

#[cfg(test)]
mod tests {
    use inventory::source::Defaults;

    use super::*;

    fn hosts(n: u8) -> String {
        (1..=n)
            .map(|i| format!("[[host]]\nname = \"web{i}\"\nzone = \"us-east-1a\"\nprivate_ip = \"10.0.0.{i}\"\n"))
            .collect()
    }

    struct Watched {
        dir: tempfile::TempDir,
        keeper: Keeper,
        sources: Arc<Sources>,
        reload: Arc<Notify>,
        shutdown: CancellationToken,
        task: tokio::task::JoinHandle<Result<(), String>>,
    }

    /// A folder of four hosts that is being followed.
    async fn watched() -> Watched {
        let dir = tempfile::tempdir().unwrap();
        let inventory = dir.path().join("inventory");
        std::fs::create_dir(&inventory).unwrap();
        std::fs::write(inventory.join("hosts.toml"), hosts(4)).unwrap();
        let keeper = Keeper::open(&dir.path().join("data"), Arc::new(|_, _, _| Vec::new())).unwrap().keeper;
        let (sources, reload, shutdown) =
            (Arc::new(Sources::default()), Arc::new(Notify::new()), CancellationToken::new());
        let defaults = Defaults { product: "acme".into() };
        let index = sources.add("folder".into());
        let folder =
            Folder { index, path: inventory, defaults, every: Duration::from_millis(50), reload: reload.clone() };
        let task = tokio::spawn(follow(folder, keeper.clone(), sources.clone(), shutdown.clone()));
        let watched = Watched { dir, keeper, sources, reload, shutdown, task };
        watched.until(|s| s.ok_ms.is_some()).await;
        watched
    }

    impl Watched {
        async fn until(&self, wanted: impl Fn(&SourceStatus) -> bool) {
            let look = async {
                while !self.sources.all().first().is_some_and(&wanted) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let seen = tokio::time::timeout(Duration::from_secs(20), look).await;
            assert!(seen.is_ok(), "{:?}", self.sources.all());
        }

        fn save(&self, text: &str) {
            std::fs::write(self.dir.path().join("inventory/hosts.toml"), text).unwrap();
        }

        async fn end(self) {
            self.shutdown.cancel();
            assert_eq!(self.task.await.unwrap(), Ok(()));
        }
    }

    #[tokio::test]
    async fn a_broken_file_changes_nothing_and_is_named_until_it_is_mended() {
        let watched = watched().await;
        watched.save(&format!("{}[[host]]\nname = \"web_9\"\n", hosts(4)));
        watched.until(|s| s.faults.iter().any(|f| f.starts_with("hosts.toml:"))).await;
        assert_eq!(watched.keeper.state().host_count(), 4);
        watched.save(&hosts(5));
        watched.until(|s| s.trouble.is_none() && s.rows == 5).await;
        assert_eq!(watched.keeper.state().host_count(), 5);
        watched.end().await;
    }

    #[tokio::test]
    async fn a_held_reading_is_fine_once_it_is_accepted_and_stuck_once_it_is_discarded() {
        let watched = watched().await;
        let author = || Author { who: "alice".into(), when_ms: 1, why: String::new() };
        watched.save(&hosts(1));
        watched.until(|s| s.trouble.as_ref().is_some_and(|t| t.contains("is held"))).await;
        let id = watched.keeper.held()[0].id;
        watched.keeper.discard(id, author()).await.unwrap();
        watched.until(|s| s.trouble.as_ref().is_some_and(|t| t.contains("was discarded"))).await;
        assert_eq!(watched.keeper.state().host_count(), 4);
        watched.reload.notify_one();
        watched.until(|s| s.trouble.as_ref().is_some_and(|t| t.contains("is held"))).await;
        let id = watched.keeper.held()[0].id;
        watched.keeper.accept(id, author()).await.unwrap();
        watched.until(|s| s.trouble.is_none()).await;
        assert_eq!(watched.keeper.state().host_count(), 1);
        watched.end().await;
    }

    #[tokio::test]
    async fn a_folder_that_clashes_is_proposed_again_once_the_other_row_is_gone() {
        let watched = watched().await;
        let host =
            |text: &str| source::parse_toml(text, "x", &Defaults { product: "acme".into() }).unwrap().remove(0).row;
        let other = "[[host]]\nname = \"other\"\nzone = \"us-east-1a\"\nprivate_ip = \"10.0.0.5\"\n";
        let row = crate::api::forms::with_source(host(other), "api");
        let key = row.key();
        let change = |edit| Proposal {
            author: Author { who: "alice".into(), when_ms: 1, why: String::new() },
            edits: vec![edit],
        };
        watched.keeper.propose(change(Edit::Add(row))).await.unwrap();
        watched.save(&hosts(5));
        watched.until(|s| s.trouble.as_ref().is_some_and(|t| t.contains("contradict"))).await;
        watched.keeper.propose(change(Edit::Remove(key))).await.unwrap();
        watched.until(|s| s.trouble.is_none() && s.rows == 5).await;
        assert_eq!(watched.keeper.state().host_count(), 5);
        watched.end().await;
    }

    #[test]
    fn the_age_of_a_trouble_is_the_age_of_its_first_sight() {
        let mut status = SourceStatus { name: "folder x".into(), ..SourceStatus::default() };
        status.note(broken(vec!["a.toml:1: bad".into(), "a.toml:2: bad".into(), "closing".into()], 2), 10);
        assert_eq!(status.fault_count, 2);
        assert_eq!(status.trouble.as_deref(), Some("a.toml:1: bad; and 1 more; nothing of the folder was applied"));
        status.note(broken(vec!["a.toml:1: bad".into(), "closing".into()], 1), 20);
        assert_eq!((status.trouble_since_ms, status.fault_count), (Some(10), 1));
        assert_eq!(status.trouble.as_deref(), Some("a.toml:1: bad; nothing of the folder was applied"));
        status.note(News::Fine { files: 1, rows: 5 }, 30);
        assert_eq!((status.trouble, status.faults.len(), status.ok_ms), (None, 0, Some(30)));
        assert_eq!((status.name.as_str(), status.rows), ("folder x", 5));
    }

    #[test]
    fn what_is_tried_again() {
        let again = |outcome| judged(outcome, 1, 1).1;
        assert_eq!(again(Err(Refused::Busy)), Again::Soon);
        assert_eq!(again(Err(Refused::NotDurable("disk full".into()))), Again::Soon);
        assert_eq!(again(Err(Refused::Conflicts(vec!["x".into()]))), Again::AfterChange);
        assert_eq!(again(Ok(Outcome::Held { id: 1, reasons: vec!["x".into()] })), Again::No);
    }
}
