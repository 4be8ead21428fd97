//! What a text is searched for: regular expressions, globs and constant texts, each in its cheapest form.
//!
//! `type(pcre)` is the default and finds anywhere; `type(glob)` and `type(string)` match the whole, as in syslog-ng.
//! The regular expressions are those of the regex crate: linear in time, without look-around and back-references.

use memchr::memmem::Finder;
use regex::bytes::{Regex, RegexBuilder};

/// Octets that a compiled regular expression, and its cache in each thread, may take.
pub(super) const PATTERN_BYTES: usize = 1 << 20;
/// Parentheses within one another in a regular expression.
const NEST_MAX: u32 = 64;

/// `type(...)`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    #[default]
    Pcre,
    Glob,
    Text,
}

/// `flags(...)`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags {
    pub(crate) ignore_case: bool,
    pub(crate) substring: bool,
    pub(crate) prefix: bool,
    pub(crate) global: bool,
    pub(crate) utf8: bool,
}

/// A pattern in its cheapest form.
#[derive(Debug)]
pub(super) enum Pattern {
    Everything,
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    Contains(Box<Finder<'static>>),
    ExactIgnoringCase(Box<[u8]>),
    PrefixIgnoringCase(Box<[u8]>),
    Regex(Box<Regex>),
}

impl Pattern {
    /// Reads a pattern; errors say what is wrong with it.
    pub(super) fn new(text: &str, kind: Kind, flags: Flags) -> Result<Self, String> {
        let literal = match kind {
            Kind::Text if flags.prefix => Some((true, text.into(), false)),
            Kind::Text if flags.substring => Some((false, text.into(), false)),
            Kind::Text => Some((true, text.into(), true)),
            Kind::Glob => glob_literal(text),
            Kind::Pcre => regex_literal(text),
        };
        let bytes = |text: String| text.into_bytes().into_boxed_slice();
        Ok(match (literal, flags.ignore_case) {
            (Some((false, text, _)) | Some((_, text, false)), _) if text.is_empty() => Self::Everything,
            (Some((true, text, true)), false) => Self::Exact(bytes(text)),
            (Some((true, text, false)), false) => Self::Prefix(bytes(text)),
            (Some((false, text, true)), false) => Self::Suffix(bytes(text)),
            (Some((false, text, false)), false) => Self::Contains(Box::new(Finder::new(&text).into_owned())),
            // Other letters than those of ASCII have cases too; the regex below knows them.
            (Some((true, text, true)), true) if text.is_ascii() => Self::ExactIgnoringCase(bytes(text)),
            (Some((true, text, false)), true) if text.is_ascii() => Self::PrefixIgnoringCase(bytes(text)),
            _ => Self::Regex(Box::new(compile(text, kind, flags)?)),
        })
    }

    /// Whether the pattern is found.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Everything => true,
            Self::Exact(wanted) => text == &**wanted,
            Self::Prefix(wanted) => text.starts_with(wanted),
            Self::Suffix(wanted) => text.ends_with(wanted),
            Self::Contains(finder) => finder.find(text).is_some(),
            Self::ExactIgnoringCase(wanted) => text.eq_ignore_ascii_case(wanted),
            Self::PrefixIgnoringCase(wanted) => {
                text.get(..wanted.len()).is_some_and(|start| start.eq_ignore_ascii_case(wanted))
            }
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

/// Compiles a pattern as a regular expression.
pub(crate) fn compile(text: &str, kind: Kind, flags: Flags) -> Result<Regex, String> {
    let pattern = match kind {
        Kind::Pcre => text.into(),
        Kind::Glob => glob_regex(text),
        Kind::Text => {
            let start = if flags.substring && !flags.prefix { "" } else { r"\A" };
            let end = if flags.substring || flags.prefix { "" } else { r"\z" };
            format!("{start}{}{end}", regex::escape(text))
        }
    };
    // Without Unicode a dot is an octet: quicker, and nothing in an ASCII pattern can tell the difference but a dot.
    // The ? of a glob stands for a character.
    let unicode = flags.utf8 || !text.is_ascii() || kind == Kind::Glob;
    RegexBuilder::new(&pattern)
        .unicode(unicode)
        .case_insensitive(flags.ignore_case)
        .size_limit(PATTERN_BYTES)
        .dfa_size_limit(PATTERN_BYTES)
        .nest_limit(NEST_MAX)
        .build()
        .map_err(|error| explain(text, &error))
}

/// In one line: the crate's messages repeat the pattern above a caret.
fn explain(text: &str, error: &regex::Error) -> String {
    if let regex::Error::CompiledTooBig(limit) = error {
        return format!(
            "the regular expression takes more than {limit} octets when compiled; make its repetitions smaller"
        );
    }
    if ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|start| text.contains(start)) {
        return "look-around such as (?!...) is not known here; write a second filter and join it with and not".into();
    }
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default().trim();
    format!("the regular expression cannot be read: {}", line.strip_prefix("error: ").unwrap_or(line))
}

/// Whether a regular expression is a constant text: if it begins with ^, the text, if it ends with $.
fn regex_literal(pattern: &str) -> Option<(bool, String, bool)> {
    let (start, rest) = pattern.strip_prefix('^').map_or((false, pattern), |rest| (true, rest));
    let mut text = String::new();
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '$' if chars.peek().is_none() => return Some((start, text, true)),
            '\\' => match chars.next() {
                // < and > would be the borders of words.
                Some(escaped) if escaped.is_ascii_punctuation() && !"<>".contains(escaped) => text.push(escaped),
                _ => return None,
            },
            '.' | '[' | ']' | '{' | '}' | '(' | ')' | '*' | '+' | '?' | '|' | '^' | '$' => return None,
            _ => text.push(c),
        }
    }
    Some((start, text, false))
}

/// As [`regex_literal`], of a glob with stars at its ends only.
fn glob_literal(pattern: &str) -> Option<(bool, String, bool)> {
    let (start, rest) = pattern.strip_prefix('*').map_or((true, pattern), |rest| (false, rest));
    let (end, rest) = rest.strip_suffix('*').map_or((true, rest), |rest| (false, rest));
    // A single star is at both ends.
    let end = end && (start || !rest.is_empty());
    (!rest.contains(['*', '?'])).then(|| (start, rest.into(), end))
}

fn glob_regex(pattern: &str) -> String {
    let mut regex = String::from(r"\A");
    let mut after_star = false;
    for c in pattern.chars() {
        match c {
            '*' if after_star => continue,
            '*' => regex.push_str("(?s-u:.*)"),
            '?' => regex.push_str("(?s:.)"),
            _ => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
        after_star = c == '*';
    }
    regex + r"\z"
}
