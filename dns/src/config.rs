//! The `[dns]` section of the configuration.

use std::{net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use serde::Deserialize;

/// What an operator sets for DNS. Unknown keys are errors.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Addresses for UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// Addresses for DNS over TLS (RFC 7858); needs `tls_cert` and `tls_key`.
    #[serde(default)]
    pub listen_tls: Vec<SocketAddr>,
    /// Addresses for DNS over HTTPS (RFC 8484), path `/dns-query`; needs `tls_cert` and `tls_key`.
    #[serde(default)]
    pub listen_https: Vec<SocketAddr>,
    /// PEM file with the certificate chain.
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the private key.
    pub tls_key: Option<PathBuf>,
    /// Resolvers for names that are not ours. Empty: such names are REFUSED.
    #[serde(default)]
    pub forward: Vec<SocketAddr>,
    /// Networks that may ask for forwarded names and for names below a delegation; they are also exempt from rate limiting.
    #[serde(default = "loopback")]
    pub allow: Vec<IpNet>,
    /// Threads that answer UDP; each has its own socket per address.
    #[serde(default = "one")]
    pub udp_workers: usize,
    /// Time to live of generated records, in seconds.
    #[serde(default = "ttl")]
    pub ttl: u32,
    /// Time to live of negative answers, in seconds (RFC 2308: the SOA minimum).
    #[serde(default = "negative_ttl")]
    pub negative_ttl: u32,
    /// Largest UDP answer in octets; 1232 fits every path without fragments.
    #[serde(default = "udp_payload_max")]
    pub udp_payload_max: u16,
    /// TCP, TLS and HTTPS connections at once, all together.
    #[serde(default = "tcp_connections_max")]
    pub tcp_connections_max: usize,
    /// Connections at once from one address.
    #[serde(default = "tcp_connections_per_source")]
    pub tcp_connections_per_source: usize,
    /// Queries of one connection that may be under way at once (RFC 7766 section 6.2.1.1).
    #[serde(default = "tcp_pipeline_max")]
    pub tcp_pipeline_max: usize,
    /// Seconds after which a silent connection is closed (RFC 7766 section 6.2.3).
    #[serde(default = "tcp_idle_s")]
    pub tcp_idle_s: u64,
    /// Answers a second to one source network (/24 or /56) outside `allow`; 0: no limit. Default 20.
    #[serde(default = "rate_limit")]
    pub rate_limit: u32,
    /// Forwarded answers kept at most.
    #[serde(default = "cache_entries_max")]
    pub cache_entries_max: usize,
    /// Seconds for which an expired forwarded answer is still given when no resolver answers (RFC 8767).
    #[serde(default = "serve_stale_s")]
    pub serve_stale_s: u32,
    /// File with the secret for DNS cookies as 32 hexadecimal digits, the same on all replicas;
    /// a second line is the former secret, still accepted. Absent: a random secret per start.
    pub cookie_secret_file: Option<PathBuf>,
    /// File to which queries are logged; absent: no log and no cost.
    pub query_log: Option<PathBuf>,
    /// Servers told of changes by NOTIFY (RFC 1996).
    #[serde(default)]
    pub notify: Vec<SocketAddr>,
    /// Networks that may transfer zones; with keys configured they also need a key.
    #[serde(default)]
    pub transfer: Vec<IpNet>,
    /// Keys for TSIG (RFC 8945).
    #[serde(default)]
    pub key: Vec<Key>,
}

impl Config {
    /// The defaults on these addresses, without rate limiting.
    pub fn on(listen: Vec<SocketAddr>) -> Self {
        Self {
            listen,
            listen_tls: Vec::new(),
            listen_https: Vec::new(),
            tls_cert: None,
            tls_key: None,
            forward: Vec::new(),
            allow: loopback(),
            udp_workers: one(),
            ttl: ttl(),
            negative_ttl: negative_ttl(),
            udp_payload_max: udp_payload_max(),
            tcp_connections_max: tcp_connections_max(),
            tcp_connections_per_source: tcp_connections_per_source(),
            tcp_pipeline_max: tcp_pipeline_max(),
            tcp_idle_s: tcp_idle_s(),
            rate_limit: 0,
            cache_entries_max: cache_entries_max(),
            serve_stale_s: serve_stale_s(),
            cookie_secret_file: None,
            query_log: None,
            notify: Vec::new(),
            transfer: Vec::new(),
            key: Vec::new(),
        }
    }
}

/// A TSIG key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Name of the key, as the secondaries know it.
    pub name: String,
    /// `hmac-sha256` (default), `hmac-sha384` or `hmac-sha512`.
    #[serde(default = "hmac_sha256")]
    pub algorithm: String,
    /// File with the secret in base64.
    pub secret_file: PathBuf,
}

fn loopback() -> Vec<IpNet> {
    ["127.0.0.0/8", "::1/128"].iter().filter_map(|net| net.parse().ok()).collect()
}
fn one() -> usize {
    1
}
fn ttl() -> u32 {
    60
}
fn negative_ttl() -> u32 {
    30
}
fn udp_payload_max() -> u16 {
    1232
}
fn tcp_connections_max() -> usize {
    1000
}
fn tcp_connections_per_source() -> usize {
    100
}
fn tcp_pipeline_max() -> usize {
    64
}
fn tcp_idle_s() -> u64 {
    30
}
fn rate_limit() -> u32 {
    20
}
fn cache_entries_max() -> usize {
    50_000
}
fn serve_stale_s() -> u32 {
    86_400
}
fn hmac_sha256() -> String {
    "hmac-sha256".into()
}
