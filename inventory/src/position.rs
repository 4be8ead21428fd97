//! Where a node is in the one history of its cluster.

use serde::{Deserialize, Serialize};

/// How many serials one epoch sets aside in the SOA serial: a promotion or a restore jumps over
/// every change that may have been lost, so that secondaries always see a newer zone.
const SOA_SERIALS_PER_EPOCH: u32 = 1 << 20;

/// Position of a state: which cluster, which epoch, which change, and the hash over all rows.
/// Two nodes with the same (epoch, serial) have the same hash; anything else is a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Random number given to the cluster when its first store was made.
    pub cluster_id: u64,
    /// Grows by one at every promotion and every restore; starts at 1.
    pub epoch: u32,
    /// Grows by one with every change set; 0 is the empty state.
    pub serial: u64,
    /// Root over the row digests; see [`crate::digest`].
    #[serde(with = "hex")]
    pub state_hash: [u8; 32],
}

impl Position {
    /// The SOA serial of zones generated from this position. It grows with the serial and jumps
    /// ahead with the epoch, so it never goes back in the sense of RFC 1982, restores included.
    pub fn soa_serial(&self) -> u32 {
        soa_serial(self.epoch, self.serial)
    }
}

/// [`Position::soa_serial`] for a change of the past.
pub fn soa_serial(epoch: u32, serial: u64) -> u32 {
    // Truncation is meant: serial arithmetic is modulo 2^32 (RFC 1982 section 2).
    (serial as u32).wrapping_add(epoch.wrapping_sub(1).wrapping_mul(SOA_SERIALS_PER_EPOCH)).wrapping_add(1)
}

/// 32 bytes as lower-case hexadecimal text.
pub mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Text of the bytes.
    pub fn encode(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Bytes of the text; none if it is not 64 hexadecimal digits.
    pub fn decode(text: &str) -> Option<[u8; 32]> {
        let mut out = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(out)
    }

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 32], D::Error> {
        decode(&String::deserialize(d)?).ok_or_else(|| D::Error::custom("not 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soa_serial_never_goes_back() {
        let newer = |a: u32, b: u32| a != b && a.wrapping_sub(b) < 1 << 31;
        assert!(newer(soa_serial(1, 8), soa_serial(1, 7)));
        // A restore loses 100,000 changes and takes the next epoch.
        assert!(newer(soa_serial(2, 900_000), soa_serial(1, 1_000_000)));
        assert!(newer(soa_serial(5000, 0), soa_serial(4999, 1_000_000)));
    }

    #[test]
    fn hash_text_round_trips() {
        let bytes = *blake3::hash(b"x").as_bytes();
        assert_eq!(hex::decode(&hex::encode(&bytes)), Some(bytes));
        assert_eq!(hex::decode("zz"), None);
    }
}
