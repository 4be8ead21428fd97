//! What people and sources ask for, and what it means for the rows.
//!
//! [`resolve`] compares edits with the present state and returns only what differs. It costs O(rows given). A
//! [`Edit::Sync`] that leaves rows out costs one pass over all rows to find them; whether it does is known beforehand
//! from the number of rows per source.

use std::collections::BTreeMap;

use compact_str::CompactString;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::{
    change::{Author, Row, RowChange, RowKey},
    guard::Reason,
    state::{Conflict, State},
};

/// Sentences in one refusal; the rest is counted.
pub(super) const SENTENCES_MAX: usize = 50;

/// How many rows each source defines.
pub(crate) type Sources = OrdMap<CompactString, u64>;

/// One wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Edit {
    /// A new row; its key must be free.
    Add(Row),
    /// A new row, or another value for a row of the same source. People may change what an import brought by leaving it
    /// the import's.
    Put(Row),
    /// Another value for exactly the row that the author saw; refused when that has changed meanwhile. Both have the
    /// same key.
    Replace {
        /// The row that the author saw.
        old: Row,
        /// The row as it shall be.
        new: Row,
    },
    /// No such row any more; it must be there.
    Remove(RowKey),
    /// The rows of a source become exactly these.
    Sync {
        /// `file`, `import:ec2`, …: rows are its own when their source is this, or this and a colon and more.
        source: CompactString,
        /// All of them.
        rows: Vec<Row>,
    },
}

/// Edits that are applied together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Who, when, why.
    pub author: Author,
    /// Later ones see what earlier ones did.
    pub edits: Vec<Edit>,
}

impl Proposal {
    /// The source that the proposal syncs, if it does.
    pub(crate) fn synced(&self) -> Option<&CompactString> {
        self.edits.iter().find_map(|edit| match edit {
            Edit::Sync { source, .. } => Some(source),
            _ => None,
        })
    }

    /// The sources that are read as empty although they define rows.
    pub(crate) fn emptied(&self, sources: &Sources) -> Vec<Reason> {
        let empty = self.edits.iter().filter_map(|edit| match edit {
            Edit::Sync { source, rows } if rows.is_empty() => Some(source),
            _ => None,
        });
        let counted = empty.map(|source| Reason::Emptied { source: source.clone(), rows: defined(sources, source) });
        counted.filter(|reason| !matches!(reason, Reason::Emptied { rows: 0, .. })).collect()
    }
}

/// How many rows the synced source `whole` defines.
fn defined(sources: &Sources, whole: &str) -> u64 {
    sources.iter().filter(|(name, _)| belongs(name, whole)).map(|(_, n)| n).sum()
}

/// Whether a row of `source` belongs to the synced source `whole`.
fn belongs(source: &str, whole: &str) -> bool {
    source.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

/// The changes that lead from `state` to what `edits` ask for, in the order of their keys; or why they cannot be.
pub(crate) fn resolve(state: &State, sources: &Sources, edits: &[Edit]) -> Result<Vec<RowChange>, Vec<String>> {
    let mut draft = Rows { state, changed: BTreeMap::new(), refused: Vec::new(), more: 0 };
    for edit in edits {
        match edit {
            Edit::Add(row) => draft.add(row),
            Edit::Put(row) => draft.put(row),
            Edit::Replace { old, new } => draft.replace(old, new),
            Edit::Remove(key) => draft.remove(key),
            Edit::Sync { source, rows } => draft.sync(sources, source, rows),
        }
    }
    if draft.more > 0 {
        draft.refused.push(format!("and {} more", draft.more));
    }
    if !draft.refused.is_empty() {
        return Err(draft.refused);
    }
    let changes = draft.changed.into_iter().map(|(key, new)| RowChange { old: state.get(&key), new });
    Ok(changes.filter(|change| change.old != change.new).collect())
}

struct Rows<'a> {
    state: &'a State,
    changed: BTreeMap<RowKey, Option<Row>>,
    refused: Vec<String>,
    more: usize,
}

impl Rows<'_> {
    fn get(&self, key: &RowKey) -> Option<Row> {
        self.changed.get(key).cloned().unwrap_or_else(|| self.state.get(key))
    }

    fn refuse(&mut self, sentence: impl FnOnce() -> String) {
        if self.refused.len() < SENTENCES_MAX {
            self.refused.push(sentence());
        } else {
            self.more += 1;
        }
    }

    fn add(&mut self, row: &Row) {
        let key = row.key();
        match self.get(&key) {
            Some(other) => self.refuse(|| twice(&key, other.source(), row.source())),
            None => drop(self.changed.insert(key, Some(row.clone()))),
        }
    }

    fn put(&mut self, row: &Row) {
        let key = row.key();
        match self.get(&key) {
            Some(other) if other.source().starts_with("file:") => self.refuse(|| elsewhere(&key, other.source())),
            Some(other) if other.source() != row.source() => self.refuse(|| twice(&key, other.source(), row.source())),
            _ => drop(self.changed.insert(key, Some(row.clone()))),
        }
    }

    fn replace(&mut self, old: &Row, new: &Row) {
        let key = old.key();
        if self.get(&key).as_ref() == Some(old) && new.key() == key {
            self.put(new);
        } else {
            self.refuse(|| Conflict::Stale { key: Box::new(key) }.to_string());
        }
    }

    fn remove(&mut self, key: &RowKey) {
        match self.get(key) {
            None => self.refuse(|| format!("{key} does not exist")),
            Some(other) if other.source().starts_with("file:") => self.refuse(|| elsewhere(key, other.source())),
            Some(_) => drop(self.changed.insert(key.clone(), None)),
        }
    }

    fn sync(&mut self, sources: &Sources, source: &CompactString, rows: &[Row]) {
        let mut present = 0;
        let mut given: BTreeMap<RowKey, &Row> = BTreeMap::new();
        for row in rows {
            let key = row.key();
            if !belongs(row.source(), source) {
                self.refuse(|| format!("{key} says that {} defines it, but {source} is being read", row.source()));
                continue;
            }
            if let Some(first) = given.get(&key) {
                let first = first.source().to_owned();
                self.refuse(|| twice(&key, &first, row.source()));
                continue;
            }
            match self.get(&key) {
                Some(other) if !belongs(other.source(), source) => {
                    self.refuse(|| twice(&key, other.source(), row.source()));
                    continue;
                }
                Some(_) => present += 1,
                None => {}
            }
            given.insert(key, row);
        }
        // Edits before this one may have taken rows of the source away or added some: then the count says nothing.
        if defined(sources, source) > present || !self.changed.is_empty() {
            let leaves = |row: &Row| belongs(row.source(), source) && !given.contains_key(&row.key());
            let gone: Vec<RowKey> = self.state.rows().filter(leaves).map(|row| row.key()).collect();
            let added = self.changed.values().flatten().filter(|row| leaves(row)).map(Row::key);
            let gone: Vec<RowKey> = gone.into_iter().chain(added.collect::<Vec<_>>()).collect();
            for key in gone {
                if self.get(&key).is_some_and(|row| belongs(row.source(), source)) {
                    self.changed.insert(key, None);
                }
            }
        }
        for (key, row) in given {
            if self.get(&key).as_ref() != Some(row) {
                self.changed.insert(key, Some(row.clone()));
            }
        }
    }
}

fn twice(key: &RowKey, first: &str, second: &str) -> String {
    if first == second {
        return format!("{key} is defined twice by {first}");
    }
    format!("{key} is defined twice: by {first} and by {second}")
}

fn elsewhere(key: &RowKey, source: &str) -> String {
    format!("{key} is defined in {source}; change it there")
}
