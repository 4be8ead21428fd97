//! Listening sockets for stream protocols.

use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel completes before they are accepted.
pub const BACKLOG: i32 = 1024;

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}; {remedy}")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    reason: std::io::Error,
    remedy: &'static str,
}

/// A listening socket on `address`: non-blocking, address reuse on (a restart need not wait for old
/// connections to time out), IPv6 sockets for IPv6 only.
pub fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    open(address).map_err(|reason| {
        let remedy = match reason.kind() {
            std::io::ErrorKind::PermissionDenied => {
                "ports below 1024 need root at start or the capability CAP_NET_BIND_SERVICE"
            }
            std::io::ErrorKind::AddrNotAvailable => "does this machine have that address?",
            _ => "is another server running?",
        };
        ListenError { address, reason, remedy }
    })
}

fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_a_sentence() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let text = listen(address).unwrap_err().to_string();
        assert!(text.starts_with(&format!("cannot listen on {address}: ")), "{text}");
        assert!(text.ends_with("is another server running?"), "{text}");
    }
}
