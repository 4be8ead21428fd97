//! Proposals, the guard, held changes, history.

use std::sync::Arc;

use inventory::{
    Author, Edit, HostState, Keeper, Outcome, Preview, Proposal, Record, RecordKey, Refused, Row,
    keeper::{HELD_MAX, HISTORY_ROWS_MAX, HistoryQuery, QUEUE_MAX},
};

use crate::world::{author, check_whole, edit, host, host_with, key, open, opened, proposal, sync};

pub(crate) fn query(limit: usize) -> HistoryQuery {
    HistoryQuery { limit, ..HistoryQuery::default() }
}

fn applied(outcome: Result<Outcome, Refused>) -> usize {
    match outcome {
        Ok(Outcome::Applied { changed, .. }) => changed,
        other => panic!("not applied: {other:?}"),
    }
}

fn sentence(outcome: Result<Outcome, Refused>) -> String {
    match outcome {
        Err(Refused::Conflicts(sentences)) => sentences.join("\n"),
        other => panic!("no conflict: {other:?}"),
    }
}

fn held(outcome: Result<Outcome, Refused>) -> (u64, String) {
    match outcome {
        Ok(Outcome::Held { id, reasons }) => (id, reasons.join("\n")),
        other => panic!("not held: {other:?}"),
    }
}

#[tokio::test]
async fn reopening_gives_the_same_state() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    applied(edit(&keeper, (0..50).map(|n| Edit::Add(host(n))).collect()).await);
    applied(
        edit(&keeper, vec![Edit::Remove(key(3)), Edit::Put(host_with(4, "api", |h| h.state = HostState::Draining))])
            .await,
    );
    let state = keeper.state();
    let history: Vec<_> = state.history().cloned().collect();
    keeper.close().await;
    let again = opened(folder.path());
    assert_eq!(again.recovered, None);
    assert_eq!(again.keeper.state().position(), state.position());
    assert_eq!(again.keeper.state().history().cloned().collect::<Vec<_>>(), history);
    check_whole(&again.keeper.state());
}

#[tokio::test]
async fn a_change_that_changes_nothing_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    applied(edit(&keeper, vec![Edit::Add(host(1))]).await);
    let position = keeper.state().position();
    assert_eq!(edit(&keeper, vec![Edit::Put(host(1))]).await, Ok(Outcome::Unchanged { position }));
    assert_eq!(keeper.state().position(), position);
}

#[tokio::test]
async fn refusals_name_both_parties() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    let filed = host_with(1, "file:hosts.toml", |_| {});
    applied(edit(&keeper, vec![sync("file", vec![filed.clone()]), Edit::Add(host(2))]).await);
    let text = sentence(edit(&keeper, vec![Edit::Add(host(1))]).await);
    assert_eq!(text, "host web1.us-east-1a.acme is defined twice: by file:hosts.toml and by api");
    let elsewhere = "host web1.us-east-1a.acme is defined in file:hosts.toml; change it there";
    assert_eq!(sentence(edit(&keeper, vec![Edit::Put(host(1))]).await), elsewhere);
    assert_eq!(sentence(edit(&keeper, vec![Edit::Remove(key(1))]).await), elsewhere);
    let text = sentence(edit(&keeper, vec![sync("file", vec![filed, host_with(2, "file:b.toml", |_| {})])]).await);
    assert_eq!(text, "host web2.us-east-1a.acme is defined twice: by api and by file:b.toml");
    let text = sentence(edit(&keeper, vec![Edit::Remove(key(7))]).await);
    assert_eq!(text, "host web7.us-east-1a.acme does not exist");
    let text =
        sentence(edit(&keeper, vec![Edit::Add(host_with(9, "api", |h| h.private_ip = [10, 0, 0, 1].into()))]).await);
    assert_eq!(text, "hosts web1.us-east-1a and web9.us-east-1a both have the address 10.0.0.1");
    assert_eq!(keeper.state().position().serial, 1);
}

