//! Followed files: lines that programs write to files of their own.
//!
//! [`Follower`] is the whole of it without tasks: it finds files by patterns, recognises them by what they are (device,
//! inode, the start of their content) and not by what they are called, and gives out lines with the offsets behind
//! them. A thin task ([`start`]) drives it with timers and with hints of the kernel, and hands the lines to the intake.
//!
//! An offset counts as acknowledged when the spool has the lines before it on disk; only then it is written to the
//! checkpoint, at most once a second. After a crash reading goes on there: lines may come twice, none is left out.
//! What cannot be had: what a program cut off (`copytruncate`) before it was read and that is in no copy beside the
//! file, and the lines of a file that was compressed or deleted while the relay did not run.
//!
//! A line ends at LF; a CR before it and NUL octets at its start are left out, empty lines too. A last line without LF
//! waits for it; after `partial_timeout_s` without growth it is taken as it is and marked incomplete, and what comes
//! after it is a line of its own. Limits: [`FILES_MAX`], [`OPEN_MAX`], [`TURN`], [`DEPTH_MAX`].

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::{config::Source, intake::Intake};

mod checkpoint;
mod file;
mod find;
mod follower;
mod glob;
mod identity;
mod lines;
mod reconcile;
mod table;
mod task;
mod watch;

pub use follower::{Follower, Mark};
pub use glob::Pattern;

/// Files that one source follows; more are counted and left alone.
pub const FILES_MAX: usize = 10_000;
/// Files of one source that are open at once.
pub const OPEN_MAX: usize = 512;
/// Octets of one file before it is the turn of the next.
pub const TURN: usize = 1 << 20;
/// Folders below the first folder with a wildcard.
pub const DEPTH_MAX: usize = 16;
/// Octets of a line at most, whatever the source says.
pub const LINE_MAX: usize = 1 << 20;
/// How long a file that lost its name must not grow before it is closed.
pub const GRACE: Duration = Duration::from_secs(5);
/// The same while no new file has its name: its writer may not have been told yet.
pub const GRACE_ALONE: Duration = Duration::from_secs(60);
/// Time between two readings of the folders.
pub const RESCAN: Duration = Duration::from_secs(10);
/// Time between two looks at the files.
pub const SWEEP: Duration = Duration::from_secs(1);
/// Time between two looks at a file that has not grown for [`IDLE`].
pub const SWEEP_IDLE: Duration = Duration::from_secs(5);
/// See [`SWEEP_IDLE`].
pub const IDLE: Duration = Duration::from_secs(60);

/// Why files cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A pattern cannot be used.
    #[error("follow = [{text:?}] cannot be used: {why}")]
    Pattern {
        /// The pattern.
        text: String,
        /// A sentence: what is wrong and how to put it right.
        why: String,
    },
    /// The folder for the checkpoint cannot be used.
    #[error(
        "followed files need the folder {folder:?} for their offsets, but it cannot be used: {cause}; make it writable"
    )]
    State {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What happened while files were followed. Each only grows.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        impl Counters {
            /// Names and values, for metrics.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Relaxed)),)*]
            }
        }
    };
}

