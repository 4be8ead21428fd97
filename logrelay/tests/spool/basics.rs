//! What the spool does when nothing goes wrong.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use logrelay::{
    message::Message,
    spool::{NotYet, Options, Policy, RealDisk, Refused, Room, Spool, SpoolError, inspect},
};

use crate::{
    lossy::Lossy,
    tools::{
        append, balance, chunk, clock, drain, durable, number, numbers, open, open_on, options, pending, read_until,
        segments, until,
    },
};

#[tokio::test]
async fn what_is_appended_is_read_in_order_by_everyone_it_is_for() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(options(&dir));
    let (a, b) = (spool.destination("a").unwrap(), spool.destination("b").unwrap());
    assert_eq!(spool.destination("a").unwrap(), a);
    assert!(spool.relay().starts_with("node_1-") && spool.relay().len() == 7 + 16);
    durable(&spool, append(&spool, numbers(0..10, &[a], 10)).await).await;
    let last = append(&spool, numbers(10..20, &[a, b], 10)).await;
    assert_eq!(last.last, 20);
    durable(&spool, last).await;
    let report = spool.report();
    assert_eq!((pending(&report, a), pending(&report, b), report.durable, report.end), (20, 10, 20, 20));
    assert!(report.destinations[0].oldest_pending_us.is_some_and(|us| us <= clock() && us > clock() - 60_000_000));
    let (mut one, mut two) = (spool.reader(a), spool.reader(b));
    assert_eq!(read_until(&mut one, 19).await, (0..20).map(|n| (n + 1, n)).collect::<Vec<_>>());
    assert_eq!(read_until(&mut two, 19).await, (10..20).map(|n| (n + 1, n)).collect::<Vec<_>>());
    assert_eq!(pending(&spool.report(), a), 20, "read is not committed");
    one.commit(20);
    two.commit(15);
    let report = spool.report();
    assert_eq!((pending(&report, a), pending(&report, b)), (0, 5), "a part of a chunk counts");
    assert_eq!((report.destinations[0].oldest_pending_us, report.destinations[1].delivered), (None, 5));
    balance(&report);
    spool.close().await.unwrap();
    assert!(two.next().await.is_none());
    assert_eq!(spool.append(vec![1], 1).await, Err(Refused::Closed));
    let inspection = inspect(dir.path()).unwrap();
    assert!(inspection.cursors_ok && inspection.relay.as_deref() == Some(spool.relay()));
    assert_eq!(inspection.destinations.iter().map(|d| (d.cursor, d.pending)).collect::<Vec<_>>(), [(20, 0), (15, 5)]);
    assert_eq!(inspection.segments.iter().map(|s| s.records).sum::<u64>(), 20);
    let epoch = spool.epoch();
    assert!(epoch.abs_diff(clock().cast_unsigned() / 1_000_000) < 60);
    drop((one, two, spool));
    let spool = open(options(&dir));
    assert!(spool.epoch() > epoch, "two openings within a second");
    assert_eq!(drain(&spool, b).await, (15..20).map(|n| (n + 1, n)).collect::<Vec<_>>());
    assert_eq!(append(&spool, numbers(20..21, &[a], 1)).await.last, 21, "sequences go on");
}

#[tokio::test]
async fn a_failed_delivery_goes_back_to_what_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(options(&dir));
    let a = spool.destination("a").unwrap();
    let mut reader = spool.reader(a);
    for i in 0..20 {
        durable(&spool, append(&spool, numbers(i * 10..i * 10 + 10, &[a], 400)).await).await;
    }
    read_until(&mut reader, 199).await;
    reader.commit(95);
    reader.rewind();
    let (lines, _) = chunk(&mut reader).await.unwrap();
    assert_eq!(lines[0], (96, 95));
    assert_eq!(pending(&spool.report(), a), 105);
    reader.commit(98);
    assert_eq!(pending(&spool.report(), a), 102, "in the middle of a chunk");
    read_until(&mut reader, 199).await;
    reader.commit(u64::MAX);
    assert_eq!(pending(&spool.report(), a), 0);
    reader.rewind();
    assert!(chunk(&mut reader).await.is_none(), "never behind the cursor");
    balance(&spool.report());
}

