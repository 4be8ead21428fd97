//! A full disk: nothing is lost, nothing is doubled, no line is torn. On a small file system of its own (needs root).

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use logrelay::message::Batch;

use crate::common::{EPOCH, NOW, NUMBER, counted, push, rest, sink};

/// A file system of 256 KiB, unmounted at the end.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(path: &'a Path) -> Self {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(path).status();
        assert!(mounted.unwrap().success(), "this test mounts a file system: run it as root");
        Self(path)
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

/// The lines of each file.
fn lines(dir: &Path) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".log") {
            let text = fs::read_to_string(entry.path()).unwrap();
            assert!(text.is_empty() || text.ends_with('\n'), "a torn line in {name}");
            found.insert(name, text.lines().map(str::to_owned).collect());
        }
    }
    found
}

async fn fill_and_recover(sequenced: bool) {
    let dir = tempfile::tempdir().unwrap();
    let small = Small::mount(dir.path());
    let ballast = dir.path().join("ballast");
    fs::write(&ballast, vec![0; 196 << 10]).unwrap();
    let mut sink = sink(&format!("file = \"{}/${{HOST}}.log\"\ntemplate = \"$MSG\\n\"\n", dir.path().display()));
    // 1,000 lines of about 100 octets for five files: more than there is room.
    let mut batch = Batch::default();
    let mut expected = BTreeMap::<String, Vec<String>>::new();
    for i in 1..=1000u64 {
        let (host, text) = (format!("host{}", i * 7 % 5), format!("{i:06} {}", "x".repeat(90 + i as usize % 20)));
        push(&mut batch, if sequenced { i } else { 0 }, host.as_bytes(), text.as_bytes(), NUMBER);
        expected.entry(format!("{host}.log")).or_default().push(text);
    }
    let (mut done, mut messages, mut now_us) = (0, 0, NOW);
    for attempt in 0..4 {
        let trouble = sink.deliver(rest(&batch, done), EPOCH, NUMBER, now_us).await.unwrap_err();
        assert!(trouble.retry && trouble.reason.contains("make room"), "{trouble:?}");
        done += trouble.records;
        messages += trouble.delivered.messages;
        now_us += 2_000_000;
        let written = lines(dir.path());
        assert_eq!(written.values().map(Vec::len).sum::<usize>() as u64, messages, "attempt {attempt}");
        for (name, some) in &written {
            assert_eq!(expected[name][..some.len()], some[..], "{name} has the first lines, in order");
        }
        if attempt == 1 {
            // A little room, so that one more write is cut short.
            fs::OpenOptions::new().write(true).open(&ballast).unwrap().set_len(176 << 10).unwrap();
        }
    }
    assert!(messages > 0 && counted(&sink, |c| &c.torn) > 0, "{messages} {:?}", sink.counters());
    fs::remove_file(&ballast).unwrap();
    messages += sink.deliver(rest(&batch, done), EPOCH, NUMBER, now_us).await.unwrap().messages;
    let written = lines(dir.path());
    assert_eq!(messages, 1000);
    for (name, all) in &expected {
        let first = written[name].iter().zip(all).position(|(one, other)| one != other);
        assert_eq!((written[name].len(), first), (all.len(), None), "{name}");
    }
    drop(sink);
    drop(small);
}

#[tokio::test]
async fn a_full_disk_loses_and_doubles_nothing() {
    fill_and_recover(true).await;
}

#[tokio::test]
async fn nor_does_it_for_records_without_sequences() {
    fill_and_recover(false).await;
}
