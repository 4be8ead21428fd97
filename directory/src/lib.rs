//! Who may come in: directory entries from an upstream, decisions from grants, LDAP for stock clients.
//!
//! Everything served is computed from the one state of `inventory`. [`view::View`] is what it makes of a state: the tree
//! that searches walk and the policy that decisions ask, both advanced by what changed. Lookups read the published view
//! and nothing else: no disk, no lock held by a writer, no other machine.
#![warn(missing_docs)]

pub mod ask;
pub mod config;
pub mod decisions;
pub mod dn;
pub mod filter;
pub mod follow;
pub mod ldif;
pub mod password;
pub mod policy;
pub mod server;
pub mod sudo;
pub mod tree;
pub mod view;
