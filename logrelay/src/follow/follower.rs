//! The followed files of one source, without tasks: finding them, reading them in turn, and what is safe of them.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Counters, Error, FileReport, Settings, TURN,
    checkpoint::{self, Loaded},
    file::{Followed, Look, Step},
    find::Before,
    identity::{Key, Stat},
    lines::Tally,
    table::{Refused, Remembered, Table},
};
use crate::intake::Line;

mod adopt;
mod descriptors;

/// Octets that are read at once, if lines are not longer.
const READ: usize = 64 << 10;
/// Octets that one call of [`Follower::fill`] goes through at most.
const FILL: usize = 1 << 20;

/// Places in files up to which the lines were handed on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mark(Vec<(u64, u32, u64)>);

impl Mark {
    /// Whether nothing was gone through.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The followed files of one source. All its functions look at files, so they may take as long as a disk does.
#[derive(Debug)]
pub struct Follower {
    settings: Settings,
    counters: Arc<Counters>,
    checkpoint: PathBuf,
    table: Table,
    remembered: Remembered,
    /// Compressed files.
    refused: Refused,
    /// Files that could not be opened.
    unreadable: Refused,
    /// Files that may be copies of followed ones, which are about to be cut off; their size, since when
    /// they have it, and when they were seen first.
    suspects: HashMap<Key, (u64, Instant, Instant)>,
    /// Followed files that were cut off not long ago: how far they had been read before.
    cut_off: Vec<(Arc<Path>, Before, Instant)>,
    /// Files to be read, the next one first.
    ready: VecDeque<u64>,
    /// Octets read of the first of them in this turn.
    spent: usize,
    /// Files in the order in which they were opened.
    opened: VecDeque<u64>,
    open: usize,
    touched: Vec<u64>,
    buffer: Vec<u8>,
    folders: BTreeMap<PathBuf, Key>,
    /// Whether there was no checkpoint.
    is_new: bool,
    /// Whether the folders were read once.
    began: bool,
    /// Whether the checkpoint on disk is out of date.
    unsaved: bool,
    told_of_limit: bool,
}

/// What became of the first file that is ready.
enum Next {
    Again,
    Enough,
    Done,
}

impl Follower {
    /// Reads the checkpoint; no other file is looked at before [`rescan`](Self::rescan).
    ///
    /// # Errors
    /// The folder for the checkpoint cannot be used.
    pub fn open(settings: Settings, counters: Arc<Counters>) -> Result<Self, Error> {
        let folder = settings.state_folder.clone();
        let error = |cause| Error::State { folder: folder.clone(), cause };
        fs::create_dir_all(&folder).map_err(error)?;
        let checkpoint = checkpoint::path(&folder, &settings.name);
        let loaded = checkpoint::load(&checkpoint).map_err(error)?;
        let is_new = loaded == Loaded::New;
        let entries = match loaded {
            Loaded::Entries(entries) => entries,
            Loaded::New => Vec::new(),
            Loaded::Damaged => {
                counters.add(|c| &c.checkpoint_damaged, 1);
                tracing::warn!(
                    ?checkpoint,
                    "the offsets of followed files were damaged and put aside; all are read from their start"
                );
                Vec::new()
            }
        };
        Ok(Self {
            // A line with its CR and LF, and one octet more.
            buffer: vec![0; READ.max(settings.max_line + 3)],
            settings,
            counters,
            checkpoint,
            table: Table::default(),
            remembered: Remembered::of(entries),
            refused: Refused::default(),
            unreadable: Refused::default(),
            suspects: HashMap::new(),
            cut_off: Vec::new(),
            ready: VecDeque::new(),
            spent: 0,
            opened: VecDeque::new(),
            open: 0,
            touched: Vec::new(),
            folders: BTreeMap::new(),
            is_new,
            began: false,
            // A source with no file yet is not new any more after its first start.
            unsaved: true,
            told_of_limit: false,
        })
    }

    /// Looks at the files, those that have been quiet for long less often; `all`: at every one. What changed is read
    /// next. Returns whether the folders should be read again because a name leads elsewhere.
    pub fn sweep(&mut self, now: Instant, all: bool) -> bool {
        let (mut elsewhere, mut errors, mut ready) = (false, 0, Vec::new());
        for (id, file) in self.table.iter_mut() {
            if file.ready || !all && now < file.look_at {
                continue;
            }
            match file.look(now) {
                Ok(Look::Same) => {
                    let patience = file.rotated.map_or(self.settings.partial_timeout, |rotated| rotated.grace);
                    file.take_partial = file.place.has_partial() && file.quiet(now) >= patience;
                    if file.take_partial {
                        ready.push(id);
                    }
                }
                Ok(Look::Changed) => ready.push(id),
                Ok(Look::Elsewhere) => elsewhere = true,
                Err(_) => errors += 1,
            }
        }
        self.counters.add(|c| &c.read_errors, errors);
        for id in ready {
            self.make_ready(id);
        }
        elsewhere
    }

