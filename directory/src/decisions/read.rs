//! Reading the log: searches from its newest end, and the check of the whole chain. Both work beside the writer and in
//! another process.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use compact_str::CompactString;
use serde::Serialize;

use super::{
    Line,
    line::{LINE_MAX, NO_HASH},
    writer::{path_of, segments},
};

/// Octets that are read at a time, from the end.
const BLOCK: u64 = 64 * 1024;
/// Milliseconds by which a line may be older than one before it: clocks are set, threads overtake one another.
const DISORDER_MS: u64 = 3_600_000;

/// What to look for. Absent members match everything.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// The user exactly.
    pub user: Option<CompactString>,
    /// The host exactly, or its first labels: `dev-mysql01` finds `dev-mysql01.us-east-1b`.
    pub host: Option<CompactString>,
    /// `allow` or `deny`.
    pub verdict: Option<CompactString>,
    /// Unix milliseconds; nothing older.
    pub since_ms: Option<u64>,
    /// Unix milliseconds; nothing newer.
    pub until_ms: Option<u64>,
    /// Most lines that are returned.
    pub limit: usize,
}

impl Query {
    fn matches(&self, line: &Line) -> bool {
        let Some(entry) = &line.entry else {
            return self.user.is_none() && self.host.is_none() && self.verdict.is_none() && self.in_time(line);
        };
        let is = |wanted: &Option<CompactString>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let host = self.host.as_ref().is_none_or(|wanted| {
            entry.host.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        is(&self.user, &entry.user) && host && is(&self.verdict, &entry.verdict) && self.in_time(line)
    }

    fn in_time(&self, line: &Line) -> bool {
        let when = line.when_ms();
        self.since_ms.is_none_or(|since| when >= since) && self.until_ms.is_none_or(|until| when <= until)
    }

    /// Whether a line can be passed over without reading its JSON: a plain name stands in the line as it is.
    fn excludes(&self, text: &[u8]) -> bool {
        let plain = |name: &str| name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'"' && octet != b'\\');
        let absent = |name: &CompactString| {
            !name.is_empty() && plain(name) && !text.windows(name.len()).any(|window| window == name.as_bytes())
        };
        self.user.as_ref().is_some_and(absent) || self.host.as_ref().is_some_and(absent)
    }
}

/// The lines of a folder that match, newest first. Damaged lines are passed over: [`verify`] names them.
pub fn search(dir: &Path, query: &Query) -> io::Result<Vec<Line>> {
    let mut found = Vec::new();
    for (number, _) in segments(dir)?.into_iter().rev() {
        let file = match File::open(path_of(dir, number)) {
            // The writer removed it meanwhile; all that follow are older.
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            other => other?,
        };
        let mut lines = Backward::new(file)?;
        while let Some(text) = lines.next_line()? {
            if found.len() >= query.limit {
                return Ok(found);
            }
            // An old line ends the search; so the time is read even when the name is absent, but only now and then.
            if query.excludes(&text) && (query.since_ms.is_none() || !lines.block_begins) {
                continue;
            }
            let Ok(line) = Line::decode(&text) else { continue };
            if query.since_ms.is_some_and(|since| line.when_ms().saturating_add(DISORDER_MS) < since) {
                return Ok(found);
            }
            if query.matches(&line) {
                found.push(line);
            }
        }
    }
    Ok(found)
}

/// What stands between two newlines.
enum Piece {
    Line(Vec<u8>),
    /// More than a line can have. It is not held in memory.
    Damage,
}

/// The lines of a file from its end.
struct Backward {
    file: File,
    /// Where `held` begins in the file.
    start: u64,
    held: Vec<u8>,
    /// Whether the last line was the first that came out of a new block.
    block_begins: bool,
}

impl Backward {
    fn new(mut file: File) -> io::Result<Self> {
        let start = file.seek(SeekFrom::End(0))?;
        let mut lines = Self { file, start, held: Vec::new(), block_begins: false };
        // What stands behind the last newline is being written at this moment, or torn.
        lines.piece()?;
        Ok(lines)
    }

    /// The line before the last one returned, without its newline. What is longer than any line of ours is passed over.
    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.block_begins = false;
        loop {
            match self.piece()? {
                Some(Piece::Line(line)) => return Ok(Some(line)),
                Some(Piece::Damage) => {}
                None => return Ok(None),
            }
        }
    }

