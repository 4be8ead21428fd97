//! Client, region relay, central relay: nothing that was acknowledged is lost, whatever dies.

use std::{collections::HashSet, fs, net::SocketAddr, thread, time::Duration};

use super::{
    addresses, assert_balanced, client::Relp, client::line, counted, lines_of, node, out, to_one_file, wait_for_lines,
};
use crate::harness::{Node, Random, run, wait_for};

/// A relay in the middle: RELP in, RELP out.
fn region(listen: SocketAddr, central: SocketAddr, more: &str) -> String {
    format!(
        "[[logrelay.source]]\nname = \"net\"\nkeep_hostname = true\nlisten = [\"relp://{listen}\"]\n\
         [[logrelay.destination]]\nname = \"central\"\nsyslog = \"relp://{central}\"\nreopen_s = 1\n\
         [[logrelay.route]]\nto = [\"central\"]\n{more}\n"
    )
}

/// Sends so many lines, each until it is acknowledged, over as many connections as it takes. Returns the lines that were
/// sent more than once.
fn send_all(to: SocketAddr, ids: impl Iterator<Item = String>) -> HashSet<String> {
    let (mut again, mut todo) = (HashSet::new(), ids.map(|id| line(&id)).collect::<Vec<_>>());
    wait_for("every line to be acknowledged", || {
        let Ok(mut relp) = Relp::connect(to) else { return None };
        let mut rest = std::mem::take(&mut todo).into_iter();
        let mut failed = false;
        for text in rest.by_ref() {
            if relp.send(&text).is_err() {
                failed = true;
                break;
            }
        }
        failed |= relp.finish().is_err();
        if !failed {
            return Some(());
        }
        let left = relp.left();
        again.extend(left.iter().cloned());
        todo = left.into_iter().chain(rest).collect();
        None
    });
    again
}

/// Every id is there; only what the client itself sent again may be there more than once.
fn assert_all(found: &[String], ids: impl Iterator<Item = String>, again: &HashSet<String>) {
    let counts = counted(found);
    for id in ids {
        let count = counts.get(id.as_str()).copied().unwrap_or(0);
        assert!(count >= 1, "{id} was acknowledged and is not there");
        assert!(count == 1 || again.contains(&line(&id)), "{id} is there {count} times, although it was sent once");
    }
}

/// The messages that the spool of a node holds.
fn spooled(node: &Node) -> Vec<String> {
    let text = node.command(&["logs", "grep", "--since", "1h", "--limit", "100000", "--json"]).expect_ok();
    let message =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["message"].as_str().unwrap().to_owned();
    text.lines().map(message).collect()
}

#[test]
fn what_is_acknowledged_arrives_once_whoever_is_killed() {
    let [relp, hop] = addresses();
    let mut central = node(&to_one_file(&format!("\"relp://{hop}\""), ""));
    let mut region = node(&region(relp, hop, ""));
    let ids = |client: usize| (0..3_000).map(move |i| format!("c{client}-{i:05}"));
    let again = thread::scope(|scope| {
        let clients: Vec<_> = (0..3).map(|client| scope.spawn(move || send_all(relp, ids(client)))).collect();
        let mut random = Random(4);
        while clients.iter().any(|client| !client.is_finished()) {
            thread::sleep(Duration::from_millis(50 + random.below(400) as u64));
            let victim = if random.below(2) == 0 { &mut central } else { &mut region };
            victim.process().kill();
            victim.launch();
        }
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<HashSet<_>>()
    });
    wait_for("everything at the central relay", || {
        let found = spooled(&central);
        let have: HashSet<&str> = found.iter().map(String::as_str).collect();
        (0..3).flat_map(ids).all(|id| have.contains(id.as_str())).then_some(())
    });
    assert_all(&spooled(&central), (0..3).flat_map(ids), &again);
    wait_for("every line in the file", || {
        let lines = lines_of(&out(&central));
        let have: HashSet<&str> = lines.iter().map(String::as_str).collect();
        (0..3).flat_map(ids).all(|id| have.contains(id.as_str())).then_some(())
    });
    assert_balanced(&region);
    assert_balanced(&central);
}

/// Points at which the process dies by itself; each must lose nothing.
const POINTS: [&str; 14] = [
    "spool.before-write",
    "spool.half-write",
    "spool.before-sync",
    "spool.after-sync",
    "spool.before-frontier",
    "seal.before",
    "seal.after-create",
    "seal.before-dirsync",
    "cursor.before-write",
    "cursor.half-write",
    "cursor.before-sync",
    "delete.before",
    "delete.after-cursor-sync",
    "delete.half",
];

