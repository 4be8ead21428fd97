//! TLS towards servers: whom we trust, and the handshake.
//!
//! Roots come from one PEM file, or from the first bundle that the system has. Of a bundle of the system, certificates
//! that cannot be used are left out; in a file that was named by a person every one must be in order. Towards servers
//! that ask for it (mutual TLS, RFC 8446 section 4.4.2) a certificate of our own is presented.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
pub use tokio_rustls::client::TlsStream;

use crate::tls::{TlsError, certificates, chain_and_key};

/// Where systems keep the roots that they trust: Debian, Fedora, SUSE, Alpine.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What a connection to a server begins with. Cheap to clone.
#[derive(Clone)]
pub struct TlsUpstream(TlsConnector);

impl fmt::Debug for TlsUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsUpstream")
    }
}

impl TlsUpstream {
    /// Trusts the roots in `roots`, PEM; the system's when it is absent. TLS 1.2 and 1.3, no client certificate.
    pub fn load(roots: Option<&Path>) -> Result<Self, TlsError> {
        Self::open(roots, None)
    }

    /// As [`load`](Self::load), and presents the chain in `certificate` (its own certificate first) with its key, both
    /// PEM, to servers that ask for one.
    pub fn load_with_identity(roots: Option<&Path>, certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Self::open(roots, Some((certificate, key)))
    }

    fn open(roots: Option<&Path>, identity: Option<(&Path, &Path)>) -> Result<Self, TlsError> {
        let store = match roots {
            Some(path) => named(path)?,
            None => bundled()?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| TlsError::Roots {
                path: roots.unwrap_or(Path::new("")).into(),
                reason: error.to_string(),
            })?
            .with_root_certificates(store);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let (chain, secret) = chain_and_key(certificate, key)?;
                builder.with_client_auth_cert(chain, secret).map_err(|error| TlsError::Unusable {
                    certificate: certificate.into(),
                    key: key.into(),
                    reason: error.to_string(),
                })?
            }
        };
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// The handshake with `host`: a name or an address, an IPv6 address without brackets. The certificate must be for it.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{host} is no name of a server")))?;
        self.0.connect(name, stream).await
    }
}

fn named(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        let wrong = |error: rustls::Error| TlsError::Roots { path: path.into(), reason: error.to_string() };
        store.add(certificate).map_err(wrong)?;
    }
    if store.is_empty() { Err(TlsError::NoCertificate(path.into())) } else { Ok(store) }
}

fn bundled() -> Result<RootCertStore, TlsError> {
    let Some(path) = BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file()) else {
        let reason = "this system has no bundle of roots; install ca-certificates, or name a file of roots".into();
        return Err(TlsError::Roots { path: BUNDLES[0].into(), reason });
    };
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates(&path)?);
    if store.is_empty() { Err(TlsError::NoCertificate(path)) } else { Ok(store) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;
    use crate::{peer, tls::TlsIdentity};

    /// An authority in `ca.pem`, and what it issued for `localhost` and for `relay1`, as `NAME.pem` and `NAME.key`.
    fn issue(dir: &Path) {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
        for name in ["localhost", "relay1"] {
            let key = KeyPair::generate().unwrap();
            let issued = CertificateParams::new(vec![name.into()]).unwrap().signed_by(&key, &ca).unwrap();
            fs::write(dir.join(format!("{name}.pem")), issued.pem()).unwrap();
            fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
    }

    #[tokio::test]
    async fn a_server_that_asks_sees_our_certificate() {
        let dir = tempfile::tempdir().unwrap();
        issue(dir.path());
        let path = |name: &str| dir.path().join(name);
        let server =
            TlsIdentity::load_with_clients(&path("localhost.pem"), &path("localhost.key"), &path("ca.pem"), &[])
                .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = tokio::spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..2 {
                let (socket, _) = listener.accept().await.unwrap();
                let mut stream = tokio_rustls::TlsAcceptor::from(server.config()).accept(socket).await.unwrap();
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
                seen.push(chain.first().map(peer::names).unwrap_or_default());
                let _ = stream.read(&mut [0; 1]).await;
            }
            seen
        });
        let plain = TlsUpstream::load(Some(&path("ca.pem"))).unwrap();
        let ours =
            TlsUpstream::load_with_identity(Some(&path("ca.pem")), &path("relay1.pem"), &path("relay1.key")).unwrap();
        for upstream in [plain, ours] {
            upstream.connect("localhost", TcpStream::connect(address).await.unwrap()).await.unwrap();
        }
        assert_eq!(seen.await.unwrap(), [vec![], vec!["relay1".to_owned()]]);
        let error = TlsUpstream::load_with_identity(Some(&path("ca.pem")), &path("relay1.pem"), &path("localhost.key"))
            .unwrap_err();
        assert!(error.to_string().contains("localhost.key") && error.to_string().contains("issue both"), "{error}");
    }
}
