//! What is wrong with a configuration, with the place where it stands.

use std::fmt;

/// One fault of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Table below `[logrelay]`: `source`, `destination`, `route`, `role`, `limits`, `spool`.
    pub table: &'static str,
    /// Which of the tables of that name, from 0.
    pub index: usize,
    /// Key in it; empty: the table as a whole.
    pub key: &'static str,
    /// The sentence, with its remedy.
    pub text: String,
}

impl Problem {
    /// A fault of a key.
    pub(crate) fn new(table: &'static str, index: usize, key: &'static str, text: impl Into<String>) -> Self {
        Self { table, index, key, text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
