//! Files that get another name, are cut off, deleted or replaced.

use std::{fs, path::PathBuf, time::Duration};

use crate::rig::Rig;

#[test]
fn a_renamed_file_is_read_to_its_end_and_the_new_one_from_its_start() {
    let mut rig = Rig::new("*.log");
    rig.append("a.log", "one\n");
    rig.read();
    rig.append("a.log", "two\n");
    rig.rename("a.log", "a.log.1");
    rig.append("a.log", "three\n");
    rig.read();
    // The writer was not told yet.
    rig.append("a.log.1", "four\nfi");
    rig.pass(3);
    rig.append("a.log.1", "ve");
    rig.pass(4);
    assert_eq!(rig.take(), ["one", "two", "three", "four"]);
    rig.pass(6);
    assert_eq!(rig.take(), ["five"]);
    rig.pass(1);
    assert_eq!(rig.follower.report().len(), 1);
    assert_eq!(rig.count("rotations"), 1);
}

#[test]
fn without_a_new_file_the_old_one_is_held_longer() {
    let mut rig = Rig::new("*.log");
    rig.append("a.log", "one\n");
    rig.read();
    rig.rename("a.log", "a.log.1");
    rig.pass(1);
    rig.pass(40);
    rig.append("a.log.1", "two\n");
    rig.pass(1);
    assert_eq!(rig.take(), ["one", "two"]);
    rig.pass(61);
    rig.pass(1);
    assert_eq!(rig.follower.report().len(), 0);
}

#[test]
fn a_renamed_file_stays_open_until_its_lines_are_safe() {
    let mut rig = Rig::new("*.log");
    rig.safe = false;
    rig.append("a.log", "one\n");
    rig.read();
    rig.rename("a.log", "a.log.1");
    rig.append("a.log", "two\n");
    rig.pass(1);
    rig.pass(100);
    assert_eq!(rig.follower.report().len(), 2);
    rig.acknowledge();
    rig.pass(1);
    assert_eq!(rig.follower.report().len(), 1);
}

#[test]
fn a_name_that_still_matches_is_no_end() {
    let mut rig = Rig::new("a.log*");
    rig.append("a.log", "one\n");
    rig.read();
    rig.rename("a.log", "a.log.1");
    rig.append("a.log", "two\n");
    rig.pass(1);
    rig.pass(100);
    rig.append("a.log.1", "three\n");
    rig.pass(1);
    assert_eq!(rig.take(), ["one", "two", "three"]);
    rig.rename("a.log.1", "a.log.2");
    rig.restart(true);
    rig.read();
    assert_eq!(rig.take(), [""; 0]);
}

#[test]
fn a_file_that_was_cut_off_is_read_from_its_start_and_its_copy_to_the_end() {
    let mut rig = Rig::new("*.log");
    rig.append("a.log", "one, and enough to be known by\n");
    rig.read();
    rig.append("a.log", "two\n");
    fs::copy(rig.path("a.log"), rig.path("a.log.1")).unwrap();
    fs::write(rig.path("a.log"), "three\n").unwrap();
    rig.read();
    let mut lines = rig.take();
    lines.sort();
    assert_eq!(lines, ["one, and enough to be known by", "three", "two"]);
    assert_eq!((rig.count("truncations"), rig.count("copies")), (1, 1));
    // The copy is closed when it was read; it is not followed.
    rig.pass(6);
    rig.pass(1);
    assert_eq!(rig.follower.report().len(), 1);
}

#[test]
fn a_copy_that_is_followed_too_is_not_read_again() {
    for read_before_it_is_cut_off in [false, true] {
        let mut rig = Rig::new("*");
        rig.append("a.log", "one, and enough to be known by\n");
        rig.read();
        if !read_before_it_is_cut_off {
            rig.append("a.log", "two\n");
        }
        fs::copy(rig.path("a.log"), rig.path("a.log.1")).unwrap();
        rig.follower.rescan(rig.now);
        fs::write(rig.path("a.log"), "three\n").unwrap();
        rig.read();
        rig.pass(10);
        rig.pass(100);
        let mut lines = rig.take();
        lines.sort();
        let expected = ["one, and enough to be known by", "three", "two"];
        assert_eq!(lines, expected[..if read_before_it_is_cut_off { 2 } else { 3 }]);
        // One that stays beside the original is a file as others.
        rig.append("a.log", "and enough of the other\n");
        rig.read();
        assert_eq!(rig.take(), ["and enough of the other"]);
        fs::copy(rig.path("a.log"), rig.path("a.log.2")).unwrap();
        rig.pass(20);
        assert_eq!(rig.take(), [""; 0]);
        rig.pass(31);
        assert_eq!(rig.take(), ["three", "and enough of the other"]);
    }
}

