//! A disk without space.

use std::{collections::BTreeSet, process::Command};

use crate::world::{acknowledged, check_kept, child, open};

/// Points at which the disk is full for a while: those changes are refused, later ones work, nothing is lost.
#[test]
fn a_full_disk_refuses_and_heals() {
    let points = ["commit.before-sqlite", "commit.before-journal", "journal.torn", "journal.before-sync"];
    for point in points.into_iter().chain(["commit.after-journal"]) {
        let folder = tempfile::tempdir().unwrap();
        let mut process = child(folder.path(), &format!("{point}=enospc@4+3")).spawn().unwrap();
        let seen = acknowledged(&mut process, |seen| seen.len() > 200);
        assert!(seen.len() > 200, "{point}: it goes on after the failures");
        let skipped: Vec<u32> = (0..200).filter(|n| !seen.contains(n)).collect();
        assert!(!skipped.is_empty(), "{point}: some were refused");
        let state = open(folder.path()).state();
        check_kept(&state, &seen);
        for n in skipped {
            assert!(state.get(&crate::world::key(n)).is_none(), "{point}: host {n} was refused and is there");
        }
    }
}

/// Runs the child under a limit on the size of files: every write beyond it really fails.
fn limited(dir: &std::path::Path, blocks: u32) -> Command {
    let inner = child(dir, "");
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
    shell.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    shell.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    shell
}

#[test]
fn writes_that_really_fail_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Blocks of 512 octets (POSIX): room to begin, then every file hits the limit.
    let seen = acknowledged(&mut limited(folder.path(), 600).spawn().unwrap(), |_| false);
    assert!(seen.len() > 10 && seen.len() < 3000, "{} acknowledged", seen.len());
    let state = open(folder.path()).state();
    check_kept(&state, &seen);
    let present: BTreeSet<u32> = (0..3000).filter(|n| state.get(&crate::world::key(*n)).is_some()).collect();
    assert_eq!(present, seen, "a refused change is not there");
    // With no room at all, and no file of SQLite left to reuse, the last state still comes up; what is new is refused.
    crate::damage::unlocked(folder.path());
    assert!(!folder.path().join("state.db-shm").exists(), "closed in order");
    let output = limited(folder.path(), 0).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains(&format!("opened with {} hosts, trouble: true", seen.len())), "{told}");
    assert!(told.contains("refused") && !told.contains("acknowledged"), "{told}");
    assert!(told.contains("\ntrouble since "), "{told}");
    check_kept(&open(folder.path()).state(), &seen);
}

/// The database is damaged and there is no room to build it anew: the standby copy is served from memory.
#[test]
fn a_damaged_database_on_a_full_disk_is_served_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = child(folder.path(), "").spawn().unwrap();
    let seen = acknowledged(&mut process, |seen| seen.len() > 50);
    std::fs::write(folder.path().join("state.db"), b"no database").unwrap();
    std::fs::remove_file(folder.path().join("state.db-wal")).unwrap();
    let output = limited(folder.path(), 0).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let hosts: usize = told.split("opened with ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(hosts >= seen.len() && told.contains("trouble: true") && !told.contains("acknowledged"), "{told}");
    let again = crate::world::opened(folder.path());
    assert!(again.recovered.is_some(), "with room it is built");
    check_kept(&again.keeper.state(), &seen);
}

/// The process ended between journal and commit, and at the next start there is no room: the database stays what it is,
/// change log and all, and is given the rest when there is room.
#[tokio::test]
async fn a_full_disk_after_a_crash_costs_neither_the_database_nor_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = child(folder.path(), "commit.after-journal=abort@5").spawn().unwrap();
    let mut seen = acknowledged(&mut process, |_| false);
    let mut process = child(folder.path(), "open.before-commit=enospc@1+1").spawn().unwrap();
    let more = acknowledged(&mut process, |more| more.len() > 50);
    assert!(more.len() > 50, "it goes on once there is room");
    seen.extend(more);
    crate::damage::unlocked(folder.path());
    let again = crate::world::opened(folder.path());
    assert_eq!(again.recovered, None);
    check_kept(&again.keeper.state(), &seen);
    let position = again.keeper.state().position();
    assert_eq!(position.epoch, 1);
    let history = again.keeper.history(crate::keeping::query(1000)).await.unwrap();
    assert_eq!(history.len() as u64, position.serial, "every change is in the log");
    let mut names = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(!names.any(|name| name.contains("damaged")));
}

/// No room to open the database for writing, and no standby copy: what is held is held all the same.
#[tokio::test]
async fn what_is_held_survives_a_full_disk_without_a_standby_copy() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    crate::world::edit(&keeper, vec![inventory::Edit::Add(crate::world::host(1))]).await.unwrap();
    crate::world::edit(&keeper, vec![inventory::Edit::Remove(crate::world::key(1))]).await.unwrap();
    let held = keeper.held();
    assert_eq!(held.len(), 1);
    keeper.close().await;
    for entry in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("standby-") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let output = limited(folder.path(), 0).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("trouble: true") && told.contains("held: [1]"), "{told}");
    assert_eq!(open(folder.path()).held(), held);
}
