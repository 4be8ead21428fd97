//! What a client gets for a name that is not ours: a remembered reply, a new one, a stale one, or
//! SERVFAIL with the reason (RFC 8914).
//!
//! Each question under way to the resolvers is one task, whoever waits for it: clients that ask the
//! same share it, and it goes on when they have gone, so the cache is refreshed behind a stale
//! answer. When the resolvers fail, stale answers are given at once, and one question per
//! `PROBE_MS` finds out whether they are back.
//!
//! Limits: `UNDER_WAY_MAX` questions at once, `WAITERS_MAX` clients for one question, `DEADLINE`
//! for each; beyond the first two a stale answer or SERVFAIL at once, counted as shed.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};

use super::{
    BadForward,
    cache::{Cache, Entry, Freshness, Key, RECHECK_MS, STALE_TTL},
    check::check_upstreams,
    delegated::Delegates,
    kept::Kept,
    message::{Query, ede, truncate},
    upstream::{Failure, TIMEOUT, Upstream, UpstreamState},
};
use crate::{
    config::Config,
    rr::{CLASS_IN, rcode, rtype},
};

/// Questions to the resolvers at once. Each takes a socket per resolver that it is sent to, two at
/// most, so this stays below the usual limit of 1024 open files, with the questions to delegated zones too.
pub const UNDER_WAY_MAX: usize = 384;
/// Clients that may wait for one question.
pub const WAITERS_MAX: usize = 256;
/// Time in which a client gets an answer, whatever it is.
pub const DEADLINE: Duration = Duration::from_secs(4);
/// Time after which a stale answer is given (RFC 8767 section 5: 1.8 s).
pub const STALE_AFTER: Duration = Duration::from_millis(1_800);
/// While the resolvers fail, stale names are asked for once in this time.
const PROBE_MS: u64 = 5_000;
const MESSAGE_MAX: usize = 65_535;

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Questions from clients.
    pub queries: AtomicU64,
    /// Answered from the cache, still fresh.
    pub hits: AtomicU64,
    /// Answered with a stale reply.
    pub stale: AtomicU64,
    /// Questions that joined one under way.
    pub shared: AtomicU64,
    /// Questions to the resolvers and to the servers of delegated zones.
    pub upstream_queries: AtomicU64,
    /// Questions that all resolvers failed at, time-outs not counted.
    pub upstream_failures: AtomicU64,
    /// Questions without a reply in time.
    pub timeouts: AtomicU64,
    /// Not asked because too many questions were under way.
    pub shed: AtomicU64,
}

/// Forwards questions. Cheap to clone; all clones share the cache.
#[derive(Clone)]
pub struct Forwarder(pub(super) Arc<Inner>);

/// What one list of servers has for itself.
pub(super) struct Inner {
    upstream: Upstream,
    room: Arc<Semaphore>,
    /// Zero while the servers answer, else when the next probe may go out.
    probe_ms: AtomicU64,
    pub(super) shared: Arc<Shared>,
    /// Those who ask the servers of delegated zones; none for such a one itself.
    pub(super) delegates: Option<Delegates>,
}

/// What the resolvers behind us and the servers of delegated zones have in common.
pub(super) struct Shared {
    cache: Cache,
    under_way: Mutex<HashMap<Key, watch::Sender<Option<Arc<Entry>>>>>,
    counters: Counters,
    stale_ms: u64,
    payload: u16,
    start: Instant,
    pub(super) listen: Vec<SocketAddr>,
}

/// An entry and how it is given.
pub(super) struct Answer {
    pub(super) entry: Arc<Entry>,
    pub(super) stale: bool,
    now_ms: u64,
}

impl Forwarder {
    /// A forwarder to `config.forward`, with an empty cache.
    pub fn new(config: &Config) -> Result<Self, BadForward> {
        check_upstreams(&config.forward, &config.listen)?;
        let shared = Shared {
            cache: Cache::new(config.cache_entries_max),
            under_way: Mutex::default(),
            counters: Counters::default(),
            stale_ms: u64::from(config.serve_stale_s) * 1000,
            payload: config.udp_payload_max,
            start: Instant::now(),
            listen: config.listen.clone(),
        };
        let room = Arc::new(Semaphore::new(UNDER_WAY_MAX));
        Self::to(&config.forward, TIMEOUT, Arc::new(shared), room, Some(Delegates::default()))
    }

    /// A forwarder to these servers, each of which has `patience` to answer.
    pub(super) fn to(
        servers: &[SocketAddr],
        patience: Duration,
        shared: Arc<Shared>,
        room: Arc<Semaphore>,
        delegates: Option<Delegates>,
    ) -> Result<Self, BadForward> {
        let upstream = Upstream::new(servers, patience).map_err(|error| BadForward::Setup(error.to_string()))?;
        Ok(Self(Arc::new(Inner { upstream, room, probe_ms: AtomicU64::new(0), shared, delegates })))
    }

