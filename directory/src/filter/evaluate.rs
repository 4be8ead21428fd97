//! The value of a filter for one entry.

use std::cmp::Ordering;

use super::{
    Assertion, Bits, Context, Filter, Pieces, Term, Truth,
    attribute::{Id, Name},
    rule::{Rule, Scratch, integer},
};
use crate::tree::{Node, SUBSCHEMA_DN};

impl From<bool> for Truth {
    fn from(is_true: bool) -> Self {
        if is_true { Self::True } else { Self::False }
    }
}

impl Filter {
    /// The value of the filter for an entry.
    pub fn evaluate(&self, node: &Node, ask: &Context<'_>) -> Truth {
        term(&self.root, node, ask)
    }

    /// Octets of an entry's values that the filter reads at most: its cost with this entry.
    pub(crate) fn octets_read(&self, node: &Node) -> usize {
        // An ordinary filter on an ordinary entry is not worth a closer look.
        let most = self.leaves.saturating_mul(node.octets_len());
        if most < READ_CHEAP { most } else { octets_read(&self.root, node) }
    }

    /// Whether the entry is one that the filter is true for.
    pub fn matches(&self, node: &Node, ask: &Context<'_>) -> bool {
        self.evaluate(node, ask) == Truth::True
    }
}

/// Octets that are read without their being counted per attribute.
const READ_CHEAP: usize = 64 << 10;

fn octets_read(part: &Term, node: &Node) -> usize {
    let of = |name: &Name| {
        let parts = node.attributes().filter(|(id, _)| *id == name.id);
        parts.map(|(_, part)| part.len()).fold(0, usize::saturating_add)
    };
    match part {
        Term::And(parts) | Term::Or(parts) => {
            parts.iter().map(|part| octets_read(part, node)).fold(0, usize::saturating_add)
        }
        Term::Not(part) => octets_read(part, node),
        Term::Equal(asserted) | Term::AtLeast(asserted) | Term::AtMost(asserted) => of(&asserted.name),
        Term::Pieces(pieces) => of(&pieces.name).saturating_mul(pieces.any.len().saturating_add(1)),
        Term::Bits(bits) => of(&bits.name),
        Term::Present(_) | Term::Admits(_) | Term::Sudo(_) | Term::Undefined => 0,
    }
}

fn term(part: &Term, node: &Node, ask: &Context<'_>) -> Truth {
    match part {
        Term::And(parts) => all(parts, node, ask, Truth::False),
        Term::Or(parts) => all(parts, node, ask, Truth::True),
        Term::Not(part) => match term(part, node, ask) {
            Truth::True => Truth::False,
            Truth::False => Truth::True,
            Truth::Undefined => Truth::Undefined,
        },
        Term::Equal(asserted) => equal(asserted, node).into(),
        Term::AtLeast(asserted) => ordered(asserted, node, Ordering::is_ge).into(),
        Term::AtMost(asserted) => ordered(asserted, node, Ordering::is_le).into(),
        Term::Present(name) => present(name, node).into(),
        Term::Pieces(pieces) => has_pieces(pieces, node).into(),
        Term::Bits(bits) => has_bits(bits, node).into(),
        Term::Admits(place) => (node.is_person() && (ask.admits)(node, place)).into(),
        Term::Sudo(host) => (node.is_person() && (ask.sudo)(node, host)).into(),
        Term::Undefined => Truth::Undefined,
    }
}

/// And, or: the value that decides alone; else undefined if any part is; else the other value.
fn all(parts: &[Term], node: &Node, ask: &Context<'_>, decides: Truth) -> Truth {
    let mut result = if decides == Truth::True { Truth::False } else { Truth::True };
    for part in parts {
        match term(part, node, ask) {
            value if value == decides => return decides,
            Truth::Undefined => result = Truth::Undefined,
            _ => {}
        }
    }
    result
}

fn values<'a>(node: &'a Node, name: &'a Name) -> impl Iterator<Item = &'a [u8]> {
    node.attributes()
        .filter(|(id, part)| *id == name.id && (name.is_plain() || name.includes(*id, part.description())))
        .flat_map(|(_, part)| part.values())
}

fn equal(asserted: &Assertion, node: &Node) -> bool {
    let Assertion { name, rule, normal, dn_too } = asserted;
    let wanted = &**normal;
    match name.id {
        Id::ENTRY_UUID => return node.entry.id.0 == *wanted,
        Id::ENTRY_DN => return node.dn.as_str().as_bytes() == wanted,
        Id::ENTRY_USN => return integer(wanted) == Some(node.usn.into()),
        Id::HAS_SUBORDINATES => return (wanted == b"TRUE") == node.has_subordinates(),
        Id::SUBSCHEMA_SUBENTRY => return wanted.eq_ignore_ascii_case(SUBSCHEMA_DN.as_bytes()),
        _ => {}
    }
    // Two passes: in a large group the member that is asked for is seen before any other name is taken apart.
    if values(node, name).any(|value| rule.is_spelled(value, wanted)) {
        return true;
    }
    let mut scratch = Scratch::new();
    if values(node, name).any(|value| rule.equals(value, wanted, &mut scratch)) {
        return true;
    }
    *dn_too && node.dn.parts().any(|(kind, value)| Id::of(kind) == name.id && rule.equals(&value, wanted, &mut scratch))
}

fn ordered(asserted: &Assertion, node: &Node, is_right: fn(Ordering) -> bool) -> bool {
    let Assertion { name, rule, normal, .. } = asserted;
    match name.id {
        Id::ENTRY_UUID => return is_right(node.entry.id.0.as_slice().cmp(normal)),
        Id::ENTRY_USN => return integer(normal).is_some_and(|wanted| is_right(i128::from(node.usn).cmp(&wanted))),
        _ => {}
    }
    let mut scratch = Scratch::new();
    values(node, name).any(|value| rule.order(value, normal, &mut scratch).is_some_and(is_right))
}

fn present(name: &Name, node: &Node) -> bool {
    match name.id {
        Id::GATEHOUSE_ACCESS | Id::GATEHOUSE_SUDO => node.is_person(),
        id if id.is_computed() => true,
        _ => values(node, name).next().is_some(),
    }
}

fn has_pieces(pieces: &Pieces, node: &Node) -> bool {
    let rule = pieces.name.id.rule();
    let mut scratch = Scratch::new();
    values(node, &pieces.name).any(|value| {
        let normal = rule.normalise(value, &mut scratch).and_then(|normal| std::str::from_utf8(normal).ok());
        normal.is_some_and(|text| in_order(pieces, text))
    })
}

fn in_order(pieces: &Pieces, text: &str) -> bool {
    let Some(mut rest) = text.strip_prefix(pieces.initial.as_deref().unwrap_or("")) else { return false };
    for piece in &pieces.any {
        match rest.split_once(piece.as_str()) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(pieces.last.as_deref().unwrap_or(""))
}

fn has_bits(bits: &Bits, node: &Node) -> bool {
    let has = |value: i128| if bits.all { value & bits.mask == bits.mask } else { value & bits.mask != 0 };
    bits.name.id.rule() != Rule::Octets && values(node, &bits.name).any(|value| integer(value).is_some_and(has))
}
