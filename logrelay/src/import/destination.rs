//! Destinations.

use super::{
    Notes,
    driver::{Tls, Transport, drivers, host_port, is_network, other_options, port},
    global::{Global, is_yes},
    source::{is_offset, numbered},
    tree::{Call, Config, Statement},
};

/// RFC 5424, without framing.
const RFC5424: &str = "${RFC5424HEADER}${MSG}";
/// RFC 3164, without framing.
const RFC3164: &str = "<${PRI}>${DATE} ${HOST} ${MSGHDR}${MSG}";

/// A destination of ours: its name, its keys with their values, written as they are, and whether it had a disk buffer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) name: String,
    pub(super) keys: Vec<(&'static str, Value)>,
    pub(super) disk_buffer: bool,
}

/// A value of TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Texts(Vec<String>),
    Number(u64),
    Switch(bool),
}

/// A destination of syslog-ng, as one or more of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) destinations: Vec<Destination>,
}

/// All named destinations.
pub(super) fn all(config: &Config, global: &Global, notes: &mut Notes) -> Vec<Named> {
    config.destinations.iter().map(|(name, (_, body))| one(name, body, global, notes)).collect()
}

/// A destination; each of its drivers becomes one.
pub(super) fn one(name: &str, body: &[Statement], global: &Global, notes: &mut Notes) -> Named {
    let mut destinations = Vec::new();
    for driver in drivers(body, notes) {
        let mut found = Destination { name: numbered(name, destinations.len()), ..Destination::default() };
        match &*driver.name {
            "file" => file(driver, global, &mut found, notes),
            name if is_network(name) => network(driver, global, &mut found, notes),
            name => notes.add(driver.at, format!("there is no destination {name}() here")),
        }
        if !found.keys.is_empty() {
            destinations.push(found);
        }
    }
    Named { name: name.to_owned(), destinations }
}

impl Destination {
    fn text(&mut self, key: &'static str, value: Option<impl Into<String>>) {
        self.keys.extend(value.map(|value| (key, Value::Text(value.into()))));
    }

    fn number(&mut self, key: &'static str, text: Option<&str>) {
        let number = text.and_then(|text| text.parse::<u64>().ok());
        self.keys.extend(number.map(|seconds| (key, Value::Number(seconds.clamp(1, 86_400)))));
    }
}

const NEEDLESS: [&str; 17] = [
    "log-fifo-size",
    "flush-lines",
    "flush-timeout",
    "disk-buffer",
    "template",
    "template-escape",
    "persist-name",
    "keep-alive",
    "so-keepalive",
    "so-sndbuf",
    "so-rcvbuf",
    "so-broadcast",
    "hook-commands",
    "use-fqdn",
    "workers",
    "batch-lines",
    "batch-timeout",
];

/// Zone and fractions of times.
fn times(driver: &Call, global: &Global, found: &mut Destination, notes: &mut Notes) {
    if let Some(text) = global.option(driver, "frac-digits") {
        match text.parse::<u64>() {
            Ok(0) => {}
            Ok(digits) => found.keys.push(("frac_digits", Value::Number(digits.min(6)))),
            Err(_) => notes.add(driver.at, format!("{text:?} of frac-digits() is no number; it is left out")),
        }
    }
    match global.option(driver, "time-zone").or_else(|| global.option(driver, "send-time-zone")) {
        None | Some("") => {}
        Some("UTC" | "GMT" | "Z" | "Etc/UTC") => found.text("time_zone", Some("+00:00")),
        Some(zone) if is_offset(zone) => found.text("time_zone", Some(zone)),
        Some(zone) => notes.add(
            driver.at,
            format!("the time-zone({zone}) of a destination is an offset here, as +02:00; it is left out"),
        ),
    }
}

fn own_template(driver: &Call, global: &Global) -> Option<String> {
    driver.calls().find(|call| call.name == "template").and_then(|call| global.template(call))
}

fn file(driver: &Call, global: &Global, found: &mut Destination, notes: &mut Notes) {
    let used = [
        "owner",
        "group",
        "perm",
        "dir-owner",
        "dir-group",
        "dir-perm",
        "create-dirs",
        "fsync",
        "symlink-as",
        "time-reap",
        "frac-digits",
        "ts-format",
        "time-zone",
        "send-time-zone",
    ];
    other_options(driver, &used, &NEEDLESS, notes);
    let path = driver.first().unwrap_or_default();
    if path.starts_with("/dev/") {
        notes.add(driver.at, format!("{path} is a device, and no destination here"));
        return;
    }
    found.text("file", Some(path));
    found.text("template", own_template(driver, global).or_else(|| global.file_template(driver)));
    times(driver, global, found, notes);
    // -1 and an empty text leave things as they are.
    let option = |name: &str| global.option(driver, name).filter(|value| !matches!(*value, "" | "-1"));
    for (key, of_folder) in [("owner", "dir-owner"), ("group", "dir-group")] {
        found.text(key, option(key));
        if let Some(folder) = option(of_folder)
            && option(key) != Some(folder)
        {
            notes.add(
                driver.at,
                format!("{of_folder}({folder}): files and folders have one {key} here, that of the file"),
            );
        }
    }
    for (key, name) in [("mode", "perm"), ("dir_mode", "dir-perm")] {
        match option(name) {
            Some(mode) if u32::from_str_radix(mode, 8).is_ok_and(|mode| mode <= 0o7777) => found.text(key, Some(mode)),
            Some(mode) => notes.add(driver.at, format!("{mode:?} of {name}() is no octal mode; it is left out")),
            None => {}
        }
    }
    let create = option("create-dirs").is_some_and(is_yes);
    if !create {
        found.keys.push(("create_dirs", Value::Switch(false)));
    }
    if driver.calls().any(|call| call.name == "fsync" && call.first().is_some_and(is_yes)) {
        found.keys.push(("fsync", Value::Switch(true)));
    }
    found.text("symlink", driver.calls().find(|call| call.name == "symlink-as").and_then(Call::first));
    found.number("close_s", option("time-reap").filter(|seconds| *seconds != "0"));
    found.disk_buffer = has_disk_buffer(driver);
}

