//! Files that were overwritten, cut or lost.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use inventory::{Edit, Keeper, keeper::OpenError};

use crate::world::{check_kept, edit, host, open, opened};

/// Waits until no writer holds the folder any more.
pub(crate) fn unlocked(dir: &Path) {
    let lock = File::options().append(true).open(dir.join("lock")).unwrap();
    lock.lock().unwrap();
}

async fn folder_with(hosts: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    edit(&keeper, (0..hosts / 2).map(|n| Edit::Add(host(n))).collect()).await.unwrap();
    for n in hosts / 2..hosts {
        edit(&keeper, vec![Edit::Add(host(n))]).await.unwrap();
    }
    keeper.close().await;
    folder
}

fn standby(dir: &Path, extension: &str) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| path.extension().is_some_and(|e| e == extension)).unwrap()
}

type Harm = fn(&Path);

#[tokio::test]
async fn a_damaged_database_is_replaced_by_its_standby_copy() {
    let harms: [(&str, Harm); 6] = [
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("emptied", |path| File::create(path).map(drop).unwrap()),
        ("cut", |path| {
            let file = File::options().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }),
        ("zeroed", |path| {
            let len = path.metadata().unwrap().len() as usize;
            fs::write(path, vec![0; len]).unwrap();
        }),
        ("overwritten in the middle", |path| {
            let file = File::options().write(true).open(path).unwrap();
            for page in 2..file.metadata().unwrap().len() / 4096 {
                file.write_all_at(&[0xa5; 2000], page * 4096 + 1000).unwrap();
            }
        }),
        ("one value changed", |path| {
            let mut bytes = fs::read(path).unwrap();
            // The row in the table, not in the log: every copy of the address is changed.
            let at: Vec<usize> = (0..bytes.len() - 8).filter(|i| bytes[*i..].starts_with(b"10.0.0.7\"")).collect();
            assert!(!at.is_empty());
            at.into_iter().for_each(|at| bytes[at + 7] = b'9');
            fs::write(path, bytes).unwrap();
        }),
    ];
    for (name, harm) in harms {
        let folder = folder_with(60).await;
        let before = open(folder.path()).state().position();
        unlocked(folder.path());
        harm(&folder.path().join("state.db"));
        let again = opened(folder.path());
        let sentence = again.recovered.unwrap();
        assert!(sentence.contains("replaced by its standby copy at serial 31"), "{name}: {sentence}");
        let state = again.keeper.state();
        check_kept(&state, &(0..60).collect());
        let after = state.position();
        assert_eq!((after.epoch, after.serial), (before.epoch + 1, before.serial), "{name}");
        assert_eq!(after.state_hash, before.state_hash, "{name}");
        let aside = fs::read_dir(folder.path()).unwrap();
        let kept = aside.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains(".damaged-")).count();
        assert_eq!(kept > 0, name != "removed", "{name}: the old file is kept");
        // Who and why of the changes in the journal survive.
        let history = again.keeper.history(crate::keeping::query(100)).await.unwrap();
        assert_eq!((history.len(), history[0].author.who.as_str()), (31, "alice"), "{name}");
        edit(&again.keeper, vec![Edit::Add(host(1000))]).await.unwrap();
        again.keeper.close().await;
        assert_eq!(opened(folder.path()).recovered, None, "{name}: once is enough");
    }
}

#[tokio::test]
async fn a_lost_write_ahead_log_is_made_good() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    edit(&keeper, vec![Edit::Add(host(1))]).await.unwrap();
    keeper.close().await;
    fs::copy(folder.path().join("state.db"), copy.path().join("old.db")).unwrap();
    let keeper = open(folder.path());
    edit(&keeper, vec![Edit::Add(host(2))]).await.unwrap();
    edit(&keeper, vec![Edit::Remove(crate::world::key(2))]).await.unwrap();
    let (position, held) = (keeper.state().position(), keeper.held());
    assert_eq!(held.len(), 1);
    keeper.close().await;
    fs::copy(copy.path().join("old.db"), folder.path().join("state.db")).unwrap();
    let again = opened(folder.path());
    assert_eq!((again.recovered, again.keeper.state().position()), (None, position));
    assert_eq!(again.keeper.held(), held);
    again.keeper.close().await;
    assert_eq!(open(folder.path()).held(), held);
}

#[tokio::test]
async fn a_damaged_standby_copy_is_written_anew() {
    for extension in ["rows", "log"] {
        for cut in [false, true] {
            let folder = folder_with(20).await;
            let path = standby(folder.path(), extension);
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            if cut {
                bytes.truncate(middle)
            } else {
                bytes[middle] ^= 0xff
            }
            fs::write(&path, bytes).unwrap();
            let again = opened(folder.path());
            assert_eq!(again.recovered, None);
            edit(&again.keeper, vec![Edit::Add(host(1000))]).await.unwrap();
            // A damaged snapshot is found by a thread and replaced a moment later.
            while path.exists() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            let position = again.keeper.state().position();
            again.keeper.close().await;
            fs::remove_file(folder.path().join("state.db")).unwrap();
            let rebuilt = opened(folder.path()).keeper.state().position();
            assert_eq!((rebuilt.serial, rebuilt.state_hash), (position.serial, position.state_hash));
        }
    }
}

