//! `[logrelay]`: what an operator sets.
//!
//! Texts with a grammar of their own (addresses, filters, templates, rewrite rules) are kept as text here and read by
//! the module that owns the grammar when the relay is built; `review` collects what is wrong with any of them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;

mod keys;
mod listen;

pub use listen::Listen;

/// `[logrelay]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[[logrelay.source]]`: where lines come from.
    pub source: Vec<Source>,
    /// `[[logrelay.destination]]`: where they go.
    pub destination: Vec<Destination>,
    /// `[[logrelay.route]]`: which go where. Looked at in order.
    pub route: Vec<Route>,
    /// `[logrelay.spool]`
    pub spool: Spool,
    /// `[logrelay.role.NAME]`: what is special about the logs of hosts with a role.
    pub role: BTreeMap<String, Role>,
    /// `[logrelay.limits]`
    pub limits: Limits,
}

/// `[[logrelay.source]]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Name, unique among sources.
    pub name: String,
    /// Addresses: `udp://`, `tcp://`, `tls://`, `relp://`, `relp+tls://` with ADDRESS:PORT; `unix-dgram:///PATH`,
    /// `unix-stream:///PATH`, `pipe:///PATH`.
    #[serde(default)]
    pub listen: Vec<Listen>,
    /// Globs of files to follow.
    #[serde(default)]
    pub follow: Vec<String>,
    /// How lines are read; a role's own profile comes first.
    #[serde(default)]
    pub profile: Profile,
    /// Whether HOST is the name in the header: `true` always (the sender is a relay), `false` never; absent: only when
    /// the inventory does not know the sender's address.
    pub keep_hostname: Option<bool>,
    /// Offset from UTC of stamps that name none: `"+02:00"`, or `"learn"` from each host's own stamps. A host's tag
    /// `tz` comes first.
    pub time_zone: Option<String>,
    /// Tags that every message of this source gets.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Octets of a line; longer ones are cut and marked.
    #[serde(default = "max_line")]
    pub max_line: usize,
    /// Connections at once.
    #[serde(default = "connections")]
    pub connections: usize,
    /// Connections at once from one address.
    #[serde(default = "connections_per_address")]
    pub connections_per_address: usize,
    /// Connections of `connections` that only hosts of the inventory may take.
    #[serde(default)]
    pub reserved: usize,
    /// Seconds that a line may take to arrive in full before the connection is closed.
    #[serde(default = "partial_timeout_s")]
    pub partial_timeout_s: u64,
    /// Octets of the receive buffer asked of the kernel for UDP and datagram sockets.
    #[serde(default = "receive_buffer")]
    pub receive_buffer: usize,
    /// Certificate chain for `tls` and `relp+tls`, PEM.
    pub tls_cert: Option<PathBuf>,
    /// Its key, PEM.
    pub tls_key: Option<PathBuf>,
    /// Authorities whose certificates clients may present; with it a client without a certificate is refused.
    pub client_ca: Option<PathBuf>,
    /// Whether senders may be relays of ours, which hand on whole records with their labels. Default: only those that
    /// present a certificate, where `client_ca` is set.
    pub relays: Option<bool>,
    /// Where following starts in a file that was never seen: `true` at its end, `false` at its start.
    #[serde(default)]
    pub from_end: bool,
}

/// How the lines of a source are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// RFC 5424 and RFC 3164.
    #[default]
    Rfc,
    /// As the C library writes to /dev/log: a time and a tag, no host.
    Devlog,
    /// Cisco IOS and ASA.
    Cisco,
    /// FortiGate: `date=... time=... devname=...`.
    Fortigate,
    /// After the PRI, if there is one, everything is the message.
    Plain,
}

