//! Comparing answers of ours with those of BIND and NSD, which must be installed and serve a zone that differs.
#![expect(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::Path,
    process::{Child, Command},
    sync::Arc,
    time::{Duration, Instant},
};

use dns::{
    bind::Bound,
    compare::{Comparison, Plan, Question, Side, compare, questions},
    config::Config,
    name::Name,
    service::{Identity, Service},
    stream::{self, StreamLimits, Transport},
    zonefile,
};
use tokio_util::sync::CancellationToken;

use crate::ports::free_port;

#[path = "../../tests/e2e/ports.rs"]
mod ports;

const HEAD: &str =
    "$ORIGIN acme.private.\n$TTL 60\n@ SOA ns1 hostmaster 1 3600 900 604800 30\n@ NS ns1\nns1 A 192.0.2.1\n";
const OURS: &str = "same A 192.0.2.2\nset A 192.0.2.3\nset A 192.0.2.4\nmoved A 192.0.2.5\nnew A 192.0.2.6\n\
    alias CNAME same\nttl 60 A 192.0.2.8\nmail MX 10 same\n*.wild A 192.0.2.9\n";
const THEIRS: &str = "same A 192.0.2.2\nset A 192.0.2.4\nset A 192.0.2.3\nmoved A 192.0.2.50\nold A 192.0.2.7\n\
    alias CNAME SAME\nttl 600 A 192.0.2.8\nmail MX 20 same\n*.wild A 192.0.2.9\n";

/// A process that ends with its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // NSD has children of its own, which a TERM ends too.
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let start = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A text record that is too large for a datagram: its number of strings is the difference.
fn large(strings: usize) -> String {
    let strings: Vec<String> = (0..strings).map(|i| format!("\"{i:0>200}\"")).collect();
    format!("large TXT {}\n", strings.join(" "))
}

fn start(program: &str, args: &[&str], config: impl FnOnce(&str, u16) -> String, dir: &Path) -> (Process, SocketAddr) {
    let folder = dir.display().to_string();
    fs::write(dir.join("zone"), format!("{HEAD}{THEIRS}{}", large(11))).unwrap();
    // These servers take a number, not a socket.
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let file = dir.join("conf");
    fs::write(&file, config(&folder, address.port())).unwrap();
    let log = fs::File::create(dir.join("log")).unwrap();
    let mut command = Command::new(program);
    command.args(args).arg(file).stdout(log.try_clone().unwrap()).stderr(log);
    let process = command.spawn().unwrap_or_else(|e| panic!("{program} must be installed: {e}"));
    (Process(process), address)
}

fn bind(dir: &Path) -> (Process, SocketAddr) {
    let config = |folder: &str, port: u16| {
        format!(
            "options {{ directory \"{folder}\"; pid-file \"{folder}/pid\"; session-keyfile \"{folder}/session\"; \
             listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; dnssec-validation no; \
             max-udp-size 1232; }};\ncontrols {{ }};\n\
             zone \"acme.private\" {{ type primary; file \"{folder}/zone\"; notify no; }};\n"
        )
    };
    start("named", &["-g", "-n", "1", "-c"], config, dir)
}

fn nsd(dir: &Path) -> (Process, SocketAddr) {
    let config = |folder: &str, port: u16| {
        format!(
            "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  zonesdir: \"{folder}\"\n  xfrdir: \"{folder}\"\n  \
             database: \"\"\n  pidfile: \"\"\n  zonelistfile: \"{folder}/zones\"\n  xfrdfile: \"{folder}/xfrd\"\n  \
             rrl-ratelimit: 0\n\
             remote-control:\n  control-enable: no\n\
             zone:\n  name: \"acme.private\"\n  zonefile: \"zone\"\n"
        )
    };
    start("nsd", &["-d", "-c"], config, dir)
}

/// Our own server over UDP and TCP.
fn us() -> (Service, SocketAddr) {
    let origin = Name::parse("acme.private").unwrap();
    let zone = zonefile::parse(&format!("{HEAD}{OURS}{}", large(12)), "zone", Some(&origin), None).unwrap();
    let config = Config::on(vec![([127, 0, 0, 1], 0).into()]);
    // The port that is free for UDP may be taken for TCP.
    let (bound, address, socket) = (0..100)
        .find_map(|_| {
            let bound = Bound::bind(&config).unwrap();
            let address = bound.addresses[0];
            Some((bound, address, wire::listen::listen(address).ok()?))
        })
        .expect("a port that is free for both");
    let identity =
        Identity { node: "test".into(), region: String::new(), product: String::new(), version: String::new() };
    let service = Service::start_zone(bound, &config, &identity, zone).unwrap();
    let limits = StreamLimits {
        idle: Duration::from_secs(20),
        pipeline_max: 4,
        write_timeout: Duration::from_secs(20),
        shutdown: CancellationToken::new(),
        counters: Arc::default(),
    };
    let socket = tokio::net::TcpListener::from_std(socket).unwrap();
    let (handler, shutdown) = (service.handler(), limits.shutdown.clone());
    let accept = Arc::new(wire::limits::Limits::new(10, 10));
    tokio::spawn(wire::accept_loop(socket, accept, None, shutdown, move |stream, peer, local| {
        stream::serve(stream, peer, local, Transport::Tcp, limits.clone(), handler.clone())
    }));
    (service, address)
}

