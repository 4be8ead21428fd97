//! A chunk over UDP (RFC 5426): a datagram for each message.
//!
//! What was sent before a failure is not sent again, with one exception: a refusal (ICMP port unreachable) comes later
//! than the datagrams it is about, and says that nobody listens, so none of the chunk counts.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::{net::UdpSocket, time::timeout};

use super::render::Sent;
use crate::destination::{
    Delivered, Unsendable,
    counters::{Counters, count},
};

/// Pause while the kernel has no room for datagrams.
const PAUSE: Duration = Duration::from_millis(1);

/// Why not everything was sent.
#[derive(Debug)]
pub(super) struct Stopped {
    /// Index of the message to go on with.
    pub(super) at: usize,
    /// What was sent before.
    pub(super) delivered: Delivered,
    pub(super) reason: String,
    /// Index of the message that the system on our side forbids: a packet filter, which may mean this one message only.
    pub(super) forbidden: Option<usize>,
}

/// What became of the messages so far.
#[derive(Debug, Default)]
struct Tally {
    delivered: Delivered,
    long: u64,
    refused: u64,
    /// The first of the last messages that a packet filter forbids, and their number. They are given up when a later one
    /// is let through, or at the end: a filter that lets nothing through is no reason to lose messages.
    held: Option<(usize, u64)>,
}

impl Tally {
    fn sent(&mut self, octets: usize) {
        self.delivered.add(octets);
        self.refused += self.held.take().map_or(0, |(_, messages)| messages);
    }

    /// Whether to go on with the next message after an error.
    fn passes(&mut self, at: usize, error: &io::Error, give_up: impl Fn(usize) -> bool) -> bool {
        match error.raw_os_error() {
            Some(libc::EMSGSIZE) => self.long += 1,
            Some(libc::EINVAL) => self.refused += 1,
            Some(libc::EPERM) if give_up(at) => {
                let (first, messages) = self.held.unwrap_or((at, 0));
                self.held = Some((first, messages + 1));
            }
            _ => return false,
        }
        true
    }

    /// The end, after a failure at a message if there was one.
    fn end(mut self, failed: Option<(usize, io::Error)>, counters: &Counters) -> Result<Delivered, Stopped> {
        if let Some((_, error)) = &failed
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            count(&counters.refused_datagrams);
            let reason = "the receiver's host says that nobody listens there (ICMP port unreachable)".into();
            return Err(Stopped { at: 0, delivered: Delivered::default(), reason, forbidden: None });
        }
        let held = self.held.take();
        if failed.is_none() {
            self.refused += held.map_or(0, |(_, messages)| messages);
        }
        counters.unsendable(Unsendable::Long, self.long);
        counters.unsendable(Unsendable::Refused, self.refused);
        self.delivered.unsendable = self.long + self.refused;
        let Some((at, error)) = failed else { return Ok(self.delivered) };
        let forbidden = (error.raw_os_error() == Some(libc::EPERM)).then_some(at);
        let remedy = if forbidden.is_some() { "; look at the packet filter of this host" } else { "" };
        let reason = format!("datagrams cannot be sent: {error}{remedy}");
        Err(Stopped { at: held.map_or(at, |(first, _)| first), delivered: self.delivered, reason, forbidden })
    }
}

/// Sends all messages. One that the system will never take is given up: at once if it is too long or makes no sense to the
/// system, and if a packet filter forbids it when `give_up` is true of its index.
///
/// # Errors
/// The receiver's host refuses, or the network or the system does.
pub(super) async fn send(
    socket: &UdpSocket,
    sent: &Sent,
    patience: Duration,
    counters: &Counters,
    give_up: impl Fn(usize) -> bool,
) -> Result<Delivered, Stopped> {
    let mut tally = Tally::default();
    for (at, datagram) in sent.each().enumerate() {
        match one(socket, datagram, patience).await {
            Ok(()) => tally.sent(datagram.len()),
            Err(error) if tally.passes(at, &error, &give_up) => {}
            Err(error) => return tally.end(Some((at, error)), counters),
        }
    }
    // The refusal of the last ones, if it is here already.
    let late = socket.take_error().ok().flatten();
    tally.end(late.map(|error| (sent.ends.len(), error)), counters)
}

async fn one(socket: &UdpSocket, datagram: &[u8], patience: Duration) -> io::Result<()> {
    let began = Instant::now();
    loop {
        match socket.try_send(datagram) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                timeout(patience, socket.writable()).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))?;
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) && began.elapsed() < patience => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    fn sent(lengths: &[usize]) -> Sent {
        let mut sent = Sent::default();
        for (record, length) in lengths.iter().enumerate() {
            sent.octets.resize(sent.octets.len() + length, b'x');
            sent.ends.push((sent.octets.len(), record));
        }
        sent
    }

    #[tokio::test]
    async fn one_that_is_too_long_does_not_stop_the_others() {
        let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(receiver.local_addr().unwrap()).await.unwrap();
        let (counters, patience) = (Counters::default(), Duration::from_secs(5));
        let delivered = send(&socket, &sent(&[10, 70_000, 20]), patience, &counters, |_| false).await.unwrap();
        assert_eq!((delivered.messages, delivered.octets, delivered.unsendable), (2, 30, 1));
        assert_eq!(counters.too_long.load(Relaxed), 1);
        let mut octets = [0; 100];
        assert_eq!((receiver.recv(&mut octets).await.unwrap(), receiver.recv(&mut octets).await.unwrap()), (10, 20));
        // What stops it comes after one that is passed over: that one is not given again.
        socket2::SockRef::from(&socket).shutdown(std::net::Shutdown::Write).unwrap();
        let stopped = send(&socket, &sent(&[70_000, 10]), patience, &counters, |_| false).await.unwrap_err();
        assert_eq!((stopped.at, stopped.delivered.unsendable, stopped.forbidden), (1, 1, None), "{stopped:?}");
    }

    /// Sends as a filter would let it that forbids the messages of `forbids`.
    fn filtered(messages: usize, forbids: &[usize], give_up: &[usize]) -> Result<Delivered, Stopped> {
        let mut tally = Tally::default();
        for at in 0..messages {
            if !forbids.contains(&at) {
                tally.sent(1);
                continue;
            }
            let error = io::Error::from_raw_os_error(libc::EPERM);
            if !tally.passes(at, &error, |at| give_up.contains(&at)) {
                return tally.end(Some((at, error)), &Counters::default());
            }
        }
        tally.end(None, &Counters::default())
    }

    #[test]
    fn a_packet_filter_costs_the_messages_that_it_means_and_no_others() {
        let stopped = filtered(5, &[2], &[]).unwrap_err();
        assert_eq!((stopped.at, stopped.forbidden, stopped.delivered.messages), (2, Some(2), 2));
        let delivered = filtered(5, &[2], &[2]).unwrap();
        assert_eq!((delivered.messages, delivered.unsendable), (4, 1));
        // One that lets nothing through: what would be given up is kept until another was forbidden as often.
        let stopped = filtered(5, &[0, 1, 2, 3, 4], &[0]).unwrap_err();
        assert_eq!((stopped.at, stopped.forbidden, stopped.delivered), (0, Some(1), Delivered::default()));
        assert_eq!(filtered(2, &[0, 1], &[0, 1]).unwrap().unsendable, 2);
    }
}
