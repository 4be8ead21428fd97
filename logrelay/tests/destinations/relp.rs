//! RELP against receivers that die at any point: what we call delivered was acknowledged, and everything arrives.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use logrelay::{
    message::{Field, Message},
    relp::frame::{Decoder, encode},
};
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::common::{EPOCH, NOW, NUMBER, counted, deliver, numbered, persist, push, rest, sink, until};

/// How a receiver treats a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    /// Frames that it reads before it dies.
    reads: usize,
    /// How many of the last of them it does not acknowledge.
    silent: usize,
    /// Whether it says `serverclose` before.
    says: bool,
}

const FOREVER: Life = Life { reads: usize::MAX, silent: 0, says: false };

/// What a receiver got and acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Got {
    pub(crate) received: Vec<Vec<u8>>,
    acked: Vec<Vec<u8>>,
    opens: usize,
    closes: usize,
    refuse: BTreeSet<Vec<u8>>,
    pub(crate) mute: bool,
}

pub(crate) type Shared = Arc<Mutex<Got>>;

/// Serves one connection after the other; the last life is for all that follow.
async fn receiver(listener: TcpListener, lives: Vec<Life>, offers: &'static str, got: Shared) {
    let mut lives = lives.into_iter();
    while let Ok((stream, _)) = listener.accept().await {
        let life = lives.next().unwrap_or(FOREVER);
        let _ = serve(stream, life, offers, &got).await;
    }
}

async fn serve(mut stream: TcpStream, life: Life, offers: &str, got: &Shared) -> std::io::Result<()> {
    let (mut input, mut read, mut next) = (Vec::new(), 0, 1);
    let mut octets = vec![0; 4096];
    loop {
        // One that owes answers dies when nothing more comes.
        let owes = read > life.reads.saturating_sub(life.silent);
        let patience = Duration::from_millis(if owes { 20 } else { 60_000 });
        let n = timeout(patience, stream.read(&mut octets)).await.unwrap_or(Ok(0))?;
        if n == 0 {
            return Ok(());
        }
        input.extend_from_slice(&octets[..n]);
        let (mut answers, mut done, mut die) = (Vec::new(), 0, false);
        while let Some((frame, length)) = (Decoder { max_data: 1 << 20 }).decode(&input[done..]).unwrap() {
            done += length;
            assert_eq!(frame.txnr, next, "numbers follow one another");
            next += 1;
            let mut got = got.lock().unwrap();
            match frame.command {
                b"open" => {
                    got.opens += 1;
                    let words = String::from_utf8_lossy(frame.data);
                    assert_eq!(words, "relp_version=0\nrelp_software=gatehouse\ncommands=syslog,gatehouse");
                    encode(frame.txnr, b"rsp", format!("200 OK\n{offers}").as_bytes(), &mut answers);
                }
                b"close" => {
                    got.closes += 1;
                    encode(frame.txnr, b"rsp", b"", &mut answers);
                }
                _ => {
                    read += 1;
                    got.received.push(frame.data.to_vec());
                    if got.refuse.contains(frame.data) {
                        encode(frame.txnr, b"rsp", b"500 no", &mut answers);
                    } else if !got.mute && read <= life.reads.saturating_sub(life.silent) {
                        got.acked.push(frame.data.to_vec());
                        encode(frame.txnr, b"rsp", b"200 OK", &mut answers);
                    }
                }
            }
            if read >= life.reads {
                die = true;
                break;
            }
        }
        input.drain(..done);
        if die && life.says {
            encode(0, b"serverclose", b"", &mut answers);
        }
        stream.write_all(&answers).await?;
        if die {
            return Ok(());
        }
    }
}

const SYSLOG: &str = "relp_version=0\nrelp_software=test\ncommands=syslog";
pub(crate) const GATEHOUSE: &str = "relp_version=0\nrelp_software=gatehouse\ncommands=syslog,gatehouse";

pub(crate) async fn start(lives: Vec<Life>, offers: &'static str) -> (u16, Shared) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let got = Shared::default();
    tokio::spawn(receiver(listener, lives, offers, got.clone()));
    (port, got)
}

fn texts(messages: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    messages.map(|i| format!("m{i}").into_bytes()).collect()
}

