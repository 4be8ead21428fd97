//! The refresh stage of RFC 4533, collected beside what is served and handed over whole. Plain functions, no I/O.
//!
//! Without a cookie, what was sent is the content, whatever the phases were called (389-ds ends a first refresh with
//! refreshDelete). With one, a present phase removes what was neither sent nor named, and a delete phase what was named.
//! A cookie counts only when it comes with the end of the refresh: slapd replays deletions with cookies that are ahead
//! of the changes which follow them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use inventory::{Entry, EntryId, State};

use super::{
    changes::Changes,
    control::{SyncDone, SyncInfo, What},
    entry,
};

/// Octets that are collected at most, as [`entry::octets_of`] counts them.
const OCTETS_MAX: usize = 4 << 30;

/// Why a refresh cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRefresh {
    /// More than is taken over.
    #[error("the server holds more than {0} entries; raise [directory.upstream] entries_max if that is right")]
    Many(usize),
    /// More than is held in memory.
    #[error("the server holds more than 4 GiB of entries; narrow base or filter in [directory.upstream]")]
    Large,
    /// The server says that entries are there that were never sent.
    #[error("the server names {0} entries as present that it has not sent")]
    Lacking(usize),
    /// A present phase that names nothing: taken by its word it would remove everything (ReOpenLDAP#71; 389-ds).
    #[error("the server ended a present phase without naming an entry")]
    NoList,
}

/// What a refresh came to.
#[derive(Debug)]
pub(super) enum Content {
    /// The whole content.
    All(Vec<Arc<Entry>>),
    /// What changed since the cookie.
    Since(Changes),
}

/// A refresh that goes on.
#[derive(Debug)]
pub(super) struct Refresh {
    /// No cookie was sent.
    whole: bool,
    entries_max: usize,
    entries: HashMap<EntryId, Arc<Entry>>,
    present: HashSet<EntryId>,
    deleted: HashSet<EntryId>,
    /// A present phase has ended.
    presented: bool,
    octets: usize,
}

impl Refresh {
    /// A refresh that begins: `whole` without a cookie.
    pub(super) fn new(whole: bool, entries_max: usize) -> Self {
        Self {
            whole,
            entries_max,
            entries: HashMap::new(),
            present: HashSet::new(),
            deleted: HashSet::new(),
            presented: false,
            octets: 0,
        }
    }

    /// Entries that were sent so far.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// An entry, or word of one.
    pub(super) fn entry(&mut self, state: &State, what: What, sent: Entry) -> Result<(), BadRefresh> {
        let id = sent.id;
        match what {
            What::Present => self.name(id)?,
            What::Delete => self.delete(id)?,
            What::Add | What::Modify => {
                self.deleted.remove(&id);
                // What has not changed is not held twice.
                let sent = match state.entry(id) {
                    Some(old) if entry::same(old, &sent) => old.clone(),
                    _ => Arc::new(sent),
                };
                self.octets = self.octets.saturating_add(entry::octets_of(&sent));
                if let Some(before) = self.entries.insert(id, sent) {
                    self.octets = self.octets.saturating_sub(entry::octets_of(&before));
                }
                if self.entries.len() > self.entries_max {
                    return Err(BadRefresh::Many(self.entries_max));
                }
                if self.octets > OCTETS_MAX {
                    return Err(BadRefresh::Large);
                }
            }
        }
        Ok(())
    }

    /// A message. True when it ends the refresh.
    pub(super) fn info(&mut self, info: &SyncInfo) -> Result<bool, BadRefresh> {
        match info {
            SyncInfo::NewCookie(_) => Ok(false),
            SyncInfo::RefreshDelete { done, .. } => Ok(*done),
            SyncInfo::RefreshPresent { done, .. } => {
                self.presented = true;
                Ok(*done)
            }
            SyncInfo::IdSet { deletes, ids, .. } => {
                for id in ids {
                    if *deletes { self.delete(*id)? } else { self.name(*id)? }
                }
                Ok(false)
            }
        }
    }

    /// The server ended the search, as it does when it only refreshes.
    pub(super) fn done(&mut self, done: &SyncDone) {
        self.presented |= !done.deletes;
    }

    fn name(&mut self, id: EntryId) -> Result<(), BadRefresh> {
        self.deleted.remove(&id);
        self.present.insert(id);
        if self.present.len() > self.entries_max { Err(BadRefresh::Many(self.entries_max)) } else { Ok(()) }
    }

    fn delete(&mut self, id: EntryId) -> Result<(), BadRefresh> {
        if let Some(gone) = self.entries.remove(&id) {
            self.octets = self.octets.saturating_sub(entry::octets_of(&gone));
        }
        self.present.remove(&id);
        self.deleted.insert(id);
        if self.deleted.len() > self.entries_max { Err(BadRefresh::Many(self.entries_max)) } else { Ok(()) }
    }

    /// What it came to, seen from what is served.
    pub(super) fn finish(self, state: &State) -> Result<Content, BadRefresh> {
        let known = |id: &EntryId| self.entries.contains_key(id) || (!self.whole && state.entry(*id).is_some());
        let lacking = self.present.iter().filter(|id| !known(id)).count();
        if lacking > 0 {
            return Err(BadRefresh::Lacking(lacking));
        }
        if self.whole {
            return Ok(Content::All(self.entries.into_values().collect()));
        }
        if self.presented && self.entries.is_empty() && self.present.is_empty() && state.entry_count() > 0 {
            return Err(BadRefresh::NoList);
        }
        let mut changes = Changes::default();
        if self.presented {
            let there = |id: &EntryId| self.entries.contains_key(id) || self.present.contains(id);
            state.entries().filter(|entry| !there(&entry.id)).for_each(|entry| changes.remove(entry.id));
        }
        self.deleted.iter().for_each(|id| changes.remove(*id));
        changes.put_all(state, self.entries.into_values());
        Ok(Content::Since(changes))
    }
}

