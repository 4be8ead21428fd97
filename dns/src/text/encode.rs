//! Presentation form to wire form, field by field.

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};

use super::{
    BadData, RDATA_MAX, excerpt,
    lexer::{Token, unescape},
    loc, svcb,
    types::{ALGORITHMS, CERTIFICATES, Field, layout, type_name},
};
use crate::{
    name::{BadName, NAME_MAX, Name},
    rr::Rdata,
};

/// Reads a name; `@` and names without a closing dot belong to `origin` (RFC 1035 section 5.1).
pub fn parse_name(text: &str, origin: &Name) -> Result<Name, BadName> {
    if text == "@" {
        return Ok(origin.clone());
    }
    if text.is_empty() {
        return Err(BadName::EmptyLabel(String::new()));
    }
    let name = Name::parse(text)?;
    if is_absolute(text) {
        return Ok(name);
    }
    if name.len() - 1 + origin.len() > NAME_MAX {
        return Err(BadName::Long(format!("{text}.{origin}")));
    }
    let mut wire = Vec::with_capacity(name.len() + origin.len());
    wire.extend_from_slice(&name[..name.len() - 1]);
    wire.extend_from_slice(origin);
    Ok(Name::from_wire(&wire))
}

/// Whether the last dot is there and is not escaped.
fn is_absolute(text: &str) -> bool {
    let Some(rest) = text.strip_suffix('.') else { return false };
    (rest.len() - rest.trim_end_matches('\\').len()).is_multiple_of(2)
}

