//! `gatehouse logs`: arguments.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args as ClapArgs, Subcommand};

use super::Reach;

/// `gatehouse logs`.
#[derive(Debug, Subcommand)]
pub(crate) enum LogsCommand {
    /// Show messages as they come in
    Tail(LogsTail),
    /// Search the messages that the spool still holds
    Grep(LogsGrep),
    /// List hosts that should be logging and are not
    Silent(LogsSilent),
    /// Say what would become of a line: how it is read, whose it is, where it goes
    Explain(LogsExplain),
    /// Show the spool: what it holds, and how far each destination is
    Spool(LogsSpool),
    /// List destinations; pause one, or let it go on
    Destination(LogsDestination),
    /// Translate a syslog-ng.conf
    ImportSyslogNg(LogsImport),
}

/// `gatehouse logs tail`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Filters are syslog-ng's, and role() zone() region() product() group() tag() known() as well.

Examples:
  gatehouse logs tail
  gatehouse logs tail --filter 'role(mysql) and level(warning..emerg)'
  gatehouse logs tail --json | jq -r .message")]
pub(crate) struct LogsTail {
    /// Only messages that it takes
    #[arg(long, value_name = "FILTER")]
    pub filter: Option<String>,
    /// End after so many
    #[arg(long, short = 'n', value_name = "N")]
    pub count: Option<u64>,
    /// Print JSON, one object per line
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

/// `gatehouse logs grep`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Exit code 0: something was found; 1: nothing.

Examples:
  gatehouse logs grep --since 10m 'connection refused'
  gatehouse logs grep --since 1h --filter 'host(db01) and level(err..emerg)'
  gatehouse logs grep --since 2026-11-17T09:00:00Z --until 2026-11-17T09:05:00Z --json oom")]
pub(crate) struct LogsGrep {
    /// Regular expression that the line must match; none: every line
    pub pattern: Option<String>,
    /// From when: a duration such as 10m or 24h, or a time
    #[arg(long, value_name = "WHEN", default_value = "10m")]
    pub since: String,
    /// Until when: a duration ago, or a time [default: now]
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    /// Only messages that it takes
    #[arg(long, value_name = "FILTER")]
    pub filter: Option<String>,
    /// At most so many; the newest are shown
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub limit: u64,
    /// Print JSON, one object per line
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

/// `gatehouse logs silent`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Exit code 0: every host that should log does; 1: some do not.

Examples:
  gatehouse logs silent
  gatehouse logs silent --all
  gatehouse logs silent --json | jq -r '.[].name'")]
pub(crate) struct LogsSilent {
    /// Hosts that log as expected, too
    #[arg(long)]
    pub all: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

/// `gatehouse logs explain`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Nothing is stored or sent.

Examples:
  gatehouse logs explain --from 10.1.0.31 '<11>Nov 20 17:05:05 db01 mysqld[71]: disk is full'
  gatehouse logs explain --from 10.1.0.31 --source net '<189>29: %SYS-5-CONFIG_I: Configured'")]
pub(crate) struct LogsExplain {
    /// The line, as it would arrive
    pub line: String,
    /// Address that it would come from
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<IpAddr>,
    /// Source that would receive it [default: the first by name]
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

/// `gatehouse logs spool`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  gatehouse logs spool
  gatehouse logs spool --path /var/lib/gatehouse/logs/spool     # while no node runs there
  gatehouse logs spool --json | jq .destinations")]
pub(crate) struct LogsSpool {
    /// Read this folder instead of asking the node; nothing in it is changed
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

/// `gatehouse logs destination`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A paused destination keeps its place in the spool; what routes that are not durable have for it is dropped when its
memory is full. It goes on by itself when the node starts again, unless its configuration says paused = true.

Examples:
  gatehouse logs destination
  gatehouse logs destination --pause central
  gatehouse logs destination --resume central")]
pub(crate) struct LogsDestination {
    /// Deliver nothing to it for now
    #[arg(long, value_name = "NAME", conflicts_with = "resume")]
    pub pause: Option<String>,
    /// Go on
    #[arg(long, value_name = "NAME")]
    pub resume: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

/// `gatehouse logs import-syslog-ng`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The translation goes to standard output, what could not be translated to standard error, with file and line.
Exit code 0: everything was translated; 65: not everything.

Examples:
  gatehouse logs import-syslog-ng /etc/syslog-ng/syslog-ng.conf
  gatehouse logs import-syslog-ng syslog-ng.conf | tee logrelay.toml")]
pub(crate) struct LogsImport {
    /// The configuration of syslog-ng; files that it includes are read too
    pub file: PathBuf,
}
