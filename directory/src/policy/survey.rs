//! Who may come in somewhere, and where somebody may go.

use std::sync::Arc;

use inventory::{Host, entry::Entry};

use super::{
    Access,
    decide::Asked,
    decision::{Reason, Rule},
    index::Probe,
    rules::deciding,
};

/// Somebody who is admitted.
#[derive(Debug, Clone)]
pub struct Admitted<'a> {
    /// The first login name.
    pub user: &'a str,
    /// The entry.
    pub entry: &'a Arc<Entry>,
    /// What admits.
    pub rule: Option<Rule>,
}

impl Access {
    /// Everybody who may use a service on a host, in the order of their entries' ids; `stale` as for
    /// [`Question`](super::Question). Each step decides for one person;
    /// the caller takes as many as it wants.
    pub fn who<'a>(
        &'a self,
        host: &'a Host,
        service: &'a str,
        now_s: u64,
        stale: bool,
    ) -> impl Iterator<Item = Admitted<'a>> + use<'a> {
        let service = deciding(service);
        let people = self.state.entries().filter_map(|entry| self.people.get(&entry.id));
        let people = people.filter(|person| !self.is_ambiguous(person));
        people.filter_map(move |person| {
            let (reason, rule) = self.judge(person, host, service, now_s, stale);
            let user = person.uids.first()?.as_str();
            (reason == Reason::Granted).then_some(Admitted { user, entry: &person.entry, rule })
        })
    }

    /// Every host on which a person may use a service, in the order of product, name and zone, with what admits them;
    /// `stale` as for [`Question`](super::Question).
    /// Each step decides for one host; the caller takes as many as it wants.
    ///
    /// # Errors
    /// The reason for which the person may go nowhere.
    pub fn places<'a>(
        &'a self,
        user: &str,
        service: &'a str,
        now_s: u64,
        stale: bool,
    ) -> Result<impl Iterator<Item = (&'a Arc<Host>, Rule)> + use<'a>, Reason> {
        let person = self.person(user)?;
        if let Some((reason, _)) = self.barrier(person, now_s) {
            return Err(reason);
        }
        let service = deciding(service);
        let rules: Vec<_> = self.rules_of(person, &self.groups_of(person)).collect();
        Ok(self.state.hosts().filter(|host| host.is_named()).filter_map(move |host| {
            let asked = Asked { rules: &rules, probe: Probe::of(host), now_s };
            match asked.judge_aged(service, stale) {
                (Reason::Granted, Some(held)) => Some((host, Rule::of(held))),
                _ => None,
            }
        }))
    }
}
