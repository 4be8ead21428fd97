//! Cisco: IOS, IOS-XR, NX-OS, ASA.
//!
//! After the PRI, in many orders and all but the last optional: a sequence number and a colon, a host, `*` (clock not set)
//! or `.` (not synchronised) and a stamp, the word of a zone, an uptime, another sequence number, a second header that
//! a relay put before all this; then the mnemonic `%FACILITY-SEVERITY-NAME:` and the text. So pieces are taken one by
//! one until the mnemonic comes. Without a mnemonic a line is still Cisco's if a stamp has a mark or a sequence number
//! before it.
//!
//! The program is the mnemonic with its percent sign, see [`Parsed::program`]. Limits: [`PIECES`] pieces.

use super::{Hints, Parsed, Stamp, after_blank, bsd, stamp, trim_blanks, zone};
use crate::message::Status;

/// Pieces before the mnemonic, at most.
const PIECES: usize = 12;
/// Octets of a mnemonic, at most.
const MNEMONIC_MAX: usize = 96;

/// What was found before the mnemonic.
#[derive(Default, Clone, Copy)]
struct Found<'a> {
    host: &'a [u8],
    pid: &'a [u8],
    stamp: Option<Stamp>,
    /// Whether there was a sequence number, or a mark before the stamp.
    marked: bool,
}

/// Reads a line after its PRI; none if it is not in Cisco's manner.
pub(super) fn read<'a>(text: &'a [u8], hints: &Hints) -> Option<Parsed<'a>> {
    let (mut rest, mut found, mut stamped) = (text, Found::default(), None);
    for _ in 0..PIECES {
        while let [b' ' | b':', after @ ..] = rest {
            rest = after;
        }
        if let Some((mnemonic, message)) = mnemonic(rest) {
            return Some(Parsed { program: mnemonic, ..parsed(&found, message) });
        }
        let (mark, unmarked) = match rest {
            [mark @ (b'*' | b'.'), after @ ..] => (*mark, after),
            _ => (b' ', rest),
        };
        if let Some(read) = stamp::any(unmarked) {
            let mut wall = read.wall;
            rest = zone_word(&mut wall.zone, read.rest, read.colon);
            // A clock that was never set says less than the relay whose stamp came before.
            if found.stamp.is_none() || mark != b'*' {
                found.stamp = wall.stamp(hints).or(found.stamp);
            }
            found.marked |= mark != b' ';
            stamped = Some((found, rest));
        } else if mark != b' ' {
            break;
        } else {
            let Some(after) = word(rest, &mut found) else { break };
            rest = after;
        }
    }
    let (found, rest) = stamped.filter(|(found, _)| found.marked)?;
    Some(parsed(&found, rest.strip_prefix(b":").map_or(rest, trim_blanks)))
}

fn parsed<'a>(found: &Found<'a>, message: &'a [u8]) -> Parsed<'a> {
    Parsed { host: found.host, pid: found.pid, ..Parsed::new(Status::Vendor, found.stamp, message) }
}

/// `%FACILITY-SEVERITY-NAME` with its percent sign, and what follows its colon.
pub(super) fn mnemonic(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = text.strip_prefix(b"%")?;
    let is_part = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-' | b'/' | b'.' | b'$');
    let length = inside.iter().take(MNEMONIC_MAX).position(|octet| !is_part(octet))?;
    inside.get(..length)?.windows(3).find(|part| matches!(part, [b'-', b'0'..=b'7', b'-']))?;
    let (mnemonic, rest) = text.split_at_checked(length + 1)?;
    // IOS-XR writes a blank before the colon.
    let rest = trim_blanks(rest).strip_prefix(b":")?;
    Some((mnemonic, after_blank(rest)))
}

/// The word of a zone after a stamp, if it is a known one.
fn zone_word<'a>(found: &mut Option<i16>, text: &'a [u8], colon: bool) -> &'a [u8] {
    let length = text.iter().take(6).position(|octet| !octet.is_ascii_uppercase()).unwrap_or(text.len());
    let Some((word, rest)) = text.split_at_checked(length).filter(|_| !colon && found.is_none()) else { return text };
    match zone::word(word) {
        Some(offset) if matches!(rest.first(), None | Some(b' ' | b':')) => {
            *found = Some(offset);
            rest
        }
        _ => text,
    }
}

/// A word that is no stamp: a sequence number, an uptime, a process of IOS-XR, or the host; what follows. None if it can
/// be none of them.
fn word<'a>(text: &'a [u8], found: &mut Found<'a>) -> Option<&'a [u8]> {
    let length = text.iter().position(|&octet| octet == b' ')?;
    let word = text.get(..length)?;
    // IOS-XR glues the stamp to its node: `RP/0/RSP0/CPU0:Mar  1 18:46:11.123`.
    let glued = match word {
        [node @ .., b':', a, b, c] if stamp::month([*a, *b, *c]).is_some() => Some(node),
        _ => None,
    };
    let word = glued.unwrap_or(word);
    let rest = text.get(word.len()..)?;
    let colon = glued.is_some() || word.ends_with(b":");
    let word = word.strip_suffix(b":").unwrap_or(word);
    if word.iter().all(u8::is_ascii_digit) {
        found.marked = true;
    } else if let [.., b']'] = word
        && let Some(at) = word.iter().position(|&octet| octet == b'[').filter(|&at| at > 0)
    {
        found.pid = word.get(at + 1..word.len() - 1)?;
    } else if !is_uptime(word) {
        // Words without a colon, but for one host, are text.
        if !word.iter().all(|&octet| bsd::is_in(octet, bsd::HOST)) || (!colon && !found.host.is_empty()) {
            return None;
        }
        if found.host.is_empty() && glued.is_none() {
            found.host = word;
        }
    }
    Some(rest)
}

/// `1w2d`, `00:01:23`, `00:01:23.456`; `10.1.1.1` is none.
fn is_uptime(word: &[u8]) -> bool {
    let known = |octet: &u8| matches!(octet, b'0'..=b'9' | b'y' | b'w' | b'd' | b'h' | b'm' | b's' | b':' | b'.');
    word.first().is_some_and(u8::is_ascii_digit)
        && word.iter().all(known)
        && (word.contains(&b':') || !word.contains(&b'.'))
}
