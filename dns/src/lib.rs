//! The names of a region: zones generated from the inventory, answers, transfers, forwarding.
#![warn(missing_docs)]

pub mod answer;
pub mod config;
pub mod cookie;
pub mod edit;
mod find;
pub mod generate;
pub mod make;
pub mod name;
mod node;
mod query;
mod reply;
pub mod rr;
pub mod statics;
mod table;
pub mod text;
pub mod zone;
pub mod zones;