#[tokio::test]
async fn a_review_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let review = Arc::new(|_: &_, after: &inventory::State, _: &_| match after.host_count() {
        0..2 => vec![],
        n => vec![format!("{n} hosts are too many")],
    });
    let keeper = Keeper::open(folder.path(), review).unwrap().keeper;
    applied(edit(&keeper, vec![Edit::Add(host(1))]).await);
    assert_eq!(sentence(edit(&keeper, vec![Edit::Add(host(2))]).await), "2 hosts are too many");
}

#[tokio::test]
async fn a_preview_judges_as_a_proposal_and_does_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let review = Arc::new(|before: &inventory::State, after: &inventory::State, _: &_| match after.host_count() {
        n if n > 9 && n > before.host_count() => vec![format!("{n} hosts are too many")],
        _ => vec![],
    });
    let keeper = Keeper::open(folder.path(), review).unwrap().keeper;
    let imported = |n: u32| host_with(n, "import:csv", |_| {});
    let rows: Vec<Row> = (0..8).map(imported).collect();
    applied(edit(&keeper, vec![sync("import:csv", rows.clone())]).await);
    applied(edit(&keeper, vec![Edit::Add(host(100))]).await);
    let cases = [
        vec![Edit::Put(host(100))],
        vec![Edit::Remove(key(100)), Edit::Put(imported(8))],
        vec![Edit::Put(imported(100))],
        vec![Edit::Add(imported(9))],
        vec![sync("import:csv", vec![imported(1), imported(1)])],
        vec![sync("import:csv", rows[..2].to_vec())],
        vec![sync("import:csv", vec![])],
    ];
    let mut kinds = [0; 4];
    for edits in cases {
        let position = keeper.state().position();
        let preview = keeper.preview(proposal(edits.clone())).await.unwrap();
        assert_eq!((keeper.state().position(), keeper.held()), (position, vec![]), "a preview did something");
        let kind = match edit(&keeper, edits.clone()).await {
            Ok(Outcome::Unchanged { .. }) => {
                assert_eq!(preview, Preview::default());
                0
            }
            Ok(Outcome::Applied { changed, .. }) => {
                assert_eq!((preview.changes.len(), preview.refused, preview.held), (changed, vec![], vec![]));
                1
            }
            Err(Refused::Conflicts(sentences)) => {
                assert_eq!((preview.refused, preview.held), (sentences, vec![]));
                2
            }
            Ok(Outcome::Held { id, reasons }) => {
                assert_eq!((preview.refused, preview.held), (vec![], reasons));
                assert!(!preview.changes.is_empty());
                keeper.discard(id, author("bob")).await.unwrap();
                3
            }
            Err(other) => panic!("{edits:?}: {other}"),
        };
        kinds[kind] += 1;
    }
    assert_eq!(kinds, [1, 1, 3, 2], "each outcome was met");
}

#[tokio::test]
async fn a_sync_commits_what_differs_and_leaves_other_sources_alone() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    let filed = |n: u32, file: &str| host_with(n, file, |_| {});
    let rows: Vec<Row> = (0..20).map(|n| filed(n, "file:a.toml")).collect();
    applied(edit(&keeper, vec![sync("file", rows.clone())]).await);
    applied(edit(&keeper, vec![Edit::Add(host(100)), Edit::Add(host_with(101, "files", |_| {}))]).await);
    // One gone, one new, one moved to another file, the rest as it was.
    let mut next: Vec<Row> = rows.iter().skip(2).cloned().collect();
    next.extend([filed(1, "file:b.toml"), filed(50, "file:b.toml")]);
    assert_eq!(applied(edit(&keeper, vec![sync("file", next.clone())]).await), 3);
    let state = keeper.state();
    assert!(state.get(&key(0)).is_none() && state.get(&key(100)).is_some() && state.get(&key(101)).is_some());
    assert_eq!(state.get(&key(1)).unwrap().source(), "file:b.toml");
    assert!(matches!(edit(&keeper, vec![sync("file", next)]).await, Ok(Outcome::Unchanged { .. })));
    check_whole(&state);
}

