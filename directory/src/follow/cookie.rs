//! Sync cookies.
//!
//! OpenLDAP writes `rid=NNN,sid=SSS,csn=<csn>;<csn>` (slapd, `slap_parse_sync_cookie`). At the end of a refresh a cookie
//! holds the greatest CSN of every server; afterwards each holds one, so that they are merged by server id and the
//! greatest is kept (python-ldap#562). A cookie without `rid=` is taken for none by slapd, so we always write one.
//! A cookie of any other shape belongs to its server and is kept as it is.

use std::collections::BTreeMap;

use compact_str::CompactString;

/// Server ids that a cookie may name; a sid has three hexadecimal digits.
const SIDS_MAX: usize = 4096;

/// A change sequence number: `20261120223344.123456Z#000000#001#000000`. Fixed width, so that text order is time order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Csn(CompactString);

impl Csn {
    /// Reads a CSN of the shape that slapd has written since 2.4.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('#');
        let (time, count, sid, mods) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |part: &str, n: usize| part.len() == n && part.bytes().all(|octet| octet.is_ascii_hexdigit());
        let (seconds, micros) = time.strip_suffix('Z')?.split_once('.')?;
        let digits = |part: &str, n: usize| part.len() == n && part.bytes().all(|octet| octet.is_ascii_digit());
        let whole = digits(seconds, 14) && digits(micros, 6) && hex(count, 6) && hex(sid, 3) && hex(mods, 6);
        (whole && parts.next().is_none()).then(|| Self(text.to_ascii_lowercase().replace('z', "Z").into()))
    }

    /// The server id.
    pub(super) fn sid(&self) -> u16 {
        self.0.split('#').nth(2).and_then(|sid| u16::from_str_radix(sid, 16).ok()).unwrap_or(0)
    }

    /// As text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// When the change was made, in milliseconds since 1970-01-01 UTC.
    pub(super) fn time_ms(&self) -> Option<u64> {
        let at = |range: std::ops::Range<usize>| self.0.get(range).and_then(|text| text.parse::<i8>().ok());
        let year = self.0.get(0..4)?.parse::<i16>().ok()?;
        let date =
            jiff::civil::DateTime::new(year, at(4..6)?, at(6..8)?, at(8..10)?, at(10..12)?, at(12..14)?, 0).ok()?;
        let seconds = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
        let millis = self.0.get(15..18)?.parse::<u64>().ok()?;
        Some(u64::try_from(seconds).ok()?.saturating_mul(1000).saturating_add(millis))
    }
}

/// How far a server's content is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum SyncCookie {
    /// Nothing is known.
    #[default]
    None,
    /// A cookie of OpenLDAP: the greatest CSN of each server.
    Csns(BTreeMap<u16, Csn>),
    /// A cookie of another server.
    Opaque(Vec<u8>),
}

impl SyncCookie {
    /// Reads a cookie; empty ones and those of OpenLDAP without any CSN say nothing.
    pub(super) fn parse(cookie: &[u8]) -> Self {
        let mut parsed = Self::None;
        parsed.merge(cookie);
        parsed
    }

    /// Takes a newer cookie of the same server in.
    pub(super) fn merge(&mut self, cookie: &[u8]) {
        if cookie.is_empty() {
            return;
        }
        match csns(cookie) {
            Some(newer) => {
                let mut all = match std::mem::take(self) {
                    Self::Csns(all) => all,
                    Self::None | Self::Opaque(_) => BTreeMap::new(),
                };
                for csn in newer {
                    let sid = csn.sid();
                    if all.get(&sid).is_none_or(|known| *known < csn)
                        && (all.len() < SIDS_MAX || all.contains_key(&sid))
                    {
                        all.insert(sid, csn);
                    }
                }
                *self = if all.is_empty() { Self::None } else { Self::Csns(all) };
            }
            None => *self = Self::Opaque(cookie.to_vec()),
        }
    }

