//! Datagrams: UDP (RFC 5426) and local sockets such as /dev/log. One is one line, whatever is in it.
//!
//! A thread per socket takes up to [`BATCH`] at a time with one system call. It waits for nothing but the socket: what
//! finds no room behind the intake is shed there and counted, and what the kernel dropped meanwhile is counted here,
//! exactly. At shutdown what the kernel holds by then is taken too.
//!
//! Memory: [`BATCH`] slots of the longest line (4 MiB for 64 KiB), of which small datagrams touch a page each; fewer slots
//! when lines may be longer.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Clock, Counters, Road};
use crate::{
    framing::Counts,
    intake::{Line, Sender},
    message::Flags,
    sys::{self, Datagrams},
};

/// Datagrams that are received with one call at most.
const BATCH: usize = 64;
/// Octets of all slots at most; there are at least 8.
const SLOTS_MAX: usize = 16 << 20;
/// Octets of a UDP datagram at most, rounded up.
const UDP_MAX: usize = 64 << 10;
/// How long a socket is waited for before the signal to shut down is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Microseconds between two looks at what the kernel dropped, under load.
const DROPS_EVERY_US: i64 = 100_000;
/// Calls after the signal to shut down, at most.
const DRAIN_MAX: usize = 1000;
/// Wait after an error of the socket.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// Asks the kernel for a receive buffer, by force if we may (CAP_NET_ADMIN), else as much as `net.core.rmem_max` allows.
/// The octets that were granted.
pub(super) fn ask_buffer(socket: BorrowedFd<'_>, octets: usize) -> std::io::Result<usize> {
    if setsockopt(&socket, sockopt::RcvBufForce, &octets).is_err() {
        SockRef::from(&socket).set_recv_buffer_size(octets)?;
    }
    // The kernel says twice what it was asked for: it counts its own overhead (socket(7)).
    Ok(SockRef::from(&socket).recv_buffer_size()? / 2)
}

/// A datagram socket, to be read.
pub(super) struct Socket {
    pub(super) fd: OwnedFd,
    /// Datagrams that the kernel dropped there, and that are counted: by us, or by who read the socket before.
    pub(super) drops: Arc<AtomicU32>,
    pub(super) name: String,
    pub(super) max_line: usize,
    pub(super) udp: bool,
    pub(super) clock: Clock,
    pub(super) counters: Arc<Counters>,
    pub(super) shutdown: CancellationToken,
}

/// Reads from `socket` in a thread of its own until the signal to shut down.
///
/// # Errors
/// The thread could not be started, or it has ended by itself.
pub(super) async fn run<R: Road>(socket: Socket, road: R) -> Result<(), String> {
    let (done, end) = oneshot::channel();
    let name = socket.name.clone();
    // The kernel shows 15 octets of it.
    thread::Builder::new()
        .name("log-datagrams".into())
        .spawn(move || {
            read(&socket, road);
            let _ = done.send(());
        })
        .map_err(|error| format!("cannot start the thread that reads {name}: {error}; does a limit on tasks apply?"))?;
    end.await.map_err(|_| format!("the thread that reads {name} has ended in a panic"))
}

fn read<R: Road>(socket: &Socket, mut road: R) {
    let Socket { max_line, udp, clock, counters, .. } = socket;
    let slot = if *udp { (*max_line).min(UDP_MAX) } else { *max_line }.max(1);
    let mut datagrams = Datagrams::new((SLOTS_MAX / slot).clamp(8, BATCH), slot);
    let mut drops = Drops::default();
    let mut sender = Sender::default();
    counters.opened.fetch_add(1, Relaxed);
    // Who read it before has left it so at its end.
    let _ = SockRef::from(&socket.fd).set_nonblocking(false);
    if let Err(error) = SockRef::from(&socket.fd).set_read_timeout(Some(LOOK_EVERY)) {
        warn!(socket = socket.name, %error, "the socket has no receive timeout; stopping may take until the next datagram");
    }
    let mut left = DRAIN_MAX;
    while left > 0 {
        let count = datagrams.receive(socket.fd.as_fd()).unwrap_or_else(|error| {
            if counters.receive_errors.fetch_add(1, Relaxed) == 0 {
                warn!(socket = socket.name, %error, "cannot receive; will try again, and only count further errors");
            }
            thread::sleep(AFTER_ERROR);
            0
        });
        let now = clock();
        if count > 0 {
            take(&datagrams, count, &mut road, &mut sender, now, counters);
        }
        drops.look(socket, now, count == 0);
        if socket.shutdown.is_cancelled() {
            // What the kernel holds now is the last.
            let _ = SockRef::from(&socket.fd).set_nonblocking(true);
            left = if count == 0 && left < DRAIN_MAX { 0 } else { left - 1 };
        }
    }
    counters.ended.fetch_add(1, Relaxed);
}

fn take<R: Road>(
    datagrams: &Datagrams,
    count: usize,
    road: &mut R,
    sender: &mut Sender,
    received_us: i64,
    counters: &Counters,
) {
    let (mut counts, mut octets) = (Counts::default(), 0);
    for i in 0..count {
        let (raw, length) = datagrams.get(i);
        octets += length as u64;
        if raw.is_empty() {
            counts.empty += 1;
            continue;
        }
        let peer = datagrams.peer(i);
        sender.address = peer.map(|peer| peer.ip().to_canonical());
        sender.port = peer.map_or(0, |peer| peer.port());
        road.sender(sender);
        let cut = length > raw.len();
        let flags = if cut { Flags::TRUNCATED } else { Flags::default() };
        counts.lines += 1;
        counts.truncated += u64::from(cut);
        road.line(Line { raw, received_us, original_len: u32::try_from(length).unwrap_or(u32::MAX), flags });
        if road.is_full() {
            road.flush_or_shed();
        }
    }
    road.flush_or_shed();
    counters.octets.fetch_add(octets, Relaxed);
    counters.add(counts);
}

/// What the kernel dropped.
#[derive(Default)]
struct Drops {
    looked_us: i64,
}

impl Drops {
    fn look(&mut self, socket: &Socket, now: i64, idle: bool) {
        // A clock that was set back costs a look too many, no more.
        if !idle && (0..DROPS_EVERY_US).contains(&now.wrapping_sub(self.looked_us)) {
            return;
        }
        self.looked_us = now;
        if let Some(total) = sys::drops(socket.fd.as_fd()) {
            let new = total.wrapping_sub(socket.drops.swap(total, Relaxed));
            if new > 0 && socket.counters.kernel_drops.fetch_add(u64::from(new), Relaxed) == 0 {
                warn!(
                    socket = socket.name,
                    dropped = new,
                    "the kernel drops datagrams because its buffer is full; raise receive_buffer; the rest is only counted"
                );
            }
        }
    }
}
