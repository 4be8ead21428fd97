//! Debian's directory clients, first against slapd: what fails here is wrong with a client's configuration or with the
//! harness. The same clients and the same people then have a node as their only directory.

use std::process::Command;

use tempfile::TempDir;

use crate::{
    authority::Authority,
    harness::{Outcome, finish, wait_for},
    instance::{Directory, Instance, Key},
    region::{ELSEWHERE, HERE, Plan, Region},
    slapd::{BASE, GROUPS, PEOPLE, Person, Slapd, dn_of, group, skeleton},
};

/// What `pam_authz_search` asks: nslcd puts in the user's name and the host's own.
const ENFORCED: &str = "(&(objectClass=posixAccount)(uid=$username)(gatehouseAccess=$hostname))";

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
fn accounts_and_logins(instance: &Instance, members: &[&str]) {
    instance.wait_for_user("alice");
    let account = instance.run("getent", &["passwd", "alice"]).expect_ok();
    assert!(account.trim_end().ends_with(":20001:20000:alice:/home/alice:/bin/sh"), "{account}");
    let dba = instance.run("getent", &["group", "dba"]).expect_ok();
    let (head, found) = dba.trim().rsplit_once(':').unwrap();
    let mut found: Vec<_> = found.split(',').collect();
    found.sort_unstable();
    assert_eq!((head, &found[..]), ("dba:*:20100", members));
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
    accounts_and_logins(&instance, &["alice"]);
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
    accounts_and_logins(&instance, &["alice"]);
}

#[test]
fn a_node_serves_nslcd() {
    let region = Region::start(Plan::default());
    let mut instance = Instance::new(region.dir.path(), HERE, &region.authority);
    // The whole policy in one line. The name of the host comes from the host.
    instance.nslcd(&region.directory(ENFORCED));
    accounts_and_logins(&instance, &["alice", "carol"]);
    let (by_group, _) = instance.login("carol", "carol-secret");
    assert!(by_group.ok, "{by_group:?}");

    // A right that goes is gone at the next login.
    region.slapd.replace(&format!("cn=dba,{GROUPS}"), "memberUid", &["alice"]);
    region.wait_until_admitted("carol", false);
    assert!(!instance.login("carol", "carol-secret").0.ok);
    drop(instance);

    // On another instance it is the other way round.
    let mut instance = Instance::new(region.dir.path(), ELSEWHERE, &region.authority);
    instance.nslcd(&region.directory(ENFORCED));
    instance.wait_for_user("alice");
    let (refused, _) = instance.login("alice", "alice-secret");
    assert!(!refused.ok && refused.stderr.contains("Permission denied"), "{refused:?}");
    let (allowed, _) = instance.login("bob", "bob-secret");
    assert!(allowed.ok, "{allowed:?}");
}

#[test]
fn a_node_serves_sssd() {
    let region = Region::start(Plan::default());
    let mut instance = Instance::new(region.dir.path(), HERE, &region.authority);
    instance.sssd(&region.directory(&format!("(gatehouseAccess={HERE})")));
    accounts_and_logins(&instance, &["alice", "carol"]);
    let (by_group, _) = instance.login("carol", "carol-secret");
    assert!(by_group.ok, "{by_group:?}");
    region.slapd.replace(&format!("cn=dba,{GROUPS}"), "memberUid", &["alice"]);
    region.wait_until_admitted("carol", false);
    assert!(!instance.login("carol", "carol-secret").0.ok);
}

/// `ldapsearch`, `ldapcompare` and their like, with the authority of the region.
fn tool(region: &Region, name: &str, words: &[&str]) -> Outcome {
    let mut command = Command::new(name);
    command.env("LDAPTLS_CACERT", region.authority.ca()).args(["-x", "-o", "nettimeout=5"]).args(words);
    finish(name, &mut command)
}

/// Filters, and how many entries they find.
const FILTERS: [(&str, usize); 13] = [
    ("(uid=alice)", 1),
    ("(&(objectClass=posixAccount)(|(uid=alice)(uid=bob)))", 2),
    ("(&(objectClass=posixAccount)(!(uid=alice)))", 3),
    ("(uid=a*e)", 1),
    ("(UIDNumber=20001)", 1),
    ("(&(uidNumber>=20002)(uidNumber<=20003))", 2),
    ("(memberUid=carol)", 1),
    ("(uid=)", 0),
    ("(uid=\\2a)", 0),
    ("(noSuchAttribute=x)", 0),
    ("(&(objectClass=posixAccount)(gatehouseAccess=dev-mysql01.us-east-1b))", 2),
    ("(gatehouseAccess=no-such-host.us-east-1b)", 0),
    ("(userPassword=*)", 0),
];

