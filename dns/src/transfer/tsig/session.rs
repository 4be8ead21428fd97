//! A session: one request and the messages that answer it, signed in a chain (RFC 8945 section 5.3).

use std::sync::Arc;

use super::{
    FUDGE, Fault, Key,
    record::{Record, Signature},
};
use crate::{name::Name, transfer::message::HEADER};

/// The key of an exchange and the last MAC of it.
#[derive(Debug, Clone)]
pub struct Session {
    key: Arc<Key>,
    prior: Option<Vec<u8>>,
    /// Whether the next message is the first one: from the second on only timers are signed with it.
    first: bool,
}

/// Why a message was not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Shorter than a header, or longer than 65535 octets with its signature.
    #[error("a message of {0} octets cannot be signed")]
    Length(usize),
    /// The MAC was not computed.
    #[error("the MAC was not computed")]
    Mac,
}

impl Session {
    /// Signs a request of ours, then verifies its reply.
    pub(super) fn request(key: Arc<Key>) -> Self {
        Self { key, prior: None, first: true }
    }

    /// Signs the messages that answer a request with this MAC.
    pub(super) fn reply_to(key: Arc<Key>, mac: &[u8]) -> Self {
        Self { key, prior: Some(mac.to_vec()), first: true }
    }

    /// Name of the key.
    pub fn key_name(&self) -> &Name {
        &self.key.name
    }

    /// Octets that a signature adds to a message.
    pub fn overhead(&self) -> usize {
        // Owner, type, class, TTL, length; algorithm; the fixed fields; the MAC, at most 64 octets.
        self.key.name.len() + 10 + self.key.algorithm_name.len() + 16 + 64
    }

    /// Appends the signature to a message. Every message of a transfer is signed, in the order in which it is sent.
    pub fn sign(&mut self, message: &mut Vec<u8>, now_s: u64) -> Result<(), SignError> {
        let key = self.key.clone();
        let record = Record {
            key: &key.name,
            algorithm: &key.algorithm_name,
            time: now_s,
            fudge: FUDGE,
            error: 0,
            other: Vec::new(),
        };
        self.sign_with(message, &record)
    }

    pub(super) fn sign_with(&mut self, message: &mut Vec<u8>, record: &Record<'_>) -> Result<(), SignError> {
        if message.len() < HEADER {
            return Err(SignError::Length(message.len()));
        }
        let octets = record.signed_octets(message, self.prior.as_deref(), self.first);
        let mac = self.key.mac(&octets).ok_or(SignError::Mac)?;
        record.append(message, &mac).ok_or(SignError::Length(message.len()))?;
        self.prior = Some(mac);
        self.first = false;
        Ok(())
    }

    /// Verifies the reply to a request that this session signed.
    pub fn verify_reply(&self, message: &[u8], now_s: u64) -> Result<(), Fault> {
        let signature = Signature::find(message).flatten().ok_or(Fault::Unsigned)?;
        if signature.key != self.key.name || signature.algorithm != self.key.algorithm_name {
            return Err(Fault::BadKey);
        }
        if signature.mac.is_empty() {
            // Unsigned, so it may be forged: it is told, and believed no further.
            return Err(Fault::Reported(signature.error));
        }
        signature.check(&self.key, message, self.prior.as_deref(), true, now_s).unwrap_or(Err(Fault::BadSig))?;
        if signature.error == 0 { Ok(()) } else { Err(Fault::Reported(signature.error)) }
    }
}
