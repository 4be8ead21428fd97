//! LDAP filters as they stand in a `pam_filter`, `pam_authz_search` or `ldap_access_filter` (RFC 4515).
//!
//! Read as libldap reads them, which also takes the escapes of LDAPv2 (`\*`, `\(`), and without the outer parentheses, as
//! pam_ldap does. Configuration files double the backslash, so `\\*` is read as `\*` too. `$hostname`, `$fqdn`,
//! `$username` and `$uid` stand for the host and the person, as in nslcd. Octets and depth are limited.

use inventory::{Host, entry::Entry};

/// Most octets of a filter.
const OCTETS_MAX: usize = 64 << 10;
/// Deepest nesting.
const DEPTH_MAX: usize = 32;

/// A filter that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no LDAP filter: {why} at octet {at}; write it as in (|(host=web01.us-east-1b)(host=\\2a))")]
pub struct BadFilter {
    why: &'static str,
    at: usize,
}

/// A filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldFilter(pub(super) Node);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Leaf(Leaf),
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    /// In lower case, without options.
    pub(super) attribute: String,
    pub(super) test: Test,
    /// As written.
    pub(super) text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    Present,
    Equal(String),
    /// The parts between the stars; the first and the last may be empty.
    Substring(Vec<String>),
    AtLeast(String),
    AtMost(String),
    /// An extensible match: undefined, so never true.
    Extensible,
}

/// Whom and where a filter is asked about.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) entry: &'a Entry,
    pub(super) host: &'a Host,
}

impl OldFilter {
    /// Reads a filter.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, BadFilter> {
        let text = text.trim();
        if text.len() > OCTETS_MAX {
            return Err(BadFilter { why: "it is longer than 65,536 octets", at: OCTETS_MAX });
        }
        let whole = if text.starts_with('(') { text.to_owned() } else { format!("({text})") };
        let mut reader = Reader { text: &whole, at: 0 };
        let node = reader.node(0)?;
        if reader.rest().trim().is_empty() { Ok(Self(node)) } else { Err(reader.bad("something follows its end")) }
    }

    /// The comparison that lets somebody in, or none. Of several that do, one about `host` is preferred, since
    /// the others say who somebody is and not where they may go.
    pub(super) fn admits<'f>(&'f self, subject: Subject<'_>) -> Option<Option<&'f Leaf>> {
        self.0.is_true(subject).then(|| self.0.cause(subject))
    }

    /// All comparisons.
    pub(super) fn leaves(&self) -> Vec<&Leaf> {
        let (mut leaves, mut open) = (Vec::new(), vec![&self.0]);
        while let Some(node) = open.pop() {
            match node {
                Node::And(nodes) | Node::Or(nodes) => open.extend(nodes.iter().rev()),
                Node::Not(node) => open.push(node),
                Node::Leaf(leaf) => leaves.push(leaf),
            }
        }
        leaves
    }
}

impl Node {
    fn is_true(&self, subject: Subject<'_>) -> bool {
        match self {
            Self::And(nodes) => nodes.iter().all(|node| node.is_true(subject)),
            Self::Or(nodes) => nodes.iter().any(|node| node.is_true(subject)),
            // What is undefined is not made true by being denied (RFC 4511 section 4.5.1.7).
            Self::Not(node) => {
                !matches!(&**node, Self::Leaf(Leaf { test: Test::Extensible, .. })) && !node.is_true(subject)
            }
            Self::Leaf(leaf) => leaf.matching(subject).is_some(),
        }
    }

    /// Of a node that is true, the comparison behind it.
    fn cause(&self, subject: Subject<'_>) -> Option<&Leaf> {
        let among = |nodes: &'_ [Self]| -> Vec<usize> {
            nodes.iter().enumerate().filter(|(_, node)| node.is_true(subject)).map(|(at, _)| at).collect()
        };
        match self {
            Self::Leaf(leaf) => Some(leaf),
            Self::Not(_) => None,
            Self::And(nodes) | Self::Or(nodes) => {
                let causes = among(nodes).into_iter().filter_map(|at| nodes[at].cause(subject)).collect::<Vec<_>>();
                causes.iter().find(|leaf| leaf.attribute == "host").or(causes.first()).copied()
            }
        }
    }
}

