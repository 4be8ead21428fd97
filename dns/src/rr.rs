//! Resource records as the engine keeps them: owner and RDATA in wire form.
//!
//! RDATA is uncompressed, with names in lower case where RFC 4034 section 6.2 lowers them, so that
//! equal records are equal bytes. Presentation form is read and written in `text`.

use std::{borrow::Cow, fmt};

use crate::name::Name;

/// Record types that the engine treats specially; all others are just numbers.
#[allow(missing_docs)]
pub mod rtype {
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const PTR: u16 = 12;
    pub const HINFO: u16 = 13;
    pub const MX: u16 = 15;
    pub const TXT: u16 = 16;
    pub const AAAA: u16 = 28;
    pub const SRV: u16 = 33;
    pub const DNAME: u16 = 39;
    pub const OPT: u16 = 41;
    pub const DS: u16 = 43;
    pub const TSIG: u16 = 250;
    pub const IXFR: u16 = 251;
    pub const AXFR: u16 = 252;
    pub const MAILB: u16 = 253;
    pub const MAILA: u16 = 254;
    pub const ANY: u16 = 255;
}

/// Class Internet.
pub const CLASS_IN: u16 = 1;
/// Class Chaos, for questions about the server itself.
pub const CLASS_CH: u16 = 3;
/// Any class.
pub const CLASS_ANY: u16 = 255;

/// Response codes (RFC 1035 section 4.1.1, RFC 6895 section 2.3).
#[allow(missing_docs)]
pub mod rcode {
    pub const NOERROR: u16 = 0;
    pub const FORMERR: u16 = 1;
    pub const SERVFAIL: u16 = 2;
    pub const NXDOMAIN: u16 = 3;
    pub const NOTIMP: u16 = 4;
    pub const REFUSED: u16 = 5;
    pub const YXDOMAIN: u16 = 6;
    pub const NOTAUTH: u16 = 9;
    pub const BADVERS: u16 = 16;
    pub const BADCOOKIE: u16 = 23;
}

/// Mnemonic of a response code.
pub fn rcode_name(code: u16) -> Cow<'static, str> {
    const NAMES: [&str; 10] = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH",
    ];
    match code {
        rcode::BADVERS => "BADVERS".into(),
        rcode::BADCOOKIE => "BADCOOKIE".into(),
        _ => NAMES.get(usize::from(code)).map_or_else(|| format!("RCODE{code}").into(), |name| (*name).into()),
    }
}

/// RDATA in wire form, uncompressed.
pub type Rdata = compact::Bytes;

/// One record of class IN.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rr {
    /// Owner name.
    pub owner: Name,
    /// Type number.
    pub rtype: u16,
    /// Time to live in seconds.
    pub ttl: u32,
    /// Data in wire form.
    pub rdata: Rdata,
}

impl fmt::Debug for Rr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} TYPE{} {:02x?}", self.owner, self.ttl, self.rtype, &*self.rdata)
    }
}

mod compact {
    //! Short byte strings: 16 octets inline (an address fits), longer ones on the heap.

    /// Bytes of RDATA.
    #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
    pub struct Bytes(smallvec::SmallVec<[u8; 16]>);

    impl std::ops::Deref for Bytes {
        type Target = [u8];
        fn deref(&self) -> &[u8] {
            &self.0
        }
    }

    impl<T: AsRef<[u8]>> From<T> for Bytes {
        fn from(bytes: T) -> Self {
            Self(smallvec::SmallVec::from_slice(bytes.as_ref()))
        }
    }
}
