//! Who may come in where: the policy compiled from directory entries and grants.
//!
//! [`Access`] is made of a state and advanced by what changed; all its tables are persistent, so that readers keep the
//! one that they have. It reads no clock and no disk: time is a parameter, and the past is asked by building an `Access`
//! of a past state. What a decision means is defined in `decide`.

mod decide;
mod decision;
mod diff;
mod explain;
mod index;
mod keys;
mod lint;
mod names;
mod old_filter;
mod people;
mod rules;
mod standing;
mod survey;

use std::sync::Arc;

use compact_str::CompactString;
use imbl::HashMap;
use inventory::{
    Grant, Host, State,
    change::{ChangeSet, Row, RowChange},
    entry::{Entry, EntryId},
    position::Position,
};

pub(crate) use self::people::{folded, is_group, is_person};
pub use self::{
    decide::Sudo,
    decision::{Decision, Question, Reason, Rule, Verdict},
    diff::{Diff, EFFORT_MAX, Moved},
    explain::{Considered, Effect, Explanation, SHOWN_MAX},
    keys::is_key,
    lint::{Difference, Differs, LINT_SHOWN_MAX, Lint},
    names::NoHost,
    old_filter::{BadFilter, OldFilter},
    rules::{SUDO, is_sudo},
    standing::{LOCKOUT_S, barred},
    survey::Admitted,
};
use self::{
    names::Names,
    people::{Group, Ids, Member, Person, read_patterns, relisted},
    rules::{Held, Origin, Rules},
    standing::Lockouts,
};

/// The service that is meant where none is named.
pub const SERVICE_DEFAULT: &str = "sshd";

/// The whole policy at one position.
#[derive(Debug, Clone)]
pub struct Access {
    state: Arc<State>,
    hosts: Names,
    people: HashMap<EntryId, Arc<Person>>,
    groups: HashMap<EntryId, Arc<Group>>,
    /// People by login name.
    uids: HashMap<CompactString, Ids>,
    /// Groups by whom they list.
    listed: HashMap<Member, Ids>,
    /// Patterns of the grants that name a user.
    of_user: HashMap<CompactString, Rules>,
    /// Patterns of the grants that name a group.
    of_group: HashMap<CompactString, Rules>,
    /// How long locks last.
    lockouts: Lockouts,
}

impl Access {
    /// The policy of a state.
    pub fn build(state: Arc<State>) -> Self {
        let mut access = Self {
            state: state.clone(),
            hosts: Names::default(),
            people: HashMap::new(),
            groups: HashMap::new(),
            uids: HashMap::new(),
            listed: HashMap::new(),
            of_user: HashMap::new(),
            of_group: HashMap::new(),
            lockouts: Lockouts::default(),
        };
        state.hosts().for_each(|host| access.hosts.add(host));
        state.entries().for_each(|entry| access.change_entry([None, Some(entry)]));
        state.grants().for_each(|grant| access.change_grant([None, Some(grant)]));
        access
    }

    /// The policy of `state`, to which `sets` lead from the present one. Costs what the changed rows cost.
    pub fn advance(&self, state: Arc<State>, sets: &[Arc<ChangeSet>]) -> Self {
        let mut next = self.clone();
        for RowChange { old, new } in sets.iter().flat_map(|set| &set.rows) {
            next.change_host(both(old, new, as_host));
            next.change_entry(both(old, new, as_entry));
            next.change_grant(both(old, new, as_grant));
        }
        next.state = state;
        next
    }

    /// The state that the policy is of.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The position of that state.
    pub fn position(&self) -> Position {
        self.state.position()
    }

    /// How many people and groups there are.
    pub fn counts(&self) -> Counts {
        Counts { people: self.people.len(), groups: self.groups.len() }
    }

    /// The host of a name: `name`, `name.zone` or `name.region`, also with the product and `private` or `public` behind
    /// it, in any case, with or without a trailing dot.
    ///
    /// # Errors
    /// If no host has the name, or several have it.
    pub fn host(&self, name: &str) -> Result<&Arc<Host>, NoHost> {
        self.hosts.find(name)
    }

