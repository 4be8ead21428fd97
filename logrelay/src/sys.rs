//! recvmmsg, and what the kernel dropped: many datagrams with one system call, each with its sender.
//!
//! The only file with `unsafe`. Why: no safe crate receives many datagrams without allocating for each call (nix's
//! `recvmmsg` gives iterators over headers that it sets up anew and cannot tell the full length of a cut datagram; rustix
//! has none), and none reads SO_MEMINFO. What makes it sound is written at each block. All memory that the kernel is given
//! lives in a [`Datagrams`], in boxes whose addresses never change while it lives.
#![allow(unsafe_code)]

use std::{
    io, mem,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd, BorrowedFd},
};

/// Octets between the starts of two slots, besides the slot itself. Without them all slots would begin at the same place
/// of the processor's caches, and push one another out.
const STAGGER: usize = 5 * 64;
/// Place of the number of dropped datagrams in SO_MEMINFO (linux/sock_diag.h, SK_MEMINFO_DROPS).
const MEMINFO_DROPS: usize = 8;

/// Room for datagrams that are received with one call.
pub(crate) struct Datagrams {
    octets: Box<[u8]>,
    slot: usize,
    stride: usize,
    peers: Box<[libc::sockaddr_storage]>,
    vectors: Box<[libc::iovec]>,
    messages: Box<[libc::mmsghdr]>,
    /// Messages that the last call has used, and that must be set up again.
    used: usize,
}

impl Datagrams {
    /// Room for `count` datagrams of `slot` octets; of longer ones the start is kept. Memory is taken from the system as
    /// datagrams touch it: small ones cost a page each.
    pub(crate) fn new(count: usize, slot: usize) -> Self {
        // SAFETY: all-zero bytes are a valid sockaddr_storage, iovec and mmsghdr: integers and null pointers.
        let (peer, vector, message) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        let stride = slot.next_multiple_of(64) + STAGGER;
        Self {
            octets: vec![0; count * stride].into(),
            slot,
            stride,
            peers: vec![peer; count].into(),
            vectors: vec![vector; count].into(),
            messages: vec![message; count].into(),
            used: count,
        }
    }

    /// Waits for at least one datagram and takes what is there. The number of datagrams; 0 when the socket's receive
    /// timeout passed, or when it does not wait and there is none.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        for (i, slot) in self.octets.chunks_exact_mut(self.stride).enumerate().take(self.used) {
            self.vectors[i] = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: self.slot };
            let header = &mut self.messages[i].msg_hdr;
            header.msg_name = (&raw mut self.peers[i]).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as u32;
            header.msg_iov = &raw mut self.vectors[i];
            header.msg_iovlen = 1;
        }
        // SAFETY: every message points to an iovec and an address of the stated sizes, all owned by `self`, which is
        // borrowed mutably for the whole call. A slot is no longer than the stride between slots.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.messages.as_mut_ptr(),
                self.messages.len() as u32,
                // With MSG_TRUNC the length of a cut datagram is its own (recv(2)).
                libc::MSG_WAITFORONE | libc::MSG_TRUNC,
                std::ptr::null_mut(),
            )
        };
        self.used = usize::try_from(count).unwrap_or(self.messages.len());
        if count < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            };
        }
        Ok(self.used)
    }

    /// Datagram `i` of the last call, cut to a slot, and the octets that it had.
    pub(crate) fn get(&self, i: usize) -> (&[u8], usize) {
        let length = self.messages.get(i).map_or(0, |message| message.msg_len as usize);
        let start = i * self.stride;
        (self.octets.get(start..start + length.min(self.slot)).unwrap_or_default(), length)
    }

    /// Who sent datagram `i` of the last call; `None` for local sockets.
    pub(crate) fn peer(&self, i: usize) -> Option<SocketAddr> {
        let storage = self.peers.get(i)?;
        // The kernel writes no family for the unnamed socket of a local sender.
        let length = self.messages.get(i)?.msg_hdr.msg_namelen as usize;
        match i32::from(storage.ss_family) {
            libc::AF_INET if length >= mem::size_of::<libc::sockaddr_in>() => {
                // SAFETY: the family and length say that the kernel wrote a sockaddr_in, which is smaller than the
                // storage and no stricter aligned.
                let v4 = unsafe { *(&raw const *storage).cast::<libc::sockaddr_in>() };
                let address = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddr::V4(SocketAddrV4::new(address, u16::from_be(v4.sin_port))))
            }
            libc::AF_INET6 if length >= mem::size_of::<libc::sockaddr_in6>() => {
                // SAFETY: as above, for sockaddr_in6.
                let v6 = unsafe { *(&raw const *storage).cast::<libc::sockaddr_in6>() };
                let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Some(SocketAddr::V6(SocketAddrV6::new(address, port, v6.sin6_flowinfo, v6.sin6_scope_id)))
            }
            _ => None,
        }
    }
}

