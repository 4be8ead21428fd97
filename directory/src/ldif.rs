//! LDIF (RFC 2849) as the source of the directory: content records, read whole.
//!
//! A file is taken over when every line of it is in order; else the former content stays and every fault is named with
//! its line. Values may be any octets (`::`), names are UTF-8. URLs as values (`:<`) are refused: a data file reads no
//! other files. Change records are refused: they are changes, not content.
//!
//! Limits: [`FILE_MAX`] octets, [`VALUE_MAX`] octets in a value, [`ENTRIES_MAX`] entries, [`FAULTS_MAX`] faults told.

mod lines;
mod record;
mod watch;

use std::{fs::File, io::Read, path::Path, sync::Arc};

use inventory::Entry;

pub use watch::follow;

/// Octets of a file.
pub const FILE_MAX: u64 = 1 << 30;
/// Octets of one value, folding undone and before base64 is.
pub const VALUE_MAX: usize = 16 << 20;
/// Entries of a file.
pub const ENTRIES_MAX: usize = 1_000_000;
/// Faults that are told; reading ends there.
pub const FAULTS_MAX: usize = 50;

/// One fault of a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{text}", .line.map_or(String::new(), |line| format!("line {line}: ")))]
pub struct LdifError {
    /// The line at which it stands, counted from 1; none if it is of the file as a whole.
    pub line: Option<usize>,
    /// What is wrong, with the remedy.
    pub text: String,
}

impl LdifError {
    fn at(line: usize, text: impl Into<String>) -> Self {
        Self { line: Some(line), text: text.into() }
    }

    fn of_file(text: impl Into<String>) -> Self {
        Self { line: None, text: text.into() }
    }
}

/// Reads a file. Every fault that was found is told, up to [`FAULTS_MAX`].
pub fn read(path: &Path) -> Result<Vec<Arc<Entry>>, Vec<LdifError>> {
    let unreadable = |cause: std::io::Error| vec![LdifError::of_file(format!("it cannot be read: {cause}"))];
    let mut octets = Vec::new();
    File::open(path).map_err(unreadable)?.take(FILE_MAX + 1).read_to_end(&mut octets).map_err(unreadable)?;
    if octets.len() as u64 > FILE_MAX {
        return Err(vec![LdifError::of_file(
            "it is larger than 1 GiB; let gatehouse follow a directory server instead",
        )]);
    }
    parse(&octets)
}

/// Reads the octets of a file.
pub fn parse(octets: &[u8]) -> Result<Vec<Arc<Entry>>, Vec<LdifError>> {
    record::entries(lines::Lines::new(octets))
}

/// Any octets as a file, for a fuzzer: what is read has names, attributes and values, each identity once.
pub fn fuzz(data: &[u8]) {
    match parse(data) {
        Ok(entries) => {
            let ids: std::collections::BTreeSet<_> = entries.iter().map(|entry| entry.id).collect();
            assert_eq!(ids.len(), entries.len(), "each identity once");
            for entry in entries {
                assert!(!entry.dn.is_empty() && !entry.attributes.is_empty());
                assert!(
                    entry
                        .attributes
                        .iter()
                        .all(|inventory::Attribute(name, values)| !name.is_empty() && !values.is_empty())
                );
            }
        }
        Err(faults) => assert!(!faults.is_empty() && faults.len() <= FAULTS_MAX + 1),
    }
}

#[cfg(test)]
mod tests;
