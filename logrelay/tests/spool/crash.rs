//! kill -9 at every named point, and again at the next one on the way back: what was reported durable is there.

use std::{
    collections::BTreeMap,
    env, io,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use logrelay::spool::{Options, RealDisk, inspect};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::tools::{append, balance, chunk, drain, durable, numbers, open, open_on, options, pending};

/// Every named point, and at which passing the child dies. Those of the cursor are passed five times a second, whatever
/// is appended.
const POINTS: [(&str, u64); 14] = [
    ("spool.before-write", 9),
    ("spool.half-write", 9),
    ("spool.before-sync", 9),
    ("spool.after-sync", 9),
    ("spool.before-frontier", 9),
    ("seal.before", 3),
    ("seal.after-create", 3),
    ("seal.before-dirsync", 3),
    ("cursor.before-write", 6),
    ("cursor.half-write", 6),
    ("cursor.before-sync", 6),
    ("delete.before", 2),
    ("delete.after-cursor-sync", 2),
    ("delete.half", 2),
];
const FOLDER: &str = "SPOOL_TEST_FOLDER";
const POINT: &str = "SPOOL_TEST_POINT";

static DEADLY: OnceLock<(String, u64)> = OnceLock::new();
static PASSED: AtomicU64 = AtomicU64::new(0);

fn fault(point: &'static str) -> io::Result<()> {
    if let Some((deadly, nth)) = DEADLY.get()
        && deadly == point
        && PASSED.fetch_add(1, SeqCst) + 1 == *nth
    {
        kill(Pid::this(), Signal::SIGKILL)?;
        loop {
            std::thread::park();
        }
    }
    Ok(())
}

/// Without room for all that is pending, oldest records are dropped; with room, segments go when they are delivered.
fn with_room(dir: &Path, room: bool) -> Options {
    Options { max_bytes: if room { 64 << 20 } else { 64 << 10 }, queue_bytes: 16 << 10, ..options(dir) }
}

/// The child: appends and delivers, and says what it does, until it is killed. Without its variables it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let (Ok(dir), Ok(point)) = (env::var(FOLDER), env::var(POINT)) else { return };
    let [name, nth, room] = point.split(' ').collect::<Vec<_>>().try_into().unwrap();
    DEADLY.set((name.to_owned(), nth.parse().unwrap())).unwrap();
    let room = room == "true";
    let spool = open_on(Arc::new(RealDisk { fault: Some(fault) }), with_room(Path::new(&dir), room));
    let a = spool.destination("a").unwrap();
    let mut reader = spool.reader(a);
    println!("\nopen {}", spool.epoch());
    loop {
        let number = spool.epoch() * 1_000_000 + spool.report().end;
        let appended = append(&spool, numbers(number..number + 10, &[a], 200)).await;
        println!("\nsent {number} {}", appended.last);
        durable(&spool, appended).await;
        println!("\ndurable {}", appended.last);
        // Something is always pending; without room that is more than fits.
        if pending(&spool.report(), a) > if room { 30 } else { 300 }
            && let Some((lines, last)) = chunk(&mut reader).await
        {
            println!("\ndelivered {}", lines.last().unwrap().0);
            reader.commit(last);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What children said.
#[derive(Default)]
struct Said {
    /// Number by sequence, for what was sent.
    sent: BTreeMap<u64, u64>,
    durable: u64,
    delivered: u64,
}

/// Runs a child until it dies at a point.
fn run(dir: &Path, point: (&str, u64), room: bool, said: &mut Said) {
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
        .env(FOLDER, dir)
        .env(POINT, format!("{} {} {room}", point.0, point.1))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.signal(), Some(Signal::SIGKILL as i32), "{point:?}: {errors}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // A sequence that was claimed by a life before, and never durable, may be claimed again.
    said.sent.retain(|sequence, _| *sequence <= said.durable);
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let words: Vec<&str> = line.split(' ').collect();
        let word = |at: usize| words[at].parse::<u64>().unwrap();
        match words[0] {
            "sent" => said.sent.extend((0..10).map(|i| (word(2) - 9 + i, word(1) + i))),
            "durable" => said.durable = word(1),
            "delivered" => said.delivered = said.delivered.max(word(1)),
            _ => {}
        }
    }
}

/// Opens what the children left, and compares.
async fn check(dir: &Path, room: bool, said: &Said, what: &str) {
    let seen = inspect(dir).unwrap();
    assert!(seen.segments.iter().all(|segment| segment.damaged == 0), "{what}: {seen:?}");
    let spool = open(with_room(dir, room));
    let a = spool.destination("a").unwrap();
    let report = spool.report();
    let cursor = report.destinations[0].cursor;
    if room {
        assert_eq!(report.destinations[0].dropped, 0, "{what}");
        assert!(cursor <= said.delivered, "{what}: cursor {cursor}, delivered {}", said.delivered);
    } else {
        assert!(report.destinations[0].dropped > 0, "{what}");
    }
    assert!(report.durable >= said.durable, "{what}");
    let lines = drain(&spool, a).await;
    assert!(lines.windows(2).all(|pair| pair[0].0 < pair[1].0), "{what}: in order, nothing twice");
    let read: BTreeMap<u64, u64> = lines.into_iter().collect();
    for (sequence, number) in said.sent.range(cursor + 1..=said.durable) {
        assert_eq!(read.get(sequence), Some(number), "{what}: {sequence}");
    }
    let report = spool.report();
    balance(&report);
    assert_eq!((report.destinations[0].pending, report.destinations[0].lost), (0, 0), "{what}");
    spool.close().await.unwrap();
}

/// Kills a child at a point, and the next one, in the same folder, at the point behind it.
async fn twice(at: usize, room: bool) {
    let dir = tempfile::tempdir().unwrap();
    let mut said = Said::default();
    for point in [POINTS[at], POINTS[(at + 1) % POINTS.len()]] {
        tokio::task::block_in_place(|| run(dir.path(), point, room, &mut said));
    }
    assert!(said.durable > 50, "{at}: it did something");
    check(dir.path(), room, &said, POINTS[at].0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_point_and_at_the_next_one_nothing_durable_is_lost() {
    for at in 0..POINTS.len() {
        twice(at, true).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_making_room_nothing_durable_is_lost_but_what_is_counted() {
    for at in (0..POINTS.len()).filter(|at| POINTS[*at].0.starts_with("delete")) {
        twice(at, false).await;
    }
}
