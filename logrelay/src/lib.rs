//! The log relay: lines in, by rules, to files and other relays, and nothing that was acknowledged is lost.
//!
//! A line is received by a `source`, taken apart by `framing`, read by `parse`, labelled from the inventory, and routed
//! (`filter`, `rewrite`); the intake puts it into batches for the spool and for destinations in memory. Destinations
//! read the spool at their own cursors.
#![warn(missing_docs)]

pub mod config;
pub mod destination;
mod drive;
pub mod filter;
pub mod follow;
pub mod framing;
pub mod hosts;
pub mod import;
pub mod intake;
pub mod labels;
pub mod message;
pub mod parse;
pub mod problem;
pub mod queue;
pub mod relay;
pub mod relp;
pub mod rewrite;
pub mod route;
pub mod source;
pub mod spool;
mod sys;
pub mod tap;
pub mod template;