#[test]
fn openldap_tools_find_what_they_expect() {
    let region = Region::start(Plan::default());
    let (plain, tls) = (format!("ldap://{}", region.ldap), format!("ldaps://{}", region.ldaps));
    let tool = |name: &str, words: &[&str]| tool(&region, name, words);
    let search = |words: &[&str]| tool("ldapsearch", &[&["-LLL", "-o", "ldif-wrap=no", "-H", &plain], words].concat());

    let root = search(&["-b", "", "-s", "base", "(objectClass=*)", "*", "+"]).expect_ok();
    for line in [
        "namingContexts: dc=acme,dc=private",
        "supportedLDAPVersion: 3",
        "supportedControl: 1.2.840.113556.1.4.319",
        "supportedExtension: 1.3.6.1.4.1.1466.20037",
        "supportedExtension: 1.3.6.1.4.1.4203.1.11.3",
        "supportedFeatures: 1.3.6.1.4.1.4203.1.5.1",
        "subschemaSubentry: ",
        "lastUSN: ",
    ] {
        assert!(root.contains(line), "rootDSE lacks {line}:\n{root}");
    }
    let schema = root.lines().find_map(|line| line.strip_prefix("subschemaSubentry: ")).unwrap();
    let schema = search(&["-b", schema, "-s", "base", "(objectClass=subschema)", "+"]).expect_ok();
    assert!(schema.contains("attributeTypes: ") && schema.contains("objectClasses: "), "{schema}");

    // Encrypted in both ways; a password is not taken for granted.
    let alice = dn_of("alice");
    let who = ["-D", &alice, "-w", "alice-secret"];
    for over in [&["-H", &plain, "-ZZ"][..], &["-H", &tls]] {
        let name = tool("ldapwhoami", &[over, &who].concat()).expect_ok();
        assert_eq!(name.trim(), format!("dn:{alice}"));
    }
    let empty = tool("ldapwhoami", &["-H", &tls, "-D", &alice, "-w", ""]);
    assert!(!empty.ok && empty.stderr.contains("(53)"), "a name without a password: {empty:?}");

    // Pages hold everything, once.
    let dns = |text: &str| {
        let mut found: Vec<_> = text.lines().filter(|line| line.starts_with("dn: ")).map(str::to_owned).collect();
        found.sort();
        found
    };
    let whole = search(&["-b", BASE, "(objectClass=*)", "1.1"]).expect_ok();
    let paged = search(&["-b", BASE, "-E", "pr=2/noprompt", "(objectClass=*)", "1.1"]).expect_ok();
    assert!(dns(&whole).len() > 8 && dns(&whole) == dns(&paged), "{whole}\n{paged}");

    for (filter, count) in FILTERS {
        let text = search(&["-b", BASE, filter, "1.1"]).expect_ok();
        assert_eq!(dns(&text).len(), count, "{filter}:\n{text}");
    }
    let hidden = search(&["-b", &alice, "-s", "base", "(objectClass=*)", "*", "+", "userPassword"]).expect_ok();
    assert!(!hidden.to_lowercase().contains("userpassword"), "{hidden}");
    assert!(hidden.contains("entryUUID: ") && hidden.contains("entryUSN: "), "{hidden}");

    let dba = format!("cn=dba,{GROUPS}");
    let truth = tool("ldapcompare", &["-H", &plain, &dba, "memberUid:alice"]);
    assert!(truth.stdout.contains("TRUE"), "{truth:?}");
    let lie = tool("ldapcompare", &["-H", &plain, &dba, "memberUid:bob"]);
    assert!(lie.stdout.contains("FALSE"), "{lie:?}");

    let refused = |outcome: &Outcome, code: &str| !outcome.ok && outcome.stderr.contains(code);
    let missing = search(&["-b", &dn_of("nobody-has-this-name"), "(objectClass=*)"]);
    assert!(refused(&missing, "(32)"), "{missing:?}");
    let critical = search(&["-b", BASE, "-e", "!1.2.3.4.5", "(uid=alice)"]);
    assert!(refused(&critical, "(12)"), "{critical:?}");
    let delete = tool("ldapdelete", &[&["-H", &tls], &who[..], &[&alice]].concat());
    assert!(refused(&delete, "(53)"), "{delete:?}");
    let limited = search(&["-b", BASE, "-z", "2", "(objectClass=*)", "1.1"]);
    assert!(refused(&limited, "(4)"), "{limited:?}");
    assert_eq!(dns(&limited.stdout).len(), 2);
}

