//! Snippets for the programs that send an instance's logs to the appliances.

use std::net::SocketAddr;

use logrelay::config::{Listen, Source};

use super::{Installation, borrowed, filled, lacking};
use crate::exit::Failure;

/// Where an instance keeps the roots, its certificate and its key.
const ROOTS: &str = "/etc/gatehouse/ca.pem";
const CERTIFICATE: &str = "/etc/gatehouse/host.pem";
const KEY: &str = "/etc/gatehouse/host.key";

/// A listener of the relay that a program can send to.
struct Receiver {
    address: SocketAddr,
    tls: bool,
    /// Whether clients must present a certificate.
    certificate: bool,
}

impl Installation<'_> {
    /// The best listener that `fits`: under TLS if there is one.
    fn receiver(&self, what: &str, fits: impl Fn(&Listen) -> bool) -> Result<(Receiver, Vec<SocketAddr>), Failure> {
        let sources = self.config.logrelay.iter().flat_map(|logrelay| &logrelay.source);
        let found = |tls: bool| {
            let listens = sources.clone().flat_map(|source: &Source| source.listen.iter().map(move |l| (source, l)));
            let mut fitting = listens.filter(|(_, listen)| fits(listen) && listen.is_tls() == tls);
            fitting.find_map(|(source, listen)| {
                let certificate = source.client_ca.is_some() && tls;
                Some(Receiver { address: listen.stream_address()?, tls, certificate })
            })
        };
        let none = || lacking(self.config, &format!("has no [[logrelay.source]] that listens for {what}"));
        let receiver = found(true).or_else(|| found(false)).ok_or_else(none)?;
        let addresses = self.addresses(&[receiver.address], "listen of [[logrelay.source]]")?;
        Ok((receiver, addresses))
    }

    pub(super) fn rsyslog(&self) -> Result<String, Failure> {
        let relp = |listen: &Listen| matches!(listen, Listen::Relp(_) | Listen::RelpTls(_));
        let (receiver, addresses) = self.receiver("RELP (relp:// or relp+tls://)", relp)?;
        let mut tls = String::new();
        if receiver.tls {
            tls.push_str(&format!(
                " tls=\"on\" tls.caCert=\"{ROOTS}\" tls.authMode=\"name\" tls.permittedPeer=[\"{}\"]",
                self.names().join("\",\"")
            ));
        }
        if receiver.certificate {
            tls.push_str(&format!(" tls.myCert=\"{CERTIFICATE}\" tls.myPrivKey=\"{KEY}\""));
        }
        let retries = if addresses.len() > 1 { "0" } else { "-1" };
        Ok(sent(include_str!("../templates/rsyslog.conf"), &addresses, &tls, ("retries", retries)))
    }

    pub(super) fn syslog_ng(&self) -> Result<String, Failure> {
        let stream = |listen: &Listen| matches!(listen, Listen::Tcp(_) | Listen::Tls(_));
        let (receiver, addresses) = self.receiver("TCP or TLS (tcp:// or tls://)", stream)?;
        let mut tls = String::new();
        if receiver.tls {
            let own = match receiver.certificate {
                true => format!(" cert-file(\"{CERTIFICATE}\") key-file(\"{KEY}\")"),
                false => String::new(),
            };
            tls = format!(" tls(ca-file(\"{ROOTS}\") peer-verify(required-trusted){own})");
        }
        let transport = if receiver.tls { "tls" } else { "tcp" };
        Ok(sent(include_str!("../templates/syslog-ng.conf"), &addresses, &tls, ("transport", transport)))
    }

    /// Names that the appliances' certificates may be for.
    fn names(&self) -> Vec<String> {
        vec![format!("*.{}.private", self.product())]
    }
}

fn sent(template: &str, addresses: &[SocketAddr], tls: &str, more: (&str, &str)) -> String {
    let ip = |n: usize| addresses.get(n).map(|address| address.ip().to_string());
    let target = ip(0).unwrap_or_default();
    // Without a second appliance its lines show how one is written.
    let (mark, standby) = ip(1).map_or(("# ", "APPLIANCE".to_owned()), |standby| ("", standby));
    let port = addresses.first().map_or(0, SocketAddr::port).to_string();
    let values = [
        ("target", target),
        ("standby", standby),
        ("port", port),
        ("second", mark.to_owned()),
        ("tls", tls.to_owned()),
        (more.0, more.1.to_owned()),
    ];
    filled(template, &borrowed(&values))
}