#[tokio::test]
async fn a_reader_that_keeps_up_never_touches_the_disk_and_one_that_does_not_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(Options { segment_bytes: 1 << 20, ..options(&dir) });
    let (a, b) = (spool.destination("a").unwrap(), spool.destination("b").unwrap());
    let mut reader = spool.reader(a);
    let total = 12_000;
    for i in 0..total / 100 {
        durable(&spool, append(&spool, numbers(i * 100..i * 100 + 100, &[a, b], 1000)).await).await;
        read_until(&mut reader, i * 100 + 99).await;
        reader.commit(u64::MAX);
    }
    assert_eq!(spool.report().counts.disk_reads, 0);
    assert_eq!(drain(&spool, b).await, (0..total).map(|n| (n + 1, n)).collect::<Vec<_>>());
    let report = spool.report();
    assert!(report.counts.disk_reads > 10 && report.counts.tail_reads > 150, "{:?}", report.counts);
    balance(&report);
    until("segments that nobody needs go", || spool.report().segments <= 1).await;
}

#[tokio::test]
async fn a_destination_that_gets_little_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(options(&dir));
    let (a, b) = (spool.destination("a").unwrap(), spool.destination("b").unwrap());
    spool.set_policy(b, Policy::Block);
    let mut reader = spool.reader(a);
    for i in 0..50 {
        durable(&spool, append(&spool, numbers(i * 10..i * 10 + 10, &[a], 500)).await).await;
    }
    read_until(&mut reader, 499).await;
    reader.commit(u64::MAX);
    until("all sealed segments are gone", || spool.report().segments <= 1).await;
    assert_eq!(segments(dir.path()).len() as u64, spool.report().segments);
}

#[tokio::test]
async fn when_there_is_no_room_the_oldest_go_by_policy_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(Options { max_bytes: 64 << 10, ..options(&dir) });
    let (a, b) = (spool.destination("a").unwrap(), spool.destination("b").unwrap());
    let mut last = 0;
    for i in 0..40 {
        let to = [a, b];
        let to = if i % 2 == 0 { &to[..] } else { &to[..1] };
        let appended = append(&spool, numbers(i * 10..i * 10 + 10, to, 400)).await;
        durable(&spool, appended).await;
        last = appended.last;
    }
    let report = spool.report();
    assert!(report.bytes <= 64 << 10 && report.counts.segments_deleted > 0);
    balance(&report);
    let dropped = report.destinations[0].dropped;
    assert!(dropped > 200 && report.destinations[1].dropped > 100);
    let left = drain(&spool, a).await;
    assert_eq!(left.len() as u64, 400 - dropped, "exactly");
    assert_eq!(left.last(), Some(&(last, 399)));
    assert_eq!(drain(&spool, b).await.len() as u64, 200 - report.destinations[1].dropped);
    assert_eq!(*spool.room().borrow(), Room::Free);
}

#[tokio::test]
async fn a_destination_that_may_lose_nothing_stops_the_spool_until_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(Options { max_bytes: 64 << 10, queue_bytes: 32 << 10, ..options(&dir) });
    let (a, b) = (spool.destination("a").unwrap(), spool.destination("b").unwrap());
    spool.set_policy(a, Policy::Block);
    let mut room = spool.room();
    let mut sent = 0;
    loop {
        match spool.append(numbers(sent * 10..sent * 10 + 10, &[a, b], 400).0, 10).await {
            Ok(_) => sent += 1,
            Err(refused) => {
                assert!(matches!(refused, Refused::NoRoom(_)));
                break;
            }
        }
        assert!(sent < 1000);
    }
    let full = room.wait_for(|room| matches!(room, Room::Full { .. })).await.unwrap().clone();
    assert!(matches!(full, Room::Full { held_by: Some(name), since } if name == "a" && since > clock() - 60_000_000));
    let (reason, _) = spool.report().stall.unwrap();
    assert!(reason.contains("destination a"), "{reason}");
    assert!(matches!(spool.try_append(vec![1, 2], 1), Err(NotYet::NoRoom(back)) if back == [1, 2]));
    assert!(spool.report().counts.refused >= 2);
    // What waits in memory needs room too, so it takes more than once.
    let mut read = Vec::new();
    while read.last().is_none_or(|(_, number)| *number != sent * 10 - 1) {
        read.extend(drain(&spool, a).await);
    }
    assert_eq!(read, (0..sent * 10).map(|n| (n + 1, n)).collect::<Vec<_>>(), "nothing of a is lost");
    room.wait_for(|room| *room == Room::Free).await.unwrap();
    let appended = append(&spool, numbers(0..1, &[a], 1)).await;
    durable(&spool, appended).await;
    assert_eq!(spool.report().stall, None);
    balance(&spool.report());
    assert_eq!(spool.report().destinations[0].dropped, 0);
}

