//! From `[[grant]]` to grants: who, where, for what, until when.
//!
//! Names are kept in lower case, since nothing tells `Alice` from `alice`; patterns as they are written back. A grant
//! without a name gets one from its content, the same in every file and at every reading.

use compact_str::{CompactString, ToCompactString, format_compact};

use super::{fault::quoted, form::Form, value::Mark};
use crate::{model::Grant, pattern::Pattern};

/// Keys of `[[grant]]`.
pub(super) const GRANT_KEYS: &[&str] =
    &["who", "user", "group", "on", "service", "services", "sudo", "until", "why", "by", "name"];
/// Most octets of a grant's name, and of a service's.
const NAME_OCTETS_MAX: usize = 64;
/// Most octets of a user's or group's name, as in policy look-ups.
const WHO_OCTETS_MAX: usize = 256;
/// Most octets of a command, of `why` and of `by`.
const TEXT_OCTETS_MAX: usize = 1024;
/// Most users and groups, patterns, services or commands of one grant.
const ITEMS_MAX: usize = 1000;
/// Hexadecimal digits of a name made from the content: 10,000 grants share one with a chance below 10^-6.
const DIGITS: usize = 12;
/// The last second of the year 9999, the last that a time of RFC 3339 can say; larger numbers are milliseconds.
const SECONDS_MAX: i64 = 253_402_300_799;
/// Numbers below this are no seconds since 1970 of our time, but a year or some other mistake.
const SECONDS_MIN: i64 = 1_000_000_000;

pub(super) fn read(mut form: Form<'_, '_, '_>) -> Option<Grant> {
    let who = who(&mut form);
    let on = patterns(&mut form);
    let services = services(&mut form);
    let sudo = sudo(&mut form);
    let until = until(&mut form);
    let why = line(&mut form, "why").unwrap_or_default();
    let source = form.page.source.clone();
    let by = line(&mut form, "by").unwrap_or_else(|| source.clone());
    let name = form.text("name").map(|(at, text)| name(&mut form, at, &text));
    form.finish();
    let (who, on, until) = (who?, on?, until?);
    let name = match name {
        Some(given) => given?,
        None => derived(&who, &on, &services, sudo.as_deref(), until),
    };
    Some(Grant { name, who, on, services, sudo, until, by, why, source })
}

/// `who` holds both, `user` and `group` hold one kind; any of them will do.
fn who(form: &mut Form<'_, '_, '_>) -> Option<Box<[CompactString]>> {
    if !["who", "user", "group"].iter().any(|key| form.has(key)) {
        form.missing("who");
        return None;
    }
    let (mut out, mut whole) = (Vec::new(), true);
    for key in ["who", "user", "group"] {
        for (at, text) in form.texts(key) {
            match one_of_whom(key, &text) {
                Ok(name) => out.push(name),
                Err(why) => {
                    form.fault(at, key, format!("{} {why}", quoted(&text)));
                    whole = false;
                }
            }
        }
    }
    bounded(form, "who", out.len());
    out.sort_unstable();
    out.dedup();
    (whole && !out.is_empty()).then(|| out.into_boxed_slice())
}

fn one_of_whom(key: &str, text: &str) -> Result<CompactString, &'static str> {
    let text = text.trim();
    let (is_group, name) = match text.strip_prefix('@') {
        Some(name) if key == "user" => {
            return Err(if name.is_empty() { "is no user" } else { "is a group; write it under group or who" });
        }
        Some(name) => (true, name),
        None => (key == "group", text),
    };
    if name.starts_with(['#', '+', '%']) {
        return Err(
            "begins with a sign that sudo reads otherwise (# a number, + a netgroup, % a group); write a user as in alice, a group as in @dba",
        );
    }
    if name.starts_with(['@', '!']) || name.contains(',') {
        return Err("is no name; write a user as in alice, a group as in @dba, and several as a list");
    }
    let odd = |c: char| c.is_control() || (c.is_whitespace() && !is_group);
    if name.is_empty() || name.len() > WHO_OCTETS_MAX || name.chars().any(odd) || name == "*" {
        return Err("is no name of a user or group; write them as in alice or @dba");
    }
    let name = name.to_lowercase();
    Ok(if is_group { format_compact!("@{name}") } else { name.into() })
}