#[tokio::test]
async fn too_many_removals_are_held_until_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    applied(edit(&keeper, (0..10).map(|n| Edit::Add(host(n))).collect()).await);
    // Exactly 30 % are believed.
    assert_eq!(applied(edit(&keeper, (0..3).map(|n| Edit::Remove(key(n))).collect()).await), 3);
    let before = keeper.state().position();
    let (id, reasons) = held(edit(&keeper, (3..6).map(|n| Edit::Remove(key(n))).collect()).await);
    assert_eq!(reasons, "it removes 3 of the 7 hosts of product acme, more than 30 %");
    assert_eq!(keeper.state().position(), before);
    keeper.close().await;
    // It is still there after a restart, and after the database was lost.
    std::fs::remove_file(folder.path().join("state.db")).unwrap();
    let keeper = open(folder.path());
    assert_eq!(keeper.held().iter().map(|h| (h.id, h.rows)).collect::<Vec<_>>(), [(id, 3)]);
    // What has nothing to do with it may have changed meanwhile.
    applied(edit(&keeper, vec![Edit::Add(host(77))]).await);
    let bob = Author { who: "bob".into(), when_ms: 5, why: String::new() };
    assert_eq!(applied(keeper.accept(id, bob.clone()).await), 3);
    assert_eq!((keeper.state().host_count(), keeper.held().len()), (5, 0));
    let last = &keeper.history(query(1)).await.unwrap()[0];
    assert_eq!(last.author, Author { who: "alice, accepted by bob".into(), when_ms: 5, why: "a test".into() });
    assert!(sentence(keeper.accept(id, bob).await).contains("is held"));
}

#[tokio::test]
async fn a_role_is_not_emptied_unasked_but_may_move() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    let role = |n: u32| host_with(n, "api", |h| h.roles = Box::new(["db".into()]));
    applied(edit(&keeper, vec![Edit::Add(role(1)), Edit::Add(host(2))]).await);
    assert_eq!(applied(edit(&keeper, vec![Edit::Put(host(1)), Edit::Put(role(2))]).await), 2);
    let stopped = host_with(2, "api", |h| (h.roles, h.state) = (Box::new(["db".into()]), HostState::Stopped));
    let (id, reasons) = held(edit(&keeper, vec![Edit::Put(stopped)]).await);
    assert_eq!(reasons, "it leaves role db of product acme without a running host; it has 1 now");
    keeper.discard(id, author("bob")).await.unwrap();
    assert!(keeper.held().is_empty());
    assert_eq!(keeper.state().role_members("acme", "db"), 1);
}

#[tokio::test]
async fn a_source_holds_one_change_and_takes_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    let rows = |n: u32| (0..n).map(|n| host_with(n, "file:a.toml", |_| {})).collect::<Vec<_>>();
    applied(edit(&keeper, vec![sync("file", rows(10))]).await);
    let (first, _) = held(edit(&keeper, vec![sync("file", rows(2))]).await);
    let (same, _) = held(edit(&keeper, vec![sync("file", rows(2))]).await);
    assert_eq!(first, same, "reading the same file again changes nothing");
    let (second, _) = held(edit(&keeper, vec![sync("file", rows(1))]).await);
    assert_ne!(first, second);
    assert_eq!(keeper.held().iter().map(|h| h.id).collect::<Vec<_>>(), [second]);
    assert!(matches!(edit(&keeper, vec![sync("file", rows(10))]).await, Ok(Outcome::Unchanged { .. })));
    assert!(keeper.held().is_empty());
    keeper.close().await;
    assert!(open(folder.path()).held().is_empty());
}

#[tokio::test]
async fn the_number_of_held_changes_is_limited() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    let count = u32::try_from(HELD_MAX).unwrap() + 1;
    let role = |n: u32| host_with(n, "api", |h| h.roles = Box::new([format!("r{n}").into()]));
    applied(edit(&keeper, (0..count).map(|n| Edit::Add(role(n))).collect()).await);
    for n in 0..count - 1 {
        held(edit(&keeper, vec![Edit::Put(host(n))]).await);
    }
    assert!(sentence(edit(&keeper, vec![Edit::Put(host(count - 1))]).await).contains("are held already"));
}

