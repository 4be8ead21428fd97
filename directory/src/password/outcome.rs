//! What a bind comes to: for the client a result code, for the decision log the reason.

use inventory::entry::EntryId;

/// Who judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The upstream, by a bind.
    Upstream,
    /// A `userPassword` value.
    Hash,
    /// A local verifier.
    Verifier,
}

impl Via {
    /// The word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Hash => "hash",
            Self::Verifier => "verifier",
        }
    }
}

/// The outcome of a bind with a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// The password is right.
    Right {
        /// Whose it is.
        entry: EntryId,
        /// Who said so.
        via: Via,
    },
    /// 49 for the client; the true reason, in snake_case, for the log.
    Wrong(&'static str),
    /// 13: a password over a connection without TLS.
    NotSecure,
    /// 53: a DN without a password (RFC 4513 section 5.1.2).
    EmptyPassword,
    /// 51: too much at the same time; which queue was full.
    Busy(&'static str),
    /// 52: the upstream is gone, and nothing here can judge anybody.
    Unavailable,
}

impl Checked {
    /// The result code for the client (RFC 4511 appendix A).
    pub fn code(self) -> u8 {
        match self {
            Self::Right { .. } => 0,
            Self::Wrong(_) => 49,
            Self::NotSecure => 13,
            Self::EmptyPassword => 53,
            Self::Busy(_) => 51,
            Self::Unavailable => 52,
        }
    }

    /// The reason for the decision log, in snake_case.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Right { .. } => "password_right",
            Self::Wrong(why) | Self::Busy(why) => why,
            Self::NotSecure => "not_secure",
            Self::EmptyPassword => "empty_password",
            Self::Unavailable => "nothing_to_check",
        }
    }
}
