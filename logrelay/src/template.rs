//! Templates with syslog-ng's macros: the lines of a destination, the names of its files, and texts that rules set.
//!
//! `${HOST}` or `$HOST` stands for a macro, `${name:-text}` gives a text for when it is empty, `$$` is a dollar sign;
//! a name that is no macro is a value that a rewrite rule set (`${.app.user}`) or a parameter of structured data
//! (`${.SDATA.id.key}`). What differs from syslog-ng: no functions `$(...)` and no references to other messages.
//!
//! [`Template::write_path`] makes a path: what a message puts into it can neither leave the folder nor grow.
//!
//! Limits: [`TEXT_MAX`], [`PARTS_MAX`], [`WRITTEN_MAX`].

use crate::message::Message;

mod dates;
mod error;
mod header;
mod macros;
mod parse;
mod path;
mod write;

pub use dates::DateCache;
pub use error::{SyntaxError, nearest};
pub(crate) use macros::bare;
pub use macros::{Known, Macro, Settable};
pub use path::{INSERT_MAX, PathNotes};
pub use write::Matches;

use macros::Time;

/// Octets of a template's text at most.
pub const TEXT_MAX: usize = 64 << 10;
/// Macros and constant pieces of a template at most.
pub const PARTS_MAX: usize = 4096;

/// Octets after which a template writes no further macro: one can name the message many times.
pub const WRITTEN_MAX: usize = 4 << 20;

/// What syslog-ng writes into files when a destination has no template.
pub const FILE_TEMPLATE: &str = "$DATE $HOST $MSGHDR$MSG\n";
/// A message of RFC 3164, without framing; a host that is not known is `-`.
pub const RFC3164_TEMPLATE: &str = "<$PRI>$DATE ${HOST:--} $MSGHDR$MSG";
/// A message of RFC 5424, without framing: absent parts are `-`, long ones are cut to the RFC's lengths, structured data
/// stays as it was received.
pub const RFC5424_TEMPLATE: &str = "${RFC5424HEADER}$MSG";

/// Why a template could not be read.
pub type TemplateError = SyntaxError;

/// What a template needs besides the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Env<'a> {
    /// Now, microseconds since 1970: the macros `C_...` and `P_...`.
    pub now_us: i64,
    /// Name of this relay: `LOGHOST`, `HOSTID`, `UNIQID`.
    pub loghost: &'a str,
    /// The local zone, minutes east of UTC: for times that bring none of their own. A stamp is written in the zone of
    /// the message, as syslog-ng does it.
    pub offset_min: i16,
    /// The destination's own zone (syslog-ng's `time-zone()`), minutes east of UTC: for all times.
    pub zone_min: Option<i16>,
    /// Digits of the fraction of a second in dates, 0 to 6 (syslog-ng's `frac-digits()`).
    pub frac_digits: u8,
}

/// A template, read and ready to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    text: Box<str>,
    parts: Box<[Part]>,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
