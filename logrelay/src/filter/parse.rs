//! The grammar: `or` of `and`s of `not`s, parentheses, functions, comparisons.

use std::borrow::Cow;

use super::{
    DEPTH_MAX, Files, Filter, Kind, NODES_MAX, Node, TEXT_MAX,
    compare::{Comparison, Operator},
    functions,
    lexer::{Fault, Lexer, Spanned, Token},
    test::Test,
};
use crate::template::{Known, Macro, Template};

/// Reads filters, and for rewrite rules the functions around them.
pub(crate) struct Parser<'a, 'f> {
    lexer: Lexer<'a>,
    next: Spanned<'a>,
    /// End of the token before the next one.
    last_end: usize,
    depth: usize,
    nodes: usize,
    /// Regular expressions and globs so far.
    pub(super) patterns: usize,
    /// Files of `in-list()` so far.
    pub(super) lists: usize,
    pub(super) files: Files<'f>,
}

impl<'a, 'f> Parser<'a, 'f> {
    pub(crate) fn new(text: &'a str, files: Files<'f>) -> Result<Self, Fault> {
        if text.len() > TEXT_MAX {
            return Err((TEXT_MAX, format!("a rule has at most {TEXT_MAX} octets, but this one has {}", text.len())));
        }
        let mut lexer = Lexer::new(text);
        let next = lexer.token()?;
        Ok(Self { lexer, next, last_end: 0, depth: 0, nodes: 0, patterns: 0, lists: 0, files })
    }

    /// A filter up to a closing parenthesis that is not its own, or to the end.
    pub(crate) fn filter(&mut self) -> Result<Filter, Fault> {
        if self.next.token == Token::End {
            return Err((self.next.start, "the filter is empty; without the key every message passes".into()));
        }
        let start = self.next.start;
        let mut root = self.either()?;
        let text = self.lexer.text.get(start..self.last_end).unwrap_or_default().into();
        root.shift(start);
        Ok(Filter { text, root })
    }

