//! Mnemonics of types, and the fields of their data.

use std::borrow::Cow;

/// A field of RDATA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// A domain name, never compressed here.
    Name,
    U8,
    U16,
    U32,
    /// 32 bits, in text also with units such as `1h30m`.
    Seconds,
    Ip4,
    Ip6,
    /// A character string: length octet and up to 255 octets.
    Str,
    /// One or more character strings to the end.
    Strs,
    /// Letters and digits behind a length octet (RFC 8659 section 4.1).
    Tag,
    /// Octets to the end, without a length, in text quoted.
    Text,
    /// Octets to the end in hexadecimal.
    Hex,
    /// Octets to the end in base64.
    Base64,
    /// A DNSSEC algorithm: number, or in text also its mnemonic.
    Algorithm,
    /// A certificate type (RFC 4398 section 2.1).
    Certificate,
    /// Service parameters (RFC 9460 section 2.1).
    Params,
    /// A location (RFC 1876).
    Location,
}

/// The fields of a type's data; `None` for types that only have the generic form.
pub(super) fn layout(rtype: u16) -> Option<&'static [Field]> {
    use Field::*;
    Some(match rtype {
        1 => &[Ip4],
        2..=5 | 7..=9 | 12 | 39 => &[Name],
        6 => &[Name, Name, U32, Seconds, Seconds, Seconds, Seconds],
        13 => &[Str, Str],
        14 | 17 => &[Name, Name],
        15 | 18 | 21 | 36 => &[U16, Name],
        16 | 99 => &[Strs],
        28 => &[Ip6],
        29 => &[Location],
        33 => &[U16, U16, U16, Name],
        35 => &[U16, U16, Str, Str, Str, Name],
        37 => &[Certificate, U16, Algorithm, Base64],
        43 | 59 => &[U16, Algorithm, U8, Hex],
        44 => &[U8, U8, Hex],
        48 | 60 => &[U16, U8, Algorithm, Base64],
        52 | 53 => &[U8, U8, U8, Hex],
        61 => &[Base64],
        64 | 65 => &[U16, Name, Params],
        256 => &[U16, U16, Text],
        257 => &[U8, Tag, Text],
        _ => return None,
    })
}

/// Mnemonics in the order of their numbers (IANA's registry of RR types).
const MNEMONICS: &[(u16, &str)] = &[
    (1, "A"),
    (2, "NS"),
    (3, "MD"),
    (4, "MF"),
    (5, "CNAME"),
    (6, "SOA"),
    (7, "MB"),
    (8, "MG"),
    (9, "MR"),
    (10, "NULL"),
    (11, "WKS"),
    (12, "PTR"),
    (13, "HINFO"),
    (14, "MINFO"),
    (15, "MX"),
    (16, "TXT"),
    (17, "RP"),
    (18, "AFSDB"),
    (19, "X25"),
    (20, "ISDN"),
    (21, "RT"),
    (24, "SIG"),
    (25, "KEY"),
    (26, "PX"),
    (28, "AAAA"),
    (29, "LOC"),
    (33, "SRV"),
    (35, "NAPTR"),
    (36, "KX"),
    (37, "CERT"),
    (39, "DNAME"),
    (41, "OPT"),
    (42, "APL"),
    (43, "DS"),
    (44, "SSHFP"),
    (45, "IPSECKEY"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (49, "DHCID"),
    (50, "NSEC3"),
    (51, "NSEC3PARAM"),
    (52, "TLSA"),
    (53, "SMIMEA"),
    (55, "HIP"),
    (59, "CDS"),
    (60, "CDNSKEY"),
    (61, "OPENPGPKEY"),
    (62, "CSYNC"),
    (63, "ZONEMD"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (99, "SPF"),
    (104, "NID"),
    (105, "L32"),
    (106, "L64"),
    (107, "LP"),
    (108, "EUI48"),
    (109, "EUI64"),
    (249, "TKEY"),
    (250, "TSIG"),
    (251, "IXFR"),
    (252, "AXFR"),
    (253, "MAILB"),
    (254, "MAILA"),
    (255, "ANY"),
    (256, "URI"),
    (257, "CAA"),
];

/// The number of a type, in any case: a mnemonic, or `TYPE123` (RFC 3597 section 5).
pub fn type_number(mnemonic: &str) -> Option<u16> {
    if let Some((number, _)) = MNEMONICS.iter().find(|(_, name)| name.eq_ignore_ascii_case(mnemonic)) {
        return Some(*number);
    }
    let (prefix, digits) = mnemonic.split_at_checked(4)?;
    (prefix.eq_ignore_ascii_case("TYPE") && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// The mnemonic of a type, or `TYPE123` for types without one.
pub fn type_name(rtype: u16) -> Cow<'static, str> {
    match MNEMONICS.binary_search_by_key(&rtype, |(number, _)| *number) {
        Ok(at) => Cow::Borrowed(MNEMONICS[at].1),
        Err(_) => Cow::Owned(format!("TYPE{rtype}")),
    }
}

/// DNSSEC algorithms that have mnemonics in zone files (IANA's registry).
pub(super) const ALGORITHMS: &[(u16, &str)] = &[
    (5, "RSASHA1"),
    (7, "NSEC3RSASHA1"),
    (8, "RSASHA256"),
    (10, "RSASHA512"),
    (13, "ECDSAP256SHA256"),
    (14, "ECDSAP384SHA384"),
    (15, "ED25519"),
    (16, "ED448"),
    (252, "INDIRECT"),
    (253, "PRIVATEDNS"),
    (254, "PRIVATEOID"),
];

/// Certificate types (RFC 4398 section 2.1).
pub(super) const CERTIFICATES: &[(u16, &str)] = &[
    (1, "PKIX"),
    (2, "SPKI"),
    (3, "PGP"),
    (4, "IPKIX"),
    (5, "ISPKI"),
    (6, "IPGP"),
    (7, "ACPKIX"),
    (8, "IACPKIX"),
    (253, "URI"),
    (254, "OID"),
];
