//! recvmmsg and sendmmsg: many datagrams with one system call, each reply from the address asked.
//!
//! The only file with `unsafe`. Why: no safe crate offers both calls with a control message per
//! datagram (rustix has no recvmmsg; nix shares one control message across a batch; see
//! ARCHITECTURE.md). What makes it sound is written at each block. All memory that the kernel is
//! given lives in a [`Batch`], in boxes whose addresses never change while the batch lives.
#![allow(unsafe_code)]

use std::{
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket},
    os::fd::AsRawFd,
};

/// Datagrams received with one call at most.
pub(crate) const BATCH: usize = 64;
/// Octets of a query that are received; longer ones are cut and then found malformed.
const QUERY_MAX: usize = 4096;
/// Room for one IP_PKTINFO or IPV6_PKTINFO message.
const CONTROL_MAX: usize = 64;

/// A control buffer, aligned as the kernel's headers in it must be.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct Control([u8; CONTROL_MAX]);

/// Buffers for one batch in and one batch out.
pub(crate) struct Batch {
    queries: Box<[[u8; QUERY_MAX]]>,
    /// Empty ones are not sent.
    replies: Box<[Vec<u8>]>,
    peers: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    control_lengths: [usize; BATCH],
    /// Messages that the last exchange has used, and that must be set up again.
    used: usize,
    received: [usize; BATCH],
    vectors: Box<[libc::iovec]>,
    messages: Box<[libc::mmsghdr]>,
    with_control: bool,
}

impl Batch {
    /// `with_control`: the socket is bound to a wildcard address and reports where each query was sent to.
    pub(crate) fn new(with_control: bool) -> Self {
        // SAFETY: all-zero bytes are a valid sockaddr_storage, iovec and mmsghdr: integers and null pointers.
        let (peer, vector, message) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        Self {
            queries: vec![[0; QUERY_MAX]; BATCH].into(),
            replies: (0..BATCH).map(|_| Vec::with_capacity(1500)).collect(),
            peers: vec![peer; BATCH].into(),
            controls: vec![Control([0; CONTROL_MAX]); BATCH].into(),
            control_lengths: [0; BATCH],
            used: BATCH,
            received: [0; BATCH],
            vectors: vec![vector; BATCH].into(),
            messages: vec![message; BATCH].into(),
            with_control,
        }
    }

    /// Waits for at least one datagram and takes what is there. The number of datagrams; 0 when the
    /// socket's receive timeout passed.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        for i in 0..self.used {
            self.vectors[i] = libc::iovec { iov_base: self.queries[i].as_mut_ptr().cast(), iov_len: QUERY_MAX };
            let header = &mut self.messages[i].msg_hdr;
            header.msg_name = (&raw mut self.peers[i]).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as u32;
            header.msg_iov = &raw mut self.vectors[i];
            header.msg_iovlen = 1;
            if self.with_control {
                header.msg_control = self.controls[i].0.as_mut_ptr().cast();
                header.msg_controllen = CONTROL_MAX;
            }
        }
        // SAFETY: every message points to an iovec, an address and a control buffer of the stated sizes,
        // all owned by `self`, which is borrowed mutably for the whole call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.messages.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_WAITFORONE,
                std::ptr::null_mut(),
            )
        };
        self.used = usize::try_from(count).unwrap_or(BATCH);
        if count < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            };
        }
        let count = count as usize; // not negative
        for i in 0..count {
            self.received[i] = self.messages[i].msg_len as usize;
            self.control_lengths[i] = self.messages[i].msg_hdr.msg_controllen;
        }
        Ok(count)
    }

    /// The queries of the batch and the buffers for their replies, apart from each other.
    pub(crate) fn exchange(&mut self, count: usize) -> (Queries<'_>, &mut [Vec<u8>]) {
        let queries = Queries {
            bytes: &self.queries[..count],
            received: &self.received[..count],
            peers: &self.peers[..count],
            controls: &self.controls[..count],
            control_lengths: &self.control_lengths[..count],
        };
        (queries, &mut self.replies[..count])
    }
    /// Sends the replies to the first `count` queries. The number of replies that the kernel refused.
    pub(crate) fn send(&mut self, socket: &UdpSocket, count: usize) -> usize {
        let mut ready = 0;
        for i in 0..count {
            if self.replies[i].is_empty() {
                continue;
            }
            self.vectors[ready] =
                libc::iovec { iov_base: self.replies[i].as_mut_ptr().cast(), iov_len: self.replies[i].len() };
            let from = self.messages[i].msg_hdr;
            let header = &mut self.messages[ready].msg_hdr;
            header.msg_name = from.msg_name;
            header.msg_namelen = from.msg_namelen;
            header.msg_iov = &raw mut self.vectors[ready];
            if self.with_control {
                // The control message that came with the query names the address to reply from. The
                // interface is left to the routing table, except where only it gives a link-local
                // address a meaning (IPv6).
                let control = &mut self.controls[i].0;
                if control[8..12] == libc::IPPROTO_IP.to_ne_bytes() {
                    control[16..20].fill(0);
                } else if control[16] != 0xfe || control[17] & 0xc0 != 0x80 {
                    control[32..36].fill(0);
                }
                header.msg_control = self.controls[i].0.as_mut_ptr().cast();
                header.msg_controllen = self.control_lengths[i];
            }
            ready += 1;
        }
        let (mut sent, mut refused) = (0, 0);
        while sent < ready {
            // SAFETY: messages sent..ready were set up above to buffers owned by `self`.
            let result = unsafe {
                libc::sendmmsg(socket.as_raw_fd(), self.messages[sent..].as_mut_ptr(), (ready - sent) as u32, 0)
            };
            if result > 0 {
                sent += result as usize; // not negative
            } else if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                // The first of the rest cannot be sent; the others may be.
                refused += 1;
                sent += 1;
            }
        }
        refused
    }
}

