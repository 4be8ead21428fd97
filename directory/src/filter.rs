//! Search filters (RFC 4511 section 4.5.1.7): compiled once, evaluated on any entry.
//!
//! Evaluation has three values. The schema of the source is not known here, so every well-formed attribute name counts as
//! recognised: an entry without it makes a comparison false. Undefined is what cannot be compared: a value that
//! is not of the attribute's syntax, a matching rule that is not served, an attribute that never matches, such as
//! `userPassword`. Depth and number of nodes are limited ([`DEPTH_MAX`], [`NODES_MAX`]); evaluation allocates nothing
//! for ordinary values, and its cost grows with the filter times the values of the attributes that it names.

pub(crate) mod attribute;
mod evaluate;
mod known;
pub(crate) mod rule;
pub mod text;

use ldap3_proto::proto::{LdapFilter, LdapMatchingRuleAssertion, LdapSubstringFilter};

use crate::tree::Node;
use attribute::{Id, Name};
use rule::{Ends, Rule, Scratch};

/// Most levels of a filter.
pub const DEPTH_MAX: usize = 64;
/// Most nodes of a filter; pieces of substrings count.
pub const NODES_MAX: usize = 1024;
/// Most comparisons that a node becomes: a class is compared with its subclasses.
const CLASS_LEAVES: usize = 5;

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub(crate) root: Term,
    /// Parts that look at values, at most.
    leaves: usize,
}

/// Why a filter is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    /// Not a filter of RFC 4515.
    #[error("no filter: at octet {at}, {why}")]
    Text {
        /// Where, counted from 0.
        at: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// Text longer than [`text::TEXT_OCTETS_MAX`].
    #[error("the filter is longer than 65536 octets")]
    Long,
    /// Deeper than [`DEPTH_MAX`].
    #[error("the filter is nested deeper than 64 levels")]
    Deep,
    /// More nodes than [`NODES_MAX`].
    #[error("the filter has more than 1024 parts")]
    Large,
}

/// The value of a filter for an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// It matches.
    True,
    /// It does not.
    False,
    /// It cannot be told; the entry is not returned, and neither is it by the filter's negation.
    Undefined,
}

/// Who decides the computed attributes `gatehouseAccess` and `gatehouseSudo`, at one moment in time.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Whether the person of an entry may come in at `HOST` or `HOST/SERVICE`.
    pub admits: &'a (dyn Fn(&Node, &str) -> bool + Sync),
    /// Whether the person of an entry may use sudo on `HOST`.
    pub sudo: &'a (dyn Fn(&Node, &str) -> bool + Sync),
}

impl Context<'static> {
    /// Admits nobody: for filters that do not ask.
    pub const NOBODY: Self = Self { admits: &|_, _| false, sudo: &|_, _| false };
}

/// A part of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Term {
    And(Box<[Term]>),
    Or(Box<[Term]>),
    Not(Box<Term>),
    Equal(Assertion),
    AtLeast(Assertion),
    AtMost(Assertion),
    Present(Name),
    Pieces(Pieces),
    Bits(Bits),
    Admits(Box<str>),
    Sudo(Box<str>),
    Undefined,
}

/// An attribute and a normalised value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assertion {
    pub(crate) name: Name,
    pub(crate) rule: Rule,
    pub(crate) normal: Box<[u8]>,
    /// Whether the attributes of the entry's DN are looked at as well.
    pub(crate) dn_too: bool,
}

impl Assertion {
    /// Whether an index answers it: the attribute's own rule, and no more than the entry's attributes.
    pub(crate) fn is_indexed(&self) -> bool {
        self.name.id.is_indexed() && self.rule == self.name.id.rule() && !self.dn_too
    }
}

/// An attribute and pieces of text in the order in which a value must have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pieces {
    pub(crate) name: Name,
    pub(crate) initial: Option<String>,
    pub(crate) any: Box<[String]>,
    pub(crate) last: Option<String>,
}

/// Bits of an integer: all of them, or any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bits {
    pub(crate) name: Name,
    pub(crate) mask: i128,
    pub(crate) all: bool,
}

impl Filter {
    /// Compiles a filter as it came on the wire.
    ///
    /// # Errors
    /// [`BadFilter::Deep`] and [`BadFilter::Large`].
    pub fn compile(filter: &LdapFilter) -> Result<Self, BadFilter> {
        let mut nodes = 0;
        let root = compile(filter, DEPTH_MAX, &mut nodes)?;
        Ok(Self::of(root, nodes))
    }

