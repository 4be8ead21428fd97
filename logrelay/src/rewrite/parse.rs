//! The syntax of rewrite rules: that of functions in filters, with texts that are templates.

use super::{Action, Subst, apply};
use crate::{
    filter::{
        Fault, Files, Filter, Options, Parser, PatternKind, Token, close, compile, facility_named, severity_named,
    },
    message::{FACILITIES, SEVERITIES},
    template::{Settable, Template, nearest},
};

const NAMES: [&str; 9] =
    ["set", "unset", "subst", "rename", "set-tag", "clear-tag", "set-severity", "set-facility", "set-pri"];

/// What may follow the texts of a rule.
struct Rest {
    options: Options,
    condition: Option<Filter>,
}

/// Reads a rule.
pub(super) fn parse(text: &str, files: Files<'_>) -> Result<(Action, Option<Filter>), Fault> {
    let mut parser = Parser::new(text, files)?;
    let start = parser.peek().start;
    if parser.peek().token == Token::End {
        return Err((start, "the rewrite rule is empty; take it out of the list".into()));
    }
    let name = parser.text("a rewrite rule, as set(\"x\", value(\"y\"))")?.replace('_', "-");
    if !NAMES.contains(&&*name) {
        return Err((start, unknown(&name)));
    }
    parser.open(&name)?;
    let rule = rule(&mut parser, &name, start)?;
    parser.end().map_err(|(at, _)| (at, "one text has one rule; write the next one as a text of its own".into()))?;
    Ok(rule)
}

fn unknown(name: &str) -> String {
    match name {
        "groupset" | "groupunset" => format!("{name} is not known here; write a set or unset for each name"),
        "set-matches" | "unset-matches" => format!("{name} is not known here; matches live in subst() only"),
        _ => match nearest(name, NAMES) {
            Some(near) => format!("{name} is no rewrite rule; is {near}(...) meant?"),
            None => format!("{name} is no rewrite rule; there are {}", NAMES.join(", ")),
        },
    }
}

fn rule(parser: &mut Parser<'_, '_>, name: &str, start: usize) -> Result<(Action, Option<Filter>), Fault> {
    let action = match name {
        "set" => {
            let template = argument(parser)?;
            let rest = rest(parser, &["value"])?;
            (Action::Set(target(rest.options, start)?, template), rest.condition)
        }
        "unset" => {
            let rest = rest(parser, &["value"])?;
            (Action::Unset(target(rest.options, start)?), rest.condition)
        }
        "subst" => return subst(parser, start),
        "rename" => {
            let (from, to) = (settable(parser)?, settable(parser)?);
            if from == to {
                return Err((start, "rename() takes two different names".into()));
            }
            (Action::Rename(from, to), rest(parser, &[])?.condition)
        }
        "set-tag" => (Action::SetTag(argument(parser)?), rest(parser, &[])?.condition),
        "clear-tag" => (Action::ClearTag(argument(parser)?), rest(parser, &[])?.condition),
        "set-severity" => {
            let template = checked(parser, "severity", severity_named, &SEVERITIES)?;
            (Action::Severity(template), rest(parser, &[])?.condition)
        }
        "set-facility" => {
            let template = checked(parser, "facility", facility_named, &FACILITIES)?;
            (Action::Facility(template), rest(parser, &[])?.condition)
        }
        _ => {
            let template = checked(parser, "PRI; it goes from 0 to 191", apply::pri, &[])?;
            (Action::Pri(template), rest(parser, &[])?.condition)
        }
    };
    Ok(action)
}

fn subst(parser: &mut Parser<'_, '_>, start: usize) -> Result<(Action, Option<Filter>), Fault> {
    let at = parser.peek().start;
    next(parser)?;
    let pattern = parser.text("a pattern")?;
    next(parser)?;
    let replacement = parser.template(Template::parse_replacement)?;
    let Rest { options, condition } = rest(parser, &["value", "type", "flags"])?;
    options.check(at)?;
    let (kind, flags) = (options.kind.unwrap_or_default(), options.flags);
    if kind == PatternKind::Glob {
        return Err((at, "subst() cannot search for a glob; use type(pcre), in which .* is the glob's *".into()));
    }
    let regex = compile(&pattern, kind, flags).map_err(|why| (at, why))?;
    let has_groups = replacement.greatest_group().is_some_and(|group| group > 0);
    if let Some(group) = replacement.greatest_group()
        && usize::from(group) >= regex.captures_len()
    {
        let groups = regex.captures_len() - 1;
        return Err((
            at,
            format!("the replacement names ${group}, but the pattern has {groups} groups in parentheses"),
        ));
    }
    let target = target(options, start)?;
    let subst = Subst { target, regex, replacement, has_groups, is_global: flags.global };
    Ok((Action::Subst(Box::new(subst)), condition))
}

/// Whether an argument follows, which must.
fn next(parser: &mut Parser<'_, '_>) -> Result<(), Fault> {
    let at = parser.peek().start;
    match parser.another()? {
        true => Ok(()),
        false => Err((at, "an argument is missing before this )".into())),
    }
}

fn argument(parser: &mut Parser<'_, '_>) -> Result<Template, Fault> {
    next(parser)?;
    parser.template(Template::parse)
}

fn settable(parser: &mut Parser<'_, '_>) -> Result<Settable, Fault> {
    next(parser)?;
    let at = parser.peek().start;
    let name = parser.text("a name, as \".app.user\"")?;
    Settable::named(&name).map_err(|why| (at, why))
}

/// A template that must make a name; a constant one can be checked now.
fn checked(
    parser: &mut Parser<'_, '_>,
    what: &str,
    read: fn(&str) -> Option<u8>,
    names: &[&str],
) -> Result<Template, Fault> {
    next(parser)?;
    let at = parser.peek().start;
    let template = parser.template(Template::parse)?;
    if let Some(text) = template.as_constant()
        && read(text).is_none()
    {
        let hint = match nearest(text, names.iter().copied()) {
            Some(near) => format!("; is {near} meant?"),
            None if names.is_empty() => String::new(),
            None => format!("; there are {}", names.join(", ")),
        };
        return Err((at, format!("{text:?} is no {what}{hint}")));
    }
    Ok(template)
}

/// The options after the texts, up to and with the closing parenthesis.
fn rest(parser: &mut Parser<'_, '_>, allowed: &[&str]) -> Result<Rest, Fault> {
    let mut rest = Rest { options: Options::default(), condition: None };
    while parser.another()? {
        let at = parser.peek().start;
        let name = parser.text("an option, as condition(...)")?;
        if name == "condition" {
            parser.open("condition")?;
            rest.condition = Some(parser.filter()?);
            close(parser, "condition")?;
        } else if !allowed.contains(&&*name) || !rest.options.read(parser, &name, at)? {
            let known: Vec<_> = allowed.iter().chain(&["condition"]).map(|name| format!("{name}(...)")).collect();
            return Err((at, format!("{name:?} is no option of this rule; it takes {}", known.join(", "))));
        }
    }
    Ok(rest)
}

fn target(options: Options, start: usize) -> Result<Settable, Fault> {
    match options.value {
        Some((at, name)) => Settable::named(&name).map_err(|why| (at, why)),
        None => Err((start, "the rule does not say what to change; add value(\"MESSAGE\") or another name".into())),
    }
}
