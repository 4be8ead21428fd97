//! TCP, TLS and UDP: framing, breaks, changes between receivers.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::{TcpListener, UdpSocket},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use wire::{limits::Limits, tls::TlsIdentity};

use crate::common::{EPOCH, NOW, NUMBER, chunk, counted, deliver, issue, numbered, persist, sink, until};

/// What a receiver has read.
type Read = Arc<Mutex<Vec<u8>>>;

fn text(read: &Read) -> String {
    String::from_utf8_lossy(&read.lock().unwrap()).into_owned()
}

async fn drain(mut stream: impl AsyncRead + Unpin, read: Read) {
    let mut octets = vec![0; 64 << 10];
    while let Ok(n @ 1..) = stream.read(&mut octets).await {
        read.lock().unwrap().extend_from_slice(&octets[..n]);
    }
}

/// A receiver that reads everything, on one connection after the other, until it is aborted.
fn receiver(listener: TcpListener) -> (Read, JoinHandle<()>) {
    let read = Read::default();
    let into = read.clone();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drain(stream, into.clone()).await;
        }
    });
    (read, task)
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Listens again at a port.
async fn listen_at(port: u16) -> TcpListener {
    free_again(|| {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(([127, 0, 0, 1], port).into())?;
        socket.listen(16)
    })
    .await
}

/// Receives datagrams at a port again.
async fn receive_at(port: u16) -> UdpSocket {
    let socket = free_again(|| std::net::UdpSocket::bind(("127.0.0.1", port))).await;
    socket.set_nonblocking(true).unwrap();
    UdpSocket::from_std(socket).unwrap()
}

/// What `bind` returns once the port is free: a process that another test is just starting shares the socket that had
/// it, until it becomes its program.
async fn free_again<T>(bind: impl Fn() -> std::io::Result<T>) -> T {
    let mut bound = None;
    until("the port is free again", || {
        bound = bind().map_err(|error| assert_eq!(error.kind(), ErrorKind::AddrInUse)).ok();
        bound.is_some()
    })
    .await;
    bound.unwrap()
}

#[tokio::test]
async fn lines_and_octets() {
    for (framing, expected) in [("lines", "a b\nc\n"), ("octets", "3 a\nb1 c")] {
        let (listener, port) = listen().await;
        let (read, task) = receiver(listener);
        let keys = format!("syslog = \"tcp://127.0.0.1:{port}\"\ntemplate = \"$MSG\\n\"\nframing = \"{framing}\"");
        let mut sink = sink(&keys);
        let delivered = deliver(&mut sink, &chunk(&[(1, "h", "a\nb"), (2, "h", "c")]), NOW).await;
        assert_eq!((delivered.messages, delivered.octets), (2, expected.len() as u64));
        sink.close().await;
        until("all is read", || text(&read) == expected).await;
        assert_eq!(counted(&sink, |c| &c.newlines), u64::from(framing == "lines"));
        task.abort();
    }
}

#[tokio::test]
async fn tcp_speaks_rfc3164_unless_told_otherwise() {
    let (listener, port) = listen().await;
    let (read, task) = receiver(listener);
    let mut sink = sink(&format!("syslog = \"tcp://localhost:{port}\""));
    assert_eq!(sink.state().target, None);
    deliver(&mut sink, &chunk(&[(1, "web01", "hello")]), NOW).await;
    assert_eq!((sink.state().target, sink.state().since_us), (Some(format!("tcp://localhost:{port}")), NOW));
    until("it is read", || text(&read).ends_with(" web01 app: hello\n")).await;
    assert!(text(&read).starts_with("<13>Oct  9 "), "{}", text(&read));
    task.abort();
}

/// The first message after a restart of the receiver is where plain TCP loses one.
#[tokio::test]
async fn a_receiver_that_restarts_misses_nothing() {
    let (listener, port) = listen().await;
    let (read, task) = receiver(listener);
    let mut sink = sink(&format!("syslog = \"tcp://127.0.0.1:{port}\"\ntemplate = \"$MSG\""));
    deliver(&mut sink, &numbered(1..11), NOW).await;
    until("the first are read", || text(&read).ends_with("m10\n")).await;
    task.abort();
    let _ = task.await;
    let (second, task) = receiver(listen_at(port).await);
    for sequence in 11..31 {
        deliver(&mut sink, &numbered(sequence..sequence + 1), NOW).await;
    }
    until("the last are read", || text(&second).ends_with("m30\n")).await;
    let text = text(&second);
    for sequence in 11..31 {
        assert!(text.contains(&format!("m{sequence}\n")), "{sequence} is missing: {text}");
    }
    assert_eq!(counted(&sink, |c| &c.connects), 2);
    task.abort();
}