fn has_disk_buffer(driver: &Call) -> bool {
    driver.calls().any(|call| call.name == "disk-buffer")
}

fn network(driver: &Call, global: &Global, found: &mut Destination, notes: &mut Notes) {
    let used = [
        "port",
        "destport",
        "transport",
        "tls",
        "failover",
        "failover-servers",
        "time-reopen",
        "flags",
        "ip-protocol",
        "frac-digits",
        "ts-format",
        "time-zone",
        "send-time-zone",
    ];
    other_options(driver, &used, &NEEDLESS, notes);
    let Some(transport) = Transport::of(driver, notes) else { return };
    let Some(host) = driver.first() else {
        notes.add(driver.at, format!("{}() names no host", driver.name));
        return;
    };
    let port = port(driver, &["port", "destport"], transport, notes);
    let failover = driver.calls().filter(|call| call.name.starts_with("failover"));
    let servers = failover
        .flat_map(|call| call.texts().chain(call.calls().filter(|c| c.name == "servers").flat_map(Call::texts)));
    let address = |host: &str| format!("{}://{}", transport.scheme(), host_port(host, port));
    let mut receivers: Vec<String> = [host].into_iter().chain(servers).map(address).collect();
    found.keys.push(match receivers.len() {
        1 => ("syslog", Value::Text(receivers.remove(0))),
        _ => ("syslog", Value::Texts(receivers)),
    });
    form(driver, global, transport, found, notes);
    times(driver, global, found, notes);
    if transport == Transport::Tls
        && let Some(tls) = Tls::of(driver, notes)
    {
        if !tls.is_strict() {
            notes.add(tls.at, "the receiver's certificate is always verified here");
        }
        found.text("ca_file", tls.ca);
        found.text("client_cert", tls.cert);
        found.text("client_key", tls.key);
    }
    found.number("reopen_s", global.option(driver, "time-reopen").filter(|seconds| *seconds != "0"));
    found.disk_buffer = has_disk_buffer(driver);
}

/// Template and framing, where they differ from ours.
fn form(driver: &Call, global: &Global, transport: Transport, found: &mut Destination, notes: &mut Notes) {
    let is_syslog = driver.name == "syslog";
    let mut is_5424 = is_syslog;
    for call in driver.calls().filter(|call| call.name == "flags") {
        for flag in call.texts() {
            match flag {
                "syslog-protocol" => is_5424 = true,
                "no-multi-line" | "threaded" => {}
                flag => notes.add(call.at, format!("the flag {flag} is not translated")),
            }
        }
    }
    let own = own_template(driver, global).map(|text| text.trim_end_matches('\n').to_owned());
    let ts_format = global.option(driver, "ts-format").unwrap_or("rfc3164");
    // Ours is RFC 3164 over UDP and TCP, RFC 5424 over TLS.
    let other = match (is_5424, transport) {
        (false, _) if !matches!(ts_format, "rfc3164" | "bsd") => of_format(ts_format),
        (true, Transport::Udp | Transport::Tcp) => Some(RFC5424.to_owned()),
        (false, Transport::Tls) => Some(RFC3164.to_owned()),
        _ => None,
    };
    if is_syslog && own.is_some() {
        let text = "the template() of syslog() makes only the message there; here it makes the whole line, so the header \
                    is put before it";
        notes.add(driver.at, text);
        found.text("template", own.map(|own| format!("${{RFC5424HEADER}}{own}")));
    } else {
        found.text("template", own.or(other));
    }
    // Ours is a line each over TCP, counted octets over TLS; syslog() counts, network() does not.
    match (is_syslog, transport) {
        (true, Transport::Tcp) => found.text("framing", Some("octets")),
        (false, Transport::Tls) => found.text("framing", Some("lines")),
        _ => {}
    }
}

/// The line of RFC 3164 with its time in another of syslog-ng's forms.
fn of_format(ts_format: &str) -> Option<String> {
    let date = match ts_format {
        "iso" => "${ISODATE}",
        "full" => "${FULLDATE}",
        "unix" => "${UNIXTIME}",
        _ => return None,
    };
    Some(format!("<${{PRI}}>{date} ${{HOST}} ${{MSGHDR}}${{MSG}}"))
}
