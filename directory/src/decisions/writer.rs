//! The thread that writes: batches, files, recovery after a crash.

use std::{
    collections::{HashMap, VecDeque},
    fs::{self, File, OpenOptions},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant, SystemTime},
};

use compact_str::{CompactString, format_compact};

use super::{
    Counters, Entry, Head, Line, Message, WINDOW,
    line::{LINE_MAX, NO_HASH},
};

/// Different decisions in one batch.
const BATCH_MAX: usize = 1024;
/// Files among which the limit is divided.
const FILES: u64 = 8;
/// How long losses wait for a decision whose line tells of them; then a note does.
const TELL_AFTER: Duration = Duration::from_secs(5);

/// The files of the log, newest last: (number, octets).
pub(super) fn segments(dir: &Path) -> io::Result<VecDeque<(u64, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl")).and_then(|name| name.parse().ok());
        let Some(number) = number else { continue };
        match entry.metadata() {
            Ok(meta) => found.push((number, meta.len())),
            // The writer removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_unstable();
    Ok(found.into())
}

/// The path of a file of the log.
pub(super) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.jsonl"))
}

/// How a file ends.
struct End {
    /// Octets up to the last complete line.
    whole: u64,
    /// Octets behind it.
    torn: u64,
    /// The last line that is in order, if one is near the end.
    last: Option<Line>,
    /// Complete lines behind that one: damage, not the trace of a torn write.
    damaged: bool,
}

impl End {
    fn of(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let start = size.saturating_sub(2 * LINE_MAX as u64);
        file.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        file.take(2 * LINE_MAX as u64).read_to_end(&mut tail)?;
        let whole = tail.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
        let lines = tail.get(..whole).unwrap_or_default().split(|octet| *octet == b'\n').rev().skip(1);
        let mut damaged = whole == 0 && start > 0;
        let mut last = None;
        for text in lines {
            match Line::decode(text) {
                Ok(line) => {
                    last = Some(line);
                    break;
                }
                Err(_) => damaged = true,
            }
        }
        let whole = start + whole as u64;
        Ok(Self { whole, torn: size - whole, last, damaged })
    }
}

/// The open file and the end of the chain.
pub(super) struct Files {
    dir: PathBuf,
    max_bytes: u64,
    file: Option<File>,
    segments: VecDeque<(u64, u64)>,
    next: u64,
    previous: CompactString,
    note: Option<CompactString>,
}

impl Files {
    /// As long as the folder cannot be used.
    pub(super) fn none(dir: &Path, max_bytes: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            max_bytes,
            file: None,
            segments: VecDeque::new(),
            next: 0,
            previous: NO_HASH.into(),
            note: None,
        }
    }

    /// Finds the end of the chain. A torn line is cut off; a damaged end is left as it is, and a new file begins.
    pub(super) fn open(dir: &Path, max_bytes: u64, counters: &Counters) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let mut segments = segments(dir)?;
        let mut files = Self::none(dir, max_bytes);
        let mut newest = true;
        let mut append = false;
        for (number, size) in segments.iter_mut().rev() {
            let path = path_of(dir, *number);
            let end = End::of(&path)?;
            if newest && !end.damaged {
                if end.torn > 0 {
                    let file = OpenOptions::new().write(true).open(&path)?;
                    file.set_len(end.whole)?;
                    file.sync_all()?;
                    *size = end.whole;
                    counters.torn.fetch_add(1, Relaxed);
                    files.note = Some(format_compact!("a line of {} octets was torn and is cut off", end.torn));
                }
                append = true;
            } else if end.damaged {
                counters.torn.fetch_add(1, Relaxed);
                files.note = Some(format_compact!("the end of {number:010}.jsonl is damaged; it is left as it is"));
            }
            newest = false;
            if let Some(last) = end.last {
                files.next = last.n.saturating_add(1);
                files.previous = last.hash;
                break;
            }
        }
        if append && let Some((number, _)) = segments.back() {
            files.file = Some(OpenOptions::new().append(true).open(path_of(dir, *number))?);
        }
        files.segments = segments;
        Ok(files)
    }

    #[cfg(test)]
    pub(super) fn pretend_oldest(&mut self, number: u64, size: u64) {
        self.segments.push_front((number, size));
    }

    pub(super) fn head(&self) -> Head {
        Head { n: self.next.checked_sub(1), hash: self.previous.clone() }
    }

    /// Writes a batch and syncs it. After an error nothing is known about the end of the file: open it anew.
    fn append(&mut self, lines: &mut [Line], counters: &Counters) -> io::Result<()> {
        let mut text = String::new();
        for line in lines {
            line.n = self.next;
            line.previous = self.previous.clone();
            let (encoded, hash) = line.encode().map_err(io::Error::other)?;
            let size = self.segments.back().map_or(0, |(_, size)| *size) + text.len() as u64;
            if self.file.is_none() || size + encoded.len() as u64 > self.max_bytes / FILES {
                self.write(&text)?;
                text.clear();
                self.begin(counters)?;
            }
            text.push_str(&encoded);
            self.next += 1;
            self.previous = hash;
        }
        self.write(&text)
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        if let (Some(file), Some((_, size))) = (&mut self.file, self.segments.back_mut()) {
            file.write_all(text.as_bytes())?;
            file.sync_data()?;
            *size += text.len() as u64;
        }
        Ok(())
    }

    /// Begins a file and removes old ones, so that all stay below the limit when this one is full.
    pub(super) fn begin(&mut self, counters: &Counters) -> io::Result<()> {
        let number = self.segments.back().map_or(0, |(number, _)| number + 1);
        let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(path_of(&self.dir, number))?;
        File::open(&self.dir)?.sync_all()?;
        self.file = Some(file);
        self.segments.push_back((number, 0));
        while self.segments.iter().map(|(_, size)| size).sum::<u64>() + self.max_bytes / FILES > self.max_bytes {
            let Some((oldest, size)) = self.segments.pop_front() else { break };
            match fs::remove_file(path_of(&self.dir, oldest)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    // The new lines matter more than the limit; the next file that is begun tries again.
                    counters.failed.fetch_add(1, Relaxed);
                    tracing::error!(dir = %self.dir.display(), file = oldest, %error, "an old file of the decision log cannot be removed");
                    self.segments.push_front((oldest, size));
                    break;
                }
                _ => drop(counters.removed.fetch_add(1, Relaxed)),
            }
        }
        Ok(())
    }
}

