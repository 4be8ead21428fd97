//! The controls and intermediate messages of RFC 4533, read from their raw values.
//!
//! The client library parses them too, but panics on what it does not expect; these functions return an error.

use inventory::EntryId;

use super::ber::{self, BadBer, Reader};

/// Sync Request (RFC 4533 section 2.2).
pub(super) const SYNC_REQUEST: &str = "1.3.6.1.4.1.4203.1.9.1.1";
/// Sync State (section 2.3).
pub(super) const SYNC_STATE: &str = "1.3.6.1.4.1.4203.1.9.1.2";
/// Sync Done (section 2.4).
pub(super) const SYNC_DONE: &str = "1.3.6.1.4.1.4203.1.9.1.3";
/// Sync Info (section 2.5).
pub(super) const SYNC_INFO: &str = "1.3.6.1.4.1.4203.1.9.1.4";
/// Simple paged results (RFC 2696).
pub(super) const PAGED: &str = "1.2.840.113556.1.4.319";

/// Octets of a cookie; a cookie of 4,096 servers would not fit, which nobody has.
pub(super) const COOKIE_MAX: usize = 64 * 1024;

/// A control or message of the sync protocol that is not as RFC 4533 wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadSync {
    /// Not the structure.
    #[error("it holds {0}")]
    Ber(#[from] BadBer),
    /// An entryUUID without 16 octets.
    #[error("an entryUUID does not have 16 octets")]
    Uuid,
    /// A state or a message that the RFC does not know.
    #[error("its kind {0} is unknown")]
    Kind(u32),
    /// A cookie that is too long.
    #[error("its cookie is longer than 64 KiB")]
    Cookie,
}

/// What an entry of a sync search is sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// It is there as it was; attributes are not sent.
    Present,
    /// It is new to the content.
    Add,
    /// It has changed.
    Modify,
    /// It has left the content; attributes are not sent.
    Delete,
}

/// The Sync State control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyncState {
    pub(super) what: What,
    pub(super) id: EntryId,
    pub(super) cookie: Option<Vec<u8>>,
}

/// The Sync Done control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyncDone {
    pub(super) cookie: Option<Vec<u8>>,
    pub(super) deletes: bool,
}

/// The Sync Info message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SyncInfo {
    NewCookie(Vec<u8>),
    RefreshDelete { cookie: Option<Vec<u8>>, done: bool },
    RefreshPresent { cookie: Option<Vec<u8>>, done: bool },
    IdSet { cookie: Option<Vec<u8>>, deletes: bool, ids: Vec<EntryId> },
}

fn id(octets: &[u8]) -> Result<EntryId, BadSync> {
    octets.try_into().map(EntryId).map_err(|_| BadSync::Uuid)
}

fn cookie(octets: Option<&[u8]>) -> Result<Option<Vec<u8>>, BadSync> {
    match octets {
        Some(octets) if octets.len() > COOKIE_MAX => Err(BadSync::Cookie),
        // An empty cookie says nothing.
        Some([]) | None => Ok(None),
        Some(octets) => Ok(Some(octets.to_vec())),
    }
}

/// `SEQUENCE { state ENUMERATED, entryUUID, cookie OPTIONAL }`.
pub(super) fn sync_state(value: &[u8]) -> Result<SyncState, BadSync> {
    let mut fields = Reader(Reader(value).expect(ber::SEQUENCE)?);
    let what = match ber::number(fields.expect(ber::ENUMERATED)?)? {
        0 => What::Present,
        1 => What::Add,
        2 => What::Modify,
        3 => What::Delete,
        other => return Err(BadSync::Kind(other)),
    };
    let id = id(fields.expect(ber::OCTETS)?)?;
    Ok(SyncState { what, id, cookie: cookie(fields.optional(ber::OCTETS)?)? })
}

/// `SEQUENCE { cookie OPTIONAL, refreshDeletes DEFAULT FALSE }`.
pub(super) fn sync_done(value: &[u8]) -> Result<SyncDone, BadSync> {
    let mut fields = Reader(Reader(value).expect(ber::SEQUENCE)?);
    let cookie = cookie(fields.optional(ber::OCTETS)?)?;
    let deletes = fields.optional(ber::BOOLEAN)?.map(ber::boolean).transpose()?.unwrap_or(false);
    Ok(SyncDone { cookie, deletes })
}

