//! Master files (RFC 1035 section 5): zones in, zones out.
//!
//! Directives: `$ORIGIN`, `$TTL` (RFC 2308 section 4), `$INCLUDE`, `$GENERATE` (as BIND has it).
//! hickory-proto's reader gives no line numbers and stops at the first error, so the reader is our
//! own; a file is read as a whole and all its faults are reported, each with its file and line.
//! Limits: [`FAULTS_MAX`] faults, [`INCLUDE_DEPTH_MAX`] nested and [`INCLUDES_MAX`] included files
//! of [`INCLUDE_OCTETS_MAX`] octets in all, [`GENERATE_MAX`] generated records; memory is bounded by these and the input.

use std::{fmt, path::Path, sync::Arc};

use crate::{name::Name, rr::Rr, zone::Soa};

mod check;
mod generate;
mod read;
mod write;

pub use write::write_zone;

/// Faults that are reported; a file with more is broken as a whole.
pub const FAULTS_MAX: usize = 50;
/// Files that may include one another in a row.
pub const INCLUDE_DEPTH_MAX: usize = 8;
/// Files that one zone may include in all.
pub const INCLUDES_MAX: usize = 1000;
/// Octets of all included files together.
pub const INCLUDE_OCTETS_MAX: u64 = 256 << 20;
/// Records that all `$GENERATE` lines of one zone may make together.
pub const GENERATE_MAX: u64 = 1_000_000;
/// Octets of names and data that they may make together.
pub const GENERATE_OCTETS_MAX: usize = 256 << 20;

/// A zone as a master file describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneFile {
    /// The apex: the owner of the SOA record.
    pub origin: Name,
    /// The SOA record.
    pub soa: Soa,
    /// All other records in the order of the file, each once; every RRset has one TTL.
    pub records: Vec<Rr>,
    /// What was put right, such as an RRset with two TTLs.
    pub warnings: Vec<Fault>,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: Arc<str>,
    /// Line in that file, from 1; 0: the file as a whole.
    pub line: u32,
    /// The sentence.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.text),
            line => write!(f, "{}, line {line}: {}", self.file, self.text),
        }
    }
}

impl std::error::Error for Fault {}

/// Reads a zone. `file` is the name for messages. `origin` is what relative names at the start belong
/// to, and the apex that the SOA record must have; without it the file must say `$ORIGIN` or use
/// absolute names. `$INCLUDE` reads files below `include_dir` only, and none without it.
pub fn parse(
    text: &str,
    file: &str,
    origin: Option<&Name>,
    include_dir: Option<&Path>,
) -> Result<ZoneFile, Vec<Fault>> {
    let mut reader = read::Reader::new(include_dir);
    reader.file(text, file, origin.cloned(), 0);
    let read::Reader { lines, faults, files, .. } = reader;
    if !faults.is_empty() {
        return Err(faults);
    }
    check::zone(lines, &files, origin)
}

/// Any octets as a zone file, for fuzzing: panics only if a zone that was read is not the same after writing and reading.
pub fn fuzz(data: &[u8]) {
    let origin = Name::parse("example.").ok();
    if let Ok(zone) = parse(&String::from_utf8_lossy(data), "fuzz", origin.as_ref(), None) {
        let mut out = Vec::new();
        let written = write_zone(&mut out, &zone.origin, &zone.soa, &zone.records);
        let again = parse(&String::from_utf8_lossy(&out), "again", None, None);
        let same = again.is_ok_and(|again| (again.soa, again.records) == (zone.soa, zone.records));
        assert!(written.is_ok() && same, "a zone that was written is not read back");
    }
}

#[cfg(test)]
mod tests;
