//! Attribute descriptions (RFC 4512 section 2.5), and what is known of common attributes without a schema of the source.
//!
//! Attributes of the table are known by their place in it. Every other well-formed name is a user attribute that compares without regard to case; it is known by a hash of its name and is
//! compared in full whenever the hash agrees. Nothing is ever added to the table, so strange names cost no memory.

use std::sync::LazyLock;

use compact_str::CompactString;

use super::{
    known::{COMPUTED, INDEXED, Known, OPERATIONAL, TABLE, USER_PASSWORD, sounds_secret},
    rule::Rule,
};

/// Most octets of an attribute description, options included.
pub(crate) const DESCRIPTION_OCTETS_MAX: usize = 256;
/// Most options of an attribute description.
const OPTIONS_MAX: usize = 8;

/// Which attribute, its options aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id(u32);

const UNKNOWN: u32 = 1 << 31;

impl Id {
    pub(crate) const OBJECT_CLASS: Self = Self(0);
    pub(crate) const ENTRY_UUID: Self = Self(1);
    pub(crate) const ENTRY_DN: Self = Self(2);
    pub(crate) const ENTRY_USN: Self = Self(3);
    pub(crate) const HAS_SUBORDINATES: Self = Self(4);
    pub(crate) const SUBSCHEMA_SUBENTRY: Self = Self(5);
    pub(crate) const GATEHOUSE_ACCESS: Self = Self(6);
    pub(crate) const GATEHOUSE_SUDO: Self = Self(7);
    pub(crate) const MODIFY_TIMESTAMP: Self = Self(8);
    pub(crate) const UID: Self = Self(9);

    /// The attribute that a name or OID without options stands for, without regard to case.
    pub(crate) fn of(base: &str) -> Self {
        let hash = hash(base);
        match NAMES.find(hash, base) {
            Some(row) => Self(u32::from(row)),
            None if sounds_secret(base) => Self::of(USER_PASSWORD),
            None => Self(hash | UNKNOWN),
        }
    }

    fn known(self) -> Option<&'static Known> {
        TABLE.get(self.row_or_beyond())
    }

    /// Its number in the table, or one beyond every table.
    pub(crate) fn row_or_beyond(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    pub(crate) fn is_known(self) -> bool {
        self.0 & UNKNOWN == 0
    }

    pub(crate) fn number(self) -> u32 {
        self.0
    }

    pub(crate) fn rule(self) -> Rule {
        self.known().map_or(Rule::CaseIgnore, |Known(_, rule, _)| *rule)
    }

    fn has(self, mark: u8) -> bool {
        self.known().is_some_and(|Known(_, _, marks)| marks & mark != 0)
    }

    /// Whether equal values of it lead to their entries without a scan.
    pub(crate) fn is_indexed(self) -> bool {
        self.has(INDEXED)
    }

    pub(crate) fn is_operational(self) -> bool {
        self.has(OPERATIONAL)
    }

    /// Whether it is made by us, so that a value from the source is not looked at.
    pub(crate) fn is_computed(self) -> bool {
        self.has(COMPUTED)
    }

    /// Whether it never leaves and never matches.
    pub(crate) fn is_secret(self) -> bool {
        self.rule() == Rule::Secret
    }

    /// How the table spells it; empty for other attributes.
    pub(crate) fn spelling(self) -> &'static str {
        self.known().and_then(|Known(names, ..)| names.first()).copied().unwrap_or("")
    }
}

/// An attribute description that somebody asks for: the attribute, and options that a value must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) id: Id,
    /// Without options.
    pub(crate) base: CompactString,
    /// In lower case.
    pub(crate) options: Box<[CompactString]>,
}

impl Name {
    /// Reads a description; none if it is not well-formed or too long.
    pub(crate) fn parse(description: &str) -> Option<Self> {
        if description.len() > DESCRIPTION_OCTETS_MAX {
            return None;
        }
        let mut parts = description.split(';');
        let base = parts.next().filter(|base| is_name(base))?;
        let mut options = Vec::new();
        for option in parts {
            if !is_option(option) || options.len() == OPTIONS_MAX {
                return None;
            }
            options.push(option.to_ascii_lowercase().into());
        }
        Some(Self { id: Id::of(base), base: base.into(), options: options.into_boxed_slice() })
    }

    /// Whether the attribute's number says it all: it is in the table, and no option is asked for.
    pub(crate) fn is_plain(&self) -> bool {
        self.options.is_empty() && self.id.is_known()
    }

    /// Whether an entry's attribute is this one or a subtype of it by options (RFC 4512 section 2.5.2).
    pub(crate) fn includes(&self, id: Id, description: &str) -> bool {
        if self.id != id {
            return false;
        }
        if self.is_plain() {
            return true;
        }
        let mut parts = description.split(';');
        let same = id.is_known() || parts.clone().next().is_some_and(|base| base.eq_ignore_ascii_case(&self.base));
        parts.next();
        same && self.options.iter().all(|option| parts.clone().any(|has| has.eq_ignore_ascii_case(option)))
    }
}

