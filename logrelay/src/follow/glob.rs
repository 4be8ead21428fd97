//! Patterns of file names, and the walk that finds what matches.
//!
//! `*`, `?`, `[..]` and `{..}` stay within one name, `**` spans folders. Only folders below the part without wildcards
//! are read, and only those that can lead to a match. Symbolic links are followed where they lead to files, never where
//! they lead to folders. Names that begin with a dot are left out unless the pattern names the dot. Limits:
//! [`DEPTH_MAX`], [`ENTRIES_MAX`].

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use globset::{GlobBuilder, GlobMatcher};

use super::{
    Counters, DEPTH_MAX, Error,
    identity::{Key, Stat},
};

/// Names that one reading of the folders goes through.
const ENTRIES_MAX: usize = 200_000;

/// A pattern of file names.
#[derive(Debug, Clone)]
pub struct Pattern {
    whole: GlobMatcher,
    /// The folder below which matches are.
    prefix: PathBuf,
    /// A matcher for each name below `prefix`; `None` from where any folder may lead to a match.
    names: Vec<Option<GlobMatcher>>,
    /// Folders below `prefix` that a match can be in.
    depth: usize,
    dots: bool,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is relative, or no pattern.
    pub fn new(text: &str) -> Result<Self, Error> {
        let error = |why: String| Error::Pattern { text: text.to_owned(), why };
        if !text.starts_with('/') {
            return Err(error("it names no folder; write the whole path, as in /var/log/app/*.log".into()));
        }
        let glob = |text: &str| {
            let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build();
            glob.map(|glob| glob.compile_matcher())
                .map_err(|cause| error(format!("{}; see `*`, `?`, `[..]`", cause.kind())))
        };
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
        if parts.is_empty() || text.ends_with('/') || parts.iter().any(|part| matches!(*part, "." | "..")) {
            return Err(error("it cannot match a file; end it with a name, and write it without . and ..".into()));
        }
        let plain = parts.iter().take_while(|part| !part.contains(['*', '?', '[', '{', '\\'])).count();
        let plain = plain.min(parts.len() - 1);
        // Braces may hold slashes, and then the parts are not names.
        let braces = text.contains('{');
        let any = parts.iter().position(|part| braces || *part == "**").map(|at| if braces { plain } else { at });
        let known = any.unwrap_or(parts.len());
        let names = parts[plain..known.max(plain)].iter().map(|part| glob(part).map(Some));
        let names = names.chain(any.map(|_| Ok(None))).collect::<Result<Vec<_>, _>>()?;
        let depth = if any.is_some() { DEPTH_MAX } else { names.len() - 1 };
        let prefix = Path::new("/").join(parts[..plain].join("/"));
        let dots = parts[plain..].iter().any(|part| part.starts_with('.'));
        let normal = format!("/{}", parts.join("/"));
        Ok(Self { whole: glob(&normal)?, prefix, names, depth, dots })
    }

    /// Whether a folder at this depth below the prefix may lead to a match.
    fn leads(&self, depth: usize, name: &Path) -> bool {
        match self.names.get(depth) {
            Some(Some(matcher)) => depth + 1 < self.names.len() && matcher.is_match(name),
            Some(None) => true,
            None => self.names.last().is_some_and(Option::is_none),
        }
    }
}

/// What a reading of the folders found.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Regular files, by name.
    pub(super) files: BTreeMap<PathBuf, Stat>,
    /// Folders that were read.
    pub(super) folders: BTreeMap<PathBuf, Key>,
    entries: usize,
}

