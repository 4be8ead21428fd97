//! The file `cursors`: where every destination is, in two slots of fixed size, rewritten in place.
//!
//! A slot: `ghcursor`, CRC32C of octets 12..length (4 octets), length (4), generation, epoch, first sequence that is not
//! deleted, next sequence (8 each), relay id (2 + length), the number of holes (2) and for each the first and last sequence of segments deleted
//! between others (8 each), then the destinations as in [`Table`]. What stands behind that is not looked at. The valid
//! slot of the highest generation counts. The slot that is known to be durable is never overwritten: updates go to the other one
//! until it has been synced. All octets are allocated when the file is made, so an update needs no room
//! on a file system that overwrites in place; one that copies on write (btrfs, zfs, xfs with shared blocks) needs some,
//! and cursors may stay behind there while it is full: then records are delivered again after a crash.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    disk::{self, Disk, DiskFile},
    octets::{Octets, put_text, put_u64s},
    table::Table,
};

/// Name of the file.
pub(super) const NAME: &str = "cursors";
const MAGIC: &[u8; 8] = b"ghcursor";
/// Octets of a slot: 1,024 destinations with the longest names, and their totals, are below it.
const SLOT: usize = 48 * 4096;

/// What a slot says.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Slot {
    pub(super) generation: u64,
    pub(super) epoch: u64,
    /// Segments that begin before this are deleted, even if their files are still there.
    pub(super) deleted_below: u64,
    /// No record has this sequence or a higher one, as far as was known.
    pub(super) next: u64,
    pub(super) relay: String,
    /// First and last sequences of segments that are deleted between others.
    pub(super) holes: Vec<(u64, u64)>,
    pub(super) table: Table,
}

impl Slot {
    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&[0; 8]);
        put_u64s(&mut out, [self.generation, self.epoch, self.deleted_below, self.next]);
        put_text(&mut out, self.relay.as_bytes());
        out.extend_from_slice(&(self.holes.len() as u16).to_le_bytes());
        for (from, to) in &self.holes {
            put_u64s(&mut out, [*from, *to]);
        }
        self.table.encode(&mut out);
        let length = (out.len() as u32).to_le_bytes();
        out[12..16].copy_from_slice(&length);
        let crc = crc32c::crc32c(&out[12..]).to_le_bytes();
        out[8..12].copy_from_slice(&crc);
        out
    }

    /// Reads a slot; `None` if it is damaged or was never written.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut octets = Octets(bytes);
        octets.take(8).filter(|magic| magic == MAGIC)?;
        let crc = octets.u32()?;
        let length = octets.clone().u32()? as usize;
        if crc32c::crc32c(bytes.get(12..length)?) != crc {
            return None;
        }
        octets = Octets(bytes.get(16..length)?);
        let (generation, epoch, deleted_below, next) = (octets.u64()?, octets.u64()?, octets.u64()?, octets.u64()?);
        let relay = str::from_utf8(octets.text()?).ok()?.to_owned();
        let mut holes = Vec::new();
        for _ in 0..octets.u16()? {
            holes.push((octets.u64()?, octets.u64()?));
        }
        let table = Table::decode(&mut octets)?;
        Some(Self { generation, epoch, deleted_below, next, relay, holes, table })
    }
}

/// The open file.
pub(super) struct Cursors {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    generation: u64,
    /// Slot that is durable, 0 or 1.
    durable: u64,
    /// Whether the other slot was written since.
    unsynced: bool,
}

impl Drop for Cursors {
    fn drop(&mut self) {
        self.file.unlock();
    }
}

impl Cursors {
    /// The newest valid slot of a file, and which it is.
    pub(super) fn read(file: &dyn DiskFile) -> io::Result<Option<(Slot, u64)>> {
        let mut newest: Option<(Slot, u64)> = None;
        for at in 0..2 {
            let slot = Slot::decode(&disk::read(file, at * SLOT as u64, SLOT)?);
            if let Some(slot) = slot.filter(|slot| newest.as_ref().is_none_or(|(n, _)| n.generation < slot.generation))
            {
                newest = Some((slot, at));
            }
        }
        Ok(newest)
    }

