//! What is asked, and what is answered: a verdict with its reason, the rule behind it, and the position it was made at.

use std::{fmt, sync::Arc};

use inventory::{Grant, entry::Entry, pattern::Pattern, position::Position};
use serde::{Deserialize, Serialize, Serializer};

use super::rules::{Held, Origin};

/// May this person come in?
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Login name.
    pub user: &'a str,
    /// Any name of the host; see [`super::Access::host`].
    pub host: &'a str,
    /// PAM service: `sshd`, `login`, `sudo` … in any case; see [`super::is_sudo`].
    pub service: &'a str,
    /// Seconds since 1970-01-01 UTC.
    pub now_s: u64,
    /// Whether what is known is older than is accepted for everybody: only those who may use sudo there come in.
    pub stale: bool,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The person may come in.
    Allow,
    /// The person may not.
    Deny,
}

impl Verdict {
    /// `allow` or `deny`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// Why. The list is closed, and in the order in which reasons are looked for, the first that holds being given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No entry of the directory has this `uid`.
    UnknownUser,
    /// Two entries of the directory share a `uid` of this person.
    AmbiguousUser,
    /// No host of the inventory has this name.
    UnknownHost,
    /// Several hosts have this name.
    AmbiguousHost,
    /// The host is terminated.
    HostGone,
    /// The account is locked: `pwdAccountLockedTime`, `nsAccountLock`, `loginDisabled`, `accountUnlockTime`, `userAccountControl`;
    /// or it may not be used yet: `pwdStartTime`.
    AccountLocked,
    /// The account is past its end: `shadowExpire`, `pwdEndTime`, `accountExpires`, `krbPrincipalExpiration`.
    AccountExpired,
    /// The login shell is `nologin` or `false`.
    NoLoginShell,
    /// A `!pattern` of the person or of one of their groups means this host.
    DeniedByPattern,
    /// A grant or a `host` value admits.
    Granted,
    /// Somebody is admitted there, but what is known is too old for anybody without sudo.
    Stale,
    /// What would admit is over.
    GrantExpired,
    /// The person may go there, but without sudo.
    SudoNotGranted,
    /// The person may go there, but not by this service.
    ServiceNotGranted,
    /// Nothing admits the person there.
    NoGrant,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::UnknownUser,
        Self::AmbiguousUser,
        Self::UnknownHost,
        Self::AmbiguousHost,
        Self::HostGone,
        Self::AccountLocked,
        Self::AccountExpired,
        Self::NoLoginShell,
        Self::DeniedByPattern,
        Self::Granted,
        Self::Stale,
        Self::GrantExpired,
        Self::SudoNotGranted,
        Self::ServiceNotGranted,
        Self::NoGrant,
    ];

    /// The word in logs, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown_user",
            Self::AmbiguousUser => "ambiguous_user",
            Self::UnknownHost => "unknown_host",
            Self::AmbiguousHost => "ambiguous_host",
            Self::HostGone => "host_gone",
            Self::AccountLocked => "account_locked",
            Self::AccountExpired => "account_expired",
            Self::NoLoginShell => "no_login_shell",
            Self::DeniedByPattern => "denied_by_pattern",
            Self::Granted => "granted",
            Self::Stale => "stale",
            Self::GrantExpired => "grant_expired",
            Self::SudoNotGranted => "sudo_not_granted",
            Self::ServiceNotGranted => "service_not_granted",
            Self::NoGrant => "no_grant",
        }
    }

    /// The reason for people, without the rule.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::UnknownUser => "the directory has no entry with this uid",
            Self::AmbiguousUser => "two entries of the directory share a uid of this person",
            Self::UnknownHost => "the inventory has no host of this name",
            Self::AmbiguousHost => "several hosts have this name; write it with zone and product",
            Self::HostGone => "the host is terminated",
            Self::AccountLocked => "the account is locked",
            Self::AccountExpired => "the account has expired",
            Self::NoLoginShell => "the login shell of the account admits no login",
            Self::DeniedByPattern => "a pattern denies this host to the person or one of their groups",
            Self::Granted => "a pattern admits the person to this host",
            Self::Stale => "the data is too old: until it is fresh again, only those with sudo on this host come in",
            Self::GrantExpired => "the grant for this host is over",
            Self::SudoNotGranted => "the person may use this host, but no grant gives sudo there",
            Self::ServiceNotGranted => "the person may use this host, but not by this service",
            Self::NoGrant => "nothing admits the person to this host",
        }
    }

    /// What follows from the reason.
    pub fn verdict(self) -> Verdict {
        if self == Self::Granted { Verdict::Allow } else { Verdict::Deny }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The rule behind a decision: `grant NAME pattern PATTERN`, or `host PATTERN of DN`, or `ATTRIBUTE of DN`. One line,
/// also in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule(pub(super) Source);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Pattern(Arc<Held>),
    Account(Arc<Entry>, &'static str),
}

impl Rule {
    /// The grant, if it is one's pattern.
    pub fn grant(&self) -> Option<&Arc<Grant>> {
        match &self.0 {
            Source::Pattern(held) => match &held.origin {
                Origin::Grant(grant) => Some(grant),
                Origin::Value(_) => None,
            },
            Source::Account(..) => None,
        }
    }

    /// The pattern, if it is not about the account.
    pub fn pattern(&self) -> Option<&Pattern> {
        match &self.0 {
            Source::Pattern(held) => Some(&held.pattern),
            Source::Account(..) => None,
        }
    }

    /// The directory entry, if it is one's value.
    pub fn entry(&self) -> Option<&Arc<Entry>> {
        match &self.0 {
            Source::Pattern(held) => match &held.origin {
                Origin::Value(entry) => Some(entry),
                Origin::Grant(_) => None,
            },
            Source::Account(entry, _) => Some(entry),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Pattern(held) => match &held.origin {
                Origin::Grant(grant) => write!(f, "grant {} pattern {}", grant.name, held.pattern),
                Origin::Value(entry) => write!(f, "host {} of {}", held.pattern, entry.dn.escape_debug()),
            },
            Source::Account(entry, attribute) => write!(f, "{attribute} of {}", entry.dn.escape_debug()),
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Yes or no.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// What exactly; none where there is nothing to name.
    pub rule: Option<Rule>,
    /// The position of the state that it was made from.
    pub position: Position,
}

impl Decision {
    /// Whether the person may come in.
    pub fn is_allowed(&self) -> bool {
        self.verdict == Verdict::Allow
    }
}
