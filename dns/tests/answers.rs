//! Answers as a client gets them: from the zones of a file, and by a whole service on loopback.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    net::SocketAddr,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dns::{
    answer::answer,
    bind::Bound,
    config::{self, Config},
    edit::Editor,
    name::Name,
    rr::rtype,
    service::{Identity, Service},
    stats::{EVENTS, Event},
    stream::{Question, Transport},
    transfer::tsig::{Key, Keys, Session},
    verdict::{Asker, Facts, Verdict},
    zonefile,
    zones::Zones,
};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RecordType, rdata::opt::EdnsCode},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    sync::mpsc,
    time::timeout,
};

const DEADLINE: Duration = Duration::from_secs(20);

const HEAD: &str = "$ORIGIN z.\n$TTL 60\n@ SOA ns1 h 1 3600 900 604800 30\n@ NS ns1\nns1 A 10.0.0.1\n";

/// The zones of a file that begins with [`HEAD`].
fn zones(records: &str) -> Zones {
    let file = zonefile::parse(&format!("{HEAD}{records}"), "test", None, None).unwrap();
    let mut editor = Editor::from_nothing();
    editor.add_zone(&file.origin, file.soa, false, 0);
    for rr in file.records {
        editor.add(&rr.owner, rr.rtype, rr.ttl, rr.rdata);
    }
    editor.finish()
}

fn facts() -> Facts {
    Facts {
        id: "node-1".into(),
        version: "test".into(),
        udp_payload_max: 1232,
        forwards: true,
        cookie_secrets: vec![[7; 16]],
        keepalive_ds: 300,
    }
}

fn asker(stream: bool) -> Asker {
    Asker { address: [127, 0, 0, 1].into(), stream, trusted: true, now_s: 1000, signature: None, spin: 0 }
}

/// Somebody who gets nothing resolved.
fn stranger(stream: bool) -> Asker {
    Asker { trusted: false, ..asker(stream) }
}

/// A query for `name`, with the OPT record whose options are `options`.
fn query(name: &str, qtype: u16, options: Option<&[u8]>) -> Vec<u8> {
    let mut raw = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(options.is_some())];
    raw.extend_from_slice(&Name::parse(name).unwrap());
    raw.extend([qtype.to_be_bytes(), [0, 1]].concat());
    if let Some(options) = options {
        raw.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\0\0");
        raw.extend((options.len() as u16).to_be_bytes());
        raw.extend_from_slice(options);
    }
    raw
}

fn ask(zones: &Zones, name: &str, qtype: u16, stream: bool) -> Message {
    ask_as(&asker(stream), zones, name, qtype)
}

fn ask_as(asker: &Asker, zones: &Zones, name: &str, qtype: u16) -> Message {
    let mut out = Vec::new();
    let verdict = answer(zones, &facts(), asker, &query(name, qtype, None), &mut out);
    assert!(matches!(verdict, Verdict::Reply { .. }), "{verdict:?}");
    Message::from_vec(&out).unwrap()
}

fn types(records: &[hickory_proto::rr::Record]) -> Vec<RecordType> {
    records.iter().map(hickory_proto::rr::Record::record_type).collect()
}

/// `count` addresses of `name`.
fn addresses(name: &str, count: usize) -> String {
    (0..count).map(|n| format!("{name} A 10.1.{}.{}\n", n >> 8, n & 255)).collect()
}

#[test]
fn ds_is_answered_by_the_parent() {
    let signed = format!("sub NS ns.sub\nns.sub A 10.0.0.2\nsub DS 1 8 2 {}\nplain NS ns.sub\n", "ab".repeat(32));
    let zones = zones(&signed);
    let reply = ask(&zones, "sub.z", rtype::DS, false);
    assert_eq!((types(&reply.answers), reply.authoritative), (vec![RecordType::DS], true));
    let reply = ask(&zones, "plain.z", rtype::DS, false);
    assert_eq!((reply.answers.len(), types(&reply.authorities), reply.authoritative), (0, vec![RecordType::SOA], true));
    let reply = ask_as(&stranger(false), &zones, "x.sub.z", rtype::DS);
    assert_eq!((types(&reply.authorities), reply.authoritative), (vec![RecordType::NS], false), "the child's own");
}

