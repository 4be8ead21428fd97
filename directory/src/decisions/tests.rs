use std::{fs, sync::atomic::Ordering::Relaxed};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{line::NO_HASH, *};

const LONG: Duration = Duration::from_secs(20);

fn entry(user: &str, when_ms: u64) -> Entry {
    Entry {
        when_ms,
        user: user.into(),
        host: "dev-mysql01.us-east-1b".into(),
        service: "sshd".into(),
        verdict: if user.starts_with('x') { "deny" } else { "allow" }.into(),
        reason: "grant".into(),
        rule: Some("grant dba pattern dev-mysql*".into()),
        position: "1.42".into(),
        via: "ldap".into(),
        source: Some("10.0.0.7".parse().unwrap()),
        age_s: Some(1),
    }
}

/// A log with these users' decisions, one millisecond apart, closed.
fn written(users: &[&str]) -> TempDir {
    let dir = TempDir::new().unwrap();
    let log = Decisions::open(dir.path(), SIZE_MIN).unwrap();
    for (at, user) in users.iter().enumerate() {
        log.record(entry(user, 1000 + at as u64));
    }
    assert!(log.flush(LONG));
    dir
}

fn only_file(dir: &TempDir) -> std::path::PathBuf {
    dir.path().join("0000000000.jsonl")
}

fn users(lines: &[Line]) -> Vec<&str> {
    lines.iter().filter_map(|line| line.entry.as_ref()).map(|entry| entry.user.as_str()).collect()
}

#[test]
fn a_decision_is_found_again_and_the_chain_holds() {
    let dir = written(&["ada", "xeno", "grace"]);
    let all = search(dir.path(), &Query { limit: 10, ..Query::default() }).unwrap();
    assert_eq!(users(&all), ["grace", "xeno", "ada"]);
    assert_eq!(all[2].entry, Some(entry("ada", 1000)));
    assert_eq!((all[2].n, all[2].previous.as_str()), (0, NO_HASH));
    assert_eq!(all[1].previous, all[2].hash);
    let sum = verify(dir.path()).unwrap();
    assert_eq!((sum.lines, sum.decisions, sum.last, &sum.hash), (3, 3, Some(2), &all[0].hash));
}

#[test]
fn searches_narrow_by_user_host_verdict_time_and_number() {
    let dir = written(&["ada", "xeno", "grace", "ada2", "xeno2"]);
    let find = |query: Query| search(dir.path(), &Query { limit: 10, ..query }).unwrap();
    assert_eq!(users(&find(Query { user: Some("ada".into()), ..Query::default() })), ["ada"]);
    assert_eq!(users(&find(Query { verdict: Some("deny".into()), ..Query::default() })), ["xeno2", "xeno"]);
    assert_eq!(find(Query { host: Some("dev-mysql01".into()), ..Query::default() }).len(), 5);
    assert_eq!(find(Query { host: Some("dev-mysql0".into()), ..Query::default() }).len(), 0);
    let time = Query { since_ms: Some(1001), until_ms: Some(1002), ..Query::default() };
    assert_eq!(users(&find(time)), ["grace", "xeno"]);
    assert_eq!(search(dir.path(), &Query { limit: 2, ..Query::default() }).unwrap().len(), 2);
}

#[test]
fn equal_decisions_of_one_window_share_a_line() {
    let dir = written(&["ada", "ada", "grace", "ada"]);
    let lines = search(dir.path(), &Query { limit: 10, ..Query::default() }).unwrap();
    let sum = verify(dir.path()).unwrap();
    assert_eq!(sum.decisions, 4);
    // A window may close between two records on a slow machine; then there are more lines, never fewer decisions.
    assert!((2..=4).contains(&lines.len()), "{lines:?}");
    assert_eq!(lines.iter().map(|line| line.count).sum::<u64>(), 4);
}

