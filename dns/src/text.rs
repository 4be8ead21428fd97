//! Records in presentation form (RFC 1035 section 5.1, RFC 3597, RFC 9460).
//!
//! Every type that is known here has a layout: the fields of its RDATA in order. One encoder and one
//! decoder walk the layouts, so what is written is what is read. hickory-proto's parser is not used
//! for this: it reads names without an origin, TXT as UTF-8 only, and neither the generic form nor
//! URI, RP, AFSDB, DS and LOC. Types without a layout are written and read as `\# length hex`.
//! Limits: RDATA of 65535 octets, character strings of 255.

use std::{borrow::Cow, fmt::Write as _};

use crate::{
    name::{BadName, Name},
    rr::Rdata,
};

mod decode;
mod encode;
pub(crate) mod lexer;
mod loc;
mod svcb;
mod types;

pub use encode::parse_name;
pub(crate) use encode::{encode, seconds};
pub use types::{type_name, type_number};

/// Octets of RDATA at most (RFC 1035 section 3.2.1: a 16-bit length).
pub const RDATA_MAX: usize = 65_535;

/// Why a text is no data of its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadData {
    /// A field is absent.
    #[error("{rtype} data ends where {wanted} is expected")]
    Missing {
        /// The type, as text.
        rtype: Cow<'static, str>,
        /// What should have come.
        wanted: &'static str,
    },
    /// Something follows the last field.
    #[error("{rtype} data is complete but {text:?} follows it")]
    Extra {
        /// The type, as text.
        rtype: Cow<'static, str>,
        /// The first word too many.
        text: String,
    },
    /// A field of the wrong form.
    #[error("{rtype} data needs {wanted} but has {text:?}")]
    Field {
        /// The type, as text.
        rtype: Cow<'static, str>,
        /// What should have come.
        wanted: &'static str,
        /// What came.
        text: String,
    },
    /// A name in the data is none.
    #[error(transparent)]
    Name(#[from] BadName),
    /// Parentheses, quotes or escapes do not end.
    #[error("{0}")]
    Form(&'static str),
    /// More than 65535 octets.
    #[error("{rtype} data has {octets} octets but at most 65535 fit")]
    Long {
        /// The type, as text.
        rtype: Cow<'static, str>,
        /// Octets of the data.
        octets: usize,
    },
    /// The type has no presentation form here.
    #[error("{0} data is read in the generic form only: \\# LENGTH HEX (RFC 3597)")]
    Generic(Cow<'static, str>),
}

/// Reads data in presentation form into uncompressed wire form. Names in it are lowered, and
/// relative ones end in `origin`. Every type may be given as `\# length hex` (RFC 3597 section 5).
pub fn parse_rdata(rtype: u16, text: &str, origin: &Name) -> Result<Rdata, BadData> {
    let form = |fault: lexer::Fault| BadData::Form(fault.text);
    let (mut tokens, mut rest) = (Vec::new(), Vec::new());
    let mut lexer = lexer::Lexer::new(text);
    lexer.next_entry(&mut tokens).map_err(form)?;
    if lexer.next_entry(&mut rest).map_err(form)?.is_some() {
        let text = rest.first().map_or(String::new(), |token| excerpt(token.text));
        return Err(BadData::Extra { rtype: type_name(rtype), text });
    }
    encode(rtype, &tokens, origin)
}

/// Writes data in presentation form; unknown types and malformed data as `\# length hex`.
pub fn show_rdata(rtype: u16, rdata: &[u8]) -> String {
    types::layout(rtype).and_then(|layout| decode::decode(layout, rdata)).unwrap_or_else(|| generic(rdata))
}

/// The generic form of RFC 3597 section 5.
fn generic(rdata: &[u8]) -> String {
    let mut out = format!("\\# {}", rdata.len());
    if !rdata.is_empty() {
        out.push(' ');
        for byte in rdata {
            let _ = write!(out, "{byte:02x}");
        }
    }
    out
}

/// The beginning of a text for an error message.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
