//! Followed files.
