//! From tokens to statements: objects with names, and what is in them.

use std::collections::HashMap;

use super::{At, DEPTH_MAX, Notes, lexer::Token};

/// A piece of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Word(String),
    Quoted {
        raw: String,
        value: String,
    },
    Comma,
    Dots,
    Call(Call),
    /// `( ... )` after no name.
    Group(Vec<Item>),
    /// `{ ... }`
    Block(Vec<Statement>),
}

/// `name( ... )`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// With `-` for `_`, which mean the same.
    pub(super) name: String,
    pub(super) at: At,
    pub(super) items: Vec<Item>,
}

/// What stands before a `;`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) at: At,
    pub(super) items: Vec<Item>,
}

/// A named object: its place and its statements.
pub(super) type Object = (At, Vec<Statement>);

/// All that a configuration defines.
#[derive(Debug, Default)]
pub(super) struct Config {
    pub(super) options: Vec<Statement>,
    pub(super) sources: Vec<(String, Object)>,
    pub(super) destinations: Vec<(String, Object)>,
    pub(super) filters: HashMap<String, Object>,
    pub(super) rewrites: HashMap<String, Object>,
    pub(super) templates: HashMap<String, Object>,
    pub(super) parsers: HashMap<String, Object>,
    pub(super) paths: Vec<Object>,
}

impl Item {
    /// The text of a word or of a quoted text.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Word(text) | Self::Quoted { value: text, .. } => Some(text),
            _ => None,
        }
    }
}

impl Call {
    /// Its texts, without options and commas.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.items.iter().filter_map(Item::text)
    }

    /// Its first text.
    pub(super) fn first(&self) -> Option<&str> {
        self.texts().next()
    }

    /// Its options.
    pub(super) fn calls(&self) -> impl Iterator<Item = &Call> {
        self.items.iter().filter_map(|item| match item {
            Item::Call(call) => Some(call),
            _ => None,
        })
    }
}

impl Statement {
    /// The one call that the statement is.
    pub(super) fn call(&self) -> Option<&Call> {
        match self.items.as_slice() {
            [Item::Call(call)] => Some(call),
            _ => None,
        }
    }
}

struct Parser<'n> {
    tokens: std::iter::Peekable<std::vec::IntoIter<(At, Token)>>,
    last: At,
    notes: &'n mut Notes,
}

impl Config {
    /// Reads all objects. What is not understood is noted and left out.
    pub(super) fn read(tokens: Vec<(At, Token)>, notes: &mut Notes) -> Self {
        let mut config = Self::default();
        let mut parser = Parser { tokens: tokens.into_iter().peekable(), last: At::default(), notes };
        while let Some(statement) = parser.statement(0) {
            if let Some(note) = config.take(statement) {
                parser.notes.add(parser.last, note);
            }
        }
        config
    }

    /// Takes a statement in; what is wrong with it.
    fn take(&mut self, Statement { at, items }: Statement) -> Option<String> {
        let mut items = items.into_iter();
        let Some(Item::Word(kind)) = items.next() else {
            return Some("this is no statement that syslog-ng knows; it is left out".to_owned());
        };
        let rest: Vec<Item> = items.collect();
        let (name, body) = match rest.as_slice() {
            [Item::Block(body)] => (None, body.clone()),
            [name, Item::Block(body)] => (name.text().map(str::to_owned), body.clone()),
            // `template name "text";`
            [name, text @ Item::Quoted { .. }] => {
                let call = Call { name: "template".into(), at, items: vec![text.clone()] };
                (name.text().map(str::to_owned), vec![Statement { at, items: vec![Item::Call(call)] }])
            }
            [] => return None,
            _ => return Some(format!("{kind} is not translated")),
        };
        let object = (at, body);
        match (&*kind, name) {
            ("options", _) => self.options.extend(object.1),
            ("log", _) => self.paths.push(object),
            ("source", Some(name)) => self.sources.push((name, object)),
            ("destination", Some(name)) => self.destinations.push((name, object)),
            ("filter", Some(name)) => drop(self.filters.insert(name, object)),
            ("rewrite", Some(name)) => drop(self.rewrites.insert(name, object)),
            ("template", Some(name)) => drop(self.templates.insert(name, object)),
            ("parser", Some(name)) => drop(self.parsers.insert(name, object)),
            _ => return Some(format!("{kind} is not translated")),
        }
        None
    }
}

