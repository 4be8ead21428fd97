//! TLS connections outwards, blocking, for short-lived commands that must start fast.
//!
//! Every read, write and the connection itself end at one deadline: a peer that sends an octet a second gains nothing.
//! TLS 1.2 and 1.3; the peer's certificate must lead to the given roots and name the given server.

use std::{
    io::{self, IoSlice, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    client::Resumption,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::tls::{TlsError, chain_and_key, read};

/// Which servers are believed, and as whom we come. Cheap to clone.
#[derive(Clone)]
pub struct BlockingClient(Arc<ClientConfig>);

impl BlockingClient {
    /// Reads the roots and, when given, the certificate chain and key that we present, all PEM.
    ///
    /// # Errors
    /// The file that is no good, and the remedy.
    pub fn load(roots: &Path, identity: Option<(&Path, &Path)>) -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&read(roots)?) {
            let unfit = |reason: String| TlsError::Pem { path: roots.into(), reason };
            store.add(certificate.map_err(|e| unfit(e.to_string()))?).map_err(|e| unfit(e.to_string()))?;
        }
        if store.is_empty() {
            return Err(TlsError::NoRoots(roots.into()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|e| TlsError::Pem { path: roots.into(), reason: e.to_string() })?
            .with_root_certificates(store);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let (chain, secret) = chain_and_key(certificate, key)?;
                builder.with_client_auth_cert(chain, secret).map_err(|e| TlsError::Unusable {
                    certificate: certificate.into(),
                    key: key.into(),
                    reason: e.to_string(),
                })?
            }
        };
        // There is no second connection.
        config.resumption = Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }

    /// Connects. The first read or write agrees on keys, and sends `first` together with the end of the handshake: each packet more
    /// is one more time that the server has to be woken. `name` is what the server's certificate must name: a DNS name or
    /// an address; a server that is not believed gets nothing of `first`.
    ///
    /// # Errors
    /// What the system said; `TimedOut` at the deadline; `InvalidInput` when `name` is no name.
    pub fn connect(
        &self,
        address: SocketAddr,
        name: &str,
        first: &[u8],
        deadline: Instant,
    ) -> io::Result<BlockingConnection> {
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no server name")))?;
        let mut connection = ClientConnection::new(Arc::clone(&self.0), server).map_err(io::Error::other)?;
        // Kept as it is until there are keys to encrypt it with.
        connection.set_buffer_limit(None);
        connection.writer().write_all(first)?;
        let socket = TcpStream::connect_timeout(&address, left(deadline)?)?;
        socket.set_nodelay(true)?;
        Ok(BlockingConnection(StreamOwned::new(connection, Timed { socket, deadline })))
    }
}

/// A connection under TLS. What was interrupted by the deadline, be it the handshake, goes on after another one is set.
pub struct BlockingConnection(StreamOwned<ClientConnection, Timed>);

impl BlockingConnection {
    /// Reads and writes from now on end at another time.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.0.sock.deadline = deadline;
    }

    /// Says goodbye (RFC 8446 section 6.1), so that the server does not count a cut connection.
    pub fn close(mut self) {
        self.0.conn.send_close_notify();
        // The answer is here; whether the goodbye arrives changes nothing.
        let _ = self.0.flush();
    }
}

impl Read for BlockingConnection {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for BlockingConnection {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A socket on which every wait ends at the deadline.
struct Timed {
    socket: TcpStream,
    deadline: Instant,
}

impl Read for Timed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(left(self.deadline)?))?;
        self.socket.read(buf).map_err(timed_out)
    }
}

impl Write for Timed {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(left(self.deadline)?))?;
        self.socket.write(buf).map_err(timed_out)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(left(self.deadline)?))?;
        self.socket.write_vectored(bufs).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is left until the deadline; never zero, which would mean no limit.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// A socket's time-out reads `WouldBlock` on Linux.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

#[cfg(test)]
mod tests {
    use std::{fs, net::TcpListener, path::PathBuf, thread};

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    use rustls::{ServerConfig, ServerConnection, pki_types::PrivateKeyDer, server::WebPkiClientVerifier};

    use super::*;

    struct World {
        dir: tempfile::TempDir,
        server: Arc<ServerConfig>,
    }

    impl World {
        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn client(&self) -> BlockingClient {
            BlockingClient::load(&self.path("ca.pem"), Some((&self.path("host.pem"), &self.path("host.key")))).unwrap()
        }
    }

