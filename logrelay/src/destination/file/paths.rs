//! From a message to the slot of its path.
//!
//! The same path as that of the message before costs a comparison. Paths are remembered by the fields that their template
//! takes from a message, so that the path itself is made once for each host and not for each message.
//!
//! Limits: [`KEYS_MAX`] remembered keys of [`PART_MAX`] octets for each field; beyond, paths are made for each message.

use std::collections::HashMap;

use super::{super::counters::count, table::Table};
use crate::{
    message::Message,
    template::{DateCache, Env, PathNotes, Template},
};

/// Keys that are remembered; when there are more, all are forgotten.
const KEYS_MAX: usize = 16_384;
/// Octets of a field in a key at most.
const PART_MAX: usize = 255;

/// The templates of a path and of the link to it, and what they made of messages.
#[derive(Debug)]
pub(super) struct Paths {
    path: Template,
    link: Option<Template>,
    /// The slots of keys.
    keys: HashMap<Box<[u8]>, usize>,
    /// Key of the message before.
    last: Vec<u8>,
    /// Its slot, if it had a key.
    slot: Option<usize>,
    key: Vec<u8>,
    scratch: Vec<u8>,
}

impl Paths {
    pub(super) fn new(path: Template, link: Option<Template>) -> Self {
        let empty = Vec::new;
        Self { path, link, keys: HashMap::new(), last: empty(), slot: None, key: empty(), scratch: empty() }
    }

    /// The slot for a message.
    pub(super) fn slot(
        &mut self,
        table: &mut Table,
        message: &Message<'_>,
        env: &Env<'_>,
        dates: &mut DateCache,
    ) -> usize {
        if !self.read_key(message) {
            self.slot = None;
            return self.find(table, message, env, dates);
        }
        if let Some(slot) = self.slot
            && self.last == self.key
        {
            return slot;
        }
        let known = self.keys.get(&*self.key).copied();
        let slot = known.unwrap_or_else(|| {
            let slot = self.find(table, message, env, dates);
            if self.keys.len() >= KEYS_MAX {
                self.keys.clear();
            }
            self.keys.insert(self.key.as_slice().into(), slot);
            slot
        });
        std::mem::swap(&mut self.last, &mut self.key);
        self.slot = Some(slot);
        slot
    }

    /// Gathers what the template takes from the message; false if it takes more than plain fields.
    fn read_key(&mut self, message: &Message<'_>) -> bool {
        self.key.clear();
        self.path.macros().all(|one| {
            let Some(part) = one.borrow(message).filter(|part| part.len() <= PART_MAX) else { return false };
            self.key.push(part.len() as u8);
            self.key.extend_from_slice(part);
            true
        })
    }

    /// Makes the path, and finds or adds its slot.
    fn find(&mut self, table: &mut Table, message: &Message<'_>, env: &Env<'_>, dates: &mut DateCache) -> usize {
        self.scratch.clear();
        if self.path.write_path(message, env, dates, &mut self.scratch) != PathNotes::default() {
            count(&table.counters.path_changed);
        }
        table.find(&self.scratch).unwrap_or_else(|| {
            let link = self.link.as_ref().map(|link| {
                let mut path = Vec::new();
                link.write_path(message, env, dates, &mut path);
                path.into()
            });
            table.add(&self.scratch, link)
        })
    }

    /// Slots have other paths now.
    pub(super) fn forget(&mut self) {
        self.keys.clear();
        self.slot = None;
    }
}
