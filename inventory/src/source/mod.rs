//! Inventory files: `[[host]]`, `[[record]]`, `[[role]]` and `[[grant]]` in TOML, one file or a watched folder.
//!
//! Text becomes a tree of fields with positions (`value`), the tree becomes rows (`form`, `row`, `grant`),
//! and the rows are held against each other (`check`). All faults are collected; a reading with any
//! fault gives no rows at all. Nothing here writes, so a crash leaves nothing behind.

mod check;
mod fault;
mod folder;
mod form;
mod grant;
mod owner;
mod row;
mod toml_text;
mod value;
mod watch;

use std::sync::Arc;

use compact_str::CompactString;

pub(crate) use self::{
    check::conflicts,
    fault::{Faults, quoted, suggestion},
    form::Page,
    row::{HOST_KEYS, Kind, read},
    toml_text::read_toml,
    value::{Entry, Field, Item, Lines, Mark, Value},
};
pub use self::{
    fault::{FAULTS_MAX, Fault, count},
    folder::{FILE_OCTETS_MAX, FILES_MAX, FOLDER_OCTETS_MAX, locate_folder, read_folder},
    toml_text::parse_toml,
    watch::{Reading, watch_folder},
};
use crate::change::Row;

/// What entries get that say nothing themselves.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// Product label, checked by the caller.
    pub product: CompactString,
}

/// A row with the place that defines it.
#[derive(Debug, Clone)]
pub struct Located {
    /// The row.
    pub row: Row,
    /// File name.
    pub file: Arc<str>,
    /// Line at which its entry begins, where the format has lines.
    pub line: Option<u32>,
    /// What the entry is called where lines do not tell: the instance id in EC2 output.
    pub entry: Option<CompactString>,
}
