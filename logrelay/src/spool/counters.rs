//! What the spool counts.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{self, Relaxed},
};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// What happened since the spool was opened.
        #[derive(Debug, Default)]
        pub(super) struct Counters { $($(#[doc = $doc])* pub(super) $name: AtomicU64,)* }

        /// What happened since the spool was opened, at one time.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
        pub struct Counts { $($(#[doc = $doc])* pub $name: u64,)* }

        impl Counters {
            pub(super) fn read(&self) -> Counts {
                Counts { $($name: self.$name.load(Relaxed),)* }
            }
        }

        impl Counts {
            /// Every counter with its name.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Records made durable.
    appended,
    /// Octets made durable.
    appended_bytes,
    /// Groups made durable.
    groups,
    /// Syncs of segments.
    syncs,
    /// Syncs of the cursors file.
    cursor_syncs,
    /// Relayed messages that were here already, and were not written again.
    duplicates,
    /// Relayed records whose origin could not be read; they were written.
    bad_origins,
    /// Gaps in what relays sent: nothing of them came here, as far as is known.
    gaps,
    /// Sequences missing in these gaps; some of them were for other destinations of the sender.
    gap_sequences,
    /// Streams of relays that were forgotten because there were too many.
    forgotten_streams,
    /// Records that were none, and were left out.
    malformed,
    /// Batches refused for want of room on the disk.
    refused,
    /// Writes that failed.
    write_errors,
    /// Syncs that failed.
    sync_errors,
    /// Times at which the file system, or `max_bytes`, left no room.
    full,
    /// Segments that were left behind after a failed write or sync, and their group written to a new one.
    reappended,
    /// Failures to write the cursors.
    cursor_errors,
    /// Failures to delete segments.
    delete_errors,
    /// Segments begun.
    segments_created,
    /// Segments deleted.
    segments_deleted,
    /// Octets cut from the end of the last segment at opening: torn by a crash, never acknowledged.
    torn_bytes,
    /// Damaged places that were skipped.
    damaged_ranges,
    /// Octets in them.
    damaged_bytes,
    /// Segments that cannot be read, by their header or at all.
    damaged_segments,
    /// Segments that are missing between others.
    missing_segments,
    /// Steps of readers served from memory.
    tail_reads,
    /// Steps of readers served from the disk.
    disk_reads,
    /// Failures to read.
    read_errors,
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}
