//! Filling in a form: takes the fields of one entry by key, and says what is wrong with each.

use std::{borrow::Cow, sync::Arc};

use compact_str::CompactString;

use super::{
    Defaults, Located,
    fault::{Fault, Faults, quoted, suggestion},
    value::{Entry, Field, Item, Lines, Mark, Value},
};
use crate::label::label;

/// What is the same for all entries of one file.
pub(crate) struct Page<'p> {
    pub(crate) file: Arc<str>,
    /// The source that the rows get.
    pub(crate) source: CompactString,
    pub(crate) defaults: &'p Defaults,
    pub(crate) lines: Lines,
    pub(crate) rows: &'p mut Vec<Located>,
    pub(crate) faults: &'p mut Faults,
}

impl Page<'_> {
    pub(crate) fn fault(&mut self, at: Mark, key: &str, text: impl Into<String>) {
        let line = self.lines.line(at);
        self.faults.push(Fault { file: self.file.to_string(), line, key: key.to_owned(), text: text.into() });
    }
}

/// Texts with their places.
pub(crate) type Texts<'a> = Vec<(Mark, Cow<'a, str>)>;

/// One entry while its fields are taken.
pub(crate) struct Form<'f, 'p, 'a> {
    pub(crate) page: &'f mut Page<'p>,
    pub(crate) at: Mark,
    pub(crate) label: Option<CompactString>,
    table: &'static str,
    known: &'static [&'static str],
    required: &'static str,
    fields: Vec<Field<'a>>,
}

