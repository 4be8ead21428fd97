//! RELP clients of our own making; librelp's is tried by hand.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use logrelay::{
    message::{Flags, Message, RECORD_MAX},
    relp::frame::{Bad, Decoder, Response, encode},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::world::{FAILS, certificates, client, until, world};

const OPEN: &[u8] = b"relp_version=0\nrelp_software=test\ncommands=syslog";

/// A client that sends what it likes.
struct Client {
    stream: TcpStream,
    octets: Vec<u8>,
    txnr: u32,
}

impl Client {
    /// A client whose session is open.
    async fn open(address: SocketAddr, offers: &[u8]) -> Self {
        let mut client = Self::connect(address).await;
        client.send(&[("open", offers)]).await;
        let (txnr, data) = client.answer().await.unwrap();
        assert!(txnr == 1 && data.starts_with("200 OK\nrelp_version=0\n"), "{data}");
        client
    }

    async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), octets: Vec::new(), txnr: 0 }
    }

    async fn send(&mut self, commands: &[(&str, &[u8])]) {
        let mut out = Vec::new();
        for (command, data) in commands {
            self.txnr += 1;
            encode(self.txnr, command.as_bytes(), data, &mut out);
        }
        self.stream.write_all(&out).await.unwrap();
    }

    /// The next frame: its number, and the data of an answer or the name of a hint. `None`: closed.
    async fn answer(&mut self) -> Option<(u32, String)> {
        loop {
            let decoder = Decoder { max_data: 10_000 };
            if let Some((frame, used)) = decoder.decode(&self.octets).unwrap() {
                let text = if frame.command == b"rsp" { frame.data } else { frame.command };
                let answer = (frame.txnr, String::from_utf8(text.to_vec()).unwrap());
                self.octets.drain(..used);
                return Some(answer);
            }
            let read = timeout(Duration::from_secs(20), self.stream.read_buf(&mut self.octets)).await.unwrap();
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Whether nothing comes for a while.
    async fn hears_nothing(&mut self) -> bool {
        timeout(Duration::from_millis(200), self.answer()).await.is_err()
    }
}

#[tokio::test]
async fn lines_are_acknowledged_when_they_are_durable_and_in_order() {
    let world = world(&["relp://127.0.0.1:0"], "max_line = 10");
    let mut client = Client::open(world.address(0), OPEN).await;
    world.store.durable.send_replace(world.store.batches());
    client.send(&[("syslog", b"<13>one"), ("syslog", b"<13>two"), ("syslog", b"")]).await;
    world.lines(2).await;
    client.send(&[("syslog", b"<13>three is long")]).await;
    world.lines(3).await;
    assert!(client.hears_nothing().await, "nothing is durable, and yet it goes on being read");
    let last = world.store.got().pop().unwrap();
    assert_eq!((last.raw.as_slice(), last.original_len), (b"<13>three ".as_slice(), 17));

    world.store.durable.send_replace(world.store.batches() - 1);
    for txnr in 2..=4 {
        assert_eq!(client.answer().await.unwrap(), (txnr, "200 OK".into()));
    }
    assert!(client.hears_nothing().await, "the second batch is not durable");
    world.store.durable.send_replace(u64::MAX);
    assert_eq!(client.answer().await.unwrap(), (5, "200 OK".into()));
    client.send(&[("close", b"")]).await;
    assert_eq!(client.answer().await.unwrap(), (6, String::new()));
    assert_eq!(client.answer().await.unwrap(), (0, "serverclose".into()));
    assert_eq!(client.answer().await, None);
    let counters = world.counters(0);
    assert_eq!((counters.relp_answered.load(Relaxed), counters.relp_unanswered.load(Relaxed)), (6, 0));
    assert_eq!(counters.truncated.load(Relaxed), 1);
    drop(client);
    world.stop().await;
}

#[tokio::test]
async fn what_will_not_be_durable_is_not_acknowledged() {
    let world = world(&["relp://127.0.0.1:0"], "");
    let mut client = Client::open(world.address(0), OPEN).await;
    world.store.durable.send_replace(world.store.batches());
    client.send(&[("syslog", b"<13>one"), ("syslog", b"<13>two")]).await;
    world.lines(2).await;
    world.store.durable.send_replace(FAILS);
    assert_eq!(client.answer().await.unwrap(), (0, "serverclose".into()));
    assert_eq!(client.answer().await, None);
    let counters = world.counters(0);
    until("it is counted", || counters.relp_unanswered.load(Relaxed) == 2).await;
    assert_eq!(counters.closed_stopping.load(Relaxed), 1);
    drop(client);
    world.stop().await;
}

#[tokio::test]
async fn at_the_end_what_becomes_durable_is_still_acknowledged() {
    let world = world(&["relp://127.0.0.1:0"], "");
    let mut client = Client::open(world.address(0), OPEN).await;
    world.store.durable.send_replace(world.store.batches());
    client.send(&[("syslog", b"<13>one")]).await;
    world.lines(1).await;
    world.shutdown.cancel();
    assert!(client.hears_nothing().await);
    world.store.durable.send_replace(u64::MAX);
    assert_eq!(client.answer().await.unwrap(), (2, "200 OK".into()));
    assert_eq!(client.answer().await.unwrap(), (0, "serverclose".into()));
    drop(client);
    world.stop().await;
}

#[tokio::test]
async fn only_so_many_batches_wait_for_the_disk() {
    let world = world(&["relp://127.0.0.1:0"], "");
    let mut client = Client::open(world.address(0), OPEN).await;
    world.store.durable.send_replace(world.store.batches());
    for sent in 1..=64 {
        client.send(&[("syslog", b"<13>x")]).await;
        world.lines(sent).await;
    }
    client.send(&[("syslog", b"<13>one too many")]).await;
    let counters = world.counters(0);
    until("it is not read from", || counters.waiting.load(Relaxed) == 1).await;
    assert!(client.hears_nothing().await);
    assert_eq!(world.store.count(), 64);
    world.store.durable.send_replace(world.store.batches() - 63);
    world.lines(65).await;
    world.store.durable.send_replace(u64::MAX);
    for txnr in 2..=66 {
        assert_eq!(client.answer().await.unwrap(), (txnr, "200 OK".into()));
    }
    assert_eq!(counters.waiting.load(Relaxed), 0);
    drop(client);
    world.stop().await;
}

#[tokio::test]
async fn records_of_our_own_come_whole() {
    let world = world(&["relp://127.0.0.1:0"], "relays = true");
    let mut record = Vec::new();
    let raw = vec![b'x'; 300_000];
    assert!(Message::unread(&raw, 7).encode(&mut record));
    let mut client = Client::open(world.address(0), b"relp_version=0\ncommands=syslog,gatehouse").await;
    client.send(&[("gatehouse", &record), ("gatehouse", b"junk"), ("syslog", b"<13>x")]).await;
    assert_eq!(client.answer().await.unwrap(), (2, "200 OK".into()));
    let (txnr, refused) = client.answer().await.unwrap();
    assert!(txnr == 3 && Response::parse(refused.as_bytes()).unwrap().code == 500);
    assert_eq!(client.answer().await.unwrap(), (4, "200 OK".into()));
    assert_eq!(world.store.got().iter().map(|got| got.raw.len()).collect::<Vec<_>>(), [300_000, 5]);
    let counters = world.counters(0);
    assert_eq!((counters.records.load(Relaxed), counters.lines.load(Relaxed)), (1, 1));
    drop(client);
    world.stop().await;
}

#[tokio::test]
async fn records_of_who_is_no_relay_are_refused() {
    let mut record = Vec::new();
    assert!(Message::unread(b"<13>as another host", 7).encode(&mut record));
    for more in ["", "relays = false"] {
        let world = world(&["relp://127.0.0.1:0"], more);
        let mut client = Client::connect(world.address(0)).await;
        client.send(&[("open", b"relp_version=0\ncommands=syslog,gatehouse")]).await;
        let (_, answer) = client.answer().await.unwrap();
        assert!(answer.starts_with("200 OK\n") && answer.ends_with("\ncommands=syslog"), "{answer}");
        client.send(&[("gatehouse", &record), ("syslog", b"<13>x")]).await;
        assert_eq!(client.answer().await.unwrap(), (2, "500 this command was not agreed on".into()));
        assert_eq!(client.answer().await.unwrap(), (3, "200 OK".into()));
        assert_eq!(world.store.raws(), ["<13>x"]);
        let counters = world.counters(0);
        assert_eq!((counters.records.load(Relaxed), counters.relp_no_relay.load(Relaxed)), (0, 1));
        drop(client);
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verified_certificate_makes_a_relay_where_nothing_else_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let files = certificates(dir.path());
    let authority = format!("client_ca = {:?}\n", dir.path().join("ca.pem"));
    let listen = ["relp+tls://127.0.0.1:0", "relp://127.0.0.1:0"];
    for (more, with_certificate, taken) in [
        (authority.clone(), true, true),
        (format!("{authority}relays = false"), true, false),
        // Nobody asks for it, so nobody has verified it.
        (String::new(), true, false),
        ("relays = true".to_owned(), false, true),
    ] {
        let world = world(&listen, &format!("{files}{more}"));
        let (address, client) = (world.address(0), client(dir.path(), with_certificate));
        let heard = tokio::task::spawn_blocking(move || {
            let deadline = Instant::now() + Duration::from_secs(20);
            let mut out = Vec::new();
            encode(1, b"open", b"commands=syslog,gatehouse", &mut out);
            let mut record = Vec::new();
            assert!(Message::unread(b"<13>relayed", 7).encode(&mut record));
            encode(2, b"gatehouse", &record, &mut out);
            encode(3, b"close", b"", &mut out);
            let mut connection = client.connect(address, "localhost", &out, deadline).unwrap();
            let mut heard = String::new();
            connection.read_to_string(&mut heard).unwrap();
            heard
        })
        .await
        .unwrap();
        assert_eq!(heard.contains("commands=syslog,gatehouse\n"), taken, "{more}: {heard}");
        assert_eq!(heard.contains("\n2 rsp 6 200 OK\n"), taken, "{more}: {heard}");
        assert_eq!(world.store.count(), usize::from(taken), "{more}");

        // The same source without TLS has no certificate to go by.
        let mut plain = Client::open(world.address(1), b"commands=syslog,gatehouse").await;
        plain.send(&[("gatehouse", b"junk"), ("close", b"")]).await;
        let refused =
            if more == "relays = true" { "500 this is no record" } else { "500 this command was not agreed on" };
        assert_eq!(plain.answer().await.unwrap(), (2, refused.into()), "{more}");
        drop(plain);
        world.stop().await;
    }
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_connection_with_its_reason() {
    let world = world(&["relp://127.0.0.1:0"], "partial_timeout_s = 1");
    let cases: [(&[u8], Bad); 5] = [
        (b"<13>plain syslog\n", Bad::Txnr),
        (b"1 syslog 1 x\n", Bad::State),
        (b"2 open 0\n", Bad::Order),
        (b"1 open 999999999 x", Bad::TooLong),
        (b"1 open 15 commands=syslogXX\n", Bad::Trailer),
    ];
    for (octets, reason) in cases {
        let mut client = Client::connect(world.address(0)).await;
        client.stream.write_all(octets).await.unwrap();
        assert_eq!(client.answer().await, Some((0, "serverclose".into())), "{reason}");
        assert_eq!(client.answer().await, None);
        assert_eq!(world.counters(0).relp_errors[reason as usize].load(Relaxed), 1, "{reason}");
    }
    let mut slow = Client::connect(world.address(0)).await;
    slow.stream.write_all(b"1 open 17 comm").await.unwrap();
    assert_eq!(slow.answer().await, Some((0, "serverclose".into())));
    assert_eq!(world.counters(0).partial_timeouts.load(Relaxed), 1);
    assert_eq!(world.store.count(), 0);
    drop(slow);
    world.stop().await;
}

#[tokio::test]
async fn long_lines_are_cut_and_only_what_is_longer_than_any_record_ends_the_connection() {
    let world = world(&["relp://127.0.0.1:0"], "max_line = 1000");
    let mut client = Client::open(world.address(0), OPEN).await;
    for length in [1000, 1001, 200_000, RECORD_MAX] {
        client.send(&[("syslog", &vec![b'x'; length]), ("syslog", b"<13>next")]).await;
        for txnr in [client.txnr - 1, client.txnr] {
            assert_eq!(client.answer().await.unwrap(), (txnr, "200 OK".into()));
        }
        let got = world.store.got().split_off(world.store.count() - 2);
        let flags = if length > 1000 { Flags::TRUNCATED } else { Flags::default() };
        assert_eq!((got[0].raw.len(), got[0].original_len as usize, got[0].flags), (1000, length, flags));
        assert_eq!(got[1].raw, b"<13>next");
    }
    let counters = world.counters(0);
    assert_eq!((counters.truncated.load(Relaxed), counters.lines.load(Relaxed)), (3, 8));
    client.stream.write_all(format!("10 syslog {} x", RECORD_MAX + 1).as_bytes()).await.unwrap();
    assert_eq!(client.answer().await, Some((0, "serverclose".into())));
    assert_eq!(counters.relp_errors[Bad::TooLong as usize].load(Relaxed), 1);

    // Who has not opened a session needs no long frames.
    let mut stranger = Client::connect(world.address(0)).await;
    stranger.stream.write_all(b"1 open 131073 x").await.unwrap();
    assert_eq!(stranger.answer().await, Some((0, "serverclose".into())));
    assert_eq!(counters.relp_errors[Bad::TooLong as usize].load(Relaxed), 2);
    drop((client, stranger));
    world.stop().await;
}

#[tokio::test]
async fn a_frame_has_time_while_its_octets_keep_coming_but_not_for_ever() {
    let world = world(&["relp://127.0.0.1:0"], "partial_timeout_s = 1");
    let mut patient = Client::open(world.address(0), OPEN).await;
    let mut endless = Client::open(world.address(0), OPEN).await;
    let begun = Instant::now();
    patient.stream.write_all(b"2 syslog 1000000 ").await.unwrap();
    endless.stream.write_all(b"2 syslog 1000000 ").await.unwrap();
    let counters = world.counters(0);
    let mut sent = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        patient.stream.write_all(b"x").await.unwrap();
        endless.stream.write_all(b"x").await.unwrap();
        sent += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    patient.stream.write_all(&vec![b'x'; 1_000_000 - sent]).await.unwrap();
    patient.stream.write_all(b"\n").await.unwrap();
    assert_eq!(patient.answer().await.unwrap(), (2, "200 OK".into()));
    assert_eq!(counters.partial_timeouts.load(Relaxed), 0);
    while endless.stream.write_all(b"x").await.is_ok() && counters.partial_timeouts.load(Relaxed) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() >= Duration::from_secs(10));
    drop((patient, endless));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_lines_in_any_pieces_are_all_acknowledged() {
    let world = world(&["relp://127.0.0.1:0"], "");
    for size in [1usize, 7, 1000, 100_000] {
        let count = if size == 1 { 50u32 } else { 5000 };
        let before = world.store.count();
        let mut client = Client::open(world.address(0), OPEN).await;
        let mut octets = Vec::new();
        for txnr in 2..count + 2 {
            encode(txnr, b"syslog", format!("<13>{txnr} {}", "z".repeat(txnr as usize % 90)).as_bytes(), &mut octets);
        }
        let (mut reader, mut writer) = client.stream.into_split();
        let sending = tokio::spawn(async move {
            for piece in octets.chunks(size) {
                writer.write_all(piece).await.unwrap();
            }
            writer
        });
        let mut answers = Vec::new();
        while answers.iter().filter(|octet| **octet == b'\n').count() < count as usize {
            assert!(timeout(Duration::from_secs(20), reader.read_buf(&mut answers)).await.unwrap().unwrap() > 0);
        }
        let expected: String = (2..count + 2).map(|txnr| format!("{txnr} rsp 6 200 OK\n")).collect();
        assert_eq!(String::from_utf8(answers).unwrap(), expected);
        assert_eq!(world.store.count() - before, count as usize);
        client.stream = sending.await.unwrap().reunite(reader).unwrap();
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_tls_from_the_first_octet() {
    let dir = tempfile::tempdir().unwrap();
    let files = certificates(dir.path());
    let world = world(&["relp+tls://127.0.0.1:0"], &files);
    let (address, client) = (world.address(0), client(dir.path(), false));
    let heard = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut out = Vec::new();
        encode(1, b"open", OPEN, &mut out);
        let mut connection = client.connect(address, "localhost", &out, deadline).unwrap();
        out.clear();
        encode(2, b"syslog", b"<13>secret", &mut out);
        encode(3, b"close", b"", &mut out);
        connection.write_all(&out).unwrap();
        let mut heard = String::new();
        // It ends with TLS's own goodbye, or this is an error.
        connection.read_to_string(&mut heard).unwrap();
        heard
    })
    .await
    .unwrap();
    assert!(heard.ends_with("2 rsp 6 200 OK\n3 rsp 0\n0 serverclose 0\n"), "{heard}");
    assert_eq!(world.store.raws(), ["<13>secret"]);
    world.stop().await;
}