    /// The reply to a query with one question. Never longer than a frame; for UDP the caller
    /// truncates. The OPT, if the client sent one, is the last record. Empty for what is no query.
    pub async fn forward(&self, query: &[u8]) -> Vec<u8> {
        let Some(query) = Query::parse(query) else { return Vec::new() };
        self.0.shared.counters.queries.fetch_add(1, Relaxed);
        let meta = matches!(query.rtype, rtype::OPT | rtype::TSIG..=rtype::MAILA);
        if query.class != CLASS_IN || meta {
            let mut reply = query.reply(if meta { rcode::NOTIMP } else { rcode::REFUSED }, false);
            query.append_opt(&mut reply, self.0.shared.payload, None);
            return reply;
        }
        let answer = self.resolve(&key_of(&query)).await;
        let mut reply = answer.write(&query);
        query.append_opt(&mut reply, self.0.shared.payload, answer.error());
        truncate(&mut reply, MESSAGE_MAX);
        reply
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.0.shared.counters
    }

    /// Each resolver with its health, the reason and the age of that.
    pub fn upstreams(&self) -> Vec<UpstreamState> {
        self.0.upstream.states()
    }

    /// Entries in the cache and octets charged for them.
    pub fn cache_size(&self) -> (u64, u64) {
        self.0.shared.cache.size()
    }

    /// Forgets everything, stale entries included.
    pub fn clear_cache(&self) {
        self.0.shared.cache.clear();
    }

    pub(super) async fn resolve(&self, key: &Key) -> Answer {
        let inner = &self.0;
        let now = inner.now_ms();
        let held = inner.shared.cache.get(key);
        let freshness = held.as_ref().map_or(Freshness::Gone, |entry| entry.freshness(now, inner.shared.stale_ms));
        let stale = match (held, freshness) {
            (Some(entry), Freshness::Fresh) => {
                inner.shared.counters.hits.fetch_add(1, Relaxed);
                return Answer { entry, stale: false, now_ms: now };
            }
            (Some(entry), Freshness::Stale) => Some(entry),
            _ => None,
        };
        if let Some(entry) = &stale
            && (!entry.may_retry(now) || !inner.may_probe(now))
        {
            return inner.stale_answer(entry.clone(), now);
        }
        let Some(mut outcome) = self.ask(key) else {
            inner.shared.counters.shed.fetch_add(1, Relaxed);
            let shed =
                || Entry::failure(rcode::SERVFAIL, now, (ede::NO_REACHABLE_AUTHORITY, "too many questions under way"));
            return stale.map_or_else(|| fresh(shed(), now), |entry| inner.stale_answer(entry, now));
        };
        let failing = inner.probe_ms.load(Relaxed) != 0;
        let patience = match &stale {
            Some(_) if failing => Duration::ZERO,
            Some(_) => STALE_AFTER,
            None => DEADLINE,
        };
        let given = timeout(patience, outcome.wait_for(Option::is_some)).await;
        let entry = given.ok().and_then(Result::ok).and_then(|entry| entry.clone());
        let now = inner.now_ms();
        match (entry, stale) {
            (Some(entry), Some(old)) if entry.failure.is_some() => inner.stale_answer(old, now),
            (Some(entry), _) => Answer { entry, stale: false, now_ms: now },
            (None, Some(old)) => {
                // The next one need not find out for itself. Fails when that is known already.
                let _ = inner.probe_ms.compare_exchange(0, now + PROBE_MS, Relaxed, Relaxed);
                inner.stale_answer(old, now)
            }
            (None, None) => {
                fresh(Entry::failure(rcode::SERVFAIL, now, (ede::NO_REACHABLE_AUTHORITY, "no reply in time")), now)
            }
        }
    }

    /// Joins the question under way or starts it; `None` beyond the limits.
    fn ask(&self, key: &Key) -> Option<watch::Receiver<Option<Arc<Entry>>>> {
        let inner = &self.0;
        let mut under_way = inner.shared.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = under_way.get(key) {
            if sender.receiver_count() >= WAITERS_MAX {
                return None;
            }
            inner.shared.counters.shared.fetch_add(1, Relaxed);
            return Some(sender.subscribe());
        }
        let permit = inner.room.clone().try_acquire_owned().ok()?;
        let (sender, receiver) = watch::channel(None);
        under_way.insert(key.clone(), sender.clone());
        drop(under_way);
        let guard = UnderWay { inner: inner.clone(), key: key.clone() };
        tokio::spawn(async move {
            let (_permit, inner, key) = (permit, &guard.inner, &guard.key);
            inner.shared.counters.upstream_queries.fetch_add(1, Relaxed);
            let outcome = timeout(DEADLINE, inner.upstream.ask(key)).await.unwrap_or(Err(Failure::Timeout));
            let entry = inner.settle(key, outcome);
            sender.send_replace(Some(entry));
        });
        Some(receiver)
    }
}

