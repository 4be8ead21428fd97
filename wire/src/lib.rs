//! TLS identities, the accept loop and its limits.
