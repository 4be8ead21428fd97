//! Looking at a spool's folder without opening it: nothing is locked, nothing is written.

use std::{io, path::Path, sync::Arc};

use super::{
    Disk, DiskFile, RealDisk, SpoolError,
    cursors::{self, Cursors, Slot},
    found::{Found, find, table_of},
    header::{Bad, Header, path_of},
    origins::Origins,
    run::SegmentReader,
    table::Totals,
};
use crate::message::{Message, Records};

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SegmentInspection {
    /// First sequence that it may hold, by its name.
    pub first: u64,
    /// Sequence of the last valid record that opening keeps; `first - 1` if there is none.
    pub last: u64,
    /// Octets.
    pub bytes: u64,
    /// Valid records.
    pub records: u64,
    /// Epoch; none if the header is damaged.
    pub epoch: Option<u64>,
    /// Time of creation, microseconds since 1970; none if the header is damaged.
    pub created_us: Option<i64>,
    /// Damaged places, not counting the end.
    pub damaged: u64,
    /// Octets behind that record: torn, or of a group that is being written.
    pub torn_bytes: u64,
    /// A segment before it is missing.
    pub missing_before: bool,
}

/// A destination: name, number, cursor, and counts as in the report.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CursorInspection {
    /// Name.
    pub name: String,
    /// Number.
    pub id: u16,
    /// Everything up to this sequence is delivered, dropped or lost.
    pub cursor: u64,
    /// Records dropped.
    pub dropped: u64,
    /// Records lost.
    pub lost: u64,
    /// Records behind the cursor, by what the segments count.
    pub pending: u64,
}

/// What is in a spool's folder.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Inspection {
    /// Relay id; none if nothing that could be read says it.
    pub relay: Option<String>,
    /// Highest epoch.
    pub epoch: u64,
    /// Whether the cursors file can be read; if not, cursors are those of the newest segment header.
    pub cursors_ok: bool,
    /// Segments that begin before this are deleted, though their files may be there.
    pub deleted_below: u64,
    /// Oldest first.
    pub segments: Vec<SegmentInspection>,
    /// Destinations by number.
    pub destinations: Vec<CursorInspection>,
}

