//! Attribute descriptions (RFC 4512 section 2.5), and what is known of common attributes without a schema of the source.
//!
//! The table gives each known attribute a small number, its matching rule as in OpenLDAP's schema files (core, cosine,
//! inetorgperson, nis, sudo, openssh-lpk, autofs), whether it is indexed and whether it is operational. Every other
//! well-formed name is a user attribute that compares without regard to case; it is known by a hash of its name and is
//! compared in full whenever the hash agrees. Nothing is ever added to the table, so strange names cost no memory.

use std::sync::LazyLock;

use compact_str::CompactString;

use super::rule::Rule;

/// Most octets of an attribute description, options included.
pub(crate) const DESCRIPTION_OCTETS_MAX: usize = 256;
/// Most options of an attribute description.
const OPTIONS_MAX: usize = 8;

const USER: u8 = 0;
const INDEXED: u8 = 1;
const OPERATIONAL: u8 = 2;
const COMPUTED: u8 = 4;

/// One attribute of the table: its names and OIDs, the first being the one that is served.
struct Known(&'static [&'static str], Rule, u8);

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
            None => Self(hash | UNKNOWN),
        }
    }

    fn known(self) -> Option<&'static Known> {
        usize::try_from(self.0).ok().and_then(|row| TABLE.get(row))
    }

    /// Its number in the table.
    pub(crate) fn row(self) -> Option<usize> {
        self.known().and_then(|_| usize::try_from(self.0).ok())
    }

    pub(crate) fn is_known(self) -> bool {
        self.known().is_some()
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

    /// Whether an entry's attribute is this one or a subtype of it by options (RFC 4512 section 2.5.2).
    pub(crate) fn includes(&self, id: Id, description: &str) -> bool {
        if self.id != id {
            return false;
        }
        if self.options.is_empty() && id.is_known() {
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

use Rule::{Boolean, CaseExact, CaseIgnore, Dn, Integer, Octets, Secret, Telephone, Time, Uuid};

/// The first rows stand where the constants of [`Id`] say.
#[rustfmt::skip]
static TABLE: &[Known] = &[
    Known(&["objectClass", "2.5.4.0"], CaseIgnore, INDEXED),
    Known(&["entryUUID", "1.3.6.1.1.16.4"], Uuid, INDEXED | OPERATIONAL | COMPUTED),
    Known(&["entryDN", "1.3.6.1.1.20"], Dn, INDEXED | OPERATIONAL | COMPUTED),
    Known(&["entryUSN"], Integer, OPERATIONAL | COMPUTED),
    Known(&["hasSubordinates", "2.5.18.9"], Boolean, OPERATIONAL | COMPUTED),
    Known(&["subschemaSubentry", "2.5.18.10"], Dn, OPERATIONAL | COMPUTED),
    Known(&["gatehouseAccess"], CaseIgnore, OPERATIONAL | COMPUTED),
    Known(&["gatehouseSudo"], CaseIgnore, OPERATIONAL | COMPUTED),
    Known(&["modifyTimestamp", "2.5.18.2"], Time, OPERATIONAL),
    Known(&["uid", "userid", "0.9.2342.19200300.100.1.1"], CaseIgnore, INDEXED),
    Known(&["cn", "commonName", "2.5.4.3"], CaseIgnore, INDEXED),
    Known(&["sn", "surname", "2.5.4.4"], CaseIgnore, USER),
    Known(&["givenName", "gn", "2.5.4.42"], CaseIgnore, USER),
    Known(&["mail", "rfc822Mailbox", "0.9.2342.19200300.100.1.3"], CaseIgnore, INDEXED),
    Known(&["dc", "domainComponent", "0.9.2342.19200300.100.1.25"], CaseIgnore, INDEXED),
    Known(&["ou", "organizationalUnitName", "2.5.4.11"], CaseIgnore, INDEXED),
    Known(&["o", "organizationName", "2.5.4.10"], CaseIgnore, USER),
    Known(&["c", "countryName", "2.5.4.6"], CaseIgnore, USER),
    Known(&["l", "localityName", "2.5.4.7"], CaseIgnore, USER),
    Known(&["st", "stateOrProvinceName", "2.5.4.8"], CaseIgnore, USER),
    Known(&["street", "streetAddress", "2.5.4.9"], CaseIgnore, USER),
    Known(&["displayName"], CaseIgnore, USER),
    Known(&["description", "2.5.4.13"], CaseIgnore, USER),
    Known(&["title", "2.5.4.12"], CaseIgnore, USER),
    Known(&["initials"], CaseIgnore, USER),
    Known(&["employeeNumber"], CaseIgnore, INDEXED),
    Known(&["telephoneNumber", "2.5.4.20"], Telephone, USER),
    Known(&["mobile", "mobileTelephoneNumber"], Telephone, USER),
    Known(&["homePhone", "homeTelephoneNumber"], Telephone, USER),
    Known(&["facsimileTelephoneNumber", "fax"], Telephone, USER),
    Known(&["pager", "pagerTelephoneNumber"], Telephone, USER),
    Known(&["labeledURI"], CaseExact, USER),
    Known(&["jpegPhoto"], Octets, USER),
    Known(&["userCertificate", "2.5.4.36"], Octets, USER),
    Known(&["cACertificate"], Octets, USER),
    // nis.schema, rfc2307bis
    Known(&["uidNumber", "1.3.6.1.1.1.1.0"], Integer, INDEXED),
    Known(&["gidNumber", "1.3.6.1.1.1.1.1"], Integer, INDEXED),
    Known(&["gecos"], CaseIgnore, USER),
    Known(&["homeDirectory", "1.3.6.1.1.1.1.3"], CaseExact, USER),
    Known(&["loginShell", "1.3.6.1.1.1.1.4"], CaseExact, USER),
    Known(&["shadowLastChange"], Integer, USER),
    Known(&["shadowMin"], Integer, USER),
    Known(&["shadowMax"], Integer, USER),
    Known(&["shadowWarning"], Integer, USER),
    Known(&["shadowInactive"], Integer, USER),
    Known(&["shadowExpire"], Integer, USER),
    Known(&["shadowFlag"], Integer, USER),
    Known(&["memberUid", "1.3.6.1.1.1.1.12"], CaseExact, INDEXED),
    Known(&["memberNisNetgroup", "1.3.6.1.1.1.1.13"], CaseExact, INDEXED),
    Known(&["nisNetgroupTriple", "1.3.6.1.1.1.1.14"], CaseIgnore, INDEXED),
    Known(&["ipServicePort"], Integer, INDEXED),
    Known(&["ipServiceProtocol"], CaseIgnore, USER),
    Known(&["ipProtocolNumber"], Integer, INDEXED),
    Known(&["oncRpcNumber"], Integer, INDEXED),
    Known(&["ipHostNumber", "1.3.6.1.1.1.1.19"], CaseIgnore, INDEXED),
    Known(&["ipNetworkNumber"], CaseIgnore, INDEXED),
    Known(&["ipNetmaskNumber"], CaseIgnore, USER),
    Known(&["macAddress"], CaseIgnore, INDEXED),
    Known(&["bootParameter"], CaseExact, USER),
    Known(&["bootFile"], CaseExact, USER),
    Known(&["nisMapName"], CaseIgnore, INDEXED),
    Known(&["nisMapEntry"], CaseExact, USER),
    Known(&["automountMapName"], CaseExact, INDEXED),
    Known(&["automountKey"], CaseExact, INDEXED),
    Known(&["automountInformation"], CaseExact, USER),
    // DN syntax
    Known(&["member", "2.5.4.31"], Dn, INDEXED),
    Known(&["uniqueMember", "2.5.4.50"], Dn, INDEXED),
    Known(&["owner", "2.5.4.32"], Dn, INDEXED),
    Known(&["seeAlso", "2.5.4.34"], Dn, USER),
    Known(&["manager"], Dn, INDEXED),
    Known(&["secretary"], Dn, USER),
    Known(&["roleOccupant", "2.5.4.33"], Dn, INDEXED),
    Known(&["memberOf"], Dn, INDEXED),
    Known(&["aliasedObjectName"], Dn, USER),
    Known(&["creatorsName", "2.5.18.3"], Dn, OPERATIONAL),
    Known(&["modifiersName", "2.5.18.4"], Dn, OPERATIONAL),
    Known(&["createTimestamp", "2.5.18.1"], Time, OPERATIONAL),
    Known(&["structuralObjectClass", "2.5.21.9"], CaseIgnore, OPERATIONAL),
    Known(&["entryCSN"], CaseIgnore, OPERATIONAL),
    Known(&["contextCSN"], CaseIgnore, OPERATIONAL),
    Known(&["numSubordinates"], Integer, OPERATIONAL),
    Known(&["nsUniqueId"], CaseIgnore, OPERATIONAL),
    // hosts, keys and services
    Known(&["host"], CaseIgnore, INDEXED),
    Known(&["authorizedService"], CaseIgnore, INDEXED),
    Known(&["rhost"], CaseIgnore, USER),
    Known(&["accountStatus"], CaseIgnore, USER),
    Known(&["sshPublicKey", "1.3.6.1.4.1.24552.500.1.1.1.13"], Octets, USER),
    Known(&["ipaSshPubKey"], Octets, USER),
    Known(&["ipaUniqueID"], CaseIgnore, INDEXED),
    Known(&["fqdn"], CaseIgnore, INDEXED),
    Known(&["serverHostname"], CaseIgnore, INDEXED),
    // sudo
    Known(&["sudoUser", "1.3.6.1.4.1.15953.9.1.1"], CaseExact, INDEXED),
    Known(&["sudoHost", "1.3.6.1.4.1.15953.9.1.2"], CaseExact, INDEXED),
    Known(&["sudoCommand"], CaseExact, USER),
    Known(&["sudoRunAs"], CaseExact, USER),
    Known(&["sudoRunAsUser"], CaseExact, USER),
    Known(&["sudoRunAsGroup"], CaseExact, USER),
    Known(&["sudoOption"], CaseExact, USER),
    Known(&["sudoNotBefore"], Time, USER),
    Known(&["sudoNotAfter"], Time, USER),
    Known(&["sudoOrder"], Integer, USER),
    // account state
    Known(&["pwdChangedTime"], Time, OPERATIONAL),
    Known(&["pwdAccountLockedTime"], Time, OPERATIONAL),
    Known(&["pwdFailureTime"], Time, OPERATIONAL),
    Known(&["pwdGraceUseTime"], Time, OPERATIONAL),
    Known(&["pwdLastSuccess"], Time, OPERATIONAL),
    Known(&["pwdReset"], Boolean, OPERATIONAL),
    Known(&["pwdPolicySubentry"], Dn, OPERATIONAL),
    Known(&["nsAccountLock"], CaseIgnore, OPERATIONAL),
    Known(&["loginDisabled"], CaseIgnore, USER),
    Known(&["krbPrincipalName"], CaseExact, INDEXED),
    Known(&["krbCanonicalName"], CaseExact, USER),
    Known(&["krbPrincipalExpiration"], Time, USER),
    Known(&["krbPasswordExpiration"], Time, USER),
    Known(&["krbLastPwdChange"], Time, USER),
    Known(&["krbLastSuccessfulAuth"], Time, USER),
    Known(&["krbLastFailedAuth"], Time, USER),
    Known(&["krbLoginFailedCount"], Integer, USER),
    // Active Directory
    Known(&["sAMAccountName"], CaseIgnore, INDEXED),
    Known(&["userPrincipalName"], CaseIgnore, INDEXED),
    Known(&["userAccountControl"], Integer, USER),
    Known(&["accountExpires"], Integer, USER),
    Known(&["pwdLastSet"], Integer, USER),
    Known(&["lockoutTime"], Integer, USER),
    Known(&["groupType"], Integer, USER),
    Known(&["uSNChanged"], Integer, USER),
    Known(&["whenChanged"], Time, USER),
    Known(&["whenCreated"], Time, USER),
    Known(&["objectSid"], Octets, USER),
    Known(&["objectGUID"], Octets, USER),
    // What never leaves and never matches.
    Known(&["userPassword", "2.5.4.35"], Secret, USER),
    Known(&["authPassword", "1.3.6.1.4.1.4203.1.3.4"], Secret, USER),
    Known(&["userPKCS12"], Secret, USER),
    Known(&["sambaNTPassword"], Secret, USER),
    Known(&["sambaLMPassword"], Secret, USER),
    Known(&["sambaPasswordHistory"], Secret, USER),
    Known(&["sambaClearTextPassword"], Secret, USER),
    Known(&["sambaPreviousClearTextPassword"], Secret, USER),
    Known(&["ipaNTHash"], Secret, USER),
    Known(&["ipatokenOTPkey"], Secret, USER),
    Known(&["oathSecret"], Secret, USER),
    Known(&["krbPrincipalKey"], Secret, USER),
    Known(&["krbExtraData"], Secret, USER),
    Known(&["krbMKey"], Secret, USER),
    Known(&["krbPwdHistory"], Secret, USER),
    Known(&["pwdHistory"], Secret, USER),
    Known(&["passwordHistory"], Secret, USER),
    Known(&["unicodePwd"], Secret, USER),
    Known(&["dBCSPwd"], Secret, USER),
    Known(&["ntPwdHistory"], Secret, USER),
    Known(&["lmPwdHistory"], Secret, USER),
    Known(&["supplementalCredentials"], Secret, USER),
    Known(&["ms-Mcs-AdmPwd"], Secret, USER),
    Known(&["msLAPS-Password"], Secret, USER),
    Known(&["msLAPS-EncryptedPassword"], Secret, USER),
    Known(&["olcRootPW"], Secret, USER),
    Known(&["olcSyncrepl"], Secret, USER),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_its_row() {
        assert!(TABLE.len() <= usize::from(u8::MAX));
        for (row, Known(names, ..)) in TABLE.iter().enumerate() {
            for name in *names {
                assert_eq!(Id::of(&name.to_uppercase()).row(), Some(row), "{name}");
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
