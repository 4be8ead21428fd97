//! Files that are not as they were left.

use std::{fs, os::unix::fs::FileExt, path::Path, sync::Arc};

use logrelay::{
    message::{HEADER, Records},
    spool::{Inspection, Options, RealDisk, Spool, SpoolError, inspect},
};

use crate::tools::{append, balance, clock, drain, durable, numbers, open, options, segments};

/// Lines of each segment that [`make`] makes.
const EACH: u64 = 30;

fn no_expiry(dir: &Path) -> Options {
    Options { keep: std::time::Duration::from_secs(3600), ..options(dir) }
}

/// Three segments of 30 lines for one destination, 1 to 90.
async fn make(dir: &Path) -> u16 {
    let mut a = 0;
    for i in 0..3 {
        let spool = open(no_expiry(dir));
        a = spool.destination("a").unwrap();
        for j in 0..3 {
            let first = 1 + i * EACH + j * 10;
            durable(&spool, append(&spool, numbers(first..first + 10, &[a], 50)).await).await;
        }
        spool.close().await.unwrap();
    }
    assert_eq!(segments(dir).len(), 3);
    a
}

/// Offset of a record in a segment, counted from 0.
fn offset_of(path: &Path, record: usize) -> u64 {
    let bytes = fs::read(path).unwrap();
    let header = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let before: usize = Records(&bytes[header..]).take(record).map(<[u8]>::len).sum();
    (header + before) as u64
}

fn write(path: &Path, offset: u64, bytes: &[u8]) {
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

fn flip(path: &Path, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut octet = [0];
    file.read_exact_at(&mut octet, offset).unwrap();
    file.write_all_at(&[octet[0] ^ 8], offset).unwrap();
}

/// Opens, reads all, and looks at the books; the numbers read, and what is lost.
async fn recover(dir: &Path, a: u16) -> (Vec<u64>, Spool) {
    let spool = open(no_expiry(dir));
    // So that there is a segment behind the last one, and readers see where that ended.
    durable(&spool, append(&spool, numbers(1000..1001, &[a], 1)).await).await;
    let mut lines = drain(&spool, a).await;
    assert!(lines.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, nothing twice");
    assert_eq!(lines.pop().map(|line| line.1), Some(1000));
    let report = spool.report();
    balance(&report);
    assert_eq!(report.destinations[0].pending, 0);
    (lines.into_iter().map(|line| line.1).collect(), spool)
}

fn all_but(missing: &[u64]) -> Vec<u64> {
    (1..=3 * EACH).filter(|number| !missing.contains(number)).collect()
}

#[tokio::test]
async fn a_torn_tail_is_cut_off() {
    for cut in [1, 50, HEADER as u64 + 10] {
        let dir = tempfile::tempdir().unwrap();
        let a = make(dir.path()).await;
        let last = &segments(dir.path())[2];
        let length = fs::metadata(last).unwrap().len();
        fs::OpenOptions::new().write(true).open(last).unwrap().set_len(length - cut).unwrap();
        assert!(inspect(dir.path()).unwrap().segments[2].torn_bytes > 0);
        let (read, spool) = recover(dir.path(), a).await;
        assert_eq!(read, all_but(&[90]), "{cut}");
        assert!(spool.report().counts.torn_bytes > 0);
        assert!(fs::metadata(last).unwrap().len() < length - cut);
    }
}

#[tokio::test]
async fn zeros_behind_the_end_are_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let a = make(dir.path()).await;
    let last = &segments(dir.path())[2];
    let length = fs::metadata(last).unwrap().len();
    fs::OpenOptions::new().write(true).open(last).unwrap().set_len(length + 5000).unwrap();
    let (read, spool) = recover(dir.path(), a).await;
    assert_eq!((read, spool.report().counts.torn_bytes), (all_but(&[]), 5000));
    assert_eq!(fs::metadata(last).unwrap().len(), length);
}

#[tokio::test]
async fn a_damaged_record_costs_one_record_in_any_segment() {
    for segment in 0..3 {
        // The length zeroed or huge, a bit of the CRC, of the sequence, of the text.
        for damage in 0..5 {
            let dir = tempfile::tempdir().unwrap();
            let a = make(dir.path()).await;
            let path = &segments(dir.path())[segment];
            let at = offset_of(path, 14);
            match damage {
                0 => write(path, at, &[0; 4]),
                1 => write(path, at, &[0xff; 4]),
                2 => flip(path, at + 5),
                3 => flip(path, at + 9),
                _ => flip(path, at + HEADER as u64 + 10),
            }
            let gone = segment as u64 * EACH + 15;
            assert_eq!(inspect(dir.path()).unwrap().segments[segment].damaged, 1);
            let (read, spool) = recover(dir.path(), a).await;
            assert_eq!(read, all_but(&[gone]), "segment {segment}, damage {damage}");
            let report = spool.report();
            assert_eq!((report.counts.damaged_ranges, report.counts.torn_bytes), (1, 0));
            // Of the last segment the totals are counted anew at opening.
            assert_eq!(report.destinations[0].lost, u64::from(segment < 2));
            assert_eq!(report.damage.len(), usize::from(segment < 2));
        }
    }
}

#[tokio::test]
async fn a_missing_segment_is_counted_and_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let a = make(dir.path()).await;
    fs::remove_file(&segments(dir.path())[1]).unwrap();
    assert!(inspect(dir.path()).unwrap().segments[1].missing_before);
    let (read, spool) = recover(dir.path(), a).await;
    assert_eq!(read, all_but(&(31..=60).collect::<Vec<_>>()));
    let report = spool.report();
    assert_eq!((report.counts.missing_segments, report.destinations[0].lost), (1, EACH));
    assert!(report.damage.iter().any(|damage| damage.from == 31 && damage.to == 60), "{:?}", report.damage);
}

