//! Grants, directory entries and cookies in the state: what readers ask, and the tally that the guard compares.

use std::{collections::BTreeSet, sync::Arc};

use compact_str::{CompactString, ToCompactString};

use super::State;
use crate::{
    change::Row,
    entry::{Attribute, Cookie, Entry, EntryId},
    model::Grant,
};

/// Something that entries carry, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carried {
    /// An object class.
    Class(CompactString),
    /// An attribute, without its options.
    Attribute(CompactString),
}

/// What an entry carries, each once.
pub(crate) fn carried(entry: &Entry) -> BTreeSet<Carried> {
    let lower = |text: &str| text.to_ascii_lowercase().to_compact_string();
    let classes = entry.texts("objectClass").map(|class| Carried::Class(lower(class)));
    let base = |name: &str| lower(name.split(';').next().unwrap_or(name));
    classes.chain(entry.attributes.iter().map(|Attribute(name, _)| Carried::Attribute(base(name)))).collect()
}

impl State {
    /// All grants, ordered by name.
    pub fn grants(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.grants.values()
    }

    /// How many grants there are.
    pub fn grant_count(&self) -> usize {
        self.grants.len()
    }

    /// One grant.
    pub fn grant(&self, name: &str) -> Option<&Arc<Grant>> {
        self.grants.get(name)
    }

    /// All directory entries, ordered by entryUUID.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// How many directory entries there are.
    pub fn entry_count(&self) -> usize {
        self.entries.len()
    }

    /// One directory entry.
    pub fn entry(&self, id: EntryId) -> Option<&Arc<Entry>> {
        self.entries.get(&id)
    }

    /// How far a source was followed.
    pub fn cookie(&self, source: &str) -> Option<&Arc<Cookie>> {
        self.cookies.get(source)
    }

    /// How many entries carry a class or an attribute.
    pub fn carried(&self, what: &Carried) -> u64 {
        self.carried.get(what).copied().unwrap_or(0)
    }

    pub(super) fn access_rows(&self) -> impl Iterator<Item = Row> {
        let grants = self.grants.values().cloned().map(Row::Grant);
        let entries = self.entries.values().cloned().map(Row::Entry);
        grants.chain(entries).chain(self.cookies.values().cloned().map(Row::Cookie))
    }
}
