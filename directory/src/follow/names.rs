//! Distinguished names as far as following needs them: where an entry is below another, and what becomes of its name when
//! that one is renamed. Names come from one server, which spells them in one way; nothing more is normalised than case
//! and blanks.

/// The RDNs of a DN, first to last, as they are written (RFC 4514: separated by commas that are not escaped).
pub(crate) fn rdns(dn: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut escaped, mut quoted) = (Vec::new(), 0, false, false);
    for (at, octet) in dn.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                parts.extend(dn.get(begin..at));
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.extend(dn.get(begin..).filter(|rest| begin > 0 || !rest.trim().is_empty()));
    parts
}

/// An RDN in lower case, without blanks around it and around its `=`.
pub(super) fn normal_rdn(rdn: &str) -> String {
    let rdn = rdn.trim_start();
    // A blank behind a backslash belongs to the value.
    let trimmed = rdn.trim_end();
    let rdn = if trimmed.ends_with('\\') { rdn.get(..trimmed.len() + 1).unwrap_or(rdn) } else { trimmed };
    match rdn.split_once('=') {
        Some((kind, value)) => format!("{}={}", kind.trim_end(), value.trim_start()).to_lowercase(),
        None => rdn.to_lowercase(),
    }
}

/// A DN in which equal names are spelt equally.
pub(super) fn normal(dn: &str) -> String {
    rdns(dn).into_iter().map(normal_rdn).collect::<Vec<_>>().join(",")
}

/// The name of an entry below `old` (given normal) after that was renamed to `new`; `None` if it is not below it.
pub(super) fn moved(dn: &str, old: &str, new: &str) -> Option<String> {
    let parts = rdns(dn);
    let depth = rdns(old).len();
    let own = parts.len().checked_sub(depth).filter(|own| *own > 0)?;
    let (below, above) = parts.split_at(own);
    let above = above.iter().copied().map(normal_rdn).collect::<Vec<_>>().join(",");
    (above == old && depth > 0).then(|| join(below, new))
}

/// `below` under the DN `above`.
pub(super) fn join(below: &[&str], above: &str) -> String {
    let mut name = below.join(",");
    if !above.is_empty() {
        name.push(',');
        name.push_str(above);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_below_a_renamed_one_follow_it() {
        let old = normal("OU=People, dc=Acme,dc=private");
        assert_eq!(old, "ou=people,dc=acme,dc=private");
        let after = |dn| moved(dn, &old, "ou=Staff,dc=acme,dc=private");
        assert_eq!(
            after("uid=ada,ou=people,dc=acme,dc=private").as_deref(),
            Some("uid=ada,ou=Staff,dc=acme,dc=private")
        );
        let deep = r"cn=a\,b+x=1,ou=ops,OU=people,dc=acme, dc=private";
        assert_eq!(after(deep).as_deref(), Some(r"cn=a\,b+x=1,ou=ops,ou=Staff,dc=acme,dc=private"));
        assert_eq!(after("ou=people,dc=acme,dc=private"), None);
        assert_eq!(after(r"uid=eve\,ou=people,dc=acme,dc=private"), None);
        assert_eq!(after("uid=eve,xou=people,dc=acme,dc=private"), None);
        assert_eq!(after(""), None);
    }

    #[test]
    fn odd_names_are_taken_apart_without_harm() {
        assert_eq!(rdns(""), [""; 0]);
        assert_eq!(rdns(r#"cn="a,b",dc=c"#), [r#"cn="a,b""#, "dc=c"]);
        assert_eq!(rdns(r"a\"), [r"a\"]);
        assert_eq!(rdns(","), ["", ""]);
        assert_eq!(normal("cn = é ,dc= C"), "cn=é,dc=c");
        assert_eq!(normal(r"cn=a\ ,dc=c"), r"cn=a\ ,dc=c");
    }
}
