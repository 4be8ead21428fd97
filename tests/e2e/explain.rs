//! Why somebody may come in: every command that explains says the same as the filter that hosts ask, in a small world of
//! the kind that an old directory with a pam_filter leaves behind.

use std::{collections::BTreeMap, fs};

use serde_json::Value;

use crate::{
    harness::{Node, Outcome, Setup, free_address, host, run, wait_for},
    region::search,
    slapd::{BASE, PEOPLE, Person, group, skeleton},
};

const MYSQL1: &str = "dev-mysql01.us-east-1b";
const MYSQL2: &str = "dev-mysql02.us-east-1b";
const DEV_WEB: &str = "dev-web01.us-east-1a";
const WEB: &str = "web01.us-west-2a";
const EUROPE: &str = "db01.eu-west-1a";
const HOSTS: [&str; 5] = [MYSQL1, MYSQL2, DEV_WEB, WEB, EUROPE];
const USERS: [&str; 8] = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"];

const GRANTS: &str = "\
[[grant]]
name = \"erin-web\"
user = \"erin\"
on = [\"role:web\"]
why = \"on call\"

[[grant]]
name = \"heidi-us\"
user = \"heidi\"
on = [\"*.us-*\", \"!dev-web*\"]
why = \"backups\"
";

/// Verdict, reason and rule that the people who wrote this world expect. The rule is named for every pair that one decides.
fn expected(user: &str, host: &str) -> (bool, &'static str, Option<String>) {
    let value = |pattern: &str| Some(format!("host {pattern} of uid={user},{PEOPLE}"));
    let grant = |text: &str| Some(format!("grant {text}"));
    let no = (false, "no_grant", None);
    match (user, host) {
        ("alice", MYSQL1 | MYSQL2) => (true, "granted", value("dev-mysql*.us-east-1b")),
        ("bob", MYSQL1) => (true, "granted", value(MYSQL1)),
        ("carol", MYSQL2) => (false, "denied_by_pattern", value("!dev-mysql02.us-east-1b")),
        ("carol", _) => (true, "granted", value("*")),
        ("dave", MYSQL1 | MYSQL2 | DEV_WEB) => {
            (true, "granted", Some(format!("host *.us-east-1 of cn=dba,ou=group,{BASE}")))
        }
        ("erin", WEB) => (true, "granted", grant("erin-web pattern role:web")),
        ("frank", _) => (false, "no_login_shell", Some(format!("loginShell of uid=frank,{PEOPLE}"))),
        ("heidi", DEV_WEB) => (false, "denied_by_pattern", grant("heidi-us pattern !dev-web*")),
        ("heidi", MYSQL1 | MYSQL2 | WEB) => (true, "granted", grant("heidi-us pattern *.us-*")),
        _ => no,
    }
}

/// Who gains (true) and who loses when the decisions take the place of `(|(host=HOST)(host=\*))`, and the kind of reason.
fn moved(host: &str) -> Vec<(&'static str, bool, &'static str)> {
    let (alice, dave) = (("alice", true, "pattern_value"), ("dave", true, "group_value"));
    let heidi = ("heidi", true, "grant");
    match host {
        MYSQL1 => vec![alice, dave, ("frank", false, "account"), heidi],
        MYSQL2 => vec![alice, ("carol", false, "denial"), dave, heidi],
        DEV_WEB => vec![dave],
        WEB => vec![("erin", true, "grant"), heidi],
        _ => vec![],
    }
}

fn people() -> String {
    let person = |n: usize, hosts: &[&str]| {
        let uid = USERS[n];
        Person { uid, number: 20_001 + n as u32, hosts, key: "" }.ldif()
    };
    let frank = person(5, &[MYSQL1]).replace("loginShell: /bin/sh", "loginShell: /usr/sbin/nologin");
    assert!(frank.contains("nologin"));
    let own = [&["dev-mysql*.us-east-1b"][..], &[MYSQL1], &["*", "!dev-mysql02.us-east-1b"], &[], &[]];
    let first: String = own.iter().enumerate().map(|(n, hosts)| person(n, hosts)).collect();
    skeleton()
        + &first
        + &frank
        + &person(6, &[])
        + &person(7, &[])
        + &group("dba", 20_100, &["dave"], &["*.us-east-1"])
}

struct World {
    node: Node,
    ldap: std::net::SocketAddr,
}

impl World {
    fn start() -> Self {
        let ldap = free_address();
        let split = |host: &'static str| host.split_once('.').unwrap();
        let hosts = HOSTS.iter().enumerate().map(|(n, name)| {
            let (name, zone) = split(name);
            let role = if name == "web01" { "web" } else { "other" };
            host(name, zone, &format!("10.2.3.{}", n + 1), &[role])
        });
        let node = Node::start(Setup {
            inventory: vec![("hosts.toml", hosts.collect()), ("grants.toml", GRANTS.into())],
            dns: format!(
                "[directory]\nlisten = [\"{ldap}\"]\nbase = \"{BASE}\"\nldif = \"{{dir}}/people.ldif\"\n\
                 allow_anonymous = [\"127.0.0.0/8\"]\n"
            ),
            files: vec![("people.ldif", people())],
            ..Setup::default()
        });
        let world = Self { node, ldap };
        // People and inventory are two sources, each read at its own pace.
        for (user, host) in [("alice", MYSQL1), ("erin", WEB)] {
            wait_for(&format!("{user} to be admitted"), || world.explain(user, host, &[]).0.then_some(()));
        }
        world
    }

    fn access(&self, words: &[&str]) -> Outcome {
        self.node.command(&[&["access"], words].concat())
    }

    /// What a command prints as JSON, and whether it succeeded.
    #[track_caller]
    fn json(&self, words: &[&str]) -> (bool, Value) {
        let outcome = self.access(&[words, &["--json"]].concat());
        let value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|e| panic!("{words:?}: {e}: {outcome:?}"));
        (outcome.ok, value)
    }

    /// Verdict, reason and rule of `access explain`; its exit code says the same as its verdict.
    #[track_caller]
    fn explain(&self, user: &str, host: &str, more: &[&str]) -> (bool, String, Option<String>) {
        let (ok, answer) = self.json(&[&["explain", user, host], more].concat());
        assert_eq!(answer["verdict"] == "allow", ok, "{answer:#}");
        (ok, answer["reason"].as_str().unwrap().into(), answer["rule"].as_str().map(Into::into))
    }

    /// The people whom hosts admit, asked as hosts ask.
    #[track_caller]
    fn filtered(&self, host: &str) -> Vec<String> {
        let filter = format!("(&(objectClass=posixAccount)(gatehouseAccess={host}))");
        let text = search(self.ldap, &[BASE, "sub", &filter, "uid"]).expect_ok();
        sorted(text.lines().filter_map(|line| line.strip_prefix("uid: ")).map(Into::into))
    }

    /// `item`s of a list with their rules.
    #[track_caller]
    fn listed(&self, words: &[&str], item: &str) -> BTreeMap<String, String> {
        let (ok, answer) = self.json(words);
        assert!(ok && answer["more"] == 0, "{answer:#}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        answer["items"].as_array().unwrap().iter().map(|row| (text(&row[item]), text(&row["rule"]))).collect()
    }
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn admitted(host: &str) -> impl Iterator<Item = (&'static str, String)> {
    USERS.into_iter().filter_map(move |user| match expected(user, host) {
        (true, _, rule) => Some((user, rule.unwrap())),
        _ => None,
    })
}

#[test]
fn everything_that_explains_says_what_hosts_are_told() {
    let world = World::start();
    for host in HOSTS {
        for user in USERS {
            let (allowed, reason, rule) = expected(user, host);
            assert_eq!(world.explain(user, host, &[]), (allowed, reason.to_owned(), rule), "{user} on {host}");
        }
        let right: BTreeMap<String, String> = admitted(host).map(|(user, rule)| (user.into(), rule)).collect();
        assert_eq!(world.filtered(host), right.keys().cloned().collect::<Vec<_>>(), "{host}");
        assert_eq!(world.listed(&["who", host], "user"), right, "{host}");
    }
    for user in USERS.into_iter().filter(|user| *user != "frank") {
        let on = |host: &&str| expected(user, host).2.filter(|_| expected(user, host).0);
        let right: BTreeMap<String, String> =
            HOSTS.iter().filter_map(|host| Some((format!("{host}.acme"), on(host)?))).collect();
        assert_eq!(world.listed(&["where", user], "host"), right, "{user}");
    }
    let nowhere = world.access(&["where", "frank"]);
    assert!(!nowhere.ok && nowhere.stderr.contains("frank may go nowhere: the login shell"), "{nowhere:?}");
    let text = world.access(&["explain", "carol", MYSQL2]).stdout;
    assert!(text.starts_with("denied: carol on ") && text.contains("rule: host !dev-mysql02.us-east-1b of uid=carol"));
}

#[test]
fn the_old_filter_is_followed_except_where_the_reason_is_named() {
    let world = World::start();
    for host in HOSTS {
        let filter = format!(r"(|(host={host})(host=\*))");
        let (ok, answer) = world.json(&["lint", "--host", host, &filter]);
        let mut found: Vec<_> = answer["differences"].as_array().unwrap().iter().collect();
        found.sort_by_key(|difference| difference["user"].as_str().map(str::to_owned));
        let found: Vec<_> = found
            .into_iter()
            .map(|one| {
                assert!(!one["why"].as_str().unwrap().is_empty(), "{one:#}");
                (one["user"].as_str().unwrap(), one["verdict"] == "allow", one["kind"].as_str().unwrap())
            })
            .collect();
        let right = moved(host);
        assert_eq!(found, right, "{host}: {answer:#}");
        assert_eq!(ok, right.is_empty(), "the exit code says whether anything differs on {host}");
        assert_eq!(answer["same"], USERS.len() - right.len(), "{host}");
        // The filter itself, and the difference, give the decision.
        let old = search(world.ldap, &[PEOPLE, "one", &format!(r"(|(host={host})(host=\2a))"), "uid"]).expect_ok();
        let old: Vec<_> = old.lines().filter_map(|line| line.strip_prefix("uid: ")).collect();
        let changed = |user: &str| right.iter().any(|(who, ..)| *who == user);
        let after = USERS.into_iter().filter(|user| old.contains(user) != changed(user)).map(Into::into);
        assert_eq!(sorted(after), world.filtered(host), "{host}");
    }
}

#[test]
fn a_grant_is_foreseen_made_taken_back_and_remembered() {
    let world = World::start();
    let denied = (false, "no_grant".to_owned(), None);
    let granted = (true, "granted".to_owned(), Some("grant grace-web pattern dev-web*".to_owned()));
    let now = || run("date", ["--utc", "+%Y-%m-%dT%H:%M:%S.%3NZ"]).expect_ok().trim().to_owned();
    /// The only people and hosts that move, or none.
    fn only(diff: &Value, side: &str) -> Option<(String, String)> {
        let moves = diff[side].as_array().unwrap();
        assert!(moves.len() < 2, "{diff:#}");
        moves.first().map(|moved| (moved["people"].to_string(), moved["hosts"].to_string()))
    }
    let move_of_grace = Some((r#"["grace"]"#.to_owned(), format!(r#"["{DEV_WEB}.acme"]"#)));

    let file = world.node.path("new.toml");
    let grant = "[[grant]]\nname = \"grace-web\"\nuser = \"grace\"\non = [\"dev-web*\"]\nwhy = \"deploys\"\n";
    fs::write(&file, grant).unwrap();
    let before = now();
    let (same, diff) = world.json(&["diff", "--add", file.to_str().unwrap()]);
    assert!(!same, "{diff:#}");
    assert_eq!((only(&diff, "gains"), only(&diff, "losses")), (move_of_grace.clone(), None), "{diff:#}");
    assert_eq!(world.explain("grace", DEV_WEB, &[]), denied, "a trial changes nothing");

    let words = ["grant", "grace", "--on", "dev-web*", "--name", "grace-web", "--why", "deploys"];
    world.node.command(&words).expect_ok();
    wait_for("the grant", || (world.explain("grace", DEV_WEB, &[]) == granted).then_some(()));
    assert!(world.filtered(DEV_WEB).contains(&"grace".to_owned()));
    let between = now();
    let (same, diff) = world.json(&["diff", "--revoke", "grace-web"]);
    assert!(!same, "{diff:#}");
    assert_eq!((only(&diff, "gains"), only(&diff, "losses")), (None, move_of_grace), "{diff:#}");

    world.node.command(&["revoke", "grace-web", "--why", "left the team"]).expect_ok();
    wait_for("the revocation", || (world.explain("grace", DEV_WEB, &[]) == denied).then_some(()));
    assert!(!world.filtered(DEV_WEB).contains(&"grace".to_owned()));
    assert_eq!(world.explain("grace", DEV_WEB, &["--at", &between]), granted);
    assert_eq!(world.explain("grace", DEV_WEB, &["--at", &before]), denied);
    assert!(world.explain("alice", MYSQL1, &["--at", &before]).0, "what did not change was so then, too");
}