/// The kernel took the messages, the receiver never did: they are sent again.
#[tokio::test]
async fn what_a_dead_receiver_never_read_is_sent_again() {
    let (listener, port) = listen().await;
    let mut sink = sink(&format!("syslog = \"tcp://127.0.0.1:{port}\"\ntemplate = \"$MSG\""));
    let all = numbered(1..101);
    assert_eq!(deliver(&mut sink, &all, NOW).await.messages, 100);
    let (stream, _) = listener.accept().await.unwrap();
    // Unread octets make the kernel reset the connection.
    drop(stream);
    let (read, task) = receiver(listener);
    deliver(&mut sink, &numbered(101..103), NOW).await;
    let expected: String = (1..103).map(|i| format!("m{i}\n")).collect();
    until("all are read", || text(&read) == expected).await;
    assert_eq!(counted(&sink, |c| &c.resent), 100);
    task.abort();
}

/// The operator names another receiver while lines that count as delivered lie in the socket of a dead one.
#[tokio::test]
async fn a_sink_that_is_replaced_hands_over_what_may_not_have_arrived() {
    let ((dead, port), (alive, other)) = (listen().await, listen().await);
    let mut former = sink(&format!("syslog = \"tcp://127.0.0.1:{port}\"\ntemplate = \"$MSG\""));
    deliver(&mut former, &numbered(1..4), NOW).await;
    // Never read: closing it resets the connection.
    drop(dead.accept().await.unwrap());
    drop(dead);
    let read = Read::default();
    let into = read.clone();
    tokio::spawn(async move { drain(alive.accept().await.unwrap().0, into).await });
    let mut changed = sink(&format!("syslog = \"tcp://127.0.0.1:{other}\"\ntemplate = \"$MSG\""));
    former.close().await;
    changed.continue_from(former);
    deliver(&mut changed, &numbered(4..5), NOW + 1).await;
    until("all are read", || text(&read) == "m1\nm2\nm3\nm4\n").await;
    assert_eq!(counted(&changed, |c| &c.messages), 4, "counts go on");
}

/// A receiver that dies in the middle of a chunk again and again, having read what it was sent.
#[tokio::test]
async fn breaks_within_a_chunk_lose_nothing() {
    let (listener, port) = listen().await;
    let read = Read::default();
    let into = read.clone();
    let task = tokio::spawn(async move {
        for limit in [1, 100_000, 3_000_000, 50_000, usize::MAX] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut octets, mut total) = (vec![0; 32 << 10], 0);
            while total < limit {
                let Ok(n @ 1..) = stream.read(&mut octets).await else { break };
                into.lock().unwrap().extend_from_slice(&octets[..n]);
                total += n;
            }
            // What its kernel has acknowledged and it has not read would be lost with it: no sender can know. The
            // sender has this thread, too, so all that comes now is on its way already.
            let mut stream = stream.into_std().unwrap();
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            while let Ok(n @ 1..) = std::io::Read::read(&mut stream, &mut octets) {
                into.lock().unwrap().extend_from_slice(&octets[..n]);
            }
            into.lock().unwrap().push(b'\n');
        }
    });
    let mut sink = sink(&format!("syslog = \"tcp://127.0.0.1:{port}\"\ntemplate = \"$MSG {}\"\n", "x".repeat(1000)));
    let batch = numbered(1..8001);
    let messages = persist(&mut sink, &batch, NOW).await.unwrap();
    assert_eq!(messages, 8000);
    sink.close().await;
    let missing = || {
        let text = text(&read);
        let whole = text.lines().filter(|line| line.len() > 1000 && line.ends_with("xxx"));
        let seen: BTreeSet<u64> =
            whole.filter_map(|line| line.strip_prefix('m')?.split(' ').next()?.parse().ok()).collect();
        (1..8001).filter(|number| !seen.contains(number)).collect::<Vec<_>>()
    };
    let began = Instant::now();
    while !missing().is_empty() && began.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(missing(), [0; 0], "{:?}", sink.counters());
    assert!(counted(&sink, |c| &c.resent) > 0);
    task.abort();
}

