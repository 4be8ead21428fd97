//! Search requests of the plain kind, read without the codec.
//!
//! The codec makes a tree of a message, then a request of the tree, and the request is compiled: that is more than half
//! of what a lookup costs in our own code, and lookups are nearly all that is asked. So requests of the form that
//! clients send all day are compiled as they are read: every element has the tag that RFC 4511 gives it, every text is
//! UTF-8, and the filter asks for equality or presence in few parts. Whatever is otherwise in the least, and whatever
//! asks for a decision, is nothing for here and left to the codec, which stays the judge of what is a request: what is
//! read here, it reads in the same way.

use std::str;

use ldap3_proto::proto::LdapSearchRequest;

use super::{
    SUBSCHEMA,
    asked::{Asked, Compiled},
    frame::{self, Head, element},
};
use crate::{
    dn::Dn,
    filter::{Filter, Term, attribute::DESCRIPTION_OCTETS_MAX},
    tree::{Scope, Selection},
};

/// Levels of a filter that is plain.
const LEVELS: usize = 4;
/// Parts of a filter that is plain.
const PARTS: usize = 32;
/// Octets of a list of attributes that is plain; the last one is kept by each connection.
const NAMES_OCTETS: usize = 1024;

mod tag {
    pub(super) const BOOLEAN: u8 = 0x01;
    pub(super) const INTEGER: u8 = 0x02;
    pub(super) const OCTETS: u8 = 0x04;
    pub(super) const ENUMERATED: u8 = 0x0a;
    pub(super) const SEQUENCE: u8 = 0x30;
    pub(super) const PRESENT: u8 = 0x87;
    pub(super) const AND: u8 = 0xa0;
    pub(super) const OR: u8 = 0xa1;
    pub(super) const NOT: u8 = 0xa2;
    pub(super) const EQUAL: u8 = 0xa3;
}

/// Elements, taken one by one.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// The content of the next element if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, content, rest) = element(self.0)?;
        self.0 = rest;
        (found == tag).then_some(content)
    }

    fn text(&mut self, tag: u8) -> Option<&'a str> {
        self.take(tag).and_then(|octets| str::from_utf8(octets).ok())
    }

    /// An integer of one to four octets that is not negative.
    fn count(&mut self, tag: u8) -> Option<i32> {
        let octets = self.take(tag)?;
        let is_plain = octets.len() <= 4 && *octets.first()? < 0x80;
        is_plain.then(|| octets.iter().fold(0, |value, octet| value << 8 | i32::from(*octet)))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The head of a message that is a search without controls.
pub(super) fn head(message: &[u8]) -> Option<Head<'_>> {
    message.first().filter(|first| **first == tag::SEQUENCE)?;
    frame::head(message).filter(|head| head.operation == frame::tag::SEARCH && !head.has_controls())
}

/// What a message asks for, if it is a plain search.
pub(super) fn read(message: &[u8], compiled: &mut Compiled) -> Option<(i32, Asked)> {
    let head = head(message)?;
    Some((head.id, search(&head, compiled)?))
}

/// What a search asks for, if it is a plain one.
pub(super) fn search(head: &Head<'_>, compiled: &mut Compiled) -> Option<Asked> {
    let mut parts = Elements(head.body);
    let base = parts.text(tag::OCTETS)?;
    let scope = match parts.count(tag::ENUMERATED)? {
        // The rootDSE and the subschema are answered aside.
        0 if base.is_empty() || base.eq_ignore_ascii_case(SUBSCHEMA) => return None,
        0 => Scope::Base,
        1 => Scope::One,
        2 => Scope::Subtree,
        3 => Scope::Children,
        _ => return None,
    };
    if parts.count(tag::ENUMERATED)? > 3 {
        return None;
    }
    let (sizelimit, timelimit) = (parts.count(tag::INTEGER)?, parts.count(tag::INTEGER)?);
    let types_only = match parts.take(tag::BOOLEAN)? {
        [0] => false,
        [0xff] => true,
        _ => return None,
    };
    let mut count = 0;
    let root = filter(&mut parts, LEVELS, &mut count)?;
    let names = parts.take(tag::SEQUENCE)?;
    if !parts.is_empty() {
        return None;
    }
    let base = compiled.base(base).ok()?;
    let selection = compiled.named(names, || selection(names))?;
    let filter = Filter::of(root, count);
    Some(Asked { base, scope, filter, selection, types_only, sizelimit, timelimit })
}

