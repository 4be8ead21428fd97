//! TSIG (RFC 8945): keys, requests verified, replies signed.
//!
//! hickory-proto computes the MACs; the records and the chain of MACs over the messages of a
//! transfer (section 5.3.1) are written here. Truncated MACs are refused (BADTRUNC): they exist for
//! devices that nobody has. MACs are compared in equal time. Secrets never show in `Debug` output.

use std::{fmt, sync::Arc};

use data_encoding::BASE64;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use subtle::ConstantTimeEq;

use super::message::{HEADER, Raw, Records, Section, read_name, u16_at};
use crate::{
    config,
    name::{self, Name},
    rr::{CLASS_ANY, rcode, rtype},
};

mod session;

pub use session::{Session, SignError};

/// Octets that a secret has at least; RFC 8945 section 8 asks for as many as the hash has.
pub const SECRET_MIN: usize = 16;
/// Seconds by which clocks may differ (RFC 8945 section 10).
pub const FUDGE: u16 = 300;

/// A key: a name that both sides know, and a secret.
#[derive(Clone)]
pub struct Key {
    name: Name,
    algorithm: TsigAlgorithm,
    algorithm_name: Name,
    secret: Vec<u8>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} {})", self.name, self.algorithm_name)
    }
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The name is no domain name.
    #[error("key {0:?} has a name that is no domain name")]
    Name(String),
    /// Another algorithm than those that are supported.
    #[error("key {0:?} has the algorithm {1:?}, but only hmac-sha256, hmac-sha384 and hmac-sha512 are supported")]
    Algorithm(String, String),
    /// The file with the secret cannot be read.
    #[error("key {0:?}: {1} cannot be read: {2}")]
    Read(String, String, std::io::Error),
    /// The file holds no base64.
    #[error("key {0:?}: {1} holds no base64; write the secret as tsig-keygen or keymgr print it")]
    Base64(String, String),
    /// The secret is too short.
    #[error("key {0:?}: the secret has {1} octets, but at least 16 are needed")]
    Short(String, usize),
    /// Two keys of one name.
    #[error("key {0:?} is configured twice")]
    Twice(String),
}

impl Key {
    /// A key from its parts; `algorithm` as in the configuration.
    pub fn new(name: &str, algorithm: &str, secret: Vec<u8>) -> Result<Self, KeyError> {
        let parsed = Name::parse(name).map_err(|_| KeyError::Name(name.into()))?;
        let mac = match algorithm.to_ascii_lowercase().trim_end_matches('.') {
            "hmac-sha256" => TsigAlgorithm::HmacSha256,
            "hmac-sha384" => TsigAlgorithm::HmacSha384,
            "hmac-sha512" => TsigAlgorithm::HmacSha512,
            _ => return Err(KeyError::Algorithm(name.into(), algorithm.into())),
        };
        if secret.len() < SECRET_MIN {
            return Err(KeyError::Short(name.into(), secret.len()));
        }
        let algorithm_name = Name::parse(algorithm).map_err(|_| KeyError::Algorithm(name.into(), algorithm.into()))?;
        Ok(Self { name: parsed, algorithm: mac, algorithm_name, secret })
    }

    fn mac(&self, octets: &[u8]) -> Option<Vec<u8>> {
        self.algorithm.mac_data(&self.secret, octets).ok()
    }
}

/// The keys of this server.
#[derive(Debug, Clone, Default)]
pub struct Keys(Vec<Arc<Key>>);

/// What a signature is worth.
#[derive(Debug)]
pub enum Verified {
    /// There is none.
    Unsigned,
    /// It is right; replies are signed with the session.
    Good(Session),
    /// It is wrong: send the reply (RFC 8945 section 5.2), do nothing else.
    Bad {
        /// What is wrong.
        fault: Fault,
        /// NOTAUTH with the TSIG error in it, signed where the RFC says so.
        reply: Vec<u8>,
    },
    /// The message or its TSIG record is malformed: FORMERR.
    Malformed,
}

/// What is wrong with a signature, with the number of its TSIG error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The MAC is wrong.
    #[error("the signature is wrong (BADSIG)")]
    BadSig,
    /// The key or its algorithm is not known.
    #[error("the key is not known (BADKEY)")]
    BadKey,
    /// The clocks differ by more than the fudge.
    #[error("the time of the signature is too far from ours (BADTIME)")]
    BadTime,
    /// The MAC is shortened.
    #[error("the signature is shortened (BADTRUNC)")]
    BadTrunc,
    /// No signature where one is needed.
    #[error("the message is not signed")]
    Unsigned,
    /// The other side reports this TSIG error.
    #[error("the other side reports TSIG error {0}")]
    Reported(u16),
}

impl Fault {
    fn code(self) -> u16 {
        match self {
            Self::BadSig => 16,
            Self::BadKey => 17,
            Self::BadTime => 18,
            Self::BadTrunc => 22,
            Self::Unsigned => 0,
            Self::Reported(code) => code,
        }
    }
}

