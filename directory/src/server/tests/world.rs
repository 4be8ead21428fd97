//! A small company, and a server for it.

use std::{
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use inventory::{
    Grant, Host, HostKey, HostState, State,
    change::{Author, ChangeSet, Row, RowChange},
    entry::{Attribute, DIRECTORY, Entry, EntryId, Value},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use wire::{Limits, TlsIdentity, accept_loop};

use super::super::{Parts, Server};
use crate::{
    config::Config,
    decisions::{Decisions, Line, Query},
    dn::Dn,
    password::Passwords,
    view::Views,
};

pub(super) const BASE: &str = "dc=acme,dc=private";

pub(super) fn entry(number: u32, dn: &str, attributes: &[(&str, &[&str])]) -> Row {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    let attributes = attributes
        .iter()
        .map(|(name, values)| Attribute((*name).into(), values.iter().map(|value| Value::from(*value)).collect()));
    let (dn, attributes) = (dn.into(), attributes.collect());
    Row::Entry(Arc::new(Entry { id: EntryId(id), dn, attributes, source: DIRECTORY.into() }))
}

pub(super) fn person(number: u32, uid: &str) -> Row {
    let uid_number = (1000 + number).to_string();
    entry(
        number,
        &format!("uid={uid},ou=people,{BASE}"),
        &[
            ("objectClass", &["top", "inetOrgPerson", "posixAccount"]),
            ("uid", &[uid]),
            ("cn", &[uid]),
            ("sn", &[uid]),
            ("uidNumber", &[&uid_number]),
            ("gidNumber", &["100"]),
            ("homeDirectory", &[&format!("/home/{uid}")]),
            ("loginShell", &["/bin/bash"]),
            (
                "sshPublicKey",
                &[&format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwqAyNGOl0yBbWxXbfYiRSbHz8RrV7sVbgyvK1XGgZR {uid}")],
            ),
            ("userPassword", &[&format!("secret-of-{uid}")]),
        ],
    )
}

pub(super) fn host(name: &str, zone: &str, address: &str) -> Row {
    Row::Host(Arc::new(Host {
        key: HostKey { product: "acme".into(), name: name.into(), zone: zone.into() },
        region: zone[..zone.len() - 1].into(),
        private_ip: address.parse().unwrap(),
        public_ip: None,
        ipv6: None,
        roles: Box::default(),
        groups: Box::default(),
        tags: Box::default(),
        state: HostState::Running,
        source: "test".into(),
    }))
}

pub(super) fn grant(name: &str, who: &[&str], on: &[&str], sudo: Option<&[&str]>) -> Row {
    let list = |list: &[&str]| list.iter().map(|text| (*text).into()).collect();
    Row::Grant(Arc::new(Grant {
        name: name.into(),
        who: list(who),
        on: list(on),
        services: Box::default(),
        sudo: sudo.map(list),
        until: None,
        by: "test".into(),
        why: "tests".into(),
        source: "test".into(),
    }))
}

/// ada and bob are database people and come in on db1; carol comes in on web1.
pub(super) fn company() -> Vec<Row> {
    let group = |number, name: &str, gid: &str, members: &[&str]| {
        let attributes: &[(&str, &[&str])] =
            &[("objectClass", &["top", "posixGroup"]), ("cn", &[name]), ("gidNumber", &[gid]), ("memberUid", members)];
        entry(number, &format!("cn={name},ou=groups,{BASE}"), attributes)
    };
    vec![
        entry(1, BASE, &[("objectClass", &["top", "domain"]), ("dc", &["acme"])]),
        entry(2, &format!("ou=people,{BASE}"), &[("objectClass", &["organizationalUnit"]), ("ou", &["people"])]),
        entry(3, &format!("ou=groups,{BASE}"), &[("objectClass", &["organizationalUnit"]), ("ou", &["groups"])]),
        person(11, "ada"),
        person(12, "bob"),
        person(13, "carol"),
        group(21, "dba", "500", &["ada", "bob"]),
        group(22, "staff", "501", &["ada", "bob", "carol"]),
        group(23, "web", "502", &["carol"]),
        host("db1", "us-east-1a", "10.0.0.1"),
        host("web1", "us-east-1b", "10.0.0.2"),
        grant("dba", &["@dba"], &["db*.us-east-1", "!db9.us-east-1a"], Some(&["/usr/bin/psql"])),
        grant("web", &["carol"], &["web1.us-east-1b"], None),
    ]
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// A server that listens until it is dropped.
pub(super) struct World {
    pub(super) server: Arc<Server>,
    pub(super) plain: SocketAddr,
    pub(super) ldaps: SocketAddr,
    pub(super) authority: Issuer,
    pub(super) age_ms: Arc<AtomicU64>,
    pub(super) views: Arc<Views>,
    states: watch::Sender<Arc<State>>,
    decisions: Decisions,
    shutdown: CancellationToken,
    dir: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl World {
    pub(super) async fn new(rows: Vec<Row>, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config: Config = configured(more);
        let config = Arc::new(config);
        let state = Arc::new(State::from_rows(1, 1, 7, rows).unwrap());
        let views = Arc::new(Views::new(state.clone(), &Dn::parse(BASE).unwrap()));
        let (states, followed) = watch::channel(state);
        tokio::spawn(views.clone().follow(followed, |_, _| ()));
        let authority = authority();
        let tls = identity(dir.path(), &authority);
        // As in a node: connections are on a thread without timers, and those are on a runtime that lives longer.
        let node = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let timers = node.handle().clone();
        let limits = Arc::new(Limits::new(1000, 1000).with_timers(timers.clone()));
        let decisions = Decisions::open(&dir.path().join("decisions"), 1 << 20).unwrap();
        let age_ms = Arc::new(AtomicU64::new(0));
        let age = age_ms.clone();
        let server = Server::new(Parts {
            views: views.clone(),
            passwords: Passwords::new(&config, dir.path(), |_, _| None).unwrap(),
            config,
            decisions: decisions.clone(),
            // The greatest age is none.
            age: Box::new(move |_| Some(age.load(std::sync::atomic::Ordering::Relaxed)).filter(|age| *age < u64::MAX)),
            tls: Some(tls.clone()),
            limits: limits.clone(),
            timers,
        });
        let server = Arc::new(server.unwrap());
        let shutdown = CancellationToken::new();
        let mut accepting: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
        let mut listen = |tls: Option<TlsIdentity>| {
            let listener = wire::listen("127.0.0.1:0".parse().unwrap()).unwrap();
            let (address, server, is_tls) = (listener.local_addr().unwrap(), server.clone(), tls.is_some());
            let serve = move |stream, peer, local| {
                let server = server.clone();
                async move { server.serve(stream, peer, local, is_tls).await }
            };
            let (limits, shutdown) = (limits.clone(), shutdown.clone());
            accepting.push(Box::pin(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                accept_loop(listener, limits, tls, shutdown, serve).await;
            }));
            address
        };
        let (plain, ldaps) = (listen(None), listen(Some(tls)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        std::thread::spawn(move || {
            runtime.block_on(futures_util::future::join_all(accepting));
            drop((runtime, node));
        });
        Self { server, plain, ldaps, authority, age_ms, views, states, decisions, shutdown, dir }
    }

    /// Puts rows in place of others, and waits until lookups see it.
    pub(super) async fn change(&self, changes: Vec<(Option<Row>, Option<Row>)>) {
        let state = self.states.borrow().clone();
        let author = Author { who: "test".into(), when_ms: 0, why: String::new() };
        let rows = changes.into_iter().map(|(old, new)| RowChange { old, new }).collect();
        let set = ChangeSet { epoch: 1, serial: state.position().serial + 1, author, rows };
        let state = Arc::new(state.apply(Arc::new(set)).unwrap());
        self.states.send_replace(state.clone());
        let end = Instant::now() + Duration::from_secs(20);
        while self.views.load().position() != state.position() {
            assert!(Instant::now() < end, "the view follows the state");
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// The decisions in the log.
    pub(super) fn decisions(&self) -> Vec<Line> {
        assert!(self.decisions.flush(std::time::Duration::from_secs(10)));
        let query = Query { user: None, host: None, verdict: None, since_ms: None, until_ms: None, limit: 100 };
        let lines = crate::decisions::search(&self.dir.path().join("decisions"), &query).unwrap();
        lines.into_iter().filter(|line| line.entry.is_some()).collect()
    }
}

/// The configuration of a test: `base`, weak passwords, and what the test adds, as JSON.
fn configured(more: &str) -> Config {
    serde_json::from_str(&format!(r#"{{"base": "{BASE}", "weak_schemes": ["clear"] {more}}}"#)).unwrap()
}

fn authority() -> Issuer {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn identity(dir: &Path, authority: &Issuer) -> TlsIdentity {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, authority).unwrap();
    let path = |name: &str| dir.join(name);
    std::fs::write(path("ca.pem"), authority.pem()).unwrap();
    std::fs::write(path("server.pem"), certificate.pem()).unwrap();
    std::fs::write(path("server.key"), key.serialize_pem()).unwrap();
    TlsIdentity::load_with_clients(&path("server.pem"), &path("server.key"), &path("ca.pem"), &[]).unwrap()
}
