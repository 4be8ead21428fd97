//! `gatehouse check`: what is wrong or unwise, without starting anything.

use std::path::Path;

use inventory::{
    Author, ChangeSet, Conflict, Row, RowChange, RowKey, State,
    source::{Defaults, Located, locate_folder},
};
use serde::Serialize;

use super::{print, print_json};
use crate::{
    args,
    config::{
        self, Config,
        problem::{Problem, Severity},
        review::review,
    },
    exit::{Exit, Failure},
    names,
};

/// Loads a configuration, for commands that need one.
///
/// # Errors
/// Exit code 78 with everything that is wrong.
pub(super) fn load(file: &Path) -> Result<Config, Failure> {
    config::load(file).map_err(|problems| {
        let details = problems.iter().map(ToString::to_string).collect();
        Failure::new(Exit::Config, format!("the configuration {} is wrong", file.display())).with_details(details)
    })
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Verdict<'a> {
    fine: bool,
    problems: &'a [Problem],
    hosts_and_records: Option<usize>,
}

/// `gatehouse check`
///
/// # Errors
/// Exit code 78 when the node would not start or the inventory would not be applied.
pub(super) fn run(args: &args::Check) -> Result<(), Failure> {
    let mut rows = None;
    let problems = match config::load(&args.config) {
        Err(problems) => problems,
        Ok(config) => {
            let mut problems = review(&config);
            rows = folder(&config, &mut problems);
            problems
        }
    };
    let errors = problems.iter().filter(|p| p.is_error()).count();
    if args.json {
        print_json(&Verdict { fine: errors == 0, problems: &problems, hosts_and_records: rows })?;
    } else {
        for problem in &problems {
            let word = if problem.is_error() { "error" } else { "warning" };
            print(&format!("{word}: {problem}"))?;
        }
        if errors == 0 {
            print(&verdict(&args.config, problems.len(), rows))?;
        }
    }
    match errors {
        0 => Ok(()),
        1 => Err(Failure::new(Exit::Config, format!("{} has an error", args.config.display()))),
        n => Err(Failure::new(Exit::Config, format!("{} has {n} errors", args.config.display()))),
    }
}

fn verdict(file: &Path, warnings: usize, rows: Option<usize>) -> String {
    let inventory = rows.map(|n| format!(", and so is its inventory of {n} rows")).unwrap_or_default();
    match warnings {
        0 => format!("{} is fine{inventory}", file.display()),
        1 => format!("{} is valid, with a warning{inventory}", file.display()),
        n => format!("{} is valid, with {n} warnings{inventory}", file.display()),
    }
}

/// Reads the inventory folder, if there is one, and judges it as the node would; faults are errors.
/// Returns the number of rows.
fn folder(config: &Config, problems: &mut Vec<Problem>) -> Option<usize> {
    let inventory = config.inventory.as_ref()?;
    let path = inventory.path.as_ref().filter(|path| path.exists())?;
    match locate_folder(path, &Defaults { product: inventory.product.clone() }) {
        Ok(rows) => {
            problems.extend(contradictions(path, &rows, &inventory.product));
            Some(rows.len())
        }
        Err(faults) => {
            let faults = faults.into_iter().filter(|fault| inventory::source::count(std::slice::from_ref(fault)) > 0);
            problems.extend(faults.map(|fault| Problem {
                severity: Severity::Error,
                line: fault.line.and_then(|line| usize::try_from(line).ok()),
                text: if fault.key.is_empty() { fault.text } else { format!("{}: {}", fault.key, fault.text) },
                file: fault.file,
            }));
            None
        }
    }
}

/// What of the rows contradicts each other, as state and as names: the node would refuse it.
fn contradictions(folder: &Path, rows: &[Located], product: &str) -> Vec<Problem> {
    let state = match State::from_rows(0, 1, 0, rows.iter().map(|at| at.row.clone())) {
        Ok(state) => state,
        Err(conflict) => {
            let place = rows.iter().find(|at| is_party(&conflict, &at.row.key()));
            return vec![contradiction(folder, place, conflict.to_string())];
        }
    };
    let found = |sentence: String| {
        let place = rows.iter().find(|at| opens(&sentence, &at.row));
        contradiction(folder, place, sentence)
    };
    names::review(product, &state, &all_new(rows)).into_iter().map(found).collect()
}