impl Keys {
    /// Reads the secrets of the configured keys.
    pub fn load(configured: &[config::Key]) -> Result<Self, KeyError> {
        let mut keys: Vec<Arc<Key>> = Vec::with_capacity(configured.len());
        for key in configured {
            let file = key.secret_file.display().to_string();
            let text = std::fs::read_to_string(&key.secret_file)
                .map_err(|e| KeyError::Read(key.name.clone(), file.clone(), e))?;
            let secret = BASE64
                .decode(text.split_ascii_whitespace().collect::<String>().as_bytes())
                .map_err(|_| KeyError::Base64(key.name.clone(), file))?;
            let key = Key::new(&key.name, &key.algorithm, secret)?;
            if keys.iter().any(|other| other.name == key.name) {
                return Err(KeyError::Twice(key.name.to_string()));
            }
            keys.push(Arc::new(key));
        }
        Ok(Self(keys))
    }

    /// The keys that are good; for callers that hold the secrets themselves.
    pub fn of(keys: Vec<Result<Key, KeyError>>) -> Self {
        Self(keys.into_iter().flatten().map(Arc::new).collect())
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A session that signs a request of ours with the key of that name, or with the first key.
    pub fn signer(&self, key: Option<&Name>) -> Option<Session> {
        let key = match key {
            Some(name) => self.0.iter().find(|key| key.name == *name),
            None => self.0.first(),
        };
        key.map(|key| Session::request(key.clone()))
    }

    /// Verifies a request (RFC 8945 section 5.2): key, MAC, time, truncation. `now_s` in seconds since 1970.
    pub fn verify(&self, message: &[u8], now_s: u64) -> Verified {
        let signature = match Signature::find(message) {
            Some(Some(signature)) => signature,
            Some(None) => return Verified::Unsigned,
            None => return Verified::Malformed,
        };
        let known = |key: &&Arc<Key>| key.name == signature.key && key.algorithm_name == signature.algorithm;
        let Some(key) = self.0.iter().find(known) else {
            return bad(message, &signature, Fault::BadKey, None, now_s);
        };
        let mut session = Session::reply_to(key.clone(), &signature.mac);
        match signature.check(key, message, None, true, now_s) {
            None => Verified::Malformed,
            Some(Ok(())) => Verified::Good(session),
            Some(Err(fault @ (Fault::BadTime | Fault::BadTrunc))) => {
                bad(message, &signature, fault, Some(&mut session), now_s)
            }
            Some(Err(fault)) => bad(message, &signature, fault, None, now_s),
        }
    }
}

/// NOTAUTH. Faults of key and MAC are answered unsigned (RFC 8945 section 5.3.2).
fn bad(message: &[u8], signature: &Signature, fault: Fault, session: Option<&mut Session>, now_s: u64) -> Verified {
    let Some(mut reply) = not_authorised(message) else { return Verified::Malformed };
    let mut record = Record {
        key: &signature.key,
        algorithm: &signature.algorithm,
        time: signature.time,
        fudge: signature.fudge,
        error: fault.code(),
        other: Vec::new(),
    };
    if fault == Fault::BadTime {
        record.other = now_s.to_be_bytes()[2..].to_vec();
    }
    let written = match session {
        Some(session) => session.sign_with(&mut reply, &record).is_ok(),
        None => record.append(&mut reply, &[]).is_some(),
    };
    if written { Verified::Bad { fault, reply } } else { Verified::Malformed }
}

/// Header and question of the request with rcode NOTAUTH.
fn not_authorised(message: &[u8]) -> Option<Vec<u8>> {
    let mut reply = message.get(..HEADER)?.to_vec();
    reply[2] = reply[2] & 0x79 | 0x80;
    reply[3] = rcode::NOTAUTH as u8;
    reply[4..].fill(0);
    let question = message.get(HEADER..)?;
    if u16_at(message, 4)? == 1
        && let Some(length) = name::wire_len(question)
    {
        reply[5] = 1;
        reply.extend_from_slice(question.get(..length + 4)?);
    }
    Some(reply)
}

/// A TSIG record that was read.
#[derive(Debug)]
struct Signature {
    key: Name,
    algorithm: Name,
    time: u64,
    fudge: u16,
    mac: Vec<u8>,
    original_id: u16,
    error: u16,
    other: Vec<u8>,
    /// Where the record begins in its message.
    start: usize,
}

impl Signature {
    /// `None`: malformed, or TSIG is not the last record of the additional section (RFC 8945 section 5.1).
    #[expect(clippy::option_option, reason = "no signature and a malformed one are two things")]
    fn find(message: &[u8]) -> Option<Option<Self>> {
        let mut records = Records::new(message)?;
        let mut found: Option<Raw<'_>> = None;
        while let Some(record) = records.next()? {
            if found.is_some() || (record.rtype == rtype::TSIG && record.section != Section::Additional) {
                return None;
            }
            if record.rtype == rtype::TSIG {
                found = Some(record);
            }
        }
        match found {
            None => Some(None),
            Some(record) => Self::read(message, &record).map(Some),
        }
    }

