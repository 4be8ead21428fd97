//! Patterns that say on which hosts a grant holds.
//!
//! `dev-mysql01.us-east-1b`, `dev-mysql*.us-east-1b`, `*.us-east-1` (a region covers its zones), `*`, `role:mysql`,
//! `group:db`, `tag:env=dev`; `!` in front denies. `*` and `?` match within a name. A host may also be written in full,
//! with its product and with `private` or `public` behind it. Names are compared in lower case; tags keep their case,
//! because the inventory does, and their keys are no globs. What a pattern is written back as is read as the same pattern.

use std::fmt;

use compact_str::{CompactString, ToCompactString};

use crate::model::Host;

/// Most octets of a pattern.
pub const PATTERN_OCTETS_MAX: usize = 512;

/// On which hosts something holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern {
    /// Whether it denies instead of allowing.
    pub denies: bool,
    /// The hosts.
    pub hosts: Hosts,
}

/// A set of hosts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hosts {
    /// By name: globs for the host label, for its zone or region, and for its product; an absent one matches all.
    Named {
        /// Host label.
        name: CompactString,
        /// Zone or region.
        place: Option<CompactString>,
        /// Product.
        product: Option<CompactString>,
    },
    /// Hosts that carry a role.
    Role(CompactString),
    /// Hosts in a group.
    Group(CompactString),
    /// Hosts with a tag of this key, and of this value if one is given.
    Tag(CompactString, Option<CompactString>),
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no pattern: {why}")]
pub struct BadPattern {
    text: String,
    why: &'static str,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let bad = |why| BadPattern { text: text.chars().take(80).collect(), why };
        if text.len() > PATTERN_OCTETS_MAX {
            return Err(bad("it is longer than 512 octets"));
        }
        let lower = text.trim().to_ascii_lowercase();
        let (denies, rest) = match lower.strip_prefix('!') {
            Some(rest) => (true, rest.trim_start()),
            None => (false, lower.as_str()),
        };
        let hosts = match rest.split_once(':') {
            Some(("tag", tag)) => tagged(text, tag).map_err(bad)?,
            Some(("role", role)) => Hosts::Role(glob(role).map_err(bad)?),
            Some(("group", group)) => Hosts::Group(glob(group).map_err(bad)?),
            Some(_) => return Err(bad("before the colon stands role, group or tag")),
            None => named(rest).map_err(bad)?,
        };
        Ok(Self { denies, hosts })
    }

    /// Whether the pattern, its denial aside, means this host.
    pub fn matches(&self, host: &Host) -> bool {
        self.hosts.contain(host)
    }
}

/// Reads a tag from the end of the whole text, where it has its case.
fn tagged(text: &str, lower: &str) -> Result<Hosts, &'static str> {
    let text = text.trim();
    // Lower-casing ASCII letters keeps every octet in its place.
    let tag = text.get(text.len() - lower.len()..).unwrap_or(lower);
    if tag.chars().any(char::is_control) {
        return Err("a tag holds no control characters");
    }
    let (key, value) = match tag.split_once('=') {
        Some((key, value)) => (key, Some(value.to_compact_string())),
        None => (tag, None),
    };
    let key = key.trim();
    if key.is_empty() {
        return Err("a tag is written tag:key=value");
    }
    Ok(Hosts::Tag(key.into(), value))
}

fn glob(text: &str) -> Result<CompactString, &'static str> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'*' | b'?');
    if text.is_empty() {
        return Err("a part of it is empty");
    }
    if !text.bytes().all(known) {
        return Err("names are made of letters, digits, hyphens and underscores, with * and ? as wildcards");
    }
    Ok(text.into())
}

fn named(text: &str) -> Result<Hosts, &'static str> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let labels: Vec<CompactString> = text.split('.').map(glob).collect::<Result<_, _>>()?;
    let (name, place, product) = match labels.as_slice() {
        [name, product, tld] if is_view(tld) => (name, None, Some(product)),
        [name, place, product, tld] if is_view(tld) => (name, Some(place), Some(product)),
        [name] => (name, None, None),
        [name, place] => (name, Some(place), None),
        [name, place, product] => (name, Some(place), Some(product)),
        _ => return Err("a host is written name, name.zone or name.zone.product.private"),
    };
    Ok(Hosts::Named { name: name.clone(), place: place.cloned(), product: product.cloned() })
}

fn is_view(label: &str) -> bool {
    matches!(label, "private" | "public")
}

impl Hosts {
    /// Whether the set contains a host.
    pub fn contain(&self, host: &Host) -> bool {
        let any = |list: &[CompactString], glob: &str| list.iter().any(|item| matches(glob, item));
        match self {
            Self::Named { name, place, product } => {
                let is_there = |place: &CompactString| matches(place, &host.key.zone) || matches(place, &host.region);
                matches(name, &host.key.name)
                    && place.as_ref().is_none_or(is_there)
                    && product.as_ref().is_none_or(|product| matches(product, &host.key.product))
            }
            Self::Role(role) => any(&host.roles, role),
            Self::Group(group) => any(&host.groups, group),
            Self::Tag(key, value) => {
                let is = |(k, v): &(CompactString, CompactString)| {
                    k == key && value.as_ref().is_none_or(|glob| matches(glob, v))
                };
                host.tags.iter().any(is)
            }
        }
    }
}

