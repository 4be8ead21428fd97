//! The decision itself.
//!
//! A person's rules are the patterns of the grants that name one of their uids, of the grants that name one of their
//! groups, and the `host` values of their own entry and of their groups' entries. Deny is the default. A `!pattern` among
//! these rules that means the host, has not expired and is for the service keeps the person out, whatever else admits:
//! it takes away from the subjects of its own grant (or entry) and from nobody else. It is for the service if its grant
//! names the service or none at all; `host` values are for every service. Admission to `sudo` needs a grant with `sudo`;
//! so does every PAM service that is sudo under another name (`sudo-i`). Services are compared in lower case.

use std::{ops::ControlFlow, sync::Arc};

use compact_str::CompactString;
use inventory::{
    Host,
    entry::{Entry, EntryId},
};
use smallvec::SmallVec;

use super::{
    Access,
    decision::{Decision, Question, Reason, Rule, Source},
    index::Probe,
    names::NoHost,
    people::{Group, Member, Person, folded},
    rules::{Held, Rules, SUDO, Wanted, deciding},
    standing::Barrier,
};

/// How many groups deep membership is followed. A group that is a member of itself ends by itself.
const NESTING_MAX: usize = 32;
/// Longest login name that is looked up.
const USER_OCTETS_MAX: usize = 256;

/// What sudo may run for a person on a host.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Sudo {
    /// The commands of all grants that hold there, sorted; `None` if one of them gives all commands.
    pub commands: Option<Vec<CompactString>>,
    /// Names of these grants, sorted.
    pub grants: Vec<CompactString>,
}

/// A reason and the rule behind it.
pub(super) type Judgement = (Reason, Option<Rule>);

impl Access {
    /// Decides. Costs a few look-ups for the person, their groups and the host; independent of how many there are.
    pub fn decide(&self, question: &Question<'_>) -> Decision {
        let person = match self.person(question.user) {
            Ok(person) => person,
            Err(reason) => return self.decision((reason, None)),
        };
        let host = match self.host(question.host) {
            Ok(host) => host,
            Err(NoHost::Unknown) => return self.decision((Reason::UnknownHost, None)),
            Err(NoHost::Ambiguous { .. }) => return self.decision((Reason::AmbiguousHost, None)),
        };
        self.decision(self.judge(person, host, deciding(question.service), question.now_s, question.stale))
    }

    /// Decides for the person of an entry; [`Reason::UnknownUser`] if the entry is no person's.
    pub fn decide_entry(&self, id: EntryId, host: &Host, service: &str, now_s: u64) -> Decision {
        let Some(person) = self.people.get(&id) else { return self.decision((Reason::UnknownUser, None)) };
        if self.is_ambiguous(person) {
            return self.decision((Reason::AmbiguousUser, None));
        }
        self.decision(self.judge(person, host, deciding(service), now_s, false))
    }

    /// What sudo may run for a person on a host; `None` if they may not use it there.
    pub fn sudo(&self, user: &str, host: &Host, now_s: u64) -> Option<Sudo> {
        let person = self.person(user).ok()?;
        if self.judge(person, host, SUDO, now_s, false).0 != Reason::Granted {
            return None;
        }
        let (mut commands, mut grants, mut all) = (Vec::new(), Vec::new(), false);
        let probe = Probe::of(host);
        for rules in self.rules_of(person, &self.groups_of(person)) {
            let _ = rules.matching(&probe, Wanted::Admitting(SUDO), &mut |held| {
                if let Some(grant) = held.grant().filter(|_| held.is_live(now_s)) {
                    let given = grant.sudo.as_deref().unwrap_or_default();
                    all |= given.is_empty();
                    commands.extend(given.iter().cloned());
                    grants.push(grant.name.clone());
                }
                ControlFlow::Continue(())
            });
        }
        for list in [&mut commands, &mut grants] {
            list.sort_unstable();
            list.dedup();
        }
        Some(Sudo { commands: (!all).then_some(commands), grants })
    }

    pub(super) fn decision(&self, (reason, rule): Judgement) -> Decision {
        Decision { verdict: reason.verdict(), reason, rule, position: self.state.position() }
    }

    /// The one person with a uid.
    pub(super) fn person(&self, user: &str) -> Result<&Arc<Person>, Reason> {
        if user.len() > USER_OCTETS_MAX {
            return Err(Reason::UnknownUser);
        }
        let ids = self.uids.get(&folded(user)).ok_or(Reason::UnknownUser)?;
        let person = ids.only().ok_or(Reason::AmbiguousUser)?;
        let person = self.people.get(&person).ok_or(Reason::UnknownUser)?;
        if self.is_ambiguous(person) { Err(Reason::AmbiguousUser) } else { Ok(person) }
    }

    /// Whether another entry has a uid of this person.
    pub(super) fn is_ambiguous(&self, person: &Person) -> bool {
        person.uids.iter().any(|uid| self.uids.get(uid).is_none_or(|ids| ids.len() != 1))
    }

    /// `service` is a deciding one.
    pub(super) fn judge(&self, person: &Person, host: &Host, service: &str, now_s: u64, stale: bool) -> Judgement {
        if !host.is_named() {
            return (Reason::HostGone, None);
        }
        if let Some(judgement) = self.barrier(person, now_s) {
            return judgement;
        }
        let groups = self.groups_of(person);
        let rules: SmallVec<[&Rules; 16]> = self.rules_of(person, &groups).collect();
        let asked = Asked { rules: &rules, probe: Probe::of(host), now_s };
        let (reason, held) = asked.judge_aged(service, stale);
        (reason, held.map(Rule::of))
    }

