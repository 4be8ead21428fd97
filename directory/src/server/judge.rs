//! Decisions that searches ask for: the computed attributes `gatehouseAccess` and `gatehouseSudo` in filters.

use std::sync::Arc;

use compact_str::{CompactString, ToCompactString, format_compact};
use inventory::Host;
use ldap3_proto::LdapFilter;

use super::{Server, connection::Clock, counters::Counters};
use crate::{
    decisions::{Entry, TEXT_MAX},
    policy::{Access, Decision, Question, SERVICE_DEFAULT, SUDO},
    tree::Node,
};

/// Decisions that one search leaves in the log at most; beyond, it is no question about a person.
const RECORDED_MAX: usize = 4;

/// Decides for one search.
pub(super) struct Judge<'a> {
    pub(super) access: &'a Access,
    pub(super) now_s: u64,
    pub(super) stale: bool,
}

impl Judge<'_> {
    /// Whether the person of an entry may come in at `HOST` or `HOST/SERVICE`.
    pub(super) fn admits(&self, node: &Node, place: &str) -> bool {
        let (host, service) = split(place);
        self.access.host(host).is_ok_and(|host| self.decides(node, host, service))
    }

    /// Whether the person of an entry may use sudo on a host.
    pub(super) fn sudo(&self, node: &Node, host: &str) -> bool {
        self.access.host(host).is_ok_and(|host| self.decides(node, host, SUDO))
    }

    /// Whether the person of an entry may come in; with old data only those who may use sudo there.
    pub(super) fn decides(&self, node: &Node, host: &Host, service: &str) -> bool {
        let decide = |service| self.access.decide_entry(node.entry.id, host, service, self.now_s).is_allowed();
        decide(service) && (!self.stale || service == SUDO || decide(SUDO))
    }
}

/// `HOST/SERVICE`, or `HOST` alone for the default service.
pub(super) fn split(place: &str) -> (&str, &str) {
    place.split_once('/').unwrap_or((place, SERVICE_DEFAULT))
}

/// A question about one person that a filter puts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) user: CompactString,
    pub(super) host: CompactString,
    pub(super) service: CompactString,
}

/// The questions in a filter that concern one person: the one whose entry is the base, or the one whose uid it names.
/// Only what every match must fulfil counts, so nothing below a disjunction or a negation.
pub(super) fn asked(filter: &LdapFilter, base_uid: Option<&str>) -> Vec<Asked> {
    let mut terms = Vec::new();
    conjuncts(filter, &mut terms);
    let named = |wanted: &str| {
        let terms = terms.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| *value);
        terms.collect::<Vec<_>>()
    };
    let uids = named("uid");
    let Some(user) = base_uid.or(uids.first().copied()) else { return Vec::new() };
    let access = named("gatehouseAccess").into_iter().map(split);
    let sudo = named("gatehouseSudo").into_iter().map(|host| (host, SUDO));
    let asked = access.chain(sudo).take(RECORDED_MAX);
    asked.map(|(host, service)| Asked { user: cut(user), host: cut(host), service: cut(service) }).collect()
}

fn conjuncts<'a>(filter: &'a LdapFilter, terms: &mut Vec<(&'a str, &'a str)>) {
    match filter {
        LdapFilter::And(parts) => parts.iter().for_each(|part| conjuncts(part, terms)),
        LdapFilter::Equality(name, value) => terms.push((name, value)),
        _ => {}
    }
}

impl Server {
    /// Decides once more by name and records it, as a login asks it.
    pub(super) fn record_asked(&self, access: &Access, asked: &Asked, clock: Clock, source: std::net::IpAddr) {
        let Asked { user, host, service } = asked;
        let stale = self.is_stale(clock.now_ms);
        let decision = access.decide(&Question { user, host, service, now_s: clock.now_s(), stale });
        self.record(&decision, asked, "ldap", clock, Some(source));
    }

    /// Puts a decision in the log.
    pub(super) fn record(
        &self,
        decision: &Decision,
        asked: &Asked,
        via: &'static str,
        clock: Clock,
        source: Option<std::net::IpAddr>,
    ) {
        self.put(Entry {
            when_ms: clock.now_ms,
            user: cut(&asked.user),
            host: cut(&asked.host),
            service: cut(&asked.service),
            verdict: decision.verdict.as_str().into(),
            reason: decision.reason.as_str().into(),
            rule: decision.rule.as_ref().map(ToCompactString::to_compact_string),
            position: position(decision.position),
            via: via.into(),
            source,
            age_s: (self.parts.age)(clock.now_ms).map(|age_ms| age_ms / 1000),
        });
    }

    /// Puts an entry in the log, unless its source has put too many there.
    pub(super) fn put(&self, entry: Entry) {
        if entry.source.is_none_or(|source| self.records.take(source, entry.when_ms)) {
            self.parts.decisions.record(entry);
        } else {
            Counters::count(&self.counters.records_limited);
        }
    }
}

/// A text as long as the log takes it: nothing longer is copied.
pub(super) fn cut(text: &str) -> CompactString {
    let end = text.char_indices().nth(TEXT_MAX).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text).into()
}

/// A position in the log.
pub(super) fn position(at: inventory::Position) -> CompactString {
    format_compact!("{}.{}", at.epoch, at.serial)
}

/// A host's name for people and for the log.
pub(super) fn name_of(host: &Arc<Host>) -> String {
    format!("{}.{}", host.short(), host.key.product)
}

#[cfg(test)]
mod tests {
    use ldap3_proto::parse_ldap_filter_str;

    use super::*;

    #[test]
    fn only_questions_about_one_person_are_recorded() {
        let of = |text: &str, base_uid: Option<&str>| {
            let asked = asked(&parse_ldap_filter_str(text).unwrap(), base_uid);
            asked.into_iter().map(|a| format!("{} {} {}", a.user, a.host, a.service)).collect::<Vec<_>>()
        };
        let base = Some("ada");
        assert_eq!(of("(gatehouseAccess=db1)", base), ["ada db1 sshd"]);
        assert_eq!(of("(&(objectClass=posixAccount)(uid=ada)(gatehouseaccess=db1/login))", None), ["ada db1 login"]);
        assert_eq!(of("(&(uid=ada)(&(gatehouseSudo=db1)))", None), ["ada db1 sudo"]);
        assert!(of("(gatehouseAccess=db1)", None).is_empty(), "everybody who may come in");
        assert!(of("(&(uid=ada)(!(gatehouseAccess=db1)))", None).is_empty());
        assert!(of("(|(uid=ada)(gatehouseAccess=db1))", None).is_empty());
    }
}