/// `[[logrelay.destination]]`: one of `file` and `syslog`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "keys::Destination")]
pub struct Destination {
    /// Name, unique among destinations.
    pub name: String,
    /// Template of the path of a file; what messages put into it stays below the folder before its first macro.
    pub file: Option<String>,
    /// A receiver, or several of which the first that can be reached is used:
    /// `udp://`, `tcp://`, `tls://`, `relp://`, `relp+tls://` with HOST:PORT.
    pub syslog: Vec<String>,
    /// Template of a line; absent: syslog-ng's own for files, RFC 5424 for RELP and TLS, RFC 3164 for UDP and TCP.
    pub template: Option<String>,
    /// Zone of all times in it, an offset such as `+02:00`; absent: stamps in their own, others in that of this machine.
    pub time_zone: Option<String>,
    /// Digits of fractions of a second, 0 to 6; default 0.
    pub frac_digits: u8,
    /// Whether it starts paused: its cursor stands still.
    pub paused: bool,
    /// Keys of `file`.
    pub to_file: ToFile,
    /// Keys of `syslog`.
    pub to_syslog: ToSyslog,
}

/// Keys of a destination with `file`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ToFile {
    /// Owner of new files and folders: name or number.
    pub owner: Option<String>,
    /// Group of new files and folders.
    pub group: Option<String>,
    /// Mode of new files, octal text; default `0640`.
    pub mode: Option<String>,
    /// Mode of new folders, octal text; default `0750`.
    pub dir_mode: Option<String>,
    /// Whether folders are made; default true.
    pub create_dirs: Option<bool>,
    /// Octets after which a file is rotated.
    pub rotate_bytes: Option<u64>,
    /// Seconds after which a file is rotated, counted from 1970 (86,400: at midnight UTC).
    pub rotate_s: Option<u64>,
    /// Rotated files that are kept; default 7.
    pub rotate_keep: Option<usize>,
    /// Compression of rotated files: `gzip`, `zstd`; absent: none.
    pub compress: Option<String>,
    /// Whether a batch is on disk before it counts as delivered.
    pub fsync: Option<bool>,
    /// Template of a symbolic link that points to the current file.
    pub symlink: Option<String>,
    /// Files open at once; default 256.
    pub open_files: Option<usize>,
    /// Seconds without a line after which a file is closed; default 60.
    pub close_s: Option<u64>,
}

/// Keys of a destination with `syslog`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ToSyslog {
    /// Authorities that the receiver's certificate must lead to, PEM; absent: the system's.
    pub ca_file: Option<PathBuf>,
    /// Certificate that we present, PEM.
    pub client_cert: Option<PathBuf>,
    /// Its key, PEM.
    pub client_key: Option<PathBuf>,
    /// Framing over TCP and TLS: `lines` or `octets` (RFC 6587); default `lines` over TCP, `octets` over TLS.
    pub framing: Option<String>,
    /// RELP frames that may be unacknowledged; default 128, and 4,096 towards a relay of ours, which acknowledges in groups.
    pub window: Option<usize>,
    /// Seconds in which the receiver must take or acknowledge what was sent; default 30.
    pub timeout_s: Option<u64>,
    /// Longest pause between attempts, seconds; default 60, as syslog-ng's `time-reopen`.
    pub reopen_s: Option<u64>,
}

/// `[[logrelay.route]]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Name in metrics; default: its number among the routes, from 1.
    pub name: Option<String>,
    /// Sources; absent: all.
    #[serde(default)]
    pub from: Vec<String>,
    /// Filter expression; absent: every message.
    pub filter: Option<String>,
    /// Rewrite rules, in order.
    #[serde(default)]
    pub rewrite: Vec<String>,
    /// Names of destinations.
    pub to: Vec<String>,
    /// Through the spool; false: memory only.
    #[serde(default = "yes")]
    pub durable: bool,
    /// What it takes, later routes do not see.
    #[serde(default, rename = "final")]
    pub is_final: bool,
    /// It sees only what no other route took.
    #[serde(default)]
    pub fallback: bool,
    /// What happens when there is no more room: `drop-oldest` (default), `drop-newest`, `block`, `shed SEVERITY`.
    pub full: Option<String>,
}

/// `[logrelay.spool]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spool {
    /// Folder; default `spool` in `[node] data_dir`.
    pub path: Option<PathBuf>,
    /// Octets on disk at most.
    pub max_bytes: u64,
    /// Octets of a segment.
    pub segment_bytes: u64,
    /// Longest wait for others before a group is made durable, milliseconds.
    pub sync_ms: u64,
    /// Octets after which a group is made durable without waiting.
    pub sync_bytes: usize,
    /// Seconds for which delivered records are kept for `logs tail` and `logs grep`, room permitting.
    pub keep_s: u64,
}

