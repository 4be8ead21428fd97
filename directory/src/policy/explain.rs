//! Why a decision is what it is: the rules that mean the host, and those that nearly do.
//!
//! Everything that holds for the person is looked at, so this costs what the person's rules are; what is shown is limited.

use std::{cmp::Reverse, collections::BTreeMap, fmt, sync::Arc};

use compact_str::CompactString;
use inventory::pattern::Pattern;
use serde::Serialize;

use super::{
    Access,
    decide::Groups,
    decision::{Decision, Question, Rule, Verdict},
    names::in_full,
    people::Person,
    rules::{Held, Rules, deciding, is_sudo},
};

/// Most rules, groups and notes that are shown of one explanation, each.
pub const SHOWN_MAX: usize = 50;

/// A decision with what led to it.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// Login name as asked.
    pub user: CompactString,
    /// Name, zone and product of the host; as asked if there is no such host.
    pub host: CompactString,
    /// The service.
    pub service: CompactString,
    /// The time asked about, seconds since 1970-01-01 UTC.
    pub at_s: u64,
    /// The decision.
    #[serde(flatten)]
    pub decision: Decision,
    /// The person's groups, nested ones and the primary one included.
    pub groups: Vec<CompactString>,
    /// Rules of the person, those first that matter most: at most [`SHOWN_MAX`].
    pub rules: Vec<Considered>,
    /// How many more rules there are.
    pub left_off: usize,
    /// What is odd: `host` values that cannot be read, several hosts or groups of one name.
    pub notes: Vec<String>,
}

/// A rule, and what it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Considered {
    /// The rule.
    pub rule: Rule,
    /// The group by which it concerns the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub through: Option<CompactString>,
    /// What it did.
    #[serde(flatten)]
    pub effect: Effect,
}

/// What a rule did, in the order in which rules are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "effect")]
pub enum Effect {
    /// It denies, and so decides.
    Denies,
    /// It admits; whether that counts depends on what denies.
    Admits,
    /// It means this host, but is over.
    Expired {
        /// Since when, seconds since 1970-01-01 UTC.
        since_s: u64,
    },
    /// It means this host, but is not for this service.
    OtherService,
    /// It means other hosts.
    OtherHost,
}

impl Access {
    /// Explains what [`decide`](Self::decide) says.
    pub fn explain(&self, question: &Question<'_>) -> Explanation {
        let mut explanation = Explanation {
            user: question.user.into(),
            host: question.host.into(),
            service: question.service.into(),
            at_s: question.now_s,
            decision: self.decide(question),
            groups: Vec::new(),
            rules: Vec::new(),
            left_off: 0,
            notes: Vec::new(),
        };
        let host = self.host(question.host);
        match host {
            Ok(host) => explanation.host = in_full(host),
            Err(ref why) => explanation.notes.push(format!("{}: {why}", question.host.escape_debug())),
        }
        let Ok(person) = self.person(question.user) else { return explanation };
        let groups = self.groups_of(person);
        explanation.notes.extend(unreadable(person, &groups));
        explanation.notes.extend(self.twins(&groups));
        let names = groups.list.iter().flat_map(|group| group.names.first().cloned());
        explanation.groups = names.take(SHOWN_MAX).collect();
        let Ok(host) = host else { return explanation };
        let mut all: Vec<Considered> = Vec::new();
        for (rules, through) in self.rules_with_names(person, &groups) {
            all.extend(rules.iter().map(|held| {
                let means = held.pattern.matches(host);
                Considered { rule: Rule::of(held), through: through.clone(), effect: effect(held, means, question) }
            }));
        }
        all.sort_by_cached_key(|considered| order(considered, &host.key.name));
        explanation.left_off = all.len().saturating_sub(SHOWN_MAX);
        all.truncate(SHOWN_MAX);
        explanation.rules = all;
        explanation
    }

    /// The names of these groups that grants are for and that other groups have as well.
    fn twins(&self, groups: &Groups<'_>) -> Vec<String> {
        let names = groups.list.iter().flat_map(|group| &group.names);
        let mut counts: BTreeMap<&CompactString, usize> =
            names.filter(|name| self.of_group.contains_key(*name)).map(|name| (name, 0)).collect();
        for name in self.groups.values().flat_map(|group| &group.names) {
            if let Some(count) = counts.get_mut(name) {
                *count += 1;
            }
        }
        let twins = counts.into_iter().filter(|(_, count)| *count > 1);
        let note = |(name, count): (&CompactString, usize)| {
            let name = name.escape_debug();
            format!("{count} groups have the cn {name}; what is granted to @{name} is granted to the members of each")
        };
        twins.map(note).take(SHOWN_MAX).collect()
    }

