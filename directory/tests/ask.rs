//! Questions of instances over real connections: which appliance is heard, how long it takes, what is never an answer.
//!
//! The appliances here are as good and as bad as the network can make them; what the good ones say is decided by the policy.
#![expect(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use directory::{
    ask::{
        self, Asked, OID, What,
        client::{Appliance, Settings, Unheard},
    },
    decisions::Decisions,
    dn::Dn,
    password::Passwords,
    policy::Verdict,
    server::{Parts, Server},
    view::{View, Views},
};
use futures_util::{SinkExt, StreamExt};
use inventory::{State, change::Row};
use ldap3_proto::{
    LdapCodec,
    proto::{LdapExtendedResponse, LdapMsg, LdapOp, LdapResult, LdapResultCode},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use tokio_util::{codec::Framed, sync::CancellationToken};
use wire::{Limits, TlsIdentity, blocking::BlockingClient};

const NOW: u64 = 1_780_000_000;
const HOST: &str = "dev-mysql01.us-east-1b";
/// Far more than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How an appliance behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It answers.
    Good,
    /// It says that it cannot judge.
    Busy,
    /// It closes the connection after the question.
    Closes,
    /// It takes the question and says nothing.
    Silent,
    /// It answers long after the pause.
    Slow,
}

/// So much more than the pause before the next appliance is asked that this one shakes hands meanwhile.
const SLOW: Duration = Duration::from_secs(2);

