//! Matching rules (RFC 4517 section 4.2): when two values are equal, and which comes first.
//!
//! A value is compared in its normalised form. Text is prepared as in RFC 4518, except that characters are not
//! recomposed (NFKC): case folded to lower, every run of white space one space, none at the ends. Nothing here
//! allocates for values of up to [`SCRATCH_OCTETS`] octets, and values that are normal already are not copied.

use std::{cmp::Ordering, str};

use inventory::entry::EntryId;
use jiff::{SignedDuration, civil::DateTime};
use smallvec::SmallVec;

use crate::dn;

/// Octets of a normalised value that need no allocation.
const SCRATCH_OCTETS: usize = 256;

/// Room in which a value is normalised.
pub(crate) type Scratch = SmallVec<[u8; SCRATCH_OCTETS]>;

/// How the values of an attribute are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    /// caseIgnoreMatch and caseIgnoreIA5Match.
    CaseIgnore,
    /// caseExactMatch and caseExactIA5Match.
    CaseExact,
    /// octetStringMatch.
    Octets,
    /// integerMatch; values that do not fit 128 bits match nothing.
    Integer,
    /// generalizedTimeMatch, in UTC.
    Time,
    /// distinguishedNameMatch, and uniqueMemberMatch without the unique identifier.
    Dn,
    /// booleanMatch.
    Boolean,
    /// UUIDMatch (RFC 4530).
    Uuid,
    /// telephoneNumberMatch: spaces and hyphens do not count.
    Telephone,
    /// Never matches: passwords and keys.
    Secret,
}

/// Which ends of a piece of text are ends of the value: there white space does not count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) start: bool,
    pub(crate) end: bool,
}

const WHOLE: Ends = Ends { start: true, end: true };

impl Rule {
    /// The normalised form of a value; none if the value is not of the rule's syntax.
    pub(crate) fn normalise<'a>(self, value: &'a [u8], scratch: &'a mut Scratch) -> Option<&'a [u8]> {
        scratch.clear();
        match self {
            Self::Secret => return None,
            Self::Octets => return Some(value),
            Self::CaseExact if is_plain(value) => return Some(value),
            Self::CaseIgnore if is_plain(value) => {
                if !value.iter().any(u8::is_ascii_uppercase) {
                    return Some(value);
                }
                scratch.extend_from_slice(value);
                scratch.make_ascii_lowercase();
            }
            Self::CaseIgnore | Self::CaseExact => fold(value, self == Self::CaseIgnore, WHOLE, scratch),
            Self::Telephone => {
                fold(value, true, WHOLE, scratch);
                scratch.retain(|byte| !matches!(byte, b' ' | b'-'));
            }
            Self::Integer => scratch.extend_from_slice(integer(value)?.to_string().as_bytes()),
            Self::Time => time(value, scratch)?,
            Self::Dn => dn::normalise(without_uid(str::from_utf8(value).ok()?), scratch).ok()?,
            Self::Boolean => match value.to_ascii_uppercase().as_slice() {
                b"TRUE" => scratch.extend_from_slice(b"TRUE"),
                b"FALSE" => scratch.extend_from_slice(b"FALSE"),
                _ => return None,
            },
            Self::Uuid => scratch.extend_from_slice(&str::from_utf8(value).ok()?.parse::<EntryId>().ok()?.0),
        }
        Some(scratch)
    }

    /// Whether a value is spelled like a normalised one, case aside where it does not count. It then equals it; if it is
    /// spelled otherwise it may all the same.
    pub(crate) fn is_spelled(self, value: &[u8], normal: &[u8]) -> bool {
        match self {
            Self::Octets | Self::CaseExact => value == normal,
            Self::CaseIgnore | Self::Dn => value.eq_ignore_ascii_case(normal),
            _ => false,
        }
    }