impl Leaf {
    /// The value that makes it true.
    pub(super) fn matching<'a>(&self, subject: Subject<'a>) -> Option<&'a str> {
        let values = subject.entry.texts(&self.attribute);
        let folded = |text: &str| filled(text, subject).to_lowercase();
        match &self.test {
            Test::Present => values.into_iter().next(),
            Test::Equal(text) => {
                let wanted = folded(text);
                values.into_iter().find(|value| value.trim().to_lowercase() == wanted)
            }
            Test::Substring(parts) => {
                let parts: Vec<String> = parts.iter().map(|part| folded(part)).collect();
                values.into_iter().find(|value| contains(&value.to_lowercase(), &parts))
            }
            Test::AtLeast(text) => {
                let wanted = folded(text);
                values.into_iter().find(|value| is_in_order(&wanted, &value.to_lowercase()))
            }
            Test::AtMost(text) => {
                let wanted = folded(text);
                values.into_iter().find(|value| is_in_order(&value.to_lowercase(), &wanted))
            }
            Test::Extensible => None,
        }
    }
}

/// Numbers as numbers, everything else as text.
fn is_in_order(a: &str, b: &str) -> bool {
    match (a.parse::<i64>(), b.parse::<i64>()) {
        (Ok(a), Ok(b)) => a <= b,
        _ => a <= b,
    }
}

fn contains(value: &str, parts: &[String]) -> bool {
    let [first, middle @ .., last] = parts else { return false };
    let Some(mut rest) = value.strip_prefix(first.as_str()) else { return false };
    for part in middle {
        let Some(at) = rest.find(part.as_str()) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last.as_str())
}

