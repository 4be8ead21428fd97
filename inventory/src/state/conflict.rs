//! Why a change set cannot be applied.

use std::net::IpAddr;

use crate::change::RowKey;

/// Why rows cannot stand together. Each names both parties.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Two values for one key.
    #[error("{key} is defined twice: by {first} and by {second}")]
    Twice {
        /// The key.
        key: Box<RowKey>,
        /// Source that is there already.
        first: String,
        /// Source that comes second.
        second: String,
    },
    /// Two hosts with one address.
    #[error("hosts {first} and {second} both have the address {address}")]
    Address {
        /// The address.
        address: IpAddr,
        /// `name.zone` of the host that is there already.
        first: String,
        /// `name.zone` of the host that comes second.
        second: String,
    },
    /// The row to change is not what the author of the change saw.
    #[error("{key} has changed meanwhile; look again and repeat the change")]
    Stale {
        /// The key.
        key: Box<RowKey>,
    },
}
