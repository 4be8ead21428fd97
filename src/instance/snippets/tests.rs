use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::ValueEnum;

use super::*;
use crate::{config, instance::settings::Settings};

/// The file that a snippet is for, as deploy/instance calls it.
fn file_name(program: Program) -> &'static str {
    match program {
        Program::Sshd => "sshd.conf",
        Program::Pam => "pam.conf",
        Program::Nss => "nsswitch.conf",
        Program::Nslcd => "nslcd.conf",
        Program::Sssd => "sssd.conf",
        Program::Sudo => "sudo-ldap.conf",
        Program::Resolv => "resolv.conf",
        Program::Client => "client.toml",
        Program::Rsyslog => "rsyslog.conf",
        Program::SyslogNg => "syslog-ng.conf",
        Program::Journald => "journald.conf",
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn snippet(config: &Config, program: Program, appliances: &[&str]) -> Result<String, Failure> {
    let appliance = appliances.iter().map(|ip| ip.parse().unwrap()).collect();
    text(config, &args::ClientConfig { program, config: PathBuf::new(), appliance })
}

/// Every snippet of a configuration is what the files of a folder hold; with UPDATE_GOLDEN they are written.
fn compare(config: &Path, appliances: &[&str], folder: &Path) {
    let config = config::load(config).unwrap();
    for program in Program::value_variants() {
        let text = snippet(&config, *program, appliances).unwrap_or_else(|failure| {
            format!("gatehouse: {}", failure.sentence.replace(&format!("{}/", root().display()), ""))
        }) + "\n";
        let is_name = |(name, _): (&str, &str)| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase());
        let left = text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).any(is_name);
        assert!(!left, "{program:?}: something was not filled in: {text}");
        let file = folder.join(file_name(*program));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(folder).unwrap();
            fs::write(&file, &text).unwrap();
        }
        let golden = fs::read_to_string(&file).unwrap();
        assert_eq!(text, golden, "{}: run with UPDATE_GOLDEN=1 and read the difference", file.display());
    }
}

#[test]
fn shipped_snippets_are_those_of_the_shipped_configuration() {
    compare(&root().join("deploy/gatehouse.toml"), &["10.0.0.2", "10.0.1.2"], &root().join("deploy/instance"));
}

#[test]
fn snippets_are_those_of_the_golden_files() {
    let folder = root().join("tests/golden/client-config");
    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") {
            compare(&path, &[], &path.with_extension(""));
            seen += 1;
        }
    }
    assert!(seen >= 2, "configurations are missing from {}", folder.display());
}

#[test]
fn the_shipped_client_configuration_can_be_read() {
    let settings = Settings::load(&root().join("deploy/instance/client.toml")).unwrap();
    assert_eq!(settings.appliances().len(), 2);
}

fn parsed(sections: &str) -> Config {
    let node = "[node]\nname = \"gw1\"\nregion = \"us-east-1\"\ndata_dir = \"d\"\n";
    config::parse(Path::new("/etc/gatehouse/gatehouse.toml"), &format!("{node}{sections}")).unwrap()
}

#[test]
fn what_a_configuration_lacks_is_said() {
    let sentence = |sections: &str, program| snippet(&parsed(sections), program, &[]).unwrap_err().sentence;
    assert_eq!(
        sentence("", Program::Nslcd),
        "/etc/gatehouse/gatehouse.toml has no section [directory]: there is nothing to ask for people"
    );
    assert_eq!(sentence("", Program::Resolv), "/etc/gatehouse/gatehouse.toml has no section [dns]");
    let plain = "[directory]\nlisten = [\"0.0.0.0:389\"]\nbase = \"dc=acme\"\n";
    assert!(sentence(plain, Program::Nslcd).contains("say by --appliance 10.0.0.2 how instances reach it"));
    assert!(sentence(plain, Program::Client).contains("listens on no address in listen_tls of [directory]"));
    assert!(sentence("[dns]\nlisten = [\"10.0.0.2:5353\"]\n", Program::Resolv).contains("can only name port 53"));
}

#[test]
fn named_appliances_take_the_place_of_the_wildcard() {
    let config = parsed("[directory]\nlisten = [\"0.0.0.0:1389\"]\nbase = \"dc=acme\"\n");
    let text = snippet(&config, Program::Nslcd, &["10.0.0.2", "fd00::2"]).unwrap();
    assert!(text.contains("\nuri ldap://10.0.0.2:1389/ ldap://[fd00::2]:1389/\n"), "{text}");
}
