//! Explanations, lists of people and places, comparisons, and old filters.

use std::collections::BTreeSet;

use directory::policy::{Access, Diff, Differs, Effect, Moved, OldFilter, Question, Reason};
use inventory::{
    Grant, Host,
    change::Row,
    entry::{Entry, EntryId},
};
use proptest::prelude::*;

use crate::{
    questions,
    world::{self, NOW, entry, grant, host, state, worlds},
};

fn hosts(rows: &[Row]) -> impl Iterator<Item = &Host> {
    rows.iter().filter_map(|row| if let Row::Host(host) = row { Some(&**host) } else { None })
}

fn entries(rows: &[Row]) -> impl Iterator<Item = &Entry> {
    rows.iter().filter_map(|row| if let Row::Entry(entry) = row { Some(&**entry) } else { None })
}

fn in_full(host: &Host) -> String {
    format!("{}.{}.{}", host.key.name, host.key.zone, host.key.product)
}

fn in_all(rows: &[Row]) -> Vec<String> {
    hosts(rows).map(in_full).collect()
}

fn is_person(access: &Access, entry: &Entry) -> bool {
    access.decide_entry(entry.id, &host(9, "x", "y", "z"), "sshd", NOW).reason != Reason::UnknownUser
}

/// (entry, host) of everybody who is let in, by deciding about each pair.
fn admitted(access: &Access, rows: &[Row], service: &str) -> BTreeSet<(EntryId, String)> {
    let all = entries(rows).flat_map(|entry| hosts(rows).map(move |host| (entry.id, host)));
    let admitted = all.filter(|(id, host)| access.decide_entry(*id, host, service, NOW).is_allowed());
    admitted.map(|(id, host)| (id, in_full(host))).collect()
}

/// The same by login name.
fn pairs(access: &Access, rows: &[Row], service: &str) -> BTreeSet<(String, String)> {
    let name = |id| entries(rows).find(|entry| entry.id == id).map(first_uid).unwrap_or_default();
    admitted(access, rows, service).into_iter().map(|(id, host)| (name(id), host)).collect()
}

fn first_uid(entry: &Entry) -> String {
    entry.texts("uid").map(str::to_lowercase).min().unwrap_or_default()
}

fn moved(moves: &[Moved]) -> BTreeSet<(String, String)> {
    let all = moves.iter().flat_map(|moved| {
        assert_eq!((moved.people.len(), moved.hosts.len()), (moved.people_count, moved.host_count));
        moved.people.iter().flat_map(|user| moved.hosts.iter().map(|host| (user.to_string(), host.to_string())))
    });
    all.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// An explanation names the rule of its decision, and says of no rule what the decision contradicts.
    #[test]
    fn explanations_name_the_rule(world in worlds()) {
        let access = Access::build(world::state(&world.rows()));
        for question in questions(&world) {
            let explanation = access.explain(&question);
            let decision = &explanation.decision;
            prop_assert_eq!(decision, &access.decide(&question));
            let is_about_patterns = decision.rule.as_ref().is_some_and(|rule| rule.pattern().is_some());
            if is_about_patterns && explanation.left_off == 0 {
                let considered = explanation.rules.iter().find(|other| Some(&other.rule) == decision.rule.as_ref());
                let effect = considered.map(|considered| considered.effect);
                let fits = match decision.reason {
                    Reason::DeniedByPattern => effect == Some(Effect::Denies),
                    Reason::Granted | Reason::Stale => effect == Some(Effect::Admits),
                    Reason::GrantExpired => matches!(effect, Some(Effect::Expired { .. })),
                    _ => effect == Some(Effect::OtherService),
                };
                prop_assert!(fits, "{:?} {:?}", effect, explanation);
            }
            let text = explanation.to_string();
            prop_assert!(text.contains(decision.reason.as_str()), "{}", text);
            if decision.reason == Reason::NoGrant {
                let admits = |considered: &directory::policy::Considered| matches!(considered.effect, Effect::Denies | Effect::Admits);
                prop_assert!(!explanation.rules.iter().any(admits), "{}", text);
            }
        }
    }

    /// The lists of people and of places are the decisions.
    #[test]
    fn lists_are_the_decisions(world in worlds()) {
        let rows = world.rows();
        let access = Access::build(world::state(&rows));
        for service in ["sshd", "sudo"] {
            let pairs = pairs(&access, &rows, service);
            let listed: BTreeSet<_> = hosts(&rows)
                .flat_map(|host| access.who(host, service, NOW, false).map(|one| (one.user.to_owned(), in_full(host))).collect::<Vec<_>>())
                .collect();
            prop_assert_eq!(&listed, &pairs);
            for user in ["ada", "bob", "cyd", "dan"] {
                // By any of a person's names, not only by the first.
                let is_admitted = |host: &String| {
                    access.decide(&Question { user, host, service, now_s: NOW, stale: false }).is_allowed()
                };
                let own: BTreeSet<String> = hosts(&rows).map(in_full).filter(is_admitted).collect();
                match access.places(user, service, NOW, false) {
                    Ok(places) => prop_assert_eq!(places.map(|(host, _)| in_full(host)).collect::<BTreeSet<_>>(), own),
                    Err(reason) => prop_assert!(own.is_empty(), "{} {}", user, reason),
                }
            }
        }
    }

    /// A comparison finds exactly the pairs that differ.
    #[test]
    fn a_comparison_is_the_difference(before in worlds(), after in worlds()) {
        let (old_rows, new_rows) = (before.rows(), after.rows());
        let (old, new) = (Access::build(world::state(&old_rows)), Access::build(world::state(&new_rows)));
        let all: BTreeSet<String> = [&old_rows, &new_rows].into_iter().flat_map(|rows| in_all(rows)).collect();
        let [old_pairs, new_pairs] = [&old, &new].map(|access| {
            let pairs = ["ada", "adi", "bob", "cyd", "dan"].into_iter().flat_map(|user| all.iter().map(move |host| (user, host)));
            let admitted = pairs.filter(|(user, host)| {
                access.decide(&Question { user, host, service: "sshd", now_s: NOW, stale: false }).is_allowed()
            });
            admitted.map(|(user, host)| (user.to_owned(), host.clone())).collect::<BTreeSet<_>>()
        });
        let diff = old.diff(&new, "sshd", NOW);
        prop_assert_eq!(moved(&diff.gains), &new_pairs - &old_pairs);
        prop_assert_eq!(moved(&diff.losses), &old_pairs - &new_pairs);
        prop_assert_eq!(old.diff(&Access::build(world::state(&old_rows)), "sshd", NOW), Diff::default());
    }

    /// Every difference from an old filter has its reason, and nothing is counted twice or left out.
    #[test]
    fn a_lint_counts_every_pair(world in worlds()) {
        let rows = world.rows();
        let access = Access::build(world::state(&rows));
        let filter = OldFilter::parse(r"(|(host=dev-mysql01)(host=dev-*)(host=*)(host=\2a))").unwrap();
        let lint = access.lint(&filter, hosts(&rows), "sshd", NOW);
        let people = entries(&rows).filter(|entry| is_person(&access, entry));
        let all = people.count() * hosts(&rows).count();
        prop_assert_eq!(lint.same + lint.gained + lint.lost, all as u64);
        prop_assert_eq!(lint.traps.len(), 2);
        prop_assert!(lint.differences.iter().all(|difference| !difference.why.is_empty()));
    }
}