    fn read(message: &[u8], record: &Raw<'_>) -> Option<Self> {
        if record.class != CLASS_ANY || record.ttl != 0 || record.end != message.len() {
            return None;
        }
        let rdata = record.rdata;
        let (algorithm, rest) = rdata.split_at(name::wire_len(rdata)?);
        let (fixed, rest) = rest.split_at_checked(10)?;
        let (mac, rest) = rest.split_at_checked(usize::from(u16_at(fixed, 8)?))?;
        let (tail, other) = rest.split_at_checked(6)?;
        let time = fixed[..6].iter().fold(0, |time, octet| time << 8 | u64::from(*octet));
        (other.len() == usize::from(u16_at(tail, 4)?)).then_some(())?;
        Some(Self {
            key: read_name(message, record.start)?,
            algorithm: Name::from_wire(&algorithm.to_ascii_lowercase()),
            time,
            fudge: u16_at(fixed, 6)?,
            mac: mac.to_vec(),
            original_id: u16_at(tail, 0)?,
            error: u16_at(tail, 2)?,
            other: other.to_vec(),
            start: record.start,
        })
    }

    /// Checks MAC, time and truncation, in this order (RFC 8945 section 5.2). `None`: FORMERR for the length of the MAC.
    fn check(
        &self,
        key: &Key,
        message: &[u8],
        prior: Option<&[u8]>,
        first: bool,
        now_s: u64,
    ) -> Option<Result<(), Fault>> {
        let mut unsigned = message.get(..self.start)?.to_vec();
        let additional = u16_at(message, 10)?.checked_sub(1)?;
        unsigned[..2].copy_from_slice(&self.original_id.to_be_bytes());
        unsigned[10..12].copy_from_slice(&additional.to_be_bytes());
        let record = Record {
            key: &self.key,
            algorithm: &self.algorithm,
            time: self.time,
            fudge: self.fudge,
            error: self.error,
            other: self.other.clone(),
        };
        let right = key.mac(&record.signed_octets(&unsigned, prior, first))?;
        // Section 5.2.2.1: not longer than the hash, not shorter than half of it or 10 octets.
        if self.mac.len() > right.len() || self.mac.len() < (right.len() / 2).max(10) {
            return None;
        }
        if !bool::from(right[..self.mac.len()].ct_eq(&self.mac)) {
            return Some(Err(Fault::BadSig));
        }
        if self.time.abs_diff(now_s) > u64::from(self.fudge) {
            return Some(Err(Fault::BadTime));
        }
        Some(if self.mac.len() < right.len() { Err(Fault::BadTrunc) } else { Ok(()) })
    }
}

/// What a TSIG record says besides its MAC and the original identifier.
struct Record<'a> {
    key: &'a Name,
    algorithm: &'a Name,
    time: u64,
    fudge: u16,
    error: u16,
    other: Vec<u8>,
}

impl Record<'_> {
    /// The octets that the MAC is over (section 4.3): the prior MAC, the message, and the variables;
    /// from the second message of a transfer on only the timers.
    fn signed_octets(&self, message: &[u8], prior: Option<&[u8]>, first: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(message.len() + 256);
        if let Some(prior) = prior {
            out.extend((prior.len() as u16).to_be_bytes());
            out.extend_from_slice(prior);
        }
        out.extend_from_slice(message);
        if first {
            out.extend_from_slice(self.key);
            out.extend(CLASS_ANY.to_be_bytes());
            out.extend([0; 4]);
            out.extend_from_slice(self.algorithm);
        }
        out.extend_from_slice(&self.time.to_be_bytes()[2..]);
        out.extend(self.fudge.to_be_bytes());
        if first {
            out.extend(self.error.to_be_bytes());
            out.extend((self.other.len() as u16).to_be_bytes());
            out.extend_from_slice(&self.other);
        }
        out
    }

    /// Appends the record to a message; `None` if that is none, or then too long.
    fn append(&self, message: &mut Vec<u8>, mac: &[u8]) -> Option<()> {
        let (id, additional) = (u16_at(message, 0)?, u16_at(message, 10)?.checked_add(1)?);
        let length = self.algorithm.len() + 16 + mac.len() + self.other.len();
        if message.len() + self.key.len() + 10 + length > usize::from(u16::MAX) {
            return None;
        }
        message[10..12].copy_from_slice(&additional.to_be_bytes());
        message.extend_from_slice(self.key);
        message.extend(rtype::TSIG.to_be_bytes());
        message.extend(CLASS_ANY.to_be_bytes());
        message.extend([0; 4]);
        message.extend((length as u16).to_be_bytes());
        message.extend_from_slice(self.algorithm);
        message.extend_from_slice(&self.time.to_be_bytes()[2..]);
        message.extend(self.fudge.to_be_bytes());
        message.extend((mac.len() as u16).to_be_bytes());
        message.extend_from_slice(mac);
        message.extend(id.to_be_bytes());
        message.extend(self.error.to_be_bytes());
        message.extend((self.other.len() as u16).to_be_bytes());
        message.extend_from_slice(&self.other);
        Some(())
    }
}

#[cfg(test)]
mod tests;
