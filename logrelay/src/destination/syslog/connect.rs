//! Connections to receivers: names resolved, TCP options set, the TLS handshake done, each with a limit in time.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream, UdpSocket, lookup_host},
    time::timeout,
};
use wire::upstream::{TlsStream, TlsUpstream};

use super::target::Target;

/// Longest wait for the resolver, for a TCP connection to one address, and for a TLS handshake; never longer than the
/// destination's own limit.
const STEP: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// Largest segment of a send queue, in octets: what Linux hands to a network card at once (GSO).
const SEGMENT_MAX: usize = 64 << 10;
/// Octets asked for the send buffer of a stream. The kernel doubles it; it bounds what a break leaves in doubt.
const STREAM_BUFFER: u32 = 256 << 10;
/// Octets asked for the send buffer of a datagram socket.
const DATAGRAM_BUFFER: usize = 1 << 20;
/// Octets of plain text that TLS may hold besides the send buffer (rustls: 64 KiB) and of a record on its way.
const TLS_BUFFER: usize = (64 + 16) << 10;
/// Seconds of silence after which the kernel asks whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A connection, plain or under TLS.
#[derive(Debug)]
pub(super) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a peer has said that has nothing to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing; the connection stands.
    Nothing,
    /// Something; the connection stands.
    Words,
    /// The end of the connection.
    End,
}

impl Connection {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Octets that may be lost with the connection although they were written.
    pub(super) fn in_doubt(&self) -> usize {
        let buffer = SockRef::from(self.tcp()).send_buffer_size().unwrap_or(2 * STREAM_BUFFER as usize);
        // While there is any room in the buffer, the kernel takes one segment more, whole.
        buffer + SEGMENT_MAX + if matches!(self, Self::Tls(_)) { TLS_BUFFER } else { 0 }
    }

    /// Whether the peer has said something since it was last listened to. Asks the kernel itself: what the runtime knows of
    /// the socket may be older, and a read may need it to run once.
    pub(super) fn peek(&self) -> Heard {
        match SockRef::from(self.tcp()).peek(&mut [std::mem::MaybeUninit::uninit()]) {
            Ok(0) => Heard::End,
            Ok(_) => Heard::Words,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Heard::Nothing,
            Err(_) => Heard::End,
        }
    }

    /// Whether the peer has ended the connection; throws away what it said before.
    pub(super) async fn is_over(&mut self) -> bool {
        match self.peek() {
            Heard::Nothing => return false,
            Heard::Words => tokio::task::yield_now().await,
            Heard::End => return true,
        }
        for _ in 0..16 {
            match self.read_now() {
                Some(Ok(0) | Err(_)) => return true,
                Some(Ok(_)) => {}
                None => break,
            }
        }
        false
    }

    /// Reads what is there; `None` if nothing is.
    fn read_now(&mut self) -> Option<io::Result<usize>> {
        let mut octets = [0; 4096];
        let mut buffer = ReadBuf::new(&mut octets);
        let mut context = Context::from_waker(std::task::Waker::noop());
        match Pin::new(self).poll_read(&mut context, &mut buffer) {
            Poll::Pending => None,
            Poll::Ready(result) => Some(result.map(|()| buffer.filled().len())),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Waits at most `limit`, and says so.
async fn within<T>(limit: Duration, what: &str, step: impl Future<Output = io::Result<T>>) -> Result<T, String> {
    match timeout(limit, step).await {
        Ok(result) => result.map_err(|error| format!("{what}: {error}")),
        Err(_) => Err(format!("{what}: no answer within {} s", limit.as_secs())),
    }
}

async fn resolve(target: &Target, limit: Duration) -> Result<Vec<SocketAddr>, String> {
    let what = format!("the name {} cannot be resolved", target.host);
    let found = within(limit, &what, lookup_host((&*target.host, target.port))).await?;
    let addresses: Vec<_> = found.take(ADDRESSES_MAX).collect();
    if addresses.is_empty() { Err(format!("{what}: it has no address")) } else { Ok(addresses) }
}

/// Connects to a receiver of a stream or of RELP.
///
/// # Errors
/// What failed, for each address.
pub(super) async fn stream(
    target: &Target,
    tls: Option<&TlsUpstream>,
    patience: Duration,
) -> Result<Connection, String> {
    let limit = patience.min(STEP);
    let mut failed = Vec::new();
    for address in resolve(target, limit).await? {
        let what = format!("{address} cannot be reached");
        let tcp = match within(limit, &what, tcp(address, patience)).await {
            Ok(tcp) => tcp,
            Err(error) => {
                failed.push(error);
                continue;
            }
        };
        let Some(tls) = tls.filter(|_| target.transport.is_tls()) else { return Ok(Connection::Plain(tcp)) };
        match within(limit, &format!("TLS with {address} failed"), tls.connect(&target.host, tcp)).await {
            Ok(stream) => return Ok(Connection::Tls(Box::new(stream))),
            Err(error) => failed.push(error),
        }
    }
    Err(failed.join("; "))
}

async fn tcp(address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_send_buffer_size(STREAM_BUFFER)?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    let options = SockRef::from(&stream);
    // Without it a path that silently fails is noticed after a quarter of an hour.
    options.set_tcp_user_timeout(Some(patience))?;
    options.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(patience.min(KEEPALIVE)))?;
    Ok(stream)
}

/// A datagram socket that is connected to a receiver, so that the kernel tells us when its host refuses.
///
/// # Errors
/// What failed.
pub(super) async fn datagram(target: &Target, patience: Duration) -> Result<UdpSocket, String> {
    let addresses = resolve(target, patience.min(STEP)).await?;
    let Some(address) = addresses.first() else { return Err("it has no address".into()) };
    let open = async {
        let local: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(local).await?;
        let _ = SockRef::from(&socket).set_send_buffer_size(DATAGRAM_BUFFER);
        socket.connect(address).await?;
        Ok(socket)
    };
    within(patience, &format!("{address} cannot be reached"), open).await
}