fn patterns(form: &mut Form<'_, '_, '_>) -> Option<Box<[CompactString]>> {
    if !form.has("on") {
        form.missing("on");
        return None;
    }
    let (mut out, mut whole) = (Vec::new(), true);
    for (at, text) in form.texts("on") {
        match Pattern::parse(&text) {
            Ok(pattern) => out.push(pattern.to_compact_string()),
            Err(why) => {
                form.fault(at, "on", format!("{why}; write hosts as in dev-mysql*.us-east-1b, *.us-east-1, role:mysql, group:db or tag:env=dev"));
                whole = false;
            }
        }
    }
    bounded(form, "on", out.len());
    let mut seen = std::collections::HashSet::new();
    out.retain(|pattern| seen.insert(pattern.clone()));
    (whole && !out.is_empty()).then(|| out.into_boxed_slice())
}

fn services(form: &mut Form<'_, '_, '_>) -> Box<[CompactString]> {
    let mut out = Vec::new();
    for key in ["service", "services"] {
        for (at, text) in form.texts(key) {
            let service = text.trim().to_ascii_lowercase();
            let is_known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '+');
            let why = match &*service {
                "sudo" | "sudo-i" => "is not listed here; write sudo = true, or sudo = [\"/path/of/a/command\"]",
                "*" | "all" | "any" => "is no service; leave the key out to mean every service but sudo",
                name if name.is_empty() || name.len() > NAME_OCTETS_MAX || !name.chars().all(is_known) => {
                    "is no PAM service; write the name of a file in /etc/pam.d, as in sshd"
                }
                _ => {
                    out.push(CompactString::from(service));
                    continue;
                }
            };
            form.fault(at, key, format!("{} {why}", quoted(&text)));
        }
    }
    bounded(form, "service", out.len());
    out.sort_unstable();
    out.dedup();
    out.into_boxed_slice()
}

/// All commands are an empty list in the row; an empty list in a file is a fault, since it might mean none.
fn sudo(form: &mut Form<'_, '_, '_>) -> Option<Box<[CompactString]>> {
    let commands = match form.flag_or_texts("sudo")? {
        Ok(all) => return all.then(Box::default),
        Err(commands) => commands,
    };
    let mut out = Vec::with_capacity(commands.len());
    for (at, text) in commands {
        let command = text.trim();
        if command == "ALL" {
            return Some(Box::default());
        }
        let is_path = command.starts_with('/') || command.starts_with("sudoedit /");
        if !is_path || command.len() > TEXT_OCTETS_MAX || command.chars().any(char::is_control) {
            let text = format!("{} is no command; write it with its full path, or sudo = true for all", quoted(&text));
            form.fault(at, "sudo", text);
            continue;
        }
        out.push(command.into());
    }
    bounded(form, "sudo", out.len());
    Some(out.into_boxed_slice())
}

/// None after a fault.
fn until(form: &mut Form<'_, '_, '_>) -> Option<Option<u64>> {
    let (at, given) = match form.time("until") {
        Some(given) => given,
        None => return Some(None),
    };
    if let Ok(number) = given
        && number > SECONDS_MAX
    {
        form.fault(at, "until", format!("{number} is after the year 9999; write seconds since 1970 (are these milliseconds?), or the last day as in 2026-12-31"));
        return None;
    }
    let seconds = match &given {
        Ok(seconds) => (*seconds >= SECONDS_MIN).then_some(*seconds),
        Err(text) => seconds(text.trim()),
    };
    match seconds.filter(|seconds| *seconds <= SECONDS_MAX).and_then(|seconds| u64::try_from(seconds).ok()) {
        Some(seconds) => Some(Some(seconds)),
        None => {
            let shown = match given {
                Ok(number) => number.to_string(),
                Err(text) => quoted(&text),
            };
            form.fault(at, "until", format!("{shown} is no time; write the last day as in 2026-12-31, or a time with its offset as in 2026-12-31T18:00:00Z"));
            None
        }
    }
}

/// The first second after a day (UTC), or a time of RFC 3339.
fn seconds(text: &str) -> Option<i64> {
    if text.len() == "2026-12-31".len() {
        let day: jiff::civil::Date = text.parse().ok()?;
        let after = day.tomorrow().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        return Some(after.timestamp().as_second());
    }
    // TOML lets a space stand between date and time.
    let time: jiff::Timestamp = text.replacen(' ', "T", 1).parse().ok()?;
    Some(time.as_second())
}

