//! sudo.
