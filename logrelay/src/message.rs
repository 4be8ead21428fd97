//! A log message: what was received, what we made of it, and how it lies in memory and in the spool.
//!
//! One encoding serves everything after the intake: batches in memory, the spool on disk, and what a relay of ours sends
//! to the next. A record, all integers little-endian:
//!
//! | octets | what |
//! |---|---|
//! | 0..4 | length of the whole record |
//! | 4..8 | CRC32C of octets 8..length; written by the spool |
//! | 8..16 | sequence; written by the spool, 0 before |
//! | 16..24 | time of receipt, microseconds since 1970 |
//! | 24..32 | time in the message, microseconds since 1970; the time of receipt if it has none |
//! | 32..48 | source address, IPv4 mapped into IPv6 (RFC 4291 section 2.5.5.2); zeros if there is none |
//! | 48..50 | source port |
//! | 50..52 | offset of the time in the message from UTC, minutes |
//! | 52 | PRI: facility * 8 + severity (RFC 5424 section 6.2.1) |
//! | 53 | how well it could be read: [`Status`] |
//! | 54..56 | [`Flags`] |
//! | 56..60 | version of the configuration that routed it |
//! | 60..64 | octets that the line had on the wire |
//! | 64..68 | octets of the raw line as kept |
//! | 68..84 | message and structured data: start and length of each, from the start of the text |
//! | 84..116 | lengths of the small fields, two octets each, in the order of [`Field`] |
//! | 116.. | the small fields, then the text: the raw line, and after it what rewrite rules made of it |
//!
//! Limits: a small field has at most 65,535 octets (longer ones are cut), a record at most [`RECORD_MAX`].

use std::net::{IpAddr, Ipv6Addr};

mod batch;
mod facility;

pub use batch::{Batch, Records};
pub use facility::{FACILITIES, SEVERITIES, facility, severity};

/// Octets of a record at most: a line of 1 MiB, what rewrite rules add to it, and its fields.
pub const RECORD_MAX: usize = 4 << 20;
/// Octets before the small fields.
pub const HEADER: usize = 84 + 2 * FIELDS;
/// Number of small fields.
pub const FIELDS: usize = 16;
/// Octets of a small field at most.
const FIELD_MAX: usize = u16::MAX as usize;

/// The small fields of a message. Lists hold their items one after the other, each followed by a newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Field {
    /// Name of the source in the configuration.
    Source,
    /// Host that the message is from: the inventory's name, else that of the header, else the address.
    Host,
    /// Host name in the header of the message, as it stood there.
    HeaderHost,
    /// Program or application (TAG of RFC 3164, APP-NAME of RFC 5424).
    Program,
    /// Process (PROCID).
    Pid,
    /// MSGID of RFC 5424.
    MsgId,
    /// Availability zone of the host.
    Zone,
    /// Region of the host.
    Region,
    /// Product of the host.
    Product,
    /// List of the host's roles.
    Roles,
    /// List of the host's groups.
    Groups,
    /// List of the host's tags, `key=value`.
    Labels,
    /// List of tags set by the source or by rewrite rules.
    Tags,
    /// List of values set by rewrite rules, `name=value`; newlines in values are replaced by blanks.
    Values,
    /// Where a relay of ours had it, as text `stream/epoch/sequence/previous`: its relay id and destination, the place in its
    /// spool, and the place of what it sent before; empty if it came from no relay.
    Origin,
    /// Destinations that shall get it: numbers of two octets, little-endian.
    Destinations,
}

/// How well a line could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// Header of RFC 5424.
    Rfc5424,
    /// Header of RFC 3164, or what is close to it.
    Rfc3164,
    /// Header of a vendor's own kind, read by the source's profile.
    Vendor,
    /// Only the PRI could be read; the rest is the message.
    PriOnly,
    /// Nothing could be read; the line is the message.
    Unparsed,
}

/// What is odd about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u16);

impl Flags {
    /// The line was longer than allowed and was cut.
    pub const TRUNCATED: Self = Self(1);
    /// The connection ended within the line.
    pub const INCOMPLETE: Self = Self(1 << 1);
    /// The line is not UTF-8.
    pub const NOT_UTF8: Self = Self(1 << 2);
    /// The line had no PRI; `user.notice` is assumed (RFC 3164 section 4.3.3).
    pub const NO_PRI: Self = Self(1 << 3);
    /// The line had no time that could be read; the time of receipt stands for it.
    pub const NO_STAMP: Self = Self(1 << 4);
    /// The header names another host than the inventory does for the sender.
    pub const MISMATCH: Self = Self(1 << 5);
    /// The sender is a host of the inventory.
    pub const KNOWN: Self = Self(1 << 6);
    /// A rewrite rule changed the message.
    pub const REWRITTEN: Self = Self(1 << 7);
    /// We wrote it ourselves: the begin or end of shedding, a gap.
    pub const INTERNAL: Self = Self(1 << 8);
    /// The time in the message is ten years or more from the time of receipt.
    pub const SKEWED: Self = Self(1 << 9);
    /// The record behind it is of the same message, on another road; written by the spool.
    pub const MORE: Self = Self(1 << 10);

