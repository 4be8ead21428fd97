//! Hostile and slow clients.

use std::time::Duration;

use ldap3_proto::{LdapResultCode as Code, proto::*};
use tokio::{io::AsyncWriteExt, time::timeout};

use super::{
    client::{Client, extended, request},
    world::{BASE, World, company, person},
};

const OPEN: &str = r#", "allow_anonymous": ["127.0.0.0/8"]"#;

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// Sends octets; what the server says before it closes.
async fn shout(world: &World, octets: &[u8]) -> Option<LdapExtendedResponse> {
    let mut client = Client::plain(world.plain).await;
    client.stream.write_all(octets).await.unwrap();
    let answer = timeout(Duration::from_secs(10), client.receive()).await.unwrap()?;
    assert_eq!(answer.msgid, 0);
    assert!(client.receive().await.is_none(), "closed");
    let LdapOp::ExtendedResponse(notice) = answer.op else { panic!("{answer:?}") };
    assert_eq!(notice.name.as_deref(), Some("1.3.6.1.4.1.1466.20036"));
    Some(notice)
}

#[tokio::test]
async fn what_is_no_ldap_is_told_so_counted_and_closed() {
    let world = World::new(company(), OPEN).await;
    let mut deep = vec![0xa2; 0];
    for _ in 0..200 {
        let mut outer = vec![0xa2, 0x82];
        outer.extend_from_slice(&(deep.len() as u16).to_be_bytes());
        outer.extend_from_slice(&deep);
        deep = outer;
    }
    let mut search = vec![4, 0, 10, 1, 2, 10, 1, 0, 2, 1, 0, 2, 1, 0, 1, 1, 0];
    search.extend_from_slice(&deep);
    search.extend_from_slice(&[0x30, 0]);
    let mut nested = vec![0x30, 0x82, 0, 0, 2, 1, 1, 0x63, 0x82];
    nested.extend_from_slice(&(search.len() as u16).to_be_bytes());
    nested.extend_from_slice(&search);
    let length = (nested.len() - 4) as u16;
    nested[2..4].copy_from_slice(&length.to_be_bytes());
    let cases: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x16, 3, 1, 0, 100],
        &[0x30, 0x80, 0, 0],
        &[0x30, 5, 2, 1, 1, 0x42, 9],
        &[0x30, 0],
        &[0x30, 5, 2, 1, 1, 0x61, 0],
        &[0x30, 12, 2, 1, 1, 0x60, 7, 2, 1, 3, 4, 0, 0x80, 9],
        &nested,
    ];
    for case in cases {
        let notice = shout(&world, case).await.unwrap();
        assert_eq!(notice.res.code, Code::ProtocolError, "{case:?}");
    }
    assert_eq!(world.server.counters().decode_errors, cases.len() as u64);
    let large = shout(&world, &[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff]).await.unwrap();
    assert!(large.res.message.contains("at most 65536"), "{}", large.res.message);
    assert_eq!(world.server.counters().oversized, 1);
    let mut good = Client::plain(world.plain).await;
    assert_eq!(good.search(BASE, LdapSearchScope::Subtree, "(uid=ada)", &[]).await.entries.len(), 1);
    drop(good);
    until("all connections are over", || world.server.counters().open == 0).await;
}

#[tokio::test]
async fn a_wide_filter_is_refused_and_the_connection_goes_on() {
    let world = World::new(company(), OPEN).await;
    let mut client = Client::plain(world.plain).await;
    let mut search = request(BASE, LdapSearchScope::Subtree, "(uid=ada)", &[]);
    search.filter = LdapFilter::Or(vec![search.filter; 2000]);
    let found = client.search_with(search, vec![]).await;
    assert_eq!(found.code(), Code::AdminLimitExceeded);
    assert_eq!(client.search(BASE, LdapSearchScope::Subtree, "(uid=ada)", &[]).await.entries.len(), 1);
}

