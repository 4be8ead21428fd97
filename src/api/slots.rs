//! Who may hold how many connections of a listener.
//!
//! A listener has [`CONNECTIONS_MAX`] slots, a peer [`PER_PEER_MAX`] of them; the last [`RESERVED`] of the control
//! socket are for root and the node's user, who are not counted one by one. So nobody else can lock the operator
//! out. The table has an entry for each peer that is connected, so the slots bound it.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::peer::Peer;

/// Connections at once on one listener.
pub(crate) const CONNECTIONS_MAX: usize = 256;
/// Connections at once of one user on the control socket, or of one address (of one /64 in IPv6).
pub(crate) const PER_PEER_MAX: usize = 64;
/// Slots of the control socket that only root and the node's user get.
pub(crate) const RESERVED: usize = 16;

/// What counts as one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    User(u32),
    Address(IpAddr),
}

impl From<Peer> for Who {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Socket(uid) => Self::User(uid),
            Peer::Http(from) => Self::Address(match from.ip() {
                IpAddr::V4(address) => address.into(),
                // One machine usually commands a whole /64.
                IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            }),
        }
    }
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    peers: HashMap<Who, usize>,
}

/// The slots of one listener.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slots(Arc<Mutex<Open>>);

/// The right to one connection; given back on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    who: Who,
}

impl Slots {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot for a connection of `peer`, if it may have one more.
    pub(crate) fn admit(&self, peer: Peer) -> Option<Slot> {
        let who = Who::from(peer);
        let mut open = self.open();
        let room = match peer {
            _ if peer.is_operator() => CONNECTIONS_MAX,
            Peer::Socket(_) => CONNECTIONS_MAX - RESERVED,
            Peer::Http(_) => CONNECTIONS_MAX,
        };
        let own = open.peers.get(&who).copied().unwrap_or(0);
        if open.total >= room || (own >= PER_PEER_MAX && !peer.is_operator()) {
            return None;
        }
        open.total += 1;
        open.peers.insert(who, own + 1);
        drop(open);
        Some(Slot { slots: self.clone(), who })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.open();
        open.total -= 1;
        if let Some(own) = open.peers.get_mut(&self.who) {
            *own -= 1;
            if *own == 0 {
                open.peers.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_users_cannot_lock_the_operator_out() {
        let (slots, mut taken) = (Slots::default(), Vec::new());
        for uid in 70_000..70_010 {
            let own: Vec<Slot> = std::iter::from_fn(|| slots.admit(Peer::Socket(uid))).collect();
            assert!(own.len() <= PER_PEER_MAX);
            taken.extend(own);
        }
        assert_eq!(taken.len(), CONNECTIONS_MAX - RESERVED);
        let ours: Vec<Slot> = std::iter::from_fn(|| slots.admit(Peer::Socket(0))).collect();
        assert_eq!(ours.len(), RESERVED);
        drop((ours, taken));
        assert!(slots.open().peers.is_empty() && slots.open().total == 0);
    }

    #[test]
    fn one_address_leaves_room_for_others() {
        let slots = Slots::default();
        let peer = |text: &str| Peer::Http(text.parse().unwrap());
        let mut ports = 1..;
        let flood = || slots.admit(peer(&format!("[2001:db8::{}]:80", ports.next()?)));
        let taken: Vec<Slot> = std::iter::from_fn(flood).collect();
        assert_eq!(taken.len(), PER_PEER_MAX);
        assert!(slots.admit(peer("[2001:db8:0:1::1]:80")).is_some());
        assert!(slots.admit(peer("192.0.2.1:80")).is_some());
    }
}
