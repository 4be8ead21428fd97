//! What sshd and PAM see of `gatehouse keys` and `gatehouse access check` when nobody can decide: exit codes, which are
//! decisions, and the lines in the system's log.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    authority::Authority,
    harness::{GATEHOUSE, wait_for},
    instance::Instance,
    ports::free_port,
    region::{HERE, Plan, Region},
    relay::Relay,
};

/// An instance whose only appliance refuses connections, and the log's end of its socket.
fn alone() -> (TempDir, UnixDatagram) {
    let dir = TempDir::new().unwrap();
    let ca = Authority::new(dir.path()).ca();
    let log = UnixDatagram::bind(dir.path().join("log")).unwrap();
    let appliance = format!("127.0.0.1:{}", free_port());
    let config = format!("appliances = [\"{appliance}\"]\nca = {ca:?}\ncache_dir = \"answers\"\nsyslog = \"log\"\n");
    fs::write(dir.path().join("client.toml"), config).unwrap();
    (dir, log)
}

fn command(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(GATEHOUSE);
    command.args(words).arg("--config").arg(dir.join("client.toml")).stdin(Stdio::null());
    command
}

fn logged(log: &UnixDatagram) -> String {
    let mut octets = [0; 2048];
    let n = log.recv(&mut octets).unwrap();
    String::from_utf8(octets[..n].into()).unwrap()
}

#[test]
fn no_keys_and_a_failure_when_nobody_can_decide() {
    let (dir, log) = alone();
    let output = command(dir.path(), &["keys", "alice"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(69), 0), "{output:?}");
    let line = logged(&log);
    assert!(line.starts_with("<84>") && line.contains("keys: nobody can decide user=alice service=sshd"), "{line}");
    assert!(line.contains("no earlier answer is on disk"), "{line}");
}

#[test]
fn pam_gets_its_own_numbers_and_the_person_a_sentence() {
    let (dir, log) = alone();
    let from_pam = |kind: &str| {
        let mut command = command(dir.path(), &["access", "check"]);
        command.envs([("PAM_USER", "alice"), ("PAM_SERVICE", "login"), ("PAM_TYPE", kind), ("PAM_RHOST", "10.9.8.7")]);
        command.output().unwrap()
    };
    let output = from_pam("account");
    assert_eq!(output.status.code(), Some(9), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("nobody can decide whether alice may use login here: no appliance answered"), "{said}");
    let line = logged(&log);
    assert!(line.contains("check: nobody can decide user=alice service=login rhost=10.9.8.7"), "{line}");
    assert_eq!(from_pam("close_session").status.code(), Some(0), "nobody is kept from logging out");
    let mut nobody = command(dir.path(), &["access", "check"]);
    assert_eq!(nobody.env_remove("PAM_USER").output().unwrap().status.code(), Some(64));
}

#[test]
fn a_reader_that_has_gone_away_does_not_turn_a_denial_into_a_yes() {
    let (dir, _log) = alone();
    for stream in ["stdout", "stderr"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = command(dir.path(), &["access", "check", "alice"]);
        match stream {
            "stdout" => command.stdout(writer).stderr(Stdio::null()),
            _ => command.stdout(Stdio::null()).stderr(writer),
        };
        assert_eq!(command.status().unwrap().code(), Some(9), "{stream}");
    }
}

#[test]
fn a_wrong_configuration_is_named_with_its_line() {
    let (dir, _log) = alone();
    let file = dir.path().join("client.toml");
    let text = fs::read_to_string(&file).unwrap() + "hegde_ms = 5\n";
    fs::write(&file, text).unwrap();
    let output = command(dir.path(), &["keys", "alice"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("client.toml:5: unknown key `hegde_ms`; did you mean `hedge_ms`?"), "{said}");
}

#[test]
fn after_a_silence_the_next_questions_do_not_wait_for_the_whole_deadline() {
    const DEADLINE: Duration = Duration::from_secs(3);
    let region = Region::start(Plan::default());
    let relay = Relay::to(region.ldaps);
    let (dir, log) = alone();
    let certificate = region.authority.issue("host", &format!("DNS:{HERE}.acme.private"));
    let config = format!(
        "appliances = [\"{}\"]\nca = {:?}\ncert = {:?}\nkey = {:?}\ndeadline_ms = {}\ncache_dir = \"answers\"\n\
         syslog = \"log\"\n",
        relay.address,
        region.authority.ca(),
        certificate.chain,
        certificate.key,
        DEADLINE.as_millis()
    );
    fs::write(dir.path().join("client.toml"), config).unwrap();
    // How long it took, and whether the answer is an appliance's or the disk's. It is always the same.
    let ask = |words: &[&str]| {
        let started = Instant::now();
        let output = command(dir.path(), words).output().unwrap();
        let (took, line) = (started.elapsed(), logged(&log));
        assert!(output.status.success() && line.contains("allow user=alice"), "{output:?}\n{line}");
        (took, line.contains(" via=disk "))
    };
    let (keys, check) = (["keys", "alice"], ["access", "check", "alice"]);
    assert!(!ask(&keys).1 && !ask(&check).1);

    relay.black_hole();
    let (took, kept) = ask(&keys);
    assert!(kept && took >= DEADLINE, "{took:?}");
    for question in [&keys[..], &keys, &check] {
        let (took, kept) = ask(question);
        assert!(kept && took < DEADLINE * 2 / 3, "{question:?}: {took:?}");
    }

    relay.pass();
    wait_for("an answer of the appliance", || (!ask(&keys).1).then_some(()));
    relay.black_hole();
    let (took, kept) = ask(&keys);
    assert!(kept && took >= DEADLINE, "an answer has ended the silence: {took:?}");
}

#[test]
fn every_address_of_a_name_is_asked() {
    const NAME: &str = "ldap.us-east-1.acme.private";
    let region = Region::start(Plan::default());
    let instance = Instance::new(region.dir.path(), HERE, &region.authority);
    instance.identity(&region.authority, HERE, &[region.ldaps]);
    // At the address that comes first nobody listens.
    instance.write("/etc/host.conf", "multi on\n", 0o644);
    instance.write("/etc/gai.conf", "precedence ::ffff:127.0.0.9/128 100\nprecedence ::ffff:0:0/96 10\n", 0o644);
    instance.write("/etc/hosts", &format!("127.0.0.9 {NAME}\n127.0.0.1 {NAME}\n"), 0o644);
    let addresses = instance.run("getent", &["ahosts", NAME]).expect_ok();
    assert!(addresses.starts_with("127.0.0.9 ") && addresses.contains("127.0.0.1 "), "{addresses}");
    let file = "/etc/gatehouse/client.toml";
    let config = fs::read_to_string(instance.path(file)).unwrap();
    let named = config.replace(&region.ldaps.to_string(), &format!("{NAME}:{}", region.ldaps.port()));
    instance.write(file, &named, 0o644);
    let given = instance.keys("alice").expect_ok();
    assert!(given.contains(&region.key.public), "{given}");
}