#[test]
fn below_a_delegation_the_trusted_are_answered_and_others_referred() {
    let zones = zones("sub NS ns.sub\nns.sub A 10.0.0.2\nalias CNAME www.sub\n");
    let verdict = |asker: &Asker, raw: &[u8]| {
        let mut out = Vec::new();
        let verdict = answer(&zones, &facts(), asker, raw, &mut out);
        (verdict, Message::from_vec(&out).unwrap())
    };
    for (name, answers) in [("www.sub.z", 0), ("sub.z", 0), ("alias.z", 1)] {
        let target = Name::parse(if name == "sub.z" { name } else { "www.sub.z" }).unwrap();
        let mut raw = query(name, rtype::A, None);
        let (chased, reply) = verdict(&asker(false), &raw);
        assert_eq!(chased, Verdict::Chase { target }, "{name}");
        let counts = (reply.answers.len(), reply.authorities.len(), reply.authoritative, reply.recursion_available);
        assert_eq!(counts, (answers, 0, answers > 0, true), "{name}");
        let (referred, reply) = verdict(&stranger(false), &raw);
        assert!(matches!(referred, Verdict::Reply { .. }), "{name}");
        assert_eq!((types(&reply.authorities), reply.additionals.len()), (vec![RecordType::NS], 1), "{name}");
        raw[2] = 0; // RD
        let (referred, reply) = verdict(&asker(false), &raw);
        assert!(matches!(referred, Verdict::Reply { .. }) && reply.authorities.len() == 1, "{name}");
    }
    let reply = ask(&zones, "sub.z", rtype::DS, false);
    assert!(reply.authoritative && types(&reply.authorities) == [RecordType::SOA], "DS is ours to answer");
}

#[test]
fn an_additional_set_is_sent_whole_or_not_at_all() {
    let zones = zones(&format!("m MX 10 big\nm MX 20 small\nsmall A 10.0.0.9\n{}", addresses("big", 60)));
    let reply = ask(&zones, "m.z", rtype::MX, false);
    assert_eq!((reply.answers.len(), reply.additionals.len(), reply.truncation), (2, 1, false));
    assert_eq!(reply.additionals[0].name.to_string(), "small.z.");
    assert_eq!(ask(&zones, "m.z", rtype::MX, true).additionals.len(), 61);
}

#[test]
fn a_large_additional_set_is_sent_whole_or_not_at_all() {
    // More than a packed set holds, at a name that is pointed at.
    let zones = zones(&format!("m MX 10 big\n{}", addresses("big", 300)));
    assert_eq!(ask(&zones, "m.z", rtype::MX, false).additionals.len(), 0);
    assert_eq!(ask(&zones, "m.z", rtype::MX, true).additionals.len(), 300);
}

#[test]
fn glue_that_does_not_fit_is_told() {
    let zones = zones(&format!("sub NS ns.sub\n{}", addresses("ns.sub", 60)));
    let reply = ask_as(&stranger(false), &zones, "www.sub.z", rtype::A);
    assert_eq!((types(&reply.authorities), reply.additionals.len(), reply.truncation), (vec![RecordType::NS], 0, true));
    let reply = ask_as(&stranger(true), &zones, "www.sub.z", rtype::A);
    assert_eq!((reply.additionals.len(), reply.truncation), (60, false));
}

#[test]
fn a_set_that_fits_no_message_is_told_over_streams() {
    let zones = zones(&format!("{}{}", addresses("fits", 4000), addresses("big", 5000)));
    for qtype in [rtype::A, rtype::ANY] {
        let reply = ask(&zones, "fits.z", qtype, true);
        assert_eq!((reply.answers.len(), reply.truncation), (4000, false));
        let reply = ask(&zones, "big.z", qtype, true);
        assert!(reply.truncation && reply.answers.len() > 4000, "type {qtype}");
    }
}

#[test]
fn a_cname_loop_is_told_once() {
    let zones = zones("a CNAME b\nb CNAME c\nc CNAME b\nself CNAME self\nd DNAME d\n");
    assert_eq!(ask(&zones, "A.z", rtype::A, false).answers.len(), 3, "a, b and c");
    assert_eq!(ask(&zones, "SELF.z", rtype::A, false).answers.len(), 1);
    assert_eq!(
        types(&ask(&zones, "x.d.z", rtype::A, false).answers),
        [RecordType::from(rtype::DNAME), RecordType::CNAME]
    );
    let long: String = (0..20).map(|n| format!("l{n} CNAME l{}\n", n + 1)).collect();
    assert_eq!(ask(&self::zones(&long), "l0.z", rtype::A, false).answers.len(), 12, "no loop, but long");
}

/// What a client needs of a running service with the zones of [`HEAD`] and `records`.
struct Running {
    service: Service,
    address: SocketAddr,
    _dir: tempfile::TempDir,
    log: std::path::PathBuf,
}

