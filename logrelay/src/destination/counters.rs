//! What a destination counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a message can never be delivered to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsendable {
    /// The record could not be read.
    Unreadable,
    /// The path that its template makes is none: longer than the system allows.
    Path,
    /// Longer than the transport carries: a RELP frame has 999,999,999 octets at most, a record of ours 4 MiB.
    Long,
    /// The receiver refused it again and again (RELP `500`), or the system on our side does (UDP: a packet filter).
    Refused,
}

/// Counters of one destination.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages delivered.
    pub messages: AtomicU64,
    /// Octets delivered.
    pub octets: AtomicU64,
    /// Attempts that ended in trouble.
    pub troubles: AtomicU64,
    /// Records that could not be read.
    pub unreadable: AtomicU64,
    /// Messages whose path is none.
    pub bad_path: AtomicU64,
    /// Paths of which messages made something that was replaced or cut: `/`, `..`, control characters, too long.
    pub path_changed: AtomicU64,
    /// Messages that were too long for the transport.
    pub too_long: AtomicU64,
    /// Messages that the receiver, or for UDP the system on our side, refused for good.
    pub refused: AtomicU64,
    /// Connections made, the first included.
    pub connects: AtomicU64,
    /// Connections that were lost and replaced, and attempts to connect that failed.
    pub reconnects: AtomicU64,
    /// Changes from one receiver to another.
    pub failovers: AtomicU64,
    /// RELP frames acknowledged.
    pub acks: AtomicU64,
    /// Messages sent again after a break.
    pub resent: AtomicU64,
    /// Messages in which newlines were replaced by blanks for the framing.
    pub newlines: AtomicU64,
    /// Messages cut to the length of a datagram.
    pub cut: AtomicU64,
    /// Datagrams that the receiver's host refused.
    pub refused_datagrams: AtomicU64,
    /// Files opened.
    pub opened: AtomicU64,
    /// Files closed.
    pub closed: AtomicU64,
    /// Files reopened because somebody moved or removed them.
    pub moved: AtomicU64,
    /// Files rotated.
    pub rotated: AtomicU64,
    /// Rotations that failed; the file was written on.
    pub rotation_failed: AtomicU64,
    /// Rotations put off because the former one was still being compressed.
    pub rotation_waits: AtomicU64,
    /// Rotated files compressed.
    pub compressed: AtomicU64,
    /// Rotated files that could not be compressed and stay as they are.
    pub compress_failed: AtomicU64,
    /// Lines cut off again because the disk was full within them.
    pub torn: AtomicU64,
    /// Files or file systems that could not be made durable after they were written; with `fsync` that is trouble instead.
    pub sync_failed: AtomicU64,
    /// Owners or modes that could not be set, links that could not be made; the lines were written.
    pub attributes_failed: AtomicU64,
}

impl Counters {
    /// Names and values, for metrics.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        let named = [
            ("messages", &self.messages),
            ("octets", &self.octets),
            ("troubles", &self.troubles),
            ("unreadable", &self.unreadable),
            ("bad_path", &self.bad_path),
            ("path_changed", &self.path_changed),
            ("too_long", &self.too_long),
            ("refused", &self.refused),
            ("connects", &self.connects),
            ("reconnects", &self.reconnects),
            ("failovers", &self.failovers),
            ("acks", &self.acks),
            ("resent", &self.resent),
            ("newlines", &self.newlines),
            ("cut", &self.cut),
            ("refused_datagrams", &self.refused_datagrams),
            ("opened", &self.opened),
            ("closed", &self.closed),
            ("moved", &self.moved),
            ("rotated", &self.rotated),
            ("rotation_failed", &self.rotation_failed),
            ("rotation_waits", &self.rotation_waits),
            ("compressed", &self.compressed),
            ("compress_failed", &self.compress_failed),
            ("torn", &self.torn),
            ("sync_failed", &self.sync_failed),
            ("attributes_failed", &self.attributes_failed),
        ];
        named.into_iter().map(|(name, counter)| (name, counter.load(Relaxed))).collect()
    }

    /// Counts `n` messages that cannot be delivered.
    pub(super) fn unsendable(&self, why: Unsendable, n: u64) {
        let counter = match why {
            Unsendable::Unreadable => &self.unreadable,
            Unsendable::Path => &self.bad_path,
            Unsendable::Long => &self.too_long,
            Unsendable::Refused => &self.refused,
        };
        counter.fetch_add(n, Relaxed);
    }
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_name_of_its_own() {
        let counters = Counters::default();
        counters.unsendable(Unsendable::Refused, 3);
        let all = counters.all();
        assert!(all.contains(&("refused", 3)) && all.iter().map(|(_, n)| n).sum::<u64>() == 3);
        assert_eq!(all.len() * size_of::<AtomicU64>(), size_of::<Counters>());
        let names: std::collections::BTreeSet<_> = all.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), all.len());
    }
}
