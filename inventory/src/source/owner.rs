//! Owner names and type mnemonics of static records.

use compact_str::CompactString;

/// Most octets of a name without its trailing dot (RFC 1035 section 3.1: 255 on the wire).
const NAME_OCTETS_MAX: usize = 253;
/// Most octets of a mnemonic; the longest that IANA lists has 10.
const MNEMONIC_OCTETS_MAX: usize = 16;
/// Types of questions and of messages, which no zone can hold (RFC 6895 section 3.1).
const NO_DATA: &[&str] = &["ANY", "AXFR", "IXFR", "MAILA", "MAILB", "OPT", "TKEY", "TSIG"];

/// Reads an owner name: in lower case, without the trailing dot. The error continues a sentence that begins with it.
///
/// Labels hold letters, digits, hyphens, underscores (RFC 8552) and slashes (RFC 2317); the first may be
/// `*` (RFC 4592).
pub(crate) fn owner(text: &str) -> Result<CompactString, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err("is no owner name; write it in full, as in www.acme.private".into());
    }
    if name.len() > NAME_OCTETS_MAX {
        return Err(format!("is no owner name: it has {} octets, a name holds {NAME_OCTETS_MAX}", name.len()));
    }
    for (at, label) in name.split('.').enumerate() {
        if label.is_empty() {
            return Err("is no owner name: nothing stands between two dots".into());
        }
        if label.len() > 63 {
            return Err(format!("is no owner name: a label has {} octets, it holds 63", label.len()));
        }
        if at == 0 && label == "*" {
            continue;
        }
        if let Some(c) = label.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '/')) {
            let star = if c == '*' { "; a wildcard is a whole first label, as in *.acme.private" } else { "" };
            return Err(format!("is no owner name: it holds {c:?}{star}"));
        }
    }
    let mut out = CompactString::new(name);
    out.make_ascii_lowercase();
    Ok(out)
}

/// Reads a type: `MX`, or `TYPE65280` (RFC 3597 section 5); in upper case.
pub(crate) fn mnemonic(text: &str) -> Result<CompactString, &'static str> {
    let mut out = CompactString::new(text);
    out.make_ascii_uppercase();
    let shaped = out.starts_with(|c: char| c.is_ascii_uppercase())
        && out.len() <= MNEMONIC_OCTETS_MAX
        && out.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if !shaped {
        return Err("is no record type; write a mnemonic as in A, MX or TYPE65280");
    }
    if NO_DATA.contains(&&*out) {
        return Err("is a type of questions or messages, no zone holds it; write the type of the data");
    }
    match out.strip_prefix("TYPE") {
        Some(number) if number.parse::<u16>().is_err() => {
            Err("is no record type; after TYPE comes a number up to 65535")
        }
        _ => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_folded_and_checked() {
        for (text, name) in [
            ("WWW.Acme.Private.", "www.acme.private"),
            ("*.acme.private", "*.acme.private"),
            ("_mysql._tcp.acme.private", "_mysql._tcp.acme.private"),
            ("0/25.2.0.192.in-addr.arpa", "0/25.2.0.192.in-addr.arpa"),
        ] {
            assert_eq!(owner(text).as_deref(), Ok(name));
        }
        let (label, name) = ("x".repeat(64), format!("a.{}", "b.".repeat(126)));
        for bad in ["", ".", "a..b", ".a", "a.*", "a*.b", "a b", "ä.b", &label, &name] {
            assert_eq!(owner(bad).is_err(), bad != name, "{bad}");
        }
        assert!(owner(&format!("aa.{}", "b.".repeat(126))).is_err());
    }

    #[test]
    fn types_are_mnemonics_or_numbers() {
        assert_eq!(mnemonic("mx").as_deref(), Ok("MX"));
        assert_eq!(mnemonic("type65280").as_deref(), Ok("TYPE65280"));
        for bad in ["", "TYPE", "TYPE65536", "any", "7A", "M X", "AAAAAAAAAAAAAAAAA"] {
            assert!(mnemonic(bad).is_err(), "{bad}");
        }
    }
}
