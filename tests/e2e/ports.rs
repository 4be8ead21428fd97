//! Ports for servers that take a number instead of a socket. Shared by the tests of the crates.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::Mutex,
};

/// A port of 127.0.0.1 that is free for UDP and TCP and that no other test of this program was given. Below the range
/// from which the kernel takes ports for outgoing connections, so that none of these can take it either.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut guard = GIVEN.lock().unwrap();
    let given = guard.get_or_insert_default();
    let start = 15_000 + (std::process::id() % 300) as u16 * 50;
    for port in (start..32_000).chain(15_000..start) {
        let at = (Ipv4Addr::LOCALHOST, port);
        if !given.contains(&port) && UdpSocket::bind(at).is_ok() && TcpListener::bind(at).is_ok() {
            given.insert(port);
            return port;
        }
    }
    panic!("no free port");
}