/// What a batch has received.
#[derive(Clone, Copy)]
pub(crate) struct Queries<'b> {
    bytes: &'b [[u8; QUERY_MAX]],
    received: &'b [usize],
    peers: &'b [libc::sockaddr_storage],
    controls: &'b [Control],
    control_lengths: &'b [usize],
}

impl<'b> Queries<'b> {
    /// Query `i`.
    #[inline]
    pub(crate) fn get(&self, i: usize) -> &'b [u8] {
        &self.bytes[i][..self.received[i].min(QUERY_MAX)]
    }

    /// Who sent query `i`; `None` for an address family that the kernel should not have given.
    #[inline]
    pub(crate) fn peer(&self, i: usize) -> Option<SocketAddr> {
        let storage = &self.peers[i];
        match i32::from(storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says that the kernel wrote a sockaddr_in, which is smaller than
                // the storage and no stricter aligned.
                let v4 = unsafe { *(&raw const *storage).cast::<libc::sockaddr_in>() };
                let address = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddr::V4(SocketAddrV4::new(address, u16::from_be(v4.sin_port))))
            }
            libc::AF_INET6 => {
                // SAFETY: as above, for sockaddr_in6.
                let v6 = unsafe { *(&raw const *storage).cast::<libc::sockaddr_in6>() };
                let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Some(SocketAddr::V6(SocketAddrV6::new(address, port, v6.sin6_flowinfo, v6.sin6_scope_id)))
            }
            _ => None,
        }
    }

    /// The address that query `i` was sent to, on sockets that report it.
    pub(crate) fn local(&self, i: usize) -> Option<IpAddr> {
        let bytes = self.controls[i].0.get(..self.control_lengths[i].min(CONTROL_MAX))?;
        let header = mem::size_of::<libc::cmsghdr>();
        let data = bytes.get(header..)?;
        let level = i32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?);
        let kind = i32::from_ne_bytes(bytes.get(12..16)?.try_into().ok()?);
        match (level, kind) {
            // struct in_pktinfo: interface index, address for the reply, destination of the datagram.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => Some(IpAddr::from(<[u8; 4]>::try_from(data.get(4..8)?).ok()?)),
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => Some(IpAddr::from(<[u8; 16]>::try_from(data.get(..16)?).ok()?)),
            _ => None,
        }
    }
}

// SAFETY: the raw pointers in `vectors` and `messages` point into the boxes of the same value and are
// set anew before each system call, so a batch may move to another thread.
unsafe impl Send for Batch {}

/// Sends one datagram from a given local address.
pub(crate) fn send_from(socket: &UdpSocket, data: &[u8], peer: SocketAddr, local: IpAddr) -> io::Result<()> {
    let address = socket2::SockAddr::from(peer);
    let mut control = Control([0; CONTROL_MAX]);
    let (level, kind, length) = match local {
        IpAddr::V4(v4) => {
            control.0[20..24].copy_from_slice(&v4.octets());
            (libc::IPPROTO_IP, libc::IP_PKTINFO, 12)
        }
        IpAddr::V6(v6) => {
            control.0[16..32].copy_from_slice(&v6.octets());
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 20)
        }
    };
    control.0[..8].copy_from_slice(&(16 + length as usize).to_ne_bytes());
    control.0[8..12].copy_from_slice(&level.to_ne_bytes());
    control.0[12..16].copy_from_slice(&kind.to_ne_bytes());
    let mut vector = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    // SAFETY: all-zero bytes are a valid msghdr.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = address.as_ptr().cast_mut().cast();
    message.msg_namelen = address.len();
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = (16 + length as usize).next_multiple_of(8);
    // SAFETY: address, data and control live until the call returns; sendmsg only reads them.
    let result = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets the threads that answer go first: the calling thread, and those that it starts, get less of a
/// processor that is short. A kernel that refuses changes nothing but that.
pub fn answer_first() {
    const NICE: libc::c_int = 5;
    // SAFETY: takes and returns integers; process 0 is the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

/// Has the calling thread take short turns of the processor: it waits less for its turn when others want the processor
/// too. Linux 6.12 and later take this wish of an ordinary thread (sched(7), EEVDF); elsewhere nothing changes.
pub(crate) fn short_turns() {
    const TURN_NS: u64 = 100_000;
    /// `struct sched_attr` in its first version (sched_setattr(2)).
    #[repr(C)]
    struct Attr {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let policy = libc::SCHED_OTHER.unsigned_abs();
    // SAFETY: takes and returns integers; process 0 is the calling thread.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let size = mem::size_of::<Attr>() as u32;
    let attr = Attr { size, policy, flags: 0, nice, priority: 0, runtime: TURN_NS, deadline: 0, period: 0 };
    // SAFETY: the kernel reads `size` octets of `attr`, which lives until the call returns.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
}

/// Has the kernel say for each datagram which address it was sent to.
pub(crate) fn report_destination(socket: &impl AsRawFd, v6: bool) -> io::Result<()> {
    let (level, option) =
        if v6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) } else { (libc::IPPROTO_IP, libc::IP_PKTINFO) };
    let on: libc::c_int = 1;
    // SAFETY: the option's value is an int that lives until the call returns.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), mem::size_of_val(&on) as u32)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Asks the processor to bring a value near, without waiting for it.
#[inline]
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing into the program, and the address is that of a live reference.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
