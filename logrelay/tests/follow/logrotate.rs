//! Debian's logrotate, run as cron runs it, while a program writes.

use std::{fs, path::Path, process::Command, sync::Once};

use crate::rig::{Rig, numbered, text};

/// Installs it once, or says that it is missing.
fn installed() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let packages = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/packages");
        assert!(Command::new(packages).arg("logrotate").status().unwrap().success(), "{packages} failed");
    });
}

/// Runs logrotate with its own configuration and state.
fn rotate(folder: &Path, how: &str) {
    let config = folder.join("logrotate.conf");
    let log = folder.join("log/app.log");
    fs::write(&config, format!("{} {{\n rotate 3\n missingok\n {how}\n}}\n", log.display())).unwrap();
    installed();
    let mut command = Command::new("/usr/sbin/logrotate");
    command.arg("--force").arg("--state").arg(folder.join("logrotate.state")).arg(&config);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Writes, rotates at every hundredth line when half of them are read or all, and expects every line once.
fn every_line_comes_once(pattern: &str, how: &str) {
    let mut rig = Rig::new(pattern);
    let lines = numbered("a line of the application, number", 0..1000);
    for (round, lines) in lines.chunks(100).enumerate() {
        rig.append("app.log", text(&lines[..50]));
        // What nobody saw the beginning of cannot be recognised after it was rotated.
        rig.read();
        rig.append("app.log", text(&lines[50..]));
        if round % 2 > 0 {
            rig.read();
        }
        if round == 7 {
            rig.restart(true);
        }
        rotate(rig.folder.path(), how);
        rig.pass(2);
    }
    let got = rig.take();
    let other: Vec<_> = lines.iter().map(|line| (line, got.iter().filter(|got| *got == line).count())).collect();
    let other: Vec<_> = other.into_iter().filter(|(_, times)| *times != 1).collect();
    assert!(other.is_empty() && got.len() == lines.len(), "not once: {other:?}");
    rig.pass(61);
    rig.pass(1);
    assert!(rig.follower.report().iter().all(|file| file.lag == 0 && !file.rotated));
}

#[test]
fn create() {
    every_line_comes_once("*.log", "create");
}

#[test]
fn create_and_compress() {
    every_line_comes_once("app*", "create\n compress\n delaycompress");
}

#[test]
fn copytruncate() {
    every_line_comes_once("*.log", "copytruncate");
}

/// The copy matches the pattern as well, and is seen before the original is cut off.
#[test]
fn copytruncate_in_a_folder_that_is_followed_whole() {
    every_line_comes_once("*", "copytruncate");
}
