//! Segment files as they are found in the folder, and what their records say.

use std::{io, path::Path, sync::Arc};

use super::{
    SpoolError,
    cursors::Slot,
    disk::{Disk, DiskFile, is_unreadable},
    group::{Shares, routing},
    header::{Bad, Header, first_of, path_of},
    origins::{Origin, Origins, Pending},
    run::SegmentReader,
    table::{Table, Totals},
};
use crate::message::Records;

/// What is known before records are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sure {
    /// All up to here was durable.
    pub(super) durable: u64,
    /// Behind this record others of the same message may be missing, as an earlier opening found; 0: none.
    pub(super) unsure: u64,
}

impl Sure {
    /// Everything was durable.
    pub(super) const ALL: Self = Self { durable: u64::MAX, unsure: 0 };
}

/// A segment file as found; not open, because there may be many.
pub(super) struct Found {
    pub(super) first: u64,
    pub(super) len: u64,
    pub(super) header: Result<(Header, usize), Bad>,
}

/// What lies at the end of a segment, and what its records add.
pub(super) struct Scan {
    /// Sequence of its last valid record; what it begins behind if there is none.
    pub(super) last: u64,
    /// Offset behind it.
    pub(super) end: u64,
    pub(super) records: u64,
    pub(super) totals: Totals,
    pub(super) origins: Origins,
    /// Origin of the last record if others of the same message may be missing behind it; it is not in `origins`.
    pub(super) unsure: Vec<u8>,
    pub(super) damaged: u64,
    /// Pages that could not be read; they count as damaged.
    pub(super) unreadable: u64,
}

pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> SpoolError {
    move |error| SpoolError::Io { path: path.to_owned(), error }
}

/// The segments in a folder, oldest first, without reading more than their headers.
pub(super) fn find(disk: &dyn Disk, dir: &Path, names: &[(String, u64)]) -> Result<Vec<Found>, SpoolError> {
    let mut segments: Vec<(u64, u64)> = names.iter().filter_map(|(name, len)| Some((first_of(name)?, *len))).collect();
    segments.sort_unstable();
    let mut found: Vec<Found> = Vec::with_capacity(segments.len());
    for (first, len) in segments {
        let path = path_of(dir, first);
        let header = match disk.open(&path, false).and_then(|file| Header::read(&*file)) {
            Ok(header) => header,
            Err(error) if is_unreadable(&error) => Err(Bad::Unreadable),
            Err(error) => return Err(failed(&path)(error)),
        };
        if let Err(Bad::Version(version)) = header {
            return Err(SpoolError::Version { path, version });
        }
        let header = header.and_then(|read| if read.0.first == first { Ok(read) } else { Err(Bad::Damaged) });
        // Origins are of use only in the last header that is in order; they may be large.
        if let (Ok(_), Some(Ok((before, _)))) = (&header, found.last_mut().map(|before| before.header.as_mut())) {
            before.origins = Origins::default();
        }
        found.push(Found { first, len, header });
    }
    Ok(found)
}

impl Found {
    /// Where records begin; the whole file is searched if the header is damaged.
    pub(super) fn start(&self) -> u64 {
        self.header.as_ref().map_or(0, |(_, length)| *length as u64)
    }

    /// Reads all records, with what was before them. Behind damage they count only if what was damaged is known to
    /// have been durable: else it was torn with the last group, and of a group in pieces
    /// nothing may be kept, for the marks of origins mean that all before them is here. For the same reason the origin
    /// of the last record does not count if the group may go on behind it: a message can have several records, and if
    /// one of them is missing, all must be taken again when they are sent again. That is a duplicate at most.
    pub(super) fn scan(
        &self,
        file: Arc<dyn DiskFile>,
        before: u64,
        sure: Sure,
        mut totals: Totals,
        mut origins: Origins,
    ) -> io::Result<Scan> {
        let start = self.start();
        let mut reader = SegmentReader::new(file, start, self.len, self.first.saturating_sub(1), before);
        let (mut end, mut last, mut records, mut damaged) = (start, self.first.saturating_sub(1), 0, 0);
        let (mut shares, mut pending) = (Shares::default(), Pending::default());
        // Origin of the record before: it counts when it is known to be the last one of its message.
        let mut held: Vec<u8> = Vec::new();
        let mut unreadable = 0;
        loop {
            let run = match reader.next_run() {
                Ok(Some(run)) => run,
                Ok(None) => break,
                Err(error) if is_unreadable(&error) => {
                    unreadable += 1;
                    reader.skip_page();
                    continue;
                }
                Err(error) => return Err(error),
            };
            let is_header = end == 0 && run.first == self.first;
            if run.offset > end && !is_header {
                if run.first > sure.durable.saturating_add(1) {
                    break;
                }
                damaged += 1;
            }
            end = run.offset + run.bytes.len() as u64;
            last = run.last;
            records += run.records;
            for record in Records(&run.bytes) {
                let Some((origin, destinations)) = routing(record) else { continue };
                shares.add(record, destinations);
                if origin != held {
                    judge(&origins, &mut pending, &held);
                    held.clear();
                    held.extend_from_slice(origin);
                }
            }
            origins.merge(std::mem::take(&mut pending));
        }
        // A write that did not come to its end may stop anywhere, even between two records.
        let is_whole = last <= sure.durable && last != sure.unsure;
        let unsure = if is_whole { Vec::new() } else { std::mem::take(&mut held) };
        judge(&origins, &mut pending, &held);
        origins.merge(pending);
        for share in shares.finish() {
            totals.add(share.id, share.count);
        }
        Ok(Scan { last, end, records, totals, origins, unsure, damaged, unreadable })
    }
}

fn judge(origins: &Origins, pending: &mut Pending, origin: &[u8]) {
    if let Some(origin) = Origin::parse(origin) {
        origins.judge(pending, &origin);
    }
}

/// A table as the newest of what is readable says; for looking at a spool without opening it.
pub(super) fn table_of(found: &[Found], slot: Option<&Slot>) -> Table {
    let newest = || found.iter().rev().find_map(|segment| segment.header.as_ref().ok());
    slot.map(|slot| slot.table.clone()).or_else(|| newest().map(|(header, _)| header.table.clone())).unwrap_or_default()
}