#[test]
fn the_chain_continues_after_a_restart() {
    let dir = written(&["ada"]);
    let log = Decisions::open(dir.path(), SIZE_MIN).unwrap();
    assert_eq!(log.head().n, Some(0));
    log.record(entry("grace", 2000));
    assert!(log.flush(LONG));
    let sum = verify(dir.path()).unwrap();
    assert_eq!((sum.files, sum.lines, sum.last), (1, 2, Some(1)));
    assert_eq!((sum.last, &sum.hash), (log.head().n, &log.head().hash));
}

#[test]
fn files_rotate_within_the_limit_and_the_chain_runs_through_them() {
    let dir = TempDir::new().unwrap();
    let log = Decisions::open(dir.path(), SIZE_MIN).unwrap();
    for at in 0..1500u64 {
        log.record(entry(&format!("user{at}"), at));
    }
    assert!(log.flush(LONG));
    let total: u64 = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(total <= SIZE_MIN, "{total}");
    let sum = verify(dir.path()).unwrap();
    assert!(sum.files > 2 && sum.first > Some(0), "{sum:?}");
    assert_eq!((sum.last, log.counters().lost.load(Relaxed)), (Some(1499), 0));
    assert!(log.counters().removed.load(Relaxed) > 0);
    // The oldest that is left is found, beyond the first block and file.
    let oldest = search(dir.path(), &Query { limit: usize::MAX, ..Query::default() }).unwrap().pop().unwrap();
    assert_eq!(Some(oldest.n), sum.first);
}

#[test]
fn a_log_cut_at_any_octet_goes_on_and_says_so() {
    let dir = written(&["ada", "grace", "xeno"]);
    let text = fs::read(only_file(&dir)).unwrap();
    let ends: Vec<usize> =
        text.iter().enumerate().filter(|(_, octet)| **octet == b'\n').map(|(at, _)| at + 1).collect();
    for cut in 0..text.len() {
        fs::write(only_file(&dir), &text[..cut]).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut).count() as u64;
        let torn = cut > 0 && !ends.contains(&cut);
        assert_eq!(verify(dir.path()).unwrap().unfinished, torn, "cut at {cut}");

        let counters = Counters::default();
        let files = writer::Files::open(dir.path(), SIZE_MIN, &counters).unwrap();
        assert_eq!(
            (files.head().n, counters.torn.load(Relaxed)),
            (whole.checked_sub(1), u64::from(torn)),
            "cut at {cut}"
        );
        drop(files);
        // The whole road through the writer takes a window: not for every octet.
        if cut % 97 != 0 {
            continue;
        }
        fs::write(only_file(&dir), &text[..cut]).unwrap();
        let log = Decisions::open(dir.path(), SIZE_MIN).unwrap();
        log.record(entry("after", 5000));
        assert!(log.flush(LONG));
        let sum = verify(dir.path()).unwrap();
        assert_eq!((sum.decisions, sum.notes, sum.unfinished), (whole + 1, u64::from(torn), false), "cut at {cut}");
    }
}

#[test]
fn a_file_that_was_begun_and_is_empty_continues_the_one_before() {
    let dir = written(&["ada"]);
    fs::write(dir.path().join("0000000001.jsonl"), "").unwrap();
    let log = Decisions::open(dir.path(), SIZE_MIN).unwrap();
    log.record(entry("grace", 2000));
    assert!(log.flush(LONG));
    assert_eq!(verify(dir.path()).unwrap().lines, 2);
    assert!(fs::metadata(dir.path().join("0000000001.jsonl")).unwrap().len() > 0);
}

#[test]
fn a_damaged_end_stays_as_evidence_and_the_log_goes_on() {
    let dir = written(&["ada", "grace"]);
    let text = fs::read_to_string(only_file(&dir)).unwrap();
    fs::write(only_file(&dir), text.replace("grace", "mallo")).unwrap();
    let log = Decisions::open(dir.path(), SIZE_MIN).unwrap();
    log.record(entry("xeno", 2000));
    assert!(log.flush(LONG));
    assert_eq!(log.counters().torn.load(Relaxed), 1);
    let why = verify(dir.path()).unwrap_err().to_string();
    assert_eq!(why, "decision log broken in 0000000000.jsonl, line 2: its text does not have the hash that it names");
    let found = search(dir.path(), &Query { limit: 10, ..Query::default() }).unwrap();
    assert_eq!(users(&found), ["xeno", "ada"]);
}

