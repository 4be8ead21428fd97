//! The asynchronous side of answering: streams, and what the UDP loop hands over.
//!
//! Signatures are verified here, names that are not ours are asked for elsewhere, zones are
//! transferred. Bounded: [`UNDER_WAY_MAX`] datagrams and [`TRANSFERS_MAX`] transfers at once; streams
//! bound their own queries. A reply is cut to its size before it is signed, never after. Refusals are
//! counted and logged at debug level, since strangers cause them.

use std::{
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use futures_util::FutureExt;
use ipnet::IpNet;
use tokio::sync::{Semaphore, mpsc};

use crate::{
    engine::{Datagram, Engine},
    forward::{Forwarder, message, special},
    query,
    rr::rcode,
    stats::{Counters, Event},
    stream::{Question, Replies, Transport},
    transfer::{
        may_transfer,
        message::Request,
        out::error_reply,
        serve::Outgoing,
        tsig::{Keys, Session, Verified},
    },
    udp::Pending,
    verdict::Verdict,
};

/// Datagrams handed over by the UDP loop that are worked on at once.
const UNDER_WAY_MAX: usize = 4096;
/// Zone transfers at once; secondaries that come at a bad moment try again by themselves.
const TRANSFERS_MAX: usize = 16;

/// Everything that is needed to finish an answer.
pub(crate) struct Responder {
    pub(crate) engine: Arc<Engine>,
    pub(crate) forwarder: Option<Forwarder>,
    pub(crate) keys: Keys,
    pub(crate) transfer_networks: Vec<IpNet>,
    pub(crate) counters: Arc<Counters>,
    transfers: Arc<Semaphore>,
}

/// A query whose answer is to be finished.
struct Unfinished {
    query: Vec<u8>,
    /// What has been written of the answer so far.
    partial: Vec<u8>,
    peer: SocketAddr,
    transport: Transport,
    /// Where the messages of a transfer go; none over UDP.
    replies: Option<Replies>,
    /// Set when the query is signed by a key of ours.
    session: Option<Session>,
}

impl Unfinished {
    /// Octets that the reply may have before it is signed.
    fn limit(&self, udp_payload_max: u16) -> usize {
        let whole = match self.transport {
            Transport::Udp => query::parse(&self.query).map_or(512, |query| query.udp_limit(udp_payload_max)),
            Transport::Tcp | Transport::Tls | Transport::Https => usize::from(u16::MAX),
        };
        whole - self.session.as_ref().map_or(0, Session::overhead) // at most 400 octets
    }
}

#[expect(clippy::disallowed_methods, reason = "the thin task that gives the time to plain functions")]
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as u64)
}

fn now_s() -> u64 {
    now_ms() / 1000
}

impl Responder {
    pub(crate) fn new(
        engine: Arc<Engine>,
        forwarder: Option<Forwarder>,
        keys: Keys,
        transfer_networks: Vec<IpNet>,
        counters: Arc<Counters>,
    ) -> Self {
        let transfers = Arc::new(Semaphore::new(TRANSFERS_MAX));
        Self { engine, forwarder, keys, transfer_networks, counters, transfers }
    }

    /// Answers one query of a stream.
    pub(crate) async fn answer_stream(&self, question: Question, replies: Replies) {
        let mut this = Unfinished {
            query: question.bytes,
            partial: Vec::with_capacity(512),
            peer: question.peer,
            transport: question.transport,
            replies: Some(replies.clone()),
            session: None,
        };
        let work = async {
            let address = this.peer.ip();
            let verdict = self.engine.answer_slowly(&this.query, address, true, None, now_ms(), &mut this.partial);
            self.finish(verdict, &mut this).await
        };
        let reply = self.guard(work).await;
        self.log(&this, reply.as_deref());
        if let Some(reply) = reply {
            let _ = replies.send(reply).await; // the client may have gone
        }
    }

