//! Who sees what, and what is decided.

use std::sync::atomic::Ordering::Relaxed;

use ldap3_proto::{LdapResultCode as Code, proto::*};

use super::{
    client::Client,
    world::{BASE, World, company, entry},
};
use crate::ask::{self, Answer, Asked, What};

const ALL: LdapSearchScope = LdapSearchScope::Subtree;
const DB1: &str = "db1.us-east-1a.acme.private";
const VIEWS: &str = r#", "views": "host""#;

#[tokio::test]
async fn nobody_sees_the_content_without_a_bind() {
    let world = World::new(company(), "").await;
    let mut client = Client::plain(world.plain).await;
    let found = client.search(BASE, ALL, "(uid=ada)", &[]).await;
    assert_eq!((found.code(), found.entries.len()), (Code::InsufficentAccessRights, 0));
    assert!(found.result.message.contains("allow_anonymous"), "{}", found.result.message);
    let nowhere = client.search("dc=elsewhere", ALL, "(uid=ada)", &[]).await;
    assert_eq!(nowhere.code(), Code::InsufficentAccessRights, "what exists is not told either");
    let mut unknown = Client::tls(&world, Some("stranger.acme.private")).await;
    assert_eq!(unknown.search(BASE, ALL, "(uid=ada)", &[]).await.code(), Code::InsufficentAccessRights);
    assert_eq!(world.server.counters().denied, 3);
}

#[tokio::test]
async fn a_host_sees_all_or_what_concerns_it() {
    let world = World::new(company(), "").await;
    let mut host = Client::tls(&world, Some(DB1)).await;
    assert_eq!(host.search(BASE, ALL, "(uid=carol)", &[]).await.entries.len(), 1, "views = all");
    drop(world);

    let world = World::new(company(), VIEWS).await;
    let mut host = Client::start_tls(&world, Some(DB1)).await;
    assert_eq!(host.search(BASE, ALL, "(objectClass=posixAccount)", &[]).await.names(), ["uid=ada", "uid=bob"]);
    let groups = host.search(BASE, ALL, "(objectClass=posixGroup)", &["memberUid"]).await;
    assert_eq!(groups.names(), ["cn=dba", "cn=staff"]);
    let staff = host.search(BASE, ALL, "(cn=staff)", &["memberUid"]).await;
    assert_eq!(staff.values("memberUid"), ["ada", "bob"]);
    assert!(host.search(BASE, ALL, "(memberUid=carol)", &[]).await.entries.is_empty(), "nor is she guessed at");
    let carol = host.search("uid=carol,ou=people,dc=acme,dc=private", LdapSearchScope::Base, "(uid=*)", &[]).await;
    assert_eq!((carol.code(), carol.result.matcheddn.as_str()), (Code::NoSuchObject, "ou=people,dc=acme,dc=private"));
    let own = host.search(BASE, ALL, "(uid=ada)", &["gatehouseAccess"]).await;
    assert_eq!(own.values("gatehouseAccess"), ["db1.us-east-1a.acme"]);

    let mut person = Client::tls(&world, Some(DB1)).await;
    assert_eq!(person.bind("uid=carol,ou=people,dc=acme,dc=private", "secret-of-carol").await, Code::Success);
    assert_eq!(person.search(BASE, ALL, "(uid=carol)", &[]).await.entries.len(), 1, "a bound person sees all");
}

