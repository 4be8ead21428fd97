//! A file system that is full: a small tmpfs. Needs root, as the machine that runs these tests has it.

use std::{fs, path::Path, process::Command, time::Duration};

use logrelay::spool::{NotYet, Options, Policy, Room, inspect};

use crate::tools::{append, balance, drain, durable, numbers, open, options, pending, until};

/// A file system of one MiB, gone when dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(dir.path());
        assert!(mount.status().unwrap().success(), "a tmpfs can be mounted");
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn roomy(dir: &Path) -> Options {
    Options { segment_bytes: 64 << 10, queue_bytes: 64 << 10, ..options(dir.join("spool")) }
}

#[tokio::test]
async fn a_full_disk_stops_what_may_not_be_lost_and_lets_it_go_on() {
    let small = Small::mount();
    let spool = open(roomy(small.path()));
    let a = spool.destination("a").unwrap();
    spool.set_policy(a, Policy::Block);
    let mut sent = 0;
    let mut last = None;
    loop {
        let (bytes, count) = numbers(sent * 10..sent * 10 + 10, &[a], 500);
        match spool.try_append(bytes, count) {
            Ok(appended) => (sent, last) = (sent + 1, Some(appended)),
            Err(NotYet::NoRoom(_)) => break,
            Err(NotYet::QueueFull(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(matches!(&*spool.room().borrow(), Room::Full { held_by: Some(name), .. } if name == "a"));
    let report = spool.report();
    assert!(report.counts.write_errors > 0 && report.counts.full == 1 && report.stall.is_some(), "{report:?}");
    let mut read = Vec::new();
    while (read.len() as u64) < sent * 10 {
        let before = read.len();
        read.extend(drain(&spool, a).await);
        until("more", || pending(&spool.report(), a) > 0 || read.len() as u64 == sent * 10 || read.len() > before)
            .await;
    }
    durable(&spool, last.unwrap()).await;
    assert_eq!(read, (0..sent * 10).map(|n| (n + 1, n)).collect::<Vec<_>>());
    durable(&spool, append(&spool, numbers(0..1, &[a], 1)).await).await;
    let report = spool.report();
    assert_eq!((report.room, report.stall, report.destinations[0].dropped), (Room::Free, None, 0));
    spool.close().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_costs_the_oldest_where_that_is_the_policy() {
    let small = Small::mount();
    let spool = open(roomy(small.path()));
    let a = spool.destination("a").unwrap();
    for i in 0..400 {
        durable(&spool, append(&spool, numbers(i * 10..i * 10 + 10, &[a], 500)).await).await;
    }
    let report = spool.report();
    assert!(report.counts.write_errors > 0 && report.destinations[0].dropped > 1000, "{report:?}");
    balance(&report);
    let read = drain(&spool, a).await;
    assert_eq!(read.len() as u64, 4000 - spool.report().destinations[0].dropped);
    assert_eq!(read.last(), Some(&(4000, 3999)));
    spool.close().await.unwrap();
}

#[tokio::test]
async fn others_fill_the_disk_and_cursors_are_still_written() {
    let small = Small::mount();
    let spool = open(roomy(small.path()));
    let a = spool.destination("a").unwrap();
    durable(&spool, append(&spool, numbers(0..100, &[a], 500)).await).await;
    spool.set_policy(a, Policy::Block);
    let filler = small.path().join("filler");
    assert!(fs::write(&filler, vec![0; 2 << 20]).is_err(), "it is full");
    // Commits are written although no block is left, and survive without a clean end.
    let mut reader = spool.reader(a);
    let chunk = reader.next().await.unwrap();
    reader.commit(chunk.first() + 9);
    let cursor = || inspect(&small.path().join("spool")).unwrap().destinations[0].cursor;
    until("the cursor is written", || cursor() == 10).await;
    let appended = append(&spool, numbers(100..200, &[a], 500)).await;
    let mut room = spool.room();
    room.wait_for(|room| matches!(room, Room::Full { .. })).await.unwrap();
    assert!(*spool.frontier().borrow() < appended.last);
    fs::remove_file(&filler).unwrap();
    durable(&spool, appended).await;
    assert_eq!(*room.borrow_and_update(), Room::Free);
    reader.rewind();
    drop(reader);
    assert_eq!(drain(&spool, a).await, (10..200).map(|n| (n + 1, n)).collect::<Vec<_>>());
    spool.close().await.unwrap();
}

#[tokio::test]
async fn a_spool_that_is_closed_when_full_says_what_is_not_durable() {
    let small = Small::mount();
    let spool = open(roomy(small.path()));
    let a = spool.destination("a").unwrap();
    spool.set_policy(a, Policy::Block);
    durable(&spool, append(&spool, numbers(0..10, &[a], 500)).await).await;
    let filler = small.path().join("filler");
    assert!(fs::write(&filler, vec![0; 2 << 20]).is_err(), "it is full");
    append(&spool, numbers(10..20, &[a], 5000)).await;
    spool.room().wait_for(|room| matches!(room, Room::Full { .. })).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(10), spool.close()).await.unwrap();
    assert!(closed.is_err_and(|error| error.to_string().contains("10 sequences")));
    drop(spool);
    fs::remove_file(&filler).unwrap();
    let spool = open(roomy(small.path()));
    assert_eq!(drain(&spool, a).await.len(), 10);
    spool.close().await.unwrap();
}
