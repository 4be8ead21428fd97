//! The section `[directory]` of the configuration.

use std::{net::SocketAddr, path::PathBuf};

use compact_str::CompactString;
use ipnet::IpNet;
use serde::Deserialize;

/// `[directory]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Addresses for LDAP, with StartTLS when there is a certificate.
    #[serde(default)]
    pub listen: Vec<SocketAddr>,
    /// Addresses for LDAP over TLS; also the way in for `gatehouse keys` and `gatehouse access check`.
    #[serde(default)]
    pub listen_tls: Vec<SocketAddr>,
    /// DN below which everything served lies.
    pub base: String,
    /// Networks that may search without a bind.
    #[serde(default)]
    pub allow_anonymous: Vec<IpNet>,
    /// Networks that may bind with a password without TLS; loopback by default.
    #[serde(default = "loopback")]
    pub plain_binds: Vec<IpNet>,
    /// An LDIF file as the source.
    pub ldif: Option<PathBuf>,
    /// A directory server as the source.
    pub upstream: Option<Upstream>,
    /// Certificate chain for StartTLS and LDAPS, PEM.
    pub tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub tls_key: Option<PathBuf>,
    /// Roots that issue the certificates of hosts, PEM. Without it no host is known by certificate.
    pub client_ca: Option<PathBuf>,
    /// Networks in which a host without a certificate is known by its address; none by default.
    #[serde(default)]
    pub hosts_by_address: Vec<IpNet>,
    /// What a client that presents a host's certificate sees.
    #[serde(default)]
    pub views: Views,
    /// Weak password schemes that may be verified all the same: `md5`, `smd5`, `sha`, `crypt-des`, `clear`.
    #[serde(default)]
    pub weak_schemes: Vec<CompactString>,
    /// Most open connections.
    #[serde(default = "connections_max")]
    pub connections_max: usize,
    /// Most open connections from one address.
    #[serde(default = "connections_per_source")]
    pub connections_per_source: usize,
    /// Seconds after which an idle connection is closed.
    #[serde(default = "idle_s")]
    pub idle_s: u64,
    /// Most entries that one search returns.
    #[serde(default = "size_limit")]
    pub size_limit: usize,
    /// Hours without news from the source after which only people with a sudo grant are admitted; 0 for never.
    #[serde(default)]
    pub stale_admins_only_h: u64,
    /// Megabytes of decision log that are kept.
    #[serde(default = "decision_log_mb")]
    pub decision_log_mb: u64,
}

/// What a client that presents a host's certificate sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Views {
    /// Everything that a bound client sees.
    #[default]
    All,
    /// The people who may come in on that host, their groups, and its sudo rules.
    Host,
}

/// `[directory.upstream]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// `ldap://`, `ldaps://` URLs of servers with the same content, in order of preference.
    pub urls: Vec<String>,
    /// DN below which entries are followed.
    pub base: String,
    /// Filter for the entries to follow.
    #[serde(default = "everything")]
    pub filter: String,
    /// Who we are there; anonymous when absent.
    pub bind_dn: Option<String>,
    /// File with the password, read anew at every connection.
    pub bind_password_file: Option<PathBuf>,
    /// Whether `ldap://` URLs use StartTLS.
    #[serde(default = "yes")]
    pub starttls: bool,
    /// Roots that the servers' certificates must lead to, PEM; the system's when absent.
    pub ca_file: Option<PathBuf>,
    /// How changes are learned.
    #[serde(default)]
    pub follow: Follow,
    /// Seconds between polls of a server that cannot push.
    #[serde(default = "poll_s")]
    pub poll_s: u64,
    /// Hours between full comparisons with the upstream.
    #[serde(default = "reconcile_h")]
    pub reconcile_h: u64,
    /// Seconds to connect, and for a single answer.
    #[serde(default = "timeout_s")]
    pub timeout_s: u64,
    /// Largest content, in entries, that is taken over.
    #[serde(default = "entries_max")]
    pub entries_max: usize,
}

/// How changes of the upstream are learned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Follow {
    /// RFC 4533 where the rootDSE names it, polling elsewhere.
    #[default]
    Auto,
    /// RFC 4533 refreshAndPersist.
    Sync,
    /// A full search every `poll_s`.
    Poll,
}

fn loopback() -> Vec<IpNet> {
    vec![
        IpNet::V4(ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8)),
        IpNet::V6(ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128)),
    ]
}

fn connections_max() -> usize {
    20_000
}

fn connections_per_source() -> usize {
    200
}

fn idle_s() -> u64 {
    900
}

fn size_limit() -> usize {
    100_000
}

fn decision_log_mb() -> u64 {
    256
}

fn everything() -> String {
    "(objectClass=*)".into()
}

fn yes() -> bool {
    true
}

fn poll_s() -> u64 {
    30
}

fn reconcile_h() -> u64 {
    6
}

fn timeout_s() -> u64 {
    10
}

fn entries_max() -> usize {
    1_000_000
}
