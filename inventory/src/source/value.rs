//! The tree into which every format is read before it becomes rows: fields with their position.
//!
//! TOML, JSON, CSV and EC2 differ only in how they get here; what a host, a role, a record or a
//! grant may look like is decided once (`form`, `row`).

use std::borrow::Cow;

/// Where something stands: a byte offset or a line, as [`Lines`] says.
pub(crate) type Mark = u32;

/// How marks become lines.
#[derive(Debug)]
pub(crate) enum Lines {
    /// Marks are byte offsets; here are those of all line feeds.
    Offsets(Vec<u32>),
    /// Marks are lines; 0 is unknown.
    Plain,
}

impl Lines {
    /// Lines of a text whose marks are byte offsets.
    pub(crate) fn of(text: &str) -> Self {
        let feeds = text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        Self::Offsets(feeds.filter_map(|(at, _)| u32::try_from(at).ok()).collect())
    }

    /// The line of a mark, counted from 1.
    pub(crate) fn line(&self, at: Mark) -> Option<u32> {
        match self {
            Self::Offsets(feeds) => u32::try_from(feeds.partition_point(|feed| *feed < at) + 1).ok(),
            Self::Plain => (at > 0).then_some(at),
        }
    }
}

/// A value of any of the formats.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    Text(Cow<'a, str>),
    Whole(i64),
    Flag(bool),
    /// A date or time that the format has a notation for, as text.
    Date(String),
    List(Vec<Item<'a>>),
    Table(Vec<Field<'a>>),
    /// Given as absent (JSON null, an empty CSV cell).
    Nothing,
    /// What no key takes, by its name for people.
    Other(&'static str),
}

/// An element of a list.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    pub(crate) at: Mark,
    pub(crate) value: Value<'a>,
}

/// A key with its value.
#[derive(Debug)]
pub(crate) struct Field<'a> {
    pub(crate) key: Cow<'a, str>,
    pub(crate) at: Mark,
    pub(crate) value: Value<'a>,
}

/// One host, role, record or grant before it is checked.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) at: Mark,
    /// What people call the entry where lines do not tell, such as an instance id.
    pub(crate) label: Option<compact_str::CompactString>,
    pub(crate) fields: Vec<Field<'a>>,
}

impl Value<'_> {
    /// What the value is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Whole(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::Date(_) => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Nothing => "nothing",
            Self::Other(kind) => kind,
        }
    }
}
