//! Whether an account may be used at all: locks, start and end, login shell.
//!
//! What cannot be read as a lock locks, and what cannot be read as an end is over. How long a lock after wrong passwords
//! lasts is said by another entry, the password policy, so it is looked up when it is asked.

use imbl::HashMap;
use inventory::entry::{Entry, EntryId, Value};
use serde::Serialize;
use smallvec::SmallVec;

use crate::dn::Dn;

/// Seconds of a day.
const DAY_S: u64 = 86_400;
/// Seconds that a lock after wrong passwords lasts when the entry names no password policy that we have.
pub const LOCKOUT_S: u64 = DAY_S;
/// Of `userAccountControl`: the account is disabled (MS-ADTS section 2.2.16).
const ACCOUNT_DISABLE: i64 = 0x2;
/// Units of a FILETIME in a second, and seconds from its first year, 1601, to 1970 (MS-DTYP section 2.3.3).
const FILETIME: (u64, u64) = (10_000_000, 11_644_473_600);
/// `accountExpires` of an account that does not, besides 0 (MS-ADA1 section 2.2).
const FILETIME_NEVER: u64 = 0x7FFF_FFFF_FFFF_FFFF;

/// What keeps somebody out everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Barrier {
    Locked,
    Expired,
    NoShell,
}

/// When a barrier is lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lifted {
    Never,
    /// First second at which it no longer stands.
    At(u64),
    /// After the `pwdLockoutDuration` of the account's password policy.
    ByPolicy,
}

#[derive(Debug, PartialEq, Eq)]
struct Bar {
    /// Its first second.
    from: u64,
    lifted: Lifted,
    barrier: Barrier,
    /// The attribute that says so.
    attribute: &'static str,
}

impl Bar {
    /// `lockout_s` is that of the policy; none for a lock that only an administrator takes away.
    fn stands(&self, now_s: u64, lockout_s: impl FnOnce() -> Option<u64>) -> bool {
        self.from <= now_s
            && match self.lifted {
                Lifted::Never => true,
                Lifted::At(end) => now_s < end,
                Lifted::ByPolicy => lockout_s().is_none_or(|length| now_s < self.from.saturating_add(length)),
            }
    }
}

/// What keeps a person out, now or later.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    bars: Box<[Bar]>,
    /// The password policy that the entry names (`pwdPolicySubentry`).
    policy: Option<Dn>,
}

impl Standing {
    pub(super) fn of(entry: &Entry) -> Self {
        let mut bars = locks(entry);
        bars.extend(ends(entry));
        let is_none = |shell: &str| matches!(shell.trim().rsplit('/').next(), Some("nologin" | "false"));
        if entry.texts("loginShell").any(is_none) {
            bars.push(Bar { from: 0, lifted: Lifted::Never, barrier: Barrier::NoShell, attribute: "loginShell" });
        }
        let policy = entry.text("pwdPolicySubentry").and_then(|dn| Dn::parse(dn).ok());
        Self { bars: bars.into(), policy }
    }

    /// What keeps the person out at a time, and the attribute.
    pub(super) fn barrier(&self, now_s: u64, lockouts: &Lockouts) -> Option<(Barrier, &'static str)> {
        let lockout_s = || lockouts.seconds(self.policy.as_ref());
        self.bars.iter().find(|bar| bar.stands(now_s, lockout_s)).map(|bar| (bar.barrier, bar.attribute))
    }

    /// The first second after `now_s` at which something begins to keep the person out.
    pub(super) fn next(&self, now_s: u64) -> Option<u64> {
        self.bars.iter().map(|bar| bar.from).filter(|from| *from > now_s).min()
    }
}

fn locks(entry: &Entry) -> Vec<Bar> {
    let mut bars = Vec::new();
    let mut lock = |attribute, from, lifted| bars.push(Bar { from, lifted, barrier: Barrier::Locked, attribute });
    // draft-behera-ldap-password-policy section 5.3.3: 000001010000Z is a lock for good; a later time is when it began.
    for time in times(entry, "pwdAccountLockedTime") {
        let lifted = if time == 0 { Lifted::Never } else { Lifted::ByPolicy };
        lock("pwdAccountLockedTime", time, lifted);
    }
    for attribute in ["nsAccountLock", "loginDisabled"] {
        let is_free = |value: &Value| value.text().is_some_and(|text| text.trim().eq_ignore_ascii_case("false"));
        if !entry.values(attribute).iter().all(is_free) {
            lock(attribute, 0, Lifted::Never);
        }
    }
    // 389 Directory Server: a lock after wrong passwords, until then; the first second of 1970 is one for good.
    for time in times(entry, "accountUnlockTime") {
        lock("accountUnlockTime", 0, if time == 0 { Lifted::Never } else { Lifted::At(time) });
    }
    // Section 5.3.11 of the draft: not before.
    for time in entry.values("pwdStartTime") {
        let time = time.text().and_then(generalized_time);
        lock("pwdStartTime", 0, time.map_or(Lifted::Never, Lifted::At));
    }
    for flags in entry.values("userAccountControl") {
        let flags = flags.text().and_then(|flags| flags.trim().parse::<i64>().ok());
        if flags.is_none_or(|flags| flags & ACCOUNT_DISABLE != 0) {
            lock("userAccountControl", 0, Lifted::Never);
        }
    }
    bars
}