impl<'f, 'p, 'a> Form<'f, 'p, 'a> {
    /// A form for a table with `known` keys; `required` names those that must be there, for people.
    pub(crate) fn new(
        page: &'f mut Page<'p>,
        entry: Entry<'a>,
        table: &'static str,
        known: &'static [&'static str],
        required: &'static str,
    ) -> Self {
        Self { page, at: entry.at, label: entry.label, table, known, required, fields: entry.fields }
    }

    pub(crate) fn fault(&mut self, at: Mark, key: &str, text: impl Into<String>) {
        match &self.label {
            Some(label) => self.page.fault(at, &format!("{label} {key}"), text),
            None => self.page.fault(at, key, text),
        }
    }

    fn take(&mut self, key: &str) -> Option<Field<'a>> {
        let at = self.fields.iter().position(|field| field.key == key)?;
        let field = self.fields.swap_remove(at);
        (!matches!(field.value, Value::Nothing)).then_some(field)
    }

    pub(crate) fn missing(&mut self, key: &str) {
        let text = format!("missing; every [[{}]] has {}", self.table, self.required);
        self.fault(self.at, key, text);
    }

    /// Text under a key that may be absent.
    pub(crate) fn text(&mut self, key: &str) -> Option<(Mark, Cow<'a, str>)> {
        let field = self.take(key)?;
        match field.value {
            Value::Text(text) => Some((field.at, text)),
            other => {
                self.fault(
                    field.at,
                    key,
                    format!("this is {}, but text belongs here; write it in quotes", other.kind()),
                );
                None
            }
        }
    }

    /// Text under a key that must be there.
    pub(crate) fn required_text(&mut self, key: &str) -> Option<(Mark, Cow<'a, str>)> {
        if !self.fields.iter().any(|field| field.key == key && !matches!(field.value, Value::Nothing)) {
            self.missing(key);
            return None;
        }
        self.text(key)
    }

    fn checked_label(&mut self, key: &str, at: Mark, text: &str) -> Option<CompactString> {
        label(text).map_err(|why| self.fault(at, key, format!("{} is no label: {why}", quoted(text)))).ok()
    }

    /// A label that must be there.
    pub(crate) fn required_label(&mut self, key: &str) -> Option<CompactString> {
        let (at, text) = self.required_text(key)?;
        self.checked_label(key, at, &text)
    }

    /// A label that may be absent.
    pub(crate) fn optional_label(&mut self, key: &str) -> Option<CompactString> {
        let (at, text) = self.text(key)?;
        self.checked_label(key, at, &text)
    }

    /// A list of labels, sorted and without repetition.
    pub(crate) fn labels(&mut self, key: &str) -> Box<[CompactString]> {
        let Some(field) = self.take(key) else { return Box::default() };
        let items = match field.value {
            Value::List(items) => items,
            other => {
                let text = format!("this is {}, but a list belongs here; write [\"one\", \"two\"]", other.kind());
                self.fault(field.at, key, text);
                return Box::default();
            }
        };
        let mut out = Vec::with_capacity(items.len());
        for Item { at, value } in items {
            match value {
                Value::Text(text) => out.extend(self.checked_label(key, at, &text)),
                other => {
                    self.fault(at, key, format!("the list holds {}, but labels in quotes belong here", other.kind()))
                }
            }
        }
        out.sort_unstable();
        out.dedup();
        out.into_boxed_slice()
    }

    /// Text, or a list of texts, under a key that may be absent; empty then, and after a fault.
    pub(crate) fn texts(&mut self, key: &str) -> Texts<'a> {
        let Some(field) = self.take(key) else { return Vec::new() };
        self.texts_of(key, field)
    }

    fn texts_of(&mut self, key: &str, field: Field<'a>) -> Texts<'a> {
        let items = match field.value {
            Value::Text(text) => return vec![(field.at, text)],
            Value::List(items) if items.is_empty() => {
                self.fault(field.at, key, "this list is empty; write something into it, or leave the key out");
                return Vec::new();
            }
            Value::List(items) => items,
            other => {
                let text = format!("this is {}, but text or a list of texts belongs here", other.kind());
                self.fault(field.at, key, text);
                return Vec::new();
            }
        };
        let mut out = Vec::with_capacity(items.len());
        for Item { at, value } in items {
            match value {
                Value::Text(text) => out.push((at, text)),
                other => self.fault(at, key, format!("the list holds {}, but texts belong here", other.kind())),
            }
        }
        out
    }

    /// Whether a key is there, with any value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.fields.iter().any(|field| field.key == key && !matches!(field.value, Value::Nothing))
    }

    /// `true`, `false`, or texts.
    pub(crate) fn flag_or_texts(&mut self, key: &str) -> Option<Result<bool, Texts<'a>>> {
        let field = self.take(key)?;
        match field.value {
            Value::Flag(flag) => Some(Ok(flag)),
            Value::Text(_) | Value::List(_) => Some(Err(self.texts_of(key, field))),
            other => {
                self.fault(
                    field.at,
                    key,
                    format!("this is {}, but true, false or a list of texts belongs here", other.kind()),
                );
                None
            }
        }
    }

    /// A point in time, in any of the ways to write one.
    pub(crate) fn time(&mut self, key: &str) -> Option<(Mark, Result<i64, Cow<'a, str>>)> {
        let field = self.take(key)?;
        match field.value {
            Value::Text(text) => Some((field.at, Err(text))),
            Value::Date(text) => Some((field.at, Err(text.into()))),
            Value::Whole(seconds) => Some((field.at, Ok(seconds))),
            other => {
                self.fault(field.at, key, format!("this is {}, but a date or time belongs here", other.kind()));
                None
            }
        }
    }

    /// A whole number within `min..=max`.
    pub(crate) fn number(&mut self, key: &str, min: u32, max: u32) -> Option<u32> {
        let field = self.take(key)?;
        let why = match field.value {
            Value::Whole(number) => match u32::try_from(number).ok().filter(|n| (min..=max).contains(n)) {
                Some(number) => return Some(number),
                None => format!("{number} is out of range"),
            },
            other => format!("this is {}", other.kind()),
        };
        self.fault(field.at, key, format!("{why}; write a whole number from {min} to {max}"));
        None
    }

    /// One of the given words.
    pub(crate) fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let (at, text) = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let near = suggestion(&text, &known);
            self.fault(at, key, format!("{} is unknown; {near}known: {}", quoted(&text), known.join(", ")));
        }
        found
    }

    /// A table of texts, by key.
    pub(crate) fn table(&mut self, key: &str) -> Vec<(Mark, Cow<'a, str>, Cow<'a, str>)> {
        let Some(field) = self.take(key) else { return Vec::new() };
        let fields = match field.value {
            Value::Table(fields) => fields,
            other => {
                let text = format!("this is {}, but a table belongs here; write {{ env = \"dev\" }}", other.kind());
                self.fault(field.at, key, text);
                return Vec::new();
            }
        };
        let mut out = Vec::with_capacity(fields.len());
        for field in fields {
            match field.value {
                Value::Text(text) => out.push((field.at, field.key, text)),
                Value::Nothing => {}
                other => {
                    let full = format!("{key}.{}", quoted(&field.key).trim_matches('"'));
                    let text = format!("this is {}, but text belongs here; write it in quotes", other.kind());
                    self.fault(field.at, &full, text);
                }
            }
        }
        out
    }

    /// Says which keys are left over.
    pub(crate) fn finish(mut self) {
        for field in std::mem::take(&mut self.fields) {
            if self.known.contains(&&*field.key) && matches!(field.value, Value::Nothing) {
                continue;
            }
            let key = quoted(&field.key);
            let key = key.trim_matches('"');
            let text = if self.known.contains(&&*field.key) {
                "this key is there twice; remove one".to_owned()
            } else {
                let near = suggestion(&field.key, self.known);
                format!("no such key in [[{}]]; {near}known: {}", self.table, self.known.join(", "))
            };
            self.fault(field.at, key, text);
        }
    }
}
