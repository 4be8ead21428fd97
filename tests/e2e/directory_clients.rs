//! Debian's directory clients, first against slapd: what fails here is wrong with a client's configuration or with the
//! harness. The same clients and the same people then have a node as their only directory.

use tempfile::TempDir;

use crate::{
    authority::Authority,
    instance::{Directory, Instance, Key},
    slapd::{Person, Slapd, group, skeleton},
};

const HERE: &str = "dev-mysql01.us-east-1b";
const ELSEWHERE: &str = "web01.us-east-1b";

/// alice may log in here, bob elsewhere; their keys.
fn people(dir: &TempDir) -> (Key, String) {
    let key = Key::new(dir.path(), "key");
    let alice = Person { uid: "alice", number: 20001, hosts: &[HERE], key: &key.public };
    let bob = Person { uid: "bob", number: 20002, hosts: &[ELSEWHERE], key: &key.public };
    let ldif = skeleton() + &alice.ldif() + &bob.ldif() + &group("dba", 20100, &["alice"], &[]);
    (key, ldif)
}

/// What must hold for any client and any directory: names, groups, who may log in with a password.
#[track_caller]
fn accounts_and_logins(instance: &Instance) {
    instance.wait_for_user("alice");
    let account = instance.run("getent", &["passwd", "alice"]).expect_ok();
    assert!(account.trim_end().ends_with(":20001:20000:alice:/home/alice:/bin/sh"), "{account}");
    assert_eq!(instance.run("getent", &["group", "dba"]).expect_ok().trim(), "dba:*:20100:alice");
    assert_eq!(
        instance.run("id", &["alice"]).expect_ok().trim(),
        "uid=20001(alice) gid=20000(staff) groups=20000(staff),20100(dba)"
    );
    assert!(!instance.knows("nobody-has-this-name"));

    let (allowed, _) = instance.login("alice", "alice-secret");
    assert!(allowed.ok, "{allowed:?}");
    let (wrong, _) = instance.login("alice", "bob-secret");
    assert!(!wrong.ok && wrong.stderr.contains("Authentication failure"), "{wrong:?}");
    let (refused, _) = instance.login("bob", "bob-secret");
    assert!(refused.stdout.contains("successfully authenticated"), "the password is right: {refused:?}");
    assert!(!refused.ok && refused.stderr.contains("Permission denied"), "but not here: {refused:?}");
}

#[test]
fn slapd_serves_nslcd_sssd_and_sshd() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new(dir.path());
    let (key, ldif) = people(&dir);
    let slapd = Slapd::start(dir.path(), &authority, &ldif, 100);
    let host = format!("(host={HERE})");
    let of_user = |filter: &str| format!("(&(objectClass=posixAccount)(uid=$username){filter})");

    let directory = |access_filter| Directory { address: slapd.address, start_tls: true, access_filter };
    let mut instance = Instance::new(dir.path(), HERE, &authority);
    instance.nslcd(&directory(of_user(&host)));
    accounts_and_logins(&instance);
    let script = format!(
        "#!/bin/sh\nexec ldapsearch -x -LLL -o ldif-wrap=no -H {} -b dc=acme,dc=private \
         \"(&(uid=$1){host})\" sshPublicKey | sed -n 's/^sshPublicKey: //p'\n",
        slapd.url()
    );
    instance.write("/opt/bin/keys", &script, 0o755);
    let sshd = instance.sshd("/opt/bin/keys %u");
    let (allowed, _) = sshd.login("alice", &key, "id --user --name");
    assert_eq!(allowed.stdout.trim(), "alice", "{allowed:?}\n{}", sshd.log());
    let (refused, _) = sshd.login("bob", &key, "id --user --name");
    assert!(!refused.ok && refused.stderr.contains("Permission denied"), "{refused:?}");
    drop(instance);

    let mut instance = Instance::new(dir.path(), "dev-mysql02.us-east-1b", &authority);
    instance.sssd(&directory(host));
    accounts_and_logins(&instance);
}
