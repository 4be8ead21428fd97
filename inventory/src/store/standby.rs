//! Writing the standby copy: a snapshot of all rows and a journal of what came after.
//!
//! `standby-<generation>.rows` holds the rows at one position; it is written under a temporary
//! name, synced and renamed. `standby-<generation>.log` begins at that position; every batch is synced
//! before its changes are acknowledged. When the journal has outgrown the snapshot the next generation begins: a
//! new journal at once, the new snapshot by a thread of its own from the immutable state. Until it is in place the
//! older snapshot and both journals are the copy; then the older files go. A crash at any
//! point leaves one complete chain of files. See [`super::chain`] for reading.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use super::{
    Step,
    chain::{self, Chain},
    files,
    frame::{self, BATCH, Entry, ROWS_PER_FRAME},
};
use crate::{
    change::ChangeSet,
    fault,
    keeper::{HeldBody, HeldList},
    position::Position,
    state::State,
};

/// Version of the files' format.
pub(crate) const FORMAT: u32 = 1;
/// A journal below this size is never renewed.
const JOURNAL_MIN: u64 = 8 << 20;
/// Beyond that, a journal is renewed when it is larger than its snapshot divided by this.
const JOURNAL_PER_SNAPSHOT: u64 = 2;
/// A snapshot is synced in pieces of about 1 MiB: a commit's own sync must not wait for hundreds.
const FRAMES_PER_SYNC: usize = 10;

/// The copy that is being written.
#[derive(Debug)]
pub(crate) struct Standby {
    dir: PathBuf,
    generation: u64,
    journal: File,
    /// Bytes of the journal that are whole; anything after is the rest of a failed write.
    len: u64,
    /// Length before the last batch.
    before: u64,
    snapshot_bytes: u64,
    /// The snapshot is known to be unreadable.
    damaged: bool,
    check: Option<JoinHandle<io::Result<bool>>>,
    renewal: Option<JoinHandle<io::Result<u64>>>,
}

impl Standby {
    /// Begins a copy of `state` from nothing and removes all older files. Takes as long as writing all rows.
    pub(crate) fn create(dir: &Path, state: &State, held: &HeldList) -> io::Result<Self> {
        let generation = files::generations(dir)?.last().map_or(1, |newest| newest + 1);
        let snapshot_bytes = write_snapshot(dir, generation, state)?;
        // The journal comes last: a generation counts once it has one, so a crash leaves the older copy in force.
        let (journal, len) = new_journal(dir, generation, state.position(), held)?;
        fault::point("standby.before-cleanup")?;
        files::remove_before(dir, generation)?;
        let dir = dir.to_owned();
        Ok(Self {
            dir,
            generation,
            journal,
            len,
            before: len,
            snapshot_bytes,
            damaged: false,
            check: None,
            renewal: None,
        })
    }

    /// Goes on with a copy whose journals were read through. What follows their end is cut off. A thread reads the
    /// snapshot meanwhile: if it is damaged the next generation begins.
    pub(crate) fn resume(dir: &Path, chain: &Chain) -> io::Result<Self> {
        let (generation, len) = (chain.generation, chain.journal_len);
        let journal = OpenOptions::new().write(true).open(files::journal(dir, generation))?;
        let snapshot = files::snapshot(dir, chain.snapshot);
        let check = std::thread::Builder::new().name("standby".into()).spawn(move || chain::is_whole(&snapshot))?;
        let mut standby = Self {
            dir: dir.to_owned(),
            generation,
            journal,
            len,
            before: len,
            snapshot_bytes: chain.snapshot_bytes,
            damaged: false,
            check: Some(check),
            renewal: None,
        };
        standby.cut()?;
        Ok(standby)
    }

    /// Appends one batch and syncs it. After an error nothing of it counts.
    pub(crate) fn append(&mut self, steps: &[Step]) -> io::Result<()> {
        self.cut()?;
        self.before = self.len;
        let written = self.write(steps);
        match written {
            Ok(len) => self.len = len,
            Err(error) => {
                // What was written may be whole; it must not come back after a crash. If cutting fails now, the next
                // append tries again first.
                drop(self.cut());
                return Err(error);
            }
        }
        Ok(())
    }

    fn write(&mut self, steps: &[Step]) -> io::Result<u64> {
        self.journal.seek(SeekFrom::Start(self.len))?;
        let mut out = BufWriter::with_capacity(1 << 16, &self.journal);
        out.write_all(&BATCH)?;
        for step in steps {
            match step {
                Step::Change { set, after } => write_set(&mut out, set, *after)?,
                Step::Hold(body) => frame::write(&mut out, &Entry::Hold(HeldBody::clone(body)))?,
                Step::Unhold(id) => frame::write(&mut out, &Entry::Unhold(*id))?,
            }
        }
        out.flush()?;
        drop(out);
        fault::point("journal.before-sync")?;
        self.journal.sync_data()?;
        self.journal.stream_position()
    }

    /// Takes back the last batch, which SQLite did not commit.
    pub(crate) fn undo(&mut self) -> io::Result<()> {
        self.len = self.before;
        self.cut()
    }