    /// Whether a value that is spelled otherwise than a normalised one surely differs from it.
    fn differs_at_sight(self, value: &[u8], normal: &[u8]) -> bool {
        match self {
            Self::Octets => true,
            Self::CaseExact | Self::CaseIgnore => is_plain(value),
            // Most members of a group differ in their first value already.
            Self::Dn => match (first_value(value), first_value(normal)) {
                (Some(one), Some(other)) => !one.eq_ignore_ascii_case(other),
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether a value equals a normalised one.
    pub(crate) fn equals(self, value: &[u8], normal: &[u8], scratch: &mut Scratch) -> bool {
        self.is_spelled(value, normal)
            || (!self.differs_at_sight(value, normal) && self.normalise(value, scratch).is_some_and(|v| v == normal))
    }

    /// How a value stands to a normalised one: integers as numbers, all else by the octets of the normalised forms.
    pub(crate) fn order(self, value: &[u8], normal: &[u8], scratch: &mut Scratch) -> Option<Ordering> {
        if self == Self::Integer {
            return Some(integer(value)?.cmp(&integer(normal)?));
        }
        self.normalise(value, scratch).map(|value| value.cmp(normal))
    }

    /// Whether pieces of a value may be asked for.
    pub(crate) fn has_substrings(self) -> bool {
        matches!(self, Self::CaseIgnore | Self::CaseExact | Self::Octets | Self::Telephone)
    }

    /// A piece of a value, prepared like the value that it is looked for in (RFC 4518 section 2.6.1).
    pub(crate) fn piece(self, text: &str, ends: Ends) -> String {
        if self == Self::Octets {
            return text.to_owned();
        }
        let mut scratch = Scratch::new();
        fold(text.as_bytes(), self != Self::CaseExact, ends, &mut scratch);
        if self == Self::Telephone {
            scratch.retain(|byte| !matches!(byte, b' ' | b'-'));
        }
        String::from_utf8_lossy(&scratch).into_owned()
    }
}

/// An integer of up to 128 bits.
pub(crate) fn integer(value: &[u8]) -> Option<i128> {
    str::from_utf8(value).ok()?.parse().ok()
}

/// Whether text is ASCII with single spaces inside: its normalised form differs at most in case.
pub(crate) fn is_plain(value: &[u8]) -> bool {
    let mut before = b' ';
    for &byte in value {
        if !(b' '..0x7f).contains(&byte) || (byte == b' ' && before == b' ') {
            return false;
        }
        before = byte;
    }
    before != b' ' || value.is_empty()
}

/// Appends text with its white space squeezed and, if asked, its case folded. Octets that are no UTF-8 stay as they are.
pub(crate) fn fold(value: &[u8], ignore_case: bool, ends: Ends, out: &mut Scratch) {
    let Ok(text) = str::from_utf8(value) else { return out.extend_from_slice(value) };
    let begin = out.len();
    let mut space = false;
    let mut buffer = [0; 4];
    for c in text.chars() {
        if c.is_whitespace() {
            space = true;
            continue;
        }
        if space && !(ends.start && out.len() == begin) {
            out.push(b' ');
        }
        space = false;
        if ignore_case {
            c.to_lowercase().for_each(|c| out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes()));
        } else {
            out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
        }
    }
    if space && !ends.end && !(ends.start && out.len() == begin) {
        out.push(b' ');
    }
}

/// The value of a DN's first attribute if it is plain text that nothing follows but the next RDN.
fn first_value(name: &[u8]) -> Option<&[u8]> {
    let begin = name.iter().position(|byte| *byte == b'=')?;
    let rest = name.get(begin + 1..)?;
    let end = rest.iter().position(|byte| *byte == b',')?;
    let value = rest.get(..end)?.trim_ascii();
    let is_special = |byte: &u8| matches!(byte, b'\\' | b'"' | b'#' | b'+' | b';' | b'<' | b'=' | b'>');
    (is_plain(value) && !value.iter().any(is_special)).then_some(value)
}

/// nameAndOptionalUID (RFC 4517 section 3.3.21) without the `#'0101'B`.
fn without_uid(text: &str) -> &str {
    let bits = text.strip_suffix("'B").and_then(|text| text.rsplit_once("#'"));
    match bits {
        Some((name, bits)) if bits.bytes().all(|byte| matches!(byte, b'0' | b'1')) => name,
        _ => text,
    }
}

/// generalizedTime (RFC 4517 section 3.3.13) as `YYYYMMDDHHMMSS` in UTC, with a fraction of a second if it has one.
fn time(value: &[u8], out: &mut Scratch) -> Option<()> {
    let text = str::from_utf8(value).ok()?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (stamp, rest) = text.split_at_checked(digits)?;
    if !matches!(digits, 10 | 12 | 14) {
        return None;
    }
    let (fraction, zone) = match rest.strip_prefix(['.', ',']) {
        Some(rest) if digits == 14 => {
            let end = rest.bytes().take_while(u8::is_ascii_digit).count();
            rest.split_at_checked(end).filter(|(fraction, _)| !fraction.is_empty())?
        }
        Some(_) => return None,
        None => ("", rest),
    };
    out.extend_from_slice(stamp.as_bytes());
    out.extend(std::iter::repeat_n(b'0', 14 - digits));
    if zone != "Z" {
        let utc = in_utc(str::from_utf8(out).ok()?, zone)?;
        out.clear();
        out.extend_from_slice(utc.as_bytes());
    }
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
    Some(())
}

/// A time of 14 digits at `+hhmm`, `+hh` or the same with a minus, in UTC.
fn in_utc(stamp: &str, zone: &str) -> Option<String> {
    let (sign, offset) = match zone.split_at_checked(1)? {
        ("+", offset) => (-1, offset),
        ("-", offset) => (1, offset),
        _ => return None,
    };
    if !matches!(offset.len(), 2 | 4) || !offset.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |text: &str| text.parse::<i64>().ok();
    let hours = number(offset.get(..2)?)?;
    let minutes = offset.get(2..).filter(|minutes| !minutes.is_empty()).map_or(Some(0), number)?;
    let local = DateTime::strptime("%Y%m%d%H%M%S", stamp).ok()?;
    let utc = local.checked_add(SignedDuration::from_mins(sign * (hours * 60 + minutes))).ok()?;
    Some(utc.strftime("%Y%m%d%H%M%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(rule: Rule, value: &str) -> Option<String> {
        let mut scratch = Scratch::new();
        rule.normalise(value.as_bytes(), &mut scratch).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    #[test]
    fn white_space_is_squeezed_and_case_folded() {
        for (value, expected) in
            [("Ada", "ada"), ("  Ada \t Lovelace ", "ada lovelace"), ("ÉCOLE\u{a0}X", "école x"), ("", ""), (" ", "")]
        {
            assert_eq!(normal(Rule::CaseIgnore, value).as_deref(), Some(expected), "{value:?}");
        }
        assert_eq!(normal(Rule::CaseExact, " /Home  x ").as_deref(), Some("/Home x"));
        assert_eq!(normal(Rule::Octets, " A ").as_deref(), Some(" A "));
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        assert_eq!(normal(Rule::Integer, "007").as_deref(), Some("7"));
        assert_eq!(normal(Rule::Integer, "7 apples"), None);
        assert_eq!(Rule::Integer.order(b"9", b"10", &mut Scratch::new()), Some(Ordering::Less));
        assert_eq!(Rule::Integer.order(&[b'9'; 60], b"10", &mut Scratch::new()), None);
    }

    #[test]
    fn times_are_compared_in_utc() {
        for (value, expected) in [
            ("20260102030405Z", Some("20260102030405")),
            ("2026010203Z", Some("20260102030000")),
            ("20260102030405.500Z", Some("20260102030405.5")),
            ("20260102003000+0100", Some("20260101233000")),
            ("20260101233000-01", Some("20260102003000")),
            ("000001010000Z", Some("00000101000000")),
            ("20260102030405", None),
            ("2026", None),
            ("20260102030405.Z", None),
            ("20260102030405+é0", None),
        ] {
            assert_eq!(normal(Rule::Time, value).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn names_of_members_may_carry_a_unique_identifier() {
        assert_eq!(normal(Rule::Dn, "UID=Ada, dc=x#'01'B").as_deref(), Some("uid=ada,dc=x"));
        assert_eq!(normal(Rule::Dn, "no name"), None);
    }

    #[test]
    fn a_glance_at_names_agrees_with_the_long_way() {
        let names = [
            "uid=a,dc=x",
            "UID = A , dc=x",
            "userid=a,dc=x",
            "uid=b,dc=x",
            "uid=a+cn=b,dc=x",
            "cn=b+uid=a,dc=x",
            "uid=\\61,dc=x",
            "uid=\"a\",dc=x",
            "uid=#040161,dc=x",
            "uid=a",
            "uid=a,dc=y",
            "cn=a,dc=x",
            "uid=a  b,dc=x",
            "uid=a b,dc=x",
            "uid=é,dc=x",
            "uid=É,dc=x",
            "uid=a,dc=x#'01'B",
            "no name",
            "",
        ];
        for value in names {
            for other in names {
                let (mut one, mut two) = (Scratch::new(), Scratch::new());
                let Some(wanted) = Rule::Dn.normalise(other.as_bytes(), &mut one) else { continue };
                let long = Rule::Dn.normalise(value.as_bytes(), &mut two) == Some(wanted);
                assert_eq!(Rule::Dn.equals(value.as_bytes(), wanted, &mut Scratch::new()), long, "{value} {other}");
            }
        }
    }

    #[test]
    fn a_glance_agrees_with_the_long_way() {
        for rule in [Rule::CaseIgnore, Rule::CaseExact, Rule::Octets, Rule::Telephone, Rule::Boolean] {
            for value in ["a", "A", " a", "a  b", "A b", "é", "É", "", "TRUE", "true", "1-2"] {
                for other in ["a", "A", "a b", "é", "", "true", "12"] {
                    let (mut one, mut two) = (Scratch::new(), Scratch::new());
                    let Some(wanted) = rule.normalise(other.as_bytes(), &mut one) else { continue };
                    let long = rule.normalise(value.as_bytes(), &mut two) == Some(wanted);
                    assert_eq!(
                        rule.equals(value.as_bytes(), wanted, &mut Scratch::new()),
                        long,
                        "{rule:?} {value:?} {other:?}"
                    );
                }
            }
        }
    }
}
