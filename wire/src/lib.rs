//! TLS identities, the accept loop and its limits: what every stream protocol of the product shares.
#![warn(missing_docs)]

pub mod accept;
pub mod blocking;
pub mod limits;
pub mod listen;
pub mod peer;
pub mod stream;
pub mod tls;
pub mod upstream;

pub use accept::{accept_loop, start_tls};
pub use limits::{Limits, source};
pub use listen::listen;
pub use stream::Stream;
pub use tls::TlsIdentity;