fn plan(ours: SocketAddr, theirs: SocketAddr) -> Plan {
    Plan { ours, theirs, at_once: 100, timeout: Duration::from_secs(2), tries: 3 }
}

fn ask(lines: &[&str]) -> Vec<Question> {
    lines.iter().flat_map(|line| questions(line).unwrap()).collect()
}

/// Waits until the other server answers.
async fn ready(ours: SocketAddr, theirs: SocketAddr, dir: &Path) {
    let one = ask(&["same.acme.private A"]);
    let whole = async {
        loop {
            let found = compare(&plan(ours, theirs), &one, |_| ()).await;
            if found.counts.equal == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(60), whole).await.is_err() {
        panic!("the server does not start: {}", fs::read_to_string(dir.join("log")).unwrap_or_default());
    }
}

async fn finds_the_differences(peer: fn(&Path) -> (Process, SocketAddr)) {
    let dir = tempfile::tempdir().unwrap();
    let (_process, theirs) = peer(dir.path());
    let (service, ours) = us();
    ready(ours, theirs, dir.path()).await;
    let names = ["same", "set", "moved", "new", "old", "alias", "ttl", "mail", "x.wild", "none"];
    let mut asked = ask(&names.map(|name| format!("{name}.acme.private")).each_ref().map(String::as_str));
    asked.extend(ask(&["mail.acme.private MX", "acme.private SOA", "large.acme.private TXT"]));
    let mut seen = 0;
    let Comparison { counts, differences, silent } =
        compare(&plan(ours, theirs), &asked, |counts| seen = counts.asked).await;
    let show = |said: &Option<dns::compare::Said>| {
        let said = said.as_ref().unwrap();
        let answers: Vec<&str> = said.answers.iter().map(|answer| answer.rsplit(' ').next().unwrap()).collect();
        format!("{} {}", said.rcode, answers.join(","))
    };
    let found: Vec<String> = differences
        .iter()
        .filter(|d| d.rtype != "TXT")
        .map(|d| format!("{} {}: {} / {}", d.name, d.rtype, show(&d.ours), show(&d.theirs)))
        .collect();
    assert_eq!(
        found,
        [
            "moved.acme.private. A: NOERROR 192.0.2.5 / NOERROR 192.0.2.50",
            "new.acme.private. A: NOERROR 192.0.2.6 / NXDOMAIN ",
            "new.acme.private. AAAA: NOERROR  / NXDOMAIN ",
            "old.acme.private. A: NXDOMAIN  / NOERROR 192.0.2.7",
            "old.acme.private. AAAA: NXDOMAIN  / NOERROR ",
            "mail.acme.private. MX: NOERROR same.acme.private. / NOERROR same.acme.private.",
        ]
    );
    let large = differences.iter().find(|d| d.rtype == "TXT").unwrap();
    assert!(large.ours.as_ref().unwrap().answers[0].len() > large.theirs.as_ref().unwrap().answers[0].len());
    assert_eq!((counts.asked, counts.equal, counts.different), (23, 16, 7));
    assert_eq!((counts.equal_but_ttl, counts.over_tcp, seen), (1, 2, 23));
    assert_eq!((counts.unanswered_by_us, counts.unanswered_by_them, silent), (0, 0, None));
    service.stop();
}

#[tokio::test]
async fn bind_differs_where_its_zone_does() {
    finds_the_differences(bind).await;
}

#[tokio::test]
async fn nsd_differs_where_its_zone_does() {
    finds_the_differences(nsd).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_ends_the_comparison() {
    let (service, ours) = us();
    // It takes what comes and says nothing.
    let mute = UdpSocket::bind("127.0.0.1:0").unwrap();
    let plan = Plan { timeout: Duration::from_millis(500), tries: 2, ..plan(ours, mute.local_addr().unwrap()) };
    let many: Vec<Question> = (0..1000).flat_map(|i| questions(&format!("h{i}.acme.private A")).unwrap()).collect();
    let found = compare(&plan, &many, |_| ()).await;
    assert_eq!(found.silent, Some(Side::Theirs));
    assert!(found.counts.asked < 1000, "{:?}", found.counts);
    assert_eq!(found.counts.retries, found.counts.asked);
    assert_eq!(found.counts.timeouts, 2 * found.counts.asked);
    let one = compare(&plan, &many[..1], |_| ()).await;
    assert_eq!((one.silent, one.differences.len()), (Some(Side::Theirs), 1));
    assert!(one.differences[0].theirs.is_none());
    service.stop();
}
