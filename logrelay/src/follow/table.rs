//! The files of a source: those that are followed, those that were, and those that are refused.

use std::{
    collections::{HashMap, VecDeque},
    path::Path,
    sync::Arc,
};

use super::{
    checkpoint::Entry,
    file::Followed,
    identity::{Key, Stat},
    reconcile::Known,
};

/// Files that are remembered after they were closed; if one comes back it is not read again.
const REMEMBERED_MAX: usize = 1_000;

/// Followed files.
#[derive(Debug, Default)]
pub(super) struct Table {
    files: HashMap<u64, Followed>,
    by_key: HashMap<Key, u64>,
    last: u64,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    pub(super) fn get(&mut self, id: u64) -> Option<&mut Followed> {
        self.files.get_mut(&id)
    }

    pub(super) fn has(&self, key: Key) -> bool {
        self.by_key.contains_key(&key)
    }

    pub(super) fn insert(&mut self, file: Followed) -> u64 {
        self.last += 1;
        self.by_key.insert(file.key, self.last);
        self.files.insert(self.last, file);
        self.last
    }

    /// The file that was put in last.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Followed> {
        let file = self.files.remove(&id)?;
        if self.by_key.get(&file.key) == Some(&id) {
            self.by_key.remove(&file.key);
        }
        Some(file)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Followed> {
        self.files.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut Followed)> {
        self.files.iter_mut().map(|(id, file)| (*id, file))
    }

    pub(super) fn known(&self) -> impl Iterator<Item = Known<'_>> {
        self.files.iter().map(|(id, file)| Known {
            id: *id,
            path: &file.path,
            key: file.key,
            born: file.born,
            open: file.file.is_some(),
        })
    }
}

/// Files that are not followed now but of which it is known how far they were read.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    by_key: HashMap<Key, Entry>,
    by_path: HashMap<Arc<Path>, Key>,
    order: VecDeque<Key>,
}

impl Remembered {
    /// Takes what a checkpoint says.
    pub(super) fn of(entries: Vec<Entry>) -> Self {
        let mut all = Self::default();
        for entry in entries {
            all.by_path.insert(entry.path.clone(), entry.key);
            all.order.push_back(entry.key);
            all.by_key.insert(entry.key, entry);
        }
        all
    }

    /// The entry of a file that was found, which is then forgotten: the one with its device and inode, else the one with
    /// its name and inode (numbers of devices may change when a machine starts).
    pub(super) fn take(&mut self, path: &Path, stat: &Stat) -> Option<Entry> {
        let key = match self.by_key.contains_key(&stat.key) {
            true => stat.key,
            false => *self.by_path.get(path).filter(|key| key.1 == stat.key.1)?,
        };
        let entry = self.by_key.remove(&key)?;
        self.by_path.remove(&entry.path);
        Some(entry)
    }

    /// Those that are still to be looked for.
    pub(super) fn sought(&self) -> Vec<Entry> {
        self.by_key.values().filter(|entry| !entry.done).cloned().collect()
    }

    /// Remembers a file that need not be looked for.
    pub(super) fn done(&mut self, entry: Entry) {
        let entry = Entry { done: true, ..entry };
        self.order.push_back(entry.key);
        self.by_key.insert(entry.key, entry);
        while self.by_key.len() > REMEMBERED_MAX || self.order.len() > 4 * REMEMBERED_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(entry) = self.by_key.remove(&oldest) {
                self.by_path.remove(&entry.path);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.by_key.values()
    }
}

/// Files that are left alone, so that each is told of only once.
#[derive(Debug, Default)]
pub(super) struct Refused(HashMap<Key, Stat>);

impl Refused {
    /// Whether it was refused, and has not changed since.
    pub(super) fn has(&self, stat: &Stat) -> bool {
        self.0.get(&stat.key).is_some_and(|then| then.born_like(stat.born) && then.size <= stat.size)
    }

    /// Refuses it; whether that is new.
    pub(super) fn add(&mut self, stat: &Stat) -> bool {
        self.0.insert(stat.key, *stat).is_none()
    }

    /// Forgets one.
    pub(super) fn remove(&mut self, key: Key) {
        self.0.remove(&key);
    }

    /// Forgets those that are no longer there.
    pub(super) fn keep(&mut self, is_there: impl Fn(Key) -> bool) {
        self.0.retain(|key, _| is_there(*key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::identity::Head;

    fn entry(inode: u64, path: &str) -> Entry {
        let path = Path::new(path).into();
        Entry { path, key: (1, inode), born: 0, head: Head::default(), modified: 0, offset: inode, done: false }
    }

    fn stat(key: Key) -> Stat {
        Stat { key, born: 0, size: 0, modified: 0, changed: 0, links: 1, regular: true }
    }

    #[test]
    fn a_file_is_remembered_by_inode_or_by_name_and_inode() {
        let mut all = Remembered::of(vec![entry(1, "/a"), entry(2, "/b"), entry(3, "/c")]);
        assert_eq!(all.take(Path::new("/x"), &stat((1, 1))).unwrap().offset, 1);
        assert_eq!(all.take(Path::new("/b"), &stat((9, 2))).unwrap().offset, 2);
        assert!(all.take(Path::new("/c"), &stat((9, 4))).is_none());
        assert!(all.take(Path::new("/a"), &stat((1, 1))).is_none());
        assert_eq!(all.sought().len(), 1);
    }

    #[test]
    fn what_is_remembered_has_a_limit() {
        let mut all = Remembered::default();
        for inode in 0..10 * REMEMBERED_MAX as u64 {
            all.done(entry(inode, "/a"));
        }
        assert_eq!(all.iter().count(), REMEMBERED_MAX);
        assert!(all.order.len() <= 4 * REMEMBERED_MAX && all.sought().is_empty());
    }
}
