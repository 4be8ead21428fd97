//! The UDP loop: one thread and one socket (SO_REUSEPORT) per worker and address.
//!
//! Receive a batch, answer each query from one version of the zones, send the replies. Nothing here
//! waits but the receive call, and under load, for a moment, a worker whose next batch is to be worth the way.
//! Queries that need another server are handed to the asynchronous side through a bounded queue; when it is
//! full they are dropped and counted, and their clients ask again.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::sys::socket::{setsockopt, sockopt};
use smallvec::SmallVec;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc;

use crate::{
    engine::{Datagram, Engine},
    query::{self, Fault, Query},
    stats::{Counters, Event},
    stream::Transport,
    sys::{self, BATCH, Batch, Queries},
    verdict::Verdict,
    zones::Zones,
};

/// Receive and send buffers of a socket, in octets: about 10,000 small queries that wait.
const SOCKET_BUFFER: usize = 4 << 20;
/// How often an idle worker looks whether it should stop.
const IDLE_WAKE: Duration = Duration::from_millis(200);
/// Pause after a receive error, so that a broken socket does not burn a processor.
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// From so many queries in a batch on, a worker lets more of them gather before it receives again, as network cards do with
/// their interrupts: a wake-up and two system calls for each handful of queries cost more than their answers.
const GATHER_FROM: usize = 4;
/// How long. With the slack that the kernel gives timers it is about 100 us, and the receive buffer holds far more than can
/// come meanwhile.
const GATHER: Duration = Duration::from_micros(50);

/// Whether more queries are to gather after a batch of so many. A full one has left others behind: they have gathered.
fn lets_gather(count: usize) -> bool {
    (GATHER_FROM..BATCH).contains(&count)
}

/// A query that the UDP loop cannot answer alone.
pub(crate) struct Pending {
    pub(crate) query: Vec<u8>,
    /// What was written so far; meaningful for [`Verdict::Chase`] and [`Verdict::Forward`].
    pub(crate) partial: Vec<u8>,
    pub(crate) verdict: Verdict,
    pub(crate) peer: SocketAddr,
    local: Option<IpAddr>,
    socket: Arc<UdpSocket>,
}

impl Pending {
    /// Sends the finished reply from the address that was asked.
    pub(crate) fn reply(&self, data: &[u8]) -> io::Result<()> {
        match self.local {
            Some(local) => sys::send_from(&self.socket, data, self.peer, local),
            None => self.socket.send_to(data, self.peer).map(drop),
        }
    }
}

/// Binds one socket of an address that several share.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if address.ip().is_unspecified() {
        // The reply must leave from the address that was asked, which only the kernel knows.
        sys::report_destination(&socket, address.is_ipv6())?;
    }
    // Beyond net.core.rmem_max with CAP_NET_ADMIN, as root has it outside of containers; else the kernel caps it there. Less
    // is no reason not to serve.
    if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    }
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.set_read_timeout(Some(IDLE_WAKE))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Reads a batch, and brings near what its answers will read: the waits for memory overlap, where
/// one query after the other would wait for each.
fn read<'b>(queries: Queries<'b>, count: usize, zones: &Zones) -> Parsed<'b> {
    let mut parsed = Parsed::new();
    for i in 0..count {
        parsed.push(query::parse(queries.get(i)));
        if let Some(Ok(query)) = parsed.last() {
            zones.table.prefetch_chunk(query.hash());
        }
    }
    let hashes = || parsed.iter().flatten().map(Query::hash);
    hashes().for_each(|hash| zones.table.prefetch_slot(hash));
    hashes().for_each(|hash| zones.table.prefetch_node(hash));
    parsed
}

/// The queries of a batch, as read.
type Parsed<'b> = SmallVec<[Result<Query<'b>, Fault>; BATCH]>;

/// One answering thread.
pub(crate) struct Worker {
    pub(crate) socket: Arc<UdpSocket>,
    pub(crate) wildcard: bool,
    pub(crate) engine: Arc<Engine>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) pending: mpsc::Sender<Pending>,
    pub(crate) stop: Arc<AtomicBool>,
}

impl Worker {
    /// Answers until told to stop.
    #[expect(clippy::disallowed_methods, reason = "the thin loop that gives the time to plain functions")]
    pub(crate) fn run(self) {
        let mut batch = Batch::new(self.wildcard);
        let mut spin = 0_u32;
        while !self.stop.load(Relaxed) {
            let count = match batch.receive(&self.socket) {
                Ok(0) => continue,
                Ok(count) => count,
                Err(error) => {
                    tracing::warn!(%error, "cannot receive over UDP; trying again");
                    std::thread::sleep(ERROR_PAUSE);
                    continue;
                }
            };
            let started = Instant::now();
            let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as u64);
            let zones = self.engine.zones();
            let (queries, replies) = batch.exchange(count);
            let parsed = read(queries, count, &zones);
            for (i, (parsed, out)) in parsed.iter().zip(replies).enumerate() {
                spin = spin.wrapping_add(1);
                self.answer_one(queries, i, parsed, &zones, (spin, now_ms), out);
            }
            drop(parsed);
            drop(zones);
            let refused = batch.send(&self.socket, count);
            for _ in 0..refused {
                self.counters.event(Event::SendFailed);
            }
            self.counters.took(started.elapsed().as_nanos() as u64, count as u64);
            if lets_gather(count) {
                std::thread::sleep(GATHER);
            }
        }
    }

    #[inline]
    fn answer_one(
        &self,
        queries: Queries<'_>,
        i: usize,
        parsed: &Result<Query<'_>, Fault>,
        zones: &Zones,
        (spin, now_ms): (u32, u64),
        out: &mut Vec<u8>,
    ) {
        out.clear();
        let Some(peer) = queries.peer(i) else { return };
        let query = queries.get(i);
        let datagram = Datagram { query, peer, spin, now_ms };
        // A fault in our own code costs one query, not the service.
        let answered = catch_unwind(AssertUnwindSafe(|| {
            self.engine.answer_datagram(zones, &datagram, parsed, &self.counters, out)
        }));
        match answered {
            Ok(None) => {
                if let Some(log) = &self.engine.query_log {
                    log.record(peer, Transport::Udp, query, out);
                }
            }
            Ok(Some(verdict)) => {
                let local = if self.wildcard { queries.local(i) } else { None };
                self.hand_over(query, peer, local, verdict, out);
            }
            Err(_) => {
                out.clear();
                self.counters.event(Event::Panicked);
            }
        }
    }

    fn hand_over(&self, query: &[u8], peer: SocketAddr, local: Option<IpAddr>, verdict: Verdict, out: &mut Vec<u8>) {
        let pending = Pending {
            query: query.to_vec(),
            partial: std::mem::take(out),
            verdict,
            peer,
            local,
            socket: self.socket.clone(),
        };
        let event = if self.pending.try_send(pending).is_ok() { Event::Forwarded } else { Event::Shed };
        self.counters.event(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_gather_under_load_and_only_where_none_wait_already() {
        let gathering: Vec<usize> = (0..=BATCH).filter(|count| lets_gather(*count)).collect();
        assert_eq!((gathering.first(), gathering.last()), (Some(&4), Some(&63)));
    }
}
