//! Argon2 in PHC strings: {ARGON2} values of the upstream, and our own verifiers.

use argon2::{Argon2, CustomizedPasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash};

use super::scheme::Unusable;

/// KiB of memory that a hash of the upstream may ask for.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
/// Memory times passes, in KiB: about two seconds.
const WORK_KIB_MAX: u64 = 1024 * 1024;
/// Lanes.
const LANES_MAX: u32 = 16;
/// Octets of salt of our own verifiers.
const SALT_OCTETS: usize = 16;

/// Whether a PHC string is one of Argon2 at a bearable cost.
pub(super) fn check(text: &str) -> Result<(), Unusable> {
    let hash = PasswordHash::new(text).map_err(|_| Unusable::Malformed)?;
    if !matches!(hash.algorithm.as_str(), "argon2i" | "argon2d" | "argon2id") || hash.hash.is_none() {
        return Err(Unusable::Malformed);
    }
    let params = argon2::Params::try_from(&hash).map_err(|_| Unusable::Malformed)?;
    let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
    if params.m_cost() > MEMORY_KIB_MAX || work > WORK_KIB_MAX || params.p_cost() > LANES_MAX {
        return Err(Unusable::Costly);
    }
    Ok(())
}

/// Whether the password is the one of a PHC string; compared in constant time. Text that is none matches nothing.
pub(super) fn matches(text: &str, password: &[u8]) -> bool {
    Argon2::default().verify_password(password, text).is_ok()
}

/// A verifier for a password: argon2id with 19 MiB and two passes (the crate's and OWASP's minimum), random salt.
/// `None` when the system gives no random octets.
pub(super) fn make(password: &[u8]) -> Option<Box<str>> {
    let mut salt = [0; SALT_OCTETS];
    getrandom::fill(&mut salt).ok()?;
    let hash =
        Argon2::default().hash_password_customized(password, &salt, None, None, argon2::Params::default()).ok()?;
    Some(hash.to_string().into())
}

/// Spends the time of one verifier; for names that do not exist.
pub(super) fn spend(password: &[u8]) {
    let mut out = [0; 32];
    let spent = Argon2::default().hash_password_into(password, b"no such person..", &mut out);
    std::hint::black_box((spent.is_ok(), out));
}
