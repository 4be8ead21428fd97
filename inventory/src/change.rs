//! Rows and changes to rows.
//!
//! A row is one value of the model under its key. A change set is what one person or source
//! changed at once: it is applied whole or not at all, gets one serial, and remembers the old
//! values, so that history can be shown, undone and replayed.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    entry::{Cookie, Entry, EntryId},
    model::{Grant, Host, HostKey, Record, RecordKey, Role},
};

/// One value of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", content = "value")]
pub enum Row {
    /// A host.
    Host(Arc<Host>),
    /// A role definition.
    Role(Arc<Role>),
    /// A static record.
    Record(Arc<Record>),
    /// A grant.
    Grant(Arc<Grant>),
    /// A directory entry.
    Entry(Arc<Entry>),
    /// How far an upstream directory was followed.
    Cookie(Arc<Cookie>),
}

/// What a row is filed under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowKey {
    /// A host.
    Host(HostKey),
    /// A role, by its label.
    Role(compact_str::CompactString),
    /// A static record.
    Record(RecordKey),
    /// A grant, by its name.
    Grant(compact_str::CompactString),
    /// A directory entry.
    Entry(EntryId),
    /// A sync cookie, by the source that it belongs to.
    Cookie(compact_str::CompactString),
}

impl RowKey {
    /// `host`, `role`, `record`, `grant`, `entry` or `cookie`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Host(_) => "host",
            Self::Role(_) => "role",
            Self::Record(_) => "record",
            Self::Grant(_) => "grant",
            Self::Entry(_) => "entry",
            Self::Cookie(_) => "cookie",
        }
    }

    /// The key as one line of text, unique within its kind.
    pub fn text(&self) -> String {
        match self {
            Self::Host(k) => format!("{}.{}.{}", k.name, k.zone, k.product),
            Self::Role(name) | Self::Grant(name) | Self::Cookie(name) => name.to_string(),
            Self::Entry(id) => id.to_string(),
            Self::Record(k) => format!("{} {} {}", k.name, k.rtype, k.data),
        }
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.text())
    }
}

impl Row {
    /// The key of the row.
    pub fn key(&self) -> RowKey {
        match self {
            Self::Host(h) => RowKey::Host(h.key.clone()),
            Self::Role(r) => RowKey::Role(r.name.clone()),
            Self::Record(r) => RowKey::Record(r.key.clone()),
            Self::Grant(g) => RowKey::Grant(g.name.clone()),
            Self::Entry(e) => RowKey::Entry(e.id),
            Self::Cookie(c) => RowKey::Cookie(c.source.clone()),
        }
    }

    /// Who defines the row.
    pub fn source(&self) -> &str {
        match self {
            Self::Host(h) => &h.source,
            Self::Role(r) => &r.source,
            Self::Record(r) => &r.source,
            Self::Grant(g) => &g.source,
            Self::Entry(e) => &e.source,
            Self::Cookie(c) => &c.source,
        }
    }

    /// Canonical encoding: JSON with fields in the order of the struct and absent ones left out.
    pub fn encode(&self) -> Vec<u8> {
        let json = match self {
            Self::Host(h) => serde_json::to_vec(h),
            Self::Role(r) => serde_json::to_vec(r),
            Self::Record(r) => serde_json::to_vec(r),
            Self::Grant(g) => serde_json::to_vec(g),
            Self::Entry(e) => serde_json::to_vec(e),
            Self::Cookie(c) => serde_json::to_vec(c),
        };
        json.expect("rows hold nothing that JSON cannot")
    }

    /// Reads a row of `kind` from its canonical encoding.
    pub fn decode(kind: &str, body: &[u8]) -> Result<Self, DecodeError> {
        Ok(match kind {
            "host" => Self::Host(serde_json::from_slice(body)?),
            "role" => Self::Role(serde_json::from_slice(body)?),
            "record" => Self::Record(serde_json::from_slice(body)?),
            "grant" => Self::Grant(serde_json::from_slice(body)?),
            "entry" => Self::Entry(serde_json::from_slice(body)?),
            "cookie" => Self::Cookie(serde_json::from_slice(body)?),
            _ => return Err(DecodeError::Kind(kind.to_owned())),
        })
    }
}

/// A stored row that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer version.
    #[error("rows of kind {0:?} are unknown to this version")]
    Kind(String),
    /// Not the JSON of a row.
    #[error("not a row: {0}")]
    Json(#[from] serde_json::Error),
}

/// One row before and after: `None` before an addition, `None` after a removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowChange {
    /// The row before.
    pub old: Option<Row>,
    /// The row after.
    pub new: Option<Row>,
}

impl RowChange {
    /// The key that both sides share. None only for the meaningless change from nothing to nothing.
    pub fn key(&self) -> Option<RowKey> {
        self.new.as_ref().or(self.old.as_ref()).map(Row::key)
    }

    /// The change that undoes this one.
    pub fn inverse(&self) -> Self {
        Self { old: self.new.clone(), new: self.old.clone() }
    }
}

/// Who changed something, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// User name with its way in (`alice via socket`), or a source (`folder`).
    pub who: String,
    /// Milliseconds since 1970-01-01 UTC.
    pub when_ms: u64,
    /// What the person gave as the reason; may be empty.
    pub why: String,
}

/// What was changed at once, with the serial that it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSet {
    /// Epoch in which it was made.
    pub epoch: u32,
    /// Serial of the state that it led to.
    pub serial: u64,
    /// Who, when, why.
    #[serde(flatten)]
    pub author: Author,
    /// The rows, each key at most once.
    pub rows: Vec<RowChange>,
}