    /// A filter of terms that were compiled one by one, with the number of its nodes.
    pub(crate) fn of(root: Term, nodes: usize) -> Self {
        // A class counts as its subclasses.
        Self { root, leaves: nodes.saturating_mul(CLASS_LEAVES) }
    }

    /// Compiles a filter written as in RFC 4515.
    ///
    /// # Errors
    /// What is wrong with the text, or that it is too deep or too large.
    pub fn parse(text: &str) -> Result<Self, BadFilter> {
        Self::compile(&text::read(text)?)
    }

    /// The filter `(attribute=value)`, as the Compare operation asserts it.
    pub fn equality(attribute: &str, value: &str) -> Self {
        Self { root: equal(attribute, value, None, false), leaves: CLASS_LEAVES }
    }

    /// The filter `(attribute=*)`.
    pub fn presence(attribute: &str) -> Self {
        Self { root: comparable(attribute).map_or(Term::Undefined, Term::Present), leaves: 1 }
    }

    /// Matches every entry: the absolute true filter (RFC 4526).
    pub fn all() -> Self {
        Self { root: Term::And(Box::new([])), leaves: 0 }
    }

    /// Makes Undefined what asks for computed attributes with a place, `HOST` or `HOST/SERVICE`, that is not allowed.
    #[must_use]
    pub(crate) fn asking_only(mut self, is_allowed: &dyn Fn(&str) -> bool) -> Self {
        restrict(&mut self.root, is_allowed);
        self
    }
}

fn restrict(part: &mut Term, is_allowed: &dyn Fn(&str) -> bool) {
    match part {
        Term::And(parts) | Term::Or(parts) => parts.iter_mut().for_each(|part| restrict(part, is_allowed)),
        Term::Not(part) => restrict(part, is_allowed),
        Term::Admits(place) | Term::Sudo(place) if !is_allowed(place) => *part = Term::Undefined,
        _ => {}
    }
}

fn compile(filter: &LdapFilter, depth: usize, nodes: &mut usize) -> Result<Term, BadFilter> {
    let depth = depth.checked_sub(1).ok_or(BadFilter::Deep)?;
    count(nodes, 1)?;
    Ok(match filter {
        LdapFilter::And(parts) => Term::And(compile_all(parts, depth, nodes)?),
        LdapFilter::Or(parts) => Term::Or(compile_all(parts, depth, nodes)?),
        LdapFilter::Not(part) => Term::Not(Box::new(compile(part, depth, nodes)?)),
        LdapFilter::Equality(name, value) | LdapFilter::Approx(name, value) => equal(name, value, None, false),
        LdapFilter::GreaterOrEqual(name, value) => ordered(name, value).map_or(Term::Undefined, Term::AtLeast),
        LdapFilter::LessOrEqual(name, value) => ordered(name, value).map_or(Term::Undefined, Term::AtMost),
        LdapFilter::Present(name) => Filter::presence(name).root,
        LdapFilter::Substring(name, value) => {
            count(nodes, value.any.len())?;
            pieces(name, value)
        }
        LdapFilter::Extensible(rule) => extensible(rule),
    })
}

fn compile_all(parts: &[LdapFilter], depth: usize, nodes: &mut usize) -> Result<Box<[Term]>, BadFilter> {
    let mut terms = Vec::with_capacity(parts.len());
    for part in parts {
        terms.push(compile(part, depth, nodes)?);
    }
    Ok(terms.into_boxed_slice())
}

fn count(nodes: &mut usize, more: usize) -> Result<(), BadFilter> {
    *nodes = nodes.saturating_add(more);
    if *nodes > NODES_MAX { Err(BadFilter::Large) } else { Ok(()) }
}

/// The attribute that a filter names, unless it is malformed or a secret.
fn comparable(name: &str) -> Option<Name> {
    Name::parse(name).filter(|name| !name.id.is_secret())
}

fn assertion(name: Name, value: &str, rule: Rule) -> Option<Assertion> {
    let mut scratch = Scratch::new();
    let normal = rule.normalise(value.as_bytes(), &mut scratch)?.into();
    Some(Assertion { name, rule, normal, dn_too: false })
}

