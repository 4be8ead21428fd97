//! An LDIF file as the source: taken over, watched, never taken by halves.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use directory::{
    follow::{Phase, Status},
    ldif,
};
use inventory::{Author, Keeper};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

fn people(names: &[&str]) -> String {
    let one = |name: &&str| format!("dn: uid={name},dc=acme\nobjectClass: person\nuid: {name}\n\n");
    names.iter().map(one).collect()
}

/// As careful people write it: whole, under another name, then renamed.
fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

async fn until(status: &Status, what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}: {:#?}", status.report());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_what_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("people.ldif");
    let keeper = Keeper::open(&dir.path().join("store"), Arc::new(|_, _, _| Vec::new())).unwrap().keeper;
    let (status, reload, shutdown) = (Arc::new(Status::default()), Arc::new(Notify::new()), CancellationToken::new());
    write(&file, &people(&["ada", "bob", "cyd", "dan"]));
    let task =
        tokio::spawn(ldif::follow(file.clone(), keeper.clone(), status.clone(), reload.clone(), shutdown.clone()));
    let count = || keeper.state().entry_count();
    until(&status, "four", || count() == 4 && status.report().phase == Phase::Following).await;
    let ada = keeper.state().entries().find(|e| e.text("uid") == Some("ada")).unwrap().id;

    // A change is noticed without being told of; who stays keeps the identity.
    let many: Vec<String> = (0..19).map(|n| format!("u{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).chain(["ada"]).collect();
    write(&file, &people(&many));
    until(&status, "twenty", || count() == 20).await;
    assert!(keeper.state().entry(ada).is_some());

    // A broken file changes nothing and is told of with its line.
    write(&file, &people(&["ada"]).replace("uid: ada", "uid ada"));
    reload.notify_one();
    until(&status, "broken", || status.report().phase == Phase::Broken).await;
    let faults = status.report().faults;
    assert!(faults[0].contains("people.ldif: line 3: there is no colon"), "{faults:?}");
    assert_eq!(count(), 20);

    // A file that would remove most is held; accepting takes it over.
    write(&file, &people(&["ada"]));
    reload.notify_one();
    until(&status, "held", || status.report().held.is_some()).await;
    assert_eq!(count(), 20);
    let id = status.report().held.unwrap();
    let me = Author { who: "test".into(), when_ms: 1, why: String::new() };
    keeper.accept(id, me).await.unwrap();
    until(&status, "one", || count() == 1 && status.report().phase == Phase::Following).await;

    // A file that is gone is no empty directory.
    fs::remove_file(&file).unwrap();
    until(&status, "gone", || status.report().phase == Phase::Broken).await;
    assert_eq!(count(), 1);
    assert!(status.age_ms(u64::MAX).is_some());
    shutdown.cancel();
    task.await.unwrap();
    assert_eq!(status.report().phase, Phase::Stopped);
}
