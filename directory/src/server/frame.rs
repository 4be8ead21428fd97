//! LDAP messages in a stream of octets (RFC 4511 section 5.1), before anything is decoded.
//!
//! The length that a message announces is checked before its octets are waited for, so the size limit holds for what
//! is buffered, and the codec only ever sees whole messages: what is short inside a whole message is an error, not
//! something to wait for. Besides the length, the few things are read here that must be known without decoding:
//! message ID, operation, controls with their criticality, and which message an Abandon or Cancel means.

/// Controls that one message may have.
pub(super) const CONTROLS_MAX: usize = 16;

/// Octets of the longest header: tag, length of length, four octets of length.
const HEADER_MAX: usize = 6;

/// Why octets are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadFrame {
    #[error("the octets are no LDAP message")]
    NotLdap,
    #[error("the message has {length} octets, but at most {max} are taken from this client")]
    Large { length: usize, max: usize },
}

/// Octets of the first message, header included; `None` while the header is incomplete.
pub(super) fn length(bytes: &[u8], max: usize) -> Result<Option<usize>, BadFrame> {
    let Some((&tag, rest)) = bytes.split_first() else { return Ok(None) };
    if tag != 0x30 {
        return Err(BadFrame::NotLdap);
    }
    let Some((&first, rest)) = rest.split_first() else { return Ok(None) };
    let (header, content) = match first {
        0..=0x7f => (2, usize::from(first)),
        0x81..=0x84 => {
            let octets = usize::from(first & 0x7f);
            let Some(digits) = rest.get(..octets) else { return Ok(None) };
            (2 + octets, digits.iter().fold(0, |value, digit| value << 8 | usize::from(*digit)))
        }
        _ => return Err(BadFrame::NotLdap),
    };
    debug_assert!(header <= HEADER_MAX);
    let length = header + content;
    if length > max { Err(BadFrame::Large { length, max }) } else { Ok(Some(length)) }
}

/// The parts of a whole message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    /// Message ID, 1 to 2^31-1.
    pub(super) id: i32,
    /// Tag of the operation.
    pub(super) operation: u8,
    /// Content of the operation.
    pub(super) body: &'a [u8],
    /// Content of the controls, empty without.
    controls: &'a [u8],
}

/// Tags of the requests (RFC 4511 section 4).
pub(super) mod tag {
    pub(in crate::server) const BIND: u8 = 0x60;
    pub(in crate::server) const UNBIND: u8 = 0x42;
    pub(in crate::server) const SEARCH: u8 = 0x63;
    pub(in crate::server) const MODIFY: u8 = 0x66;
    pub(in crate::server) const ADD: u8 = 0x68;
    pub(in crate::server) const DELETE: u8 = 0x4a;
    pub(in crate::server) const MODIFY_DN: u8 = 0x6c;
    pub(in crate::server) const COMPARE: u8 = 0x6e;
    pub(in crate::server) const ABANDON: u8 = 0x50;
    pub(in crate::server) const EXTENDED: u8 = 0x77;
}

/// Takes a whole message apart. Nothing that is no request gets through.
pub(super) fn head(message: &[u8]) -> Option<Head<'_>> {
    use tag::*;
    let (_, content, _) = element(message)?;
    let (id_tag, id, rest) = element(content)?;
    let (operation, body, rest) = element(rest)?;
    let id = integer(id).and_then(|id| i32::try_from(id).ok()).filter(|id| *id > 0 && id_tag == 0x02)?;
    let known = [BIND, UNBIND, SEARCH, MODIFY, ADD, DELETE, MODIFY_DN, COMPARE, ABANDON, EXTENDED];
    let controls = match element(rest) {
        None if rest.is_empty() => Some(&[][..]),
        Some((0xa0, controls, [])) => Some(controls),
        _ => None,
    };
    known.contains(&operation).then_some(Head { id, operation, body, controls: controls? })
}

/// A control of a request (RFC 4511 section 4.1.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Control {
    /// Its object identifier.
    pub(super) oid: String,
    /// Whether the operation must fail rather than go without it.
    pub(super) critical: bool,
    /// Its value.
    pub(super) value: Option<Vec<u8>>,
}

impl Head<'_> {
    /// Whether there are controls, well-formed or not.
    pub(super) fn has_controls(&self) -> bool {
        !self.controls.is_empty()
    }

    /// The controls; `None` when they are malformed or too many.
    pub(super) fn controls(&self) -> Option<Vec<Control>> {
        let mut controls = Vec::new();
        let mut rest = self.controls;
        while !rest.is_empty() {
            let (0x30, control, others) = element(rest)? else { return None };
            rest = others;
            let (0x04, oid, mut parts) = element(control)? else { return None };
            let mut control = Control { oid: String::from_utf8(oid.to_vec()).ok()?, critical: false, value: None };
            while !parts.is_empty() {
                let (tag, content, others) = element(parts)?;
                parts = others;
                match tag {
                    0x01 => control.critical = content.iter().any(|octet| *octet != 0),
                    0x04 => control.value = Some(content.to_vec()),
                    _ => return None,
                }
            }
            controls.push(control);
            if controls.len() > CONTROLS_MAX {
                return None;
            }
        }
        Some(controls)
    }

    /// The message that this one puts an end to: the target of an Abandon or a Cancel (RFC 3909).
    pub(super) fn ends(&self) -> Option<i32> {
        let id = match self.operation {
            tag::ABANDON => integer(self.body)?,
            tag::EXTENDED => {
                let (0x80, name, rest) = element(self.body)? else { return None };
                let (0x81, value, _) = element(rest)? else { return None };
                (name == super::CANCEL.as_bytes()).then(|| cancelled(value))??
            }
            _ => return None,
        };
        i32::try_from(id).ok()
    }
}

