//! Addresses of receivers: `udp://`, `tcp://`, `tls://`, `relp://`, `relp+tls://` with HOST:PORT.

use std::{fmt, net::Ipv6Addr};

/// How a receiver is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// A datagram for each message (RFC 5426).
    Udp,
    /// A stream (RFC 6587).
    Tcp,
    /// A stream under TLS (RFC 5425).
    Tls,
    /// RELP.
    Relp,
    /// RELP under TLS.
    RelpTls,
}

impl Transport {
    /// Whether a certificate is looked at.
    pub(super) fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::RelpTls)
    }

    /// Whether it is a stream of frames of RFC 6587.
    pub(super) fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }

    /// Whether it acknowledges.
    pub(super) fn is_relp(self) -> bool {
        matches!(self, Self::Relp | Self::RelpTls)
    }
}

/// A receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) transport: Transport,
    /// Name or address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    text: String,
}

impl Target {
    /// Reads an address. The error is a sentence with the remedy.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!("syslog = {text:?} {what}; write udp://, tcp://, tls://, relp:// or relp+tls:// and HOST:PORT")
        };
        let (scheme, place) = text.split_once("://").ok_or_else(|| wrong("is no address"))?;
        let transport = match scheme {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            "tls" => Transport::Tls,
            "relp" => Transport::Relp,
            "relp+tls" => Transport::RelpTls,
            _ => return Err(wrong("has a beginning that is not known")),
        };
        let (host, port) = place.rsplit_once(':').ok_or_else(|| wrong("names no port"))?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(|| wrong("names no valid port"))?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner
                .strip_suffix(']')
                .filter(|inner| inner.parse::<Ipv6Addr>().is_ok())
                .ok_or_else(|| wrong("has no IPv6 address between brackets"))?,
            None if host.contains(':') => return Err(wrong("has an IPv6 address without brackets")),
            None => host,
        };
        if host.is_empty() || host.contains(['/', ' ', '@', '?']) {
            return Err(wrong("names no host"));
        }
        Ok(Self { transport, host: host.to_owned(), port, text: text.to_owned() })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let read = |text| Target::parse(text).map(|target| (target.transport, target.host, target.port));
        assert_eq!(
            read("relp+tls://logs.acme.private:2514"),
            Ok((Transport::RelpTls, "logs.acme.private".into(), 2514))
        );
        assert_eq!(read("udp://[::1]:514"), Ok((Transport::Udp, "::1".into(), 514)));
        for wrong in
            ["", "tcp", "http://a:1", "tcp://a", "tcp://a:0", "tcp://:1", "tcp://::1:5", "tcp://[a]:5", "tcp://a/b:1"]
        {
            assert!(read(wrong).is_err_and(|why| why.contains("HOST:PORT")), "{wrong}");
        }
    }
}
