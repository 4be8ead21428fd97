//! Whether the rows of one reading can stand together. Each fault names both parties and where they are.
//!
//! The state refuses the same things; here the sentence can say file and line.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
};

use super::{
    Located,
    fault::{Fault, Faults},
};
use crate::{
    change::{Row, RowKey},
    model::{Host, Record},
};

/// Types that may stand beside a CNAME (RFC 2181 section 10.1, RFC 4034 section 2.5).
const BESIDE_CNAME: &[&str] = &["CNAME", "RRSIG", "NSEC", "KEY"];

impl Located {
    /// `hosts.toml:12`, with the entry's own label where it has one.
    fn place(&self) -> String {
        let line = self.line.map(|line| format!(":{line}")).unwrap_or_default();
        let entry = self.entry.as_ref().map(|label| format!(" ({label})")).unwrap_or_default();
        format!("{}{line}{entry}", self.file)
    }

    fn fault(&self, key: &str, text: String) -> Fault {
        let key = match &self.entry {
            Some(label) => format!("{label} {key}"),
            None => key.to_owned(),
        };
        Fault { file: self.file.to_string(), line: self.line, key, text }
    }
}

/// Adds a fault for every pair that cannot stand together.
pub(crate) fn conflicts(rows: &[Located], faults: &mut Faults) {
    keys(rows, faults);
    addresses(rows, faults);
    role_names(rows, faults);
    cnames(rows, faults);
}

fn hosts(rows: &[Located]) -> impl Iterator<Item = (&Located, &Host)> {
    rows.iter().filter_map(|at| match &at.row {
        Row::Host(host) => Some((at, &**host)),
        _ => None,
    })
}

fn keys(rows: &[Located], faults: &mut Faults) {
    let mut seen: HashMap<RowKey, &Located> = HashMap::with_capacity(rows.len());
    for at in rows {
        match seen.entry(at.row.key()) {
            Entry::Vacant(free) => drop(free.insert(at)),
            Entry::Occupied(taken) => {
                let what = match taken.key() {
                    RowKey::Host(key) => format!("host {}.{} of product {}", key.name, key.zone, key.product),
                    other => other.to_string(),
                };
                let (place, mend) = (
                    taken.get().place(),
                    match taken.key() {
                        RowKey::Grant(_) => "remove one, or give one another name",
                        _ => "remove one",
                    },
                );
                let text = format!("{what} is defined twice: here and at {place}; {mend}");
                faults.push(at.fault("name", text));
            }
        }
    }
}

fn addresses(rows: &[Located], faults: &mut Faults) {
    let mut seen: HashMap<IpAddr, (&Located, &Host)> = HashMap::with_capacity(rows.len());
    for (at, host) in hosts(rows) {
        for address in host.addresses() {
            let (other, first) = *seen.entry(address).or_insert((at, host));
            // A host may have one address in two places, and a host that is there twice has its fault already.
            if std::ptr::eq(other, at) || first.key == host.key {
                continue;
            }
            let key = match address {
                IpAddr::V6(_) => "ipv6",
                IpAddr::V4(v4) if v4 == host.private_ip => "private_ip",
                IpAddr::V4(_) => "public_ip",
            };
            let text = format!(
                "hosts {} and {} ({}) both have the address {address}; give one of them another",
                host.short(),
                first.short(),
                other.place()
            );
            faults.push(at.fault(key, text));
        }
    }
}

/// A role name and a host's own name would be one DNS name with two meanings.
fn role_names(rows: &[Located], faults: &mut Faults) {
    let mut carried: HashMap<(&str, &str), (&Located, &Host)> = HashMap::new();
    for (at, host) in hosts(rows).filter(|(_, host)| host.is_named()) {
        for role in &host.roles {
            carried.entry((&host.key.product, role)).or_insert((at, host));
        }
    }
    for (at, host) in hosts(rows).filter(|(_, host)| host.is_named()) {
        if let Some((other, member)) = carried.get(&(&*host.key.product, &*host.key.name)) {
            let text = format!(
                "host {} is named like the role {} of host {} ({}); rename the host or the role",
                host.short(),
                host.key.name,
                member.short(),
                other.place()
            );
            faults.push(at.fault("name", text));
        }
    }
}

/// A name with a CNAME has nothing else (RFC 1034 section 3.6.2), and no second one (RFC 2181 section 10.1).
fn cnames(rows: &[Located], faults: &mut Faults) {
    let records = || {
        rows.iter().filter_map(|at| match &at.row {
            Row::Record(record) => Some((at, &**record)),
            _ => None,
        })
    };
    let mut aliases: HashMap<&str, (&Located, &Record)> = HashMap::new();
    for (at, record) in records().filter(|(_, record)| record.key.rtype == "CNAME") {
        match aliases.entry(&record.key.name) {
            Entry::Vacant(free) => drop(free.insert((at, record))),
            Entry::Occupied(taken) if taken.get().1.key.data != record.key.data => {
                let (other, first) = taken.get();
                let text = format!(
                    "{} is an alias of {} here and of {} at {}; a name has one CNAME, remove the other",
                    record.key.name,
                    record.key.data,
                    first.key.data,
                    other.place()
                );
                faults.push(at.fault("type", text));
            }
            Entry::Occupied(_) => {}
        }
    }
    for (at, record) in records().filter(|(_, record)| !BESIDE_CNAME.contains(&&*record.key.rtype)) {
        if let Some((other, _)) = aliases.get(&*record.key.name) {
            let text = format!(
                "{} has a {} record here and a CNAME at {}; a name with a CNAME has no other data, remove one",
                record.key.name,
                record.key.rtype,
                other.place()
            );
            faults.push(at.fault("type", text));
        }
    }
}