#[tokio::test]
async fn a_silent_client_is_sent_away() {
    let world = World::new(company(), r#", "idle_s": 1"#).await;
    let mut client = Client::plain(world.plain).await;
    client.stream.write_all(&[0x30, 50, 2]).await.unwrap();
    assert!(timeout(Duration::from_secs(10), client.receive()).await.unwrap().is_none());
    assert_eq!(world.server.counters().idle_closed, 1);
}

/// As many people as fill every buffer on the way.
fn crowd() -> Vec<inventory::Row> {
    let mut rows = company();
    let long = "x".repeat(8192);
    rows.extend((100..3100).map(|number| {
        let inventory::Row::Entry(mut entry) = person(number, &format!("u{number}")) else { unreachable!() };
        let attributes = &mut std::sync::Arc::make_mut(&mut entry).attributes;
        let long = inventory::Attribute("description".into(), [long.as_str().into()].into());
        *attributes = attributes.iter().cloned().chain([long]).collect();
        inventory::Row::Entry(entry)
    }));
    rows
}

#[tokio::test]
async fn who_does_not_read_delays_nobody_and_may_change_their_mind() {
    let world = World::new(crowd(), OPEN).await;
    let mut slow = Client::plain(world.plain).await;
    let all = || LdapOp::SearchRequest(request(BASE, LdapSearchScope::Subtree, "(objectClass=posixAccount)", &[]));
    let first = slow.send(all(), vec![]).await;
    until("the large search has begun", || world.server.counters().entries > 100).await;
    let mut other = Client::plain(world.plain).await;
    assert_eq!(other.search(BASE, LdapSearchScope::Subtree, "(uid=ada)", &[]).await.entries.len(), 1);
    assert!(world.server.counters().entries < 2_900, "the result waits for its reader");

    let second = slow.send(LdapOp::AbandonRequest(first), vec![]).await + 1;
    assert_eq!(slow.send(all(), vec![]).await, second);
    let cancel = slow.send(extended("1.3.6.1.1.8", Some(vec![0x30, 3, 2, 1, second as u8])), vec![]).await;
    let (mut of_first, mut of_second) = (0, 0);
    loop {
        let message = slow.receive().await.unwrap();
        match message.op {
            LdapOp::SearchResultEntry(_) if message.msgid == first => of_first += 1,
            LdapOp::SearchResultEntry(_) if message.msgid == second => of_second += 1,
            LdapOp::SearchResultDone(result) => {
                assert_eq!((message.msgid, result.code), (second, Code::Canceled), "an abandoned search has no end");
            }
            LdapOp::ExtendedResponse(response) => {
                assert_eq!((message.msgid, response.res.code), (cancel, Code::Success));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(of_first < 3_003 && of_second < 3_003, "{of_first} {of_second}");
    assert_eq!(world.server.counters().abandoned, 2);
}

#[tokio::test]
async fn the_time_limit_counts_while_the_client_does_not_read() {
    let world = World::new(crowd(), OPEN).await;
    let mut slow = Client::plain(world.plain).await;
    let mut all = request(BASE, LdapSearchScope::Subtree, "(objectClass=posixAccount)", &[]);
    all.timelimit = 1;
    let id = slow.send(LdapOp::SearchRequest(all.clone()), vec![]).await;
    until("the large search has begun", || world.server.counters().entries > 100).await;
    // Nothing is to be waited for: the limit passes on the server's side.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let found = slow.found(id).await;
    assert_eq!((found.code(), world.server.counters().time_limited), (Code::TimeLimitExceeded, 1));
    assert!(found.entries.len() < 3_003, "{}", found.entries.len());
    all.timelimit = 60;
    assert_eq!(slow.search_with(all, vec![]).await.entries.len(), 3_003);
}

#[tokio::test]
async fn a_request_that_came_while_the_client_did_not_read_is_answered() {
    let world = World::new(crowd(), OPEN).await;
    let counters = || world.server.counters();
    let mut client = Client::plain(world.plain).await;
    let mut sent = Vec::new();
    // One result after the other, until one does not fit into what is on the way.
    let is_stuck = loop {
        let before = counters().bytes_out;
        let some = request(BASE, LdapSearchScope::Subtree, "(|(uid=u100)(uid=u101)(uid=u102)(uid=u103))", &[]);
        sent.push(client.send(LdapOp::SearchRequest(some), vec![]).await);
        until("the search has begun", || counters().searches == sent.len() as u64).await;
        let is_sent = async {
            while counters().bytes_out == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if timeout(Duration::from_millis(500), is_sent).await.is_err() {
            break sent.len() < 10_000;
        }
    };
    assert!(is_stuck);
    let before = counters().bytes_in;
    let own = request(BASE, LdapSearchScope::Subtree, "(uid=ada)", &[]);
    sent.push(client.send(LdapOp::SearchRequest(own), vec![]).await);
    until("the request has arrived", || counters().bytes_in > before).await;
    for id in sent {
        timeout(Duration::from_secs(10), client.found(id)).await.expect("an answer without a further request");
    }
}

#[tokio::test]
async fn long_lists_of_attributes_are_not_kept() {
    let world = World::new(company(), OPEN).await;
    let mut client = Client::plain(world.plain).await;
    let mut search = request(BASE, LdapSearchScope::Subtree, "(uid=ada)", &["uid"]);
    search.attrs.extend(vec!["x".to_owned(); 5_000]);
    search.attrs.push("cn".into());
    assert_eq!(client.search_with(search, vec![]).await.values("cn"), [""; 0], "the rest of too many is ignored");
    let long = "a".repeat(60_000);
    let found = client.search(BASE, LdapSearchScope::Subtree, "(uid=ada)", &[&long]).await;
    assert_eq!((found.code(), found.entries[0].attributes.len()), (Code::Success, 0), "no name at all");
    let base = format!("uid={}", "a".repeat(5_000));
    assert_eq!(client.search(&base, LdapSearchScope::Subtree, "(uid=ada)", &[]).await.code(), Code::InvalidDNSyntax);
}

#[tokio::test]
async fn a_filter_that_reads_too_much_of_an_entry_is_refused() {
    let mut rows = company();
    let members: Vec<String> = (0..20_000).map(|n| format!("uid=somebody-{n},ou=people,{BASE}")).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    let attributes: &[(&str, &[&str])] = &[("objectClass", &["groupOfNames"]), ("cn", &["all"]), ("member", &members)];
    rows.push(super::world::entry(50, &format!("cn=all,ou=groups,{BASE}"), attributes));
    let world = World::new(rows, OPEN).await;
    let mut client = Client::plain(world.plain).await;
    let term = |n: usize| LdapFilter::Equality("member".into(), format!("uid=nobody-{n},ou=people,{BASE}"));
    let mut search = request(BASE, LdapSearchScope::Subtree, "(cn=all)", &["cn"]);
    search.filter =
        LdapFilter::And(vec![search.filter, LdapFilter::Not(Box::new(LdapFilter::Or((0..900).map(term).collect())))]);
    let found = client.search_with(search.clone(), vec![]).await;
    assert_eq!(found.code(), Code::AdminLimitExceeded);
    search.filter =
        LdapFilter::And(vec![LdapFilter::Equality("cn".into(), "all".into()), LdapFilter::Not(Box::new(term(1)))]);
    assert_eq!(client.search_with(search, vec![]).await.entries.len(), 1);
}

#[tokio::test]
async fn a_large_result_arrives_whole_and_the_size_limit_holds() {
    let world = World::new(crowd(), OPEN).await;
    let mut client = Client::plain(world.plain).await;
    let found = client.search(BASE, LdapSearchScope::Subtree, "(objectClass=posixAccount)", &[]).await;
    assert_eq!((found.code(), found.entries.len()), (Code::Success, 3_003));
    drop(world);
    let world = World::new(crowd(), r#", "allow_anonymous": ["127.0.0.0/8"], "size_limit": 500"#).await;
    let mut client = Client::plain(world.plain).await;
    let found = client.search(BASE, LdapSearchScope::Subtree, "(objectClass=posixAccount)", &["uid"]).await;
    assert_eq!((found.code(), found.entries.len()), (Code::SizeLimitExceeded, 500));
    assert_eq!(world.server.counters().size_limited, 1);
}
