//! SSH public keys of people, as sshd takes them from an AuthorizedKeysCommand: one line each.
//!
//! A value that is anything but `type base64 [comment]` is left out: options in front of a key would be rules that
//! nobody decided here, and a line feed would smuggle in a second line.

use data_encoding::BASE64;

/// Attributes that hold keys: openssh-lpk's, and FreeIPA's.
const ATTRIBUTES: &[&str] = &["sshPublicKey", "ipaSshPubKey"];
/// Key types that sshd 9 accepts. DSA is gone since 10.0 and was off by default long before.
const TYPES: &[&str] = &[
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];
/// Most octets of one key; RSA of 16,384 bits takes 2,800.
const KEY_OCTETS_MAX: usize = 8192;
/// Most keys of one person that are given out; sshd tries each offered key against all of them.
const KEYS_MAX: usize = 256;

impl super::Access {
    /// The keys of a person, in the order of the entry; none for an unknown or ambiguous user. Whether the keys may be
    /// used somewhere is another question: [`decide`](Self::decide).
    pub fn keys(&self, user: &str) -> Vec<&str> {
        let Ok(person) = self.person(user) else { return Vec::new() };
        let values = ATTRIBUTES.iter().flat_map(|attribute| person.entry.texts(attribute));
        values.map(str::trim).filter(|key| is_key(key)).take(KEYS_MAX).collect()
    }
}

/// Whether a text is one public key.
pub fn is_key(text: &str) -> bool {
    if text.len() > KEY_OCTETS_MAX || text.chars().any(char::is_control) {
        return false;
    }
    let mut parts = text.split(' ').filter(|part| !part.is_empty());
    let (Some(kind), Some(blob)) = (parts.next(), parts.next()) else { return false };
    // Whether the end of the blob is sound is sshd's to say; whole quads tell the type.
    let quads = blob.trim_end_matches('=');
    let Some(quads) = quads.get(..quads.len() / 4 * 4) else { return false };
    let Ok(blob) = BASE64.decode(quads.as_bytes()) else { return false };
    // RFC 4253 section 6.6: the blob begins with its own type.
    let Some((length, rest)) = blob.split_first_chunk::<4>() else { return false };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    TYPES.contains(&kind) && rest.get(..length) == Some(kind.as_bytes()) && rest.len() > length
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[test]
    fn the_end_of_a_blob_is_left_to_sshd() {
        for end in ["A", "AA", "AAA=", "AA==", "AAAA"] {
            assert!(is_key(&format!("{KEY}{end} ada")), "{end}");
        }
    }

    #[test]
    fn a_key_is_one_line_of_type_and_blob() {
        assert!(is_key(KEY));
        assert!(is_key(&format!("{KEY} ada@laptop of hers")));
        for wrong in [
            String::new(),
            "ssh-ed25519".into(),
            format!("{KEY}\nssh-rsa AAAA"),
            format!("command=\"sh\" {KEY}"),
            KEY.replace("ssh-ed25519", "ssh-rsa"),
            KEY.replace("ssh-ed25519", "ssh-dss"),
            "ssh-ed25519 AAAA".into(),
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5".into(),
            KEY.replace("AgME", "A\"ME"),
            format!("{KEY} {}", "x".repeat(KEY_OCTETS_MAX)),
        ] {
            assert!(!is_key(&wrong), "{wrong}");
        }
    }
}
