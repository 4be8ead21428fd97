use super::*;
use crate::transfer::{
    message::Request,
    tsig::{Key, Verified},
};

const NOW_S: u64 = 1_700_000_000;

fn zone(apex: &str, serial: u32) -> (Name, Soa) {
    let apex = Name::parse(apex).unwrap();
    let soa =
        Soa { ttl: 1, mname: apex.clone(), rname: apex.clone(), serial, refresh: 1, retry: 1, expire: 1, minimum: 1 };
    (apex, soa)
}

fn rounds(targets: &[&str], keys: Keys) -> Rounds {
    let targets: Vec<_> = targets.iter().map(|target| target.parse().unwrap()).collect();
    let key = (!keys.is_empty()).then(|| Name::parse("k").unwrap());
    Rounds::new(&targets, keys, key, Duration::from_secs(1))
}

/// Counts up instead of drawing lots.
fn counter() -> impl FnMut() -> u16 {
    let mut next = 0;
    move || {
        next += 1;
        next
    }
}

fn reply_to(message: &[u8], rcode: u8) -> Vec<u8> {
    let mut reply = message.to_vec();
    reply[2] |= 0x80;
    reply[3] = rcode;
    reply
}

#[test]
fn a_message_carries_the_soa() {
    let (apex, soa) = zone("a.private", 9);
    let message = notify(7, &apex, &soa);
    let request = Request::read(&message).unwrap();
    assert_eq!((request.id, request.opcode, request.rtype, request.name), (7, 4, 6, apex.clone()));
    let read = hickory_proto::op::Message::from_vec(&message).unwrap();
    assert_eq!((read.answers.len(), read.answers[0].name.to_ascii().as_str()), (1, "a.private."));
    assert!(read.authoritative);
}

#[test]
fn every_target_is_told_once_for_each_serial() {
    let mut rounds = rounds(&["192.0.2.1:53", "192.0.2.2:53"], Keys::default());
    let (now, mut id) = (Instant::now(), counter());
    rounds.changed(&[zone("a", 1), zone("b", 1)]);
    let sent = rounds.step(now, NOW_S, &mut id).send;
    assert_eq!(sent.len(), 4);
    assert!(rounds.step(now, NOW_S, &mut id).send.is_empty());
    for (target, message) in &sent {
        assert_eq!(rounds.reply(*target, &reply_to(message, 0), NOW_S), Reply::Acknowledged);
        assert_eq!(rounds.reply(*target, &reply_to(message, 0), NOW_S), Reply::Ignored, "a second reply");
    }
    assert_eq!(rounds.next_due(), None);
    rounds.changed(&[zone("a", 1), zone("b", 2)]);
    assert_eq!(rounds.step(now, NOW_S, &mut id).send.len(), 2, "only the zone that changed");
}

#[test]
fn replies_must_match() {
    let mut rounds = rounds(&["192.0.2.1:53"], Keys::default());
    rounds.changed(&[zone("a", 1)]);
    let (target, message) = rounds.step(Instant::now(), NOW_S, counter()).send.remove(0);
    let mut other_id = reply_to(&message, 0);
    other_id[1] ^= 1;
    let mut no_notify = reply_to(&message, 0);
    no_notify[2] = 0x80;
    for (from, octets) in [
        ("192.0.2.9:53".parse().unwrap(), reply_to(&message, 0)),
        ("192.0.2.1:54".parse().unwrap(), reply_to(&message, 0)),
        (target, other_id),
        (target, no_notify),
        (target, message.clone()),
        (target, vec![]),
    ] {
        assert_eq!(rounds.reply(from, &octets, NOW_S), Reply::Ignored);
    }
    assert_eq!(
        rounds.reply("[::ffff:192.0.2.1]:53".parse().unwrap(), &reply_to(&message, 5), NOW_S),
        Reply::Refused(5)
    );
}

#[test]
fn silence_is_met_with_growing_waits_and_an_end() {
    let mut rounds = rounds(&["192.0.2.1:53"], Keys::default());
    rounds.changed(&[zone("a", 1)]);
    let (start, mut id, mut times) = (Instant::now(), counter(), Vec::new());
    let mut now = start;
    let given_up = loop {
        let step = rounds.step(now, NOW_S, &mut id);
        times.extend(step.send.iter().map(|_| (now - start).as_secs()));
        match rounds.next_due() {
            Some(due) => now = due,
            None => break step.given_up,
        }
    };
    assert_eq!((times, given_up), (vec![0, 1, 3, 7, 15, 31], 1));
}

#[test]
fn changes_replace_what_is_under_way() {
    let mut rounds = rounds(&["192.0.2.1:53"], Keys::default());
    let (now, mut id) = (Instant::now(), counter());
    rounds.changed(&[zone("a", 1)]);
    let (target, old) = rounds.step(now, NOW_S, &mut id).send.remove(0);
    for serial in 2..100 {
        rounds.changed(&[zone("a", serial)]);
    }
    let sent = rounds.step(now, NOW_S, &mut id).send;
    assert_eq!(sent.len(), 1);
    assert_eq!(rounds.reply(target, &reply_to(&old, 0), NOW_S), Reply::Ignored, "it knows an old serial");
    rounds.changed(&[]);
    assert_eq!((rounds.next_due(), rounds.zones.len()), (None, 0), "a zone that is gone is forgotten");
}

#[test]
fn a_silent_target_fills_only_its_own_places() {
    let mut rounds = rounds(&["192.0.2.1:53", "192.0.2.2:53"], Keys::default());
    let (now, mut id) = (Instant::now(), counter());
    let zones: Vec<_> = (0..1000).map(|n| zone(&format!("z{n}"), 1)).collect();
    rounds.changed(&zones);
    let live: SocketAddr = "192.0.2.2:53".parse().unwrap();
    let (mut told, mut silent) = (0, 0);
    loop {
        let sent = rounds.step(now, NOW_S, &mut id).send;
        if sent.is_empty() {
            break;
        }
        for (target, message) in sent {
            if target == live {
                assert_eq!(rounds.reply(target, &reply_to(&message, 0), NOW_S), Reply::Acknowledged);
                told += 1;
            } else {
                silent += 1;
            }
        }
    }
    assert_eq!((told, silent), (1000, OUTSTANDING_MAX));
}

#[test]
fn with_a_key_both_ways_are_signed() {
    let keys: Keys = Key::new("k", "hmac-sha256", vec![5; 32]).into_iter().collect();
    let mut rounds = rounds(&["192.0.2.1:53"], keys.clone());
    rounds.changed(&[zone("a", 1)]);
    let (target, message) = rounds.step(Instant::now(), NOW_S, counter()).send.remove(0);
    let Verified::Good(mut session) = keys.verify(&message, NOW_S) else { panic!("not signed") };
    let mut reply = message[..12].to_vec();
    reply[2] |= 0x80;
    reply[4..].fill(0);
    assert_eq!(rounds.reply(target, &reply, NOW_S), Reply::Ignored, "an unsigned reply");
    session.sign(&mut reply, NOW_S).unwrap();
    assert_eq!(rounds.reply(target, &reply, NOW_S), Reply::Acknowledged);
}
