//! Single cases, as a specification.

use directory::policy::{Access, Question, Reason, Verdict};
use inventory::{
    Grant, Host, HostState,
    change::Row,
    entry::{Attribute, Entry, Value},
};

use crate::world::{NOW, entry, grant, host, state};

fn hosts() -> Vec<Row> {
    let mysql = Host { roles: ["mysql".into()].into(), ..host(1, "dev-mysql01", "us-east-1b", "acme") };
    let web = host(2, "web01", "us-east-1b", "acme");
    let twins = [host(3, "twin", "us-east-1a", "acme"), host(4, "twin", "us-east-1b", "acme")];
    let gone = Host { state: HostState::Terminated, ..host(5, "old01", "us-east-1a", "acme") };
    [mysql, web, gone].into_iter().chain(twins).map(|host| Row::Host(host.into())).collect()
}

fn ada(more: &[(&str, &str)]) -> Entry {
    let mut list = vec![("objectClass", "posixAccount"), ("uid", "ada")];
    list.extend(more);
    entry(1, "uid=ada,dc=acme", &list)
}

fn access(entries: &[Entry], grants: &[Grant]) -> Access {
    let mut rows = hosts();
    rows.extend(entries.iter().cloned().map(|entry| Row::Entry(entry.into())));
    rows.extend(grants.iter().cloned().map(|grant| Row::Grant(grant.into())));
    Access::build(state(&rows))
}

fn ask<'a>(user: &'a str, host: &'a str, service: &'a str) -> Question<'a> {
    Question { user, host, service, now_s: NOW, stale: false }
}

fn verdict(access: &Access, host: &str, service: &str) -> (Reason, String) {
    let decision = access.decide(&ask("ada", host, service));
    assert_eq!(decision.verdict, decision.reason.verdict());
    (decision.reason, decision.rule.map(|rule| rule.to_string()).unwrap_or_default())
}

#[test]
fn nobody_comes_in_without_a_grant() {
    let access = access(&[ada(&[])], &[]);
    assert_eq!(verdict(&access, "web01", "sshd"), (Reason::NoGrant, String::new()));
}

#[test]
fn what_does_not_exist_or_is_not_clear_is_denied() {
    let two = entry(2, "uid=bob,ou=a,dc=acme", &[("objectClass", "account"), ("uid", "bob")]);
    let twin = entry(3, "uid=bob,ou=b,dc=acme", &[("objectClass", "account"), ("uid", "BOB")]);
    let access = access(&[ada(&[]), two, twin], &[grant("g", &["ada", "bob"], &["*"])]);
    for (user, host, reason) in [
        ("nobody", "web01", Reason::UnknownUser),
        ("bob", "web01", Reason::AmbiguousUser),
        ("ada", "web02", Reason::UnknownHost),
        ("ada", "", Reason::UnknownHost),
        ("ada", "twin", Reason::AmbiguousHost),
        ("ada", "twin.us-east-1", Reason::AmbiguousHost),
        ("ada", "twin.us-east-1a", Reason::Granted),
        ("ada", "old01", Reason::HostGone),
        (&"x".repeat(100_000), "web01", Reason::UnknownUser),
        ("ada", &"x.".repeat(100_000), Reason::UnknownHost),
    ] {
        assert_eq!(access.decide(&ask(user, host, "sshd")).reason, reason, "{host:.40}");
    }
}

#[test]
fn a_denial_wins_within_its_subjects() {
    let all = grant("all", &["ada", "bob"], &["*"]);
    let but = grant("but", &["ada"], &["!role:mysql"]);
    let bob = entry(2, "uid=bob,dc=acme", &[("objectClass", "account"), ("uid", "bob")]);
    let access = access(&[ada(&[]), bob], &[all, but]);
    let denied = (Reason::DeniedByPattern, "grant but pattern !role:mysql".to_owned());
    assert_eq!(verdict(&access, "dev-mysql01", "sshd"), denied);
    assert_eq!(verdict(&access, "dev-mysql01", "sudo"), denied, "a denial without services is for sudo as well");
    assert_eq!(verdict(&access, "web01", "sshd").0, Reason::Granted);
    assert!(access.decide(&ask("bob", "dev-mysql01", "sshd")).is_allowed());
}

#[test]
fn a_denial_ends_with_its_grant_and_keeps_to_its_services() {
    let over = Grant { until: Some(NOW), ..grant("over", &["ada"], &["!*"]) };
    let cron = Grant { services: ["cron".into()].into(), ..grant("cron", &["ada"], &["!*"]) };
    let access = access(&[ada(&[])], &[over, cron, grant("all", &["ada"], &["*"])]);
    assert_eq!(verdict(&access, "web01", "sshd").0, Reason::Granted);
    assert_eq!(verdict(&access, "web01", "cron").0, Reason::DeniedByPattern);
}

