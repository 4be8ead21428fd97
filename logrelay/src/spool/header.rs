//! The header of a segment file, and its name.
//!
//! | octets | what |
//! |---|---|
//! | 0..8 | `ghspool` and a zero |
//! | 8..12 | version of the layout, 1; all versions have the length and the CRC where they are here |
//! | 12..16 | length of the header |
//! | 16..20 | CRC32C of octets 20..length |
//! | 20..28 | epoch of the opening that wrote the segment: all its records are of this epoch |
//! | 28..36 | first sequence that the segment may hold |
//! | 36..44 | time of creation, microseconds since 1970 |
//! | 44..52 | first sequence of the segment before it; 0 if there was none |
//! | 52.. | relay id (2 + length), then what is carried: destinations and totals ([`Table`]), origins ([`Origins`]), all as they were before the first record of the segment |
//!
//! Because totals and origins are carried, opening reads the headers and the records of the last segment only.

use std::path::{Path, PathBuf};

use super::{
    disk::{self, DiskFile},
    octets::{Octets, put_text, put_u64s},
    origins::Origins,
    table::Table,
};

const MAGIC: &[u8; 8] = b"ghspool\0";
/// Version of the layout.
pub(super) const VERSION: u32 = 1;
const FIXED: usize = 20;
/// Octets of a header at most: 1,024 destinations and 4,096 origins are well below.
pub(super) const HEADER_MAX: usize = 2 << 20;
/// What is read of a file at first; few headers are longer.
const FIRST_READ: usize = 4096;

/// What the header says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    pub(super) epoch: u64,
    pub(super) first: u64,
    pub(super) created_us: i64,
    pub(super) previous: u64,
    pub(super) relay: String,
    pub(super) table: Table,
    pub(super) origins: Origins,
}

/// Why there is no header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// It is cut, or its CRC is wrong.
    Damaged,
    /// The file system cannot read it.
    Unreadable,
    /// It is of a version that we do not know.
    Version(u32),
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        put_u64s(&mut out, [self.epoch, self.first, self.created_us.cast_unsigned(), self.previous]);
        put_text(&mut out, self.relay.as_bytes());
        self.table.encode(&mut out);
        self.origins.encode(&mut out);
        let length = (out.len() as u32).to_le_bytes();
        out[12..16].copy_from_slice(&length);
        let crc = crc32c::crc32c(&out[FIXED..]).to_le_bytes();
        out[16..20].copy_from_slice(&crc);
        out
    }

    /// Version and length of the header that begins with these octets, if it is one of ours.
    fn start(start: &[u8]) -> Option<(u32, usize)> {
        let mut octets = Octets(start);
        octets.take(8).filter(|magic| magic == MAGIC)?;
        let (version, length) = (octets.u32()?, octets.u32()? as usize);
        (FIXED..=HEADER_MAX).contains(&length).then_some((version, length))
    }

    /// Reads a header and its length from the start of a segment.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, usize), Bad> {
        let (version, length) = Self::start(bytes).ok_or(Bad::Damaged)?;
        let header = bytes.get(..length).ok_or(Bad::Damaged)?;
        if version != VERSION {
            // Only if it is whole: what is damaged is not of another version.
            return Err(if Self::crc_is_right(header) { Bad::Version(version) } else { Bad::Damaged });
        }
        Self::body(header).map(|header| (header, length)).ok_or(Bad::Damaged)
    }

    fn crc_is_right(header: &[u8]) -> bool {
        let mut octets = Octets(header.get(16..).unwrap_or_default());
        octets.u32().is_some_and(|crc| crc == crc32c::crc32c(octets.0))
    }

    fn body(header: &[u8]) -> Option<Self> {
        let mut octets = Octets(header.get(FIXED..).filter(|_| Self::crc_is_right(header))?);
        Some(Self {
            epoch: octets.u64()?,
            first: octets.u64()?,
            created_us: octets.u64()?.cast_signed(),
            previous: octets.u64()?,
            relay: str::from_utf8(octets.text()?).ok()?.to_owned(),
            table: Table::decode(&mut octets)?,
            origins: Origins::decode(&mut octets)?,
        })
    }

    /// Reads the header of a file.
    pub(super) fn read(file: &dyn DiskFile) -> std::io::Result<Result<(Self, usize), Bad>> {
        let mut bytes = disk::read(file, 0, FIRST_READ)?;
        if let Some((_, length)) = Self::start(&bytes)
            && length > bytes.len()
        {
            bytes = disk::read(file, 0, length)?;
        }
        Ok(Self::decode(&bytes))
    }
}

/// The path of a segment.
pub(super) fn path_of(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.seg"))
}

/// The first sequence of a segment by the name of its file.
pub(super) fn first_of(name: &str) -> Option<u64> {
    name.strip_suffix(".seg").filter(|digits| digits.len() == 20)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_damage_is_seen() {
        let mut header = Header {
            epoch: 3,
            first: 17,
            created_us: -4,
            previous: 2,
            relay: "use1-gw1-0011".into(),
            table: Table::default(),
            origins: Origins::default(),
        };
        header.table.insert("files", 5).unwrap();
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok((header, bytes.len())));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert!(Header::decode(&damaged).is_err(), "octet {at}");
            assert_eq!(Header::decode(&bytes[..at]), Err(Bad::Damaged));
        }
        let mut newer = bytes;
        newer[8] = 2;
        assert_eq!(Header::decode(&newer), Err(Bad::Version(2)));
        newer[30] ^= 1;
        assert_eq!(Header::decode(&newer), Err(Bad::Damaged));
    }

    #[test]
    fn names_of_files() {
        assert_eq!(path_of(Path::new("/s"), 42).to_str(), Some("/s/00000000000000000042.seg"));
        assert_eq!(first_of("00000000000000000042.seg"), Some(42));
        assert_eq!((first_of("42.seg"), first_of("cursors"), first_of("99999999999999999999.seg")), (None, None, None));
    }
}
