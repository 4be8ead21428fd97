//! Words, quoted texts and signs of syslog-ng.conf.
//!
//! `"..."` knows backslash escapes, `'...'` none; `#` begins a comment. A word ends at a blank, a quote, a comment, one of
//! `( ) { } ; ,` and before `..`.

use super::{At, Notes};

/// A piece of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    Quoted {
        /// With its quotes.
        raw: String,
        value: String,
    },
    /// One of `( ) { } ; ,`.
    Sign(char),
    /// `..`
    Dots,
}

/// Reads a text whose lines count from `line`. A quote without its end goes to the end of the text, and is noted.
pub(super) fn tokens(text: &str, at: At, notes: &mut Notes, out: &mut Vec<(At, Token)>) {
    let mut at = at;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '\n' => {
                at.line += 1;
                1
            }
            c if c.is_whitespace() => c.len_utf8(),
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '(' | ')' | '{' | '}' | ';' | ',' => {
                out.push((at, Token::Sign(c)));
                1
            }
            '"' | '\'' => {
                let (value, length, ended) = if c == '"' { double(rest) } else { single(rest) };
                if !ended {
                    notes.add(at, "this text has no closing quote; nothing after it is read");
                }
                let raw = rest.get(..length).unwrap_or_default().to_owned();
                let lines = raw.matches('\n').count();
                out.push((at, Token::Quoted { raw, value }));
                at.line = at.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
                length
            }
            '.' if rest.starts_with("..") => {
                out.push((at, Token::Dots));
                2
            }
            _ => {
                let is_end = |c: char| c.is_whitespace() || "(){};,#\"'".contains(c);
                let end = rest.find(is_end).unwrap_or(rest.len());
                let end = rest.find("..").map_or(end, |dots| dots.min(end)).max(1);
                let end = (end..=rest.len()).find(|end| rest.is_char_boundary(*end)).unwrap_or(rest.len());
                out.push((at, Token::Word(rest.get(..end).unwrap_or_default().to_owned())));
                end
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
}

fn single(text: &str) -> (String, usize, bool) {
    match text.get(1..).and_then(|inner| Some((inner, inner.find('\'')?))) {
        Some((inner, end)) => (inner.get(..end).unwrap_or_default().to_owned(), end + 2, true),
        None => (String::new(), text.len(), false),
    }
}

fn double(text: &str) -> (String, usize, bool) {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, at + 1, true),
            '\\' => match chars.next() {
                Some((_, 'a')) => value.push('\u{7}'),
                Some((_, 'n')) => value.push('\n'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'v')) => value.push('\u{b}'),
                Some((_, '\n')) => {}
                Some((_, other)) => value.push(other),
                None => break,
            },
            c => value.push(c),
        }
    }
    (value, text.len(), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> (String, usize) {
        let (mut out, mut notes) = (Vec::new(), Notes::default());
        tokens(text, At { file: 0, line: 1 }, &mut notes, &mut out);
        let words = out.into_iter().map(|(at, token)| match token {
            Token::Word(word) => format!("{}:{word}", at.line),
            Token::Quoted { value, .. } => format!("{}:<{value}>", at.line),
            Token::Sign(c) => c.to_string(),
            Token::Dots => "..".into(),
        });
        (words.collect::<Vec<_>>().join(" "), notes.all.len())
    }

    #[test]
    fn words_texts_and_signs() {
        let text = "level(crit .. emerg,err..warn) # no\nip(127.0.0.1) 'a\"\\n' \"b\\n\\\"\n\" x";
        let want = "1:level ( 1:crit .. 1:emerg , 1:err .. 1:warn ) 2:ip ( 2:127.0.0.1 ) 2:<a\"\\n> 2:<b\n\"\n> 3:x";
        assert_eq!(words(text), (want.to_owned(), 0));
    }

    #[test]
    fn whatever_the_text_is_reading_ends() {
        assert_eq!(words("a \"b"), ("1:a 1:<b>".to_owned(), 1));
        assert_eq!(words("'b").1, 1);
        assert_eq!(words("...é..\\").0, ".. 1:.é .. 1:\\");
    }
}
