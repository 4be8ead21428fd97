//! One connection: take in, decode, answer in order, send.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Buf;
use ldap3_proto::{LdapCodec, proto::LdapOp, proto::LdapResultCode as Code};
use tokio::time::Instant;
use tokio_util::codec::Decoder;
use tracing::debug;
use wire::Stream;

use super::{
    Server,
    asked::{Compiled, Plain},
    counters::Counters,
    frame::{self, BadFrame, Control},
    is_in,
    pages::Pages,
    pipe::{CHUNK, Over, Pipe},
    plain, readable,
    repeats::{Grounds, Recalled},
    reply::{self, Outcome},
    sight::{Sight, Who},
};
use crate::view::View;

/// Largest message of a client that nobody knows, in octets.
pub(super) const UNKNOWN_MAX: usize = 64 << 10;
/// Largest message of a person or host that is known, in octets; slapd's limit.
pub(super) const KNOWN_MAX: usize = 4 << 20;
/// Levels of nesting in a message: a filter as deep as filters may be, and what is around it.
pub(super) const DEPTH_MAX: usize = crate::filter::DEPTH_MAX + 8;

/// What to do after an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    Close,
    StartTls,
}

/// The time at which a batch of requests is answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// Unix milliseconds.
    pub(super) now_ms: u64,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the connection's task reads the clock for all that it answers")]
    fn read() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { now_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX) }
    }

    /// Seconds since 1970-01-01 UTC.
    pub(super) fn now_s(self) -> u64 {
        self.now_ms / 1000
    }
}

/// A connection between two requests.
pub(super) struct Connection<'s> {
    pub(super) server: &'s Server,
    pub(super) pipe: Pipe<'s>,
    /// The client's address, IPv4 in its own form.
    pub(super) peer: IpAddr,
    pub(super) is_tls: bool,
    /// Names in the client's certificate.
    pub(super) names: Vec<String>,
    pub(super) who: Who,
    pub(super) pages: Pages<'s>,
    /// The last message that was cancelled.
    pub(super) cancelled: Option<i32>,
    /// The view of the present batch.
    pub(super) view: Arc<View>,
    pub(super) clock: Clock,
    pub(super) compiled: Compiled,
    codec: LdapCodec,
}

/// Serves a connection, and what it becomes by StartTLS, to the end.
pub(super) async fn run(server: &Server, stream: Stream, peer: SocketAddr, is_tls: bool) {
    Counters::count(&server.counters.open);
    let _open = Open(&server.counters);
    let mut connection = Connection::new(server, stream, peer.ip(), is_tls);
    while connection.serve().await == Next::StartTls {
        let stream = connection.pipe.into_stream();
        let Some(identity) = &server.parts.tls else { return };
        match wire::start_tls(stream, identity, peer, &server.parts.limits).await {
            Some(stream) => {
                Counters::count(&server.counters.tls_started);
                connection = Connection::new(server, stream, peer.ip(), true);
            }
            None => return Counters::count(&server.counters.tls_refused),
        }
    }
    connection.pipe.close().await;
}

struct Open<'s>(&'s Counters);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// A message, whole and decoded.
struct Request {
    id: i32,
    operation: LdapOp,
    controls: Vec<Control>,
    /// A bind whose password is no UTF-8, so that it is nobody's here.
    is_unreadable: bool,
}

/// What became of the requests that had arrived.
struct Batch {
    next: Next,
    /// Length of the message that has begun to arrive.
    whole: Option<usize>,
    /// Whether there was a whole request.
    answered: bool,
}

/// What is at the front of the inbox.
enum Front {
    Whole(Request),
    /// A search that needed no codec.
    Plain(i32, Plain),
    /// A search that was answered already: the same was asked before.
    Repeated,
    /// Not all of it; the length, if that has arrived.
    Part(Option<usize>),
    Bad(Code, String),
}

impl<'s> Connection<'s> {
    fn new(server: &'s Server, stream: Stream, peer: IpAddr, is_tls: bool) -> Self {
        let names = stream.peer_names();
        Self {
            server,
            pipe: Pipe::new(stream, &server.counters, &server.parts.timers),
            peer: peer.to_canonical(),
            is_tls,
            names,
            who: Who::Anonymous,
            pages: Pages::new(&server.kept, peer),
            cancelled: None,
            view: server.parts.views.load(),
            clock: Clock::read(),
            compiled: Compiled::default(),
            codec: LdapCodec::new(Some(KNOWN_MAX), Some(DEPTH_MAX)),
        }
    }

    /// Serves until the connection ends or becomes TLS.
    async fn serve(&mut self) -> Next {
        match self.batches().await {
            Ok(next) => next,
            Err(over) => {
                match over {
                    Over::Gone => {}
                    Over::Idle => Counters::count(&self.server.counters.idle_closed),
                    Over::Slow => Counters::count(&self.server.counters.slow_readers),
                }
                debug!(peer = %self.peer, ?over, "LDAP connection over");
                Next::Close
            }
        }
    }

