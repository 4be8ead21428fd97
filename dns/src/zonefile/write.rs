//! Records to a master file.

use std::io::{self, Write};

use crate::{
    name::Name,
    rr::Rr,
    text::{show_rdata, type_name},
    zone::Soa,
};

/// Writes a zone as a master file that [`super::parse`] reads back: the SOA first, absolute names, one record a line.
pub fn write_zone<'a>(
    out: &mut impl Write,
    apex: &Name,
    soa: &Soa,
    records: impl IntoIterator<Item = &'a Rr>,
) -> io::Result<()> {
    writeln!(out, "$ORIGIN {apex}")?;
    write_record(out, &soa.rr(apex))?;
    for record in records {
        write_record(out, record)?;
    }
    Ok(())
}

/// Writes one record: owner, TTL, class, type, data.
fn write_record(out: &mut impl Write, rr: &Rr) -> io::Result<()> {
    writeln!(out, "{}\t{}\tIN\t{}\t{}", rr.owner, rr.ttl, type_name(rr.rtype), show_rdata(rr.rtype, &rr.rdata))
}
