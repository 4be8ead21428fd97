//! Service parameters of SVCB and HTTPS (RFC 9460 sections 2.1, 2.2, 7 and appendix A).

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use data_encoding::BASE64;

use super::{
    decode::{Wire, quote},
    lexer::{Token, unescape},
};

const KEYS: &[&str] =
    &["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath", "ohttp"];
const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const PORT: u16 = 3;
const IPV4HINT: u16 = 4;
const ECH: u16 = 5;
const IPV6HINT: u16 = 6;
const OHTTP: u16 = 8;

/// What was expected, and what came.
type Bad = (&'static str, String);

fn key_number(text: &str) -> Option<u16> {
    match KEYS.iter().position(|key| *key == text) {
        Some(at) => Some(at as u16),
        None => text.strip_prefix("key")?.parse().ok().filter(|key| *key != u16::MAX && text == format!("key{key}")),
    }
}

fn key_name(key: u16) -> String {
    KEYS.get(usize::from(key)).map_or_else(|| format!("key{key}"), |name| (*name).to_owned())
}

/// Writes `key=value` words in ascending order of their keys.
pub(super) fn encode(tokens: &[Token<'_>], out: &mut Vec<u8>) -> Result<(), Bad> {
    let mut params = BTreeMap::new();
    for token in tokens {
        let (name, raw) = match token.text.split_once('=') {
            Some((name, raw)) => (name, Some(raw)),
            None => (token.text, None),
        };
        let key = key_number(name).ok_or_else(|| ("a service parameter", token.text.to_owned()))?;
        let raw = raw.map(|raw| raw.strip_prefix('"').and_then(|r| r.strip_suffix('"')).unwrap_or(raw));
        let value = encode_value(key, raw)
            .filter(|value| value.len() <= usize::from(u16::MAX))
            .ok_or_else(|| ("a value that fits the service parameter", token.text.to_owned()))?;
        if params.insert(key, value).is_some() {
            return Err(("each service parameter once", token.text.to_owned()));
        }
    }
    check(&params)?;
    for (key, value) in params {
        out.extend(key.to_be_bytes());
        out.extend((value.len() as u16).to_be_bytes());
        out.extend(value);
    }
    Ok(())
}

/// RFC 9460 section 8: `mandatory` lists keys that are there; section 7.1.1: `no-default-alpn` needs `alpn`.
fn check(params: &BTreeMap<u16, Vec<u8>>) -> Result<(), Bad> {
    if let Some(keys) = params.get(&MANDATORY) {
        for pair in keys.chunks_exact(2) {
            let key = u16::from_be_bytes([pair[0], pair[1]]);
            if key == MANDATORY || !params.contains_key(&key) {
                return Err(("every mandatory key among its parameters", key_name(key)));
            }
        }
    }
    if params.contains_key(&NO_DEFAULT_ALPN) && !params.contains_key(&ALPN) {
        return Err(("alpn beside no-default-alpn", key_name(NO_DEFAULT_ALPN)));
    }
    Ok(())
}

fn encode_value(key: u16, raw: Option<&str>) -> Option<Vec<u8>> {
    if matches!(key, NO_DEFAULT_ALPN | OHTTP) {
        return raw.is_none().then(Vec::new);
    }
    let raw = match (raw, key) {
        (Some(raw), _) => raw,
        (None, 9..) => return Some(Vec::new()),
        (None, _) => return None,
    };
    let text = || unescape(raw).and_then(|octets| String::from_utf8(octets).ok());
    match key {
        MANDATORY => {
            let mut keys = text()?.split(',').map(key_number).collect::<Option<Vec<_>>>()?;
            let count = keys.len();
            keys.sort_unstable();
            keys.dedup();
            (keys.len() == count).then(|| keys.into_iter().flat_map(u16::to_be_bytes).collect())
        }
        ALPN => {
            let mut out = Vec::new();
            for id in split_list(&unescape(raw)?)? {
                out.push(u8::try_from(id.len()).ok().filter(|length| *length > 0)?);
                out.extend(id);
            }
            Some(out)
        }
        PORT => text()?.parse::<u16>().ok().map(|port| port.to_be_bytes().to_vec()),
        IPV4HINT => addresses::<Ipv4Addr>(&text()?).map(|all| all.iter().flat_map(Ipv4Addr::octets).collect()),
        IPV6HINT => addresses::<Ipv6Addr>(&text()?).map(|all| all.iter().flat_map(Ipv6Addr::octets).collect()),
        ECH => BASE64.decode(text()?.as_bytes()).ok().filter(|value| !value.is_empty()),
        _ => unescape(raw),
    }
}

fn addresses<T: std::str::FromStr>(text: &str) -> Option<Vec<T>> {
    text.split(',').map(|address| address.parse().ok()).collect()
}

/// Items of a comma-separated list, in which a backslash keeps a comma or a backslash (appendix A.1).
fn split_list(octets: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut items = vec![Vec::new()];
    let mut octets = octets.iter();
    while let Some(&octet) = octets.next() {
        match octet {
            b',' => items.push(Vec::new()),
            b'\\' => items.last_mut()?.push(*octets.next()?),
            _ => items.last_mut()?.push(octet),
        }
    }
    Some(items)
}

/// Shows parameters; `None` if they are malformed, out of order or twice there.
pub(super) fn decode(wire: &[u8], out: &mut String) -> Option<()> {
    let mut wire = Wire(wire);
    let mut params = BTreeMap::new();
    let mut last = None;
    while !wire.0.is_empty() {
        let key = wire.u16()?;
        let length = wire.u16()?;
        let value = wire.take(usize::from(length))?;
        if last.is_some_and(|last| last >= key) || key == u16::MAX {
            return None;
        }
        if last.is_some() {
            out.push(' ');
        }
        last = Some(key);
        out.push_str(&key_name(key));
        decode_value(key, value, out)?;
        params.insert(key, value.to_vec());
    }
    check(&params).ok()
}

fn decode_value(key: u16, value: &[u8], out: &mut String) -> Option<()> {
    let list = |items: Vec<String>| (!items.is_empty()).then(|| format!("={}", items.join(",")));
    match key {
        NO_DEFAULT_ALPN | OHTTP => value.is_empty().then_some(())?,
        MANDATORY if value.len().is_multiple_of(2) => {
            let keys: Vec<u16> = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            keys.is_sorted_by(|a, b| a < b).then_some(())?;
            out.push_str(&list(keys.into_iter().map(key_name).collect())?);
        }
        ALPN => {
            let (mut wire, mut joined) = (Wire(value), Vec::new());
            (!value.is_empty()).then_some(())?;
            while !wire.0.is_empty() {
                let length = wire.u8().filter(|length| *length > 0)?;
                if !joined.is_empty() {
                    joined.push(b',');
                }
                for &octet in wire.take(usize::from(length))? {
                    if matches!(octet, b',' | b'\\') {
                        joined.push(b'\\');
                    }
                    joined.push(octet);
                }
            }
            out.push('=');
            quote(&joined, out);
        }
        PORT => out.push_str(&format!("={}", u16::from_be_bytes(value.try_into().ok()?))),
        IPV4HINT | IPV6HINT => {
            let (mut wire, mut items) = (Wire(value), Vec::new());
            while !wire.0.is_empty() {
                items.push(match key {
                    IPV4HINT => Ipv4Addr::from(wire.array::<4>()?).to_string(),
                    _ => Ipv6Addr::from(wire.array::<16>()?).to_string(),
                });
            }
            out.push_str(&list(items)?);
        }
        ECH if !value.is_empty() => out.push_str(&format!("=\"{}\"", BASE64.encode(value))),
        MANDATORY | ECH => return None,
        _ => {
            out.push('=');
            quote(value, out);
        }
    }
    Some(())
}
