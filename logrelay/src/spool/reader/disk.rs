//! Reading segments for a destination: what is to be read, the read itself, and what to do when it fails.
//!
//! Reads run on threads for blocking work. Their handle is kept in the [`Reader`], and so is the time of the next try, so
//! that nothing starts over when [`Reader::next`] is cancelled: a driver does that every second.
//!
//! A page that cannot be read is tried again after each of [`RETRIES`]. What lies before it is handed out meanwhile. When
//! all tries are through and the file can be read elsewhere, the page is given up, counted as damage, and reading goes on
//! behind it; of each further bad page the last try is waited for again, because it may be the disk that is gone.

use std::{io, path::Path, sync::Arc, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{Chunk, Reader};
use crate::spool::{
    counters::add,
    cursors,
    group::share_of,
    header::path_of,
    run::{Run, SegmentReader},
    shared::{Shared, locked},
    table::Count,
    tail::offset_of,
    walk::sequence,
};

/// Waits after a failed read; when they are through and the disk answers, the page is given up.
const RETRIES: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// An open segment.
pub(super) struct Open {
    first: u64,
    reader: SegmentReader,
}

/// What is to be read from the disk.
struct Plan {
    first: u64,
    start: (u64, u64),
    len: u64,
    epoch: u64,
    /// All its records that are durable are below.
    before: u64,
    /// Totals for the destination before the segment, and the first sequence and totals of the next one.
    base: Count,
    next: Option<(u64, Count)>,
    /// Frontier when it was made.
    durable: u64,
}

/// A read that is under way.
pub(super) struct Reading {
    plan: Plan,
    handle: JoinHandle<(Option<Open>, Found)>,
}

/// What a read came to.
enum Found {
    Run(Run),
    /// The segment has nothing more.
    End,
    /// The segment was deleted meanwhile.
    Deleted,
    /// A page was given up.
    Skipped,
    /// The segment should be there, but its file is not.
    Missing(io::Error),
    /// It failed.
    Failed(io::Error),
}

impl Reader {
    /// Begins one step from the disk.
    pub(super) fn begin_reading(&mut self, durable: u64) {
        let Some(plan) = self.plan(durable) else {
            self.pass(durable);
            self.at = durable + 1;
            return;
        };
        add(&self.shared.counters.disk_reads, 1);
        if self.at <= plan.first {
            self.settle(plan.base, plan.first);
            self.at = plan.first;
        }
        let open = self.open.take().filter(|open| open.first == plan.first && open.reader.last() < self.at);
        let (shared, wanted, give_up) = (Arc::clone(&self.shared), self.at, self.failures >= RETRIES.len());
        let ((after, offset), len, first, before) = (plan.start, plan.len, plan.first, plan.before);
        let handle = tokio::task::spawn_blocking(move || {
            let open = match open {
                Some(open) => Ok(open.reader),
                None => shared
                    .disk
                    .open(&path_of(&shared.options.path, first), false)
                    .map(|file| SegmentReader::new(file, offset, len, after, before)),
            };
            match open {
                Ok(mut reader) => {
                    reader.extend(len, before);
                    let found = read(&shared, first, &mut reader, wanted, give_up);
                    (Some(Open { first, reader }), found)
                }
                Err(error) => (None, no_file(&shared, first, error)),
            }
        });
        self.reading = Some(Reading { plan, handle });
    }

    /// Waits for the read that is under way, and takes what it came to.
    pub(super) async fn finish_reading(&mut self) -> Option<Chunk> {
        let joined = (&mut self.reading.as_mut()?.handle).await;
        let plan = self.reading.take()?.plan;
        // Records may have had to make room while it was read.
        let at = self.at;
        self.follow()?;
        if self.at != at {
            return None;
        }
        let Ok((open, found)) = joined else {
            // The runtime ends.
            tokio::task::yield_now().await;
            return None;
        };
        let is_at_end = open.as_ref().is_some_and(|open| open.reader.is_at_end());
        self.open = open;
        match found {
            Found::Run(run) => {
                self.failures = 0;
                let end = plan.next.filter(|_| is_at_end).map_or(run.last, |(next, _)| next - 1);
                let share = share_of(&run.bytes, self.id);
                return self.hand(run.bytes, end, share, plan.epoch);
            }
            Found::End | Found::Deleted => self.leave(&plan),
            Found::Missing(_) if plan.next.is_some() => {
                add(&self.shared.counters.damaged_segments, 1);
                self.leave(&plan);
            }
            Found::Skipped => self.failures = RETRIES.len() - 1,
            Found::Missing(error) | Found::Failed(error) => self.failed(&error),
        }
        None
    }

    /// There is nothing more in the segment.
    fn leave(&mut self, plan: &Plan) {
        let last = match plan.next {
            Some((next, totals)) => {
                self.settle(totals, next);
                next - 1
            }
            None => plan.durable,
        };
        self.pass(last);
        self.at = last + 1;
    }

    fn plan(&self, durable: u64) -> Option<Plan> {
        let state = locked(&self.shared.state);
        let at = state.position(self.at).unwrap_or(0);
        let segment = state.segments.get(at)?;
        let known = segment.index.partition_point(|(sequence, _)| *sequence <= self.at).checked_sub(1);
        let start = known.and_then(|at| segment.index.get(at)).copied().unwrap_or((segment.first, segment.header_len));
        let next = state.segments.get(at + 1).map(|next| (next.first, next.totals.get(self.id)));
        Some(Plan {
            first: segment.first,
            start: (start.0.saturating_sub(1), start.1),
            len: segment.len,
            epoch: segment.epoch,
            before: next.map_or(state.durable + 1, |(first, _)| first),
            base: segment.totals.get(self.id),
            next,
            durable,
        })
    }

    /// A read failed; it is tried again later.
    fn failed(&mut self, error: &io::Error) {
        let wait = RETRIES.get(self.failures).or(RETRIES.last()).copied().unwrap_or_default();
        self.failures += 1;
        self.retry_at = Some(Instant::now() + wait);
        let spool = self.shared.options.path.display();
        tracing::warn!(
            "the spool {spool} is to be read for destination {}, but: {error}; tried again in {wait:?}",
            self.id
        );
    }

    /// Waits until it is time to try again, or the spool is closed.
    pub(super) async fn wait_for_disk(&mut self) {
        let Some(retry_at) = self.retry_at else { return };
        let mut frontier = self.frontier.clone();
        let closed = async { while frontier.changed().await.is_ok() {} };
        let _ = timeout_at(retry_at, closed).await;
        self.retry_at = None;
    }
}

/// Reads the next run with a record at or behind `wanted`, from there on. `give_up`: a page that cannot be read was tried
/// often enough.
fn read(shared: &Shared, first: u64, reader: &mut SegmentReader, wanted: u64, give_up: bool) -> Found {
    let found = match step(reader, wanted) {
        Ok(Some(run)) => Found::Run(run),
        Ok(None) => Found::End,
        Err(error) => {
            add(&shared.counters.read_errors, 1);
            if give_up && disk_answers(shared, first) {
                reader.skip_page();
                Found::Skipped
            } else {
                Found::Failed(error)
            }
        }
    };
    let skipped = reader.take_skipped();
    if !matches!(found, Found::Run(_)) && locked(&shared.state).is_deleted(first) {
        // What is missing of it is no damage.
        return Found::Deleted;
    }
    shared.count_skipped(skipped);
    found
}

/// Whether anything can be read: the beginning or the end of the segment, or of the cursors if it has one page only.
fn disk_answers(shared: &Shared, first: u64) -> bool {
    let dir = &shared.options.path;
    let reads = |path: &Path, at_end: bool| {
        let file = shared.disk.open(path, false)?;
        let offset = if at_end { file.length()?.saturating_sub(1) } else { 0 };
        file.read_at(&mut [0], offset)
    };
    let segment = path_of(dir, first);
    reads(&segment, false)
        .or_else(|_| reads(&segment, true))
        .or_else(|_| reads(&dir.join(cursors::NAME), false))
        .is_ok()
}

/// A segment cannot be opened. If it was deleted, the cursor was moved; if its file is gone, its records are lost.
fn no_file(shared: &Shared, first: u64, error: io::Error) -> Found {
    if locked(&shared.state).is_deleted(first) {
        return Found::Deleted;
    }
    add(&shared.counters.read_errors, 1);
    if error.kind() == io::ErrorKind::NotFound { Found::Missing(error) } else { Found::Failed(error) }
}

/// The next run with a record at or behind `wanted`, from there on.
fn step(reader: &mut SegmentReader, wanted: u64) -> io::Result<Option<Run>> {
    while let Some(mut run) = reader.next_run()? {
        if run.last < wanted {
            continue;
        }
        if run.first < wanted {
            run.bytes = run.bytes.slice(offset_of(&run.bytes, wanted)..);
            run.first = sequence(&run.bytes);
        }
        return Ok(Some(run));
    }
    Ok(None)
}