fn story() -> (Access, Vec<Row>) {
    let person = |n, uid: &str, more: &[(&str, &str)]| {
        let mut list = vec![("objectClass", "posixAccount"), ("uid", uid)];
        list.extend(more);
        Row::Entry(entry(n, &format!("uid={uid},dc=acme"), &list).into())
    };
    let names = ["dev-mysql01", "dev-mysql02", "web01"];
    let hosts = names.iter().enumerate().map(|(n, name)| Row::Host(host(n, name, "us-east-1b", "acme").into()));
    let mut rows: Vec<Row> = hosts.collect();
    rows.extend([
        person(1, "exact", &[("host", "dev-mysql01.us-east-1b")]),
        person(2, "other", &[("host", "dev-mysql02.us-east-1b")]),
        person(3, "star", &[("host", "*")]),
        person(4, "glob", &[("host", "dev-mysql*.us-east-1b")]),
        person(5, "region", &[("host", "*.us-east-1")]),
        person(6, "web", &[("host", "web01.us-east-1b")]),
        person(7, "none", &[]),
        person(8, "locked", &[("host", "*"), ("pwdAccountLockedTime", "000001010000Z")]),
        person(9, "denied", &[("host", "*"), ("host", "!dev-*")]),
        person(10, "granted", &[]),
        person(11, "member", &[]),
    ]);
    let group = [("objectClass", "posixGroup"), ("cn", "dba"), ("memberUid", "member"), ("host", "dev-*")];
    rows.push(Row::Entry(entry(20, "cn=dba,dc=acme", &group).into()));
    rows.push(Row::Grant(grant("on-call", &["granted"], &["role:mysql", "dev-mysql01"]).into()));
    (Access::build(state(&rows)), rows)
}

fn lint(filter: &str) -> (directory::policy::Lint, Vec<(String, Differs, bool)>) {
    let (access, _) = story();
    let host = access.host("dev-mysql01").expect("it is there").clone();
    let lint = access.lint(&OldFilter::parse(filter).expect("a filter"), [&*host], "sshd", NOW);
    let of = lint.differences.iter();
    let differences = of.map(|one| (one.user.to_string(), one.kind, one.decision.is_allowed())).collect();
    (lint, differences)
}

