//! Rotation by size and time, and compression, checked with the tools that people use.

use std::{fs, path::Path, process::Command};

use logrelay::{destination::Sink, message::Batch};

use crate::common::{NOW, NUMBER, build, chunk, counted, deliver, numbered, push, read, sink, until};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn rotating(dir: &Path, keys: &str) -> Sink {
    sink(&format!("file = \"{}/all.log\"\ntemplate = \"$MSG\\n\"\n{keys}", dir.display()))
}

#[tokio::test]
async fn by_size_at_whole_lines() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = rotating(dir.path(), "rotate_bytes = 30\nrotate_keep = 100");
    // m1 to m9 have 3 octets, m10 to m40 have 4: 147 octets.
    deliver(&mut sink, &numbered(1..21), NOW).await;
    deliver(&mut sink, &numbered(21..41), NOW).await;
    assert_eq!(names(dir.path()), ["all.log", "all.log.1", "all.log.2", "all.log.3", "all.log.4", "all.log.5"]);
    let mut text = String::new();
    for name in ["all.log.5", "all.log.4", "all.log.3", "all.log.2", "all.log.1", "all.log"] {
        let part = read(dir.path().join(name));
        assert!(part.len() <= 30 && part.ends_with('\n'), "{name}: {part:?}");
        text += &part;
    }
    let expected: String = (1..41).map(|i| format!("m{i}\n")).collect();
    assert_eq!((text, counted(&sink, |c| &c.rotated)), (expected, 5));
}

#[tokio::test]
async fn a_line_longer_than_the_limit_has_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = rotating(dir.path(), "rotate_bytes = 10");
    let long = "x".repeat(100);
    deliver(&mut sink, &chunk(&[(1, "h", "a"), (2, "h", &long), (3, "h", "b")]), NOW).await;
    let read = |name: &str| read(dir.path().join(name));
    assert_eq!((read("all.log.2"), read("all.log.1"), read("all.log")), ("a\n".into(), long + "\n", "b\n".into()));
}

#[tokio::test]
async fn by_time_also_while_nothing_comes_and_after_a_restart() {
    const DAY: i64 = 86_400_000_000;
    let dir = tempfile::tempdir().unwrap();
    let midnight = NOW / DAY * DAY;
    let keys = "rotate_s = 86400\nclose_s = 1000000";
    let mut sink = rotating(dir.path(), keys);
    deliver(&mut sink, &chunk(&[(1, "h", "one")]), midnight - 2).await;
    deliver(&mut sink, &chunk(&[(2, "h", "two")]), midnight - 1).await;
    assert_eq!(names(dir.path()), ["all.log"]);
    deliver(&mut sink, &chunk(&[(3, "h", "three")]), midnight).await;
    assert_eq!(
        (read(dir.path().join("all.log.1")), read(dir.path().join("all.log"))),
        ("one\ntwo\n".into(), "three\n".into())
    );
    sink.idle(midnight + DAY - 1).await;
    assert_eq!(names(dir.path()), ["all.log", "all.log.1"]);
    sink.idle(midnight + DAY).await;
    assert_eq!(names(dir.path()), ["all.log", "all.log.1", "all.log.2"]);
    assert_eq!(read(dir.path().join("all.log")), "");
    // A file that was last written on an earlier day, found at start.
    drop(sink);
    fs::write(dir.path().join("all.log"), "old\n").unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_micros((midnight - 1) as u64);
    fs::File::options().write(true).open(dir.path().join("all.log")).unwrap().set_modified(old).unwrap();
    let mut sink = rotating(dir.path(), keys);
    deliver(&mut sink, &chunk(&[(4, "h", "new")]), midnight).await;
    assert_eq!(
        (read(dir.path().join("all.log.1")), read(dir.path().join("all.log"))),
        ("old\n".into(), "new\n".into())
    );
}

