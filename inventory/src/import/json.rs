//! JSON: arrays of hosts, single hosts (NDJSON), or `{"hosts": [], "records": [], "roles": [],
//! "grants": []}`; any number of such documents one after the other. What the API lists can be imported again: `source` is ignored.
//!
//! Values are read into the tree of fields with the line that the reader had reached. Nesting is
//! limited by the parser (128 levels).

use std::{
    borrow::Cow,
    cell::Cell,
    fmt,
    io::{self, Read},
};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::source::{Entry, Field, Item, Kind, Page, Value, quoted, read, suggestion};

/// Keys that a host has and the object of lists has not; `roles` is a key of both.
const OF_A_HOST: [&str; 3] = ["name", "zone", "private_ip"];
/// A key of the API's answers: who defines the row. Here the import does.
const SOURCE: &str = "source";
const TABLES: &[(&str, Kind)] =
    &[("hosts", Kind::Host), ("records", Kind::Record), ("roles", Kind::Role), ("grants", Kind::Grant)];

/// Reads JSON onto a page whose marks are lines.
pub(super) fn read_json(mut page: Page<'_>, text: &str) {
    let line = Cell::new(1);
    let mut json = serde_json::Deserializer::from_reader(Counting { rest: text.as_bytes(), line: &line });
    while json.end().is_err() {
        let at = line.get();
        match (Tree { line: &line }).deserialize(&mut json) {
            Ok(value) => document(&mut page, at, value),
            Err(cause) => return syntax(&mut page, &cause),
        }
    }
}

/// A fault for text that is not JSON; the place goes where every fault has it.
pub(super) fn syntax(page: &mut Page<'_>, cause: &serde_json::Error) {
    let text = cause.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    page.fault(u32::try_from(cause.line()).unwrap_or(0), "", format!("this is not the JSON that belongs here: {text}"));
}

fn document(page: &mut Page<'_>, at: u32, value: Value<'_>) {
    match value {
        Value::List(items) => items.into_iter().for_each(|item| entry(page, Kind::Host, item)),
        Value::Table(fields) if is_lists(&fields) => fields.into_iter().for_each(|field| table(page, field)),
        Value::Table(fields) => entry(page, Kind::Host, Item { at, value: Value::Table(fields) }),
        other => page.fault(at, "", format!("this is {}, but a list of hosts belongs here", other.kind())),
    }
}

fn is_lists(fields: &[Field<'_>]) -> bool {
    let has = |name: &str| fields.iter().any(|field| field.key == name);
    TABLES.iter().any(|(name, _)| has(name)) && !OF_A_HOST.into_iter().any(has)
}

fn table(page: &mut Page<'_>, field: Field<'_>) {
    let Some((_, kind)) = TABLES.iter().find(|(name, _)| *name == field.key) else {
        let names: Vec<&str> = TABLES.iter().map(|(name, _)| *name).collect();
        let text = format!("no such list; {}known: {}", suggestion(&field.key, &names), names.join(", "));
        return page.fault(field.at, quoted(&field.key).trim_matches('"'), text);
    };
    match field.value {
        Value::List(items) => items.into_iter().for_each(|item| entry(page, *kind, item)),
        Value::Nothing => {}
        other => {
            page.fault(field.at, &field.key, format!("this is {}, but a list of objects belongs here", other.kind()))
        }
    }
}

fn entry(page: &mut Page<'_>, kind: Kind, item: Item<'_>) {
    match item.value {
        Value::Table(mut fields) => {
            fields.retain(|field| field.key != SOURCE);
            read(page, kind, Entry { at: item.at, label: None, fields });
        }
        other => page.fault(item.at, "", format!("this is {}, but an object belongs here", other.kind())),
    }
}

/// Hands out bytes and counts the lines that begin.
struct Counting<'t> {
    rest: &'t [u8],
    line: &'t Cell<u32>,
}

impl Read for Counting<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        // One byte at a time, which is also how the parser asks: so the line is that of the last token.
        let (Some((byte, rest)), Some(slot)) = (self.rest.split_first(), to.first_mut()) else { return Ok(0) };
        *slot = *byte;
        self.rest = rest;
        self.line.set(self.line.get() + u32::from(*byte == b'\n'));
        Ok(1)
    }
}

/// Builds the tree, remembering lines.
#[derive(Clone, Copy)]
struct Tree<'l> {
    line: &'l Cell<u32>,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value<'static>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Value::Whole(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(number).map_or(Value::Other("a number beyond 64 bits"), Value::Whole))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Value::Other("a number with a point"))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        // An element's line is where it begins: for objects, that of their opening brace.
        while let Some((at, value)) = list.next_element_seed(Begun(self))? {
            items.push(Item { at, value });
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let at = self.line.get();
            fields.push(Field { key: Cow::Owned(key), at, value: map.next_value_seed(self)? });
        }
        Ok(Value::Table(fields))
    }
}

/// A value with the line at which it begins.
struct Begun<'l>(Tree<'l>);

impl<'de> DeserializeSeed<'de> for Begun<'_> {
    type Value = (u32, Value<'static>);

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        // The parser has looked at the first byte of the element before it calls.
        let at = self.0.line.get();
        Ok((at, self.0.deserialize(from)?))
    }
}
