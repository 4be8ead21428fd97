//! Records of LDIF as entries.

use std::{collections::HashMap, sync::Arc};

use inventory::{Attribute, Entry, EntryId, Value};

use super::{
    ENTRIES_MAX, FAULTS_MAX, LdifError,
    lines::{Line, Lines},
};
use crate::follow::entry;

/// What is collected while the lines of a file go by.
#[derive(Default)]
struct Reading {
    entries: Vec<Arc<Entry>>,
    /// The line of each identity.
    seen: HashMap<EntryId, usize>,
    /// The line of each DN, as `follow` compares them.
    names: HashMap<EntryId, usize>,
    faults: Vec<LdifError>,
    record: Option<Record>,
    /// The rest of this record is passed over: something in it was wrong already.
    skipping: bool,
    /// Something else than `version` was there.
    begun: bool,
}

/// A record that is being read.
struct Record {
    line: usize,
    dn: String,
    attributes: Vec<(String, Vec<Value>)>,
    /// Where an attribute stands, by its name in lower case.
    index: HashMap<String, usize>,
}

/// The entries that the lines make up.
pub(super) fn entries(lines: Lines<'_>) -> Result<Vec<Arc<Entry>>, Vec<LdifError>> {
    let mut reading = Reading::default();
    for (number, line) in lines {
        match line {
            Ok(Line::Blank) => reading.end(),
            Ok(Line::Pair { name, value }) => reading.pair(number, name, value),
            Err(fault) => reading.wrong(fault),
        }
        if reading.faults.len() >= FAULTS_MAX {
            reading.faults.push(LdifError::of_file("there is more; mend these first"));
            return Err(reading.faults);
        }
        if reading.entries.len() > ENTRIES_MAX {
            return Err(vec![LdifError::at(
                number,
                format!("there are more than {ENTRIES_MAX} entries; follow a server instead"),
            )]);
        }
    }
    reading.end();
    if reading.faults.is_empty() { Ok(reading.entries) } else { Err(reading.faults) }
}

impl Reading {
    fn wrong(&mut self, fault: LdifError) {
        self.faults.push(fault);
        (self.record, self.skipping, self.begun) = (None, true, true);
    }

    fn pair(&mut self, line: usize, name: String, value: Vec<u8>) {
        if self.skipping {
            return;
        }
        let lower = name.to_ascii_lowercase();
        let Some(record) = &mut self.record else {
            let begun = std::mem::replace(&mut self.begun, true);
            return match lower.as_str() {
                "dn" => self.begin(line, value),
                "version" if !begun && value == b"1" => {}
                "version" => self.wrong(LdifError::at(line, "only version: 1 is known, and only as the first line")),
                _ => self.wrong(LdifError::at(line, format!("a record begins with dn:, but here stands {name}:"))),
            };
        };
        match lower.as_str() {
            "changetype" | "control" => {
                let text = "this is a change record; the file must hold entries, as slapcat and ldapsearch write them";
                self.wrong(LdifError::at(line, text));
            }
            "dn" => self.wrong(LdifError::at(line, "a second dn: in one record; put an empty line between records")),
            _ => match record.index.get(&lower).and_then(|at| record.attributes.get_mut(*at)) {
                Some((_, values)) => values.push(Value::from(value)),
                None => {
                    record.index.insert(lower, record.attributes.len());
                    record.attributes.push((name, vec![Value::from(value)]));
                }
            },
        }
    }

    fn begin(&mut self, line: usize, dn: Vec<u8>) {
        let Ok(dn) = String::from_utf8(dn) else {
            return self.wrong(LdifError::at(line, "the DN is not UTF-8; convert the file"));
        };
        if dn.is_empty() || entry::rdns(&dn).iter().any(|rdn| !rdn.contains('=')) {
            let text = format!("{dn:?} is no DN; write it as uid=ada,ou=people,dc=acme,dc=private");
            return self.wrong(LdifError::at(line, text));
        }
        self.record = Some(Record { line, dn, attributes: Vec::new(), index: HashMap::new() });
    }

    /// The end of a record.
    fn end(&mut self) {
        self.skipping = false;
        let Some(record) = self.record.take() else { return };
        let line = record.line;
        let given = record.index.get("entryuuid").and_then(|at| record.attributes.get(*at)).map(|(_, values)| values);
        let wrong_id = given
            .and_then(|values| values.first())
            .filter(|value| value.text().and_then(|text| text.parse::<EntryId>().ok()).is_none());
        if wrong_id.is_some() {
            return self.faults.push(LdifError::at(line, "its entryUUID is no UUID; leave it out to have one made"));
        }
        if !record.index.contains_key("objectclass") {
            return self.faults.push(LdifError::at(line, "the entry has no objectClass; add one"));
        }
        let attributes = record.attributes.into_iter().map(|(name, v)| Attribute(name.into(), v.into())).collect();
        let entry = entry::identified(record.dn.into(), attributes);
        if let Some(first) = self.names.insert(entry::of_name(&entry.dn), line) {
            let text = format!("{} is in the file already, at line {first}; remove one of them", entry.dn);
            return self.faults.push(LdifError::at(line, text));
        }
        if let Some(first) = self.seen.insert(entry.id, line) {
            let text = format!("its entryUUID {} is that of the entry at line {first}; one of them is wrong", entry.id);
            return self.faults.push(LdifError::at(line, text));
        }
        self.entries.push(Arc::new(entry));
    }
}
