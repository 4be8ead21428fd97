//! TLS identities: a certificate chain and its key from PEM files.
//!
//! An identity is read once at start and again on demand. A failed reload leaves the former
//! certificate in use, so a half-written file never takes a listener down. Connections that exist
//! keep the certificate with which they began.
//!
//! With roots for clients a client may present a certificate, and one that does not lead to these
//! roots ends the handshake. Nobody has to present one: what a client without a certificate may do
//! is the protocol's business. For protocols in which it may do nothing there is an identity that
//! ends the handshake of such a client too.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

/// Octets that a PEM file may have. A chain of ten certificates needs about 20 KiB.
pub const PEM_MAX: u64 = 1 << 20;

/// Why a certificate and key are no identity. Each text names the file and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}; check that the file exists and that this user may read it")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// More than `PEM_MAX` octets.
    #[error("{0} is larger than 1 MiB; it must hold PEM text and nothing else")]
    Large(PathBuf),
    /// PEM text that is damaged.
    #[error("{path} is not valid PEM: {reason}; write the file anew")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No certificate in the file.
    #[error("{0} holds no certificate; it must contain a line -----BEGIN CERTIFICATE-----, the server's own first")]
    NoCertificate(PathBuf),
    /// No certificate in a file of roots.
    #[error(
        "{0} holds no certificate; it must contain the certificates of the authorities that we believe, as PEM text"
    )]
    NoRoots(PathBuf),
    /// No private key in the file.
    #[error("{0} holds no private key; it must contain an unencrypted key in PKCS#8, PKCS#1 or SEC1 form")]
    NoKey(PathBuf),
    /// Both are readable but do not go together, or are of a kind that is not supported.
    #[error(
        "the certificate in {certificate} cannot be used with the key in {key}: {reason}; issue both together \
         (ECDSA P-256, ECDSA P-384, Ed25519 or RSA)"
    )]
    Unusable {
        /// File of the chain.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// What the TLS library said.
        reason: String,
    },
    /// The roots for clients are readable but cannot be used.
    #[error("the client roots in {path} cannot be used: {reason}; put the CA's own certificate there")]
    ClientRoots {
        /// The file.
        path: PathBuf,
        /// What the TLS library said.
        reason: String,
    },
    /// Roots that cannot be used.
    #[error("{path} cannot be used as roots: {reason}")]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// A certificate chain, its key and the protocols offered with it (ALPN, RFC 7301). Cheap to clone;
/// all clones see a reload.
#[derive(Clone)]
pub struct TlsIdentity(Arc<Inner>);

struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<Clients>,
    alpn: Vec<Vec<u8>>,
    config: ArcSwap<ServerConfig>,
}

/// Whose certificates clients may present.
#[derive(Clone)]
struct Clients {
    roots: PathBuf,
    required: bool,
}

impl TlsIdentity {
    /// Reads a PEM chain (the server's own certificate first) and its key; offers `alpn`, for
    /// example `[b"dot"]`. TLS 1.2 and 1.3, no client certificates.
    pub fn load(certificate: &Path, key: &Path, alpn: &[&[u8]]) -> Result<Self, TlsError> {
        Self::open(certificate, key, None, alpn)
    }

    /// As [`load`](Self::load), and clients may present certificates that lead to the roots in `client_ca`.
    pub fn load_with_clients(
        certificate: &Path,
        key: &Path,
        client_ca: &Path,
        alpn: &[&[u8]],
    ) -> Result<Self, TlsError> {
        Self::open(certificate, key, Some(Clients { roots: client_ca.into(), required: false }), alpn)
    }

    /// As [`load_with_clients`](Self::load_with_clients), and a client without a certificate is refused.
    pub fn load_requiring_clients(
        certificate: &Path,
        key: &Path,
        client_ca: &Path,
        alpn: &[&[u8]],
    ) -> Result<Self, TlsError> {
        Self::open(certificate, key, Some(Clients { roots: client_ca.into(), required: true }), alpn)
    }

