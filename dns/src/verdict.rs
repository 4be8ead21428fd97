//! What an answer is made from beside the zones, and what becomes of it: values only.

use std::net::IpAddr;

use crate::name::Name;

/// What the server says about itself, and its limits.
pub struct Facts {
    /// Name of the node: NSID (RFC 5001) and `id.server` (RFC 4892).
    pub id: String,
    /// Answer to `version.bind`.
    pub version: String,
    /// Largest UDP answer in octets.
    pub udp_payload_max: u16,
    /// Whether names that are not ours are asked for elsewhere.
    pub forwards: bool,
    /// Secrets for DNS cookies, the one to make new ones first.
    pub cookie_secrets: Vec<[u8; 16]>,
    /// Idle time of stream connections in units of 100 ms (RFC 7828).
    pub keepalive_ds: u16,
}

/// Who asks, and how.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    /// Source address.
    pub address: IpAddr,
    /// Over TCP, TLS or HTTPS: no size limit but that of the message.
    pub stream: bool,
    /// In a network that may ask for names that are not ours.
    pub trusted: bool,
    /// Unix time in seconds, for cookies.
    pub now_s: u32,
    /// Octets that a signature will add to the reply: set when the query's TSIG has been verified.
    pub signature: Option<usize>,
    /// Changes from query to query; chooses which of several addresses comes first.
    pub spin: u32,
}

/// Why an answer is what it is; counted together with its response code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Data at the name asked for.
    Data,
    /// The name exists, the type does not.
    NoData,
    /// The name does not exist.
    NoName,
    /// A server further down is responsible.
    Referral,
    /// About the server itself (class CH).
    Server,
    /// The message makes no sense.
    Malformed,
    /// An operation or question type that we do not do.
    Unsupported,
    /// EDNS version above 0.
    EdnsVersion,
    /// Neither ours nor to be forwarded for this asker.
    NotOurs,
    /// DNAME would make a name too long.
    NameTooLong,
    /// Only a cookie was asked for.
    Cookie,
}

/// All reasons, in the order of their numbers.
pub const REASONS: [Reason; 11] = [
    Reason::Data,
    Reason::NoData,
    Reason::NoName,
    Reason::Referral,
    Reason::Server,
    Reason::Malformed,
    Reason::Unsupported,
    Reason::EdnsVersion,
    Reason::NotOurs,
    Reason::NameTooLong,
    Reason::Cookie,
];

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Send what was written.
    Reply {
        /// Response code.
        rcode: u16,
        /// Why.
        reason: Reason,
        /// A valid cookie came with the query: the source address is not forged.
        proven: bool,
    },
    /// Send nothing.
    Silence,
    /// A TSIG record closes the query: verify it, then ask again with [`Asker::signature`] set.
    Signed,
    /// Not our name: ask a resolver. What was written are the EDNS options for its answer.
    Forward,
    /// What was written has no answer, or ends in a CNAME, for a name that is not ours or below a delegation: ask for it
    /// where it belongs and append the answer.
    Chase {
        /// The name to ask for.
        target: Name,
    },
    /// A zone transfer (RFC 5936, RFC 1995).
    Transfer {
        /// Apex of the zone, which may or may not be ours.
        apex: Name,
    },
}
