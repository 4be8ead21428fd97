//! TCP, TLS, unix streams and pipes.

use std::{
    io::Write,
    net::SocketAddr,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use logrelay::message::Flags;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
};

use crate::world::{certificates, client, until, world};

const TRUNCATED: Flags = Flags::TRUNCATED;
const INCOMPLETE: Flags = Flags::INCOMPLETE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_framings_arrive_however_they_are_cut_up() {
    let world = world(&["tcp://127.0.0.1:0"], "");
    let streams: [&[u8]; 2] = [b"<13>one\n\n<14>two\r\n<15>tail", b"7 <13>one9 <14>two\r\n8 <15>tail"];
    let mut expected = Vec::new();
    for (i, stream) in streams.iter().enumerate() {
        for size in [1, 2, 3, 5, 8, 100] {
            let mut socket = TcpStream::connect(world.address(0)).await.unwrap();
            socket.set_nodelay(true).unwrap();
            for piece in stream.chunks(size) {
                socket.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            let port = socket.local_addr().unwrap().port();
            drop(socket);
            let two = ["<14>two\r", "<14>two\r\n"][i];
            expected.extend(["<13>one", two, "<15>tail"]);
            world.lines(expected.len()).await;
            let last = world.store.got().pop().unwrap();
            assert_eq!((last.sender.address, last.sender.port), (Some([127, 0, 0, 1].into()), port));
            assert_eq!((last.original_len, last.flags), (8, Flags::default()));
        }
    }
    assert_eq!(world.store.raws(), expected);
    let octets: usize = streams.iter().map(|stream| stream.len() * 6).sum();
    assert_eq!(world.counters(0).octets.load(Relaxed), octets as u64);
    assert_eq!(world.counters(0).lines.load(Relaxed), expected.len() as u64);
    assert_eq!(world.counters(0).framing_errors.load(Relaxed), 0);
    world.stop().await;
}

#[tokio::test]
async fn long_lines_are_cut_and_what_follows_is_not() {
    let world = world(&["tcp://127.0.0.1:0"], "");
    let mut lines = TcpStream::connect(world.address(0)).await.unwrap();
    let ten_megabytes = vec![b'<'; 10 << 20];
    lines.write_all(&ten_megabytes).await.unwrap();
    lines.write_all(b"\n<13>next\n").await.unwrap();
    world.lines(2).await;
    let mut counted = TcpStream::connect(world.address(0)).await.unwrap();
    counted.write_all(b"9000000 ").await.unwrap();
    counted.write_all(&ten_megabytes[..9_000_000]).await.unwrap();
    counted.write_all(b"8 <13>next9000000 xyz").await.unwrap();
    counted.shutdown().await.unwrap();
    world.lines(5).await;
    let got: Vec<_> = world.store.got().iter().map(|got| (got.raw.len(), got.original_len, got.flags)).collect();
    assert_eq!(
        got,
        [
            (65_536, 10 << 20, TRUNCATED),
            (8, 8, Flags::default()),
            (65_536, 9_000_000, TRUNCATED),
            (8, 8, Flags::default()),
            (3, 9_000_000, TRUNCATED.with(INCOMPLETE)),
        ]
    );
    assert_eq!(world.counters(0).truncated.load(Relaxed), 3);
    world.stop().await;
}

#[tokio::test]
async fn a_line_that_takes_too_long_ends_the_connection_and_is_kept() {
    let world = world(&["tcp://127.0.0.1:0"], "partial_timeout_s = 1");
    let mut idle = TcpStream::connect(world.address(0)).await.unwrap();
    idle.write_all(b"<13>whole\n").await.unwrap();
    let mut slow = TcpStream::connect(world.address(0)).await.unwrap();
    let begun = Instant::now();
    slow.write_all(b"<13>a").await.unwrap();
    // An octet now and then gains nothing.
    while slow.write_all(b"b").await.is_ok() && world.counters(0).partial_timeouts.load(Relaxed) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() >= Duration::from_secs(1));
    world.lines(2).await;
    let last = world.store.got().pop().unwrap();
    assert!(last.raw.starts_with(b"<13>ab") && last.flags == INCOMPLETE);
    idle.write_all(b"<13>still there\n").await.unwrap();
    world.lines(3).await;
    world.stop().await;
}

