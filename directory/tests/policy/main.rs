//! What the policy decides: single cases, a naive reference over random worlds, and stepwise against whole.

mod cases;
mod reference;
mod surveys;
mod world;

use std::sync::Arc;

use directory::policy::{Access, Question};
use inventory::{
    State,
    change::{ChangeSet, Row, RowChange},
};
use proptest::prelude::*;
use world::{NOW, World, worlds};

const SERVICES: [&str; 3] = ["sshd", "login", "sudo"];

fn questions<'a>(world: &'a World) -> impl Iterator<Item = Question<'a>> {
    let users = ["ada", "BOB", "cyd", "dan", "nobody"];
    let hosts = world.host_names();
    users.into_iter().flat_map(move |user| {
        hosts.clone().into_iter().flat_map(move |host| {
            SERVICES.into_iter().flat_map(move |service| {
                [(NOW, false), (NOW + 200_000, false), (NOW, true)].map(|(now_s, stale)| Question {
                    user,
                    host,
                    service,
                    now_s,
                    stale,
                })
            })
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None, ..ProptestConfig::default() })]

    /// The decision is the one of the definition, whatever the tables and indexes do.
    #[test]
    fn decisions_are_those_of_the_definition(world in worlds()) {
        let rows = world.rows();
        let state = world::state(&rows);
        let access = Access::build(state);
        for question in questions(&world) {
            let (reason, rules) = reference::decide(&rows, &question);
            let decision = access.decide(&question);
            prop_assert_eq!(decision.reason, reason, "{:?}: {:?}", question, decision.rule);
            let rule = decision.rule.map(|rule| rule.to_string());
            match &rule {
                Some(rule) => prop_assert!(rules.contains(rule), "{:?}: {} is none of {:?}", question, rule, rules),
                None => prop_assert!(rules.is_empty(), "{:?}: no rule, but {:?}", question, rules),
            }
        }
    }

    /// Advanced step by step, the policy is the one that is built afresh.
    #[test]
    fn advancing_is_building(worlds in proptest::collection::vec(worlds(), 2..4)) {
        let mut state = State::empty(1);
        let mut access = Access::build(Arc::new(state.clone()));
        let mut before: Vec<Row> = Vec::new();
        for world in &worlds {
            let after = world.rows();
            // In two change sets, the second of which changes what the first left.
            let (first, second) = split(&before, &after);
            let mut sets = Vec::new();
            for rows in [first, second] {
                let serial = state.position().serial + 1;
                let author = inventory::Author { who: "t".into(), when_ms: 0, why: String::new() };
                let set = Arc::new(ChangeSet { epoch: 1, serial, author, rows });
                state = state.apply(set.clone()).expect("worlds have no conflicts");
                sets.push(set);
            }
            access = access.advance(Arc::new(state.clone()), &sets);
            let afresh = Access::build(Arc::new(state.clone()));
            prop_assert_eq!(access.counts(), afresh.counts());
            for question in questions(world) {
                prop_assert_eq!(access.decide(&question), afresh.decide(&question), "{:?}", question);
            }
            before = after;
        }
    }
}

/// The change from one set of rows to another, in two halves that touch different rows.
fn split(before: &[Row], after: &[Row]) -> (Vec<RowChange>, Vec<RowChange>) {
    let find = |rows: &[Row], key| rows.iter().find(|row| row.key() == key).cloned();
    let mut keys: Vec<_> = before.iter().chain(after).map(Row::key).collect();
    keys.sort();
    keys.dedup();
    let changes = keys.into_iter().map(|key| RowChange { old: find(before, key.clone()), new: find(after, key) });
    let mut changes: Vec<RowChange> = changes.filter(|change| change.old != change.new).collect();
    let second = changes.split_off(changes.len() / 2);
    (changes, second)
}