    /// Finishes what the UDP loop hands over, until it is gone.
    pub(crate) async fn serve_pending(self: Arc<Self>, mut queue: mpsc::Receiver<Pending>) {
        let room = Arc::new(Semaphore::new(UNDER_WAY_MAX));
        while let Some(pending) = queue.recv().await {
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            let responder = self.clone();
            tokio::spawn(async move {
                responder.answer_pending(pending).await;
                drop(permit);
            });
        }
    }

    async fn answer_pending(&self, mut pending: Pending) {
        let verdict = std::mem::replace(&mut pending.verdict, Verdict::Silence);
        let mut this = Unfinished {
            query: std::mem::take(&mut pending.query),
            partial: std::mem::take(&mut pending.partial),
            peer: pending.peer,
            transport: Transport::Udp,
            replies: None,
            session: None,
        };
        let mut reply = self.guard(self.finish(verdict, &mut this)).await.unwrap_or_default();
        // The holder of a key is no stranger, and gets no use of an unsigned sign to come by TCP.
        if this.session.is_none() && !reply.is_empty() {
            let datagram = Datagram { query: &this.query, peer: this.peer, spin: 0, now_ms: now_ms() };
            self.engine.limit_slowly(&datagram, &self.counters, &mut reply);
        }
        self.log(&this, Some(&reply));
        if reply.is_empty() {
            return;
        }
        if let Err(error) = pending.reply(&reply) {
            tracing::debug!(peer = %pending.peer, %error, "cannot send a reply");
            self.counters.event(Event::SendFailed);
        }
    }

