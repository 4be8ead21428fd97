//! The decision log: who asked to come in where, what was answered, and by which rule.
//!
//! On disk: `decisions/NNNNNNNNNN.jsonl`, files numbered as they are begun, one JSON object per line.
//! Each line carries the hash of the line before it and, last, the BLAKE3 of its own text up to there, so a line that is
//! changed, left out or put in breaks the chain; the chain continues over files. The chain has no key: it shows damage
//! and careless changes, but whoever may write the files can make the whole chain anew, or cut off the newest lines,
//! without a trace in them. Whoever wants to notice that keeps [`Decisions::head`] elsewhere.
//!
//! Whoever answers only puts an entry in a bounded queue. One thread collects what arrives within [`WINDOW`], writes it
//! in one piece and syncs it: a crash loses at most that window. When the queue is full the entry is lost, and the next
//! line says how many were (`lost`); when none follows, a note does. Entries that differ in nothing but their time become one line with a `count`, so
//! that clients which ask again and again do not flood the log. Files are closed at an eighth of the limit, and the
//! oldest go when the total is above it. A line that a crash tore is cut off at the next start, and a line that says so
//! takes its place. A folder that cannot be read or written, at the start as well as later, ends nothing: what is
//! decided meanwhile is counted as lost, and the log is opened anew with every batch until that works.

mod line;
mod read;
mod writer;

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

pub use line::Line;
pub use read::{Broken, Query, Verified, search, verify};

/// How long entries are collected before they are written and synced together.
pub const WINDOW: Duration = Duration::from_millis(200);
/// Entries that wait for the writer.
pub const QUEUE_MAX: usize = 8192;
/// How often a full queue is tried by whoever waits for it to be written.
const FLUSH_AGAIN: Duration = Duration::from_millis(5);
/// Characters of a text in an entry; longer ones are cut.
pub const TEXT_MAX: usize = 256;
/// Smallest total size, in octets, that is taken; less would rotate at every batch.
pub const SIZE_MIN: u64 = 256 * 1024;

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Unix milliseconds.
    #[serde(rename = "when")]
    pub when_ms: u64,
    /// Who asked: the login name, or the DN of a bind.
    pub user: CompactString,
    /// The host concerned; empty where there is none.
    pub host: CompactString,
    /// `sshd`, `sudo`, `bind` …
    pub service: CompactString,
    /// `allow` or `deny`.
    pub verdict: CompactString,
    /// The true reason, in snake_case; the client is not told.
    pub reason: CompactString,
    /// The rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<CompactString>,
    /// The position of the state that was asked.
    pub position: CompactString,
    /// By which way it was asked or judged: `ldap`, `keys`, `upstream`, `hash`, `verifier` …
    pub via: CompactString,
    /// Where the question came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// Seconds since the source of the directory was last heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_s: Option<u64>,
}

impl Entry {
    /// Whether two entries differ in nothing but the time and the age of the data.
    fn is_like(&self, other: &Self) -> bool {
        let same = |entry: &Self| Self { when_ms: 0, age_s: None, ..entry.clone() };
        self.user == other.user && self.host == other.host && same(self) == same(other)
    }

    /// Cuts texts that are too long.
    fn cut(mut self) -> Self {
        let texts = [
            &mut self.user,
            &mut self.host,
            &mut self.service,
            &mut self.verdict,
            &mut self.reason,
            &mut self.position,
            &mut self.via,
        ];
        for text in texts.into_iter().chain(&mut self.rule) {
            if let Some((at, _)) = text.char_indices().nth(TEXT_MAX) {
                text.truncate(at);
            }
        }
        self
    }
}

/// Counts of the decision log since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Decisions on disk.
    pub written: AtomicU64,
    /// Decisions among them that share a line with an equal one before them.
    pub merged: AtomicU64,
    /// Decisions that are not on disk: the queue was full, or the disk refused.
    pub lost: AtomicU64,
    /// Torn or damaged ends of files found at the start.
    pub torn: AtomicU64,
    /// Reads and writes that the disk refused.
    pub failed: AtomicU64,
    /// Files removed to keep the limit.
    pub removed: AtomicU64,
}