pub(super) struct Writer {
    pub(super) files: Files,
    pub(super) entries: Receiver<Message>,
    pub(super) untold: Arc<AtomicU64>,
    pub(super) counters: Arc<Counters>,
    pub(super) head: Arc<Mutex<Head>>,
    /// A write failed: what the open file holds is unknown.
    pub(super) stale: bool,
}

/// Entries that arrived within a window; equal ones share a line.
#[derive(Default)]
struct Batch {
    lines: Vec<Line>,
    /// Where the newest line of a (user, host, service, verdict) is.
    places: HashMap<u64, usize>,
}

impl Batch {
    fn add(&mut self, entry: Entry, counters: &Counters) {
        let mut hasher = DefaultHasher::new();
        (&entry.user, &entry.host, &entry.service, &entry.verdict, &entry.source).hash(&mut hasher);
        let key = hasher.finish();
        let before = self.places.get(&key).and_then(|at| self.lines.get_mut(*at));
        if let Some(line) = before
            && line.entry.as_ref().is_some_and(|other| other.is_like(&entry))
        {
            line.count += 1;
            counters.merged.fetch_add(1, Relaxed);
            return;
        }
        self.places.insert(key, self.lines.len());
        self.lines.push(blank(Some(entry)));
    }
}

fn blank(entry: Option<Entry>) -> Line {
    let empty = CompactString::default;
    Line { n: 0, entry, noted: None, note: None, count: 1, lost: 0, previous: empty(), hash: empty() }
}

impl Writer {
    pub(super) fn run(mut self) {
        loop {
            let (batch, flushed, ended) = self.collect();
            self.store(batch);
            for told in flushed {
                // Whoever waited may have given up.
                let _ = told.try_send(());
            }
            if ended {
                return;
            }
        }
    }

    /// Waits for a first entry, then for others until the window closes. While losses are untold the first is not waited
    /// for without end.
    fn collect(&self) -> (Batch, Vec<SyncSender<()>>, bool) {
        let mut batch = Batch::default();
        let mut closes = None;
        loop {
            let message = match closes {
                None if self.untold.load(Relaxed) > 0 => self.entries.recv_timeout(TELL_AFTER),
                None => self.entries.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => self.entries.recv_timeout(Instant::saturating_duration_since(&at, Instant::now())),
            };
            match message {
                Ok(Message::Entry(entry)) => batch.add(entry, &self.counters),
                Ok(Message::Flush(told)) => return (batch, vec![told], false),
                Err(RecvTimeoutError::Timeout) => return (batch, Vec::new(), false),
                Err(RecvTimeoutError::Disconnected) => return (batch, Vec::new(), true),
            }
            if batch.lines.len() >= BATCH_MAX {
                return (batch, Vec::new(), false);
            }
            closes.get_or_insert_with(|| Instant::now() + WINDOW);
        }
    }

    fn store(&mut self, mut batch: Batch) {
        let decisions: u64 = batch.lines.iter().map(|line| line.count).sum();
        let untold = self.untold.swap(0, Relaxed);
        if let Err(error) = self.append(&mut batch.lines, untold) {
            self.stale = true;
            self.counters.failed.fetch_add(1, Relaxed);
            self.counters.lost.fetch_add(decisions, Relaxed);
            self.untold.fetch_add(untold + decisions, Relaxed);
            tracing::error!(dir = %self.files.dir.display(), %error, decisions, "decisions are not written; is the disk full?");
            return;
        }
        self.counters.written.fetch_add(decisions, Relaxed);
        *self.head.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = self.files.head();
    }

    /// Writes lines, the first of them with the number of lost decisions. A note carries it where there is no decision.
    fn append(&mut self, lines: &mut Vec<Line>, untold: u64) -> io::Result<()> {
        if self.stale {
            // After a failed write nobody knows what the file holds: find the end of the chain anew.
            self.files = Files::open(&self.files.dir, self.files.max_bytes, &self.counters)?;
            self.stale = false;
        }
        if let Some(note) = self.files.note.take() {
            lines.insert(0, Line { note: Some(note), noted: Some(now_ms()), ..blank(None) });
        }
        if lines.is_empty() && untold > 0 {
            let note = Some("decisions before this were not written".into());
            lines.push(Line { note, noted: Some(now_ms()), ..blank(None) });
        }
        let Some(first) = lines.first_mut() else { return Ok(()) };
        first.lost = untold;
        self.files.append(lines, &self.counters)
    }
}

/// Unix milliseconds, for notes.
#[expect(clippy::disallowed_methods, reason = "the writer's thread stamps its own notes")]
fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