#[tokio::test]
async fn waiting_changes_share_a_commit_and_keep_their_serials() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..500 {
        let keeper = keeper.clone();
        tasks.spawn(async move { edit(&keeper, vec![Edit::Add(host(n))]).await });
    }
    let mut serials = Vec::new();
    while let Some(outcome) = tasks.join_next().await {
        let Ok(Outcome::Applied { position, .. }) = outcome.unwrap() else { panic!("not applied") };
        assert!(keeper.state().position().serial >= position.serial, "published before it is told");
        serials.push(position.serial);
    }
    serials.sort();
    assert_eq!(serials, (1..=500).collect::<Vec<u64>>());
    let health = keeper.health();
    assert_eq!((health.changes, health.queue_length, health.trouble), (500, 0, None));
    assert!(health.commits < 250, "{} commits for 500 changes", health.commits);
}

#[tokio::test]
async fn a_full_queue_says_busy_and_counts_it() {
    let folder = tempfile::tempdir().unwrap();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let review = Arc::new(move |_: &_, _: &_, _: &_| {
        // Until the test lets go, the writer stands still.
        let _ = wait.lock().unwrap().recv();
        Vec::new()
    });
    let keeper = Keeper::open(folder.path(), review).unwrap().keeper;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..u32::try_from(QUEUE_MAX).unwrap() + 200 {
        let keeper = keeper.clone();
        tasks.spawn(async move { edit(&keeper, vec![Edit::Add(host(n))]).await });
    }
    while keeper.health().busy == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(keeper.state().position().serial, 0, "the state is read while the writer stands still");
    drop(release);
    let all = tasks.join_all().await;
    let busy = all.iter().filter(|outcome| **outcome == Err(Refused::Busy)).count() as u64;
    assert_eq!((keeper.health().busy, keeper.health().queue_length), (busy, 0));
    assert_eq!(keeper.state().position().serial, all.len() as u64 - busy);
}

#[tokio::test]
async fn history_tells_who_why_and_the_old_value() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    applied(edit(&keeper, vec![Edit::Add(host(1)), Edit::Add(host(2))]).await);
    let draining = host_with(1, "api", |h| h.state = HostState::Draining);
    let bob = Author { who: "bob via socket".into(), when_ms: 7, why: "disk is failing".into() };
    applied(keeper.propose(Proposal { author: bob.clone(), edits: vec![Edit::Put(draining.clone())] }).await);
    applied(edit(&keeper, vec![Edit::Put(host_with(2, "api", |h| h.state = HostState::Stopped))]).await);
    let all = keeper.history(query(10)).await.unwrap();
    assert_eq!(all.iter().map(|set| set.serial).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(all[1].author, bob);
    assert_eq!((&all[1].rows[0].old, &all[1].rows[0].new), (&Some(host(1)), &Some(draining)));
    let one =
        HistoryQuery { key_kind: Some("host".into()), key_text: Some("web1.us-east-1a.acme".into()), ..query(10) };
    let of_one = keeper.history(one).await.unwrap();
    assert_eq!(of_one.iter().map(|set| (set.serial, set.rows.len())).collect::<Vec<_>>(), [(2, 1), (1, 1)]);
    let page =
        keeper.history(HistoryQuery { before_serial: Some(3), since_serial: Some(1), ..query(10) }).await.unwrap();
    assert_eq!(page.iter().map(|set| set.serial).collect::<Vec<_>>(), [2]);
    assert_eq!(keeper.history(query(1)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn closing_drains_what_was_queued() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..100 {
        let keeper = keeper.clone();
        tasks.spawn(async move { keeper.propose(proposal(vec![Edit::Add(host(n))])).await });
    }
    tokio::task::yield_now().await;
    keeper.clone().close().await;
    let made = tasks.join_all().await.into_iter().filter(Result::is_ok).count();
    assert_eq!(edit(&keeper, vec![Edit::Add(host(1000))]).await, Err(Refused::Stopped));
    assert_eq!(keeper.state().host_count(), made);
    assert_eq!(open(folder.path()).state().host_count(), made);
}

#[tokio::test]
async fn a_grown_journal_gives_way_to_a_new_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    // Two values in turn for 5,000 hosts: far more journal than rows.
    for round in 0..8 {
        let tag = [("round".into(), format!("{round}").into())];
        let rows = (0..5000).map(|n| host_with(n, "import:x", |h| h.tags = Box::new(tag.clone()))).collect();
        applied(edit(&keeper, vec![sync("import:x", rows)]).await);
    }
    let generations = || {
        let names = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("standby-")).collect::<Vec<_>>()
    };
    while generations().iter().any(|name| name.starts_with("standby-1.")) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let position = keeper.state().position();
    keeper.close().await;
    assert_eq!(generations().len(), 2, "{:?}", generations());
    std::fs::remove_file(folder.path().join("state.db")).unwrap();
    let rebuilt = opened(folder.path());
    assert!(rebuilt.recovered.is_some());
    assert_eq!(rebuilt.keeper.state().position().state_hash, position.state_hash);
}

