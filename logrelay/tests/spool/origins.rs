//! What other relays send twice, or not at all.

use std::{fs, sync::Arc};

use crate::{
    lossy::{Cut, Lossy},
    tools::{Line, append, balance, drain, durable, encode, open, open_on, options, segments},
};

fn relayed(to: &[u16], marks: &[(&str, u64)]) -> (Vec<u8>, u32) {
    let lines: Vec<_> =
        marks.iter().map(|(origin, number)| Line { number: *number, origin, to, padding: 100 }).collect();
    encode(&lines)
}

#[tokio::test]
async fn a_resend_is_recognised_even_after_a_crash_and_its_receipt_covers_the_original() {
    let disk = Lossy::default();
    let spool = open_on(Arc::new(disk.clone()), options("/s"));
    let a = spool.destination("a").unwrap();
    let batch = || relayed(&[a], &[("r-1:a/1/5/0", 1), ("r-1:a/1/6/5", 2)]);
    let first = append(&spool, batch()).await;
    let again = append(&spool, batch()).await;
    assert!(again.last > first.last);
    durable(&spool, again).await;
    assert_eq!(spool.report().counts.duplicates, 2);
    disk.kill();
    let _ = spool.close().await;
    drop(spool);
    disk.revive(Cut::All, 1);
    let spool = open_on(Arc::new(disk.clone()), options("/s"));
    durable(&spool, append(&spool, batch()).await).await;
    assert_eq!(spool.report().counts.duplicates, 2);
    let next = append(&spool, relayed(&[a], &[("r-1:a/1/9/8", 3), ("r-1:a/2/10/9", 4), ("r-2:a/7/1/0", 5)])).await;
    durable(&spool, next).await;
    let report = spool.report();
    assert_eq!((report.counts.gaps, report.counts.gap_sequences), (1, 2));
    assert_eq!(report.gaps.iter().map(|g| (g.stream.as_str(), g.from, g.to)).collect::<Vec<_>>(), [("r-1:a", 7, 8)]);
    let numbers: Vec<_> = drain(&spool, a).await.into_iter().map(|(_, number)| number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    balance(&spool.report());
}

#[tokio::test]
async fn a_message_on_two_roads_is_kept_on_both_and_counted_once() {
    let disk = Lossy::default();
    let spool = open_on(Arc::new(disk.clone()), options("/s"));
    let (a, b) = (spool.destination("a").unwrap(), spool.destination("b").unwrap());
    let batch = || {
        let line = |number, origin, to| Line { number, origin, to, padding: 50 };
        let (to_a, to_b) = (&[a], &[b]);
        encode(&[
            line(1, "r/1/1/0", to_a),
            line(2, "r/1/1/0", to_b),
            line(3, "r/1/4/3", to_a),
            line(4, "r/1/4/3", to_b),
        ])
    };
    durable(&spool, append(&spool, batch()).await).await;
    durable(&spool, append(&spool, batch()).await).await;
    let counts = spool.report().counts;
    assert_eq!((counts.appended, counts.duplicates, counts.gaps), (4, 2, 1));
    for (id, expected) in [(a, [1, 3]), (b, [2, 4])] {
        assert_eq!(drain(&spool, id).await.into_iter().map(|line| line.1).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn a_message_that_is_torn_between_its_roads_is_taken_again_on_all_of_them() {
    for cut in (1..).step_by(7) {
        let dir = tempfile::tempdir().unwrap();
        let spool = open(options(&dir));
        let (a, b) = (spool.destination("a").unwrap(), spool.destination("b").unwrap());
        spool.close().await.unwrap();
        drop(spool);
        // Cursors from before the batch: nothing says that it was durable.
        let cursors = fs::read(dir.path().join("cursors")).unwrap();
        let batch = || {
            let line = |number, origin, to| Line { number, origin, to, padding: 50 };
            let (to_a, to_b) = (&[a], &[b]);
            encode(&[line(1, "r/1/1/0", to_a), line(2, "r/1/2/1", to_a), line(3, "r/1/2/1", to_b)])
        };
        let spool = open(options(&dir));
        durable(&spool, append(&spool, batch()).await).await;
        spool.close().await.unwrap();
        drop(spool);
        fs::write(dir.path().join("cursors"), &cursors).unwrap();
        let path = segments(dir.path()).pop().unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        let record = batch().0.len() as u64 / 3;
        if cut > 2 * record {
            break;
        }
        // Once exactly between the two records.
        let cut = if cut.abs_diff(record) < 4 { record } else { cut };
        file.set_len(file.metadata().unwrap().len() - cut).unwrap();
        // Not only the opening that finds it remembers.
        for _ in 0..2 {
            let spool = open(options(&dir));
            spool.close().await.unwrap();
        }
        let spool = open(options(&dir));
        durable(&spool, append(&spool, batch()).await).await;
        durable(&spool, append(&spool, relayed(&[a], &[("r/1/3/2", 4)])).await).await;
        let counts = spool.report().counts;
        assert_eq!((counts.duplicates, counts.gaps), (1, 0), "{cut} octets cut of records of {record}");
        for (id, expected) in [(a, vec![1, 2, 4]), (b, vec![3])] {
            let found = drain(&spool, id).await.into_iter().map(|line| line.1).collect::<Vec<_>>();
            assert_eq!(found, expected, "{cut} octets cut of records of {record}");
        }
        balance(&spool.report());
    }
}

#[tokio::test]
async fn what_was_seen_and_not_kept_is_no_gap_and_no_duplicate() {
    let disk = Lossy::default();
    let spool = open_on(Arc::new(disk.clone()), options("/s"));
    let a = spool.destination("a").unwrap();
    durable(&spool, append(&spool, relayed(&[a], &[("r/1/1/0", 1)])).await).await;
    spool.seen(b"r/1/2/1");
    spool.seen(b"r/1/5/2");
    spool.seen(b"what");
    durable(&spool, append(&spool, relayed(&[a], &[("r/1/6/5", 6)])).await).await;
    assert_eq!(spool.report().counts.gaps, 0);
    spool.seen(b"r/1/7/6");
    durable(&spool, append(&spool, relayed(&[a], &[("r/1/7/6", 7), ("r/1/12/10", 12)])).await).await;
    let report = spool.report();
    assert_eq!((report.counts.gaps, report.counts.duplicates), (1, 0));
    assert_eq!(report.gaps.iter().map(|gap| (gap.from, gap.to)).collect::<Vec<_>>(), [(8, 10)]);
}

#[tokio::test]
async fn marks_are_carried_from_segment_to_segment() {
    let disk = Lossy::default();
    let spool = open_on(Arc::new(disk.clone()), options("/s"));
    let a = spool.destination("a").unwrap();
    durable(&spool, append(&spool, relayed(&[a], &[("early/1/1/0", 0)])).await).await;
    let mut sent = 1;
    while spool.report().segments < 4 {
        let origin = format!("r/1/{sent}/{}", sent - 1);
        durable(&spool, append(&spool, relayed(&[a], &[(&origin, sent)])).await).await;
        sent += 1;
    }
    for _ in 0..2 {
        disk.kill();
        let _ = spool.close().await;
        disk.revive(Cut::All, 1);
        let spool = open_on(Arc::new(disk.clone()), options("/s"));
        let last = format!("r/1/{}/{}", sent - 1, sent - 2);
        durable(&spool, append(&spool, relayed(&[a], &[("early/1/1/0", 0), (&last, 0)])).await).await;
        assert_eq!(spool.report().counts.duplicates, 2);
        spool.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_mark_is_not_believed_before_its_record_is_durable() {
    for seed in 0..20 {
        let disk = Lossy::default();
        let spool = open_on(Arc::new(disk.clone()), options("/s"));
        let a = spool.destination("a").unwrap();
        // The first write of a segment: the header is durable before the record is.
        disk.fail(crate::lossy::Kind::Sync, 2, false);
        let batch = || relayed(&[a], &[("r/1/1/0", 7)]);
        let _ = append(&spool, batch()).await;
        disk.kill();
        let _ = spool.close().await;
        disk.revive(if seed % 2 == 0 { Cut::All } else { Cut::Pages }, seed);
        let spool = open_on(Arc::new(disk.clone()), options("/s"));
        durable(&spool, append(&spool, batch()).await).await;
        let numbers: Vec<_> = drain(&spool, a).await.into_iter().map(|(_, number)| number).collect();
        assert_eq!(numbers, [7], "once, however the first attempt ended");
    }
}