/// What bob and carol have to do with each other and with ada.
fn tangle() -> Vec<inventory::Row> {
    let dn = |uid: &str| format!("uid={uid},ou=people,{BASE}");
    let (ada, bob, carol) = (dn("ada"), dn("bob"), dn("carol"));
    let group = |number, name: &str, attributes: &[(&str, &[&str])]| {
        let own: [(&str, &[&str]); 2] = [("objectClass", &["groupOfNames"]), ("cn", &[name])];
        entry(number, &format!("cn={name},ou=groups,{BASE}"), &[&own, attributes].concat())
    };
    let mut rows = company();
    rows.push(group(30, "mixed", &[("member", &[&ada, &carol, "cn=hidden,ou=groups,dc=acme,dc=private"])]));
    rows.push(group(31, "hidden", &[("member;x-opt", &[&carol]), ("2.5.4.31", &[&carol])]));
    rows.push(group(
        32,
        "outer",
        &[("2.5.4.31", &["cn=mixed,ou=groups,dc=acme,dc=private", &carol]), ("owner", &[&carol])],
    ));
    rows.push(entry(
        33,
        &format!("cn=net,ou=groups,{BASE}"),
        &[
            ("objectClass", &["nisNetgroup"]),
            ("cn", &["net"]),
            ("nisNetgroupTriple", &["(,ada,)", "(,carol,)", "(db1,,)"]),
        ],
    ));
    rows.push(entry(
        34,
        &format!("uid=dan,ou=people,{BASE}"),
        &[
            ("objectClass", &["posixAccount"]),
            ("uid", &["dan"]),
            ("manager", &[&carol]),
            ("host", &["web1"]),
            ("description", &[&bob]),
        ],
    ));
    rows.push(super::world::grant("dan", &["dan"], &["db1.us-east-1a"], None));
    rows
}

#[tokio::test]
async fn no_filter_of_a_host_tells_what_is_hidden() {
    let world = World::new(tangle(), VIEWS).await;
    let mut host = Client::tls(&world, Some(DB1)).await;
    for filter in [
        "(&(cn=staff)(!(memberUid=carol)))",
        "(&(cn=mixed)(!(member=uid=carol,ou=people,dc=acme,dc=private)))",
        "(&(cn=outer)(!(owner=*)))",
        "(&(uid=dan)(!(manager=*))(!(host=web1)))",
    ] {
        assert_eq!(host.search(BASE, ALL, filter, &[]).await.entries.len(), 1, "{filter}");
    }
    for filter in [
        "(memberUid=carol)",
        "(member=uid=carol,ou=people,dc=acme,dc=private)",
        "(&(cn=staff)(memberUid>=carol))",
        "(host=web1)",
        "(gatehouseAccess=web1.us-east-1b)",
        "(&(uid=ada)(!(gatehouseAccess=web1.us-east-1b)))",
        "(&(uid=ada)(!(gatehouseSudo=web1)))",
    ] {
        assert_eq!(host.search(BASE, ALL, filter, &[]).await.names(), [""; 0], "{filter}");
    }
    assert_eq!(host.search(BASE, ALL, "(gatehouseAccess=db1)", &[]).await.names(), ["uid=ada", "uid=bob", "uid=dan"]);
    assert!(world.decisions().is_empty(), "what may not be asked is not decided");
}

#[tokio::test]
async fn a_host_is_shown_nothing_of_people_who_are_not_its_own() {
    let world = World::new(tangle(), VIEWS).await;
    let mut host = Client::tls(&world, Some(DB1)).await;
    let found = host.search(BASE, ALL, "(objectClass=groupOfNames)", &[]).await;
    assert_eq!(found.names(), ["cn=mixed", "cn=outer"]);
    for entry in &found.entries {
        let seen = format!("{entry:?}");
        let values: Vec<String> = entry
            .attributes
            .iter()
            .flat_map(|attribute| &attribute.vals)
            .map(|value| String::from_utf8(value.clone()).unwrap())
            .collect();
        assert!(!values.iter().any(|value| value.contains("carol") || value.contains("hidden")), "{seen}");
    }
    assert_eq!(
        host.search(BASE, ALL, "(cn=outer)", &["member"]).await.values("2.5.4.31"),
        ["cn=mixed,ou=groups,dc=acme,dc=private"]
    );
    let net = host.search(BASE, ALL, "(objectClass=nisNetgroup)", &[]).await;
    assert_eq!(net.values("nisNetgroupTriple"), ["(,ada,)", "(db1,,)"]);
    let dan = host.search(BASE, ALL, "(uid=dan)", &[]).await;
    assert!(dan.values("host").is_empty() && dan.values("manager").is_empty());
    assert_eq!(dan.values("description").len(), 1);
}

