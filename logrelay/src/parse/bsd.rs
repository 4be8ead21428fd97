//! RFC 3164: `TIMESTAMP HOSTNAME TAG[PID]: CONTENT`, after the PRI, and what is close to it.
//!
//! Any form of stamp is read (see `stamp`). Host and tag may be missing:
//!
//! - A first word that ends in a colon or in `[pid]` is the tag, and there is no host. Before Cisco's mnemonic it is the host.
//! - Otherwise it is the host, and the second word is the tag only if a colon or `[pid]` ends it. Else there is no tag.
//! - A host that stands twice before a tag (a relay added it once more) is read once.
//! - With the profile `devlog` there is no host at all: syslog(3) writes none.

use super::{Hints, Parsed, after_blank, cisco, stamp, trim_blanks, unless_nil};
use crate::{config::Profile, message::Status};

/// Octets of a tag at most.
const TAG_MAX: usize = 256;
/// Octets of what stands in brackets after it, at most.
const PID_MAX: usize = 128;

/// Reads a line after its PRI; none if there is no stamp.
#[inline]
pub(super) fn read<'a>(text: &'a [u8], hints: &Hints) -> Option<Parsed<'a>> {
    let read = stamp::any(text)?;
    let stamp = read.wall.stamp(hints);
    Some(Parsed { stamp, ..after_stamp(read.rest, read.colon || hints.profile == Profile::Devlog) })
}

/// A tag without a stamp before it: `<34>su: 'su root' failed`. Without a PRI only one with a PID is believed.
pub(super) fn tag_only(text: &[u8], has_pri: bool) -> Option<Parsed<'_>> {
    let tag =
        tag(text, false).filter(|tag| has_pri || tag.pid.is_some_and(|pid| pid.iter().all(u8::is_ascii_digit)))?;
    Some(tagged(b"", tag))
}

/// Host, tag and content.
#[inline]
pub(super) fn after_stamp(text: &[u8], no_host: bool) -> Parsed<'_> {
    if no_host {
        return tag_or_content(b"", text);
    }
    let length = text.iter().position(|&octet| !is_in(octet, HOST)).unwrap_or(text.len());
    let Some((word, rest)) = text.split_at_checked(length) else { return content(b"", text) };
    let ends = matches!(rest.first(), None | Some(b' ' | b'\t'));
    if !ends || word.is_empty() || word.ends_with(b":") || word.contains(&b'[') {
        // Rare: the first word is a tag, or no host either.
        if let Some(tag) = tag(text, false) {
            return match tag.pid {
                None if cisco::mnemonic(trim_blanks(tag.rest)).is_some() => {
                    tag_or_content(tag.program, trim_blanks(tag.rest))
                }
                _ => tagged(b"", tag),
            };
        }
        if !ends || word.is_empty() || word == b":" {
            return content(b"", if ends { trim_blanks(rest) } else { text });
        }
    }
    match word.first() {
        Some(b'l' | b'M' | b'-') => without_host(text).unwrap_or_else(|| tag_or_content(unless_nil(word), rest)),
        _ => tag_or_content(word, rest),
    }
}

/// What daemons say in their own name, where a host would stand.
fn without_host(text: &[u8]) -> Option<Parsed<'_>> {
    if text.starts_with(b"last message repeated ") || text.starts_with(b"-- MARK --") {
        return Some(content(b"", text));
    }
    // AIX: what it relays.
    let text = text.strip_prefix(b"Message forwarded from ")?;
    let colon = text.iter().position(|&octet| octet == b':').filter(|&colon| colon > 0)?;
    let (host, rest) = (text.get(..colon)?, text.get(colon + 1..)?);
    host.iter().all(|&octet| is_in(octet, HOST)).then(|| tag_or_content(host, rest))
}

/// What follows the host.
#[inline]
fn tag_or_content<'a>(host: &'a [u8], text: &'a [u8]) -> Parsed<'a> {
    let mut text = trim_blanks(text);
    // `host : %ASA-6-302013: ...` of ASA.
    if let [b':', b' ', rest @ ..] = text {
        text = trim_blanks(rest);
    }
    if let Some(tag) = tag(text, true) {
        return tagged(host, tag);
    }
    match second_host(host, text).and_then(|rest| tag(rest, true)) {
        Some(tag) => tagged(host, tag),
        None => content(host, text),
    }
}

