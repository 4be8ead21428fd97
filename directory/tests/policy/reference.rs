//! The definition of a decision, written down plainly: everything is walked for every question.

use std::collections::BTreeSet;

use directory::policy::{Question, Reason};
use inventory::{Grant, Host, HostState, change::Row, entry::Entry};

/// The reason, and the texts of all rules that may be given for it; none if no rule is given.
pub(crate) fn decide(rows: &[Row], question: &Question<'_>) -> (Reason, Vec<String>) {
    let people: Vec<&Entry> = entries(rows).filter(|entry| is_person(entry)).collect();
    let with_uid = |uid: &str| people.iter().filter(|entry| folded(entry, "uid").contains(uid)).collect::<Vec<_>>();
    let user = question.user.to_lowercase();
    let person = match &with_uid(&user)[..] {
        [] => return (Reason::UnknownUser, vec![]),
        [person] if folded(person, "uid").iter().all(|uid| with_uid(uid).len() == 1) => **person,
        _ => return (Reason::AmbiguousUser, vec![]),
    };
    let host = match host(rows, question.host) {
        Ok(host) => host,
        Err(reason) => return (reason, vec![]),
    };
    if host.state == HostState::Terminated {
        return (Reason::HostGone, vec![]);
    }
    if let Some((reason, attribute)) = barrier(person, question.now_s) {
        return (reason, vec![format!("{attribute} of {}", person.dn)]);
    }
    let rules = rules(rows, person);
    let here: Vec<&Rule> = rules.iter().filter(|rule| means(&rule.pattern, host)).collect();
    let (reason, texts) = judge(&here, question.service, question.now_s);
    let stale =
        question.stale && reason == Reason::Granted && judge(&here, "sudo", question.now_s).0 != Reason::Granted;
    (if stale { Reason::Stale } else { reason }, texts)
}

/// One pattern that holds for the person.
struct Rule {
    pattern: String,
    denies: bool,
    /// Services; none for a `host` value.
    grant: Option<Grant>,
    text: String,
}

fn judge(here: &[&Rule], service: &str, now_s: u64) -> (Reason, Vec<String>) {
    let live = |rule: &Rule| rule.grant.as_ref().and_then(|grant| grant.until).is_none_or(|until| now_s < until);
    let lists = |grant: &Grant| grant.services.iter().any(|name| name == service);
    let denies = |rule: &Rule| match &rule.grant {
        None => true,
        Some(grant) => grant.services.is_empty() || lists(grant) || (service == "sudo" && grant.sudo.is_some()),
    };
    let admits = |rule: &Rule| match &rule.grant {
        None => service != "sudo",
        Some(grant) if service == "sudo" => grant.sudo.is_some(),
        Some(grant) => grant.services.is_empty() || lists(grant),
    };
    let texts = |pick: &dyn Fn(&Rule) -> bool| -> Vec<String> {
        here.iter().filter(|rule| pick(rule)).map(|rule| rule.text.clone()).collect()
    };
    let elsewhere = if service == "sudo" { Reason::SudoNotGranted } else { Reason::ServiceNotGranted };
    type Step<'a> = (Reason, &'a dyn Fn(&Rule) -> bool);
    let steps: [Step<'_>; 4] = [
        (Reason::DeniedByPattern, &|rule| rule.denies && denies(rule) && live(rule)),
        (Reason::Granted, &|rule| !rule.denies && admits(rule) && live(rule)),
        (Reason::GrantExpired, &|rule| !rule.denies && admits(rule)),
        (elsewhere, &|rule| !rule.denies && live(rule)),
    ];
    let found = steps.into_iter().map(|(reason, pick)| (reason, texts(pick))).find(|(_, texts)| !texts.is_empty());
    found.unwrap_or((Reason::NoGrant, vec![]))
}

