//! From entries to rows: what a host, a role and a static record may look like.
//!
//! Entries with a fault give no row; the caller drops everything when there is any fault.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use compact_str::CompactString;

use super::{
    Located,
    fault::quoted,
    form::{Form, Page},
    grant::{self, GRANT_KEYS},
    owner,
    value::{Entry, Mark},
};
use crate::{
    change::Row,
    label::region_of_zone,
    model::{Host, HostKey, HostState, Record, RecordKey, Role, Scope},
};

/// Largest time to live (RFC 2181 section 8).
const TTL_MAX: u32 = 0x7fff_ffff;
/// Most octets of a tag's key, and of its value.
const TAG_OCTETS_MAX: usize = 1024;
/// Most octets of a record's data in presentation form; RDATA itself holds 65,535 (RFC 1035 section 3.2.1).
const DATA_OCTETS_MAX: usize = 4 * 65_535;

/// The tables of an inventory file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Host,
    Record,
    Role,
    Grant,
}

/// Keys of `[[host]]`.
pub(crate) const HOST_KEYS: &[&str] =
    &["name", "zone", "private_ip", "region", "product", "public_ip", "ipv6", "roles", "groups", "tags", "state"];
const RECORD_KEYS: &[&str] = &["name", "type", "data", "ttl"];
const ROLE_KEYS: &[&str] = &["name", "port", "proto", "scope", "ttl"];

/// Reads one entry onto the page: a row, or faults.
pub(crate) fn read(page: &mut Page<'_>, kind: Kind, entry: Entry<'_>) {
    let (at, label) = (entry.at, entry.label.clone());
    let row = match kind {
        Kind::Host => {
            host(Form::new(page, entry, "host", HOST_KEYS, "name, zone and private_ip")).map(|h| Row::Host(Arc::new(h)))
        }
        Kind::Record => record(Form::new(page, entry, "record", RECORD_KEYS, "name, type and data"))
            .map(|r| Row::Record(Arc::new(r))),
        Kind::Role => role(Form::new(page, entry, "role", ROLE_KEYS, "name")).map(|r| Row::Role(Arc::new(r))),
        Kind::Grant => {
            grant::read(Form::new(page, entry, "grant", GRANT_KEYS, "who and on")).map(|g| Row::Grant(Arc::new(g)))
        }
    };
    if let Some(row) = row {
        page.rows.push(Located { row, file: page.file.clone(), line: page.lines.line(at), entry: label });
    }
}

fn host(mut form: Form<'_, '_, '_>) -> Option<Host> {
    let name = form.required_label("name");
    let zone = form.required_label("zone");
    let private_ip = form.required_text("private_ip").and_then(|(at, text)| ipv4(&mut form, "private_ip", at, &text));
    let region = form.optional_label("region");
    let product = form.optional_label("product");
    let public_ip = form.text("public_ip").and_then(|(at, text)| ipv4(&mut form, "public_ip", at, &text));
    let ipv6 = form.text("ipv6").and_then(|(at, text)| ipv6(&mut form, at, &text));
    let roles = form.labels("roles");
    let groups = form.labels("groups");
    let tags = tags(&mut form);
    let states = [HostState::Running, HostState::Draining, HostState::Stopped, HostState::Terminated];
    let state = form.word("state", &states.map(|state| (state.as_str(), state))).unwrap_or_default();
    let source = form.page.source.clone();
    let product = product.unwrap_or_else(|| form.page.defaults.product.clone());
    form.finish();
    let zone = zone?;
    let region = region.unwrap_or_else(|| region_of_zone(&zone).into());
    let key = HostKey { product, name: name?, zone };
    Some(Host { key, region, private_ip: private_ip?, public_ip, ipv6, roles, groups, tags, state, source })
}

fn ipv4(form: &mut Form<'_, '_, '_>, key: &str, at: Mark, text: &str) -> Option<Ipv4Addr> {
    let Ok(address) = text.parse::<Ipv4Addr>() else {
        let shown = quoted(text);
        let why = match text.parse::<Ipv6Addr>() {
            Ok(_) => format!("{shown} is an IPv6 address, {key} takes IPv4; write it under ipv6"),
            Err(_) => format!("{shown} is no IPv4 address; write four numbers up to 255"),
        };
        form.fault(at, key, why);
        return None;
    };
    let kind = match address {
        _ if address.octets()[0] == 0 => "unspecified",
        _ if address.is_loopback() => "a loopback address",
        _ if address.is_multicast() => "a multicast address",
        _ if address.is_broadcast() => "the broadcast address",
        _ => return Some(address),
    };
    form.fault(at, key, format!("{address} is {kind}; write the address by which other hosts reach this one"));
    None
}

