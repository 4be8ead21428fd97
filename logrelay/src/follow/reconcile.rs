//! What a reading of the folders means for the files that are known: a plain function.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
};

use super::identity::{Key, Stat};

/// A file that is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) id: u64,
    pub(super) path: &'a Path,
    pub(super) key: Key,
    pub(super) born: u64,
    /// While it is open its inode is not given to another.
    pub(super) open: bool,
}

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Files that are not known, oldest first.
    pub(super) new: Vec<(PathBuf, Stat)>,
    /// Files that are where they were.
    pub(super) stay: Vec<u64>,
    /// Files with another name.
    pub(super) renamed: Vec<(u64, PathBuf)>,
    /// Files that are gone: another has their inode (and is among `new`).
    pub(super) replaced: Vec<u64>,
    /// Files without a name that matches; whether another file has the name that they had.
    pub(super) vanished: Vec<(u64, bool)>,
}

/// Compares what is known with what was found.
pub(super) fn reconcile<'a>(known: impl Iterator<Item = Known<'a>>, found: &BTreeMap<PathBuf, Stat>) -> Changes {
    let mut changes = Changes::default();
    let mut by_key: HashMap<Key, (&PathBuf, &Stat)> = HashMap::with_capacity(found.len());
    for (path, stat) in found {
        // Of several names of one file the first counts.
        by_key.entry(stat.key).or_insert((path, stat));
    }
    let mut kept = HashSet::new();
    for Known { id, path, key, born, open } in known {
        match by_key.get(&key) {
            None => changes.vanished.push((id, found.contains_key(path))),
            Some((_, stat)) if !open && !stat.born_like(born) => changes.replaced.push(id),
            Some((now, _)) => {
                kept.insert(key);
                match found.get(path).is_some_and(|stat| stat.key == key) {
                    true => changes.stay.push(id),
                    false => changes.renamed.push((id, (*now).clone())),
                }
            }
        }
    }
    let new = by_key.into_iter().filter(|(key, _)| !kept.contains(key)).map(|(_, (path, stat))| (path.clone(), *stat));
    changes.new = new.collect();
    changes.new.sort_by(|(a, x), (b, y)| (x.modified, a).cmp(&(y.modified, b)));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(inode: u64, born: u64, modified: i64) -> Stat {
        Stat { key: (1, inode), born, size: 0, modified, changed: 0, links: 1, regular: true }
    }

    fn found(files: &[(&str, Stat)]) -> BTreeMap<PathBuf, Stat> {
        files.iter().map(|(path, stat)| (PathBuf::from(path), *stat)).collect()
    }

    fn known(path: &str, inode: u64, born: u64, open: bool) -> Known<'_> {
        Known { id: inode, path: Path::new(path), key: (1, inode), born, open }
    }

    #[test]
    fn rotation_is_a_renamed_file_and_a_new_one() {
        let files = found(&[("/a", stat(2, 0, 9)), ("/a.1", stat(1, 0, 5))]);
        let changes = reconcile([known("/a", 1, 0, true)].into_iter(), &files);
        assert_eq!(changes.renamed, [(1, "/a.1".into())]);
        assert_eq!(changes.new, [("/a".into(), stat(2, 0, 9))]);
        let files = found(&[("/a", stat(2, 0, 9))]);
        let changes = reconcile([known("/a", 1, 0, true), known("/b", 3, 0, true)].into_iter(), &files);
        assert_eq!(changes.vanished, [(1, true), (3, false)]);
    }

    #[test]
    fn several_names_of_one_file_are_one_file() {
        let files = found(&[("/a", stat(1, 0, 0)), ("/b", stat(1, 0, 0))]);
        assert_eq!(reconcile([].into_iter(), &files).new.len(), 1);
        let changes = reconcile([known("/b", 1, 0, true)].into_iter(), &files);
        assert_eq!((changes.stay, changes.new.len()), (vec![1], 0));
    }

    #[test]
    fn an_inode_with_another_birth_is_another_file_unless_it_was_held_open() {
        let files = found(&[("/a", stat(1, 20, 0))]);
        let changes = reconcile([known("/a", 1, 10, false)].into_iter(), &files);
        assert_eq!((changes.replaced, changes.new.len()), (vec![1], 1));
        let changes = reconcile([known("/a", 1, 0, false)].into_iter(), &files);
        assert_eq!(changes.stay, [1]);
    }
}
