use hickory_proto::{
    op::Message,
    rr::{Name as HickoryName, TSigVerifier, TSigner},
    serialize::binary::BinEncodable,
};

use super::*;
use crate::transfer::message::u16_at;

const NOW: u64 = 1_700_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn keys(algorithm: &str) -> Keys {
    Key::new("Transfer.Key", algorithm, SECRET.to_vec()).into_iter().collect()
}

fn peer(algorithm: TsigAlgorithm) -> TSigner {
    TSigner::new(SECRET.to_vec(), algorithm, HickoryName::from_ascii("transfer.key.").unwrap(), 300).unwrap()
}

/// A question as hickory-proto signs it, with what verifies its reply.
fn question(signer: &TSigner) -> (Vec<u8>, TSigVerifier) {
    let mut message = Message::query();
    message.add_query(hickory_proto::op::Query::query(
        HickoryName::from_ascii("acme.private.").unwrap(),
        hickory_proto::rr::RecordType::AXFR,
    ));
    let verifier = message.finalize(signer, NOW).unwrap().unwrap();
    (message.to_bytes().unwrap(), verifier)
}

/// An answer without records to a request.
fn answer(request: &[u8]) -> Vec<u8> {
    error_reply(&Request::read(request).unwrap(), rcode::NOERROR)
}

fn good(verified: Verified) -> Session {
    match verified {
        Verified::Good(session) => session,
        other => panic!("{other:?}"),
    }
}

/// Rcode, TSIG error, octets of the MAC, octets of other data.
fn refused(verified: Verified) -> (Fault, u16, u16, usize, usize) {
    let Verified::Bad { fault, reply } = verified else { panic!("{verified:?}") };
    let signature = Signature::find(&reply).flatten().unwrap();
    let rcode = u16_at(&reply, 2).unwrap() & 15;
    assert_eq!(Message::from_vec(&reply).unwrap().queries.len(), 1);
    (fault, rcode, signature.error, signature.mac.len(), signature.other.len())
}

#[test]
fn a_peer_verifies_a_chain_of_messages() {
    for (text, algorithm) in [
        ("hmac-sha256", TsigAlgorithm::HmacSha256),
        ("HMAC-SHA384", TsigAlgorithm::HmacSha384),
        ("hmac-sha512.", TsigAlgorithm::HmacSha512),
    ] {
        let signer = peer(algorithm);
        let (message, mut verifier) = question(&signer);
        let mut session = good(keys(text).verify(&message, NOW + 299));
        assert_eq!(session.key_name().to_string(), "transfer.key.");
        for at in 0..3 {
            let mut reply = answer(&message);
            let before = reply.len();
            session.sign(&mut reply, NOW + at).unwrap();
            assert!(reply.len() - before <= session.overhead());
            verifier.verify(&reply).unwrap_or_else(|e| panic!("message {at} with {text}: {e}"));
        }
        let mut reply = answer(&message);
        keys(text).signer(None).unwrap().sign(&mut reply, NOW).unwrap();
        assert!(verifier.verify(&reply).is_err(), "a message outside of the chain");
    }
}