fn ipv6(form: &mut Form<'_, '_, '_>, at: Mark, text: &str) -> Option<Ipv6Addr> {
    let shown = quoted(text);
    let why = match text.parse::<Ipv6Addr>() {
        Err(_) if text.parse::<Ipv4Addr>().is_ok() => {
            format!("{shown} is an IPv4 address, ipv6 takes IPv6; write it under private_ip or public_ip")
        }
        Err(_) => format!("{shown} is no IPv6 address; write it as in 2001:db8::1"),
        Ok(address) => {
            let kind = match address {
                _ if address.is_unspecified() => "unspecified",
                _ if address.is_loopback() => "a loopback address",
                _ if address.is_multicast() => "a multicast address",
                _ if address.to_ipv4_mapped().is_some() => "an IPv4 address in IPv6 notation",
                _ => return Some(address),
            };
            format!("{address} is {kind}; write the IPv6 address by which other hosts reach this one")
        }
    };
    form.fault(at, "ipv6", why);
    None
}

fn tags(form: &mut Form<'_, '_, '_>) -> Box<[(CompactString, CompactString)]> {
    let mut out: Vec<(CompactString, CompactString)> = Vec::new();
    for (at, key, value) in form.table("tags") {
        let why = if key.is_empty() {
            "a tag has an empty key; give it one"
        } else if key.len() > TAG_OCTETS_MAX || value.len() > TAG_OCTETS_MAX {
            "key or value of this tag is longer than 1024 octets; shorten it"
        } else if key.chars().chain(value.chars()).any(char::is_control) {
            "key or value of this tag holds a control character; remove it"
        } else if key.trim() != key {
            "the key of this tag starts or ends with a space; remove it"
        } else {
            out.push((CompactString::from(&*key), CompactString::from(&*value)));
            continue;
        };
        form.fault(at, &format!("tags.{}", quoted(&key).trim_matches('"')), why);
    }
    out.sort_unstable();
    if let Some(twice) = out.windows(2).find_map(|pair| match pair {
        [a, b] if a.0 == b.0 => Some(a.0.clone()),
        _ => None,
    }) {
        form.fault(form.at, &format!("tags.{twice}"), "this tag is there twice; remove one");
    }
    out.into_boxed_slice()
}

fn role(mut form: Form<'_, '_, '_>) -> Option<Role> {
    let name = form.required_label("name");
    let port = form.number("port", 1, u32::from(u16::MAX)).and_then(|port| u16::try_from(port).ok());
    let proto = form.word("proto", &[("tcp", "tcp"), ("udp", "udp")]).unwrap_or("tcp");
    let scope = form.word("scope", &[("all", Scope::All), ("nearest", Scope::Nearest)]).unwrap_or_default();
    let ttl = form.number("ttl", 0, TTL_MAX);
    let source = form.page.source.clone();
    form.finish();
    Some(Role { name: name?, port, proto: CompactString::const_new(proto), scope, ttl, source })
}

fn record(mut form: Form<'_, '_, '_>) -> Option<Record> {
    let name = form.required_text("name").and_then(|(at, text)| {
        owner::owner(&text).map_err(|why| form.fault(at, "name", format!("{} {why}", quoted(&text)))).ok()
    });
    let rtype = form.required_text("type").and_then(|(at, text)| {
        owner::mnemonic(&text).map_err(|why| form.fault(at, "type", format!("{} {why}", quoted(&text)))).ok()
    });
    let data = form.required_text("data").and_then(|(at, text)| {
        let read = record_data(rtype.as_deref().unwrap_or_default(), &text);
        read.map_err(|why| form.fault(at, "data", format!("{} {why}", quoted(&text)))).ok()
    });
    let ttl = form.number("ttl", 0, TTL_MAX);
    let source = form.page.source.clone();
    form.finish();
    Some(Record { key: RecordKey { name: name?, rtype: rtype?, data: data? }, ttl, source })
}

/// Checks what can be checked without knowing every type: addresses, single names, length.
fn record_data(rtype: &str, text: &str) -> Result<CompactString, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        return Err("is empty; write the data as in a zone file");
    }
    if text.len() > DATA_OCTETS_MAX || text.chars().any(|c| c.is_control() && c != '\t') {
        return Err("is too long or holds a control character; write the data on one line as in a zone file");
    }
    match rtype {
        "A" => {
            let address = text.parse::<Ipv4Addr>();
            address
                .map(|a| CompactString::from(a.to_string()))
                .map_err(|_| "is no IPv4 address; write four numbers up to 255")
        }
        "AAAA" => {
            let address = text.parse::<Ipv6Addr>();
            address
                .map(|a| CompactString::from(a.to_string()))
                .map_err(|_| "is no IPv6 address; write it as in 2001:db8::1")
        }
        "CNAME" | "DNAME" | "NS" | "PTR" if text.contains(char::is_whitespace) => {
            Err("holds a space; write one name in full")
        }
        _ => Ok(text.into()),
    }
}
