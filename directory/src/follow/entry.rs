//! Entries as they come in search results, and the identity of those whose server gives them none.

use compact_str::CompactString;
use inventory::{Attribute, Entry, EntryId, Value, entry::DIRECTORY};
use ldap3::asn1::{PL, StructureTag};

use super::{cookie::Csn, names};
pub(crate) use names::rdns;

/// The attributes that are asked for: everything of the user's, and what says who an entry is, when it changed, and
/// whether its password may be used. Times that change with every login are left out: each login would be a change.
pub(super) const ATTRIBUTES: [&str; 17] = [
    "*",
    "entryUUID",
    "entryCSN",
    "createTimestamp",
    "modifyTimestamp",
    "structuralObjectClass",
    "pwdChangedTime",
    "pwdAccountLockedTime",
    "pwdReset",
    "pwdPolicySubentry",
    "pwdStartTime",
    "pwdEndTime",
    "pwdTPolicySubentry",
    "nsUniqueId",
    "nsAccountLock",
    "accountUnlockTime",
    "passwordExpirationTime",
];

/// Octets of a DN.
const DN_MAX: usize = 16 * 1024;
/// Octets of an attribute description.
const NAME_MAX: usize = 1024;

/// A search result that is no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadEntry {
    /// Another structure.
    #[error("it is not built as RFC 4511 section 4.5.2 says")]
    Structure,
    /// A DN or an attribute description that is not UTF-8, or far too long.
    #[error("its DN or the name of an attribute is not UTF-8, or too long")]
    Text,
}

/// DN and attributes of a search result. Attributes without values are left out.
pub(super) fn parse(tag: StructureTag) -> Result<(Box<str>, Vec<Attribute>), BadEntry> {
    let PL::C(parts) = tag.payload else { return Err(BadEntry::Structure) };
    let mut parts = parts.into_iter();
    let (Some(dn), Some(attributes)) = (parts.next(), parts.next()) else { return Err(BadEntry::Structure) };
    let dn = text(dn, DN_MAX)?;
    let PL::C(attributes) = attributes.payload else { return Err(BadEntry::Structure) };
    let mut out = Vec::with_capacity(attributes.len());
    for attribute in attributes {
        let PL::C(parts) = attribute.payload else { return Err(BadEntry::Structure) };
        let mut parts = parts.into_iter();
        let (Some(name), Some(values)) = (parts.next(), parts.next()) else { return Err(BadEntry::Structure) };
        let name = text(name, NAME_MAX)?;
        let PL::C(values) = values.payload else { return Err(BadEntry::Structure) };
        let values: Option<Vec<Value>> = values.into_iter().map(|value| octets(value).map(Value::from)).collect();
        let values = values.ok_or(BadEntry::Structure)?;
        if !values.is_empty() {
            out.push(Attribute(CompactString::from(name), values.into()));
        }
    }
    Ok((dn.into(), out))
}

fn octets(tag: StructureTag) -> Option<Vec<u8>> {
    match tag.payload {
        PL::P(octets) => Some(octets),
        PL::C(_) => None,
    }
}

fn text(tag: StructureTag, max: usize) -> Result<String, BadEntry> {
    let octets = octets(tag).ok_or(BadEntry::Structure)?;
    if octets.len() > max {
        return Err(BadEntry::Text);
    }
    String::from_utf8(octets).map_err(|_| BadEntry::Text)
}

/// An entry under an identity that is known.
pub(super) fn filed(id: EntryId, dn: Box<str>, attributes: Vec<Attribute>) -> Entry {
    Entry { id, dn, attributes: attributes.into(), source: DIRECTORY.into() }
}

/// An entry under the identity that its attributes give: nsUniqueId of 389-ds, which its sync names entries by even where
/// a plugin gives them an entryUUID as well; entryUUID (RFC 4530); objectGUID of Active Directory; else one made of its DN.
pub(crate) fn identified(dn: Box<str>, attributes: Vec<Attribute>) -> Entry {
    let mut entry = filed(EntryId([0; 16]), dn, attributes);
    let unique = |text: &str| {
        let digits: Vec<u8> = text.bytes().filter(|octet| *octet != b'-').map(|o| o.to_ascii_lowercase()).collect();
        data_encoding::HEXLOWER.decode(&digits).ok().and_then(|octets| octets.try_into().ok()).map(EntryId)
    };
    let given = entry.text("nsUniqueId").and_then(unique);
    let given = given.or_else(|| entry.text("entryUUID").and_then(|text| text.parse().ok()));
    let guid =
        |entry: &Entry| entry.values("objectGUID").first().and_then(|v| v.0.as_ref().try_into().ok()).map(EntryId);
    entry.id = given.or_else(|| guid(&entry)).unwrap_or_else(|| of_name(&entry.dn));
    entry
}