    /// A fault in our own code costs one query, not the connection or the count of it.
    async fn guard(&self, work: impl Future<Output = Option<Vec<u8>>>) -> Option<Vec<u8>> {
        AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
            self.counters.event(Event::Panicked);
            None
        })
    }

    fn log(&self, this: &Unfinished, reply: Option<&[u8]>) {
        if let Some(log) = &self.engine.query_log {
            log.record(this.peer, this.transport, &this.query, reply.unwrap_or_default());
        }
    }

    /// The reply, signed where the query was, or none if none is due.
    async fn finish(&self, verdict: Verdict, this: &mut Unfinished) -> Option<Vec<u8>> {
        let verdict = match verdict {
            Verdict::Signed => match self.keys.verify(&this.query, now_s()) {
                Verified::Good(session) => {
                    let (address, stream) = (this.peer.ip(), this.replies.is_some());
                    let octets = Some(session.overhead());
                    this.session = Some(session);
                    self.engine.answer_slowly(&this.query, address, stream, octets, now_ms(), &mut this.partial)
                }
                Verified::Bad { fault, reply } => {
                    self.counters.event(Event::BadSignature);
                    tracing::debug!(peer = %this.peer, "a signed query is refused: {fault}");
                    return self.relayed(reply);
                }
                Verified::Unsigned | Verified::Malformed => {
                    return self.relayed(crate::answer::error(&this.query, rcode::FORMERR));
                }
            },
            other => other,
        };
        let mut reply = self.make(verdict, this).await?;
        message::truncate(&mut reply, this.limit(self.engine.facts().udp_payload_max));
        if let Some(session) = &mut this.session
            && let Err(error) = session.sign(&mut reply, now_s())
        {
            tracing::warn!(%error, "cannot sign a reply");
            return None;
        }
        Some(reply)
    }

    async fn make(&self, verdict: Verdict, this: &mut Unfinished) -> Option<Vec<u8>> {
        match verdict {
            Verdict::Reply { rcode, reason, .. } => {
                self.counters.answered(rcode, reason);
                Some(std::mem::take(&mut this.partial))
            }
            Verdict::Silence | Verdict::Signed => {
                self.counters.event(Event::Silent);
                None
            }
            Verdict::Forward => {
                let mut reply = self.forward(&this.query).await;
                message::append_options(&mut reply, &this.partial);
                self.relayed(reply)
            }
            Verdict::Chase { target } => {
                let partial = std::mem::take(&mut this.partial);
                self.relayed(self.follow(partial, target, &this.query, this.peer.ip()).await)
            }
            Verdict::Transfer { .. } => self.transfer(this).await,
        }
    }

    /// Counts an answer that was not made by the engine; an empty one is none.
    fn relayed(&self, reply: Vec<u8>) -> Option<Vec<u8>> {
        self.counters.relayed(u16::from(*reply.get(3)? & 15));
        Some(reply)
    }

    async fn forward(&self, query: &[u8]) -> Vec<u8> {
        if let Some(reply) = special::local_answer(query, self.engine.facts().udp_payload_max) {
            return reply;
        }
        match &self.forwarder {
            Some(forwarder) => forwarder.forward(query).await,
            None => crate::answer::error(query, rcode::REFUSED),
        }
    }

    /// Sends a zone or its differences; what is returned is the last message to send.
    async fn transfer(&self, this: &mut Unfinished) -> Option<Vec<u8>> {
        let Some(request) = Request::read(&this.query) else {
            return self.relayed(crate::answer::error(&this.query, rcode::FORMERR));
        };
        if let Err(why) = self.may_transfer(this) {
            self.counters.event(Event::TransferRefused);
            tracing::debug!(zone = %request.name, peer = %this.peer, "transfer refused: {why}");
            return self.relayed(error_reply(&request, rcode::REFUSED));
        }
        let zones = self.engine.zones_full();
        let Some(zone) = zones.zone(&request.name) else {
            return self.relayed(error_reply(&request, rcode::NOTAUTH));
        };
        let Ok(permit) = self.transfers.clone().try_acquire_owned() else {
            tracing::warn!(zone = %zone.apex, peer = %this.peer, "transfer refused: {TRANSFERS_MAX} are under way already");
            return self.relayed(error_reply(&request, rcode::SERVFAIL));
        };
        self.counters.event(Event::Transfer);
        let (serial, from) = (zone.soa.serial, request.client_serial);
        tracing::debug!(zone = %zone.apex, peer = %this.peer, serial, ?from, "transfer");
        let udp_limit = this.limit(self.engine.facts().udp_payload_max);
        let (session, replies) = (this.session.take(), this.replies.clone());
        let outgoing = Outgoing { zones, request, session, replies, udp_limit };
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            outgoing.run(now_s)
        });
        match work.await {
            Ok((last, session)) => {
                this.session = session;
                self.relayed(last?)
            }
            Err(error) => {
                if error.is_panic() {
                    self.counters.event(Event::Panicked);
                }
                None
            }
        }
    }

    fn may_transfer(&self, this: &Unfinished) -> Result<(), &'static str> {
        if this.transport == Transport::Https {
            return Err("a response of HTTP has room for one message");
        }
        let key = this.session.as_ref().map(|session| session.key_name().to_string());
        may_transfer(this.peer.ip(), key.as_deref(), &self.transfer_networks, !self.keys.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{stats::EVENTS, verdict::Facts};

    #[tokio::test]
    async fn a_panic_costs_one_query() {
        let facts = Facts {
            id: String::new(),
            version: String::new(),
            udp_payload_max: 1232,
            forwards: false,
            cookie_secrets: Vec::new(),
            keepalive_ds: 0,
        };
        let engine = Arc::new(Engine::new(facts, Vec::new(), None, None));
        let responder = Responder::new(engine, None, Keys::default(), Vec::new(), Arc::default());
        assert_eq!(responder.guard(async { Some(vec![1]) }).await, Some(vec![1]));
        assert_eq!(responder.guard(async { panic!("a fault of ours") }).await, None);
        let panicked = EVENTS.iter().position(|(event, _)| *event == Event::Panicked).unwrap();
        assert_eq!(crate::stats::sum(&[responder.counters]).events[panicked], 1);
    }
}
