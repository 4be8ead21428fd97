//! Directory entries as they were received, and how far they were followed.
//!
//! An entry is filed under its entryUUID, never under its DN: a DN may be deleted and added again before the deletion
//! arrives (RFC 4533 section 3.6). Attribute names and values keep the spelling and order of the source. In JSON an
//! attribute is `[name, [values]]`; a value that is no UTF-8 is `{"base64": "..."}`.

use std::fmt;

use compact_str::CompactString;
use data_encoding::BASE64;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
    ser::SerializeMap,
};

/// The source of every entry, whether it comes from a directory server or from an LDIF file: one directory has one
/// content, and a new source takes over from the old one under the guard.
pub const DIRECTORY: &str = "directory";

/// An entryUUID (RFC 4530).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub [u8; 16]);

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl std::str::FromStr for EntryId {
    type Err = NotAnEntryId;

    fn from_str(text: &str) -> Result<Self, NotAnEntryId> {
        let dashes = text.len() == 36 && [8, 13, 18, 23].iter().all(|&at| text.as_bytes().get(at) == Some(&b'-'));
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').map(|byte| byte.to_ascii_lowercase()).collect();
        let bytes = data_encoding::HEXLOWER.decode(&digits).ok().filter(|_| dashes);
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| NotAnEntryId(text.chars().take(64).collect()))
    }
}

/// Text that is no UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no UUID; write it as in 597ae2f6-16a6-1027-98f4-d28b5365dc14")]
pub struct NotAnEntryId(String);

impl Serialize for EntryId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EntryId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// One attribute value: any octets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub Box<[u8]>);

impl Value {
    /// The value as text, if it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl From<Vec<u8>> for Value {
    fn from(octets: Vec<u8>) -> Self {
        Self(octets.into_boxed_slice())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(text) = self.text() {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("base64", &BASE64.encode(&self.0))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Octets;
        impl<'de> Visitor<'de> for Octets {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or {\"base64\": \"...\"}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::from(text))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let Some((key, text)) = map.next_entry::<String, String>()? else {
                    return Err(de::Error::missing_field("base64"));
                };
                if key != "base64" {
                    return Err(de::Error::unknown_field(&key, &["base64"]));
                }
                BASE64.decode(text.as_bytes()).map(Value::from).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(Octets)
    }
}

/// An attribute with its values, in the order of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute(
    /// Attribute description as received: `uid`, `userCertificate;binary`. Compared without regard to case.
    pub CompactString,
    /// Values; at least one.
    pub Box<[Value]>,
);

/// One entry of the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its entryUUID; for LDIF without one, derived from the DN.
    pub id: EntryId,
    /// Distinguished name as received (RFC 4514).
    pub dn: Box<str>,
    /// All attributes as received, operational ones that were asked for included.
    pub attributes: Box<[Attribute]>,
    /// [`DIRECTORY`].
    pub source: CompactString,
}

impl Entry {
    /// The values of an attribute, named without regard to case; none if the entry lacks it.
    pub fn values(&self, name: &str) -> &[Value] {
        self.attributes.iter().find(|Attribute(n, _)| n.eq_ignore_ascii_case(name)).map_or(&[], |Attribute(_, v)| v)
    }

    /// The values of an attribute that are UTF-8.
    pub fn texts<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.values(name).iter().filter_map(Value::text)
    }

    /// The first value of an attribute, as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts(name).next()
    }

    /// Whether the entry belongs to an object class, without regard to case.
    pub fn is_a(&self, class: &str) -> bool {
        self.texts("objectClass").any(|value| value.eq_ignore_ascii_case(class))
    }
}

/// How far an upstream directory was followed. It changes in the same change set as the entries that it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cookie {
    /// Which following this is; there is one now, [`DIRECTORY`].
    pub source: CompactString,
    /// The sync cookie (RFC 4533 section 2.1.2) with the greatest CSN of each server id.
    pub cookie: Value,
    /// Digest of what was asked: a cookie is bound to base, scope, filter, attributes and identity (RFC 4533 section 3.1).
    pub request: CompactString,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_json_with_any_octets() {
        let entry = Entry {
            id: "597ae2f6-16a6-1027-98f4-d28b5365dc14".parse().unwrap(),
            dn: "uid=ada,ou=people,dc=acme,dc=private".into(),
            attributes: [
                Attribute("uid".into(), ["ada".into()].into()),
                Attribute("jpegPhoto".into(), [Value::from(vec![0xff, 0, 1])].into()),
            ]
            .into(),
            source: DIRECTORY.into(),
        };
        let json = serde_json::to_string(&entry).unwrap();
        assert!(json.contains(r#"["uid",["ada"]],["jpegPhoto",[{"base64":"/wAB"}]]"#), "{json}");
        assert_eq!(serde_json::from_str::<Entry>(&json).unwrap(), entry);
        assert_eq!(entry.text("UID"), Some("ada"));
    }

    #[test]
    fn a_uuid_has_its_dashes() {
        for wrong in ["", "597ae2f616a6102798f4d28b5365dc14", "597ae2f6-16a6-1027-98f4-d28b5365dc1", "é"] {
            assert!(wrong.parse::<EntryId>().is_err(), "{wrong}");
        }
    }
}