/// Why the log cannot be opened: there is no thread to be had. What the disk refuses is counted and logged instead.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the thread that writes the decision log in {dir}: {error}")]
pub struct OpenError {
    dir: PathBuf,
    error: io::Error,
}

/// The end of the chain: what an observer keeps to notice lines that were cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Number of the newest line; `None` while there is none.
    pub n: Option<u64>,
    /// Its hash, in hexadecimal.
    pub hash: CompactString,
}

#[expect(clippy::large_enum_variant, reason = "nearly all are entries; a box for each would cost more")]
enum Message {
    Entry(Entry),
    /// Write and sync what was recorded before this, then tell.
    Flush(SyncSender<()>),
}

struct Shared {
    queue: SyncSender<Message>,
    /// Lost entries that no line tells of yet.
    untold: Arc<AtomicU64>,
    counters: Arc<Counters>,
    head: Arc<Mutex<Head>>,
}

/// The decision log, for those who decide.
#[derive(Clone)]
pub struct Decisions(Arc<Shared>);

impl Decisions {
    /// Opens or creates the log in a folder and starts its writer; `max_bytes` bounds all files together.
    /// The writer ends when the last clone is gone, after it has written what is queued. A folder that cannot be used now
    /// is tried again with every batch.
    pub fn open(dir: &Path, max_bytes: u64) -> Result<Self, OpenError> {
        let opened = |error| OpenError { dir: dir.to_owned(), error };
        let counters = Arc::new(Counters::default());
        let max_bytes = max_bytes.max(SIZE_MIN);
        let (files, stale) = match writer::Files::open(dir, max_bytes, &counters) {
            Ok(files) => (files, false),
            Err(error) => {
                counters.failed.fetch_add(1, Relaxed);
                tracing::error!(
                    dir = %dir.display(), %error,
                    "decisions are made but not logged until the folder can be used; is the disk full, is it ours?"
                );
                (writer::Files::none(dir, max_bytes), true)
            }
        };
        let untold = Arc::new(AtomicU64::new(0));
        let head = Arc::new(Mutex::new(files.head()));
        let (queue, entries): (_, Receiver<Message>) = sync_channel(QUEUE_MAX);
        let writer = writer::Writer {
            files,
            entries,
            untold: untold.clone(),
            counters: counters.clone(),
            head: head.clone(),
            stale,
        };
        std::thread::Builder::new().name("decisions".into()).spawn(move || writer.run()).map_err(opened)?;
        Ok(Self(Arc::new(Shared { queue, untold, counters, head })))
    }

    /// Takes note of a decision. It never waits: when the queue is full the entry is counted as lost.
    pub fn record(&self, entry: Entry) {
        match self.0.queue.try_send(Message::Entry(entry.cut())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.0.untold.fetch_add(1, Relaxed);
                self.0.counters.lost.fetch_add(1, Relaxed);
            }
        }
    }

    /// Waits until everything recorded before is on disk or counted as lost; for the end of the process, never for an
    /// answer. It blocks the thread. `false` if that did not happen in time.
    pub fn flush(&self, within: Duration) -> bool {
        let ends = Instant::now() + within;
        let (done, told) = sync_channel(1);
        let mut message = Message::Flush(done);
        loop {
            match self.0.queue.try_send(message) {
                Ok(()) => return told.recv_timeout(ends.saturating_duration_since(Instant::now())).is_ok(),
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(_)) if Instant::now() >= ends => return false,
                Err(TrySendError::Full(back)) => message = back,
            }
            std::thread::sleep(FLUSH_AGAIN);
        }
    }

    /// Counts since the start.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// The end of the chain on disk.
    pub fn head(&self) -> Head {
        self.0.head.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests;