    /// Whether all of `other` is set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With `other` set as well.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// With `other` not set.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// A message, borrowed from the line that was received or from a record.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Place in the spool; 0 before it has one.
    pub sequence: u64,
    /// Time of receipt, microseconds since 1970.
    pub received_us: i64,
    /// Time in the message, microseconds since 1970; the time of receipt if it has none.
    pub stamp_us: i64,
    /// Offset of the time in the message from UTC, minutes.
    pub stamp_offset_min: i16,
    /// Facility * 8 + severity.
    pub pri: u8,
    /// How well the line could be read.
    pub status: Status,
    /// What is odd about it.
    pub flags: Flags,
    /// Address that it came from; none for local sockets and files.
    pub address: Option<IpAddr>,
    /// Port that it came from.
    pub port: u16,
    /// Version of the configuration that routed it.
    pub config_version: u32,
    /// Octets that the line had on the wire.
    pub original_len: u32,
    /// The line as received, without its framing.
    pub raw: &'a [u8],
    /// The message proper: MSG of RFC 5424, CONTENT of RFC 3164.
    pub message: &'a [u8],
    /// Structured data of RFC 5424 as it stood there, brackets included; empty for NIL.
    pub sdata: &'a [u8],
    /// The small fields, indexed by [`Field`].
    pub fields: [&'a [u8]; FIELDS],
}

impl<'a> Message<'a> {
    /// A message of which nothing is known but its octets.
    pub fn unread(raw: &'a [u8], received_us: i64) -> Self {
        Self {
            sequence: 0,
            received_us,
            stamp_us: received_us,
            stamp_offset_min: 0,
            pri: 13,
            status: Status::Unparsed,
            flags: Flags::default(),
            address: None,
            port: 0,
            config_version: 0,
            original_len: raw.len().try_into().unwrap_or(u32::MAX),
            raw,
            message: raw,
            sdata: b"",
            fields: [b""; FIELDS],
        }
    }

    /// A small field.
    pub fn field(&self, field: Field) -> &'a [u8] {
        self.fields[field as usize]
    }

    /// Sets a small field.
    pub fn set(&mut self, field: Field, value: &'a [u8]) {
        self.fields[field as usize] = value;
    }

    /// The items of a list field.
    pub fn list(&self, field: Field) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.field(field).split(|&octet| octet == b'\n').filter(|item| !item.is_empty())
    }

    /// The numbers of the destinations that shall get it.
    pub fn destinations(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.field(Field::Destinations).as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair))
    }

    /// Whether the destination with this number shall get it.
    pub fn is_for(&self, destination: u16) -> bool {
        self.destinations().any(|number| number == destination)
    }

    /// Facility, 0 to 31 as the octet allows.
    pub fn facility(&self) -> u8 {
        self.pri >> 3
    }

    /// Severity, 0 (emergency) to 7 (debug).
    pub fn severity(&self) -> u8 {
        self.pri & 7
    }

    /// Octets that [`encode`](Self::encode) writes at most.
    fn encoded_max(&self) -> usize {
        let fields: usize = self.fields.iter().map(|field| field.len().min(FIELD_MAX)).sum();
        HEADER + fields + self.raw.len() + self.message.len() + self.sdata.len()
    }

    /// Appends the record to `out`; false, with `out` as it was, when it would be longer than [`RECORD_MAX`].
    pub fn encode(&self, out: &mut Vec<u8>) -> bool {
        let room = self.encoded_max();
        if room > RECORD_MAX {
            return false;
        }
        let start = out.len();
        out.reserve(room);
        let mut header = [0u8; HEADER];
        header[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        header[16..24].copy_from_slice(&self.received_us.to_le_bytes());
        header[24..32].copy_from_slice(&self.stamp_us.to_le_bytes());
        header[32..48].copy_from_slice(&octets(self.address));
        header[48..50].copy_from_slice(&self.port.to_le_bytes());
        header[50..52].copy_from_slice(&self.stamp_offset_min.to_le_bytes());
        header[52] = self.pri;
        header[53] = self.status as u8;
        header[54..56].copy_from_slice(&self.flags.0.to_le_bytes());
        header[56..60].copy_from_slice(&self.config_version.to_le_bytes());
        header[60..64].copy_from_slice(&self.original_len.to_le_bytes());
        // All lengths below fit: the record is shorter than RECORD_MAX.
        header[64..68].copy_from_slice(&(self.raw.len() as u32).to_le_bytes());
        for (length, field) in header[84..].as_chunks_mut::<2>().0.iter_mut().zip(&self.fields) {
            *length = (field.len().min(FIELD_MAX) as u16).to_le_bytes();
        }
        out.extend_from_slice(&header);
        for field in &self.fields {
            out.extend_from_slice(&field[..field.len().min(FIELD_MAX)]);
        }
        let text = out.len();
        out.extend_from_slice(self.raw);
        for (place, part) in [(68, self.message), (76, self.sdata)] {
            let at = within(self.raw, part).unwrap_or_else(|| {
                out.extend_from_slice(part);
                out.len() - part.len() - text
            });
            out[start + place..start + place + 4].copy_from_slice(&(at as u32).to_le_bytes());
            out[start + place + 4..start + place + 8].copy_from_slice(&(part.len() as u32).to_le_bytes());
        }
        let length = (out.len() - start) as u32;
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        true
    }

    /// Reads one record, which must fill `record`; `None` if its lengths contradict each other. Never panics.
    pub fn decode(record: &'a [u8]) -> Option<Self> {
        let (header, rest) = record.split_first_chunk::<HEADER>()?;
        let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let i64_at = |at: usize| i64::from(u32_at(at)) | i64::from(u32_at(at + 4)) << 32;
        let u16_at = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        if u32_at(0) as usize != record.len() {
            return None;
        }
        let (mut fields, mut rest) = ([&b""[..]; FIELDS], rest);
        for (i, field) in fields.iter_mut().enumerate() {
            (*field, rest) = rest.split_at_checked(usize::from(u16_at(84 + 2 * i)))?;
        }
        let part = |at: usize| rest.get(u32_at(at) as usize..)?.get(..u32_at(at + 4) as usize);
        Some(Self {
            sequence: i64_at(8).cast_unsigned(),
            received_us: i64_at(16),
            stamp_us: i64_at(24),
            stamp_offset_min: u16_at(50).cast_signed(),
            pri: header[52],
            status: Status::from_octet(header[53]),
            flags: Flags(u16_at(54)),
            address: address(header[32..48].try_into().ok()?),
            port: u16_at(48),
            config_version: u32_at(56),
            original_len: u32_at(60),
            raw: rest.get(..u32_at(64) as usize)?,
            message: part(68)?,
            sdata: part(76)?,
            fields,
        })
    }
}