/// Takes a question off the list when its task ends, by a panic too.
struct UnderWay {
    inner: Arc<Inner>,
    key: Key,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.inner.shared.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Inner {
    fn now_ms(&self) -> u64 {
        self.shared.start.elapsed().as_millis() as u64
    }

    /// While the resolvers fail, one question per `PROBE_MS` may find out whether they are back.
    fn may_probe(&self, now: u64) -> bool {
        let probe = self.probe_ms.load(Relaxed);
        probe == 0 || now >= probe && self.probe_ms.compare_exchange(probe, now + PROBE_MS, Relaxed, Relaxed).is_ok()
    }

    fn stale_answer(&self, entry: Arc<Entry>, now_ms: u64) -> Answer {
        self.shared.counters.stale.fetch_add(1, Relaxed);
        Answer { entry, stale: true, now_ms }
    }

    /// Turns an outcome into an entry and remembers it. A failure does not push out what may still
    /// be given stale.
    fn settle(&self, key: &Key, outcome: Result<Vec<u8>, Failure>) -> Arc<Entry> {
        let now = self.now_ms();
        let question = [&key.name[..], &key.rtype.to_be_bytes(), &key.class.to_be_bytes()].concat();
        let parsed = outcome.and_then(|reply| Kept::parse(&reply, &question).ok_or(Failure::Network));
        let (entry, reached) = match parsed {
            Ok(kept) => (Entry::reply(kept, now), true),
            Err(failure) => {
                let timed_out = matches!(failure, Failure::Timeout);
                let counters = &self.shared.counters;
                let counter = if timed_out { &counters.timeouts } else { &counters.upstream_failures };
                counter.fetch_add(1, Relaxed);
                let (code, error) = explain(&failure, key.cut.is_empty());
                (Entry::failure(code, now, error), matches!(failure, Failure::Lame(_)))
            }
        };
        self.probe_ms.store(if reached { 0 } else { now + PROBE_MS }, Relaxed);
        let entry = Arc::new(entry);
        let held = self.shared.cache.get(key).filter(|held| held.failure.is_none());
        match held {
            Some(held) if entry.failure.is_some() && held.freshness(now, self.shared.stale_ms) != Freshness::Gone => {
                held.retry_ms.store(if reached { now + RECHECK_MS } else { 0 }, Relaxed);
            }
            _ if entry.expires_ms > now => self.shared.cache.insert(key.clone(), entry.clone()),
            _ => {}
        }
        entry
    }
}

/// Response code and extended error for a failure of the resolvers behind us, or of a delegated zone's servers. That
/// such a server refuses is nothing that the client could mend: SERVFAIL.
fn explain(failure: &Failure, resolvers: bool) -> (u16, (u16, &'static str)) {
    let (code, error, texts) = match failure {
        Failure::Lame(code) => (
            if resolvers { *code } else { rcode::SERVFAIL },
            ede::NO_REACHABLE_AUTHORITY,
            ["the resolvers behind us cannot answer", "the servers of the delegated zone cannot answer"],
        ),
        Failure::Timeout => (
            rcode::SERVFAIL,
            ede::NO_REACHABLE_AUTHORITY,
            ["no resolver behind us answers", "no server of the delegated zone answers"],
        ),
        Failure::Network => (
            rcode::SERVFAIL,
            ede::NETWORK_ERROR,
            ["no resolver behind us can be reached", "no server of the delegated zone can be reached"],
        ),
    };
    (code, (error, texts[usize::from(!resolvers)]))
}

impl Answer {
    pub(super) fn write(&self, query: &Query) -> Vec<u8> {
        let ttl = |ttl| if self.stale { STALE_TTL } else { self.entry.remaining(ttl, self.now_ms) };
        self.entry.kept.write(query, ttl)
    }

    pub(super) fn error(&self) -> Option<(u16, &'static str)> {
        match self.stale {
            true if self.entry.kept.rcode == rcode::NXDOMAIN => Some((ede::STALE_NXDOMAIN_ANSWER, "")),
            true => Some((ede::STALE_ANSWER, "")),
            false => self.entry.failure,
        }
    }
}

fn fresh(entry: Entry, now_ms: u64) -> Answer {
    Answer { entry: Arc::new(entry), stale: false, now_ms }
}

pub(super) fn key_of(query: &Query) -> Key {
    Key {
        name: query.name.clone().into(),
        rtype: query.rtype,
        class: query.class,
        dnssec: query.edns.is_some_and(|edns| edns.dnssec),
        cd: query.cd,
        cut: Box::default(),
    }
}
