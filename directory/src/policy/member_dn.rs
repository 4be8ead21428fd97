//! The one form in which two spellings of a DN are the same text (RFC 4514): types and values in lower case, no spaces
//! around separators, escaped characters without their escapes where they need none.

use compact_str::CompactString;

/// Folds a DN. Linear in the text; whatever is no DN comes out as some text that is equal for equal texts.
pub(super) fn folded_dn(text: &str) -> CompactString {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let mut bytes = text.trim().bytes().peekable();
    // Up to here the output must stay when trailing spaces are removed, because an escaped one ends there.
    let mut fixed = 0;
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                let Some(next) = bytes.next() else { break };
                let pair = [Some(next), bytes.peek().copied()].map(|byte| byte.and_then(hex));
                let octet = match pair {
                    [Some(high), Some(low)] => {
                        bytes.next();
                        high << 4 | low
                    }
                    _ => next,
                };
                if matches!(octet, b',' | b'+' | b'=' | b';' | b'\\' | b' ') {
                    out.push(b'\\');
                }
                out.push(octet.to_ascii_lowercase());
                fixed = out.len();
            }
            b',' | b';' | b'+' | b'=' => {
                while out.len() > fixed && out.last() == Some(&b' ') {
                    out.pop();
                }
                out.push(if byte == b';' { b',' } else { byte });
                while bytes.next_if_eq(&b' ').is_some() {}
                fixed = out.len();
            }
            _ => out.push(byte.to_ascii_lowercase()),
        }
    }
    let folded = CompactString::from_utf8_lossy(&out);
    if folded.is_ascii() { folded } else { folded.to_lowercase() }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_dn_are_one_text() {
        for (a, b) in [
            ("UID=Ada , OU=People;dc=acme", "uid=ada,ou=people,dc=acme"),
            (r"cn=Lovelace\, Ada,dc=acme", r"CN=lovelace\2C ada, dc=acme"),
            (r"cn=\41da,dc=x", "cn=ada,dc=x"),
            (r"cn=\C3\84rzte,dc=x", "cn=ärzte,dc=x"),
            (r"cn=a+uid=b,dc=x", "cn=a + uid = b , dc=x"),
        ] {
            assert_eq!(folded_dn(a), folded_dn(b), "{a}");
        }
        for (a, b) in [("cn=a,dc=x", "cn=a,dc=y"), (r"cn=a\,b,dc=x", "cn=a,b,dc=x"), (r"cn=a\ ,dc=x", "cn=a,dc=x")] {
            assert_ne!(folded_dn(a), folded_dn(b), "{a}");
        }
        assert_eq!(folded_dn("\\"), "");
    }
}
