//! What can be said of `[directory.upstream]` without asking a server.

use super::address::Address;
use crate::config::Upstream;

/// A key of `[directory.upstream]` and a sentence about it.
pub type Remark = (&'static str, String);

/// What is wrong, one sentence each, with the remedy.
pub fn faults(upstream: &Upstream) -> Vec<Remark> {
    let of_urls = upstream.urls.iter().filter_map(|url| Address::parse(url).err());
    let mut faults: Vec<Remark> = of_urls.map(|why| ("urls", why)).collect();
    let mut fault = |key, text: String| faults.push((key, text));
    if upstream.urls.is_empty() {
        fault("urls", "urls is empty; name a server, as in urls = [\"ldaps://ldap1.corp\"]".into());
    }
    if upstream.base.trim().is_empty() {
        let text = "base is empty; name the DN below which the entries are, as in base = \"dc=acme,dc=private\"";
        fault("base", text.into());
    }
    if ldap3::parse_filter(&upstream.filter).is_err() {
        let filter = &upstream.filter;
        fault("filter", format!("filter {filter:?} is no filter; write it as in \"(objectClass=*)\""));
    }
    match (&upstream.bind_dn, &upstream.bind_password_file) {
        (Some(dn), None) => fault("bind_dn", format!("bind_dn is {dn:?} but no bind_password_file is named; name one")),
        (None, Some(_)) => {
            let text = "bind_password_file is named but no bind_dn; name who the password is for";
            fault("bind_password_file", text.into());
        }
        _ => {}
    }
    faults
}

/// What works but is unwise.
pub fn warnings(upstream: &Upstream) -> Vec<Remark> {
    let plain = |url: &&String| Address::parse(url).is_ok_and(|address| !address.tls);
    let mut warnings = Vec::new();
    if !upstream.starttls
        && let Some(url) = upstream.urls.iter().find(plain)
    {
        let text = format!(
            "starttls = false: everything from {url}, password hashes as well, and our own password cross the network in clear; \
             use ldaps:// or StartTLS"
        );
        warnings.push(("starttls", text));
    }
    if upstream.bind_dn.is_none() {
        let text = "no bind_dn: an anonymous reader seldom sees everything, and what it does not see is not there";
        warnings.push(("bind_dn", text.into()));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(text: &str) -> Upstream {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn wrong_settings_are_named() {
        let right =
            r#"{"urls": ["ldaps://a", "ldap://[::1]"], "base": "dc=a", "bind_dn": "cn=r", "bind_password_file": "/s"}"#;
        assert_eq!((faults(&upstream(right)), warnings(&upstream(right))), (Vec::new(), Vec::new()));
        let wrong = r#"{"urls": ["http://a"], "base": " ", "filter": "(uid=", "bind_dn": "cn=r"}"#;
        let keys = faults(&upstream(wrong)).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(keys, ["urls", "base", "filter", "bind_dn"]);
        let unwise = r#"{"urls": ["ldap://a"], "base": "dc=a", "starttls": false}"#;
        assert_eq!(warnings(&upstream(unwise)).len(), 2);
    }
}