/// Starts a service with a key and a query log. `set` changes the configuration.
fn start(records: &str, set: impl FnOnce(&mut Config)) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let secret_file = dir.path().join("secret");
    std::fs::write(&secret_file, data_encoding::BASE64.encode(&SECRET)).unwrap();
    let mut config = Config::on(vec!["127.0.0.1:0".parse().unwrap()]);
    config.key = vec![config::Key { name: "k".into(), algorithm: "hmac-sha256".into(), secret_file }];
    config.query_log = Some(dir.path().join("queries.log"));
    set(&mut config);
    let file = zonefile::parse(&format!("{HEAD}{records}"), "test", None, None).unwrap();
    let identity =
        Identity { node: "node-1".into(), region: "us-east-1".into(), product: "acme".into(), version: "test".into() };
    let bound = Bound::bind(&config).unwrap();
    let address = bound.addresses[0];
    let service = Service::start_zone(bound, &config, &identity, file).unwrap();
    Running { service, address, log: dir.path().join("queries.log"), _dir: dir }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.service.stop();
    }
}

const SECRET: [u8; 32] = [3; 32];

fn keys() -> Keys {
    Key::new("k", "hmac-sha256", SECRET.to_vec()).into_iter().collect()
}

#[expect(clippy::disallowed_methods, reason = "signatures carry the time")]
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The query, signed, and the session to verify the reply with.
fn signed(mut query: Vec<u8>) -> (Vec<u8>, Session) {
    let mut session = keys().signer(None).unwrap();
    session.sign(&mut query, now_s()).unwrap();
    (query, session)
}

