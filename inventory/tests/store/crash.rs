//! The end of the process at every named point and at any moment.

use inventory::Edit;

use crate::world::{LARGE, acknowledged, check_kept, check_whole, child, edit, host, open, opened};

/// After the end, everything acknowledged is there; the database was not lost; and the next process goes on.
#[tokio::test]
async fn every_fault_point_of_a_commit() {
    let points = [
        "commit.before-sqlite",
        "commit.before-journal",
        "journal.torn",
        "journal.before-sync",
        "commit.after-journal",
        "commit.after-sqlite",
        "commit.before-reply",
    ];
    for point in points {
        let folder = tempfile::tempdir().unwrap();
        // The point in the journal is passed once per change, the others once per batch of up to eight.
        let at = if point == "journal.torn" { 30 } else { 5 };
        let mut process = child(folder.path(), &format!("{point}=abort@{at}")).spawn().unwrap();
        let seen = acknowledged(&mut process, |_| false);
        assert!(!seen.is_empty() && seen.len() < 100, "{point}: {} acknowledged", seen.len());
        let again = opened(folder.path());
        assert_eq!(again.recovered, None, "{point}");
        check_kept(&again.keeper.state(), &seen);
        edit(&again.keeper, vec![Edit::Add(host(900_000))]).await.unwrap();
        let position = again.keeper.state().position();
        again.keeper.close().await;
        let third = open(folder.path());
        assert_eq!(third.state().position(), position, "{point}");
        third.close().await;
        // Both copies are equal after all that: the database can go.
        std::fs::remove_file(folder.path().join("state.db")).unwrap();
        let rebuilt = opened(folder.path());
        assert_eq!(rebuilt.keeper.state().position().state_hash, position.state_hash, "{point}");
        check_kept(&rebuilt.keeper.state(), &seen);
    }
}

/// The end while the standby copy is first written, and while a lost database is built anew from it.
#[tokio::test]
async fn every_fault_point_of_a_rebuild() {
    let points = ["standby.before-journal", "standby.half-snapshot", "standby.before-rename", "standby.before-cleanup"];
    for point in points.into_iter().chain(["rebuild.before-aside", "rebuild.before-rename"]) {
        let folder = tempfile::tempdir().unwrap();
        let mut process = child(folder.path(), &format!("{point}=abort")).spawn().unwrap();
        assert!(acknowledged(&mut process, |_| false).is_empty(), "{point}: ends before the first change");
        let keeper = open(folder.path());
        for n in 0..20 {
            edit(&keeper, vec![Edit::Add(host(n))]).await.unwrap();
        }
        keeper.close().await;
        std::fs::write(folder.path().join("state.db"), b"no database").unwrap();
        let mut process = child(folder.path(), &format!("{point}=abort")).spawn().unwrap();
        assert!(acknowledged(&mut process, |_| false).is_empty(), "{point}");
        let state = open(folder.path()).state();
        check_kept(&state, &(0..20).collect());
        assert_eq!(state.position().epoch, 2, "{point}: one restore, however often it was begun");
    }
}

/// The end while the standby journal gives way to a new generation. Whatever is left is a whole copy.
#[tokio::test]
async fn every_fault_point_of_a_renewal() {
    let points = ["standby.before-journal", "standby.half-snapshot", "standby.before-rename", "standby.before-cleanup"];
    for point in points {
        let folder = tempfile::tempdir().unwrap();
        // The first passing is the making of the copy.
        let mut process = child(folder.path(), &format!("{point}=abort@2")).env(LARGE, "1").spawn().unwrap();
        let seen = acknowledged(&mut process, |_| false);
        assert!(seen.len() > 500 && seen.len() < 3000, "{point}: {} acknowledged", seen.len());
        for suffix in ["", "-wal", "-shm"] {
            std::fs::remove_file(folder.path().join(format!("state.db{suffix}"))).unwrap();
        }
        let again = opened(folder.path());
        assert!(again.recovered.is_some(), "{point}");
        check_kept(&again.keeper.state(), &seen);
    }
}

/// kill -9 at whatever moment, again and again on the same folder.
#[test]
fn killed_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = std::collections::BTreeSet::new();
    for round in 0..8 {
        let mut process = child(folder.path(), "").spawn().unwrap();
        let seen = acknowledged(&mut process, |seen| seen.len() > 20 + 17 * round);
        assert!(!seen.is_empty());
        all.extend(seen);
        let again = opened(folder.path());
        assert_eq!(again.recovered, None);
        check_kept(&again.keeper.state(), &all);
        check_whole(&again.keeper.state());
        drop(again);
        crate::damage::unlocked(folder.path());
    }
}
