//! Destinations against real files, real sockets and real peers.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;
mod files;
mod full;
mod peers;
#[path = "../../../tests/e2e/ports.rs"]
mod ports;
mod relp;
mod restart;
mod rotation;
mod streams;
