//! Filter expressions in syslog-ng's language: `level(warning..emerg) and not program("cron")`.
//!
//! `not` binds closer than `and`, `and` closer than `or`. syslog-ng's functions: facility, level (severity), program,
//! host, message (msg), match, netmask, netmask6, tags, in-list, source, and comparisons of templates. Ours, over what
//! the inventory says of the host: role, zone, region, product, group, tag, known; and unparsed, silent.
//!
//! A filter is read once and then decides without a lock, and without an allocation unless it looks at a macro that
//! has to be computed. Limits: [`TEXT_MAX`], [`DEPTH_MAX`], [`NODES_MAX`], [`PATTERNS_MAX`], [`LIST_MAX`].

use crate::{
    message::Message,
    template::{Env, SyntaxError},
};

mod compare;
mod functions;
mod lexer;
mod options;
mod parse;
mod pattern;
mod test;
mod words;

use test::Test;
pub(crate) use {
    functions::{facility_named, severity_named},
    lexer::{Fault, Token},
    options::{Options, close},
    parse::Parser,
    pattern::{Kind as PatternKind, compile},
};

/// Octets of a filter's text at most.
pub const TEXT_MAX: usize = 64 << 10;
/// Parentheses and `not` within one another at most.
pub const DEPTH_MAX: usize = 64;
/// Functions, comparisons and operators of a filter at most.
pub const NODES_MAX: usize = 10_000;
/// Regular expressions and globs of a filter at most; each may take [`PATTERN_BYTES`](pattern::PATTERN_BYTES).
pub const PATTERNS_MAX: usize = 256;
/// Octets of a file for `in-list()` at most.
pub const LIST_MAX: usize = 16 << 20;
/// Files for `in-list()` in one filter at most.
pub const LISTS_MAX: usize = 16;

/// Why a filter could not be read.
pub type FilterError = SyntaxError;

/// Reads a file for `in-list()`: its path to its text. Called only while a filter is read.
pub type Files<'a> = &'a mut dyn FnMut(&str) -> Result<String, String>;

/// What a filter needs besides the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Context {
    /// Whether the host had been silent, so that this message ends its silence: `silent()`.
    pub had_been_silent: bool,
    /// Now, microseconds since 1970: the macros `C_...`.
    pub now_us: i64,
}

impl Context {
    /// For macros in filters: in UTC where a time has no zone; macros that name the relay are refused when reading.
    fn env(self) -> Env<'static> {
        Env { now_us: self.now_us, ..Env::default() }
    }
}

/// A filter, read and ready to decide.
#[derive(Debug)]
pub struct Filter {
    text: Box<str>,
    root: Node,
}

/// An expression, and where it stands in the text.
#[derive(Debug)]
struct Node {
    start: usize,
    end: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// `and`
    All(Vec<Node>),
    /// `or`
    Any(Vec<Node>),
    Not(Box<Node>),
    Test(Test),
}

/// Reads a regular expression that is searched for in whole lines, within the limits of those in filters.
///
/// # Errors
/// A sentence: what is wrong with it.
pub fn pattern(text: &str) -> Result<regex::bytes::Regex, String> {
    compile(text, PatternKind::Pcre, pattern::Flags::default())
}

impl Filter {
    /// Reads a filter; `files` reads the files of `in-list()`.
    ///
    /// # Errors
    /// With the place and a remedy: what is not of the language, an unknown name, a wrong argument, a limit.
    pub fn parse(text: &str, files: Files<'_>) -> Result<Self, FilterError> {
        let parsed = Parser::new(text, files).and_then(|mut parser| {
            let filter = parser.filter()?;
            parser.end()?;
            Ok(filter)
        });
        parsed.map_err(|(at, why)| SyntaxError::new(text, at, why))
    }

    /// Whether the message passes.
    pub fn matches(&self, message: &Message<'_>, context: &Context) -> bool {
        self.root.matches(message, context)
    }

    /// Every expression of the filter with its outcome, the outer ones before those within.
    pub fn explain(&self, message: &Message<'_>, context: &Context) -> Vec<(String, bool)> {
        let mut lines = Vec::new();
        self.explain_node(&self.root, message, context, &mut lines);
        lines
    }

    fn explain_node(
        &self,
        node: &Node,
        message: &Message<'_>,
        context: &Context,
        lines: &mut Vec<(String, bool)>,
    ) -> bool {
        let line = lines.len();
        lines.push((self.text.get(node.start..node.end).unwrap_or_default().into(), false));
        let mut outcome = |node| self.explain_node(node, message, context, lines);
        // No short cut: all of them are to be seen.
        let result = match &node.kind {
            Kind::All(nodes) => nodes.iter().fold(true, |all, node| outcome(node) & all),
            Kind::Any(nodes) => nodes.iter().fold(false, |any, node| outcome(node) | any),
            Kind::Not(node) => !outcome(node),
            Kind::Test(test) => test.matches(message, context),
        };
        lines[line].1 = result;
        result
    }

    /// The text that was read.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Node {
    fn matches(&self, message: &Message<'_>, context: &Context) -> bool {
        match &self.kind {
            Kind::All(nodes) => nodes.iter().all(|node| node.matches(message, context)),
            Kind::Any(nodes) => nodes.iter().any(|node| node.matches(message, context)),
            Kind::Not(node) => !node.matches(message, context),
            Kind::Test(test) => test.matches(message, context),
        }
    }
}

#[cfg(test)]
mod tests;
