//! Faults in inventory files and imports: each is one sentence with file, line and key.
//!
//! A reader collects all faults that it meets, so that a person mends them in one go. Memory stays
//! bounded: after [`FAULTS_MAX`] they are only counted, and quoted text is cut.

use std::fmt;

/// How many faults are kept of one reading; the rest is counted.
pub const FAULTS_MAX: usize = 100;
/// The last sentence about a folder with faults; it is no fault itself.
pub(crate) const CLOSING: &str = "nothing of this folder was applied; the former state stays";
/// What the sentence that stands for the faults beyond [`FAULTS_MAX`] has around their number.
const MORE: (&str, &str) = ("and ", " more faults; mend these first");
/// How many characters of a wrong value are quoted.
const QUOTE_CHARS: usize = 60;

/// One thing that is wrong in a file, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// File name, or the folder when the fault is the folder's.
    pub file: String,
    /// Line, counted from 1, where the format has lines.
    pub line: Option<u32>,
    /// The key that is wrong; empty when the fault is no single key's.
    pub key: String,
    /// What is wrong and what to write instead.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.text)
    }
}

/// A bounded collection of faults.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    list: Vec<Fault>,
    more: usize,
}

impl Faults {
    pub(crate) fn push(&mut self, fault: Fault) {
        if self.list.len() < FAULTS_MAX {
            self.list.push(fault);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The faults by file and line, then how many more there are.
    pub(crate) fn into_sorted(self) -> Vec<Fault> {
        let mut list = self.list;
        list.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        if self.more > 0
            && let Some(file) = list.last().map(|last| last.file.clone())
        {
            let text = format!("{}{}{}", MORE.0, self.more, MORE.1);
            list.push(Fault { file, line: None, key: String::new(), text });
        }
        list
    }
}

/// How many things are wrong, by what a reader returned: its closing sentences are no faults.
pub fn count(faults: &[Fault]) -> usize {
    let beyond = |text: &str| text.strip_prefix(MORE.0)?.strip_suffix(MORE.1)?.parse::<usize>().ok();
    faults.iter().map(|fault| if fault.text == CLOSING { 0 } else { beyond(&fault.text).unwrap_or(1) }).sum()
}

/// A wrong value in quotes, with control characters escaped and long text cut.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTE_CHARS) {
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
        None => format!("{text:?}"),
    }
}

/// ` did you mean X?` when a known word is near, else nothing.
pub(crate) fn suggestion(given: &str, known: &[&str]) -> String {
    let given: String = given.chars().take(QUOTE_CHARS).collect();
    let nearest = known.iter().map(|word| (strsim::damerau_levenshtein(&given, word), word)).min();
    match nearest {
        Some((distance, word)) if distance <= 2 && 2 * distance <= word.len() => format!("did you mean {word}? "),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_as_a_sentence_with_its_place() {
        let mut fault = Fault { file: "a.toml".into(), line: Some(3), key: "zone".into(), text: "missing".into() };
        assert_eq!(fault.to_string(), "a.toml:3: zone: missing");
        fault.line = None;
        fault.key.clear();
        assert_eq!(fault.to_string(), "a.toml: missing");
    }

    #[test]
    fn more_than_a_hundred_are_counted() {
        let mut faults = Faults::default();
        for line in (1..=137).rev() {
            faults.push(Fault { file: "a".into(), line: Some(line), key: String::new(), text: "x".into() });
        }
        let list = faults.into_sorted();
        assert_eq!(list.len(), FAULTS_MAX + 1);
        assert_eq!(list[0].line, Some(38));
        assert_eq!(list[FAULTS_MAX].to_string(), "a: and 37 more faults; mend these first");
        assert_eq!(count(&list), 137);
    }

    #[test]
    fn closing_sentences_are_not_counted_as_faults() {
        let fault = |text: &str| Fault { file: "a".into(), line: None, key: String::new(), text: text.into() };
        assert_eq!(count(&[fault("missing"), fault(CLOSING)]), 1);
        assert_eq!(count(&[]), 0);
    }

    #[test]
    fn long_and_strange_values_are_quoted_safely() {
        assert_eq!(quoted("a\n\u{1b}"), r#""a\n\u{1b}""#);
        assert_eq!(quoted(&"ä".repeat(61)).chars().count(), 63);
        assert_eq!(suggestion("privte_ip", &["zone", "private_ip"]), "did you mean private_ip? ");
        assert_eq!(suggestion("colour", &["zone", "private_ip"]), "");
    }
}
