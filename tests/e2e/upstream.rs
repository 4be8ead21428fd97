//! Following slapd: its changes, its restarts, its losses, and its end.

use std::{fmt::Write as _, time::Duration};

use crate::{
    harness::{run, wait_for},
    region::{HERE, Plan, Region, content, search},
    slapd::{BASE, GROUPS, PEOPLE, Person, READER, READER_SECRET, dn_of, group, skeleton},
};

#[test]
fn changes_renames_and_deletes_are_followed() {
    let region = Region::start(Plan::default());
    let slapd = &region.slapd;
    assert!(region.admits("alice", HERE) && region.admits("carol", HERE));
    assert!(!region.admits("bob", HERE) && !region.admits("dave", HERE));

    slapd.replace(&dn_of("alice"), "cn", &["Alice", "Alice Example"]);
    slapd.replace(&dn_of("alice"), "mail", &["alice@acme.example"]);
    region.wait_for_content();
    slapd.replace(&dn_of("alice"), "mail", &[]);
    let erin = Person { uid: "erin", number: 20005, hosts: &["*"], key: &region.key.public };
    slapd.change(&erin.ldif());
    region.wait_for_content();
    assert!(region.admits("erin", HERE));

    // Rights that go: by the own entry, by the group's hosts, by membership, by the entry itself.
    slapd.replace(&erin.dn(), "host", &["web*.us-east-1"]);
    region.wait_until_admitted("erin", false);
    slapd.replace(&erin.dn(), "host", &["*"]);
    region.wait_until_admitted("erin", true);
    slapd.delete(&erin.dn());
    region.wait_until_admitted("erin", false);
    slapd.replace(&format!("cn=dba,{GROUPS}"), "memberUid", &["alice"]);
    region.wait_until_admitted("carol", false);
    region.wait_for_content();

    // A person's new name; the right goes along, the old name has none.
    slapd.rename(&dn_of("alice"), "uid=alicia", None);
    region.wait_for_content();
    assert!(region.admits("alicia", HERE) && !region.admits("alice", HERE));

    // A whole subtree's new name, and then its new place: only its top entry is sent.
    slapd.rename(PEOPLE, "ou=humans", None);
    region.wait_for_content();
    slapd.change(&format!("dn: ou=staff,{BASE}\nobjectClass: organizationalUnit\nou: staff\n"));
    slapd.rename(&format!("ou=humans,{BASE}"), "ou=everybody", Some(&format!("ou=staff,{BASE}")));
    region.wait_for_content();
    let moved = format!("uid=alicia,ou=everybody,ou=staff,{BASE}");
    let found = search(region.ldap, &[&moved, "base", "(objectClass=*)", "uid"]).expect_ok();
    assert!(found.contains("uid: alicia"), "{found}");
    assert!(region.admits("alicia", HERE) && !region.admits("bob", HERE));

    // A name that is deleted and given again at once is another entry.
    slapd.delete(&format!("uid=bob,ou=everybody,ou=staff,{BASE}"));
    let bob = Person { uid: "bob", number: 20009, hosts: &["*"], key: &region.key.public };
    slapd.change(&bob.ldif().replace(PEOPLE, &format!("ou=everybody,ou=staff,{BASE}")));
    region.wait_for_content();
    assert!(region.admits("bob", HERE));
}

/// Accounts that nobody logs in with.
fn accounts(prefix: &str, first: u32, count: u32) -> String {
    let account = |i| {
        format!(
            "dn: uid={prefix}{i},{PEOPLE}\nobjectClass: account\nobjectClass: posixAccount\nuid: {prefix}{i}\n\
             cn: {prefix}{i}\nuidNumber: {number}\ngidNumber: 20000\nhomeDirectory: /home/{prefix}{i}\n\n",
            number = first + i
        )
    };
    (0..count).map(account).collect()
}

/// Many changes, so that a session log of a few entries does not hold them; not so many deletes that they look wrong.
fn upheaval(region: &Region, round: u32) {
    let prefix = format!("temp{round}x");
    let mut ldif = accounts(&prefix, 30_000 + round * 100, 30);
    for i in 0..15 {
        write!(ldif, "dn: uid={prefix}{i},{PEOPLE}\nchangetype: delete\n\n").unwrap();
        write!(ldif, "dn: uid=fill{i},{PEOPLE}\nchangetype: modify\nreplace: cn\ncn: round {round}\n\n").unwrap();
    }
    region.slapd.change(&ldif);
}

#[test]
fn changes_are_caught_up_with_after_a_restart_of_either_side() {
    let mut region = Region::start(Plan { session_log: 5, ldif: accounts("fill", 40_000, 100), ..Plan::default() });
    // slapd restarts while the node waits for changes. Its session log is gone.
    assert!(region.slapd.process().terminate());
    assert!(region.admits("alice", HERE), "answers go on without the provider");
    region.slapd.launch();
    upheaval(&region, 1);
    region.wait_for_content();

    // The node is away for more changes than slapd remembers.
    assert!(region.node.process().terminate());
    upheaval(&region, 2);
    region.slapd.delete(&dn_of("dave"));
    region.node.launch();
    region.wait_for_content();

    // And killed, with slapd restarted meanwhile.
    region.node.process().kill();
    region.slapd.replace(&dn_of("alice"), "host", &["web*.us-east-1"]);
    assert!(region.slapd.process().terminate());
    region.slapd.launch();
    upheaval(&region, 3);
    region.node.launch();
    region.wait_for_content();
    // Not in the group's stead: alice is still a member of dba, whose hosts cover this one.
    assert!(region.admits("alice", HERE));
    region.slapd.replace(&format!("cn=dba,{GROUPS}"), "host", &["web*.us-east-1"]);
    region.wait_until_admitted("alice", false);
}

