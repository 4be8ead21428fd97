//! An entry as the tree holds it: the entry as received, its name, and its attributes as they go on the wire.

use std::{iter, sync::Arc};

use bytes::{BufMut, BytesMut};
use compact_str::{CompactString, ToCompactString};
use inventory::entry::{Attribute, Entry, Value};
use smallvec::SmallVec;

use super::{Selection, ber};
use crate::{
    dn::{BadDn, Dn},
    filter::attribute::{Id, base_of},
};

/// The DN of the subschema entry, the value of `subschemaSubentry` everywhere.
pub const SUBSCHEMA_DN: &str = "cn=Subschema";

/// An entry with what is served of it. A clone shares everything.
#[derive(Debug, Clone)]
pub struct Node {
    /// The entry as received.
    pub entry: Arc<Entry>,
    /// Its name, normalised.
    pub dn: Dn,
    /// The entryUSN: when the entry last changed; see [`super::Tree::last_usn`].
    pub usn: u64,
    pub(super) has_subordinates: bool,
    wire: Arc<Wire>,
}

/// The attributes as PartialAttribute elements, one behind the other in the order of the entry.
#[derive(Debug)]
struct Wire {
    /// For each attribute of the entry, which it is and where its encoding ends. Attributes that are never served as
    /// received have none.
    ends: Box<[(Id, u32)]>,
    octets: Box<[u8]>,
}

/// Operational attributes that are made here.
const COMPUTED: [Id; 5] = [Id::ENTRY_UUID, Id::ENTRY_DN, Id::ENTRY_USN, Id::HAS_SUBORDINATES, Id::SUBSCHEMA_SUBENTRY];

/// Parts of the encoding that are to be copied.
type Ranges = SmallVec<[(u32, u32); 16]>;

impl Node {
    /// Encodes an entry. Entries that are not in the tree, such as rendered sudo roles, are made in the same way.
    ///
    /// # Errors
    /// The entry's DN is none.
    pub fn new(entry: Arc<Entry>, usn: u64) -> Result<Self, BadDn> {
        let dn = Dn::parse(&entry.dn)?;
        let mut octets = BytesMut::new();
        let mut ends = Vec::with_capacity(entry.attributes.len());
        for Attribute(name, values) in &entry.attributes {
            let id = Id::of(base_of(name));
            if !id.is_secret() && !id.is_computed() {
                ber::attribute(name, values.iter().map(|value| &*value.0), &mut octets);
            }
            ends.push((id, u32::try_from(octets.len()).unwrap_or(u32::MAX)));
        }
        let wire = Arc::new(Wire { ends: ends.into_boxed_slice(), octets: octets[..].into() });
        Ok(Self { entry, dn, usn, has_subordinates: false, wire })
    }

    /// Whether the tree has entries right below this one.
    pub fn has_subordinates(&self) -> bool {
        self.has_subordinates
    }

    /// Whether the entry stands for somebody who could log in: it has a uid and a class of people or accounts.
    pub fn is_person(&self) -> bool {
        let classes = ["posixAccount", "inetOrgPerson", "person", "organizationalPerson", "account", "shadowAccount"];
        let values = |wanted: Id| self.attributes().filter(move |(id, _)| *id == wanted).flat_map(|(_, a)| a.1.iter());
        let is_one = |value: &Value| classes.iter().any(|class| value.0.eq_ignore_ascii_case(class.as_bytes()));
        values(Id::UID).next().is_some() && values(Id::OBJECT_CLASS).any(is_one)
    }

