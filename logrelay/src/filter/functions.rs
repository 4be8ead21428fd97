//! The functions of the filter language: their names and arguments.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::{
    LIST_MAX, LISTS_MAX, PATTERNS_MAX,
    lexer::{Fault, Token},
    options::{Options, close, options},
    parse::{Parser, check_macro},
    pattern::Pattern,
    test::{Subject, Test},
    words::{Words, is_glob},
};
use crate::{
    message::{self, FACILITIES, Field, SEVERITIES},
    template::{Macro, bare, nearest},
};

/// All functions, for hints.
const NAMES: [&str; 23] = [
    "facility", "level", "severity", "program", "host", "message", "msg", "match", "netmask", "netmask6", "tags",
    "in-list", "filter", "source", "role", "zone", "region", "product", "group", "tag", "known", "unparsed", "silent",
];

/// What is said of a word that no parenthesis follows.
pub(super) fn not_a_function(word: &str) -> String {
    let lower = word.to_ascii_lowercase();
    match &*lower {
        "and" | "or" | "not" if lower != word => format!("{word} is written in small letters: {lower}"),
        "and" | "or" => format!("{word} stands between two filters, but before this one there is none"),
        "&&" => "write and".into(),
        "||" => "write or".into(),
        _ if canonical(word).is_some() => format!("a ( is missing after {word}"),
        _ if word.bytes().any(|octet| octet.is_ascii_lowercase()) => unknown(word),
        _ => format!("{word} is no filter; compare a macro with a text, as \"${{{word}}}\" eq \"...\""),
    }
}

fn unknown(name: &str) -> String {
    match nearest(name, NAMES) {
        Some(near) => format!("{name} is no filter function; is {near}(...) meant?"),
        None => format!("{name} is no filter function; there are {}", NAMES.join(", ")),
    }
}

/// The name under which a function is known here: syslog-ng takes _ for -, and has names that mean the same.
fn canonical(name: &str) -> Option<&'static str> {
    let name = name.replace('_', "-");
    let known = NAMES.iter().find(|known| **known == name)?;
    Some(match *known {
        "severity" => "level",
        "msg" => "message",
        other => other,
    })
}

/// Reads the arguments of a function up to and with the closing parenthesis.
pub(super) fn function(parser: &mut Parser<'_, '_>, name: &str, start: usize) -> Result<Test, Fault> {
    let list = |field| move |words| Test::List(field, words);
    let single = |field| move |words| Test::Name(field, words);
    match canonical(name) {
        Some("facility") => Ok(Test::Facilities(set(parser, "facility", &FACILITIES, facility_named)?)),
        Some("level") => {
            let mask = set(parser, "severity", &SEVERITIES, severity_named)?;
            Ok(Test::Severities((mask & 0xff) as u8))
        }
        Some("program") => pattern(parser, Subject::Field(Field::Program)),
        Some("host") => pattern(parser, Subject::Field(Field::Host)),
        Some("message") => pattern(parser, Subject::Message),
        Some("match") => pattern(parser, Subject::Line),
        Some("netmask") => network(parser, network4),
        Some("netmask6") => network(parser, network6),
        Some("in-list") => in_list(parser, start),
        Some("tags") => words(parser, "a tag").map(list(Field::Tags)),
        Some("role") => words(parser, "a role").map(list(Field::Roles)),
        Some("group") => words(parser, "a group").map(list(Field::Groups)),
        Some("zone") => words(parser, "a zone").map(single(Field::Zone)),
        Some("region") => words(parser, "a region").map(single(Field::Region)),
        Some("product") => words(parser, "a product").map(single(Field::Product)),
        Some("source") => words(parser, "the name of a source").map(single(Field::Source)),
        Some("tag") => labels(parser),
        Some("known") => nothing(parser, name, Test::Known),
        Some("unparsed") => nothing(parser, name, Test::Unparsed),
        Some("silent") => nothing(parser, name, Test::Silent),
        Some("filter") => {
            Err((start, "filters have no names here; write the named filter's expression in its place".into()))
        }
        _ => Err((
            start,
            match name {
                "throttle" | "rate-limit" | "rate_limit" => {
                    format!("{name} is no filter here; rates are limited by `rate` in [logrelay.role.NAME]")
                }
                "blank" => "blank is not known here; write \"${NAME}\" eq \"\"".into(),
                _ => unknown(name),
            },
        )),
    }
}