#[test]
fn an_old_filter_without_traps_differs_only_where_it_is_blind() {
    let (lint, differences) =
        lint(r"(|(host=dev-mysql01.us-east-1b)(host=dev-mysql\2a.us-east-1b)(host=\*.us-east-1)(host=\\*))");
    let expected = [
        ("locked", Differs::Account, false),
        ("denied", Differs::Denial, false),
        ("granted", Differs::Grant, true),
        ("member", Differs::GroupValue, true),
    ];
    assert_eq!(differences, expected.map(|(user, kind, allowed)| (user.to_owned(), kind, allowed)));
    assert!(lint.traps.is_empty());
    assert_eq!((lint.same, lint.gained, lint.lost), (7, 2, 2));
}

#[test]
fn an_old_filter_with_bare_stars_admits_too_many() {
    let (lint, differences) = lint("(|(host=dev-mysql01.us-east-1b)(host=dev-mysql*.us-east-1b)(host=*))");
    let of = |user: &str| differences.iter().find(|(name, ..)| name == user).map(|(_, kind, _)| *kind);
    assert_eq!(of("other"), Some(Differs::Substring));
    assert_eq!(of("web"), Some(Differs::Presence));
    assert_eq!(of("exact"), None);
    assert_eq!(of("none"), None);
    assert_eq!(lint.traps.len(), 2);
    let text = lint.to_string();
    assert!(text.contains("trap: (host=*) is a presence filter"), "{text}");
    assert!(text.contains("web loses dev-mysql01.us-east-1b.acme: (host=*) is true for any host value"), "{text}");
}

#[test]
fn an_old_filter_may_name_the_host_by_variables_and_the_person_by_others() {
    let (_, differences) = lint("(&(objectClass=posixAccount)(|(host=$hostname.us-east-1b)(uid=none)))");
    let kind = |user: &str| differences.iter().find(|(name, ..)| name == user).map(|(_, kind, _)| *kind);
    assert_eq!(kind("exact"), None);
    assert_eq!(kind("none"), Some(Differs::NotAboutTheHost));
    assert_eq!(kind("region"), Some(Differs::PatternValue));
}

#[test]
fn an_explanation_reads_as_text_and_as_json() {
    let (access, _) = story();
    let question = Question { user: "denied", host: "dev-mysql01", service: "sshd", now_s: NOW, stale: false };
    let explanation = access.explain(&question);
    assert_eq!(
        explanation.to_string(),
        "denied: denied on dev-mysql01.us-east-1b.acme for sshd: denied_by_pattern: a pattern denies this host to the \
         person or one of their groups\n\
         rule: host !dev-* of uid=denied,dc=acme\n\
         as of 2026-05-28T20:26:40Z, serial 1 of epoch 1\n  \
         host !dev-* of uid=denied,dc=acme denies\n  \
         host * of uid=denied,dc=acme admits\n"
    );
    let json = serde_json::to_value(&explanation).unwrap();
    assert_eq!(json["verdict"], "deny");
    assert_eq!(json["reason"], "denied_by_pattern");
    assert_eq!(json["rules"][0]["effect"], "denies");
    assert_eq!(json["rules"][0]["rule"], "host !dev-* of uid=denied,dc=acme");
    let member = access.explain(&Question { user: "member", ..question }).to_string();
    assert!(member.contains("host dev-* of cn=dba,dc=acme (through @dba) admits"), "{member}");
}

#[test]
fn a_comparison_groups_people_by_what_they_gain() {
    let (before, mut rows) = story();
    let wide = Grant { until: Some(NOW + 1), ..grant("wide", &["none", "other", "web"], &["*.us-east-1b"]) };
    rows.push(Row::Grant(wide.into()));
    let after = Access::build(state(&rows));
    let diff = before.diff(&after, "sshd", NOW);
    assert_eq!((diff.people, diff.losses.len(), diff.gains.len()), (3, 0, 3));
    assert_eq!((diff.gains[0].people_count, diff.gains[0].host_count), (1, 3));
    assert_eq!(diff.gains[0].why, "granted: grant wide pattern *.us-east-1b");
    assert!(after.diff(&before, "sshd", NOW).to_string().contains("lose 3 hosts"), "{diff}");
    assert_eq!(before.diff(&after, "sshd", NOW + 1), Diff::default());
}

#[test]
fn a_comparison_sees_a_grant_that_changed_in_its_services_only() {
    let of = |grant: Grant| {
        let rows = story().1.into_iter().filter(|row| !matches!(row, Row::Grant(_))).chain([Row::Grant(grant.into())]);
        Access::build(state(&rows.collect::<Vec<_>>()))
    };
    let plain = || grant("g", &["granted"], &["*"]);
    let cron = || Grant { services: ["cron".into()].into(), ..plain() };
    let sudo = || Grant { sudo: Some([].into()), ..plain() };
    for (before, after, service) in [(cron(), plain(), "sshd"), (plain(), sudo(), "sudo"), (plain(), sudo(), "sudo-i")]
    {
        let (before, after) = (of(before), of(after));
        assert!(before.diff(&after, service, NOW).to_string().contains("gain 3 hosts"), "{service}");
        assert!(after.diff(&before, service, NOW).to_string().contains("lose 3 hosts"), "{service}");
    }
}
