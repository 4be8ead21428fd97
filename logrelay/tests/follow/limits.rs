//! Many files, and files that are not followed.

use std::{fs, os::unix::fs::symlink};

use logrelay::follow::OPEN_MAX;

use crate::rig::{Rig, append, numbered};

#[test]
fn a_thousand_files_are_read_with_half_as_many_open() {
    let mut rig = Rig::new("*/*.log");
    for n in 0..1000 {
        fs::create_dir_all(rig.path(&format!("{}", n % 10))).unwrap();
        rig.append(&format!("{}/{n}.log", n % 10), format!("first {n}\n"));
    }
    rig.read();
    for n in 0..1000 {
        rig.append(&format!("{}/{n}.log", n % 10), format!("second {n}\n"));
    }
    rig.sweep();
    // One that was closed is renamed.
    let closed = rig.follower.report().into_iter().find(|file| !file.open).unwrap().path;
    append(&closed, b"third\n");
    fs::rename(&closed, closed.with_extension("1")).unwrap();
    append(&closed, b"fourth\n");
    rig.read();
    let mut lines = rig.take();
    lines.sort();
    let mut want = [numbered("first", 0..1000), numbered("second", 0..1000)].concat();
    want.extend(["third".into(), "fourth".into()]);
    want.sort();
    assert_eq!(lines, want);
    let open = rig.follower.report().iter().filter(|file| file.open).count();
    assert!(open <= OPEN_MAX, "{open}");
    let of_process = fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter(|fd| fs::read_link(fd.path()).is_ok_and(|path| path.starts_with(rig.folder.path())));
    assert_eq!(of_process.count(), open);
    rig.restart(true);
    rig.read();
    assert_eq!(rig.take(), [""; 0]);
}

#[test]
fn more_files_than_allowed_are_counted_and_left_alone() {
    let mut rig = Rig::new("*.log");
    for n in 0..logrelay::follow::FILES_MAX + 5 {
        fs::write(rig.path(&format!("{n}.log")), format!("{n}\n")).unwrap();
    }
    rig.read();
    assert_eq!((rig.take().len(), rig.count("over_limit")), (logrelay::follow::FILES_MAX, 5));
    rig.restart(true);
    rig.read();
    assert_eq!(rig.take(), [""; 0]);
}

#[test]
fn compressed_files_are_left_alone() {
    let mut rig = Rig::new("*");
    rig.append("a.log.1.gz", b"\x1f\x8b\x08\0\nnonsense\n");
    rig.append("a.log", "one\n");
    rig.append("b", "");
    rig.read();
    // It turns out later.
    rig.append("b", b"\x28\xb5\x2f\xfd\nnonsense\n");
    rig.read();
    rig.read();
    assert_eq!(rig.take(), ["one"]);
    assert_eq!((rig.count("compressed"), rig.follower.report().len()), (2, 1));
}

#[test]
fn links_to_files_are_followed_like_files() {
    let mut rig = Rig::new("*.log");
    fs::create_dir(rig.folder.path().join("elsewhere")).unwrap();
    let target = rig.folder.path().join("elsewhere/x");
    fs::write(&target, "one\n").unwrap();
    symlink(&target, rig.path("a.log")).unwrap();
    symlink(&target, rig.path("b.log")).unwrap();
    fs::create_dir(rig.path("c.log")).unwrap();
    rig.read();
    append(&target, b"two\n");
    rig.read();
    // The link is made to lead elsewhere.
    fs::write(rig.folder.path().join("elsewhere/y"), "three\n").unwrap();
    fs::remove_file(rig.path("b.log")).unwrap();
    fs::remove_file(rig.path("a.log")).unwrap();
    symlink(rig.folder.path().join("elsewhere/y"), rig.path("a.log")).unwrap();
    rig.read();
    assert_eq!(rig.take(), ["one", "two", "three"]);
}

#[test]
fn a_folder_that_comes_later_is_found() {
    let mut rig = Rig::new("later/**/*.log");
    rig.read();
    fs::create_dir_all(rig.path("later/a/b")).unwrap();
    rig.append("later/a/b/1.log", "one\n");
    rig.read();
    fs::rename(rig.path("later"), rig.path("away")).unwrap();
    rig.append("away/a/b/1.log", "two\n");
    rig.pass(1);
    assert_eq!(rig.take(), ["one", "two"]);
}

#[test]
fn a_deleted_file_is_not_closed_for_others_before_it_was_read() {
    let mut rig = Rig::new("*.log");
    for n in 0..2 * OPEN_MAX {
        rig.append(&format!("{n}.log"), format!("{n}\n"));
    }
    rig.read();
    rig.take();
    // All grow, and some of those that are open lose their names before the folders are read again.
    let (mut want, mut deleted) = (Vec::new(), 0);
    for (n, file) in rig.follower.report().iter().enumerate() {
        append(&file.path, format!("last of {n}\n").as_bytes());
        want.push(format!("last of {n}"));
        if file.open && n % 4 == 0 {
            fs::remove_file(&file.path).unwrap();
            deleted += 1;
        }
    }
    assert!(deleted > 0);
    rig.sweep();
    let mut lines = rig.take();
    lines.sort();
    want.sort();
    assert_eq!(lines, want);
    assert_eq!(rig.count("lost_sight"), 0);
    rig.read();
    assert_eq!(rig.count("deletions"), deleted);
}
