//! Addresses that we must not ask: our own, and those where nobody answers.

use std::net::{IpAddr, SocketAddr};

/// A list of resolvers that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum BadForward {
    /// Queries would come back to us for ever.
    #[error(
        "forward names {upstream}, but that is our own listen address {listen}; name the resolver behind us instead"
    )]
    Loop {
        /// The resolver.
        upstream: SocketAddr,
        /// Our address.
        listen: SocketAddr,
    },
    /// An address that nobody answers at.
    #[error("forward names {0}, which is no address of a resolver; write ADDRESS:53")]
    Address(SocketAddr),
    /// The library refuses.
    #[error("cannot set up forwarding: {0}")]
    Setup(String),
}

/// Checks the resolvers against our own addresses. An address of ours that listens on all
/// interfaces is known to collide with loopback addresses only.
pub fn check_upstreams(upstreams: &[SocketAddr], listen: &[SocketAddr]) -> Result<(), BadForward> {
    for &upstream in upstreams {
        let ip = upstream.ip().to_canonical();
        if ip.is_unspecified() || ip.is_multicast() || upstream.port() == 0 || ip == IpAddr::from([255; 4]) {
            return Err(BadForward::Address(upstream));
        }
        let collides = |ours: &&SocketAddr| {
            let own = ours.ip().to_canonical();
            ours.port() == upstream.port() && (own == ip || own.is_unspecified() && ip.is_loopback())
        };
        if let Some(&listen) = listen.iter().find(collides) {
            return Err(BadForward::Loop { upstream, listen });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_that_are_ourselves() {
        let check = |upstream: &str, listen: &str| {
            check_upstreams(&[upstream.parse().unwrap()], &[listen.parse().unwrap()]).map_err(|error| error.to_string())
        };
        assert!(check("169.254.169.253:53", "10.0.0.2:53").is_ok());
        assert!(check("10.0.0.2:5353", "10.0.0.2:53").is_ok());
        assert!(check("10.0.0.2:53", "10.0.0.2:53").unwrap_err().contains("our own listen address"));
        assert!(check("[::ffff:10.0.0.2]:53", "10.0.0.2:53").is_err());
        assert!(check("127.0.0.1:53", "0.0.0.0:53").is_err());
        assert!(check("0.0.0.0:53", "10.0.0.2:53").unwrap_err().contains("no address of a resolver"));
        assert!(check("10.0.0.3:0", "10.0.0.2:53").is_err());
    }
}