fn ends(entry: &Entry) -> Vec<Bar> {
    let mut bars = Vec::new();
    let mut end = |attribute, from| {
        bars.push(Bar { from, lifted: Lifted::Never, barrier: Barrier::Expired, attribute });
    };
    // shadow(5): days since 1970-01-01; a negative number is none.
    for days in entry.values("shadowExpire") {
        match days.text().and_then(|days| days.trim().parse::<i64>().ok()).map(u64::try_from) {
            Some(Ok(days)) => end("shadowExpire", days.saturating_mul(DAY_S)),
            Some(Err(_)) => {}
            None => end("shadowExpire", 0),
        }
    }
    for attribute in ["pwdEndTime", "krbPrincipalExpiration"] {
        times(entry, attribute).for_each(|time| end(attribute, time));
    }
    for time in entry.values("accountExpires") {
        match time.text().and_then(|time| time.trim().parse::<u64>().ok()) {
            Some(0 | FILETIME_NEVER) => {}
            Some(time) => end("accountExpires", (time / FILETIME.0).saturating_sub(FILETIME.1)),
            None => end("accountExpires", 0),
        }
    }
    bars
}

/// The times of an attribute; 0 for what is none.
fn times(entry: &Entry, attribute: &str) -> impl Iterator<Item = u64> {
    entry.values(attribute).iter().map(|value| value.text().and_then(generalized_time).unwrap_or(0))
}

/// The policies that claim one DN, each with its duration.
type Claims = SmallVec<[(EntryId, Option<u64>); 1]>;

/// How long locks after wrong passwords last, by password policy: by DN, which two entries may share for a while.
#[derive(Debug, Clone, Default)]
pub(super) struct Lockouts(HashMap<Dn, Claims>);

impl Lockouts {
    pub(super) fn change(&mut self, [old, new]: [Option<&Entry>; 2]) {
        if let Some((dn, _)) = old.and_then(policy) {
            let mut policies = self.0.remove(&dn).unwrap_or_default();
            policies.retain(|(id, _)| old.is_none_or(|old| *id != old.id));
            if !policies.is_empty() {
                self.0.insert(dn, policies);
            }
        }
        if let Some((entry, (dn, length))) = new.and_then(|entry| Some((entry, policy(entry)?))) {
            self.0.entry(dn).or_default().push((entry.id, length));
        }
    }

    /// None for a lock for good.
    fn seconds(&self, policy: Option<&Dn>) -> Option<u64> {
        match policy.and_then(|dn| self.0.get(dn)) {
            Some(policies) => {
                policies.iter().try_fold(0, |most, (_, length)| Some(length.as_ref()?.max(&most).to_owned()))
            }
            None => Some(LOCKOUT_S),
        }
    }
}

/// The DN of a password policy, and the seconds that its locks last. Without `pwdLockoutDuration`, or if it is 0, an
/// administrator ends them (section 5.2.11 of the draft).
fn policy(entry: &Entry) -> Option<(Dn, Option<u64>)> {
    if !entry.is_a("pwdPolicy") {
        return None;
    }
    let length = entry.text("pwdLockoutDuration").and_then(|length| length.trim().parse().ok());
    Some((Dn::parse(&entry.dn).ok()?, length.filter(|length| *length > 0)))
}

/// Why the account of an entry may not be used at a time (seconds since 1970-01-01 UTC), as
/// [`Reason::as_str`](super::Reason::as_str) says it: locks and ends. A shell says nothing about a password, for service
/// accounts have none. The password policy is not at hand here: if the entry names one, its lock is taken as one for good.
pub fn barred(entry: &Entry, now_s: u64) -> Option<&'static str> {
    let standing = Standing::of(entry);
    let lockout_s = || if standing.policy.is_some() { None } else { Some(LOCKOUT_S) };
    let mut bars = standing.bars.iter().filter(|bar| bar.stands(now_s, lockout_s));
    bars.find_map(|bar| match bar.barrier {
        Barrier::Locked => Some(super::Reason::AccountLocked.as_str()),
        Barrier::Expired => Some(super::Reason::AccountExpired.as_str()),
        Barrier::NoShell => None,
    })
}

/// Seconds since 1970-01-01 UTC of a GeneralizedTime (RFC 4517 section 3.3.13); times before that are 0. None if the
/// text is no such time.
fn generalized_time(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at_checked(digits)?;
    let number = |from: usize, to: usize| digits.get(from..to)?.parse::<i16>().ok();
    let part = |from| number(from, from + 2).and_then(|part| i8::try_from(part).ok());
    let (minute, second) = match digits.len() {
        10 => (0, 0),
        12 => (part(10)?, 0),
        14 => (part(10)?, part(12)?.min(59)),
        _ => return None,
    };
    let zone = rest.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | ','));
    let offset_s = match zone.split_at_checked(1)? {
        ("Z", "") => 0,
        (sign @ ("+" | "-"), zone) if zone.len() == 2 || zone.len() == 4 => {
            let hours: i64 = zone.get(..2)?.parse().ok()?;
            let minutes: i64 = if zone.len() == 4 { zone.get(2..)?.parse().ok()? } else { 0 };
            (hours * 3600 + minutes * 60) * if sign == "+" { 1 } else { -1 }
        }
        _ => return None,
    };
    let time = jiff::civil::DateTime::new(number(0, 4)?, part(4)?, part(6)?, part(8)?, minute, second, 0).ok()?;
    let seconds = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second() - offset_s;
    Some(u64::try_from(seconds).unwrap_or(0))
}
