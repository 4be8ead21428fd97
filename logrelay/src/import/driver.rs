//! What drivers of sources and destinations have in common: drivers and their options, where they listen or send, TLS.

use std::net::{IpAddr, Ipv6Addr};

use super::{
    At, Notes,
    tree::{Call, Item, Statement},
};

/// Drivers of the network.
const NETWORK: [&str; 7] = ["network", "syslog", "tcp", "udp", "tcp6", "udp6", "tls"];

/// Whether a driver uses the network.
pub(super) fn is_network(name: &str) -> bool {
    NETWORK.contains(&name)
}

/// The drivers of a source or destination; what else stands there is noted.
pub(super) fn drivers<'a>(body: &'a [Statement], notes: &mut Notes) -> Vec<&'a Call> {
    let mut drivers = Vec::new();
    for statement in body {
        match (statement.call(), statement.items.as_slice()) {
            (Some(call), _) => drivers.push(call),
            (None, []) => {}
            (None, [Item::Word(word), ..]) => notes.add(statement.at, format!("{word} is not translated")),
            (None, _) => notes.add(statement.at, "this is no driver that is known here; it is left out"),
        }
    }
    drivers
}

/// Notes the options of a driver that are neither `used` nor `needless`.
pub(super) fn other_options(driver: &Call, used: &[&str], needless: &[&str], notes: &mut Notes) {
    for call in driver.calls() {
        if !used.contains(&&*call.name) && !needless.contains(&&*call.name) {
            notes.add(call.at, format!("{}() of {}() is not translated", call.name, driver.name));
        }
    }
}

/// What carries the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// What a driver of the network uses; noted and `None` if it is nothing that we have.
    pub(super) fn of(driver: &Call, notes: &mut Notes) -> Option<Self> {
        let named = driver.calls().find(|call| call.name == "transport");
        let has_tls = driver.calls().any(|call| call.name == "tls");
        let transport = match (&*driver.name, named.and_then(Call::first)) {
            ("udp" | "udp6", _) => Self::Udp,
            ("tls", _) => Self::Tls,
            (_, None | Some("tcp")) if has_tls => Self::Tls,
            (_, None | Some("tcp")) => Self::Tcp,
            (_, Some("udp")) => Self::Udp,
            (_, Some("tls")) => Self::Tls,
            (_, Some(other)) => {
                let at = named.map_or(driver.at, |call| call.at);
                notes.add(at, format!("the transport {other:?} is not known here; there are udp, tcp and tls"));
                return None;
            }
        };
        Some(transport)
    }
}

/// The port that a driver means if it names none.
fn default_port(driver: &Call, transport: Transport) -> u16 {
    match (&*driver.name, transport) {
        ("syslog", Transport::Tcp) => 601,
        ("syslog" | "tls", Transport::Tls) => 6514,
        _ => 514,
    }
}

/// The port of a driver. `names` are those of the option, the first one that is there counts.
pub(super) fn port(driver: &Call, names: &[&str], transport: Transport, notes: &mut Notes) -> u16 {
    let named = names.iter().find_map(|name| driver.calls().find(|call| call.name == *name));
    let Some(call) = named else { return default_port(driver, transport) };
    match call.first().map(|text| (text, text.parse())) {
        Some((_, Ok(port))) => port,
        // The names that /etc/services has for the ports of syslog.
        Some(("syslog", _)) => 514,
        Some(("syslog-tls", _)) => 6514,
        Some(("syslog-conn", _)) => 601,
        other => {
            let text = other.map_or("nothing", |(text, _)| text);
            let port = default_port(driver, transport);
            notes.add(call.at, format!("{text:?} is no number of a port; {port} is taken"));
            port
        }
    }
}

/// An address or a name with a port, as in our addresses.
pub(super) fn host_port(host: &str, port: u16) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(v6) => format!("[{v6}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    }
}

/// The address that a source listens on: any, if it names none.
pub(super) fn local_address(driver: &Call, notes: &mut Notes) -> Option<IpAddr> {
    let named = driver.calls().find(|call| matches!(&*call.name, "ip" | "localip"));
    let v6 = driver.name.ends_with('6')
        || driver.calls().any(|call| call.name == "ip-protocol" && call.first() == Some("6"));
    let text = named.and_then(Call::first).or_else(|| driver.first());
    let Some(text) = text else {
        return Some(if v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::from([0, 0, 0, 0]) });
    };
    let address = text.parse();
    if address.is_err() {
        notes.add(driver.at, format!("{text:?} is no address; sources listen on addresses here, not on names"));
    }
    address.ok()
}

/// What `tls(...)` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tls {
    pub(super) key: Option<String>,
    pub(super) cert: Option<String>,
    pub(super) ca: Option<String>,
    /// `peer-verify`, as it stands there.
    pub(super) verify: Option<String>,
    pub(super) at: At,
}

impl Tls {
    pub(super) fn of(driver: &Call, notes: &mut Notes) -> Option<Self> {
        let call = driver.calls().find(|call| call.name == "tls")?;
        let mut tls = Self { at: call.at, ..Self::default() };
        for option in call.calls() {
            let value = option.first().map(str::to_owned);
            match &*option.name {
                "key-file" => tls.key = value,
                "cert-file" => tls.cert = value,
                "ca-file" => tls.ca = value,
                "peer-verify" => tls.verify = value,
                "ca-dir" => {
                    let text = "authorities are in one file here, not in a folder; put them together with cat, and \
                                name the file";
                    notes.add(option.at, text);
                }
                "allow-compress" | "sni" | "cipher-suite" | "ssl-options" | "ecdh-curve-list" | "dhparam-file"
                | "sigalgs" | "client-sigalgs" => {
                    let text = format!("{}() is not translated; what is safe is chosen here", option.name);
                    notes.add(option.at, text);
                }
                name => notes.add(option.at, format!("{name}() of tls() is not translated")),
            }
        }
        Some(tls)
    }

    /// Whether a certificate of the other side that does not lead to an authority is refused.
    pub(super) fn is_strict(&self) -> bool {
        !matches!(
            self.verify.as_deref(),
            Some("no" | "off" | "optional-trusted" | "optional-untrusted" | "required-untrusted" | "none")
        )
    }
}
