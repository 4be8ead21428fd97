//! Any octets as what a client sends, for a fuzzer: the road of a request up to the point where it would be answered.

use bytes::BytesMut;
use ldap3_proto::{
    LdapCodec,
    proto::{LdapExtendedRequest, LdapOp},
};
use tokio_util::codec::Decoder;

use super::{
    asked::Compiled,
    connection::{DEPTH_MAX, KNOWN_MAX},
    frame, plain, readable,
};
use crate::{ask::Asked, dn::Dn, filter::Filter};

/// Takes messages off the front as a connection does, and reads what they hold. Nothing of it may panic, and every
/// message must take octets.
pub fn fuzz(data: &[u8]) {
    let mut codec = LdapCodec::new(Some(KNOWN_MAX), Some(DEPTH_MAX));
    let mut inbox = BytesMut::from(data);
    while let Ok(Some(length)) = frame::length(&inbox, KNOWN_MAX) {
        if inbox.len() < length {
            return;
        }
        assert!(length > 0);
        let mut message = inbox.split_to(length);
        let Some(head) = frame::head(&message) else { return };
        let _ = head.ends();
        let Some(controls) = head.controls() else { return };
        for control in controls {
            let _ = control.value.as_deref().map(frame::paged);
        }
        let octets = message.clone();
        let is_plain = plain::read(&octets, &mut Compiled::default()).is_some();
        if readable::make(&mut message).is_none() {
            assert!(!is_plain, "a plain search is none");
            return;
        }
        match codec.decode(&mut message) {
            Ok(Some(message)) => {
                match &message.op {
                    LdapOp::SearchRequest(search) => assert!(plain::is_as_read(&octets, search), "{search:?}"),
                    _ => assert!(!is_plain, "{message:?} is no search"),
                }
                read(message.op);
            }
            Ok(None) | Err(_) => {
                assert!(!is_plain, "a plain search is none to the codec");
                return;
            }
        }
    }
}

fn read(operation: LdapOp) {
    match operation {
        LdapOp::SearchRequest(search) => {
            let _ = (Dn::parse(&search.base), Filter::compile(&search.filter));
        }
        LdapOp::BindRequest(bind) => drop(Dn::parse(&bind.dn)),
        LdapOp::CompareRequest(compare) => drop(Dn::parse(&compare.dn)),
        LdapOp::ExtendedRequest(LdapExtendedRequest { value: Some(value), .. }) => {
            let _ = (Asked::parse(&value), frame::cancelled(&value));
        }
        _ => {}
    }
}
