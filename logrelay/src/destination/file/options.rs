//! `file` and its keys, read and checked.

use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User};

use crate::config::{Destination, ToFile, ToSyslog};

/// Rotated files that may be kept.
const KEEP_MAX: usize = 1000;

/// How rotated files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    /// What is appended to the name.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

/// Owner and modes of what is made.
#[derive(Debug, Clone)]
pub(super) struct Rights {
    pub(super) owner: Option<Uid>,
    pub(super) group: Option<Gid>,
    pub(super) mode: u32,
    pub(super) dir_mode: u32,
    pub(super) create_dirs: bool,
    /// Whether names of new files and folders are made durable, too.
    pub(super) fsync: bool,
}

/// What a file destination was told.
#[derive(Debug)]
pub(super) struct Options {
    /// Name of the destination.
    pub(super) name: String,
    /// Folder that what messages make stays in.
    pub(super) base: PathBuf,
    /// Whether the path has no macro, so that nothing of it comes from messages.
    pub(super) fixed: bool,
    pub(super) rights: Rights,
    pub(super) rotate_bytes: Option<u64>,
    pub(super) rotate_s: Option<u64>,
    pub(super) keep: usize,
    pub(super) compress: Option<Compression>,
    pub(super) link_base: PathBuf,
    pub(super) open_files: usize,
    pub(super) close_us: i64,
}

impl Options {
    /// Reads the keys of `config`, of which `path` is the template of the path.
    ///
    /// # Errors
    /// Sentences, one for each thing that is wrong.
    pub(super) fn read(config: &Destination, path: &str) -> Result<Self, Vec<String>> {
        let mut wrong = Wrong { name: &config.name, all: Vec::new() };
        let keys = &config.to_file;
        if config.to_syslog != ToSyslog::default() {
            wrong.add("it writes files, but has keys of syslog receivers (window, framing, ca_file ...); remove them");
        }
        let base = wrong.base("file", path, keys.rotate_bytes.is_some() || keys.rotate_s.is_some());
        let link_base = keys.symlink.as_deref().map(|link| wrong.base("symlink", link, false)).unwrap_or_default();
        if keys.rotate_bytes == Some(0) || keys.rotate_s == Some(0) {
            wrong.add("rotate_bytes and rotate_s must be above 0; leave the key out to never rotate");
        }
        let rotates = keys.rotate_bytes.is_some() || keys.rotate_s.is_some();
        if !rotates && (keys.compress.is_some() || keys.rotate_keep.is_some()) {
            wrong.add("compress and rotate_keep say how to rotate, but nothing rotates; set rotate_bytes or rotate_s");
        }
        let keep = keys.rotate_keep.unwrap_or(7);
        if keep > KEEP_MAX {
            wrong.add(&format!("rotate_keep is {keep}, but at most {KEEP_MAX} files are kept; lower it"));
        }
        let open_files = keys.open_files.unwrap_or(256);
        if open_files == 0 {
            wrong.add("open_files is 0, but a file must be open to be written; leave the key out for 256");
        }
        let compress = wrong.compression(keys.compress.as_deref());
        let rights = wrong.rights(keys);
        if !wrong.all.is_empty() {
            return Err(wrong.all);
        }
        Ok(Self {
            name: config.name.clone(),
            base,
            fixed: !path.contains('$'),
            rights,
            rotate_bytes: keys.rotate_bytes,
            rotate_s: keys.rotate_s,
            keep,
            compress,
            link_base,
            open_files,
            close_us: i64::try_from(keys.close_s.unwrap_or(60))
                .unwrap_or(i64::MAX / 1_000_000)
                .saturating_mul(1_000_000),
        })
    }

    /// The number of the period in which `us` lies; 0 if nothing rotates by time.
    pub(super) fn period(&self, us: i64) -> u64 {
        self.rotate_s.map_or(0, |seconds| u64::try_from(us / 1_000_000).unwrap_or(0) / seconds)
    }
}

/// Sentences about what is wrong with a destination.
struct Wrong<'a> {
    name: &'a str,
    all: Vec<String>,
}

