//! The command line. Every help text says what a command is for and shows it in use.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

mod access;
mod host;
mod instance;
mod logs;
mod zone;

pub(crate) use access::{Diff, Explain, GrantAdd, GrantList, Lint, Log, Revoke, Where, Who};
pub(crate) use host::{HostAdd, HostCommand, HostFields, HostImport, HostList, HostRemove, HostSet};
pub(crate) use instance::{AccessCheck, ClientConfig, Keys, Program};
pub(crate) use logs::{
    LogsCommand, LogsDestination, LogsExplain, LogsGrep, LogsImport, LogsSilent, LogsSpool, LogsTail,
};
pub(crate) use zone::{
    DnsCommand, DnsCompare, DnsImportZone, DnsServeZone, RecordAdd, RecordCommand, RecordList, RecordRemove,
};

/// Where the control socket is when nobody says otherwise.
pub(crate) const SOCKET_DEFAULT: &str = "/run/gatehouse/control.sock";
/// Where the configuration is when nobody says otherwise.
pub(crate) const CONFIG_DEFAULT: &str = "/etc/gatehouse/gatehouse.toml";

/// Names for every instance of a region, from an inventory, out of one process.
#[derive(Debug, Parser)]
#[command(
    name = "gatehouse",
    version,
    max_term_width = 110,
    after_help = "\
New here? `gatehouse quickstart` runs a sample world and prints commands to try.
`gatehouse COMMAND --help` explains each command and shows it in use."
)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a sample world on this machine, without configuration and without root
    Quickstart(Quickstart),
    /// Run the node
    Serve(Serve),
    /// Say what is wrong or unwise in a configuration and its inventory
    Check(Check),
    /// Show what the node serves, how old it is, and what is stuck and why
    Status(Status),
    /// Add, change, remove, list, show and import hosts
    #[command(subcommand)]
    Host(HostCommand),
    /// Add, remove and list static DNS records
    #[command(subcommand)]
    Record(RecordCommand),
    /// Let a person or a group in somewhere
    Grant(GrantAdd),
    /// Take a grant back
    Revoke(Revoke),
    /// List the grants
    Grants(GrantList),
    /// Explain and compare answers, import and serve zone files
    #[command(subcommand)]
    Dns(DnsCommand),
    /// Print a user's SSH keys for sshd, on an instance
    // sshd calls it, and `client-config sshd` shows how: not a line for everybody's screen.
    #[command(hide = true)]
    Keys(Keys),
    /// Say who may come in, where and why
    #[command(subcommand)]
    Access(AccessCommand),
    /// Watch, search and explain logs; list hosts that are silent
    #[command(subcommand)]
    Logs(LogsCommand),
    /// Print what goes into the files of an instance
    ClientConfig(ClientConfig),
    /// List the changes that are held back; accept or discard one
    Accept(Accept),
    /// Show or change the level of the running node's log
    LogLevel(LogLevel),
}

/// `gatehouse access`.
#[derive(Debug, Subcommand)]
pub(crate) enum AccessCommand {
    /// Say why a person may come in on a host, or why not, now or at a time in the past
    Explain(Explain),
    /// List who may come in on a host
    Who(Who),
    /// List where a person may come in
    Where(Where),
    /// Say who would gain or lose what by a change of grants, before it is made
    Diff(Diff),
    /// Hold an old pam_filter against the decisions
    Lint(Lint),
    /// Search the log of decisions
    Log(Log),
    /// Decide for PAM whether a user may come in, on an instance
    Check(AccessCheck),
}

/// `gatehouse quickstart`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Names are answered on port N+53, HTTP on port N+80, LDAP on port N+389, syslog on port N+514 (UDP and TCP), all on
127.0.0.1 only.
Without --dir everything lies in a temporary folder, which is removed at the end.

Examples:
  gatehouse quickstart
  gatehouse quickstart --port-base 20000
  gatehouse quickstart --dir ~/gatehouse-trial     # keeps configuration, inventory and store")]
pub(crate) struct Quickstart {
    /// Folder for configuration, inventory and store; kept at the end, and used again next time
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The ports are N+53 (DNS), N+80 (HTTP), N+389 (LDAP) and N+514 (syslog)
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u16).range(1000..=65_000))]
    pub port_base: u16,
    /// How the log looks.
    #[command(flatten)]
    pub log: LogArgs,
}

/// `gatehouse serve`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
SIGTERM and SIGINT finish what is under way and stop. SIGHUP reads inventory, token, certificates and the [logrelay]
section again and reopens files. Started as root, the node binds its ports and then becomes the user that [node] user names.

Examples:
  gatehouse serve --config /etc/gatehouse/gatehouse.toml
  gatehouse serve --config gatehouse.toml --log-format json --log-level dns=debug,info
  gatehouse serve --config gatehouse.toml --restored      # once, after putting back a backup of data_dir")]
pub(crate) struct Serve {
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "GATEHOUSE_CONFIG", default_value = CONFIG_DEFAULT)]
    pub config: PathBuf,
    /// The data folder is a backup that was put back: begin the next epoch, so that no serial is used twice
    #[arg(long)]
    pub restored: bool,
    /// How the log looks.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Options of the log.
