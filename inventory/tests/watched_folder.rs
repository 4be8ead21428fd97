//! The watched folder: edits, breakage, healing, removal, and saving as editors do.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use inventory::source::{Defaults, Reading, watch_folder};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

struct Watched {
    dir: tempfile::TempDir,
    reload: Arc<Notify>,
    readings: mpsc::Receiver<Reading>,
    runtime: tokio::runtime::Runtime,
}

impl Watched {
    fn new(every: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("inventory")).unwrap();
        fs::write(dir.path().join("inventory/a.toml"), host("a", 1)).unwrap();
        let reload = Arc::new(Notify::new());
        let (out, readings) = mpsc::channel(16);
        let defaults = Defaults { product: "acme".into() };
        runtime.spawn(watch_folder(dir.path().join("inventory"), defaults, every, reload.clone(), out));
        Self { dir, reload, readings, runtime }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("inventory").join(name)
    }

    /// The next reading: names of hosts, or `broken: ` and the first fault.
    fn next(&mut self) -> String {
        let reading = self.runtime.block_on(async { timeout(PATIENCE, self.readings.recv()).await });
        match reading.expect("a reading in time").expect("the watcher lives") {
            Reading::Rows { rows, files } => {
                let names: Vec<String> = rows.iter().map(|row| row.key().text()).collect();
                format!("{files} files: {}", names.join(" "))
            }
            Reading::Broken(faults) => format!("broken: {}", faults[0]),
        }
    }

    /// Reads until one is as expected: between an editor's steps there may be others.
    fn until(&mut self, expected: &str) {
        while !self.next().starts_with(expected) {}
    }
}

fn host(name: &str, last: u8) -> String {
    format!("[[host]]\nname = \"{name}\"\nzone = \"z\"\nprivate_ip = \"10.0.0.{last}\"\n")
}

fn save_as_editors_do(path: &Path, text: &str) {
    let scratch = path.with_extension("toml~new");
    fs::write(&scratch, text).unwrap();
    fs::rename(&scratch, path).unwrap();
}

#[test]
fn a_change_is_noticed_without_the_timer_when_the_system_gives_notice() {
    let mut watched = Watched::new(Duration::from_secs(3600));
    assert_eq!(watched.next(), "1 files: a.z.acme");
    fs::write(watched.file("b.toml"), host("b", 2)).unwrap();
    watched.until("2 files: a.z.acme b.z.acme");
    fs::write(watched.file("b.toml"), "[[host]]\nname = 5\n").unwrap();
    watched.until("broken: b.toml:1: zone: missing");
    save_as_editors_do(&watched.file("b.toml"), &host("c", 3));
    watched.until("2 files: a.z.acme c.z.acme");
    fs::remove_file(watched.file("b.toml")).unwrap();
    watched.until("1 files: a.z.acme");
}

#[test]
fn a_vanished_folder_is_a_fault_and_its_return_is_noticed() {
    let mut watched = Watched::new(Duration::from_millis(50));
    assert_eq!(watched.next(), "1 files: a.z.acme");
    fs::rename(watched.dir.path().join("inventory"), watched.dir.path().join("away")).unwrap();
    let gone = watched.next();
    assert!(gone.contains("the inventory folder cannot be read (No such file or directory"), "{gone}");
    fs::rename(watched.dir.path().join("away"), watched.dir.path().join("inventory")).unwrap();
    assert_eq!(watched.next(), "1 files: a.z.acme");
}

#[test]
fn an_unchanged_folder_is_sent_only_upon_reload() {
    let mut watched = Watched::new(Duration::from_millis(10));
    assert_eq!(watched.next(), "1 files: a.z.acme");
    // The timer looks many times meanwhile; each reload gives exactly one reading, and nothing else does.
    for _ in 0..3 {
        watched.reload.notify_one();
        assert_eq!(watched.next(), "1 files: a.z.acme");
    }
    fs::write(watched.file("notes.txt"), "not inventory").unwrap();
    save_as_editors_do(&watched.file("a.toml"), &host("b", 2));
    assert_eq!(watched.next(), "1 files: b.z.acme");
}

#[test]
fn a_file_that_is_written_slowly_is_not_taken_by_halves() {
    let mut watched = Watched::new(Duration::from_millis(50));
    assert_eq!(watched.next(), "1 files: a.z.acme");
    let mut file = fs::File::create(watched.file("b.toml")).unwrap();
    let text: String = (1..=9).map(|n| host(&format!("b{n}"), 10 + n)).collect();
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    for line in text.lines() {
        std::io::Write::write_all(&mut file, format!("{line}\n").as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(60));
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    let mut next = watched.next();
    // Each line arrived within the second that the file must be still, unless the machine stood still itself.
    while longest > Duration::from_millis(500) && !next.ends_with("b9.z.acme") {
        next = watched.next();
    }
    assert!(next.starts_with("2 files: a.z.acme b1.z.acme") && next.ends_with("b9.z.acme"), "{next}");
}
