//! CSV (RFC 4180) with a header line of `[[host]]` keys.

use std::borrow::Cow;

use csv::{ReaderBuilder, StringRecord, Trim};

use super::split_list;
use crate::source::{Entry, Field, HOST_KEYS, Item, Kind, Mark, Page, Value, quoted, read, suggestion};

/// Reads CSV onto a page whose marks are lines.
pub(super) fn read_csv(mut page: Page<'_>, text: &str) {
    let mut reader = ReaderBuilder::new().flexible(true).trim(Trim::All).from_reader(text.as_bytes());
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(cause) => return page.fault(1, "", format!("this is not CSV: {cause}")),
    };
    let wide = header.len();
    if !header_is_good(&mut page, &header) {
        return;
    }
    let mut record = StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return,
            Err(cause) => return page.fault(0, "", format!("this is not CSV: {cause}")),
        }
        let at = line(text, &record);
        if record.len() != wide {
            let text = format!(
                "this line has {} cells, but the header has {wide}; commas within a cell need quotes",
                record.len()
            );
            page.fault(at, "", text);
            continue;
        }
        let cells = header.iter().zip(record.iter());
        let fields = cells.map(|(key, cell)| field(&mut page, key, at, cell)).collect();
        read(&mut page, Kind::Host, Entry { at, label: None, fields });
    }
}

/// The line of a record. The reader's own position is before the empty lines that it skips.
fn line(text: &str, record: &StringRecord) -> Mark {
    let Some(position) = record.position() else { return 0 };
    let rest = usize::try_from(position.byte()).ok().and_then(|at| text.as_bytes().get(at..)).unwrap_or_default();
    let skipped = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).filter(|byte| **byte == b'\n').count();
    Mark::try_from(position.line() + skipped as u64).unwrap_or(0)
}

fn header_is_good(page: &mut Page<'_>, header: &StringRecord) -> bool {
    let mut good = true;
    for (place, key) in header.iter().enumerate() {
        let text = if !HOST_KEYS.contains(&key) {
            format!("no such column; {}known: {}", suggestion(key, HOST_KEYS), HOST_KEYS.join(", "))
        } else if header.iter().take(place).any(|earlier| earlier == key) {
            "this column is there twice; remove one".to_owned()
        } else {
            continue;
        };
        page.fault(1, quoted(key).trim_matches('"'), text);
        good = false;
    }
    for key in ["name", "zone", "private_ip"] {
        if !header.iter().any(|given| given == key) {
            page.fault(1, key, "this column is missing; the header has at least name, zone and private_ip");
            good = false;
        }
    }
    good
}

fn field<'a>(page: &mut Page<'_>, key: &'a str, at: Mark, cell: &'a str) -> Field<'a> {
    let text = |text: &'a str| Value::Text(Cow::Borrowed(text));
    let value = match key {
        _ if cell.is_empty() => Value::Nothing,
        "roles" | "groups" => Value::List(split_list(cell).map(|part| Item { at, value: text(part) }).collect()),
        "tags" => {
            let mut tags = Vec::new();
            for part in cell.split(';').map(str::trim).filter(|part| !part.is_empty()) {
                match part.split_once('=') {
                    Some((key, value)) => {
                        tags.push(Field { key: Cow::Borrowed(key.trim()), at, value: text(value.trim()) });
                    }
                    None => page.fault(at, "tags", format!("{} is no tag; write key=value;key=value", quoted(part))),
                }
            }
            Value::Table(tags)
        }
        _ => text(cell),
    };
    Field { key: Cow::Borrowed(key), at, value }
}