/// What follows the host's second mention, be it with or without its domain.
fn second_host<'a>(host: &[u8], text: &'a [u8]) -> Option<&'a [u8]> {
    let length = text.iter().position(|&octet| octet == b' ').filter(|_| !host.is_empty())?;
    let (word, rest) = text.split_at_checked(length)?;
    let common = host.len().min(word.len());
    let same = host.get(..common)?.eq_ignore_ascii_case(word.get(..common)?);
    let domain = |name: &[u8]| name.len() == common || name.get(common) == Some(&b'.');
    (same && domain(host) && domain(word)).then(|| trim_blanks(rest))
}

fn content<'a>(host: &'a [u8], message: &'a [u8]) -> Parsed<'a> {
    Parsed { host, ..Parsed::new(Status::Rfc3164, None, message) }
}

#[inline]
fn tagged<'a>(host: &'a [u8], tag: Tag<'a>) -> Parsed<'a> {
    Parsed { program: tag.program, pid: tag.pid.unwrap_or_default(), ..content(host, after_blank(tag.rest)) }
}

/// A tag.
struct Tag<'a> {
    program: &'a [u8],
    pid: Option<&'a [u8]>,
    /// What follows its colon, or the bracket if there was no colon.
    rest: &'a [u8],
}

/// Reads a tag: a name with a letter in it, then `:` and a blank or the end, or `[pid]:`, or `[number]` and a blank.
/// With `glued` also a plain name and a colon to which the content is glued: `app:text`, but not `http://` or `a:1`.
#[inline]
fn tag(text: &[u8], glued: bool) -> Option<Tag<'_>> {
    let head = text.get(..TAG_MAX).unwrap_or(text);
    let (mut at, mut seen, mut all, mut glue) = (0, 0, PLAIN, None);
    loop {
        while let Some(&octet) = head.get(at)
            && class(octet) & NAME != 0
        {
            seen |= class(octet);
            all &= class(octet);
            at += 1;
        }
        match head.get(at) {
            Some(b':') if seen & LETTER != 0 && matches!(text.get(at + 1), None | Some(b' ' | b'\t')) => {
                return Some(Tag { program: text.get(..at)?, pid: None, rest: text.get(at + 1..)? });
            }
            Some(b':') => {
                if all & PLAIN != 0 && text.first()?.is_ascii_alphabetic() && is_glued(text.get(at + 1)) {
                    glue = Some(at);
                }
            }
            Some(b'[') => {
                if seen & LETTER != 0
                    && let Some((pid, rest)) = bracketed(text.get(at + 1..)?)
                {
                    return Some(Tag { program: text.get(..at)?, pid: Some(pid), rest });
                }
            }
            _ => break,
        }
        // What comes after the first colon or bracket is no plain name any more.
        all = 0;
        at += 1;
    }
    let glue = glue.filter(|_| glued)?;
    Some(Tag { program: text.get(..glue)?, pid: None, rest: text.get(glue + 1..)? })
}

/// `pid]:`, or `number]` before a blank or the end; what follows.
#[inline]
fn bracketed(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().take(PID_MAX).position(|octet| matches!(octet, b']' | b' '))?;
    let (pid, rest) = text.split_at_checked(end)?;
    match rest {
        [b']', b':', rest @ ..] => Some((pid, rest)),
        [b']'] | [b']', b' ', ..] if !pid.is_empty() && pid.iter().all(u8::is_ascii_digit) => {
            Some((pid, rest.get(1..)?))
        }
        _ => None,
    }
}

/// Whether content may follow a colon at once: not where the colon is part of a URL, a path, an address or a time.
fn is_glued(next: Option<&u8>) -> bool {
    next.is_some_and(|next| !matches!(next, b'/' | b'\\' | b':' | b'=' | b'0'..=b'9'))
}

/// May stand in a host name, or in an address; syslog-ng's chains (`a/b`, `a@b`) too.
pub(super) const HOST: u8 = 1;
/// May stand in a tag, where colons and opening brackets may too.
const NAME: u8 = 2;
/// A letter, or an octet that may be part of one.
const LETTER: u8 = 4;
/// May stand in a tag to which the content is glued.
const PLAIN: u8 = 8;

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        classes[octet] = match octet as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => HOST | NAME | LETTER | PLAIN,
            0x80.. => HOST | NAME | LETTER,
            b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => HOST | NAME | PLAIN,
            b':' | b'[' => HOST,
            b']' | b'%' | b'@' | b'~' => HOST | NAME,
            b'(' | b')' | b'+' | b'#' | b'$' | b'*' | b'!' | b'&' | b'\\' => NAME,
            _ => 0,
        };
        octet += 1;
    }
    classes
};

#[inline]
fn class(octet: u8) -> u8 {
    CLASSES[usize::from(octet)]
}

#[inline]
pub(super) fn is_in(octet: u8, class_wanted: u8) -> bool {
    class(octet) & class_wanted != 0
}
