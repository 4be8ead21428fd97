//! DNS over TCP on real sockets: limits, order, hostile clients.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use dns::stream::{Question, Replies, StreamCounters, StreamLimits, Transport, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
use wire::{Limits, accept_loop, listen};

fn limits() -> StreamLimits {
    StreamLimits {
        idle: Duration::from_secs(20),
        pipeline_max: 4,
        write_timeout: Duration::from_secs(20),
        shutdown: CancellationToken::new(),
        counters: Arc::new(StreamCounters::default()),
    }
}

/// What the test server knows.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    limits: StreamLimits,
    accept: Arc<Limits>,
    /// Queries whose first octet is `w` wait for a permit.
    gate: Arc<Semaphore>,
}

/// Answers by the first octet of the query: `e` echo, `w` wait and echo, `b` 60,000 octets, `s`
/// silence, `m` three messages.
async fn answer(question: Question, replies: Replies, gate: Arc<Semaphore>) {
    assert_eq!(question.transport, Transport::Tcp);
    let messages = match question.bytes[0] {
        b'b' => vec![vec![b'b'; 60_000]],
        b's' => vec![],
        b'm' => vec![question.bytes.clone(), question.bytes.clone(), question.bytes],
        b'w' => {
            gate.acquire().await.unwrap().forget();
            vec![question.bytes]
        }
        _ => vec![question.bytes],
    };
    for message in messages {
        if replies.send(message).await.is_err() {
            return;
        }
    }
}

fn start(limits: StreamLimits, accept: Limits) -> Server {
    let listener = TcpListener::from_std(listen("127.0.0.1:0".parse().unwrap()).unwrap()).unwrap();
    let server = Server {
        address: listener.local_addr().unwrap(),
        limits: limits.clone(),
        accept: Arc::new(accept),
        gate: Arc::new(Semaphore::new(0)),
    };
    let gate = server.gate.clone();
    let shutdown = limits.shutdown.clone();
    let connection = move |stream, peer, local| {
        let gate = gate.clone();
        let handler = move |question, replies| answer(question, replies, gate.clone());
        serve(stream, peer, local, Transport::Tcp, limits.clone(), handler)
    };
    tokio::spawn(accept_loop(listener, server.accept.clone(), None, shutdown, connection));
    server
}

