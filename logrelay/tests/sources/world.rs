//! A running source whose lines are kept, and what else tests need.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use logrelay::{
    config::{Listen, Source},
    intake::{Line, Sender, Stopping},
    message::{Flags, Message},
    source::{Around, Counters, Kept, Road, Running, bind, start},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// A line as the intake got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) raw: Vec<u8>,
    pub(crate) sender: Sender,
    pub(crate) original_len: u32,
    pub(crate) flags: Flags,
}

/// What all roads lead to.
pub(crate) struct Store {
    got: Mutex<Vec<Got>>,
    batches: AtomicU64,
    /// Whether there is room.
    pub(crate) room: watch::Sender<bool>,
    /// The batch up to which all is durable.
    pub(crate) durable: watch::Sender<u64>,
    pub(crate) failing: AtomicBool,
}

impl Store {
    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }

    pub(crate) fn raws(&self) -> Vec<String> {
        self.got().iter().map(|got| String::from_utf8_lossy(&got.raw).into_owned()).collect()
    }

    /// While it is held, nothing is handed on.
    pub(crate) fn hold(&self) -> std::sync::MutexGuard<'_, Vec<Got>> {
        self.got.lock().unwrap()
    }

    pub(crate) fn batches(&self) -> u64 {
        self.batches.load(Relaxed)
    }
}

/// The road of one connection.
pub(crate) struct Keeper {
    store: Arc<Store>,
    sender: Sender,
    batch: Vec<Got>,
    octets: usize,
}

impl Keeper {
    fn keep(&mut self) -> u64 {
        self.octets = 0;
        self.store.got.lock().unwrap().append(&mut self.batch);
        self.store.batches.fetch_add(1, Relaxed) + 1
    }
}

impl Road for Keeper {
    type Receipt = (watch::Receiver<u64>, u64);

    fn sender(&mut self, sender: &Sender) {
        self.sender.clone_from(sender);
    }

    fn line(&mut self, line: Line<'_>) {
        assert_eq!(line.received_us, clock());
        self.octets += line.raw.len() + 100;
        let (raw, sender) = (line.raw.to_vec(), self.sender.clone());
        self.batch.push(Got { raw, sender, original_len: line.original_len, flags: line.flags });
    }

    fn record(&mut self, record: &[u8]) -> bool {
        Message::decode(record).is_some_and(|message| {
            let (raw, sender) = (message.raw.to_vec(), self.sender.clone());
            self.batch.push(Got { raw, sender, original_len: message.original_len, flags: message.flags });
            true
        })
    }

    fn is_full(&self) -> bool {
        self.octets >= 256 << 10
    }

    async fn flush(&mut self) -> Result<Self::Receipt, Stopping> {
        if self.store.failing.load(Relaxed) {
            return Err(Stopping);
        }
        self.store.room.subscribe().wait_for(|room| *room).await.map_err(|_| Stopping)?;
        Ok((self.store.durable.subscribe(), self.keep()))
    }

    fn flush_or_shed(&mut self) {
        self.keep();
    }

    fn give_up(&mut self) {
        (self.batch, self.octets) = (vec![], 0);
    }

    fn is_durable((frontier, batch): &Self::Receipt) -> bool {
        *frontier.borrow() >= *batch
    }

    async fn durable((mut frontier, batch): Self::Receipt) -> Result<(), Stopping> {
        let reached = frontier.wait_for(|durable| *durable >= batch).await.map(|durable| *durable);
        reached.ok().filter(|durable| *durable != FAILS).map(|_| ()).ok_or(Stopping)
    }
}

/// Of `durable`: nothing will be.
pub(crate) const FAILS: u64 = u64::MAX - 1;

pub(crate) fn clock() -> i64 {
    1_700_000_000_000_000
}

pub(crate) struct World {
    pub(crate) store: Arc<Store>,
    pub(crate) running: Running,
    pub(crate) shutdown: CancellationToken,
    tasks: JoinSet<Result<(), String>>,
}

/// A source that listens on `listen`, with `more` configuration; all is durable at once.
pub(crate) fn world(listen: &[&str], more: &str) -> World {
    world_that_knows(listen, more, |_| false)
}

pub(crate) fn world_that_knows(
    listen: &[&str],
    more: &str,
    known: impl Fn(IpAddr) -> bool + Send + Sync + 'static,
) -> World {
    let source: Source = toml::from_str(&format!("name = \"net\"\nlisten = {listen:?}\n{more}")).unwrap();
    let store = Arc::new(Store {
        got: Mutex::default(),
        batches: AtomicU64::new(0),
        room: watch::Sender::new(true),
        durable: watch::Sender::new(u64::MAX),
        failing: AtomicBool::new(false),
    });
    let (shutdown, kept) = (CancellationToken::new(), store.clone());
    let roads = move |_: &Listen| Keeper { store: kept.clone(), sender: Sender::default(), batch: vec![], octets: 0 };
    let around = Around { roads, known: Arc::new(known), clock, shutdown: shutdown.clone() };
    let mut running = start(&source, bind(&source, &mut Kept::default()).unwrap(), &around);
    let mut tasks = JoinSet::new();
    for task in running.tasks.drain(..) {
        tasks.spawn(task.run);
    }
    World { store, running, shutdown, tasks }
}

impl World {
    /// The address of the listener with this place in the configuration.
    pub(crate) fn address(&self, i: usize) -> SocketAddr {
        match &self.running.listeners[i].0 {
            Listen::Udp(address)
            | Listen::Tcp(address)
            | Listen::Tls(address)
            | Listen::Relp(address)
            | Listen::RelpTls(address) => *address,
            other => panic!("{other} has no address"),
        }
    }

    pub(crate) fn counters(&self, i: usize) -> &Counters {
        &self.running.listeners[i].1
    }

    /// Waits until so many lines are there.
    pub(crate) async fn lines(&self, count: usize) {
        until(&format!("{count} lines, not {}", self.store.count()), || self.store.count() >= count).await;
        assert_eq!(self.store.count(), count);
    }

    /// Stops everything; all tasks end well.
    pub(crate) async fn stop(mut self) -> Arc<Store> {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap().unwrap();
        }
        for (_, counters) in &self.running.listeners {
            assert_eq!(counters.opened.load(Relaxed), counters.ended.load(Relaxed));
            assert_eq!(counters.waiting.load(Relaxed), 0);
        }
        assert_eq!(self.running.limits.open(), 0);
        self.store
    }
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// Certificates in a folder: `ca.pem`, and NAME.pem with NAME.key for localhost and a client.
pub(crate) fn certificates(dir: &Path) -> String {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca: Issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    for name in ["localhost", "web01"] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        std::fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    format!("tls_cert = {:?}\ntls_key = {:?}\n", dir.join("localhost.pem"), dir.join("localhost.key"))
}

/// A client under TLS, with the certificate of `web01` or without.
pub(crate) fn client(dir: &Path, with_certificate: bool) -> wire::blocking::BlockingClient {
    let file = |name: &str| -> PathBuf { dir.join(name) };
    let (certificate, key) = (file("web01.pem"), file("web01.key"));
    let identity = with_certificate.then_some((certificate.as_path(), key.as_path()));
    wire::blocking::BlockingClient::load(&file("ca.pem"), identity).unwrap()
}