#[tokio::test]
async fn changing_the_policy_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(Options { max_bytes: 64 << 10, ..options(&dir) });
    let a = spool.destination("a").unwrap();
    spool.set_policy(a, Policy::Shed(5));
    let mut room = spool.room();
    while spool.append(numbers(0..10, &[a], 400).0, 10).await.is_ok() {}
    room.wait_for(|room| matches!(room, Room::Full { .. })).await.unwrap();
    spool.set_policy(a, Policy::DropOldest);
    room.wait_for(|room| *room == Room::Free).await.unwrap();
    balance(&spool.report());
    assert!(spool.report().destinations[0].dropped > 0);
}

#[tokio::test]
async fn what_is_kept_for_people_goes_before_what_is_pending() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(Options { max_bytes: 96 << 10, keep: Duration::from_secs(3600), ..options(&dir) });
    let (a, b) = (spool.destination("a").unwrap(), spool.destination("b").unwrap());
    spool.set_policy(a, Policy::Block);
    durable(&spool, append(&spool, numbers(0..1, &[a], 1)).await).await;
    let mut reader = spool.reader(b);
    for i in 0..100 {
        durable(&spool, append(&spool, numbers(i * 10..i * 10 + 10, &[b], 400)).await).await;
        read_until(&mut reader, i * 10 + 9).await;
        reader.commit(u64::MAX);
    }
    let report = spool.report();
    assert!(report.segments > 2 && report.counts.segments_deleted > 10 && report.counts.full == 0, "{report:?}");
    spool.close().await.unwrap();
    drop((reader, spool));
    let spool = open(Options { keep: Duration::from_secs(3600), ..options(&dir) });
    assert_eq!(spool.report().counts.missing_segments, 0, "they were deleted on purpose");
    assert_eq!(drain(&spool, a).await, [(1, 0)]);
    let report = spool.report();
    assert_eq!((report.destinations[0].lost, report.destinations[1].lost), (0, 0));
}

#[tokio::test]
async fn destinations_are_forgotten_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(options(&dir));
    let (a, b) = (spool.destination("a").unwrap(), spool.destination("b").unwrap());
    durable(&spool, append(&spool, numbers(0..5, &[a, b], 1)).await).await;
    assert!(matches!(spool.forget("x"), Err(SpoolError::Unknown(_))));
    assert!(matches!(spool.destination(""), Err(SpoolError::Name(_))));
    let mut reader = spool.reader(b);
    assert_eq!(spool.forget("b").unwrap(), 5);
    assert!(reader.next().await.is_none());
    // No clean end: the names must be there already.
    drop((reader, spool));
    let mut reopened = None;
    until("the lock is free", || {
        reopened = Spool::open(options(&dir), Arc::new(RealDisk::default()), clock).ok();
        reopened.is_some()
    })
    .await;
    let spool = reopened.unwrap();
    assert_eq!(spool.destination("a").unwrap(), a);
    assert_ne!(spool.destination("new").unwrap(), b, "its number is not used again soon");
    assert_eq!(drain(&spool, a).await.len(), 5);
}

