//! Messages, sinks, certificates and receivers for the tests.

use std::{
    fs,
    path::Path,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use logrelay::{
    destination::{Delivered, Identity, Sink, Trouble},
    message::{Batch, Field, Message, Records},
};

/// Number of the destination under test.
pub(crate) const NUMBER: u16 = 3;
/// Epoch of its chunks.
pub(crate) const EPOCH: u64 = 9;
/// A time in 2025, microseconds.
pub(crate) const NOW: i64 = 1_760_000_000_000_000;

/// A sink from the keys of a destination.
pub(crate) fn sink(keys: &str) -> Sink {
    build(keys).unwrap()
}

/// As [`sink`], with what is wrong.
pub(crate) fn build(keys: &str) -> Result<Sink, String> {
    let config = toml::from_str(&format!("name = \"d\"\n{keys}")).unwrap();
    Sink::build(&config, Identity { node: "gw1", relay: "gw1" })
}

/// A chunk of messages `(sequence, host, text)`.
pub(crate) fn chunk(messages: &[(u64, &str, &str)]) -> Batch {
    let mut batch = Batch::default();
    for (sequence, host, text) in messages {
        push(&mut batch, *sequence, host.as_bytes(), text.as_bytes(), NUMBER);
    }
    batch
}

/// Appends a message for a destination.
pub(crate) fn push(batch: &mut Batch, sequence: u64, host: &[u8], text: &[u8], number: u16) {
    let number = number.to_le_bytes();
    let mut message = Message::unread(text, NOW);
    message.sequence = sequence;
    message.set(Field::Host, host);
    message.set(Field::Program, b"app");
    message.set(Field::Destinations, &number);
    assert!(batch.push(&message));
}

/// A chunk of messages with the texts `m1`, `m2`, ... for the sequences of a range.
pub(crate) fn numbered(sequences: std::ops::Range<u64>) -> Batch {
    let mut batch = Batch::default();
    for sequence in sequences {
        push(&mut batch, sequence, b"web01", format!("m{sequence}").as_bytes(), NUMBER);
    }
    batch
}

/// Gives a chunk again and again, as the relay does, until it is delivered; `None` after ten seconds.
pub(crate) async fn persist(sink: &mut Sink, batch: &Batch, mut now_us: i64) -> Option<u64> {
    let began = Instant::now();
    let (mut done, mut messages) = (0, 0);
    while began.elapsed() < Duration::from_secs(10) {
        match sink.deliver(rest(batch, done), EPOCH, NUMBER, now_us).await {
            Ok(delivered) => return Some(messages + delivered.messages),
            Err(trouble) => {
                check_place(batch, done, &trouble);
                done += trouble.records.min(batch.count() as usize);
                messages += trouble.delivered.messages;
                now_us += 1_000_000;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    None
}

/// The records of a chunk without the first ones.
pub(crate) fn rest(batch: &Batch, done: usize) -> Records<'_> {
    let mut records = batch.records();
    for _ in 0..done {
        records.next();
    }
    records
}

/// The place of a trouble in records and its sequence are the same.
fn check_place(batch: &Batch, done: usize, trouble: &Trouble) {
    let last = rest(batch, done).take(trouble.records).last().and_then(Message::decode);
    assert_eq!(trouble.delivered_until, last.map(|message| message.sequence).filter(|n| *n != 0), "{trouble:?}");
}

/// Delivers, and it must work.
pub(crate) async fn deliver(sink: &mut Sink, batch: &Batch, now_us: i64) -> Delivered {
    sink.deliver(batch.records(), EPOCH, NUMBER, now_us).await.unwrap()
}

/// Waits until `done`, for ten seconds.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(10), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A counter of a sink.
pub(crate) fn counted(
    sink: &Sink,
    counter: fn(&logrelay::destination::Counters) -> &std::sync::atomic::AtomicU64,
) -> u64 {
    counter(sink.counters()).load(Relaxed)
}

/// The text of a file.
pub(crate) fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path.as_ref()).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

/// An authority in `ca.pem`, and what it issued for `localhost` and `relay1`: `NAME.pem` and `NAME.key`.
pub(crate) fn issue(dir: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    for name in ["localhost", "relay1"] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.into()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issued = params.signed_by(&key, &ca).unwrap();
        fs::write(dir.join(format!("{name}.pem")), issued.pem()).unwrap();
        fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}
