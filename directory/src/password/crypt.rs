//! {CRYPT}: the strings of crypt(3).
//!
//! Read are `$1$` (MD5), `$5$` and `$6$` (SHA-2), `$y$` (yescrypt) and the 13 characters of DES. What crypt(3) of one
//! system knows and ours does not is unknown, never a mismatch: it may well be the right password.

use md5::{Digest, Md5};
use sha_crypt::{PasswordVerifier, ShaCrypt};
use subtle::ConstantTimeEq;

use super::{des, scheme::Unusable};

/// Rounds of `$5$` and `$6$`: half a second.
const SHA_ROUNDS_MAX: u32 = 1_000_000;
/// Memory of `$y$`: `128 * r * N` octets.
const YESCRYPT_OCTETS_MAX: u64 = 256 << 20;
/// Characters of the parameters of `$y$`: flavour, N and r. The optional ones after them make it slower without bound.
const YESCRYPT_PARAMS_MAX: usize = 4;
/// Octets of salt of `$1$` that count.
const MD5_SALT_MAX: usize = 8;

/// A string of crypt(3) that can be verified.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Crypt {
    Md5 { salt: Box<[u8]>, digest: Box<[u8]> },
    Sha(Box<str>),
    Yescrypt(Box<str>),
    Des(Box<str>),
}

impl Crypt {
    pub(super) fn parse(text: &[u8]) -> Result<Self, Unusable> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii()).ok_or(Unusable::Malformed)?;
        if let Some(rest) = text.strip_prefix("$1$") {
            let (salt, digest) = rest.split_once('$').ok_or(Unusable::Malformed)?;
            let salt = salt.as_bytes().get(..salt.len().min(MD5_SALT_MAX)).unwrap_or_default();
            return match digest.len() {
                22 => Ok(Self::Md5 { salt: salt.into(), digest: digest.as_bytes().into() }),
                _ => Err(Unusable::Malformed),
            };
        }
        if let Some(rest) = text.strip_prefix("$5$").or_else(|| text.strip_prefix("$6$")) {
            return sha(text, rest);
        }
        if let Some(rest) = text.strip_prefix("$y$") {
            return yescrypt(text, rest);
        }
        // An asterisk or exclamation mark is crypt's way to say "no password matches".
        if text.starts_with(['*', '!']) {
            return Err(Unusable::Malformed);
        }
        if text.len() == 13 && text.bytes().all(|octet| des::value_of(octet).is_some()) {
            return Ok(Self::Des(text.into()));
        }
        Err(Unusable::Unknown)
    }

    pub(super) fn is_des(&self) -> bool {
        matches!(self, Self::Des(_))
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        match self {
            Self::Md5 { salt, digest } => md5_crypt(password, salt).ct_eq(digest).into(),
            Self::Sha(text) => ShaCrypt::default().verify_password(password, &**text).is_ok(),
            Self::Yescrypt(text) => yescrypt::Yescrypt::default().verify_password(password, &**text).is_ok(),
            Self::Des(text) => {
                des::crypt(password, text.as_bytes()).is_some_and(|found| found.ct_eq(text.as_bytes()).into())
            }
        }
    }
}

/// `[rounds=N$]salt$digest`.
fn sha(text: &str, rest: &str) -> Result<Crypt, Unusable> {
    let fields: Vec<&str> = rest.split('$').collect();
    let (rounds, salt, digest) = match fields.as_slice() {
        [rounds, salt, digest] => (rounds.strip_prefix("rounds=").ok_or(Unusable::Malformed)?, salt, digest),
        [salt, digest] => ("5000", salt, digest),
        _ => return Err(Unusable::Malformed),
    };
    let rounds: u32 = rounds.parse().map_err(|_| Unusable::Malformed)?;
    if rounds > SHA_ROUNDS_MAX {
        return Err(Unusable::Costly);
    }
    let length = if text.starts_with("$5$") { 43 } else { 86 };
    if rounds < sha_crypt::Params::ROUNDS_MIN || salt.len() > 16 || digest.len() != length {
        return Err(Unusable::Malformed);
    }
    Ok(Crypt::Sha(text.into()))
}

/// `parameters$salt$digest`.
fn yescrypt(text: &str, rest: &str) -> Result<Crypt, Unusable> {
    let mut fields = rest.split('$');
    let params = fields.next().unwrap_or_default();
    if params.len() > YESCRYPT_PARAMS_MAX {
        return Err(Unusable::Costly);
    }
    let params: yescrypt::Params = params.parse().map_err(|_| Unusable::Malformed)?;
    let digest = fields.nth(1).ok_or(Unusable::Malformed)?;
    if digest.len() != 43 || fields.next().is_some() {
        return Err(Unusable::Malformed);
    }
    let octets = params.n().saturating_mul(u64::from(params.r())).saturating_mul(128);
    if octets.saturating_mul(u64::from(params.p())) > YESCRYPT_OCTETS_MAX {
        return Err(Unusable::Costly);
    }
    Ok(Crypt::Yescrypt(text.into()))
}

/// Poul-Henning Kamp's MD5 crypt, as in FreeBSD's lib/libcrypt/crypt-md5.c: 22 characters.
fn md5_crypt(password: &[u8], salt: &[u8]) -> Vec<u8> {
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut first = Md5::new().chain_update(password).chain_update(b"$1$").chain_update(salt);
    for chunk in password.chunks(16) {
        first.update(inner.get(..chunk.len()).unwrap_or_default());
    }
    let mut bits = password.len();
    while bits > 0 {
        first.update(if bits & 1 == 1 { &[0][..] } else { password.get(..1).unwrap_or_default() });
        bits >>= 1;
    }
    let mut digest = first.finalize();
    for round in 0..1000 {
        let mut next = Md5::new();
        next.update(if round % 2 == 1 { password } else { digest.as_slice() });
        next.update(if round % 3 != 0 { salt } else { &[] });
        next.update(if round % 7 != 0 { password } else { &[] });
        next.update(if round % 2 == 1 { digest.as_slice() } else { password });
        digest = next.finalize();
    }
    let octet = |at: usize| u32::from(digest.get(at).copied().unwrap_or_default());
    let mut out = Vec::with_capacity(22);
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        des::encode(octet(a) << 16 | octet(b) << 8 | octet(c), 4, &mut out);
    }
    des::encode(octet(11), 2, &mut out);
    out
}
