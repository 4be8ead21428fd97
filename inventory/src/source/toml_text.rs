//! TOML into the tree of fields.

use std::sync::Arc;

use compact_str::format_compact;
use toml::{
    Spanned,
    de::{DeTable, DeValue, Error},
};

use super::{
    Defaults, Entry, Fault, Faults, Field, Item, Kind, Lines, Located, Mark, Page, Value, check,
    fault::{quoted, suggestion},
    folder::FILE_OCTETS_MAX,
    row,
};

/// Up to this size all syntax faults are listed. Beyond it only the first is, because the parser
/// collects without a limit.
const ALL_SYNTAX_FAULTS_OCTETS: usize = 1 << 20;
const TABLES: &[(&str, Kind)] =
    &[("host", Kind::Host), ("record", Kind::Record), ("role", Kind::Role), ("grant", Kind::Grant)];

/// Reads one inventory file. Rows get the source `file:<file>`.
///
/// # Errors
/// All faults of the text, by line, up to [`super::FAULTS_MAX`].
pub fn parse_toml(text: &str, file: &str, defaults: &Defaults) -> Result<Vec<Located>, Vec<Fault>> {
    let (mut rows, mut faults) = (Vec::new(), Faults::default());
    let page = Page {
        file: Arc::from(file),
        source: format_compact!("file:{file}"),
        defaults,
        lines: Lines::of(text),
        rows: &mut rows,
        faults: &mut faults,
    };
    read_toml(page, text);
    check::conflicts(&rows, &mut faults);
    if faults.is_empty() { Ok(rows) } else { Err(faults.into_sorted()) }
}

/// Reads TOML onto a page whose marks are byte offsets of `text`.
pub(crate) fn read_toml(mut page: Page<'_>, text: &str) {
    if text.len() > FILE_OCTETS_MAX {
        page.fault(0, "", format!("{} octets are too many, a file holds {FILE_OCTETS_MAX}; split it", text.len()));
        return;
    }
    let root = if text.len() <= ALL_SYNTAX_FAULTS_OCTETS {
        let (root, errors) = DeTable::parse_recoverable(text);
        errors.iter().for_each(|error| syntax(&mut page, text, error));
        if !errors.is_empty() {
            return;
        }
        root
    } else {
        match DeTable::parse(text) {
            Ok(root) => root,
            Err(error) => return syntax(&mut page, text, &error),
        }
    };
    for (key, value) in root.into_inner() {
        let Some((name, kind)) = TABLES.iter().find(|(name, _)| *name == key.get_ref()) else {
            let names: Vec<&str> = TABLES.iter().map(|(name, _)| *name).collect();
            let near = suggestion(key.get_ref(), &names);
            let text = format!("no such table; {near}known: [[host]], [[record]], [[role]], [[grant]]");
            page.fault(mark(&key), quoted(key.get_ref()).trim_matches('"'), text);
            continue;
        };
        let at = mark(&value);
        match value.into_inner() {
            DeValue::Array(entries) => entries.into_iter().for_each(|entry| read_entry(&mut page, name, *kind, entry)),
            DeValue::Table(_) => {
                page.fault(at, name, format!("one of several belongs in double brackets; write [[{name}]]"));
            }
            other => {
                page.fault(at, name, format!("this is {}, but tables belong here; write [[{name}]]", kind_of(&other)))
            }
        }
    }
}

fn read_entry(page: &mut Page<'_>, name: &str, kind: Kind, entry: Spanned<DeValue<'_>>) {
    let at = mark(&entry);
    match entry.into_inner() {
        DeValue::Table(table) => row::read(page, kind, Entry { at, label: None, fields: fields(table) }),
        other => page.fault(at, name, format!("this is {}, but tables belong here; write [[{name}]]", kind_of(&other))),
    }
}

fn syntax(page: &mut Page<'_>, text: &str, error: &Error) {
    let at = error.span().map_or(0, |span| u32::try_from(span.start).unwrap_or(0));
    page.fault(at, key_on_line(text, at), format!("this is not TOML: {}", error.message()));
}

/// The bare key of the line at `at`, so that a syntax fault names it too; empty when there is none.
fn key_on_line(text: &str, at: Mark) -> &str {
    let at = text.floor_char_boundary(at as usize);
    let begin = text[..at].rfind('\n').map_or(0, |feed| feed + 1);
    let line = text[begin..].lines().next().unwrap_or_default();
    let key = line.split('=').next().unwrap_or_default().trim();
    let bare = key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if bare { key } else { "" }
}

fn mark<T>(value: &Spanned<T>) -> Mark {
    // Files are far smaller than 4 GiB, so positions fit.
    u32::try_from(value.span().start).unwrap_or(Mark::MAX)
}

fn fields(table: DeTable<'_>) -> Vec<Field<'_>> {
    let field = |(key, value): (Spanned<_>, Spanned<_>)| Field {
        at: mark(&key),
        key: key.into_inner(),
        value: tree(value.into_inner()),
    };
    table.into_iter().map(field).collect()
}

fn tree(value: DeValue<'_>) -> Value<'_> {
    match value {
        DeValue::String(text) => Value::Text(text),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Whole(number),
            Err(_) => Value::Other("a number beyond 64 bits"),
        },
        DeValue::Array(items) => Value::List(
            items.into_iter().map(|item| Item { at: mark(&item), value: tree(item.into_inner()) }).collect(),
        ),
        DeValue::Table(table) => Value::Table(fields(table)),
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        other => Value::Other(kind_of(&other)),
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