counters! {
    /// Lines that were handed to the intake.
    lines,
    /// Octets of the files that were gone through.
    octets,
    /// Lines longer than `max_line`, which were cut.
    cut,
    /// Lines that were taken without their end.
    incomplete,
    /// Empty lines, which were left out.
    empty,
    /// NUL octets at the start of lines, which were left out (a writer that goes on at its old place after
    /// `copytruncate` leaves a hole).
    nul_octets,
    /// Files that became shorter, or began differently: read again from their start.
    truncations,
    /// Copies beside a truncated file whose rest was read.
    copies,
    /// Files that got another name.
    rotations,
    /// Files that were deleted.
    deletions,
    /// Files that have the inode of an earlier one.
    reused,
    /// Files that had been renamed while the relay did not run, or while they were closed, and were found again.
    found_again,
    /// Files that were known and cannot be found any more; what they had beyond the offset is lost.
    lost_sight,
    /// Compressed files (gzip, zstd, xz, bzip2), which are not followed.
    compressed,
    /// Matching names of devices, sockets and pipes, which are not followed.
    not_regular,
    /// Files beyond [`FILES_MAX`], each time the folders are read.
    over_limit,
    /// Folders deeper than [`DEPTH_MAX`], each time the folders are read.
    too_deep,
    /// Readings of the folders that were stopped because there was too much in them.
    walk_cut,
    /// Folders that could not be read.
    walk_errors,
    /// Files that could not be opened.
    open_errors,
    /// Files that could not be read, or looked at.
    read_errors,
    /// Files that were closed because too many were open.
    closed_for_others,
    /// Times that a file had to wait because too many others were open.
    open_waits,
    /// Folders that could not be watched; they are read every [`RESCAN`].
    watch_errors,
    /// Times that the kernel had more to tell than fits its queue; everything was looked at.
    watch_overflows,
    /// Checkpoints written.
    checkpoints,
    /// Checkpoints that could not be written; the one before stands, so more lines come twice after a crash.
    checkpoint_errors,
    /// Checkpoints that were damaged and put aside; all files were read from their start.
    checkpoint_damaged,
}

impl Counters {
    fn add(&self, which: impl Fn(&Self) -> &AtomicU64, n: u64) {
        if n > 0 {
            which(self).fetch_add(n, Relaxed);
        }
    }
}

/// What to follow, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the source; the checkpoint has it.
    pub name: String,
    /// Which files.
    pub patterns: Vec<Pattern>,
    /// Octets of a line; longer ones are cut.
    pub max_line: usize,
    /// How long a line may lack its end.
    pub partial_timeout: Duration,
    /// Whether files are read from their end on when the source is new.
    pub from_end: bool,
    /// Folder of checkpoints.
    pub state_folder: PathBuf,
}

impl Settings {
    /// Takes what a source says.
    ///
    /// # Errors
    /// A pattern cannot be used.
    pub fn of(source: &Source, state_folder: PathBuf) -> Result<Self, Error> {
        Ok(Self {
            name: source.name.clone(),
            patterns: source.follow.iter().map(|text| Pattern::new(text)).collect::<Result<_, _>>()?,
            max_line: source.max_line.clamp(1, LINE_MAX),
            partial_timeout: Duration::from_secs(source.partial_timeout_s),
            from_end: source.from_end,
            state_folder,
        })
    }
}

/// A followed file, for status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Its name when it was last seen by one.
    pub path: Arc<Path>,
    /// Octets.
    pub size: u64,
    /// Octets that were handed on as lines.
    pub read: u64,
    /// Octets whose lines are safe.
    pub acknowledged: u64,
    /// Octets that are not safe yet: `size - acknowledged`.
    pub lag: u64,
    /// Whether it lost its name (renamed, deleted) and is only read to its end.
    pub rotated: bool,
    /// Whether it is open.
    pub open: bool,
}

/// A look at a source that follows files.
#[derive(Debug, Clone)]
pub struct Following(Arc<ArcSwap<Vec<FileReport>>>);

impl Following {
    /// The files as they were at the last sweep, at most some seconds ago; by path.
    pub fn report(&self) -> Arc<Vec<FileReport>> {
        self.0.load_full()
    }
}

/// Makes the task that follows the files of a source. It ends after `shutdown`, with its last checkpoint written.
///
/// # Errors
/// A pattern or the folder for the checkpoint cannot be used.
pub fn start(
    source: &Source,
    state_folder: PathBuf,
    intake: Intake,
    clock: fn() -> i64,
    shutdown: CancellationToken,
    counters: Arc<Counters>,
) -> Result<(Following, impl Future<Output = ()> + Send + 'static), Error> {
    let settings = Settings::of(source, state_folder)?;
    let follower = Follower::open(settings, counters)?;
    let report = Arc::new(ArcSwap::default());
    let task = task::run(follower, task::Outlet::Intake(Box::new(intake)), clock, shutdown, report.clone());
    Ok((Following(report), task))
}