    /// Reads files that are ready, in turn, and gives their lines to `emit` until that says that it has enough. Returns
    /// whether there is more to read.
    pub fn fill(&mut self, now: Instant, received_us: i64, emit: &mut impl FnMut(Line<'_>) -> bool) -> bool {
        let mut tally = Tally::default();
        let mut octets = 0;
        while let Some(&id) = self.ready.front() {
            match self.step(id, now, received_us, &mut tally, &mut octets, emit) {
                Next::Again if self.spent >= TURN => {
                    self.spent = 0;
                    self.ready.rotate_left(1);
                }
                Next::Again => {}
                Next::Enough => break,
                Next::Done => {
                    self.spent = 0;
                    if self.ready.pop_front_if(|first| *first == id).is_none() {
                        // A copy of it came first in between.
                        self.ready.retain(|other| *other != id);
                    }
                    if let Some(file) = self.table.get(id) {
                        file.ready = false;
                    }
                }
            }
            if octets >= FILL {
                break;
            }
        }
        self.counters.add(|c| &c.octets, octets as u64);
        self.counters.add(|c| &c.lines, tally.lines);
        self.counters.add(|c| &c.empty, tally.empty);
        self.counters.add(|c| &c.cut, tally.cut);
        self.counters.add(|c| &c.incomplete, tally.incomplete);
        self.counters.add(|c| &c.nul_octets, tally.nul);
        !self.ready.is_empty()
    }

    fn step(
        &mut self,
        id: u64,
        now: Instant,
        received_us: i64,
        tally: &mut Tally,
        octets: &mut usize,
        emit: &mut impl FnMut(Line<'_>) -> bool,
    ) -> Next {
        if !self.make_open(id) {
            return Next::Done;
        }
        let Some(file) = self.table.get(id) else { return Next::Done };
        let was_touched = file.touched;
        let step = file.step(&mut self.buffer, self.settings.max_line, now, tally, &mut |piece| {
            emit(Line { raw: piece.raw, received_us, original_len: piece.original_len, flags: piece.flags })
        });
        if file.touched && !was_touched {
            self.touched.push(id);
        }
        match step {
            Ok(Step::More(took)) => {
                *octets += took;
                self.spent += took;
                Next::Again
            }
            Ok(Step::Enough(took)) => {
                *octets += took;
                self.spent += took;
                Next::Enough
            }
            Ok(Step::End) => Next::Done,
            Ok(Step::Compressed(name)) => {
                self.refuse(id, name);
                Next::Done
            }
            Ok(Step::Truncated(before)) => {
                let path = file.path.clone();
                self.counters.add(|c| &c.truncations, 1);
                self.unsaved = true;
                if !self.adopt_copy(&path, before, now) {
                    self.note_cut_off(path, before, now);
                }
                Next::Again
            }
            Err(cause) => {
                self.counters.add(|c| &c.read_errors, 1);
                tracing::debug!(path = ?file.path, %cause, "a followed file cannot be read now");
                Next::Done
            }
        }
    }

    /// The places up to which lines were given out since the last mark.
    pub fn mark(&mut self) -> Mark {
        let mut mark = Mark::default();
        for id in self.touched.drain(..) {
            if let Some(file) = self.table.get(id) {
                file.touched = false;
                mark.0.push((id, file.generation, file.place.start));
            }
        }
        mark
    }

    /// Takes note that the lines up to a mark, and up to all marks before it, are safe.
    pub fn acknowledge(&mut self, mark: &Mark) {
        for &(id, generation, offset) in &mark.0 {
            if let Some(file) = self.table.get(id)
                && file.generation == generation
            {
                file.acknowledged = file.acknowledged.max(offset);
                self.unsaved = true;
            }
        }
    }

    /// Closes files that lost their name and are finished.
    pub fn tidy(&mut self, now: Instant) {
        let finished: Vec<u64> =
            self.table.iter_mut().filter(|(_, file)| file.is_finished(now)).map(|(id, _)| id).collect();
        for id in finished {
            if let Some(file) = self.forget(id) {
                self.remembered.done(file.entry());
            }
        }
    }

    /// Writes the checkpoint if it is out of date.
    ///
    /// # Errors
    /// It could not be written; that is counted, and the one before stands.
    pub fn save(&mut self) -> io::Result<()> {
        if !self.unsaved {
            return Ok(());
        }
        let entries: Vec<_> = self.table.iter().map(Followed::entry).collect();
        let text = checkpoint::encode(entries.iter().chain(self.remembered.iter()));
        let stored = checkpoint::store(&self.checkpoint, &text);
        self.counters.add(|c| if stored.is_ok() { &c.checkpoints } else { &c.checkpoint_errors }, 1);
        self.unsaved = stored.is_err();
        stored
    }

    /// How long to leave between two checkpoints: a second, and more for thousands of files.
    pub fn save_every(&self) -> Duration {
        Duration::from_secs(1 + self.table.len() as u64 / 2000)
    }

    /// The files, by path.
    pub fn report(&self) -> Vec<FileReport> {
        let mut files: Vec<_> = self.table.iter().map(Followed::report).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }

    /// The counters.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub(super) fn folders(&self) -> &BTreeMap<PathBuf, Key> {
        &self.folders
    }

    fn make_ready(&mut self, id: u64) {
        let Some(file) = self.table.get(id) else { return };
        if file.ready {
            return;
        }
        file.ready = true;
        // What lost its name is older than what has it now.
        if file.rotated.is_some() && self.spent == 0 { self.ready.push_front(id) } else { self.ready.push_back(id) }
    }

    fn forget(&mut self, id: u64) -> Option<Followed> {
        let file = self.table.remove(id)?;
        if file.file.is_some() {
            self.open -= 1;
            self.opened.retain(|other| *other != id);
        }
        self.unsaved = true;
        Some(file)
    }

    fn refuse(&mut self, id: u64, compression: &str) {
        let Some(file) = self.forget(id) else { return };
        self.counters.add(|c| &c.compressed, 1);
        if let Some(stat) = file.file.and_then(|file| file.metadata().ok()).map(|metadata| Stat::of(&metadata))
            && self.refused.add(&stat)
        {
            tracing::warn!(path = ?file.path, source = self.settings.name, "compressed with {compression}, and so not followed; narrow the pattern");
        }
    }
}
