//! Opening what a source listens on.

use std::{
    fmt,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use socket2::{Domain, Protocol, Type};
use tracing::warn;
use wire::TlsIdentity;

use super::{Datagrams, Socket, datagram::ask_buffer, local};
use crate::config::{Listen, Source};

/// The open sockets and pipes of a source.
pub struct Bound {
    pub(super) sockets: Vec<(Listen, Socket)>,
    /// Where each was asked to listen: port 0 is another one then.
    asked: Vec<Listen>,
    pub(super) identity: Option<TlsIdentity>,
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound").field("sockets", &self.sockets).finish_non_exhaustive()
    }
}

impl Bound {
    /// Where it listens, port 0 replaced by the one that was given.
    pub fn listens(&self) -> impl Iterator<Item = &Listen> {
        self.sockets.iter().map(|(listen, _)| listen)
    }

    /// Keeps the sockets open beyond this source, with what waits in them: another one that listens at the same places
    /// goes on with them, and nobody who sends notices.
    pub fn keep(&self, kept: &mut Kept) {
        for (asked, (listen, socket)) in self.asked.iter().zip(&self.sockets) {
            // Without a descriptor for it, it is bound anew.
            if let Ok(socket) = socket.again() {
                kept.0.push((asked.clone(), listen.clone(), socket));
            }
        }
    }

    /// The identity under TLS, to be read again on SIGHUP; clones see that.
    pub fn identity(&self) -> Option<&TlsIdentity> {
        self.identity.as_ref()
    }
}

/// Sockets of sources that were stopped; what nobody takes is closed.
#[derive(Debug, Default)]
pub struct Kept(Vec<(Listen, Listen, Socket)>);

impl Kept {
    /// Takes those of another.
    pub fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    /// Closes those where nobody is to listen any more: another kind of socket may want the address.
    pub fn retain(&mut self, is_wanted: impl Fn(&Listen) -> bool) {
        self.0.retain(|(asked, ..)| is_wanted(asked));
    }

    fn take(&mut self, asked: &Listen) -> Option<(Listen, Socket)> {
        let at = self.0.iter().position(|(known, ..)| known == asked)?;
        let (_, listen, socket) = self.0.swap_remove(at);
        Some((listen, socket))
    }
}

/// Opens everything that `source` listens on, or takes it from `kept`, and reads its TLS files.
///
/// # Errors
/// A sentence with the source, the address and the remedy. What was opened is closed again; what was kept, is kept.
pub fn bind(source: &Source, kept: &mut Kept) -> Result<Bound, String> {
    let named = |error: String| format!("source {}: {error}", source.name);
    let identity = identity(source).map_err(named)?;
    let mut bound = Bound { sockets: Vec::new(), asked: Vec::new(), identity };
    for listen in &source.listen {
        let opened = match kept.take(listen) {
            Some(known) => Ok(again(known, source.receive_buffer)),
            None => open(listen, source.receive_buffer),
        };
        match opened {
            Ok(opened) => {
                bound.sockets.push(opened);
                bound.asked.push(listen.clone());
            }
            Err(error) => {
                bound.keep(kept);
                return Err(named(error));
            }
        }
    }
    Ok(bound)
}

/// A socket that was kept, as its source is now.
fn again((listen, socket): (Listen, Socket), receive_buffer: usize) -> (Listen, Socket) {
    if let Socket::Datagram(datagrams) = &socket
        && let Err(error) = buffer(&datagrams.fd, &listen, receive_buffer)
    {
        warn!(%listen, error, "the receive buffer stays as it was");
    }
    (listen, socket)
}

fn identity(source: &Source) -> Result<Option<TlsIdentity>, String> {
    let Some(listen) = source.listen.iter().find(|listen| listen.is_tls()) else { return Ok(None) };
    let (Some(certificate), Some(key)) = (&source.tls_cert, &source.tls_key) else {
        return Err(format!("{listen} needs a certificate, but tls_cert and tls_key are not both set; set both"));
    };
    let identity = match &source.client_ca {
        None => TlsIdentity::load(certificate, key, &[]),
        Some(roots) => TlsIdentity::load_requiring_clients(certificate, key, roots, &[]),
    };
    identity.map(Some).map_err(|error| error.to_string())
}

fn open(listen: &Listen, receive_buffer: usize) -> Result<(Listen, Socket), String> {
    let unix = |path: &Path, fd: OwnedFd, own| {
        buffer(&fd, listen, receive_buffer)?;
        let path = Listen::UnixDatagram(path.into());
        Ok((path, Socket::Datagram(Datagrams { fd, own: Some(Arc::new(own)), drops: Arc::default() })))
    };
    match listen {
        Listen::Udp(address) => {
            let (fd, address) = udp(*address).map_err(|error| cannot(listen, &error))?;
            buffer(&fd, listen, receive_buffer)?;
            Ok((Listen::Udp(address), Socket::Datagram(Datagrams { fd, own: None, drops: Arc::default() })))
        }
        Listen::Tcp(address) => tcp(*address).map(|(socket, address)| (Listen::Tcp(address), socket)),
        Listen::Tls(address) => tcp(*address).map(|(socket, address)| (Listen::Tls(address), socket)),
        Listen::Relp(address) => tcp(*address).map(|(socket, address)| (Listen::Relp(address), socket)),
        Listen::RelpTls(address) => tcp(*address).map(|(socket, address)| (Listen::RelpTls(address), socket)),
        Listen::UnixDatagram(path) => local::datagram(path).and_then(|(socket, own)| unix(path, socket.into(), own)),
        Listen::UnixStream(path) => {
            let (socket, own) = local::stream(path)?;
            Ok((listen.clone(), Socket::Unix(socket, Arc::new(own))))
        }
        Listen::Pipe(path) => Ok((listen.clone(), Socket::Pipe(local::pipe(path)?))),
    }
}