    fn open(certificate: &Path, key: &Path, client_ca: Option<Clients>, alpn: &[&[u8]]) -> Result<Self, TlsError> {
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|id| id.to_vec()).collect();
        let config = ArcSwap::from(server_config(certificate, key, client_ca.as_ref(), &alpn)?);
        Ok(Self(Arc::new(Inner { certificate: certificate.into(), key: key.into(), client_ca, alpn, config })))
    }

    /// Reads the same files again; connections accepted from now on see the new certificate. On an
    /// error the former one stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        let inner = &self.0;
        let config = server_config(&inner.certificate, &inner.key, inner.client_ca.as_ref(), &inner.alpn)?;
        inner.config.store(config);
        Ok(())
    }

    /// Whether clients may present certificates.
    pub fn knows_clients(&self) -> bool {
        self.0.client_ca.is_some()
    }

    /// What a new connection is accepted with.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.0.config.load_full()
    }
}

fn server_config(
    certificate: &Path,
    key: &Path,
    client_ca: Option<&Clients>,
    alpn: &[Vec<u8>],
) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, secret) = chain_and_key(certificate, key)?;
    let unusable = |error: rustls::Error| TlsError::Unusable {
        certificate: certificate.into(),
        key: key.into(),
        reason: error.to_string(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = match client_ca {
        Some(clients) => client_verifier(clients, provider.clone())?,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(unusable)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, secret)
        .map_err(unusable)?;
    config.alpn_protocols = alpn.to_vec();
    Ok(Arc::new(config))
}

/// The chain of one PEM file and the key of another.
pub(crate) fn chain_and_key(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = certificates(certificate)?;
    let secret = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => TlsError::NoKey(key.into()),
        other => TlsError::Pem { path: key.into(), reason: other.to_string() },
    })?;
    Ok((chain, secret))
}

/// The certificates of a PEM file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Pem { path: path.into(), reason: error.to_string() })?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(path.into()));
    }
    Ok(chain)
}

fn client_verifier(clients: &Clients, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let bad = |reason: String| TlsError::ClientRoots { path: clients.roots.clone(), reason };
    let mut roots = RootCertStore::empty();
    for root in certificates(&clients.roots)? {
        roots.add(root).map_err(|error| bad(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = if clients.required { verifier } else { verifier.allow_unauthenticated() };
    verifier.build().map_err(|error| bad(error.to_string()))
}

/// The octets of a PEM file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error: std::io::Error| TlsError::Unreadable { path: path.into(), reason: error.to_string() };
    let mut bytes = Vec::new();
    File::open(path).map_err(unreadable)?.take(PEM_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > PEM_MAX {
        return Err(TlsError::Large(path.into()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn pair(dir: &Path, stem: &str) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let (certificate, key) = (dir.join(format!("{stem}.pem")), dir.join(format!("{stem}.key")));
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (certificate, key)
    }

    #[test]
    fn errors_name_the_file_and_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = pair(dir.path(), "a");
        let (_, other_key) = pair(dir.path(), "b");
        let error =
            |certificate: &Path, key: &Path| TlsIdentity::load(certificate, key, &[]).err().unwrap().to_string();

        assert!(TlsIdentity::load(&certificate, &key, &[b"dot"]).is_ok());
        let text = error(&dir.path().join("absent.pem"), &key);
        assert!(text.contains("absent.pem") && text.contains("check that the file exists"), "{text}");
        let text = error(&key, &key);
        assert!(text.contains("a.key holds no certificate"), "{text}");
        let text = error(&certificate, &certificate);
        assert!(text.contains("a.pem holds no private key"), "{text}");
        let text = error(&certificate, &other_key);
        assert!(text.contains("a.pem") && text.contains("b.key") && text.contains("issue both together"), "{text}");
        let large = dir.path().join("large.pem");
        fs::write(&large, vec![b'x'; PEM_MAX as usize + 1]).unwrap();
        assert!(error(&large, &key).contains("larger than 1 MiB"));
    }

    #[test]
    fn a_failed_reload_keeps_the_former_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = pair(dir.path(), "a");
        let identity = TlsIdentity::load(&certificate, &key, &[b"h2"]).unwrap();
        let first = identity.config();
        let written = fs::read(&certificate).unwrap();
        fs::write(&certificate, "half a file").unwrap();
        assert!(identity.reload().is_err());
        assert!(Arc::ptr_eq(&first, &identity.config()));
        fs::write(&certificate, written).unwrap();
        identity.clone().reload().unwrap();
        assert!(!Arc::ptr_eq(&first, &identity.config()), "a clone's reload is seen by all");
        assert_eq!(identity.config().alpn_protocols, [b"h2".to_vec()]);
    }
}
