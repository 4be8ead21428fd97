//! RELP: syslog with acknowledgements (librelp, doc/relp.md).
//!
//! `frame` is the codec, usable from both ends; `session` is what a server answers to each command, without I/O; `reader`
//! takes frames out of a read buffer and cuts lines that are too long; `link` sends answers; `serve` drives a connection.
//! A line is acknowledged when its batch is durable and not before, so what a peer was told is safe survives a crash;
//! what it was not told it sends again.

pub mod frame;
mod link;
mod reader;
mod serve;
pub mod session;

pub(crate) use serve::serve;
