//! Translating syslog-ng.conf into `[logrelay]`, for `gatehouse logs import-syslog-ng`.
//!
//! What is ordinary is translated: sources and destinations for the network, sockets and files, named filters, rewrite
//! rules and templates (put in where they are named), log paths with their flags, embedded ones too. What is not is
//! listed, each with its file, its line and a sentence: nothing disappears in silence. A path whose filter cannot be
//! said here is written as a comment, because without the filter it would take too much.
//!
//! Nothing is read but what the caller hands in. Limits: [`FILE_MAX`], [`INCLUDES_MAX`], [`DEPTH_MAX`],
//! [`TEXT_MAX`], and as many routes as a configuration may have.

use std::fmt;

mod destination;
mod driver;
mod expression;
mod files;
mod global;
mod lexer;
mod output;
mod path;
mod source;
mod tree;

/// Octets of a file at most.
pub const FILE_MAX: usize = 1 << 20;
/// Files that are included at most.
pub const INCLUDES_MAX: usize = 100;
/// Includes, braces and parentheses within one another at most; also filters that name filters.
pub const DEPTH_MAX: usize = 32;
/// Octets of a filter with the filters that it names, as the filter language allows.
pub const TEXT_MAX: usize = 64 << 10;
/// What could not be translated, or not exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File, as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// A sentence.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)
    }
}

/// A translated configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// Text for our configuration file: `[[logrelay.source]]` and so on.
    pub toml: String,
    /// What is to be looked at, in the order of the files.
    pub problems: Vec<Problem>,
}

/// Hands in the files that an `@include` names, each with the name to speak of it by and its text; a pattern or a folder
/// may name several, or none.
pub type Include<'a> = &'a mut dyn FnMut(&str) -> Result<Vec<(String, String)>, String>;

/// Translates `text`, the content of `file`.
pub fn translate(text: &str, file: &str, include: Include<'_>) -> Translation {
    let mut notes = Notes { files: vec![file.to_owned()], ..Notes::default() };
    let tokens = files::tokens(text, include, &mut notes);
    let config = tree::Config::read(tokens, &mut notes);
    let global = global::Global::of(&config, &mut notes);
    let sources = source::all(&config, &global, &mut notes);
    let destinations = destination::all(&config, &global, &mut notes);
    let paths = path::Paths::of(&config, &global, sources, destinations, &mut notes);
    Translation { toml: output::write(file, &paths), problems: notes.sorted() }
}

/// Where something stands: number of the file, and line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct At {
    file: usize,
    line: u32,
}

/// The problems, while they are collected.
#[derive(Debug, Default)]
struct Notes {
    files: Vec<String>,
    all: Vec<(At, String)>,
}

/// Problems that are listed.
const NOTES_MAX: usize = 1000;

impl Notes {
    fn add(&mut self, at: At, text: impl Into<String>) {
        let note = (at, text.into());
        if self.all.len() < NOTES_MAX && !self.all.contains(&note) {
            self.all.push(note);
        }
    }

    fn sorted(mut self) -> Vec<Problem> {
        if self.all.len() >= NOTES_MAX {
            let last = At { file: self.files.len(), line: 0 };
            self.all.push((last, format!("there are more than {NOTES_MAX} problems; the others are not listed")));
        }
        self.all.sort_by_key(|(at, _)| *at);
        let name = |file: usize| self.files.get(file).or(self.files.first()).cloned().unwrap_or_default();
        self.all.into_iter().map(|(at, text)| Problem { file: name(at.file), line: at.line, text }).collect()
    }
}

#[cfg(test)]
mod tests;
