//! The resolvers that we forward to.
//!
//! hickory's `NameServerPool` chooses among them by measured time, asks two at once, repeats over
//! UDP and goes to TCP after truncation. Between the pool and its connections sits `Watched`, for
//! two reasons. The pool turns every negative reply into an error that has lost its AD bit and its
//! records; here the reply is to be passed on whole, so its response code is hidden from the pool
//! and the octets are taken as they came. And SERVFAIL or REFUSED of one resolver must not end the
//! search while another has not been asked, so those become an error after which the pool goes on;
//! it carries the response code for the case that all say the same.
//!
//! No file of the system (`/etc/resolv.conf`, `/etc/hosts`) is read.

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{Stream, stream::once};
use hickory_net::{
    DnsError, NetError, NoRecords,
    runtime::TokioRuntimeProvider,
    xfer::{DnsHandle, FirstAnswer},
};
use hickory_proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Message, ResponseCode};
use hickory_resolver::{
    ConnectionProvider, NameServerPool, PoolContext, TlsConfig,
    config::{ConnectionConfig, NameServerConfig, ResolverOpts},
};
use tokio::time::Instant;

use super::cache::Key;
use crate::rr::{rcode, rtype};

/// Time for one resolver, repeats included.
pub(super) const TIMEOUT: Duration = Duration::from_millis(3_500);
/// Queries at once over one TCP connection to a resolver.
const TCP_PIPELINE_MAX: usize = 128;
/// Payload size in our queries: fits every path without fragments.
const PAYLOAD: u16 = 1232;

/// Whether a resolver answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Not asked yet.
    Unknown,
    /// Its last answer was one.
    Answering,
    /// Its last query failed, and how.
    Failing(String),
}

/// One resolver as `status` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamState {
    /// Its address.
    pub address: SocketAddr,
    /// Whether it answers.
    pub health: Health,
    /// For how long that has been so.
    pub age: Duration,
    /// Replies from it.
    pub replies: u64,
    /// Queries to it that failed.
    pub failures: u64,
}

/// Why there is no reply.
#[derive(Debug)]
pub(super) enum Failure {
    /// All resolvers that were reached refuse or fail with this response code.
    Lame(u16),
    /// No reply in time.
    Timeout,
    /// No resolver could be reached, or what came was damaged.
    Network,
}

pub(super) struct Upstream {
    pool: NameServerPool<Watched>,
    states: Arc<[State]>,
}

impl Upstream {
    /// `patience` is the time for one of them, repeats included.
    pub(super) fn new(addresses: &[SocketAddr], patience: Duration) -> Result<Self, NetError> {
        let states: Arc<[State]> = addresses.iter().copied().map(State::new).collect();
        let servers = addresses.iter().map(|address| {
            let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            connections.iter_mut().for_each(|connection| connection.port = address.port());
            NameServerConfig::new(address.ip(), false, connections.into())
        });
        let mut options = ResolverOpts::default();
        options.timeout = patience;
        options.max_active_requests = TCP_PIPELINE_MAX;
        let context = Arc::new(PoolContext::new(options, TlsConfig::new()?));
        let watched = Watched { inner: TokioRuntimeProvider::new(), states: states.clone() };
        Ok(Self { pool: NameServerPool::from_config(servers, context, watched), states })
    }

    /// Asks the resolvers; the reply is whole and has one of the codes that are answers.
    pub(super) async fn ask(&self, key: &Key) -> Result<Vec<u8>, Failure> {
        let mut id = [0; 2];
        getrandom::fill(&mut id).map_err(|_| Failure::Network)?;
        let message = Message::from_vec(&query(key, id)).map_err(|_| Failure::Network)?;
        let mut options = DnsRequestOptions::default();
        options.edns_payload_len = PAYLOAD;
        match self.pool.send(DnsRequest::new(message, options)).first_answer().await {
            Ok(response) => Ok(response.into_buffer()),
            Err(NetError::Timeout) => Err(Failure::Timeout),
            Err(NetError::Dns(DnsError::NoRecordsFound(lame))) => Err(Failure::Lame(
                lame.negative_ttl.and_then(|code| u16::try_from(code).ok()).unwrap_or(rcode::SERVFAIL),
            )),
            Err(_) => Err(Failure::Network),
        }
    }

    pub(super) fn states(&self) -> Vec<UpstreamState> {
        self.states.iter().map(State::show).collect()
    }
}

/// Our query. AD is set, so that the reply says whether the data is authentic (RFC 6840 section 5.7).
/// The identifier must be one that nobody can guess: against forged replies over UDP there is only that
/// and the port (RFC 5452 section 9). The servers of a delegated zone are not asked to recurse.
fn query(key: &Key, id: [u8; 2]) -> Vec<u8> {
    let recurse = u8::from(key.cut.is_empty());
    let mut out = vec![id[0], id[1], recurse, if key.cd { 0x30 } else { 0x20 }, 0, 1, 0, 0, 0, 0, 0, 1];
    out.extend_from_slice(&key.name);
    out.extend_from_slice(&key.rtype.to_be_bytes());
    out.extend_from_slice(&key.class.to_be_bytes());
    out.extend_from_slice(&[0, 0, rtype::OPT as u8]);
    out.extend_from_slice(&PAYLOAD.to_be_bytes());
    out.extend_from_slice(&[0, 0, if key.dnssec { 0x80 } else { 0 }, 0, 0, 0]);
    out
}

