//! Forwarding to a real name server (NSD), which is killed and started again.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use dns::{
    config::Config,
    forward::{DEADLINE, Forwarder, Health, UNDER_WAY_MAX, truncate},
    name::Name,
    rr::{rcode, rtype},
};
use hickory_proto::{
    op::{Edns, Message, Query, ResponseCode},
    rr::rdata::opt::{EdnsCode, EdnsOption},
    rr::{RData, RecordType},
};

#[path = "../../tests/e2e/ports.rs"]
mod ports;

const ZONE: &str = "\
$ORIGIN example.
@ 3600 IN SOA ns hostmaster 1 3600 600 86400 5
@ 3600 IN NS ns
ns 3600 IN A 192.0.2.1
www 300 IN A 192.0.2.2
alias 300 IN CNAME www
dangling 300 IN CNAME nothing
short 1 IN A 192.0.2.3
mail 300 IN MX 10 www
";

/// A name server of the test's own, ended by its id.
struct Nsd {
    child: Child,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Nsd {
    /// On a port that was free a moment ago; if another process was quicker, on another one.
    fn start(zone: &str) -> Self {
        (0..5).find_map(|_| Self::try_start(zone)).expect("NSD starts and answers")
    }

    fn try_start(zone: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free_port()));
        let large: String = (0..60).map(|n| format!("large 300 IN TXT \"{n:0>100}\"\n")).collect();
        std::fs::write(dir.path().join("zone"), format!("{ZONE}{large}").replace("example.", zone)).unwrap();
        let path = dir.path().display();
        let config = format!(
            "server:\n ip-address: 127.0.0.1@{}\n username: \"\"\n chroot: \"\"\n zonesdir: \"{path}\"\n \
             pidfile: \"{path}/pid\"\n xfrdfile: \"\"\n database: \"\"\n zonelistfile: \"{path}/list\"\n xfrdir: \"{path}\"\n \
             server-count: 1\n rrl-ratelimit: 0\nremote-control:\n control-enable: no\n\
             zone:\n name: {zone}\n zonefile: zone\n",
            address.port()
        );
        std::fs::write(dir.path().join("nsd.conf"), config).unwrap();
        let child = spawn(dir.path());
        let nsd = Self { child, address, dir };
        nsd.answers().then_some(nsd)
    }

    fn kill(&mut self) {
        // NSD has helper processes; it ends them on SIGTERM.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = spawn(self.dir.path());
        assert!(self.answers(), "NSD answers again");
    }

    /// Waits until it answers; its socket is open long before.
    fn answers(&self) -> bool {
        let start = Instant::now();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let probe = query(".", RecordType::SOA, false);
        let mut reply = [0; 512];
        while start.elapsed() < Duration::from_secs(5) {
            // Fails while the port is closed.
            let _ = socket.send_to(&probe, self.address);
            if socket.recv(&mut reply).is_ok() {
                return true;
            }
        }
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        eprintln!("NSD does not answer on {}: {log}", self.address);
        false
    }
}

impl Drop for Nsd {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.kill();
        }
    }
}

fn spawn(dir: &Path) -> Child {
    let mut nsd = Command::new("/usr/sbin/nsd");
    nsd.arg("-d")
        .arg("-c")
        .arg(dir.join("nsd.conf"))
        .arg("-l")
        .arg(dir.join("log"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    nsd.spawn().expect("nsd is installed (Debian package nsd)")
}

fn config(upstreams: &[SocketAddr]) -> Config {
    let list: Vec<String> = upstreams.iter().map(SocketAddr::to_string).collect();
    toml::from_str(&format!("listen = [\"127.0.0.1:53\"]\nforward = {list:?}\n")).unwrap()
}

fn forwarder(upstreams: &[SocketAddr]) -> Forwarder {
    Forwarder::new(&config(upstreams)).unwrap()
}

fn query(name: &str, rtype: RecordType, edns: bool) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 4711;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.parse().unwrap(), rtype));
    if edns {
        message.edns = Some(Edns::new());
    }
    message.to_vec().unwrap()
}

async fn ask(forwarder: &Forwarder, name: &str, rtype: RecordType) -> Message {
    let reply = forwarder.forward(&query(name, rtype, true)).await;
    Message::from_vec(&reply).unwrap()
}

fn error_of(reply: &Message) -> Option<u16> {
    match reply.edns.as_ref()?.option(EdnsCode::Unknown(15))? {
        EdnsOption::Unknown(15, data) => Some(u16::from_be_bytes([data[0], data[1]])),
        _ => None,
    }
}

