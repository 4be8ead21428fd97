//! `userPassword` values: which schemes are read, and whether a password matches.
//!
//! Schemes are those of OpenLDAP (liblutil/passwd.c, pw-sha2, pw-pbkdf2, pw-argon2) and of 389-ds. A scheme's name is
//! compared without regard to case. Weak schemes are read only when the configuration names them, and a value of an
//! unknown scheme is never compared as clear text. Values come from the upstream, yet their cost is bounded: a value
//! that asks for more memory or rounds than the limits below is not usable.

use compact_str::CompactString;
use data_encoding::{BASE64, BASE64_NOPAD};
use md5::Md5;
use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

use super::{crypt, phc};

/// Octets of a `userPassword` value that is read. The longest known is {PBKDF2_SHA256} with 448.
const VALUE_MAX: usize = 1024;
/// Rounds of PBKDF2, counted per block of the digest: about two seconds.
const PBKDF2_ROUNDS_MAX: u64 = 4_000_000;

/// Weak schemes that may be verified all the same, by configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weak {
    /// {MD5}: unsalted.
    pub md5: bool,
    /// {SMD5}.
    pub smd5: bool,
    /// {SHA}, {SHA256}, {SHA384}, {SHA512}: unsalted.
    pub sha: bool,
    /// {CRYPT} of DES: eight characters count, 4096 salts.
    pub crypt_des: bool,
    /// No hash at all, or {CLEARTEXT}.
    pub clear: bool,
}

/// A name in `weak_schemes` that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("[directory] weak_schemes: {0:?} is no weak scheme; known are md5, smd5, sha, crypt-des, clear")]
pub struct NotWeak(CompactString);

impl Weak {
    /// Reads `weak_schemes` of the configuration.
    pub fn parse(names: &[CompactString]) -> Result<Self, NotWeak> {
        let mut weak = Self::default();
        for name in names {
            match name.as_str() {
                "md5" => weak.md5 = true,
                "smd5" => weak.smd5 = true,
                "sha" => weak.sha = true,
                "crypt-des" => weak.crypt_des = true,
                "clear" => weak.clear = true,
                _ => return Err(NotWeak(name.chars().take(64).collect())),
            }
        }
        Ok(weak)
    }
}

/// Why a value cannot judge a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// A scheme that is not known here, {SASL} among them: only the upstream can tell.
    Unknown,
    /// A weak scheme that the configuration does not name.
    Weak,
    /// A known scheme whose text is damaged.
    Malformed,
    /// More memory or rounds than the limits allow.
    Costly,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    const fn octets(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn of(self, password: &[u8], salt: &[u8]) -> Vec<u8> {
        fn run<D: Digest>(password: &[u8], salt: &[u8]) -> Vec<u8> {
            D::new().chain_update(password).chain_update(salt).finalize().as_slice().to_vec()
        }
        match self {
            Self::Md5 => run::<Md5>(password, salt),
            Self::Sha1 => run::<Sha1>(password, salt),
            Self::Sha256 => run::<Sha256>(password, salt),
            Self::Sha384 => run::<Sha384>(password, salt),
            Self::Sha512 => run::<Sha512>(password, salt),
        }
    }
}

/// A value that can judge a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Stored(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Digest { hash: Hash, digest: Vec<u8>, salt: Vec<u8> },
    Pbkdf2 { hash: Hash, rounds: u32, salt: Vec<u8>, digest: Vec<u8> },
    Crypt(crypt::Crypt),
    Argon2(Box<str>),
    Clear(Vec<u8>),
}

impl Stored {
    /// Reads a value. It decides before any hashing whether the value is usable.
    pub(super) fn parse(value: &[u8], weak: Weak) -> Result<Self, Unusable> {
        if value.is_empty() || value.len() > VALUE_MAX {
            return Err(Unusable::Malformed);
        }
        let Some((scheme, rest)) = split(value) else {
            return if weak.clear { Ok(Self(Kind::Clear(value.to_vec()))) } else { Err(Unusable::Weak) };
        };
        let allowed = |allowed: bool| if allowed { Ok(()) } else { Err(Unusable::Weak) };
        let digest = |hash: Hash, salted: bool| digest(rest, hash, salted);
        let kind = match scheme.to_ascii_uppercase().as_slice() {
            b"SSHA" => digest(Hash::Sha1, true),
            b"SSHA256" => digest(Hash::Sha256, true),
            b"SSHA384" => digest(Hash::Sha384, true),
            b"SSHA512" => digest(Hash::Sha512, true),
            b"SMD5" => allowed(weak.smd5).and_then(|()| digest(Hash::Md5, true)),
            b"MD5" => allowed(weak.md5).and_then(|()| digest(Hash::Md5, false)),
            b"SHA" => allowed(weak.sha).and_then(|()| digest(Hash::Sha1, false)),
            b"SHA256" => allowed(weak.sha).and_then(|()| digest(Hash::Sha256, false)),
            b"SHA384" => allowed(weak.sha).and_then(|()| digest(Hash::Sha384, false)),
            b"SHA512" => allowed(weak.sha).and_then(|()| digest(Hash::Sha512, false)),
            b"PBKDF2" | b"PBKDF2-SHA1" => pbkdf2_text(rest, Hash::Sha1),
            b"PBKDF2-SHA256" => pbkdf2_text(rest, Hash::Sha256),
            b"PBKDF2-SHA512" => pbkdf2_text(rest, Hash::Sha512),
            b"PBKDF2_SHA256" => pbkdf2_binary(rest),
            b"ARGON2" => {
                let text = std::str::from_utf8(rest).map_err(|_| Unusable::Malformed)?;
                phc::check(text).map(|()| Kind::Argon2(text.into()))
            }
            b"CRYPT" => crypt::Crypt::parse(rest)
                .and_then(|crypt| allowed(weak.crypt_des || !crypt.is_des()).map(|()| Kind::Crypt(crypt))),
            b"CLEARTEXT" => allowed(weak.clear).map(|()| Kind::Clear(rest.to_vec())),
            _ => Err(Unusable::Unknown),
        };
        kind.map(Self)
    }

