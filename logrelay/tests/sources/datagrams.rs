//! UDP and local datagram sockets.

use std::{net::UdpSocket, os::unix::net::UnixDatagram, sync::atomic::Ordering::Relaxed};

use logrelay::message::Flags;

use crate::world::{until, world};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_datagram_is_a_line_of_its_sender() {
    let world = world(&["udp://127.0.0.1:0"], "max_line = 20");
    let senders: Vec<_> = (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let to = world.address(0);
    senders[0].send_to(b"<13>a\nb\nc\n", to).unwrap();
    senders[1].send_to(b"12 not a count", to).unwrap();
    senders[2].send_to(b"", to).unwrap();
    senders[2].send_to(&[b'x'; 5000], to).unwrap();
    world.lines(3).await;
    let got = world.store.got();
    let shown: Vec<_> = got.iter().map(|got| (got.raw.as_slice(), got.original_len, got.flags)).collect();
    assert_eq!(
        shown,
        [
            (b"<13>a\nb\nc\n".as_slice(), 10, Flags::default()),
            (b"12 not a count", 14, Flags::default()),
            (&[b'x'; 20], 5000, Flags::TRUNCATED),
        ]
    );
    for (got, sender) in got.iter().zip(&senders) {
        let local = sender.local_addr().unwrap();
        assert_eq!((got.sender.address, got.sender.port), (Some(local.ip()), local.port()));
    }
    let counters = world.counters(0);
    // They are counted after they have been handed on.
    until("all are counted", || counters.octets.load(Relaxed) >= 5024).await;
    assert_eq!((counters.empty.load(Relaxed), counters.truncated.load(Relaxed)), (1, 1));
    assert_eq!((counters.octets.load(Relaxed), counters.kernel_drops.load(Relaxed)), (5024, 0));
    // What is in the socket at the end is taken too.
    for i in 0..500 {
        senders[0].send_to(format!("<13>late {i}").as_bytes(), to).unwrap();
    }
    let store = world.stop().await;
    assert_eq!(store.count(), 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_kernel_drops_is_counted_to_the_last() {
    const SENT: u64 = 5000;
    let world = world(&["udp://127.0.0.1:0"], "receive_buffer = 65536");
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = world.address(0);
    {
        // The reader stands still, and the socket fills.
        let _held = world.store.hold();
        for i in 0..SENT {
            sender.send_to(format!("<13>{i} {}", "x".repeat(300)).as_bytes(), to).unwrap();
        }
    }
    let counters = world.counters(0);
    until("the books balance", || counters.lines.load(Relaxed) + counters.kernel_drops.load(Relaxed) == SENT).await;
    assert!(counters.kernel_drops.load(Relaxed) > 0 && counters.lines.load(Relaxed) > 64);
    assert_eq!(world.store.count() as u64, counters.lines.load(Relaxed));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_datagrams_have_no_address() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let listen = format!("unix-dgram://{}", path.display());
    // What a crash has left.
    drop(UnixDatagram::bind(&path).unwrap());
    let world = world(&[&listen], "max_line = 200000");
    let (unnamed, named) = (UnixDatagram::unbound().unwrap(), UnixDatagram::bind(dir.path().join("sender")).unwrap());
    unnamed.send_to(b"<13>Oct 11 22:14:15 su: hi\0", &path).unwrap();
    named.send_to(b"<14>named", &path).unwrap();
    unnamed.send_to(&[b'x'; 100_000], &path).unwrap();
    world.lines(3).await;
    let got = world.store.got();
    assert_eq!(got.iter().map(|got| got.raw.len()).collect::<Vec<_>>(), [27, 9, 100_000]);
    assert!(got.iter().all(|got| got.sender.address.is_none() && got.sender.port == 0));
    world.stop().await;
    assert!(!path.exists());
}
