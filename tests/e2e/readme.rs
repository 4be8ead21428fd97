//! The tour in README.md works as printed.
//!
//! A fenced block after the line `<!-- tour -->` is run in a network namespace where `gatehouse quickstart` runs with
//! its defaults. In a `console` block the lines after `$ ` are commands, and every other line must appear in what they
//! print, with `...` for anything; a `sh` block must succeed.

use std::{fs, path::Path, process::Command};

use crate::{
    harness::{GATEHOUSE, Netns, Process, finish, wait_for},
    quickstart::shell,
};

#[derive(Debug)]
struct Block {
    console: bool,
    text: String,
}

fn blocks(readme: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "<!-- tour -->" {
            continue;
        }
        let fence = lines.by_ref().find(|line| !line.trim().is_empty()).unwrap_or("");
        let console = match fence.trim() {
            "```console" => true,
            "```sh" => false,
            other => panic!("after <!-- tour --> comes ```console or ```sh, not {other:?}"),
        };
        let text: Vec<_> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
        found.push(Block { console, text: text.join("\n") + "\n" });
    }
    found
}

/// Whether `line` is `pattern`, where `...` stands for anything and white space for any white space.
fn matches(pattern: &str, line: &str) -> bool {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (pattern, line) = (squeeze(pattern), squeeze(line));
    let mut rest = &line[..];
    for (i, part) in pattern.split("...").enumerate() {
        let part = part.trim();
        let Some(at) = rest.find(part) else { return false };
        if i == 0 && at != 0 {
            return false;
        }
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || pattern.ends_with("...")
}

#[test]
fn the_tour_works_as_printed() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README.md");
    let blocks = blocks(&readme);
    assert!(blocks.len() >= 3, "the tour in README.md has at least three blocks marked <!-- tour -->");
    let netns = Netns::new("tour");
    let dir = tempfile::tempdir().unwrap();
    // `target/release/gatehouse`, as the README calls it from a checkout.
    fs::create_dir_all(dir.path().join("target")).unwrap();
    std::os::unix::fs::symlink(Path::new(GATEHOUSE).parent().unwrap(), dir.path().join("target/release")).unwrap();
    let mut process =
        Process::start("quickstart", dir.path(), shell(netns.command(GATEHOUSE), dir.path()).arg("quickstart"));
    wait_for("/readyz of quickstart", || {
        process.assert_running();
        finish("curl", netns.command("curl").args(["--silent", "--fail", "http://127.0.0.1:10080/readyz"]))
            .ok
            .then_some(())
    });
    for block in &blocks {
        run_block(&netns, dir.path(), block);
    }
}

fn run_block(netns: &Netns, dir: &Path, block: &Block) {
    let run = |script: &str| {
        let mut command: Command = shell(netns.command("bash"), dir);
        let outcome = finish("bash", command.args(["-euo", "pipefail", "-c", script]));
        assert!(outcome.ok, "{script}\n{outcome:#?}");
        format!("{}{}", outcome.stdout, outcome.stderr)
    };
    if !block.console {
        run(&block.text);
        return;
    }
    let mut printed = String::new();
    for line in block.text.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(command) = line.strip_prefix("$ ") {
            printed = run(command);
        } else {
            assert!(printed.lines().any(|have| matches(line, have)), "expected {line:?}, printed:\n{printed}");
        }
    }
}

#[test]
fn patterns_match_with_dots() {
    assert!(matches("a   b", "a b"));
    assert!(matches("serial ... hosts 40", "serial 12 of today, hosts 40"));
    assert!(matches("a ...", "a b c"));
    assert!(!matches("a", "a b"));
    assert!(!matches("b", "a b"));
}