enum Part {
    /// Constant text.
    Text(Box<str>),
    /// A macro, and what stands for it when it is empty.
    Macro(Macro, Option<Box<str>>),
    /// What a group of the pattern of `subst()` matched; 0 is the whole match.
    Group(u8),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// With the column: a brace that is not closed, a function, a reference to another message, or a limit.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::parse(text, false).map_err(|(at, why)| SyntaxError::new(text, at, why))
    }

    /// Reads the replacement of `subst()`, in which `$1` to `$9` are what the groups of its pattern matched.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_replacement(text: &str) -> Result<Self, TemplateError> {
        parse::parse(text, true).map_err(|(at, why)| SyntaxError::new(text, at, why))
    }

    /// A template that writes `text` as it is.
    pub fn constant(text: &str) -> Self {
        let parts = if text.is_empty() { Box::default() } else { Box::from([Part::Text(text.into())]) };
        Self { text: text.into(), parts }
    }

    /// Appends what the template makes of a message. `dates` keeps the last seconds' texts between calls. False if it
    /// became longer than [`WRITTEN_MAX`], so that the rest was left out.
    pub fn write(&self, message: &Message<'_>, env: &Env<'_>, dates: &mut DateCache, out: &mut Vec<u8>) -> bool {
        self.write_with(message, env, dates, &Matches::NONE, out)
    }

    /// As [`write`](Self::write), with what the groups of a pattern matched.
    pub fn write_with(
        &self,
        message: &Message<'_>,
        env: &Env<'_>,
        dates: &mut DateCache,
        matches: &Matches<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        out.reserve(self.text.len() + message.message.len() + 64);
        let start = out.len();
        for part in &self.parts {
            if out.len() - start > WRITTEN_MAX {
                return false;
            }
            write_part(part, message, env, dates, matches, out);
        }
        true
    }

    /// Appends a path: as [`write`](Self::write), but what each macro inserts stays within its component. In it `/`,
    /// NUL, control octets and leading dots become `_`, nothing becomes `_`, and [`INSERT_MAX`] octets are kept.
    /// Returns what had to be changed.
    pub fn write_path(
        &self,
        message: &Message<'_>,
        env: &Env<'_>,
        dates: &mut DateCache,
        out: &mut Vec<u8>,
    ) -> PathNotes {
        let (start, mut notes) = (out.len(), PathNotes::default());
        for part in &self.parts {
            let from = out.len();
            write_part(part, message, env, dates, &Matches::NONE, out);
            if !matches!(part, Part::Text(_)) {
                path::make_safe(out, from, &mut notes);
            }
        }
        path::make_components_safe(out, start, &mut notes);
        notes
    }

    /// Whether the template will do as the path of a file: absolute, without empty components, `.` and `..`, and with
    /// a folder before the first macro, which bounds where messages can write.
    ///
    /// # Errors
    /// What is wrong with it, with the column.
    pub fn check_path(&self) -> Result<(), TemplateError> {
        path::check(self).map_err(|(at, why)| SyntaxError::new(&self.text, at, why))
    }

    /// The text if there is no macro in it.
    pub fn as_constant(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// What the template writes, when that lies in the message as it is: nothing has to be written then.
    pub(crate) fn borrow<'a>(&'a self, message: &Message<'a>) -> Option<&'a [u8]> {
        match &*self.parts {
            [Part::Macro(one, None)] => one.borrow(message),
            _ => self.as_constant().map(str::as_bytes),
        }
    }

    /// The text that was read.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The greatest group of a pattern that it names.
    pub(crate) fn greatest_group(&self) -> Option<u8> {
        let group = |part: &Part| if let Part::Group(number) = part { Some(*number) } else { None };
        self.parts.iter().filter_map(group).max()
    }

    /// The macros in it.
    pub fn macros(&self) -> impl Iterator<Item = &Macro> {
        self.parts.iter().filter_map(|part| match part {
            Part::Macro(one, _) => Some(one),
            _ => None,
        })
    }

    /// What is allowed and yet hardly meant: values whose names are nearly those of macros, `\n` as two characters.
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        for name in self.macros().filter_map(Macro::value_name) {
            if let Some(known) = macros::likely(name) {
                doubts
                    .push(format!("${{{name}}} is no macro, so it is a value that rules set; is ${{{known}}} meant?"));
            }
        }
        if self.text.contains("\\n") {
            doubts.push("\\n in a template is a backslash and an n; write it in double quotes for a line's end".into());
        }
        doubts
    }
}

fn write_part(
    part: &Part,
    message: &Message<'_>,
    env: &Env<'_>,
    dates: &mut DateCache,
    matches: &Matches<'_>,
    out: &mut Vec<u8>,
) {
    match part {
        Part::Text(text) => out.extend_from_slice(text.as_bytes()),
        Part::Group(number) => out.extend_from_slice(matches.group(*number)),
        Part::Macro(one, default) => {
            let from = out.len();
            one.write(message, env, dates, out);
            if let Some(default) = default
                && out.len() == from
            {
                out.extend_from_slice(default.as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests;