    /// What stands between the last newline and the one before it.
    fn piece(&mut self) -> io::Result<Option<Piece>> {
        let mut damage = false;
        loop {
            if let Some(at) = self.held.iter().rposition(|octet| *octet == b'\n') {
                let line = self.held.split_off(at + 1);
                self.held.truncate(at);
                return Ok(Some(if damage { Piece::Damage } else { Piece::Line(line) }));
            }
            if self.start == 0 {
                let line = std::mem::take(&mut self.held);
                return Ok((!line.is_empty() && !damage).then_some(Piece::Line(line)));
            }
            if self.held.len() > LINE_MAX {
                damage = true;
            }
            if damage {
                self.held.clear();
            }
            let size = BLOCK.min(self.start);
            self.start -= size;
            self.file.seek(SeekFrom::Start(self.start))?;
            let mut block = Vec::with_capacity(size as usize + self.held.len());
            (&mut self.file).take(size).read_to_end(&mut block)?;
            block.append(&mut self.held);
            self.held = block;
            self.block_begins = true;
        }
    }
}

/// A chain without a break.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Files.
    pub files: u64,
    /// Lines.
    pub lines: u64,
    /// Decisions; equal ones share a line.
    pub decisions: u64,
    /// Decisions that were lost, as the lines tell.
    pub lost: u64,
    /// Notes about torn ends and losses.
    pub notes: u64,
    /// Number of the oldest line; older files were removed to keep the limit unless it is 0.
    pub first: Option<u64>,
    /// Number of the newest line.
    pub last: Option<u64>,
    /// Hash of the newest line. Compare it with one that was kept elsewhere: lines cut off at the end leave no break.
    pub hash: CompactString,
    /// Whether the newest file ends in an unfinished line: it is being written, or a crash tore it.
    pub unfinished: bool,
}

/// The first break of the chain, or why it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// A line does not fit.
    #[error("decision log broken in {file}, line {line}: {why}")]
    Line {
        /// Name of the file.
        file: String,
        /// Line in the file, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The disk did not answer.
    #[error("cannot read the decision log: {0}")]
    Io(#[from] io::Error),
}

/// Walks the whole chain, oldest line first, and names the first break. Files that the writer removes meanwhile to keep
/// its limit are none.
pub fn verify(dir: &Path) -> Result<Verified, Broken> {
    let mut sum = Verified { hash: NO_HASH.into(), ..Verified::default() };
    for (number, _) in segments(dir)? {
        let path = path_of(dir, number);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && begins_after(dir, number)? => {
                sum = Verified { hash: NO_HASH.into(), ..Verified::default() };
                continue;
            }
            other => other?,
        };
        let mut reader = BufReader::new(file);
        let mut at = 0;
        let broken = |line, why: String| Broken::Line { file: format!("{number:010}.jsonl"), line, why };
        loop {
            let mut text = Vec::new();
            (&mut reader).take(LINE_MAX as u64 + 1).read_until(b'\n', &mut text)?;
            if text.is_empty() {
                break;
            }
            at += 1;
            // Only the newest file may end so; a line in a later file shows that this one did not.
            if sum.unfinished {
                return Err(broken(at, "the file before it ends in an unfinished line".into()));
            }
            if text.pop() != Some(b'\n') {
                if text.len() >= LINE_MAX {
                    return Err(broken(at, "it is longer than 32 KiB".into()));
                }
                sum.unfinished = true;
                break;
            }
            let line = Line::decode(&text).map_err(|bad| broken(at, bad.to_string()))?;
            sum.add(line).map_err(|why| broken(at, why))?;
        }
        sum.files += 1;
    }
    Ok(sum)
}

/// Whether all files up to this number are gone: rotation takes the oldest first, others take any.
fn begins_after(dir: &Path, number: u64) -> io::Result<bool> {
    Ok(segments(dir)?.front().is_some_and(|(oldest, _)| *oldest > number))
}

impl Verified {
    fn add(&mut self, line: Line) -> Result<(), String> {
        let expected = match self.last {
            Some(last) => Some(last + 1),
            // The oldest file is taken as it is unless it claims to begin the chain.
            None if line.n == 0 => Some(0),
            None => None,
        };
        if let Some(expected) = expected {
            if line.n != expected {
                return Err(format!("it has number {} but {expected} comes next", line.n));
            }
            if line.previous != self.hash {
                return Err("it does not name the hash of the line before it".into());
            }
        }
        self.first.get_or_insert(line.n);
        self.last = Some(line.n);
        self.hash = line.hash;
        self.lines += 1;
        self.decisions += if line.entry.is_some() { line.count } else { 0 };
        self.lost += line.lost;
        self.notes += u64::from(line.note.is_some());
        Ok(())
    }
}