fn nothing(parser: &mut Parser<'_, '_>, name: &str, test: Test) -> Result<Test, Fault> {
    let at = parser.peek().start;
    match parser.another()? {
        false => Ok(test),
        true => Err((at, format!("{name}() takes nothing between its parentheses"))),
    }
}

/// The number of a facility by its name in any case, or by the number in text.
pub(crate) fn facility_named(name: &str) -> Option<u8> {
    message::facility(&name.to_ascii_lowercase())
}

/// The number of a severity by any name that syslog-ng knows, in any case, or by the number in text.
pub(crate) fn severity_named(name: &str) -> Option<u8> {
    match &*name.to_ascii_lowercase() {
        "emergency" => Some(0),
        "critical" => Some(2),
        "informational" => Some(6),
        name => message::severity(name),
    }
}

/// Names, numbers and ranges as a bit mask.
fn set(
    parser: &mut Parser<'_, '_>,
    what: &str,
    names: &'static [&'static str],
    read: fn(&str) -> Option<u8>,
) -> Result<u32, Fault> {
    let one = |parser: &mut Parser<'_, '_>| -> Result<u8, Fault> {
        let at = parser.peek().start;
        let word = parser.text(&format!("a {what}"))?;
        read(&word).ok_or_else(|| {
            let hint = match nearest(&word, names.iter().copied()) {
                Some(near) => format!("is {near} meant?"),
                None => format!("there are {}, and numbers up to {}", names.join(", "), names.len() - 1),
            };
            (at, format!("{word:?} is no {what}; {hint}"))
        })
    };
    let (mut mask, at) = (0u32, parser.peek().start);
    while parser.another()? {
        let first = one(parser)?;
        let mut last = first;
        if parser.peek().token == Token::Dots {
            parser.advance()?;
            last = one(parser)?;
        }
        for number in first.min(last)..=first.max(last) {
            mask |= 1 << number;
        }
    }
    match mask {
        0 => Err((at, format!("a {what} is missing between the parentheses, as {}", names[names.len() / 2]))),
        mask => Ok(mask),
    }
}

/// A pattern with options; `subject` stands unless an option names another.
fn pattern(parser: &mut Parser<'_, '_>, subject: Subject) -> Result<Test, Fault> {
    let at = parser.peek().start;
    if !parser.another()? {
        return Err((at, "a pattern is missing between the parentheses".into()));
    }
    let text = parser.text("a pattern")?;
    let is_match = matches!(subject, Subject::Line);
    let options = options(parser)?;
    let subject = match (options.value, options.template) {
        (Some((at, _)), _) if !is_match => {
            return Err((at, "value() belongs to match(); this function looks at one thing only".into()));
        }
        (Some((at, name)), None) => {
            let one = Macro::named(&name);
            check_macro(&one).map_err(|why| (at, why))?;
            Subject::Macro(one)
        }
        (None, Some(_)) if !is_match => return Err((at, "template() belongs to match()".into())),
        (None, Some(template)) => Subject::Template(Box::new(template)),
        (Some((at, _)), Some(_)) => return Err((at, "value() and template() exclude each other".into())),
        (None, None) => subject,
    };
    let pattern = Pattern::new(&text, options.kind.unwrap_or_default(), options.flags).map_err(|why| (at, why))?;
    if matches!(pattern, Pattern::Regex(_)) {
        parser.count_pattern(at)?;
    }
    Ok(Test::Pattern(subject, pattern))
}

/// Names, of which one must be it.
fn words(parser: &mut Parser<'_, '_>, what: &str) -> Result<Words, Fault> {
    let mut words = Words::default();
    each_word(parser, what, |word| words.add(word))?;
    Ok(words)
}

fn labels(parser: &mut Parser<'_, '_>) -> Result<Test, Fault> {
    let (mut whole, mut keys) = (Words::default(), Words::default());
    each_word(parser, "a tag, as \"env=dev\"", |word| {
        if word.contains('=') { &mut whole } else { &mut keys }.add(word)
    })?;
    Ok(Test::Labels { whole, keys })
}

