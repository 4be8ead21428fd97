//! RFC 5424: `VERSION TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG`, after the PRI.
//!
//! More lenient than the RFC where no doubt is possible: fields may be longer than it allows and hold any octet but a
//! blank, blanks may stand before the end of an element, versions other than 1 are read alike. Where the structured data
//! is malformed or missing, it is part of the message.

use super::{Hints, Parsed, after_blank, stamp, trim_blanks, unless_nil};
use crate::message::Status;

/// Byte order mark, which says that MSG is UTF-8 (RFC 5424 section 6.4).
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Reads a line after its PRI; none if this is no header of RFC 5424.
#[inline]
pub(super) fn read<'a>(text: &'a [u8], hints: &Hints, has_pri: bool) -> Option<Parsed<'a>> {
    let rest = version(text)?;
    let (stamp, rest, sure) = match rest {
        // Without a time it might be text that begins with a number: all else has to be there then.
        [b'-', b' ', rest @ ..] if has_pri => (None, rest, false),
        _ => {
            let read = stamp::iso(rest).filter(|read| !read.colon)?;
            (read.wall.stamp(hints), read.rest, true)
        }
    };
    let (host, rest) = field(rest)?;
    let (program, rest) = field(rest)?;
    let (pid, rest) = field(rest)?;
    let (msgid, rest) = field(rest).or_else(|| (sure && !rest.is_empty()).then_some((rest, b"")))?;
    let (sdata, message) = match structured(rest) {
        Some(read) => read,
        None if sure => (&b""[..], rest),
        None => return None,
    };
    Some(Parsed {
        host: unless_nil(host),
        program: unless_nil(program),
        pid: unless_nil(pid),
        msgid: unless_nil(msgid),
        sdata,
        ..Parsed::new(Status::Rfc5424, stamp, without_bom(message))
    })
}

/// A line of which another parser says that it has a header of RFC 5424: six fields, separated by any white space.
pub(super) fn lenient(text: &[u8], stamp: Option<super::Stamp>) -> Option<Parsed<'_>> {
    let mut rest = text;
    let mut fields = [&b""[..]; 6];
    for field in &mut fields {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        (*field, rest) = rest.split_at_checked(end)?;
    }
    let [_, _, host, program, pid, msgid] = fields.map(unless_nil);
    let rest = rest.trim_ascii_start();
    let (sdata, message) = structured(rest).unwrap_or((b"", rest));
    Some(Parsed { host, program, pid, msgid, sdata, ..Parsed::new(Status::Rfc5424, stamp, without_bom(message)) })
}

/// VERSION and the blank after it; what follows.
#[inline]
fn version(text: &[u8]) -> Option<&[u8]> {
    match text {
        [b'1', b' ', rest @ ..] => Some(rest),
        [b'1'..=b'9', b' ', rest @ ..]
        | [b'1'..=b'9', b'0'..=b'9', b' ', rest @ ..]
        | [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// Up to the next blank, at least one octet; and what follows the blank.
#[inline]
fn field(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|&octet| octet == b' ').filter(|&end| end > 0)?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

fn without_bom(message: &[u8]) -> &[u8] {
    message.strip_prefix(BOM).unwrap_or(message)
}

/// STRUCTURED-DATA, and MSG after it.
#[inline]
fn structured(text: &[u8]) -> Option<(&[u8], &[u8])> {
    match text {
        [b'-'] => return Some((b"", b"")),
        [b'-', b' ', rest @ ..] => return Some((b"", rest)),
        _ => {}
    }
    let mut rest = text;
    while let [b'[', inside @ ..] = rest {
        rest = element(inside)?;
    }
    let sdata = text.get(..text.len() - rest.len()).filter(|sdata| !sdata.is_empty())?;
    Some((sdata, after_blank(rest)))
}

/// SD-ELEMENT after its opening bracket; what follows its closing one.
fn element(text: &[u8]) -> Option<&[u8]> {
    let mut rest = name(text)?;
    loop {
        let blanks = rest.len();
        rest = trim_blanks(rest);
        match rest {
            [b']', after @ ..] => return Some(after),
            _ if rest.len() == blanks => return None,
            _ => rest = value(name(rest)?.strip_prefix(b"=\"")?)?,
        }
    }
}

/// SD-NAME, at least one octet; what follows.
#[inline]
fn name(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|octet| matches!(octet, b' ' | b'=' | b']' | b'"')).filter(|&end| end > 0)?;
    text.get(end..)
}

/// PARAM-VALUE after its opening quote; what follows its closing one. A backslash takes the next octet along.
#[inline]
fn value(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    loop {
        // Values are short: what finds octets in long texts takes longer to begin than this takes.
        let at = rest.iter().position(|octet| matches!(octet, b'"' | b'\\'))?;
        match rest.get(at..)? {
            [b'"', rest @ ..] => return Some(rest),
            [_, _, after @ ..] => rest = after,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(&str, &str)> {
        let utf8 = |octets| std::str::from_utf8(octets).unwrap();
        structured(text.as_bytes()).map(|(sdata, message)| (utf8(sdata), utf8(message)))
    }

    #[test]
    fn structured_data_ends_where_the_rfc_says() {
        for (sdata, rest, message) in [
            ("", "-", ""),
            ("", "- ", ""),
            ("", "-  x", " x"),
            (r#"[a]"#, " x", "x"),
            (r#"[a][b@1 c="d"]"#, " x", "x"),
            (r#"[a b=""]"#, " [c] x", "[c] x"),
            (r#"[a b="\"]" c="\\" d="C:\new"]"#, " x", "x"),
            (r#"[a b="]" ]"#, "", ""),
            (r#"[a b="1"]"#, "x", "x"),
        ] {
            assert_eq!(parts(&format!("{sdata}{rest}")), Some((sdata, message)), "{sdata}{rest}");
        }
        for malformed in [
            "",
            "x",
            "-x",
            "[",
            "[]",
            "[a",
            "[a b]",
            "[a b=c]",
            "[a b=\"c",
            "[a b=\"c\\",
            "[a =\"c\"]",
            "[a b=\"c\"d=\"e\"]",
            "[ a]",
        ] {
            assert_eq!(parts(malformed), None, "{malformed}");
        }
    }
}