// SAFETY: the raw pointers in `vectors` and `messages` point into the boxes of the same value and are set anew before
// each system call, so it may move to another thread.
unsafe impl Send for Datagrams {}

/// Datagrams that the kernel dropped at this socket since it was opened, modulo 2^32; `None` on kernels before 4.12.
pub(crate) fn drops(socket: BorrowedFd<'_>) -> Option<u32> {
    let mut values = [0u32; 16];
    let mut length = mem::size_of_val(&values) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` octets into `values`, any of which are valid integers.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let count = length as usize / mem::size_of::<u32>();
    (result == 0 && count > MEMINFO_DROPS).then_some(values[MEMINFO_DROPS])
}

#[cfg(test)]
mod tests {
    use std::{
        net::UdpSocket,
        os::{fd::AsFd, unix::net::UnixDatagram},
        time::Duration,
    };

    use super::*;

    #[test]
    fn datagrams_come_with_their_sender_and_their_length() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(address) else { continue };
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let senders = [UdpSocket::bind(address).unwrap(), UdpSocket::bind(address).unwrap()];
            let to = socket.local_addr().unwrap();
            let mut datagrams = Datagrams::new(4, 10);
            for round in 0..3 {
                senders[0].send_to(b"short", to).unwrap();
                senders[1].send_to(b"longer than ten", to).unwrap();
                senders[0].send_to(b"", to).unwrap();
                let mut all = Vec::new();
                while all.len() < 3 {
                    let count = datagrams.receive(socket.as_fd()).unwrap();
                    assert!(count > 0, "round {round}");
                    all.extend((0..count).map(|i| {
                        let (octets, length) = datagrams.get(i);
                        (octets.to_vec(), length, datagrams.peer(i))
                    }));
                }
                let [first, second] = [0, 1].map(|i: usize| Some(senders[i].local_addr().unwrap()));
                let expected: [(&[u8], _, _); 3] = [(b"short", 5, first), (b"longer tha", 15, second), (b"", 0, first)];
                assert_eq!(all, expected.map(|(octets, length, peer)| (octets.to_vec(), length, peer)));
            }
            socket.set_nonblocking(true).unwrap();
            assert_eq!(datagrams.receive(socket.as_fd()).unwrap(), 0);
        }
    }

    #[test]
    fn local_senders_have_no_address() {
        let (one, other) = UnixDatagram::pair().unwrap();
        one.send(b"<13>hello, longer").unwrap();
        let mut datagrams = Datagrams::new(2, 9);
        assert_eq!(datagrams.receive(other.as_fd()).unwrap(), 1);
        assert_eq!((datagrams.get(0), datagrams.peer(0)), ((b"<13>hello".as_slice(), 17), None));
    }

    #[test]
    fn the_kernel_says_what_it_dropped() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(4096).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(drops(socket.as_fd()), Some(0));
        for _ in 0..100 {
            sender.send_to(&[b'x'; 1000], socket.local_addr().unwrap()).unwrap();
        }
        socket.set_nonblocking(true).unwrap();
        let mut datagrams = Datagrams::new(64, 2000);
        let (mut received, mut last) = (0, 1);
        while last > 0 {
            last = datagrams.receive(socket.as_fd()).unwrap();
            received += last;
        }
        assert_eq!(received + drops(socket.as_fd()).unwrap() as usize, 100);
        assert!(received < 100, "a buffer of 4 KiB holds no 100 datagrams");
    }
}
