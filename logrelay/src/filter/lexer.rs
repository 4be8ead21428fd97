//! Words, quoted texts and signs of filters and rewrite rules.
//!
//! `"..."` knows backslash escapes, `'...'` none, as in syslog-ng. A word ends at a blank, a quote, `( ) , ; < > = ! #`
//! and before `..`, so that addresses, globs and templates without blanks need no quotes.

use std::borrow::Cow;

/// What is wrong, and at which octet.
pub(crate) type Fault = (usize, String);

/// A piece of the text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token<'a> {
    /// A name, a number, or a text without quotes.
    Word(&'a str),
    /// A text in quotes.
    Quoted(Cow<'a, str>),
    Open,
    Close,
    Comma,
    Semicolon,
    /// `..`
    Dots,
    /// `<`, `<=`, `==`, `!=`, `>=`, `>`
    Sign(&'a str),
    End,
}

impl Token<'_> {
    /// As it is named in messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Word(word) => format!("{word:?}"),
            Self::Quoted(_) => "a text in quotes".into(),
            Self::Open => "(".into(),
            Self::Close => ")".into(),
            Self::Comma => "a comma".into(),
            Self::Semicolon => "a semicolon".into(),
            Self::Dots => "..".into(),
            Self::Sign(sign) => (*sign).into(),
            Self::End => "the end".into(),
        }
    }
}

/// A token and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spanned<'a> {
    pub(crate) token: Token<'a>,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

#[derive(Debug)]
pub(super) struct Lexer<'a> {
    pub(super) text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token.
    pub(super) fn token(&mut self) -> Result<Spanned<'a>, Fault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let trimmed = rest.trim_start();
        let start = self.at + rest.len() - trimmed.len();
        let (token, length) = match trimmed.as_bytes() {
            [] => (Token::End, 0),
            [b'(', ..] => (Token::Open, 1),
            [b')', ..] => (Token::Close, 1),
            [b',', ..] => (Token::Comma, 1),
            [b';', ..] => (Token::Semicolon, 1),
            [b'.', b'.', ..] => (Token::Dots, 2),
            [b'"', ..] => double(trimmed, start)?,
            [b'\'', ..] => match trimmed[1..].find('\'') {
                Some(end) => (Token::Quoted(trimmed[1..=end].into()), end + 2),
                None => return Err((start, "this ' has no other one; every text needs its closing quote".into())),
            },
            [b'=', b'=', b'=', ..] | [b'!', b'=', b'=', ..] => {
                return Err((start, "=== and !== are not known here; write ==, != or eq, ne".into()));
            }
            [b'<' | b'>' | b'=' | b'!', b'=', ..] => (Token::Sign(&trimmed[..2]), 2),
            [b'<' | b'>', ..] => (Token::Sign(&trimmed[..1]), 1),
            [b'=', ..] => {
                return Err((
                    start,
                    "a single = means nothing; compare with == or eq, quote texts that have one".into(),
                ));
            }
            [b'!', ..] => return Err((start, "! means nothing; write not".into())),
            [b'#', ..] => return Err((start, "comments are not known here; take it out".into())),
            _ => word(trimmed),
        };
        self.at = start + length;
        Ok(Spanned { token, start, end: self.at })
    }
}

fn word(text: &str) -> (Token<'_>, usize) {
    let is_end = |c: char| c.is_whitespace() || "'\"(),;<>=!#".contains(c);
    let end = text.find(is_end).unwrap_or(text.len());
    let end = text[..end].find("..").unwrap_or(end);
    (Token::Word(&text[..end]), end)
}

/// A text in double quotes.
fn double(text: &str, start: usize) -> Result<(Token<'_>, usize), Fault> {
    let inner = &text[1..];
    let first = inner.find(['"', '\\']).unwrap_or(inner.len());
    if inner[first..].starts_with('"') {
        return Ok((Token::Quoted(inner[..first].into()), first + 2));
    }
    let mut value = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Quoted(value.into()), at + 2)),
            '\\' => match chars.next() {
                Some((_, 'a')) => value.push('\u{7}'),
                Some((_, 'n')) => value.push('\n'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'v')) => value.push('\u{b}'),
                Some((_, other)) => value.push(other),
                None => break,
            },
            _ => value.push(c),
        }
    }
    Err((start, "this \" has no other one; every text needs its closing quote".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Vec<Token<'_>>, Fault> {
        let mut lexer = Lexer::new(text);
        let mut tokens = Vec::new();
        loop {
            match lexer.token()?.token {
                Token::End => return Ok(tokens),
                token => tokens.push(token),
            }
        }
    }

    #[test]
    fn words_texts_and_signs() {
        use Token::{Close, Comma, Dots, Open, Quoted, Sign, Word};
        assert_eq!(
            tokens("level(err..emerg)").unwrap(),
            [Word("level"), Open, Word("err"), Dots, Word("emerg"), Close]
        );
        assert_eq!(tokens("10.0.0.0/8, web* ::1").unwrap(), [Word("10.0.0.0/8"), Comma, Word("web*"), Word("::1")]);
        assert_eq!(tokens(r#""a\"\\\d\n" 'a\"'"#).unwrap(), [Quoted("a\"\\d\n".into()), Quoted(r#"a\""#.into())]);
        assert_eq!(tokens("${A}<=7!=8").unwrap(), [Word("${A}"), Sign("<="), Word("7"), Sign("!="), Word("8")]);
        for (text, at) in
            [("x \"y", 2), ("x 'y", 2), ("\"y\\", 0), ("a = b", 2), ("a !b", 2), ("a # b", 2), ("1===1", 1)]
        {
            assert_eq!(tokens(text).unwrap_err().0, at, "{text}");
        }
    }
}