/// It grows all the time, and so it never looks like a copy that is complete.
#[test]
fn a_growing_log_that_begins_like_another_is_followed_in_the_end() {
    let mut rig = Rig::new("*");
    rig.append("a.log", "the banner of the program\n");
    rig.read();
    rig.append("a.log.err", "the banner of the program\n");
    for number in 0..40 {
        rig.append("a.log.err", format!("error {number}\n"));
        rig.pass(10);
    }
    let lines = rig.take();
    assert_eq!(lines.len(), 42, "{lines:?}");
    assert_eq!(lines.last().unwrap(), "error 39");
}

#[test]
fn a_file_that_begins_anew_and_is_longer_than_before_is_noticed() {
    let mut rig = Rig::new("*.log");
    rig.append("a.log", "one\n");
    rig.read();
    fs::write(rig.path("a.log"), "two\nthree\nfour\n").unwrap();
    rig.read();
    assert_eq!(rig.take(), ["one", "two", "three", "four"]);
    // Also when it is exactly as long; a file system's clock may stand still for some milliseconds.
    let before = fs::metadata(rig.path("a.log")).unwrap().modified().unwrap();
    fs::write(rig.path("a.log"), "TWO\nTHREE\nFOUR\n").unwrap();
    let file = fs::File::options().append(true).open(rig.path("a.log")).unwrap();
    file.set_modified(before + Duration::from_secs(1)).unwrap();
    rig.read();
    assert_eq!(rig.take(), ["TWO", "THREE", "FOUR"]);
    assert_eq!(rig.count("truncations"), 2);
}

#[test]
fn what_was_acknowledged_before_a_file_was_cut_off_does_not_count_after() {
    let mut rig = Rig::new("*.log");
    rig.safe = false;
    rig.append("a.log", "one\ntwo\n");
    rig.read();
    fs::write(rig.path("a.log"), "three\n").unwrap();
    rig.follower.sweep(rig.now, true);
    rig.drain();
    let last = rig.waiting.pop().unwrap();
    rig.acknowledge();
    assert_eq!(rig.report("a.log").unwrap().acknowledged, 0);
    rig.follower.acknowledge(&last);
    assert_eq!(rig.report("a.log").unwrap().acknowledged, 6);
}

#[test]
fn a_writer_that_goes_on_at_its_old_place_leaves_a_hole_and_no_line_is_lost() {
    use std::os::unix::fs::FileExt;
    let mut rig = Rig::new("*.log");
    rig.append("a.log", "one\ntwo\n");
    rig.read();
    let file = fs::OpenOptions::new().write(true).open(rig.path("a.log")).unwrap();
    file.set_len(0).unwrap();
    file.write_all_at(b"three\n", 8).unwrap();
    rig.read();
    assert_eq!(rig.take(), ["one", "two", "three"]);
    assert_eq!(rig.count("nul_octets"), 8);
}

#[test]
fn a_deleted_file_is_read_to_its_end() {
    let mut rig = Rig::new("*.log");
    rig.append("a.log", "one\n");
    rig.read();
    rig.append("a.log", "two\nthr");
    fs::remove_file(rig.path("a.log")).unwrap();
    rig.pass(1);
    rig.pass(6);
    rig.pass(1);
    assert_eq!(rig.take(), ["one", "two", "thr"]);
    assert_eq!((rig.count("deletions"), rig.follower.report().len()), (1, 0));
}

#[test]
fn a_new_file_with_an_old_inode_is_read_from_its_start() {
    let mut rig = Rig::new("*.log");
    let mut reused = false;
    for n in 0..50 {
        let name = format!("{n}.log");
        rig.append(&name, "the same beginning\n");
        rig.read();
        rig.restart(true);
        fs::remove_file(rig.path(&name)).unwrap();
        rig.append("next.log", "the same beginning\nand more\n");
        rig.read();
        reused |= rig.count("reused") > 0;
        assert_eq!(rig.take(), ["the same beginning", "the same beginning", "and more"]);
        fs::remove_file(rig.path("next.log")).unwrap();
        rig.restart(true);
    }
    // Not every file system gives an inode to the next file.
    eprintln!("an inode was used again: {reused}");
}

