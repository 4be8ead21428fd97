//! `gatehouse check`: what is wrong or unwise, without starting anything.

use std::path::Path;

use inventory::source::{Defaults, read_folder};
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

/// Reads the inventory folder, if there is one; its faults are errors. Returns the number of rows.
fn folder(config: &Config, problems: &mut Vec<Problem>) -> Option<usize> {
    let inventory = config.inventory.as_ref()?;
    let path = inventory.path.as_ref().filter(|path| path.exists())?;
    match read_folder(path, &Defaults { product: inventory.product.clone() }) {
        Ok(rows) => Some(rows.len()),
        Err(faults) => {
            problems.extend(faults.into_iter().map(|fault| Problem {
                severity: Severity::Error,
                line: fault.line.and_then(|line| usize::try_from(line).ok()),
                text: if fault.key.is_empty() { fault.text } else { format!("{}: {}", fault.key, fault.text) },
                file: fault.file,
            }));
            None
        }
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
    fn verdicts() {
        let file = Path::new("g.toml");
        assert_eq!(verdict(file, 0, Some(3)), "g.toml is fine, and so is its inventory of 3 rows");
        assert_eq!(verdict(file, 2, None), "g.toml is valid, with 2 warnings");
    }
}
