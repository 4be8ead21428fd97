//! DNS cookies (RFC 7873), server cookies of version 1 (RFC 9018).
//!
//! Layout of a server cookie, 16 octets: version (1), three reserved octets, the time as 32-bit
//! seconds, SipHash-2-4 over client cookie, the eight octets before and the client's address.
//! Nothing is stored per client. All replicas with one secret accept each other's cookies.

use std::{fs, hash::Hasher, net::IpAddr, path::Path};

use siphasher::sip::SipHasher24;

/// EDNS option code of cookies.
pub const OPTION_COOKIE: u16 = 10;
/// A cookie is good for this many seconds (RFC 9018 section 4.3).
pub const VALID_S: u32 = 3600;
/// A cookie may come from this far in the future, by another replica's clock.
pub const FUTURE_S: u32 = 300;

/// A secret of 16 octets.
pub type Secret = [u8; 16];

/// What a query's cookie option says about the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CookieState {
    /// A client cookie alone: the client asks for a server cookie.
    ClientOnly,
    /// Ours: the client has seen an answer sent to this address.
    Good,
    /// Not ours, too old or of another address.
    Bad,
    /// A length that no cookie has: FORMERR (RFC 7873 section 5.2.2).
    Malformed,
}

/// Why there is no secret in a file.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error(
        "cannot read the cookie secret {path}: {reason}; check that the file exists and that this user may read it"
    )]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// A line that is no secret.
    #[error(
        "line {line} of the cookie secret {path} is not 32 hexadecimal digits; make one with: \
         openssl rand -hex 16"
    )]
    Line {
        /// The file.
        path: String,
        /// Line number, from 1.
        line: usize,
    },
    /// Neither one nor two lines.
    #[error("the cookie secret {path} has {found} lines; it must have the secret and, optionally, the former one")]
    Count {
        /// The file.
        path: String,
        /// Lines found.
        found: usize,
    },
}

/// Reads the present secret and, on a second line, the former one.
pub fn load_secrets(path: &Path) -> Result<Vec<Secret>, SecretError> {
    let shown = path.display().to_string();
    let text = fs::read_to_string(path)
        .map_err(|error| SecretError::Unreadable { path: shown.clone(), reason: error.to_string() })?;
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    if !(1..=2).contains(&lines.len()) {
        return Err(SecretError::Count { path: shown, found: lines.len() });
    }
    lines
        .iter()
        .enumerate()
        .map(|(index, line)| parse_secret(line).ok_or(SecretError::Line { path: shown.clone(), line: index + 1 }))
        .collect()
}

fn parse_secret(line: &str) -> Option<Secret> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(line.as_bytes()).ok()?.try_into().ok()
}

/// A secret for one start.
pub fn random_secret() -> Result<Secret, getrandom::Error> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret)?;
    Ok(secret)
}

/// The server cookie for a client, made at `now_s` (Unix seconds modulo 2^32).
pub fn make(secret: &Secret, client: &[u8; 8], now_s: u32, address: IpAddr) -> [u8; 16] {
    let mut cookie = [0; 16];
    cookie[0] = 1;
    cookie[4..8].copy_from_slice(&now_s.to_be_bytes());
    let mut head = [0; 8];
    head.copy_from_slice(&cookie[..8]);
    cookie[8..].copy_from_slice(&hash(secret, client, &head, address));
    cookie
}

/// Judges the data of a cookie option. A cookie made with any of `secrets` is good.
/// Every answer carries a fresh one, so a client never has to ask for it.
pub fn check(secrets: &[Secret], option: &[u8], now_s: u32, address: IpAddr) -> CookieState {
    let Some((client, server)) = option.split_first_chunk::<8>() else { return CookieState::Malformed };
    match server.len() {
        0 => return CookieState::ClientOnly,
        8..=32 => {}
        _ => return CookieState::Malformed,
    }
    let Ok(server) = <&[u8; 16]>::try_from(server) else { return CookieState::Bad };
    let [1, r0, r1, r2, t0, t1, t2, t3, tag @ ..] = server else { return CookieState::Bad };
    // Serial arithmetic (RFC 1982): the 32-bit clock may wrap.
    let age = now_s.wrapping_sub(u32::from_be_bytes([*t0, *t1, *t2, *t3])) as i32;
    if age > VALID_S as i32 || age < -(FUTURE_S as i32) {
        return CookieState::Bad;
    }
    let head = [1, *r0, *r1, *r2, *t0, *t1, *t2, *t3];
    match secrets.iter().any(|secret| equal(&hash(secret, client, &head, address), tag)) {
        true => CookieState::Good,
        false => CookieState::Bad,
    }
}

fn hash(secret: &Secret, client: &[u8; 8], head: &[u8; 8], address: IpAddr) -> [u8; 8] {
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write(client);
    hasher.write(head);
    match address.to_canonical() {
        IpAddr::V4(v4) => hasher.write(&v4.octets()),
        IpAddr::V6(v6) => hasher.write(&v6.octets()),
    }
    hasher.finish().to_le_bytes()
}

