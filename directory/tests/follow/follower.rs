//! A follower with a keeper of its own, and waiting for what it comes to.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use directory::{
    config::{Follow, Upstream},
    follow::{self, Phase, Report, Status},
};
use inventory::{Entry, Keeper, State};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::slapd::{BASE, READER};

/// How long anything may take here.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Follower {
    pub(crate) keeper: Keeper,
    pub(crate) status: Arc<Status>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

pub(crate) fn upstream(dir: &Path, urls: &[String]) -> Upstream {
    let secret = dir.join("secret");
    fs::write(&secret, "secret\n").unwrap();
    Upstream {
        urls: urls.to_vec(),
        base: BASE.into(),
        filter: "(objectClass=*)".into(),
        bind_dn: Some(READER.into()),
        bind_password_file: Some(secret),
        starttls: false,
        ca_file: None,
        follow: Follow::Auto,
        poll_s: 1,
        reconcile_h: 6,
        timeout_s: 5,
        entries_max: 1_000_000,
    }
}

impl Follower {
    pub(crate) fn start(dir: &Path, upstream: &Upstream) -> Self {
        let store: PathBuf = dir.join("store");
        fs::create_dir_all(&store).unwrap();
        let keeper = Keeper::open(&store, Arc::new(|_, _, _| Vec::new())).unwrap().keeper;
        let status = Arc::new(Status::open(&dir.join("in-step")));
        let shutdown = CancellationToken::new();
        let (upstream, k, s, end) = (upstream.clone(), keeper.clone(), status.clone(), shutdown.clone());
        let task = tokio::spawn(async move { follow::run(&upstream, k, s, end).await });
        Self { keeper, status, shutdown, task }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
        self.keeper.close().await;
    }

    pub(crate) fn state(&self) -> Arc<State> {
        self.keeper.state()
    }

    /// The entry of a user.
    pub(crate) fn user(&self, uid: &str) -> Option<Arc<Entry>> {
        self.state().entries().find(|entry| entry.text("uid") == Some(uid)).cloned()
    }

    pub(crate) fn attribute(&self, uid: &str, name: &str) -> Option<String> {
        self.user(uid).and_then(|entry| entry.text(name).map(str::to_owned))
    }

    /// Waits until the condition holds.
    #[track_caller]
    pub(crate) fn until(&self, what: impl Into<String>, condition: impl Fn(&Self) -> bool) -> impl Future<Output = ()> {
        let (place, what) = (std::panic::Location::caller(), what.into());
        async move {
            let begin = Instant::now();
            while !condition(self) {
                assert!(begin.elapsed() < LIMIT, "{place}: {what}; it is {:#?}", self.status.report());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    #[track_caller]
    pub(crate) fn phase(&self, phase: Phase) -> impl Future<Output = ()> {
        self.until(format!("{phase:?} is expected"), move |f| f.status.report().phase == phase)
    }

    pub(crate) fn report(&self) -> Report {
        self.status.report()
    }
}
