//! TSIG (RFC 8945): keys, requests verified, replies signed.
//!
//! hickory-proto computes the MACs; the records and the chain of MACs over the messages of a
//! transfer (section 5.3.1) are written here. Truncated MACs are refused (BADTRUNC): they exist for
//! devices that nobody has. MACs are compared in equal time. Secrets never show in `Debug` output.

use std::{fmt, sync::Arc};

use super::{message::Request, out::error_reply};
use crate::{config, name::Name, rr::rcode};
use data_encoding::BASE64;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;

mod record;
mod session;

use record::{Record, Signature};
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
    /// The message or its TSIG record is malformed: FORMERR, or silence if it is no request.
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

impl FromIterator<Key> for Keys {
    /// Keys of callers that hold the secrets themselves; names must differ.
    fn from_iter<T: IntoIterator<Item = Key>>(keys: T) -> Self {
        Self(keys.into_iter().map(Arc::new).collect())
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
    // A message that is no request gets no reply, or two servers could talk for ever.
    let Some(request) = Request::read(message) else { return Verified::Malformed };
    let mut reply = error_reply(&request, rcode::NOTAUTH);
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

#[cfg(test)]
mod tests;