/// Compares in equal time, so that a tag cannot be guessed octet by octet.
fn equal(a: &[u8; 8], b: &[u8; 8]) -> bool {
    std::hint::black_box(u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b)) == 0
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    fn secret(text: &str) -> Secret {
        parse_secret(text).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const A: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

    /// RFC 9018 appendix A.1 and A.2.
    #[test]
    fn vectors_a1_a2() {
        let client = hex("2464c4abcf10c957").try_into().unwrap();
        let cookie = make(&secret(A), &client, 1_559_731_985, ip("198.51.100.100"));
        assert_eq!(cookie.to_vec(), hex("010000005cf79f111f8130c3eee29480"));
        let option = [&client[..], &cookie].concat();
        let at = |now| check(&[secret(A)], &option, now, ip("198.51.100.100"));
        assert_eq!(at(1_559_734_385), CookieState::Good, "A.2: 40 minutes later");
        assert_eq!(at(1_559_731_985 + 60), CookieState::Good);
        let renewed = make(&secret(A), &client, 1_559_734_385, ip("198.51.100.100"));
        assert_eq!(renewed.to_vec(), hex("010000005cf7a871d4a564a1442aca77"));
    }

    /// RFC 9018 appendix A.3: the reserved octets are part of the hash, whatever they hold.
    #[test]
    fn vector_a3() {
        let option = hex("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5");
        let at = |now| check(&[secret(A)], &option, now, ip("203.0.113.203"));
        assert_eq!(at(1_559_727_985 + 10), CookieState::Good);
        assert_eq!(at(1_559_727_985 + VALID_S + 1), CookieState::Bad);
        assert_eq!(at(1_559_727_985 - FUTURE_S), CookieState::Good);
        assert_eq!(at(1_559_727_985 - FUTURE_S - 1), CookieState::Bad);
    }

    /// RFC 9018 appendix A.4: IPv6, and a secret that was replaced.
    #[test]
    fn vector_a4() {
        let (former, present) =
            (secret("dd3bdf9344b678b185a6f5cb60fca715"), secret("445536bcd2513298075a5d379663c962"));
        let address = ip("2001:db8:220:1:59de:d0f4:8769:82b8");
        let option = hex("22681ab97d52c298010000005cf7c57926556bd0934c72f8");
        let now = 1_559_741_961;
        assert_eq!(check(&[present, former], &option, now, address), CookieState::Good);
        assert_eq!(check(&[present], &option, now, address), CookieState::Bad);
        let client = hex("22681ab97d52c298").try_into().unwrap();
        let cookie = make(&present, &client, now, address);
        assert_eq!(cookie.to_vec(), hex("010000005cf7c609a6bb79d16625507a"));
    }

    #[test]
    fn lengths() {
        for length in 0..=48 {
            let state = check(&[secret(A)], &vec![0; length], 0, ip("192.0.2.1"));
            let expected = match length {
                8 => CookieState::ClientOnly,
                16..=40 => CookieState::Bad,
                _ => CookieState::Malformed,
            };
            assert_eq!(state, expected, "{length} octets");
        }
    }

    #[test]
    fn the_clock_wraps() {
        let cookie = make(&secret(A), &[7; 8], u32::MAX - 5, ip("192.0.2.1"));
        let option = [&[7; 8][..], &cookie].concat();
        assert_eq!(check(&[secret(A)], &option, 10, ip("192.0.2.1")), CookieState::Good);
        assert_eq!(check(&[secret(A)], &option, 10, ip("192.0.2.2")), CookieState::Bad, "another address");
    }

    #[test]
    fn secret_files() {
        let load = |text: &str| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            load_secrets(file.path()).map_err(|error| error.to_string())
        };
        assert_eq!(load(&format!("{A}\n")).unwrap(), [secret(A)]);
        assert_eq!(load(&format!("{A}\n{}\n", A.to_uppercase())).unwrap().len(), 2);
        assert!(load(&format!("{A}\nabc\n")).unwrap_err().starts_with("line 2 of the cookie secret"));
        assert!(load("").unwrap_err().contains("has 0 lines"));
        assert!(
            load_secrets(Path::new("/nonexistent/secret")).unwrap_err().to_string().contains("/nonexistent/secret")
        );
    }

    proptest! {
        #[test]
        fn any_change_of_the_cookie_spoils_it(position in 8usize..24, flip in 1u8..=255, client: [u8; 8]) {
            let cookie = make(&secret(A), &client, 1000, ip("192.0.2.1"));
            let mut option = [&client[..], &cookie].concat();
            option[position] ^= flip;
            prop_assert_eq!(check(&[secret(A)], &option, 1000, ip("192.0.2.1")), CookieState::Bad);
        }

        #[test]
        fn hostile_options_never_panic(option: Vec<u8>, now: u32) {
            check(&[secret(A)], &option, now, ip("::1"));
        }
    }
}
