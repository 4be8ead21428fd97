//! A whole relay that is stopped and started again while the next one does not answer.

use std::{net::UdpSocket, sync::PoisonError};

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
