//! DNS over TLS and HTTPS with a real client, kdig.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use dns::{
    https,
    stream::{self, Question, Replies, StreamCounters, StreamLimits, Transport},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wire::{Limits, TlsIdentity, accept_loop, listen};

fn limits() -> StreamLimits {
    StreamLimits {
        idle: Duration::from_secs(20),
        pipeline_max: 16,
        write_timeout: Duration::from_secs(20),
        shutdown: CancellationToken::new(),
        counters: Arc::new(StreamCounters::default()),
    }
}

/// One address for every name, TTL 77, the question repeated.
async fn answer(question: Question, replies: Replies) {
    let mut reply = question.bytes;
    let Some(end) = reply[12..].iter().position(|&octet| octet == 0).map(|at| 12 + at + 5) else { return };
    let edns = reply.split_off(end);
    reply[2] |= 0x84;
    reply[7] = 1;
    reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 77, 0, 4, 192, 0, 2, 7]);
    reply.extend_from_slice(&edns);
    // Fails when the client has gone.
    let _ = replies.send(reply).await;
}

fn identity(dir: &Path, alpn: &[u8]) -> (TlsIdentity, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["ns.test".into()]).unwrap();
    let (certificate, key) = (dir.join("c.pem"), dir.join("k.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (TlsIdentity::load(&certificate, &key, &[alpn]).unwrap(), certificate)
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::from_std(listen("127.0.0.1:0".parse().unwrap()).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn kdig(address: SocketAddr, certificate: &Path, args: &[&str]) -> String {
    let mut command = Command::new("kdig");
    command.arg(format!("@{}", address.ip())).arg("-p").arg(address.port().to_string());
    command.arg(format!("+tls-ca={}", certificate.display())).args(["+tls-hostname=ns.test", "+timeout=10"]).args(args);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let output = output.expect("kdig is installed (Debian package knot-dnsutils)");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn dns_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let (identity, certificate) = identity(dir.path(), b"dot");
    let (listener, address) = listener();
    let limits = limits();
    let (inner, shutdown) = (limits.clone(), limits.shutdown.clone());
    tokio::spawn(accept_loop(
        listener,
        Arc::new(Limits::new(10, 10)),
        Some(identity),
        shutdown,
        move |stream, peer, local| stream::serve(stream, peer, local, Transport::Tls, inner.clone(), answer),
    ));
    let text = kdig(address, &certificate, &["+tls", "+keepopen", "a.example", "A", "b.example", "A"]).await;
    assert_eq!(text.matches("192.0.2.7").count(), 2, "{text}");
    assert!(text.contains("TLS1.3"), "{text}");
    assert_eq!(limits.counters.queries.load(Relaxed), 2);
}

#[tokio::test]
async fn dns_over_https() {
    let dir = tempfile::tempdir().unwrap();
    let (identity, certificate) = identity(dir.path(), b"h2");
    let (listener, address) = listener();
    let limits = limits();
    let (inner, shutdown) = (limits.clone(), limits.shutdown.clone());
    tokio::spawn(accept_loop(
        listener,
        Arc::new(Limits::new(10, 10)),
        Some(identity),
        shutdown,
        move |stream, peer, local| https::serve(stream, peer, local, inner.clone(), answer),
    ));
    for method in ["+nohttps-get", "+https-get"] {
        let text = kdig(address, &certificate, &["+https", method, "a.example", "A"]).await;
        assert!(text.contains("192.0.2.7") && text.contains("HTTP/2"), "{method}: {text}");
        assert!(text.contains(if method == "+https-get" { "GET" } else { "POST" }), "{text}");
    }
    assert_eq!(limits.counters.queries.load(Relaxed), 2);
    let text = kdig(address, &certificate, &["+https=/other", "a.example", "A"]).await;
    assert!(!text.contains("192.0.2.7"), "{text}");
    assert_eq!(limits.counters.garbage.load(Relaxed), 1);
}

/// Requests that are no DNS, over HTTP/2 without TLS.
mod http2 {
    use bytes::Bytes;
    use http::{Method, Request, StatusCode};
    use tokio::net::TcpStream;

    use super::*;

    async fn plain(limits: StreamLimits) -> SocketAddr {
        let (listener, address) = listener();
        let shutdown = limits.shutdown.clone();
        tokio::spawn(accept_loop(
            listener,
            Arc::new(Limits::new(10, 10)),
            None,
            shutdown,
            move |stream, peer, local| https::serve(stream, peer, local, limits.clone(), answer),
        ));
        address
    }

    async fn ask(address: SocketAddr, request: Request<()>, body: Bytes) -> (StatusCode, Option<String>) {
        let socket = TcpStream::connect(address).await.unwrap();
        let (send, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        let (response, mut stream) = send.ready().await.unwrap().send_request(request, body.is_empty()).unwrap();
        if !body.is_empty() {
            // Fails when the server has refused the request already.
            let _ = stream.send_data(body, true);
        }
        let response = response.await.unwrap();
        let header = |name: &str| Some(response.headers().get(name)?.to_str().unwrap().to_owned());
        (response.status(), header("cache-control").or_else(|| header("allow")))
    }

    fn request(method: Method, path: &str, media_type: &str) -> Request<()> {
        let uri = format!("https://ns.test{path}");
        Request::builder().method(method).uri(uri).header("content-type", media_type).body(()).unwrap()
    }

    #[tokio::test]
    async fn statuses() {
        let address = plain(limits()).await;
        let query = Bytes::from_static(b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01");
        let dns = "application/dns-message";
        let ask = |method, path: &str, media_type: &str, body: &Bytes| {
            ask(address, request(method, path, media_type), body.clone())
        };
        let none = Bytes::new();
        let get = format!("/dns-query?dns={}", data_encoding::BASE64URL_NOPAD.encode(&query));

        assert_eq!(ask(Method::POST, "/dns-query", dns, &query).await, (StatusCode::OK, Some("max-age=77".into())));
        assert_eq!(ask(Method::GET, &get, "", &none).await, (StatusCode::OK, Some("max-age=77".into())));
        assert_eq!(ask(Method::POST, "/", dns, &query).await.0, StatusCode::NOT_FOUND);
        assert_eq!(ask(Method::POST, "/dns-query", "text/plain", &query).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(
            ask(Method::POST, "/dns-query", dns, &Bytes::from_static(b"short")).await.0,
            StatusCode::BAD_REQUEST
        );
        assert_eq!(ask(Method::GET, "/dns-query", dns, &none).await.0, StatusCode::BAD_REQUEST);
        assert_eq!(ask(Method::GET, "/dns-query?dns=!", dns, &none).await.0, StatusCode::BAD_REQUEST);
        assert_eq!(
            ask(Method::DELETE, "/dns-query", dns, &none).await,
            (StatusCode::METHOD_NOT_ALLOWED, Some("GET, POST".into()))
        );
        let large = Bytes::from(vec![0; 70_000]);
        assert_eq!(ask(Method::POST, "/dns-query", dns, &large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed() {
        let mut short = limits();
        short.idle = Duration::from_millis(100);
        let counters = short.counters.clone();
        let address = plain(short).await;
        let (_send, connection) = h2::client::handshake::<_>(TcpStream::connect(address).await.unwrap()).await.unwrap();
        let _ = tokio::time::timeout(Duration::from_secs(20), connection).await.expect("closed by the server");
        assert_eq!(counters.idle_closed.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn shutdown_ends_an_open_connection() {
        let limits = limits();
        let address = plain(limits.clone()).await;
        let (_send, connection) = h2::client::handshake::<_>(TcpStream::connect(address).await.unwrap()).await.unwrap();
        limits.shutdown.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(4), connection).await.expect("closed by the server");
        assert_eq!(limits.counters.idle_closed.load(Relaxed), 0);
    }

    /// Requests that are reset at once leave their queries under way; these stay within the limit.
    #[tokio::test]
    async fn resets_do_not_pile_up_queries() {
        let mut few = limits();
        few.pipeline_max = 2;
        let counters = few.counters.clone();
        let (client, server) = tokio::io::duplex(64 * 1024);
        let peer: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let stuck = |_question: Question, replies: Replies| async move { replies.closed().await };
        tokio::spawn(async move { https::serve(server, peer, peer, few, stuck).await });
        let (mut send, connection) = h2::client::handshake(client).await.unwrap();
        tokio::spawn(connection);
        let seen = || counters.queries.load(Relaxed) + counters.refused.load(Relaxed);
        for number in 1..=10 {
            let path = "/dns-query?dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB";
            send = send.ready().await.unwrap();
            let (_response, mut stream) = send.send_request(request(Method::GET, path, ""), true).unwrap();
            let noticed = async {
                while seen() < number {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), noticed).await.expect("the server sees the request");
            stream.send_reset(h2::Reason::CANCEL);
        }
        assert_eq!((counters.queries.load(Relaxed), counters.refused.load(Relaxed)), (2, 8));
    }
}
