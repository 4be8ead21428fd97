//! The tour in README.md works as printed.
//!
//! A fenced block after the line `<!-- tour -->` is run in a network namespace where the quickstart runs as the README
//! starts it, but in a scratch folder. In a `console` block the lines after `$ ` are commands, and every other line must
//! appear in what the command before it prints, with `...` for anything; a `sh` block must succeed. Variables and the
//! working folder live on from command to command, as in a terminal.

use std::{fs, path::Path};

use crate::{
    harness::{GATEHOUSE, Netns, Process, finish, wait_for},
    quickstart::shell,
};

/// The folder that the tour names.
const TOUR: &str = "/tmp/gatehouse-tour";

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
    let _ = fs::remove_dir_all(TOUR);
    let netns = Netns::new("tour");
    let dir = tempfile::tempdir().unwrap();
    // `target/release/gatehouse`, as the README calls it from a checkout.
    fs::create_dir_all(dir.path().join("target")).unwrap();
    std::os::unix::fs::symlink(Path::new(GATEHOUSE).parent().unwrap(), dir.path().join("target/release")).unwrap();
    let folder = dir.path().join("tour");
    let start = quickstart_line(&readme).replace(TOUR_FOLDER, folder.to_str().unwrap());
    let mut command = shell(netns.command(GATEHOUSE), dir.path());
    let mut process = Process::start("quickstart", dir.path(), command.args(start.split(' ')));
    let url = "http://127.0.0.1:10080/readyz";
    wait_for("/readyz of quickstart", || {
        process.assert_running();
        finish("curl", netns.command("curl").args(["--silent", "--fail", url])).ok.then_some(())
    });
    for block in &blocks {
        run_block(&netns, dir.path(), &block.text.replace(TOUR_FOLDER, folder.to_str().unwrap()), block.console);
    }
}

/// Where the README keeps the sample world.
const TOUR_FOLDER: &str = "/tmp/gatehouse-tour";

/// The words after `cargo run --release --` in the line that starts the tour.
fn quickstart_line(readme: &str) -> &str {
    let tour = readme.split("\n## Tour\n").nth(1).expect("README.md has a section Tour");
    let line = tour.lines().find_map(|line| line.strip_prefix("cargo run --release -- "));
    line.expect("the tour begins with cargo run --release -- quickstart")
}

fn run_block(netns: &Netns, dir: &Path, text: &str, console: bool) {
    let run = |script: &str| {
        let session = dir.join("session").display().to_string();
        let script = format!(
            "[ -e {session} ] && . {session}\nset -euo pipefail\n{script}\n{{ export -p; echo \"cd '$PWD'\"; }} >{session}\n"
        );
        let outcome = finish("bash", shell(netns.command("bash"), dir).args(["-c", &script]));
        assert!(outcome.ok, "{script}\n{outcome:#?}");
        format!("{}{}", outcome.stdout, outcome.stderr)
    };
    if !console {
        run(text);
        return;
    }
    let (mut command, mut printed) = ("", String::new());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(next) = line.strip_prefix("$ ") {
            (command, printed) = (next, run(next));
        } else {
            let found = printed.lines().any(|have| matches(line, have));
            assert!(found, "expected {line:?} from {command:?}, which printed:\n{printed}");
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