/// python-ldap: schema, pages, comparison, binds on one connection, and the computed attribute.
const PYTHON: &str = r#"
import sys
import ldap, ldap.schema
from ldap.controls import SimplePagedResultsControl
url, ca, base, people = sys.argv[1:]
ldap.set_option(ldap.OPT_X_TLS_CACERTFILE, ca)
connection = ldap.initialize(url)
connection.start_tls_s()
_, schema = ldap.schema.urlfetch(url)
assert schema.get_obj(ldap.schema.AttributeType, "uidNumber"), "uidNumber is in the schema"
assert schema.get_obj(ldap.schema.ObjectClass, "posixAccount"), "posixAccount is in the schema"
control, found = SimplePagedResultsControl(True, size=3, cookie=""), []
while True:
    number = connection.search_ext(base, ldap.SCOPE_SUBTREE, "(objectClass=posixAccount)", ["uid"], serverctrls=[control])
    _, data, _, controls = connection.result3(number)
    found += [attributes["uid"][0].decode() for _, attributes in data]
    control.cookie = next(c for c in controls if c.controlType == control.controlType).cookie
    if not control.cookie:
        break
assert sorted(found) == ["alice", "bob", "carol", "dave"], found
alice = f"uid=alice,{people}"
try:
    connection.simple_bind_s(alice, "wrong")
    sys.exit("a wrong password was taken")
except ldap.INVALID_CREDENTIALS:
    pass
connection.simple_bind_s(alice, "alice-secret")
assert connection.whoami_s() == f"dn:{alice}", connection.whoami_s()
assert connection.compare_s(alice, "uid", b"alice")
try:
    connection.modify_s(alice, [(ldap.MOD_REPLACE, "cn", b"x")])
    sys.exit("a change was taken")
except ldap.UNWILLING_TO_PERFORM:
    pass
got = connection.search_s(base, ldap.SCOPE_SUBTREE, "(gatehouseAccess=dev-mysql01.us-east-1b)", ["uid"])
assert sorted(a["uid"][0].decode() for _, a in got) == ["alice", "carol"], got
for i in range(200):
    connection.search(base, ldap.SCOPE_SUBTREE, "(objectClass=*)")
    connection.abandon(connection.search(base, ldap.SCOPE_SUBTREE, "(objectClass=*)"))
assert connection.search_s(alice, ldap.SCOPE_BASE)[0][1]["sn"] == [b"alice"]
print("done")
"#;

#[test]
fn python_ldap_finds_what_it_expects() {
    let region = Region::start(Plan::default());
    let url = format!("ldap://{}", region.ldap);
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", PYTHON, &url, region.authority.ca().to_str().unwrap(), BASE, PEOPLE]);
    assert_eq!(finish("python3", &mut command).expect_ok().trim(), "done");
}

#[test]
fn sudo_follows_grants_by_way_of_sssd() {
    let region = Region::start(Plan::default());
    let grant = |words: &[&str]| region.node.command(&[&["grant"], words, &["--why", "test"]].concat()).expect_ok();
    grant(&["alice", "--on", "dev-mysql*", "--sudo", "/usr/bin/id"]);
    grant(&["bob", "--on", "web*", "--sudo"]);
    let mut instance = Instance::new(region.dir.path(), HERE, &region.authority);
    instance.sssd(&region.directory(&format!("(gatehouseAccess={HERE})")));
    instance.wait_for_user("alice");
    let rules = |user: &str| instance.run("sudo", &["-l", "-U", user]);
    let alice = wait_for("alice's rule", || Some(rules("alice").stdout).filter(|text| text.contains("/usr/bin/id")));
    assert!(!alice.contains("ALL\n"), "one command, not all: {alice}");
    let bob = rules("bob").stdout;
    assert!(bob.contains("not allowed to run sudo"), "bob has sudo elsewhere: {bob}");
}
