//! Opening what a source listens on.

use std::{
    fmt,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use socket2::{Domain, Protocol, Type};
use tracing::warn;
use wire::TlsIdentity;

use super::{Socket, datagram::ask_buffer, local};
use crate::config::{Listen, Source};

/// The open sockets and pipes of a source.
pub struct Bound {
    pub(super) sockets: Vec<(Listen, Socket)>,
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

    /// The identity under TLS, to be read again on SIGHUP; clones see that.
    pub fn identity(&self) -> Option<&TlsIdentity> {
        self.identity.as_ref()
    }
}

/// Opens everything that `source` listens on, and reads its TLS files.
///
/// # Errors
/// A sentence with the source, the address and the remedy. What was opened is closed again.
pub fn bind(source: &Source) -> Result<Bound, String> {
    let named = |error: String| format!("source {}: {error}", source.name);
    let identity = identity(source).map_err(named)?;
    let open = |listen: &Listen| open(listen, source.receive_buffer).map_err(named);
    let sockets = source.listen.iter().map(open).collect::<Result<_, _>>()?;
    Ok(Bound { sockets, identity })
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
        Ok((Listen::UnixDatagram(path.into()), Socket::Datagram(fd, Some(own))))
    };
    match listen {
        Listen::Udp(address) => {
            let (fd, address) = udp(*address).map_err(|error| cannot(listen, &error))?;
            buffer(&fd, listen, receive_buffer)?;
            Ok((Listen::Udp(address), Socket::Datagram(fd, None)))
        }
        Listen::Tcp(address) => tcp(*address).map(|(socket, address)| (Listen::Tcp(address), socket)),
        Listen::Tls(address) => tcp(*address).map(|(socket, address)| (Listen::Tls(address), socket)),
        Listen::Relp(address) => tcp(*address).map(|(socket, address)| (Listen::Relp(address), socket)),
        Listen::RelpTls(address) => tcp(*address).map(|(socket, address)| (Listen::RelpTls(address), socket)),
        Listen::UnixDatagram(path) => local::datagram(path).and_then(|(socket, own)| unix(path, socket.into(), own)),
        Listen::UnixStream(path) => {
            let (socket, own) = local::stream(path)?;
            Ok((listen.clone(), Socket::Unix(socket, own)))
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

    fn source(listen: &str, more: &str) -> Source {
        toml::from_str(&format!("name = \"net\"\nlisten = [{listen}]\n{more}")).unwrap()
    }

    #[test]
    fn errors_name_the_source_the_address_and_the_remedy() {
        let first = bind(&source("\"udp://127.0.0.1:0\", \"tcp://127.0.0.1:0\"", "")).unwrap();
        for listen in first.listens() {
            let text = bind(&source(&format!("\"{listen}\""), "")).unwrap_err();
            assert!(text.starts_with("source net: cannot listen on ") && text.ends_with("is another server running?"));
        }
        let text = bind(&source("\"udp://192.0.2.1:514\"", "")).unwrap_err();
        assert!(text.contains("udp://192.0.2.1:514") && text.contains("does this machine have"), "{text}");
        let text = bind(&source("\"relp+tls://127.0.0.1:0\"", "tls_cert = \"/nowhere\"")).unwrap_err();
        assert!(text.contains("relp+tls://127.0.0.1:0 needs a certificate") && text.contains("set both"), "{text}");
        let files = "tls_cert = \"/nowhere\"\ntls_key = \"/nowhere\"";
        let text = bind(&source("\"tls://127.0.0.1:0\"", files)).unwrap_err();
        assert!(text.contains("/nowhere") && text.contains("check that the file exists"), "{text}");
        assert!(bind(&source("", files)).unwrap().identity().is_none(), "nobody needs it");
    }
}