fn rules(rows: &[Row], person: &Entry) -> Vec<Rule> {
    let groups = groups(rows, person);
    let mut rules = Vec::new();
    for entry in [person].into_iter().chain(groups.iter().copied()) {
        let values: Vec<&str> = entry.texts("host").collect();
        add(&mut rules, &values, None, &|pattern| format!("host {pattern} of {}", entry.dn));
    }
    let uids = folded(person, "uid");
    let names: BTreeSet<String> = groups.iter().flat_map(|group| folded(group, "cn")).collect();
    for row in rows {
        let Row::Grant(grant) = row else { continue };
        let is_meant = |who: &str| match who.to_lowercase().strip_prefix('@') {
            Some(group) => names.contains(group),
            None => uids.contains(&who.to_lowercase()),
        };
        if grant.who.iter().any(|who| is_meant(who)) {
            let on: Vec<&str> = grant.on.iter().map(|on| &**on).collect();
            add(&mut rules, &on, Some(grant), &|pattern| format!("grant {} pattern {pattern}", grant.name));
        }
    }
    rules
}

fn add(rules: &mut Vec<Rule>, patterns: &[&str], grant: Option<&Grant>, text: &dyn Fn(&str) -> String) {
    // Of the patterns of these worlds only these cannot be read.
    let is_bad = |pattern: &str| matches!(pattern.trim_start_matches('!'), "not a pattern" | "web01.corp.example.com.");
    let admits = !patterns.iter().any(|pattern| pattern.starts_with('!') && is_bad(pattern));
    for pattern in patterns.iter().filter(|pattern| !is_bad(pattern)) {
        let denies = pattern.starts_with('!');
        if denies || admits {
            let shown = shown(pattern);
            let pattern = pattern.trim_start_matches('!').to_owned();
            rules.push(Rule { pattern, denies, grant: grant.cloned(), text: text(&shown) });
        }
    }
}

/// How a pattern is written back: in lower case but for tags, and with `private` behind a product.
fn shown(pattern: &str) -> String {
    if pattern.contains("tag:") {
        return pattern.to_owned();
    }
    let labels = pattern.trim_end_matches(".private").trim_end_matches(".public");
    let (is_view, count) = (labels != pattern, labels.split('.').count());
    if is_view || count == 3 { format!("{labels}.private") } else { labels.to_owned() }
}

fn groups<'a>(rows: &'a [Row], person: &Entry) -> Vec<&'a Entry> {
    let classes = ["posixGroup", "groupOfNames", "groupOfUniqueNames"];
    let all: Vec<&Entry> = entries(rows).filter(|entry| classes.iter().any(|class| entry.is_a(class))).collect();
    let dn = |text: &str| text.to_lowercase().replace(' ', "");
    let lists = |group: &Entry, member: &str| {
        group.texts("member").chain(group.texts("uniqueMember")).any(|listed| dn(listed) == dn(member))
    };
    let is_in = |group: &Entry| {
        let by_name = folded(group, "memberUid").intersection(&folded(person, "uid")).next().is_some();
        let primary = group.is_a("posixGroup")
            && person.text("gidNumber").is_some_and(|gid| group.text("gidNumber") == Some(gid));
        by_name || primary || lists(group, &person.dn)
    };
    let mut found: Vec<&Entry> = all.iter().copied().filter(|group| is_in(group)).collect();
    loop {
        let is_new = |group: &&&Entry| {
            !found.iter().any(|old| old.id == group.id) && found.iter().any(|inner| lists(group, &inner.dn))
        };
        let Some(outer) = all.iter().find(is_new) else { return found };
        found.push(outer);
    }
}

fn barrier(person: &Entry, now_s: u64) -> Option<(Reason, &'static str)> {
    // The times of these worlds are either long past or far away.
    let has = |attribute: &str, wanted: &[&str]| person.texts(attribute).any(|value| wanted.contains(&value));
    let days = i64::try_from(now_s / 86_400).expect("small");
    let is_over =
        person.texts("shadowExpire").filter_map(|days| days.parse().ok()).any(|day: i64| (0..=days).contains(&day));
    if has("pwdAccountLockedTime", &["000001010000Z"]) {
        Some((Reason::AccountLocked, "pwdAccountLockedTime"))
    } else if has("nsAccountLock", &["TRUE"]) {
        Some((Reason::AccountLocked, "nsAccountLock"))
    } else if is_over {
        Some((Reason::AccountExpired, "shadowExpire"))
    } else if has("loginShell", &["/usr/sbin/nologin"]) {
        Some((Reason::NoLoginShell, "loginShell"))
    } else {
        None
    }
}

