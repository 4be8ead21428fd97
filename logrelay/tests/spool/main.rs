//! The spool from outside: on real files, on a disk that loses what was not synced, killed, and with a full disk.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod basics;
mod crash;
mod damage;
mod failures;
mod full;
mod lossy;
mod model;
mod origins;
mod reading;
mod tools;