impl Running {
    /// A socket whose peer is the service.
    async fn socket(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.address).await.unwrap();
        socket
    }

    async fn udp(&self, query: &[u8]) -> Vec<u8> {
        let socket = self.socket().await;
        socket.send(query).await.unwrap();
        let mut reply = vec![0; 65_535];
        let length = timeout(DEADLINE, socket.recv(&mut reply)).await.unwrap().unwrap();
        reply.truncate(length);
        reply
    }

    /// All messages that answer a query of a stream.
    async fn stream(&self, transport: Transport, query: Vec<u8>) -> Vec<Vec<u8>> {
        let (replies, mut queue) = mpsc::channel(4);
        let peer = "127.0.0.1:4242".parse().unwrap();
        let question = Question { bytes: query, peer, local: self.address, transport };
        let handler = self.service.handler();
        let messages = async {
            let mut messages = Vec::new();
            while let Some(message) = queue.recv().await {
                messages.push(message);
            }
            messages
        };
        timeout(DEADLINE, async { tokio::join!(handler(question, replies), messages).1 }).await.unwrap()
    }

    /// Waits until the query log has this many lines.
    async fn log_lines(&self, count: usize) -> Vec<String> {
        let lines = || std::fs::read_to_string(&self.log).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
        timeout(DEADLINE, async {
            while lines().len() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{:?}", lines()));
        lines()
    }

    fn events(&self, which: Event) -> u64 {
        let snapshot = self.service.snapshot();
        let at = EVENTS.iter().position(|(event, _)| *event == which).unwrap();
        snapshot.udp.events[at] + snapshot.stream.events[at]
    }
}

/// A resolver that answers everything with `count` addresses, over UDP and TCP.
async fn resolver(count: usize) -> SocketAddr {
    let (udp, tcp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = tcp.local_addr().unwrap();
    let reply = move |query: &[u8]| {
        let end = 12 + Name::from_wire(name_of(query)).len() + 4;
        let mut reply = [&query[..2], b"\x81\x80\0\x01", &(count as u16).to_be_bytes(), b"\0\0\0\0"].concat();
        reply.extend_from_slice(&query[12..end]);
        for n in 0..count as u16 {
            reply.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\x02");
            reply.extend(n.to_be_bytes());
        }
        reply
    };
    tokio::spawn(async move {
        let mut query = vec![0; 4096];
        while let Ok((length, peer)) = udp.recv_from(&mut query).await {
            let mut reply = reply(&query[..length]);
            dns::forward::truncate(&mut reply, 1232);
            udp.send_to(&reply, peer).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let length = stream.read_u16().await.unwrap();
            let mut query = vec![0; usize::from(length)];
            stream.read_exact(&mut query).await.unwrap();
            let reply = reply(&query);
            stream.write_all(&[&(reply.len() as u16).to_be_bytes(), &reply[..]].concat()).await.unwrap();
        }
    });
    address
}

fn name_of(query: &[u8]) -> &[u8] {
    &query[12..12 + dns::name::wire_len(&query[12..]).unwrap()]
}

#[tokio::test]
async fn forwarded_replies_are_cut_before_they_are_signed() {
    let upstream = resolver(4_090).await;
    let running = start("", |config| config.forward = vec![upstream]);
    let (query, session) = signed(query("many.example", rtype::A, None));
    let reply = running.udp(&query).await;
    session.verify_reply(&reply, now_s()).unwrap();
    let read = Message::from_vec(&reply).unwrap();
    assert!(reply.len() <= 512 && read.truncation && read.answers.len() > 15, "{} octets", reply.len());
    let replies = running.stream(Transport::Tcp, query).await;
    session.verify_reply(&replies[0], now_s()).unwrap();
    let read = Message::from_vec(&replies[0]).unwrap();
    assert!(read.truncation && read.answers.len() > 4_000, "65,4xx octets and a signature fit no message");
}

#[tokio::test]
async fn forwarded_replies_carry_cookie_nsid_and_keepalive() {
    let upstream = resolver(1).await;
    let running = start("ours A 10.0.0.1\n", |config| config.forward = vec![upstream]);
    let options = b"\0\x0a\0\x08abcdefgh\0\x03\0\0\0\x0b\0\0";
    for name in ["www.example", "no.such.private", "localhost", "ours.z"] {
        let query = query(name, rtype::A, Some(options));
        let over_udp = running.udp(&query).await;
        let over_tcp = running.stream(Transport::Tcp, query).await.remove(0);
        for (reply, keepalive) in [(over_udp, false), (over_tcp, true)] {
            let edns = Message::from_vec(&reply).unwrap().edns.unwrap();
            let has = |code: u16| edns.option(EdnsCode::from(code)).is_some();
            assert_eq!((has(10), has(3), has(11)), (true, true, keepalive), "{name}");
            assert!(reply.windows(10).any(|octets| octets == b"\0\x18abcdefgh"), "the client's half, and ours");
        }
    }
    let asked = running.service.forwarder().unwrap().counters().queries.load(Relaxed);
    assert_eq!(asked, 2, "private and localhost stay here");
}

#[tokio::test]
async fn what_is_finished_elsewhere_is_rate_limited_too() {
    let running = start("", |config| {
        config.allow = Vec::new();
        config.rate_limit = 2;
    });
    let (mut forged, _) = signed(query("www.z", rtype::A, None));
    *forged.last_mut().unwrap() ^= 0xff;
    let at = forged.len() - 10; // within the MAC
    forged[at] ^= 0xff;
    let socket = running.socket().await;
    for _ in 0..40 {
        socket.send(&forged).await.unwrap();
    }
    running.log_lines(40).await;
    assert!(running.events(Event::RateDropped) >= 10 && running.events(Event::RateSlipped) >= 10);
    for _ in 0..40 {
        socket.send(IXFR).await.unwrap();
    }
    running.log_lines(80).await;
    assert_eq!(running.events(Event::TransferRefused), 40);
    assert!(running.events(Event::RateDropped) >= 20);
}

/// IXFR of `z` from serial 0.
const IXFR: &[u8] = b"\0\x01\0\0\0\x01\0\0\0\x01\0\0\x01z\0\0\xfb\0\x01\
    \xc0\x0c\0\x06\0\x01\0\0\0\0\0\x16\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

#[tokio::test]
async fn transfers_run_beside_the_runtime_and_not_over_https() {
    let running = start(&addresses("big", 3000), |config| config.transfer = vec!["127.0.0.0/8".parse().unwrap()]);
    let (query, session) = signed(query("z", rtype::AXFR, None));
    let messages = running.stream(Transport::Tcp, query.clone()).await;
    session.verify_reply(&messages[0], now_s()).unwrap();
    let records: usize = messages.iter().map(|message| Message::from_vec(message).unwrap().answers.len()).sum();
    assert!(messages.len() > 2 && records == 3000 + 4, "{} messages, {records} records", messages.len());
    let refused = Message::from_vec(&running.stream(Transport::Https, query).await.remove(0)).unwrap();
    assert_eq!((refused.response_code, refused.answers.len()), (ResponseCode::Refused, 0));
    assert_eq!((running.events(Event::Transfer), running.events(Event::TransferRefused)), (1, 1));
}

#[tokio::test]
async fn the_query_log_has_every_transport() {
    let upstream = resolver(1).await;
    let running = start("ours A 10.0.0.1\n", |config| config.forward = vec![upstream]);
    running.udp(&query("ours.z", rtype::A, None)).await;
    running.udp(&query("www.example", rtype::A, None)).await;
    running.udp(&signed(query("ours.z", rtype::AAAA, None)).0).await;
    for transport in [Transport::Tcp, Transport::Tls, Transport::Https] {
        running.stream(transport, query("none.z", rtype::A, None)).await;
    }
    let mut ends: Vec<String> = Vec::new();
    for line in running.log_lines(6).await {
        ends.push(line.split(' ').skip(2).collect::<Vec<_>>().join(" "));
    }
    ends.sort();
    let expected = [
        "none.z. A NXDOMAIN https",
        "none.z. A NXDOMAIN tcp",
        "none.z. A NXDOMAIN tls",
        "ours.z. A NOERROR udp",
        "ours.z. AAAA NOERROR udp",
        "www.example. A NOERROR udp",
    ];
    assert_eq!(ends, expected);
}