#[test]
fn lines_taken_out_or_exchanged_break_the_chain() {
    let dir = written(&["ada", "grace", "xeno"]);
    let text = fs::read_to_string(only_file(&dir)).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for (changed, at) in [([0, 2, 2], 2), ([1, 0, 2], 2), ([0, 0, 2], 2)] {
        fs::write(only_file(&dir), changed.map(|at| lines[at]).concat()).unwrap();
        assert!(matches!(verify(dir.path()), Err(Broken::Line { line, .. }) if line == at), "{changed:?}");
    }
}

#[test]
fn what_a_full_queue_loses_is_told_by_the_next_line() {
    let dir = TempDir::new().unwrap();
    let log = Decisions::open(dir.path(), 64 << 20).unwrap();
    let mut sent = 0;
    while log.counters().lost.load(Relaxed) == 0 {
        log.record(entry(&format!("user{sent}"), sent));
        sent += 1;
    }
    assert!(log.flush(LONG));
    log.record(entry("after", sent));
    assert!(log.flush(LONG));
    let sum = verify(dir.path()).unwrap();
    assert_eq!(sum.lost, log.counters().lost.load(Relaxed));
    assert_eq!(sum.decisions + sum.lost, sent + 1);
}

#[test]
fn a_disk_that_refuses_is_counted_and_the_chain_goes_on_when_it_works_again() {
    let dir = written(&["ada"]);
    let log = Decisions::open(dir.path(), SIZE_MIN).unwrap();
    // The next file cannot be begun: its name is taken by a folder.
    let blocked = dir.path().join("0000000001.jsonl");
    fs::create_dir(&blocked).unwrap();
    let long = "h".repeat(TEXT_MAX);
    for at in 0..200u64 {
        let mut one = entry(&format!("user{at}"), at);
        one.host = long.as_str().into();
        log.record(one);
    }
    assert!(log.flush(LONG));
    assert!(log.counters().failed.load(Relaxed) > 0);
    let lost = log.counters().lost.load(Relaxed);
    assert!(lost > 0);
    fs::remove_dir(&blocked).unwrap();
    log.record(entry("after", 9000));
    // The first batch after it may still find no file: the one after that must not.
    assert!(log.flush(LONG));
    log.record(entry("later", 9001));
    assert!(log.flush(LONG));
    let sum = verify(dir.path()).unwrap();
    assert_eq!(sum.lost, log.counters().lost.load(Relaxed), "{sum:?}");
    assert!(users(&search(dir.path(), &Query { limit: 1, ..Query::default() }).unwrap()) == ["later"]);
}

#[test]
fn losses_with_no_later_decision_are_told_by_a_note() {
    let dir = written(&["ada"]);
    let log = Decisions::open(dir.path(), SIZE_MIN).unwrap();
    // As after a burst: the queue is empty again, and nobody decides anything more.
    log.0.untold.fetch_add(3, Relaxed);
    assert!(log.flush(LONG));
    let sum = verify(dir.path()).unwrap();
    assert_eq!((sum.lost, sum.notes, sum.decisions), (3, 1, 1));
    assert!(log.flush(LONG));
    assert_eq!(verify(dir.path()).unwrap().lines, 2, "it is told once");
}

