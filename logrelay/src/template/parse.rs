//! Reading a template; `\` means nothing in it, as in syslog-ng since 3.5.

use super::{Macro, PARTS_MAX, Part, TEXT_MAX, Template};

/// Reads a template; `groups`: whether `$0` to `$9` are groups of a pattern. Errors have the octet.
pub(super) fn parse(text: &str, groups: bool) -> Result<Template, (usize, String)> {
    if text.len() > TEXT_MAX {
        return Err((TEXT_MAX, format!("a template has at most {TEXT_MAX} octets, but this one has {}", text.len())));
    }
    let mut parser = Parser { text, at: 0, groups, parts: Vec::new(), constant: String::new() };
    while parser.at < text.len() {
        parser.piece()?;
    }
    parser.end_constant();
    Ok(Template { text: text.into(), parts: parser.parts.into() })
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    groups: bool,
    parts: Vec<Part>,
    constant: String,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn piece(&mut self) -> Result<(), (usize, String)> {
        let rest = self.rest();
        let plain = rest.find('$').unwrap_or(rest.len());
        self.constant.push_str(&rest[..plain]);
        self.at += plain;
        let Some(after) = rest[plain..].strip_prefix('$') else { return Ok(()) };
        let name_len = after.bytes().take_while(|octet| octet.is_ascii_alphanumeric() || *octet == b'_').count();
        match after.chars().next() {
            Some('{') => self.braced(),
            Some('(') => Err((
                self.at,
                "functions such as $(format-json ...) are not known here; use macros, as ${HOST}, and rewrite rules"
                    .into(),
            )),
            Some('*') => Err((self.at, "$* is not known here; in subst() name the groups, as $1".into())),
            Some('$') => {
                self.constant.push('$');
                self.at += 2;
                Ok(())
            }
            _ if name_len > 0 => {
                let part = self.named(&after[..name_len], None, self.at)?;
                self.at += 1 + name_len;
                self.push(part)
            }
            // As syslog-ng: a dollar sign before anything else is itself.
            _ => {
                self.constant.push('$');
                self.at += 1;
                Ok(())
            }
        }
    }

    /// `${name}` or `${name:-text}`
    fn braced(&mut self) -> Result<(), (usize, String)> {
        let start = self.at;
        let inner = self.rest().get(2..).unwrap_or_default();
        let Some(end) = inner.find('}') else {
            return Err((start, "this ${ has no }; write ${NAME}, or $$ for a dollar sign".into()));
        };
        let (inner, after) = (&inner[..end], &inner[end + 1..]);
        let (name, default) = match inner.split_once(':') {
            None => (inner, None),
            Some((name, default)) => match default.strip_prefix('-') {
                Some(default) => (name, Some(default)),
                None => {
                    let why = "after the name only :-TEXT can follow, the text for when it is empty";
                    return Err((start + 2 + name.len(), why.into()));
                }
            },
        };
        if name.is_empty() {
            return Err((start, "a name is missing between the braces, as in ${HOST}".into()));
        }
        let part = self.named(name, default, start)?;
        self.at = start + 3 + end;
        if after.starts_with("@@") {
            self.at += 1;
        } else if after.starts_with('@') && after[1..].starts_with(|c: char| c.is_ascii_digit()) {
            let why = "references to other messages (@ and a number) are not known here; write @@ for an @";
            return Err((self.at, why.into()));
        }
        self.push(part)
    }

    fn named(&self, name: &str, default: Option<&str>, at: usize) -> Result<Part, (usize, String)> {
        if let Ok(number) = name.parse::<u8>() {
            return match (self.groups, number) {
                (true, 0..=9) => Ok(Part::Group(number)),
                (true, _) => Err((at, format!("${name} is not known; groups go from $0 to $9"))),
                (false, _) => Err((at, format!("${name} is known in the replacement of subst() only; write $$ for $"))),
            };
        }
        Ok(Part::Macro(Macro::named(name), default.map(Into::into)))
    }

    fn push(&mut self, part: Part) -> Result<(), (usize, String)> {
        self.end_constant();
        if self.parts.len() >= PARTS_MAX {
            return Err((self.at, format!("a template has at most {PARTS_MAX} macros and texts between them")));
        }
        self.parts.push(part);
        Ok(())
    }

    fn end_constant(&mut self) {
        if !self.constant.is_empty() {
            self.parts.push(Part::Text(std::mem::take(&mut self.constant).into()));
        }
    }
}
