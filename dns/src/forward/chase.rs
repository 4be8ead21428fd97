//! An answer of ours that ends in a CNAME to a name that is not ours: the rest of the chain is asked
//! for and appended, so that the client need not ask again.

use hickory_proto::{
    op::Message,
    rr::Record,
    serialize::binary::{BinEncodable, BinEncoder, NameEncoding},
};

use super::{
    Forwarder,
    engine::key_of,
    message::{self, Query},
};
use crate::{
    name::Name,
    rr::{CLASS_IN, rtype},
};

/// The part of a reply that another one goes on with.
#[derive(Default)]
pub(crate) struct Piece {
    pub(crate) rcode: u16,
    pub(crate) answers: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
}

impl Piece {
    /// Of a whole message; `None` if it does not parse.
    pub(crate) fn read(message: &[u8]) -> Option<Self> {
        let message = Message::from_vec(message).ok()?;
        let rcode = u16::from(message.metadata.response_code);
        Some(Self { rcode, answers: message.answers, authorities: message.authorities })
    }
}

impl Forwarder {
    /// Completes `partial`, our reply whose answers end in a CNAME to `target`, for type `rtype`.
    /// `partial` comes back as it is if it does not parse or the whole would not fit a message.
    pub async fn chase(&self, partial: Vec<u8>, target: &Name, rtype: u16) -> Vec<u8> {
        let Some(asked) = Query::parse(&partial) else { return partial };
        let question = [&target[..], &rtype.to_be_bytes(), &CLASS_IN.to_be_bytes()].concat();
        let query = Query { question, name: target.to_vec(), rtype, class: CLASS_IN, ad: false, ..asked };
        let found = self.resolve(&key_of(&query)).await.write(&query);
        Piece::read(&found).and_then(|piece| join(&partial, &piece)).unwrap_or(partial)
    }
}

/// `partial` with the answers of `piece` after its own. The response code is that of the end of the chain
/// (RFC 6604 section 3); AA stays, since it speaks of the first name (RFC 1035 section 4.1.1). Authority and
/// additional records of `partial` are left out, its OPT stays last.
pub(crate) fn join(partial: &[u8], piece: &Piece) -> Option<Vec<u8>> {
    let places = message::places(partial)?;
    let last = places.iter().rfind(|place| place.section == 0);
    let answers_end = last.map(|place| place.end).or_else(|| message::question_end(partial))?;
    let mut reply = partial.get(..answers_end)?.to_vec();
    let ours = places.iter().filter(|place| place.section == 0).count();
    message::set_counts(&mut reply, [u16::try_from(ours).ok()?, 0, 0]);
    message::set_rcode(&mut reply, piece.rcode);
    for record in &piece.answers {
        message::append_encoded(&mut reply, 0, &encode(record)?);
    }
    for record in piece.authorities.iter().filter(|record| record.record_type().is_soa()) {
        message::append_encoded(&mut reply, 1, &encode(record)?);
    }
    if let Some(opt) = places.iter().rfind(|place| place.rtype == rtype::OPT) {
        message::append_encoded(&mut reply, 2, partial.get(opt.start..opt.end)?);
    }
    (reply.len() <= usize::from(u16::MAX)).then_some(reply)
}

/// One record without compression, so that it may stand anywhere.
fn encode(record: &Record) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    record.emit(&mut encoder).ok()?;
    Some(bytes)
}