fn tcp(address: SocketAddr) -> Result<(Socket, SocketAddr), String> {
    let socket = wire::listen(address).map_err(|error| error.to_string())?;
    let address = socket.local_addr().map_err(|error| format!("cannot listen on {address}: {error}"))?;
    Ok((Socket::Tcp(socket), address))
}

fn udp(address: SocketAddr) -> std::io::Result<(OwnedFd, SocketAddr)> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    let bound = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok((socket.into(), bound))
}

fn buffer(fd: &OwnedFd, listen: &Listen, asked: usize) -> Result<(), String> {
    let granted = ask_buffer(fd.as_fd(), asked).map_err(|error| cannot(listen, &error))?;
    if granted < asked {
        warn!(
            %listen, asked, granted,
            "the receive buffer is smaller than receive_buffer; give CAP_NET_ADMIN, or raise net.core.rmem_max"
        );
    }
    Ok(())
}

fn cannot(listen: &Listen, error: &std::io::Error) -> String {
    let remedy = match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "ports below 1024 need root at start or the capability CAP_NET_BIND_SERVICE"
        }
        std::io::ErrorKind::AddrNotAvailable => "does this machine have that address?",
        _ => "is another server running?",
    };
    format!("cannot listen on {listen}: {error}; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_all(source: &Source) -> Result<Bound, String> {
        bind(source, &mut Kept::default())
    }

    fn source(listen: &str, more: &str) -> Source {
        toml::from_str(&format!("name = \"net\"\nlisten = [{listen}]\n{more}")).unwrap()
    }

    #[test]
    fn errors_name_the_source_the_address_and_the_remedy() {
        let first = open_all(&source("\"udp://127.0.0.1:0\", \"tcp://127.0.0.1:0\"", "")).unwrap();
        for listen in first.listens() {
            let text = open_all(&source(&format!("\"{listen}\""), "")).unwrap_err();
            assert!(text.starts_with("source net: cannot listen on ") && text.ends_with("is another server running?"));
        }
        let text = open_all(&source("\"udp://192.0.2.1:514\"", "")).unwrap_err();
        assert!(text.contains("udp://192.0.2.1:514") && text.contains("does this machine have"), "{text}");
        let text = open_all(&source("\"relp+tls://127.0.0.1:0\"", "tls_cert = \"/nowhere\"")).unwrap_err();
        assert!(text.contains("relp+tls://127.0.0.1:0 needs a certificate") && text.contains("set both"), "{text}");
        let files = "tls_cert = \"/nowhere\"\ntls_key = \"/nowhere\"";
        let text = open_all(&source("\"tls://127.0.0.1:0\"", files)).unwrap_err();
        assert!(text.contains("/nowhere") && text.contains("check that the file exists"), "{text}");
        assert!(open_all(&source("", files)).unwrap().identity().is_none(), "nobody needs it");
    }

    /// A source that changes loses nothing that waits in its sockets.
    #[test]
    fn who_listens_at_the_same_place_goes_on_with_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let listen = format!("\"udp://127.0.0.1:0\", \"tcp://127.0.0.1:0\", \"unix-dgram://{}\"", path.display());
        let first = open_all(&source(&listen, "")).unwrap();
        let listens: Vec<_> = first.listens().cloned().collect();
        let [Listen::Udp(udp), Listen::Tcp(tcp), _] = listens[..] else { panic!("{listens:?}") };
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"waits", udp).unwrap();
        let connection = std::net::TcpStream::connect(tcp).unwrap();
        let mut kept = Kept::default();
        first.keep(&mut kept);
        drop(first);
        let changed = source(&format!("\"udp://192.0.2.1:514\", {listen}"), "");
        assert!(bind(&changed, &mut kept).is_err() && path.exists());
        let again = bind(&source(&listen, "max_line = 100"), &mut kept).unwrap();
        assert!(kept.0.is_empty());
        assert_eq!(again.listens().cloned().collect::<Vec<_>>(), listens);
        for (_, socket) in &again.sockets {
            match socket {
                Socket::Datagram(datagrams) if datagrams.own.is_none() => {
                    let mut octets = [std::mem::MaybeUninit::uninit(); 10];
                    assert_eq!(socket2::SockRef::from(&datagrams.fd).recv(&mut octets).unwrap(), 5);
                }
                Socket::Tcp(listener) => assert_eq!(listener.accept().unwrap().1, connection.local_addr().unwrap()),
                _ => assert!(path.exists()),
            }
        }
        drop(again);
        assert!(!path.exists());
    }
}
