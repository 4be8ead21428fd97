//! The accept loop on real sockets.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use wire::{Limits, Stream, TlsIdentity, accept_loop, listen};

/// Sends back what it gets.
async fn echo(mut stream: Stream, _peer: SocketAddr, _local: SocketAddr) {
    let mut buffer = [0; 64];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        if buffer.starts_with(b"panic") {
            panic!("as the client asked");
        }
        if stream.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

fn start(limits: Limits, tls: Option<TlsIdentity>) -> (SocketAddr, Arc<Limits>, CancellationToken, JoinHandle<()>) {
    let listener = TcpListener::from_std(listen("127.0.0.1:0".parse().unwrap()).unwrap()).unwrap();
    let (address, limits, shutdown) = (listener.local_addr().unwrap(), Arc::new(limits), CancellationToken::new());
    let task = tokio::spawn(accept_loop(listener, limits.clone(), tls, shutdown.clone(), echo));
    (address, limits, shutdown, task)
}

async fn echoes(stream: &mut TcpStream) -> bool {
    let mut back = [0; 2];
    stream.write_all(b"hi").await.is_ok() && stream.read_exact(&mut back).await.is_ok()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_room_comes_back() {
    let (address, limits, shutdown, task) = start(Limits::new(10, 2), None);
    let mut first = TcpStream::connect(address).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    assert!(echoes(&mut first).await && echoes(&mut second).await);
    let mut third = TcpStream::connect(address).await.unwrap();
    assert!(!echoes(&mut third).await);
    assert_eq!(limits.counters.refused_source.load(Relaxed), 1);
    drop(first);
    until("the first connection ends", || limits.open() == 1).await;
    let mut fourth = TcpStream::connect(address).await.unwrap();
    assert!(echoes(&mut fourth).await);
    shutdown.cancel();
    drop((second, fourth));
    task.await.unwrap();
    assert_eq!(limits.counters.cut_off.load(Relaxed), 0);
}

#[tokio::test]
async fn a_silent_client_does_not_hold_a_tls_listener() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let identity = TlsIdentity::load(&certificate, &key, &[]).unwrap();
    let mut limits = Limits::new(10, 10);
    limits.handshake = Duration::from_millis(100);
    let (address, limits, _shutdown, _task) = start(limits, Some(identity));

    let mut silent = TcpStream::connect(address).await.unwrap();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or(0), 0, "closed after the handshake's time");
    assert_eq!(limits.counters.handshake_timeouts.load(Relaxed), 1);
    let mut garbage = TcpStream::connect(address).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = garbage.read_to_end(&mut rest).await;
    until("the failed handshake is counted", || limits.counters.handshake_failures.load(Relaxed) == 1).await;
    until("no connection is left", || limits.open() == 0).await;
}

#[tokio::test]
async fn shutdown_closes_the_socket_and_cuts_off_after_the_grace() {
    let mut limits = Limits::new(10, 10);
    limits.grace = Duration::from_millis(50);
    let (address, limits, shutdown, task) = start(limits, None);
    let mut client = TcpStream::connect(address).await.unwrap();
    assert!(echoes(&mut client).await);
    shutdown.cancel();
    task.await.unwrap();
    assert_eq!(limits.counters.cut_off.load(Relaxed), 1);
    assert_eq!(limits.open(), 0);
    assert_eq!(TcpStream::connect(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_panic_ends_its_connection_only() {
    let (address, limits, _shutdown, _task) = start(Limits::new(10, 10), None);
    let mut bad = TcpStream::connect(address).await.unwrap();
    bad.write_all(b"panic").await.unwrap();
    assert_eq!(bad.read(&mut [0; 1]).await.unwrap_or(0), 0);
    until("the panic is counted", || limits.counters.panics.load(Relaxed) == 1).await;
    let mut good = TcpStream::connect(address).await.unwrap();
    assert!(echoes(&mut good).await);
}
