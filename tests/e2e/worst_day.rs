//! What must survive: kill -9 while changes are made, a broken inventory file, a full disk, a corrupt database.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::harness::{Node, Random, Setup, finish, host, run, wait_for};

const NAME: &str = "dev-mysql01.us-east-1b.acme.private";

fn inventory() -> String {
    host("dev-mysql01", "us-east-1b", "10.2.3.4", &["mysql"])
}

fn add(node: &Node, name: &str, ip: &str) -> bool {
    node.add_host(name, "us-east-1a", ip, "batch").ok
}

#[test]
fn every_acknowledged_change_survives_kill_9() {
    let mut node = Node::start(Setup::default());
    let mut random = Random(9);
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    for round in 0..8 {
        let before = acknowledged.len();
        let enough = before + 1 + random.below(40);
        let (done, stop) = (Mutex::new(std::mem::take(&mut acknowledged)), AtomicBool::new(false));
        thread::scope(|scope| {
            for writer in 0..3 {
                let (node, done, stop) = (&node, &done, &stop);
                scope.spawn(move || {
                    for i in 0.. {
                        let (name, ip) = (format!("r{round}w{writer}n{i}"), format!("10.{round}.{writer}.{}", i + 1));
                        if stop.load(Ordering::Relaxed) || i == 254 || !add(node, &name, &ip) {
                            return;
                        }
                        done.lock().unwrap().push((name, ip));
                    }
                });
            }
            wait_for("changes to be acknowledged", || (done.lock().unwrap().len() >= enough).then_some(()));
            // While the writers write.
            node.signal("KILL");
            stop.store(true, Ordering::Relaxed);
        });
        acknowledged = done.into_inner().unwrap();
        node.process().kill();
        node.launch();
        for (name, ip) in &acknowledged {
            let found = node.addresses(&format!("{name}.us-east-1a.acme.private"));
            assert_eq!(found, [ip.parse::<std::net::Ipv4Addr>().unwrap()], "round {round}: {name} was acknowledged");
        }
    }
    assert!(acknowledged.len() >= 8);
}

#[test]
fn a_stop_is_clean_and_a_start_needs_no_source() {
    let mut node = Node::with_inventory(&inventory());
    assert!(add(&node, "by-hand", "10.7.0.1"));
    assert!(node.process().terminate(), "SIGTERM ends it with status 0");
    // Names come back from the store; the folder is gone.
    fs::remove_dir_all(node.path("inventory")).unwrap();
    node.launch();
    assert_eq!(node.addresses(NAME).len(), 1);
    assert_eq!(node.addresses("by-hand.us-east-1a.acme.private").len(), 1);
}

#[test]
fn a_broken_file_keeps_the_old_state_and_is_named() {
    let node = Node::with_inventory(&inventory());
    let broken = [
        ("private_ip", "[[host]]\nname = \"x\"\nzone = \"us-east-1a\"\nprivate_ip = \"10.0.0.300\"\n", 4),
        ("colour", "\n[[host]]\nname = \"x\"\nzone = \"us-east-1a\"\nprivate_ip = \"10.0.0.3\"\ncolour = \"red\"\n", 6),
        ("name", "[[host]]\nname = \"no_label\"\nzone = \"us-east-1a\"\nprivate_ip = \"10.0.0.3\"\n", 2),
        ("private_ip", "[[host]]\nname = \"x\"\nzone = \"us-east-1a\"\nprivate_ip = \"fd00::1\"\n", 4),
    ];
    for (key, text, line) in broken {
        node.write_inventory("hosts.toml", text);
        let place = format!("hosts.toml:{line}: {key}: ");
        wait_for(&format!("status to name {place}"), || node.status().to_string().contains(&place).then_some(()));
        assert_eq!(node.addresses(NAME).len(), 1, "the old state stays: {key}");
    }
    // Mended: the new content is served and the complaint is gone.
    node.write_inventory("hosts.toml", &(inventory() + &host("second", "us-east-1a", "10.2.3.5", &[])));
    wait_for("the mended file", || (node.addresses("second.us-east-1a.acme.private").len() == 1).then_some(()));
    wait_for("status to forget the error", || (!node.status().to_string().contains("hosts.toml:")).then_some(()));
}