#[cfg(test)]
mod tests {
    use inventory::Edit;

    use super::{
        super::changes::tests::{a_state, an_entry},
        *,
    };

    fn id(n: u8) -> EntryId {
        EntryId([n; 16])
    }

    fn three() -> State {
        a_state([an_entry(1, "ou=a,dc=x", 1), an_entry(2, "uid=b,ou=a,dc=x", 1), an_entry(3, "uid=c,ou=a,dc=x", 1)])
    }

    fn present(ids: &[u8]) -> SyncInfo {
        SyncInfo::IdSet { cookie: None, deletes: false, ids: ids.iter().map(|n| id(*n)).collect() }
    }

    const PRESENT_END: SyncInfo = SyncInfo::RefreshPresent { cookie: None, done: true };
    const DELETE_END: SyncInfo = SyncInfo::RefreshDelete { cookie: None, done: true };

    fn edits(refresh: Refresh, state: &State) -> Vec<Edit> {
        match refresh.finish(state).unwrap() {
            Content::Since(changes) => changes.edits(state),
            Content::All(_) => panic!("not the whole"),
        }
    }

    #[test]
    fn without_a_cookie_what_was_sent_is_the_content() {
        for end in [PRESENT_END, DELETE_END] {
            let state = three();
            let mut refresh = Refresh::new(true, 10);
            refresh.entry(&state, What::Add, an_entry(2, "uid=b,ou=a,dc=x", 1)).unwrap();
            assert_eq!(refresh.info(&end), Ok(true));
            let Content::All(all) = refresh.finish(&state).unwrap() else { panic!() };
            assert_eq!(all.len(), 1);
            assert!(Arc::ptr_eq(&all[0], state.entry(id(2)).unwrap()), "what is known already is shared");
        }
    }

    #[test]
    fn a_present_phase_removes_what_it_does_not_name() {
        let state = three();
        let mut refresh = Refresh::new(false, 10);
        refresh.entry(&state, What::Add, an_entry(2, "uid=bee,ou=a,dc=x", 2)).unwrap();
        assert_eq!(refresh.info(&present(&[1])), Ok(false));
        assert_eq!(refresh.info(&PRESENT_END), Ok(true));
        let edits = edits(refresh, &state);
        assert_eq!(edits.len(), 2);
        assert!(edits.contains(&Edit::Remove(inventory::RowKey::Entry(id(3)))));
    }

    #[test]
    fn a_delete_phase_removes_what_it_names_and_may_follow_a_present_phase() {
        let state = three();
        let mut refresh = Refresh::new(false, 10);
        assert_eq!(refresh.info(&SyncInfo::IdSet { cookie: None, deletes: true, ids: vec![id(3)] }), Ok(false));
        assert_eq!(refresh.info(&DELETE_END), Ok(true));
        assert_eq!(edits(refresh, &state), [Edit::Remove(inventory::RowKey::Entry(id(3)))]);

        let mut refresh = Refresh::new(false, 10);
        refresh.info(&present(&[1, 2])).unwrap();
        assert_eq!(refresh.info(&SyncInfo::RefreshPresent { cookie: None, done: false }), Ok(false));
        refresh.info(&SyncInfo::IdSet { cookie: None, deletes: true, ids: vec![id(2)] }).unwrap();
        assert_eq!(refresh.info(&DELETE_END), Ok(true));
        assert_eq!(edits(refresh, &state).len(), 2);
    }

    #[test]
    fn what_is_sent_twice_or_deleted_is_not_counted_twice() {
        let state = a_state([]);
        let mut refresh = Refresh::new(true, 10);
        for csn in 1..4 {
            refresh.entry(&state, What::Add, an_entry(2, "uid=b,dc=x", csn)).unwrap();
        }
        assert_eq!(refresh.octets, entry::octets_of(&an_entry(2, "uid=b,dc=x", 1)));
        refresh.entry(&state, What::Delete, an_entry(2, "uid=b,dc=x", 4)).unwrap();
        assert_eq!(refresh.octets, 0);
    }

    #[test]
    fn what_cannot_be_believed_is_refused() {
        let state = three();
        let mut nothing = Refresh::new(false, 10);
        assert_eq!(nothing.info(&PRESENT_END), Ok(true));
        assert_eq!(nothing.finish(&state).unwrap_err(), BadRefresh::NoList);
        let mut lacking = Refresh::new(true, 10);
        lacking.info(&present(&[1, 2])).unwrap();
        assert_eq!(lacking.finish(&state).unwrap_err(), BadRefresh::Lacking(2));
        let mut many = Refresh::new(true, 1);
        many.entry(&state, What::Add, an_entry(4, "uid=d,dc=x", 1)).unwrap();
        assert_eq!(many.entry(&state, What::Add, an_entry(5, "uid=e,dc=x", 1)), Err(BadRefresh::Many(1)));
        assert_eq!(Refresh::new(false, 1).info(&present(&[1, 2])), Err(BadRefresh::Many(1)));
    }
}
