//! Grants, directory entries and cookies: kept like every row, guarded, and answered for the past.

use std::sync::Arc;

use inventory::{
    Attribute, Author, Cookie, Edit, Entry, EntryId, Grant, Keeper, Outcome, Proposal, Row, RowKey, entry::DIRECTORY,
    keeper::PastError,
};

use crate::world::{check_whole, edit, open, opened, sync};

fn person(n: u8, with: &[(&str, &str)]) -> Row {
    let attribute = |(name, value): &(&str, &str)| Attribute((*name).into(), [(*value).into()].into());
    let given = [("objectClass", "posixAccount"), ("uid", "somebody")];
    Row::Entry(Arc::new(Entry {
        id: EntryId([n; 16]),
        dn: format!("uid=u{n},dc=acme").into(),
        attributes: given.iter().chain(with).map(attribute).collect(),
        source: DIRECTORY.into(),
    }))
}

fn cookie(csn: &str) -> Row {
    Row::Cookie(Arc::new(Cookie { source: DIRECTORY.into(), cookie: csn.into(), request: "r".into() }))
}

fn grant(n: u8, source: &str) -> Row {
    Row::Grant(Arc::new(Grant {
        name: format!("g{n}").into(),
        who: ["alice".into()].into(),
        on: ["role:web".into()].into(),
        services: Box::default(),
        sudo: None,
        until: None,
        by: "a test".into(),
        why: "a test".into(),
        source: source.into(),
    }))
}

fn people(n: u8, with: &[(&str, &str)]) -> Vec<Row> {
    (0..n).map(|n| person(n, with)).collect()
}

async fn at(keeper: &Keeper, when_ms: u64, edits: Vec<Edit>) -> Outcome {
    let author = Author { who: "alice".into(), when_ms, why: String::new() };
    keeper.propose(Proposal { author, edits }).await.unwrap()
}

#[tokio::test]
async fn entries_come_back_with_the_cookie_that_they_stand_for() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    let rows = people(20, &[("cn", "Ada")]).into_iter().chain([cookie("csn=1")]).collect();
    edit(&keeper, vec![sync(DIRECTORY, rows)]).await.unwrap();
    edit(&keeper, vec![Edit::Put(person(3, &[])), Edit::Put(cookie("csn=2")), Edit::Add(grant(1, "api"))])
        .await
        .unwrap();
    let position = keeper.state().position();
    keeper.close().await;
    let state = opened(folder.path()).keeper.state();
    assert_eq!(state.position(), position);
    assert_eq!((state.entry_count(), state.grant_count()), (20, 1));
    assert_eq!(state.cookie(DIRECTORY).unwrap().cookie.text(), Some("csn=2"));
    check_whole(&state);
}

#[tokio::test]
async fn an_upstream_that_loses_people_or_attributes_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    edit(&keeper, vec![sync(DIRECTORY, people(40, &[("host", "*")]))]).await.unwrap();
    let held = |outcome| match outcome {
        Ok(Outcome::Held { reasons, .. }) => reasons.join("; "),
        other => panic!("not held: {other:?}"),
    };
    let fewer = held(edit(&keeper, vec![sync(DIRECTORY, people(20, &[("host", "*")]))]).await);
    assert_eq!(fewer, "it removes 20 of the 40 directory entries of class posixaccount, more than 30 %");
    let hidden = held(edit(&keeper, vec![sync(DIRECTORY, people(40, &[]))]).await);
    assert_eq!(hidden, "it takes host from 40 of the 40 directory entries that have it, more than 30 %");
    let none = held(edit(&keeper, vec![sync(DIRECTORY, Vec::new())]).await);
    assert!(none.contains("directory is empty but defines 40 rows now"), "{none}");
    assert!(none.contains("it removes all 40 directory entries of class posixaccount"), "{none}");
    assert_eq!(keeper.state().entry_count(), 40);
    // One of them leaves: that is life.
    let outcome = edit(&keeper, vec![Edit::Remove(RowKey::Entry(EntryId([7; 16])))]).await;
    assert!(matches!(outcome, Ok(Outcome::Applied { changed: 1, .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_folder_that_loses_its_grants_is_held_and_a_person_who_revokes_them_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    edit(&keeper, vec![sync("file", (0..20).map(|n| grant(n, "file:a.toml")).collect())]).await.unwrap();
    let outcome = edit(&keeper, vec![sync("file", (0..8).map(|n| grant(n, "file:a.toml")).collect())]).await;
    assert!(matches!(outcome, Ok(Outcome::Held { .. })), "{outcome:?}");
    edit(&keeper, (20..40).map(|n| Edit::Add(grant(n, "api"))).collect()).await.unwrap();
    let outcome = edit(&keeper, (20..40).map(|n| Edit::Remove(grant(n, "api").key())).collect()).await;
    assert!(matches!(outcome, Ok(Outcome::Applied { changed: 20, .. })), "{outcome:?}");
}

#[tokio::test]
async fn the_past_is_the_present_with_the_log_undone() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    let mut states = Vec::new();
    at(&keeper, 1000, vec![Edit::Add(grant(1, "api"))]).await;
    states.push(keeper.state());
    at(&keeper, 2000, vec![Edit::Remove(grant(1, "api").key()), Edit::Add(person(1, &[]))]).await;
    states.push(keeper.state());
    at(&keeper, 3000, vec![Edit::Put(person(1, &[("cn", "Ada")]))]).await;
    for (when, expected) in [(1000, &states[0]), (1999, &states[0]), (2000, &states[1]), (2500, &states[1])] {
        let past = keeper.state_at(when).await.unwrap();
        assert_eq!(past.position(), expected.position(), "{when}");
        check_whole(&past);
    }
    assert_eq!(keeper.state_at(9000).await.unwrap().position(), keeper.state().position());
    assert_eq!(keeper.state_at(999).await.unwrap().rows().count(), 0);
    let past: Result<_, PastError> = keeper.state_at(0).await;
    assert!(past.is_ok());
}
