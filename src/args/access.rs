//! `gatehouse grant`, `revoke`, `grants` and the commands under `access` that ask a node.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::{Reach, Write};

/// `gatehouse grant`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Patterns: dev-mysql01.us-east-1b, dev-mysql*.us-east-1b, '*.us-east-1' (a region covers its zones), '*', role:mysql,
group:db, tag:env=dev. A pattern with ! in front denies, and denial wins.

Examples:
  gatehouse grant alice --on role:mysql --why 'database on call'
  gatehouse grant @dba --on 'dev-*.us-east-1' '!dev-vault*' --service sshd --until 2027-03-31 --why 'ticket 4711'
  gatehouse grant bob --on web01.us-east-1a --sudo '/usr/bin/systemctl restart nginx' --why 'deploys'
  gatehouse grant carol --on '*' --sudo --why 'administrator'")]
pub(crate) struct GrantAdd {
    /// User, or @group
    #[arg(value_name = "USER|@GROUP")]
    pub who: String,
    /// Where
    #[arg(long, value_name = "PATTERN", required = true, num_args = 1..)]
    pub on: Vec<String>,
    /// For which PAM services [default: every one but sudo]
    #[arg(long, value_name = "SERVICE", num_args = 1..)]
    pub service: Vec<String>,
    /// Also sudo: these commands, or all when none is named
    #[arg(long, value_name = "CMD", num_args = 0..)]
    pub sudo: Option<Vec<String>>,
    /// Last day (UTC), or the time at which it ends: 2027-03-31, 2027-03-31T18:00:00Z
    #[arg(long, value_name = "DATE")]
    pub until: Option<String>,
    /// Name of the grant [default: made from what it says]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Why it is given; kept with the grant and in the history
    #[arg(long, value_name = "TEXT", required = true)]
    pub why: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

/// `gatehouse revoke`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
What a person revokes is never held back.

Examples:
  gatehouse revoke g-1c9a5e77 --why 'left the team'
  gatehouse revoke dba-on-call")]
pub(crate) struct Revoke {
    /// Name of the grant, as `gatehouse grants` shows it
    pub name: String,
    /// Why, and how to reach the node.
    #[command(flatten)]
    pub write: Write,
}

/// `gatehouse grants`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  gatehouse grants
  gatehouse grants --who @dba
  gatehouse grants --json | jq '.[] | select(.sudo)'")]
pub(crate) struct GrantList {
    /// Only grants to this user or @group by name
    #[arg(long, value_name = "USER|@GROUP")]
    pub who: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

/// `gatehouse access explain`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Exit code: 0 when the person may come in, 1 when not.

Examples:
  gatehouse access explain alice dev-mysql01.us-east-1b
  gatehouse access explain alice dev-mysql01.us-east-1b sudo
  gatehouse access explain bob web01.us-east-1a sshd --at 2026-11-17T09:30:00Z --json")]
pub(crate) struct Explain {
    /// User name
    pub user: String,
    /// Host: name.zone, or its full name
    pub host: String,
    /// PAM service
    #[arg(default_value = "sshd")]
    pub service: String,
    /// Answer for this time in the past, from the change log
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

/// `gatehouse access who`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  gatehouse access who dev-mysql01.us-east-1b
  gatehouse access who dev-mysql01.us-east-1b --service sudo --json")]
pub(crate) struct Who {
    /// Host: name.zone, or its full name
    pub host: String,
    /// PAM service
    #[arg(long, default_value = "sshd")]
    pub service: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

/// `gatehouse access where`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  gatehouse access where alice
  gatehouse access where alice --service sudo --json")]
pub(crate) struct Where {
    /// User name
    pub user: String,
    /// PAM service
    #[arg(long, default_value = "sshd")]
    pub service: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

/// `gatehouse access diff`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Nothing is changed. Exit code: 0 when nobody gains or loses anything, 1 when somebody does.

Examples:
  gatehouse access diff --add new-grants.toml
  gatehouse access diff --revoke dba-on-call --service sudo")]
pub(crate) struct Diff {
    /// File with [[grant]] tables to add, or to put in the place of grants of the same name
    #[arg(long, value_name = "FILE", required_unless_present = "revoke")]
    pub add: Option<PathBuf>,
    /// Grants to take away
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub revoke: Vec<String>,
    /// PAM service
    #[arg(long, default_value = "sshd")]
    pub service: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

/// `gatehouse access lint`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Reads the filter that hosts have used so far (pam_filter of pam_ldap, ldap_access_filter of SSSD, pam_authz_search of
nslcd) and lists who would gain or lose access on a host when our decision takes its place, and why.
Exit code: 0 when the verdicts are the same, 1 when somebody gains or loses access.

Examples:
  gatehouse access lint --host dev-mysql01.us-east-1b '(|(host=dev-mysql01.us-east-1b)(host=\\*))'
  gatehouse access lint --host web01.us-east-1a '(host=web01)' --json")]
pub(crate) struct Lint {
    /// The old filter
    pub filter: String,
    /// Host that used it: name.zone, or its full name
    #[arg(long)]
    pub host: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

/// `gatehouse access log`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Every decision that was asked for is in a log of its own, each line bound to the one before it.

Examples:
  gatehouse access log
  gatehouse access log --user alice --denied --since 24h
  gatehouse access log --host web01.us-east-1a --json
  gatehouse access log --verify                 # walk the chain and name the first break")]
pub(crate) struct Log {
    /// Only decisions about this user
    #[arg(long)]
    pub user: Option<String>,
    /// Only decisions for this host
    #[arg(long)]
    pub host: Option<String>,
    /// Only denials
    #[arg(long)]
    pub denied: bool,
    /// Only the latest: 15m, 24h, 7d
    #[arg(long, value_name = "DURATION")]
    pub since: Option<String>,
    /// At most this many, the latest first
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
    /// Check that no line is missing or altered
    #[arg(long)]
    pub verify: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}
