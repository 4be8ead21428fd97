//! The names of a region: zones generated from the inventory, answers, transfers, forwarding.
#![warn(missing_docs)]

pub mod config;
pub mod cookie;
pub mod forward;
pub mod https;
pub mod name;
pub mod rate;
pub mod rr;
pub mod stream;
pub mod zone;
