//! Hostile and clumsy clients: malformed packets, too many connections, slow ones, and very many questions at once.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{
    harness::{Node, Random, Setup, host, wait_for},
    message::{FORMERR, Message, NOERROR, NOTIMP, Question, Udp, rtype, tcp_receive, tcp_send},
};

const NAME: &str = "dev-mysql01.us-east-1b.acme.private";

fn node(dns: &str) -> Node {
    Node::start(Setup {
        inventory: vec![("hosts.toml", host("dev-mysql01", "us-east-1b", "10.2.3.4", &["mysql"]))],
        dns: dns.into(),
        ..Setup::default()
    })
}

fn good() -> Vec<u8> {
    Question::new(NAME, rtype::A).encode(7)
}

/// A header with the four counts, and what follows it.
fn packet(flags: [u8; 2], counts: [u8; 4], rest: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 7, flags[0], flags[1]];
    counts.iter().for_each(|count| out.extend_from_slice(&[0, *count]));
    out.extend_from_slice(rest);
    out
}

const QUESTION: &[u8] = b"\x04acme\x07private\x00\x00\x01\x00\x01";
const OPT: &[u8] = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";

/// Packets that must be answered with this rcode (RFC 1035 section 4.1.1, 6891, 7873, 8906, 9619).
fn wrong_packets() -> Vec<(&'static str, Vec<u8>, u8)> {
    let with = |rest: &[&[u8]]| rest.concat();
    vec![
        ("header alone", packet([0, 0], [0, 0, 0, 0], &[]), FORMERR),
        ("question announced, none there", packet([0, 0], [1, 0, 0, 0], &[]), FORMERR),
        ("question cut in its name", packet([0, 0], [1, 0, 0, 0], b"\x04ac"), FORMERR),
        ("question cut before its class", packet([0, 0], [1, 0, 0, 0], &QUESTION[..QUESTION.len() - 2]), FORMERR),
        ("two questions", packet([0, 0], [2, 0, 0, 0], &with(&[QUESTION, QUESTION])), FORMERR),
        ("pointer to itself", packet([0, 0], [1, 0, 0, 0], b"\xc0\x0c\x00\x01\x00\x01"), FORMERR),
        ("pointer forward", packet([0, 0], [1, 0, 0, 0], b"\xc0\xff\x00\x01\x00\x01"), FORMERR),
        ("reserved label type", packet([0, 0], [1, 0, 0, 0], b"\x80abc\x00\x00\x01\x00\x01"), FORMERR),
        (
            "name of 300 octets",
            packet([0, 0], [1, 0, 0, 0], &with(&[&b"\x0eabcdefghijklmn".repeat(20), b"\x00\x00\x01\x00\x01"])),
            FORMERR,
        ),
        ("additional announced, none there", packet([0, 0], [1, 0, 0, 1], QUESTION), FORMERR),
        ("OPT cut", packet([0, 0], [1, 0, 0, 1], &with(&[QUESTION, &OPT[..6]])), FORMERR),
        ("two OPTs", packet([0, 0], [1, 0, 0, 2], &with(&[QUESTION, OPT, OPT])), FORMERR),
        ("OPT with a name", packet([0, 0], [1, 0, 0, 1], &with(&[QUESTION, b"\x01x", OPT])), FORMERR),
        ("OPT whose option is longer than it", option_packet(b"\x00\x0a\x00\xff"), FORMERR),
        ("cookie of 7 octets", option_packet(b"\x00\x0a\x00\x07abcdefg"), FORMERR),
        ("cookie of 41 octets", option_packet(&[b"\x00\x0a\x00\x29", &b"c".repeat(41)[..]].concat()), FORMERR),
        ("opcode 1 (IQUERY)", packet([1 << 3, 0], [1, 0, 0, 0], QUESTION), NOTIMP),
        ("opcode 2 (STATUS)", packet([2 << 3, 0], [1, 0, 0, 0], QUESTION), NOTIMP),
        ("opcode 5 (UPDATE)", packet([5 << 3, 0], [1, 0, 0, 0], b"\x04acme\x07private\x00\x00\x06\x00\x01"), NOTIMP),
        ("opcode 15", packet([15 << 3, 0], [1, 0, 0, 0], QUESTION), NOTIMP),
    ]
}

/// A good question with an OPT record that carries these octets.
fn option_packet(options: &[u8]) -> Vec<u8> {
    let length = u16::try_from(options.len()).unwrap().to_be_bytes();
    packet([0, 0], [1, 0, 0, 1], &[QUESTION, &OPT[..9], &length, options].concat())
}

