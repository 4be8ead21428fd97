//! Where a source listens, as an address with a scheme.

use std::{fmt, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Deserializer, de};

/// A place where lines arrive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Listen {
    /// Datagrams.
    Udp(SocketAddr),
    /// RFC 6587, both framings.
    Tcp(SocketAddr),
    /// RFC 5425; newline framing is taken too.
    Tls(SocketAddr),
    /// RELP.
    Relp(SocketAddr),
    /// RELP under TLS.
    RelpTls(SocketAddr),
    /// A datagram socket such as /dev/log.
    UnixDatagram(PathBuf),
    /// A stream socket.
    UnixStream(PathBuf),
    /// A named pipe.
    Pipe(PathBuf),
}

impl Listen {
    /// Reads an address.
    ///
    /// # Errors
    /// A sentence that names what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let schemes = "udp, tcp, tls, relp, relp+tls, unix-dgram, unix-stream, pipe";
        let (scheme, place) =
            text.split_once("://").ok_or(format!("{text:?} is no address; it begins with one of {schemes} and ://"))?;
        let path = || match place.starts_with('/') {
            true => Ok(PathBuf::from(place)),
            false => Err(format!("{text:?} needs an absolute path: {scheme}:///run/log")),
        };
        let address = || place.parse().map_err(|_| format!("{text:?} needs ADDRESS:PORT after {scheme}://"));
        Ok(match scheme {
            "udp" => Self::Udp(address()?),
            "tcp" => Self::Tcp(address()?),
            "tls" => Self::Tls(address()?),
            "relp" => Self::Relp(address()?),
            "relp+tls" => Self::RelpTls(address()?),
            "unix-dgram" => Self::UnixDatagram(path()?),
            "unix-stream" => Self::UnixStream(path()?),
            "pipe" => Self::Pipe(path()?),
            _ => return Err(format!("{text:?} begins with {scheme:?}; known are {schemes}")),
        })
    }

    /// The TCP address that it needs, if it needs one.
    pub fn stream_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) | Self::Tls(address) | Self::Relp(address) | Self::RelpTls(address) => Some(*address),
            Self::Udp(_) | Self::UnixDatagram(_) | Self::UnixStream(_) | Self::Pipe(_) => None,
        }
    }

    /// Whether it needs a certificate.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::RelpTls(_))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Tls(address) => write!(f, "tls://{address}"),
            Self::Relp(address) => write!(f, "relp://{address}"),
            Self::RelpTls(address) => write!(f, "relp+tls://{address}"),
            Self::UnixDatagram(path) => write!(f, "unix-dgram://{}", path.display()),
            Self::UnixStream(path) => write!(f, "unix-stream://{}", path.display()),
            Self::Pipe(path) => write!(f, "pipe://{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