/// Compiles a list of attributes.
fn selection(list: &[u8]) -> Option<Selection> {
    let mut elements = Elements(list);
    let mut names = Vec::new();
    while !elements.is_empty() {
        names.push(elements.text(tag::OCTETS).filter(|name| name.len() <= DESCRIPTION_OCTETS_MAX)?);
    }
    (list.len() <= NAMES_OCTETS).then(|| Selection::new(names))
}

fn filter(parts: &mut Elements<'_>, levels: usize, count: &mut usize) -> Option<Term> {
    let levels = levels.checked_sub(1)?;
    *count += 1;
    if *count > PARTS {
        return None;
    }
    let (found, content, rest) = element(parts.0)?;
    parts.0 = rest;
    let mut inner = Elements(content);
    let term = match found {
        tag::AND => Term::And(all(&mut inner, levels, count)?),
        tag::OR => Term::Or(all(&mut inner, levels, count)?),
        tag::NOT => Term::Not(Box::new(filter(&mut inner, levels, count)?)),
        tag::EQUAL => Filter::equality(inner.text(tag::OCTETS)?, inner.text(tag::OCTETS)?).root,
        tag::PRESENT => {
            inner = Elements(&[]);
            Filter::presence(str::from_utf8(content).ok()?).root
        }
        _ => return None,
    };
    // Decisions are recorded, and not everybody may ask for them.
    let asks = matches!(term, Term::Admits(_) | Term::Sudo(_));
    (inner.is_empty() && !asks).then_some(term)
}

fn all(inner: &mut Elements<'_>, levels: usize, count: &mut usize) -> Option<Box<[Term]>> {
    let mut parts = Vec::with_capacity(2);
    while !inner.is_empty() {
        parts.push(filter(inner, levels, count)?);
    }
    Some(parts.into_boxed_slice())
}

