//! Writes and syncs that fail.

use std::{path::Path, sync::Arc, time::Duration};

use logrelay::spool::{Disk, Spool};

use crate::{
    lossy::{Cut, Kind, Lossy},
    tools::{append, balance, drain, durable, numbers, open_on, options, until},
};

fn segments(disk: &Lossy) -> usize {
    disk.list(Path::new("/s")).unwrap().iter().filter(|(name, _)| name.ends_with(".seg")).count()
}

async fn start(disk: &Lossy) -> (Spool, u16) {
    let spool = open_on(Arc::new(disk.clone()), options("/s"));
    let a = spool.destination("a").unwrap();
    durable(&spool, append(&spool, numbers(0..10, &[a], 100)).await).await;
    (spool, a)
}

#[tokio::test]
async fn after_a_failure_the_group_goes_to_a_new_segment_at_once() {
    for kind in [Kind::Write, Kind::Sync] {
        let disk = Lossy::default();
        let (spool, a) = start(&disk).await;
        disk.fail(kind, 1, false);
        durable(&spool, append(&spool, numbers(10..20, &[a], 100)).await).await;
        let report = spool.report();
        assert_eq!((segments(&disk), report.segments, report.counts.reappended), (2, 2, 1), "{kind:?}");
        assert_eq!(
            (report.counts.write_errors, report.counts.sync_errors),
            (u64::from(kind == Kind::Write), u64::from(kind == Kind::Sync))
        );
        assert_eq!(report.stall, None);
        disk.kill();
        let _ = spool.close().await;
        disk.revive(Cut::All, 0);
        let spool = open_on(Arc::new(disk.clone()), options("/s"));
        assert_eq!(drain(&spool, a).await, (0..20).map(|n| (n + 1, n)).collect::<Vec<_>>());
        let counts = spool.report().counts;
        assert_eq!((counts.damaged_ranges, counts.torn_bytes), (0, 0));
        balance(&spool.report());
    }
}

#[tokio::test]
async fn while_it_fails_nothing_is_acknowledged_and_the_reason_is_shown() {
    let disk = Lossy::default();
    let (spool, a) = start(&disk).await;
    for nth in 1..=4 {
        disk.fail(Kind::Sync, nth, false);
    }
    let appended = append(&spool, numbers(10..20, &[a], 100)).await;
    let mut stall = None;
    until("the stall is shown", || {
        stall = spool.report().stall;
        stall.is_some()
    })
    .await;
    let (reason, since_us) = stall.unwrap();
    assert!(reason.contains("nothing is acknowledged") && since_us > 0, "{reason}");
    assert!(*spool.frontier().borrow() < appended.last);
    durable(&spool, appended).await;
    let report = spool.report();
    // The cursors are synced now and then, and may meet one of the four.
    assert_eq!((report.stall, report.counts.reappended + report.counts.cursor_errors), (None, 4));
    assert_eq!(segments(&disk), 2, "segments without a record are gone");
    assert_eq!(drain(&spool, a).await.len(), 20);
    spool.close().await.unwrap();
}

#[tokio::test]
async fn a_dead_disk_does_not_keep_the_spool_from_closing() {
    let disk = Lossy::default();
    let (spool, a) = start(&disk).await;
    disk.kill();
    append(&spool, numbers(10..20, &[a], 100)).await;
    until("the stall is shown", || spool.report().stall.is_some()).await;
    let closed = tokio::time::timeout(Duration::from_secs(10), spool.close()).await.unwrap();
    assert!(closed.is_err());
    assert!(spool.destination("b").is_err());
}

#[tokio::test]
async fn a_destination_that_cannot_be_written_down_is_none() {
    let disk = Lossy::default();
    let (spool, a) = start(&disk).await;
    disk.fail(Kind::Sync, 1, false);
    assert!(spool.destination("b").is_err());
    assert_eq!(spool.report().destinations.len(), 1);
    disk.fail(Kind::Write, 1, true);
    assert!(spool.forget("a").is_err());
    assert_eq!(drain(&spool, a).await.len(), 10);
    spool.destination("b").unwrap();
    assert_eq!(spool.report().counts.cursor_errors, 2);
}
