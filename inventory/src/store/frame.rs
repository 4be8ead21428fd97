//! Frames of the standby files.
//!
//! A frame is the length of its payload (u32, little-endian), the first 16 bytes of the payload's
//! BLAKE3, and the payload: one [`Entry`] as JSON. Before each batch of frames that was written and
//! synced together stands [`BATCH`], so that a reader can tell a torn last batch (which nobody was
//! told of) from damage further up. A length is believed only as far as the file reaches.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    change::{Author, Row, RowChange},
    keeper::HeldBody,
    position::Position,
};

/// Stands before every batch.
pub(crate) const BATCH: [u8; 8] = *b"\x00GHbatch";
/// Longest payload. Rows come in chunks far below; one held change is one payload.
pub(crate) const PAYLOAD_MAX: usize = 1 << 30;
/// Rows or changes in one frame.
pub(crate) const ROWS_PER_FRAME: usize = 512;
/// How the payloads of [`Entry::Changes`] and [`Entry::Rows`] begin.
const OF_ROWS: [&[u8]; 2] = [br#"{"changes":"#, br#"{"rows":"#];
const HEAD: usize = 4 + 16;

/// What a frame holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Entry {
    /// First in every file: the format and the position at which it begins.
    Head {
        format: u32,
        position: Position,
        /// In a journal: the number that the next held change gets.
        #[serde(default)]
        next_held: u64,
    },
    /// Rows of a snapshot.
    Rows(Vec<Row>),
    /// A change set begins.
    Begin { epoch: u32, serial: u64, author: Author },
    /// Rows of the change set.
    Changes(Vec<RowChange>),
    /// The snapshot or the change set is complete and led to this position.
    End { position: Position },
    /// A change is held.
    Hold(HeldBody),
    /// A held change was accepted, replaced or discarded.
    Unhold(u64),
}

/// Writes one frame.
pub(crate) fn write(out: &mut impl Write, entry: &Entry) -> io::Result<()> {
    let payload = serde_json::to_vec(entry)?;
    let len = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= PAYLOAD_MAX);
    let len = len.ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "a record of more than 1 GiB"))?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(&checksum(&payload))?;
    out.write_all(&payload)
}

fn checksum(payload: &[u8]) -> [u8; 16] {
    let mut sum = [0; 16];
    sum.copy_from_slice(blake3::hash(payload).as_bytes().split_at(16).0);
    sum
}

/// What stands at the reader's place.
#[derive(Debug)]
pub(crate) enum Next {
    /// A frame.
    Entry(Entry),
    /// A whole frame of rows or changed rows that nobody wanted to see.
    Passed,
    /// The end of the file, after a whole frame.
    End,
    /// Bytes that are no frame, and no batch begins after them: the last write was cut off.
    Torn,
    /// Bytes that are no frame although a later batch was written after them.
    Damaged,
}

/// Reads a file of frames.
#[derive(Debug)]
pub(crate) struct Reader {
    file: BufReader<File>,
    size: u64,
    offset: u64,
    /// Whether frames of rows are only checked, not decoded.
    pass_rows: bool,
}

