//! Records one after the other.

use super::{HEADER, Message};

/// Records of messages that were received together, in the encoding of [`Message`].
#[derive(Debug, Clone, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    count: u32,
}

impl Batch {
    /// The batch of records that were encoded elsewhere.
    pub fn of(bytes: Vec<u8>) -> Self {
        let count = Records(&bytes).count().try_into().unwrap_or(u32::MAX);
        Self { bytes, count }
    }

    /// Appends a message; false if it is longer than a record may be.
    pub fn push(&mut self, message: &Message<'_>) -> bool {
        let fits = message.encode(&mut self.bytes);
        self.count += u32::from(fits);
        fits
    }

    /// Number of records.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The encoded records.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The records.
    pub fn records(&self) -> Records<'_> {
        Records(&self.bytes)
    }
}

/// Walks over encoded records: each item is the octets of one. Ends at the first length that makes no sense.
#[derive(Debug, Clone)]
pub struct Records<'a>(pub &'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(*self.0.first_chunk()?) as usize;
        if length < HEADER {
            return None;
        }
        let (record, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_in_order() {
        let mut batch = Batch::default();
        for raw in ["one", "two", ""] {
            assert!(batch.push(&Message::unread(raw.as_bytes(), 7)));
        }
        let raws: Vec<_> = batch.records().map(|record| Message::decode(record).unwrap().raw).collect();
        assert_eq!(raws, [b"one".as_slice(), b"two", b""]);
        assert_eq!(batch.count(), 3);
        assert_eq!(Records(&batch.bytes()[..HEADER]).count(), 0, "a cut record is none");
        assert_eq!(Records(&[0; 200]).count(), 0);
    }
}