#[tokio::test]
async fn two_damaged_copies_are_an_error_and_nothing_is_touched() {
    let folder = folder_with(20).await;
    let database = folder.path().join("state.db");
    fs::write(&database, b"no database at all").unwrap();
    let log = standby(folder.path(), "log");
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&log, &bytes).unwrap();
    let error = Keeper::open(folder.path(), Arc::new(|_, _, _| Vec::new())).unwrap_err();
    assert!(matches!(error, OpenError::BothUnreadable { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("state.db") && text.contains("standby-") && text.contains("restore a backup"), "{text}");
    assert_eq!(fs::read(&database).unwrap(), b"no database at all");
    assert_eq!(fs::read(&log).unwrap(), bytes);
}

#[tokio::test]
async fn a_folder_with_leavings_does_not_begin_empty() {
    let folder = folder_with(4).await;
    fs::rename(folder.path().join("state.db"), folder.path().join("state.db.damaged-1")).unwrap();
    for extension in ["rows", "log"] {
        fs::remove_file(standby(folder.path(), extension)).unwrap();
    }
    let error = Keeper::open(folder.path(), Arc::new(|_, _, _| Vec::new())).unwrap_err();
    assert!(matches!(error, OpenError::BothUnreadable { .. }), "{error}");
}

#[tokio::test]
async fn one_folder_belongs_to_one_process() {
    let folder = folder_with(2).await;
    let _keeper = open(folder.path());
    let error = Keeper::open(folder.path(), Arc::new(|_, _, _| Vec::new())).unwrap_err();
    assert!(error.to_string().contains("another process holds"), "{error}");
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A backup is put back: the changes after it are lost, but their serials are not given to others.
#[tokio::test]
async fn a_restored_backup_goes_on_in_the_next_epoch() {
    let (folder, backup) = (folder_with(10).await, tempfile::tempdir().unwrap());
    copy_files(folder.path(), backup.path());
    let keeper = open(folder.path());
    edit(&keeper, vec![Edit::Add(host(100))]).await.unwrap();
    let lost = keeper.state().position();
    keeper.close().await;
    let restored = Keeper::open_restored(backup.path(), Arc::new(|_, _, _| Vec::new())).unwrap();
    let sentence = restored.recovered.unwrap();
    assert_eq!(sentence, format!("the restored folder goes on at serial {} in epoch 2", lost.serial - 1));
    edit(&restored.keeper, vec![Edit::Add(host(200))]).await.unwrap();
    let position = restored.keeper.state().position();
    assert_eq!((position.epoch, position.serial), (2, lost.serial));
    assert!(position.soa_serial() > lost.soa_serial());
    restored.keeper.close().await;
    // Both copies know of it, and an ordinary start stays in that epoch.
    fs::remove_file(backup.path().join("state.db")).unwrap();
    assert_eq!(open(backup.path()).state().position().epoch, 3, "the loss of the database is one more");
    unlocked(backup.path());
    let again = opened(backup.path());
    assert_eq!((again.recovered, again.keeper.state().position().epoch), (None, 3));
}

/// The database breaks while it is open, and the standby journal is damaged too: what is held is taken from what can
/// still be read of the database.
#[tokio::test]
async fn what_is_held_survives_a_rebuild_with_a_damaged_standby_journal() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = open(folder.path());
    edit(&keeper, (0..10).map(|n| Edit::Add(host(n))).collect()).await.unwrap();
    edit(&keeper, (0..6).map(|n| Edit::Remove(crate::world::key(n))).collect()).await.unwrap();
    let held = keeper.held();
    assert_eq!(held.len(), 1);
    edit(&keeper, vec![Edit::Add(host(100))]).await.unwrap();
    let log = File::options().write(true).open(standby(folder.path(), "log")).unwrap();
    log.write_all_at(&[0xa5; 64], log.metadata().unwrap().len() / 2).unwrap();
    let other = rusqlite::Connection::open(folder.path().join("state.db")).unwrap();
    assert_eq!(other.execute("DELETE FROM row WHERE key = 'web7.us-east-1a.acme'", []).unwrap(), 1);
    drop(other);
    edit(&keeper, vec![Edit::Remove(crate::world::key(7))]).await.unwrap();
    assert_eq!(keeper.state().host_count(), 10);
    assert_eq!(keeper.held(), held);
    keeper.close().await;
    let keeper = open(folder.path());
    assert_eq!(keeper.held(), held);
}