/// A short name or a dotted OID. The underscore is no letter of RFC 4512, but servers in use have it in names.
fn is_name(text: &str) -> bool {
    let Some(first) = text.bytes().next() else { return false };
    if first.is_ascii_digit() {
        return text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    }
    first.is_ascii_alphabetic() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn is_option(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The part of a description before its options.
pub(crate) fn base_of(description: &str) -> &str {
    description.split(';').next().unwrap_or(description)
}

/// FNV-1a over the lower-case name.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193))
}

/// Names and OIDs of the table, by hash; open addressing.
struct Names(Box<[Option<(&'static str, u8)>]>);

const NAME_PLACES: usize = 1024;

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let mut names = Names(vec![None; NAME_PLACES].into_boxed_slice());
    for (row, Known(spellings, ..)) in (0..).zip(TABLE) {
        for &name in *spellings {
            let place = names.places(hash(name)).find(|&place| names.0.get(place).is_some_and(Option::is_none));
            if let Some(free) = place.and_then(|place| names.0.get_mut(place)) {
                *free = Some((name, row));
            }
        }
    }
    names
});

impl Names {
    fn places(&self, hash: u32) -> impl Iterator<Item = usize> + use<> {
        let first = usize::try_from(hash).unwrap_or(0);
        (0..NAME_PLACES).map(move |step| first.wrapping_add(step) % NAME_PLACES)
    }

    fn find(&self, hash: u32, name: &str) -> Option<u8> {
        for place in self.places(hash) {
            let (known, row) = (*self.0.get(place)?)?;
            if known.eq_ignore_ascii_case(name) {
                return Some(row);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_its_row() {
        assert!(TABLE.len() <= usize::from(u8::MAX));
        for (row, Known(names, ..)) in TABLE.iter().enumerate() {
            for name in *names {
                assert_eq!(Id::of(&name.to_uppercase()).row_or_beyond(), row, "{name}");
            }
        }
    }

    #[test]
    fn the_constants_stand_where_the_table_has_them() {
        for (id, name) in [
            (Id::OBJECT_CLASS, "objectClass"),
            (Id::ENTRY_UUID, "entryUUID"),
            (Id::ENTRY_DN, "entryDN"),
            (Id::ENTRY_USN, "entryUSN"),
            (Id::HAS_SUBORDINATES, "hasSubordinates"),
            (Id::SUBSCHEMA_SUBENTRY, "subschemaSubentry"),
            (Id::GATEHOUSE_ACCESS, "gatehouseAccess"),
            (Id::GATEHOUSE_SUDO, "gatehouseSudo"),
            (Id::MODIFY_TIMESTAMP, "modifyTimestamp"),
            (Id::UID, "uid"),
        ] {
            assert_eq!((id.spelling(), Id::of(name)), (name, id));
        }
    }

    #[test]
    fn a_name_that_sounds_like_a_secret_is_one() {
        for secret in
            ["acmeAdminPassword", "vpnPASSWD", "x-sharedSecret-2", "hostPrivateKey", "krb5Key", "nsslapd-rootpw"]
        {
            assert!(Id::of(secret).is_secret(), "{secret}");
        }
        for open in ["sshPublicKey", "krbPasswordExpiration", "secretary", "pwdLastSet", "acmeKey"] {
            assert!(!Id::of(open).is_secret(), "{open}");
        }
    }

    #[test]
    fn a_description_is_a_name_or_an_oid_with_options() {
        for right in ["uid", "userCertificate;binary", "2.5.4.3", "cn;lang-de;x-a", "x_y", "msLAPS-Password"] {
            assert!(Name::parse(right).is_some(), "{right}");
        }
        let long = "a".repeat(DESCRIPTION_OCTETS_MAX + 1);
        for wrong in ["", ";binary", "uid;", "u id", "-x", "2.5.x", "ü", "uid;b_", long.as_str()] {
            assert!(Name::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn an_attribute_includes_its_subtypes_by_option() {
        let includes = |asked: &str, has: &str| Name::parse(asked).unwrap().includes(Id::of(base_of(has)), has);
        assert!(includes("userCertificate", "userCertificate;binary"));
        assert!(includes("usercertificate;BINARY", "userCertificate;binary"));
        assert!(includes("cn;lang-de", "commonName;x-a;lang-de"));
        assert!(!includes("userCertificate;binary", "userCertificate"));
        assert!(includes("unheardOf", "UNHEARDOF;x"));
        assert!(!includes("unheardOf", "unheard"));
    }
}