#[tokio::test]
async fn garbage_is_kept_and_counted_and_ends_the_connection_at_last() {
    let world = world(&["tcp://127.0.0.1:0"], "");
    let mut socket = TcpStream::connect(world.address(0)).await.unwrap();
    socket.write_all(b"1 <").await.unwrap();
    for i in 0..30 {
        if socket.write_all(format!("<{i}>no count\n").as_bytes()).await.is_err() {
            break;
        }
    }
    until("it is closed", || world.counters(0).closed_framing.load(Relaxed) == 1).await;
    let got = world.store.got();
    assert!(got.len() >= 17 && got[1..].iter().all(|got| got.flags.has(INCOMPLETE)), "{}", got.len());
    let mut random = TcpStream::connect(world.address(0)).await.unwrap();
    let octets: Vec<u8> = (0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    random.write_all(&octets).await.unwrap();
    random.shutdown().await.unwrap();
    until("it has ended", || world.counters(0).ended.load(Relaxed) == 2).await;
    let kept: usize = world.store.got()[got.len()..].iter().map(|got| got.raw.len() + 1).sum();
    let empty = world.counters(0).empty.load(Relaxed) as usize;
    assert!(kept + 2 * empty >= octets.len() - 1, "{kept} of {} octets, {empty} empty lines", octets.len());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_is_held_back_and_nothing_is_lost() {
    let world = world(&["tcp://127.0.0.1:0"], "");
    world.store.room.send_replace(false);
    let mut socket = TcpStream::connect(world.address(0)).await.unwrap();
    let line = format!("<13>{}\n", "x".repeat(995));
    let mut sent = 0;
    // Until the sockets are full.
    while tokio::time::timeout(Duration::from_millis(500), socket.write_all(line.as_bytes())).await.is_ok() {
        sent += 1;
        assert!(sent < 100_000, "100 MB without being held back");
    }
    let counters = world.counters(0);
    assert_eq!((counters.waiting.load(Relaxed), world.store.count()), (1, 0));
    assert!(counters.waiting_since_us.load(Relaxed) > 0);
    world.store.room.send_replace(true);
    world.lines(sent).await;
    until("it waits no more", || counters.waiting.load(Relaxed) == 0).await;
    assert!(counters.waited_us.load(Relaxed) >= 400_000 && counters.waits.load(Relaxed) >= 1);
    assert_eq!(counters.waiting_since_us.load(Relaxed), 0);
    drop(socket);
    world.stop().await;
}

#[tokio::test]
async fn what_has_arrived_before_the_end_is_handed_on() {
    let world = world(&["tcp://127.0.0.1:0"], "");
    let mut socket = TcpStream::connect(world.address(0)).await.unwrap();
    socket.write_all(b"<13>first\n").await.unwrap();
    world.lines(1).await;
    // No await in between: the connection's task has not run when the signal comes.
    let octets = [b"<13>second\n".repeat(1000), b"<13>un".to_vec()].concat();
    assert_eq!(socket.try_write(&octets).unwrap(), octets.len());
    let store = world.stop().await;
    let got = store.got();
    assert_eq!(got.len(), 1002);
    assert_eq!((got[1001].raw.as_slice(), got[1001].flags), (b"<13>un".as_slice(), INCOMPLETE));
    assert_eq!(socket.read(&mut [0; 1]).await.unwrap_or(0), 0, "closed");
}

#[tokio::test]
async fn a_connection_ends_when_nothing_is_taken_any_more() {
    let world = world(&["tcp://127.0.0.1:0"], "");
    world.store.failing.store(true, Relaxed);
    let mut socket = TcpStream::connect(world.address(0)).await.unwrap();
    socket.write_all(b"<13>lost\n").await.unwrap();
    assert_eq!(socket.read(&mut [0; 1]).await.unwrap_or(0), 0, "closed");
    assert_eq!(world.counters(0).closed_stopping.load(Relaxed), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_tells_who_sends_and_refuses_who_does_not_say() {
    let dir = tempfile::tempdir().unwrap();
    let files = certificates(dir.path());
    let world = world(&["tls://127.0.0.1:0"], &format!("{files}client_ca = {:?}", dir.path().join("ca.pem")));
    let address = world.address(0);
    // A client that says nothing holds nobody up.
    let _silent = TcpStream::connect(address).await.unwrap();
    let (known, unknown) = (client(dir.path(), true), client(dir.path(), false));
    let connection = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut connection = known.connect(address, "localhost", b"10 <13>line 19", deadline).unwrap();
        connection.write_all(b" <13>line2").unwrap();
        connection.write_all(format!("100000 {}", "y".repeat(100_000)).as_bytes()).unwrap();
        // Under TLS 1.3 the client learns of it when it reads; the line is not taken in any case.
        if let Ok(mut refused) = unknown.connect(address, "localhost", b"<13>nobody\n", deadline) {
            let _ = std::io::Read::read(&mut refused, &mut [0; 1]);
        }
        connection
    })
    .await
    .unwrap();
    world.lines(3).await;
    // Not before: it has not read the server's tickets, so its end is a reset, which takes what is under way with it.
    connection.close();
    let got = world.store.got();
    assert_eq!(got.iter().map(|got| got.raw.len()).collect::<Vec<_>>(), [10, 9, 65_536]);
    assert_eq!(got[0].sender.certificate, ["web01"]);
    let limits = world.running.limits.clone();
    until("the refusal is counted", || limits.counters.handshake_failures.load(Relaxed) == 1).await;
    until("the silent one alone is left, in its handshake", || limits.open() == 1).await;
    drop(_silent);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_tls_a_last_line_is_whole_only_if_the_sender_says_that_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(&["tls://127.0.0.1:0"], &certificates(dir.path()));
    for (says_so, flags) in [(true, Flags::default()), (false, INCOMPLETE)] {
        let before = world.store.count();
        let (address, client) = (ends_gently(world.address(0)).await, client(dir.path(), false));
        tokio::task::spawn_blocking(move || {
            let deadline = Instant::now() + Duration::from_secs(20);
            let mut connection = client.connect(address, "localhost", b"<13>whole\n<13>last", deadline).unwrap();
            connection.flush().unwrap();
            if says_so {
                connection.close();
            }
        })
        .await
        .unwrap();
        world.lines(before + 2).await;
        let got = world.store.got().split_off(before);
        assert_eq!((got[0].raw.as_slice(), got[0].flags), (b"<13>whole".as_slice(), Flags::default()));
        assert_eq!((got[1].raw.as_slice(), got[1].flags), (b"<13>last".as_slice(), flags));
    }
    let counters = world.counters(0);
    until("both have ended", || counters.ended.load(Relaxed) == 2).await;
    assert_eq!((counters.incomplete.load(Relaxed), counters.read_errors.load(Relaxed)), (1, 0));
    world.stop().await;
}

/// Hands on one connection, and ends it towards the server without a reset however its client ends it.
async fn ends_gently(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut from_client, mut to_client) = listener.accept().await.unwrap().0.into_split();
        let (mut from_server, mut to_server) = TcpStream::connect(to).await.unwrap().into_split();
        tokio::spawn(async move {
            let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
            // What the client does not take any more is read all the same.
            while from_server.read(&mut [0; 512]).await.unwrap_or(0) > 0 {}
        });
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        to_server.shutdown().await.unwrap();
    });
    address
}

