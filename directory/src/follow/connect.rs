//! Connections to directory servers: the socket, TLS, StartTLS, the bind, and which server to ask first.
//!
//! The socket has keepalive and a user timeout, so that a dead server is noticed within half a minute even when nothing
//! is asked. The password is read from its file at every bind, so it may be rotated. The library runs behind the
//! [gate](super::gate) and in tasks of its own: if it panics, that costs the connection.

use std::{
    future::Future,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, StdStream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{self, Instant},
};
use wire::upstream::TlsUpstream;

use super::{
    address::Address,
    ber::{self, Reader},
    gate::{self, Link},
};
use crate::config::Upstream;

/// Octets of a file with a password.
const SECRET_MAX: u64 = 64 * 1024;
/// Octets of the answer to StartTLS.
const STARTTLS_MAX: usize = 64 * 1024;
/// Silence after which the kernel asks whether the server is there, and how long data may stay unacknowledged.
const KEEPALIVE: Duration = Duration::from_secs(15);
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server that failed is asked after the others.
const PENALTY: Duration = Duration::from_secs(30);
/// StartTLS (RFC 4511 section 4.14): message 1, extended request 1.3.6.1.4.1.1466.20037.
const STARTTLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be used.
    #[error("{0}")]
    Url(String),
    /// No address for the name.
    #[error("{host} has no address: {reason}")]
    Name {
        /// The name.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// No connection, or no answer in time.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// The server.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The roots cannot be loaded.
    #[error(transparent)]
    Roots(#[from] wire::tls::TlsError),
    /// The handshake failed.
    #[error("TLS with {url} failed: {reason}")]
    Tls {
        /// The server.
        url: String,
        /// What the TLS library said.
        reason: String,
    },
    /// The server does not do StartTLS.
    #[error(
        "{url} refuses StartTLS with code {code}; use ldaps://, or set starttls = false if passwords may cross the network in clear"
    )]
    StartTls {
        /// The server.
        url: String,
        /// LDAP result code.
        code: u32,
    },
    /// The password cannot be read.
    #[error("the password cannot be read from {path}: {reason}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The bind failed.
    #[error("{url} refuses the bind as {dn} with code {code} {text:?}")]
    Bind {
        /// The server.
        url: String,
        /// As whom.
        dn: String,
        /// LDAP result code.
        code: u32,
        /// Its text.
        text: String,
    },
    /// The library failed or gave up.
    #[error("{0}")]
    Library(String),
}

/// A connection: a handle for operations, and what is known of it.
pub(super) struct Connection {
    pub(super) ldap: Ldap,
    pub(super) link: Arc<Link>,
}

/// A connection to one server of `upstream`, TLS or StartTLS done as configured, not bound.
///
/// Dropping the last clone of the handle closes it. Operations of the library panic on answers that they do not
/// expect: run them by [`guarded`].
pub async fn connect(upstream: &Upstream, url: &str) -> Result<Ldap, ConnectError> {
    let open = open(upstream.clone(), url.to_owned());
    guarded(open).await?.map(|connection| {
        // Who takes the results does not tell the gate.
        connection.link.unbounded();
        connection.ldap
    })
}

/// Runs work with the library in a task of its own, so that a panic of it becomes an error.
pub async fn guarded<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, ConnectError> {
    match tokio::spawn(work).await {
        Ok(value) => Ok(value),
        Err(error) if error.is_panic() => Err(ConnectError::Library(gate::GAVE_UP.into())),
        Err(_) => Err(ConnectError::Library("the node is stopping".into())),
    }
}