/// The text with nslcd's variables replaced.
fn filled(text: &str, subject: Subject<'_>) -> String {
    if !text.contains('$') {
        return text.to_owned();
    }
    let key = &subject.host.key;
    let user = subject.entry.text("uid").unwrap_or_default();
    let fqdn = format!("{}.{}.{}.private", key.name, key.zone, key.product);
    let text = text.replace("$hostname", &key.name).replace("$fqdn", &fqdn);
    text.replace("$username", user).replace("$uid", user)
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn bad(&self, why: &'static str) -> BadFilter {
        BadFilter { why, at: self.at }
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, wanted: char) -> bool {
        self.space();
        let is_there = self.rest().starts_with(wanted);
        self.at += usize::from(is_there);
        is_there
    }

    fn node(&mut self, depth: usize) -> Result<Node, BadFilter> {
        if depth == DEPTH_MAX {
            return Err(self.bad("it is nested more than 32 deep"));
        }
        if !self.take('(') {
            return Err(self.bad("a parenthesis should open"));
        }
        let node = if self.take('&') {
            Node::And(self.nodes(depth)?)
        } else if self.take('|') {
            Node::Or(self.nodes(depth)?)
        } else if self.take('!') {
            Node::Not(Box::new(self.node(depth + 1)?))
        } else if self.rest().starts_with('(') {
            // pam_ldap puts parentheses around a filter that has its own.
            self.node(depth + 1)?
        } else {
            Node::Leaf(self.leaf()?)
        };
        if self.take(')') { Ok(node) } else { Err(self.bad("a parenthesis should close")) }
    }

    fn nodes(&mut self, depth: usize) -> Result<Vec<Node>, BadFilter> {
        let mut nodes = Vec::new();
        self.space();
        while self.rest().starts_with('(') {
            nodes.push(self.node(depth + 1)?);
            self.space();
        }
        Ok(nodes)
    }

    fn leaf(&mut self) -> Result<Leaf, BadFilter> {
        let start = self.at;
        let Some(equals) = self.rest().find(['=', ')', '(']).filter(|at| self.rest()[*at..].starts_with('=')) else {
            return Err(self.bad("a comparison has no ="));
        };
        let left = self.rest()[..equals].to_owned();
        self.at += equals + 1;
        let (name, kind) = match left.trim_end().strip_suffix(['>', '<', '~', ':']) {
            Some(name) => (name, left.trim_end().bytes().last().unwrap_or(b'=')),
            None => (&*left, b'='),
        };
        let attribute = name.split([';', ':']).next().unwrap_or_default().trim().to_ascii_lowercase();
        if attribute.is_empty() && kind != b':' {
            return Err(self.bad("a comparison names no attribute"));
        }
        let mut parts = self.value()?;
        let text = format!("({})", self.text.get(start..self.at).unwrap_or_default().trim());
        let only = |mut parts: Vec<String>| parts.pop().unwrap_or_default();
        let test = match (kind, parts.len()) {
            (b':', _) => Test::Extensible,
            (b'>', 1) => Test::AtLeast(only(parts)),
            (b'<', 1) => Test::AtMost(only(parts)),
            (b'=' | b'~', 1) => Test::Equal(only(parts)),
            (b'=', 2) if parts.iter().all(String::is_empty) => Test::Present,
            (b'=', _) => {
                let last = parts.len() - 1;
                let mut at = 0;
                // Neighbouring stars are one.
                parts.retain(|part| {
                    at += 1;
                    at == 1 || at > last || !part.is_empty()
                });
                Test::Substring(parts)
            }
            _ => return Err(self.bad("a star stands where none may")),
        };
        Ok(Leaf { attribute, test, text })
    }

    /// The parts of a value between its stars, without escapes.
    fn value(&mut self) -> Result<Vec<String>, BadFilter> {
        let (mut parts, mut part) = (Vec::new(), Vec::new());
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at).copied() {
            match byte {
                b')' => break,
                b'(' => return Err(self.bad("a parenthesis in a value is written \\28")),
                b'*' => parts.push(std::mem::take(&mut part)),
                b'\\' => {
                    let doubled = bytes.get(self.at + 1) == Some(&b'\\');
                    self.at += usize::from(doubled && bytes.get(self.at + 2).is_some_and(|next| b"*()".contains(next)));
                    let pair =
                        self.text.get(self.at + 1..self.at + 3).and_then(|pair| u8::from_str_radix(pair, 16).ok());
                    match (pair, bytes.get(self.at + 1)) {
                        (Some(octet), _) => {
                            part.push(octet);
                            self.at += 2;
                        }
                        (None, Some(next @ (b'*' | b'(' | b')' | b'\\'))) => {
                            part.push(*next);
                            self.at += 1;
                        }
                        _ => return Err(self.bad("a backslash is followed by no two hexadecimal digits")),
                    }
                }
                _ => part.push(byte),
            }
            self.at += 1;
        }
        parts.push(part);
        Ok(parts.into_iter().map(|part| String::from_utf8_lossy(&part).trim().to_owned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(text: &str) -> Test {
        match OldFilter::parse(text) {
            Ok(OldFilter(Node::Leaf(leaf))) => leaf.test,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn stars_and_escapes_are_told_apart() {
        let parts = |list: &[&str]| Test::Substring(list.iter().map(|part| (*part).to_owned()).collect());
        for (text, test) in [
            ("(host=*)", Test::Present),
            ("host=*", Test::Present),
            (r"(host=\*)", Test::Equal("*".into())),
            (r"(host=\\*)", Test::Equal("*".into())),
            (r"(host=\2A)", Test::Equal("*".into())),
            (r"(host=\2a.us-east-1)", Test::Equal("*.us-east-1".into())),
            ("(host=dev-*.us-east-1b)", parts(&["dev-", ".us-east-1b"])),
            ("(host=dev*)", parts(&["dev", ""])),
            ("(host=*a**b*)", parts(&["", "a", "b", ""])),
            ("(memberOf=cn=dba,dc=acme)", Test::Equal("cn=dba,dc=acme".into())),
            ("(uidNumber>=1000)", Test::AtLeast("1000".into())),
            ("(host:caseExactMatch:=x)", Test::Extensible),
        ] {
            assert_eq!(leaf(text), test, "{text}");
        }
    }

    #[test]
    fn what_is_no_filter_says_where() {
        let deep = "(!".repeat(40) + "(a=b)" + &")".repeat(40);
        for wrong in
            ["", "(", "()", "(a)", "(a=b", "(a=b))", "(=b)", "(a=b)(c=d)", r"(a=\x)", r"(a=\", "(a=(b))", &deep]
        {
            assert!(OldFilter::parse(wrong).is_err(), "{wrong}");
        }
        assert!(OldFilter::parse("(|(host=a)(&(host=b)(!(uid=c))))").is_ok());
        assert!(OldFilter::parse("((host=a))").is_ok());
        assert!(OldFilter::parse("(&)").is_ok());
    }

    proptest::proptest! {
        #[test]
        fn anything_may_be_read(text in "[()&|!=*\\\\a-z0-9é:<>~; $]{0,60}") {
            let _ = OldFilter::parse(&text);
        }
    }
}
