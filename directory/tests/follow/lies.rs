//! What becomes of lies: the old content stays, the reason is told, and the process lives.

use directory::follow::Phase;
use inventory::entry::DIRECTORY;

use crate::{
    follower::{Follower, upstream},
    liar::{Liar, Message, Script, done, entry, entry_with, group, id_set, info, refresh_end, tlv},
};

const COOKIE: &str = "rid=000,csn=20261120223344.123456Z#000000#001#000000";
const LATER: &str = "rid=000,csn=20261120223355.123456Z#000000#001#000000";

/// Forty people and a cookie.
fn honest() -> Script {
    let mut messages: Vec<Message> = (1..=40).map(|n| entry(n, 1, None)).collect();
    messages.push(refresh_end(0xa2, Some(COOKIE)));
    Script { messages, ..Script::default() }
}

fn then_closed(mut script: Script) -> Script {
    script.close = true;
    script
}

fn only(messages: Vec<Message>) -> Script {
    Script { messages, ..Script::default() }
}

/// A follower that has the honest content and then meets `lies`.
async fn told(dir: &std::path::Path, lies: Vec<Script>) -> (Liar, Follower) {
    let mut scripts = vec![then_closed(honest())];
    scripts.extend(lies);
    let liar = Liar::start(scripts).await;
    let follower = Follower::start(dir, &upstream(dir, std::slice::from_ref(&liar.url)));
    follower.until("the honest content", |f| f.state().entry_count() == 40).await;
    (liar, follower)
}