#[test]
fn a_relay_that_dies_at_any_fault_point_loses_nothing() {
    // Small segments that are not kept, so that every point is passed again and again.
    let small = "[logrelay.spool]\nsegment_bytes = 65536\nmax_bytes = 67108864\nkeep_s = 0\n";
    let [relp, hop] = addresses();
    let central = node(&to_one_file(&format!("\"relp://{hop}\""), ""));
    let mut region = node(&region(relp, hop, small));
    for (round, point) in POINTS.into_iter().enumerate() {
        region.process().kill();
        region.launch_with(
            "GATEHOUSE_FAULT",
            &format!("{point}=abort@{}", if point.starts_with("delete") { 1 } else { 2 + round % 3 }),
        );
        let ids = || (0..1_200).map(move |i| format!("{point}-{i:05}"));
        let again = thread::scope(|scope| {
            let client = scope.spawn(|| send_all(relp, ids()));
            wait_for(&format!("the death at {point}"), || region.process().has_ended().then_some(()));
            region.launch();
            client.join().unwrap()
        });
        wait_for(&format!("everything of {point}"), || {
            let lines = lines_of(&out(&central));
            let have: HashSet<&str> = lines.iter().map(String::as_str).collect();
            ids().all(|id| have.contains(id.as_str())).then_some(())
        });
        assert_all(&lines_of(&out(&central)), ids(), &again);
    }
    assert_balanced(&central);
}

#[test]
fn a_link_that_drops_packets_loses_nothing_and_doubles_nothing() {
    let [relp, hop] = addresses();
    let central = node(&to_one_file(&format!("\"relp://{hop}\""), ""));
    let link = crate::relay::Relay::to(hop);
    let region = node(&region(relp, link.address, "").replace("reopen_s = 1", "reopen_s = 1\ntimeout_s = 1"));
    let ids = || (0..4_000).map(|i| format!("cut-{i:05}"));
    let again = thread::scope(|scope| {
        let client = scope.spawn(|| send_all(relp, ids()));
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(300));
            link.black_hole();
            thread::sleep(Duration::from_millis(1_500));
            link.pass();
        }
        client.join().unwrap()
    });
    assert!(again.is_empty(), "the region's relay was there all the time");
    let found = wait_for_lines(&out(&central), 4_000);
    assert_all(&found, ids(), &again);
    assert_eq!(found.len(), 4_000);
    assert_balanced(&region);
    assert_balanced(&central);
}

#[test]
fn a_full_disk_keeps_what_was_acknowledged() {
    let small = tempfile::tempdir().unwrap();
    let mounted = small.path().to_str().unwrap().to_owned();
    run("mount", ["-t", "tmpfs", "-o", "size=8m", "none", &mounted]).expect_ok();
    let [relp, hop] = addresses();
    // Nobody is there yet who would take it: the spool grows until the disk is full.
    let spool = format!("full = \"block\"\n[logrelay.spool]\npath = \"{mounted}/spool\"\nsegment_bytes = 1048576\n");
    let region = node(&region(relp, hop, &spool));
    let ids = || (0..60_000).map(|i| format!("full-{i:06}-{}", "x".repeat(60)));
    thread::scope(|scope| {
        let client = scope.spawn(|| send_all(relp, ids()));
        wait_for("a spool that says that it is full", || {
            region.status()["stalls"]
                .as_array()
                .unwrap()
                .iter()
                .any(|stall| stall["what"] != "the destination central")
                .then_some(())
        });
        let central = node(&to_one_file(&format!("\"relp://{hop}\""), ""));
        let again = client.join().unwrap();
        let found = wait_for_lines(&out(&central), 60_000);
        assert_all(&found, ids(), &again);
        assert_balanced(&central);
    });
    assert_balanced(&region);
    drop(region);
    run("umount", ["--lazy", &mounted]).expect_ok();
}

#[test]
fn a_dead_destination_costs_the_other_nothing() {
    let [tcp, nobody] = addresses();
    let dead = format!(
        "[[logrelay.destination]]\nname = \"dead\"\nsyslog = \"tcp://{nobody}\"\n[[logrelay.route]]\nto = [\"dead\"]\n"
    );
    let region = node(&to_one_file(&format!("\"tcp://{tcp}\""), &dead));
    let text: String = (0..20_000).map(|i| line(&format!("d-{i:05}")) + "\n").collect();
    let mut stream = std::net::TcpStream::connect(tcp).unwrap();
    std::io::Write::write_all(&mut stream, text.as_bytes()).unwrap();
    let found = wait_for_lines(&out(&region), 20_000);
    assert_eq!(found.len(), 20_000);
    let stalls = region.status()["stalls"].clone();
    let stall = stalls.as_array().unwrap().iter().find(|stall| stall["what"] == "the destination dead").unwrap();
    assert!(stall["reason"].as_str().unwrap().contains(&nobody.to_string()), "{stall}");
    // It comes to life, and gets everything from the spool.
    let late = node(&to_one_file(&format!("\"tcp://{nobody}\""), ""));
    assert_eq!(wait_for_lines(&out(&late), 20_000).len(), 20_000);
    assert_balanced(&region);
    let _ = fs::remove_file(out(&region));
}
