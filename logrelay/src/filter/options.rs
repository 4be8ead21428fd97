//! Options within functions: `type()`, `flags()`, `value()`, `template()`.

use super::{
    lexer::Fault,
    parse::{Parser, check_macro},
    pattern::{Flags, Kind},
};
use crate::template::{Template, bare, nearest};

/// Options within a function.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) kind: Option<Kind>,
    pub(crate) flags: Flags,
    pub(crate) value: Option<(usize, String)>,
    pub(crate) template: Option<Template>,
    /// Where `flags(store-matches)` stands: subst() does so anyway, filters change nothing.
    stores_matches: Option<usize>,
}

/// `type()`, `flags()`, `value()` and `template()` up to and with the closing parenthesis.
pub(super) fn options(parser: &mut Parser<'_, '_>) -> Result<Options, Fault> {
    let mut options = Options::default();
    while parser.another()? {
        let at = parser.peek().start;
        let name = parser.text("type(), flags() or value()")?;
        if !options.read(parser, &name, at)? {
            let near = nearest(&name, ["type", "flags", "value", "template"]).unwrap_or("type");
            return Err((at, format!("{name:?} is no option here; is {near}(...) meant?")));
        }
    }
    if let Some(at) = options.stores_matches {
        let why = "filters store no matches; take parts of a text with subst(\"(...)\", \"$1\", value(\"NAME\"))";
        return Err((at, why.into()));
    }
    options.check(parser.peek().start)?;
    Ok(options)
}

impl Options {
    /// Reads the option `name`; false if it is none of these.
    pub(crate) fn read(&mut self, parser: &mut Parser<'_, '_>, name: &str, at: usize) -> Result<bool, Fault> {
        match name {
            "type" => self.kind = Some(kind(parser)?),
            "flags" => self.flags(parser)?,
            "value" => {
                parser.open(name)?;
                let at = parser.peek().start;
                let text = parser.text("a name, as MESSAGE")?;
                let text = bare(&text);
                if text.is_empty() || text.contains(['$', '(', '{', '}']) {
                    return Err((
                        at,
                        "value() takes one name, as value(\"MESSAGE\"); for texts there is template()".into(),
                    ));
                }
                self.value = Some((at, text.into()));
                close(parser, name)?;
            }
            "template" => {
                parser.open(name)?;
                let template = parser.template(Template::parse)?;
                for one in template.macros() {
                    check_macro(one).map_err(|why| (at, why))?;
                }
                self.template = Some(template);
                close(parser, name)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn flags(&mut self, parser: &mut Parser<'_, '_>) -> Result<(), Fault> {
        parser.open("flags")?;
        while parser.another()? {
            let at = parser.peek().start;
            let flag = parser.text("a flag")?.replace('_', "-");
            match &*flag {
                "ignore-case" | "icase" => self.flags.ignore_case = true,
                "substring" => self.flags.substring = true,
                "prefix" => self.flags.prefix = true,
                "global" => self.flags.global = true,
                "utf8" | "unicode" => self.flags.utf8 = true,
                // They are about syslog-ng's engine alone.
                "disable-jit" | "dupnames" | "newline" => {}
                "store-matches" => self.stores_matches = Some(at),
                _ => {
                    let near = nearest(&flag, ["ignore-case", "substring", "prefix", "global", "utf8"]);
                    return Err((at, format!("{flag:?} is no flag; is {} meant?", near.unwrap_or("ignore-case"))));
                }
            }
        }
        Ok(())
    }

    /// Whether the options go together.
    pub(crate) fn check(&self, at: usize) -> Result<(), Fault> {
        if self.kind != Some(Kind::Text) && (self.flags.prefix || self.flags.substring) {
            return Err((at, "flags(prefix) and flags(substring) need type(string); a regex has ^ instead".into()));
        }
        Ok(())
    }
}

fn kind(parser: &mut Parser<'_, '_>) -> Result<Kind, Fault> {
    parser.open("type")?;
    let at = parser.peek().start;
    let kind = match &*parser.text("pcre, glob or string")? {
        "pcre" | "posix" => Kind::Pcre,
        "glob" => Kind::Glob,
        "string" => Kind::Text,
        other => return Err((at, format!("{other:?} is no type; there are pcre, glob and string"))),
    };
    close(parser, "type")?;
    Ok(kind)
}

/// The parenthesis after the last argument of `name`.
pub(crate) fn close(parser: &mut Parser<'_, '_>, name: &str) -> Result<(), Fault> {
    let at = parser.peek().start;
    match parser.another()? {
        false => Ok(()),
        true => Err((at, format!("{name}() takes no more than one of these"))),
    }
}
