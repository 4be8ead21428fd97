//! Static records of the inventory as zones and records of the engine.
//!
//! The inventory keeps them as text; they were read once before they were accepted
//! ([`crate::conflicts`]), so a record that cannot be read here is one that an older version
//! accepted: it is left out.

use inventory::Record;

use crate::{
    edit::Editor,
    name::Name,
    rr::{Rr, rtype},
    text,
    zone::Soa,
};

/// Reads a static record. `ttl` is used when it has none of its own.
pub fn read(record: &Record, ttl: u32) -> Result<Rr, String> {
    let key = &record.key;
    let owner = Name::parse(&key.name).map_err(|bad| format!("name: {bad}"))?;
    let rtype = text::type_number(&key.rtype)
        .ok_or_else(|| format!("type: {:?} is no record type; for unknown ones write TYPE123", key.rtype))?;
    if matches!(rtype, rtype::OPT | rtype::TSIG | rtype::IXFR..=rtype::ANY) {
        return Err(format!("type: {} exists in questions only", key.rtype));
    }
    let rdata = text::parse_rdata(rtype, &key.data, &Name::root()).map_err(|bad| format!("data: {bad}"))?;
    Ok(Rr { owner, rtype, ttl: record.ttl.unwrap_or(ttl), rdata })
}

/// Makes the zone of a static SOA record.
pub(crate) fn add_zone(editor: &mut Editor, record: &Record, serial: u32) {
    let Ok(rr) = read(record, 3600) else { return };
    let Some(mut soa) = Soa::from_rdata(rr.ttl, &rr.rdata) else { return };
    let base = soa.serial;
    soa.serial = base.wrapping_add(serial);
    editor.add_zone(&rr.owner, soa, false, base);
}

/// Adds a record other than a SOA.
pub(crate) fn add(editor: &mut Editor, record: &Record, ttl: u32) {
    if let Some(rr) = read(record, ttl).ok().filter(|rr| rr.rtype != rtype::SOA) {
        editor.add(&rr.owner, rr.rtype, rr.ttl, rr.rdata);
    }
}

/// Takes a record away.
pub(crate) fn remove(editor: &mut Editor, record: &Record) {
    if let Some(rr) = read(record, 0).ok().filter(|rr| rr.rtype != rtype::SOA) {
        editor.remove(&rr.owner, rr.rtype, &rr.rdata);
    }
}
