//! `gatehouse client-config`: what goes into the files of an instance of this installation.
//!
//! The texts are in `templates/`; what is in braces is filled in from the appliance's configuration. Time-outs are there
//! because their absence once made every login of a company wait longer than sshd does.

use std::net::{IpAddr, SocketAddr};

use crate::{
    args::{self, Program},
    config::Config,
    exit::{Exit, Failure},
};

mod logs;

/// Nameservers that a resolver reads (resolv.conf(5), MAXNS).
const NAMESERVERS_MAX: usize = 3;
/// Below this, under the base, are the sudo rules.
const SUDOERS: &str = "ou=sudoers";

/// What the snippets need to know of an installation.
struct Installation<'a> {
    config: &'a Config,
    /// Appliances as instances reach them, nearest first; empty: as the configuration listens.
    appliances: &'a [IpAddr],
}

/// How LDAP is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Tls,
    StartTls,
    Plain,
}

/// The snippet for a program.
///
/// # Errors
/// Exit code 78 when the configuration has not what the snippet needs.
pub(crate) fn text(config: &Config, args: &args::ClientConfig) -> Result<String, Failure> {
    let here = Installation { config, appliances: &args.appliance };
    let text = match args.program {
        Program::Sshd => include_str!("templates/sshd.conf").to_owned(),
        Program::Pam => include_str!("templates/pam.conf").to_owned(),
        Program::Nss => include_str!("templates/nsswitch.conf").to_owned(),
        Program::Nslcd => here.nslcd()?,
        Program::Sssd => here.sssd()?,
        Program::Sudo => here.sudo()?,
        Program::Resolv => here.resolv()?,
        Program::Client => here.client()?,
        Program::Rsyslog => here.rsyslog()?,
        Program::SyslogNg => here.syslog_ng()?,
        Program::Journald => include_str!("templates/journald.conf").to_owned(),
    };
    Ok(text.trim_end().to_owned())
}

fn lacking(config: &Config, what: &str) -> Failure {
    Failure::new(Exit::Config, format!("{} {what}", config.file.display()))
}