#[tokio::test]
async fn a_database_that_breaks_while_open_is_built_anew_from_memory() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    applied(edit(&keeper, (0..2000).map(|n| Edit::Add(host(n))).collect()).await);
    keeper.close().await;
    let keeper = open(folder.path());
    let path = folder.path().join("state.db");
    let len = path.metadata().unwrap().len() as usize;
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&vec![0xa5; len - 4096], 4096).unwrap();
    applied(edit(&keeper, (0..2000).step_by(10).map(|n| Edit::Remove(key(n))).collect()).await);
    assert_eq!(keeper.state().host_count(), 1800);
    let names = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("state.db.damaged-") && !name.ends_with("wal")).count(), 1);
    let position = keeper.state().position();
    keeper.close().await;
    let again = opened(folder.path());
    assert_eq!((again.recovered, again.keeper.state().position()), (None, position));
}

#[tokio::test]
async fn what_was_made_of_an_old_row_is_refused_as_stale() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    let seen = host(1);
    let tagged = |key: &str| host_with(1, "api", |h| h.tags = Box::new([(key.into(), "x".into())]));
    let replace = |new: Row| Edit::Replace { old: seen.clone(), new };
    let stale = "host web1.us-east-1a.acme has changed meanwhile; look again and repeat the change";
    applied(edit(&keeper, vec![Edit::Add(seen.clone())]).await);
    applied(edit(&keeper, vec![replace(tagged("a"))]).await);
    assert_eq!(sentence(edit(&keeper, vec![replace(tagged("b"))]).await), stale);
    assert_eq!(keeper.state().get(&key(1)), Some(tagged("a")));
    // Nor does it bring back what was removed meanwhile.
    applied(edit(&keeper, vec![Edit::Add(host(2)), Edit::Add(host(3)), Edit::Add(host(4))]).await);
    applied(edit(&keeper, vec![Edit::Remove(key(1))]).await);
    assert_eq!(sentence(edit(&keeper, vec![replace(tagged("b"))]).await), stale);
    assert_eq!(keeper.state().get(&key(1)), None);
}

#[tokio::test]
async fn accepting_does_not_take_back_what_changed_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    let role = |tag: &str| {
        host_with(1, "api", |h| (h.roles, h.tags) = (Box::new(["db".into()]), Box::new([("t".into(), tag.into())])))
    };
    applied(edit(&keeper, vec![Edit::Add(role("old"))]).await);
    let (id, _) = held(edit(&keeper, vec![Edit::Put(host(1))]).await);
    applied(edit(&keeper, vec![Edit::Put(role("new"))]).await);
    let text = sentence(keeper.accept(id, author("bob")).await);
    assert!(text.contains("host web1.us-east-1a.acme has changed meanwhile"), "{text}");
    assert!(text.contains(&format!("change {id} is not what it was")), "{text}");
    assert_eq!((keeper.state().get(&key(1)), keeper.held().len()), (Some(role("new")), 1));
    // Nor is a host that was removed brought back.
    let (gone, _) = held(edit(&keeper, vec![Edit::Remove(key(1))]).await);
    applied(keeper.accept(gone, author("bob")).await);
    assert!(sentence(keeper.accept(id, author("bob")).await).contains("has changed meanwhile"));
    assert_eq!(keeper.state().host_count(), 0);
}