    async fn batches(&mut self) -> Result<Next, Over> {
        let idle = Duration::from_secs(self.server.parts.config.idle_s.max(1));
        let mut deadline = Instant::now() + idle;
        loop {
            let Batch { next, whole, answered } = self.batch().await?;
            let arrived = self.pipe.inbox.len();
            self.pipe.flush().await?;
            if next != Next::Go {
                return Ok(next);
            }
            let now = Instant::now();
            if answered {
                deadline = now + idle;
            }
            // Requests may have arrived while the client took the answers; they wait for nothing else to come.
            if self.pipe.inbox.len() != arrived {
                continue;
            }
            if self.pipe.ended {
                return Ok(Next::Close);
            }
            self.pipe.read(whole, now, deadline).await?;
        }
    }

    /// Answers every request that has arrived whole.
    async fn batch(&mut self) -> Result<Batch, Over> {
        let mut batch = Batch { next: Next::Go, whole: None, answered: false };
        if self.pipe.inbox.is_empty() {
            return Ok(batch);
        }
        self.view = self.server.parts.views.load();
        self.pages.expire(Instant::now);
        let mut has_clock = false;
        loop {
            let front = self.front();
            if !has_clock && matches!(front, Front::Whole(_) | Front::Plain(..)) {
                self.clock = Clock::read();
                has_clock = true;
            }
            match front {
                Front::Whole(request) => {
                    batch.answered = true;
                    batch.next = self.answer(request).await?;
                    if batch.next != Next::Go {
                        return Ok(batch);
                    }
                }
                Front::Plain(id, plain) => {
                    batch.answered = true;
                    self.search_plain(id, plain).await?;
                }
                Front::Repeated => batch.answered = true,
                Front::Part(length) => return Ok(Batch { whole: length, ..batch }),
                Front::Bad(code, text) => {
                    debug!(peer = %self.peer, text, "LDAP connection closed");
                    reply::disconnection(&mut self.pipe.outbox, code, text);
                    return Ok(Batch { next: Next::Close, ..batch });
                }
            }
            if self.pipe.outbox.len() >= CHUNK {
                self.pipe.flush().await?;
            }
        }
    }

    /// Octets of the largest message that is taken now.
    pub(super) fn message_max(&self) -> usize {
        let is_known = self.who != Who::Anonymous || !self.names.is_empty();
        if is_known { KNOWN_MAX } else { UNKNOWN_MAX }
    }

    fn front(&mut self) -> Front {
        let counters = &self.server.counters;
        let length = match frame::length(&self.pipe.inbox, self.message_max()) {
            Ok(Some(length)) if self.pipe.inbox.len() >= length => length,
            Ok(length) => return Front::Part(length),
            Err(error) => {
                Counters::count(match error {
                    BadFrame::NotLdap => &counters.decode_errors,
                    BadFrame::Large { .. } => &counters.oversized,
                });
                return Front::Bad(Code::ProtocolError, error.to_string());
            }
        };
        if let Some(search) = self.front_search(length) {
            return search;
        }
        let mut message = self.pipe.inbox.split_to(length);
        let request = frame::head(&message).and_then(|head| Some((head.id, head.controls()?)));
        let decoded = request.and_then(|(id, controls)| {
            let is_unreadable = readable::make(&mut message)?;
            let message = self.codec.decode(&mut message).ok()??;
            Some(Request { id, operation: message.op, controls, is_unreadable })
        });
        match decoded {
            Some(request) => Front::Whole(request),
            None => {
                Counters::count(&counters.decode_errors);
                Front::Bad(Code::ProtocolError, "the message is no LDAP request".into())
            }
        }
    }

    /// A search without controls that is answered as the same one was before, or that can be read without the codec.
    fn front_search(&mut self, length: usize) -> Option<Front> {
        let head = plain::head(self.pipe.inbox.get(..length)?)?;
        let sight = self.sight();
        let grounds = (sight == Sight::Everything).then(|| Grounds::of(&self.view));
        let (Server { repeats, counters, .. }, out) = (self.server, &mut self.pipe.outbox);
        let front = match grounds.map(|grounds| repeats.answer(head.body, grounds, head.id, out)) {
            Some(Recalled::Answered(entries)) => {
                Counters::count(&counters.searches);
                Counters::count(&counters.repeated);
                counters.entries.fetch_add(entries, Relaxed);
                Front::Repeated
            }
            recalled => {
                let asked = plain::search(&head, &mut self.compiled)?;
                let mark = if let Some(Recalled::Nothing(mark)) = recalled { Some(mark) } else { None };
                let wanted = mark.and_then(|mark| repeats.note(mark, head.body));
                Front::Plain(head.id, Plain { asked, sight, wanted })
            }
        };
        self.pipe.inbox.advance(length);
        Some(front)
    }

