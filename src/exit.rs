//! How a command ends: a sentence for the person and an exit code from sysexits(3) for the script.

use std::{fmt, process::ExitCode};

/// Exit codes, as in sysexits(3), and that of diff(1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was compared is not the same.
    Differs = 1,
    /// The command line is wrong.
    Usage = 64,
    /// The data given is wrong.
    Data = 65,
    /// An input file cannot be read.
    NoInput = 66,
    /// The node or another service cannot be reached.
    Unavailable = 69,
    /// A part of the program ended that must not end.
    Software = 70,
    /// An address or socket cannot be had.
    Os = 71,
    /// An output file cannot be made.
    CantCreate = 73,
    /// Reading or writing failed.
    Io = 74,
    /// Not done now; it may be done later, or after `gatehouse accept`.
    TempFail = 75,
    /// The node refuses, because of who asks.
    NoPermission = 77,
    /// The configuration is wrong.
    Config = 78,
}

/// Why a command did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Code for the caller.
    pub exit: Exit,
    /// What happened and what to do about it.
    pub sentence: String,
    /// One line for each further fact.
    pub details: Vec<String>,
}

impl Failure {
    /// A failure that one sentence explains.
    pub(crate) fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self { exit, sentence: sentence.into(), details: Vec::new() }
    }

    /// The same failure with one line for each further fact.
    pub(crate) fn with_details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)?;
        self.details.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl std::error::Error for Failure {}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_follow_the_sentence() {
        let failure = Failure::new(Exit::Data, "two hosts clash").with_details(vec!["a".into(), "b".into()]);
        assert_eq!(failure.to_string(), "two hosts clash\n  a\n  b");
    }
}
