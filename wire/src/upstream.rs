//! TLS towards servers: whom we trust, and the handshake.
//!
//! Roots come from one PEM file, or from the first bundle that the system has. Of a bundle of the system, certificates
//! that cannot be used are left out; in a file that was named by a person every one must be in order.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::tls::{TlsError, certificates};

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
        let store = match roots {
            Some(path) => named(path)?,
            None => bundled()?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| TlsError::Roots {
                path: roots.unwrap_or(Path::new("")).into(),
                reason: error.to_string(),
            })?
            .with_root_certificates(store)
            .with_no_client_auth();
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
