//! What the rules do to a message.

use super::{Action, DateCache, Env, FIELD_MAX, Field, Flags, MESSAGE_MAX, Matches, Message, Outcome, Settable, Subst};
use crate::filter::{facility_named, severity_named};
use crate::template::Template;

/// The greatest PRI: facility 23, severity 7 (RFC 5424 section 6.2.1).
const PRI_MAX: u8 = 191;

impl Action {
    pub(super) fn apply(
        &self,
        message: &Message<'_>,
        env: &Env<'_>,
        dates: &mut DateCache,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let mut made = |template: &Template| {
            let mut text = Vec::new();
            template.write(message, env, dates, &mut text);
            text
        };
        match self {
            Self::Set(target, template) => assign(message, &[(target, &made(template))], out),
            Self::Unset(target) => assign(message, &[(target, b"")], out),
            Self::Subst(subst) => match subst.apply(message, env, dates) {
                Some(text) => assign(message, &[(&subst.target, &text)], out),
                None => Outcome::Unchanged,
            },
            Self::Rename(from, to) => match from.of(message) {
                [] => Outcome::Unchanged,
                text => assign(message, &[(from, b""), (to, text)], out),
            },
            Self::SetTag(template) => set_tag(message, &made(template), out),
            Self::ClearTag(template) => clear_tag(message, &made(template), out),
            Self::Severity(template) => {
                let number = named(&made(template), severity_named);
                set_pri(message, number.map(|number| message.pri & !7 | number), out)
            }
            Self::Facility(template) => {
                let number = named(&made(template), facility_named);
                set_pri(message, number.map(|number| number << 3 | message.severity()), out)
            }
            Self::Pri(template) => set_pri(message, named(&made(template), pri), out),
        }
    }
}

/// The PRI that a text says.
pub(super) fn pri(text: &str) -> Option<u8> {
    text.parse().ok().filter(|pri| *pri <= PRI_MAX)
}

fn named(text: &[u8], read: fn(&str) -> Option<u8>) -> Option<u8> {
    read(str::from_utf8(text).ok()?.trim())
}

fn set_pri(message: &Message<'_>, pri: Option<u8>, out: &mut Vec<u8>) -> Outcome {
    match pri {
        None => Outcome::NoSuchName,
        Some(pri) if pri == message.pri => Outcome::Unchanged,
        Some(pri) => encode(Message { pri, ..*message }, false, out),
    }
}

/// Sets texts; an empty one takes a value away.
fn assign(message: &Message<'_>, changes: &[(&Settable, &[u8])], out: &mut Vec<u8>) -> Outcome {
    if changes.iter().all(|(target, text)| target.of(message) == *text) {
        return Outcome::Unchanged;
    }
    let (mut changed, mut cut, mut values) = (*message, false, None);
    for (target, text) in changes {
        let mut whole = |max: usize| {
            cut |= text.len() > max;
            &text[..text.len().min(max)]
        };
        match target {
            Settable::Message => changed.message = whole(MESSAGE_MAX),
            Settable::Field(field) => changed.set(*field, whole(FIELD_MAX)),
            Settable::Value(name) => {
                let list: &[u8] = values.as_deref().unwrap_or(message.field(Field::Values));
                let list = with_value(list, name, text);
                if list.len() > FIELD_MAX {
                    return Outcome::NoRoom;
                }
                values = Some(list);
            }
        }
    }
    if let Some(list) = &values {
        changed.set(Field::Values, list);
    }
    encode(changed, cut, out)
}

/// A list of values in which a name has this text.
fn with_value(list: &[u8], name: &str, text: &[u8]) -> Vec<u8> {
    let mut new = Vec::with_capacity(list.len() + name.len() + text.len() + 2);
    let is_it = |item: &[u8]| item.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
    for item in list.split(|octet| *octet == b'\n').filter(|item| !item.is_empty() && !is_it(item)) {
        new.extend_from_slice(item);
        new.push(b'\n');
    }
    if !text.is_empty() {
        new.extend_from_slice(name.as_bytes());
        new.push(b'=');
        one_line(text, &mut new);
        new.push(b'\n');
    }
    new
}

/// Appends an item of a list: its line ends become blanks.
fn one_line(text: &[u8], out: &mut Vec<u8>) {
    out.extend(text.iter().map(|octet| if *octet == b'\n' { b' ' } else { *octet }));
}

fn set_tag(message: &Message<'_>, tag: &[u8], out: &mut Vec<u8>) -> Outcome {
    let old = message.field(Field::Tags);
    let mut list = Vec::with_capacity(old.len() + tag.len() + 1);
    list.extend_from_slice(old);
    one_line(tag, &mut list);
    if tag.is_empty() || message.list(Field::Tags).any(|known| *known == list[old.len()..]) {
        return Outcome::Unchanged;
    }
    list.push(b'\n');
    if list.len() > FIELD_MAX {
        return Outcome::NoRoom;
    }
    let mut changed = *message;
    changed.set(Field::Tags, &list);
    encode(changed, false, out)
}

fn clear_tag(message: &Message<'_>, tag: &[u8], out: &mut Vec<u8>) -> Outcome {
    let mut line = Vec::with_capacity(tag.len());
    one_line(tag, &mut line);
    if !message.list(Field::Tags).any(|known| known == line) {
        return Outcome::Unchanged;
    }
    let mut list = Vec::with_capacity(message.field(Field::Tags).len());
    for known in message.list(Field::Tags).filter(|known| *known != line) {
        list.extend_from_slice(known);
        list.push(b'\n');
    }
    let mut changed = *message;
    changed.set(Field::Tags, &list);
    encode(changed, false, out)
}

fn encode(mut message: Message<'_>, cut: bool, out: &mut Vec<u8>) -> Outcome {
    message.flags = message.flags.with(Flags::REWRITTEN);
    match (message.encode(out), cut) {
        (true, false) => Outcome::Changed,
        (true, true) => Outcome::Cut,
        (false, _) => Outcome::NoRoom,
    }
}

impl Subst {
    /// The text after the substitution; `None` if the pattern is not found. It may be longer than allowed by one
    /// replacement.
    fn apply(&self, message: &Message<'_>, env: &Env<'_>, dates: &mut DateCache) -> Option<Vec<u8>> {
        let subject = self.target.of(message);
        let first = self.regex.find(subject)?;
        let mut groups = self.has_groups.then(|| self.regex.capture_locations());
        let (mut text, mut copied, mut at) = (Vec::with_capacity(subject.len()), 0, first.start());
        loop {
            let found = match &mut groups {
                Some(groups) => self.regex.captures_read_at(groups, subject, at),
                None => self.regex.find_at(subject, at),
            };
            let Some((start, end)) = found.map(|found| (found.start(), found.end())) else { break };
            // Nothing right after something that was replaced is no match of its own.
            if start < end || start > copied || copied == 0 {
                text.extend_from_slice(&subject[copied..start]);
                let matches = Matches { subject, groups: groups.as_ref(), whole: (start, end) };
                self.replacement.write_with(message, env, dates, &matches, &mut text);
                copied = end;
            }
            at = end + usize::from(start == end);
            if !self.is_global || at > subject.len() || text.len() > MESSAGE_MAX {
                break;
            }
        }
        text.extend_from_slice(&subject[copied..]);
        Some(text)
    }
}