#[test]
fn a_folder_that_cannot_be_used_at_the_start_ends_nothing() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("decisions");
    fs::write(&dir, "in the way").unwrap();
    let log = Decisions::open(&dir, SIZE_MIN).unwrap();
    log.record(entry("ada", 1));
    assert!(log.flush(LONG));
    assert_eq!((log.counters().lost.load(Relaxed), log.head().n), (1, None));
    assert!(log.counters().failed.load(Relaxed) >= 2);
    fs::remove_file(&dir).unwrap();
    log.record(entry("grace", 2));
    assert!(log.flush(LONG));
    let sum = verify(&dir).unwrap();
    assert_eq!((sum.decisions, sum.lost), (1, 1));
}

#[test]
fn waiting_for_a_writer_that_stands_still_has_an_end() {
    let (queue, _entries) = sync_channel(1);
    let (untold, counters) = (Arc::default(), Arc::default());
    let head = Arc::new(Mutex::new(Head { n: None, hash: NO_HASH.into() }));
    let log = Decisions(Arc::new(Shared { queue, untold, counters, head }));
    log.record(entry("ada", 1));
    let began = Instant::now();
    assert!(!log.flush(Duration::from_millis(50)));
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
}

#[test]
fn a_damaged_stretch_hides_nothing_but_itself() {
    let dir = written(&["ada", "grace"]);
    let lines = fs::read(only_file(&dir)).unwrap();
    let first = lines.iter().position(|octet| *octet == b'\n').unwrap() + 1;
    // Zeros, as a file system leaves them after a crash: in the middle, at the end, and at both.
    let zeros = vec![0; 200_000];
    let middle = [&lines[..first], &zeros, b"\n", &lines[first..]].concat();
    let end = [&lines[..], &zeros].concat();
    let begin = [&zeros, b"\n".as_slice(), &lines].concat();
    for damaged in [&middle, &end, &begin, &[&middle[..], &zeros].concat()] {
        fs::write(only_file(&dir), damaged).unwrap();
        let found = search(dir.path(), &Query { limit: 10, ..Query::default() }).unwrap();
        assert_eq!(users(&found), ["grace", "ada"]);
    }
}

#[test]
fn a_file_that_cannot_be_removed_loses_no_decision() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("0000000000.jsonl")).unwrap();
    let counters = Counters::default();
    let mut files = writer::Files::none(dir.path(), 0);
    files.pretend_oldest(0, 1);
    assert!(files.begin(&counters).is_ok());
    assert_eq!((counters.failed.load(Relaxed), counters.removed.load(Relaxed)), (1, 0));
    assert!(dir.path().join("0000000001.jsonl").exists());
}

#[test]
fn long_and_odd_texts_are_cut_and_kept() {
    let dir = TempDir::new().unwrap();
    let log = Decisions::open(dir.path(), SIZE_MIN).unwrap();
    let odd = "\u{0}\"\\\n,\"hash\":\"é";
    let mut one = entry(odd, 1);
    one.host = "é".repeat(100_000).into();
    log.record(one);
    assert!(log.flush(LONG));
    let found = search(dir.path(), &Query { user: Some(odd.into()), limit: 1, ..Query::default() }).unwrap();
    assert_eq!(found[0].entry.as_ref().unwrap().host.chars().count(), TEXT_MAX);
    assert!(verify(dir.path()).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_changed_octet_is_noticed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let dir = TempDir::new().unwrap();
        let files = writer::Files::open(dir.path(), SIZE_MIN, &Counters::default()).unwrap();
        prop_assert!(files.head().n.is_none());
        let mut text = Vec::new();
        let mut previous: CompactString = NO_HASH.into();
        for n in 0..4 {
            let line = Line {
                n, entry: Some(entry("ada", n)), noted: None, note: None, count: 1, lost: 0, previous, hash: "".into(),
            };
            let (encoded, hash) = line.encode().unwrap();
            text.extend(encoded.into_bytes());
            previous = hash;
        }
        let at = at.index(text.len());
        text[at] ^= 1 << bit;
        fs::write(only_file(&dir), &text).unwrap();
        match verify(dir.path()) {
            Err(Broken::Line { .. }) => {}
            Ok(sum) => prop_assert!(sum.unfinished, "octet {} changed: {:?}", at, sum),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
