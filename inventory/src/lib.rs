//! The vocabulary of gatehouse and its one state.
//!
//! Everything that a node serves is computed from one immutable, numbered [`State`]. A change is a
//! [`ChangeSet`]: rows with their old and new value. `State::apply` is a plain function; the store
//! makes it durable, and the keeper publishes it. This crate knows no other crate of the workspace.
#![warn(missing_docs)]

pub mod change;
pub mod digest;
pub mod entry;
pub mod fault;
pub mod guard;
pub mod import;
pub mod keeper;
pub mod label;
pub mod model;
pub mod pattern;
pub mod position;
pub mod source;
pub mod state;
mod store;

pub use change::{Author, ChangeSet, Row, RowChange, RowKey};
pub use entry::{Attribute, Cookie, Entry, EntryId, Value};
pub use keeper::{Edit, Held, Keeper, OpenError, Opened, Outcome, Preview, Proposal, Refused, Review};
pub use model::{Grant, Host, HostKey, HostState, Record, RecordKey, Role, Scope};
pub use position::Position;
pub use state::{Conflict, State};