fn cookie(follower: &Follower) -> String {
    String::from_utf8(follower.state().cookie(DIRECTORY).unwrap().cookie.0.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_ends_early_is_discarded() {
    let early = [
        (only(vec![entry(1, 1, None), done(4, "")]), "size limit"),
        (only(vec![entry(1, 1, None), done(11, "")]), "administrative limit"),
        (only(vec![entry(1, 1, None), done(3, "")]), "time limit"),
        (only(vec![entry(1, 1, None), done(0, "")]), "ended the search"),
        (only(vec![entry(1, 1, None), done(53, "no such luck")]), "no such luck"),
        (then_closed(only(vec![id_set(true, &[1, 2, 3], Some(LATER))])), "closed the connection"),
    ];
    for (script, expected) in early {
        let dir = tempfile::tempdir().unwrap();
        let (_liar, follower) = told(dir.path(), vec![script]).await;
        follower.until(expected, |f| f.report().reason.contains(expected)).await;
        assert_eq!(follower.report().phase, Phase::Down);
        assert_eq!((follower.state().entry_count(), cookie(&follower).as_str()), (40, COOKIE), "{expected}");
        follower.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_before_the_end_of_the_refresh_is_never_kept() {
    let dir = tempfile::tempdir().unwrap();
    // As slapd replays its session log: deletions with cookies ahead of the changes, then the connection breaks.
    let replay = vec![id_set(true, &[7], Some(LATER)), info(&tlv(0x80, &[LATER.as_bytes()])), entry(8, 2, Some(LATER))];
    let (liar, follower) = told(dir.path(), vec![then_closed(only(replay))]).await;
    follower.until("several attempts", |f| f.report().connects > 3).await;
    assert!(liar.cookies.lock().unwrap().iter().skip(1).all(|cookie| cookie.as_deref() == Some(COOKIE.as_bytes())));
    assert_eq!((follower.state().entry_count(), cookie(&follower).as_str()), (40, COOKIE));
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_present_phase_without_a_list_removes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (liar, follower) = told(dir.path(), vec![only(vec![refresh_end(0xa2, Some(LATER))]), honest()]).await;
    follower.until("a full refresh", |f| f.report().phase == Phase::Following && f.report().connects >= 3).await;
    assert_eq!(follower.state().entry_count(), 40);
    assert_eq!(liar.cookies.lock().unwrap().last().unwrap(), &None, "asked without a cookie");
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_content_and_a_list_of_the_few_are_held() {
    // With and without a cookie.
    for lie in [only(vec![done(4096, "")]), only(vec![id_set(false, &[1, 2], None), refresh_end(0xa2, Some(LATER))])] {
        let dir = tempfile::tempdir().unwrap();
        let empty = only(vec![refresh_end(0xa1, Some(LATER))]);
        let (_liar, follower) = told(dir.path(), vec![lie, empty]).await;
        follower.phase(Phase::Held).await;
        assert!(follower.report().held.is_some());
        assert_eq!(follower.keeper.held().len(), 1);
        assert_eq!((follower.state().entry_count(), cookie(&follower).as_str()), (40, COOKIE));
        follower.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_entries_that_were_never_sent_are_no_content() {
    let dir = tempfile::tempdir().unwrap();
    let unknown = only(vec![id_set(false, &(1..=41).collect::<Vec<u8>>(), None), refresh_end(0xa2, Some(LATER))]);
    let (_liar, follower) = told(dir.path(), vec![unknown]).await;
    follower.until("a refusal", |f| f.report().reason.contains("names 41 entries as present")).await;
    assert_eq!((follower.state().entry_count(), cookie(&follower).as_str()), (40, COOKIE));
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_costs_a_connection_and_nothing_else() {
    let deep = (0..40).fold(vec![2, 1, 1], |inner, _| tlv(0x30, &[&inner]));
    let raw = |raw: Vec<u8>| Script { raw, ..Script::default() };
    let garbage = [
        (only(vec![entry_with(b"")]), "Sync State control that is wrong"),
        (only(vec![entry_with(&[0x30, 3, 0x0a, 1, 9])]), "its kind 9 is unknown"),
        (only(vec![entry_with(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff])]), "cut off"),
        (only(vec![Message(entry(1, 1, None).0, Vec::new())]), "without a Sync State control"),
        (only(vec![info(&[0xa3, 2, 1, 1])]), "Sync Info message that is wrong"),
        (only(vec![info(&tlv(0xa3, &[&tlv(0x31, &[&tlv(4, &[b"short"])])]))]), "16 octets"),
        (raw(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()), "not LDAP"),
        (raw(vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff]), "2147483647 octets"),
        (raw(deep), "16 levels of nesting"),
        (raw(vec![0x30, 0x80, 0, 0]), "a length that is indefinite"),
    ];
    for (script, expected) in garbage {
        let dir = tempfile::tempdir().unwrap();
        let (_liar, follower) = told(dir.path(), vec![script]).await;
        follower.until(expected, |f| f.report().reason.contains(expected)).await;
        assert_eq!((follower.state().entry_count(), cookie(&follower).as_str()), (40, COOKIE), "{expected}");
        assert_eq!(follower.report().panics, 0, "{expected}");
        follower.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_library_is_counted_and_followed_by_a_new_connection() {
    // An answer of a kind that no search has; a result whose text is no UTF-8; a control that is none.
    let wrong = [
        Message(tlv(0x78, &[&[0x0a, 1, 0], &[4, 0], &[4, 0]]), Vec::new()),
        Message(tlv(0x65, &[&[0x0a, 1, 0], &[4, 0], &tlv(4, &[b"\xff"])]), Vec::new()),
        Message(entry(1, 1, None).0, tlv(0xa0, &[&tlv(4, &[b"control"])])),
    ];
    for message in wrong {
        let dir = tempfile::tempdir().unwrap();
        let (_liar, follower) = told(dir.path(), vec![only(vec![message]), honest()]).await;
        follower.until("a new connection", |f| f.report().phase == Phase::Following && f.report().connects >= 3).await;
        assert_eq!(follower.report().panics, 1);
        assert_eq!((follower.state().entry_count(), follower.report().discarded), (40, 0));
        follower.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_groups_pass_and_more_of_them_than_may_be_on_their_way() {
    // Fifteen messages of more than two million octets each: twice what the gate lets through unread.
    let mut messages: Vec<Message> = (1..=15).map(|n| group(n, 50_000)).collect();
    messages.push(refresh_end(0xa2, Some(COOKIE)));
    let dir = tempfile::tempdir().unwrap();
    let liar = Liar::start(vec![only(messages)]).await;
    let follower = Follower::start(dir.path(), &upstream(dir.path(), std::slice::from_ref(&liar.url)));
    follower.phase(Phase::Following).await;
    assert_eq!(follower.state().entry_count(), 15);
    assert!(follower.state().entries().all(|group| group.values("member").len() == 50_000));
    assert_eq!(follower.report().failures, 0);
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_is_taken_over_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let liar = Liar::start(vec![honest()]).await;
    let mut config = upstream(dir.path(), std::slice::from_ref(&liar.url));
    config.entries_max = 39;
    let follower = Follower::start(dir.path(), &config);
    follower.phase(Phase::Broken).await;
    assert!(follower.report().reason.contains("entries_max"), "{}", follower.report().reason);
    assert_eq!(follower.state().entry_count(), 0);
    follower.stop().await;
}
