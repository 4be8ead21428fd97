//! One transfer, from the zones of the moment to the last of its messages.
//!
//! Records are found by a walk over all names, and every message is packed and signed: work for a
//! thread that nobody else waits for. [`Outgoing::run`] blocks while the client does not read, which
//! the write timeout of its connection ends.

use std::sync::Arc;

use super::{
    message::Request,
    out::{axfr, ixfr, ixfr_udp},
    tsig::Session,
};
use crate::{stream::Replies, zones::Zones};

/// A transfer that has been allowed.
pub(crate) struct Outgoing {
    pub(crate) zones: Arc<Zones>,
    pub(crate) request: Request,
    pub(crate) session: Option<Session>,
    /// Where messages go; none over UDP.
    pub(crate) replies: Option<Replies>,
    /// Octets of a message over UDP, its signature not included.
    pub(crate) udp_limit: usize,
}

impl Outgoing {
    /// Sends all messages but the last one, which comes back unsigned, with the session to sign it.
    /// No message: the client has gone, or there is no such zone.
    pub(crate) fn run(mut self, now_s: impl Fn() -> u64) -> (Option<Vec<u8>>, Option<Session>) {
        let last = self.send(now_s);
        (last, self.session)
    }

    fn send(&mut self, now_s: impl Fn() -> u64) -> Option<Vec<u8>> {
        let (request, apex) = (&self.request, &self.request.name);
        let zone = self.zones.zone(apex)?;
        let client = request.client_serial;
        let diffs = client.and_then(|serial| zone.diffs_since(serial));
        let records = usize::try_from(zone.records).unwrap_or(usize::MAX);
        let Some(replies) = &self.replies else {
            return Some(ixfr_udp(request, apex, &zone.soa, diffs.as_deref(), records, self.udp_limit));
        };
        let mut messages: Box<dyn Iterator<Item = Vec<u8>> + Send + '_> = if client.is_some() {
            Box::new(ixfr(request, apex, &zone.soa, diffs, records, self.zones.records(apex)))
        } else {
            Box::new(axfr(request, apex, &zone.soa, self.zones.records(apex)))
        };
        let mut next = messages.next()?;
        for following in messages {
            if let Some(session) = &mut self.session {
                session.sign(&mut next, now_s()).ok()?;
            }
            replies.blocking_send(std::mem::replace(&mut next, following)).ok()?;
        }
        Some(next)
    }
}
