//! Names of the files in the data folder.
//!
//! `lock`, `state.db` (with SQLite's `-wal` and `-shm`), `standby-<generation>.rows` and `.log`,
//! `*.new` while something is being written, `state.db.damaged-<milliseconds>` for what was moved aside.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// The database.
pub(crate) fn database(dir: &Path) -> PathBuf {
    dir.join("state.db")
}

/// Snapshot of a generation.
pub(crate) fn snapshot(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("standby-{generation}.rows"))
}

/// Journal of a generation.
pub(crate) fn journal(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("standby-{generation}.log"))
}

/// A file of SQLite beside the database: `-wal` or `-shm`.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(dir)?.map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned())).collect()
}

fn generation(name: &str) -> Option<(u64, &str)> {
    let (number, extension) = name.strip_prefix("standby-")?.split_once('.')?;
    Some((number.parse().ok()?, extension))
}

/// Generations of which there is a snapshot or a journal, oldest first.
pub(crate) fn generations(dir: &Path) -> io::Result<BTreeSet<u64>> {
    let names = names(dir)?;
    let finished = names.iter().filter_map(|name| generation(name)).filter(|(_, ext)| matches!(*ext, "rows" | "log"));
    Ok(finished.map(|(number, _)| number).collect())
}

/// Removes the standby files of generations before `keep`.
pub(crate) fn remove_before(dir: &Path, keep: u64) -> io::Result<()> {
    for name in names(dir)? {
        if generation(&name).is_some_and(|(number, _)| number < keep) {
            fs::remove_file(dir.join(name))?;
        }
    }
    sync_dir(dir)
}

/// Removes what a crash left half-written.
pub(crate) fn remove_unfinished(dir: &Path) -> io::Result<()> {
    for name in names(dir)? {
        if name.ends_with(".new") || name.starts_with("state.db.new") {
            fs::remove_file(dir.join(name))?;
        }
    }
    Ok(())
}

/// Whether a damaged database was moved aside here.
pub(crate) fn has_damaged(dir: &Path) -> io::Result<bool> {
    Ok(names(dir)?.iter().any(|name| name.starts_with("state.db.damaged-")))
}

/// Moves the database and SQLite's files beside it to names that say so; returns the new name of the database.
pub(crate) fn move_aside(dir: &Path, now_ms: u64) -> io::Result<PathBuf> {
    let from = database(dir);
    let mut aside = beside(&from, &format!(".damaged-{now_ms}"));
    let mut n = 1;
    while aside.exists() || beside(&aside, "-wal").exists() {
        aside = beside(&from, &format!(".damaged-{now_ms}.{n}"));
        n += 1;
    }
    for suffix in ["", "-wal", "-shm"] {
        match fs::rename(beside(&from, suffix), beside(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_dir(dir)?;
    Ok(aside)
}

/// Makes created, renamed and removed names durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Removes a database that was not finished, and SQLite's files beside it.
pub(crate) fn remove_database(path: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        match fs::remove_file(beside(path, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
