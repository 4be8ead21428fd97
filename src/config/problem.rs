//! What is wrong or unwise, with the file and the line, as one sentence.

use std::{fmt, path::Path};

use serde::Serialize;

/// Whether the node would start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// It would not.
    Error,
    /// It would, but it is unwise.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// Name of the file, without its folder.
    pub file: String,
    /// Line, from 1.
    pub line: Option<usize>,
    /// The sentence.
    pub text: String,
}

impl Problem {
    /// Something that is wrong.
    pub(crate) fn error(file: &Path, line: Option<usize>, text: String) -> Self {
        Self { severity: Severity::Error, file: file_name(file), line, text }
    }

    /// Something that is unwise.
    pub(crate) fn warning(file: &Path, line: Option<usize>, text: String) -> Self {
        Self { severity: Severity::Warning, file: file_name(file), line, text }
    }

    /// Whether the node would not start.
    pub(crate) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.text),
            None => write!(f, "{}: {}", self.file, self.text),
        }
    }
}

fn file_name(file: &Path) -> String {
    file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned()
}

/// The text of a file, from which lines are counted.
pub(crate) struct Source<'a> {
    /// The file.
    pub file: &'a Path,
    /// What it holds.
    pub text: &'a str,
}

impl Source<'_> {
    /// The line of an octet offset, from 1.
    pub(crate) fn line_at(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
    }

    /// The line on which `key` is set in `[section]`, as far as a look at the text can tell.
    pub(crate) fn line_of_key(&self, section: &str, key: &str) -> Option<usize> {
        let header = format!("[{section}]");
        let lines = self.text.lines().enumerate().skip_while(|(_, line)| line.trim() != header).skip(1);
        let mut lines = lines.take_while(|(_, line)| !line.trim_start().starts_with('['));
        lines.find(|(_, line)| line.split('=').next().is_some_and(|k| k.trim() == key)).map(|(i, _)| i + 1)
    }

    /// The line on which `key` is set in the table number `index` of those with this header; that of the header when it is
    /// not set there, or no key is named.
    pub(crate) fn line_in_table(&self, header: &str, index: usize, key: &str) -> Option<usize> {
        let lines = || self.text.lines().map(str::trim).enumerate();
        let (start, _) = lines().filter(|(_, line)| *line == header).nth(index)?;
        let mut body = lines().skip(start + 1).take_while(|(_, line)| !line.starts_with('['));
        let set = body.find(|(_, line)| line.split('=').next().is_some_and(|k| k.trim() == key && !key.is_empty()));
        Some(set.map_or(start, |(line, _)| line) + 1)
    }

    /// A sentence for an error of the TOML reader within `section` (empty: outside).
    pub(crate) fn toml(&self, section: &str, error: &toml::de::Error) -> Problem {
        let line = error.span().map(|span| self.line_at(span.start));
        let message = error.message().trim();
        let text = match (unknown_field(message), section) {
            (Some((key, known)), _) => {
                let place = Some(section).filter(|section| !section.is_empty());
                unknown("key", &format!("`{key}`"), place, key, known.into_iter())
            }
            (None, "") => message.replace('\n', "; "),
            (None, _) => {
                let key = error.span().and_then(|span| self.key_before(span.start));
                let place = key.map_or(format!("[{section}]"), |key| format!("{key} in [{section}]"));
                format!("{place}: {}", message.replace('\n', "; "))
            }
        };
        Problem::error(self.file, line, text)
    }

    /// The key on the line of `offset`, when the line sets one.
    fn key_before(&self, offset: usize) -> Option<&str> {
        let line = self.text.lines().nth(self.line_at(offset) - 1)?;
        let (key, _) = line.split_once('=')?;
        let key = key.trim();
        key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')).then_some(key)
    }
}

/// Key and known keys of serde's message for an unknown field.
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    Some((quoted.next()?, quoted.collect()))
}

/// The sentence for something unknown: the nearest known name, or all of them.
pub(crate) fn unknown<'a>(
    what: &str,
    shown: &str,
    section: Option<&str>,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> String {
    let place = section.map(|s| format!(" in [{s}]")).unwrap_or_default();
    let near = known.clone().map(|k| (strsim::jaro_winkler(name, k), k)).max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((likeness, near)) if likeness > 0.8 => {
            let near = shown.replacen(name, near, 1);
            format!("unknown {what} {shown}{place}; did you mean {near}?")
        }
        _ => format!("unknown {what} {shown}{place}; {what}s are {}", known.collect::<Vec<_>>().join(", ")),
    }
}
