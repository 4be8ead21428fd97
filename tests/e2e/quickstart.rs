//! `gatehouse quickstart`: the sample world starts without a configuration, and what it prints to try works as printed.

use std::{net::SocketAddr, path::Path, process::Command};

use crate::{
    harness::{GATEHOUSE, Process, finish, wait_for},
    ports::free_port,
};

/// A base such that the ports for DNS and HTTP are free.
pub(crate) fn port_base() -> u16 {
    free_port() - 53
}

/// The commands in what quickstart prints: indented lines that begin with a program, with or without a prompt.
pub(crate) fn commands(text: &str) -> Vec<String> {
    let programs = ["dig", "kdig", "curl", "gatehouse", "getent", "cargo", "logger"];
    let line = |line: &str| line.trim().trim_start_matches("$ ").to_owned();
    text.lines()
        .filter(|line| line.starts_with("  "))
        .map(line)
        .filter(|line| {
            let program = line.split_whitespace().next().unwrap_or("");
            programs.contains(&program.rsplit('/').next().unwrap_or(""))
        })
        .collect()
}

/// A shell in which `gatehouse` is the binary under test.
pub(crate) fn shell(mut command: Command, dir: &Path) -> Command {
    let bin = Path::new(GATEHOUSE).parent().unwrap().display();
    command.current_dir(dir).env("PATH", format!("{bin}:/usr/sbin:/usr/bin:/sbin:/bin"));
    command
}

#[test]
fn every_command_that_quickstart_prints_works() {
    let dir = tempfile::tempdir().unwrap();
    let base = port_base();
    let mut command = Command::new(GATEHOUSE);
    command
        .args(["quickstart", "--port-base", &base.to_string(), "--dir"])
        .arg(dir.path().join("world"))
        .current_dir(dir.path());
    let mut process = Process::start("quickstart", dir.path(), &mut command);
    let url = format!("http://127.0.0.1:{}/readyz", base + 80);
    wait_for("/readyz of quickstart", || {
        process.assert_running();
        finish("curl", Command::new("curl").args(["--silent", "--fail", &url])).ok.then_some(())
    });
    let printed = wait_for("commands to try", || Some(commands(&process.log())).filter(|list| list.len() >= 3));
    for line in &printed {
        let run = || finish("sh", shell(Command::new("sh"), dir.path()).args(["-c", line]));
        // A person types the next command later than a line needs to get onto the disk.
        let outcome = match line.contains(" logs grep ") {
            true => wait_for("the line in the spool", || Some(run()).filter(|outcome| outcome.ok)),
            false => run(),
        };
        let is_quiet = line.starts_with("logger ");
        assert!(outcome.ok && (is_quiet || !outcome.stdout.trim().is_empty()), "{line}: {outcome:?}");
        assert!(!outcome.stdout.contains("status: NXDOMAIN"), "{line}: {outcome:?}");
    }
    let dns = SocketAddr::from(([127, 0, 0, 1], base + 53));
    let soa = crate::harness::dig(dns, &["+short", "acme.private", "SOA"]).expect_ok();
    assert!(!soa.trim().is_empty());
    assert!(crate::harness::dig(dns, &["+tcp", "+short", "acme.private", "SOA"]).expect_ok() == soa);
    assert!(process.terminate(), "SIGTERM ends it with status 0");
}
