//! TLS identities, the accept loop and its limits: what every stream protocol of the product shares.
#![warn(missing_docs)]

pub mod accept;
pub mod blocking;
pub mod limits;
pub mod listen;
pub mod stream;
pub mod tls;

pub use accept::accept_loop;
pub use limits::Limits;
pub use listen::listen;
pub use stream::Stream;
pub use tls::TlsIdentity;
