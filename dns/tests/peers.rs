//! Records, zone files and transfers against BIND, Knot and NSD, which must be installed.
#![expect(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use dns::{
    name::Name,
    rr::{Rr, rcode, rtype},
    text::parse_rdata,
    transfer::{
        may_transfer,
        message::Request,
        notify, out,
        tsig::{Key, Keys, Verified},
    },
    zone::{Soa, ZoneDiff},
    zonefile,
};

use crate::ports::free_port;

#[path = "../../tests/e2e/ports.rs"]
mod ports;

const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const DEADLINE: Duration = Duration::from_secs(60);

/// One record of every type, and some names that need escapes.
const ZONE: &str = r#"
$ORIGIN acme.private.
$TTL 60
@ SOA ns1 hostmaster 1 3600 900 604800 30
@ NS ns1
ns1 A 192.0.2.1
ns1 AAAA 2001:db8::1
a\.b\032c\@\;\"\200 TXT "semi;colon" "quote\"" \000\255 ""
www CNAME ns1
d DNAME other.example.
p PTR www
@ MX 10 ns1
spf SPF "v=spf1 -all"
h HINFO "RFC8482" ""
_x._tcp SRV 1 2 65535 ns1
caa CAA 128 issue "ca.example; a=b"
naptr NAPTR 1 2 "u" "E2U+sip" "!^.*$!sip:x@y!" .
ssh SSHFP 4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789
_443._tcp.t TLSA 3 1 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971
s SMIMEA 3 1 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971
o OPENPGPKEY AAECAwQFBgcICQ==
svc HTTPS 1 . alpn="h2,h3" no-default-alpn port=8443 ipv4hint=192.0.2.1,192.0.2.2 ech="AAEC" ipv6hint=2001:db8::1
svc SVCB 2 ns1 mandatory=alpn alpn="f\\\\oo\\,bar,h2" key667="hello\210qoo"
alias HTTPS 0 www
u URI 10 1 "https://example.org/a?b=c"
l LOC 52 22 23.000 N 4 53 32.100 E -2.00m 1.00m 10000.00m 10.00m
rp RP admin.acme.private. spf
afs AFSDB 1 ns1
kx KX 1 ns1
sub NS ns.sub
ns.sub A 192.0.2.2
sub DS 60485 8 2 d4b7d520e7bb5f0f67674a0cceb1e3e0614b93c4f9e99b8383f6a1e4469da50a
key DNSKEY 257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==
cert CERT 1 0 0 AAECAwQF
*.wild A 192.0.2.3
odd TYPE65001 \# 3 c00c00
"#;

fn apex() -> Name {
    Name::parse("acme.private").unwrap()
}

fn read(text: &str) -> zonefile::ZoneFile {
    zonefile::parse(text, "zone", Some(&apex()), None).unwrap_or_else(|faults| panic!("{faults:#?}\n{text}"))
}

fn sorted(mut records: Vec<Rr>) -> Vec<Rr> {
    records.sort();
    records
}

/// Standard output of a command, which must succeed.
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn bind_and_we_read_each_others_zone_files() {
    let zone = read(ZONE);
    assert_eq!(zone.records.len(), ZONE.lines().count() - 4);
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    fs::write(dir.path().join("original"), ZONE).unwrap();
    zonefile::write_zone(&mut fs::File::create(&ours).unwrap(), &apex(), &zone.soa, &zone.records).unwrap();
    for input in ["original", "ours"] {
        let input = dir.path().join(input);
        let args =
            ["-i", "none", "-k", "ignore", "-o", theirs.to_str().unwrap(), "acme.private", input.to_str().unwrap()];
        run("named-compilezone", &args);
        let again = read(&fs::read_to_string(&theirs).unwrap());
        assert_eq!(again.soa, zone.soa);
        assert_eq!(sorted(again.records), sorted(zone.records.clone()));
    }
}

/// What the small server of this test serves.
struct World {
    soa: Soa,
    records: Vec<Rr>,
    diffs: Vec<Arc<ZoneDiff>>,
}