#[derive(Debug, ClapArgs)]
pub(crate) struct LogArgs {
    /// Lines for people, or one JSON object per line
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Human)]
    pub log_format: LogFormat,
    /// error, warn, info, debug, trace, or a filter such as dns=debug,info
    #[arg(long, value_name = "LEVEL", env = "GATEHOUSE_LOG", default_value = "info")]
    pub log_level: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Human,
    /// One JSON object per line
    Json,
}

/// `gatehouse check`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Exit code 0: fine, perhaps with warnings; 78: the node would not start, or the inventory would not be applied.

Examples:
  gatehouse check --config /etc/gatehouse/gatehouse.toml
  gatehouse check --config gatehouse.toml --json")]
pub(crate) struct Check {
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "GATEHOUSE_CONFIG", default_value = CONFIG_DEFAULT)]
    pub config: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How to reach the running node.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct Reach {
    /// Control socket of the node [default: from --config, else /run/gatehouse/control.sock]
    #[arg(long, value_name = "PATH", env = "GATEHOUSE_SOCKET")]
    pub socket: Option<PathBuf>,
    /// Configuration file that names the control socket
    #[arg(long, value_name = "FILE", env = "GATEHOUSE_CONFIG")]
    pub config: Option<PathBuf>,
}

/// How to reach the node, and why something is changed.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct Write {
    /// Why; kept in the history beside your user name and the time
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

/// `gatehouse status`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Everything that is stuck is listed with its reason, its age and the remedy.

Examples:
  gatehouse status
  gatehouse status --json | jq .position.serial")]
pub(crate) struct Status {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

/// `gatehouse accept`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A change that takes away many hosts or records at once, a zone, all that a source holds, or the last member of a role
in a product, is held: names are answered as before until somebody accepts it. Accepting makes what was held and no
more; it is refused when one of its rows has changed meanwhile.

Examples:
  gatehouse accept                                   # what is held, and why
  gatehouse accept 3 --why 'old cluster is gone'
  gatehouse accept --discard 3")]
pub(crate) struct Accept {
    /// Number of the change to accept; without it, the changes are listed
    #[arg(conflicts_with = "discard")]
    pub id: Option<u64>,
    /// Throw this change away
    #[arg(long, value_name = "ID")]
    pub discard: Option<u64>,
    /// Why, and how to reach the node.
    #[command(flatten)]
    pub write: Write,
}

/// `gatehouse log-level`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  gatehouse log-level                 # the level now
  gatehouse log-level debug
  gatehouse log-level dns=trace,info")]
pub(crate) struct LogLevel {
    /// error, warn, info, debug, trace, or a filter; without it, the level is shown
    pub level: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

/// A server to compare with: an address, with port 53 unless it says otherwise.
pub(crate) fn server(text: &str) -> Result<SocketAddr, String> {
    let bare = || text.parse().map(|ip| SocketAddr::new(ip, 53));
    text.parse().or_else(|_| bare()).map_err(|_| format!("{text:?} is no address; write 10.0.0.2 or 10.0.0.2:53"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn definitions_are_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn general_help_fits_on_a_screen() {
        let help = Args::command().render_help().to_string();
        assert!(help.lines().count() <= 30, "{help}");
    }

    #[test]
    fn every_command_shows_examples() {
        fn leaves(command: &clap::Command, path: &str, out: &mut Vec<(String, String)>) {
            for sub in command.get_subcommands().filter(|c| c.get_name() != "help") {
                let path = format!("{path} {}", sub.get_name());
                if !sub.has_subcommands() {
                    let after = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                    out.push((path.trim().into(), after));
                }
                leaves(sub, &path, out);
            }
        }
        let mut found = Vec::new();
        leaves(&Args::command(), "", &mut found);
        assert!(found.len() >= 20, "{found:?}");
        for (path, after) in found {
            assert!(after.contains("Example"), "{path} has no example");
            // Each example must be a command line that we accept.
            for line in after.lines().filter(|l| l.trim_start().starts_with("gatehouse ")) {
                let line = line.split(" | ").next().unwrap_or(line).split('#').next().unwrap_or(line);
                let words = shell_words(line);
                assert!(Args::try_parse_from(&words).is_ok(), "{path}: {line}");
            }
        }
    }

    /// Splits at spaces outside single quotes.
    fn shell_words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for c in line.trim().chars() {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
        }
        words.retain(|w| !w.is_empty());
        words
    }

    #[test]
    fn quickstart_is_as_the_readme_says() {
        let Command::Quickstart(q) = parse("gatehouse quickstart").unwrap().command else { panic!() };
        assert_eq!((q.port_base, q.dir), (10_000, None));
        assert!(parse("gatehouse quickstart --port-base 20000 --dir x").is_ok());
        assert!(parse("gatehouse quickstart --port-base 65500").is_err());
    }

    #[test]
    fn accept_takes_an_id_or_discards_one() {
        assert!(parse("gatehouse accept").is_ok());
        assert!(parse("gatehouse accept 3").is_ok());
        assert!(parse("gatehouse accept 3 --discard 4").is_err());
    }

    #[test]
    fn servers_default_to_port_53() {
        assert_eq!(server("10.0.0.2"), Ok("10.0.0.2:53".parse().unwrap()));
        assert_eq!(server("[::1]:5353"), Ok("[::1]:5353".parse().unwrap()));
        assert!(server("ns1").is_err());
    }
}