fn query(kind: u8, number: u8) -> Vec<u8> {
    let mut query = vec![0; 20];
    (query[0], query[1]) = (kind, number);
    query
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

async fn read(client: &mut TcpStream) -> Option<Vec<u8>> {
    let length = client.read_u16().await.ok()?;
    let mut message = vec![0; usize::from(length)];
    client.read_exact(&mut message).await.ok()?;
    Some(message)
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn answers_come_in_any_order_and_no_more_than_the_pipeline_is_read() {
    let server = start(limits(), Limits::new(10, 10));
    let mut client = TcpStream::connect(server.address).await.unwrap();
    let mut octets = Vec::new();
    for number in 0..3 {
        octets.extend(framed(&query(b'w', number)));
    }
    octets.extend(framed(&query(b'e', 3)));
    client.write_all(&octets).await.unwrap();
    assert_eq!(read(&mut client).await.unwrap()[..2], [b'e', 3], "the fast one overtakes three slow ones");

    for number in 4..24 {
        client.write_all(&framed(&query(b'w', number))).await.unwrap();
    }
    until("four queries are under way", || server.limits.counters.queries.load(Relaxed) == 5).await;
    server.gate.add_permits(1);
    assert_eq!(read(&mut client).await.unwrap()[0], b'w');
    until("one more is read for the one answered", || server.limits.counters.queries.load(Relaxed) == 6).await;
    server.gate.add_permits(22);
    for _ in 0..22 {
        assert_eq!(read(&mut client).await.unwrap()[0], b'w');
    }
}

#[tokio::test]
async fn many_messages_one_or_none_answer_a_query() {
    let server = start(limits(), Limits::new(10, 10));
    let mut client = TcpStream::connect(server.address).await.unwrap();
    let octets = [query(b's', 1), query(b'm', 2), query(b'e', 3)].map(|query| framed(&query)).concat();
    for octet in octets {
        client.write_all(&[octet]).await.unwrap();
    }
    let mut numbers = Vec::new();
    for _ in 0..4 {
        numbers.push(read(&mut client).await.unwrap()[1]);
    }
    assert_eq!(numbers, [2, 2, 2, 3]);
}

#[tokio::test]
async fn a_client_that_closes_its_half_still_gets_its_answers() {
    let server = start(limits(), Limits::new(10, 10));
    let mut client = TcpStream::connect(server.address).await.unwrap();
    client.write_all(&framed(&query(b'w', 1))).await.unwrap();
    client.shutdown().await.unwrap();
    until("the query is under way", || server.limits.counters.queries.load(Relaxed) == 1).await;
    server.gate.add_permits(1);
    assert_eq!(read(&mut client).await.unwrap()[1], 1);
    assert!(read(&mut client).await.is_none());
    until("the connection ends", || server.accept.open() == 0).await;
}

#[tokio::test]
async fn idle_clients_and_trickling_clients_are_closed() {
    let mut short = limits();
    short.idle = Duration::from_millis(200);
    let server = start(short, Limits::new(10, 10));
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    assert!(read(&mut silent).await.is_none());
    assert_eq!(server.limits.counters.idle_closed.load(Relaxed), 1);

    let mut trickling = TcpStream::connect(server.address).await.unwrap();
    let trickle = async {
        // One octet at a time of a query that never ends.
        trickling.write_all(&[0xff, 0xff]).await?;
        loop {
            trickling.write_all(&[0]).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended: std::io::Result<()> = tokio::time::timeout(Duration::from_secs(20), trickle).await.expect("closed");
    assert!(ended.is_err());
    assert_eq!(server.limits.counters.idle_closed.load(Relaxed), 2);

    let mut waiting = TcpStream::connect(server.address).await.unwrap();
    waiting.write_all(&framed(&query(b'w', 1))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.gate.add_permits(1);
    assert!(read(&mut waiting).await.is_some(), "a query under way is not idleness");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_read_from_and_then_closed() {
    let mut short = limits();
    short.write_timeout = Duration::from_secs(1);
    short.pipeline_max = 64;
    let server = start(short, Limits::new(10, 10));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = socket.connect(server.address).await.unwrap();
    let flood = async { while client.write_all(&framed(&query(b'b', 0))).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(20), flood).await.expect("the server gives up");
    assert_eq!(server.limits.counters.write_timeouts.load(Relaxed), 1);
    let read = server.limits.counters.queries.load(Relaxed);
    // The kernel's buffers take some megabytes; nothing is read for the rest.
    assert!(read < 400, "{read} queries of 60,000 octets of answer each");
    until("the connection ends", || server.accept.open() == 0).await;
}

#[tokio::test]
async fn garbage_closes_the_connection_and_nothing_else() {
    let server = start(limits(), Limits::new(10, 10));
    for garbage in [vec![0, 0], framed(b"short"), framed(&[0; 11])] {
        let mut client = TcpStream::connect(server.address).await.unwrap();
        client.write_all(&garbage).await.unwrap();
        assert!(read(&mut client).await.is_none());
    }
    assert_eq!(server.limits.counters.garbage.load(Relaxed), 3);
    let mut cut = TcpStream::connect(server.address).await.unwrap();
    cut.write_all(&[0xff, 0xff, 1, 2, 3]).await.unwrap();
    cut.shutdown().await.unwrap();
    assert!(read(&mut cut).await.is_none());
    let mut good = TcpStream::connect(server.address).await.unwrap();
    good.write_all(&framed(&query(b'e', 1))).await.unwrap();
    assert!(read(&mut good).await.is_some());
}

#[tokio::test]
async fn shutdown_answers_what_is_under_way() {
    let server = start(limits(), Limits::new(10, 10));
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    let mut client = TcpStream::connect(server.address).await.unwrap();
    client.write_all(&framed(&query(b'w', 1))).await.unwrap();
    until("the query is under way", || server.limits.counters.queries.load(Relaxed) == 1).await;
    server.limits.shutdown.cancel();
    assert!(read(&mut idle).await.is_none());
    server.gate.add_permits(1);
    assert!(read(&mut client).await.is_some());
    until("all connections end", || server.accept.open() == 0).await;
    assert_eq!(server.accept.counters.cut_off.load(Relaxed), 0);
}

#[tokio::test]
async fn connections_are_counted_per_source() {
    let server = start(limits(), Limits::new(10, 1));
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first.write_all(&framed(&query(b'e', 1))).await.unwrap();
    assert!(read(&mut first).await.is_some());
    let mut second = TcpStream::connect(server.address).await.unwrap();
    assert!(read(&mut second).await.is_none());
    assert_eq!(server.accept.counters.refused_source.load(Relaxed), 1);
}