/// A server for transfers and SOA questions over TCP, made of the crate's functions.
struct Server {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
    differences: Arc<AtomicUsize>,
}

fn keys() -> Keys {
    let secret = b"0123456789abcdef0123456789abcdef".to_vec();
    Key::new("transfer.key", "hmac-sha256", secret).into_iter().collect()
}

fn now_s() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "signatures are checked by programs that read the clock")]
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Server {
    fn start(world: World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            world: Arc::new(Mutex::new(world)),
            differences: Arc::default(),
        };
        let (world, differences) = (server.world.clone(), server.differences.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (world, differences) = (world.clone(), differences.clone());
                thread::spawn(move || {
                    let mut stream = stream;
                    while serve(&mut stream, &world, &differences).is_some() {}
                });
            }
        });
        server
    }

    fn port(&self) -> String {
        self.address.port().to_string()
    }
}

fn send(stream: &mut TcpStream, message: &[u8]) -> Option<()> {
    let length = u16::try_from(message.len()).unwrap();
    stream.write_all(&[&length.to_be_bytes(), message].concat()).ok()
}

fn serve(stream: &mut TcpStream, world: &Mutex<World>, differences: &AtomicUsize) -> Option<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).ok()?;
    let mut session = match keys().verify(&message, now_s()) {
        Verified::Good(session) => Some(session),
        Verified::Unsigned => None,
        Verified::Bad { reply, .. } => return send(stream, &reply),
        Verified::Malformed => return None,
    };
    let request = Request::read(&message)?;
    let (soa, records, diffs) = {
        let world = world.lock().unwrap();
        (world.soa.clone(), world.records.clone(), world.diffs.clone())
    };
    let key = session.as_ref().map(|session| session.key_name().to_string());
    let networks = ["127.0.0.0/8".parse().unwrap()];
    let allowed = may_transfer(stream.peer_addr().ok()?.ip(), key.as_deref(), &networks, true).is_ok();
    let size = records.len();
    let messages: Box<dyn Iterator<Item = Vec<u8>>> = match request.rtype {
        rtype::SOA => Box::new(std::iter::once(out::ixfr_udp(&request, &apex(), &soa, None, 0, 512))),
        _ if !allowed => Box::new(std::iter::once(out::error_reply(&request, rcode::REFUSED))),
        rtype::AXFR => Box::new(out::axfr(&request, &apex(), &soa, records.into_iter())),
        rtype::IXFR => {
            let client = request.client_serial?;
            let since = diffs.iter().position(|diff| diff.from.serial == client).map(|at| diffs[at..].to_vec());
            if out::form(&soa, client, since.as_deref(), size) == out::Form::Differences {
                differences.fetch_add(1, Ordering::SeqCst);
            }
            Box::new(out::ixfr(&request, &apex(), &soa, since, size, records.into_iter()))
        }
        _ => return None,
    };
    for mut message in messages {
        if let Some(session) = &mut session {
            session.sign(&mut message, now_s()).unwrap();
        }
        send(stream, &message)?;
    }
    Some(())
}

/// The zone of this file with `hosts` hosts more.
fn world(hosts: usize) -> World {
    let zone = read(ZONE);
    let mut records = zone.records;
    records.extend((0..hosts).map(|n| host(n, "10.0.0.1")));
    World { soa: zone.soa, records, diffs: Vec::new() }
}

fn host(n: usize, address: &str) -> Rr {
    let owner = Name::parse(&format!("host{n}.us-east-1a.acme.private")).unwrap();
    Rr { owner, rtype: rtype::A, ttl: 60, rdata: parse_rdata(rtype::A, address, &apex()).unwrap() }
}

/// The next serial: host 0 moves, host `n` is new.
fn change(world: &mut World, n: usize) {
    let from = world.soa.clone();
    world.soa.serial += 1;
    let address = format!("10.0.{}.{}", n >> 8, n & 255);
    let removed: Vec<Rr> = world.records.iter().filter(|rr| rr.owner == host(0, "10.0.0.1").owner).cloned().collect();
    let added = vec![host(0, &address), host(n, &address)];
    world.records.retain(|rr| !removed.contains(rr));
    world.records.extend(added.iter().cloned());
    world.diffs.push(Arc::new(ZoneDiff { apex: apex(), from, to: world.soa.clone(), removed, added }));
}