#[tokio::test]
async fn local_streams_have_no_address() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stream");
    let listen = format!("unix-stream://{}", path.display());
    let world = world(&[&listen], "connections_per_address = 1");
    let mut socket = UnixStream::connect(&path).await.unwrap();
    socket.write_all(b"<13>local\n5 <13>").await.unwrap();
    world.lines(1).await;
    let mut second = UnixStream::connect(&path).await.unwrap();
    assert_eq!(second.read(&mut [0; 1]).await.unwrap_or(0), 0, "one at a time for each user");
    assert_eq!(world.running.limits.counters.refused_source.load(Relaxed), 1);
    drop(socket);
    world.lines(2).await;
    assert_eq!(world.store.raws(), ["<13>local", "5 <13>"]);
    assert_eq!(world.store.got()[0].sender.address, None);
    world.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_pipe_outlives_its_writers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    let listen = format!("pipe://{}", path.display());
    let world = world(&[&listen], "partial_timeout_s = 1");
    for round in 0..3 {
        let mut pipe = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        writeln!(pipe, "<13>round {round}").unwrap();
        drop(pipe);
        world.lines(round + 1).await;
    }
    let mut pipe = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    pipe.write_all(b"12 half").unwrap();
    world.lines(4).await;
    assert_eq!(world.store.got()[3].flags, INCOMPLETE);
    pipe.write_all(b"<13>and on\n").unwrap();
    world.lines(5).await;
    pipe.write_all(b"<13>last\n").unwrap();
    let store = world.stop().await;
    assert_eq!(store.raws(), ["<13>round 0", "<13>round 1", "<13>round 2", "12 half", "<13>and on", "<13>last"]);
}

#[tokio::test]
async fn a_pipe_does_not_hold_up_the_end_when_there_is_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    let world = world(&[&format!("pipe://{}", path.display())], "");
    world.store.room.send_replace(false);
    let mut pipe = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    pipe.write_all(b"<13>no room\n").unwrap();
    until("it waits", || world.counters(0).waiting.load(Relaxed) == 1).await;
    let (begun, counters) = (Instant::now(), world.running.listeners[0].1.clone());
    let store = world.stop().await;
    assert!((4..20).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!((store.count(), counters.closed_stopping.load(Relaxed)), (0, 1));
}
