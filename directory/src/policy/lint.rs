//! What an old filter says about a host, against what we decide: who would gain or lose access, and why.
//!
//! A `pam_filter` is an LDAP filter over the person's own entry. It knows no groups, no grants, no expiry, and stars in it
//! are not what they look like: `(host=*)` asks whether there is any `host` value, and `(host=dev-*)` compares with
//! the value and not with the host at hand.

use std::fmt;

use compact_str::CompactString;
use inventory::{Host, pattern::Pattern};
use serde::Serialize;

use super::{
    Access,
    decision::{Decision, Reason},
    names::in_full,
    old_filter::{Leaf, OldFilter, Subject, Test},
};

/// Most differences that are shown; the rest is counted.
pub const LINT_SHOWN_MAX: usize = 100;

/// What became of one old filter.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Lint {
    /// What in the filter is not what it looks like.
    pub traps: Vec<String>,
    /// Pairs of a person and a host for which both say the same.
    pub same: u64,
    /// Pairs that we admit and the filter does not.
    pub gained: u64,
    /// Pairs that the filter admits and we do not.
    pub lost: u64,
    /// The pairs that differ: at most [`LINT_SHOWN_MAX`].
    pub differences: Vec<Difference>,
}

/// One person on one host, about whom the filter and we differ.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// Login name.
    pub user: CompactString,
    /// Name, zone and product.
    pub host: CompactString,
    /// Why, in a sentence.
    pub why: String,
    /// What kind of reason this is.
    pub kind: Differs,
    /// What we say.
    #[serde(flatten)]
    pub decision: Decision,
}

/// Why a filter and our decision differ. The list is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Differs {
    /// The filter only asks whether there is a value.
    Presence,
    /// The filter compares with a part of the value, which names another host.
    Substring,
    /// The filter admits by something that says nothing about the host.
    NotAboutTheHost,
    /// A value names the host for the filter and not for us.
    OtherReading,
    /// The account is locked, over, or without a shell, which the filter does not look at.
    Account,
    /// A `!pattern` denies, which the filter does not look at.
    Denial,
    /// Two entries share the uid, or the host is gone.
    NotClear,
    /// We admit by a grant, which the filter does not know.
    Grant,
    /// We admit by a `host` value of a group, which the filter does not look at.
    GroupValue,
    /// We admit by a `host` value that is a pattern, which the filter does not list.
    PatternValue,
}

impl Access {
    /// Holds an old filter against our decisions, for everybody on the given hosts. Costs one evaluation and
    /// one decision for each pair.
    pub fn lint<'a>(
        &self,
        filter: &OldFilter,
        hosts: impl IntoIterator<Item = &'a Host>,
        service: &str,
        now_s: u64,
    ) -> Lint {
        let mut lint = Lint { traps: traps(filter), ..Lint::default() };
        for host in hosts {
            let people = self.state.entries().filter_map(|entry| self.people.get(&entry.id));
            for person in people {
                let subject = Subject { entry: &person.entry, host };
                let old = filter.admits(subject);
                let decision = self.decide_entry(person.entry.id, host, service, now_s);
                if old.is_some() == decision.is_allowed() {
                    lint.same += 1;
                    continue;
                }
                *(if old.is_some() { &mut lint.lost } else { &mut lint.gained }) += 1;
                if lint.differences.len() < LINT_SHOWN_MAX {
                    let (kind, why) = match old {
                        Some(leaf) => lost(leaf, subject, &decision),
                        None => gained(subject, &decision),
                    };
                    let user = person.uids.first().cloned().unwrap_or_default();
                    lint.differences.push(Difference { user, host: in_full(host), why, kind, decision });
                }
            }
        }
        lint
    }
}

fn traps(filter: &OldFilter) -> Vec<String> {
    let about_hosts = |leaf: &&Leaf| leaf.attribute == "host";
    let trap = |leaf: &Leaf| match &leaf.test {
        Test::Present => Some(format!(
            "{} is a presence filter: it admits everybody who has any host value; a value * is asked for by (host=\\2a)",
            leaf.text
        )),
        Test::Substring(_) => Some(format!(
            "{} is a substring filter: it compares with the values of the person, and admits those whose value is for \
             another host; a pattern belongs in the value",
            leaf.text
        )),
        Test::Extensible => Some(format!("{} is an extensible match, which is taken as never true", leaf.text)),
        Test::Equal(_) | Test::AtLeast(_) | Test::AtMost(_) => None,
    };
    filter.leaves().into_iter().filter(about_hosts).filter_map(trap).take(LINT_SHOWN_MAX).collect()
}

/// The filter admits, we do not.
fn lost(leaf: Option<&Leaf>, subject: Subject<'_>, decision: &Decision) -> (Differs, String) {
    let rule = decision.rule.as_ref().map(ToString::to_string).unwrap_or_default();
    match decision.reason {
        Reason::AccountLocked | Reason::AccountExpired | Reason::NoLoginShell => {
            return (Differs::Account, format!("{}; the filter does not look at {rule}", decision.reason.sentence()));
        }
        Reason::DeniedByPattern => {
            return (Differs::Denial, format!("{rule} denies, which the filter does not look at"));
        }
        Reason::AmbiguousUser | Reason::HostGone => {
            return (Differs::NotClear, format!("{}, which the filter does not look at", decision.reason.sentence()));
        }
        _ => {}
    }
    let Some((leaf, value)) =
        leaf.filter(|leaf| leaf.attribute == "host").and_then(|leaf| Some((leaf, leaf.matching(subject)?)))
    else {
        let why = match leaf {
            Some(leaf) => format!("{} admits to every host, and nothing here grants this one", leaf.text),
            None => "the filter admits whoever is not excluded, and nothing here grants this host".into(),
        };
        return (Differs::NotAboutTheHost, why);
    };
    let value = value.escape_debug();
    match &leaf.test {
        Test::Present => {
            let why = format!("{} is true for any host value, here {value}, which does not name this host", leaf.text);
            (Differs::Presence, why)
        }
        Test::Substring(_) => {
            (Differs::Substring, format!("{} is true for the value {value}, which does not name this host", leaf.text))
        }
        _ => (
            Differs::OtherReading,
            format!("{} is true for the value {value}, which does not mean this host", leaf.text),
        ),
    }
}

/// We admit, the filter does not.
fn gained(subject: Subject<'_>, decision: &Decision) -> (Differs, String) {
    let Some(rule) = &decision.rule else { return (Differs::Grant, String::new()) };
    if rule.grant().is_some() {
        return (Differs::Grant, format!("{rule} admits, which the filter does not know"));
    }
    if rule.entry().is_some_and(|entry| entry.id != subject.entry.id) {
        return (Differs::GroupValue, format!("{rule} admits; the filter looks at the person's own values only"));
    }
    let pattern = rule.pattern().map(Pattern::to_string).unwrap_or_default();
    (Differs::PatternValue, format!("{rule} admits; the filter does not list the value {pattern}"))
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.traps.iter().try_for_each(|trap| writeln!(f, "trap: {trap}"))?;
        writeln!(f, "{} the same, {} gain access, {} lose access", self.same, self.gained, self.lost)?;
        for Difference { user, host, why, decision, .. } in &self.differences {
            let change = if decision.is_allowed() { "gains" } else { "loses" };
            writeln!(f, "  {} {change} {host}: {why}", user.escape_debug())?;
        }
        let more = (self.gained + self.lost).saturating_sub(self.differences.len() as u64);
        if more > 0 {
            writeln!(f, "  and {more} more")?;
        }
        Ok(())
    }
}
