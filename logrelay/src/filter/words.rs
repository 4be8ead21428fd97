//! Names from the inventory and the configuration: exact, or globs when they contain `*` or `?`.

use super::pattern::{Flags, Kind, Pattern};

/// One of several names.
#[derive(Debug, Default)]
pub(super) struct Words {
    exact: Vec<Box<[u8]>>,
    globs: Vec<Pattern>,
}

impl Words {
    pub(super) fn add(&mut self, word: &str) -> Result<(), String> {
        if is_glob(word) {
            self.globs.push(Pattern::new(word, Kind::Glob, Flags::default())?);
        } else {
            self.exact.push(word.as_bytes().into());
        }
        Ok(())
    }

    pub(super) fn contain(&self, name: &[u8]) -> bool {
        self.exact.iter().any(|word| **word == *name) || self.globs.iter().any(|glob| glob.matches(name))
    }
}

/// Whether a name is a glob.
pub(super) fn is_glob(word: &str) -> bool {
    word.contains(['*', '?'])
}
