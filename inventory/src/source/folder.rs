//! The inventory folder: all `*.toml` of one folder, read as a whole or not at all.
//!
//! Files are read in the order of their names. Names that begin with a dot or `#` are ignored, and
//! so is everything that does not end in `.toml`, which covers the temporary files of editors. When
//! a file changes while the folder is read, the folder is read again.

use std::{fs, io, io::Read, path::Path, sync::Arc, time::SystemTime};

use compact_str::format_compact;

use super::{Defaults, Fault, Faults, Lines, Located, Page, check, fault::CLOSING, toml_text::read_toml};
use crate::change::Row;

/// Most octets of one file.
pub const FILE_OCTETS_MAX: usize = 256 << 20;
/// Most octets of all files together.
pub const FOLDER_OCTETS_MAX: usize = 1 << 30;
/// Most inventory files in the folder.
pub const FILES_MAX: usize = 10_000;
/// How often the folder is read again in a row because it changed meanwhile.
const ATTEMPTS: usize = 4;

/// Reads all inventory files of a folder. Rows get the source `file:<file name>`.
///
/// # Errors
/// All faults by file and line, up to [`super::FAULTS_MAX`]; the last sentence says that nothing was applied.
pub fn read_folder(dir: &Path, defaults: &Defaults) -> Result<Vec<Row>, Vec<Fault>> {
    snapshot(dir).and_then(|files| files.parse(dir, defaults))
}

/// As [`read_folder`], with the place of each row.
///
/// # Errors
/// As for [`read_folder`].
pub fn locate_folder(dir: &Path, defaults: &Defaults) -> Result<Vec<Located>, Vec<Fault>> {
    snapshot(dir).and_then(|files| files.locate(dir, defaults))
}

/// The bytes of a folder at one moment.
pub(crate) struct Snapshot {
    files: Vec<(String, Vec<u8>)>,
}

/// What tells that a file was changed: name, length, time of its last change.
pub(crate) type Stamp = (String, u64, Option<SystemTime>);

/// The last sentence of every refusal.
fn refused(dir: &Path, faults: Faults) -> Vec<Fault> {
    let mut list = faults.into_sorted();
    list.push(of_folder(dir, CLOSING));
    list
}

fn of_folder(dir: &Path, text: impl Into<String>) -> Fault {
    Fault { file: dir.display().to_string(), line: None, key: String::new(), text: text.into() }
}

fn of_file(name: &str, line: Option<u32>, text: impl Into<String>) -> Fault {
    Fault { file: name.to_owned(), line, key: String::new(), text: text.into() }
}

/// The stamps of all inventory files; None when the folder cannot be read.
pub(crate) fn stamps(dir: &Path) -> Option<Vec<Stamp>> {
    list(dir, &mut Faults::default())
}

/// When the files were changed last.
pub(crate) fn last_change(stamps: &[Stamp]) -> Option<SystemTime> {
    stamps.iter().filter_map(|(_, _, changed)| *changed).max()
}

/// Reads the bytes of all inventory files at one moment.
pub(crate) fn snapshot(dir: &Path) -> Result<Snapshot, Vec<Fault>> {
    for _ in 0..ATTEMPTS {
        let mut faults = Faults::default();
        let before = list(dir, &mut faults);
        let files = before.iter().flat_map(|stamps| read_all(stamps, dir, &mut faults)).collect();
        if list(dir, &mut Faults::default()) != before {
            continue;
        }
        return if faults.is_empty() { Ok(Snapshot { files }) } else { Err(refused(dir, faults)) };
    }
    Err(restless(dir))
}

/// What is wrong with a folder whose files do not keep still.
pub(crate) fn restless(dir: &Path) -> Vec<Fault> {
    let mut faults = Faults::default();
    let text = "files keep changing; they are read when that has stopped. Write under another name and rename";
    faults.push(of_folder(dir, text));
    refused(dir, faults)
}