impl Parser<'_> {
    fn next(&mut self) -> Option<Token> {
        let (at, token) = self.tokens.next()?;
        self.last = at;
        Some(token)
    }

    fn peek(&mut self) -> Option<&Token> {
        self.tokens.peek().map(|(_, token)| token)
    }

    /// The next statement; `None` at the end of the block or of the text.
    fn statement(&mut self, depth: usize) -> Option<Statement> {
        while matches!(self.peek(), Some(Token::Sign(';'))) {
            self.next();
        }
        let at = self.tokens.peek().map(|(at, _)| *at)?;
        if depth > 0 && matches!(self.peek(), Some(Token::Sign('}'))) {
            return None;
        }
        let items = self.items(depth, false);
        match self.peek() {
            Some(Token::Sign(';')) => drop(self.next()),
            Some(Token::Sign(sign @ (')' | '}'))) if depth == 0 || *sign == ')' => {
                let text = format!("this {sign} closes nothing");
                self.next();
                self.notes.add(self.last, text);
            }
            _ => {}
        }
        Some(Statement { at, items })
    }

    /// Items up to a sign that ends them, which is left.
    fn items(&mut self, depth: usize, within: bool) -> Vec<Item> {
        let mut items = Vec::new();
        loop {
            match self.peek() {
                None | Some(Token::Sign(')' | '}')) => return items,
                Some(Token::Sign(';')) if !within => return items,
                _ => {}
            }
            let Some(token) = self.next() else { return items };
            let at = self.last;
            items.push(match token {
                // Within parentheses a `;` separates as a comma does.
                Token::Sign(',' | ';') => Item::Comma,
                Token::Dots => Item::Dots,
                Token::Quoted { raw, value } => Item::Quoted { raw, value },
                Token::Word(word) => match self.peek() {
                    Some(Token::Sign('(')) if !matches!(&*word, "and" | "or" | "not") => {
                        self.next();
                        let items = self.closed(depth, ')');
                        Item::Call(Call { name: word.replace('_', "-"), at, items })
                    }
                    _ => Item::Word(word),
                },
                Token::Sign('(') => Item::Group(self.closed(depth, ')')),
                Token::Sign('{') => Item::Block(self.block(depth)),
                Token::Sign(sign) => {
                    self.notes.add(at, format!("this {sign} closes nothing"));
                    continue;
                }
            });
        }
    }

    /// Items up to and with the closing parenthesis.
    fn closed(&mut self, depth: usize, sign: char) -> Vec<Item> {
        if self.is_too_deep(depth) {
            return Vec::new();
        }
        let at = self.last;
        let items = self.items(depth + 1, true);
        match self.peek() {
            Some(Token::Sign(found)) if *found == sign => drop(self.next()),
            _ => self.notes.add(at, "this parenthesis is not closed"),
        }
        items
    }

    fn block(&mut self, depth: usize) -> Vec<Statement> {
        if self.is_too_deep(depth) {
            return Vec::new();
        }
        let at = self.last;
        let mut statements = Vec::new();
        while let Some(statement) = self.statement(depth + 1) {
            statements.push(statement);
        }
        match self.peek() {
            Some(Token::Sign('}')) => drop(self.next()),
            _ => self.notes.add(at, "this brace is not closed"),
        }
        statements
    }

    /// Whether it is; then everything up to the sign that closes what was opened is passed over.
    fn is_too_deep(&mut self, depth: usize) -> bool {
        if depth < DEPTH_MAX {
            return false;
        }
        self.notes.add(self.last, format!("this is nested more than {DEPTH_MAX} deep; it is left out"));
        let mut open = 1;
        while open > 0 {
            match self.next() {
                Some(Token::Sign('(' | '{')) => open += 1,
                Some(Token::Sign(')' | '}')) => open -= 1,
                Some(_) => {}
                None => break,
            }
        }
        true
    }
}
