//! An entry as the tree holds it: the entry as received, its name, and its attributes as they go on the wire.

use std::{iter, sync::Arc};

use bytes::{BufMut, BytesMut};
use compact_str::{CompactString, ToCompactString};
use inventory::entry::{Attribute, Entry};
use smallvec::SmallVec;

use super::{Selection, ber};
use crate::{
    dn::{BadDn, Dn},
    filter::attribute::{Id, base_of},
};

/// The DN of the subschema entry, the value of `subschemaSubentry` everywhere.
pub const SUBSCHEMA_DN: &str = "cn=Subschema";

/// An entry with what is served of it.
#[derive(Debug, Clone)]
pub struct Node {
    /// The entry as received.
    pub entry: Arc<Entry>,
    /// Its name, normalised.
    pub dn: Dn,
    /// The entryUSN: when the entry last changed; see [`super::Tree::last_usn`].
    pub usn: u64,
    pub(super) has_subordinates: bool,
    /// For each attribute of the entry, which it is and where in `octets` its encoding ends. Attributes that are never
    /// served as received have none.
    ends: SmallVec<[(Id, u32); ATTRIBUTES_INLINE]>,
    /// Where the encoding of the first attribute begins.
    begin: u32,
    /// The name as received, as an element; then the attributes as PartialAttribute elements, in the order of the entry.
    /// Filters read the values here as well: all that a search needs of an entry lies side by side in memory.
    octets: Arc<[u8]>,
}

/// Entries with more attributes cost an allocation more.
const ATTRIBUTES_INLINE: usize = 16;

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
        ber::element(ber::OCTETS, entry.dn.as_bytes(), &mut octets);
        let begin = at(&octets);
        let mut ends = SmallVec::with_capacity(entry.attributes.len());
        for Attribute(name, values) in &entry.attributes {
            let id = Id::of(base_of(name));
            if !id.is_secret() && !id.is_computed() {
                ber::attribute(name, values.iter().map(|value| &*value.0), &mut octets);
            }
            ends.push((id, at(&octets)));
        }
        Ok(Self { entry, dn, usn, has_subordinates: false, ends, begin, octets: octets[..].into() })
    }

    /// The same entry with other attributes: what is left when some are not shown.
    #[must_use]
    pub(crate) fn with_attributes(&self, attributes: Box<[Attribute]>) -> Option<Self> {
        let entry = Entry { attributes, ..Entry::clone(&self.entry) };
        let has_subordinates = self.has_subordinates;
        Self::new(Arc::new(entry), self.usn).ok().map(|node| Self { has_subordinates, ..node })
    }

    /// Octets of the encoding.
    pub(crate) fn octets_len(&self) -> usize {
        self.octets.len()
    }

    /// Whether the tree has entries right below this one.
    pub fn has_subordinates(&self) -> bool {
        self.has_subordinates
    }

    /// Whether the entry stands for somebody who could log in: it has a uid and a class of people or accounts.
    pub fn is_person(&self) -> bool {
        let classes = ["posixAccount", "inetOrgPerson", "person", "organizationalPerson", "account", "shadowAccount"];
        let is_one = |value: &[u8]| classes.iter().any(|class| value.eq_ignore_ascii_case(class.as_bytes()));
        let mut values =
            self.attributes().filter(|(id, _)| *id == Id::OBJECT_CLASS).flat_map(|(_, part)| part.values());
        self.attributes().any(|(id, _)| id == Id::UID) && values.any(is_one)
    }

    /// The attributes that are served as received and looked at by filters: neither secrets nor what is computed.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (Id, Part<'_>)> {
        self.places().map(|(id, begin, end)| (id, Part(self.octets(begin, end))))
    }

    /// Where the encodings of attributes begin and end.
    fn places(&self) -> impl Iterator<Item = (Id, u32, u32)> {
        let mut begin = self.begin;
        let all = self.ends.iter().map(move |(id, end)| (*id, std::mem::replace(&mut begin, *end), *end));
        all.filter(|(_, begin, end)| begin < end)
    }

    fn octets(&self, begin: u32, end: u32) -> &[u8] {
        let range = usize::try_from(begin).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
        self.octets.get(range).unwrap_or(&[])
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
        let name = self.octets(0, self.begin);
        let body = name.len() + ber::size(plan.size + more.len());
        let whole = ber::integer_size(message) + ber::size(body);
        out.reserve(ber::size(whole));
        ber::header(ber::SEQUENCE, whole, out);
        ber::integer(message, out);
        ber::header(ber::SEARCH_ENTRY, body, out);
        out.put_slice(name);
        self.write(&plan, more, out);
    }

    fn plan(&self, select: &Selection, types_only: bool) -> Plan {
        let mut plan = Plan::default();
        if types_only {
            for (_, part) in self.attributes().filter(|(id, part)| select.selects(*id, || part.description())) {
                ber::attribute(part.description(), iter::empty(), &mut plan.made);
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
        for (id, begin, end) in self.places() {
            if select.selects(id, || Part(self.octets(begin, end)).description()) {
                match ranges.last_mut() {
                    Some((_, last)) if *last == begin => *last = end,
                    _ => ranges.push((begin, end)),
                }
            }
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
            out.put_slice(self.octets(*begin, *end));
        }
        out.put_slice(&plan.made);
        out.put_slice(more);
    }
}

/// A length as it is kept: nothing is longer, as no message may be.
fn at(octets: &BytesMut) -> u32 {
    u32::try_from(octets.len()).unwrap_or(u32::MAX)
}

/// The encoding of one attribute.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a>(&'a [u8]);

impl<'a> Part<'a> {
    /// Octets of its encoding.
    pub(crate) fn len(self) -> usize {
        self.0.len()
    }

    /// Its name with options, as received.
    pub(crate) fn description(self) -> &'a str {
        ber::read_attribute(self.0).map_or("", |(name, _)| name)
    }

    /// Its values, as received.
    pub(crate) fn values(self) -> impl Iterator<Item = &'a [u8]> {
        ber::read_attribute(self.0).into_iter().flat_map(|(_, values)| values)
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
