//! What is wrong or unwise in `[directory]`.

use std::os::unix::fs::PermissionsExt;

use directory::{
    config::{Config, Upstream, Views},
    dn::Dn,
    follow::check,
};

use super::Notes;

const SECTION: &str = "directory";
const UPSTREAM: &str = "directory.upstream";
/// Password schemes that may be allowed.
const WEAK_SCHEMES: [&str; 5] = ["clear", "crypt-des", "md5", "smd5", "sha"];

/// Everything about `[directory]`.
pub(super) fn review(notes: &mut Notes<'_>, config: &Config) {
    source(notes, config);
    tls(notes, config);
    limits(notes, config);
    if let Err(why) = Dn::parse(&config.base) {
        notes.error(SECTION, "base", format!("base = {:?}: {why}", config.base));
    }
    if config.allow_anonymous.iter().any(|net| net.prefix_len() == 0) {
        let text = "allow_anonymous holds a network of the whole Internet: everybody may read who your people are";
        notes.warn(SECTION, "allow_anonymous", text);
    }
    if config.plain_binds.iter().any(|net| !net.network().is_loopback()) {
        let text = "plain_binds: passwords from these networks can be read on the way; use listen_tls or StartTLS";
        notes.warn(SECTION, "plain_binds", text);
    }
    if !config.hosts_by_address.is_empty() {
        let text = "hosts_by_address: whoever can send from a host's address is taken for that host";
        notes.warn(SECTION, "hosts_by_address", text);
    }
    for scheme in config.weak_schemes.iter().filter(|s| !WEAK_SCHEMES.contains(&s.as_str())) {
        let text = format!("weak_schemes: {scheme:?} is unknown; use {}", WEAK_SCHEMES.join(", "));
        notes.error(SECTION, "weak_schemes", text);
    }
}

fn source(notes: &mut Notes<'_>, config: &Config) {
    match (&config.ldif, &config.upstream) {
        (Some(_), Some(_)) => {
            let text = "ldif and [directory.upstream] are both set; people come from one of them: remove the other";
            notes.error(SECTION, "ldif", text);
        }
        (None, None) => {
            let text = "there is neither ldif nor [directory.upstream]: nobody new will be known";
            notes.warn(SECTION, "base", text);
        }
        (Some(ldif), None) => notes.file(SECTION, "ldif", ldif),
        (None, Some(upstream)) => follow(notes, upstream),
    }
}

fn follow(notes: &mut Notes<'_>, upstream: &Upstream) {
    for (key, text) in check::faults(upstream) {
        notes.error(UPSTREAM, key, text);
    }
    for (key, text) in check::warnings(upstream) {
        notes.warn(UPSTREAM, key, text);
    }
    for (key, dn) in [("base", Some(&upstream.base)), ("bind_dn", upstream.bind_dn.as_ref())] {
        if let Some(Err(why)) = dn.filter(|dn| !dn.trim().is_empty()).map(|dn| Dn::parse(dn)) {
            notes.error(UPSTREAM, key, format!("{key}: {why}"));
        }
    }
    if let Some(file) = &upstream.bind_password_file {
        notes.file(UPSTREAM, "bind_password_file", file);
        if std::fs::metadata(file).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0) {
            let text = format!("bind_password_file: {} can be read by everybody; chmod o-r it", file.display());
            notes.warn(UPSTREAM, "bind_password_file", text);
        }
    }
    for (key, n) in
        [("poll_s", upstream.poll_s), ("timeout_s", upstream.timeout_s), ("reconcile_h", upstream.reconcile_h)]
    {
        if n == 0 {
            notes.error(UPSTREAM, key, format!("{key} = 0 would never pause; use 1 or more"));
        }
    }
    if let Some(file) = &upstream.ca_file {
        notes.file(UPSTREAM, "ca_file", file);
    }
}

fn tls(notes: &mut Notes<'_>, config: &Config) {
    if config.listen.is_empty() && config.listen_tls.is_empty() {
        notes.error(SECTION, "listen", "[directory] listens nowhere; give listen an address, or remove the section");
    }
    match (&config.tls_cert, &config.tls_key) {
        (Some(cert), Some(key)) => {
            notes.file(SECTION, "tls_cert", cert);
            notes.file(SECTION, "tls_key", key);
        }
        (None, None) if config.listen_tls.is_empty() && config.client_ca.is_none() => {
            if config.listen.iter().any(|a| !a.ip().is_loopback()) {
                let text = "there is no tls_cert: passwords are refused from everywhere but plain_binds";
                notes.warn(SECTION, "tls_cert", text);
            }
        }
        _ => notes.error(SECTION, "listen_tls", "listen_tls and client_ca need both tls_cert and tls_key"),
    }
    match &config.client_ca {
        Some(file) => notes.file(SECTION, "client_ca", file),
        None if config.views == Views::Host => {
            notes.error(SECTION, "views", "views = \"host\" needs client_ca: hosts are known by their certificates");
        }
        None => {}
    }
}

fn limits(notes: &mut Notes<'_>, config: &Config) {
    let limits = [
        ("connections_max", config.connections_max as u64),
        ("connections_per_source", config.connections_per_source as u64),
        ("idle_s", config.idle_s),
        ("size_limit", config.size_limit as u64),
        ("decision_log_mb", config.decision_log_mb),
    ];
    for (key, _) in limits.into_iter().filter(|(_, n)| *n == 0) {
        notes.error(SECTION, key, format!("{key} = 0 would refuse everything; use 1 or more"));
    }
}

#[cfg(test)]
mod tests {
    fn reviewed(rest: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gatehouse.toml");
        let text = format!(
            "[node]\nname = \"gw1\"\nregion = \"us-east-1\"\ndata_dir = \"d\"\n[directory]\nbase = \"dc=acme\"\n{rest}"
        );
        std::fs::write(&file, text).unwrap();
        let config = crate::config::load(&file).unwrap();
        super::super::review(&config).iter().map(|p| format!("{:?} {p}", p.severity)).collect()
    }

    #[test]
    fn an_ldif_on_loopback_is_fine() {
        let text = "listen = [\"127.0.0.1:389\"]\nldif = \"/dev/null\"\n";
        assert_eq!(reviewed(text), Vec::<String>::new());
    }

    #[test]
    fn one_source_and_whole_pairs() {
        assert_eq!(
            reviewed(
                "listen_tls = [\"127.0.0.1:636\"]\nldif = \"x\"\n[directory.upstream]\nurls = [\"ldaps://a\"]\nbase = \"dc=acme\"\n"
            ),
            [
                "Error gatehouse.toml:8: ldif and [directory.upstream] are both set; people come from one of them: remove the other",
                "Error gatehouse.toml:7: listen_tls and client_ca need both tls_cert and tls_key",
            ]
        );
    }

    #[test]
    fn a_wrong_upstream_is_named() {
        let found = reviewed(
            "listen = [\"127.0.0.1:389\"]\n[directory.upstream]\nurls = [\"http://a\"]\nbase = \"acme\"\nbind_dn = \"cn=a\"\npoll_s = 0\n",
        );
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(found[0].contains("gatehouse.toml:9: \"http://a\" is neither ldap:// nor ldaps://"), "{found:?}");
    }
}
