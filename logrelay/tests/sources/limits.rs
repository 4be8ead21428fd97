//! Floods of connections.

use std::{
    net::{SocketAddr, TcpStream},
    sync::atomic::Ordering::Relaxed,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};

use crate::world::{until, world, world_that_knows};

/// Raises the limit of open files as far as that goes.
fn open_files() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    usize::try_from(hard).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_from_one_address_do_not_shut_others_out() {
    let most = 10_000.min(open_files().saturating_sub(2500));
    let world = world(&["tcp://127.0.0.1:0"], "");
    let address = world.address(0);
    let flood = tokio::task::spawn_blocking(move || -> Vec<TcpStream> {
        (0..most).map_while(|_| TcpStream::connect(address).ok()).collect()
    })
    .await
    .unwrap();
    assert_eq!(flood.len(), most);
    let limits = world.running.limits.clone();
    let refused = || limits.counters.refused_source.load(Relaxed) as usize;
    until("all are looked at", || refused() + limits.open() == most).await;
    assert_eq!(limits.open(), 1000);
    let mut other = from("127.0.0.2", address).await;
    other.write_all(b"<13>still here\n").await.unwrap();
    world.lines(1).await;
    drop(flood);
    until("their room comes back", || limits.open() == 1).await;
    drop(other);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reserved_room_is_for_hosts_of_the_inventory() {
    let host = "127.0.0.7";
    let known = move |address: std::net::IpAddr| address.to_string() == host;
    let world = world_that_knows(&["tcp://127.0.0.1:0"], "connections = 3\nreserved = 1", known);
    let address = world.address(0);
    let _strangers = [from("127.0.0.1", address).await, from("127.0.0.2", address).await];
    let limits = world.running.limits.clone();
    until("both are in", || limits.open() == 2).await;
    let mut third = from("127.0.0.3", address).await;
    assert_eq!(third.read(&mut [0; 1]).await.unwrap_or(0), 0, "the last room is reserved");
    assert_eq!(limits.counters.refused_stranger.load(Relaxed), 1);
    let mut known = from(host, address).await;
    known.write_all(b"<13>known\n").await.unwrap();
    world.lines(1).await;
    world.stop().await;
}

async fn from(address: &str, to: SocketAddr) -> tokio::net::TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
    socket.connect(to).await.unwrap()
}
