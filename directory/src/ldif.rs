//! ldif.