/// `CHOICE { newcookie [0], refreshDelete [1], refreshPresent [2], syncIdSet [3] }`.
pub(super) fn sync_info(value: &[u8]) -> Result<SyncInfo, BadSync> {
    let (tag, inner) = Reader(value).next()?.ok_or(BadBer::Short)?;
    let mut fields = Reader(inner);
    match tag {
        0x80 => cookie(Some(inner)).map(|cookie| SyncInfo::NewCookie(cookie.unwrap_or_default())),
        0xa1 | 0xa2 => {
            let cookie = cookie(fields.optional(ber::OCTETS)?)?;
            let done = fields.optional(ber::BOOLEAN)?.map(ber::boolean).transpose()?.unwrap_or(true);
            Ok(if tag == 0xa1 {
                SyncInfo::RefreshDelete { cookie, done }
            } else {
                SyncInfo::RefreshPresent { cookie, done }
            })
        }
        0xa3 => {
            let cookie = cookie(fields.optional(ber::OCTETS)?)?;
            let deletes = fields.optional(ber::BOOLEAN)?.map(ber::boolean).transpose()?.unwrap_or(false);
            let mut set = Reader(fields.expect(ber::SET)?);
            let mut ids = Vec::new();
            while let Some((tag, octets)) = set.next()? {
                if tag != ber::OCTETS {
                    return Err(BadBer::Unexpected.into());
                }
                ids.push(id(octets)?);
            }
            Ok(SyncInfo::IdSet { cookie, deletes, ids })
        }
        other => Err(BadSync::Kind(u32::from(other))),
    }
}

/// The cookie of a paged-results response: `SEQUENCE { size INTEGER, cookie }`; empty on the last page.
pub(super) fn page_cookie(value: &[u8]) -> Result<Vec<u8>, BadSync> {
    let mut fields = Reader(Reader(value).expect(ber::SEQUENCE)?);
    fields.expect(ber::INTEGER)?;
    cookie(Some(fields.expect(ber::OCTETS)?)).map(Option::unwrap_or_default)
}

/// Any octets as a control, a message and a cookie, for a fuzzer.
pub(super) fn fuzz(data: &[u8]) {
    let cookies = [
        sync_state(data).ok().and_then(|state| state.cookie),
        sync_done(data).ok().and_then(|done| done.cookie),
        match sync_info(data) {
            Ok(SyncInfo::NewCookie(cookie)) => Some(cookie),
            Ok(
                SyncInfo::RefreshDelete { cookie, .. }
                | SyncInfo::RefreshPresent { cookie, .. }
                | SyncInfo::IdSet { cookie, .. },
            ) => cookie,
            Err(_) => None,
        },
        page_cookie(data).ok(),
        Some(data.to_vec()),
    ];
    let mut merged = super::cookie::SyncCookie::default();
    for cookie in cookies.into_iter().flatten() {
        merged.merge(&cookie);
    }
    let again = super::cookie::SyncCookie::parse(&merged.encode());
    assert_eq!(again.encode(), merged.encode(), "a cookie that was written is read as it was");
    let _ = ber::check(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: [u8; 16] = *b"0123456789abcdef";

    fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        let mut out = vec![tag, u8::try_from(body.len()).unwrap()];
        out.extend(body);
        out
    }

    #[test]
    fn what_a_server_sends_is_read() {
        let state = element(0x30, &[&[0x0a, 1, 1], &element(4, &[&UUID]), &element(4, &[b"rid=000"])]);
        let expected = SyncState { what: What::Add, id: EntryId(UUID), cookie: Some(b"rid=000".to_vec()) };
        assert_eq!(sync_state(&state), Ok(expected));
        assert_eq!(sync_done(&[0x30, 0]), Ok(SyncDone { cookie: None, deletes: false }));
        assert_eq!(sync_done(&[0x30, 3, 1, 1, 0xff]), Ok(SyncDone { cookie: None, deletes: true }));
        assert_eq!(sync_info(&[0xa2, 0]), Ok(SyncInfo::RefreshPresent { cookie: None, done: true }));
        assert_eq!(sync_info(&[0xa1, 3, 1, 1, 0]), Ok(SyncInfo::RefreshDelete { cookie: None, done: false }));
        let set = element(0xa3, &[&[1, 1, 0xff], &element(0x31, &[&element(4, &[&UUID])])]);
        assert_eq!(sync_info(&set), Ok(SyncInfo::IdSet { cookie: None, deletes: true, ids: vec![EntryId(UUID)] }));
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_read_without_harm(octets: Vec<u8>, tag in 0u8..4) {
            fuzz(&octets);
            let tag = [0x30, 0xa1, 0xa2, 0xa3][usize::from(tag)];
            fuzz(&element(tag, &[octets.get(..120).unwrap_or(&octets)]));
            fuzz(&element(0x30, &[&[0x0a, 1, 2], &element(4, &[&UUID]), octets.get(..80).unwrap_or(&octets)]));
        }
    }

    #[test]
    fn what_no_server_should_send_is_an_error() {
        assert_eq!(sync_state(&[]), Err(BadSync::Ber(BadBer::Unexpected)));
        let short = element(0x30, &[&[0x0a, 1, 1], &element(4, &[b"0123"])]);
        assert_eq!(sync_state(&short), Err(BadSync::Uuid));
        let unknown = element(0x30, &[&[0x0a, 1, 9], &element(4, &[&UUID])]);
        assert_eq!(sync_state(&unknown), Err(BadSync::Kind(9)));
        assert_eq!(sync_info(&[0xa3, 2, 1, 1]), Err(BadSync::Ber(BadBer::Short)));
        assert_eq!(sync_info(&[0xa9, 0]), Err(BadSync::Kind(0xa9)));
        assert!(sync_info(&element(0xa3, &[&element(0x31, &[&element(4, &[b"1"])])])).is_err());
    }
}