    /// The cookie to send and to keep; empty for none.
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Opaque(cookie) => cookie.clone(),
            Self::Csns(all) => {
                let csns: Vec<&str> = all.values().map(Csn::as_str).collect();
                format!("rid=000,csn={}", csns.join(";")).into_bytes()
            }
        }
    }

    /// Whether every one of a server's `csns` is known.
    pub(super) fn covers<'a>(&self, csns: impl IntoIterator<Item = &'a Csn>) -> bool {
        let Self::Csns(all) = self else { return false };
        csns.into_iter().all(|csn| all.get(&csn.sid()).is_some_and(|known| known >= csn))
    }

    /// Whether it knows of changes that a server with these CSNs does not.
    pub(super) fn exceeds(&self, csns: &[Csn]) -> bool {
        let Self::Csns(all) = self else { return false };
        all.iter().any(|(sid, csn)| !csns.iter().any(|theirs| theirs.sid() == *sid && theirs >= csn))
    }

    /// The greatest CSN.
    pub(super) fn newest(&self) -> Option<&Csn> {
        match self {
            Self::Csns(all) => all.values().max(),
            _ => None,
        }
    }
}

/// The CSNs of a cookie of OpenLDAP; `None` if it is none.
fn csns(cookie: &[u8]) -> Option<Vec<Csn>> {
    let text = std::str::from_utf8(cookie).ok()?;
    if !text.starts_with("rid=") && !text.starts_with("csn=") && !text.starts_with("sid=") {
        return None;
    }
    let mut csns = Vec::new();
    for part in text.split(',') {
        let (name, value) = part.split_once('=')?;
        match name {
            "csn" => {
                for csn in value.split(';').filter(|csn| !csn.is_empty()) {
                    csns.push(Csn::parse(csn)?);
                }
            }
            // The delcsn is the progress of a replay of deletions; it says nothing about the content.
            "rid" | "sid" | "delcsn" => {}
            _ => return None,
        }
    }
    Some(csns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "20261120223344.123456Z#000000#001#000000";
    const LATER: &str = "20261120223345.000000Z#000000#001#000000";
    const TWO: &str = "20261119000000.000000Z#000000#002#000000";

    #[test]
    fn the_greatest_csn_of_each_server_is_kept() {
        let mut cookie = SyncCookie::parse(format!("rid=000,csn={ONE};{TWO}").as_bytes());
        cookie.merge(format!("rid=123,sid=001,csn={LATER}").as_bytes());
        cookie.merge(format!("rid=000,csn={ONE}").as_bytes());
        assert_eq!(String::from_utf8(cookie.encode()).unwrap(), format!("rid=000,csn={LATER};{TWO}"));
        assert!(cookie.covers(&[Csn::parse(ONE).unwrap(), Csn::parse(TWO).unwrap()]));
        let third = TWO.replace("#002#", "#003#");
        assert!(!cookie.covers(&[Csn::parse(&third).unwrap()]));
        assert!(cookie.exceeds(&[Csn::parse(LATER).unwrap()]), "the second server is unknown there");
        assert!(!cookie.exceeds(&[Csn::parse(LATER).unwrap(), Csn::parse(TWO).unwrap(), Csn::parse(&third).unwrap()]));
        assert_eq!(cookie.newest().unwrap().as_str(), LATER);
    }

    #[test]
    fn a_cookie_without_csn_says_nothing_and_others_are_kept_whole() {
        let mut cookie = SyncCookie::parse(b"rid=000");
        assert_eq!(cookie, SyncCookie::None);
        cookie.merge(b"ldap1:389#cn=reader:dc=acme:(objectClass=*)#42");
        cookie.merge(b"ldap1:389#cn=reader:dc=acme:(objectClass=*)#43");
        assert_eq!(cookie.encode(), b"ldap1:389#cn=reader:dc=acme:(objectClass=*)#43");
        assert!(matches!(SyncCookie::parse(b"rid=000,csn=garbage"), SyncCookie::Opaque(_)));
        cookie.merge(b"");
        assert!(matches!(cookie, SyncCookie::Opaque(_)));
    }

    #[test]
    fn a_csn_has_a_time() {
        assert_eq!(Csn::parse("19700101000001.500000Z#000000#000#000000").unwrap().time_ms(), Some(1500));
        for wrong in
            ["", "20261120223344.123456Z", "20261120223344.123456Z#0#1#0", "2026112022334é.123456Z#000000#001#000000"]
        {
            assert_eq!(Csn::parse(wrong), None, "{wrong}");
        }
    }
}
