//! Syslog receivers over UDP, TCP, TLS and RELP.
//!
//! Of several receivers the first that can be reached is used; while it is not the first of the list, those before it are
//! tried again every `reopen_s`, in the background. A receiver that failed while it was connected is left out for as long,
//! if there is another. A receiver over UDP does not answer an attempt: it is returned to when `reopen_s` has passed since
//! it was given up, and not otherwise. Pauses between attempts are the caller's.
//!
//! What counts as delivered: over RELP what was acknowledged; over TCP and TLS what the kernel took, and what may not have
//! arrived is sent again after a break (`tail`); over UDP what was sent without a refusal. Limits: one chunk and a tail of
//! one send buffer in memory, one connection and one attempt at another.

use std::{
    mem,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use tokio::{net::UdpSocket, task::JoinHandle};
use wire::upstream::TlsUpstream;

use super::{
    Delivered, Identity, SinkState, Times, Trouble, Unsendable,
    counters::{Counters, count},
    key,
};
use crate::{
    config,
    message::{Message, Records},
};

mod connect;
mod datagram;
mod failover;
mod feed;
mod options;
mod refusals;
mod relp;
mod render;
mod stream;
mod tail;
mod target;
mod window;

use failover::Link;
use feed::Feed;
use options::{Framing, Options};
use refusals::Refusals;
use relp::Relp;
use render::{Sent, Texts};
use stream::Stream;
use tail::Tail;
use target::Transport;

/// Times that a receiver may refuse a line before it is given up.
const REFUSALS_MAX: u32 = 3;

/// Sends messages to syslog receivers.
#[derive(Debug)]
pub struct SyslogSink {
    options: Arc<Options>,
    tls: Option<TlsUpstream>,
    texts: Texts,
    /// Our relay id, a dot, and the name of the destination: the stream that relays of ours are told.
    stream: String,
    counters: Arc<Counters>,
    link: Option<Link>,
    /// Index of the receiver that is, or was last, connected.
    current: usize,
    /// For each receiver, until when it is left out; microseconds.
    down_until_us: Vec<i64>,
    /// An attempt at a receiver before the current one.
    probe: Option<JoinHandle<Option<(usize, Link)>>>,
    /// When the receivers before the current one were tried last; microseconds.
    probed_us: i64,
    /// The chunk, framed; kept for its memory.
    sent: Sent,
    tail: Tail,
    /// Last sequence that was acknowledged.
    previous: u64,
    /// Messages of the chunk that were refused.
    refusals: Refusals,
    since_us: i64,
    last_error: Option<(i64, String)>,
    /// When connecting for the tail's sake was tried last; microseconds.
    idle_attempt_us: i64,
}

impl SyslogSink {
    /// Reads the keys and the certificates; connects nowhere.
    pub(super) fn build(config: &config::Destination, identity: Identity<'_>) -> Result<Self, String> {
        let named = |what: String| format!("destination {}: {what}", config.name);
        let options = Options::read(config).map_err(|all| all.join(" "))?;
        let texts = Texts::read(config.template.as_deref(), Times::read(config)?, identity.node)
            .map_err(|error| named(format!("template: {error}")))?;
        let tls = options.tls().map_err(|error| named(error.to_string()))?;
        let stream = format!("{}.{}", identity.relay, config.name);
        Ok(Self {
            down_until_us: vec![0; options.targets.len()],
            options: Arc::new(options),
            tls,
            texts,
            stream,
            counters: Arc::default(),
            link: None,
            current: 0,
            probe: None,
            probed_us: 0,
            sent: Sent::default(),
            tail: Tail::default(),
            previous: 0,
            refusals: Refusals::default(),
            since_us: 0,
            last_error: None,
            idle_attempt_us: 0,
        })
    }

    /// See [`Sink::deliver`](super::Sink::deliver).
    pub(super) async fn deliver(
        &mut self,
        chunk: Records<'_>,
        epoch: u64,
        number: u16,
        now_us: i64,
    ) -> Result<Delivered, Trouble> {
        self.texts.begin(now_us);
        let result = match self.ready(now_us).await {
            Err(reason) => Err(Trouble::at(chunk, 0, Delivered::default(), reason)),
            // Taken out, so that a delivery that is given up on the way leaves no half-used connection.
            Ok(()) => match self.link.take() {
                Some(Link::Datagram(socket)) => self.datagrams(socket, chunk, number, now_us).await,
                Some(Link::Stream(stream)) => self.lines(stream, chunk, number, now_us).await,
                Some(Link::Relp(session)) => self.frames(session, chunk, (epoch, number), now_us).await,
                None => Err(Trouble::at(chunk, 0, Delivered::default(), "there is no connection".into())),
            },
        };
        let delivered = match &result {
            Ok(delivered) => {
                self.refusals.clear();
                *delivered
            }
            Err(trouble) => {
                count(&self.counters.troubles);
                self.last_error = Some((now_us, trouble.reason.clone()));
                trouble.delivered
            }
        };
        self.counters.messages.fetch_add(delivered.messages, Relaxed);
        self.counters.octets.fetch_add(delivered.octets, Relaxed);
        result
    }

    async fn datagrams(
        &mut self,
        socket: UdpSocket,
        chunk: Records<'_>,
        number: u16,
        now_us: i64,
    ) -> Result<Delivered, Trouble> {
        self.render(chunk.clone(), number, now_us, None);
        let key_of = |message: usize| {
            let octets = chunk.clone().nth(self.sent.ends.get(message)?.1)?;
            Some(key(&Message::decode(octets)?, octets))
        };
        let give_up = |message| key_of(message).is_none_or(|key| self.refusals.reached(REFUSALS_MAX - 1, || key));
        let result = datagram::send(&socket, &self.sent, self.options.timeout, &self.counters, give_up).await;
        let mut stopped = match result {
            Ok(mut delivered) => {
                self.link = Some(Link::Datagram(socket));
                delivered.unsendable += self.unreadable(usize::MAX);
                return Ok(delivered);
            }
            Err(stopped) => stopped,
        };
        if let Some(key) = stopped.forbidden.and_then(key_of) {
            self.refusals.note(key);
        }
        let records = if stopped.at > 0 { self.sent.record_after(stopped.at) } else { 0 };
        stopped.delivered.unsendable += self.unreadable(records);
        Err(Trouble::at(chunk, records, stopped.delivered, self.broken(&stopped.reason, now_us)))
    }

    async fn lines(
        &mut self,
        mut stream: Box<Stream>,
        chunk: Records<'_>,
        number: u16,
        now_us: i64,
    ) -> Result<Delivered, Trouble> {
        self.render(chunk.clone(), number, now_us, self.framing());
        let (written, result) = stream.send(&self.sent.octets, self.options.timeout).await;
        let bound = stream.in_doubt;
        let mut delivered = Delivered::default();
        let Err(reason) = result else {
            delivered.messages = self.sent.ends.len() as u64;
            delivered.octets = self.sent.octets.len() as u64;
            delivered.unsendable = self.unreadable(usize::MAX);
            self.link = Some(Link::Stream(stream));
            let sent = mem::take(&mut self.sent);
            self.sent = self.tail.push(sent, bound);
            return Ok(delivered);
        };
        // What was written more than a send buffer ago has arrived.
        let arrived = self.sent.whole(written.saturating_sub(bound));
        self.tail.written_after(written, bound);
        if arrived > 0 {
            delivered.messages = arrived as u64;
            delivered.octets = self.sent.ends.get(arrived - 1).map_or(0, |(end, _)| *end as u64);
        }
        self.counters.resent.fetch_add((self.sent.whole(written) - arrived) as u64, Relaxed);
        let records = if arrived > 0 { self.sent.record_after(arrived) } else { 0 };
        delivered.unsendable = self.unreadable(records);
        Err(Trouble::at(chunk, records, delivered, self.broken(&reason, now_us)))
    }

    async fn frames(
        &mut self,
        mut session: Box<Relp>,
        chunk: Records<'_>,
        (epoch, number): (u64, u16),
        now_us: i64,
    ) -> Result<Delivered, Trouble> {
        let limit = if session.takes_records() { 1 } else { REFUSALS_MAX };
        let mut feed = Feed {
            records: chunk.clone().enumerate(),
            number,
            now_us,
            texts: &mut self.texts,
            counters: &self.counters,
            stream: &self.stream,
            epoch,
            previous: self.previous,
            refusals: &self.refusals,
            limit,
            unsendable: Vec::new(),
            origin: Vec::new(),
        };
        let end = session.deliver(&mut feed).await;
        if end.acked != 0 {
            self.previous = end.acked;
        }
        let Some(failed) = end.failed else {
            self.link = Some(Link::Relp(session));
            return Ok(end.delivered);
        };
        self.counters.resent.fetch_add(end.open, Relaxed);
        for octets in failed.refused.iter().filter_map(|record| chunk.clone().nth(*record)) {
            if let Some(message) = Message::decode(octets) {
                self.refusals.note(key(&message, octets));
            }
        }
        Err(Trouble::at(chunk, end.next_record, end.delivered, self.broken(&failed.reason, now_us)))
    }

    /// Frames the chunk.
    fn render(&mut self, chunk: Records<'_>, number: u16, now_us: i64, framing: Option<Framing>) {
        let (transport, texts) = (self.transport(), &mut self.texts);
        let write = |message: &Message<'_>, line: &mut Vec<u8>| texts.line(transport, message, now_us, line);
        self.sent.fill(chunk, number, &self.counters, write, framing);
    }

    /// Counts the records of the chunk that could not be read, of those before the record with index `end`.
    fn unreadable(&self, end: usize) -> u64 {
        let n = self.sent.unreadable.iter().filter(|record| **record < end).count() as u64;
        self.counters.unsendable(Unsendable::Unreadable, n);
        n
    }

    /// How messages are framed for the receiver that is connected; `None`: as datagrams.
    fn framing(&self) -> Option<Framing> {
        let default = match self.transport() {
            Transport::Udp => return None,
            transport if transport.is_tls() => Framing::Octets,
            _ => Framing::Lines,
        };
        Some(self.options.framing.unwrap_or(default))
    }

    fn transport(&self) -> Transport {
        self.options.targets.get(self.current).map_or(Transport::Tcp, |target| target.transport)
    }

    fn target(&self) -> String {
        self.options.targets.get(self.current).map(ToString::to_string).unwrap_or_default()
    }

    /// See [`Sink::reopen`](super::Sink::reopen). Certificates that cannot be read leave the former ones in use.
    pub(super) async fn reopen(&mut self) {
        self.end_link().await;
        self.down_until_us.fill(0);
        match self.options.tls() {
            Ok(tls) => self.tls = tls,
            Err(error) => {
                tracing::warn!(destination = self.options.name, %error, "the former certificates stay in use");
            }
        }
    }

    /// See [`Sink::idle`](super::Sink::idle).
    pub(super) async fn idle(&mut self, now_us: i64) {
        self.prefer_first(now_us).await;
        let Some(link) = &mut self.link else {
            let due = now_us.saturating_sub(self.idle_attempt_us) >= self.options.reopen_us;
            if !self.tail.is_empty() && due {
                self.idle_attempt_us = now_us;
                if let Err(reason) = self.connect(now_us).await {
                    self.last_error = Some((now_us, reason));
                }
            }
            return;
        };
        if link.is_over().await {
            count(&self.counters.reconnects);
            self.link = None;
            self.last_error = Some((now_us, format!("{} ended the connection", self.target())));
        } else if let Link::Stream(stream) = link
            && stream.wrote.elapsed() >= self.options.timeout * 2
        {
            // Had something not arrived, TCP_USER_TIMEOUT would have ended the connection by now.
            self.tail.clear();
        }
    }

    /// See [`Sink::close`](super::Sink::close).
    pub(super) async fn close(&mut self) {
        if let Some(probe) = self.probe.take() {
            probe.abort();
        }
        self.end_link().await;
    }

    /// Ends the connection in order.
    pub(super) async fn end_link(&mut self) {
        if let Some(link) = self.link.take()
            && link.close().await
        {
            self.tail.clear();
        }
    }

    /// There is no way for what may not have arrived.
    pub(super) fn warn_of_tail(&self) {
        if !self.tail.is_empty() {
            tracing::warn!(
                destination = self.options.name,
                "the last lines to a receiver may not have arrived, and files do not get them"
            );
        }
    }

    /// See [`Sink::continue_from`](super::Sink::continue_from).
    pub(super) fn continue_from(&mut self, former: Self) {
        (self.tail, self.previous, self.counters) = (former.tail, former.previous, former.counters);
    }

    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub(super) fn state(&self) -> SinkState {
        SinkState {
            target: self.link.is_some().then(|| self.target()),
            since_us: self.since_us,
            last_error: self.last_error.clone(),
            open_files: 0,
        }
    }
}
