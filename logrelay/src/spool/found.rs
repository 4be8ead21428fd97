//! Segment files as they are found in the folder, and what their records say.

use std::{io, path::Path, sync::Arc};

use super::{
    SpoolError,
    cursors::Slot,
    disk::{Disk, DiskFile, is_unreadable},
    group::{Shares, has_more, routing},
    header::{Bad, Header, first_of, path_of},
    origins::{Origin, Origins, Pending},
    run::SegmentReader,
    table::{Table, Totals},
    walk::sequence,
};
use crate::message::Records;

/// A segment file as found; not open, because there may be many.
pub(super) struct Found {
    pub(super) first: u64,
    pub(super) len: u64,
    pub(super) header: Result<(Header, usize), Bad>,
}

/// What lies at the end of a segment, and what its records add.
pub(super) struct Scan {
    /// Sequence of the last valid record that counts; what it begins behind if there is none.
    pub(super) last: u64,
    /// Offset behind it.
    pub(super) end: u64,
    pub(super) records: u64,
    pub(super) totals: Totals,
    pub(super) origins: Origins,
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
    /// have been `durable`: else it was torn with the last group, and of a group in pieces nothing may be kept, for the
    /// marks of origins mean that all before them is here. For the same reason a message that is not whole at the end of
    /// the last group counts as never written: all of it is taken when it is sent again. Only where pages cannot be read
    /// is what there is of it kept, and may come a second time.
    pub(super) fn scan(
        &self,
        file: Arc<dyn DiskFile>,
        before: u64,
        durable: u64,
        totals: Totals,
        origins: Origins,
    ) -> io::Result<Scan> {
        let (scan, torn) = self.read(self.len, Arc::clone(&file), before, durable, totals.clone(), origins.clone())?;
        match torn {
            Some(begin) => Ok(self.read(begin, file, before, durable, totals, origins)?.0),
            None => Ok(scan),
        }
    }

    /// Reads up to an offset. If the last message is not whole, also where it begins.
    fn read(
        &self,
        len: u64,
        file: Arc<dyn DiskFile>,
        before: u64,
        durable: u64,
        mut totals: Totals,
        mut origins: Origins,
    ) -> io::Result<(Scan, Option<u64>)> {
        let start = self.start();
        let mut reader = SegmentReader::new(file, start, len, self.first.saturating_sub(1), before);
        let (mut end, mut last, mut records, mut damaged) = (start, self.first.saturating_sub(1), 0, 0);
        let (mut shares, mut pending) = (Shares::default(), Pending::default());
        // Offset and sequence of the first record of a message, while the record before says that there is more of it.
        let mut unfinished: Option<(u64, u64)> = None;
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
                if run.first > durable.saturating_add(1) {
                    break;
                }
                damaged += 1;
                unfinished = None;
            }
            end = run.offset + run.bytes.len() as u64;
            last = run.last;
            records += run.records;
            let mut at = run.offset;
            for record in Records(&run.bytes) {
                unfinished = has_more(record).then(|| unfinished.unwrap_or((at, sequence(record))));
                at += record.len() as u64;
                let Some((origin, destinations)) = routing(record) else { continue };
                shares.add(record, destinations);
                // A message counts as received when all of it was.
                if unfinished.is_none()
                    && let Some(origin) = Origin::parse(origin)
                {
                    origins.judge(&mut pending, &origin);
                }
            }
            origins.merge(std::mem::take(&mut pending));
        }
        for share in shares.finish() {
            totals.add(share.id, share.count);
        }
        // What was durable is never cut off, whatever it says of itself.
        let torn = unfinished.filter(|(_, first)| *first > durable && unreadable == 0).map(|(offset, _)| offset);
        Ok((Scan { last, end, records, totals, origins, damaged, unreadable }, torn))
    }
}

/// A table as the newest of what is readable says; for looking at a spool without opening it.
pub(super) fn table_of(found: &[Found], slot: Option<&Slot>) -> Table {
    let newest = || found.iter().rev().find_map(|segment| segment.header.as_ref().ok());
    slot.map(|slot| slot.table.clone()).or_else(|| newest().map(|(header, _)| header.table.clone())).unwrap_or_default()
}