fn filled(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

impl Installation<'_> {
    fn directory(&self) -> Result<&directory::config::Config, Failure> {
        let found = self.config.directory.as_ref();
        found.ok_or_else(|| lacking(self.config, "has no section [directory]: there is nothing to ask for people"))
    }

    /// The appliances on the port of a listener.
    fn addresses(&self, listen: &[SocketAddr], key: &str) -> Result<Vec<SocketAddr>, Failure> {
        let first = listen.first().ok_or_else(|| lacking(self.config, &format!("listens on no address in {key}")))?;
        if !self.appliances.is_empty() {
            return Ok(self.appliances.iter().map(|ip| SocketAddr::new(*ip, first.port())).collect());
        }
        if listen.iter().any(|address| address.ip().is_unspecified()) {
            let what = format!("listens on every address in {key}; say by --appliance 10.0.0.2 how instances reach it");
            return Err(lacking(self.config, &what));
        }
        Ok(listen.to_vec())
    }

    /// How LDAP is reached, and the URLs.
    fn ldap(&self) -> Result<(Transport, Vec<String>), Failure> {
        let directory = self.directory()?;
        let (transport, scheme, port, addresses) = if directory.listen_tls.is_empty() {
            let transport = if directory.tls_cert.is_some() { Transport::StartTls } else { Transport::Plain };
            (transport, "ldap", 389, self.addresses(&directory.listen, "listen of [directory]")?)
        } else {
            (Transport::Tls, "ldaps", 636, self.addresses(&directory.listen_tls, "listen_tls of [directory]")?)
        };
        let url = |address: SocketAddr| match address {
            SocketAddr::V4(v4) if v4.port() == port => format!("{scheme}://{}/", v4.ip()),
            SocketAddr::V6(v6) if v6.port() == port => format!("{scheme}://[{}]/", v6.ip()),
            other => format!("{scheme}://{other}/"),
        };
        Ok((transport, addresses.into_iter().map(url).collect()))
    }

    /// The lines about encryption and about who the host is. `words` are the program's own for: StartTLS, demand a
    /// certificate, roots, certificate, key, bind DN, its password.
    fn tls(&self, transport: Transport, words: [&str; 7]) -> Result<String, Failure> {
        let [start_tls, demand, roots, certificate, key, dn, secret] = words;
        let directory = self.directory()?;
        let mut lines: Vec<String> = match transport {
            Transport::Tls => Vec::new(),
            Transport::StartTls => vec![start_tls.into()],
            Transport::Plain => {
                vec!["# Not encrypted, because the appliance has no tls_cert: it takes no passwords.".into()]
            }
        };
        if transport != Transport::Plain {
            lines.extend([demand.into(), format!("{roots}/etc/gatehouse/ca.pem")]);
        }
        if directory.client_ca.is_some() && transport != Transport::Plain {
            lines.push("# This host's certificate says who asks.".into());
            lines.push(format!("{certificate}/etc/gatehouse/host.pem"));
            lines.push(format!("{key}/etc/gatehouse/host.key"));
        } else if directory.allow_anonymous.is_empty() {
            lines.push("# The appliance answers no search without a bind; an account that may read:".into());
            lines.push(format!("# {dn}uid=reader,{}", directory.base));
            lines.push(format!("# {secret}PASSWORD"));
        }
        Ok(lines.join("\n"))
    }

    fn nslcd(&self) -> Result<String, Failure> {
        let (transport, uris) = self.ldap()?;
        let words =
            ["ssl start_tls", "tls_reqcert demand", "tls_cacertfile ", "tls_cert ", "tls_key ", "binddn ", "bindpw "];
        let tls = self.tls(transport, words)?;
        let values = [("uris", uris.join(" ")), ("base", self.directory()?.base.clone()), ("tls", tls)];
        Ok(filled(include_str!("templates/nslcd.conf"), &borrowed(&values)))
    }

    fn sssd(&self) -> Result<String, Failure> {
        let (transport, uris) = self.ldap()?;
        let words = [
            "ldap_id_use_start_tls = true",
            "ldap_tls_reqcert = demand",
            "ldap_tls_cacert = ",
            "ldap_tls_cert = ",
            "ldap_tls_key = ",
            "ldap_default_bind_dn = ",
            "ldap_default_authtok = ",
        ];
        let base = &self.directory()?.base;
        let values = [
            ("domain", self.product().to_owned()),
            ("uris", uris.join(", ")),
            ("base", base.clone()),
            ("sudoers", format!("{SUDOERS},{base}")),
            ("tls", self.tls(transport, words)?),
        ];
        Ok(filled(include_str!("templates/sssd.conf"), &borrowed(&values)))
    }

    fn sudo(&self) -> Result<String, Failure> {
        let (transport, uris) = self.ldap()?;
        let words =
            ["ssl start_tls", "tls_checkpeer yes", "tls_cacert ", "tls_cert ", "tls_key ", "binddn ", "bindpw "];
        let sudoers = format!("{SUDOERS},{}", self.directory()?.base);
        let values = [("uris", uris.join(" ")), ("sudoers", sudoers), ("tls", self.tls(transport, words)?)];
        Ok(filled(include_str!("templates/sudo-ldap.conf"), &borrowed(&values)))
    }

    fn resolv(&self) -> Result<String, Failure> {
        let dns = self.config.dns.as_ref().ok_or_else(|| lacking(self.config, "has no section [dns]"))?;
        let mut addresses = self.addresses(&dns.listen, "listen of [dns]")?;
        if let Some(odd) = addresses.iter().find(|address| address.port() != 53) {
            let what = format!("answers names on {odd}; resolv.conf can only name port 53");
            return Err(lacking(self.config, &what));
        }
        addresses.dedup_by_key(|address| address.ip());
        addresses.truncate(NAMESERVERS_MAX);
        let servers: Vec<String> = addresses.iter().map(|address| format!("nameserver {}", address.ip())).collect();
        let (product, region) = (self.product(), &self.config.node.region);
        let advice = match servers.len() {
            1 => " One is one too few: name a second by --appliance.",
            _ => "",
        };
        let values = [
            ("search", format!("{region}.{product}.private {product}.private")),
            ("nameservers", servers.join("\n")),
            ("advice", advice.to_owned()),
        ];
        Ok(filled(include_str!("templates/resolv.conf"), &borrowed(&values)))
    }

    fn client(&self) -> Result<String, Failure> {
        let directory = self.directory()?;
        let addresses = self.addresses(&directory.listen_tls, "listen_tls of [directory]")?;
        let quoted: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
        let identity = ["cert = \"/etc/gatehouse/host.pem\"", "key = \"/etc/gatehouse/host.key\""];
        let mark = if directory.client_ca.is_some() { "" } else { "# " };
        let identity = identity.map(|line| format!("{mark}{line}")).join("\n");
        let values = [("appliances", quoted.join(", ")), ("identity", identity)];
        Ok(filled(include_str!("templates/client.toml"), &borrowed(&values)))
    }

    /// The product, also the name of sssd's domain.
    fn product(&self) -> &str {
        self.config.product().map_or("gatehouse", |product| product.as_str())
    }
}

fn borrowed<'a, const N: usize>(values: &'a [(&'a str, String); N]) -> [(&'a str, &'a str); N] {
    std::array::from_fn(|n| (values[n].0, values[n].1.as_str()))
}

#[cfg(test)]
mod tests;
