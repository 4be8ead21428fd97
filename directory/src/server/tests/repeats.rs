//! What is asked again is answered again, and never what is no longer so.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use inventory::change::Row;
use ldap3_proto::{LdapResultCode as Code, control::LdapControl, proto::LdapSearchScope};
use proptest::{prelude::*, test_runner::TestRunner};

use tokio::time::{Instant, sleep};

use super::{
    client::{Client, Found, request},
    world::{BASE, World, company, entry, grant, person},
};

const ALL: LdapSearchScope = LdapSearchScope::Subtree;
const OPEN: &str = r#", "allow_anonymous": ["127.0.0.0/8"]"#;

/// Everything that a client sees of an answer.
fn shown(found: &Found) -> String {
    format!("{:?} {:?} {:?}", found.result, found.entries, found.controls)
}

/// The answer to a search that is not kept: one with a control.
async fn anew(client: &mut Client, base: &str, scope: LdapSearchScope, filter: &str, attributes: &[&str]) -> Found {
    let control = LdapControl::ManageDsaIT { criticality: false };
    client.search_with(request(base, scope, filter, attributes), vec![control]).await
}

#[tokio::test]
async fn a_question_that_is_repeated_has_the_same_answer() {
    let world = World::new(company(), OPEN).await;
    let mut client = Client::plain(world.plain).await;
    let people = format!("ou=people,{BASE}");
    for (number, (base, scope, filter, attributes)) in [
        (BASE, ALL, "(&(objectClass=posixAccount)(uid=ada))", &["uid", "uidNumber"][..]),
        (BASE, ALL, "(&(objectClass=posixGroup)(memberUid=ada))", &["cn", "entryUSN"]),
        (BASE, ALL, "(uid=nobody)", &[]),
        (&people, LdapSearchScope::Base, "(objectClass=*)", &["+"]),
    ]
    .into_iter()
    .enumerate()
    {
        let first = client.search(base, scope.clone(), filter, attributes).await;
        client.search(base, scope.clone(), filter, attributes).await;
        assert_eq!(world.server.counters().repeated, number as u64, "{filter}");
        let mut other = Client::plain(world.plain).await;
        let entries = world.server.counters().entries;
        let again = other.search(base, scope, filter, attributes).await;
        assert_eq!(shown(&first), shown(&again));
        assert_eq!(world.server.counters().repeated, number as u64 + 1, "{filter}");
        assert_eq!(world.server.counters().entries, entries + first.entries.len() as u64);
    }
    assert_eq!(world.server.counters().searches, 12);
}

#[tokio::test]
async fn who_sees_less_is_not_answered_as_who_sees_all() {
    let world = World::new(company(), "").await;
    let mut person = Client::plain(world.plain).await;
    assert_eq!(person.bind(&format!("uid=ada,ou=people,{BASE}"), "secret-of-ada").await, Code::Success);
    for _ in 0..3 {
        assert_eq!(person.search(BASE, ALL, "(uid=bob)", &["cn"]).await.entries.len(), 1);
    }
    assert_eq!(world.server.counters().repeated, 1);
    let mut nobody = Client::plain(world.plain).await;
    assert_eq!(nobody.search(BASE, ALL, "(uid=bob)", &["cn"]).await.code(), Code::InsufficentAccessRights);
    assert_eq!(person.bind("", "").await, Code::Success);
    assert_eq!(person.search(BASE, ALL, "(uid=bob)", &["cn"]).await.code(), Code::InsufficentAccessRights);
}

