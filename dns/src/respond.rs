//! The asynchronous side of answering: streams, and what the UDP loop hands over.
//!
//! Signatures are verified here, names that are not ours are asked for elsewhere, zones are
//! transferred. Bounded: [`UNDER_WAY_MAX`] datagrams and [`TRANSFERS_MAX`] transfers at once; streams
//! bound their own queries.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use ipnet::IpNet;
use tokio::sync::{Semaphore, mpsc};

use crate::{
    engine::Engine,
    forward::{Forwarder, message, special},
    name::Name,
    query,
    rr::rcode,
    stats::{Counters, Event},
    stream::{Question, Replies},
    transfer::{
        may_transfer,
        message::Request,
        out::{axfr, error_reply, ixfr, ixfr_udp},
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
    transfers: Semaphore,
}

/// A query whose answer is to be finished.
struct Unfinished {
    query: Vec<u8>,
    /// What has been written of the answer so far.
    partial: Vec<u8>,
    peer: SocketAddr,
    /// Where the messages of a transfer go; none over UDP.
    replies: Option<Replies>,
    session: Option<Session>,
}

#[expect(clippy::disallowed_methods, reason = "the thin task that gives the time to plain functions")]
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as u64)
}

impl Responder {
    pub(crate) fn new(
        engine: Arc<Engine>,
        forwarder: Option<Forwarder>,
        keys: Keys,
        transfer_networks: Vec<IpNet>,
        counters: Arc<Counters>,
    ) -> Self {
        let transfers = Semaphore::new(TRANSFERS_MAX);
        Self { engine, forwarder, keys, transfer_networks, counters, transfers }
    }

    /// Answers one query of a stream.
    pub(crate) async fn answer_stream(&self, question: Question, replies: Replies) {
        let mut out = Vec::with_capacity(512);
        let address = question.peer.ip();
        let verdict = self.engine.answer_slowly(&question.bytes, address, true, None, now_ms(), &mut out);
        let unfinished = Unfinished {
            query: question.bytes,
            partial: out,
            peer: question.peer,
            replies: Some(replies.clone()),
            session: None,
        };
        if let Some(reply) = self.finish(verdict, unfinished).await {
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
        let unfinished = Unfinished {
            query: pending.query.clone(),
            partial: std::mem::take(&mut pending.partial),
            peer: pending.peer,
            replies: None,
            session: None,
        };
        let Some(mut reply) = self.finish(verdict, unfinished).await else { return };
        let ours = self.engine.facts().udp_payload_max;
        let limit = query::parse(&pending.query).map_or(512, |query| query.udp_limit(ours));
        message::truncate(&mut reply, limit);
        if let Err(error) = pending.reply(&reply) {
            tracing::debug!(peer = %pending.peer, %error, "cannot send a reply");
            self.counters.event(Event::SendFailed);
        }
    }

    /// The reply, or none if none is due or all has been sent already.
    async fn finish(&self, verdict: Verdict, mut this: Unfinished) -> Option<Vec<u8>> {
        let verdict = match verdict {
            Verdict::Signed => match self.keys.verify(&this.query, now_ms() / 1000) {
                Verified::Good(session) => {
                    let (address, stream) = (this.peer.ip(), this.replies.is_some());
                    let octets = Some(session.overhead());
                    this.session = Some(session);
                    self.engine.answer_slowly(&this.query, address, stream, octets, now_ms(), &mut this.partial)
                }
                Verified::Bad { fault, reply } => {
                    tracing::info!(peer = %this.peer, "a signed query is refused: {fault}");
                    return self.relayed(reply);
                }
                Verified::Unsigned | Verified::Malformed => {
                    return self.relayed(crate::answer::error(&this.query, rcode::FORMERR));
                }
            },
            other => other,
        };
        let mut reply = match verdict {
            Verdict::Reply { rcode, reason, .. } => {
                self.counters.answered(rcode, reason);
                std::mem::take(&mut this.partial)
            }
            Verdict::Silence | Verdict::Signed => {
                self.counters.event(Event::Silent);
                return None;
            }
            Verdict::Forward => self.relayed(self.forward(&this.query).await)?,
            Verdict::Chase { target } => {
                let partial = std::mem::take(&mut this.partial);
                self.relayed(self.chase(partial, &target, &this.query).await)?
            }
            Verdict::Transfer { apex, .. } => self.transfer(&apex, &mut this).await?,
        };
        if let Some(session) = &mut this.session
            && let Err(error) = session.sign(&mut reply, now_ms() / 1000)
        {
            tracing::warn!(%error, "cannot sign a reply");
            return None;
        }
        Some(reply)
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

    async fn chase(&self, partial: Vec<u8>, target: &Name, query: &[u8]) -> Vec<u8> {
        let qtype = query::parse(query).ok().map(|query| query.qtype);
        match (&self.forwarder, qtype) {
            (Some(forwarder), Some(qtype)) if special::special(target).is_none() => {
                forwarder.chase(partial, target, qtype).await
            }
            _ => partial,
        }
    }

    /// Sends a zone or its differences; what is returned is the last message to send.
    async fn transfer(&self, apex: &Name, this: &mut Unfinished) -> Option<Vec<u8>> {
        self.counters.event(Event::Transfer);
        let Some(request) = Request::read(&this.query) else {
            return Some(crate::answer::error(&this.query, rcode::FORMERR));
        };
        let key = this.session.as_ref().map(|session| session.key_name().to_string());
        let source = this.peer.ip();
        if let Err(why) = may_transfer(source, key.as_deref(), &self.transfer_networks, !self.keys.is_empty()) {
            tracing::info!(zone = %apex, peer = %this.peer, "transfer refused: {why}");
            return Some(error_reply(&request, rcode::REFUSED));
        }
        let zones = self.engine.zones_full();
        let Some(zone) = zones.zone(apex) else { return Some(error_reply(&request, rcode::NOTAUTH)) };
        let client = request.client_serial;
        let diffs = client.and_then(|serial| zone.diffs_since(serial));
        let records = usize::try_from(zone.records).unwrap_or(usize::MAX);
        let Some(replies) = this.replies.clone() else {
            let limit = query::parse(&this.query).map_or(512, |q| q.udp_limit(self.engine.facts().udp_payload_max));
            let limit = limit - this.session.as_ref().map_or(0, Session::overhead);
            return Some(ixfr_udp(&request, apex, &zone.soa, diffs.as_deref(), records, limit));
        };
        let Ok(_permit) = self.transfers.try_acquire() else {
            tracing::warn!(zone = %apex, peer = %this.peer, "transfer refused: {TRANSFERS_MAX} are under way already");
            return Some(error_reply(&request, rcode::SERVFAIL));
        };
        tracing::debug!(zone = %apex, peer = %this.peer, serial = zone.soa.serial, from = ?client, "transfer");
        let mut messages: Box<dyn Iterator<Item = Vec<u8>> + Send + '_> = if client.is_some() {
            Box::new(ixfr(&request, apex, &zone.soa, diffs, records, zones.records(apex)))
        } else {
            Box::new(axfr(&request, apex, &zone.soa, zones.records(apex)))
        };
        let mut next = messages.next()?;
        for following in messages {
            if let Some(session) = &mut this.session {
                session.sign(&mut next, now_ms() / 1000).ok()?;
            }
            replies.send(std::mem::replace(&mut next, following)).await.ok()?;
        }
        Some(next)
    }
}
