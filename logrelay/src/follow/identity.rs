//! What a file is, whatever it is called: device, inode, time of birth where the file system knows it, and the CRC-32C
//! of its first octets.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    time::UNIX_EPOCH,
};

/// Octets of the start of a file that tell it from others.
pub(super) const HEAD: usize = 1024;

/// Device and inode.
pub(super) type Key = (u64, u64);

/// What the system says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) key: Key,
    /// Nanoseconds since 1970; 0 where the file system does not tell.
    pub(super) born: u64,
    pub(super) size: u64,
    /// Nanoseconds since 1970.
    pub(super) modified: i64,
    /// Nanoseconds since 1970 of the last change to the inode.
    pub(super) changed: i64,
    /// Names that it has.
    pub(super) links: u64,
    pub(super) regular: bool,
}

impl Stat {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        Self {
            key: (metadata.dev(), metadata.ino()),
            born: born.map_or(0, |born| u64::try_from(born.as_nanos()).unwrap_or(0)),
            size: metadata.len(),
            modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
            links: metadata.nlink(),
            regular: metadata.is_file(),
        }
    }

    /// Whether the births, as far as both are known, allow both to be of one file.
    pub(super) fn born_like(&self, born: u64) -> bool {
        self.born == 0 || born == 0 || self.born == born
    }

    /// When it was made, as well as can be told: never too early.
    pub(super) fn made(&self) -> i64 {
        if self.born == 0 { self.changed } else { i64::try_from(self.born).unwrap_or(i64::MAX) }
    }
}

/// The start of a file: how many octets, and their CRC-32C.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Head {
    pub(super) octets: usize,
    pub(super) crc: u32,
}

impl Head {
    pub(super) fn of(start: &[u8]) -> Self {
        Self { octets: start.len(), crc: crc32c::crc32c(start) }
    }

    /// Whether a file that starts like this may be the same one, grown.
    pub(super) fn fits(&self, start: &[u8]) -> bool {
        start.get(..self.octets).is_some_and(|same| crc32c::crc32c(same) == self.crc)
    }
}

/// Reads the start of a file.
pub(super) fn read_head(file: &File, into: &mut [u8; HEAD]) -> io::Result<usize> {
    read_full(file, into, 0)
}

/// Reads until `into` is full or the file ends.
pub(super) fn read_full(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = into.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(got)
}

/// Which compression a file begins with (RFC 1952, RFC 8878, the xz and bzip2 formats).
pub(super) fn compression(start: &[u8]) -> Option<&'static str> {
    let bzip2 = |start: &[u8]| {
        start.starts_with(b"BZh")
            && start.get(3).is_some_and(|level| (b'1'..=b'9').contains(level))
            && start.get(4..10).is_some_and(|block| block == b"1AY&SY" || block == b"\x17\x72\x45\x38\x50\x90")
    };
    match start {
        [0x1f, 0x8b, 8, ..] => Some("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some("xz"),
        start if bzip2(start) => Some("bzip2"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grown_file_fits_and_another_does_not() {
        let head = Head::of(b"one\n");
        assert!(head.fits(b"one\n") && head.fits(b"one\ntwo\n"));
        assert!(!head.fits(b"one") && !head.fits(b"two\none\n"));
        assert!(Head::of(b"").fits(b"anything"));
    }

    #[test]
    fn compressed_files_are_recognised() {
        for (start, name) in [
            (&b"\x1f\x8b\x08\0"[..], "gzip"),
            (b"\x28\xb5\x2f\xfd", "zstd"),
            (b"\xfd7zXZ\0", "xz"),
            (b"BZh91AY&SY", "bzip2"),
        ] {
            assert_eq!(compression(start), Some(name));
            assert_eq!(compression(&start[..start.len() - 2]), None);
        }
        assert_eq!(compression(b"BZh9 is a line of text"), None);
    }
}
