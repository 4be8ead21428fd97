//! Sources.

use super::{
    At, Notes,
    driver::{self, Tls, Transport, drivers, host_port, is_network, local_address, other_options, port},
    global::{Global, is_yes},
    tree::{Call, Config, Statement},
};

/// A source of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) listen: Vec<String>,
    pub(super) follow: Vec<String>,
    pub(super) keys: Keys,
}

/// What holds for all places of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) profile: Option<&'static str>,
    pub(super) keep_hostname: Option<bool>,
    pub(super) time_zone: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) max_line: Option<u64>,
    pub(super) connections: Option<u64>,
    pub(super) receive_buffer: Option<u64>,
    pub(super) tls_cert: Option<String>,
    pub(super) tls_key: Option<String>,
    pub(super) client_ca: Option<String>,
    pub(super) from_end: bool,
}

/// A source of syslog-ng, as one or more of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) sources: Vec<Source>,
}

/// All named sources.
pub(super) fn all(config: &Config, global: &Global, notes: &mut Notes) -> Vec<Named> {
    config.sources.iter().map(|(name, (_, body))| one(name, body, global, notes)).collect()
}

/// A source; its drivers that can share one of ours do.
pub(super) fn one(name: &str, body: &[Statement], global: &Global, notes: &mut Notes) -> Named {
    let mut sources: Vec<Source> = Vec::new();
    for driver in drivers(body, notes) {
        let mut found = Source::default();
        of_driver(driver, global, &mut found, notes);
        if found.listen.is_empty() && found.follow.is_empty() {
            continue;
        }
        match sources.iter_mut().find(|source| source.keys == found.keys) {
            Some(source) => {
                source.listen.append(&mut found.listen);
                source.follow.append(&mut found.follow);
            }
            None => {
                found.name = numbered(name, sources.len());
                sources.push(found);
            }
        }
    }
    Named { name: name.to_owned(), sources }
}

/// The name of the part with this number, from 0.
pub(super) fn numbered(name: &str, number: usize) -> String {
    if number == 0 { name.to_owned() } else { format!("{name}-{}", number + 1) }
}

fn of_driver(driver: &Call, global: &Global, source: &mut Source, notes: &mut Notes) {
    let path = driver.first().unwrap_or_default();
    common(driver, global, &mut source.keys, notes);
    match &*driver.name {
        name if is_network(name) => network(driver, global, source, notes),
        "default-network-drivers" => {
            source.listen = ["udp://0.0.0.0:514", "tcp://0.0.0.0:514", "tcp://0.0.0.0:601"].map(str::to_owned).into();
            let text = "default-network-drivers() is translated without TLS and without recognising applications";
            notes.add(driver.at, text);
        }
        "unix-dgram" | "unix-stream" => {
            source.listen.push(format!("{}://{path}", driver.name));
            // What the C library writes has no host.
            source.keys.profile.get_or_insert("devlog");
            other_options(driver, &OPTIONS, &NEEDLESS, notes);
        }
        "pipe" => {
            source.listen.push(format!("pipe://{path}"));
            other_options(driver, &OPTIONS, &NEEDLESS, notes);
        }
        "system" => {
            source.listen.push("unix-dgram:///dev/log".to_owned());
            source.keys.profile = Some("devlog");
            let text = "system() is translated to /dev/log; messages of the kernel and of the journal come only if \
                        systemd-journald hands them on (ForwardToSyslog=yes, with unix-dgram:///run/systemd/journal/syslog)";
            notes.add(driver.at, text);
        }
        "internal" => {
            notes.add(driver.at, "internal() is no source here; messages of the relay itself are in its own log")
        }
        "file" | "wildcard-file" => files(driver, source, notes),
        name => notes.add(driver.at, format!("there is no source {name}() here")),
    }
}

const OPTIONS: [&str; 10] = [
    "flags",
    "keep-hostname",
    "log-msg-size",
    "max-connections",
    "tags",
    "time-zone",
    "so-rcvbuf",
    "tls",
    "transport",
    "recv-time-zone",
];
const NEEDLESS: [&str; 22] = [
    "log-iw-size",
    "log-fetch-limit",
    "use-dns",
    "use-fqdn",
    "dns-cache",
    "normalize-hostnames",
    "check-hostname",
    "so-keepalive",
    "so-broadcast",
    "so-sndbuf",
    "so-reuseport",
    "keep-alive",
    "ip-protocol",
    "hook-commands",
    "internal",
    "persist-name",
    "follow-freq",
    "optional",
    "listen-backlog",
    "dynamic-window-size",
    "idle-timeout",
    "monitor-method",
];