#[test]
fn near_misses_have_their_reasons() {
    let login = Grant { services: ["login".into()].into(), ..grant("login", &["ada"], &["web01"]) };
    let old = Grant { until: Some(NOW), ..grant("old", &["ada"], &["dev-*"]) };
    let access = access(&[ada(&[])], &[login, old]);
    let rule = |text: &str| text.to_owned();
    assert_eq!(verdict(&access, "web01", "sshd"), (Reason::ServiceNotGranted, rule("grant login pattern web01")));
    assert_eq!(verdict(&access, "web01", "sudo"), (Reason::SudoNotGranted, rule("grant login pattern web01")));
    assert_eq!(verdict(&access, "dev-mysql01", "sshd"), (Reason::GrantExpired, rule("grant old pattern dev-*")));
    assert_eq!(verdict(&access, "dev-mysql01", "sudo").0, Reason::NoGrant);
}

#[test]
fn locked_and_ended_accounts_stay_out() {
    for (attribute, value, reason) in [
        ("pwdAccountLockedTime", "000001010000Z", Reason::AccountLocked),
        ("pwdAccountLockedTime", "20260101000000Z", Reason::Granted),
        ("pwdAccountLockedTime", "19691231235959Z", Reason::AccountLocked),
        ("pwdAccountLockedTime", "20990101000000Z", Reason::Granted),
        ("pwdAccountLockedTime", "soon", Reason::AccountLocked),
        ("nsAccountLock", "True", Reason::AccountLocked),
        ("nsAccountLock", "FALSE", Reason::Granted),
        ("nsAccountLock", "perhaps", Reason::AccountLocked),
        ("loginDisabled", "TRUE", Reason::AccountLocked),
        ("accountUnlockTime", "19700101000000Z", Reason::AccountLocked),
        ("accountUnlockTime", "20260101000000Z", Reason::Granted),
        ("accountUnlockTime", "20990101000000Z", Reason::AccountLocked),
        ("pwdStartTime", "20260101000000Z", Reason::Granted),
        ("pwdStartTime", "20990101000000Z", Reason::AccountLocked),
        ("pwdStartTime", "later", Reason::AccountLocked),
        ("userAccountControl", "512", Reason::Granted),
        ("userAccountControl", "514", Reason::AccountLocked),
        ("userAccountControl", "x", Reason::AccountLocked),
        ("accountExpires", "0", Reason::Granted),
        ("accountExpires", "9223372036854775807", Reason::Granted),
        ("accountExpires", "133485408000000000", Reason::AccountExpired),
        ("accountExpires", "157469184000000000", Reason::Granted),
        ("accountExpires", "never", Reason::AccountExpired),
        ("krbPrincipalExpiration", "20260101000000Z", Reason::AccountExpired),
        ("krbPrincipalExpiration", "20990101000000Z", Reason::Granted),
        ("shadowExpire", "-1", Reason::Granted),
        ("shadowExpire", "0", Reason::AccountExpired),
        ("shadowExpire", "20601", Reason::AccountExpired),
        ("shadowExpire", "20602", Reason::Granted),
        ("shadowExpire", "x", Reason::AccountExpired),
        ("pwdEndTime", "20260101000000Z", Reason::AccountExpired),
        ("pwdEndTime", "20990101000000Z", Reason::Granted),
        ("loginShell", "/usr/sbin/nologin", Reason::NoLoginShell),
        ("loginShell", "/bin/false", Reason::NoLoginShell),
        ("loginShell", "/bin/zsh", Reason::Granted),
    ] {
        let access = access(&[ada(&[(attribute, value)])], &[grant("g", &["ada"], &["*"])]);
        let (given, rule) = verdict(&access, "web01", "sshd");
        assert_eq!(given, reason, "{attribute}={value}");
        if reason != Reason::Granted {
            assert_eq!(rule, format!("{attribute} of uid=ada,dc=acme"));
        }
    }
}