#[test]
fn unsigned_and_malformed() {
    let (message, _) = question(&peer(TsigAlgorithm::HmacSha256));
    let keys = keys("hmac-sha256");
    assert!(matches!(keys.verify(b"\0\x01\0\0\0\0\0\0\0\0\0\0", NOW), Verified::Unsigned));
    assert!(matches!(keys.verify(&message[..message.len() - 1], NOW), Verified::Malformed));
    assert!(matches!(keys.verify(&[&message[..], &[0]].concat(), NOW), Verified::Malformed));
    // A second record behind the signature.
    let mut two = message.clone();
    two[11] = 2;
    two.extend([0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert!(matches!(keys.verify(&two, NOW), Verified::Malformed));
    let mut reply = message.clone();
    reply[2] |= 0x80;
    assert!(matches!(keys.verify(&reply, NOW), Verified::Malformed), "no reply to a reply");
    for cut in 0..message.len() {
        assert!(!matches!(keys.verify(&message[..cut], NOW), Verified::Good(_)));
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let (message, _) = question(&peer(TsigAlgorithm::HmacSha256));
    let keys = keys("hmac-sha256");
    for at in 0..message.len() {
        for bit in 0..8 {
            let mut other = message.clone();
            other[at] ^= 1 << bit;
            // The header's identifier is replaced by the original one, and the case of the key's names does not count.
            let same_case = other[at].eq_ignore_ascii_case(&message[at]) && at > 30;
            let good = matches!(keys.verify(&other, NOW), Verified::Good(_));
            assert!(!good || at < 2 || same_case, "octet {at} bit {bit}");
        }
    }
}

#[test]
fn faults_are_answered_as_the_rfc_says() {
    let signer = peer(TsigAlgorithm::HmacSha256);
    let (message, mut verifier) = question(&signer);
    let ours = keys("hmac-sha256");
    // Key and MAC: unsigned replies.
    assert_eq!(refused(Keys::default().verify(&message, NOW)), (Fault::BadKey, 9, 17, 0, 0));
    assert_eq!(refused(keys("hmac-sha512").verify(&message, NOW)), (Fault::BadKey, 9, 17, 0, 0));
    let other: Keys = Key::new("transfer.key", "hmac-sha256", vec![1; 32]).into_iter().collect();
    assert_eq!(refused(other.verify(&message, NOW)), (Fault::BadSig, 9, 16, 0, 0));
    // Time: a signed reply with our time.
    assert_eq!(refused(ours.verify(&message, NOW - 301)), (Fault::BadTime, 9, 18, 32, 6));
    let Verified::Bad { reply, .. } = ours.verify(&message, NOW + 301) else { panic!() };
    let signature = Signature::find(&reply).flatten().unwrap();
    assert_eq!((signature.time, signature.other), (NOW, (NOW + 301).to_be_bytes()[2..].to_vec()));
    assert!(verifier.verify(&reply).is_ok(), "signed over the MAC of the request");
}

#[test]
fn shortened_macs() {
    let (message, _) = question(&peer(TsigAlgorithm::HmacSha256));
    let signature = Signature::find(&message).flatten().unwrap();
    let shortened = |octets: usize| {
        let mut short = message[..signature.start].to_vec();
        short[11] -= 1;
        let record = Record {
            key: &signature.key,
            algorithm: &signature.algorithm,
            time: NOW,
            fudge: 300,
            error: 0,
            other: Vec::new(),
        };
        record.append(&mut short, &signature.mac[..octets]).unwrap();
        keys("hmac-sha256").verify(&short, NOW)
    };
    good(shortened(32));
    assert_eq!(refused(shortened(16)).0, Fault::BadTrunc);
    assert_eq!(refused(shortened(31)).2, 22);
    assert!(matches!(shortened(15), Verified::Malformed), "shorter than half of the hash");
    assert!(matches!(shortened(0), Verified::Malformed));
}

#[test]
fn replies_to_our_requests() {
    let keys = keys("hmac-sha256");
    let mut session = keys.signer(None).unwrap();
    let mut request = b"\0\x07\x20\0\0\x01\0\0\0\0\0\0\x01a\0\0\x06\0\x01".to_vec();
    session.sign(&mut request, NOW).unwrap();
    let mut reply = answer(&request);
    assert_eq!(session.verify_reply(&reply, NOW), Err(Fault::Unsigned));
    let unsigned = reply.clone();
    good(keys.verify(&request, NOW)).sign(&mut reply, NOW).unwrap();
    assert_eq!(session.verify_reply(&reply, NOW), Ok(()));
    assert_eq!(session.verify_reply(&reply, NOW + 301), Err(Fault::BadTime));
    let last = reply.len() - 20;
    reply[last] ^= 1;
    assert_eq!(session.verify_reply(&reply, NOW), Err(Fault::BadSig));
    let mut replayed = unsigned;
    keys.signer(None).unwrap().sign(&mut replayed, NOW).unwrap();
    assert_eq!(session.verify_reply(&replayed, NOW), Err(Fault::BadSig), "not over our request");
    let Verified::Bad { reply, .. } = Keys::default().verify(&request, NOW) else { panic!() };
    assert_eq!(session.verify_reply(&reply, NOW), Err(Fault::Reported(17)));
}

#[test]
fn keys_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let key = |name: &str, algorithm: &str, text: &str| {
        let secret_file = dir.path().join("secret");
        std::fs::write(&secret_file, text).unwrap();
        let key = config::Key { name: name.into(), algorithm: algorithm.into(), secret_file };
        Keys::load(&[key.clone(), key]).unwrap_err()
    };
    let secret = "MDEyMzQ1Njc4OWFi\nY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n";
    assert!(matches!(key("k", "hmac-sha256", secret), KeyError::Twice(_)));
    assert!(matches!(key("k..x", "hmac-sha256", secret), KeyError::Name(_)));
    assert!(matches!(key("k", "hmac-md5", secret), KeyError::Algorithm(..)));
    assert!(matches!(key("k", "hmac-sha256", "no base64!"), KeyError::Base64(..)));
    assert!(matches!(key("k", "hmac-sha256", "c2hvcnQ="), KeyError::Short(_, 5)));
    let absent =
        config::Key { name: "k".into(), algorithm: "hmac-sha256".into(), secret_file: dir.path().join("absent") };
    assert!(matches!(Keys::load(&[absent]), Err(KeyError::Read(..))));
    assert!(!format!("{:?}", keys("hmac-sha256")).contains("48"), "the secret is not shown");
}
