//! Little-endian numbers and counted strings, written and read back. Reading never panics and never allocates by a
//! length that was read.

/// Octets that are read from the front; every method is `None` at the end.
#[derive(Debug, Clone)]
pub(super) struct Octets<'a>(pub(super) &'a [u8]);

impl<'a> Octets<'a> {
    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*chunk)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.chunk::<1>().map(|[octet]| octet)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.chunk().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.chunk().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.chunk().map(u64::from_le_bytes)
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A string behind its length in two octets.
    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }
}

/// Appends a string behind its length in two octets; what is longer than 65,535 octets is cut.
pub(super) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&text[..usize::from(length)]);
}

/// Appends numbers of eight octets.
pub(super) fn put_u64s<const N: usize>(out: &mut Vec<u8>, numbers: [u64; N]) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_no_more() {
        let mut out = vec![7];
        put_text(&mut out, b"abc");
        put_u64s(&mut out, [1, u64::MAX]);
        let mut octets = Octets(&out);
        assert_eq!((octets.u8(), octets.text()), (Some(7), Some(b"abc".as_slice())));
        assert_eq!((octets.u64(), octets.u64(), octets.u64()), (Some(1), Some(u64::MAX), None));
        assert_eq!(Octets(&[9, 0, 1]).text(), None);
        let mut long = Vec::new();
        put_text(&mut long, &[b'x'; 70_000]);
        assert_eq!(long.len(), 65_537);
    }
}