#[test]
fn a_lock_after_wrong_passwords_ends_as_its_policy_says() {
    let began = NOW - 3600;
    let time = |seconds: u64| {
        let time = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap();
        time.strftime("%Y%m%d%H%M%SZ").to_string()
    };
    let policy = |attributes: &[(&str, &str)]| {
        let mut list = vec![("objectClass", "pwdPolicy")];
        list.extend(attributes);
        entry(7, "cn=Default,dc=acme", &list)
    };
    let locked = |began: u64, policies: &[Entry]| {
        let mut entries =
            vec![ada(&[("pwdAccountLockedTime", &time(began)), ("pwdPolicySubentry", "CN=default, dc=acme")])];
        entries.extend(policies.iter().cloned());
        verdict(&access(&entries, &[grant("g", &["ada"], &["*"])]), "web01", "sshd").0 == Reason::AccountLocked
    };
    assert!(!locked(began, &[policy(&[("pwdLockoutDuration", "3600")])]));
    assert!(locked(began, &[policy(&[("pwdLockoutDuration", "3601")])]));
    for for_good in [&[][..], &[("pwdLockoutDuration", "0")], &[("pwdLockoutDuration", "x")]] {
        assert!(locked(1_500_000_000, &[policy(for_good)]), "{for_good:?}");
    }
    assert!(locked(NOW - directory::policy::LOCKOUT_S + 1, &[]));
    assert!(!locked(NOW - directory::policy::LOCKOUT_S, &[]));
}

#[test]
fn locks_and_host_values_that_are_no_text_keep_out() {
    for (attribute, reason) in [
        ("pwdAccountLockedTime", Reason::AccountLocked),
        ("nsAccountLock", Reason::AccountLocked),
        ("userAccountControl", Reason::AccountLocked),
        ("shadowExpire", Reason::AccountExpired),
        ("accountExpires", Reason::AccountExpired),
        ("pwdEndTime", Reason::AccountExpired),
    ] {
        let mut person = ada(&[]);
        let odd = Attribute(attribute.into(), [Value::from(vec![0xff])].into());
        person.attributes = person.attributes.iter().cloned().chain([odd]).collect();
        let access = access(&[person], &[grant("g", &["ada"], &["*"])]);
        assert_eq!(verdict(&access, "web01", "sshd").0, reason, "{attribute}");
    }
    let mut person = ada(&[]);
    let hosts = Attribute("host".into(), [Value::from("*"), Value::from(b"!web01\xff".to_vec())].into());
    person.attributes = person.attributes.iter().cloned().chain([hosts]).collect();
    assert_eq!(verdict(&access(&[person], &[]), "web01", "sshd").0, Reason::NoGrant);
}

#[test]
fn sudo_under_another_name_is_sudo() {
    let access = access(&[ada(&[])], &[grant("all", &["ada"], &["*"])]);
    for service in ["sudo", "sudo-i", "SUDO", "Sudo-I"] {
        assert_eq!(verdict(&access, "web01", service).0, Reason::SudoNotGranted, "{service}");
        let host = access.host("web01").unwrap();
        assert_eq!(access.who(host, service, NOW, false).count(), 0, "{service}");
        assert_eq!(access.places("ada", service, NOW, false).unwrap().count(), 0, "{service}");
        let decision = access.decide_entry(ada(&[]).id, host, service, NOW);
        assert_eq!(decision.reason, Reason::SudoNotGranted, "{service}");
    }
    assert_eq!(verdict(&access, "web01", "SSHD").0, Reason::Granted);
}

#[test]
fn a_group_with_a_twin_is_noted() {
    let group = |n, ou: &str, member| {
        let list = [("objectClass", "posixGroup"), ("cn", "dba"), ("memberUid", member)];
        entry(n, &format!("cn=dba,ou={ou},dc=acme"), &list)
    };
    let grants = [grant("g", &["@dba"], &["*"])];
    let notes = |entries: &[Entry]| access(entries, &grants).explain(&ask("ada", "web01", "sshd")).notes;
    assert_eq!(notes(&[ada(&[]), group(5, "a", "ada")]), [""; 0]);
    let said = notes(&[ada(&[]), group(5, "a", "ada"), group(6, "b", "bob")]);
    assert_eq!(said, ["2 groups have the cn dba; what is granted to @dba is granted to the members of each"]);
}

#[test]
fn host_values_of_people_and_groups_are_patterns() {
    let group = entry(
        9,
        "cn=ops,dc=acme",
        &[("objectClass", "groupOfNames"), ("cn", "ops"), ("member", "UID=Ada, DC=acme"), ("host", "*.us-east-1")],
    );
    let person = ada(&[("host", "web01.us-east-1b"), ("host", "!dev-*"), ("host", "db1.elsewhere.example.com.")]);
    let access = access(&[person, group], &[]);
    assert_eq!(verdict(&access, "web01", "sshd"), (Reason::Granted, "host web01.us-east-1b of uid=ada,dc=acme".into()));
    assert_eq!(verdict(&access, "twin.us-east-1a", "login").1, "host *.us-east-1 of cn=ops,dc=acme");
    assert_eq!(verdict(&access, "dev-mysql01", "sshd").1, "host !dev-* of uid=ada,dc=acme");
    assert_eq!(verdict(&access, "web01", "sudo").0, Reason::SudoNotGranted);
}

