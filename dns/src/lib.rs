//! The names of a region: zones generated from the inventory, answers, transfers, forwarding.
#![warn(missing_docs)]

pub mod answer;
pub mod bind;
pub mod compare;
pub mod config;
pub mod conflicts;
pub mod cookie;
pub mod edit;
pub mod engine;
pub mod explain;
mod find;
pub mod forward;
pub mod generate;
pub mod https;
pub mod make;
pub mod name;
mod node;
mod query;
mod querylog;
pub mod rate;
mod reply;
mod respond;
pub mod rr;
pub mod service;
pub mod statics;
pub mod stats;
pub mod stream;
mod sys;
mod table;
pub mod text;
pub mod transfer;
mod udp;
pub mod verdict;
mod walk;
pub mod zone;
pub mod zonefile;
pub mod zones;
