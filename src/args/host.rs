//! `gatehouse host …`.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use super::{Reach, Write};

/// The commands for hosts.
#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Add a host
    Add(HostAdd),
    /// Change some fields of a host
    Set(HostSet),
    /// Remove a host
    Remove(HostRemove),
    /// List hosts
    List(HostList),
    /// Show one host
    Show(HostShow),
    /// Import hosts from a file or from standard input
    Import(HostImport),
    /// Show who changed a host, when, why, and what it was before
    History(HostHistory),
}

/// The fields of a host.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct HostFields {
    /// Region [default: the zone without its trailing letter]
    #[arg(long)]
    pub region: Option<String>,
    /// Address seen from outside
    #[arg(long, value_name = "IP")]
    pub public_ip: Option<Ipv4Addr>,
    /// IPv6 address
    #[arg(long, value_name = "IP")]
    pub ipv6: Option<Ipv6Addr>,
    /// Role; give it once for each role
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<String>,
    /// Group; give it once for each group
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// Tag; give it once for each tag
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    pub tags: Vec<(String, String)>,
    /// running, draining (no role names), stopped (no role names) or terminated (no names)
    #[arg(long, value_enum)]
    pub state: Option<HostState>,
}

/// Where a host is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HostState {
    /// In service
    Running,
    /// Leaving service: keeps its own names, has left its role names
    Draining,
    /// Not running, will come back: keeps its own names
    Stopped,
    /// Gone: has no names
    Terminated,
}

impl HostState {
    /// The word of files and API.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Terminated => "terminated",
        }
    }
}

/// `gatehouse host add`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
When the command returns, the host is on disk and its names are being answered.

Examples:
  gatehouse host add dev-mysql01.us-east-1b --private-ip 10.2.3.4 --role mysql
  gatehouse host add web07.us-east-1a.acme --private-ip 10.2.0.7 --tag env=prod --why 'ticket 4711'")]
pub(crate) struct HostAdd {
    /// NAME.ZONE, or NAME.ZONE.PRODUCT; or NAME alone with --zone
    #[arg(value_name = "NAME.ZONE")]
    pub host: String,
    /// Availability zone, if it is not part of the name
    #[arg(long)]
    pub zone: Option<String>,
    /// Address inside the private network
    #[arg(long, value_name = "IP")]
    pub private_ip: Ipv4Addr,
    /// The other fields.
    #[command(flatten)]
    pub fields: HostFields,
    /// Why, and how to reach the node.
    #[command(flatten)]
    pub write: Write,
}

/// `gatehouse host set`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A list that is given (--role, --group, --tag) replaces the former list.

Examples:
  gatehouse host set dev-mysql01.us-east-1b --state draining --why 'disk is failing'
  gatehouse host set web07.us-east-1a --role web --role canary
  gatehouse host set web07.us-east-1a --unset public_ip")]
pub(crate) struct HostSet {
    /// NAME.ZONE, or NAME.ZONE.PRODUCT
    #[arg(value_name = "NAME.ZONE")]
    pub host: String,
    /// Address inside the private network
    #[arg(long, value_name = "IP")]
    pub private_ip: Option<Ipv4Addr>,
    /// The other fields.
    #[command(flatten)]
    pub fields: HostFields,
    /// Field to take away
    #[arg(long, value_name = "FIELD", value_parser = ["region", "public_ip", "ipv6", "roles", "groups", "tags", "state"])]
    pub unset: Vec<String>,
    /// Why, and how to reach the node.
    #[command(flatten)]
    pub write: Write,
}

/// `gatehouse host remove`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Example:
  gatehouse host remove dev-mysql01.us-east-1b --why 'replaced by dev-mysql02'")]
pub(crate) struct HostRemove {
    /// NAME.ZONE, or NAME.ZONE.PRODUCT
    #[arg(value_name = "NAME.ZONE")]
    pub host: String,
    /// Why, and how to reach the node.
    #[command(flatten)]
    pub write: Write,
}

/// `gatehouse host list`.
#[derive(Debug, Default, ClapArgs)]
#[command(after_help = "\
Examples:
  gatehouse host list --role mysql --region us-east-1
  gatehouse host list --state draining --json")]
pub(crate) struct HostList {
    /// Only hosts of this product
    #[arg(long)]
    pub product: Option<String>,
    /// Only hosts in this region
    #[arg(long)]
    pub region: Option<String>,
    /// Only hosts in this availability zone
    #[arg(long)]
    pub zone: Option<String>,
    /// Only hosts with this role
    #[arg(long)]
    pub role: Option<String>,
    /// Only hosts in this state
    #[arg(long, value_enum)]
    pub state: Option<HostState>,
    /// Only hosts whose name begins with this
    #[arg(long, value_name = "PREFIX")]
    pub name: Option<String>,
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

/// `gatehouse host show`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Example:
  gatehouse host show dev-mysql01.us-east-1b")]
pub(crate) struct HostShow {
    /// NAME.ZONE, or NAME.ZONE.PRODUCT
    #[arg(value_name = "NAME.ZONE")]
    pub host: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

/// What an imported file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportFormat {
    /// An inventory file with [[host]], [[role]] and [[record]]
    Toml,
    /// The same as JSON
    Json,
    /// A table whose first line names the columns
    Csv,
    /// The output of `aws ec2 describe-instances`
    Ec2,
}

impl ImportFormat {
    /// The word of the API.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Toml => "toml",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Ec2 => "ec2",
        }
    }
}

/// `gatehouse host import`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The file is applied as a whole or not at all. Hosts that an earlier import of the same format brought and that this
file lacks stay, unless --sync is given.

Examples:
  gatehouse host import --format csv hosts.csv
  gatehouse host import --format ec2 --sync instances.json --why 'nightly run'
  aws ec2 describe-instances | gatehouse host import --format ec2 --dry-run -")]
pub(crate) struct HostImport {
    /// What the file holds
    #[arg(long, value_enum)]
    pub format: ImportFormat,
    /// Also remove what earlier imports of this format brought and this file lacks
    #[arg(long)]
    pub sync: bool,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The file; - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Why, and how to reach the node.
    #[command(flatten)]
    pub write: Write,
}

/// `gatehouse host history`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
It works for hosts that are gone, too.

Example:
  gatehouse host history dev-mysql01.us-east-1b --limit 5")]
pub(crate) struct HostHistory {
    /// NAME.ZONE, or NAME.ZONE.PRODUCT
    #[arg(value_name = "NAME.ZONE")]
    pub host: String,
    /// At most this many changes, the latest first
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err(format!("{text:?} is no tag; write KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_pairs() {
        assert_eq!(tag("env=a=b"), Ok(("env".into(), "a=b".into())));
        assert!(tag("env").is_err());
        assert!(tag("=x").is_err());
    }
}
