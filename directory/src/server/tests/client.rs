//! A client that shows everything it gets.

use std::{net::SocketAddr, sync::Arc};

use bytes::BytesMut;
use ldap3_proto::{LdapCodec, LdapMsg, LdapResultCode, control::LdapControl, proto::*};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{PrivateKeyDer, ServerName},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tokio_util::codec::{Decoder, Encoder};

use super::world::World;

pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

pub(super) struct Client {
    pub(super) stream: Box<dyn Transport>,
    codec: LdapCodec,
    inbox: BytesMut,
    id: i32,
}

pub(super) fn request(base: &str, scope: LdapSearchScope, filter: &str, attrs: &[&str]) -> LdapSearchRequest {
    LdapSearchRequest {
        base: base.into(),
        scope,
        aliases: LdapDerefAliases::Never,
        sizelimit: 0,
        timelimit: 0,
        typesonly: false,
        filter: crate::filter::text::read(filter).unwrap(),
        attrs: attrs.iter().map(|name| name.to_string()).collect(),
    }
}

/// Entries and the end of a search.
pub(super) struct Found {
    pub(super) entries: Vec<LdapSearchResultEntry>,
    pub(super) result: LdapResult,
    pub(super) controls: Vec<LdapControl>,
}

impl Found {
    pub(super) fn code(&self) -> LdapResultCode {
        self.result.code.clone()
    }

    /// First RDNs, sorted.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.entries.iter().map(|entry| entry.dn.split(',').next().unwrap_or_default()).collect();
        names.sort_unstable();
        names
    }

    /// The values of an attribute of the only entry.
    pub(super) fn values(&self, name: &str) -> Vec<String> {
        assert_eq!(self.entries.len(), 1, "{:?}", self.entries);
        let attributes = self.entries[0].attributes.iter().filter(|attribute| attribute.atype == name);
        attributes.flat_map(|attribute| &attribute.vals).map(|v| String::from_utf8(v.clone()).unwrap()).collect()
    }
}

impl Client {
    fn over(stream: impl Transport + 'static) -> Self {
        let codec = LdapCodec::new(Some(64 << 20), None);
        Self { stream: Box::new(stream), codec, inbox: BytesMut::new(), id: 0 }
    }

    pub(super) async fn plain(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    /// Over TLS, with the certificate of a host if one is named.
    pub(super) async fn tls(world: &World, host: Option<&str>) -> Self {
        Self::over(handshake(world, TcpStream::connect(world.ldaps).await.unwrap(), host).await)
    }

    pub(super) async fn start_tls(world: &World, host: Option<&str>) -> Self {
        let mut socket = TcpStream::connect(world.plain).await.unwrap();
        let mut plain = BytesMut::new();
        let operation = extended("1.3.6.1.4.1.1466.20037", None);
        LdapCodec::default().encode(LdapMsg::new(1, operation), &mut plain).unwrap();
        socket.write_all(&plain).await.unwrap();
        let mut answer = BytesMut::new();
        let message = loop {
            socket.read_buf(&mut answer).await.unwrap();
            if let Some(message) = LdapCodec::default().decode(&mut answer).unwrap() {
                break message;
            }
        };
        let LdapOp::ExtendedResponse(response) = message.op else { panic!("{message:?}") };
        assert_eq!(response.res.code, LdapResultCode::Success);
        Self::over(handshake(world, socket, host).await)
    }

    pub(super) async fn send(&mut self, op: LdapOp, ctrl: Vec<LdapControl>) -> i32 {
        self.id += 1;
        let mut out = BytesMut::new();
        self.codec.encode(LdapMsg { msgid: self.id, op, ctrl }, &mut out).unwrap();
        self.stream.write_all(&out).await.unwrap();
        self.id
    }

    /// The next message; none when the server has closed.
    pub(super) async fn receive(&mut self) -> Option<LdapMsg> {
        loop {
            if let Some(message) = self.codec.decode(&mut self.inbox).unwrap() {
                return Some(message);
            }
            if self.stream.read_buf(&mut self.inbox).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub(super) async fn ask(&mut self, op: LdapOp) -> LdapOp {
        let id = self.send(op, vec![]).await;
        let message = self.receive().await.unwrap();
        assert_eq!(message.msgid, id);
        message.op
    }

    pub(super) async fn search(&mut self, base: &str, scope: LdapSearchScope, filter: &str, attrs: &[&str]) -> Found {
        self.search_with(request(base, scope, filter, attrs), vec![]).await
    }

    pub(super) async fn search_with(&mut self, request: LdapSearchRequest, controls: Vec<LdapControl>) -> Found {
        let id = self.send(LdapOp::SearchRequest(request), controls).await;
        self.found(id).await
    }

    pub(super) async fn found(&mut self, id: i32) -> Found {
        let mut entries = Vec::new();
        loop {
            let message = self.receive().await.unwrap();
            assert_eq!(message.msgid, id, "{message:?}");
            match message.op {
                LdapOp::SearchResultEntry(entry) => entries.push(entry),
                LdapOp::SearchResultDone(result) => return Found { entries, result, controls: message.ctrl },
                other => panic!("{other:?}"),
            }
        }
    }

    pub(super) async fn bind(&mut self, dn: &str, password: &str) -> LdapResultCode {
        let cred = LdapBindCred::Simple(password.into());
        match self.ask(LdapOp::BindRequest(LdapBindRequest { version: 3, dn: dn.into(), cred })).await {
            LdapOp::BindResponse(response) => response.res.code,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn extended(&mut self, name: &str, value: Option<Vec<u8>>) -> LdapExtendedResponse {
        match self.ask(extended(name, value)).await {
            LdapOp::ExtendedResponse(response) => response,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn who_am_i(&mut self) -> String {
        let response = self.extended("1.3.6.1.4.1.4203.1.11.3", None).await;
        String::from_utf8(response.value.unwrap()).unwrap()
    }
}

pub(super) fn extended(name: &str, value: Option<Vec<u8>>) -> LdapOp {
    LdapOp::ExtendedRequest(LdapExtendedRequest { name: name.into(), value })
}

async fn handshake(world: &World, socket: TcpStream, host: Option<&str>) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(world.authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match host {
        None => builder.with_no_client_auth(),
        Some(host) => {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &world.authority).unwrap();
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
        }
    };
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap()
}