/// Reads the folders of all patterns.
pub(super) fn walk(patterns: &[Pattern], counters: &Counters) -> Walk {
    let mut walk = Walk::default();
    for pattern in patterns {
        let mut folders = vec![(pattern.prefix.clone(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            if walk.entries >= ENTRIES_MAX {
                counters.add(|c| &c.walk_cut, 1);
                return walk;
            }
            match walk.folder(pattern, &folder, depth, &mut folders, counters) {
                Ok(()) => {}
                // A folder that is not there yet, or not any more.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(_) => counters.add(|c| &c.walk_errors, 1),
            }
        }
    }
    walk
}

impl Walk {
    fn folder(
        &mut self,
        pattern: &Pattern,
        folder: &Path,
        depth: usize,
        below: &mut Vec<(PathBuf, usize)>,
        counters: &Counters,
    ) -> io::Result<()> {
        let stat = Stat::of(&fs::metadata(folder)?);
        self.folders.insert(folder.to_owned(), stat.key);
        for entry in fs::read_dir(folder)? {
            self.entries += 1;
            if self.entries >= ENTRIES_MAX {
                break;
            }
            let entry = entry?;
            let name = entry.file_name();
            if name.as_bytes().starts_with(b".") && !pattern.dots {
                continue;
            }
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                if !pattern.leads(depth, Path::new(&name)) {
                } else if depth < pattern.depth {
                    below.push((path, depth + 1));
                } else {
                    counters.add(|c| &c.too_deep, 1);
                }
            } else if pattern.whole.is_match(&path) && !self.files.contains_key(&path) {
                // Gone in between, or a link to nothing.
                let Ok(metadata) = fs::metadata(&path) else { continue };
                if metadata.is_file() {
                    self.files.insert(path, Stat::of(&metadata));
                } else if !metadata.is_dir() {
                    counters.add(|c| &c.not_regular, 1);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    fn found(root: &Path, patterns: &[&str]) -> (Vec<String>, Vec<String>, Counters) {
        let counters = Counters::default();
        let patterns: Vec<_> =
            patterns.iter().map(|pattern| Pattern::new(&format!("{}/{pattern}", root.display())).unwrap()).collect();
        let walk = walk(&patterns, &counters);
        let names = |paths: Vec<&PathBuf>| {
            paths.iter().map(|path| path.strip_prefix(root).unwrap().display().to_string()).collect()
        };
        (names(walk.files.keys().collect()), names(walk.folders.keys().collect()), counters)
    }

    #[test]
    fn only_what_matches_is_found_and_only_what_leads_there_is_read() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for folder in ["a/x", "b/x/y", "c", ".d"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for file in ["1.log", "a/2.log", "a/x/3.log", "b/x/y/4.log", "b/5.txt", "c/.6.log", ".d/7.log", "a/[8].log"] {
            fs::write(root.join(file), "").unwrap();
        }
        assert_eq!(found(root, &["*.log"]).0, ["1.log"]);
        assert_eq!(found(root, &["*/*.log"]).0, ["a/2.log", "a/[8].log"]);
        assert_eq!(found(root, &["a/*/*.log"]).1, ["a", "a/x"]);
        assert_eq!(found(root, &["[ab]/*.log", "a/2.log"]).1, ["", "a", "b"]);
        assert_eq!(found(root, &["**/*.log"]).0, ["1.log", "a/2.log", "a/[8].log", "a/x/3.log", "b/x/y/4.log"]);
        assert_eq!(found(root, &["{a,b/x/y}/?.log"]).0, ["a/2.log", "b/x/y/4.log"]);
        assert_eq!(found(root, &["c/.*.log"]).0, ["c/.6.log"]);
        assert_eq!(found(root, &[r"a/\[8\].log"]).0, ["a/[8].log"]);
        assert_eq!(found(root, &["nothing/*.log"]).0, [""; 0]);
    }

    #[test]
    fn links_lead_to_files_but_not_to_folders_and_devices_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("a")).unwrap();
        fs::write(root.join("a/1"), "x").unwrap();
        let link = std::os::unix::fs::symlink::<&Path, PathBuf>;
        link(Path::new("a/1"), root.join("one.log")).unwrap();
        link(root, root.join("a/loop")).unwrap();
        link(Path::new("/dev/null"), root.join("null.log")).unwrap();
        link(Path::new("/nowhere"), root.join("nowhere.log")).unwrap();
        fs::create_dir(root.join("folder.log")).unwrap();
        let (files, _, counters) = found(root, &["**/*"]);
        assert_eq!(files, ["a/1", "one.log"]);
        assert_eq!(counters.not_regular.load(Relaxed), 1);
    }

    #[test]
    fn depth_has_a_limit() {
        let root = tempfile::tempdir().unwrap();
        let deep = (0..DEPTH_MAX + 1).fold(root.path().to_owned(), |path, _| path.join("d"));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("1"), "").unwrap();
        let (files, folders, counters) = found(root.path(), &["**/1"]);
        assert_eq!((files.len(), folders.len(), counters.too_deep.load(Relaxed)), (0, DEPTH_MAX + 1, 1));
    }

    #[test]
    fn patterns_that_cannot_match_are_refused() {
        for text in ["var/*.log", "/var/[log", "/var/log/", "/", "/var/../x"] {
            assert!(Pattern::new(text).unwrap_err().to_string().contains(text), "{text}");
        }
    }
}
