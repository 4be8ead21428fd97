//! Changes that were told of one by one, folded into the edits of one proposal.
//!
//! A server that renames a subtree sends its top entry only (RFC 4533 section 4.1), so the names of all entries below it
//! are made anew here, in the same proposal. That costs one pass over the names, and only when something was renamed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use inventory::{Edit, Entry, EntryId, Row, RowKey, State};

use super::{entry, names};

/// Entries beyond which the names below a renamed one are made anew on another thread.
const HERE_MAX: usize = 5000;

/// What has been told since the last proposal.
#[derive(Debug, Default)]
pub(super) struct Changes {
    put: BTreeMap<EntryId, Arc<Entry>>,
    removed: BTreeSet<EntryId>,
}

impl Changes {
    /// Entries that change.
    pub(super) fn len(&self) -> usize {
        self.put.len() + self.removed.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An entry was added or changed. False, and nothing happens, when what is known of it is newer (RFC 4533 lets
    /// changes arrive twice and out of order while a refresh ends).
    pub(super) fn put(&mut self, state: &State, new: Entry) -> bool {
        let id = new.id;
        let known = self.put.get(&id).or_else(|| state.entry(id).filter(|_| !self.removed.contains(&id))).cloned();
        if let Some(known) = known {
            if is_older(&new, &known) {
                return false;
            }
            if known.dn != new.dn {
                self.rename(id, &known.dn, &new.dn);
            }
        }
        self.removed.remove(&id);
        self.put.insert(id, Arc::new(new));
        true
    }

    /// Renames what was told of earlier and lies below; the others follow in [`Changes::edits`].
    fn rename(&mut self, id: EntryId, old: &str, new: &str) {
        let old = names::normal(old);
        for (other, entry) in &mut self.put {
            if *other != id
                && let Some(dn) = names::moved(&entry.dn, &old, new)
            {
                let mut renamed = Entry::clone(entry);
                renamed.dn = dn.into();
                *entry = Arc::new(renamed);
            }
        }
    }

    /// An entry has gone.
    pub(super) fn remove(&mut self, id: EntryId) {
        self.put.remove(&id);
        self.removed.insert(id);
    }

    /// Entries as they are at the end of a refresh: each under its final name, whatever the order. What is known of an
    /// entry may be newer, if another server had told of it.
    pub(super) fn put_all(&mut self, state: &State, entries: impl IntoIterator<Item = Arc<Entry>>) {
        let older = |new: &Entry| state.entry(new.id).is_some_and(|old| is_older(new, old));
        for entry in entries.into_iter().filter(|new| !older(new)) {
            self.removed.remove(&entry.id);
            self.put.insert(entry.id, entry);
        }
    }

    /// The edits that lead from `state` to it.
    pub(super) fn edits(&self, state: &State) -> Vec<Edit> {
        let changed = |new: &&Arc<Entry>| state.entry(new.id).is_none_or(|old| !entry::same(old, new));
        let put: Vec<Arc<Entry>> = self.put.values().filter(changed).cloned().collect();
        let gone = self.removed.iter().filter(|id| state.entry(**id).is_some());
        let mut edits: Vec<Edit> = gone.map(|id| Edit::Remove(RowKey::Entry(*id))).collect();
        edits.extend(put.into_iter().chain(self.followers(state)).map(|entry| Edit::Put(Row::Entry(entry))));
        edits
    }

    /// [`Changes::edits`], on a thread for blocking work where it takes long.
    pub(super) async fn edits_aside(self, state: Arc<State>) -> Result<Vec<Edit>, tokio::task::JoinError> {
        if state.entry_count() <= HERE_MAX || !self.renames(&state) {
            return Ok(self.edits(&state));
        }
        tokio::task::spawn_blocking(move || self.edits(&state)).await
    }

    /// Whether an entry has another name than in `state`, so that [`Changes::edits`] looks at all.
    fn renames(&self, state: &State) -> bool {
        self.put.values().any(|new| state.entry(new.id).is_some_and(|old| old.dn != new.dn))
    }

    /// Entries that nothing was told of but whose names change, because one above them was renamed.
    fn followers(&self, state: &State) -> Vec<Arc<Entry>> {
        let mut renamed: HashMap<String, &str> = HashMap::new();
        for new in self.put.values() {
            if let Some(old) = state.entry(new.id).filter(|old| old.dn != new.dn) {
                renamed.insert(names::normal(&old.dn), &new.dn);
            }
        }
        if renamed.is_empty() {
            return Vec::new();
        }
        let quiet = state.entries().filter(|e| !self.put.contains_key(&e.id) && !self.removed.contains(&e.id));
        quiet.filter_map(|entry| follower(entry, &renamed)).collect()
    }
}

fn is_older(new: &Entry, known: &Entry) -> bool {
    matches!((entry::csn(new), entry::csn(known)), (Some(new), Some(known)) if new < known)
}

/// The entry under its new name, if one above it was renamed; the nearest counts.
fn follower(entry: &Arc<Entry>, renamed: &HashMap<String, &str>) -> Option<Arc<Entry>> {
    let parts = names::rdns(&entry.dn);
    let normal = parts.iter().copied().map(names::normal_rdn).collect::<Vec<_>>();
    for own in 1..parts.len() {
        let above = normal.get(own..)?.join(",");
        if let Some(new) = renamed.get(&above) {
            let mut moved = Entry::clone(entry);
            moved.dn = names::join(parts.get(..own)?, new).into();
            return Some(Arc::new(moved));
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use inventory::{Attribute, Author, ChangeSet, RowChange};

    use super::*;

    pub(in crate::follow) fn an_entry(n: u8, dn: &str, csn: u8) -> Entry {
        let csn = format!("202611201200{csn:02}.000000Z#000000#001#000000");
        let attributes = vec![
            Attribute("objectClass".into(), ["top".into()].into()),
            Attribute("entryCSN".into(), [csn.as_str().into()].into()),
        ];
        entry::filed(EntryId([n; 16]), dn.into(), attributes)
    }

    pub(in crate::follow) fn a_state(entries: impl IntoIterator<Item = Entry>) -> State {
        let rows = entries.into_iter().map(|e| RowChange { old: None, new: Some(Row::Entry(Arc::new(e))) }).collect();
        let author = Author { who: "test".into(), when_ms: 0, why: String::new() };
        State::empty(1).apply(Arc::new(ChangeSet { epoch: 1, serial: 1, author, rows })).unwrap()
    }

    fn names_after(changes: &Changes, state: &State) -> Vec<String> {
        let mut all: BTreeMap<EntryId, String> = state.entries().map(|e| (e.id, e.dn.to_string())).collect();
        for edit in changes.edits(state) {
            match edit {
                Edit::Put(Row::Entry(e)) => drop(all.insert(e.id, e.dn.to_string())),
                Edit::Remove(RowKey::Entry(id)) => drop(all.remove(&id)),
                other => panic!("{other:?}"),
            }
        }
        all.into_values().collect()
    }

    #[test]
    fn a_renamed_subtree_is_renamed_whole() {
        let state = a_state([
            an_entry(1, "ou=a,dc=x", 1),
            an_entry(2, "ou=b,ou=a,dc=x", 1),
            an_entry(3, "uid=c,ou=b,ou=a,dc=x", 1),
            an_entry(4, "uid=d,ou=aa,dc=x", 1),
        ]);
        let mut changes = Changes::default();
        assert!(!changes.renames(&state));
        // First the inner one, then the outer one; the server names the inner one as it was called at that time.
        assert!(changes.put(&state, an_entry(2, "ou=bee,ou=a,dc=x", 2)));
        assert!(changes.put(&state, an_entry(1, "ou=z,dc=x", 3)));
        assert!(changes.renames(&state));
        let expected = ["ou=z,dc=x", "ou=bee,ou=z,dc=x", "uid=c,ou=bee,ou=z,dc=x", "uid=d,ou=aa,dc=x"];
        assert_eq!(names_after(&changes, &state), expected);
    }

    #[test]
    fn older_and_repeated_changes_change_nothing() {
        let state = a_state([an_entry(1, "ou=a,dc=x", 5)]);
        let mut changes = Changes::default();
        assert!(!changes.put(&state, an_entry(1, "ou=old,dc=x", 4)));
        assert!(changes.put(&state, an_entry(1, "ou=a,dc=x", 5)));
        changes.remove(EntryId([9; 16]));
        assert!(changes.edits(&state).is_empty());
    }

    #[test]
    fn an_entry_that_goes_and_comes_back_is_there() {
        let state = a_state([an_entry(1, "ou=a,dc=x", 5)]);
        let mut changes = Changes::default();
        changes.remove(EntryId([1; 16]));
        assert!(changes.put(&state, an_entry(2, "ou=a,dc=x", 6)));
        assert_eq!(names_after(&changes, &state), ["ou=a,dc=x"]);
        assert_eq!(changes.edits(&state).len(), 2);
    }
}
