//! NSD, Knot and BIND as secondaries of a node, with TSIG.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use crate::harness::{Process, finish, free_address};

/// A TSIG key, as every program wants it spelled.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) secret: &'static str,
}

pub(crate) const KEY: Key = Key { name: "transfer-key", secret: "wxIFC1lcBXCAcwoIS3Wq8qyyvDBwyFHTYVMhUIR7Rz0=" };

impl Key {
    /// For `dig -y`.
    pub(crate) fn dig(&self) -> String {
        format!("hmac-sha256:{}:{}", self.name, self.secret)
    }
}

/// A secondary: where it answers, and the process behind it.
pub(crate) struct Secondary {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
}

/// Addresses at which the secondaries will listen: they must be known before the primary is configured to notify them.
pub(crate) struct Plan {
    pub(crate) nsd: SocketAddr,
    pub(crate) knot: SocketAddr,
    pub(crate) bind: SocketAddr,
}

impl Plan {
    pub(crate) fn new() -> Self {
        Self { nsd: free_address(), knot: free_address(), bind: free_address() }
    }

    pub(crate) fn all(&self) -> [SocketAddr; 3] {
        [self.nsd, self.knot, self.bind]
    }

    /// Starts all three with files under `dir`, as secondaries of `primary` for `zones`.
    pub(crate) fn start(&self, dir: &Path, primary: SocketAddr, zones: &[String]) -> [Secondary; 3] {
        [nsd(dir, self.nsd, primary, zones), knot(dir, self.knot, primary, zones), bind(dir, self.bind, primary, zones)]
    }
}

fn nsd(dir: &Path, address: SocketAddr, primary: SocketAddr, zones: &[String]) -> Secondary {
    let dir = folder(dir, "nsd");
    let (home, key) = (dir.display(), KEY.name);
    let mut config = format!(
        "server:\n ip-address: 127.0.0.1@{port}\n server-count: 1\n username: \"\"\n database: \"\"\n verbosity: 2\n\
         \x20zonesdir: \"{home}\"\n pidfile: \"{home}/pid\"\n xfrdfile: \"{home}/xfrd\"\n zonelistfile: \"{home}/zones\"\n\
         \x20xfrdir: \"{home}\"\n ipv4-edns-size: 1232\n rrl-ratelimit: 0\n minimal-responses: yes\n\
         remote-control:\n control-enable: no\n\
         key:\n name: {key}\n algorithm: hmac-sha256\n secret: \"{secret}\"\n",
        port = address.port(),
        secret = KEY.secret
    );
    for zone in zones {
        config += &format!(
            "zone:\n name: {zone}\n zonefile: \"{zone}.zone\"\n allow-notify: 127.0.0.1 NOKEY\n allow-notify: 127.0.0.1 {key}\n\
             \x20request-xfr: 127.0.0.1@{} {key}\n provide-xfr: 127.0.0.1 NOKEY\n",
            primary.port()
        );
    }
    let file = dir.join("nsd.conf");
    fs::write(&file, config).unwrap();
    let process = Process::start("nsd", &dir, Command::new("nsd").arg("-d").arg("-c").arg(file));
    Secondary { name: "NSD", address, process }
}

fn knot(dir: &Path, address: SocketAddr, primary: SocketAddr, zones: &[String]) -> Secondary {
    let dir = folder(dir, "knot");
    let mut config = format!(
        "server:\n  listen: 127.0.0.1@{port}\n  rundir: {home}\n  udp-max-payload: 1232\n\
         log:\n  - target: stdout\n    any: info\n\
         database:\n  storage: {home}\n\
         key:\n  - id: {key}\n    algorithm: hmac-sha256\n    secret: {secret}\n\
         remote:\n  - id: primary\n    address: 127.0.0.1@{primary}\n    key: {key}\n\
         acl:\n  - id: notify\n    address: 127.0.0.1\n    action: notify\n\
         \x20 - id: signed\n    address: 127.0.0.1\n    key: {key}\n    action: notify\n\
         \x20 - id: out\n    address: 127.0.0.1\n    action: transfer\n\
         zone:\n",
        port = address.port(),
        home = dir.display(),
        key = KEY.name,
        secret = KEY.secret,
        primary = primary.port()
    );
    for zone in zones {
        config += &format!(
            "  - domain: {zone}\n    storage: {}\n    master: primary\n    acl: [notify, signed, out]\n",
            dir.display()
        );
    }
    let file = dir.join("knot.conf");
    fs::write(&file, config).unwrap();
    let process = Process::start("knot", &dir, Command::new("knotd").arg("-c").arg(file));
    Secondary { name: "Knot", address, process }
}

/// A role name holds an address for each member, and BIND refuses a zone with more than 100 records of one name and
/// type unless it is told otherwise.
fn bind(dir: &Path, address: SocketAddr, primary: SocketAddr, zones: &[String]) -> Secondary {
    let dir = folder(dir, "bind");
    let (home, key) = (dir.display(), KEY.name);
    let mut config = format!(
        "options {{ directory \"{home}\"; pid-file \"{home}/pid\"; session-keyfile \"{home}/session\"; \
         listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; notify no; dnssec-validation no; \
         minimal-responses yes; minimal-any no; max-udp-size 1232; empty-zones-enable no; answer-cookie no; \
         max-records-per-type 0; zero-no-soa-ttl no; \
         allow-transfer {{ 127.0.0.1; }}; }};\n\
         controls {{ }};\n\
         key \"{key}\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n",
        port = address.port(),
        secret = KEY.secret
    );
    for zone in zones {
        config += &format!(
            "zone \"{zone}\" {{ type secondary; file \"{zone}.zone\"; masterfile-format text; allow-notify {{ 127.0.0.1; key {key}; }}; \
             primaries {{ 127.0.0.1 port {} key {key}; }}; }};\n",
            primary.port()
        );
    }
    let file = dir.join("named.conf");
    fs::write(&file, config).unwrap();
    let process = Process::start("named", &dir, Command::new("named").args(["-g", "-n", "1", "-c"]).arg(file));
    Secondary { name: "BIND", address, process }
}

fn folder(dir: &Path, name: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    fs::create_dir(&path).unwrap();
    path
}

/// All records of a zone as `server` transfers them, one line each in dig's form, sorted, the closing SOA left out.
pub(crate) fn transfer(server: SocketAddr, zone: &str, key: Option<&Key>) -> Vec<String> {
    let (port, at) = (server.port().to_string(), format!("@{}", server.ip()));
    let mut command = Command::new("dig");
    command.args(["-p", &port, &at, "+noall", "+answer", "+onesoa", "+time=20"]);
    if let Some(key) = key {
        command.args(["-y", &key.dig()]);
    }
    let text = finish("dig", command.args([zone, "AXFR"])).expect_ok();
    let mut lines: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with(';') && !line.is_empty() && !line.contains("\tTSIG\t"))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    lines.sort();
    assert!(!lines.is_empty(), "{server} did not transfer {zone}:\n{text}");
    lines
}