    /// Opens the file, or makes it, and locks it.
    pub(super) fn open(disk: &Arc<dyn Disk>, dir: &Path, exists: bool) -> io::Result<(Self, Option<Slot>)> {
        let path = dir.join(NAME);
        let file = if exists { disk.open(&path, true)? } else { disk.create(&path)? };
        file.lock()?;
        let length = file.length()?;
        if length < 2 * SLOT as u64 {
            // New, or its making was cut short: give it all its octets now.
            file.write_at(&vec![0; 2 * SLOT - length as usize], length)?;
            file.sync()?;
            disk.sync_dir(dir)?;
        }
        let newest = Self::read(&*file)?;
        let (generation, durable) = newest.as_ref().map_or((0, 1), |(slot, at)| (slot.generation, *at));
        // What was read may be in the page cache only.
        file.sync()?;
        let cursors = Self { disk: Arc::clone(disk), file, generation, durable, unsynced: false };
        Ok((cursors, newest.map(|(slot, _)| slot)))
    }

    /// Writes the slot that is not durable.
    pub(super) fn write(&mut self, mut slot: Slot) -> io::Result<()> {
        slot.generation = self.generation + 1;
        let bytes = slot.encode();
        let offset = (1 - self.durable) * SLOT as u64;
        self.disk.fault("cursor.before-write")?;
        self.unsynced = true;
        if self.disk.halves() {
            let (one, two) = bytes.split_at(bytes.len() / 2);
            self.file.write_at(one, offset)?;
            self.disk.fault("cursor.half-write")?;
            self.file.write_at(two, offset + one.len() as u64)?;
        } else {
            self.file.write_at(&bytes, offset)?;
        }
        self.generation = slot.generation;
        Ok(())
    }

    /// Makes what was written durable.
    pub(super) fn sync(&mut self, syncs: &AtomicU64) -> io::Result<()> {
        if self.unsynced {
            self.disk.fault("cursor.before-sync")?;
            syncs.fetch_add(1, Relaxed);
            self.file.sync()?;
            self.unsynced = false;
            self.durable = 1 - self.durable;
        }
        Ok(())
    }

    /// Whether something was written and not yet synced.
    pub(super) fn is_unsynced(&self) -> bool {
        self.unsynced
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{RealDisk, state::HOLES_MAX, table::DESTINATIONS_MAX};

    #[test]
    fn the_fullest_table_fits() {
        let holes = vec![(1, 2); HOLES_MAX];
        let mut slot = Slot { relay: "x".repeat(100), holes, ..Slot::default() };
        for i in 0..DESTINATIONS_MAX {
            let id = slot.table.insert(&format!("{i:064}"), 0).unwrap();
            slot.table.totals.add(id, Default::default());
        }
        let bytes = slot.encode();
        assert!(bytes.len() < SLOT, "{}", bytes.len());
        assert!(Slot::decode(&bytes) == Some(slot));
    }

    #[test]
    fn a_damaged_slot_falls_back_to_the_durable_one() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::default());
        let (mut cursors, none) = Cursors::open(&disk, dir.path(), false).unwrap();
        assert_eq!(none, None);
        let syncs = AtomicU64::new(0);
        for epoch in 1..=5 {
            cursors.write(Slot { epoch, ..Slot::default() }).unwrap();
            if epoch == 3 {
                cursors.sync(&syncs).unwrap();
            }
        }
        assert!(matches!(Cursors::open(&disk, dir.path(), true), Err(e) if e.kind() == io::ErrorKind::WouldBlock));
        let read = || Cursors::read(&*disk.open(&dir.path().join(NAME), false).unwrap()).unwrap().unwrap().0;
        assert_eq!(read().epoch, 5);
        cursors.file.write_at(b"torn", (1 - cursors.durable) * SLOT as u64 + 30).unwrap();
        assert_eq!(read().epoch, 3);
    }
}