#[tokio::test]
async fn a_segment_that_vanishes_while_it_is_needed_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let a = make(dir.path()).await;
    let spool = open(no_expiry(dir.path()));
    fs::remove_file(&segments(dir.path())[0]).unwrap();
    assert_eq!(drain(&spool, a).await.len() as u64, 2 * EACH);
    let report = spool.report();
    assert_eq!((report.destinations[0].lost, report.counts.damaged_segments), (EACH, 1));
    balance(&report);
}

#[tokio::test]
async fn empty_files_and_files_of_zeros_cost_only_what_was_in_them() {
    for length in [0, 10, 8192] {
        for segment in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            let a = make(dir.path()).await;
            let paths = segments(dir.path());
            let path = paths.get(segment).cloned().unwrap_or_else(|| dir.path().join(format!("{:020}.seg", 95)));
            fs::write(&path, vec![0; length]).unwrap();
            let (read, spool) = recover(dir.path(), a).await;
            let first = segment as u64 * EACH + 1;
            let gone: Vec<u64> = if segment < 3 { (first..first + EACH).collect() } else { vec![] };
            assert_eq!(read, all_but(&gone), "{length} octets as segment {segment}");
            let next = if segment < 3 { 91 } else { 95 };
            assert_eq!(spool.report().durable, next, "sequences are never used again");
        }
    }
}

#[tokio::test]
async fn a_damaged_header_costs_no_record() {
    for segment in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let a = make(dir.path()).await;
        flip(&segments(dir.path())[segment], 30);
        let (read, spool) = recover(dir.path(), a).await;
        assert_eq!(read, all_but(&[]), "segment {segment}");
        assert_eq!(spool.report().destinations[0].lost, 0);
    }
}

#[tokio::test]
async fn an_old_cursors_file_means_delivering_again() {
    let dir = tempfile::tempdir().unwrap();
    let a = make(dir.path()).await;
    let cursors = dir.path().join("cursors");
    let old = fs::read(&cursors).unwrap();
    let (read, spool) = recover(dir.path(), a).await;
    assert_eq!(read.len(), 90);
    let epoch = spool.epoch();
    spool.close().await.unwrap();
    fs::write(&cursors, &old).unwrap();
    let spool = open(no_expiry(dir.path()));
    assert_eq!(drain(&spool, a).await.len(), 91);
    assert!(spool.epoch() > epoch, "the epoch is taken from the segments too");
    spool.close().await.unwrap();
    // Older than what was deleted since.
    fs::write(&cursors, &old).unwrap();
    fs::remove_file(&segments(dir.path())[0]).unwrap();
    let spool = open(no_expiry(dir.path()));
    assert_eq!(drain(&spool, a).await.len(), 61);
    assert_eq!(spool.report().destinations[0].lost, EACH);
    balance(&spool.report());
}

#[tokio::test]
async fn without_cursors_destinations_are_those_of_the_newest_header() {
    for how in 0..2 {
        let dir = tempfile::tempdir().unwrap();
        let a = make(dir.path()).await;
        let Inspection { relay, epoch, .. } = inspect(dir.path()).unwrap();
        let cursors = dir.path().join("cursors");
        match how {
            0 => fs::remove_file(&cursors).unwrap(),
            _ => fs::write(&cursors, vec![7; 100_000]).unwrap(),
        }
        assert!(!inspect(dir.path()).unwrap().cursors_ok);
        let (read, spool) = recover(dir.path(), a).await;
        assert_eq!(read, all_but(&[]));
        assert_eq!((spool.destination("a").unwrap(), Some(spool.relay())), (a, relay.as_deref()));
        assert!(spool.epoch() > epoch);
    }
}

#[tokio::test]
async fn a_newer_layout_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).await;
    let path = segments(dir.path())[1].clone();
    write(&path, 8, &2u32.to_le_bytes());
    let before = fs::read(&path).unwrap();
    let opened = Spool::open(no_expiry(dir.path()), Arc::new(RealDisk::default()), clock);
    assert!(matches!(opened, Err(SpoolError::Version { version: 2, .. })));
    assert!(fs::read(&path).unwrap() == before && segments(dir.path()).len() == 3);
}