#[tokio::test]
async fn everything_is_acknowledged_once() {
    let (port, got) = start(vec![], SYSLOG).await;
    let mut sink = sink(&format!("syslog = \"relp://127.0.0.1:{port}\"\ntemplate = \"$MSG\""));
    let delivered = deliver(&mut sink, &numbered(1..5001), NOW).await;
    assert_eq!((delivered.messages, counted(&sink, |c| &c.acks)), (5000, 5000));
    sink.close().await;
    let got = got.lock().unwrap();
    assert!(got.acked == texts(1..5001) && got.opens == 1 && got.closes == 1);
}

#[tokio::test]
async fn newlines_stay_and_rfc5424_is_the_default() {
    let (port, got) = start(vec![], SYSLOG).await;
    let mut sink = sink(&format!("syslog = \"relp://127.0.0.1:{port}\""));
    let mut batch = numbered(1..1);
    push(&mut batch, 1, b"web01", b"two\nlines", NUMBER);
    deliver(&mut sink, &batch, NOW).await;
    let text = String::from_utf8(got.lock().unwrap().acked[0].clone()).unwrap();
    assert!(
        text.starts_with("<13>1 2025-10-09T") && text.ends_with("two\nlines") && text.contains(" web01 app "),
        "{text}"
    );
}

#[tokio::test]
async fn a_receiver_that_goes_while_nothing_is_sent_is_noticed() {
    for says in [false, true] {
        let (port, got) = start(vec![Life { reads: 10, silent: 0, says }], SYSLOG).await;
        let mut sink = sink(&format!("syslog = \"relp://127.0.0.1:{port}\"\ntemplate = \"$MSG\""));
        deliver(&mut sink, &numbered(1..11), NOW).await;
        let began = std::time::Instant::now();
        while sink.state().target.is_some() {
            assert!(began.elapsed() < Duration::from_secs(10));
            sink.idle(NOW).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        deliver(&mut sink, &numbered(11..21), NOW).await;
        assert_eq!(got.lock().unwrap().acked, texts(1..21));
    }
}

#[tokio::test]
async fn a_message_that_is_refused_again_and_again_is_given_up() {
    let (port, got) = start(vec![], SYSLOG).await;
    got.lock().unwrap().refuse.insert(b"m5".to_vec());
    let mut sink = sink(&format!("syslog = \"relp://127.0.0.1:{port}\"\ntemplate = \"$MSG\""));
    let batch = numbered(1..11);
    for _ in 0..3 {
        let trouble = sink.deliver(rest(&batch, 4), EPOCH, NUMBER, NOW).await.unwrap_err();
        assert!(trouble.reason.contains("refuses a message: no"), "{trouble}");
        assert_eq!((trouble.records, trouble.delivered_until), (0, None));
    }
    let delivered = sink.deliver(rest(&batch, 4), EPOCH, NUMBER, NOW).await.unwrap();
    assert_eq!((delivered.messages, delivered.unsendable, counted(&sink, |c| &c.refused)), (5, 1, 1));
    let acked: BTreeSet<_> = got.lock().unwrap().acked.iter().cloned().collect();
    assert_eq!(acked, texts(6..11).into_iter().collect());
}

/// Answers to frames `from..=to`.
fn answers(range: std::ops::RangeInclusive<u32>, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    range.for_each(|txnr| encode(txnr, b"rsp", text, &mut out));
    out
}

/// Accepts a session, and reads frames until it has so many with the `open`.
async fn accept(listener: &TcpListener, frames: usize) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let (mut input, mut octets, mut seen) = (Vec::new(), vec![0; 4096], 0);
    while seen < frames {
        let n = stream.read(&mut octets).await.unwrap();
        input.extend_from_slice(&octets[..n]);
        while let Some((frame, length)) = (Decoder { max_data: 1 << 20 }).decode(&input).unwrap() {
            if frame.command == b"open" {
                stream.write_all(&answers(1..=1, format!("200 OK\n{SYSLOG}").as_bytes())).await.unwrap();
            }
            seen += 1;
            input.drain(..length);
        }
    }
    stream
}