/// Whether `text` matches a glob of `*` and `?`. Linear in the text for each star, without recursion.
fn matches(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let (mut g, mut t, mut retry) = (0, 0, None);
    while t < text.len() {
        match glob.get(g) {
            Some(b'*') => {
                retry = Some((g + 1, t));
                g += 1;
            }
            Some(byte) if *byte == b'?' || Some(byte) == text.get(t) => {
                g += 1;
                t += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    retry = Some((after, from + 1));
                    g = after;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    glob.get(g..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.denies {
            f.write_str("!")?;
        }
        match &self.hosts {
            Hosts::Role(role) => write!(f, "role:{role}"),
            Hosts::Group(group) => write!(f, "group:{group}"),
            Hosts::Tag(key, None) => write!(f, "tag:{key}"),
            Hosts::Tag(key, Some(value)) => write!(f, "tag:{key}={value}"),
            Hosts::Named { name, place, product } => {
                f.write_str(name)?;
                if let Some(place) = place {
                    write!(f, ".{place}")?;
                }
                match product {
                    Some(product) => write!(f, ".{product}.private"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{HostKey, HostState};

    fn host() -> Host {
        Host {
            key: HostKey { product: "acme".into(), name: "dev-mysql01".into(), zone: "us-east-1b".into() },
            region: "us-east-1".into(),
            private_ip: Ipv4Addr::new(10, 0, 0, 1),
            public_ip: None,
            ipv6: None,
            roles: ["mysql".into()].into(),
            groups: ["db".into()].into(),
            tags: [("Env".into(), "Dev=1".into()), ("aws:stack".into(), "".into())].into(),
            state: HostState::Running,
            source: "api".into(),
        }
    }

    fn means(text: &str) -> bool {
        Pattern::parse(text).unwrap().matches(&host())
    }

    #[test]
    fn patterns_that_mean_a_host() {
        for text in [
            "*",
            "dev-mysql01",
            "Dev-MySQL01.US-East-1b",
            "dev-mysql01.us-east-1b.",
            "dev-mysql01.us-east-1",
            "dev-mysql*.us-east-1b",
            "*.us-east-1",
            "*.us-*",
            "dev-mysql?1",
            "*sql*",
            "dev-mysql01.acme.private",
            "dev-mysql01.us-east-1b.acme.public",
            "*.*.acme",
            "role:mysql",
            "Role:My*",
            "group:d?",
            "tag:Env",
            "TAG:Env=Dev=1",
            "tag:Env=D*",
            "tag: Env=Dev?1",
            "tag:aws:stack=",
            "tag:aws:stack=*",
            " ! dev-mysql01 ",
        ] {
            assert!(means(text), "{text}");
        }
    }

    #[test]
    fn patterns_that_mean_another() {
        for text in [
            "dev-mysql0",
            "dev-mysql011",
            "mysql01",
            "dev-mysql01.us-east-1a",
            "dev-mysql01.us-east",
            "*.eu-*",
            "dev_mysql01",
            "dev-mysql01.other.private",
            "dev-mysql01.us-east-1b.other",
            "role:dev-mysql01",
            "role:mysq",
            "group:mysql",
            "tag:env",
            "tag:Env=dev=1",
            "tag:Env=",
            "tag:E*",
        ] {
            assert!(!means(text), "{text}");
        }
    }

    #[test]
    fn a_wildcard_matches_within_its_part() {
        for (glob, text, is) in [
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "axxbyybzzc", true),
            ("a*b*c", "axxbyyb", false),
            ("*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("**", "a", true),
        ] {
            assert_eq!(matches(glob, text), is, "{glob} {text}");
        }
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (text, why) in [
            ("", "a part of it is empty"),
            ("!", "a part of it is empty"),
            ("!!a", "wildcards"),
            ("a..b", "a part of it is empty"),
            ("a b", "wildcards"),
            ("ä", "wildcards"),
            ("a.b.c.d", "a host is written"),
            ("rolle:x", "before the colon"),
            ("role:", "a part of it is empty"),
            ("role:a.b", "wildcards"),
            ("tag:=x", "tag:key=value"),
            ("tag:a=\n", ""),
            ("tag:a\u{7}b=x", "control"),
            (&"x".repeat(PATTERN_OCTETS_MAX + 1), "512 octets"),
        ] {
            match Pattern::parse(text) {
                Ok(pattern) => assert!(why.is_empty(), "{text:?} is {pattern}"),
                Err(fault) => assert!(!why.is_empty() && fault.to_string().contains(why), "{fault}"),
            }
        }
    }

    proptest! {
        /// What is written back is read as the same, and written the same again.
        #[test]
        fn patterns_survive_being_written(text in "!?(role:|group:|tag:|TAG:)?[a-zA-Z0-9*?._=:! é-]{0,12}(\\.(private|public|acme))?\\.?") {
            if let Ok(pattern) = Pattern::parse(&text) {
                let written = pattern.to_string();
                prop_assert_eq!(Pattern::parse(&written), Ok(pattern), "{} from {:?}", written, text);
            }
        }

        /// Nothing makes reading or matching panic.
        #[test]
        fn anything_may_be_asked(text in ".*") {
            if let Ok(pattern) = Pattern::parse(&text) {
                pattern.matches(&host());
            }
        }
    }
}