#[test]
fn an_unreadable_denial_lets_nobody_in() {
    let bad = ada(&[("host", "*"), ("host", "!web 01")]);
    assert_eq!(verdict(&access(&[bad], &[]), "web01", "sshd").0, Reason::NoGrant);
    let access = access(&[ada(&[])], &[grant("g", &["ada"], &["*", "!a b"]), grant("h", &["ada"], &["dev-*", "a b"])]);
    assert_eq!(verdict(&access, "web01", "sshd").0, Reason::NoGrant);
    assert_eq!(verdict(&access, "dev-mysql01", "sshd").0, Reason::Granted);
}

#[test]
fn membership_is_computed_and_cycles_end() {
    let group = |n, name: &str, member: (&str, &str), class| {
        entry(n, &format!("cn={name},dc=acme"), &[("objectClass", class), ("cn", name), member])
    };
    let inner = group(10, "inner", ("memberUid", "ADA"), "posixGroup");
    let middle = group(11, "middle", ("uniqueMember", "cn=inner,dc=acme#'01'B"), "groupOfUniqueNames");
    let outer = group(12, "outer", ("member", "CN=Middle, dc=acme"), "groupOfNames");
    let around = group(13, "inner2", ("member", "cn=outer,dc=acme"), "groupOfNames");
    let back = group(14, "middle", ("member", "cn=inner2,dc=acme"), "groupOfNames");
    let primary =
        entry(15, "cn=staff,dc=acme", &[("objectClass", "posixGroup"), ("cn", "staff"), ("gidNumber", "500")]);
    let entries =
        [ada(&[("gidNumber", "500"), ("memberOf", "cn=admins,dc=acme")]), inner, middle, outer, around, back, primary];
    for (who, reason) in [
        ("@inner", Reason::Granted),
        ("@Outer", Reason::Granted),
        ("@inner2", Reason::Granted),
        ("@staff", Reason::Granted),
        ("@admins", Reason::NoGrant),
        ("inner", Reason::NoGrant),
    ] {
        let access = access(&entries, &[grant("g", &[who], &["*"])]);
        assert_eq!(verdict(&access, "web01", "sshd").0, reason, "{who}");
    }
}

#[test]
fn sudo_needs_a_grant_of_its_own() {
    let some = Grant { sudo: Some(["/bin/b".into(), "/bin/a".into()].into()), ..grant("some", &["ada"], &["dev-*"]) };
    let more = Grant { sudo: Some(["/bin/a".into()].into()), ..grant("more", &["ada"], &["*"]) };
    let all = Grant { sudo: Some([].into()), ..grant("all", &["ada"], &["web*"]) };
    let access = access(&[ada(&[])], &[some, more, all]);
    let sudo = |host| access.sudo("ada", access.host(host).unwrap(), NOW);
    assert_eq!(sudo("dev-mysql01").unwrap().commands.unwrap(), ["/bin/a", "/bin/b"]);
    assert_eq!(sudo("dev-mysql01").unwrap().grants, ["more", "some"]);
    assert_eq!(sudo("web01").unwrap().commands, None);
    assert_eq!(access.sudo("bob", access.host("web01").unwrap(), NOW), None);
}

#[test]
fn with_stale_data_only_admins_come_in() {
    let admin = Grant { sudo: Some([].into()), ..grant("admin", &["ada"], &["dev-*"]) };
    let access = access(&[ada(&[])], &[admin, grant("all", &["ada"], &["*"])]);
    let stale = |host| access.decide(&Question { stale: true, ..ask("ada", host, "sshd") });
    assert_eq!(stale("dev-mysql01").verdict, Verdict::Allow);
    assert_eq!(stale("web01").reason, Reason::Stale);
    let places: Vec<_> =
        access.places("ada", "sshd", NOW, true).unwrap().map(|(host, _)| host.key.name.clone()).collect();
    assert_eq!(places, ["dev-mysql01"]);
    let who = |host| access.who(access.host(host).unwrap(), "sshd", NOW, true).count();
    assert_eq!((who("dev-mysql01"), who("web01")), (1, 0));
}

#[test]
fn keys_are_those_of_one_person() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    let mut person = ada(&[]);
    let values = [Value::from(key), Value::from("junk"), Value::from(vec![0xff])];
    person.attributes =
        person.attributes.iter().cloned().chain([Attribute("SSHPublicKey".into(), values.into())]).collect();
    let access = access(&[person], &[]);
    assert_eq!(access.keys("Ada"), [key]);
    assert!(access.keys("bob").is_empty());
}
