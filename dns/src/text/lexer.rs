//! Words of master files (RFC 1035 section 5.1): quotes, escapes, comments, parentheses.
//!
//! A token is a slice of the input with its escapes still in place; nothing is copied. An entry is
//! one logical line: parentheses join lines.

/// A word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    /// The word without its quotes, escapes in place.
    pub text: &'a str,
    /// Whether it stood in quotes.
    pub quoted: bool,
}

/// Where an entry begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Line of its first word, from 1.
    pub line: u32,
    /// Whether the line begins with white space: the owner is that of the entry before.
    pub blank: bool,
}

/// Something that does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Line on which it begins.
    pub line: u32,
    /// What is wrong.
    pub text: &'static str,
}

/// Reads entry after entry; after a fault it goes on with the next line.
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text: text.strip_prefix('\u{feff}').unwrap_or(text), at: 0, line: 1 }
    }

    /// Puts the words of the next entry that has any into `tokens`, replacing what was there; `None` at the end.
    pub(crate) fn next_entry(&mut self, tokens: &mut Vec<Token<'a>>) -> Result<Option<Entry>, Fault> {
        tokens.clear();
        let bytes = self.text.as_bytes();
        let mut entry = Entry { line: self.line, blank: false };
        let (mut depth, mut opened) = (0_u32, 0);
        let mut line_start = self.at;
        loop {
            match bytes.get(self.at) {
                None if depth > 0 => {
                    tokens.clear();
                    return Err(Fault { line: opened, text: "a parenthesis is opened but never closed" });
                }
                None => return Ok((!tokens.is_empty()).then_some(entry)),
                Some(b'\n') => {
                    self.at += 1;
                    self.line += 1;
                    if depth == 0 {
                        if !tokens.is_empty() {
                            return Ok(Some(entry));
                        }
                        line_start = self.at;
                    }
                }
                Some(b' ' | b'\t' | b'\r') => self.at += 1,
                Some(b';') => self.skip_line(),
                Some(b'(') => {
                    if depth == 0 {
                        opened = self.line;
                    }
                    depth += 1;
                    self.at += 1;
                    if tokens.is_empty() && depth == 1 {
                        entry = Entry { line: self.line, blank: self.at - 1 > line_start };
                    }
                }
                Some(b')') if depth == 0 => {
                    self.skip_line();
                    return Err(Fault { line: self.line, text: "a parenthesis is closed but none is open" });
                }
                Some(b')') => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(_) => {
                    if tokens.is_empty() && depth == 0 {
                        entry = Entry { line: self.line, blank: self.at > line_start };
                    }
                    tokens.push(self.word()?);
                }
            }
        }
    }

    fn skip_line(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
    }

    /// A quoted string, or a word up to white space; quotes after `=` belong to the word (RFC 9460 section 2.1).
    fn word(&mut self) -> Result<Token<'a>, Fault> {
        let bytes = self.text.as_bytes();
        let quoted = bytes.get(self.at) == Some(&b'"');
        let start = self.at + usize::from(quoted);
        let mut inside = quoted;
        self.at = start;
        while let Some(&byte) = bytes.get(self.at) {
            match byte {
                b'\n' => break,
                b'\\' if !matches!(bytes.get(self.at + 1), None | Some(b'\n')) => self.at += 1,
                b'"' if quoted => {
                    self.at += 1;
                    return Ok(Token { text: &self.text[start..self.at - 1], quoted });
                }
                b'"' if inside => inside = false,
                b'"' if bytes[self.at - 1] == b'=' => inside = true,
                b'"' | b' ' | b'\t' | b'\r' | b'(' | b')' | b';' if !inside => break,
                _ => {}
            }
            // An escape is followed by one octet here; the rest of a longer character is taken as it comes.
            self.at += 1;
        }
        if inside {
            return Err(Fault { line: self.line, text: "a quoted string is not closed on its line" });
        }
        // Only white space and the ASCII characters above end a word, so this is a boundary of characters.
        Ok(Token { text: &self.text[start..self.at.min(self.text.len())], quoted })
    }
}

/// The octets that a word stands for: `\DDD` and `\X` (RFC 1035 section 5.1). `None`: an escape is incomplete.
pub(crate) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let first = bytes.next()?;
        if !first.is_ascii_digit() {
            out.push(first);
            continue;
        }
        let mut value = u32::from(first - b'0');
        for _ in 0..2 {
            let digit = bytes.next().filter(u8::is_ascii_digit)?;
            value = value * 10 + u32::from(digit - b'0');
        }
        out.push(u8::try_from(value).ok()?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<(u32, bool, Vec<String>)> {
        let (mut lexer, mut tokens, mut out) = (Lexer::new(text), Vec::new(), Vec::new());
        while let Some(entry) = lexer.next_entry(&mut tokens).unwrap() {
            let words = tokens.iter().map(|t| if t.quoted { format!("<{}>", t.text) } else { t.text.into() }).collect();
            out.push((entry.line, entry.blank, words));
        }
        out
    }

    #[test]
    fn words_quotes_comments_and_parentheses() {
        let text = "; first\n\na 1 ; c\n  b (\n 2 ; \"(\n\t3 ) 4\n( x\n)\nc \"d \\\" ;(\"\"\" e\\;f k=\"g h\"i\r\n\u{e4}\\\u{f6} z";
        let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            entries(text),
            [
                (3, false, owned(&["a", "1"])),
                (4, true, owned(&["b", "2", "3", "4"])),
                (7, false, owned(&["x"])),
                (9, false, owned(&["c", "<d \\\" ;(>", "<>", "e\\;f", "k=\"g h\"i"])),
                (10, false, owned(&["\u{e4}\\\u{f6}", "z"])),
            ]
        );
    }

    #[test]
    fn what_does_not_end() {
        let fault = |text| Lexer::new(text).next_entry(&mut Vec::new()).unwrap_err();
        assert_eq!(fault("a (\nb\n").line, 1);
        assert!(fault("a )").text.contains("closed but none"));
        assert!(fault("\n\"a\n").text.contains("quoted string"));
        let mut lexer = Lexer::new("a )\nb c");
        assert!(lexer.next_entry(&mut Vec::new()).is_err());
        assert_eq!(
            lexer.next_entry(&mut Vec::new()),
            Ok(Some(Entry { line: 2, blank: false })),
            "goes on after a fault"
        );
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape(r"a\.\\\065\255").as_deref(), Some(&b"a.\\A\xff"[..]));
        assert_eq!((unescape("\\"), unescape("\\25"), unescape("\\256")), (None, None, None));
    }
}