    async fn answer(&mut self, request: Request) -> Result<Next, Over> {
        let Request { id, operation, controls, is_unreadable } = request;
        if let Some((tag, oid)) = unserved(&operation, &controls) {
            Counters::count(&self.server.counters.critical_controls);
            if tag == reply::tag::BIND {
                // A bind that fails leaves nobody (RFC 4513 section 4).
                self.forget();
            }
            let text = format!("the critical control {oid} is not served here");
            reply::result(&mut self.pipe.outbox, id, tag, &Outcome::new(Code::UnavailableCriticalExtension, text));
            return Ok(Next::Go);
        }
        match operation {
            LdapOp::UnbindRequest => return Ok(Next::Close),
            // What it meant is over: operations are done one after the other, and a long one looks for it itself.
            LdapOp::AbandonRequest(_) => {}
            LdapOp::SearchRequest(search) => self.search(id, search, &controls).await?,
            LdapOp::BindRequest(_) if is_unreadable => self.bind_unreadable(id),
            LdapOp::BindRequest(bind) => self.bind(id, bind, &controls).await?,
            LdapOp::CompareRequest(compare) => self.compare(id, &compare).await,
            LdapOp::ExtendedRequest(extended) => return Ok(self.extended(id, extended)),
            LdapOp::ModifyRequest(_) => self.refuse_write(id, reply::tag::MODIFY),
            LdapOp::AddRequest(_) => self.refuse_write(id, reply::tag::ADD),
            LdapOp::DelRequest(_) => self.refuse_write(id, reply::tag::DELETE),
            LdapOp::ModifyDNRequest(_) => self.refuse_write(id, reply::tag::MODIFY_DN),
            _ => {
                Counters::count(&self.server.counters.decode_errors);
                reply::disconnection(&mut self.pipe.outbox, Code::ProtocolError, "that is no request");
                return Ok(Next::Close);
            }
        }
        Ok(Next::Go)
    }

    /// Forgets who the client was.
    pub(super) fn forget(&mut self) {
        self.who = Who::Anonymous;
        self.pages.clear();
    }

    fn refuse_write(&mut self, id: i32, tag: u8) {
        Counters::count(&self.server.counters.writes_refused);
        let text = "this directory is a copy for reading; make changes where its entries come from";
        reply::result(&mut self.pipe.outbox, id, tag, &Outcome::new(Code::UnwillingToPerform, text));
    }

    /// What this client may see now.
    pub(super) fn sight(&self) -> Sight {
        let config = &self.server.parts.config;
        self.who.sight(&self.view, config.views, || self.host(), is_in(&config.allow_anonymous, self.peer))
    }

    /// The host that the client is: by its certificate, else by its address where that is trusted.
    pub(super) fn host(&self) -> Option<Arc<inventory::Host>> {
        let by_name = self.names.iter().find_map(|name| self.view.access.host(name).ok());
        let by_address = || {
            let is_trusted = self.names.is_empty() && is_in(&self.server.parts.config.hosts_by_address, self.peer);
            is_trusted.then(|| self.view.state.host_at(self.peer)).flatten()
        };
        // A terminated host has no name any more, whoever still holds its certificate.
        by_name.or_else(by_address).filter(|host| host.is_named()).cloned()
    }
}

/// The first critical control that does not go with the operation, and the tag to say so with.
fn unserved<'c>(operation: &LdapOp, controls: &'c [Control]) -> Option<(u8, &'c str)> {
    if controls.is_empty() {
        return None;
    }
    let (tag, served) = match operation {
        LdapOp::SearchRequest(_) => (reply::tag::DONE, super::PAGED),
        LdapOp::BindRequest(_) => (reply::tag::BIND, super::PASSWORD_POLICY),
        LdapOp::CompareRequest(_) => (reply::tag::COMPARE, ""),
        LdapOp::ExtendedRequest(_) => (reply::tag::EXTENDED, ""),
        LdapOp::ModifyRequest(_) => (reply::tag::MODIFY, ""),
        LdapOp::AddRequest(_) => (reply::tag::ADD, ""),
        LdapOp::DelRequest(_) => (reply::tag::DELETE, ""),
        LdapOp::ModifyDNRequest(_) => (reply::tag::MODIFY_DN, ""),
        // There is no answer in which to say it (RFC 4511 section 4.1.11).
        _ => return None,
    };
    let is_served = |oid: &str| oid == served || oid == super::MANAGE_DSA_IT;
    let unserved = controls.iter().find(|control| control.critical && !is_served(&control.oid))?;
    Some((tag, &unserved.oid))
}