/// The identity of an entry whose source gives it none: made of its DN, in the form of a UUID of version 8 (RFC 9562),
/// so that it is the same whenever it is read. A renamed entry is another entry then.
pub(crate) fn of_name(dn: &str) -> EntryId {
    let mut hasher = blake3::Hasher::new_derive_key("gatehouse directory entry id from its DN");
    hasher.update(names::normal(dn).as_bytes());
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    EntryId(id)
}

/// When the entry was changed last.
pub(super) fn csn(entry: &Entry) -> Option<Csn> {
    entry.text("entryCSN").and_then(Csn::parse)
}

/// Whether two entries say the same: servers list the attributes of one entry in different orders.
pub(super) fn same(one: &Entry, other: &Entry) -> bool {
    if one == other {
        return true;
    }
    if one.id != other.id || one.dn != other.dn || one.attributes.len() != other.attributes.len() {
        return false;
    }
    let sorted = |entry: &Entry| {
        let mut all: Vec<(CompactString, Vec<Value>)> = Vec::with_capacity(entry.attributes.len());
        for Attribute(name, values) in &entry.attributes {
            let mut values = values.to_vec();
            values.sort_unstable();
            all.push((name.to_ascii_lowercase(), values));
        }
        all.sort_unstable();
        all
    };
    sorted(one) == sorted(other)
}

/// Octets that an entry takes, roughly.
pub(super) fn octets_of(entry: &Entry) -> usize {
    let values = |values: &[Value]| values.iter().map(|value| value.0.len() + 16).sum::<usize>();
    let attributes = entry.attributes.iter().map(|Attribute(name, v)| name.len().max(24) + 16 + values(v));
    128 + entry.dn.len() + attributes.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use ldap3::asn1::TagClass;

    use super::*;

    fn p(octets: &[u8]) -> StructureTag {
        StructureTag { class: TagClass::Universal, id: 4, payload: PL::P(octets.to_vec()) }
    }

    fn c(parts: Vec<StructureTag>) -> StructureTag {
        StructureTag { class: TagClass::Universal, id: 16, payload: PL::C(parts) }
    }

    #[test]
    fn any_octets_are_kept_and_other_structures_refused() {
        let photo = c(vec![p(b"jpegPhoto"), c(vec![p(&[0xff, 0])])]);
        let empty = c(vec![p(b"mail"), c(vec![])]);
        let (dn, attributes) = parse(c(vec![p(b"uid=ada"), c(vec![photo, empty])])).unwrap();
        assert_eq!((&*dn, attributes.len()), ("uid=ada", 1));
        assert_eq!(&*attributes[0].1[0].0, [0xff, 0]);
        assert_eq!(parse(p(b"uid=ada")), Err(BadEntry::Structure));
        assert_eq!(parse(c(vec![p(b"\xff"), c(vec![])])), Err(BadEntry::Text));
        assert_eq!(parse(c(vec![p(b"uid=ada"), c(vec![c(vec![p(b"cn"), p(b"Ada")])])])), Err(BadEntry::Structure));
    }

    #[test]
    fn every_entry_has_an_identity_that_stays() {
        let with = |name: &str, value: &[u8]| {
            identified("uid=ada,dc=acme".into(), vec![Attribute(name.into(), [Value::from(value.to_vec())].into())]).id
        };
        let uuid = "597ae2f6-16a6-1027-98f4-d28b5365dc14";
        assert_eq!(with("entryUUID", uuid.as_bytes()).to_string(), uuid);
        assert_eq!(with("nsuniqueid", b"597AE2F6-16A61027-98F4D28B-5365DC14").to_string(), uuid);
        // As the sync of 389-ds names it, whatever a plugin adds.
        let value = |text: &str| [Value::from(text)].into();
        let unique = Attribute("nsUniqueId".into(), value("597ae2f6-16a61027-98f4d28b-5365dc14"));
        let other = Attribute("entryUUID".into(), value("01010101-0101-0101-0101-010101010101"));
        assert_eq!(identified("uid=ada".into(), vec![other, unique]).id.to_string(), uuid);
        assert_eq!(with("objectGUID", b"0123456789abcdef"), EntryId(*b"0123456789abcdef"));
        let made = with("cn", b"Ada");
        assert_eq!(made, identified("UID=Ada, dc=acme".into(), vec![]).id);
        assert_ne!(made, identified("uid=bob,dc=acme".into(), vec![]).id);
        assert!(made.to_string().chars().nth(14) == Some('8'), "{made}");
    }
}