/// [`connect`], with the link.
pub(super) async fn open(upstream: Upstream, url: String) -> Result<Connection, ConnectError> {
    let address = Address::parse(&url).map_err(ConnectError::Url)?;
    let limit = Duration::from_secs(upstream.timeout_s.max(1));
    let unreachable = |reason: String| ConnectError::Unreachable { url: url.clone(), reason };
    let opening = async {
        let mut stream = reach(&address, &url, limit).await?;
        if !address.tls && !upstream.starttls {
            return gate::open(stream).map_err(|cause| unreachable(cause.to_string()));
        }
        let roots = upstream.ca_file.clone();
        let tls = tokio::task::spawn_blocking(move || TlsUpstream::load(roots.as_deref())).await;
        let tls = tls.map_err(|_| unreachable("the node is stopping".into()))??;
        if !address.tls {
            start_tls(&mut stream, &url).await?;
        }
        let failed = |cause: io::Error| ConnectError::Tls { url: url.clone(), reason: cause.to_string() };
        let stream = tls.connect(&address.host, stream).await.map_err(failed)?;
        gate::open(stream).map_err(|cause| unreachable(cause.to_string()))
    };
    let opened = time::timeout(limit, opening).await;
    let (stream, link) =
        opened.unwrap_or_else(|_| Err(unreachable(format!("no answer within {} s", limit.as_secs()))))?;
    let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(stream));
    let library = |error: ldap3::LdapError| ConnectError::Library(error.to_string());
    let (driver, ldap) = LdapConnAsync::with_settings(settings, "ldapi:///").await.map_err(library)?;
    let shared = link.clone();
    tokio::spawn(async move {
        match tokio::spawn(driver.drive()).await {
            Err(error) => shared.over(error.is_panic()),
            Ok(ended) => {
                if let Err(error) = ended {
                    shared.end(error.to_string());
                }
                shared.over(false);
            }
        }
    });
    Ok(Connection { ldap, link })
}

/// A TCP connection to the first address that answers; the time is shared among the addresses.
async fn reach(address: &Address, url: &str, limit: Duration) -> Result<TcpStream, ConnectError> {
    let no_name = |reason: String| ConnectError::Name { host: address.host.clone(), reason };
    let found = tokio::net::lookup_host((address.host.as_str(), address.port)).await;
    let addresses: Vec<_> = found.map_err(|cause| no_name(cause.to_string()))?.collect();
    let each = limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut why = None;
    for at in addresses {
        match time::timeout(each, TcpStream::connect(at)).await {
            Ok(Ok(stream)) => {
                let prepared = prepare(&stream);
                let failed =
                    |cause: io::Error| ConnectError::Unreachable { url: url.into(), reason: cause.to_string() };
                return prepared.map(|()| stream).map_err(failed);
            }
            Ok(Err(cause)) => why = Some(cause.to_string()),
            Err(_) => why = Some(format!("{at} does not answer")),
        }
    }
    match why {
        Some(reason) => Err(ConnectError::Unreachable { url: url.into(), reason }),
        None => Err(no_name("the resolver named none".into())),
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    stream.set_nodelay(true)
}

/// Asks for TLS. The answer is read to its last octet and no further, so that nothing which came in clear behind it is
/// taken for something that came under TLS.
async fn start_tls(stream: &mut TcpStream, url: &str) -> Result<(), ConnectError> {
    let unreachable = |reason: String| ConnectError::Unreachable { url: url.into(), reason };
    let broken = |cause: io::Error| unreachable(cause.to_string());
    stream.write_all(STARTTLS).await.map_err(broken)?;
    let mut answer = vec![0; 2];
    stream.read_exact(&mut answer).await.map_err(broken)?;
    let wrong = || unreachable("its answer to StartTLS is not LDAP".into());
    let whole = loop {
        match ber::header(&answer).map_err(|_| wrong())? {
            Some((header, length)) => break header + length,
            None => answer.push(stream.read_u8().await.map_err(broken)?),
        }
    };
    if whole > STARTTLS_MAX {
        return Err(wrong());
    }
    let have = answer.len();
    answer.resize(whole.max(have), 0);
    stream.read_exact(answer.get_mut(have..).unwrap_or_default()).await.map_err(broken)?;
    match starttls_code(&answer) {
        Ok(0) => Ok(()),
        Ok(code) => Err(ConnectError::StartTls { url: url.into(), code }),
        Err(_) => Err(wrong()),
    }
}

fn starttls_code(answer: &[u8]) -> Result<u32, ber::BadBer> {
    let mut message = Reader(Reader(answer).expect(ber::SEQUENCE)?);
    message.expect(ber::INTEGER)?;
    let mut result = Reader(message.expect(0x78)?);
    ber::number(result.expect(ber::ENUMERATED)?)
}

/// [`open`], bound as the configured identity. Call it by [`guarded`].
pub(super) async fn open_bound(upstream: Upstream, url: String) -> Result<Connection, ConnectError> {
    let secret = match (&upstream.bind_dn, &upstream.bind_password_file) {
        (Some(_), Some(path)) => Some(secret(path.clone()).await?),
        _ => None,
    };
    let limit = Duration::from_secs(upstream.timeout_s.max(1));
    let dn = upstream.bind_dn.clone();
    let mut connection = open(upstream, url.clone()).await?;
    if let Some(dn) = dn {
        let bind = connection.ldap.with_timeout(limit).simple_bind(&dn, secret.as_deref().unwrap_or("")).await;
        let result = match bind {
            Ok(result) => result,
            Err(error) => {
                return Err(ConnectError::Unreachable { url, reason: connection.link.why(error).await });
            }
        };
        if result.rc != 0 {
            return Err(ConnectError::Bind { url, dn, code: result.rc, text: result.text });
        }
    }
    Ok(connection)
}

/// The password in a file, without the end of its line.
async fn secret(path: PathBuf) -> Result<String, ConnectError> {
    let wrong = |reason: String| ConnectError::Secret { path: path.clone(), reason };
    let mut text = String::new();
    let file = tokio::fs::File::open(&path).await.map_err(|cause| wrong(cause.to_string()))?;
    file.take(SECRET_MAX).read_to_string(&mut text).await.map_err(|cause| wrong(cause.to_string()))?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        // RFC 4513 section 5.1.2: a server would take this for an anonymous bind and say yes.
        return Err(wrong("it is empty; write the password into it, on one line".into()));
    }
    Ok(secret.to_owned())
}

