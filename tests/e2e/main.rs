//! End-to-end tests: the real binary, real peers, real sockets.
//!
//! Every test starts its own servers in its own folder, on ports that nobody else has, waits for conditions and never
//! for fixed times, and ends by process id only what it started. A peer that is missing is a failure. What a server
//! logged is printed when its test fails. Nothing here uses the product's own parsers: see `message`.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod asking;
mod authority;
mod clients;
mod delegated;
mod directory_clients;
mod explain;
mod harness;
mod instance;
mod limits;
mod logins;
mod logs;
mod message;
mod names;
mod peers;
mod ports;
mod privileges;
mod questions;
mod quickstart;
mod readme;
mod region;
mod relay;
mod secondaries;
mod slapd;
mod upstream;
mod worst_day;
