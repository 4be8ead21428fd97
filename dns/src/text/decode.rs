//! Wire form to presentation form, field by field; `None` for data that does not fit its layout.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
};

use data_encoding::{BASE64, HEXLOWER};

use super::{loc, svcb, types::Field};
use crate::name;

/// Writes `rdata`, which must be exactly the fields of `layout`.
pub(super) fn decode(layout: &[Field], rdata: &[u8]) -> Option<String> {
    let mut wire = Wire(rdata);
    let mut out = String::with_capacity(rdata.len() * 2);
    for field in layout {
        let nothing = *field == Field::Params && wire.0.is_empty();
        if !out.is_empty() && !nothing {
            out.push(' ');
        }
        show(&mut wire, *field, &mut out)?;
    }
    wire.0.is_empty().then_some(out)
}

/// Octets that are left.
pub(super) struct Wire<'a>(pub &'a [u8]);

impl<'a> Wire<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }
    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

fn show(wire: &mut Wire<'_>, field: Field, out: &mut String) -> Option<()> {
    match field {
        Field::Name => {
            let length = name::wire_len(wire.0)?;
            out.push_str(&name::display(wire.take(length)?));
        }
        Field::U8 | Field::Algorithm => write!(out, "{}", wire.u8()?).ok()?,
        Field::U16 | Field::Certificate => write!(out, "{}", wire.u16()?).ok()?,
        Field::U32 | Field::Seconds => write!(out, "{}", wire.u32()?).ok()?,
        Field::Ip4 => write!(out, "{}", Ipv4Addr::from(wire.array::<4>()?)).ok()?,
        Field::Ip6 => write!(out, "{}", Ipv6Addr::from(wire.array::<16>()?)).ok()?,
        Field::Str => string(wire, out)?,
        Field::Strs => {
            string(wire, out)?;
            while !wire.0.is_empty() {
                out.push(' ');
                string(wire, out)?;
            }
        }
        Field::Tag => {
            let length = wire.u8()?;
            let tag = wire.take(usize::from(length))?;
            if tag.is_empty() || !tag.iter().all(u8::is_ascii_alphanumeric) {
                return None;
            }
            out.push_str(std::str::from_utf8(tag).ok()?);
        }
        Field::Text => quote(wire.rest(), out),
        Field::Hex if !wire.0.is_empty() => out.push_str(&HEXLOWER.encode(wire.rest())),
        Field::Base64 if !wire.0.is_empty() => out.push_str(&BASE64.encode(wire.rest())),
        Field::Hex | Field::Base64 => return None,
        Field::Params => svcb::decode(wire.rest(), out)?,
        Field::Location => out.push_str(&loc::decode(wire.rest())?),
    }
    Some(())
}

fn string(wire: &mut Wire<'_>, out: &mut String) -> Option<()> {
    let length = wire.u8()?;
    quote(wire.take(usize::from(length))?, out);
    Some(())
}

/// A quoted string with escapes (RFC 1035 section 5.1).
pub(super) fn quote(octets: &[u8], out: &mut String) {
    out.push('"');
    for &byte in octets {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            0x20..=0x7e => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\{byte:03}");
            }
        }
    }
    out.push('"');
}
