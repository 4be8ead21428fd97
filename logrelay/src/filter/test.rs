//! The functions of a filter as they are decided for a message.

use std::{collections::HashSet, net::IpAddr};

use super::{Context, compare::Comparison, pattern::Pattern, words::Words};
use crate::{
    message::{self, Field, Message, Status},
    template::{DateCache, Macro, Template},
};

/// Octets of `program[pid]: message` that are put together without an allocation.
const LINE_BUFFER: usize = 1024;

/// A function or comparison.
#[derive(Debug)]
pub(super) enum Test {
    /// A bit for each facility.
    Facilities(u32),
    /// A bit for each severity.
    Severities(u8),
    Pattern(Subject, Pattern),
    InList(Macro, HashSet<Box<[u8]>>),
    /// A small field that is one name.
    Name(Field, Words),
    /// A small field that is a list.
    List(Field, Words),
    /// Tags of the inventory: whole ones, `key=value`, and keys.
    Labels {
        whole: Words,
        keys: Words,
    },
    /// Address and mask.
    Network4(u32, u32),
    /// Address and mask.
    Network6(u128, u128),
    Known,
    Unparsed,
    Silent,
    Compare(Box<Comparison>),
}

/// What a pattern is looked for in.
#[derive(Debug)]
pub(super) enum Subject {
    Message,
    Field(Field),
    Macro(Macro),
    Template(Box<Template>),
    /// `program[pid]: message`
    Line,
}

impl Test {
    pub(super) fn matches(&self, message: &Message<'_>, context: &Context) -> bool {
        match self {
            Self::Facilities(mask) => mask >> message.facility() & 1 == 1,
            Self::Severities(mask) => mask >> message.severity() & 1 == 1,
            Self::Pattern(subject, pattern) => subject.with(message, context, |text| pattern.matches(text)),
            Self::InList(one, list) => with_macro(one, message, context, |text| list.contains(text)),
            Self::Name(field, words) => words.contain(message.field(*field)),
            Self::List(field, words) => message.list(*field).any(|item| words.contain(item)),
            Self::Labels { whole, keys } => message.list(Field::Labels).any(|label| {
                let key = label.split(|octet| *octet == b'=').next().unwrap_or_default();
                whole.contain(label) || keys.contain(key)
            }),
            // Local sockets and files count as this host, as in syslog-ng.
            Self::Network4(address, mask) => match message.address {
                Some(IpAddr::V4(sender)) => sender.to_bits() & mask == *address,
                Some(IpAddr::V6(sender)) => {
                    sender.to_ipv4_mapped().is_some_and(|sender| sender.to_bits() & mask == *address)
                }
                None => std::net::Ipv4Addr::LOCALHOST.to_bits() & mask == *address,
            },
            Self::Network6(address, mask) => match message.address {
                Some(IpAddr::V6(sender)) => sender.to_bits() & mask == *address,
                Some(IpAddr::V4(_)) => false,
                None => std::net::Ipv6Addr::LOCALHOST.to_bits() & mask == *address,
            },
            Self::Known => message.flags.has(message::Flags::KNOWN),
            Self::Unparsed => message.status == Status::Unparsed,
            Self::Silent => context.had_been_silent,
            Self::Compare(comparison) => comparison.matches(message, context),
        }
    }
}

impl Subject {
    fn with(&self, message: &Message<'_>, context: &Context, check: impl FnOnce(&[u8]) -> bool) -> bool {
        match self {
            Self::Message => check(message.message),
            Self::Field(field) => check(message.field(*field)),
            Self::Macro(one) => with_macro(one, message, context, check),
            Self::Template(template) => with_template(template, message, context, check),
            Self::Line => with_line(message, check),
        }
    }
}

fn with_macro<T>(one: &Macro, message: &Message<'_>, context: &Context, check: impl FnOnce(&[u8]) -> T) -> T {
    if let Some(text) = one.borrow(message) {
        return check(text);
    }
    let mut text = Vec::new();
    one.write(message, &context.env(), &mut DateCache::default(), &mut text);
    check(&text)
}

pub(super) fn with_template<T>(
    template: &Template,
    message: &Message<'_>,
    context: &Context,
    check: impl FnOnce(&[u8]) -> T,
) -> T {
    if let Some(text) = template.borrow(message) {
        return check(text);
    }
    let mut text = Vec::new();
    template.write(message, &context.env(), &mut DateCache::default(), &mut text);
    check(&text)
}

/// The line that `match()` without `value()` looks at, as syslog-ng puts it together.
fn with_line<T>(message: &Message<'_>, check: impl FnOnce(&[u8]) -> T) -> T {
    let pid = message.field(Field::Pid);
    let (open, close): (&[u8], &[u8]) = if pid.is_empty() { (b"", b"") } else { (b"[", b"]") };
    let parts = [message.field(Field::Program), open, pid, close, b": ", message.message];
    let mut buffer = [0; LINE_BUFFER];
    let mut length = 0;
    for part in parts {
        let Some(room) = buffer.get_mut(length..length + part.len()) else { return check(&parts.concat()) };
        room.copy_from_slice(part);
        length += part.len();
    }
    check(&buffer[..length])
}