#[test]
fn malformed_packets_get_formerr_or_silence() {
    let mut node = node("");
    let client = Udp::to(node.dns);
    for (what, bytes, rcode) in wrong_packets() {
        let reply = client.raw(&bytes, Duration::from_secs(2)).unwrap_or_else(|| panic!("{what}: silence"));
        assert_eq!(reply[..2], bytes[..2], "{what}: id");
        assert_eq!((reply[2] >> 7, reply[3] & 15), (1, rcode), "{what}: {reply:02x?}");
        assert_eq!((reply[2] ^ bytes[2]) & 0x78, 0, "{what}: the opcode is echoed");
    }
    // Answers are never answered (they could come from another server), nor what is too short to have an id and flags.
    let mut response = good();
    response[2] |= 0x80;
    for silent in [&b""[..], b"\x00", b"\x00\x07\x00", &good()[..11], &response] {
        assert_eq!(client.raw(silent, Duration::from_millis(200)), None, "{silent:02x?}");
    }
    node.process().assert_running();
    assert_eq!(node.ask(NAME, rtype::A).rcode(), NOERROR);
}

#[test]
fn twenty_thousand_broken_packets_leave_it_alive() {
    let mut node = node("");
    let client = Udp::to(node.dns);
    let mut random = Random(8906);
    let seeds: Vec<_> = wrong_packets().into_iter().map(|(_, bytes, _)| bytes).chain([good()]).collect();
    for i in 0..20_000 {
        let mut bytes = random.pick(&seeds).clone();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] = random.next() as u8,
                1 => bytes[at] ^= 1 << random.below(8),
                2 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, random.next() as u8),
            }
        }
        // Nobody waits for the replies; they would be lost in part anyway.
        client.fire(&bytes);
        // The server's queue must not overflow, or it never sees them all.
        if i % 50 == 0 {
            assert_eq!(node.ask(NAME, rtype::A).rcode(), NOERROR, "after {i} broken packets");
        }
    }
    node.process().assert_running();
    assert_eq!(node.ask(NAME, rtype::A).answer.len(), 1);
    assert!(!node.process().log().contains("panicked"), "something panicked");
}

fn connect(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(node.dns).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Whether the server closes the connection before the read times out.
fn closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 16]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(e) => e.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn connections_over_the_limit_are_closed_and_the_others_served() {
    let node = node("tcp_connections_per_source = 4\ntcp_idle_s = 60");
    let mut held: Vec<_> = (0..4).map(|_| connect(&node)).collect();
    for stream in &mut held {
        tcp_send(stream, &good()).unwrap();
        assert_eq!(Message::decode(&tcp_receive(stream).unwrap()).unwrap().answer.len(), 1);
    }
    assert!(closed(&mut connect(&node)), "the fifth connection from one address is closed");
    // The first four still work, and one that ends makes room for another.
    tcp_send(&mut held[0], &good()).unwrap();
    tcp_receive(&mut held[0]).unwrap();
    held.pop();
    wait_for("room for a new connection", || {
        let mut stream = connect(&node);
        tcp_send(&mut stream, &good()).ok()?;
        tcp_receive(&mut stream).ok().map(|_| ())
    });
    assert_eq!(node.ask(NAME, rtype::A).answer.len(), 1);
}

#[test]
fn silent_and_slow_connections_are_closed() {
    let node = node("tcp_idle_s = 1");
    let start = Instant::now();
    let mut silent = connect(&node);
    let mut half = connect(&node);
    half.write_all(&[0, 50, 1, 2, 3]).unwrap();
    assert!(closed(&mut silent), "a connection that says nothing");
    assert!(closed(&mut half), "a connection that stops inside a message");
    assert!(start.elapsed() >= Duration::from_millis(500), "but not at once");
}

#[test]
fn pipelined_questions_are_all_answered() {
    let node = node("");
    let mut stream = connect(&node);
    for id in 0..300 {
        tcp_send(&mut stream, &Question::new(NAME, rtype::A).encode(id)).unwrap();
    }
    let mut ids: Vec<_> = (0..300).map(|_| Message::decode(&tcp_receive(&mut stream).unwrap()).unwrap().id).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..300).collect::<Vec<u16>>());
}

#[test]
fn malformed_messages_over_tcp_leave_it_alive() {
    let node = node("");
    for (what, bytes, _) in wrong_packets() {
        let mut stream = connect(&node);
        tcp_send(&mut stream, &bytes).unwrap();
        // An error or the end of the connection; what counts is that the next client is served.
        if let Ok(reply) = tcp_receive(&mut stream) {
            assert_ne!(reply[3] & 15, NOERROR, "{what}");
        }
    }
    let mut stream = connect(&node);
    tcp_send(&mut stream, &good()).unwrap();
    assert_eq!(Message::decode(&tcp_receive(&mut stream).unwrap()).unwrap().answer.len(), 1);
}
