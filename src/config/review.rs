//! What is wrong between keys, and what is unwise. No sockets are opened; files are looked at, not
//! required: a configuration may be checked on another machine than the one that it is for.

use std::{collections::BTreeMap, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path};

use super::{
    Config,
    problem::{Problem, Source},
};

mod access;
mod logs;

/// Answers of more octets may be cut into fragments on some paths (DNS flag day 2020).
const UDP_PAYLOAD_SAFE: u16 = 1232;
/// Smallest answer size that every resolver must accept (RFC 1035 section 2.3.4).
const UDP_PAYLOAD_MIN: u16 = 512;
/// A host that moves should be found within this many seconds.
const TTL_UNWISE_S: u32 = 3600;
/// Longest path of a unix socket on Linux, its closing zero excluded.
pub(crate) const SOCKET_PATH_MAX: usize = 107;

/// Everything that is wrong or unwise in a configuration that could be read.
pub(crate) fn review(config: &Config) -> Vec<Problem> {
    let text = std::fs::read_to_string(&config.file).unwrap_or_default();
    let mut notes = Notes { source: Source { file: &config.file, text: &text }, found: Vec::new() };
    if let Some(dns) = &config.dns {
        listeners(&mut notes, dns);
        limits(&mut notes, dns);
        forwarding(&mut notes, dns);
        transfers(&mut notes, dns);
    }
    if let Some(directory) = &config.directory {
        access::review(&mut notes, directory);
    }
    if let Some(logrelay) = &config.logrelay {
        logs::review(&mut notes, logrelay);
    }
    ports(&mut notes, config);
    admin(&mut notes, config);
    inventory(&mut notes, config);
    notes.found
}

struct Notes<'a> {
    source: Source<'a>,
    found: Vec<Problem>,
}

impl Notes<'_> {
    fn error(&mut self, section: &str, key: &str, text: impl Into<String>) {
        let line = self.source.line_of_key(section, key);
        self.found.push(Problem::error(self.source.file, line, text.into()));
    }

    /// An error in one of several tables `[[logrelay.NAME]]`.
    fn error_in(&mut self, table: &str, index: usize, key: &str, text: String) {
        let line = self.source.line_in_table(&format!("[[logrelay.{table}]]"), index, key);
        self.found.push(Problem::error(self.source.file, line, format!("[[logrelay.{table}]] {text}")));
    }

    fn warn(&mut self, section: &str, key: &str, text: impl Into<String>) {
        let line = self.source.line_of_key(section, key);
        self.found.push(Problem::warning(self.source.file, line, text.into()));
    }

    /// Warns when a file that the node will read is not there.
    fn file(&mut self, section: &str, key: &str, path: &Path) {
        if !path.exists() {
            self.warn(section, key, format!("{key}: {} does not exist on this machine", path.display()));
        }
    }
}

fn listeners(notes: &mut Notes<'_>, dns: &dns::config::Config) {
    if dns.listen.is_empty() && dns.listen_tls.is_empty() && dns.listen_https.is_empty() {
        notes.error("dns", "listen", "[dns] listens nowhere; give listen an address, or remove the section");
    }
    let encrypted = !dns.listen_tls.is_empty() || !dns.listen_https.is_empty();
    match (&dns.tls_cert, &dns.tls_key) {
        (Some(cert), Some(key)) => {
            notes.file("dns", "tls_cert", cert);
            notes.file("dns", "tls_key", key);
            if !encrypted {
                let text = "tls_cert is set but neither listen_tls nor listen_https is: nothing uses the certificate";
                notes.warn("dns", "tls_cert", text);
            }
        }
        (None, None) if !encrypted => {}
        _ => notes.error("dns", "listen_tls", "listen_tls and listen_https need both tls_cert and tls_key"),
    }
}

