//! The checkpoint of a source: how far each of its files is safe.
//!
//! A text in the state folder, `SOURCE.offsets`: a first line with the version, a line for each file
//! (`DEVICE INODE BIRTH HEAD-OCTETS HEAD-CRC MODIFIED OFFSET STATE PATH`; STATE is `live` or `done`, octets of the path
//! that are not plain are written as `%XX`), and a last line with the CRC-32C of all before it. It is written under
//! another name, made durable and renamed, so a crash leaves the one before or this one, never a part. One that is
//! damaged nevertheless is put aside as `SOURCE.offsets.damaged`, and all files are read from their start: twice is
//! better than never. Limit: [`OCTETS_MAX`].

use std::{
    ffi::OsString,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::identity::{Head, Key};

/// Octets of a checkpoint that are read at most: twice the files of a source, with the longest names.
const OCTETS_MAX: u64 = 256 << 20;
const VERSION: &str = "gatehouse followed files 1";

/// A file and how far it is safe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: Arc<Path>,
    pub(super) key: Key,
    pub(super) born: u64,
    pub(super) head: Head,
    pub(super) modified: i64,
    pub(super) offset: u64,
    /// Whether it lost its name and was read to its end: it need not be looked for.
    pub(super) done: bool,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Loaded {
    /// There was none: the source is new.
    New,
    /// The files.
    Entries(Vec<Entry>),
    /// One that cannot be read; it was put aside.
    Damaged,
}

/// Where the checkpoint of a source is.
pub(super) fn path(folder: &Path, source: &str) -> PathBuf {
    folder.join(format!("{}.offsets", escaped(source.as_bytes())))
}

/// Reads a checkpoint.
pub(super) fn load(path: &Path) -> io::Result<Loaded> {
    let mut octets = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(OCTETS_MAX).read_to_end(&mut octets)?,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Loaded::New),
        Err(cause) => return Err(cause),
    };
    match std::str::from_utf8(&octets).ok().and_then(decode) {
        Some(entries) => Ok(Loaded::Entries(entries)),
        None => {
            let mut aside = path.as_os_str().to_owned();
            aside.push(".damaged");
            fs::rename(path, aside)?;
            Ok(Loaded::Damaged)
        }
    }
}

/// Writes a checkpoint so that it is on disk when this returns.
pub(super) fn store(path: &Path, text: &str) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Puts a checkpoint into words.
pub(super) fn encode<'a>(entries: impl Iterator<Item = &'a Entry>) -> String {
    let mut text = format!("{VERSION}\n");
    for Entry { path, key, born, head, modified, offset, done } in entries {
        let (state, path) = (if *done { "done" } else { "live" }, escaped(path.as_os_str().as_bytes()));
        // Writing to a text does not fail.
        let _ = writeln!(
            text,
            "{} {} {born} {} {:08x} {modified} {offset} {state} {path}",
            key.0, key.1, head.octets, head.crc
        );
    }
    let crc = crc32c::crc32c(text.as_bytes());
    let _ = writeln!(text, "crc32c {crc:08x}");
    text
}

/// Reads what [`encode`] wrote; `None` if anything is odd.
pub(super) fn decode(text: &str) -> Option<Vec<Entry>> {
    let at = text.strip_suffix('\n')?.rfind('\n')? + 1;
    let (body, last) = text.split_at_checked(at)?;
    let crc = last.strip_prefix("crc32c ")?.trim_end();
    if u32::from_str_radix(crc, 16).ok()? != crc32c::crc32c(body.as_bytes()) {
        return None;
    }
    let mut lines = body.lines();
    if lines.next()? != VERSION {
        return None;
    }
    lines.map(entry).collect()
}

fn entry(line: &str) -> Option<Entry> {
    let mut words = line.splitn(9, ' ');
    let mut number = || words.next()?.parse::<u64>().ok();
    let (device, inode, born, octets) = (number()?, number()?, number()?, number()?);
    let crc = u32::from_str_radix(words.next()?, 16).ok()?;
    let (modified, offset) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let done = match words.next()? {
        "live" => false,
        "done" => true,
        _ => return None,
    };
    let path = PathBuf::from(OsString::from_vec(plain(words.next()?)?)).into();
    let head = Head { octets: usize::try_from(octets).ok()?, crc };
    Some(Entry { path, key: (device, inode), born, head, modified, offset, done })
}

fn escaped(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for &octet in octets {
        match octet {
            b'%' => text.push_str("%25"),
            b'/' | b'.' | b'-' | b'_' | b'+' | b'=' | b',' | b':' | b'@' => text.push(octet.into()),
            octet if octet.is_ascii_alphanumeric() => text.push(octet.into()),
            octet => {
                let _ = write!(text, "%{octet:02X}");
            }
        }
    }
    text
}

fn plain(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&octet, more)) = rest.split_first() {
        rest = more;
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let (pair, more) = rest.split_at_checked(2)?;
        octets.push(u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?);
        rest = more;
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn sample() -> Vec<Entry> {
        let paths = [&b"/var/log/app.log"[..], b"/var/log/odd \n%\xff name"];
        let entry = |(i, path): (usize, &&[u8])| Entry {
            path: Path::new(OsStr::from_bytes(path)).into(),
            key: (i as u64, u64::MAX),
            born: 7,
            head: Head { octets: 1024, crc: 0xdead_beef },
            modified: -1,
            offset: u64::MAX,
            done: i == 1,
        };
        paths.iter().enumerate().map(entry).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), "app/1 x");
        // A name must not lead elsewhere.
        let path = folder.path().join(path.file_name().unwrap());
        assert_eq!(load(&path).unwrap(), Loaded::New);
        store(&path, &encode(sample().iter())).unwrap();
        assert_eq!(load(&path).unwrap(), Loaded::Entries(sample()));
        assert_eq!(decode(&encode([].iter())), Some(vec![]));
    }

    #[test]
    fn damage_is_noticed_wherever_it_is() {
        let text = encode(sample().iter()).into_bytes();
        for at in 0..text.len() {
            let mut damaged = text.clone();
            damaged[at] ^= 4;
            let read = std::str::from_utf8(&damaged).ok().and_then(decode);
            assert!(read.is_none_or(|read| read == sample()), "octet {at}");
            assert!(std::str::from_utf8(&text[..at]).ok().and_then(decode).is_none(), "cut at {at}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), "app");
        fs::write(&path, &text[1..]).unwrap();
        assert_eq!(load(&path).unwrap(), Loaded::Damaged);
        assert!(folder.path().join("app.offsets.damaged").exists());
        assert_eq!(load(&path).unwrap(), Loaded::New);
    }
}
