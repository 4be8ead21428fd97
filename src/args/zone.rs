//! `gatehouse record …` and `gatehouse dns …`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args as ClapArgs, Subcommand};

use super::{Reach, Write, server};

/// The commands for static records.
#[derive(Debug, Subcommand)]
pub(crate) enum RecordCommand {
    /// Add a static record
    Add(RecordAdd),
    /// Remove the static records of a name
    Remove(RecordRemove),
    /// List static records
    List(RecordList),
}

/// `gatehouse record add`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  gatehouse record add www.acme.private CNAME web.acme.private.
  gatehouse record add acme.private MX '10 mail.acme.private.' --ttl 300
  gatehouse record add '*.apps.acme.private' A 10.2.0.80")]
pub(crate) struct RecordAdd {
    /// Owner name in full
    pub name: String,
    /// Type: A, CNAME, MX, TXT, SRV, or TYPE65280 for any number
    #[arg(value_name = "TYPE")]
    pub rtype: String,
    /// Data as in a zone file; several words may be quoted or not
    #[arg(required = true, num_args = 1..)]
    pub data: Vec<String>,
    /// Time to live in seconds [default: [dns] ttl]
    #[arg(long, value_name = "SECONDS")]
    pub ttl: Option<u32>,
    /// Why, and how to reach the node.
    #[command(flatten)]
    pub write: Write,
}

/// `gatehouse record remove`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  gatehouse record remove www.acme.private CNAME
  gatehouse record remove acme.private MX '10 mail.acme.private.' --why 'mail has moved'")]
pub(crate) struct RecordRemove {
    /// Owner name in full
    pub name: String,
    /// Type; without it, the records of all types
    #[arg(value_name = "TYPE")]
    pub rtype: Option<String>,
    /// Data; without it, all records of the type
    pub data: Option<String>,
    /// Why, and how to reach the node.
    #[command(flatten)]
    pub write: Write,
}

/// `gatehouse record list`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  gatehouse record list
  gatehouse record list --name www.acme.private --json")]
pub(crate) struct RecordList {
    /// Only records of this owner name
    #[arg(long)]
    pub name: Option<String>,
    /// Only records of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub rtype: Option<String>,
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

/// The commands for names.
#[derive(Debug, Subcommand)]
pub(crate) enum DnsCommand {
    /// Say which host, rule and change made each record of a name, or why there is none
    Explain(DnsExplain),
    /// Ask us and another server the same questions and list the differences
    Compare(DnsCompare),
    /// Take the records of a zone file (RFC 1035) into the inventory
    ImportZone(DnsImportZone),
    /// Serve one zone file with the same engine and nothing else
    ServeZone(DnsServeZone),
}

/// `gatehouse dns explain`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  gatehouse dns explain mysql.us-east-1.acme.private
  gatehouse dns explain 4.3.2.10.in-addr.arpa --json")]
pub(crate) struct DnsExplain {
    /// The name
    pub name: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

/// `gatehouse dns compare`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Without names, the names of up to 20,000 hosts, of their roles and of the static records are asked for.
Exit code: 0 when all answers are the same, 1 when some differ, 69 when a server does not answer.

Examples:
  gatehouse dns compare --against 10.0.0.53
  gatehouse dns compare --against 10.0.0.53:5353 mysql.acme.private acme.private MX --json
  gatehouse dns compare --against 10.0.0.53 @names.txt      # lines of NAME TYPE; - is standard input")]
pub(crate) struct DnsCompare {
    /// The server that is to be replaced
    #[arg(long, value_name = "ADDR", value_parser = server)]
    pub against: SocketAddr,
    /// Our server [default: the first address of the running node]
    #[arg(long, value_name = "ADDR", value_parser = server)]
    pub ours: Option<SocketAddr>,
    /// Names to ask for, each with a type or not; @FILE and - are lists with one on each line
    #[arg(value_name = "NAME [TYPE]")]
    pub names: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub reach: Reach,
}

/// `gatehouse dns import-zone`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  gatehouse dns import-zone corp.zone --origin corp.example
  gatehouse dns import-zone corp.zone --why 'moved from the old server'")]
pub(crate) struct DnsImportZone {
    /// The zone file; - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Origin for relative names, if the file does not set one
    #[arg(long, value_name = "NAME")]
    pub origin: Option<String>,
    /// Also remove what an earlier import of this zone brought and this file lacks
    #[arg(long)]
    pub sync: bool,
    /// Why, and how to reach the node.
    #[command(flatten)]
    pub write: Write,
}

/// `gatehouse dns serve-zone`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  gatehouse dns serve-zone --listen 127.0.0.1:5300 example.zone
  gatehouse dns serve-zone --listen 127.0.0.1:5300 --origin example.org --workers 2 example.zone")]
pub(crate) struct DnsServeZone {
    /// Address for UDP and TCP
    #[arg(long, value_name = "ADDR", value_parser = server, required = true)]
    pub listen: Vec<SocketAddr>,
    /// Origin for relative names, if the file does not set one
    #[arg(long, value_name = "NAME")]
    pub origin: Option<String>,
    /// Threads that answer UDP
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// The zone file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}
