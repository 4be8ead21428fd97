//! The task with real files, and a probe in place of the intake.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::watch;

use super::*;
use crate::follow::{Pattern, Settings};

/// What a probe got.
#[derive(Default)]
pub(in crate::follow) struct Got {
    batch: Vec<String>,
    lines: Vec<String>,
    flushes: u64,
}

/// Takes lines; a batch is safe once the frontier is past its number.
#[derive(Clone)]
pub(in crate::follow) struct Probe {
    got: Arc<Mutex<Got>>,
    room: watch::Receiver<bool>,
    frontier: watch::Receiver<u64>,
}

pub(in crate::follow) struct Ack(u64, watch::Receiver<u64>);

impl Ack {
    pub(super) fn is_durable(&self) -> bool {
        *self.1.borrow() >= self.0
    }

    pub(super) async fn durable(mut self) -> Result<(), Stopping> {
        let number = self.0;
        self.1.wait_for(|frontier| *frontier >= number).await.map(|_| ()).map_err(|_| Stopping)
    }
}

impl Probe {
    pub(super) fn line(&mut self, line: Line<'_>) -> bool {
        let mut got = self.got.lock().unwrap();
        got.batch.push(String::from_utf8(line.raw.to_vec()).unwrap());
        got.batch.len() >= 100
    }

    pub(super) async fn flush(&mut self) -> Result<Ack, Stopping> {
        self.room.wait_for(|room| *room).await.map_err(|_| Stopping)?;
        let mut got = self.got.lock().unwrap();
        let batch = std::mem::take(&mut got.batch);
        got.lines.extend(batch);
        got.flushes += 1;
        Ok(Ack(got.flushes, self.frontier.clone()))
    }
}

/// A task that follows `*.log` of a folder.
struct Rig {
    folder: tempfile::TempDir,
    got: Arc<Mutex<Got>>,
    room: watch::Sender<bool>,
    frontier: watch::Sender<u64>,
    counters: Arc<Counters>,
    report: Arc<ArcSwap<Vec<FileReport>>>,
    shutdown: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut rig = Self {
            folder,
            got: Arc::default(),
            room: watch::channel(true).0,
            frontier: watch::channel(u64::MAX).0,
            counters: Arc::default(),
            report: Arc::default(),
            shutdown: CancellationToken::new(),
            task: None,
        };
        rig.start();
        rig
    }

    fn start(&mut self) {
        let settings = Settings {
            name: "app".into(),
            patterns: vec![Pattern::new(&format!("{}/*.log", self.folder.path().display())).unwrap()],
            max_line: 100,
            partial_timeout: Duration::from_secs(30),
            from_end: false,
            state_folder: self.folder.path().join("state"),
        };
        let follower = Follower::open(settings, self.counters.clone()).unwrap();
        let (got, room, frontier) = (self.got.clone(), self.room.subscribe(), self.frontier.subscribe());
        let outlet = Outlet::Probe(Probe { got, room, frontier });
        self.shutdown = CancellationToken::new();
        self.task = Some(tokio::spawn(run(follower, outlet, || 1, self.shutdown.clone(), self.report.clone())));
    }

    async fn stop(&mut self) {
        self.shutdown.cancel();
        self.task.take().unwrap().await.unwrap();
    }

    fn append(&self, name: &str, text: &str) {
        append(&self.folder.path().join(name), text);
    }

    async fn until(&self, lines: usize) -> Vec<String> {
        wait_for(|| self.got.lock().unwrap().lines.len() >= lines).await;
        self.got.lock().unwrap().lines.clone()
    }
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

async fn wait_for(mut done: impl FnMut() -> bool) {
    let all = async {
        while !done() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(60), all).await.expect("it does not come");
}

#[tokio::test]
async fn lines_arrive_as_they_are_written_and_a_restart_goes_on_after_the_last() {
    let mut rig = Rig::new();
    rig.append("a.log", "one\ntwo\n");
    assert_eq!(rig.until(2).await, ["one", "two"]);
    rig.append("a.log", "three\n");
    rig.append("b.log", "other\n");
    rig.until(4).await;
    wait_for(|| rig.report.load().iter().map(|file| (file.acknowledged, file.lag)).eq([(14, 0), (6, 0)])).await;
    rig.stop().await;
    rig.append("a.log", "four\n");
    rig.start();
    assert_eq!(rig.until(5).await[4], "four");
    rig.stop().await;
    assert_eq!(rig.got.lock().unwrap().lines.len(), 5);
}

#[tokio::test]
async fn what_is_not_safe_is_not_in_the_checkpoint() {
    let mut rig = Rig::new();
    rig.frontier.send_replace(0);
    rig.append("a.log", "one\n");
    rig.until(1).await;
    // The task ends as it does when the relay ends: nothing becomes safe any more.
    rig.frontier = watch::channel(u64::MAX).0;
    rig.stop().await;
    rig.start();
    assert_eq!(rig.until(2).await, ["one", "one"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_relay_without_room_holds_files_that_lose_their_name() {
    let mut rig = Rig::new();
    rig.append("a.log", "one\n");
    rig.until(1).await;
    rig.room.send_replace(false);
    rig.append("a.log", "two\n");
    // The batch with `two` waits for room, while b.log comes and goes.
    wait_for(|| rig.got.lock().unwrap().batch.len() == 1).await;
    rig.append("b.log", "three\n");
    wait_for(|| rig.report.load().len() == 2 && rig.report.load().iter().all(|file| file.open)).await;
    fs::remove_file(rig.folder.path().join("b.log")).unwrap();
    wait_for(|| rig.report.load().iter().any(|file| file.rotated)).await;
    rig.room.send_replace(true);
    assert_eq!(rig.until(3).await, ["one", "two", "three"]);
    rig.stop().await;
}

#[tokio::test]
async fn too_many_batches_that_are_not_safe_stop_the_reading_but_not_the_end() {
    let mut rig = Rig::new();
    rig.frontier.send_replace(0);
    let lines: String = (0..100 * (RECEIPTS_MAX + 20)).map(|n| format!("{n}\n")).collect();
    rig.append("a.log", &lines);
    wait_for(|| rig.got.lock().unwrap().flushes as usize > RECEIPTS_MAX).await;
    sleep(Duration::from_millis(300)).await;
    assert!(rig.got.lock().unwrap().flushes as usize <= RECEIPTS_MAX + 1);
    rig.frontier.send_replace(u64::MAX);
    rig.until(100 * (RECEIPTS_MAX + 20)).await;
    rig.stop().await;
}