/// Reads all of a spool's folder. May run while the spool is open; what is being written then looks torn.
///
/// # Errors
/// The folder, or a file in it, cannot be read, or is of a newer version.
pub fn inspect(path: &Path) -> Result<Inspection, SpoolError> {
    let disk = ReadOnly(RealDisk::default());
    let failed = |error| SpoolError::Io { path: path.to_owned(), error };
    let names = disk.list(path).map_err(failed)?;
    let slot = match disk.open(&path.join(cursors::NAME), false) {
        Ok(file) => Cursors::read(&*file).map_err(failed)?.map(|(slot, _)| slot),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    let found = find(&disk, path, &names)?;
    let mut segments = Vec::with_capacity(found.len());
    let mut totals = None;
    for (at, segment) in found.iter().enumerate() {
        let header = segment.header.as_ref().ok().map(|(header, _)| header);
        let next = found.get(at + 1);
        let base = header.map_or_else(Totals::default, |header| header.table.totals.clone());
        let before = next.map_or(u64::MAX, |next| next.first);
        let file = disk.open(&path_of(path, segment.first), false).map_err(failed)?;
        let known = slot.as_ref().filter(|_| next.is_none());
        let durable = known.map_or(u64::MAX, |slot| slot.next.saturating_sub(1));
        let scan = segment.scan(file, before, durable, base, Origins::default()).map_err(failed)?;
        let previous = at.checked_sub(1).and_then(|at| found.get(at)).map(|previous| previous.first);
        segments.push(SegmentInspection {
            first: segment.first,
            last: scan.last,
            bytes: segment.len,
            records: scan.records,
            epoch: header.map(|header| header.epoch),
            created_us: header.map(|header| header.created_us),
            damaged: scan.damaged,
            torn_bytes: segment.len - scan.end,
            missing_before: header.zip(previous).is_some_and(|(header, previous)| {
                let is_hole = |slot: &Slot| slot.holes.iter().any(|hole| (hole.0..=hole.1).contains(&header.previous));
                header.previous > previous && !slot.as_ref().is_some_and(is_hole)
            }),
        });
        totals = Some(scan.totals);
    }
    let table = table_of(&found, slot.as_ref());
    let totals = totals.unwrap_or_else(|| table.totals.clone());
    let destinations = table.destinations.iter().map(|(id, destination)| CursorInspection {
        name: destination.name.clone(),
        id: *id,
        cursor: destination.cursor,
        dropped: destination.dropped,
        lost: destination.lost,
        pending: totals.get(*id).records.saturating_sub(destination.done.records),
    });
    let newest = found.iter().rev().find_map(|segment| segment.header.as_ref().ok()).map(|(header, _)| header);
    let relay = slot.as_ref().map(|slot| slot.relay.clone()).or_else(|| newest.map(|header| header.relay.clone()));
    Ok(Inspection {
        relay,
        epoch: slot.as_ref().map_or(0, |slot| slot.epoch).max(newest.map_or(0, |header| header.epoch)),
        cursors_ok: slot.is_some(),
        deleted_below: slot.as_ref().map_or(0, |slot| slot.deleted_below),
        segments,
        destinations: destinations.collect(),
    })
}

/// Opens for reading whatever is asked.
#[derive(Debug)]
struct ReadOnly(RealDisk);

impl Disk for ReadOnly {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        self.0.list(dir)
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn open(&self, path: &Path, _: bool) -> io::Result<Arc<dyn DiskFile>> {
        self.0.open(path, false)
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn fault(&self, _: &'static str) -> io::Result<()> {
        Ok(())
    }

    fn halves(&self) -> bool {
        false
    }
}

/// A file of given octets.
struct Octets(Vec<u8>);

impl DiskFile for Octets {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self) -> io::Result<()> {
        Ok(())
    }

    fn unlock(&self) {}
}

/// Any octets as a segment and as a slot of cursors: read as opening and readers do. For the fuzzer.
pub fn fuzz(data: &[u8]) {
    let _ = Slot::decode(data);
    let file: Arc<dyn DiskFile> = Arc::new(Octets(data.to_vec()));
    let header = Header::read(&*file).unwrap_or(Err(Bad::Damaged));
    let first = header.as_ref().map_or(1, |(header, _)| header.first);
    let found = Found { first, len: data.len() as u64, header };
    let durable = if data.len().is_multiple_of(2) { u64::MAX } else { first };
    let Ok(scan) = found.scan(Arc::clone(&file), u64::MAX, durable, Totals::default(), Origins::default()) else {
        return;
    };
    assert!(scan.end <= found.len, "the end is within the file");
    let mut reader = SegmentReader::new(file, found.start(), scan.end, first.saturating_sub(1), u64::MAX);
    let (mut records, mut last) = (0, first.saturating_sub(1));
    while let Ok(Some(run)) = reader.next_run() {
        assert!(run.first > last && run.last >= run.first, "sequences grow");
        last = run.last;
        records += run.records;
        for record in Records(&run.bytes) {
            let _ = Message::decode(record);
        }
    }
    assert_eq!((records, last), (scan.records, scan.last), "what opening keeps, readers find");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEEDS: [&[u8]; 6] = [
        include_bytes!("../../../fuzz/seeds/logspool/segment"),
        include_bytes!("../../../fuzz/seeds/logspool/carried"),
        include_bytes!("../../../fuzz/seeds/logspool/damaged"),
        include_bytes!("../../../fuzz/seeds/logspool/cursors"),
        include_bytes!("../../../fuzz/seeds/logspool/unfinished"),
        include_bytes!("../../../fuzz/seeds/logspool/unfinished-damaged"),
    ];

    proptest! {
        #[test]
        fn any_octets_are_read_without_a_panic(
            seed in 0..SEEDS.len(),
            cut in any::<prop::sample::Index>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            behind in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = SEEDS[seed].to_vec();
            fuzz(&bytes);
            for (at, octet) in changes {
                let at = at.index(bytes.len());
                bytes[at] = octet;
            }
            bytes.truncate(cut.index(bytes.len()) + 1);
            bytes.extend(behind);
            fuzz(&bytes);
        }
    }
}