#[tokio::test]
async fn a_hint_that_is_not_known_ends_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sink = sink(&format!("syslog = \"relp://{}\"", listener.local_addr().unwrap()));
    let (said, hint_is_there) = tokio::sync::oneshot::channel();
    let peer = tokio::spawn(async move {
        let mut stream = accept(&listener, 3).await;
        let mut out = answers(2..=3, b"200 OK");
        encode(0, b"serverhint", b"hello", &mut out);
        // The last hint comes in two pieces.
        encode(0, b"serverhint", b"again", &mut out);
        let last = out.split_off(out.len() - 4);
        stream.write_all(&out).await.unwrap();
        said.send(()).unwrap();
        let mut octets = vec![0; 4096];
        assert!(stream.read(&mut octets).await.unwrap() > 0);
        stream.write_all(&[last, answers(4..=4, b"200 OK")].concat()).await.unwrap();
        stream
    });
    assert_eq!(deliver(&mut sink, &numbered(1..3), NOW).await.messages, 2);
    hint_is_there.await.unwrap();
    sink.idle(NOW).await;
    assert_eq!(deliver(&mut sink, &numbered(3..4), NOW).await.messages, 1);
    assert_eq!(counted(&sink, |c| &c.connects), 1);
    drop(peer.await.unwrap());
}

/// The connection breaks while we write, with answers in it that we have not read.
#[tokio::test]
async fn answers_that_came_before_a_break_count() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let long = "x".repeat(60_000);
    let keys = format!("syslog = \"relp://{}\"\ntemplate = \"{long}\"\nwindow = 1000", listener.local_addr().unwrap());
    let mut sink = sink(&keys);
    let peer = tokio::spawn(async move {
        let mut stream = accept(&listener, 11).await;
        stream.write_all(&answers(2..=8, b"200 OK")).await.unwrap();
        // Unread octets make the kernel reset the connection.
        drop(stream);
    });
    let trouble = sink.deliver(numbered(1..501).records(), EPOCH, NUMBER, NOW).await.unwrap_err();
    assert_eq!((trouble.records, trouble.delivered_until, trouble.delivered.messages), (7, Some(7), 7), "{trouble:?}");
    peer.await.unwrap();
}

/// Refusals that come together are remembered together.
#[tokio::test]
async fn several_messages_are_refused_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let keys = format!("syslog = \"relp://{}\"\ntemplate = \"$MSG\"", listener.local_addr().unwrap());
    let mut sink = sink(&keys);
    let peer = tokio::spawn(async move {
        for _ in 0..3 {
            let mut stream = accept(&listener, 6).await;
            let answers = [answers(2..=3, b"500 no"), answers(4..=5, b"200 OK"), answers(6..=6, b"500 no")].concat();
            stream.write_all(&answers).await.unwrap();
            let _ = stream.read(&mut [0; 100]).await;
        }
        let mut stream = accept(&listener, 3).await;
        stream.write_all(&answers(2..=3, b"200 OK")).await.unwrap();
        stream
    });
    let batch = numbered(1..6);
    for _ in 0..3 {
        let trouble = sink.deliver(batch.records(), EPOCH, NUMBER, NOW).await.unwrap_err();
        assert_eq!((trouble.records, trouble.delivered.messages), (0, 0), "{trouble:?}");
    }
    let delivered = deliver(&mut sink, &batch, NOW).await;
    assert_eq!((delivered.messages, delivered.unsendable, counted(&sink, |c| &c.refused)), (2, 3, 3));
    drop(peer.await.unwrap());
}

#[tokio::test]
async fn one_that_acknowledges_nothing_is_given_up_after_the_time() {
    let (port, got) = start(vec![], SYSLOG).await;
    got.lock().unwrap().mute = true;
    let mut sink =
        sink(&format!("syslog = \"relp://127.0.0.1:{port}\"\ntemplate = \"$MSG\"\nwindow = 8\ntimeout_s = 1"));
    let trouble = sink.deliver(numbered(1..21).records(), EPOCH, NUMBER, NOW).await.unwrap_err();
    assert!(trouble.reason.contains("acknowledged nothing within 1 s"), "{trouble}");
    assert_eq!((trouble.delivered_until, counted(&sink, |c| &c.resent)), (None, 8));
}