fn line(form: &mut Form<'_, '_, '_>, key: &str) -> Option<CompactString> {
    let (at, text) = form.text(key)?;
    if text.len() > TEXT_OCTETS_MAX || text.chars().any(char::is_control) {
        form.fault(at, key, format!("{} is too long or holds a control character; write one line", quoted(&text)));
        return None;
    }
    Some(text.trim().into())
}

fn name(form: &mut Form<'_, '_, '_>, at: Mark, text: &str) -> Option<CompactString> {
    let is_known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !starts || text.len() > NAME_OCTETS_MAX || !text.chars().all(is_known) {
        let text =
            format!("{} is no name of a grant; write letters, digits, hyphens, dots and underscores", quoted(text));
        form.fault(at, "name", text);
        return None;
    }
    Some(text.into())
}

fn bounded(form: &mut Form<'_, '_, '_>, key: &str, count: usize) {
    if count > ITEMS_MAX {
        form.fault(
            form.at,
            key,
            format!("{count} are too many, a grant holds {ITEMS_MAX}; use a group, or several grants"),
        );
    }
}

/// `g-` and some digits of a digest of what the grant says.
fn derived(
    who: &[CompactString],
    on: &[CompactString],
    services: &[CompactString],
    sudo: Option<&[CompactString]>,
    until: Option<u64>,
) -> CompactString {
    let mut hasher = blake3::Hasher::new();
    for list in [Some(who), Some(on), Some(services), sudo] {
        hasher.update(&list.map_or(u64::MAX, |list| list.len() as u64).to_le_bytes());
        for text in list.into_iter().flatten() {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
    }
    hasher.update(&until.unwrap_or(u64::MAX).to_le_bytes());
    let hex = hasher.finalize().to_hex();
    format_compact!("g-{}", hex.get(..DIGITS).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_holds_to_its_end_and_a_time_needs_its_offset() {
        assert_eq!(seconds("2026-12-31"), Some(1_798_761_600));
        assert_eq!(seconds("2026-12-31T18:00:00Z"), Some(1_798_740_000));
        assert_eq!(seconds("2026-12-31 19:00:00+01:00"), Some(1_798_740_000));
        for wrong in ["", "2026", "2026-13-01", "2026-12-31T18:00:00", "18:00:00", "tomorrow", "2026-12-3é"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_meant_gets_a_sentence() {
        for (line, sentence) in [
            (
                "until = 1798761600000",
                "1798761600000 is after the year 9999; write seconds since 1970 (are these milliseconds?)",
            ),
            ("service = \"Sudo-i\"", "is not listed here; write sudo = true"),
        ] {
            let text = format!("[[grant]]\nwho = \"alice\"\non = \"*\"\n{line}\n");
            let defaults = crate::source::Defaults { product: "acme".into() };
            let faults = crate::source::parse_toml(&text, "a.toml", &defaults).unwrap_err();
            assert!(faults.iter().any(|fault| fault.text.contains(sentence)), "{faults:?}");
        }
        let text = "[[grant]]\nwho = \"alice\"\non = \"*\"\nuntil = 253402300799\n";
        let defaults = crate::source::Defaults { product: "acme".into() };
        assert_eq!(crate::source::parse_toml(text, "a.toml", &defaults).unwrap().len(), 1);
    }

    #[test]
    fn a_derived_name_tells_all_the_content_apart() {
        let list = |texts: &[&str]| texts.iter().map(|text| CompactString::from(*text)).collect::<Vec<_>>();
        let (a, b, none) = (list(&["a"]), list(&["b"]), list(&[]));
        let names = [
            derived(&a, &b, &none, None, None),
            derived(&a, &b, &none, Some(&none), None),
            derived(&a, &b, &none, None, Some(1)),
            derived(&b, &a, &none, None, None),
            derived(&list(&["a", "b"]), &none, &none, None, None),
        ];
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len());
        assert!(names.iter().all(|name| name.len() == 2 + DIGITS && name.starts_with("g-")));
        assert_eq!(derived(&a, &b, &none, None, None), names[0]);
    }
}
