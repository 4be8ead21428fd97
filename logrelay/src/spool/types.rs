//! What is said to the spool, and what it answers: options, policies, refusals, errors.

use std::{io, path::PathBuf, time::Duration};

use super::{DESTINATIONS_MAX, NAME_MAX};

/// How the spool is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Its folder; made if it is not there.
    pub path: PathBuf,
    /// Octets of all segments at most; at least four segments.
    pub max_bytes: u64,
    /// Octets after which a segment is closed; a longer batch makes a longer segment.
    pub segment_bytes: u64,
    /// Longest wait for others before a group is made durable.
    pub sync_every: Duration,
    /// Octets after which a group is made durable without waiting.
    pub sync_bytes: usize,
    /// For how long delivered records are kept, room permitting.
    pub keep: Duration,
    /// Octets that wait for the writer at most.
    pub queue_bytes: usize,
    /// Name of this node; part of the relay id when the spool is made.
    pub node: String,
}

impl Options {
    /// The defaults of the configuration.
    pub fn new(path: impl Into<PathBuf>, node: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            max_bytes: 8 << 30,
            segment_bytes: 64 << 20,
            sync_every: Duration::from_millis(10),
            sync_bytes: 1 << 20,
            keep: Duration::from_secs(3600),
            queue_bytes: 16 << 20,
            node: node.into(),
        }
    }
}

/// What happens to a destination's records when there is no more room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Its oldest records go.
    DropOldest,
    /// Senders wait; the spool loses nothing of it.
    Block,
    /// What comes is shed by the intake; the spool loses nothing of it.
    DropNewest,
    /// What comes and is of this severity or less urgent is shed by the intake; the spool loses nothing of it.
    Shed(u8),
}

/// Whether there is room on the disk.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Room {
    /// There is.
    Free,
    /// There is none.
    Full {
        /// Since when, microseconds since 1970.
        since: i64,
        /// The destination that needs the oldest segment; none if the file system is full although nothing of the spool
        /// can be deleted.
        held_by: Option<String>,
    },
}

/// A batch was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// It is durable when the frontier has reached this; so are, then, the originals of its duplicates.
    pub last: u64,
}

/// Why a batch was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no room on the disk; the batch is given back.
    #[error("the batch came whole, but the spool has no room; let destinations catch up, or raise max_bytes")]
    NoRoom(Vec<u8>),
    /// The spool is closed, or its thread is gone.
    #[error("the batch came whole, but the spool is closed; it is to be sent again to the next one")]
    Closed,
    /// The batch is longer than half of what the spool may hold.
    #[error("the batch came whole, but it is longer than half of max_bytes; raise max_bytes")]
    TooLong,
}

/// Why a batch was not taken at once; it is given back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotYet {
    /// Others wait for the writer already.
    #[error("the batch came whole, but the queue before the spool is full; try again, or shed")]
    QueueFull(Vec<u8>),
    /// There is no room on the disk.
    #[error("the batch came whole, but the spool has no room; let destinations catch up, or raise max_bytes")]
    NoRoom(Vec<u8>),
    /// The spool is closed, or its thread is gone.
    #[error("the batch came whole, but the spool is closed; it is to be sent again to the next one")]
    Closed(Vec<u8>),
    /// The batch is longer than half of what the spool may hold.
    #[error("the batch came whole, but it is longer than half of max_bytes; raise max_bytes")]
    TooLong(Vec<u8>),
}

/// What is wrong with the spool, or with what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The file system refused.
    #[error("the spool needs {path}, but: {error}; mend it, or name another folder as [logrelay.spool] path")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// Another process has it open.
    #[error("the spool needs {0} for itself, but another process has it open; end that one")]
    Locked(PathBuf),
    /// It was written by a newer version.
    #[error("{path} is of the spool's layout {version}, but this program knows layout 1; run a newer one")]
    Version {
        /// The segment.
        path: PathBuf,
        /// Its layout.
        version: u32,
    },
    /// The options contradict each other.
    #[error("{0}")]
    Options(String),
    /// There are as many destinations as there can be.
    #[error("the spool has {DESTINATIONS_MAX} destinations, but one more is asked for; forget some")]
    TooMany,
    /// A name that cannot be a destination's.
    #[error("{0:?} is to be a destination, but a name has 1 to {NAME_MAX} octets; choose another")]
    Name(String),
    /// A name that nobody has.
    #[error("destination {0:?} was asked for, but the spool has none of that name; see the report for those it has")]
    Unknown(String),
    /// It is closed.
    #[error("the spool was asked for something, but it is closed; open it again")]
    Closed,
    /// What was taken could not all be made durable before the end.
    #[error("the spool is closed, but {0} sequences that it had taken are not durable; their senders must send again")]
    Unwritten(u64),
}
