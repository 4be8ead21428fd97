//! Zone transfers to secondaries: AXFR (RFC 5936), IXFR (RFC 1995), NOTIFY (RFC 1996), TSIG (RFC 8945).
//!
//! Everything but [`notify::run`] is a plain function of its arguments. [`message::Request`] reads a
//! question, [`tsig::Keys::verify`] its signature, [`may_transfer`] decides, [`out::axfr`] and
//! [`out::ixfr`] yield the messages, [`tsig::Session::sign`] signs them one after the other. Messages are
//! made while they are sent: a zone of any size takes the memory of one message.

use std::net::IpAddr;

use ipnet::IpNet;

pub mod message;
pub mod notify;
pub mod out;
mod pack;
mod rounds;
pub(crate) mod serve;
pub mod tsig;

/// Whether `source` may transfer zones, signed with the key named `key` or not at all. `networks` is
/// `[dns] transfer`; where keys are configured one of them is needed too. The error says why not.
pub fn may_transfer(
    source: IpAddr,
    key: Option<&str>,
    networks: &[IpNet],
    keys_configured: bool,
) -> Result<(), &'static str> {
    let source = source.to_canonical();
    if networks.is_empty() {
        return Err("no network may transfer zones");
    }
    if !networks.iter().any(|network| network.contains(&source)) {
        return Err("the source is in no network that may transfer zones");
    }
    if keys_configured && key.is_none() {
        return Err("keys are configured, but the request is not signed");
    }
    Ok(())
}

/// Any octets as a message: reads the request, and checks its signature. Never panics; for fuzzing.
pub fn fuzz(data: &[u8]) {
    let keys: tsig::Keys = tsig::Key::new("k.", "hmac-sha256", vec![7; 32]).into_iter().collect();
    let _ = keys.verify(data, 1_700_000_000);
    let Some(request) = message::Request::read(data) else { return };
    let _ = out::error_reply(&request, crate::rr::rcode::REFUSED);
    if let Some(mut session) = keys.signer(None) {
        let mut message = data.to_vec();
        if session.sign(&mut message, 1_700_000_000).is_ok() {
            let _ = session.verify_reply(&message, 1_700_000_000);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_and_key_decide() {
        let networks = ["10.0.0.0/8".parse().unwrap()];
        let may = |source: &str, key, networks: &[IpNet], configured| {
            may_transfer(source.parse().unwrap(), key, networks, configured).is_ok()
        };
        assert!(may("10.1.2.3", None, &networks, false));
        assert!(may("::ffff:10.1.2.3", None, &networks, false), "an IPv4 address on an IPv6 socket");
        assert!(may("10.1.2.3", Some("k"), &networks, true));
        assert!(!may("10.1.2.3", None, &networks, true));
        assert!(!may("192.0.2.1", Some("k"), &networks, true), "a key does not stand for the network");
        assert!(!may("10.1.2.3", Some("k"), &[], true));
    }
}