fn each_word(
    parser: &mut Parser<'_, '_>,
    what: &str,
    mut take: impl FnMut(&str) -> Result<(), String>,
) -> Result<(), Fault> {
    let at = parser.peek().start;
    let mut is_empty = true;
    while parser.another()? {
        let at = parser.peek().start;
        let word = parser.text(what)?;
        if is_glob(&word) {
            parser.count_pattern(at)?;
        }
        take(&word).map_err(|why| (at, why))?;
        is_empty = false;
    }
    if is_empty { Err((at, format!("{what} is missing between the parentheses"))) } else { Ok(()) }
}

fn network(parser: &mut Parser<'_, '_>, read: fn(&str) -> Option<Test>) -> Result<Test, Fault> {
    let at = parser.peek().start;
    let text = parser.text("a network, as \"10.0.0.0/8\"")?;
    let test = read(&text).ok_or_else(|| {
        let hint = match (network4(&text).is_some(), network6(&text).is_some()) {
            (true, _) => "for IPv4 there is netmask()",
            (_, true) => "for IPv6 there is netmask6()",
            _ => "write 10.0.0.0/8, 10.0.0.0/255.0.0.0, or 2001:db8::/32 in netmask6()",
        };
        (at, format!("{text:?} is no network here; {hint}"))
    })?;
    close(parser, "netmask")?;
    Ok(test)
}

fn network4(text: &str) -> Option<Test> {
    let (address, mask) = text.split_once('/').unwrap_or((text, "32"));
    let mask = match mask.parse::<u8>() {
        Ok(length) => mask_of(u128::MAX, length, 32)? as u32,
        Err(_) => mask.parse::<Ipv4Addr>().ok()?.to_bits(),
    };
    Some(Test::Network4(address.parse::<Ipv4Addr>().ok()?.to_bits() & mask, mask))
}

fn network6(text: &str) -> Option<Test> {
    let (address, length) = text.split_once('/').unwrap_or((text, "128"));
    let mask = mask_of(u128::MAX, length.parse().ok()?, 128)?;
    Some(Test::Network6(address.parse::<Ipv6Addr>().ok()?.to_bits() & mask, mask))
}

/// The highest `length` of `bits` bits.
fn mask_of(ones: u128, length: u8, bits: u8) -> Option<u128> {
    let zeros = u32::from(bits.checked_sub(length)?);
    Some(ones.checked_shl(zeros).unwrap_or(0))
}

/// `in-list("FILE" value("HOST"))`: a name a line.
fn in_list(parser: &mut Parser<'_, '_>, start: usize) -> Result<Test, Fault> {
    let at = parser.peek().start;
    if !parser.another()? {
        return Err((at, "a file is missing, as in-list(\"/etc/hosts.list\" value(\"HOST\"))".into()));
    }
    let path = parser.text("the path of a file")?;
    let more = parser.another()?;
    let name_at = parser.peek().start;
    let name = if more { parser.text("value(\"NAME\")")? } else { Default::default() };
    let name = match &*name {
        "" => return Err((name_at, "what to look up is missing, as value(\"HOST\") after the file".into())),
        "value" if parser.peek().token == Token::Open => {
            let mut options = Options::default();
            options.read(parser, "value", name_at)?;
            options.value.map(|(_, name)| name).unwrap_or_default()
        }
        name => bare(name).into(),
    };
    close(parser, "in-list")?;
    let one = Macro::named(&name);
    check_macro(&one).map_err(|why| (name_at, why))?;
    parser.lists += 1;
    if parser.lists > LISTS_MAX {
        return Err((start, format!("more than {LISTS_MAX} lists in one filter; join the files")));
    }
    let text = (parser.files)(&path).map_err(|why| (at, format!("{path:?} cannot be read: {why}")))?;
    if text.len() > LIST_MAX {
        return Err((at, format!("{path:?} has {} octets, but a list has at most {LIST_MAX}", text.len())));
    }
    let lines = text.lines().filter(|line| !line.is_empty());
    Ok(Test::InList(one, lines.map(|line| line.as_bytes().into()).collect::<HashSet<_>>()))
}

impl Parser<'_, '_> {
    /// Counts a regular expression or a glob.
    pub(crate) fn count_pattern(&mut self, at: usize) -> Result<(), Fault> {
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            return Err((
                at,
                format!("more than {PATTERNS_MAX} patterns; join them, as \"^(one|two)$\", or use in-list()"),
            ));
        }
        Ok(())
    }
}