/// The inventory files by name. None when the folder itself cannot be read.
fn list(dir: &Path, faults: &mut Faults) -> Option<Vec<Stamp>> {
    let mut stamps = Vec::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(cause) => {
            faults.push(of_folder(
                dir,
                format!("the inventory folder cannot be read ({cause}); create it or mend its permissions"),
            ));
            return None;
        }
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(cause) => {
                faults.push(of_folder(dir, format!("the inventory folder cannot be listed ({cause})")));
                return None;
            }
        };
        let name = entry.file_name();
        let shown = name.to_string_lossy();
        if !shown.ends_with(".toml") || shown.starts_with(['.', '#']) {
            continue;
        }
        if name.to_str().is_none() {
            faults.push(of_file(&shown, None, "the name of this file is not UTF-8; rename it"));
            continue;
        }
        if stamps.len() == FILES_MAX {
            faults.push(of_folder(dir, format!("more than {FILES_MAX} inventory files; join some of them")));
            break;
        }
        // Through symbolic links: what counts is the file that is read.
        match fs::metadata(entry.path()) {
            Ok(meta) if meta.is_file() => stamps.push((shown.into_owned(), meta.len(), meta.modified().ok())),
            Ok(_) => faults.push(of_file(&shown, None, "this is no regular file; move it out of the inventory folder")),
            Err(cause) => faults.push(of_file(&shown, None, format!("this file cannot be read ({cause})"))),
        }
    }
    stamps.sort_unstable();
    Some(stamps)
}

fn read_all(stamps: &[Stamp], dir: &Path, faults: &mut Faults) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::with_capacity(stamps.len());
    let mut total = 0;
    for (name, _, _) in stamps {
        match read_file(&dir.join(name)) {
            Ok(bytes) if bytes.len() > FILE_OCTETS_MAX => {
                faults.push(of_file(name, None, format!("a file holds at most {FILE_OCTETS_MAX} octets; split it")));
            }
            Ok(bytes) => {
                total += bytes.len();
                files.push((name.clone(), bytes));
            }
            Err(cause) => faults.push(of_file(name, None, format!("this file cannot be read ({cause})"))),
        }
        if total > FOLDER_OCTETS_MAX {
            faults.push(of_folder(
                dir,
                format!("the inventory files hold more than {FOLDER_OCTETS_MAX} octets together"),
            ));
            break;
        }
    }
    files
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_OCTETS_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Snapshot {
    /// BLAKE3 over names and bytes.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for (name, bytes) in &self.files {
            for part in [name.as_bytes(), bytes] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        *hasher.finalize().as_bytes()
    }

    /// How many files there are.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// The rows of all files.
    pub(crate) fn parse(&self, dir: &Path, defaults: &Defaults) -> Result<Vec<Row>, Vec<Fault>> {
        self.locate(dir, defaults).map(|rows| rows.into_iter().map(|located| located.row).collect())
    }

    fn locate(&self, dir: &Path, defaults: &Defaults) -> Result<Vec<Located>, Vec<Fault>> {
        let (mut rows, mut faults) = (Vec::new(), Faults::default());
        for (name, bytes) in &self.files {
            let text = match std::str::from_utf8(bytes) {
                Ok(text) => text,
                Err(cause) => {
                    let feeds = bytes.iter().take(cause.valid_up_to()).filter(|b| **b == b'\n').count();
                    let line = u32::try_from(feeds + 1).ok();
                    faults.push(of_file(name, line, "this is not UTF-8 text; save the file as UTF-8"));
                    continue;
                }
            };
            let (file, source, lines) = (Arc::from(&**name), format_compact!("file:{name}"), Lines::of(text));
            read_toml(Page { file, source, defaults, lines, rows: &mut rows, faults: &mut faults }, text);
        }
        check::conflicts(&rows, &mut faults);
        if faults.is_empty() { Ok(rows) } else { Err(refused(dir, faults)) }
    }
}