    /// The rules of a person, each with the group by which it concerns them.
    fn rules_with_names<'a>(
        &'a self,
        person: &'a Person,
        groups: &Groups<'a>,
    ) -> Vec<(&'a Rules, Option<CompactString>)> {
        let mut rules = vec![(&person.rules, None)];
        rules.extend(person.uids.iter().filter_map(|uid| self.of_user.get(uid)).map(|rules| (rules, None)));
        for group in &groups.list {
            rules.push((&group.rules, group.names.first().cloned()));
            let named = group.names.iter().filter_map(|name| Some((self.of_group.get(name)?, Some(name.clone()))));
            rules.extend(named);
        }
        rules
    }
}

fn effect(held: &Arc<Held>, means: bool, question: &Question<'_>) -> Effect {
    let service = deciding(question.service);
    let for_service = if held.pattern.denies { held.denies(service) } else { held.admits_to(service) };
    if !means {
        Effect::OtherHost
    } else if !held.is_live(question.now_s) {
        Effect::Expired { since_s: held.until }
    } else if !for_service {
        Effect::OtherService
    } else if held.pattern.denies {
        Effect::Denies
    } else {
        Effect::Admits
    }
}

/// By effect; of rules with one effect those first whose text has most of the host's name at its beginning.
fn order(considered: &Considered, name: &str) -> (Effect, Reverse<usize>, String) {
    let text = considered.rule.pattern().map(Pattern::to_string).unwrap_or_default();
    let common = text.trim_start_matches('!').bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
    (considered.effect, Reverse(common), considered.rule.to_string())
}

/// The `host` values that are no patterns.
fn unreadable(person: &Person, groups: &Groups<'_>) -> Vec<String> {
    let entries = [&person.entry].into_iter().chain(groups.list.iter().map(|group| &group.entry));
    let faults = entries.flat_map(|entry| {
        let dn = || entry.dn.escape_debug();
        entry.values("host").iter().filter_map(move |value| match value.text().map(Pattern::parse) {
            Some(Ok(_)) => None,
            Some(Err(why)) => Some(format!("host value of {} is left aside: {why}", dn())),
            None => {
                Some(format!("host value of {} is no text and counts as a denial: none of its values admits", dn()))
            }
        })
    });
    faults.take(SHOWN_MAX).collect()
}

impl Effect {
    fn words(self, service: &str) -> String {
        match self {
            Self::Denies => "denies".into(),
            Self::Admits => "admits".into(),
            Self::Expired { since_s } => format!("is over since {}", time(since_s)),
            Self::OtherService if is_sudo(service) => "gives no sudo".into(),
            Self::OtherService => format!("is not for {}", service.escape_debug()),
            Self::OtherHost => "means other hosts".into(),
        }
    }
}

/// A time for people: RFC 3339, UTC.
pub(super) fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| format!("second {seconds}"), |time| time.to_string())
}

impl fmt::Display for Explanation {
    /// Several lines, the first of which is the answer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Decision { verdict, reason, rule, position } = &self.decision;
        let (user, host, service) = (self.user.escape_debug(), self.host.escape_debug(), self.service.escape_debug());
        let verdict = if *verdict == Verdict::Allow { "allowed" } else { "denied" };
        writeln!(f, "{verdict}: {user} on {host} for {service}: {reason}: {}", reason.sentence())?;
        if let Some(rule) = rule {
            writeln!(f, "rule: {rule}")?;
        }
        writeln!(f, "as of {}, serial {} of epoch {}", time(self.at_s), position.serial, position.epoch)?;
        if !self.groups.is_empty() {
            writeln!(f, "groups: {}", self.groups.join(", "))?;
        }
        for Considered { rule, through, effect } in &self.rules {
            let through = through.as_ref().map(|group| format!(" (through @{group})")).unwrap_or_default();
            writeln!(f, "  {rule}{through} {}", effect.words(&self.service))?;
        }
        if self.left_off > 0 {
            writeln!(f, "  and {} rules more", self.left_off)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}