async fn compressed(how: &str, ending: &str, tool: &str) {
    let dir = tempfile::tempdir().unwrap();
    let keys = format!("rotate_bytes = 100000\nrotate_keep = 3\ncompress = \"{how}\"\nmode = \"0604\"");
    let mut sink = rotating(dir.path(), &keys);
    let mut lines = String::new();
    for part in 0..5u64 {
        let mut batch = Batch::default();
        for i in 0..1000 {
            let text = format!("part {part} line {i:05} {}", "abc".repeat(25));
            push(&mut batch, part * 1000 + i + 1, b"h", text.as_bytes(), NUMBER);
            lines += &format!("{text}\n");
        }
        // Another time, so that a rotation which had to wait is due again.
        deliver(&mut sink, &batch, NOW + part as i64 * 10_000_000).await;
        let compressed = || counted(&sink, |c| &c.compressed) + counted(&sink, |c| &c.compress_failed);
        until("compression", || compressed() >= counted(&sink, |c| &c.rotated)).await;
    }
    assert_eq!(counted(&sink, |c| &c.compress_failed), 0);
    assert!(counted(&sink, |c| &c.rotated) > 3);
    let name = |n: u32| format!("all.log.{n}{ending}");
    assert_eq!(names(dir.path()), ["all.log".to_owned(), name(1), name(2), name(3)]);
    let mut text = String::new();
    for n in [3, 2, 1] {
        let out = Command::new(tool).args(["-dc"]).arg(dir.path().join(name(n))).output().unwrap();
        assert!(out.status.success(), "{out:?}");
        text += &String::from_utf8(out.stdout).unwrap();
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(dir.path().join(name(n))).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o604);
    }
    text += &read(dir.path().join("all.log"));
    assert!(lines.ends_with(&text) && text.len() > 200_000);
    sink.close().await;
}

#[tokio::test]
async fn gzip_reads_what_we_compress() {
    compressed("gzip", ".gz", "gzip").await;
}

#[tokio::test]
async fn zstd_reads_what_we_compress() {
    compressed("zstd", ".zst", "zstd").await;
}

#[tokio::test]
async fn what_a_crash_left_uncompressed_is_compressed_next_time() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("all.log"), "current\n").unwrap();
    fs::write(dir.path().join("all.log.1"), "left\n").unwrap();
    fs::write(dir.path().join("all.log.1.tmp"), "half").unwrap();
    let mut sink = rotating(dir.path(), "rotate_bytes = 10\ncompress = \"gzip\"");
    deliver(&mut sink, &numbered(1..3), NOW).await;
    until("compression", || counted(&sink, |c| &c.compressed) == 2).await;
    assert_eq!(names(dir.path()), ["all.log", "all.log.1.gz", "all.log.2.gz"]);
}

#[tokio::test]
async fn none_kept_and_names_that_would_clash() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = rotating(dir.path(), "rotate_bytes = 10\nrotate_keep = 0");
    deliver(&mut sink, &numbered(1..9), NOW).await;
    assert_eq!((names(dir.path()), read(dir.path().join("all.log"))), (vec!["all.log".to_owned()], "m7\nm8\n".into()));
    let error = build("file = \"/var/log/${HOST}\"\nrotate_s = 60").unwrap_err();
    assert!(error.contains("add an ending"), "{error}");
}

#[tokio::test]
async fn a_rotation_that_fails_does_not_stop_the_lines() {
    let dir = tempfile::tempdir().unwrap();
    // A folder stands where the rotated file shall go.
    fs::create_dir_all(dir.path().join("all.log.1/x")).unwrap();
    let mut sink = rotating(dir.path(), "rotate_bytes = 10\nrotate_keep = 1");
    deliver(&mut sink, &numbered(1..9), NOW).await;
    assert_eq!(read(dir.path().join("all.log")).lines().count(), 8);
    assert_eq!((counted(&sink, |c| &c.rotated), counted(&sink, |c| &c.rotation_failed)), (0, 1));
    fs::remove_dir_all(dir.path().join("all.log.1")).unwrap();
    deliver(&mut sink, &numbered(9..10), NOW + 61_000_000).await;
    assert_eq!(read(dir.path().join("all.log")), "m9\n");
}