/// The options that all drivers may have.
fn common(driver: &Call, global: &Global, keys: &mut Keys, notes: &mut Notes) {
    let at = |name: &str| driver.calls().find(|call| call.name == name).map_or(driver.at, |call| call.at);
    let mut number = |name: &str| {
        let text = global.option(driver, name)?;
        let number = text.parse().ok();
        if number.is_none() {
            notes.add(at(name), format!("{text:?} of {name}() is no number; it is left out"));
        }
        number
    };
    keys.max_line = number("log-msg-size").map(|octets: u64| octets.clamp(1, 1 << 20));
    keys.connections = number("max-connections").filter(|most| *most > 0).map(|most| most.min(1_000_000));
    keys.receive_buffer = number("so-rcvbuf").filter(|octets| *octets > 0).map(|octets| octets.min(1 << 30));
    keys.keep_hostname = global.option(driver, "keep-hostname").map(is_yes);
    let zone = global.option(driver, "time-zone").or_else(|| global.option(driver, "recv-time-zone"));
    match zone {
        Some(zone) if is_offset(zone) => keys.time_zone = Some(zone.to_owned()),
        Some("UTC" | "GMT" | "Z" | "Etc/UTC") => keys.time_zone = Some("+00:00".to_owned()),
        Some("") | None => {}
        Some(zone) => {
            let text = format!("a zone is an offset here, as +02:00, or \"learn\"; {zone:?} becomes \"learn\"");
            notes.add(at("time-zone"), text);
            keys.time_zone = Some("learn".to_owned());
        }
    }
    for call in driver.calls().filter(|call| call.name == "tags") {
        keys.tags.extend(call.texts().map(str::to_owned));
    }
    for call in driver.calls().filter(|call| call.name == "flags") {
        call.texts().for_each(|flag| self::flag(flag, call.at, keys, notes));
    }
}

fn flag(flag: &str, at: At, keys: &mut Keys, notes: &mut Notes) {
    match &*flag.replace('_', "-") {
        "no-parse" => keys.profile = Some("plain"),
        "no-hostname" => keys.profile = Some("devlog"),
        "guess-timezone" => keys.time_zone = Some("learn".to_owned()),
        // Both forms are read, nothing is refused, and the line is kept as it came.
        "syslog-protocol"
        | "expect-hostname"
        | "validate-utf8"
        | "sanitize-utf8"
        | "assume-utf8"
        | "no-multi-line"
        | "store-raw-message"
        | "store-legacy-msghdr"
        | "dont-store-legacy-msghdr"
        | "check-hostname"
        | "check-program"
        | "piggyback-errors"
        | "threaded"
        | "kernel"
        | "no-rfc3164-fallback" => {}
        flag => notes.add(at, format!("the flag {flag} is not translated")),
    }
}

/// Whether it is `+02:00` or `-0530`.
pub(super) fn is_offset(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or_default();
    matches!(digits.as_bytes(), [a, b, b':', c, d] if [a, b, c, d].iter().all(|octet| octet.is_ascii_digit()))
}

fn network(driver: &Call, global: &Global, source: &mut Source, notes: &mut Notes) {
    let own = ["ip", "localip", "port", "localport"];
    other_options(driver, &[&own[..], &OPTIONS[..]].concat(), &NEEDLESS, notes);
    let Some(transport) = Transport::of(driver, notes) else { return };
    let Some(address) = local_address(driver, notes) else { return };
    let port = port(driver, &["localport", "port"], transport, notes);
    if transport == Transport::Tls {
        match Tls::of(driver, notes) {
            Some(tls) => server(tls, &mut source.keys, notes),
            None => notes.add(driver.at, "TLS needs a certificate; add tls_cert and tls_key"),
        }
    }
    // Only these read the name of a host in the header; files and local sockets have no sender to compare it with.
    // Absent it is `no`: then strangers are known by their addresses.
    source.keys.keep_hostname = Some(global.option(driver, "keep-hostname").is_some_and(is_yes));
    source.listen.push(format!("{}://{}", transport.scheme(), host_port(&address.to_string(), port)));
}

fn server(tls: Tls, keys: &mut Keys, notes: &mut Notes) {
    if tls.cert.is_none() || tls.key.is_none() {
        notes.add(tls.at, "a source with TLS needs both cert-file() and key-file(); add tls_cert and tls_key");
    }
    match (&tls.ca, tls.is_strict()) {
        (Some(_), true) => keys.client_ca.clone_from(&tls.ca),
        (None, true) if tls.verify.is_some() => {
            notes.add(tls.at, "clients are asked for certificates only with client_ca, which names a file; add it");
        }
        (Some(_), false) => {
            notes.add(
                tls.at,
                "certificates of clients are optional there; here they are not asked for without client_ca",
            );
        }
        (None, _) => {}
    }
    (keys.tls_cert, keys.tls_key) = (tls.cert, tls.key);
}

fn files(driver: &Call, source: &mut Source, notes: &mut Notes) {
    let option = |name: &str| driver.calls().find(|call| call.name == name).and_then(Call::first);
    source.keys.from_end = !option("read-old-records").is_some_and(is_yes);
    source.keys.keep_hostname = source.keys.keep_hostname.filter(|keep| *keep);
    if driver.name == "file" {
        let path = driver.first().unwrap_or_default();
        if path.starts_with("/proc/") || path.starts_with("/dev/") {
            let text =
                format!("{path} is no file that can be followed; messages of the kernel come through the journal");
            notes.add(driver.at, text);
            return;
        }
        source.follow.push(literal(path));
    } else {
        let (Some(folder), Some(pattern)) = (option("base-dir"), option("filename-pattern")) else {
            notes.add(driver.at, "wildcard-file() needs base-dir() and filename-pattern()");
            return;
        };
        let between = if option("recursive").is_some_and(is_yes) { "/**/" } else { "/" };
        source.follow.push(format!("{}{between}{pattern}", literal(folder.trim_end_matches('/'))));
    }
    let own = ["read-old-records", "base-dir", "filename-pattern", "recursive", "max-files"];
    driver::other_options(driver, &[&own[..], &OPTIONS[..]].concat(), &NEEDLESS, notes);
}

/// A name as a pattern that only it matches.
fn literal(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for c in path.chars() {
        if "*?[]{}\\".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}