fn host<'a>(rows: &'a [Row], name: &str) -> Result<&'a Host, Reason> {
    let name = name.to_lowercase();
    let name = name.trim_end_matches('.');
    let hosts = rows.iter().filter_map(|row| if let Row::Host(host) = row { Some(&**host) } else { None });
    let has_name = |host: &&Host| {
        let (name_of, product) = (&host.key.name, &host.key.product);
        let places = [host.key.zone.as_str(), host.region.as_str()];
        let mut names = vec![name_of.to_string()];
        names.extend(["private", "public"].map(|view| format!("{name_of}.{product}.{view}")));
        for place in places {
            names.push(format!("{name_of}.{place}"));
            names.push(format!("{name_of}.{place}.{product}"));
            names.extend(["private", "public"].map(|view| format!("{name_of}.{place}.{product}.{view}")));
        }
        names.iter().any(|own| own == name)
    };
    let all: Vec<&Host> = hosts.filter(has_name).collect();
    let living: Vec<&Host> = all.iter().copied().filter(|host| host.state != HostState::Terminated).collect();
    match (&living[..], &all[..]) {
        ([only], _) => Ok(only),
        ([], [gone, ..]) => Ok(gone),
        ([], []) => Err(Reason::UnknownHost),
        _ => Err(Reason::AmbiguousHost),
    }
}

/// Whether a pattern, without its `!`, means a host.
fn means(pattern: &str, host: &Host) -> bool {
    match pattern.split_once(':') {
        Some(("role", role)) => host.roles.iter().any(|own| glob(role, own)),
        Some(("group", group)) => host.groups.iter().any(|own| glob(group, own)),
        Some((_, tag)) => {
            let (key, value) = tag.split_once('=').unwrap_or((tag, "*"));
            host.tags.iter().any(|(k, v)| k == key && glob(value, v))
        }
        None => {
            let mut labels: Vec<&str> = pattern.split('.').collect();
            let is_view = labels.pop_if(|label| matches!(*label, "private" | "public")).is_some();
            let (name, place, product) = match labels[..] {
                [name] => (name, None, None),
                [name, product] if is_view => (name, None, Some(product)),
                [name, place] => (name, Some(place), None),
                [name, place, product] => (name, Some(place), Some(product)),
                _ => unreachable!("no such pattern in these worlds"),
            };
            glob(name, &host.key.name)
                && place.is_none_or(|place| glob(place, &host.key.zone) || glob(place, &host.region))
                && product.is_none_or(|product| glob(product, &host.key.product))
        }
    }
}

fn glob(glob: &str, text: &str) -> bool {
    match (glob.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some('*'), first) => self::glob(&glob[1..], text) || (first.is_some() && self::glob(glob, &text[1..])),
        (Some('?'), Some(_)) => self::glob(&glob[1..], &text[1..]),
        (Some(a), Some(b)) if a == b => self::glob(&glob[1..], &text[1..]),
        _ => false,
    }
}

fn entries(rows: &[Row]) -> impl Iterator<Item = &Entry> {
    rows.iter().filter_map(|row| if let Row::Entry(entry) = row { Some(&**entry) } else { None })
}

fn is_person(entry: &Entry) -> bool {
    ["posixAccount", "inetOrgPerson", "account"].iter().any(|class| entry.is_a(class))
}

fn folded(entry: &Entry, attribute: &str) -> BTreeSet<String> {
    entry.texts(attribute).map(str::to_lowercase).collect()
}
