//! The names that an inventory makes, compared with golden files.
//!
//! `tests/golden/NAME.toml` is an inventory, `tests/golden/NAME.zones` what its zones hold, as dig prints a transfer,
//! sorted. `UPDATE_GOLDEN=1` writes the latter anew; read the difference before you commit it.

use std::{fs, path::Path};

use crate::{
    harness::{Node, Setup, host},
    message::{NOERROR, rtype},
    peers::transfer,
};

#[test]
fn names_are_those_of_the_golden_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut inventories: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    inventories.sort();
    assert!(inventories.len() >= 4, "golden inventories are missing from {}", folder.display());
    for path in inventories {
        let zones = zones_of(&fs::read_to_string(&path).unwrap());
        let golden = path.with_extension("zones");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &zones).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_else(|e| panic!("{}: {e}", golden.display()));
        let (ours, theirs): (Vec<_>, Vec<_>) = (zones.lines().collect(), expected.lines().collect());
        let extra: Vec<_> = ours.iter().filter(|line| !theirs.contains(line)).collect();
        let missing: Vec<_> = theirs.iter().filter(|line| !ours.contains(line)).collect();
        assert!(zones == expected, "{}: missing {missing:#?}, not expected {extra:#?}", golden.display());
    }
}

/// All zones that the first line of the inventory (`# zones: A B`) names, as text.
fn zones_of(inventory: &str) -> String {
    let list =
        inventory.lines().next().and_then(|line| line.strip_prefix("# zones:")).expect("first line: # zones: ...");
    let node = Node::start(Setup {
        inventory: vec![("hosts.toml", inventory.into())],
        dns: "transfer = [\"127.0.0.0/8\"]".into(),
        ..Setup::default()
    });
    let mut text = String::new();
    for zone in list.split_whitespace() {
        text += &format!("; {zone}\n");
        for line in transfer(node.dns, zone, None) {
            // The serial depends on how many change sets led here.
            let fields: Vec<_> = line.split(' ').collect();
            let line =
                if fields[3] == "SOA" { [&fields[..6], &["SERIAL"], &fields[7..]].concat().join(" ") } else { line };
            text += &line;
            text.push('\n');
        }
    }
    text
}

/// It was ready once the inventory was stored, and its zones were still being made.
#[test]
fn a_new_node_that_is_ready_answers_its_names() {
    let inventory: String = (0..20_000)
        .map(|n| host(&format!("web{n}"), "us-east-1a", &format!("10.0.{}.{}", n / 256, n % 256), &[]))
        .collect();
    let node = Node::with_inventory(&inventory);
    assert_eq!(node.ask("web19999.us-east-1a.acme.private", rtype::A).rcode(), NOERROR);
}

#[test]
fn what_is_transferred_is_what_is_answered() {
    let inventory =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/three-regions.toml")).unwrap();
    let node = Node::start(Setup {
        inventory: vec![("hosts.toml", inventory)],
        dns: "transfer = [\"127.0.0.0/8\"]".into(),
        ..Setup::default()
    });
    for line in transfer(node.dns, "acme.private", None) {
        let fields: Vec<_> = line.splitn(5, ' ').collect();
        let qtype = match fields[3] {
            "A" => rtype::A,
            "AAAA" => rtype::AAAA,
            "CNAME" => rtype::CNAME,
            _ => continue,
        };
        let reply = node.ask(fields[0], qtype);
        assert_eq!(reply.rcode(), NOERROR, "{line}");
        assert!(
            reply.answer.iter().any(|record| record.owner == fields[0] && record.rtype == qtype),
            "{line}: {reply:?}"
        );
    }
}