/// The error for a resolver that cannot or will not answer. Of all errors only "no such name, from a
/// resolver whose word on that is not trusted" makes the pool ask the next one and is preferred to a
/// time-out in the end, so this is one, with the response code in the place of the TTL. No other
/// error of this kind can arise, since the pool sees no negative reply.
fn lame(response: &DnsResponse, code: u16) -> NetError {
    let query = response.queries.first().cloned().unwrap_or_default();
    let mut records = NoRecords::new(Box::new(query), ResponseCode::NXDomain);
    records.negative_ttl = Some(code.into());
    NetError::from(DnsError::NoRecordsFound(records))
}

struct State {
    address: SocketAddr,
    health: Mutex<(Health, Instant)>,
    replies: AtomicU64,
    failures: AtomicU64,
}

impl State {
    fn new(address: SocketAddr) -> Self {
        let health = Mutex::new((Health::Unknown, Instant::now()));
        Self { address, health, replies: AtomicU64::new(0), failures: AtomicU64::new(0) }
    }

    fn set(&self, health: Health) {
        let mut held = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if held.0 != health {
            tracing::info!(upstream = %self.address, ?health, "resolver");
            *held = (health, Instant::now());
        }
    }

    fn failed(&self, reason: String) {
        self.failures.fetch_add(1, Relaxed);
        self.set(Health::Failing(reason));
    }

    /// Notes the outcome, and shows the pool what keeps it from dropping or hiding a reply.
    fn note(&self, outcome: Result<DnsResponse, NetError>) -> Result<DnsResponse, NetError> {
        let mut response = outcome.inspect_err(|error| self.failed(error.to_string()))?;
        let code = u16::from(response.metadata.response_code);
        self.replies.fetch_add(1, Relaxed);
        if matches!(code, rcode::NOERROR | rcode::NXDOMAIN | rcode::YXDOMAIN) {
            self.set(Health::Answering);
            response.metadata.response_code = ResponseCode::Unknown(code);
            return Ok(response);
        }
        // One name that cannot be resolved says nothing against the resolver.
        self.set(match code {
            rcode::SERVFAIL => Health::Answering,
            rcode::REFUSED => Health::Failing("it answers REFUSED; does it allow queries from here?".into()),
            other => Health::Failing(format!("it answers with response code {other}")),
        });
        Err(lame(&response, code))
    }

    fn show(&self) -> UpstreamState {
        let (health, since) = self.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        UpstreamState {
            address: self.address,
            health,
            age: since.elapsed(),
            replies: self.replies.load(Relaxed),
            failures: self.failures.load(Relaxed),
        }
    }
}

/// Makes connections that note what becomes of each query.
#[derive(Clone)]
struct Watched {
    inner: TokioRuntimeProvider,
    states: Arc<[State]>,
}

#[derive(Clone)]
struct WatchedConnection {
    inner: <TokioRuntimeProvider as ConnectionProvider>::Conn,
    states: Arc<[State]>,
    address: SocketAddr,
}

fn find(states: &[State], address: SocketAddr) -> Option<&State> {
    states.iter().find(|state| state.address == address)
}

impl ConnectionProvider for Watched {
    type Conn = WatchedConnection;
    type FutureConn = Pin<Box<dyn Future<Output = Result<Self::Conn, NetError>> + Send>>;
    type RuntimeProvider = TokioRuntimeProvider;

    fn new_connection(
        &self,
        ip: IpAddr,
        config: &ConnectionConfig,
        context: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        let connecting = self.inner.new_connection(ip, config, context)?;
        let (states, address) = (self.states.clone(), SocketAddr::new(ip, config.port));
        Ok(Box::pin(async move {
            match connecting.await {
                Ok(inner) => Ok(WatchedConnection { inner, states, address }),
                Err(error) => {
                    if let Some(state) = find(&states, address) {
                        state.failed(error.to_string());
                    }
                    Err(error)
                }
            }
        }))
    }

    fn runtime_provider(&self) -> &Self::RuntimeProvider {
        &self.inner
    }
}

impl DnsHandle for WatchedConnection {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let (states, address) = (self.states.clone(), self.address);
        // A time-out ends the stream without an item; `first_answer` makes it an error again.
        let answer = self.inner.send(request).first_answer();
        Box::pin(once(async move {
            let outcome = answer.await;
            match find(&states, address) {
                Some(state) => state.note(outcome),
                None => outcome,
            }
        }))
    }
}
