//! The names of a region: zones generated from the inventory, answers, transfers, forwarding.
#![warn(missing_docs)]

pub mod config;
pub mod name;
pub mod rr;
pub mod text;
pub mod transfer;
pub mod zone;
pub mod zonefile;
