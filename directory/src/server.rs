//! The LDAP server: read-only, for nslcd, SSSD, sudo, OpenVPN, ldapsearch, and for the questions of instances.
//!
//! One task serves a connection: it takes every request that has arrived, answers them in their order and sends the
//! answers together. Lookups read the published view and wait for nothing; only a password bind waits, for whoever
//! judges it. A long search stops every few hundred entries for other connections, for Abandon and Cancel and for its
//! time limit, and a large result goes out in pieces as fast as its client reads.
//!
//! What is limited: message size before and after a bind, nesting, controls, filter parts, DN length, entries, time and
//! candidates of a search, entries kept for further pages, idle time, and the time in which a client must read; each
//! has a counter in [`Counters`]. Connections are limited by [`wire::Limits`]. Operations that wait are limited by the
//! octets that are taken in beforehand; what a client sends beyond stays in its own socket. Answers that are asked for
//! again are kept in tables of a fixed size.
//!
//! Who sees what: without a bind the rootDSE and the subschema, unless the network is in `allow_anonymous`; a bound
//! person everything but secrets; a host with a certificate everything, or with `views = "host"` only what concerns it.
//! Nothing here is on disk; a crash closes the connections and loses nothing.

mod asked;
mod bind;
mod compare;
mod connection;
mod counters;
mod extended;
mod eyes;
mod fixed;
mod frame;
mod fuzz;
mod judge;
mod pages;
mod pipe;
mod plain;
mod readable;
mod records;
mod repeats;
mod reply;
mod rootdse;
mod schema;
mod search;
mod sight;
mod walk;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;
use tokio::runtime::Handle;
use wire::{Limits, Stream, TlsIdentity};

pub use self::{
    counters::{Counters, Snapshot},
    fuzz::fuzz,
};
use crate::{
    config::Config,
    decisions::Decisions,
    dn::{BadDn, Dn},
    password::Passwords,
    tree::SUBSCHEMA_DN as SUBSCHEMA,
    view::Views,
};

/// Simple paged results (RFC 2696).
const PAGED: &str = "1.2.840.113556.1.4.319";
/// Password policy (draft-behera-ldap-password-policy).
const PASSWORD_POLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";
/// ManageDsaIT (RFC 3296); there are no referrals, so it changes nothing.
const MANAGE_DSA_IT: &str = "2.16.840.1.113730.3.4.2";
/// StartTLS (RFC 4511 section 4.14).
const START_TLS: &str = "1.3.6.1.4.1.1466.20037";
/// Who am I? (RFC 4532).
const WHO_AM_I: &str = "1.3.6.1.4.1.4203.1.11.3";
/// Cancel (RFC 3909).
const CANCEL: &str = "1.3.6.1.1.8";
/// Password Modify (RFC 3062); refused.
const PASSWORD_MODIFY: &str = "1.3.6.1.4.1.4203.1.11.1";

/// How old the directory's content may be, in milliseconds, at a time in unix milliseconds; `None` if it was never in
/// step with its source.
pub type Age = Box<dyn Fn(u64) -> Option<u64> + Send + Sync>;

/// What a server is made of.
pub struct Parts {
    /// `[directory]`.
    pub config: Arc<Config>,
    /// The published view.
    pub views: Arc<Views>,
    /// Judges password binds.
    pub passwords: Passwords,
    /// Where decisions are recorded.
    pub decisions: Decisions,
    /// How old the content is.
    pub age: Age,
    /// Certificate for StartTLS, with roots for clients if hosts are known by certificates.
    pub tls: Option<TlsIdentity>,
    /// The limits of the accept loops, for the time and the counters of StartTLS handshakes. With the same timers, if the
    /// connections' own runtime has none.
    pub limits: Arc<Limits>,
    /// The runtime that ends waits and judges passwords. A runtime that has timers looks for one that is due at every
    /// turn, which one that answers requests need not pay; so connections may live on one without.
    pub timers: Handle,
}

/// The LDAP server; one for all its listeners.
pub struct Server {
    parts: Parts,
    base: Dn,
    counters: Counters,
    /// Entries that all connections together keep for further pages.
    kept: pages::Kept,
    /// Whom hosts may see.
    known: eyes::Known,
    /// Decisions that each source may still have recorded.
    records: records::Budgets,
    /// Answers that are asked for again and again.
    repeats: repeats::Repeats,
}

impl Server {
    /// A server.
    ///
    /// # Errors
    /// If `base` is no DN.
    pub fn new(parts: Parts) -> Result<Self, BadDn> {
        let base = Dn::parse(&parts.config.base)?;
        Ok(Self {
            parts,
            base,
            counters: Counters::default(),
            kept: pages::Kept::default(),
            known: eyes::Known::default(),
            records: records::Budgets::default(),
            repeats: repeats::Repeats::default(),
        })
    }

    /// Serves one connection to its end. `is_tls` says that TLS was there from the start.
    pub async fn serve(&self, stream: Stream, peer: SocketAddr, _local: SocketAddr, is_tls: bool) {
        connection::run(self, stream, peer, is_tls).await;
    }

    /// What was counted.
    pub fn counters(&self) -> Snapshot {
        self.counters.snapshot()
    }

    /// Grants of sudo that not everybody is told of, as their hosts or whom others deny cannot be said; see
    /// [`SudoRoles::left_out`](crate::sudo::SudoRoles::left_out).
    pub fn sudo_left_out(&self) -> usize {
        self.parts.views.load().sudo.left_out()
    }

    /// Whether the content is older than is accepted for everybody. Content of unknown age is.
    pub fn is_stale(&self, now_ms: u64) -> bool {
        let limit_ms = self.parts.config.stale_admins_only_h.saturating_mul(3_600_000);
        limit_ms > 0
            && match (self.parts.age)(now_ms) {
                Some(age_ms) => age_ms > limit_ms,
                None => self.parts.views.load().tree.counts().entries > 0,
            }
    }
}

/// Whether an address is in one of the networks.
fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests;
