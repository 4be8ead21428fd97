//! Rewrite rules in syslog-ng's syntax, one rule a text: `set("${HOST}.lan", value("HOST"))`,
//! `subst("password=\S+", "password=...", value("MESSAGE"), flags(global))`, `set-tag("web") condition(...)`.
//!
//! Rules: set, unset, subst, rename, set-tag, clear-tag, set-severity, set-facility, set-pri, each with an optional
//! `condition(FILTER)` among its arguments. Names to set: MESSAGE, PROGRAM, HOST, PID, MSGID, and values of the
//! operator's own. The line as received is never changed.
//!
//! Limits: a message of [`MESSAGE_MAX`], other fields and the lists of tags and values of [`FIELD_MAX`] octets; what
//! reached them is told by the [`Outcome`].

use regex::bytes::Regex;

use crate::{
    filter::{Context, Files, Filter},
    message::{Field, Flags, Message},
    template::{DateCache, Env, Matches, Settable, SyntaxError, Template},
};

mod apply;
mod parse;

/// Octets of a message that a rule makes at most.
pub const MESSAGE_MAX: usize = 1 << 20;
/// Octets of a small field, of the list of tags and of the list of values at most.
pub const FIELD_MAX: usize = u16::MAX as usize;

/// Why a rewrite rule could not be read.
pub type RewriteError = SyntaxError;

/// A rewrite rule, read and ready to apply.
#[derive(Debug)]
pub struct Rewrite {
    text: Box<str>,
    action: Action,
    condition: Option<Filter>,
}

#[derive(Debug)]
enum Action {
    Set(Settable, Template),
    Unset(Settable),
    Subst(Box<Subst>),
    Rename(Settable, Settable),
    SetTag(Template),
    ClearTag(Template),
    Severity(Template),
    Facility(Template),
    Pri(Template),
}

#[derive(Debug)]
struct Subst {
    target: Settable,
    regex: Regex,
    replacement: Template,
    /// Whether the replacement names groups of the pattern.
    has_groups: bool,
    is_global: bool,
}

/// What a rule did, for counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The message stays as it is: the condition is not met, nothing was found, or it was so already.
    Unchanged,
    /// The changed record is in `out`.
    Changed,
    /// The same, but a text was cut to its greatest length.
    Cut,
    /// The message stays as it is: a list or the record would be longer than allowed.
    NoRoom,
    /// The message stays as it is: the text that was made names no severity, facility or PRI.
    NoSuchName,
}

impl Outcome {
    /// Whether the changed record is in `out`.
    pub fn changed(self) -> bool {
        matches!(self, Self::Changed | Self::Cut)
    }
}

impl Rewrite {
    /// Reads a rule; `files` reads the files of `in-list()` in its condition.
    ///
    /// # Errors
    /// With the place and a remedy: an unknown rule or option, a name that cannot be set, a wrong pattern, a limit.
    pub fn parse(text: &str, files: Files<'_>) -> Result<Self, RewriteError> {
        let (action, condition) = parse::parse(text, files).map_err(|(at, why)| SyntaxError::new(text, at, why))?;
        Ok(Self { text: text.into(), action, condition })
    }

    /// Applies the rule. If it changes the message, `out` has the record of the changed one, with
    /// [`Flags::REWRITTEN`]; else `out` is empty. What was in `out` is gone in any case.
    pub fn apply(
        &self,
        message: &Message<'_>,
        context: &Context,
        env: &Env<'_>,
        dates: &mut DateCache,
        out: &mut Vec<u8>,
    ) -> Outcome {
        out.clear();
        if self.condition.as_ref().is_some_and(|condition| !condition.matches(message, context)) {
            return Outcome::Unchanged;
        }
        self.action.apply(message, env, dates, out)
    }

    /// The text that was read.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests;
