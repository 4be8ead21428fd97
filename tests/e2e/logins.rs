//! Logins over SSH and with a password: allowed where granted, refused elsewhere, in bounded time, whatever is down.

use std::time::Duration;

use crate::{
    harness::{Outcome, free_address, wait_for},
    instance::{Instance, Sshd},
    region::{ELSEWHERE, HERE, Plan, Region},
    relay::Relay,
};

/// What pam_authz_search asks in the account phase.
const ENFORCED: &str = "(&(objectClass=posixAccount)(uid=$username)(gatehouseAccess=$hostname))";
const KEYS: &str = "/opt/bin/gatehouse keys %u";
/// For a whole login: names, groups, keys (asked for twice), the account phase and a shell. The deadline of one question
/// to the appliances is 2 s.
const LOGIN_MAX: Duration = Duration::from_secs(6);
/// When no appliance answers, each of up to four questions of a login waits for its deadline of 2 s.
const LOGIN_ALONE_MAX: Duration = Duration::from_secs(10);

/// An SSH login must be allowed, or refused, in time.
#[track_caller]
fn ssh(region: &Region, sshd: &Sshd, user: &str, allowed: bool, when: &str) {
    ssh_within(region, sshd, user, allowed, when, LOGIN_MAX);
}

#[track_caller]
fn ssh_within(region: &Region, sshd: &Sshd, user: &str, allowed: bool, when: &str, limit: Duration) {
    let (outcome, took) = sshd.login(user, &region.key, "id --user --name");
    let right = if allowed { outcome.ok && outcome.stdout.trim() == user } else { refused(&outcome) };
    assert!(right, "{user} allowed {allowed}, {when}: {outcome:?}\n{}", sshd.log());
    assert!(took < limit, "{user}, {when}: {took:?}");
}

fn refused(outcome: &Outcome) -> bool {
    !outcome.ok && outcome.stdout.is_empty() && outcome.stderr.contains("Permission denied")
}

/// alice and carol may log in here with key and password, bob has both and may not, dave may nowhere.
#[track_caller]
fn right_people_only(region: &Region, instance: &Instance, sshd: &Sshd, when: &str) {
    for (user, allowed) in [("alice", true), ("bob", false), ("carol", true), ("dave", false)] {
        ssh(region, sshd, user, allowed, when);
        let (outcome, took) = instance.login(user, &format!("{user}-secret"));
        assert_eq!(outcome.ok, allowed, "password of {user}, {when}: {outcome:?}");
        assert!(took < LOGIN_MAX, "password of {user}, {when}: {took:?}");
    }
}

#[test]
fn people_log_in_whatever_happens_to_the_upstream() {
    let mut region = Region::start(Plan::default());
    let mut instance = Instance::new(region.dir.path(), HERE, &region.authority);
    instance.nslcd(&region.directory(ENFORCED));
    instance.identity(&region.authority, HERE, &[region.ldaps]);
    instance.wait_for_user("alice");
    let sshd = instance.sshd(KEYS);
    right_people_only(&region, &instance, &sshd, "upstream up");

    region.relay.black_hole();
    right_people_only(&region, &instance, &sshd, "upstream black-holed");

    region.relay.pass();
    region.slapd.process().kill();
    right_people_only(&region, &instance, &sshd, "upstream down");

    region.node.process().kill();
    region.node.launch();
    // nslcd notices that its connection is gone at the first question.
    instance.wait_for_user("alice");
    right_people_only(&region, &instance, &sshd, "appliance restarted, upstream down");
}

#[test]
fn keys_are_given_only_to_the_host_that_asks() {
    let region = Region::start(Plan::default());
    let instance = Instance::new(region.dir.path(), HERE, &region.authority);
    instance.identity(&region.authority, HERE, &[region.ldaps]);
    let given = instance.keys("alice").expect_ok();
    assert!(given.contains(&region.key.public), "{given}");
    let refused = instance.keys("bob");
    assert!(refused.stdout.is_empty(), "{refused:?}");

    // The same questions from another host.
    let other = Instance::new(region.dir.path(), ELSEWHERE, &region.authority);
    other.identity(&region.authority, ELSEWHERE, &[region.ldaps]);
    assert!(other.keys("alice").stdout.is_empty());
    assert!(other.keys("bob").expect_ok().contains(&region.key.public));

    // Names that must not get anywhere.
    for odd in ["nobody-has-this-name", "*", "alice)(uid=*", "../alice", "alice\nbob", "", "-h", &"x".repeat(5000)] {
        let outcome = instance.keys(odd);
        assert!(!outcome.stdout.contains("ssh-"), "{odd:?}: {outcome:?}");
    }
}

#[test]
fn an_appliance_that_does_not_answer_costs_little() {
    let region = Region::start(Plan::default());
    let hole = Relay::to(region.ldaps);
    hole.black_hole();
    let mut instance = Instance::new(region.dir.path(), HERE, &region.authority);
    instance.nslcd(&region.directory(ENFORCED));
    // One is a black hole, at another nobody listens.
    instance.identity(&region.authority, HERE, &[hole.address, free_address(), region.ldaps]);
    instance.wait_for_user("alice");
    let sshd = instance.sshd(KEYS);
    right_people_only(&region, &instance, &sshd, "first appliance black-holed");
}

#[test]
fn the_last_good_answers_admit_when_no_appliance_does() {
    let region = Region::start(Plan::default());
    let relay = Relay::to(region.ldaps);
    let mut instance = Instance::new(region.dir.path(), HERE, &region.authority);
    // Accounts are in files here, and everything about access comes from gatehouse.
    let accounts: String = [("alice", 20001), ("bob", 20002), ("carol", 20003)]
        .map(|(name, number)| format!("{name}:x:{number}:20000::/home/{name}:/bin/sh\n"))
        .concat();
    let passwd = std::fs::read_to_string(instance.path("/etc/passwd")).unwrap();
    instance.write("/etc/passwd", &(passwd + &accounts), 0o644);
    instance.write(
        "/etc/pam.d/sshd",
        "auth required pam_deny.so\naccount required pam_exec.so quiet /opt/bin/gatehouse access check\n\
         session required pam_permit.so\n",
        0o644,
    );
    instance.identity(&region.authority, HERE, &[relay.address]);
    let sshd = instance.sshd(KEYS);
    ssh(&region, &sshd, "alice", true, "appliance up");
    ssh(&region, &sshd, "bob", false, "appliance up");

    relay.black_hole();
    ssh_within(&region, &sshd, "alice", true, "appliances gone, asked about before", LOGIN_ALONE_MAX);
    ssh_within(&region, &sshd, "bob", false, "appliances gone, asked about before", LOGIN_ALONE_MAX);
    ssh_within(&region, &sshd, "carol", false, "appliances gone, never asked about", LOGIN_ALONE_MAX);

    relay.pass();
    region.slapd.replace("cn=dba,ou=group,dc=acme,dc=private", "host", &["web*.us-east-1"]);
    region.slapd.replace("uid=alice,ou=people,dc=acme,dc=private", "host", &["web*.us-east-1"]);
    region.wait_until_admitted("alice", false);
    wait_for("the refusal to reach the instance", || {
        refused(&sshd.login("alice", &region.key, "true").0).then_some(())
    });
    relay.black_hole();
    ssh_within(&region, &sshd, "alice", false, "appliances gone after the right was taken away", LOGIN_ALONE_MAX);
}
