//! Started as root with an unprivileged user: what is left, and that it is enough.

use std::{collections::BTreeMap, fs, net::Ipv4Addr, os::unix::fs::MetadataExt};

use crate::{
    harness::{Node, Setup, host, own_loopback, run, wait_for},
    message::rtype,
};

/// Bit 10 of a set of capabilities (capabilities(7)).
const NET_BIND_SERVICE: u64 = 1 << 10;

fn start() -> Node {
    Node::start(Setup {
        node: "user = \"nobody\"",
        inventory: vec![("hosts.toml", host("filed", "us-east-1a", "10.0.0.1", &["web"]))],
        dns: "query_log = \"{dir}/data/queries.log\"\n".into(),
        listen: Some((own_loopback(), 53).into()),
        ..Setup::default()
    })
}

/// The fields of every thread's status, as the kernel tells them.
fn threads(node: &mut Node) -> Vec<BTreeMap<String, String>> {
    let tasks = format!("/proc/{}/task", node.process().id());
    // A thread may end between the listing and the reading.
    let read = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).ok();
    let fields = |text: String| {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.map(|(name, value)| (name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" "))).collect()
    };
    fs::read_dir(tasks).unwrap().filter_map(|task| read(task.unwrap())).map(fields).collect()
}

/// User and group of `nobody`.
fn nobody() -> [u32; 2] {
    ["-u", "-g"].map(|which| run("id", [which, "nobody"]).expect_ok().trim().parse().unwrap())
}

#[test]
fn what_was_started_as_root_keeps_one_capability_and_works() {
    let mut node = start();
    check_rights(&mut node);
    wait_for("the inventory folder", || (!node.addresses("filed.us-east-1a.acme.private").is_empty()).then_some(()));

    // The store and the control socket.
    node.add_host("added", "us-east-1b", "10.0.0.2", "web").expect_ok();
    wait_for("the added host", || {
        (node.addresses("added.us-east-1b.acme.private") == [Ipv4Addr::new(10, 0, 0, 2)]).then_some(())
    });
    let files: Vec<_> = fs::read_dir(node.path("data")).unwrap().map(|file| file.unwrap()).collect();
    assert!(!files.is_empty());
    for file in files {
        assert_eq!(file.metadata().unwrap().uid(), nobody()[0], "{}", file.path().display());
    }

    // SIGHUP: the query log is opened anew, and the folder is read again.
    fs::rename(node.path("data/queries.log"), node.path("data/queries.1")).unwrap();
    node.write_inventory("more.toml", &host("late", "us-east-1a", "10.0.0.3", &["web"]));
    node.signal("HUP");
    wait_for("the log to be opened anew, by the new user", || {
        node.ask("late.us-east-1a.acme.private", rtype::A);
        fs::metadata(node.path("data/queries.log"))
            .ok()
            .filter(|log| log.uid() == nobody()[0] && log.len() > 0)
            .map(drop)
    });
    wait_for("the new file", || (!node.addresses("late.us-east-1a.acme.private").is_empty()).then_some(()));

    // As root again, in folders that are not root's any more.
    assert!(node.process().terminate());
    node.launch();
    check_rights(&mut node);
    assert_eq!(node.addresses("added.us-east-1b.acme.private"), [Ipv4Addr::new(10, 0, 0, 2)], "from the store");
    node.add_host("second", "us-east-1b", "10.0.0.4", "web").expect_ok();
}

fn check_rights(node: &mut Node) {
    let [uid, gid] = nobody();
    let threads = threads(node);
    assert!(threads.len() > 3, "{threads:?}");
    assert!(threads.iter().any(|thread| thread["Name"] == "jemalloc_bg_thd"), "{threads:?}");
    for thread in threads {
        let field = |name: &str| thread[name].as_str();
        let set = |name: &str| u64::from_str_radix(field(name), 16).unwrap();
        let name = field("Name");
        // Real, effective, saved, and that of the file system: none is a way back.
        assert_eq!(field("Uid"), [uid; 4].map(|id| id.to_string()).join(" "), "{name}");
        assert_eq!(field("Gid"), [gid; 4].map(|id| id.to_string()).join(" "), "{name}");
        assert_eq!(field("Groups"), gid.to_string(), "{name}");
        assert_eq!((set("CapInh"), set("CapAmb")), (0, 0), "{name}");
        assert_eq!((set("CapEff"), set("CapPrm")), (NET_BIND_SERVICE, NET_BIND_SERVICE), "{name}");
        assert_eq!(field("NoNewPrivs"), "1", "{name}");
    }
}