fn limits(notes: &mut Notes<'_>, dns: &dns::config::Config) {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    if dns.udp_workers == 0 {
        notes.error("dns", "udp_workers", "udp_workers = 0: nobody would answer; use 1 or more");
    } else if dns.udp_workers > 4 * cpus {
        let text = format!(
            "udp_workers = {} on {cpus} processors: more threads only get in each other's way",
            dns.udp_workers
        );
        notes.warn("dns", "udp_workers", text);
    }
    if dns.udp_payload_max < UDP_PAYLOAD_MIN {
        let text = format!("udp_payload_max = {}: RFC 1035 asks for at least {UDP_PAYLOAD_MIN}", dns.udp_payload_max);
        notes.error("dns", "udp_payload_max", text);
    } else if dns.udp_payload_max > UDP_PAYLOAD_SAFE {
        let text = format!("udp_payload_max above {UDP_PAYLOAD_SAFE}: answers may be fragmented and lost");
        notes.warn("dns", "udp_payload_max", text);
    }
    if dns.ttl > TTL_UNWISE_S {
        let text = format!("ttl = {}: clients will keep the address of a host that is gone for that long", dns.ttl);
        notes.warn("dns", "ttl", text);
    }
    let counts = [
        ("tcp_connections_max", dns.tcp_connections_max),
        ("tcp_connections_per_source", dns.tcp_connections_per_source),
        ("tcp_pipeline_max", dns.tcp_pipeline_max),
    ];
    for (key, _) in counts.into_iter().filter(|(_, n)| *n == 0) {
        notes.error("dns", key, format!("{key} = 0 refuses every connection; DNS needs TCP (RFC 7766)"));
    }
    if let Some(file) = &dns.cookie_secret_file {
        notes.file("dns", "cookie_secret_file", file);
    }
}

fn forwarding(notes: &mut Notes<'_>, dns: &dns::config::Config) {
    let ours = |a: &SocketAddr| dns.listen.iter().any(|l| l == a || (l.port() == a.port() && l.ip().is_unspecified()));
    if let Some(own) = dns.forward.iter().find(|a| ours(a) && a.ip().is_loopback() || dns.listen.contains(a)) {
        notes.error("dns", "forward", format!("forward names {own}, on which this node itself listens: a loop"));
    }
    if !dns.forward.is_empty() && dns.allow.iter().any(|net| net.prefix_len() == 0) {
        let text = "allow holds a network of the whole Internet: an open resolver is a weapon in the hands of others";
        notes.warn("dns", "allow", text);
    }
    if dns.forward.is_empty() && !dns.listen.iter().all(|a| a.ip().is_loopback()) {
        let text = "forward is empty: names that are not ours are REFUSED, so instances need another resolver for them";
        notes.warn("dns", "forward", text);
    }
}

fn transfers(notes: &mut Notes<'_>, dns: &dns::config::Config) {
    if !dns.transfer.is_empty() && dns.key.is_empty() {
        let text = "transfer without a [[dns.key]]: everybody in these networks can copy the whole inventory";
        notes.warn("dns", "transfer", text);
    }
    if !dns.notify.is_empty() && dns.transfer.is_empty() {
        notes.warn(
            "dns",
            "notify",
            "notify is set but transfer is empty: the servers are told of changes and may not fetch them",
        );
    }
    for key in &dns.key {
        if !["hmac-sha256", "hmac-sha384", "hmac-sha512"].contains(&key.algorithm.as_str()) {
            let text = format!(
                "algorithm {:?} of key {:?} is unknown; use hmac-sha256, hmac-sha384 or hmac-sha512",
                key.algorithm, key.name
            );
            notes.error("dns", "key", text);
        }
        notes.file("dns", "key", &key.secret_file);
    }
}

/// No two parts may listen on one TCP port.
fn ports(notes: &mut Notes<'_>, config: &Config) {
    let mut taken: BTreeMap<SocketAddr, &str> = BTreeMap::new();
    let dns = config.dns.iter();
    let dns =
        dns.flat_map(|d| [("listen", &d.listen), ("listen_tls", &d.listen_tls), ("listen_https", &d.listen_https)]);
    let dns = dns.flat_map(|(key, all)| all.iter().map(move |a| ("dns", key, *a)));
    let directory = config.directory.iter().flat_map(|d| [("listen", &d.listen), ("listen_tls", &d.listen_tls)]);
    let directory = directory.flat_map(|(key, all)| all.iter().map(move |a| ("directory", key, *a)));
    let logs = config.logrelay.iter().flat_map(|l| &l.source).flat_map(|source| &source.listen);
    let logs = logs.filter_map(|listen| Some(("logrelay.source", "listen", listen.stream_address()?)));
    for (section, key, address) in
        dns.chain(directory).chain(logs).chain(config.admin.listen.map(|a| ("admin", "listen", a)))
    {
        if address.port() == 0 {
            continue;
        }
        if let Some(first) = taken.insert(address, key) {
            let text = format!("{key} in [{section}] and {first} before it both want {address}");
            notes.error(section, key, text);
        }
    }
}

