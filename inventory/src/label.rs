//! Labels: the parts of names between the dots.
//!
//! Hosts, zones, regions, products and roles are one label each, in the "preferred name syntax" of
//! RFC 1123 section 2.1: letters, digits and hyphens, no hyphen at either end, at most 63 octets.
//! Labels are kept in lower case, because DNS compares without case (RFC 4343).

use compact_str::CompactString;

/// Why a text is not a label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLabel {
    /// Nothing between the dots.
    #[error("it is empty")]
    Empty,
    /// More than 63 octets (RFC 1035 section 2.3.4).
    #[error("it has {0} octets, a DNS label holds 63")]
    TooLong(usize),
    /// A character that is no letter, digit or hyphen.
    #[error("it holds {0:?}; a label is made of letters, digits and hyphens")]
    Character(char),
    /// A hyphen at the start or the end.
    #[error("it starts or ends with a hyphen")]
    Hyphen,
}

/// Reads a label and returns it in lower case.
pub fn label(text: &str) -> Result<CompactString, BadLabel> {
    if text.is_empty() {
        return Err(BadLabel::Empty);
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
        return Err(BadLabel::Character(c));
    }
    if text.len() > 63 {
        return Err(BadLabel::TooLong(text.len()));
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(BadLabel::Hyphen);
    }
    let mut out = CompactString::new(text);
    out.make_ascii_lowercase();
    Ok(out)
}

/// The region of an availability zone: the zone without its trailing letter
/// (`us-east-1b` lies in `us-east-1`); a zone that ends in no letter is its own region.
pub fn region_of_zone(zone: &str) -> &str {
    match zone.as_bytes() {
        [.., digit, letter] if digit.is_ascii_digit() && letter.is_ascii_alphabetic() => &zone[..zone.len() - 1],
        _ => zone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_checked_and_lowered() {
        assert_eq!(label("Dev-MySQL01").unwrap(), "dev-mysql01");
        assert_eq!(label(""), Err(BadLabel::Empty));
        assert_eq!(label("-a"), Err(BadLabel::Hyphen));
        assert_eq!(label("a_b"), Err(BadLabel::Character('_')));
        assert_eq!(label("a.b"), Err(BadLabel::Character('.')));
        assert_eq!(label(&"x".repeat(64)), Err(BadLabel::TooLong(64)));
    }

    #[test]
    fn region_is_the_zone_without_its_letter() {
        assert_eq!(region_of_zone("us-east-1b"), "us-east-1");
        assert_eq!(region_of_zone("us-east-1"), "us-east-1");
        assert_eq!(region_of_zone("fra"), "fra");
    }
}