#[tokio::test]
async fn accepting_removes_no_more_than_was_shown() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    let rows = |range: std::ops::Range<u32>| range.map(|n| host_with(n, "import:csv", |_| {})).collect::<Vec<_>>();
    applied(edit(&keeper, vec![sync("import:csv", rows(0..10))]).await);
    let (id, reasons) = held(edit(&keeper, vec![sync("import:csv", rows(0..6))]).await);
    assert!(reasons.contains("4 of the 10 hosts"), "{reasons}");
    applied(edit(&keeper, rows(100..200).into_iter().map(Edit::Put).collect()).await);
    assert_eq!(applied(keeper.accept(id, author("bob")).await), 4);
    assert_eq!(keeper.state().host_count(), 106);
}

#[tokio::test]
async fn accepting_is_refused_when_the_guard_finds_more_by_now() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    applied(edit(&keeper, (0..10).map(|n| Edit::Add(host(n))).collect()).await);
    let (id, _) = held(edit(&keeper, (0..4).map(|n| Edit::Remove(key(n))).collect()).await);
    for n in 4..7 {
        applied(edit(&keeper, vec![Edit::Remove(key(n))]).await);
    }
    let text = sentence(keeper.accept(id, author("bob")).await);
    assert!(text.contains("it removes 4 of the 7 hosts of product acme"), "{text}");
    assert_eq!((keeper.state().host_count(), keeper.held().len()), (7, 1));
}

fn record(name: &str, rtype: &str, data: &str, source: &str) -> Row {
    let key = RecordKey { name: name.into(), rtype: rtype.into(), data: data.into() };
    Row::Record(Arc::new(Record { key, ttl: None, source: source.into() }))
}

fn role_row(n: u32, source: &str) -> Row {
    let toml = format!(r#"{{"name":"role{n}","port":80,"source":"{source}"}}"#);
    Row::decode("role", toml.as_bytes()).unwrap()
}

#[tokio::test]
async fn a_source_that_is_suddenly_empty_is_held_whatever_it_held() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    let few = vec![record("a.example", "A", "10.0.0.1", "file:a.toml"), role_row(1, "file:a.toml")];
    applied(edit(&keeper, vec![sync("file", few)]).await);
    let (id, reasons) = held(edit(&keeper, vec![sync("file", vec![])]).await);
    assert_eq!(reasons, "file is empty but defines 2 rows now");
    assert_eq!(keeper.state().record_count(), 1);
    applied(keeper.accept(id, author("bob")).await);
    assert_eq!((keeper.state().record_count(), keeper.state().roles().count()), (0, 0));
    assert!(matches!(edit(&keeper, vec![sync("file", vec![])]).await, Ok(Outcome::Unchanged { .. })));
}

#[tokio::test]
async fn too_many_records_role_definitions_or_a_whole_zone_are_held() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    let zone = |addresses: std::ops::Range<u32>, last: u32| {
        let soa = record("corp.example", "SOA", &format!("ns. root. {last} 1 1 1 1"), "zone:corp.example");
        let hosts = addresses.map(|n| {
            let (name, address) = (format!("h{n}.corp.example"), format!("10.1.{last}.{n}"));
            record(&name, "A", &address, "zone:corp.example")
        });
        hosts.chain([soa]).collect::<Vec<_>>()
    };
    applied(edit(&keeper, vec![sync("zone:corp.example", zone(0..39, 1))]).await);
    // Other addresses and another SOA record for the same names are no loss.
    applied(edit(&keeper, vec![sync("zone:corp.example", zone(0..39, 2))]).await);
    let (id, reasons) = held(edit(&keeper, vec![sync("zone:corp.example", zone(0..20, 2))]).await);
    assert_eq!(reasons, "it removes 19 of the 40 static records of zone:corp.example, more than 30 %");
    keeper.discard(id, author("bob")).await.unwrap();
    assert_eq!(applied(edit(&keeper, vec![sync("zone:corp.example", zone(0..30, 2))]).await), 9);
    let soa = record("corp.example", "SOA", "ns. root. 2 1 1 1 1", "zone:corp.example");
    let (_, reasons) = held(edit(&keeper, vec![Edit::Remove(soa.key())]).await);
    assert_eq!(reasons, "it removes the SOA record of corp.example and so whole zones");
    applied(edit(&keeper, vec![sync("file", (0..20).map(|n| role_row(n, "file:roles.toml")).collect())]).await);
    let (_, reasons) = held(edit(&keeper, vec![sync("file", vec![role_row(1, "file:roles.toml")])]).await);
    assert_eq!(reasons, "it removes 19 of the 20 role definitions, more than 30 %");
    // The tallies are the same after loading.
    check_whole(&keeper.state());
    keeper.close().await;
    assert_eq!(open(folder.path()).state().records_of("zone:corp.example"), 31);
}

