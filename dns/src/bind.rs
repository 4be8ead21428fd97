//! What DNS takes from the machine before it starts: UDP sockets, secrets, keys, the query log.
//!
//! Needs no runtime and no state, so it runs before privileges are dropped.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    sync::Arc,
};

use crate::{
    config::Config,
    cookie,
    forward::{BadForward, Forwarder},
    querylog::OpenLog,
    transfer::tsig::{KeyError, Keys},
    udp,
};

/// Why DNS cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket cannot be bound.
    #[error("cannot listen on {address} over UDP: {reason}; is another server running there?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the kernel says.
        reason: io::Error,
    },
    /// The secret for cookies.
    #[error(transparent)]
    Secret(#[from] cookie::SecretError),
    /// No random numbers.
    #[error("the kernel gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// The query log.
    #[error("cannot open the query log {path}: {reason}; check the folder and its owner")]
    QueryLog {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        reason: io::Error,
    },
    /// The forwarder.
    #[error(transparent)]
    Forward(#[from] BadForward),
    /// A TSIG key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Sockets that are bound and not yet served.
pub struct Bound {
    pub(crate) sockets: Vec<Vec<Arc<UdpSocket>>>,
    /// The addresses, with the ports that the kernel chose where 0 was asked for.
    pub addresses: Vec<SocketAddr>,
    pub(crate) cookie_secrets: Vec<cookie::Secret>,
    pub(crate) query_log: Option<OpenLog>,
    pub(crate) forwarder: Option<Forwarder>,
    pub(crate) keys: Keys,
}

impl Bound {
    /// Binds every UDP address once per worker, and opens the files that the service needs.
    pub fn bind(config: &Config) -> Result<Self, StartError> {
        let mut sockets = Vec::new();
        let mut addresses = Vec::new();
        for &wanted in &config.listen {
            let mut address = wanted;
            let mut workers = Vec::new();
            for _ in 0..config.udp_workers.max(1) {
                let bound = udp::bind(address).and_then(|socket| Ok((socket.local_addr()?, socket)));
                let (actual, socket) = bound.map_err(|reason| StartError::Listen { address, reason })?;
                address = actual;
                workers.push(Arc::new(socket));
            }
            addresses.push(address);
            sockets.push(workers);
        }
        let cookie_secrets = match &config.cookie_secret_file {
            Some(path) => cookie::load_secrets(path)?,
            None => vec![cookie::random_secret().map_err(StartError::Random)?],
        };
        let query_log = match &config.query_log {
            Some(path) => {
                Some(OpenLog::open(path).map_err(|reason| StartError::QueryLog { path: path.clone(), reason })?)
            }
            None => None,
        };
        let forwarder = if config.forward.is_empty() { None } else { Some(Forwarder::new(config)?) };
        let keys = Keys::load(&config.key)?;
        Ok(Self { sockets, addresses, cookie_secrets, query_log, forwarder, keys })
    }
}