/// The change that adds every row.
fn all_new(rows: &[Located]) -> ChangeSet {
    let author = Author { who: "check".into(), when_ms: 0, why: String::new() };
    let rows = rows.iter().map(|at| RowChange { old: None, new: Some(at.row.clone()) }).collect();
    ChangeSet { epoch: 1, serial: 1, author, rows }
}

fn is_party(conflict: &Conflict, key: &RowKey) -> bool {
    match (conflict, key) {
        (Conflict::Twice { key: named, .. } | Conflict::Stale { key: named }, _) => **named == *key,
        (Conflict::Address { second, .. }, RowKey::Host(host)) => *second == format!("{}.{}", host.name, host.zone),
        (Conflict::Address { .. }, _) => false,
    }
}

/// Whether a sentence of the review speaks first of this row.
fn opens(sentence: &str, row: &Row) -> bool {
    let rest = |start: String| sentence.strip_prefix(&start).is_some_and(|rest| rest.starts_with([' ', ':']));
    match row {
        Row::Host(host) => {
            let short = host.short();
            let carries = |role| sentence.starts_with(&format!("role {role} of host {short} "));
            rest(format!("host {short}")) || host.roles.iter().any(carries)
        }
        Row::Record(record) => {
            let key = &record.key;
            rest(format!("record {} {} {}", key.name, key.rtype, key.data))
        }
        Row::Role(role) => rest(format!("role {} from {}", role.name, role.source)),
        Row::Grant(grant) => rest(format!("grant {}", grant.name)),
        Row::Entry(_) | Row::Cookie(_) => false,
    }
}

fn contradiction(folder: &Path, place: Option<&Located>, text: String) -> Problem {
    Problem {
        severity: Severity::Error,
        line: place.and_then(|at| at.line).and_then(|line| usize::try_from(line).ok()),
        file: place.map_or_else(|| folder.display().to_string(), |at| at.file.to_string()),
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(inventory: &str) -> (Result<(), Failure>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("inv")).unwrap();
        std::fs::write(dir.path().join("inv/hosts.toml"), inventory).unwrap();
        let text =
            "[node]\nname = \"a\"\nregion = \"b\"\ndata_dir = \"d\"\n[inventory]\nproduct = \"acme\"\npath = \"inv\"\n";
        std::fs::write(dir.path().join("gatehouse.toml"), text).unwrap();
        (run(&args::Check { config: dir.path().join("gatehouse.toml"), json: true }), dir)
    }

    #[test]
    fn the_inventory_is_checked_too() {
        let good = "[[host]]\nname = \"web01\"\nzone = \"us-east-1a\"\nprivate_ip = \"10.0.0.1\"\n";
        assert_eq!(checked(good).0, Ok(()));
        let failure = checked("[[host]]\nname = \"web_01\"\n").0.unwrap_err();
        assert_eq!(failure.exit, Exit::Config);
    }

    #[test]
    fn what_the_node_would_refuse_is_found_with_its_place() {
        let host = "[[host]]\nname = \"web\"\nzone = \"us-east-1a\"\nprivate_ip = \"10.0.0.1\"\n";
        let outside = "[[record]]\nname = \"www.elsewhere\"\ntype = \"A\"\ndata = \"10.0.0.9\"\n";
        let role = "[[role]]\nname = \"web\"\n";
        for (text, lines) in [(format!("{host}{outside}"), vec![5]), (format!("{host}{role}"), vec![1, 5])] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("a.toml"), text).unwrap();
            let rows = locate_folder(dir.path(), &Defaults { product: "acme".into() }).unwrap();
            let mut found = contradictions(dir.path(), &rows, "acme");
            found.sort_by_key(|problem| problem.line);
            assert!(found.iter().all(|problem| problem.file == "a.toml"), "{found:?}");
            assert_eq!(found.iter().filter_map(|problem| problem.line).collect::<Vec<_>>(), lines, "{found:?}");
        }
        let failure = checked(&format!("{host}{outside}")).0.unwrap_err();
        assert_eq!(failure.exit, Exit::Config);
    }

    #[test]
    fn verdicts() {
        let file = Path::new("g.toml");
        assert_eq!(verdict(file, 0, Some(3)), "g.toml is fine, and so is its inventory of 3 rows");
        assert_eq!(verdict(file, 2, None), "g.toml is valid, with 2 warnings");
    }
}
