//! Entries of our own making that are no part of the content: the rootDSE and the subschema.
//!
//! They are few and read by base searches only, so they are made when asked for, and a filter on them is evaluated
//! term by term: presence and equality, compared without regard to case.

use bytes::BytesMut;
use ldap3_proto::LdapFilter;

use super::reply::{constructed, octets};

/// Whether an attribute is returned for `*` or for `+` (RFC 3673).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Operational,
}

/// An entry with a fixed content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fixed {
    /// Its DN.
    pub(super) dn: &'static str,
    attributes: Vec<(&'static str, Kind, Vec<String>)>,
}

impl Fixed {
    pub(super) fn new(dn: &'static str) -> Self {
        Self { dn, attributes: Vec::new() }
    }

    /// Adds an attribute, unless it has no values.
    pub(super) fn add<'a>(&mut self, name: &'static str, kind: Kind, values: impl IntoIterator<Item = &'a str>) {
        let values: Vec<String> = values.into_iter().map(str::to_owned).collect();
        if !values.is_empty() {
            self.attributes.push((name, kind, values));
        }
    }

    /// The values of an attribute.
    pub(super) fn values(&self, name: &str) -> Option<&[String]> {
        self.attributes.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name)).map(|(.., values)| &values[..])
    }

    /// Whether a filter is true for the entry; undefined counts as not true (RFC 4511 section 4.5.1.7).
    pub(super) fn matches(&self, filter: &LdapFilter) -> bool {
        self.evaluate(filter) == Some(true)
    }

    fn evaluate(&self, filter: &LdapFilter) -> Option<bool> {
        match filter {
            LdapFilter::And(parts) => self.all(parts, false),
            LdapFilter::Or(parts) => self.all(parts, true),
            LdapFilter::Not(part) => self.evaluate(part).map(|value| !value),
            LdapFilter::Present(name) => Some(self.values(name).is_some()),
            LdapFilter::Equality(name, value) => {
                let values = self.values(name)?;
                Some(values.iter().any(|known| known.eq_ignore_ascii_case(value)))
            }
            _ => None,
        }
    }

    /// And, or: the value that decides alone; else undefined if any part is; else the other value.
    fn all(&self, parts: &[LdapFilter], decides: bool) -> Option<bool> {
        let mut result = Some(!decides);
        for part in parts {
            match self.evaluate(part) {
                Some(value) if value == decides => return Some(decides),
                None => result = None,
                Some(_) => {}
            }
        }
        result
    }

    /// Writes the attributes that are asked for.
    pub(super) fn encode(&self, asked: &[String], types_only: bool, out: &mut BytesMut) {
        let lists = |text: &str| asked.iter().any(|name| name == text);
        let wanted = |name: &str, kind: Kind| match kind {
            Kind::User if asked.is_empty() || lists("*") => true,
            Kind::Operational if lists("+") => true,
            _ => asked.iter().any(|asked| asked.eq_ignore_ascii_case(name)),
        };
        constructed(out, 0x30, |out| {
            for (name, _, values) in self.attributes.iter().filter(|(name, kind, _)| wanted(name, *kind)) {
                constructed(out, 0x30, |out| {
                    octets(out, 0x04, name.as_bytes());
                    constructed(out, 0x31, |out| {
                        let values = values.iter().filter(|_| !types_only);
                        values.for_each(|value| octets(out, 0x04, value.as_bytes()));
                    });
                });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use ldap3_proto::parse_ldap_filter_str;

    use super::*;

    #[test]
    fn filters_are_three_valued() {
        let mut entry = Fixed::new("cn=subschema");
        entry.add("objectClass", Kind::User, ["top", "subschema"]);
        for (text, expected) in [
            ("(objectClass=*)", true),
            ("(objectclass=SUBSCHEMA)", true),
            ("(objectClass=person)", false),
            ("(!(objectClass=person))", true),
            ("(cn=x)", false),
            ("(!(cn=x))", false),
            ("(|(cn=x)(objectClass=top))", true),
            ("(&(cn=x)(objectClass=top))", false),
            ("(objectClass>=a)", false),
        ] {
            assert_eq!(entry.matches(&parse_ldap_filter_str(text).unwrap()), expected, "{text}");
        }
        assert!(entry.matches(&LdapFilter::And(vec![])), "absolute true (RFC 4526)");
    }

    #[test]
    fn attributes_are_selected_by_kind_and_by_name() {
        let mut entry = Fixed::new("");
        entry.add("objectClass", Kind::User, ["top"]);
        entry.add("lastUSN", Kind::Operational, ["7"]);
        let names = |asked: &[&str]| {
            let mut out = BytesMut::new();
            entry.encode(&asked.iter().map(|name| name.to_string()).collect::<Vec<_>>(), true, &mut out);
            let text = String::from_utf8_lossy(&out).into_owned();
            ["objectClass", "lastUSN"].map(|name| text.contains(name))
        };
        assert_eq!(names(&[]), [true, false]);
        assert_eq!(names(&["*"]), [true, false]);
        assert_eq!(names(&["+"]), [false, true]);
        assert_eq!(names(&["*", "+"]), [true, true]);
        assert_eq!(names(&["1.1"]), [false, false]);
        assert_eq!(names(&["LASTusn"]), [false, true]);
    }
}
