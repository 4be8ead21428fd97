//! A folder with files, a follower of them, and what it gave out.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use logrelay::{
    follow::{Counters, FileReport, Follower, Mark, Pattern, Settings},
    message::Flags,
};
use tempfile::TempDir;

pub(crate) struct Rig {
    pub(crate) folder: TempDir,
    pub(crate) settings: Settings,
    pub(crate) follower: Follower,
    pub(crate) counters: Arc<Counters>,
    pub(crate) lines: Vec<String>,
    pub(crate) flags: Vec<Flags>,
    /// What was handed on and is not safe.
    pub(crate) waiting: Vec<Mark>,
    /// Whether what is handed on is safe at once.
    pub(crate) safe: bool,
    pub(crate) now: Instant,
}

impl Rig {
    /// Follows the names that match `pattern` in a new folder.
    pub(crate) fn new(pattern: &str) -> Self {
        Self::with(pattern, |_| {})
    }

    pub(crate) fn with(pattern: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("log")).unwrap();
        let mut settings = Settings {
            name: "app".into(),
            patterns: vec![Pattern::new(&format!("{}/log/{pattern}", folder.path().display())).unwrap()],
            max_line: 1000,
            partial_timeout: Duration::from_secs(30),
            from_end: false,
            state_folder: folder.path().join("state"),
        };
        change(&mut settings);
        let counters = Arc::new(Counters::default());
        let follower = Follower::open(settings.clone(), counters.clone()).unwrap();
        let (lines, flags, waiting) = (vec![], vec![], vec![]);
        Self { folder, settings, follower, counters, lines, flags, waiting, safe: true, now: Instant::now() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("log").join(name)
    }

    pub(crate) fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        append(&self.path(name), text.as_ref());
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Reads the folders, looks at all files and reads what there is.
    pub(crate) fn read(&mut self) {
        self.follower.sweep(self.now, true);
        self.follower.rescan(self.now);
        self.drain();
    }

    /// Looks only at the files that are known.
    pub(crate) fn sweep(&mut self) {
        self.follower.sweep(self.now, true);
        self.drain();
    }

    pub(crate) fn drain(&mut self) {
        while self.fill(usize::MAX) {}
    }

    /// One batch of at most so many lines.
    pub(crate) fn fill(&mut self, most: usize) -> bool {
        let (lines, flags, mut n) = (&mut self.lines, &mut self.flags, 0);
        let more = self.follower.fill(self.now, 1, &mut |line| {
            lines.push(String::from_utf8_lossy(line.raw).into_owned());
            flags.push(line.flags);
            n += 1;
            n >= most
        });
        self.waiting.push(self.follower.mark());
        if self.safe {
            self.acknowledge();
        }
        self.follower.tidy(self.now);
        more
    }

    pub(crate) fn acknowledge(&mut self) {
        for mark in self.waiting.drain(..) {
            self.follower.acknowledge(&mark);
        }
    }

    /// Lets time pass, and looks.
    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.read();
        self.follower.tidy(self.now);
    }

    /// Ends the follower, with or without its last checkpoint, and begins another.
    pub(crate) fn restart(&mut self, saved: bool) {
        if saved {
            self.follower.save().unwrap();
        }
        self.waiting.clear();
        self.follower = Follower::open(self.settings.clone(), self.counters.clone()).unwrap();
    }

    /// The lines since the last time.
    pub(crate) fn take(&mut self) -> Vec<String> {
        self.flags.clear();
        std::mem::take(&mut self.lines)
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        self.counters.all().into_iter().find(|(known, _)| *known == name).unwrap().1
    }

    pub(crate) fn report(&self, name: &str) -> Option<FileReport> {
        let path = self.path(name);
        self.follower.report().into_iter().find(|file| *file.path == *path)
    }
}

pub(crate) fn append(path: &Path, text: &[u8]) {
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text).unwrap();
}

/// `PREFIX 0` and so on, a line each.
pub(crate) fn numbered(prefix: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|n| format!("{prefix} {n}")).collect()
}

pub(crate) fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}
