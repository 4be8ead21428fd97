//! `kill -9` of a process that follows, at any moment: lines may come twice, none is lost.

use std::{
    collections::HashMap,
    env,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use logrelay::follow::{Counters, Follower, Pattern, Settings};

use crate::rig::append;

/// Says to a process of this binary that it is the one to be killed, and in which folder.
const FOLDER: &str = "FOLLOW_CRASH_FOLDER";

fn settings(folder: &Path) -> Settings {
    Settings {
        name: "app".into(),
        patterns: vec![Pattern::new(&format!("{}/log/*.log", folder.display())).unwrap()],
        max_line: 1000,
        partial_timeout: Duration::from_secs(30),
        from_end: false,
        state_folder: folder.join("state"),
    }
}

/// Follows for ever: lines to `out`, which is made durable, then acknowledged, then the checkpoint. The acknowledgement
/// is a batch behind, as that of a spool is.
fn follow(folder: &Path) -> ! {
    let mut follower = Follower::open(settings(folder), Arc::new(Counters::default())).unwrap();
    let mut out = OpenOptions::new().create(true).append(true).open(folder.join("out")).unwrap();
    // What a killed process wrote of a line ends here.
    out.write_all(b"\n").unwrap();
    let mut before = None;
    loop {
        let now = Instant::now();
        follower.sweep(now, true);
        follower.rescan(now);
        let mut batch = Vec::new();
        follower.fill(now, 1, &mut |line| {
            batch.extend_from_slice(line.raw);
            batch.push(b'\n');
            batch.len() > 5_000
        });
        let mark = follower.mark();
        out.write_all(&batch).unwrap();
        out.sync_data().unwrap();
        if let Some(before) = before.replace(mark) {
            follower.acknowledge(&before);
        }
        follower.tidy(now);
        follower.save().unwrap();
        thread::sleep(Duration::from_millis(1));
    }
}

fn child(folder: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "crash::no_line_is_lost", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// How often each line came.
fn came(folder: &Path) -> HashMap<String, usize> {
    let mut came = HashMap::new();
    for line in fs::read_to_string(folder.join("out")).unwrap_or_default().lines() {
        *came.entry(line.to_owned()).or_default() += 1;
    }
    came
}

/// Whether a file is in the checkpoint, or comes there: what nobody saw before it was renamed cannot be found by what it
/// is.
fn is_known(folder: &Path, path: &Path, patience: Duration) -> bool {
    let Ok(metadata) = fs::metadata(path) else { return false };
    let start = format!("{} {} ", metadata.dev(), metadata.ino());
    let end = Instant::now() + patience;
    loop {
        let checkpoint = fs::read_to_string(folder.join("state/app.offsets")).unwrap_or_default();
        if checkpoint.lines().any(|line| line.starts_with(&start)) {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn no_line_is_lost() {
    if let Some(folder) = env::var_os(FOLDER) {
        follow(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let (folder, log) = (folder.path(), folder.path().join("log"));
    fs::create_dir(&log).unwrap();
    let mut written = Vec::new();
    for round in 0..12 {
        let mut process = child(folder);
        // A different moment each time, from before it has begun to well after.
        for step in 0..round * 7 {
            let name = format!("{}.log", step % 3);
            let lines: Vec<String> = (0..200).map(|n| format!("line {round} {step} {n} of {name}")).collect();
            append(&log.join(&name), (lines.join("\n") + "\n").as_bytes());
            written.extend(lines);
            if step % 5 == 4 && is_known(folder, &log.join(&name), Duration::from_secs(20)) {
                fs::rename(log.join(&name), log.join(format!("{name}.{round}.{step}"))).unwrap();
            }
            thread::sleep(Duration::from_millis(4));
        }
        process.kill().unwrap();
        process.wait().unwrap();
        // Rotation while nobody looks.
        if round % 3 == 2 && is_known(folder, &log.join("0.log"), Duration::ZERO) {
            fs::rename(log.join("0.log"), log.join(format!("0.log.{round}"))).unwrap();
        }
    }
    let mut process = child(folder);
    let end = Instant::now() + Duration::from_secs(60);
    let missing = loop {
        let came = came(folder);
        let missing = written.iter().filter(|line| !came.contains_key(*line)).count();
        if missing == 0 || Instant::now() > end {
            break missing;
        }
        thread::sleep(Duration::from_millis(20));
    };
    process.kill().unwrap();
    process.wait().unwrap();
    let twice = came(folder).values().filter(|times| **times > 1).count();
    println!("{} lines, {twice} of them more than once", written.len());
    assert_eq!(missing, 0, "of {} lines", written.len());
}