    /// What keeps a person out everywhere.
    pub(super) fn barrier(&self, person: &Person, now_s: u64) -> Option<Judgement> {
        let (barrier, attribute) = person.standing.barrier(now_s, &self.lockouts)?;
        let reason = match barrier {
            Barrier::Locked => Reason::AccountLocked,
            Barrier::Expired => Reason::AccountExpired,
            Barrier::NoShell => Reason::NoLoginShell,
        };
        Some((reason, Some(Rule::of_account(&person.entry, attribute))))
    }

    /// The first second after `now_s` at which something that is known now will keep a person out everywhere: the end of
    /// the account, say. None for somebody unknown.
    pub fn barred_from(&self, user: &str, now_s: u64) -> Option<u64> {
        self.person(user).ok()?.standing.next(now_s)
    }

    /// The groups that a person is in, nested ones included.
    pub(super) fn groups_of(&self, person: &Person) -> Groups<'_> {
        let mut groups = Groups::default();
        person.listed_as.iter().for_each(|member| self.listing(member, &mut groups));
        let mut from = 0;
        for _ in 0..NESTING_MAX {
            let to = groups.list.len();
            if from == to {
                break;
            }
            for at in from..to {
                let group = groups.list[at];
                group.listed_as.iter().for_each(|member| self.listing(member, &mut groups));
            }
            from = to;
        }
        groups
    }

    fn listing<'a>(&'a self, member: &Member, groups: &mut Groups<'a>) {
        let Some(ids) = self.listed.get(member) else { return };
        ids.iter().filter_map(|id| self.groups.get(&id)).for_each(|group| groups.add(group));
    }

    /// All that may hold for a person in those groups.
    pub(super) fn rules_of<'a>(
        &'a self,
        person: &'a Person,
        groups: &Groups<'a>,
    ) -> impl Iterator<Item = &'a Rules> + use<'a> {
        let own = person.uids.iter().filter_map(|uid| self.of_user.get(uid));
        let groups = groups.list.clone();
        let shared = groups.into_iter().flat_map(|group| {
            let named = group.names.iter().filter_map(|name| self.of_group.get(name));
            named.chain([&group.rules])
        });
        [&person.rules].into_iter().chain(own).chain(shared).filter(|rules| !rules.is_empty())
    }
}

/// Groups in the order in which they were found, each once.
#[derive(Default)]
pub(super) struct Groups<'a> {
    pub(super) list: SmallVec<[&'a Arc<Group>; 32]>,
    /// Their ids, once the list is too long to be walked for each new one.
    seen: std::collections::HashSet<EntryId>,
}

impl<'a> Groups<'a> {
    fn add(&mut self, group: &'a Arc<Group>) {
        if self.list.len() < 32 {
            if self.list.iter().any(|other| other.entry.id == group.entry.id) {
                return;
            }
        } else {
            if self.seen.is_empty() {
                self.seen.extend(self.list.iter().map(|group| group.entry.id));
            }
            if !self.seen.insert(group.entry.id) {
                return;
            }
        }
        self.list.push(group);
    }
}

/// One question to one person's rules.
pub(super) struct Asked<'q, 'a> {
    pub(super) rules: &'q [&'a Rules],
    pub(super) probe: Probe<'q>,
    pub(super) now_s: u64,
}

impl<'a> Asked<'_, 'a> {
    pub(super) fn judge(&self, service: &str) -> (Reason, Option<&'a Arc<Held>>) {
        if let Some(held) = self.first(Wanted::Denying(service)).0 {
            return (Reason::DeniedByPattern, Some(held));
        }
        let (admitting, over) = self.first(Wanted::Admitting(service));
        if let Some(held) = admitting {
            return (Reason::Granted, Some(held));
        }
        if let Some(held) = over {
            return (Reason::GrantExpired, Some(held));
        }
        match self.first(Wanted::AdmittingAtAll).0 {
            Some(held) if service == SUDO => (Reason::SudoNotGranted, Some(held)),
            Some(held) => (Reason::ServiceNotGranted, Some(held)),
            None => (Reason::NoGrant, None),
        }
    }

    /// The same with data that may be stale: then only those who may use sudo come in.
    pub(super) fn judge_aged(&self, service: &str, stale: bool) -> (Reason, Option<&'a Arc<Held>>) {
        let (reason, held) = self.judge(service);
        let is_kept_out =
            reason == Reason::Granted && stale && service != SUDO && self.judge(SUDO).0 != Reason::Granted;
        (if is_kept_out { Reason::Stale } else { reason }, held)
    }

    /// The first rule that holds, and before it the first that is over.
    fn first(&self, wanted: Wanted<'_>) -> (Option<&'a Arc<Held>>, Option<&'a Arc<Held>>) {
        let (mut live, mut over) = (None, None);
        for rules in self.rules {
            let flow = rules.matching(&self.probe, wanted, &mut |held| {
                if held.is_live(self.now_s) {
                    live = Some(held);
                    return ControlFlow::Break(());
                }
                over.get_or_insert(held);
                ControlFlow::Continue(())
            });
            if flow.is_break() {
                break;
            }
        }
        (live, over)
    }
}

impl Rule {
    pub(super) fn of(held: &Arc<Held>) -> Self {
        Self(Source::Pattern(held.clone()))
    }

    pub(super) fn of_account(entry: &Arc<Entry>, attribute: &'static str) -> Self {
        Self(Source::Account(entry.clone(), attribute))
    }
}