    fn change_host(&mut self, [old, new]: [Option<&Arc<Host>>; 2]) {
        old.into_iter().for_each(|host| self.hosts.remove(host));
        new.into_iter().for_each(|host| self.hosts.add(host));
    }

    fn change_entry(&mut self, [old, new]: [Option<&Arc<Entry>>; 2]) {
        if let Some(person) = old.and_then(|entry| self.people.remove(&entry.id)) {
            person.uids.iter().for_each(|uid| count(&mut self.uids, uid, person.entry.id, -1));
        }
        if let Some(person) = new.and_then(Person::of) {
            person.uids.iter().for_each(|uid| count(&mut self.uids, uid, person.entry.id, 1));
            self.people.insert(person.entry.id, Arc::new(person));
        }
        self.lockouts.change([old, new].map(|entry| entry.map(|entry| &**entry)));
        if let Some(entry) = old {
            self.groups.remove(&entry.id);
        }
        if let Some(group) = new.and_then(Group::of) {
            self.groups.insert(group.entry.id, Arc::new(group));
        }
        let Some(id) = new.or(old).map(|entry| entry.id) else { return };
        let listed = &mut self.listed;
        relisted(old.map(|entry| &**entry), new.map(|entry| &**entry), |member, change| {
            count(listed, &member, id, change);
        });
    }

    fn change_grant(&mut self, [old, new]: [Option<&Arc<Grant>>; 2]) {
        if let Some(grant) = old {
            let held = held(grant);
            self.each_subject(grant, |rules| held.iter().for_each(|held| rules.remove(held)));
        }
        if let Some(grant) = new {
            let held = held(grant);
            self.each_subject(grant, |rules| held.iter().for_each(|held| rules.add(held.clone())));
        }
    }

    fn each_subject(&mut self, grant: &Grant, mut change: impl FnMut(&mut Rules)) {
        for who in &grant.who {
            let (table, name) = match who.strip_prefix('@') {
                Some(group) => (&mut self.of_group, folded(group)),
                None => (&mut self.of_user, folded(who)),
            };
            let mut rules = table.remove(&name).unwrap_or_default();
            change(&mut rules);
            if !rules.is_empty() {
                table.insert(name, rules);
            }
        }
    }
}

/// How much a policy is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Entries that are people.
    pub people: usize,
    /// Entries that are groups.
    pub groups: usize,
}

/// The patterns of a grant. If one cannot be read that might deny, the others admit nobody.
fn held(grant: &Arc<Grant>) -> Vec<Arc<Held>> {
    let (patterns, complete) = read_patterns(grant.on.iter().map(|on| Some(on.as_str())));
    let until = grant.until.unwrap_or(u64::MAX);
    let held = |pattern| Arc::new(Held { pattern, until, origin: Origin::Grant(grant.clone()) });
    patterns.into_iter().filter(|pattern| complete || pattern.denies).map(held).collect()
}

fn count<K: Clone + Eq + std::hash::Hash>(table: &mut HashMap<K, Ids>, key: &K, id: EntryId, change: i32) {
    let mut ids = table.remove(key).unwrap_or_default();
    ids.count(id, change);
    if !ids.is_empty() {
        table.insert(key.clone(), ids);
    }
}

fn both<'a, T>(old: &'a Option<Row>, new: &'a Option<Row>, of: fn(&'a Row) -> Option<&'a T>) -> [Option<&'a T>; 2] {
    [old, new].map(|row| row.as_ref().and_then(of))
}

fn as_host(row: &Row) -> Option<&Arc<Host>> {
    if let Row::Host(host) = row { Some(host) } else { None }
}

fn as_entry(row: &Row) -> Option<&Arc<Entry>> {
    if let Row::Entry(entry) = row { Some(entry) } else { None }
}

fn as_grant(row: &Row) -> Option<&Arc<Grant>> {
    if let Row::Grant(grant) = row { Some(grant) } else { None }
}
