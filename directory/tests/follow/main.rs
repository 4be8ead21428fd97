//! Following a directory server: against a real slapd, and against one that lies.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod follower;
mod liar;
mod lies;
#[path = "../../../tests/e2e/ports.rs"]
mod ports;
mod slapd;

use std::{
    fs,
    time::{Duration, Instant, SystemTime},
};

use directory::{
    config::Follow,
    follow::{self, Phase, Servers},
};
use follower::{Follower, upstream};
use inventory::{Author, Edit, Entry, Proposal, Row, RowKey, entry::DIRECTORY};
use slapd::{BASE, Extra, Slapd, base, people, person};

#[expect(clippy::disallowed_methods, reason = "a test compares with what is dated now")]
fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn me() -> Author {
    Author { who: "test".into(), when_ms: 1, why: String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_taken_over_and_every_change_follows() {
    let dir = tempfile::tempdir().unwrap();
    let slapd = Slapd::start(dir.path(), &people(50), &Extra::default());
    let follower = Follower::start(dir.path(), &upstream(dir.path(), &[slapd.url()]));
    follower.phase(Phase::Following).await;
    assert_eq!(follower.state().entry_count(), 56);
    let ada = follower.user("ada").unwrap();
    assert_eq!(&*ada.dn, "uid=ada,ou=ops,ou=people,dc=acme,dc=private");
    assert_eq!(ada.text("entryUUID"), Some(ada.id.to_string().as_str()));
    assert!(ada.text("entryCSN").is_some() && ada.text("userPassword").is_some() && ada.text("memberOf").is_none());
    assert_eq!(follower.report().entries, 56);

    slapd.replace(&ada.dn, "loginShell", "/bin/zsh");
    follower.until("a change", |f| f.attribute("ada", "loginShell").as_deref() == Some("/bin/zsh")).await;
    let mut ldif = String::new();
    person(&mut ldif, "eve", "ou=people", 80_000);
    slapd.change(&ldif);
    follower.until("an addition", |f| f.user("eve").is_some()).await;
    slapd.delete(&format!("uid=eve,ou=people,{BASE}"));
    follower.until("a deletion", |f| f.user("eve").is_none()).await;

    // A subtree: slapd tells of its top only.
    slapd.rename(&format!("ou=people,{BASE}"), "ou=staff");
    let renamed = "uid=ada,ou=ops,ou=staff,dc=acme,dc=private";
    follower.until("a renamed subtree", |f| &*f.user("ada").unwrap().dn == renamed).await;
    let state = follower.state();
    assert!(state.entries().all(|entry| !entry.dn.contains("ou=people")));
    assert_eq!(state.history().last().unwrap().rows.iter().filter(|row| row.new.is_some()).count(), 55);
    let report = follower.report();
    assert_eq!((report.panics, report.failures, report.discarded, report.drift), (0, 0, 0, 0), "{report:?}");
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_our_restart_only_what_changed_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let slapd = Slapd::start(dir.path(), &people(40), &Extra::default());
    let config = upstream(dir.path(), &[slapd.url()]);
    let follower = Follower::start(dir.path(), &config);
    follower.phase(Phase::Following).await;
    let before = follower.state().cookie(DIRECTORY).unwrap().clone();
    let serial = follower.state().position().serial;
    assert!(String::from_utf8_lossy(&before.cookie.0).starts_with("rid="));
    follower.stop().await;

    slapd.replace(&format!("uid=u7,ou=people,{BASE}"), "loginShell", "/bin/zsh");
    slapd.delete(&format!("uid=u8,ou=people,{BASE}"));
    let follower = Follower::start(dir.path(), &config);
    assert_eq!(follower.state().entry_count(), 46, "served before anything is connected");
    follower.phase(Phase::Following).await;
    assert_eq!(follower.attribute("u7", "loginShell").as_deref(), Some("/bin/zsh"));
    assert!(follower.user("u8").is_none());
    let state = follower.state();
    assert_eq!(state.position().serial, serial + 1, "one change set");
    assert_eq!(state.history().last().unwrap().rows.len(), 3, "two entries and the cookie");
    assert_ne!(state.cookie(DIRECTORY).unwrap(), &before);
    follower.stop().await;

    // Another question needs the whole again: the cookie is bound to it.
    let narrow = directory::config::Upstream { filter: "(!(uid=u9))".into(), ..config };
    let follower = Follower::start(dir.path(), &narrow);
    follower.phase(Phase::Following).await;
    assert!(follower.user("u9").is_none());
    assert_ne!(follower.state().cookie(DIRECTORY).unwrap().request, before.request);
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_gone_costs_nothing_and_its_return_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut slapd = Slapd::start(dir.path(), &people(40), &Extra::default());
    let follower = Follower::start(dir.path(), &upstream(dir.path(), &[slapd.url()]));
    follower.phase(Phase::Following).await;
    let begin = now_ms();
    slapd.kill();
    follower.phase(Phase::Down).await;
    let report = follower.report();
    assert!(report.since_ms >= begin && report.reason.contains(&slapd.url()), "{report:?}");
    assert_eq!(follower.state().entry_count(), 46);
    let failures = report.failures;
    follower.until("further attempts", |f| f.report().failures > failures + 1).await;
    assert_eq!(
        follower.report().trouble_since_ms,
        report.trouble_since_ms,
        "since when it is down, not since the last attempt"
    );
    let now = now_ms();
    assert!(follower.status.age_ms(now).unwrap() >= now - begin - 1, "it ages");

    // The session log was in memory: the first answer after a restart is a present phase.
    slapd.launch();
    slapd.replace(&format!("uid=u7,ou=people,{BASE}"), "loginShell", "/bin/zsh");
    slapd.delete(&format!("uid=u8,ou=people,{BASE}"));
    slapd.rename(&format!("ou=ops,ou=people,{BASE}"), "ou=operations");
    follower.status.retry();
    follower.phase(Phase::Following).await;
    follower.until("what changed", |f| f.user("u8").is_none()).await;
    follower.until("a shell", |f| f.attribute("u7", "loginShell").as_deref() == Some("/bin/zsh")).await;
    let renamed = "uid=ada,ou=operations,ou=people,dc=acme,dc=private";
    follower.until("a renamed subtree", |f| &*f.user("ada").unwrap().dn == renamed).await;
    assert_eq!(follower.state().entry_count(), 45);
    assert!(follower.report().reason.is_empty() && follower.report().trouble_since_ms.is_none());
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_made_while_the_session_log_was_lost_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut slapd = Slapd::start(dir.path(), &people(40), &Extra::default());
    let config = upstream(dir.path(), &[slapd.url()]);
    let follower = Follower::start(dir.path(), &config);
    follower.phase(Phase::Following).await;
    follower.stop().await;
    slapd.delete(&format!("uid=u8,ou=people,{BASE}"));
    slapd.rename(&format!("ou=ops,ou=people,{BASE}"), "ou=operations");
    slapd.stop();
    slapd.launch();
    let follower = Follower::start(dir.path(), &config);
    follower.phase(Phase::Following).await;
    assert_eq!(follower.state().entry_count(), 45);
    assert_eq!(&*follower.user("ada").unwrap().dn, "uid=ada,ou=operations,ou=people,dc=acme,dc=private");
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_was_restored_empty_is_held_until_somebody_accepts() {
    let dir = tempfile::tempdir().unwrap();
    let mut slapd = Slapd::start(dir.path(), &people(40), &Extra::default());
    let follower = Follower::start(dir.path(), &upstream(dir.path(), &[slapd.url()]));
    follower.phase(Phase::Following).await;
    slapd.stop();
    slapd.wipe();
    slapd.load(&base());
    slapd.launch();
    follower.status.retry();
    follower.phase(Phase::Held).await;
    let held = follower.report().held.unwrap();
    assert!(follower.report().reason.contains("posixaccount"), "{}", follower.report().reason);
    assert_eq!(follower.state().entry_count(), 46, "the former content is served");
    // A change on top does not come through; the same content again keeps its number.
    slapd.replace(&format!("ou=people,{BASE}"), "description", "restored");
    follower.status.retry();
    follower.until("another content is another change", |f| f.report().held.is_some_and(|id| id != held)).await;
    assert_eq!(follower.report().phase, Phase::Held);
    assert_eq!(follower.state().entry_count(), 46);
    let again = follower.report().held.unwrap();
    let connects = follower.report().connects;
    let retried = |f: &Follower| {
        f.status.retry();
        f.report().connects > connects + 1
    };
    follower.until("further attempts", retried).await;
    assert_eq!(follower.keeper.held().iter().map(|held| held.id).collect::<Vec<_>>(), [again]);

    follower.keeper.accept(again, me()).await.unwrap();
    follower.phase(Phase::Following).await;
    assert_eq!(follower.state().entry_count(), 4);
    assert_eq!(follower.report().held, None);
    let mut ldif = String::new();
    person(&mut ldif, "eve", "ou=people", 80_000);
    slapd.change(&ldif);
    follower.until("an addition", |f| f.user("eve").is_some()).await;
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_restored_to_an_earlier_time_is_believed_after_a_full_refresh() {
    let dir = tempfile::tempdir().unwrap();
    let mut slapd = Slapd::start(dir.path(), &people(40), &Extra::default());
    let follower = Follower::start(dir.path(), &upstream(dir.path(), &[slapd.url()]));
    follower.phase(Phase::Following).await;
    let backup = slapd.dump();
    slapd.replace(&format!("uid=u7,ou=people,{BASE}"), "loginShell", "/bin/zsh");
    follower.until("a shell", |f| f.attribute("u7", "loginShell").as_deref() == Some("/bin/zsh")).await;
    slapd.stop();
    slapd.wipe();
    slapd.load(&backup);
    slapd.launch();
    follower.status.retry();
    // slapd answers our newer cookie with code 53.
    follower.until("the earlier shell", |f| f.attribute("u7", "loginShell").as_deref() == Some("/bin/bash")).await;
    follower.phase(Phase::Following).await;
    assert_eq!(follower.state().entry_count(), 46);
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_comes_to_its_senses_needs_no_one_to_accept() {
    let dir = tempfile::tempdir().unwrap();
    let mut slapd = Slapd::start(dir.path(), &people(40), &Extra::default());
    let follower = Follower::start(dir.path(), &upstream(dir.path(), &[slapd.url()]));
    follower.phase(Phase::Following).await;
    let backup = slapd.dump();
    slapd.stop();
    slapd.wipe();
    slapd.load(&base());
    slapd.launch();
    follower.status.retry();
    follower.phase(Phase::Held).await;
    slapd.stop();
    slapd.wipe();
    slapd.load(&backup);
    slapd.launch();
    follower.status.retry();
    follower.phase(Phase::Following).await;
    assert_eq!(follower.state().entry_count(), 46);
    assert!(follower.keeper.held().is_empty());
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_push_is_polled() {
    let dir = tempfile::tempdir().unwrap();
    let slapd = Slapd::start(dir.path(), &people(40), &Extra { mute: true, ..Extra::default() });
    let config = directory::config::Upstream { follow: Follow::Poll, ..upstream(dir.path(), &[slapd.url()]) };
    let follower = Follower::start(dir.path(), &config);
    follower.phase(Phase::Polling).await;
    assert_eq!(follower.state().entry_count(), 46);
    slapd.replace(&format!("uid=u7,ou=people,{BASE}"), "loginShell", "/bin/zsh");
    slapd.delete(&format!("uid=u8,ou=people,{BASE}"));
    follower.until("a shell", |f| f.attribute("u7", "loginShell").as_deref() == Some("/bin/zsh")).await;
    follower.until("a deletion", |f| f.user("u8").is_none()).await;
    assert!(follower.state().cookie(DIRECTORY).is_none());
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_the_overlay_is_polled_by_itself_and_a_size_limit_takes_nothing_away() {
    let dir = tempfile::tempdir().unwrap();
    let mut slapd = Slapd::start(dir.path(), &people(40), &Extra { mute: true, ..Extra::default() });
    let follower = Follower::start(dir.path(), &upstream(dir.path(), &[slapd.url()]));
    follower.phase(Phase::Polling).await;
    slapd.stop();
    let dump = slapd.dump();
    drop(slapd);
    // The same content behind a size limit of three entries.
    let other = tempfile::tempdir().unwrap();
    let slapd = Slapd::start(other.path(), &dump, &Extra { mute: true, limited: true, ..Extra::default() });
    follower.stop().await;
    let config = directory::config::Upstream { follow: Follow::Poll, ..upstream(dir.path(), &[slapd.url()]) };
    let follower = Follower::start(dir.path(), &config);
    follower.until("a discarded listing", |f| f.report().discarded > 0).await;
    follower.phase(Phase::Down).await;
    assert!(follower.report().reason.contains("size limit"), "{}", follower.report().reason);
    assert_eq!(follower.state().entry_count(), 46);
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_server_is_asked_and_a_new_password_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut slapd = Slapd::start(dir.path(), &people(5), &Extra::default());
    let config = upstream(dir.path(), &["ldap://127.0.0.1:1".into(), slapd.url()]);
    fs::write(dir.path().join("secret"), "wrong").unwrap();
    let follower = Follower::start(dir.path(), &config);
    follower.until("a refused bind", |f| f.report().reason.contains("code 49")).await;
    fs::write(dir.path().join("secret"), "").unwrap();
    follower.until("an empty password", |f| f.report().reason.contains("it is empty")).await;
    fs::write(dir.path().join("secret"), "secret\n").unwrap();
    follower.phase(Phase::Following).await;
    assert_eq!(follower.report().source, slapd.url());

    let servers = Servers::new(config.clone());
    let (url, mut ldap) = servers.connect().await.unwrap();
    assert_eq!(url, slapd.url());
    assert_eq!(servers.order()[0], slapd.url(), "the one that failed is asked last");
    let dn = format!("uid=u1,ou=people,{BASE}");
    let bound = follow::guarded(async move { ldap.simple_bind(&dn, "wrong").await.unwrap().rc }).await.unwrap();
    assert_eq!(bound, 49);
    slapd.kill();
    assert!(servers.connect().await.is_err());
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_done_with_roots_of_our_own() {
    let dir = tempfile::tempdir().unwrap();
    let tls = dir.path().join("slapd/tls");
    fs::create_dir_all(&tls).unwrap();
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().signed_by(&key, &issuer).unwrap();
    fs::write(tls.join("ca.pem"), root.pem()).unwrap();
    fs::write(tls.join("cert.pem"), leaf.pem()).unwrap();
    fs::write(tls.join("key.pem"), key.serialize_pem()).unwrap();
    let global = format!(
        "TLSCACertificateFile {0}/ca.pem\nTLSCertificateFile {0}/cert.pem\nTLSCertificateKeyFile {0}/key.pem",
        tls.display()
    );
    let slapd = Slapd::start(dir.path(), &people(5), &Extra { global: &global, ..Extra::default() });
    let ca_file = Some(tls.join("ca.pem"));
    for url in [slapd.url(), format!("ldaps://127.0.0.1:{}", slapd.tls_port)] {
        let mut config = upstream(dir.path(), std::slice::from_ref(&url));
        (config.starttls, config.ca_file) = (true, ca_file.clone());
        let follower = Follower::start(dir.path(), &config);
        follower.phase(Phase::Following).await;
        assert_eq!(follower.state().entry_count(), 11);
        follower.stop().await;
        // Without the root nothing is sent.
        config.ca_file = None;
        let error = follow::connect(&config, &url).await.unwrap_err().to_string();
        assert!(error.contains("TLS with") && error.contains("failed"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_hangs_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let slapd = Slapd::start(dir.path(), &people(5), &Extra::default());
    let config = directory::config::Upstream { timeout_s: 2, ..upstream(dir.path(), &[slapd.url()]) };
    let follower = Follower::start(dir.path(), &config);
    follower.phase(Phase::Following).await;
    // It accepts connections and acknowledges what it is sent, but says nothing.
    slapd.signal("-STOP");
    follower.phase(Phase::Down).await;
    assert!(follower.report().reason.contains("does not answer within 2 s"), "{}", follower.report().reason);
    assert_eq!(follower.state().entry_count(), 11);
    slapd.signal("-CONT");
    follower.phase(Phase::Following).await;
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_found_counted_and_mended() {
    let dir = tempfile::tempdir().unwrap();
    let slapd = Slapd::start(dir.path(), &people(40), &Extra::default());
    let follower = Follower::start(dir.path(), &upstream(dir.path(), &[slapd.url()]));
    follower.phase(Phase::Following).await;
    let compared = follower.report().compared_ms;
    follower.status.compare();
    follower.until("a comparison", |f| f.report().compared_ms > compared).await;
    assert_eq!((follower.report().drift, follower.report().connects), (0, 1));

    // One entry is lost here and one is other than the server's, and the server will not tell.
    let (lost, mut other) = (follower.user("u1").unwrap(), Entry::clone(&follower.user("u2").unwrap()));
    other.dn = format!("uid=wrong,ou=people,{BASE}").into();
    let edits = vec![Edit::Remove(RowKey::Entry(lost.id)), Edit::Put(Row::Entry(other.into()))];
    follower.keeper.propose(Proposal { author: me(), edits }).await.unwrap();
    follower.status.compare();
    follower.until("drift", |f| f.report().drift == 2).await;
    follower.until("mended", |f| f.user("u1").is_some()).await;
    follower.phase(Phase::Following).await;
    assert_eq!(*follower.user("u1").unwrap(), *lost);
    assert_eq!(&*follower.user("u2").unwrap().dn, format!("uid=u2,ou=people,{BASE}"));
    follower.stop().await;
}

/// How long a change takes from the server's answer to its author until it is published here, and how long the first
/// refresh takes. `GATEHOUSE_FOLLOW_ENTRIES` sets the size; the limits hold for 100,000 in a release build.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_refresh_and_every_change_are_quick() {
    let n = std::env::var("GATEHOUSE_FOLLOW_ENTRIES").ok().and_then(|n| n.parse().ok()).unwrap_or(2000);
    let dir = tempfile::tempdir().unwrap();
    let slapd = Slapd::start(dir.path(), &people(n), &Extra::default());
    let begin = Instant::now();
    let follower = Follower::start(dir.path(), &upstream(dir.path(), &[slapd.url()]));
    follower.phase(Phase::Following).await;
    let refresh = begin.elapsed();
    assert_eq!(follower.state().entry_count(), n + 6);

    let config = upstream(dir.path(), &[slapd.url()]);
    let mut ldap = follow::connect(&config, &slapd.url()).await.unwrap();
    ldap.simple_bind("cn=admin,dc=acme,dc=private", "admin").await.unwrap().success().unwrap();
    let mut watch = follower.keeper.subscribe();
    let mut times = Vec::new();
    for i in 0..200 {
        let (dn, shell) = (format!("uid=u{},ou=people,{BASE}", i % n.min(100)), format!("/bin/sh{i}"));
        let id = follower.user(&format!("u{}", i % n.min(100))).unwrap().id;
        let values = std::collections::HashSet::from([shell.as_str()]);
        let begin = Instant::now();
        ldap.modify(&dn, vec![ldap3::Mod::Replace("loginShell", values)]).await.unwrap().success().unwrap();
        while watch.borrow_and_update().entry(id).unwrap().text("loginShell") != Some(shell.as_str()) {
            tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.expect("published").unwrap();
        }
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    let (p50, p99) = (times[100], times[197]);
    println!(
        "{n} entries: first refresh {refresh:?}; change to published: p50 {p50:?}, p99 {p99:?}, max {:?}",
        times[199]
    );
    assert!(p99 < Duration::from_secs(1), "{p99:?}");
    assert!(refresh < Duration::from_secs(20), "{refresh:?}");
    follower.stop().await;
}
