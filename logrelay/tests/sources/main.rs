//! Sources on real sockets: what is sent is what arrives at the intake, and every limit is one.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod datagrams;
mod limits;
mod relp;
mod streams;
mod world;