#[test]
fn dig_and_kdig_transfer_a_signed_zone() {
    let server = Server::start(world(20_000));
    let expected = sorted(server.world.lock().unwrap().records.clone());
    let key = format!("hmac-sha256:transfer.key:{SECRET}");
    for program in ["dig", "kdig"] {
        let args = ["@127.0.0.1", "-p", &server.port(), "-y", &key, "acme.private", "AXFR"];
        let output = run(program, &args);
        for complaint in ["TSIG could not be validated", "verify signature", "WARNING", "; Transfer failed"] {
            assert!(!output.contains(complaint), "{program}: {complaint}");
        }
        assert!(output.contains("\tTSIG\t"), "{program} shows the signatures that it verified");
        let zone = read(&without_tsig(&output));
        assert!(sorted(zone.records) == expected, "{program} shows other records than were sent");
    }
}

/// Lines of `dig` without TSIG records.
fn without_tsig(output: &str) -> String {
    output.lines().filter(|line| !line.contains("\tTSIG\t")).collect::<Vec<_>>().join("\n")
}

#[test]
fn dig_gets_differences_and_refusals() {
    let mut world = world(100);
    let old = sorted(world.records.clone());
    for n in 200..203 {
        change(&mut world, n);
    }
    let server = Server::start(world);
    let key = format!("hmac-sha256:transfer.key:{SECRET}");
    let dig = |key: &str, rtype: &str| {
        run("dig", &["@127.0.0.1", "-p", &server.port(), "-y", key, "+noall", "+answer", "acme.private", rtype])
    };
    let output = dig(&key, "IXFR=1");
    let soas = output.lines().filter(|line| line.contains("\tSOA\t")).count();
    assert_eq!(soas, 2 + 2 * 3, "{output}");
    assert_eq!(server.differences.load(Ordering::SeqCst), 1);
    assert_eq!(without_tsig(&dig(&key, "IXFR=4")).lines().filter(|line| !line.is_empty()).count(), 1, "current");
    assert!(dig(&key, "IXFR=0").lines().count() > old.len(), "unknown: the whole zone");
    let wrong_key = format!("hmac-sha256:other.key:{SECRET}");
    let wrong_secret = "hmac-sha256:transfer.key:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for bad in [wrong_key.as_str(), wrong_secret] {
        let args = ["@127.0.0.1", "-p", &server.port(), "-y", bad, "acme.private", "AXFR"];
        let output = Command::new("dig").args(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("Transfer failed") && !text.contains("host1"), "{text}");
    }
    let output = run("dig", &["@127.0.0.1", "-p", &server.port(), "acme.private", "AXFR"]);
    assert!(output.contains("Transfer failed"), "unsigned: {output}");
}

/// A process that ends with its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // NSD has children of its own, which a TERM ends too.
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let start = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server on a port that was just free; its messages go to a file `log`.
fn secondary(dir: &Path, program: &str, args: &[&str], config: impl Fn(u16) -> String) -> (Process, SocketAddr) {
    // These servers take a number, not a socket.
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let file = dir.join("conf");
    fs::write(&file, config(address.port())).unwrap();
    let log = fs::File::create(dir.join("log")).unwrap();
    let mut command = Command::new(program);
    command.args(args).arg(file).stdout(log.try_clone().unwrap()).stderr(log);
    (Process(command.spawn().unwrap_or_else(|e| panic!("{program}: {e}"))), address)
}