impl Wrong<'_> {
    fn add(&mut self, what: &str) {
        self.all.push(format!("destination {}: {what}.", self.name));
    }

    /// The folder before the first macro of a path.
    fn base(&mut self, key: &str, path: &str, rotates: bool) -> PathBuf {
        let literal = path.split('$').next().unwrap_or_default();
        if !path.starts_with('/') {
            self.add(&format!("{key} = {path:?} must be an absolute path: /var/log/gatehouse/${{HOST}}.log"));
        } else if path.split('/').any(|part| part == "..") {
            self.add(&format!("{key} = {path:?} goes up by `..`; write the folder itself"));
        } else if path.ends_with('/') {
            self.add(&format!("{key} = {path:?} is a folder; add the name of a file: {path}${{HOST}}.log"));
        } else if path.contains('$') && !literal.trim_start_matches('/').contains('/') {
            self.add(&format!(
                "{key} = {path:?} has no folder before its first macro, so messages could make any file of the system; \
                 begin with a folder: /var/log/gatehouse{path}"
            ));
        } else if rotates && ends_in_macro(path) {
            self.add(&format!(
                "{key} = {path:?} ends in a macro and is rotated, so a host called a.1 would write into the rotated file of \
                 a; add an ending: {path}.log"
            ));
        }
        match literal.rfind('/') {
            None | Some(0) => "/".into(),
            Some(at) => Path::new(&literal[..at]).into(),
        }
    }

    fn compression(&mut self, text: Option<&str>) -> Option<Compression> {
        match text? {
            "gzip" => Some(Compression::Gzip),
            "zstd" => Some(Compression::Zstd),
            other => {
                self.add(&format!("compress = {other:?} is not known; it is \"gzip\" or \"zstd\""));
                None
            }
        }
    }

    fn rights(&mut self, keys: &ToFile) -> Rights {
        let owner = keys.owner.as_ref().and_then(|text| match text.parse() {
            Ok(number) => Some(Uid::from_raw(number)),
            Err(_) => User::from_name(text).ok().flatten().map(|user| user.uid).or_else(|| {
                self.add(&format!("owner = {text:?} is no user of this system; create the user or write a number"));
                None
            }),
        });
        let group = keys.group.as_ref().and_then(|text| match text.parse() {
            Ok(number) => Some(Gid::from_raw(number)),
            Err(_) => Group::from_name(text).ok().flatten().map(|group| group.gid).or_else(|| {
                self.add(&format!("group = {text:?} is no group of this system; create the group or write a number"));
                None
            }),
        });
        let mode = self.mode("mode", keys.mode.as_deref(), 0o640);
        let dir_mode = self.mode("dir_mode", keys.dir_mode.as_deref(), 0o750);
        let create_dirs = keys.create_dirs.unwrap_or(true);
        Rights { owner, group, mode, dir_mode, create_dirs, fsync: keys.fsync.unwrap_or(false) }
    }

    fn mode(&mut self, key: &str, text: Option<&str>, default: u32) -> u32 {
        let Some(text) = text else { return default };
        u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).unwrap_or_else(|| {
            self.add(&format!("{key} = {text:?} is no mode; write octal text such as \"{default:04o}\""));
            default
        })
    }
}

/// Whether the last octets of a path come from a macro.
fn ends_in_macro(path: &str) -> bool {
    let Some(at) = path.rfind('$') else { return false };
    let after = &path[at + 1..];
    match after.strip_prefix('{') {
        Some(_) => after.ends_with('}'),
        None => after.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Options, String> {
        let config: Destination = toml::from_str(&format!("name = \"f\"\n{text}")).unwrap();
        let path = config.file.clone().unwrap();
        Options::read(&config, &path).map_err(|all| all.join(" "))
    }

    #[test]
    fn what_is_wrong_is_said_with_the_remedy() {
        for (text, said) in [
            ("file = \"log\"", "absolute path"),
            ("file = \"/${HOST}/x\"", "no folder before its first macro"),
            ("file = \"/var/../${HOST}/x\"", "goes up"),
            ("file = \"/var/log/\"", "is a folder"),
            ("file = \"/var/log/$HOST\"\nrotate_s = 5", "add an ending: /var/log/$HOST.log"),
            ("file = \"/var/log/${HOST}\"\nrotate_bytes = 5", "ends in a macro"),
            ("file = \"/var/log/x\"\nrotate_bytes = 0", "above 0"),
            ("file = \"/var/log/x\"\ncompress = \"gzip\"", "nothing rotates"),
            ("file = \"/var/log/x\"\nrotate_s = 1\ncompress = \"lz4\"", "\"gzip\" or \"zstd\""),
            ("file = \"/var/log/x\"\nrotate_s = 1\nrotate_keep = 2000", "at most 1000"),
            ("file = \"/var/log/x\"\nmode = \"0999\"", "octal text such as \"0640\""),
            ("file = \"/var/log/x\"\nowner = \"nobody-here\"", "create the user"),
            ("file = \"/var/log/x\"\nopen_files = 0", "leave the key out for 256"),
            ("file = \"/var/log/x\"\nwindow = 5", "keys of syslog receivers"),
            ("file = \"/var/log/x\"\nsymlink = \"y\"", "symlink = \"y\""),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said) && error.starts_with("destination f: "), "{text}: {error}");
        }
    }

    #[test]
    fn the_base_is_the_folder_before_the_first_macro() {
        let options = read("file = \"/var/log/gatehouse/x-${HOST}/${PROGRAM}.log\"\nrotate_s = 86400").unwrap();
        assert_eq!((options.base.to_str(), options.fixed), (Some("/var/log/gatehouse"), false));
        assert_eq!(options.period(86_400_000_000 * 3 - 1), 2);
        let options = read("file = \"/all.log\"\nowner = \"root\"\nmode = \"0600\"").unwrap();
        assert_eq!((options.base.to_str(), options.fixed, options.rights.mode), (Some("/"), true, 0o600));
        assert_eq!(options.rights.owner, Some(Uid::from_raw(0)));
    }
}
