//! Reading a span of time for people: `logs tail`, `logs grep`. Destinations and the writer are not disturbed.

use std::{io, ops::ControlFlow, sync::Arc};

use super::{
    Spool, SpoolError,
    disk::DiskFile,
    header::path_of,
    run::SegmentReader,
    shared::{Shared, locked},
};
use crate::message::{Message, Records};

/// A record may have been received this much before, or after, the clock said when its segment was made.
const SLACK_US: i64 = 60_000_000;

/// What a scan read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scanned {
    /// Records looked at.
    pub records: u64,
    /// Damaged places passed over.
    pub damaged: u64,
    /// Segments read.
    pub segments: u64,
}

struct Part {
    first: u64,
    start: u64,
    len: u64,
    before: u64,
}

impl Spool {
    /// Gives every durable record received from `from_us` to `to_us`, in order, until told to stop. Segments are passed
    /// over by the times at which they were made; a record that came late from another relay, by more than a minute, may
    /// be passed over with them. Blocking.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub fn scan(
        &self,
        from_us: i64,
        to_us: i64,
        found: &mut dyn FnMut(&Message<'_>) -> ControlFlow<()>,
    ) -> Result<Scanned, SpoolError> {
        let mut scanned = Scanned::default();
        for part in parts(&self.shared, from_us, to_us) {
            let path = path_of(&self.shared.options.path, part.first);
            let file: Arc<dyn DiskFile> = match self.shared.disk.open(&path, false) {
                Ok(file) => file,
                // Deleted meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(SpoolError::Io { path, error }),
            };
            scanned.segments += 1;
            let after = part.first.saturating_sub(1);
            let mut reader = SegmentReader::new(file, part.start, part.len, after, part.before);
            while let Some(run) = reader.next_run().map_err(|error| SpoolError::Io { path: path.clone(), error })? {
                for message in Records(&run.bytes).filter_map(Message::decode) {
                    scanned.records += 1;
                    if (from_us..=to_us).contains(&message.received_us) && found(&message).is_break() {
                        scanned.damaged += reader.skipped.ranges;
                        return Ok(scanned);
                    }
                }
            }
            // What is missing of a segment that was deleted meanwhile is no damage.
            if !locked(&self.shared.state).is_deleted(part.first) {
                scanned.damaged += reader.skipped.ranges;
            }
        }
        Ok(scanned)
    }
}

fn parts(shared: &Shared, from_us: i64, to_us: i64) -> Vec<Part> {
    let state = locked(&shared.state);
    let mut parts = Vec::new();
    for (at, segment) in state.segments.iter().enumerate() {
        let next = state.segments.get(at + 1);
        let is_before = next.is_some_and(|next| next.created_us.saturating_add(SLACK_US) < from_us);
        let is_behind = segment.created_us.saturating_sub(SLACK_US) > to_us;
        if !is_before && !is_behind {
            let before = next.map_or(state.durable + 1, |next| next.first);
            parts.push(Part { first: segment.first, start: segment.header_len, len: segment.len, before });
        }
    }
    parts
}
