//! URLs of directory servers: `ldap://host[:port]` and `ldaps://host[:port]`, an IPv6 address in brackets.

use std::net::IpAddr;

/// A server's URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// TLS from the first octet.
    pub(super) tls: bool,
    /// Name or address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// Reads a URL. The error is a sentence with the remedy.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{url:?} {what}; write it as ldaps://ldap1.corp or ldap://10.0.0.9:389");
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("is no URL"))?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "ldap" => false,
            "ldaps" => true,
            _ => return Err(wrong("is neither ldap:// nor ldaps://")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '@', ' ']) {
            return Err(wrong("says more than a host and a port"));
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(|| wrong("has no closing bracket"))?;
                if !matches!(host.parse(), Ok(IpAddr::V6(_))) {
                    return Err(wrong("has no IPv6 address between its brackets"));
                }
                (host, port.strip_prefix(':').or((port.is_empty()).then_some("")).ok_or_else(|| wrong("has no port"))?)
            }
            None if rest.matches(':').count() > 1 => return Err(wrong("has an IPv6 address without brackets")),
            None => rest.split_once(':').unwrap_or((rest, "")),
        };
        if host.is_empty() {
            return Err(wrong("names no host"));
        }
        let port = match port {
            "" if tls => 636,
            "" => 389,
            digits => digits.parse().ok().filter(|port| *port != 0).ok_or_else(|| wrong("has no valid port"))?,
        };
        Ok(Self { tls, host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_servers() {
        let parsed = |url| Address::parse(url).map(|a| (a.tls, a.host, a.port));
        assert_eq!(parsed("ldaps://ldap1.corp"), Ok((true, "ldap1.corp".into(), 636)));
        assert_eq!(parsed("LDAP://10.0.0.9:3890/"), Ok((false, "10.0.0.9".into(), 3890)));
        assert_eq!(parsed("ldaps://[2001:db8::1]"), Ok((true, "2001:db8::1".into(), 636)));
        assert_eq!(parsed("ldap://[::1]:1389"), Ok((false, "::1".into(), 1389)));
        for wrong in [
            "",
            "ldap1",
            "http://a",
            "ldap://",
            "ldap://a:0",
            "ldap://a:x",
            "ldap://::1",
            "ldap://[::1",
            "ldap://[a]",
            "ldap://[::1]x",
            "ldap://a/dc=acme",
            "ldapi:///",
        ] {
            assert!(parsed(wrong).is_err_and(|why| why.contains("write it as")), "{wrong}");
        }
    }
}