    /// The attributes that are served as received or looked at by filters: neither secrets nor what is computed.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (Id, &Attribute)> {
        let all = self.wire.ends.iter().map(|(id, _)| *id).zip(&self.entry.attributes);
        all.filter(|(id, _)| !id.is_secret() && !id.is_computed())
    }

    /// Appends the PartialAttributeList of the selected attributes (RFC 4511 section 4.5.2), its header included.
    pub fn encode(&self, select: &Selection, types_only: bool, out: &mut BytesMut) {
        self.encode_with(select, types_only, &[], out);
    }

    /// As [`Node::encode`], with further PartialAttribute elements at the end of the list.
    pub fn encode_with(&self, select: &Selection, types_only: bool, more: &[u8], out: &mut BytesMut) {
        let plan = self.plan(select, types_only);
        self.write(&plan, more, out);
    }

    /// Appends the whole LDAPMessage of a SearchResultEntry without controls, with further PartialAttribute elements at
    /// the end of its list. The name is the entry's as received.
    pub fn encode_message(&self, message: i32, select: &Selection, types_only: bool, more: &[u8], out: &mut BytesMut) {
        let plan = self.plan(select, types_only);
        let name = self.entry.dn.as_bytes();
        let body = ber::size(name.len()) + ber::size(plan.size + more.len());
        let whole = ber::integer_size(message) + ber::size(body);
        out.reserve(ber::size(whole));
        ber::header(ber::SEQUENCE, whole, out);
        ber::integer(message, out);
        ber::header(ber::SEARCH_ENTRY, body, out);
        ber::element(ber::OCTETS, name, out);
        self.write(&plan, more, out);
    }

    fn plan(&self, select: &Selection, types_only: bool) -> Plan {
        let mut plan = Plan::default();
        if types_only {
            for (_, Attribute(name, _)) in self.attributes().filter(|(id, a)| select.selects(*id, &a.0)) {
                ber::attribute(name, iter::empty(), &mut plan.made);
            }
            computed(select).for_each(|id| ber::attribute(id.spelling(), iter::empty(), &mut plan.made));
        } else {
            plan.ranges = self.ranges(select);
            for id in computed(select) {
                let value = self.computed(id);
                ber::attribute(id.spelling(), iter::once(value.as_bytes()), &mut plan.made);
            }
        }
        let copied = plan.ranges.iter().map(|(begin, end)| usize::try_from(end - begin).unwrap_or(0));
        plan.size = copied.sum::<usize>() + plan.made.len();
        plan
    }

    /// Where the selected attributes are; neighbours are joined, so that all attributes are one copy.
    fn ranges(&self, select: &Selection) -> Ranges {
        let mut ranges = Ranges::new();
        let mut begin = 0;
        for ((id, end), Attribute(description, _)) in self.wire.ends.iter().zip(&self.entry.attributes) {
            if begin < *end && select.selects(*id, description) {
                match ranges.last_mut() {
                    Some((_, last)) if *last == begin => *last = *end,
                    _ => ranges.push((begin, *end)),
                }
            }
            begin = *end;
        }
        ranges
    }

    fn computed(&self, id: Id) -> CompactString {
        match id {
            Id::ENTRY_UUID => self.entry.id.to_compact_string(),
            Id::ENTRY_DN => (*self.entry.dn).into(),
            Id::ENTRY_USN => self.usn.to_compact_string(),
            Id::HAS_SUBORDINATES => if self.has_subordinates { "TRUE" } else { "FALSE" }.into(),
            _ => SUBSCHEMA_DN.into(),
        }
    }

    fn write(&self, plan: &Plan, more: &[u8], out: &mut BytesMut) {
        out.reserve(ber::size(plan.size + more.len()));
        ber::header(ber::SEQUENCE, plan.size + more.len(), out);
        for (begin, end) in &plan.ranges {
            let range = usize::try_from(*begin).unwrap_or(0)..usize::try_from(*end).unwrap_or(0);
            out.put_slice(self.wire.octets.get(range).unwrap_or(&[]));
        }
        out.put_slice(&plan.made);
        out.put_slice(more);
    }
}

/// What goes into the list of one entry.
#[derive(Default)]
struct Plan {
    ranges: Ranges,
    /// Elements that are made for this answer.
    made: BytesMut,
    /// Octets of both.
    size: usize,
}

fn computed(select: &Selection) -> impl Iterator<Item = Id> {
    COMPUTED.into_iter().filter(|id| select.takes(*id))
}

/// Appends a PartialAttribute element: what callers pass on as further attributes.
pub fn encode_attribute<'a>(name: &str, values: impl Iterator<Item = &'a [u8]> + Clone, out: &mut BytesMut) {
    ber::attribute(name, values, out);
}