    /// A root, a server for 127.0.0.1 that asks for a certificate, and a host's certificate.
    fn world() -> World {
        let dir = tempfile::tempdir().unwrap();
        let mut root = CertificateParams::new(Vec::new()).unwrap();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.distinguished_name.push(DnType::CommonName, "test root");
        let root_key = KeyPair::generate().unwrap();
        let root_certificate = root.self_signed(&root_key).unwrap();
        let issuer = Issuer::new(root, root_key);
        let issue = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.into()]).unwrap();
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let (host, host_key) = issue("dev-mysql01.us-east-1b.acme.private");
        fs::write(dir.path().join("ca.pem"), root_certificate.pem()).unwrap();
        fs::write(dir.path().join("host.pem"), host.pem()).unwrap();
        fs::write(dir.path().join("host.key"), host_key.serialize_pem()).unwrap();
        let (server, server_key) = issue("127.0.0.1");
        let mut roots = RootCertStore::empty();
        roots.add(root_certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![server.der().clone()], PrivateKeyDer::try_from(server_key.serialize_der()).unwrap())
            .unwrap();
        World { dir, server: Arc::new(server) }
    }

    /// Accepts one connection, echoes four octets, and returns how many certificates the client showed.
    fn echo(listener: TcpListener, config: Arc<ServerConfig>) -> thread::JoinHandle<Option<usize>> {
        thread::spawn(move || {
            let (socket, _) = listener.accept().ok()?;
            let mut stream = StreamOwned::new(ServerConnection::new(config).ok()?, socket);
            let mut octets = [0; 4];
            stream.read_exact(&mut octets).ok()?;
            stream.write_all(&octets).ok()?;
            stream.flush().ok()?;
            stream.conn.peer_certificates().map(<[_]>::len)
        })
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn octets_go_there_and_back_and_the_server_sees_who_we_are() {
        let world = world();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = echo(listener, Arc::clone(&world.server));
        let mut connection = world.client().connect(address, "127.0.0.1", b"pi", soon()).unwrap();
        connection.write_all(b"ng").unwrap();
        let mut octets = [0; 4];
        connection.read_exact(&mut octets).unwrap();
        assert_eq!(&octets, b"ping");
        connection.close();
        assert_eq!(server.join().unwrap(), Some(1));
    }

    #[test]
    fn a_server_of_another_name_is_not_believed_and_gets_nothing() {
        let world = world();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = echo(listener, Arc::clone(&world.server));
        let mut connection = world.client().connect(address, "10.0.0.2", b"ping", soon()).unwrap();
        let error = connection.read(&mut [0; 4]).unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
        assert_eq!(server.join().unwrap(), None);
    }

    #[test]
    fn a_silent_server_costs_no_more_than_the_deadline() {
        let world = world();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connection =
            world.client().connect(listener.local_addr().unwrap(), "127.0.0.1", b"ping", soon()).unwrap();
        let started = Instant::now();
        connection.set_deadline(started + Duration::from_millis(50));
        let error = connection.read(&mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_handshake_that_was_interrupted_goes_on() {
        let world = world();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let now = Instant::now();
        let mut connection =
            world.client().connect(address, "127.0.0.1", b"ping", now + Duration::from_secs(5)).unwrap();
        let mut octets = [0; 4];
        for _ in 0..3 {
            connection.set_deadline(Instant::now() + Duration::from_millis(20));
            assert_eq!(connection.read(&mut octets).unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        let server = echo(listener, Arc::clone(&world.server));
        connection.set_deadline(soon());
        connection.read_exact(&mut octets).unwrap();
        assert_eq!(&octets, b"ping");
        assert_eq!(server.join().unwrap(), Some(1));
    }

    #[test]
    fn errors_name_the_file() {
        let world = world();
        let text = |roots: &str| BlockingClient::load(&world.path(roots), None).err().unwrap().to_string();
        assert!(text("absent.pem").contains("absent.pem"));
        assert!(text("host.key").contains("host.key holds no certificate"), "{}", text("host.key"));
        let (roots, certificate) = (world.path("ca.pem"), world.path("host.pem"));
        let error = BlockingClient::load(&roots, Some((&certificate, &certificate))).err().unwrap().to_string();
        assert!(error.contains("host.pem holds no private key"), "{error}");
    }
}