async fn wait_for(what: &str, mut probe: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !probe().await {
        assert!(start.elapsed() < Duration::from_secs(30), "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn replies_are_passed_on_whole_and_remembered() {
    let nsd = Nsd::start("example.");
    let forwarder = forwarder(&[nsd.address]);
    let counters = forwarder.counters();

    let sent = query("WwW.eXample.", RecordType::A, true);
    let reply = forwarder.forward(&sent).await;
    assert_eq!(reply[12..12 + 17], sent[12..12 + 17], "the question as it was sent");
    let reply = Message::from_vec(&reply).unwrap();
    assert_eq!(reply.metadata.id, 4711);
    assert!(reply.metadata.recursion_available && reply.metadata.recursion_desired && !reply.metadata.authoritative);
    assert_eq!((reply.answers.len(), reply.answers[0].ttl, reply.authorities.len()), (1, 300, 1));
    assert_eq!(reply.edns.as_ref().unwrap().max_payload(), 1232);
    assert_eq!(counters.hits.load(Relaxed), 0);

    wait_for("the TTL counts down", async || ask(&forwarder, "www.example.", RecordType::A).await.answers[0].ttl < 300)
        .await;
    assert_eq!(counters.upstream_queries.load(Relaxed), 1);
    assert!(counters.hits.load(Relaxed) > 0);

    let reply = Message::from_vec(&forwarder.forward(&query("www.example.", RecordType::A, false)).await).unwrap();
    assert!(reply.edns.is_none(), "no OPT for who sent none");

    let absent = ask(&forwarder, "absent.example.", RecordType::A).await;
    assert_eq!((absent.metadata.response_code, absent.authorities.len()), (ResponseCode::NXDomain, 1));
    assert_eq!(absent.authorities[0].record_type(), RecordType::SOA);
    let empty = ask(&forwarder, "www.example.", RecordType::AAAA).await;
    assert_eq!(
        (empty.metadata.response_code, empty.answers.len(), empty.authorities.len()),
        (ResponseCode::NoError, 0, 1)
    );
    let dangling = ask(&forwarder, "dangling.example.", RecordType::A).await;
    assert_eq!((dangling.metadata.response_code, dangling.answers.len()), (ResponseCode::NXDomain, 1));
    let mail = ask(&forwarder, "mail.example.", RecordType::MX).await;
    assert!(mail.additionals.iter().any(|record| matches!(record.data, RData::A(_))), "additional data too");
    assert_eq!(ask(&forwarder, "example.", RecordType::AXFR).await.metadata.response_code, ResponseCode::NotImp);
    assert_eq!(forwarder.upstreams()[0].health, Health::Answering);
}

#[tokio::test]
async fn large_replies_come_by_tcp_and_are_truncated_for_udp() {
    let nsd = Nsd::start("example.");
    let forwarder = forwarder(&[nsd.address]);
    let mut reply = forwarder.forward(&query("large.example.", RecordType::TXT, true)).await;
    assert_eq!(Message::from_vec(&reply).unwrap().answers.len(), 60);
    truncate(&mut reply, 1232);
    assert!(reply.len() <= 1232);
    let reply = Message::from_vec(&reply).unwrap();
    assert!(reply.metadata.truncation && reply.edns.is_some() && reply.answers.len() >= 9);
}

#[tokio::test]
async fn equal_questions_share_one_query() {
    let nsd = Nsd::start("example.");
    let forwarder = forwarder(&[nsd.address]);
    let asking = (0..100).map(|_| {
        let forwarder = forwarder.clone();
        async move { ask(&forwarder, "www.example.", RecordType::A).await.answers.len() }
    });
    assert!(futures_util::future::join_all(asking).await.into_iter().all(|count| count == 1));
    assert_eq!(forwarder.counters().upstream_queries.load(Relaxed), 1);
    assert_eq!(forwarder.counters().shared.load(Relaxed), 99);
}

#[tokio::test]
async fn stale_answers_bridge_an_outage() {
    let mut nsd = Nsd::start("example.");
    let forwarder = forwarder(&[nsd.address]);
    assert_eq!(ask(&forwarder, "short.example.", RecordType::A).await.answers[0].ttl, 1);
    nsd.kill();
    let mut stale = None;
    wait_for("the answer is stale", async || {
        let reply = ask(&forwarder, "short.example.", RecordType::A).await;
        assert_eq!(reply.answers.len(), 1, "there is always an answer");
        let found = error_of(&reply) == Some(3);
        stale = Some(reply);
        found
    })
    .await;
    assert_eq!(stale.unwrap().answers[0].ttl, 30);
    let start = Instant::now();
    for _ in 0..50 {
        assert_eq!(error_of(&ask(&forwarder, "short.example.", RecordType::A).await), Some(3));
    }
    assert!(start.elapsed() < Duration::from_secs(1), "a known outage costs no waiting");
    assert!(forwarder.counters().stale.load(Relaxed) >= 51);

    let unknown = ask(&forwarder, "unknown.example.", RecordType::A).await;
    assert_eq!(unknown.metadata.response_code, ResponseCode::ServFail);
    assert!(matches!(error_of(&unknown), Some(22 | 23)), "{unknown}");
    let state = &forwarder.upstreams()[0];
    assert!(matches!(&state.health, Health::Failing(reason) if !reason.is_empty()) && state.failures > 0, "{state:?}");

    nsd.restart();
    wait_for("fresh answers are back", async || {
        error_of(&ask(&forwarder, "short.example.", RecordType::A).await).is_none()
    })
    .await;
    assert_eq!(forwarder.upstreams()[0].health, Health::Answering);
    wait_for("the failure is forgotten", async || {
        ask(&forwarder, "unknown.example.", RecordType::A).await.metadata.response_code == ResponseCode::NXDomain
    })
    .await;
}

#[tokio::test]
async fn a_resolver_that_refuses_does_not_end_the_search() {
    let (other, nsd) = (Nsd::start("other."), Nsd::start("example."));
    let both = forwarder(&[other.address, nsd.address]);
    for name in ["www.example.", "alias.example.", "ns.example."] {
        assert!(!ask(&both, name, RecordType::A).await.answers.is_empty(), "{name}");
    }
    let alone = forwarder(&[other.address]);
    let refused = ask(&alone, "www.example.", RecordType::A).await;
    assert_eq!(refused.metadata.response_code, ResponseCode::Refused, "what all say is passed on");
    assert!(matches!(&alone.upstreams()[0].health, Health::Failing(reason) if reason.contains("REFUSED")));
}

#[tokio::test]
async fn silence_of_the_resolvers_is_bounded_in_time_and_number() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let forwarder = forwarder(&[silent.local_addr().unwrap()]);
    let start = Instant::now();
    let waiting: Vec<_> = (0..UNDER_WAY_MAX)
        .map(|n| {
            let forwarder = forwarder.clone();
            tokio::spawn(async move { ask(&forwarder, &format!("n{n}.example."), RecordType::A).await })
        })
        .collect();
    wait_for("all are under way", async || forwarder.counters().upstream_queries.load(Relaxed) == UNDER_WAY_MAX as u64)
        .await;
    let before = Instant::now();
    let shed = ask(&forwarder, "one.more.example.", RecordType::A).await;
    assert_eq!((shed.metadata.response_code, error_of(&shed)), (ResponseCode::ServFail, Some(22)));
    assert!(before.elapsed() < Duration::from_secs(1), "at once");
    assert_eq!(forwarder.counters().shed.load(Relaxed), 1);
    for task in waiting {
        assert_eq!(task.await.unwrap().metadata.response_code, ResponseCode::ServFail);
    }
    assert!(start.elapsed() < DEADLINE + Duration::from_secs(5));
    assert_eq!(forwarder.counters().timeouts.load(Relaxed), UNDER_WAY_MAX as u64);
}

#[tokio::test]
async fn chains_are_completed() {
    let nsd = Nsd::start("example.");
    let forwarder = forwarder(&[nsd.address]);
    // `a.private CNAME target`, from us, with an OPT.
    let partial = |target: &Name| {
        let mut reply = query("a.private.", RecordType::A, true);
        let opt = reply.split_off(12 + 11 + 4);
        (reply[2], reply[7]) = (0x85, 1);
        reply.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, target.len() as u8]);
        reply.extend_from_slice(target);
        reply.extend_from_slice(&opt);
        reply
    };
    let chase = async |target: &str| {
        let target = Name::parse(target).unwrap();
        Message::from_vec(&forwarder.chase(partial(&target), &target, rtype::A).await).unwrap()
    };
    let found = chase("alias.example").await;
    let types: Vec<RecordType> = found.answers.iter().map(|record| record.record_type()).collect();
    assert_eq!(types, [RecordType::CNAME, RecordType::CNAME, RecordType::A], "{found} {:?}", forwarder.upstreams());
    assert!(found.metadata.authoritative && found.edns.is_some() && found.authorities.is_empty());
    assert_eq!(found.queries[0].name().to_string(), "a.private.");
    let absent = chase("dangling.example").await;
    assert_eq!((absent.metadata.response_code, absent.answers.len()), (ResponseCode::NXDomain, 2));
    assert_eq!(absent.authorities[0].record_type(), RecordType::SOA);
    assert_eq!(u16::from(absent.metadata.response_code), rcode::NXDOMAIN);
}