/// The servers of an upstream, and which of them failed lately.
#[derive(Debug)]
pub struct Servers {
    upstream: Upstream,
    /// When each failed last.
    failed: Mutex<Vec<Option<Instant>>>,
}

impl Servers {
    /// The servers of `upstream`, all of them thought well of.
    pub fn new(upstream: Upstream) -> Self {
        let failed = Mutex::new(vec![None; upstream.urls.len()]);
        Self { upstream, failed }
    }

    /// The URLs in the order in which to try them: as configured, those that failed lately at the end.
    pub fn order(&self) -> Vec<String> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let late = |at: &Option<Instant>| at.is_some_and(|at| at.elapsed() < PENALTY);
        let mut urls: Vec<(bool, &String)> = failed.iter().map(late).zip(&self.upstream.urls).collect();
        urls.sort_by_key(|(late, _)| *late);
        urls.into_iter().map(|(_, url)| url.clone()).collect()
    }

    /// Notes how a server did.
    pub fn note(&self, url: &str, good: bool) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, known) in failed.iter_mut().zip(&self.upstream.urls) {
            if known == url {
                *at = (!good).then(Instant::now);
            }
        }
    }

    /// A connection that is not bound to the first server that gives one, with its URL; else the last error.
    pub async fn connect(&self) -> Result<(String, Ldap), ConnectError> {
        let mut why = ConnectError::Url("no server is configured; name one in [directory.upstream] urls".into());
        for url in self.order() {
            match connect(&self.upstream, &url).await {
                Ok(ldap) => {
                    self.note(&url, true);
                    return Ok((url, ldap));
                }
                Err(error) => {
                    self.note(&url, false);
                    why = error;
                }
            }
        }
        Err(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_for_tls_is_as_the_rfc_has_it() {
        let mut message = Reader(Reader(STARTTLS).expect(ber::SEQUENCE).unwrap());
        assert_eq!(message.expect(ber::INTEGER).unwrap(), [1]);
        let mut request = Reader(message.expect(0x77).unwrap());
        assert_eq!(request.expect(0x80).unwrap(), b"1.3.6.1.4.1.1466.20037");
        assert_eq!(starttls_code(b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x34\x04\x00\x04\x00"), Ok(52));
    }
}
