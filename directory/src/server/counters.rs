//! What the LDAP server counts. Every limit that closes, cuts or refuses has a counter of its own.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts since the start, updated without locks.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        /// The counters at one moment.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Snapshot {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// The counters now.
            pub fn snapshot(&self) -> Snapshot {
                Snapshot { $($name: self.$name.load(Relaxed),)* }
            }
        }

        impl Snapshot {
            /// Every counter with its name, for metrics.
            pub fn fields(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Connections that are open; goes down again.
    open,
    /// Octets received.
    bytes_in,
    /// Octets sent.
    bytes_out,
    /// Searches begun.
    searches,
    /// Searches answered as the same one was before.
    repeated,
    /// Entries sent.
    entries,
    /// Compare operations.
    compares,
    /// Extended operations other than those counted on their own.
    extended,
    /// Questions of instances answered.
    asks,
    /// Questions of instances refused, because the peer is no known host.
    asks_refused,
    /// Binds that became anonymous.
    binds_anonymous,
    /// Password binds that succeeded.
    binds_right,
    /// Password binds with wrong credentials, for whatever cause.
    binds_wrong,
    /// Binds of a host by its certificate.
    binds_external,
    /// Password binds refused for want of TLS.
    binds_not_secure,
    /// Binds with a DN and no password.
    binds_empty,
    /// Password binds turned away because too many are being judged.
    binds_busy,
    /// Password binds that nothing could judge.
    binds_unavailable,
    /// Binds of an unknown kind, version or mechanism.
    binds_refused,
    /// Changes of content that were asked for; all are refused.
    writes_refused,
    /// StartTLS handshakes done.
    tls_started,
    /// StartTLS refused or failed.
    tls_refused,
    /// Searches ended by Abandon, Cancel or the end of the connection.
    abandoned,
    /// Messages that are no LDAP requests; each ended its connection.
    decode_errors,
    /// Messages larger than the connection may send; each ended its connection.
    oversized,
    /// Operations with a critical control that is not served.
    critical_controls,
    /// Filters, DNs and attribute lists refused.
    malformed,
    /// Operations refused to a peer that may not see the content.
    denied,
    /// Operations refused because no content has been received yet.
    no_content,
    /// Searches cut at their size limit.
    size_limited,
    /// Searches cut at their time limit.
    time_limited,
    /// Searches refused because too many candidates would have to be examined.
    candidates_limited,
    /// Paged searches turned away, because too many entries are held back for further pages, of all clients or of
    /// its source.
    pages_refused,
    /// Decisions not recorded, because their source had too many recorded already.
    records_limited,
    /// Connections closed because the client did not read.
    slow_readers,
    /// Connections closed because nothing complete arrived for `idle_s`.
    idle_closed,
}

impl Counters {
    /// Adds one.
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }
}