impl Reader {
    /// Opens a file at its start.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file: BufReader::with_capacity(1 << 16, file), size, offset: 0, pass_rows: false })
    }

    /// The same reader; frames of rows are checked for damage and passed over.
    pub(crate) fn passing_rows(self, pass_rows: bool) -> Self {
        Self { pass_rows, ..self }
    }

    /// How many bytes of whole frames were read.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads what comes next. I/O errors are those of the device.
    pub(crate) fn next(&mut self) -> io::Result<Next> {
        let mut at = self.offset;
        if at == self.size {
            return Ok(Next::End);
        }
        let mut mark = [0; BATCH.len()];
        let marked = self.fill(at, &mut mark)? && mark == BATCH;
        if marked {
            at += BATCH.len() as u64;
        } else {
            self.file.seek(SeekFrom::Start(at))?;
        }
        if marked && at == self.size {
            return Ok(Next::Torn);
        }
        let mut head = [0; HEAD];
        if self.fill(at, &mut head)? {
            let (len, sum) = head.split_at(4);
            let len = len.try_into().map_or(usize::MAX, |bytes| u32::from_le_bytes(bytes) as usize);
            at += HEAD as u64;
            if len <= PAYLOAD_MAX && (len as u64) <= self.size - at {
                let mut payload = vec![0; len];
                self.file.read_exact(&mut payload)?;
                if checksum(&payload) == sum {
                    let end = at + len as u64;
                    if self.pass_rows && OF_ROWS.iter().any(|start| payload.starts_with(start)) {
                        self.offset = end;
                        return Ok(Next::Passed);
                    }
                    if let Ok(entry) = serde_json::from_slice(&payload) {
                        self.offset = end;
                        return Ok(Next::Entry(entry));
                    }
                }
            }
        }
        self.later_batch().map(|found| if found { Next::Damaged } else { Next::Torn })
    }

    /// Fills `into` from the reader's place, which is `at`; false when the file is too short.
    fn fill(&mut self, at: u64, into: &mut [u8]) -> io::Result<bool> {
        if self.size - at < into.len() as u64 {
            return Ok(false);
        }
        self.file.read_exact(into).map(|()| true)
    }

    /// Whether a batch begins somewhere after the bytes that could not be read.
    fn later_batch(&mut self) -> io::Result<bool> {
        self.file.seek(SeekFrom::Start(self.offset + 1))?;
        let (mut matched, mut chunk) = (0, vec![0; 1 << 16]);
        loop {
            let n = self.file.read(&mut chunk)?;
            if n == 0 {
                return Ok(false);
            }
            for byte in chunk.iter().take(n) {
                // The mark's first byte does not occur again in it, so a mismatch restarts the search at most one byte back.
                matched = match BATCH.get(matched) {
                    Some(wanted) if wanted == byte => matched + 1,
                    _ => usize::from(*byte == BATCH[0]),
                };
                if matched == BATCH.len() {
                    return Ok(true);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_known_by_their_first_bytes() {
        for (entry, start) in [Entry::Changes(Vec::new()), Entry::Rows(Vec::new())].iter().zip(OF_ROWS) {
            assert!(serde_json::to_vec(entry).unwrap().starts_with(start));
        }
    }

    fn file(batches: usize) -> (tempfile::TempDir, Vec<u8>) {
        let mut bytes = Vec::new();
        for id in 0..batches as u64 {
            bytes.extend(BATCH);
            write(&mut bytes, &Entry::Unhold(id)).unwrap();
        }
        (tempfile::tempdir().unwrap(), bytes)
    }

    fn read(dir: &tempfile::TempDir, bytes: &[u8]) -> (usize, Next) {
        let path = dir.path().join("frames");
        std::fs::write(&path, bytes).unwrap();
        let mut reader = Reader::open(&path).unwrap();
        let mut n = 0;
        loop {
            match reader.next().unwrap() {
                Next::Entry(_) => n += 1,
                end => return (n, end),
            }
        }
    }

    #[test]
    fn every_cut_of_the_last_batch_is_torn_and_none_is_an_entry() {
        let (dir, bytes) = file(3);
        let batch = bytes.len() / 3;
        assert!(matches!(read(&dir, &bytes), (3, Next::End)));
        for cut in 2 * batch + 1..bytes.len() {
            assert!(matches!(read(&dir, &bytes[..cut]), (2, Next::Torn)), "cut at {cut}");
        }
    }

    #[test]
    fn a_changed_byte_is_damage_unless_it_is_in_the_last_batch() {
        let (dir, bytes) = file(3);
        let batch = bytes.len() / 3;
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x55;
            match read(&dir, &bad) {
                (n, Next::Damaged) => assert!(n == at / batch && n < 2, "byte {at}"),
                (n, Next::Torn) => assert!(n == 2 && at / batch == 2, "byte {at}"),
                other => panic!("byte {at}: {other:?}"),
            }
        }
    }
}