/// Reads the words of one record's data.
pub(crate) fn encode(rtype: u16, tokens: &[Token<'_>], origin: &Name) -> Result<Rdata, BadData> {
    if tokens.first().is_some_and(|first| first.text == "\\#" && !first.quoted) {
        return generic(rtype, &tokens[1..], origin);
    }
    let fields = layout(rtype).ok_or_else(|| BadData::Generic(type_name(rtype)))?;
    let mut words = Words { rtype, tokens, origin, out: Vec::with_capacity(32) };
    for field in fields {
        words.field(*field)?;
    }
    if let Some(extra) = words.tokens.first() {
        return Err(BadData::Extra { rtype: type_name(rtype), text: excerpt(extra.text) });
    }
    finish(rtype, &words.out)
}

fn finish(rtype: u16, out: &[u8]) -> Result<Rdata, BadData> {
    if out.len() > RDATA_MAX {
        return Err(BadData::Long { rtype: type_name(rtype), octets: out.len() });
    }
    Ok(Rdata::from(out))
}

/// `\# length hex`. Data of a type with a layout must fit that layout (RFC 3597 section 5).
fn generic(rtype: u16, tokens: &[Token<'_>], origin: &Name) -> Result<Rdata, BadData> {
    let bad = |wanted, text| BadData::Field { rtype: type_name(rtype), wanted, text };
    let Some((length, hex)) = tokens.split_first() else {
        return Err(BadData::Missing { rtype: type_name(rtype), wanted: "a length after \\#" });
    };
    let octets: usize = length.text.parse().map_err(|_| bad("a length after \\#", excerpt(length.text)))?;
    let digits: String = hex.iter().map(|token| token.text).collect();
    let wire = HEXLOWER_PERMISSIVE
        .decode(digits.as_bytes())
        .map_err(|_| bad("pairs of hexadecimal digits", excerpt(&digits)))?;
    if wire.len() != octets {
        return Err(bad("as many octets as its length says", format!("{octets}, then {} octets", wire.len())));
    }
    if let Some(layout) = layout(rtype) {
        // Through the ordinary form: that checks the fields and lowers the names.
        let text = super::decode::decode(layout, &wire)
            .ok_or_else(|| bad("octets that form the fields of this type", excerpt(&digits)))?;
        return super::parse_rdata(rtype, &text, origin);
    }
    finish(rtype, &wire)
}

/// The words that are left, and what was written so far.
struct Words<'a, 't> {
    rtype: u16,
    tokens: &'t [Token<'a>],
    origin: &'t Name,
    out: Vec<u8>,
}

impl<'a> Words<'a, '_> {
    fn next(&mut self, wanted: &'static str) -> Result<Token<'a>, BadData> {
        let (first, rest) =
            self.tokens.split_first().ok_or_else(|| BadData::Missing { rtype: type_name(self.rtype), wanted })?;
        self.tokens = rest;
        Ok(*first)
    }

    fn bad(&self, wanted: &'static str, text: &str) -> BadData {
        BadData::Field { rtype: type_name(self.rtype), wanted, text: excerpt(text) }
    }

    /// The next word, as `read` understands it.
    fn read<T>(&mut self, wanted: &'static str, read: impl Fn(&str) -> Option<T>) -> Result<T, BadData> {
        let text = self.next(wanted)?.text;
        read(text).ok_or_else(|| self.bad(wanted, text))
    }

    fn field(&mut self, field: Field) -> Result<(), BadData> {
        match field {
            Field::Name => {
                let token = self.next("a name")?;
                let name = parse_name(token.text, self.origin)?;
                self.out.extend_from_slice(&name);
            }
            Field::U8 => {
                let number: u8 = self.read("a number up to 255", decimal)?;
                self.out.push(number);
            }
            Field::U16 => {
                let number: u16 = self.read("a number up to 65535", decimal)?;
                self.out.extend(number.to_be_bytes());
            }
            Field::U32 => {
                let number: u32 = self.read("a number up to 4294967295", decimal)?;
                self.out.extend(number.to_be_bytes());
            }
            Field::Seconds => {
                let number = self.read("a time in seconds or as 1h30m", seconds)?;
                self.out.extend(number.to_be_bytes());
            }
            Field::Ip4 => {
                let address: std::net::Ipv4Addr = self.read("an IPv4 address", |text| text.parse().ok())?;
                self.out.extend(address.octets());
            }
            Field::Ip6 => {
                let address: std::net::Ipv6Addr = self.read("an IPv6 address", |text| text.parse().ok())?;
                self.out.extend(address.octets());
            }
            Field::Algorithm => {
                let number =
                    self.read("an algorithm number", |text| mnemonic(text, ALGORITHMS).filter(|n| *n < 256))?;
                self.out.push(number as u8);
            }
            Field::Certificate => {
                let number = self.read("a certificate type", |text| mnemonic(text, CERTIFICATES))?;
                self.out.extend(number.to_be_bytes());
            }
            _ => return self.octets(field),
        }
        Ok(())
    }

    fn octets(&mut self, field: Field) -> Result<(), BadData> {
        match field {
            Field::Str => self.string()?,
            Field::Strs => {
                self.string()?;
                while !self.tokens.is_empty() {
                    self.string()?;
                }
            }
            Field::Tag => {
                let tag = self.read("a tag of letters and digits", |text| {
                    let good = (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
                    good.then(|| text.to_owned())
                })?;
                self.out.push(tag.len() as u8);
                self.out.extend_from_slice(tag.as_bytes());
            }
            Field::Text => {
                let text = self.read("a string", unescape)?;
                self.out.extend_from_slice(&text);
            }
            Field::Hex | Field::Base64 => {
                let (wanted, encoding) = match field {
                    Field::Hex => ("pairs of hexadecimal digits", &HEXLOWER_PERMISSIVE),
                    _ => ("base64", &BASE64),
                };
                let mut digits = self.next(wanted)?.text.to_owned();
                digits.extend(self.tokens.iter().map(|token| token.text));
                self.tokens = &[];
                let octets = encoding.decode(digits.as_bytes()).ok().filter(|octets| !octets.is_empty());
                self.out.extend(octets.ok_or_else(|| self.bad(wanted, &digits))?);
            }
            Field::Params => {
                let tokens = std::mem::take(&mut self.tokens);
                svcb::encode(tokens, &mut self.out).map_err(|(wanted, text)| self.bad(wanted, &text))?;
            }
            Field::Location => {
                let words: Vec<&str> = std::mem::take(&mut self.tokens).iter().map(|token| token.text).collect();
                let wire = loc::encode(&words).ok_or_else(|| self.bad("a location (RFC 1876)", &words.join(" ")))?;
                self.out.extend(wire);
            }
            _ => {}
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), BadData> {
        let octets =
            self.read("a string of up to 255 octets", |text| unescape(text).filter(|octets| octets.len() <= 255))?;
        self.out.push(octets.len() as u8);
        self.out.extend_from_slice(&octets);
        Ok(())
    }
}

/// Digits only: no sign, which `parse` would take.
fn decimal<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn mnemonic(text: &str, table: &[(u16, &str)]) -> Option<u16> {
    table.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(number, _)| *number).or_else(|| decimal(text))
}

/// Seconds as a number, or with units as BIND reads them: `1w2d3h4m5s`, in any order.
pub(crate) fn seconds(text: &str) -> Option<u32> {
    let (mut total, mut number) = (0_u32, None::<u32>);
    for byte in text.bytes() {
        if byte.is_ascii_digit() {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(u32::from(byte - b'0'))?);
            continue;
        }
        let unit = match byte.to_ascii_lowercase() {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    match number {
        Some(rest) => total.checked_add(rest),
        None => (!text.is_empty()).then_some(total),
    }
}