#[test]
fn conflicts_name_both_parties() {
    let node = Node::with_inventory(&inventory());
    let conflicts = [
        (
            "two hosts with one name",
            host("a", "us-east-1a", "10.0.0.1", &[]) + &host("a", "us-east-1a", "10.0.0.2", &[]),
            ["a.us-east-1a", "hosts.toml"],
        ),
        (
            "two hosts with one address",
            host("a", "us-east-1a", "10.0.0.1", &[]) + &host("b", "us-east-1a", "10.0.0.1", &[]),
            ["a.us-east-1a", "b.us-east-1a"],
        ),
        (
            "a role that is a host's name",
            host("web", "us-east-1a", "10.0.0.1", &[]) + &host("b", "us-east-1a", "10.0.0.2", &["web"]),
            ["web", "role"],
        ),
        (
            "CNAME beside other data",
            crate::harness::record("x.acme.private", "CNAME", "y.acme.private.")
                + &crate::harness::record("x.acme.private", "A", "192.0.2.1"),
            ["CNAME", "x.acme.private"],
        ),
    ];
    for (what, text, parties) in conflicts {
        node.write_inventory("hosts.toml", &text);
        wait_for(&format!("status to name {parties:?}: {what}"), || {
            let status = node.status().to_string();
            parties.iter().all(|party| status.contains(party)).then_some(())
        });
        assert_eq!(node.addresses(NAME).len(), 1, "the old state stays: {what}");
        node.write_inventory("hosts.toml", &inventory());
        wait_for("the conflict to be gone", || (!node.status().to_string().contains(parties[0])).then_some(()));
    }
}

/// A small file system of its own.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        run("mount", ["-t", "tmpfs", "-o", "size=24m", "gatehouse-test", dir.to_str().unwrap()]).expect_ok();
        Self(dir.into())
    }

    /// Leaves not one block free.
    fn fill(&self) {
        // dd fails when the disk is full: that is what it is called for.
        let out = format!("of={}", self.0.join("ballast").display());
        finish("dd", Command::new("dd").args(["if=/dev/zero", &out, "bs=4096", "oflag=append", "conv=notrunc"]));
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_changes_and_answers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(&dir.path().join("disk"));
    let mut node = Node::start(Setup { data_dir: Some(disk.0.clone()), ..Setup::default() });
    let mut kept = Vec::new();
    assert!(add(&node, "first", "10.6.0.1"));
    kept.push(("first".to_owned(), "10.6.0.1".to_owned()));
    disk.fill();
    // The log of SQLite may have some room inside; it does not last for long.
    let mut refused = None;
    for i in 0..20_000_u32 {
        let (name, ip) = (format!("n{i}"), format!("10.6.{}.{}", 1 + i / 250, 1 + i % 250));
        let outcome = node.add_host(&name, "us-east-1a", &ip, "batch");
        if !outcome.ok {
            refused = Some((name, outcome));
            break;
        }
        kept.push((name, ip));
    }
    let (name, outcome) = refused.expect("a change that cannot be stored must be refused");
    let said = format!("{}{}", outcome.stdout, outcome.stderr).to_lowercase();
    assert!(said.contains("disk") || said.contains("space") || said.contains("full"), "the reason is named: {said}");
    assert!(node.addresses(&format!("{name}.us-east-1a.acme.private")).is_empty(), "what was refused is not served");
    assert_eq!(node.addresses("first.us-east-1a.acme.private").len(), 1);

    node.process().kill();
    disk.fill();
    node.launch();
    for (name, _) in &kept {
        assert_eq!(
            node.addresses(&format!("{name}.us-east-1a.acme.private")).len(),
            1,
            "{name}, with the disk still full"
        );
    }
    disk.free();
    wait_for("changes to be taken again", || add(&node, "last", "10.6.200.1").then_some(()));
    assert_eq!(node.addresses("last.us-east-1a.acme.private").len(), 1);
}

/// The SQLite files in a folder, the largest first.
fn databases(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3\0")))
        .collect();
    found.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
    found
}

#[test]
fn a_corrupt_database_does_not_stop_the_answers() {
    let mut node = Node::with_inventory(&inventory());
    for i in 1..=200 {
        assert!(add(&node, &format!("n{i}"), &format!("10.5.0.{i}")));
    }
    assert!(node.process().terminate());
    let database = databases(&node.path("data")).into_iter().next().expect("a database in the data folder");
    let mut bytes = fs::read(&database).unwrap();
    // Garbage over everything but the first page, as a bad disk leaves it.
    let mut random = Random(13);
    bytes.iter_mut().skip(4096).for_each(|byte| *byte = random.next() as u8);
    fs::write(&database, bytes).unwrap();

    node.launch();
    wait_for("names after the corruption", || (node.addresses(NAME).len() == 1).then_some(()));
    for i in 1..=200 {
        assert_eq!(
            node.addresses(&format!("n{i}.us-east-1a.acme.private")).len(),
            1,
            "n{i} was acknowledged before the corruption"
        );
    }
    let status = node.status().to_string().to_lowercase();
    assert!(status.contains("corrupt") || status.contains("malformed"), "status says what happened: {status}");
}
