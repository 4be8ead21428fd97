//! Rewrite rules.
