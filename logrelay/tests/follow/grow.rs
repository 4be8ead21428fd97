//! Files that grow.

use std::{fs, io::Write};

use logrelay::message::Flags;

use crate::rig::{Rig, numbered, text};

#[test]
fn what_is_appended_comes_once_and_in_order() {
    let mut rig = Rig::new("*.log");
    rig.append("a.log", "one\n");
    rig.read();
    rig.append("a.log", "two\r\n\nthree\n");
    rig.read();
    rig.read();
    assert_eq!(rig.take(), ["one", "two", "three"]);
    let report = rig.report("a.log").unwrap();
    assert_eq!((report.size, report.read, report.acknowledged, report.lag), (16, 16, 16, 0));
    assert_eq!((rig.count("lines"), rig.count("octets"), rig.count("empty")), (3, 16, 1));
}

#[test]
fn a_line_without_its_end_waits_and_is_then_taken_as_it_is() {
    let mut rig = Rig::new("*.log");
    rig.append("a.log", "one\ntw");
    rig.read();
    assert_eq!((rig.take(), rig.report("a.log").unwrap().read), (vec!["one".into()], 4));
    rig.pass(29);
    rig.append("a.log", "o");
    rig.pass(29);
    assert_eq!(rig.take(), [""; 0]);
    rig.pass(31);
    assert_eq!(rig.flags, [Flags::INCOMPLETE]);
    assert_eq!(rig.take(), ["two"]);
    // What comes late is a line of its own; a mere end is none.
    rig.append("a.log", "\nthree");
    rig.pass(1);
    rig.append("a.log", "\n");
    rig.pass(1);
    assert_eq!(rig.take(), ["three"]);
    assert_eq!(rig.count("incomplete"), 1);
}

#[test]
fn lines_longer_than_allowed_are_cut_and_their_length_is_kept() {
    let mut rig = Rig::new("*.log");
    let long = "x".repeat(1 << 20);
    rig.append("a.log", &long[..500_000]);
    rig.read();
    rig.append("a.log", format!("{}\nnext\n", &long[500_000..]));
    let mut lengths = vec![];
    rig.follower.sweep(rig.now, true);
    while rig.follower.fill(rig.now, 1, &mut |line| {
        lengths.push((line.raw.len(), line.original_len, line.flags));
        false
    }) {}
    assert_eq!(lengths, [(1000, 1 << 20, Flags::TRUNCATED), (4, 4, Flags::default())]);
    rig.append("a.log", &long[..2000]);
    rig.read();
    rig.pass(31);
    assert_eq!(rig.flags, [Flags::TRUNCATED.with(Flags::INCOMPLETE)]);
    assert_eq!((rig.count("cut"), rig.lines[0].len()), (2, 1000));
}

#[test]
fn a_source_that_is_new_may_start_at_the_end_but_new_files_are_read_whole() {
    let mut rig = Rig::with("*.log", |settings| settings.from_end = true);
    rig.append("a.log", "old\nhal");
    rig.read();
    rig.append("a.log", "f\nnew\n");
    rig.append("b.log", "first\n");
    rig.read();
    // The line that was being written is whole.
    assert_eq!(rig.take(), ["half", "new", "first"]);
    rig.restart(true);
    rig.append("c.log", "later\n");
    rig.read();
    assert_eq!(rig.take(), ["later"]);
}

#[test]
fn holes_of_nul_octets_are_passed_over() {
    let mut rig = Rig::new("*.log");
    let file = fs::File::create(rig.path("a.log")).unwrap();
    file.set_len(300_000).unwrap();
    rig.read();
    assert_eq!(rig.report("a.log").unwrap().read, 0);
    (&file).write_all(b"").unwrap();
    rig.append("a.log", "one\n");
    rig.read();
    assert_eq!(rig.take(), ["one"]);
    assert_eq!(rig.count("nul_octets"), 300_000);
}

#[test]
fn a_file_that_grows_faster_than_it_is_read_does_not_keep_others_waiting() {
    let mut rig = Rig::new("*.log");
    let block = text(&numbered(&"x".repeat(100), 0..20_000));
    rig.append("a.log", &block);
    rig.append("b.log", "other\n");
    rig.follower.rescan(rig.now);
    let mut rounds = 0;
    while !rig.lines.iter().any(|line| line == "other") {
        rig.append("a.log", &block[..1 << 20]);
        assert!(rig.fill(1000));
        rounds += 1;
        assert!(rounds < 20, "the other file does not get its turn");
    }
    assert!(rig.report("a.log").unwrap().lag > 10 << 20);
}

#[test]
fn a_batch_may_end_within_a_file() {
    let mut rig = Rig::new("*.log");
    let lines = numbered("line", 0..1000);
    rig.append("a.log", text(&lines));
    rig.read();
    let all = rig.take();
    rig.append("a.log", text(&lines));
    rig.follower.sweep(rig.now, true);
    while rig.fill(7) {}
    assert_eq!((all, rig.take()), (lines.clone(), lines));
}