#[tokio::test]
async fn content_of_unknown_age_is_old() {
    let world = World::new(company(), r#", "allow_anonymous": ["127.0.0.0/8"], "stale_admins_only_h": 1"#).await;
    let mut client = Client::plain(world.plain).await;
    assert_eq!(client.search(BASE, ALL, "(gatehouseAccess=web1)", &[]).await.entries.len(), 1);
    world.age_ms.store(u64::MAX, Relaxed);
    assert!(client.search(BASE, ALL, "(gatehouseAccess=web1)", &[]).await.entries.is_empty());
    assert_eq!(client.search(BASE, ALL, "(gatehouseAccess=db1)", &[]).await.entries.len(), 2, "those with sudo");
}

#[tokio::test]
async fn external_makes_a_host_of_a_certificate() {
    let world = World::new(company(), "").await;
    let external = || {
        let cred = LdapBindCred::SASL(SaslCredentials { mechanism: "EXTERNAL".into(), credentials: vec![] });
        LdapOp::BindRequest(LdapBindRequest { version: 3, dn: String::new(), cred })
    };
    for (host, expected) in [
        (Some(DB1), Code::Success),
        (Some("stranger.acme.private"), Code::InvalidCredentials),
        (None, Code::InappropriateAuthentication),
    ] {
        let mut client = Client::tls(&world, host).await;
        let LdapOp::BindResponse(response) = client.ask(external()).await else { panic!() };
        assert_eq!(response.res.code, expected, "{host:?}");
        if expected == Code::Success {
            assert_eq!(client.who_am_i().await, "u:host/db1.us-east-1a.acme");
        }
    }
}

#[tokio::test]
async fn a_filter_decides_and_the_log_remembers() {
    let world = World::new(company(), r#", "allow_anonymous": ["127.0.0.0/8"], "stale_admins_only_h": 1"#).await;
    let mut client = Client::plain(world.plain).await;
    for (filter, expected) in [
        ("(gatehouseAccess=db1.us-east-1a)", &["uid=ada", "uid=bob"][..]),
        ("(gatehouseAccess=web1.us-east-1b/login)", &["uid=carol"]),
        ("(gatehouseSudo=db1)", &["uid=ada", "uid=bob"]),
        ("(gatehouseSudo=web1)", &[]),
        ("(gatehouseAccess=nowhere)", &[]),
        ("(&(uid=carol)(gatehouseAccess=db1))", &[]),
        ("(&(objectClass=posixAccount)(uid=ada)(gatehouseAccess=db1))", &["uid=ada"]),
    ] {
        assert_eq!(client.search(BASE, ALL, filter, &["dn"]).await.names(), expected, "{filter}");
    }
    let lines = world.decisions();
    let entries: Vec<_> = lines.iter().filter_map(|line| line.entry.as_ref()).collect();
    let told: Vec<_> = entries.iter().map(|e| (e.user.as_str(), e.verdict.as_str(), e.reason.as_str())).collect();
    assert_eq!(told.len(), 2, "questions about everybody are no logins: {told:?}");
    assert!(told.contains(&("carol", "deny", "no_grant")) && told.contains(&("ada", "allow", "granted")));

    world.age_ms.store(2 * 3_600_000, Relaxed);
    assert!(client.search(BASE, ALL, "(gatehouseAccess=web1)", &[]).await.entries.is_empty(), "old data, no sudo");
    assert_eq!(client.search(BASE, ALL, "(gatehouseAccess=db1)", &[]).await.entries.len(), 2);
}

#[tokio::test]
async fn instances_ask_as_the_host_of_their_certificate() {
    let world = World::new(company(), "").await;
    let asked = |user: &str, what| {
        let asked = Asked { user: user.into(), service: "sshd".into(), what, rhost: None, tty: None };
        Some(asked.to_json())
    };
    let mut host = Client::tls(&world, Some(DB1)).await;
    let answer = host.extended(ask::OID, asked("ada", What::Keys)).await;
    let answer = Answer::parse(&answer.value.unwrap()).unwrap();
    assert!(answer.is_allow() && answer.keys.len() == 1, "{answer:?}");
    assert_eq!(answer.age_s, Some(0));
    let answer = host.extended(ask::OID, asked("carol", What::Check)).await;
    assert!(!Answer::parse(&answer.value.unwrap()).unwrap().is_allow());
    let bad = host.extended(ask::OID, Some(b"{}".to_vec())).await;
    assert_eq!(bad.res.code, Code::ProtocolError);
    let mut nobody = Client::tls(&world, None).await;
    let refused = nobody.extended(ask::OID, asked("ada", What::Keys)).await;
    assert_eq!(refused.res.code, Code::InsufficentAccessRights);
    assert_eq!((world.server.counters().asks, world.server.counters().asks_refused), (2, 2));
    assert_eq!(world.decisions().len(), 2);
}

#[tokio::test]
async fn a_host_may_be_known_by_its_address() {
    let mut rows = company();
    rows.push(super::world::host("lo", "us-east-1a", "127.0.0.1"));
    rows.push(super::world::grant("lo", &["carol"], &["lo.us-east-1a"], None));
    let world = World::new(rows, r#", "views": "host", "hosts_by_address": ["127.0.0.0/8"]"#).await;
    let mut client = Client::plain(world.plain).await;
    assert_eq!(client.search(BASE, ALL, "(objectClass=posixAccount)", &[]).await.names(), ["uid=carol"]);
    let value = Asked { user: "carol".into(), service: "sshd".into(), what: What::Check, rhost: None, tty: None };
    let answer = client.extended(ask::OID, Some(value.to_json())).await;
    assert!(Answer::parse(&answer.value.unwrap()).unwrap().is_allow());
}

#[tokio::test]
async fn sudo_and_sssd_find_their_rules() {
    let world = World::new(company(), VIEWS).await;
    let sssd = "(&(objectClass=sudoRole)(entryUSN>=1)(|(&(!(sudoHost=*))(cn=defaults))(sudoHost=ALL)\
                (sudoHost=db1.us-east-1a.acme.private)(sudoHost=db1)(sudoHost=10.0.0.1)))";
    let mut host = Client::tls(&world, Some(DB1)).await;
    let found = host.search("ou=sudoers,dc=acme,dc=private", ALL, sssd, &[]).await;
    assert_eq!(found.names(), ["cn=dba"]);
    assert_eq!((found.values("sudoUser"), found.values("sudoHost")), (vec!["%dba".into()], vec!["ALL".into()]));
    assert_eq!(found.values("sudoCommand"), ["/usr/bin/psql"]);
    let mut web = Client::tls(&world, Some("web1.us-east-1b.acme.private")).await;
    assert!(web.search("ou=sudoers,dc=acme,dc=private", ALL, sssd, &[]).await.entries.is_empty());

    let mut person = Client::plain(world.plain).await;
    assert_eq!(person.bind("uid=ada,ou=people,dc=acme,dc=private", "secret-of-ada").await, Code::Success);
    let sudo =
        "(&(objectClass=sudoRole)(|(sudoUser=ada)(sudoUser=#1011)(sudoUser=%dba)(sudoUser=%#500)(sudoUser=ALL)))";
    let found = person.search(BASE, ALL, sudo, &[]).await;
    assert_eq!(found.names(), ["cn=dba", "cn=deny:dba"]);
    let found = person.search("cn=dba,ou=sudoers,dc=acme,dc=private", LdapSearchScope::Base, "(cn=*)", &["*"]).await;
    assert_eq!(
        found.values("sudoHost"),
        ["db*.us-east-1a.acme.private", "db*.us-east-1b.acme.private", "!db9.us-east-1a.acme.private"]
    );
    let found = person.search("cn=deny:dba,ou=sudoers,dc=acme,dc=private", LdapSearchScope::Base, "(cn=*)", &[]).await;
    assert_eq!(found.values("sudoCommand"), ["!ALL"]);
    assert!(person.search(BASE, ALL, "(cn=defaults)", &[]).await.entries.is_empty());
}
