//! A whole relay that is stopped and started again while the next one does not answer.

use std::{net::UdpSocket, sync::PoisonError, time::Duration};

use logrelay::{
    labels::Inventory,
    message::{Field, Message},
    relay::{Node, Relay, bind},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    common::{NOW, until},
    relp::{GATEHOUSE, Shared, start},
};

/// Starts a relay, with what stops it and what waits for its end.
async fn relay(config: &str, folder: &std::path::Path) -> (Relay, CancellationToken, JoinHandle<Result<(), String>>) {
    let node = Node {
        name: "gw1".into(),
        folder: folder.into(),
        inventory: Inventory::empty(),
        clock: || NOW,
        fault: |_| Ok(()),
    };
    let stop = CancellationToken::new();
    let relay = bind(&toml::from_str(config).unwrap()).unwrap().start(node, stop.clone()).await.unwrap();
    let running = tokio::spawn(relay.clone().run());
    (relay, stop, running)
}

/// Origins of the records that were received, without what was sent before each.
fn origins(got: &Shared) -> Vec<String> {
    let got = got.lock().unwrap_or_else(PoisonError::into_inner);
    let field = |record: &Vec<u8>| {
        let message = Message::decode(record).unwrap();
        String::from_utf8(message.field(Field::Origin).to_vec()).unwrap()
    };
    got.received.iter().map(|record| field(record).rsplit_once('/').unwrap().0.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_sent_again_after_a_restart_has_the_same_origin() {
    let dir = tempfile::tempdir().unwrap();
    let (port, got) = start(vec![], GATEHOUSE).await;
    got.lock().unwrap().mute = true;
    let inlet = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = inlet.local_addr().unwrap();
    drop(inlet);
    let config = format!(
        "[[source]]\nname = \"in\"\nlisten = [\"udp://{address}\"]\n[[destination]]\nname = \"next\"\n\
         syslog = \"relp://127.0.0.1:{port}\"\ntimeout_s = 1\n[[route]]\nfrom = [\"in\"]\nto = [\"next\"]\n"
    );
    let (first, stop, running) = relay(&config, dir.path()).await;
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(b"<13>Oct  9 08:00:00 web01 app: hello", address).unwrap();
    until("the record arrives", || !origins(&got).is_empty()).await;
    let before = origins(&got)[0].clone();
    let epoch = first.spool().epoch();
    assert!(before.contains(&format!(".next/{epoch}/")), "{before}");
    stop.cancel();
    running.await.unwrap().unwrap();
    drop(first);
    {
        let mut got = got.lock().unwrap();
        (got.mute, got.received) = (false, Vec::new());
    }
    let (second, stop, running) = relay(&config, dir.path()).await;
    assert!(second.spool().epoch() > epoch);
    let of_this = format!(".next/{}/", second.spool().epoch());
    until("the record arrives again", || origins(&got).contains(&before)).await;
    sender.send_to(b"<13>Oct  9 08:00:01 web01 app: again", address).unwrap();
    until("one of this opening arrives", || origins(&got).iter().any(|origin| origin.contains(&of_this))).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}

/// While a source is changed again and again, nobody who sends to it notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_changes_loses_no_datagram() {
    let dir = tempfile::tempdir().unwrap();
    let config = |tag: usize| {
        format!(
            "[[source]]\nname = \"in\"\nlisten = [\"udp://127.0.0.1:0\"]\ntags = [\"t{tag}\"]\n\
             [[destination]]\nname = \"files\"\nfile = \"{}/out/${{HOST}}.log\"\npaused = {}\n\
             [[route]]\nfrom = [\"in\"]\nto = [\"files\"]\n",
            dir.path().display(),
            tag.is_multiple_of(2)
        )
    };
    let (relay, stop, running) = relay(&config(0), &dir.path().join("state")).await;
    let address = relay.report().sources[0].listens[0].strip_prefix("udp://").unwrap().to_owned();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    let mut sent = 0;
    for tag in 1..=5 {
        // No more than a socket's buffer holds, while nobody reads from it.
        let send = async {
            for _ in 0..100 {
                socket.send(b"<13>x").unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let (changed, ()) = tokio::join!(relay.apply(toml::from_str(&config(tag)).unwrap()), send);
        changed.unwrap();
        sent += 100;
        until("all came in", || relay.report().sources[0].books.received == sent).await;
    }
    until("all is written", || relay.report().destinations[0].delivered == sent).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}

/// A change that is refused in the middle must not leave closed what it wanted to change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_refused_leaves_all_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let config = |more: &str| {
        format!(
            "[[source]]\nname = \"in\"\nlisten = [\"udp://127.0.0.1:0\"]\n{more}\
             [[destination]]\nname = \"files\"\nfile = \"{}/out.log\"\n[[route]]\nto = [\"files\"]\n",
            dir.path().display()
        )
    };
    let (relay, stop, running) = relay(&config(""), &dir.path().join("state")).await;
    let listens = relay.report().sources[0].listens.clone();
    let more =
        format!("max_line = 100\n[[source]]\nname = \"other\"\nlisten = [\"udp://{}\"]\n", taken.local_addr().unwrap());
    let problems = relay.apply(toml::from_str(&config(&more)).unwrap()).await.unwrap_err().problems;
    assert!(problems[0].contains("source other: cannot listen on"), "{problems:?}");
    let sources = relay.report().sources;
    assert_eq!((sources.len(), &sources[0].listens), (1, &listens));
    let address = listens[0].strip_prefix("udp://").unwrap();
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"<13>x", address).unwrap();
    until("it is written", || relay.report().destinations[0].delivered == 1).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_may_change_its_protocol() {
    let dir = tempfile::tempdir().unwrap();
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = |scheme: &str| {
        format!(
            "[[source]]\nname = \"in\"\nlisten = [\"{scheme}://{address}\"]\n\
             [[destination]]\nname = \"files\"\nfile = \"{}/out.log\"\n[[route]]\nto = [\"files\"]\n",
            dir.path().display()
        )
    };
    let (relay, stop, running) = relay(&config("tcp"), &dir.path().join("state")).await;
    for scheme in ["relp", "tcp"] {
        relay.apply(toml::from_str(&config(scheme)).unwrap()).await.unwrap();
        assert_eq!(relay.report().sources[0].listens, [format!("{scheme}://{address}")]);
    }
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_change_of_protocol_opens_the_former_source_again() {
    let dir = tempfile::tempdir().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = |listen: &str| {
        format!(
            "[[source]]\nname = \"in\"\nlisten = [{listen}]\n[[destination]]\nname = \"files\"\n\
             file = \"{}/out.log\"\n[[route]]\nto = [\"files\"]\n",
            dir.path().display()
        )
    };
    let (relay, stop, running) = relay(&config(&format!("\"tcp://{address}\"")), &dir.path().join("state")).await;
    let wrong = format!("\"relp://{address}\", \"udp://{}\"", taken.local_addr().unwrap());
    let refused = relay.apply(toml::from_str(&config(&wrong)).unwrap()).await.unwrap_err();
    assert!(!refused.in_part && refused.to_string().ends_with("nothing has changed"), "{refused}");
    assert_eq!(relay.report().sources[0].listens, [format!("tcp://{address}")]);
    let mut sender = std::net::TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut sender, b"<13>x\n").unwrap();
    until("it is written", || relay.report().destinations[0].delivered == 1).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}