impl Default for Spool {
    fn default() -> Self {
        Self { path: None, max_bytes: 8 << 30, segment_bytes: 64 << 20, sync_ms: 10, sync_bytes: 1 << 20, keep_s: 3600 }
    }
}

/// `[logrelay.role.NAME]`
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Role {
    /// How lines of such hosts are read.
    pub profile: Option<Profile>,
    /// Seconds within which such a host is expected to log; absent: learned.
    pub expect_s: Option<u64>,
    /// Messages a second of one such host, above which it is shed.
    pub rate: Option<u32>,
    /// Severity from which on such a host is never shed (`err`: err and worse pass); default `err`.
    pub spare: Option<String>,
}

/// `[logrelay.limits]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Messages a second of one host, above which it is shed; 0: no limit.
    pub rate: u32,
    /// Messages above `rate` that a host may have saved up.
    pub burst: u32,
    /// Octets that wait for the spool, and for each destination of routes that are not durable.
    pub queue_bytes: usize,
    /// Senders that are remembered one by one; others share one place.
    pub hosts: usize,
    /// Seconds within which a host is expected to log while its own habit is not known; 0: such a host is never called silent.
    pub expect_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rate: 0, burst: 10_000, queue_bytes: 16 << 20, hosts: 200_000, expect_s: 3600 }
    }
}

fn yes() -> bool {
    true
}

/// syslog-ng's `log-msg-size`.
fn max_line() -> usize {
    65_536
}

fn connections() -> usize {
    20_000
}

fn connections_per_address() -> usize {
    1_000
}

fn partial_timeout_s() -> u64 {
    30
}

fn receive_buffer() -> usize {
    8 << 20
}

impl Config {
    /// Makes every path that is relative a path below `folder`.
    pub fn anchor(&mut self, folder: &Path) {
        let path = |path: &mut PathBuf| *path = folder.join(&*path);
        let text = |text: &mut String| {
            if !text.starts_with(['/', '$']) {
                *text = folder.join(&*text).to_string_lossy().into_owned();
            }
        };
        self.spool.path.as_mut().map(path);
        for source in &mut self.source {
            source.follow.iter_mut().for_each(text);
            [&mut source.tls_cert, &mut source.tls_key, &mut source.client_ca].into_iter().flatten().for_each(path);
        }
        for destination in &mut self.destination {
            [&mut destination.file, &mut destination.to_file.symlink].into_iter().flatten().for_each(text);
            let syslog = &mut destination.to_syslog;
            [&mut syslog.ca_file, &mut syslog.client_cert, &mut syslog.client_key].into_iter().flatten().for_each(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in ["udp://10.0.0.2:514", "relp+tls://[::1]:2514", "unix-dgram:///dev/log", "pipe:///run/p"] {
            assert_eq!(Listen::parse(text).unwrap().to_string(), text);
        }
        for text in ["10.0.0.2:514", "udp://host:514", "unix-dgram://log", "http://x:1"] {
            assert!(Listen::parse(text).unwrap_err().contains(text));
        }
    }

    #[test]
    fn the_shapes_of_the_contract_are_read() {
        let text = r#"
            [[source]]
            name = "net"
            listen = ["udp://10.0.0.2:514", "tcp://10.0.0.2:514", "tls://10.0.0.2:6514", "relp://10.0.0.2:2514"]
            [[source]]
            name = "app"
            follow = ["/var/log/app/*.log"]
            [[destination]]
            name = "files"
            file = "/var/log/gatehouse/${HOST}/${PROGRAM}.log"
            [[destination]]
            name = "central"
            syslog = "relp+tls://logs.acme.private:2514"
            [[route]]
            filter = 'level(warning..emerg) and not program("cron")'
            to = ["files", "central"]
            durable = true
        "#;
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.source[0].listen.len(), 4);
        assert_eq!(config.destination[1].syslog, ["relp+tls://logs.acme.private:2514"]);
        assert!(config.route[0].durable && !config.route[0].is_final);
        let error =
            toml::from_str::<Config>("[[destination]]\nname = \"x\"\nfile = \"/x\"\nmodee = \"1\"\n").unwrap_err();
        assert!(error.to_string().contains("modee"), "{error}");
    }
}