/// Holds what is read here against what the codec reads of the same message, for tests and a fuzzer.
pub(super) fn is_as_read(message: &[u8], codec: &LdapSearchRequest) -> bool {
    let mut compiled = Compiled::default();
    let Some((_, here)) = read(message, &mut compiled) else { return true };
    let names = Selection::new(codec.attrs.iter().map(String::as_str));
    Dn::parse(&codec.base).is_ok_and(|base| base == here.base)
        && super::search::scope(&codec.scope) == here.scope
        && Filter::compile(&codec.filter).is_ok_and(|filter| filter == here.filter)
        && names == here.selection
        && (codec.typesonly, codec.sizelimit, codec.timelimit) == (here.types_only, here.sizelimit, here.timelimit)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use ldap3_proto::{
        LdapCodec, LdapFilter, LdapMsg, parse_ldap_filter_str,
        proto::{LdapDerefAliases, LdapOp, LdapSearchScope},
    };
    use proptest::prelude::*;
    use tokio_util::codec::{Decoder, Encoder};

    use super::{super::readable, *};

    fn message(filter: LdapFilter, attrs: &[&str]) -> BytesMut {
        let search = LdapSearchRequest {
            base: "dc=acme,dc=private".into(),
            scope: LdapSearchScope::Subtree,
            aliases: LdapDerefAliases::Never,
            sizelimit: 300,
            timelimit: 70_000,
            typesonly: false,
            filter,
            attrs: attrs.iter().map(ToString::to_string).collect(),
        };
        let mut out = BytesMut::new();
        let message = LdapMsg { msgid: 7, op: LdapOp::SearchRequest(search), ctrl: vec![] };
        LdapCodec::default().encode(message, &mut out).unwrap();
        out
    }

    fn codec(message: &[u8]) -> Option<LdapSearchRequest> {
        let mut message = BytesMut::from(message);
        readable::make(&mut message)?;
        match LdapCodec::default().decode(&mut message).ok()??.op {
            LdapOp::SearchRequest(search) => Some(search),
            _ => None,
        }
    }

    fn is_plain(message: &[u8]) -> bool {
        read(message, &mut Compiled::default()).is_some()
    }

    #[test]
    fn what_clients_ask_all_day_is_plain() {
        for text in [
            "(&(objectClass=posixAccount)(uid=ada))",
            "(&(objectClass=posixGroup)(|(memberUid=ada)(gidNumber=500)))",
            "(&(uid=ada)(!(cn=Ada;b)))",
            "(!(uid=*))",
            "(objectClass=*)",
        ] {
            let message = message(parse_ldap_filter_str(text).unwrap(), &["uid", "cn", "sshPublicKey"]);
            assert!(is_plain(&message), "{text}");
            assert!(is_as_read(&message, &codec(&message).unwrap()), "{text}");
        }
    }

    #[test]
    fn all_else_is_left_to_the_codec() {
        let deep = "(!".repeat(LEVELS) + "(uid=ada)" + &")".repeat(LEVELS);
        let wide = format!("(|{})", "(uid=ada)".repeat(PARTS));
        for text in ["(cn=a*)", "(uidNumber>=1000)", "(cn:caseExactMatch:=Ada)", &deep, &wide] {
            let message = message(parse_ldap_filter_str(text).unwrap(), &[]);
            assert!(codec(&message).is_some() && !is_plain(&message), "{text}");
        }
        let decides = message(parse_ldap_filter_str("(&(uid=ada)(gatehouseAccess=web01.us-east-1a))").unwrap(), &[]);
        assert!(!is_plain(&decides), "decisions are recorded");
        let mut no_text = message(LdapFilter::Equality("uid".into(), "QQQQ".into()), &[]).to_vec();
        let at = no_text.windows(4).position(|four| four == b"QQQQ").unwrap();
        no_text[at] = 0xff;
        assert!(codec(&no_text).is_some() && !is_plain(&no_text));
    }

    #[test]
    fn a_list_of_attributes_is_compiled_once_and_then_known() {
        let mut compiled = Compiled::default();
        for (names, asks) in [(["uid"], "uid"), (["uid"], "uid"), (["cn"], "cn")] {
            let message = message(LdapFilter::Present("uid".into()), &names);
            let (_, asked) = read(&message, &mut compiled).unwrap();
            assert_eq!(asked.selection, Selection::new([asks]));
        }
    }

    fn some_filter() -> impl Strategy<Value = LdapFilter> {
        let name = prop_oneof![Just("uid".to_owned()), Just("objectClass".to_owned()), "[a-zß;]{0,6}"];
        let leaf = prop_oneof![
            (name.clone(), "[a-zA-Zäß* ]{0,6}").prop_map(|(name, value)| LdapFilter::Equality(name, value)),
            name.clone().prop_map(LdapFilter::Present),
            (name, "[a-z]{0,3}").prop_map(|(name, value)| LdapFilter::LessOrEqual(name, value)),
        ];
        leaf.prop_recursive(4, 16, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(LdapFilter::And),
                prop::collection::vec(inner.clone(), 0..4).prop_map(LdapFilter::Or),
                inner.prop_map(|part| LdapFilter::Not(Box::new(part))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_read_here_the_codec_reads_in_the_same_way(
            filter in some_filter(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let mut message = message(filter, &["uid", "*", ""]);
            for (at, octet) in changes {
                let at = at.index(message.len());
                message[at] = octet;
            }
            let codec = codec(&message);
            prop_assert!(codec.is_some() || !is_plain(&message));
            prop_assert!(codec.is_none_or(|codec| is_as_read(&message, &codec)));
        }
    }
}
