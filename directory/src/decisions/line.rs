//! One line of the log: its text, its number and its place in the chain.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::Entry;

/// Octets of the longest line that is read: texts are cut, but JSON may write a character as six octets.
pub(super) const LINE_MAX: usize = 32 * 1024;
/// The hash before the first line.
pub(super) const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// What stands between the hashed text and the hash.
const HASH_KEY: &str = ",\"hash\":\"";
const HASH_END: &str = "\"}";

/// A line as it is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Number of the line; one more than the line before it.
    pub n: u64,
    /// The decision; absent in a line that only notes something about the log.
    #[serde(flatten)]
    pub entry: Option<Entry>,
    /// Unix milliseconds of a note; a decision has its own `when`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noted: Option<u64>,
    /// What is to be said about the log: a torn line that was cut off, or losses that no decision followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<CompactString>,
    /// How many equal decisions this line stands for.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u64,
    /// How many decisions were lost before this line.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
    /// Hash of the line before it.
    pub previous: CompactString,
    /// Hash of the text of this line before this member.
    #[serde(default, skip_serializing)]
    pub hash: CompactString,
}

fn one() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(count: &u64) -> bool {
    *count == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What is wrong with a line by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadLine {
    /// No hash at its end.
    #[error("it does not end in a hash")]
    NoHash,
    /// Text and hash do not go together.
    #[error("its text does not have the hash that it names")]
    Changed,
    /// Text that is no line of ours.
    #[error("it is not the JSON of a decision")]
    NotJson,
}

impl Line {
    /// The text with its newline, and the hash of the line.
    pub(super) fn encode(&self) -> Result<(String, CompactString), serde_json::Error> {
        let mut text = serde_json::to_string(self)?;
        text.pop();
        let hash = blake3::hash(text.as_bytes()).to_hex();
        text.extend([HASH_KEY, hash.as_str(), HASH_END, "\n"]);
        Ok((text, CompactString::from(hash.as_str())))
    }

    /// Reads a line without its newline and checks its hash.
    pub(super) fn decode(text: &[u8]) -> Result<Self, BadLine> {
        let text = std::str::from_utf8(text).map_err(|_| BadLine::NotJson)?;
        let at = text.len().checked_sub(HASH_KEY.len() + NO_HASH.len() + HASH_END.len()).ok_or(BadLine::NoHash)?;
        let (body, rest) = text.split_at_checked(at).ok_or(BadLine::NoHash)?;
        let hash = rest.strip_prefix(HASH_KEY).and_then(|rest| rest.strip_suffix(HASH_END)).ok_or(BadLine::NoHash)?;
        if blake3::hash(body.as_bytes()).to_hex().as_str() != hash {
            return Err(BadLine::Changed);
        }
        serde_json::from_str(text).map_err(|_| BadLine::NotJson)
    }

    /// Unix milliseconds of the line.
    pub fn when_ms(&self) -> u64 {
        self.entry.as_ref().map(|entry| entry.when_ms).or(self.noted).unwrap_or_default()
    }
}