fn admin(notes: &mut Notes<'_>, config: &Config) {
    let admin = &config.admin;
    let length = admin.socket.as_os_str().len();
    if length > SOCKET_PATH_MAX {
        let text = format!("socket: the path has {length} octets, a unix socket holds {SOCKET_PATH_MAX}");
        notes.error("admin", "socket", text);
    }
    let Some(token_file) = &admin.token_file else { return };
    notes.file("admin", "token_file", token_file);
    match admin.listen {
        None => notes.warn("admin", "token_file", "token_file is set but listen is not: nothing uses the token"),
        Some(listen) if !listen.ip().is_loopback() => {
            let text = format!("listen = {listen}: HTTP is not encrypted, so the token can be read on the network");
            notes.warn("admin", "listen", text);
        }
        Some(_) => {}
    }
    if let Ok(meta) = std::fs::metadata(token_file)
        && meta.permissions().mode() & 0o004 != 0
    {
        let text = format!("token_file: {} can be read by everybody; chmod o-r it", token_file.display());
        notes.warn("admin", "token_file", text);
    }
}

fn inventory(notes: &mut Notes<'_>, config: &Config) {
    match &config.inventory {
        Some(inventory) => {
            if let Some(path) = &inventory.path {
                notes.file("inventory", "path", path);
            }
            if inventory.reread_s == 0 {
                notes.error("inventory", "reread_s", "reread_s = 0 would read without pause; use 1 or more");
            }
        }
        None if config.dns.is_some() => {
            let text = "there is no [inventory]: hosts must name their product, and only the API and imports bring any";
            notes.warn("inventory", "product", text);
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reviewed(rest: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gatehouse.toml");
        let text = format!(
            "[node]\nname = \"gw1\"\nregion = \"us-east-1\"\ndata_dir = \"d\"\n[inventory]\nproduct = \"acme\"\n{rest}"
        );
        std::fs::write(&file, text).unwrap();
        let config = crate::config::load(&file).unwrap();
        review(&config).iter().map(|p| format!("{:?} {p}", p.severity)).collect()
    }

    #[test]
    fn a_loopback_trial_is_fine() {
        assert_eq!(reviewed("[dns]\nlisten = [\"127.0.0.1:10053\"]\n"), Vec::<String>::new());
    }

    #[test]
    fn wrong_between_keys() {
        assert_eq!(
            reviewed("[dns]\nlisten = []\nlisten_tls = [\"10.0.0.2:853\"]\nforward = [\"10.0.0.1:53\"]\n"),
            ["Error gatehouse.toml:9: listen_tls and listen_https need both tls_cert and tls_key"]
        );
        assert_eq!(
            reviewed("[dns]\nlisten = [\"127.0.0.1:53\"]\nforward = [\"127.0.0.1:53\"]\nudp_workers = 0\n"),
            [
                "Error gatehouse.toml:10: udp_workers = 0: nobody would answer; use 1 or more",
                "Error gatehouse.toml:9: forward names 127.0.0.1:53, on which this node itself listens: a loop",
            ]
        );
        assert_eq!(
            reviewed("[dns]\nlisten = [\"127.0.0.1:80\"]\n[admin]\nlisten = \"127.0.0.1:80\"\n"),
            ["Error gatehouse.toml:10: listen in [admin] and listen before it both want 127.0.0.1:80"]
        );
    }

    #[test]
    fn unwise() {
        let text = "[dns]\nlisten = [\"10.0.0.2:53\"]\nallow = [\"0.0.0.0/0\"]\nforward = [\"10.0.0.1:53\"]\n";
        assert_eq!(
            reviewed(text),
            ["Warning gatehouse.toml:9: allow holds a network of the whole Internet: \
             an open resolver is a weapon in the hands of others"]
        );
        let text = "[dns]\nlisten = [\"10.0.0.2:53\"]\ntransfer = [\"10.0.0.0/8\"]\n";
        assert_eq!(
            reviewed(text),
            [
                "Warning gatehouse.toml: forward is empty: names that are not ours are REFUSED, \
             so instances need another resolver for them",
                "Warning gatehouse.toml:9: transfer without a [[dns.key]]: \
             everybody in these networks can copy the whole inventory",
            ]
        );
        let found = reviewed("[admin]\nlisten = \"10.0.0.2:8053\"\ntoken_file = \"nowhere\"\n");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("does not exist") && found[1].contains("not encrypted"), "{found:?}");
    }
}