#[tokio::test]
async fn the_first_receiver_is_preferred() {
    let (first, first_port) = listen().await;
    drop(first);
    let (second, second_port) = listen().await;
    let (read_second, task_second) = receiver(second);
    let keys = format!(
        "syslog = [\"tcp://127.0.0.1:{first_port}\", \"tcp://127.0.0.1:{second_port}\"]\ntemplate = \"$MSG\"\nreopen_s = 60"
    );
    let mut sink = sink(&keys);
    deliver(&mut sink, &numbered(1..2), NOW).await;
    until("the second reads", || text(&read_second) == "m1\n").await;
    let (read_first, task_first) = receiver(listen_at(first_port).await);
    deliver(&mut sink, &numbered(2..3), NOW + 59_000_000).await;
    until("the second reads", || text(&read_second) == "m1\nm2\n").await;
    let mut sequence = 3;
    let began = std::time::Instant::now();
    while sink.state().target != Some(format!("tcp://127.0.0.1:{first_port}")) {
        assert!(began.elapsed() < Duration::from_secs(10));
        deliver(&mut sink, &numbered(sequence..sequence + 1), NOW + 61_000_000).await;
        sequence += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    until("the first reads", || text(&read_first).ends_with(&format!("m{}\n", sequence - 1))).await;
    let expected: String = (1..sequence).map(|i| format!("m{i}\n")).collect();
    assert_eq!(text(&read_second) + &text(&read_first), expected);
    assert_eq!(counted(&sink, |c| &c.failovers), 2);
    task_first.abort();
    task_second.abort();
}

/// The second receiver never read what it has when the first comes back: it is sent again to the first.
#[tokio::test]
async fn what_is_in_doubt_goes_to_the_preferred_receiver_too() {
    let (first, first_port) = listen().await;
    drop(first);
    let (second, second_port) = listen().await;
    let keys = format!(
        "syslog = [\"tcp://127.0.0.1:{first_port}\", \"tcp://127.0.0.1:{second_port}\"]\ntemplate = \"$MSG\"\nreopen_s = 60"
    );
    let mut sink = sink(&keys);
    deliver(&mut sink, &numbered(1..11), NOW).await;
    let (held, _) = second.accept().await.unwrap();
    let (read, task) = receiver(listen_at(first_port).await);
    let began = std::time::Instant::now();
    while sink.state().target != Some(format!("tcp://127.0.0.1:{first_port}")) {
        assert!(began.elapsed() < Duration::from_secs(10));
        sink.idle(NOW + 61_000_000).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    deliver(&mut sink, &numbered(11..12), NOW + 61_000_000).await;
    let expected: String = (1..12).map(|i| format!("m{i}\n")).collect();
    until("the first reads all", || text(&read) == expected).await;
    assert_eq!(counted(&sink, |c| &c.resent), 10);
    drop(held);
    task.abort();
}

/// A receiver over UDP is always reached, so it is returned to only after its time, and only if it was given up.
#[tokio::test]
async fn a_receiver_over_udp_comes_back_when_its_time_is_over() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let (listener, tcp_port) = listen().await;
    let (read, task) = receiver(listener);
    let (udp, tcp) = (format!("udp://127.0.0.1:{port}"), format!("tcp://127.0.0.1:{tcp_port}"));
    let mut sink = sink(&format!("syslog = [\"{udp}\", \"{tcp}\"]\ntemplate = \"$MSG\"\nreopen_s = 60"));
    deliver(&mut sink, &numbered(1..2), NOW).await;
    assert_eq!(sink.state().target.as_deref(), Some(&*udp));
    drop(socket);
    assert!(sink.deliver(numbered(2..5).records(), EPOCH, NUMBER, NOW + 1_000_000).await.is_err());
    deliver(&mut sink, &numbered(2..5), NOW + 2_000_000).await;
    until("the other one reads", || text(&read) == "m2\nm3\nm4\n").await;
    let socket = receive_at(port).await;
    for _ in 0..10 {
        sink.idle(NOW + 60_000_000).await;
        assert_eq!(sink.state().target.as_deref(), Some(&*tcp));
    }
    let began = std::time::Instant::now();
    while sink.state().target.as_deref() != Some(&*udp) {
        assert!(began.elapsed() < Duration::from_secs(10));
        sink.idle(NOW + 63_000_000).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    deliver(&mut sink, &numbered(5..6), NOW + 63_000_000).await;
    let mut octets = [0; 100];
    loop {
        let n = socket.recv(&mut octets).await.unwrap();
        if &octets[..n] == b"m5" {
            break;
        }
    }
    task.abort();
}

#[tokio::test]
async fn without_a_receiver_the_sentence_says_so() {
    let (listener, port) = listen().await;
    drop(listener);
    let mut sink = sink(&format!("syslog = [\"tcp://127.0.0.1:{port}\", \"relp://absent.invalid:1\"]\ntimeout_s = 5"));
    let trouble = sink.deliver(numbered(1..5).records(), EPOCH, NUMBER, NOW).await.unwrap_err();
    for said in ["destination d: ", &format!("tcp://127.0.0.1:{port}"), "refused", "absent.invalid cannot be resolved"]
    {
        assert!(trouble.reason.contains(said), "{said}: {trouble}");
    }
    assert_eq!((trouble.retry, trouble.delivered_until, trouble.records), (true, None, 0));
    assert_eq!(sink.state().last_error.unwrap().1, trouble.reason);
}

#[tokio::test]
async fn a_receiver_that_takes_nothing_is_given_up() {
    let (_listener, port) = listen().await;
    let mut sink = sink(&format!(
        "syslog = \"tcp://127.0.0.1:{port}\"\ntemplate = \"$MSG {}\"\ntimeout_s = 1",
        "x".repeat(60_000)
    ));
    let trouble = sink.deliver(numbered(1..300).records(), EPOCH, NUMBER, NOW).await.unwrap_err();
    assert!(trouble.reason.contains("took nothing within 1 s"), "{trouble}");
}

#[tokio::test]
async fn datagrams_are_cut_and_refusals_are_noticed() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let mut sink = sink(&format!("syslog = \"udp://127.0.0.1:{port}\"\ntemplate = \"$MSG\\n\""));
    let long = "y".repeat(70_000);
    deliver(&mut sink, &chunk(&[(1, "h", "a\nb"), (2, "h", &long)]), NOW).await;
    let mut octets = vec![0; 1 << 17];
    let n = socket.recv(&mut octets).await.unwrap();
    assert_eq!(&octets[..n], b"a\nb");
    assert_eq!((socket.recv(&mut octets).await.unwrap(), counted(&sink, |c| &c.cut)), (65_507, 1));
    drop(socket);
    let batch = numbered(3..13);
    let trouble = sink.deliver(batch.records(), EPOCH, NUMBER, NOW).await.unwrap_err();
    assert!(trouble.reason.contains("nobody listens") && trouble.delivered_until.is_none(), "{trouble}");
    let socket = receive_at(port).await;
    assert_eq!(persist(&mut sink, &batch, NOW).await, Some(10));
    for sequence in 3..13 {
        let n = socket.recv(&mut octets).await.unwrap();
        assert_eq!(octets[..n], *format!("m{sequence}").as_bytes());
    }
}

/// Names of clients that presented a certificate, and what was read.
type Seen = Arc<Mutex<Vec<String>>>;

#[tokio::test]
async fn tls_frames_by_octets_and_presents_our_certificate() {
    let dir = tempfile::tempdir().unwrap();
    issue(dir.path());
    let path = |name: &str| dir.path().join(name);
    let identity =
        TlsIdentity::load_with_clients(&path("localhost.pem"), &path("localhost.key"), &path("ca.pem"), &[]).unwrap();
    let (listener, port) = listen().await;
    let (read, seen, stop) = (Read::default(), Seen::default(), CancellationToken::new());
    let (into, names) = (read.clone(), seen.clone());
    let limits = Arc::new(Limits::new(10, 10));
    let server =
        tokio::spawn(wire::accept::accept_loop(listener, limits, Some(identity), stop.clone(), move |stream, _, _| {
            names.lock().unwrap().extend(stream.peer_names());
            drain(stream, into.clone())
        }));
    let keys = format!(
        "syslog = \"tls://localhost:{port}\"\nca_file = \"{0}/ca.pem\"\nclient_cert = \"{0}/relay1.pem\"\n\
         client_key = \"{0}/relay1.key\"\ntemplate = \"$MSG\"\n",
        dir.path().display()
    );
    let mut sink = sink(&keys);
    deliver(&mut sink, &numbered(8..12), NOW).await;
    until("all are read", || text(&read) == "2 m82 m93 m103 m11").await;
    assert_eq!(*seen.lock().unwrap(), ["relay1"]);
    // The same connection goes on, though the server's session tickets lie unread in it.
    deliver(&mut sink, &numbered(12..13), NOW).await;
    until("one more is read", || text(&read).ends_with("3 m12")).await;
    assert_eq!(counted(&sink, |c| &c.connects), 1);
    sink.reopen().await;
    deliver(&mut sink, &numbered(13..14), NOW).await;
    until("one more is read", || text(&read).ends_with("3 m13")).await;
    assert_eq!(counted(&sink, |c| &c.connects), 2);
    sink.close().await;
    // A certificate for another name is refused.
    let mut sink = crate::common::sink(&keys.replace("localhost:", "127.0.0.1:"));
    let trouble = sink.deliver(numbered(1..2).records(), EPOCH, NUMBER, NOW).await.unwrap_err();
    assert!(trouble.reason.contains("certificate"), "{trouble}");
    stop.cancel();
    server.await.unwrap();
}