/// A root, and the runtime in which appliances live.
struct World {
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    shutdown: CancellationToken,
    view: Arc<View>,
    /// Connections whose handshake was done.
    connections: Arc<AtomicUsize>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn row<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

/// alice may come in on [`HOST`].
fn view() -> Arc<View> {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f alice@laptop";
    let attributes = json!([["objectClass", ["posixAccount"]], ["uid", ["alice"]], ["sshPublicKey", [key]]]);
    let rows = [
        Row::Host(row(json!({ "product": "acme", "name": "dev-mysql01", "zone": "us-east-1b", "region": "us-east-1",
            "private_ip": "10.0.0.9", "source": "api" }))),
        Row::Grant(row(json!({ "name": "dba", "who": ["alice"], "on": ["*.us-east-1"], "by": "t", "why": "t",
            "source": "api" }))),
        Row::Entry(row(json!({ "id": "597ae2f6-16a6-1027-98f4-d28b5365dc14", "dn": "uid=alice,dc=acme",
            "attributes": attributes, "source": "directory" }))),
    ];
    Arc::new(View::build(Arc::new(State::from_rows(1, 1, 1, rows).unwrap()), &Dn::parse("dc=acme").unwrap()))
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_key = KeyPair::generate().unwrap();
    std::fs::write(dir.path().join("ca.pem"), root.self_signed(&root_key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(root, root_key);
    for (file, name) in [("server", "127.0.0.1"), ("host", "dev-mysql01.us-east-1b.acme.private")] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.into()]).unwrap().signed_by(&key, &issuer).unwrap();
        std::fs::write(dir.path().join(format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(dir.path().join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    World { dir, runtime, shutdown: CancellationToken::new(), view: view(), connections: Arc::default() }
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn appliance(&self, kind: Kind) -> SocketAddr {
        self.appliance_after(kind, Duration::ZERO)
    }

    /// It can be connected to at once, and takes part in the handshake only after that time.
    fn appliance_after(&self, kind: Kind, sleep: Duration) -> SocketAddr {
        let listener = self.runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let tls = TlsIdentity::load(&self.path("server.pem"), &self.path("server.key"), &[]).unwrap();
        let (view, connections) = (self.view.clone(), self.connections.clone());
        let serve = move |stream, _, _| {
            connections.fetch_add(1, SeqCst);
            serve(kind, stream, view.clone())
        };
        let (limits, shutdown) = (Arc::new(Limits::new(100, 100)), self.shutdown.clone());
        self.runtime.spawn(async move {
            tokio::time::sleep(sleep).await;
            wire::accept_loop(listener, limits, Some(tls), shutdown, serve).await
        });
        address
    }

    /// The product's own server, which knows hosts by their certificates.
    fn server(&self) -> SocketAddr {
        let config = json!({ "base": "dc=acme", "client_ca": self.path("ca.pem") });
        let config: directory::config::Config = serde_json::from_value(config).unwrap();
        let (certificate, key) = (self.path("server.pem"), self.path("server.key"));
        let tls = TlsIdentity::load_with_clients(&certificate, &key, &self.path("ca.pem"), &[]).unwrap();
        let limits = Arc::new(Limits::new(100, 100));
        let parts = Parts {
            views: Arc::new(Views::new(self.view.state.clone(), &Dn::parse("dc=acme").unwrap())),
            passwords: Passwords::new(&config, self.dir.path(), |_, _| None).unwrap(),
            decisions: Decisions::open(&self.path("decisions"), 1 << 20).unwrap(),
            age: Box::new(|_| Some(5000)),
            tls: Some(tls.clone()),
            limits: limits.clone(),
            timers: self.runtime.handle().clone(),
            config: Arc::new(config),
        };
        let server = Arc::new(Server::new(parts).unwrap());
        let serve = move |stream, peer, local| {
            let server = server.clone();
            async move { server.serve(stream, peer, local, true).await }
        };
        let listener = self.runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        self.runtime.spawn(wire::accept_loop(listener, limits, Some(tls), self.shutdown.clone(), serve));
        address
    }

    fn settings(&self, appliances: &[SocketAddr], deadline: Duration) -> Settings {
        let appliances = appliances.iter().map(|a| Appliance { host: a.ip().to_string(), port: a.port() }).collect();
        let tls = BlockingClient::load(&self.path("ca.pem"), None).unwrap();
        Settings { appliances, tls, server_name: None, hedge: Duration::from_millis(200), deadline }
    }
}

async fn serve(kind: Kind, stream: wire::Stream, view: Arc<View>) {
    let mut frames = Framed::new(stream, LdapCodec::default());
    let Some(Ok(message)) = frames.next().await else { return };
    let LdapOp::ExtendedRequest(request) = message.op else { panic!("{:?}", message.op) };
    assert_eq!(request.name, OID);
    let asked = Asked::parse(&request.value.unwrap()).unwrap();
    if kind == Kind::Slow {
        tokio::time::sleep(SLOW).await;
    }
    let (code, value) = match kind {
        Kind::Good | Kind::Slow => {
            (LdapResultCode::Success, Some(ask::answer(&view, HOST, &asked, NOW, false).to_json()))
        }
        Kind::Busy => (LdapResultCode::Busy, None),
        Kind::Closes => return,
        Kind::Silent => return std::future::pending().await,
    };
    let res = LdapResult { code, matcheddn: String::new(), message: "no news for long".into(), referral: vec![] };
    let op = LdapOp::ExtendedResponse(LdapExtendedResponse { res, name: Some(OID.into()), value });
    let _ = frames.send(LdapMsg { msgid: message.msgid, op, ctrl: vec![] }).await;
    // The client says goodbye.
    let _ = frames.next().await;
}

fn alice() -> Asked {
    Asked { user: "alice".into(), service: "sshd".into(), what: What::Keys, rhost: None, tty: None }
}

#[test]
fn keys_come_from_the_appliance() {
    let world = world();
    let settings = world.settings(&[world.appliance(Kind::Good)], PATIENCE);
    let heard = ask::client::ask(&settings, &alice(), None, Instant::now()).unwrap();
    assert_eq!(heard.answer.verdict, Verdict::Allow);
    assert_eq!(heard.answer.keys.len(), 1);
    assert_eq!((heard.from, heard.failures), (0, Vec::new()));
    let mallory = Asked { user: "mallory".into(), ..alice() };
    let heard = ask::client::ask(&settings, &mallory, None, Instant::now()).unwrap();
    assert_eq!((heard.answer.verdict, heard.answer.known), (Verdict::Deny, false), "a denial is an answer");
}

#[test]
fn the_server_knows_who_asks_by_the_certificate() {
    let world = world();
    let mut settings = world.settings(&[world.server()], PATIENCE);
    let Unheard(reasons) = ask::client::ask(&settings, &alice(), None, Instant::now()).unwrap_err();
    assert!(reasons[0].contains("present the certificate of a host"), "{reasons:?}");
    let identity = (world.path("host.pem"), world.path("host.key"));
    settings.tls = BlockingClient::load(&world.path("ca.pem"), Some((&identity.0, &identity.1))).unwrap();
    let heard = ask::client::ask(&settings, &alice(), None, Instant::now()).unwrap();
    assert_eq!((heard.answer.verdict, heard.answer.host.as_str()), (Verdict::Allow, HOST));
    assert_eq!((heard.answer.keys.len(), heard.answer.age_s), (1, Some(5)));
    let long = Asked { user: "x".repeat(300), ..alice() };
    let Unheard(reasons) = ask::client::ask(&settings, &long, None, Instant::now()).unwrap_err();
    assert!(reasons[0].contains("user of the question is too long"), "{reasons:?}");
}

#[test]
fn one_that_cannot_judge_is_passed_over_at_once() {
    let world = world();
    let bad = [Kind::Busy, Kind::Closes].map(|kind| world.appliance(kind));
    // With a pause this long, only failures can have brought the next one in.
    let mut settings = world.settings(&[bad[0], bad[1], world.appliance(Kind::Good)], PATIENCE);
    settings.hedge = PATIENCE;
    let heard = ask::client::ask(&settings, &alice(), None, Instant::now()).unwrap();
    assert_eq!((heard.from, heard.answer.verdict), (2, Verdict::Allow));
    assert!(heard.failures[0].contains("it cannot judge (Busy): no news for long"), "{:?}", heard.failures);
    assert_eq!(heard.failures.len(), 2);
}

#[test]
fn a_silent_one_costs_the_pause_and_a_preference_spares_it() {
    let world = world();
    let appliances = [world.appliance(Kind::Silent), world.appliance(Kind::Good)];
    let mut settings = world.settings(&appliances, PATIENCE);
    let started = Instant::now();
    let heard = ask::client::ask(&settings, &alice(), None, started).unwrap();
    assert_eq!(heard.from, 1);
    assert!(started.elapsed() >= settings.hedge, "the first one had its time");
    assert_eq!(heard.failures, [format!("{} was slower", appliances[0])]);
    settings.hedge = PATIENCE;
    let heard = ask::client::ask(&settings, &alice(), Some(1), Instant::now()).unwrap();
    assert_eq!((heard.from, heard.failures), (1, Vec::new()));
}

#[test]
fn one_that_is_slow_is_heard_on_the_connection_on_which_it_was_asked() {
    // Slow to answer, or slow to shake hands; both take longer than the first one is asked alone.
    for (kind, sleep) in [(Kind::Slow, Duration::ZERO), (Kind::Good, SLOW)] {
        let world = world();
        let appliances = [world.appliance_after(kind, sleep), world.appliance(Kind::Silent)];
        let settings = world.settings(&appliances, PATIENCE);
        let heard = ask::client::ask(&settings, &alice(), None, Instant::now()).unwrap();
        assert_eq!((heard.from, heard.answer.verdict), (0, Verdict::Allow), "{kind:?}");
        assert_eq!(heard.failures, [format!("{} was slower", appliances[1])], "{kind:?}");
        assert_eq!(world.connections.load(SeqCst), 2, "{kind:?}: one for each");
    }
}

#[test]
fn without_a_pause_all_are_asked_at_once() {
    let world = world();
    let appliances = [world.appliance(Kind::Silent), world.appliance(Kind::Good)];
    let mut settings = world.settings(&appliances, PATIENCE);
    settings.hedge = Duration::ZERO;
    let heard = ask::client::ask(&settings, &alice(), None, Instant::now()).unwrap();
    assert_eq!((heard.from, heard.failures), (1, vec![format!("{} was slower", appliances[0])]));
}

#[test]
fn a_silent_one_alone_is_given_up_at_the_deadline() {
    let world = world();
    let settings = world.settings(&[world.appliance(Kind::Silent)], Duration::from_millis(400));
    let started = Instant::now();
    let Unheard(reasons) = ask::client::ask(&settings, &alice(), None, started).unwrap_err();
    assert!((settings.deadline..PATIENCE).contains(&started.elapsed()));
    assert_eq!(reasons, [format!("{} did not answer in 400 ms", settings.appliances[0])]);
}

#[test]
fn when_nobody_answers_the_deadline_holds_and_every_reason_is_told() {
    let world = world();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = world.settings(&[world.appliance(Kind::Silent), closed], Duration::from_millis(400));
    let started = Instant::now();
    let Unheard(reasons) = ask::client::ask(&settings, &alice(), None, started).unwrap_err();
    assert!(started.elapsed() < PATIENCE);
    let reasons = reasons.join("\n");
    assert!(reasons.contains(&format!("{closed}: ")) && reasons.contains("refused"), "{reasons}");
    let silent = settings.appliances[0].to_string();
    assert!(reasons.contains(&format!("{silent} did not answer")) || reasons.contains(&format!("{silent}: no answer")));
}

#[test]
fn an_appliance_of_another_authority_is_not_heard() {
    let (world, other) = (world(), self::world());
    let mut settings = world.settings(&[world.appliance(Kind::Good)], PATIENCE);
    settings.tls = BlockingClient::load(&other.path("ca.pem"), None).unwrap();
    let Unheard(reasons) = ask::client::ask(&settings, &alice(), None, Instant::now()).unwrap_err();
    assert!(reasons[0].contains("certificate"), "{reasons:?}");
}