#[tokio::test]
async fn the_queue_is_bounded_and_gives_buffers_back() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(Options {
        queue_bytes: 8 << 10,
        sync_bytes: 1 << 20,
        sync_every: Duration::from_millis(200),
        ..options(&dir)
    });
    let mut refused = false;
    for _ in 0..10 {
        match spool.try_append(numbers(0..10, &[], 100).0, 10) {
            Ok(_) => {}
            Err(NotYet::QueueFull(back)) => {
                refused = true;
                spool.append(back, 10).await.unwrap();
                break;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused);
    until("a buffer comes back", || spool.buffer().capacity() > 0).await;
    assert!(matches!(spool.try_append(vec![0; 40 << 20], 1), Err(NotYet::TooLong(_))));
}

#[tokio::test]
async fn who_waits_first_is_served_first_however_much_it_brings() {
    let dir = tempfile::tempdir().unwrap();
    let waits = Duration::from_millis(50);
    let spool = open(Options { queue_bytes: 8 << 10, sync_bytes: 1 << 20, sync_every: waits, ..options(&dir) });
    while spool.try_append(numbers(0..10, &[], 100).0, 10).is_ok() {}
    let send = |(bytes, count)| {
        let spool = spool.clone();
        tokio::spawn(async move { spool.append(bytes, count).await.unwrap().last })
    };
    let large = send(numbers(0..100, &[], 100));
    let small: Vec<_> = (0..50).map(|_| send(numbers(0..1, &[], 100))).collect();
    let large = large.await.unwrap();
    let mut before = large;
    for task in small {
        let last = tokio::time::timeout(crate::tools::PATIENCE, task).await.unwrap().unwrap();
        assert_eq!(last, before + 1, "in order");
        before = last;
    }
}

#[tokio::test]
async fn people_read_a_span_of_time() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(Options { keep: Duration::from_secs(3600), ..options(&dir) });
    let mut marks = Vec::new();
    for i in 0..30 {
        marks.push(clock());
        durable(&spool, append(&spool, numbers(i * 10..i * 10 + 10, &[], 300)).await).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut found = Vec::new();
    let mut take = |message: &Message<'_>| {
        found.push(number(message));
        if found.len() < 35 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    spool.scan(marks[10], marks[20] - 1, &mut take).unwrap();
    assert_eq!(found, (100..135).collect::<Vec<_>>());
    let mut all = 0;
    let scanned = spool
        .scan(0, i64::MAX, &mut |_| {
            all += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((all, scanned.damaged, scanned.segments), (300, 0, spool.report().segments));
    assert_eq!(spool.scan(0, marks[0] - 120_000_000, &mut |_| ControlFlow::Continue(())).unwrap().segments, 0);
}

#[tokio::test]
async fn two_processes_cannot_have_it_and_options_must_make_sense() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(options(&dir));
    let again = Spool::open(options(&dir), Arc::new(RealDisk::default()), clock);
    assert!(matches!(again, Err(SpoolError::Locked(_))));
    spool.close().await.unwrap();
    open(options(&dir)).close().await.unwrap();
    let wrong = Options { max_bytes: 1 << 10, ..options(&dir) };
    assert!(matches!(Spool::open(wrong, Arc::new(RealDisk::default()), clock), Err(SpoolError::Options(_))));
}

#[tokio::test]
async fn opening_reads_the_headers_and_the_last_segment() {
    let disk = Lossy::default();
    let options = Options { segment_bytes: 64 << 10, ..options("/spool") };
    let spool = open_on(Arc::new(disk.clone()), options.clone());
    let a = spool.destination("a").unwrap();
    let mut i = 0;
    while spool.report().segments <= 100 {
        durable(&spool, append(&spool, numbers(i * 10..i * 10 + 10, &[a], 2000)).await).await;
        i += 1;
    }
    let report = spool.report();
    spool.close().await.unwrap();
    drop(spool);
    disk.done();
    let spool = open_on(Arc::new(disk.clone()), options);
    let done = disk.done();
    let cursors = disk.length("/spool/cursors".as_ref());
    assert!(done.read <= cursors + 101 * 4096 + (128 << 10), "{done:?} of {}", report.bytes);
    assert!(done.read < report.bytes / 2 && spool.report().segments == 101);
    assert_eq!(pending(&spool.report(), a), pending(&report, a));
    assert_eq!(drain(&spool, a).await.len() as u64, i * 10);
}
