//! Filters and rewrite rules as text in our language, which is syslog-ng's: what is named is put in where it is named.

use super::{
    At, DEPTH_MAX, Notes, TEXT_MAX,
    tree::{Call, Config, Item},
};

/// Functions of filters that mean the same here.
const FUNCTIONS: [&str; 12] = [
    "facility", "level", "severity", "program", "host", "message", "match", "netmask", "netmask6", "tags", "in-list",
    "source",
];
/// Options within them.
const OPTIONS: [&str; 4] = ["value", "type", "flags", "template"];
/// Rewrite rules that mean the same here.
const RULES: [&str; 9] =
    ["set", "unset", "subst", "rename", "set-tag", "clear-tag", "set-severity", "set-facility", "set-pri"];

/// A filter could not be said in our language; the reason is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Untranslated;

/// The text of a filter.
pub(super) fn filter(config: &Config, items: &[Item], at: At, notes: &mut Notes) -> Result<String, Untranslated> {
    let mut writer = Writer { config, notes, text: String::new(), at };
    writer.items(items, true, 0)?;
    Ok(writer.text)
}

/// The text of a named filter.
pub(super) fn named(config: &Config, name: &str, at: At, notes: &mut Notes) -> Result<String, Untranslated> {
    let mut writer = Writer { config, notes, text: String::new(), at };
    writer.named(name, 0)?;
    Ok(writer.text)
}

/// The texts of the rules of a rewrite object; those that are not known here are noted and left out.
pub(super) fn rules(config: &Config, items: &[Item], notes: &mut Notes) -> Vec<String> {
    let mut rules = Vec::new();
    for item in items {
        let Item::Call(call) = item else { continue };
        if !RULES.contains(&&*call.name) {
            notes.add(call.at, format!("there is no rewrite rule {}() here; it is left out", call.name));
            continue;
        }
        let mut writer = Writer { config, notes, text: String::new(), at: call.at };
        let done = writer.call(call, false, 0);
        if let (Ok(()), text) = (done, writer.text) {
            rules.push(text);
        }
    }
    rules
}

/// Puts expressions together so that all must hold.
pub(super) fn all(parts: &[String]) -> Option<String> {
    match parts {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(many.iter().map(|part| closed(part)).collect::<Vec<_>>().join(" and ")),
    }
}

/// What holds where the expression does not.
pub(super) fn none_of(part: &str) -> String {
    format!("not {}", closed(part))
}

/// With parentheses if the text is more than one function.
fn closed(text: &str) -> String {
    let mut depth = 0;
    let mut quote = None;
    let mut escaped = false;
    let is_one = !text.chars().any(|c| {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            // A blank outside of parentheses: there is an operator.
            (None, ' ') => return depth == 0,
            _ => {}
        }
        false
    });
    if is_one { text.to_owned() } else { format!("({text})") }
}

struct Writer<'c, 'n> {
    config: &'c Config,
    notes: &'n mut Notes,
    text: String,
    at: At,
}

impl Writer<'_, '_> {
    /// `is_filter`: the items are an expression, and not the arguments of a function.
    fn items(&mut self, items: &[Item], is_filter: bool, depth: usize) -> Result<(), Untranslated> {
        if depth > DEPTH_MAX {
            return self.fail(format!("filters name one another more than {DEPTH_MAX} deep, or in a circle"));
        }
        for (i, item) in items.iter().enumerate() {
            let glued =
                matches!(item, Item::Comma | Item::Dots) || matches!(items.get(i.wrapping_sub(1)), Some(Item::Dots));
            if i > 0 && !glued {
                self.text.push(' ');
            }
            match item {
                Item::Word(word) if is_filter && !is_word_of_filters(word) => {
                    return self.fail(format!("{word:?} in a filter is not known here"));
                }
                Item::Word(word) => self.text.push_str(word),
                Item::Quoted { raw, .. } => self.text.push_str(raw),
                Item::Comma => self.text.push(','),
                Item::Dots => self.text.push_str(".."),
                Item::Call(call) => self.call(call, is_filter, depth)?,
                Item::Group(items) => {
                    self.text.push('(');
                    self.items(items, is_filter, depth + 1)?;
                    self.text.push(')');
                }
                Item::Block(_) => return self.fail("a brace within a filter is not known here"),
            }
            if self.text.len() > TEXT_MAX {
                return self.fail(format!("the filter with all filters that it names has more than {TEXT_MAX} octets"));
            }
        }
        Ok(())
    }

    fn call(&mut self, call: &Call, is_filter: bool, depth: usize) -> Result<(), Untranslated> {
        self.at = call.at;
        if is_filter && call.name == "filter" {
            return self.reference(call, depth);
        }
        let name = match &*call.name {
            "priority" => "level",
            "msg" => "message",
            "inlist" => "in-list",
            name => name,
        };
        if is_filter && !FUNCTIONS.contains(&name) {
            return self.fail(match name {
                "throttle" | "rate-limit" => {
                    format!(
                        "there is no filter {name}() here; see `rate` in [logrelay.role.NAME] and [logrelay.limits]"
                    )
                }
                _ => format!("there is no filter {name}() here"),
            });
        }
        self.text.push_str(name);
        self.text.push('(');
        if !is_filter && name == "condition" {
            self.items(&call.items, true, depth + 1)?;
        } else if is_filter || RULES.contains(&name) || OPTIONS.contains(&name) {
            self.items(&call.items, false, depth + 1)?;
        } else {
            return self.fail(format!("the option {name}() is not known here"));
        }
        self.text.push(')');
        Ok(())
    }

    /// What a named filter says, which stands within a greater one.
    fn reference(&mut self, call: &Call, depth: usize) -> Result<(), Untranslated> {
        let start = self.text.len();
        self.named(call.first().unwrap_or_default(), depth)?;
        let inner = closed(self.text.get(start..).unwrap_or_default());
        self.text.truncate(start);
        self.text.push_str(&inner);
        Ok(())
    }

    fn named(&mut self, name: &str, depth: usize) -> Result<(), Untranslated> {
        let config = self.config;
        let Some((_, body)) = config.filters.get(name) else {
            return self.fail(format!("there is no filter {name:?}"));
        };
        for (i, statement) in body.iter().enumerate() {
            self.at = statement.at;
            if i > 0 {
                self.text.push_str(" and ");
            }
            self.items(&statement.items, true, depth + 1)?;
        }
        Ok(())
    }

    fn fail(&mut self, text: impl Into<String>) -> Result<(), Untranslated> {
        self.notes.add(self.at, text);
        Err(Untranslated)
    }
}

/// Operators, and texts without quotes that are compared.
fn is_word_of_filters(word: &str) -> bool {
    let operators = ["and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "==", "!=", "<", "<=", ">", ">="];
    operators.contains(&word) || word.starts_with('$') || word.parse::<f64>().is_ok()
}