/// The message ID in a cancelRequestValue (RFC 3909 section 2.1).
pub(super) fn cancelled(value: &[u8]) -> Option<i64> {
    let (0x30, content, _) = element(value)? else { return None };
    let (0x02, id, _) = element(content)? else { return None };
    integer(id)
}

/// Size and cookie of a realSearchControlValue (RFC 2696 section 2).
pub(super) fn paged(value: &[u8]) -> Option<(i64, &[u8])> {
    let (0x30, content, _) = element(value)? else { return None };
    let (0x02, size, rest) = element(content)? else { return None };
    let (0x04, cookie, _) = element(rest)? else { return None };
    Some((integer(size)?, cookie))
}

/// The operation of a whole message, tag and length included, and what follows the message; nothing if the message has
/// controls.
pub(super) fn operation(messages: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, content, behind) = element(messages)?;
    let (_, _, operation) = element(content)?;
    let (_, _, controls) = element(operation)?;
    controls.is_empty().then_some((operation, behind))
}

fn integer(content: &[u8]) -> Option<i64> {
    let first = *content.first()?;
    let sign = if first & 0x80 == 0 { 0 } else { -1 };
    (content.len() <= 8).then(|| content.iter().fold(sign, |value, octet| value << 8 | i64::from(*octet)))
}

/// Tag, content and what follows of the first element: a tag of one octet, a definite length of at most four.
pub(super) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |value, digit| value << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announced_length_decides() {
        assert_eq!(length(&[], 100), Ok(None));
        assert_eq!(length(&[0x30], 100), Ok(None));
        assert_eq!(length(&[0x30, 0x84, 0, 0], 100), Ok(None));
        assert_eq!(length(&[0x30, 5, 2, 1, 1, 0x42, 0], 100), Ok(Some(7)));
        assert_eq!(length(&[0x30, 0x84, 0, 0, 0, 5], 100), Ok(Some(11)));
        let large = length(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], 100);
        assert_eq!(large, Err(BadFrame::Large { length: 0x1_0000_0005, max: 100 }));
        for wrong in [&b"GET / HTTP/1.0"[..], &[0x30, 0x80], &[0x30, 0x85], &[0x16, 3, 1]] {
            assert_eq!(length(wrong, 100), Err(BadFrame::NotLdap), "{wrong:?}");
        }
    }

    #[test]
    fn only_requests_have_a_head() {
        let unbind = [0x30, 5, 2, 1, 1, 0x42, 0];
        assert_eq!(head(&unbind).map(|head| (head.id, head.operation)), Some((1, tag::UNBIND)));
        for (message, why) in [
            (vec![0x30, 5, 2, 1, 0, 0x42, 0], "message ID 0 is the server's"),
            (vec![0x30, 5, 2, 1, 0xff, 0x42, 0], "negative message ID"),
            (vec![0x30, 8, 2, 4, 0x80, 0, 0, 0, 0x42, 0], "beyond 2^31-1"),
            (vec![0x30, 5, 2, 1, 1, 0x61, 0], "a response"),
            (vec![0x30, 5, 2, 1, 1, 0x5f, 0], "no operation at all"),
            (vec![0x30, 7, 2, 1, 1, 0x42, 0, 0x04, 0], "something else than controls"),
        ] {
            assert!(head(&message).is_none(), "{why}");
        }
        for end in 0..unbind.len() {
            assert!(head(&unbind[..end]).is_none());
        }
    }

    #[test]
    fn controls_keep_their_criticality() {
        let oid = b"1.2.840.113556.1.4.319";
        let mut control = vec![0x04, oid.len() as u8];
        control.extend_from_slice(oid);
        control.extend_from_slice(&[0x01, 1, 0xff, 0x04, 7, 0x30, 5, 2, 1, 100, 4, 0]);
        let mut message = vec![0x30, 0, 2, 1, 9, 0x42, 0, 0xa0, control.len() as u8 + 2, 0x30, control.len() as u8];
        message.extend_from_slice(&control);
        message[1] = message.len() as u8 - 2;
        let controls = head(&message).unwrap().controls().unwrap();
        assert_eq!(controls.len(), 1);
        assert!(controls[0].critical && controls[0].oid.as_bytes() == oid);
        assert_eq!(paged(controls[0].value.as_ref().unwrap()), Some((100, &[][..])));
    }

    #[test]
    fn abandon_and_cancel_name_their_target() {
        let abandon = [0x30, 6, 2, 1, 9, 0x50, 1, 7];
        assert_eq!(head(&abandon).unwrap().ends(), Some(7));
        let mut cancel = vec![0x30, 0, 2, 1, 9, 0x77, 0, 0x80, 11];
        cancel.extend_from_slice(b"1.3.6.1.1.8");
        cancel.extend_from_slice(&[0x81, 5, 0x30, 3, 2, 1, 8]);
        cancel[1] = cancel.len() as u8 - 2;
        cancel[6] = cancel.len() as u8 - 7;
        assert_eq!(head(&cancel).unwrap().ends(), Some(8));
        assert_eq!(head(&[0x30, 5, 2, 1, 1, 0x42, 0]).unwrap().ends(), None);
    }
}