#[tokio::test]
async fn a_host_with_views_of_its_own_is_not_answered_as_others() {
    let world = World::new(company(), r#", "allow_anonymous": ["127.0.0.0/8"], "views": "host""#).await;
    let mut nobody = Client::plain(world.plain).await;
    for _ in 0..3 {
        assert_eq!(nobody.search(BASE, ALL, "(uid=carol)", &["cn"]).await.entries.len(), 1);
    }
    assert_eq!(world.server.counters().repeated, 1);
    let mut host = Client::tls(&world, Some("db1.us-east-1a.acme.private")).await;
    for _ in 0..3 {
        assert!(host.search(BASE, ALL, "(uid=carol)", &["cn"]).await.entries.is_empty());
        assert!(host.search(BASE, ALL, "(cn=web)", &["cn"]).await.entries.is_empty());
    }
    assert_eq!(world.server.counters().repeated, 1);
    assert_eq!(nobody.search(BASE, ALL, "(cn=web)", &["cn"]).await.entries.len(), 1);
}

#[tokio::test]
async fn decisions_are_made_each_time() {
    let world = World::new(company(), "").await;
    let mut host = Client::tls(&world, Some("db1.us-east-1a.acme.private")).await;
    for _ in 0..3 {
        let found = host.search(BASE, ALL, "(uid=ada)", &["gatehouseAccess"]).await;
        assert_eq!(found.values("gatehouseAccess"), ["db1.us-east-1a.acme"]);
        assert!(host.search(BASE, ALL, "(uid=carol)", &["gatehouseAccess"]).await.values("gatehouseAccess").is_empty());
    }
    // Neither an entry nor a role of sudo changes by this.
    let web = grant("web", &["carol"], &["web1.us-east-1b"], None);
    world.change(vec![(Some(web), Some(grant("web", &["carol"], &["db1.us-east-1a"], None)))]).await;
    let found = host.search(BASE, ALL, "(uid=carol)", &["gatehouseAccess"]).await;
    assert_eq!(found.values("gatehouseAccess"), ["db1.us-east-1a.acme"]);
    assert_eq!(world.server.counters().repeated, 0);
}

#[tokio::test]
async fn a_new_role_of_sudo_is_found_at_once() {
    let world = World::new(company(), OPEN).await;
    let mut client = Client::plain(world.plain).await;
    for _ in 0..3 {
        assert!(client.search(BASE, ALL, "(cn=more)", &["cn"]).await.entries.is_empty());
    }
    assert_eq!(world.server.counters().repeated, 1);
    world.change(vec![(None, Some(grant("more", &["carol"], &["db1.us-east-1a"], Some(&["/bin/ls"]))))]).await;
    assert_eq!(client.search(BASE, ALL, "(cn=more)", &["cn"]).await.names(), ["cn=more"]);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a grant that ends soon")]
async fn a_role_of_sudo_ends_in_time_without_any_change() {
    let world = World::new(company(), OPEN).await;
    let mut client = Client::plain(world.plain).await;
    let Row::Grant(soon) = grant("soon", &["bob"], &["db1.us-east-1a"], Some(&["/bin/ls"])) else { panic!() };
    let mut soon = (*soon).clone();
    soon.until = Some(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 6);
    world.change(vec![(None, Some(Row::Grant(soon.into())))]).await;
    let roles = async |client: &mut Client| client.search(BASE, ALL, "(cn=soon)", &["cn"]).await.entries.len();
    let base = format!("cn=soon,ou=sudoers,{BASE}");
    let below =
        async |client: &mut Client| client.search(&base, LdapSearchScope::OneLevel, "(cn=*)", &["cn"]).await.code();
    for _ in 0..3 {
        assert_eq!((roles(&mut client).await, below(&mut client).await), (1, Code::Success));
    }
    let end = Instant::now() + Duration::from_secs(30);
    while (roles(&mut client).await, below(&mut client).await) != (0, Code::NoSuchObject) {
        assert!(Instant::now() < end, "the grant has ended");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn who_is_gone_is_not_answered_any_more() {
    let world = World::new(company(), "").await;
    let mut client = Client::plain(world.plain).await;
    assert_eq!(client.bind(&format!("uid=ada,ou=people,{BASE}"), "secret-of-ada").await, Code::Success);
    let mut carol = Client::plain(world.plain).await;
    assert_eq!(carol.bind(&format!("uid=carol,ou=people,{BASE}"), "secret-of-carol").await, Code::Success);
    world.change(vec![(Some(person(11, "ada")), None)]).await;
    for _ in 0..3 {
        assert_eq!(carol.search(BASE, ALL, "(uid=bob)", &["cn"]).await.entries.len(), 1);
    }
    assert_eq!(world.server.counters().repeated, 1);
    assert_eq!(client.search(BASE, ALL, "(uid=bob)", &["cn"]).await.code(), Code::InsufficentAccessRights);
}

/// A change to the company, as numbers choose.
fn change(state: &inventory::State, kind: u8, who: usize) -> (Option<Row>, Option<Row>) {
    let uid = ["ada", "bob", "carol", "dan"][who];
    let number = 11 + who as u32;
    let old = |row: &Row| state.get(&row.key());
    match kind {
        0 => {
            let row = person(number, uid);
            (old(&row), old(&row).is_none().then_some(row))
        }
        1 => {
            let shell = ["/bin/sh", "/bin/bash"][who % 2];
            let classes: (&str, &[&str]) = ("objectClass", &["posixAccount"]);
            let row = entry(
                number,
                &format!("uid={uid},ou=people,{BASE}"),
                &[classes, ("uid", &[uid]), ("cn", &[uid]), ("loginShell", &[shell])],
            );
            (old(&row), Some(row))
        }
        2 => {
            let row = entry(
                22,
                &format!("cn=staff,ou=groups,{BASE}"),
                &[
                    ("objectClass", &["top", "posixGroup"]),
                    ("cn", &["staff"]),
                    ("gidNumber", &["501"]),
                    ("memberUid", &[uid]),
                ],
            );
            (old(&row), Some(row))
        }
        _ => {
            let row = grant("more", &[uid], &["db1.us-east-1a"], Some(&["/bin/ls"]));
            (old(&row), old(&row).is_none().then_some(row))
        }
    }
}

/// Whatever is changed and asked in between, the answer is what a search finds that has never been kept.
#[test]
fn nothing_is_answered_that_is_no_longer_so() {
    let steps = prop::collection::vec((0..4u8, 0..4usize, prop::collection::vec((0..5usize, 0..4usize), 1..6)), 1..12);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(24));
    let outcome = runner.run(&steps, |steps| {
        runtime.block_on(async {
            let world = World::new(company(), OPEN).await;
            let mut client = Client::plain(world.plain).await;
            let mut lasting = 0;
            for (kind, who, asked) in steps {
                let change = change(&world.views.load().state.clone(), kind, who);
                if change.0 != change.1 {
                    world.change(vec![change]).await;
                }
                for (what, who) in asked {
                    lasting += u64::from(what < 3);
                    let uid = ["ada", "bob", "carol", "dan"][who];
                    let (filter, attributes) = [
                        (format!("(uid={uid})"), &["*"][..]),
                        (format!("(&(objectClass=posixGroup)(memberUid={uid}))"), &["cn", "entryUSN"]),
                        ("(objectClass=posixAccount)".into(), &["uid"]),
                        (format!("(sudoUser={uid})"), &["cn"]),
                        ("(hasSubordinates=TRUE)".into(), &["dc"]),
                    ][what]
                        .clone();
                    let wanted = shown(&anew(&mut client, BASE, ALL, &filter, attributes).await);
                    for _ in 0..3 {
                        let found = shown(&client.search(BASE, ALL, &filter, attributes).await);
                        prop_assert_eq!(&found, &wanted, "{}", &filter);
                    }
                }
            }
            prop_assert!(world.server.counters().repeated >= lasting);
            Ok(())
        })
    });
    outcome.unwrap();
}
