//! Certificates of clients, and plain connections that become TLS.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{net::SocketAddr, path::Path, sync::Arc, sync::atomic::Ordering::Relaxed};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;
use wire::{Limits, Stream, TlsIdentity, start_tls};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Issuer {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(by: &Issuer, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>, String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, by).unwrap();
    (
        certificate.der().clone(),
        PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        certificate.pem(),
        key.serialize_pem(),
    )
}

fn identity(dir: &Path, ca: &Issuer) -> TlsIdentity {
    let (_, _, certificate, key) = issue(ca, "localhost");
    std::fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    std::fs::write(dir.join("server.pem"), certificate).unwrap();
    std::fs::write(dir.join("server.key"), key).unwrap();
    TlsIdentity::load_with_clients(&dir.join("server.pem"), &dir.join("server.key"), &dir.join("ca.pem"), &[]).unwrap()
}

/// One plain connection that the server turns into TLS; what it tells of the client's names.
async fn names_of(identity: TlsIdentity, client: ClientConfig, limits: Arc<Limits>) -> Option<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (socket, peer) = listener.accept().await.unwrap();
        let Some(mut stream) = start_tls(Stream::Plain(socket), &identity, peer, &limits).await else { return };
        let names = stream.peer_names().join(" ");
        stream.write_all(names.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(client)).connect(name, socket).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    Some(text)
}

/// A client that believes `ours`, and presents a certificate of `issuer` if there is one.
fn client(ours: &Issuer, issuer: Option<&Issuer>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(ours.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    match issuer.map(|issuer| issue(issuer, "db1.use1.acme.private")) {
        Some((certificate, key, ..)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        None => builder.with_no_client_auth(),
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_where_one_is_required() {
    let dir = tempfile::tempdir().unwrap();
    let ours = authority();
    identity(dir.path(), &ours);
    let file = |name: &str| dir.path().join(name);
    let required =
        TlsIdentity::load_requiring_clients(&file("server.pem"), &file("server.key"), &file("ca.pem"), &[]).unwrap();
    let limits = Arc::new(Limits::new(10, 10));
    assert_eq!(names_of(required.clone(), client(&ours, None), limits.clone()).await, None);
    assert_eq!(limits.counters.handshake_failures.load(Relaxed), 1);
    required.reload().unwrap();
    assert_eq!(names_of(required.clone(), client(&ours, None), limits.clone()).await, None, "after a reload too");
    let known = names_of(required, client(&ours, Some(&ours)), limits).await;
    assert_eq!(known.as_deref(), Some("db1.use1.acme.private"));
}

#[tokio::test]
async fn a_client_is_known_by_a_certificate_of_our_roots_only() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (authority(), authority());
    let identity = identity(dir.path(), &ours);
    assert!(identity.knows_clients());
    let limits = Arc::new(Limits::new(10, 10));
    let client = |issuer: Option<&Issuer>| client(&ours, issuer);
    let known = names_of(identity.clone(), client(Some(&ours)), limits.clone()).await;
    assert_eq!(known.as_deref(), Some("db1.use1.acme.private"));
    assert_eq!(names_of(identity.clone(), client(None), limits.clone()).await.as_deref(), Some(""));
    assert_eq!(limits.counters.handshake_failures.load(Relaxed), 0);
    assert_eq!(names_of(identity.clone(), client(Some(&other)), limits.clone()).await, None);
    assert_eq!(limits.counters.handshake_failures.load(Relaxed), 1);

    std::fs::write(dir.path().join("ca.pem"), "nothing").unwrap();
    let text = identity.reload().unwrap_err().to_string();
    assert!(text.contains("ca.pem holds no certificate"), "{text}");
}