    /// The end of the text; syslog-ng's statements end with a semicolon.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        if self.next.token == Token::Semicolon {
            self.advance()?;
        }
        match &self.next.token {
            Token::End => Ok(()),
            Token::Close => Err((self.next.start, "this ) closes nothing; take it out".into())),
            Token::Semicolon => Err((self.next.start, "a semicolon ends the filter; join filters with and".into())),
            token => Err((self.next.start, format!("{} follows here; join filters with and, or", token.name()))),
        }
    }

    fn either(&mut self) -> Result<Node, Fault> {
        self.chain("or", Self::both, Kind::Any)
    }

    fn both(&mut self) -> Result<Node, Fault> {
        self.chain("and", Self::negation, Kind::All)
    }

    fn chain(
        &mut self,
        word: &str,
        inner: fn(&mut Self) -> Result<Node, Fault>,
        kind: fn(Vec<Node>) -> Kind,
    ) -> Result<Node, Fault> {
        let start = self.next.start;
        let first = inner(self)?;
        if self.next.token != Token::Word(word) {
            return Ok(first);
        }
        let mut nodes = vec![first];
        while self.next.token == Token::Word(word) {
            self.advance()?;
            nodes.push(inner(self)?);
        }
        self.node(start, kind(nodes))
    }

    fn negation(&mut self) -> Result<Node, Fault> {
        let start = self.next.start;
        if self.next.token != Token::Word("not") {
            return self.single();
        }
        self.advance()?;
        self.deeper(start)?;
        let inner = self.negation()?;
        self.depth -= 1;
        self.node(start, Kind::Not(inner.into()))
    }

    fn single(&mut self) -> Result<Node, Fault> {
        let Spanned { token, start, .. } = self.next.clone();
        match token {
            Token::Open => {
                self.advance()?;
                self.deeper(start)?;
                let inner = self.either()?;
                self.depth -= 1;
                if self.next.token != Token::Close {
                    let found = self.next.token.name();
                    return Err((self.next.start, format!("{found} stands here where a ), and, or is expected")));
                }
                self.advance()?;
                Ok(inner)
            }
            Token::Word(word) if !is_operand(word) => {
                self.advance()?;
                if self.next.token != Token::Open {
                    return Err((start, functions::not_a_function(word)));
                }
                self.advance()?;
                let test = functions::function(self, word, start)?;
                self.node(start, Kind::Test(test))
            }
            Token::Word(_) | Token::Quoted(_) => {
                let test = self.comparison()?;
                self.node(start, Kind::Test(test))
            }
            token => Err((
                start,
                format!("{} stands here where a filter is expected, as program(\"cron\") is one", token.name()),
            )),
        }
    }

    fn comparison(&mut self) -> Result<Test, Fault> {
        let left = self.operand()?;
        let found = &self.next;
        let operator = match &found.token {
            Token::Word(word) | Token::Sign(word) => Operator::named(word),
            _ => None,
        };
        let Some(operator) = operator else {
            let why = "a text by itself is no filter; compare it with eq, ne, lt, le, ge, gt or ==, !=, <, <=, >=, >";
            return Err((found.start, why.into()));
        };
        self.advance()?;
        let right = self.operand()?;
        Ok(Test::Compare(Box::new(Comparison::new(left, operator, right))))
    }

    fn operand(&mut self) -> Result<Template, Fault> {
        match &self.next.token {
            Token::Word(word) if !is_operand(word) => {
                let why =
                    format!("{word} is a word here; write \"{word}\" for the text, \"${{{word}}}\" for the macro");
                Err((self.next.start, why))
            }
            Token::Word(_) | Token::Quoted(_) => {
                let start = self.next.start;
                let template = self.template(Template::parse)?;
                for one in template.macros() {
                    check_macro(one).map_err(|why| (start, why))?;
                }
                Ok(template)
            }
            token => {
                let why =
                    format!("{} stands here where a text or a number is expected, as \"${{HOST}}\"", token.name());
                Err((self.next.start, why))
            }
        }
    }

    /// A text as a template; `read` is one of the two ways to read one.
    pub(crate) fn template(
        &mut self,
        read: fn(&str) -> Result<Template, crate::template::TemplateError>,
    ) -> Result<Template, Fault> {
        let Spanned { start, end, .. } = self.next;
        let text = self.text("a text")?;
        read(&text).map_err(|error| {
            // Within a text that stands there as it is, the place can be told.
            let inner = text.char_indices().nth(error.column - 1).map_or(text.len(), |(at, _)| at);
            let exact = end - start == text.len() + 2 && error.line == 1;
            (if exact { start + 1 + inner } else { start }, error.text)
        })
    }

    /// A text or word, which must come next.
    pub(crate) fn text(&mut self, what: &str) -> Result<Cow<'a, str>, Fault> {
        let text = match &self.next.token {
            Token::Word(word) => Cow::Borrowed(*word),
            Token::Quoted(text) => text.clone(),
            token => return Err((self.next.start, format!("{} stands here where {what} is expected", token.name()))),
        };
        self.advance()?;
        Ok(text)
    }

    /// The token that comes next.
    pub(crate) fn peek(&self) -> &Spanned<'a> {
        &self.next
    }

    pub(crate) fn advance(&mut self) -> Result<(), Fault> {
        self.last_end = self.next.end;
        self.next = self.lexer.token()?;
        Ok(())
    }

    /// Whether another argument follows; takes the comma before it or the parenthesis after the last. As in syslog-ng
    /// commas between arguments may be left out.
    pub(crate) fn another(&mut self) -> Result<bool, Fault> {
        while self.next.token == Token::Comma {
            self.advance()?;
        }
        match self.next.token {
            Token::Close => {
                self.advance()?;
                Ok(false)
            }
            Token::End => Err((self.next.start, "a ) is missing here".into())),
            _ => Ok(true),
        }
    }

    /// The parenthesis that opens the arguments of `name`.
    pub(crate) fn open(&mut self, name: &str) -> Result<(), Fault> {
        if self.next.token != Token::Open {
            return Err((self.next.start, format!("a ( is missing after {name}")));
        }
        self.advance()
    }

    fn deeper(&mut self, at: usize) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err((at, format!("more than {DEPTH_MAX} filters within one another; write it flatter")));
        }
        Ok(())
    }

    fn node(&mut self, start: usize, kind: Kind) -> Result<Node, Fault> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err((start, format!("more than {NODES_MAX} functions and operators; use in-list() or a regex")));
        }
        Ok(Node { start, end: self.last_end, kind })
    }
}

impl Node {
    /// Makes places count from where the filter begins.
    fn shift(&mut self, by: usize) {
        self.start -= by;
        self.end -= by;
        match &mut self.kind {
            Kind::All(nodes) | Kind::Any(nodes) => nodes.iter_mut().for_each(|node| node.shift(by)),
            Kind::Not(node) => node.shift(by),
            Kind::Test(_) => {}
        }
    }
}

/// Whether a word without quotes is a side of a comparison: a number or a template.
fn is_operand(word: &str) -> bool {
    word.contains('$') || super::compare::number(word.as_bytes()).is_some()
}

/// Filters decide about messages alone, the same on every relay.
pub(super) fn check_macro(one: &Macro) -> Result<(), String> {
    match one {
        Macro::Known(Known::LogHost | Known::HostId | Known::UniqId) => {
            Err("filters do not know the relay that they run on; leave LOGHOST, HOSTID and UNIQID out".into())
        }
        _ => Ok(()),
    }
}