    /// Cuts off the rest of a failed write.
    fn cut(&mut self) -> io::Result<()> {
        if self.journal.metadata()?.len() != self.len {
            self.journal.set_len(self.len)?;
            self.journal.sync_all()?;
        }
        Ok(())
    }

    /// Takes the end of the check that began with [`Standby::resume`], once it has come.
    pub(crate) fn take_check(&mut self) {
        let Some(thread) = self.check.take_if(|thread| thread.is_finished()) else { return };
        self.damaged = !matches!(thread.join(), Ok(Ok(true)));
        if self.damaged {
            tracing::warn!("the standby snapshot is damaged and will be written anew");
        }
    }

    /// Whether the journal has outgrown its snapshot and no renewal is under way.
    pub(crate) fn has_grown(&self) -> bool {
        self.renewal.is_none() && self.len > JOURNAL_MIN.max(self.snapshot_bytes / JOURNAL_PER_SNAPSHOT)
    }

    /// Whether it is time for a renewal: the journal has grown, or the snapshot is damaged.
    pub(crate) fn wants_renewal(&self) -> bool {
        self.has_grown() || (self.damaged && self.renewal.is_none())
    }

    /// Begins the next generation at `state`, to which the journal has led.
    pub(crate) fn renew(&mut self, state: Arc<State>, held: &HeldList) -> io::Result<()> {
        let generation = self.generation + 1;
        (self.journal, self.len) = new_journal(&self.dir, generation, state.position(), held)?;
        self.before = self.len;
        self.generation = generation;
        let dir = self.dir.clone();
        let work = move || {
            let bytes = write_snapshot(&dir, generation, &state)?;
            fault::point("standby.before-cleanup")?;
            files::remove_before(&dir, generation).map(|()| bytes)
        };
        self.renewal = Some(std::thread::Builder::new().name("standby".into()).spawn(work)?);
        Ok(())
    }

    /// The end of a renewal, once it has come; with `wait` it is waited for.
    pub(crate) fn renewed(&mut self, wait: bool) -> Option<io::Result<()>> {
        let thread = self.renewal.take_if(|thread| wait || thread.is_finished())?;
        let done = thread.join().unwrap_or_else(|_| Err(io::Error::other("the snapshot's thread has died")));
        Some(done.map(|bytes| (self.snapshot_bytes, self.damaged) = (bytes, false)))
    }

    /// Bytes of the current snapshot and journal.
    pub(crate) fn bytes(&self) -> u64 {
        self.snapshot_bytes + self.len
    }
}

fn write_set(out: &mut impl Write, set: &ChangeSet, after: Position) -> io::Result<()> {
    frame::write(out, &Entry::Begin { epoch: set.epoch, serial: set.serial, author: set.author.clone() })?;
    for chunk in set.rows.chunks(ROWS_PER_FRAME) {
        frame::write(out, &Entry::Changes(chunk.to_vec()))?;
    }
    out.flush()?;
    fault::point("journal.torn")?;
    frame::write(out, &Entry::End { position: after })
}

fn new_journal(dir: &Path, generation: u64, position: Position, held: &HeldList) -> io::Result<(File, u64)> {
    fault::point("standby.before-journal")?;
    let path = files::journal(dir, generation);
    let temporary = path.with_extension("log.new");
    let mut file = File::create(&temporary)?;
    let written = (|| {
        let mut out = BufWriter::new(&file);
        out.write_all(&BATCH)?;
        frame::write(&mut out, &Entry::Head { format: FORMAT, position, next_held: held.next })?;
        for body in &held.bodies {
            frame::write(&mut out, &Entry::Hold(body.clone()))?;
        }
        out.flush()?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        files::sync_dir(dir)
    })();
    if let Err(error) = written {
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    let len = file.stream_position()?;
    Ok((file, len))
}

fn write_snapshot(dir: &Path, generation: u64, state: &State) -> io::Result<u64> {
    let path = files::snapshot(dir, generation);
    let temporary = path.with_extension("rows.new");
    let written = (|| {
        let file = File::create(&temporary)?;
        let mut out = BufWriter::with_capacity(1 << 16, &file);
        frame::write(&mut out, &Entry::Head { format: FORMAT, position: state.position(), next_held: 0 })?;
        let mut rows = state.rows().peekable();
        let mut frames = 0_usize;
        while rows.peek().is_some() {
            frame::write(&mut out, &Entry::Rows(rows.by_ref().take(ROWS_PER_FRAME).collect()))?;
            frames += 1;
            if frames.is_multiple_of(FRAMES_PER_SYNC) {
                out.flush()?;
                file.sync_data()?;
            }
        }
        out.flush()?;
        fault::point("standby.half-snapshot")?;
        frame::write(&mut out, &Entry::End { position: state.position() })?;
        out.flush()?;
        file.sync_all()?;
        fault::point("standby.before-rename")?;
        fs::rename(&temporary, &path)?;
        files::sync_dir(dir)?;
        file.metadata().map(|meta| meta.len())
    })();
    if written.is_err() {
        drop(fs::remove_file(&temporary));
    }
    written
}