#[test]
fn a_provider_restored_empty_empties_nobody() {
    let mut region = Region::start(Plan::default());
    let before = content(region.ldap).unwrap();
    region.slapd.process().kill();
    region.slapd.wipe();
    region.slapd.load(&skeleton());
    region.slapd.launch();
    // Held back, and said so.
    region.wait_for_held();
    assert_eq!(content(region.ldap).unwrap(), before, "the old content is served");
    assert!(region.admits("alice", HERE));
    // After a restart of the node as well.
    region.node.process().kill();
    region.node.launch();
    assert_eq!(content(region.ldap).unwrap(), before);
    region.wait_for_held();
    assert!(region.admits("alice", HERE));

    // While the whole is read again, the change that is held is replaced by one with another number.
    wait_for("the change to be accepted", || {
        let held = region.wait_for_held();
        region.node.command(&["accept", &held, "--why", "the directory was emptied on purpose"]).ok.then_some(())
    });
    region.wait_until_admitted("alice", false);
    wait_for("what is left", || (content(region.ldap) == content(region.slapd.address)).then_some(()));
    // And new people come as ever.
    let erin = Person { uid: "erin", number: 20005, hosts: &["*"], key: &region.key.public };
    region.slapd.change(&erin.ldif());
    region.wait_until_admitted("erin", true);
}

#[test]
fn a_provider_gone_for_good_changes_no_answer() {
    let mut region = Region::start(Plan::default());
    let before = content(region.ldap).unwrap();
    region.slapd.process().kill();
    assert_eq!(content(region.ldap).unwrap(), before);
    region.node.process().kill();
    region.node.launch();
    assert_eq!(content(region.ldap).unwrap(), before, "also after a start without the provider");
    assert!(region.admits("alice", HERE) && !region.admits("bob", HERE));
    // The outage is named with the address that does not answer.
    region.wait_for_status(&region.relay.address.to_string());
    // Local changes of policy still work.
    region
        .node
        .command(&["grant", "dave", "--on", "dev-mysql*", "--why", "stands in while the directory is away"])
        .expect_ok();
    region.wait_until_admitted("dave", true);
}

#[test]
fn a_black_holed_provider_delays_nothing_and_is_followed_again() {
    let region = Region::start(Plan::default());
    region.relay.black_hole();
    region.slapd.replace(&dn_of("dave"), "host", &["*"]);
    for _ in 0..20 {
        let started = std::time::Instant::now();
        assert!(region.admits("alice", HERE) && !region.admits("dave", HERE));
        assert!(started.elapsed() < Duration::from_secs(2), "lookups wait for nobody: {:?}", started.elapsed());
    }
    region.relay.pass();
    region.wait_until_admitted("dave", true);
    region.wait_for_content();
}

#[test]
fn passwords_are_checked_with_and_without_the_provider() {
    let mut region = Region::start(Plan::default());
    let url = format!("ldaps://{}", region.ldaps);
    let ca = region.authority.ca();
    let bind = |user: &str, password: &str| {
        let mut command = std::process::Command::new("ldapwhoami");
        command.env("LDAPTLS_CACERT", &ca);
        command.args(["-x", "-H", &url, "-D", &dn_of(user), "-w", password]);
        crate::harness::finish("ldapwhoami", &mut command)
    };
    assert_eq!(bind("alice", "alice-secret").expect_ok().trim(), format!("dn:{}", dn_of("alice")));
    let wrong = bind("alice", "bob-secret");
    assert!(!wrong.ok && wrong.stderr.contains("(49)"), "{wrong:?}");
    let unknown = bind("nobody-has-this-name", "alice-secret");
    assert!(!unknown.ok && unknown.stderr.contains("(49)"), "{unknown:?}");

    // A new password holds at once, the old one does not.
    let hash = run("slappasswd", ["-s", "new-secret"]).expect_ok();
    region.slapd.replace(&dn_of("bob"), "userPassword", &[hash.trim()]);
    wait_for("the new password", || bind("bob", "new-secret").ok.then_some(()));
    assert!(!bind("bob", "bob-secret").ok);

    region.slapd.process().kill();
    assert!(bind("alice", "alice-secret").ok, "seen before");
    assert!(bind("carol", "carol-secret").ok, "never seen before: the replicated hash decides");
    assert!(!bind("carol", "alice-secret").ok);
    wait_for("the new password without the provider", || bind("bob", "new-secret").ok.then_some(()));
    assert!(!bind("bob", "bob-secret").ok);
}

#[test]
fn the_second_of_two_providers_is_followed_when_the_first_is_dead() {
    // Nobody listens at the first address.
    let dead = crate::harness::free_address();
    let region = Region::start(Plan { upstream_first: format!("\"ldaps://{dead}\", "), ..Plan::default() });
    assert!(region.admits("alice", HERE));
    region.slapd.change(&group("late", 20200, &["dave"], &["*"]));
    region.wait_until_admitted("dave", true);
}

#[test]
fn a_secret_that_is_rotated_is_read_anew() {
    let mut region = Region::start(Plan::default());
    assert!(region.slapd.process().terminate());
    region.slapd.launch();
    region.slapd.replace(READER, "userPassword", &["rotated-secret"]);
    assert_ne!(READER_SECRET, "rotated-secret");
    std::fs::write(region.node.path("ldap.secret"), "rotated-secret\n").unwrap();
    assert!(region.slapd.process().terminate());
    region.slapd.launch();
    region.slapd.replace(&dn_of("dave"), "host", &["*"]);
    region.wait_until_admitted("dave", true);
}