fn equal(name: &str, value: &str, rule: Option<Rule>, dn_too: bool) -> Term {
    let Some(name) = comparable(name) else { return Term::Undefined };
    if name.id == Id::GATEHOUSE_ACCESS {
        return Term::Admits(value.into());
    }
    if name.id == Id::GATEHOUSE_SUDO {
        return Term::Sudo(value.into());
    }
    if name.id == Id::OBJECT_CLASS
        && rule.is_none()
        && let Some(term) = class(&name, value)
    {
        return term;
    }
    let rule = rule.unwrap_or(name.id.rule());
    assertion(name, value, rule).map_or(Term::Undefined, |made| Term::Equal(Assertion { dn_too, ..made }))
}

/// Classes that have subclasses in common use, which sources need not list with their superiors (RFC 4512 section 3.3).
fn class(name: &Name, value: &str) -> Option<Term> {
    let subclasses: &[&str] = if value.eq_ignore_ascii_case("top") {
        return Some(Term::Present(name.clone()));
    } else if value.eq_ignore_ascii_case("person") {
        &["person", "organizationalPerson", "inetOrgPerson", "residentialPerson", "pilotPerson"]
    } else if value.eq_ignore_ascii_case("organizationalPerson") {
        &["organizationalPerson", "inetOrgPerson"]
    } else {
        return None;
    };
    let one = |class: &&str| assertion(name.clone(), class, Rule::CaseIgnore).map(Term::Equal);
    Some(Term::Or(subclasses.iter().filter_map(one).collect()))
}

fn ordered(name: &str, value: &str) -> Option<Assertion> {
    let name = comparable(name).filter(|name| !matches!(name.id, Id::GATEHOUSE_ACCESS | Id::GATEHOUSE_SUDO))?;
    let rule = name.id.rule();
    let has_order = !matches!(rule, Rule::Dn | Rule::Boolean);
    if has_order { assertion(name, value, rule) } else { None }
}

fn pieces(name: &str, value: &LdapSubstringFilter) -> Term {
    let Some(name) = comparable(name).filter(|name| name.id.rule().has_substrings() && !name.id.is_computed()) else {
        return Term::Undefined;
    };
    let rule = name.id.rule();
    let piece = |text: &String, start, end| rule.piece(text, Ends { start, end });
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    Term::Pieces(Pieces {
        initial: value.initial.as_ref().and_then(|text| some(piece(text, true, false))),
        any: value.any.iter().filter_map(|text| some(piece(text, false, false))).collect(),
        last: value.final_.as_ref().and_then(|text| some(piece(text, false, true))),
        name,
    })
}

/// Extensible matches that are served, by name or OID (RFC 4517 section 4.2); the bits are Active Directory's.
fn extensible(asked: &LdapMatchingRuleAssertion) -> Term {
    let Some(name) = asked.type_.as_deref() else { return Term::Undefined };
    let Some(rule) = asked.matching_rule.as_deref() else {
        return equal(name, &asked.match_value, None, asked.dn_attributes);
    };
    let rule = match rule.to_ascii_lowercase().as_str() {
        "caseignorematch" | "2.5.13.2" | "caseignoreia5match" | "1.3.6.1.4.1.1466.109.114.2" => Rule::CaseIgnore,
        "caseexactmatch" | "2.5.13.5" | "caseexactia5match" | "1.3.6.1.4.1.1466.109.114.1" => Rule::CaseExact,
        "integermatch" | "2.5.13.14" => Rule::Integer,
        "distinguishednamematch" | "2.5.13.1" => Rule::Dn,
        "integerbitandmatch" | "1.2.840.113556.1.4.803" => return bits(name, &asked.match_value, true),
        "integerbitormatch" | "1.2.840.113556.1.4.804" => return bits(name, &asked.match_value, false),
        _ => return Term::Undefined,
    };
    // Computed values have their own rule and no other.
    match comparable(name) {
        Some(known) if known.id.is_computed() && known.id.rule() != rule => Term::Undefined,
        Some(_) => equal(name, &asked.match_value, Some(rule), asked.dn_attributes),
        None => Term::Undefined,
    }
}

fn bits(name: &str, value: &str, all: bool) -> Term {
    match (comparable(name).filter(|name| !name.id.is_computed()), rule::integer(value.as_bytes())) {
        (Some(name), Some(mask)) => Term::Bits(Bits { name, mask, all }),
        _ => Term::Undefined,
    }
}

#[cfg(test)]
mod tests;