    /// Whether the password is the one of this value; compared in constant time. It may take a second.
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        match &self.0 {
            Kind::Digest { hash, digest, salt } => hash.of(password, salt).ct_eq(digest).into(),
            Kind::Pbkdf2 { hash, rounds, salt, digest } => {
                let mut found = vec![0; digest.len()];
                match hash {
                    Hash::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, *rounds, &mut found),
                    Hash::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, *rounds, &mut found),
                    _ => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, *rounds, &mut found),
                }
                found.ct_eq(digest).into()
            }
            Kind::Crypt(crypt) => crypt.matches(password),
            Kind::Argon2(text) => phc::matches(text, password),
            // Digests first: the lengths of the two must not show.
            Kind::Clear(text) => blake3::hash(text) == blake3::hash(password),
        }
    }
}

/// `{SCHEME}rest`. A value that begins with a brace has a scheme, even an unknown one.
fn split(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = value.strip_prefix(b"{")?;
    match inner.iter().position(|octet| *octet == b'}') {
        Some(at) => Some((inner.get(..at)?, inner.get(at + 1..)?)),
        None => Some((b"", inner)),
    }
}

/// Base64 with or without padding, and passlib's form with `.` for `+`.
fn base64(text: &[u8]) -> Result<Vec<u8>, Unusable> {
    let plain: Vec<u8> = text.iter().map(|octet| if *octet == b'.' { b'+' } else { *octet }).collect();
    BASE64.decode(&plain).or_else(|_| BASE64_NOPAD.decode(&plain)).map_err(|_| Unusable::Malformed)
}

fn digest(text: &[u8], hash: Hash, salted: bool) -> Result<Kind, Unusable> {
    let mut digest = base64(text)?;
    if digest.len() < hash.octets() || (digest.len() > hash.octets()) != salted {
        return Err(Unusable::Malformed);
    }
    let salt = digest.split_off(hash.octets());
    Ok(Kind::Digest { hash, digest, salt })
}

/// `rounds$salt$digest` of OpenLDAP's pw-pbkdf2, of 389-ds' pwdchan and of passlib.
fn pbkdf2_text(text: &[u8], hash: Hash) -> Result<Kind, Unusable> {
    let parts: Vec<&[u8]> = text.split(|octet| *octet == b'$').collect();
    let [rounds, salt, digest] = parts.as_slice() else { return Err(Unusable::Malformed) };
    let rounds = std::str::from_utf8(rounds).ok().and_then(|text| text.parse().ok()).ok_or(Unusable::Malformed)?;
    pbkdf2(hash, rounds, base64(salt)?, base64(digest)?)
}

/// Old 389-ds: four octets of rounds, 64 of salt, 256 of digest.
fn pbkdf2_binary(text: &[u8]) -> Result<Kind, Unusable> {
    let octets = base64(text)?;
    let (rounds, rest) = octets.split_first_chunk::<4>().ok_or(Unusable::Malformed)?;
    let (salt, digest) = rest.split_first_chunk::<64>().ok_or(Unusable::Malformed)?;
    if digest.len() != 256 {
        return Err(Unusable::Malformed);
    }
    pbkdf2(Hash::Sha256, u32::from_be_bytes(*rounds), salt.to_vec(), digest.to_vec())
}

fn pbkdf2(hash: Hash, rounds: u32, salt: Vec<u8>, digest: Vec<u8>) -> Result<Kind, Unusable> {
    // A short digest would match by chance.
    if rounds == 0 || salt.is_empty() || digest.len() < 16 {
        return Err(Unusable::Malformed);
    }
    let blocks = digest.len().div_ceil(hash.octets()) as u64;
    if u64::from(rounds).saturating_mul(blocks) > PBKDF2_ROUNDS_MAX {
        return Err(Unusable::Costly);
    }
    Ok(Kind::Pbkdf2 { hash, rounds, salt, digest })
}

#[cfg(test)]
mod tests;