#[test]
fn a_file_that_was_renamed_meanwhile_is_found_and_read_first() {
    let mut rig = Rig::new("*.log");
    rig.append("a.log", "one\n");
    rig.append("b.log", "uno\n");
    rig.read();
    rig.restart(true);
    rig.append("a.log", "two\n");
    rig.rename("a.log", "a.log.1");
    rig.append("a.log", "three\n");
    fs::remove_file(rig.path("b.log")).unwrap();
    rig.read();
    assert_eq!(rig.take(), ["one", "uno", "two", "three"]);
    assert_eq!((rig.count("found_again"), rig.count("lost_sight")), (1, 1));
    // The second time nothing is left to be found.
    rig.pass(6);
    rig.restart(true);
    rig.read();
    assert_eq!((rig.take(), rig.count("lost_sight")), (vec![], 1));
}

#[test]
fn a_file_that_was_cut_off_meanwhile_is_read_from_its_start_after_its_copy() {
    let mut rig = Rig::new("*.log");
    rig.append("a.log", "one, and enough to be known by\n");
    rig.read();
    rig.restart(true);
    rig.append("a.log", "two\n");
    fs::copy(rig.path("a.log"), rig.path("a.log-20260101")).unwrap();
    fs::write(rig.path("a.log"), "three\n").unwrap();
    rig.read();
    assert_eq!(rig.take(), ["one, and enough to be known by", "two", "three"]);
}

#[test]
fn a_file_that_comes_back_is_not_read_again() {
    let mut rig = Rig::new("*.log");
    rig.append("a.log", "one\n");
    rig.read();
    rig.rename("a.log", "a.old");
    rig.pass(1);
    rig.pass(70);
    rig.pass(1);
    assert_eq!(rig.follower.report().len(), 0);
    rig.append("a.old", "two\n");
    rig.restart(true);
    rig.rename("a.old", "a.log");
    rig.read();
    assert_eq!(rig.take(), ["one", "two"]);
}

#[test]
fn a_damaged_checkpoint_makes_lines_come_twice_and_loses_none() {
    let mut rig = Rig::with("*.log", |settings| settings.from_end = true);
    rig.read();
    rig.append("a.log", "one\n");
    rig.read();
    rig.follower.save().unwrap();
    rig.append("a.log", "two\n");
    fs::write(rig.folder.path().join("state/app.offsets"), "nonsense").unwrap();
    rig.restart(false);
    rig.read();
    assert_eq!(rig.take(), ["one", "one", "two"]);
    assert_eq!(rig.count("checkpoint_damaged"), 1);
}

#[test]
fn only_what_is_safe_is_in_the_checkpoint() {
    let mut rig = Rig::new("*.log");
    rig.append("a.log", "one\n");
    rig.read();
    rig.safe = false;
    rig.append("a.log", "two\n");
    rig.read();
    rig.restart(true);
    rig.read();
    assert_eq!(rig.take(), ["one", "two", "two"]);
}

#[test]
fn a_copy_that_was_being_made_while_we_read_is_read_to_its_end() {
    let mut rig = Rig::new("*.log");
    rig.append("a.log", "one, and enough to be known by\n");
    rig.read();
    // The copy is begun, then a line is written and read, then the copy is finished.
    fs::write(rig.path("a.log.1"), "").unwrap();
    let begun = fs::metadata(rig.path("a.log.1")).unwrap().modified().unwrap();
    let written = |path: PathBuf, seconds| {
        let file = fs::File::options().append(true).open(path).unwrap();
        file.set_modified(begun + Duration::from_secs(seconds)).unwrap();
    };
    rig.append("a.log", "two\n");
    written(rig.path("a.log"), 10);
    rig.read();
    rig.append("a.log", "three\n");
    rig.append("a.log.1", fs::read(rig.path("a.log")).unwrap());
    written(rig.path("a.log.1"), 20);
    fs::write(rig.path("a.log"), "four\n").unwrap();
    rig.read();
    let mut lines = rig.take();
    lines.sort();
    assert_eq!(lines, ["four", "one, and enough to be known by", "three", "two"]);
    assert_eq!((rig.count("truncations"), rig.count("copies")), (1, 1));
}