#[tokio::test]
async fn a_peer_that_is_no_relp_receiver_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"220 mail ESMTP\r\n").await;
            let _ = stream.read(&mut [0; 100]).await;
        }
    });
    let mut sink = sink(&format!("syslog = \"relp://127.0.0.1:{port}\""));
    let trouble = sink.deliver(numbered(1..2).records(), EPOCH, NUMBER, NOW).await.unwrap_err();
    assert!(trouble.reason.contains("RELP"), "{trouble}");
}

#[tokio::test]
async fn a_relay_of_ours_gets_records_with_their_origin() {
    let lives = vec![Life { reads: 30, silent: 10, says: false }];
    let (port, got) = start(lives, GATEHOUSE).await;
    let mut sink = sink(&format!("syslog = \"relp://127.0.0.1:{port}\""));
    let mut batch = numbered(10..12);
    push(&mut batch, 12, b"web01", b"for another destination", NUMBER + 1);
    for sequence in 13..60 {
        push(&mut batch, sequence, b"web01", format!("m{sequence}").as_bytes(), NUMBER);
    }
    assert_eq!(persist(&mut sink, &batch, NOW).await, Some(49));
    let mut unnumbered = numbered(0..0);
    push(&mut unnumbered, 0, b"web01", b"from memory", NUMBER);
    deliver(&mut sink, &unnumbered, NOW).await;
    let got = got.lock().unwrap();
    assert!(got.opens == 2 && got.received.len() > got.acked.len());
    let mut previous = std::collections::BTreeMap::new();
    for record in &got.received {
        let message = Message::decode(record).unwrap();
        assert_eq!((message.field(Field::Host), message.field(Field::Destinations)), (&b"web01"[..], &b""[..]));
        if message.sequence == 0 {
            assert_eq!((message.message, message.field(Field::Origin)), (&b"from memory"[..], &b""[..]));
            continue;
        }
        let origin = String::from_utf8(message.field(Field::Origin).to_vec()).unwrap();
        let parts: Vec<_> = origin.split('/').collect();
        assert_eq!(parts[..3], ["gw1.d", "9", &message.sequence.to_string()]);
        // What is sent again says the same.
        let before = previous.entry(message.sequence).or_insert(parts[3].to_owned());
        assert_eq!(*before, parts[3], "{origin}");
    }
    assert_eq!((&*previous[&10], &*previous[&11], &*previous[&13], &*previous[&14]), ("0", "10", "11", "13"));
}

/// Gives chunks to a receiver that dies as `lives` say. Nothing that we call delivered is missing at the receiver.
async fn survive(lives: Vec<Life>, window: usize, sizes: Vec<u64>) {
    let (port, got) = start(lives, SYSLOG).await;
    let mut sink = sink(&format!("syslog = \"relp://127.0.0.1:{port}\"\ntemplate = \"$MSG\"\nwindow = {window}"));
    let mut sequence = 1;
    for size in sizes {
        let batch = numbered(sequence..sequence + size);
        let (mut done, mut messages) = (0, 0);
        loop {
            let result = sink.deliver(rest(&batch, done), EPOCH, NUMBER, NOW).await;
            let (records, delivered) = match &result {
                Ok(delivered) => (size as usize - done, *delivered),
                Err(trouble) => (trouble.records, trouble.delivered),
            };
            done += records;
            messages += delivered.messages;
            let got = got.lock().unwrap();
            let acked: BTreeSet<_> = got.acked.iter().collect();
            for text in texts(sequence..sequence + done as u64) {
                assert!(acked.contains(&text), "{} was never acknowledged", String::from_utf8_lossy(&text));
            }
            if result.is_ok() {
                break;
            }
        }
        assert_eq!(messages, size);
        sequence += size;
    }
    until("all arrived", || {
        let got = got.lock().unwrap();
        let received: BTreeSet<_> = got.received.iter().cloned().collect();
        texts(1..sequence).iter().all(|text| received.contains(text))
    })
    .await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_receiver_may_die_at_any_point(
        lives in proptest::collection::vec((1usize..200, 0usize..40, any::<bool>()), 0..6),
        window in 1usize..100,
        sizes in proptest::collection::vec(1u64..300, 1..4),
    ) {
        let lives = lives.into_iter().map(|(reads, silent, says)| Life { reads, silent, says }).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(survive(lives, window, sizes));
    }
}