#[tokio::test]
async fn an_import_does_not_take_over_rows_of_another_source() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    let zone = record("a.example", "A", "10.0.0.1", "zone:example");
    applied(edit(&keeper, vec![Edit::Add(host(1)), Edit::Add(zone)]).await);
    let text = sentence(edit(&keeper, vec![Edit::Put(host_with(1, "import:csv", |_| {}))]).await);
    assert_eq!(text, "host web1.us-east-1a.acme is defined twice: by api and by import:csv");
    let text = sentence(edit(&keeper, vec![Edit::Put(record("a.example", "A", "10.0.0.1", "zone:other"))]).await);
    assert_eq!(text, "record a.example A 10.0.0.1 is defined twice: by zone:example and by zone:other");
    assert_eq!(keeper.state().position().serial, 1);
    // What an import brought may be changed by people as long as it stays the import's.
    applied(edit(&keeper, vec![Edit::Put(host_with(2, "import:csv", |_| {}))]).await);
    applied(edit(&keeper, vec![Edit::Put(host_with(2, "import:csv", |h| h.state = HostState::Draining))]).await);
}

#[tokio::test]
async fn numbers_of_held_changes_are_never_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for round in 0..4 {
        let keeper = open(folder.path());
        if round == 0 {
            applied(edit(&keeper, (0..4).map(|n| Edit::Add(host(n))).collect()).await);
        }
        let (id, _) = held(edit(&keeper, (0..3).map(|n| Edit::Remove(key(n))).collect()).await);
        seen.push(id);
        keeper.discard(id, author("bob")).await.unwrap();
        keeper.close().await;
        if round == 1 {
            std::fs::remove_file(folder.path().join("state.db")).unwrap();
        } else if round == 2 {
            let names = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path());
            let standby = names.filter(|path| path.to_string_lossy().contains("standby-"));
            standby.for_each(|path| std::fs::remove_file(path).unwrap());
        }
    }
    assert_eq!(seen, [1, 2, 3, 4]);
}

#[tokio::test]
async fn history_says_when_it_stopped_for_rows() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    let max = u32::try_from(HISTORY_ROWS_MAX).unwrap();
    applied(edit(&keeper, vec![Edit::Add(host(1))]).await);
    applied(edit(&keeper, (10..max + 15).map(|n| Edit::Add(host(n))).collect()).await);
    applied(edit(&keeper, vec![Edit::Add(host(2))]).await);
    let page = keeper.history_page(query(10)).await.unwrap();
    assert_eq!(page.sets.iter().map(|set| set.serial).collect::<Vec<_>>(), [3, 2]);
    assert_eq!((page.more, page.cut), (true, 6));
    let rest = keeper.history_page(HistoryQuery { before_serial: Some(2), ..query(10) }).await.unwrap();
    assert_eq!((rest.sets.len(), rest.more, rest.cut), (1, false, 0));
}

#[tokio::test]
async fn a_role_is_judged_by_its_product_wide_name() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    let member = |n: u32, region: &str| {
        host_with(n, "api", |h| {
            (h.roles, h.region) = (Box::new(["db".into()]), region.into());
            h.key.zone = format!("{region}a").into();
        })
    };
    let (east, west) = (member(1, "us-east-1"), member(2, "us-west-2"));
    let others = (10..20).map(|n| Edit::Add(host(n)));
    applied(
        edit(&keeper, [Edit::Add(east.clone()), Edit::Add(west.clone())].into_iter().chain(others).collect()).await,
    );
    applied(edit(&keeper, vec![Edit::Remove(west.key())]).await);
    let (_, reasons) = held(edit(&keeper, vec![Edit::Remove(east.key())]).await);
    assert_eq!(reasons, "it leaves role db of product acme without a running host; it has 1 now");
}