fn knot(dir: &Path, primary: u16) -> (Process, SocketAddr) {
    let folder = dir.display();
    secondary(dir, "knotd", &["-c"], |port| {
        format!(
            "server:\n  listen: 127.0.0.1@{port}\n  rundir: \"{folder}\"\n\
             database:\n  storage: \"{folder}/db\"\n\
             log:\n- target: stderr\n  any: debug\n\
             key:\n- id: transfer.key\n  algorithm: hmac-sha256\n  secret: {SECRET}\n\
             remote:\n- id: primary\n  address: 127.0.0.1@{primary}\n  key: transfer.key\n\
             acl:\n- id: notify\n  address: 127.0.0.1\n  key: transfer.key\n  action: notify\n\
             zone:\n- domain: acme.private\n  storage: \"{folder}\"\n  master: primary\n  acl: notify\n"
        )
    })
}

fn nsd(dir: &Path, primary: u16) -> (Process, SocketAddr) {
    let folder = dir.display();
    secondary(dir, "nsd", &["-d", "-c"], |port| {
        format!(
            "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  zonesdir: \"{folder}\"\n  xfrdir: \"{folder}\"\n  database: \"\"\n  \
             pidfile: \"\"\n  zonelistfile: \"{folder}/zones\"\n  xfrdfile: \"{folder}/xfrd\"\n  verbosity: 3\n\
             remote-control:\n  control-enable: no\n\
             key:\n  name: \"transfer.key\"\n  algorithm: hmac-sha256\n  secret: \"{SECRET}\"\n\
             zone:\n  name: \"acme.private\"\n  zonefile: \"zone\"\n  request-xfr: 127.0.0.1@{primary} transfer.key\n  \
             allow-notify: 127.0.0.1 transfer.key\n"
        )
    })
}

fn ask(address: SocketAddr, name: &str, rtype: &str) -> String {
    let port = address.port().to_string();
    let args = ["@127.0.0.1", "-p", &port, "+short", "+tries=1", "+timeout=1", name, rtype];
    let output = Command::new("dig").args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn wait_for(what: &str, dir: &Path, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}\n{log}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn knot_follows_as_a_secondary() {
    follows(knot);
}

#[test]
fn nsd_follows_as_a_secondary() {
    follows(nsd);
}

fn follows(start: fn(&Path, u16) -> (Process, SocketAddr)) {
    let server = Server::start(world(1000));
    let dir = tempfile::tempdir().unwrap();
    let (_process, secondary) = start(dir.path(), server.address.port());
    let serial = |wanted: u32| {
        ask(secondary, "acme.private", "SOA").split_whitespace().nth(2) == Some(wanted.to_string().as_str())
    };
    wait_for("the first transfer", dir.path(), || serial(1));
    wait_for("an address", dir.path(), || ask(secondary, "host7.us-east-1a.acme.private", "A") == "10.0.0.1\n");

    let zones = |world: &World| Arc::new(vec![(apex(), world.soa.clone())]);
    let (sender, receiver) = tokio::sync::watch::channel(zones(&server.world.lock().unwrap()));
    let stats = Arc::new(notify::Stats::default());
    let settings = notify::Settings {
        targets: vec![secondary],
        keys: keys(),
        key: Some(Name::parse("transfer.key").unwrap()),
        first_wait: Duration::from_millis(200),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let task = runtime.spawn(notify::run(receiver, settings, stats.clone()));
    // The refresh timer says an hour, so only NOTIFY brings the changes.
    for n in 2000..2005 {
        let now = {
            let mut world = server.world.lock().unwrap();
            change(&mut world, n);
            zones(&world)
        };
        let serial_now = now[0].1.serial;
        sender.send_replace(now);
        wait_for("a change", dir.path(), || serial(serial_now));
        let address = format!("10.0.{}.{}\n", n >> 8, n & 255);
        // NSD's old process may answer a last question after the new one has answered.
        let name = format!("host{n}.us-east-1a.acme.private");
        wait_for("its address", dir.path(), || ask(secondary, &name, "A") == address);
    }
    assert_eq!(server.differences.load(Ordering::SeqCst), 5, "each change came as a difference");
    wait_for("replies", dir.path(), || stats.acknowledged.load(Ordering::Relaxed) >= 5);
    assert_eq!(stats.refused.load(Ordering::Relaxed) + stats.given_up.load(Ordering::Relaxed), 0);
    drop(sender);
    runtime.block_on(task).unwrap().unwrap();
}