impl Status {
    fn from_octet(octet: u8) -> Self {
        [Self::Rfc5424, Self::Rfc3164, Self::Vendor, Self::PriOnly]
            .get(usize::from(octet))
            .copied()
            .unwrap_or(Self::Unparsed)
    }

    /// The word in metrics and explanations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rfc5424 => "rfc5424",
            Self::Rfc3164 => "rfc3164",
            Self::Vendor => "vendor",
            Self::PriOnly => "pri_only",
            Self::Unparsed => "unparsed",
        }
    }
}

/// Where `part` lies within `whole`, if it is a piece of it and not merely equal.
fn within(whole: &[u8], part: &[u8]) -> Option<usize> {
    let at = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    (at + part.len() <= whole.len()).then_some(at)
}

fn octets(address: Option<IpAddr>) -> [u8; 16] {
    match address {
        None => [0; 16],
        Some(IpAddr::V4(v4)) => v4.to_ipv6_mapped().octets(),
        Some(IpAddr::V6(v6)) => v6.octets(),
    }
}

fn address(octets: [u8; 16]) -> Option<IpAddr> {
    (octets != [0; 16]).then(|| IpAddr::V6(Ipv6Addr::from(octets)).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(raw: &[u8]) -> Message<'_> {
        let mut message = Message::unread(raw, 1_700_000_000_000_001);
        message.address = Some("10.1.0.11".parse().unwrap());
        message.stamp_us = -5;
        message.stamp_offset_min = -330;
        message.message = &raw[raw.len() / 2..];
        message.set(Field::Host, b"web01");
        message.set(Field::Roles, b"web\nfront\n");
        message.set(Field::Destinations, &[1, 0, 0, 2]);
        message
    }

    #[test]
    fn a_record_gives_back_what_was_put_in() {
        let raw = b"<34>Oct 11 22:14:15 mymachine su: 'su root' failed";
        let mut out = b"before".to_vec();
        let mut message = sample(raw);
        message.sdata = b"[not@1 within=\"it\"]";
        assert!(message.encode(&mut out));
        let back = Message::decode(&out[6..]).unwrap();
        assert_eq!(format!("{back:?}"), format!("{message:?}"));
        assert_eq!(back.list(Field::Roles).collect::<Vec<_>>(), [b"web".as_slice(), b"front"]);
        assert_eq!(back.destinations().collect::<Vec<_>>(), [1, 512]);
        assert!(back.is_for(512) && !back.is_for(2));
        assert_eq!((back.facility(), back.severity()), (1, 5));
    }

    #[test]
    fn damaged_records_are_refused_without_a_panic() {
        let mut record = Vec::new();
        assert!(sample(b"0123456789").encode(&mut record));
        assert!(Message::decode(&record[..record.len() - 1]).is_none());
        for at in 0..record.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = record.clone();
                damaged[at] = value;
                let _ = Message::decode(&damaged);
            }
        }
    }

    #[test]
    fn a_record_has_a_largest_size() {
        let raw = vec![b'x'; RECORD_MAX];
        let mut out = Vec::new();
        assert!(!Message::unread(&raw, 0).encode(&mut out) && out.is_empty());
    }
}
