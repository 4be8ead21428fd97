//! Readers that are interrupted, and pages that cannot be read.

use std::{
    future::{Future, poll_fn},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use logrelay::{
    message::{Message, Records},
    spool::{Chunk, Disk, Options, Reader, Spool},
};

use crate::{
    lossy::{Kind, Lossy},
    tools::{PATIENCE, append, balance, durable, number, numbers, open_on, options},
};

fn no_expiry() -> Options {
    Options { keep: Duration::from_secs(3600), ..options("/s") }
}

/// A disk with `count` lines, numbered from 1 as their sequences, in several segments.
async fn make(count: u64) -> (Lossy, u16) {
    let disk = Lossy::default();
    let spool = open_on(Arc::new(disk.clone()), no_expiry());
    let a = spool.destination("a").unwrap();
    for first in (1..=count).step_by(10) {
        durable(&spool, append(&spool, numbers(first..first + 10, &[a], 300)).await).await;
    }
    spool.close().await.unwrap();
    (disk, a)
}

fn segments(disk: &Lossy) -> Vec<PathBuf> {
    let mut names = disk.list(Path::new("/s")).unwrap();
    names.retain(|(name, _)| name.ends_with(".seg"));
    names.iter().map(|(name, _)| Path::new("/s").join(name)).collect()
}

/// Sequences of the records that lie in a page of a segment.
fn in_page(disk: &Lossy, path: &Path, page: u64) -> Vec<u64> {
    let mut bytes = vec![0; disk.length(path) as usize];
    disk.open(path, false).unwrap().read_at(&mut bytes, 0).unwrap();
    let header = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let (mut at, mut found) = (header as u64, Vec::new());
    for record in Records(&bytes[header..]) {
        let end = at + record.len() as u64;
        if at < (page + 1) * 4096 && end > page * 4096 {
            found.push(Message::decode(record).unwrap().sequence);
        }
        at = end;
    }
    assert!(!found.is_empty());
    found
}

/// The next chunk, from calls that are given up after one poll each.
async fn interrupted(reader: &mut Reader) -> Chunk {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let polled = {
            let mut next = pin!(reader.next());
            poll_fn(|context| Poll::Ready(next.as_mut().poll(context))).await
        };
        match polled {
            Poll::Ready(chunk) => return chunk.expect("the spool is open"),
            Poll::Pending => tokio::time::sleep(Duration::from_millis(1)).await,
        }
        assert!(tokio::time::Instant::now() < deadline, "nothing comes");
    }
}

/// Reads up to the line `last`, committing all.
async fn read_all(spool: &Spool, a: u16, last: u64) -> Vec<u64> {
    let mut reader = spool.reader(a);
    let mut all = Vec::new();
    while all.last() != Some(&last) {
        let chunk = interrupted(&mut reader).await;
        all.extend(chunk.records().map(|record| number(&Message::decode(record).unwrap())));
        reader.commit(chunk.last());
    }
    all
}

#[tokio::test]
async fn a_reader_that_is_interrupted_at_every_step_goes_on_where_it_was() {
    let (disk, a) = make(500).await;
    let spool = open_on(Arc::new(disk.clone()), no_expiry());
    let segments = spool.report().segments;
    assert!(segments > 5);
    disk.done();
    assert_eq!(read_all(&spool, a, 500).await, (1..=500).collect::<Vec<_>>());
    let counts = spool.report().counts;
    assert!(counts.disk_reads <= 2 * segments && disk.done().reads <= 2 * segments, "{counts:?}");
    balance(&spool.report());
}

#[tokio::test]
async fn reads_that_fail_for_a_while_cost_nothing() {
    let (disk, a) = make(100).await;
    let spool = open_on(Arc::new(disk.clone()), no_expiry());
    // The first as a whole and in its first page, three times over.
    (1..=6).for_each(|nth| disk.fail(Kind::Read, nth, false));
    assert_eq!(read_all(&spool, a, 100).await, (1..=100).collect::<Vec<_>>());
    let report = spool.report();
    assert_eq!((report.counts.read_errors, report.counts.damaged_bytes, report.destinations[0].lost), (3, 0, 0));
}

/// Spoils a page, before the opening or after it, and reads all.
async fn spoiled(segment: usize, page: u64, before: bool) {
    let what = format!("page {page} of segment {segment}, {before}");
    let (disk, a) = make(200).await;
    let path = segments(&disk)[segment].clone();
    let gone = in_page(&disk, &path, page);
    let open = || open_on(Arc::new(disk.clone()), no_expiry());
    let spool = if before {
        disk.spoil(&path, page);
        open()
    } else {
        let spool = open();
        disk.spoil(&path, page);
        spool
    };
    durable(&spool, append(&spool, numbers(201..202, &[a], 1)).await).await;
    let expected: Vec<u64> = (1..=201).filter(|number| !gone.contains(number)).collect();
    assert_eq!(read_all(&spool, a, 201).await, expected, "{what}");
    let report = spool.report();
    balance(&report);
    assert_eq!((report.counts.damaged_ranges, report.destinations[0].pending), (1, 0), "{what}");
    assert!(report.counts.damaged_bytes >= 4096 && report.counts.read_errors >= 6, "{what}: {:?}", report.counts);
    // Of the last segment the totals are counted anew at opening.
    let is_last = segment + 1 == segments(&disk).len() - 1;
    let lost = if before && is_last { 0 } else { gone.len() as u64 };
    assert_eq!(report.destinations[0].lost, lost, "{what}");
}

#[tokio::test]
async fn a_page_that_cannot_be_read_costs_the_records_in_it_and_stops_nobody() {
    let last = segments(&make(200).await.0).len() - 1;
    // Together, because each takes some seconds until the page is given up.
    tokio::join!(
        spoiled(1, 1, false),
        spoiled(0, 0, false),
        spoiled(1, 0, true),
        spoiled(1, 2, true),
        spoiled(last, 1, true),
    );
}
