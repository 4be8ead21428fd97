//! rsyslog as the receiver: TCP, TLS with certificates on both sides, RELP, RELP under TLS. Needs `rsyslogd` with imrelp
//! and the gtls driver (Debian: rsyslog, rsyslog-relp, rsyslog-gnutls).

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    common::{EPOCH, NOW, counted, deliver, issue, numbered, persist, sink, until},
    ports::free_port,
};

/// A receiver of its own, with its files in a folder.
struct Rsyslog(Child);

impl Rsyslog {
    /// Starts it and waits until it listens at `port`.
    async fn start(dir: &Path, config: &str, port: u16) -> Self {
        let (path, pid) = (dir.join("rsyslog.conf"), dir.join("pid"));
        let _ = fs::remove_file(&pid);
        let output = format!(
            "global(workDirectory=\"{0}\" maxMessageSize=\"64k\")\n\
             template(name=\"t\" type=\"string\" string=\"%rawmsg%\\n\")\n{config}\n\
             action(type=\"omfile\" file=\"{0}/out\" template=\"t\")\n",
            dir.display()
        );
        fs::write(&path, output).unwrap();
        let child = Command::new("rsyslogd")
            .arg("-n")
            .arg("-f")
            .arg(&path)
            .arg("-i")
            .arg(&pid)
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("err")).unwrap())
            .spawn()
            .expect("rsyslogd is installed (apt-get install rsyslog rsyslog-relp rsyslog-gnutls)");
        let started = Self(child);
        let errors = || fs::read_to_string(dir.join("err")).unwrap_or_default();
        until(&format!("rsyslog listens: {}", errors()), || listens(port)).await;
        started
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether somebody listens at a TCP port of 127.0.0.1, by what the kernel says: a connection that is closed at once
/// would be one more for the receiver to deal with, beside the first real one.
fn listens(port: u16) -> bool {
    // The local address in hexadecimal digits, the remote one, and the state LISTEN.
    let socket = format!(" 0100007F:{port:04X} 00000000:0000 0A ");
    fs::read_to_string("/proc/net/tcp").unwrap().contains(&socket)
}

/// The numbers of the messages in the file, in their order.
fn numbers(dir: &Path) -> Vec<u64> {
    let text = fs::read_to_string(dir.join("out")).unwrap_or_default();
    text.lines().filter_map(|line| line.rsplit_once(" m")?.1.parse().ok()).collect()
}

async fn all_arrive(dir: &Path, config: &str, keys: &str, port: u16) {
    let _peer = Rsyslog::start(dir, config, port).await;
    let mut sink = sink(keys);
    let mut sequence = 1;
    for size in [1, 10, 1000, 4000] {
        assert_eq!(deliver(&mut sink, &numbered(sequence..sequence + size), NOW).await.messages, size);
        sequence += size;
    }
    sink.close().await;
    let expected: Vec<_> = (1..sequence).collect();
    until("all are in the file", || numbers(dir).len() >= expected.len()).await;
    assert_eq!(numbers(dir), expected);
    assert_eq!(counted(&sink, |c| &c.connects), 1);
}

#[tokio::test]
async fn tcp() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let config = format!("module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")");
    for framing in ["lines", "octets"] {
        let folder = dir.path().join(framing);
        fs::create_dir(&folder).unwrap();
        let keys = format!("syslog = \"tcp://127.0.0.1:{port}\"\nframing = \"{framing}\"");
        all_arrive(&folder, &config, &keys, port).await;
    }
}

#[tokio::test]
async fn tls_with_certificates_on_both_sides() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    issue(dir.path());
    let config = format!(
        "global(defaultNetstreamDriver=\"gtls\" defaultNetstreamDriverCAFile=\"{0}/ca.pem\" \
         defaultNetstreamDriverCertFile=\"{0}/localhost.pem\" defaultNetstreamDriverKeyFile=\"{0}/localhost.key\")\n\
         module(load=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" \
         streamDriver.authMode=\"x509/name\" permittedPeer=[\"relay1\"])\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")",
        dir.path().display()
    );
    let keys = format!(
        "syslog = \"tls://localhost:{port}\"\nca_file = \"{0}/ca.pem\"\nclient_cert = \"{0}/relay1.pem\"\n\
         client_key = \"{0}/relay1.key\"",
        dir.path().display()
    );
    all_arrive(dir.path(), &config, &keys, port).await;
}

#[tokio::test]
async fn relp() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let config = format!("module(load=\"imrelp\")\ninput(type=\"imrelp\" address=\"127.0.0.1\" port=\"{port}\")");
    all_arrive(dir.path(), &config, &format!("syslog = \"relp://127.0.0.1:{port}\""), port).await;
}

#[tokio::test]
async fn relp_under_tls() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    issue(dir.path());
    let config = format!(
        "module(load=\"imrelp\")\ninput(type=\"imrelp\" address=\"127.0.0.1\" port=\"{port}\" tls=\"on\" \
         tls.caCert=\"{0}/ca.pem\" tls.myCert=\"{0}/localhost.pem\" tls.myPrivKey=\"{0}/localhost.key\" \
         tls.authMode=\"name\" tls.permittedPeer=[\"relay1\"])",
        dir.path().display()
    );
    let keys = format!(
        "syslog = \"relp+tls://localhost:{port}\"\nca_file = \"{0}/ca.pem\"\nclient_cert = \"{0}/relay1.pem\"\n\
         client_key = \"{0}/relay1.key\"",
        dir.path().display()
    );
    all_arrive(dir.path(), &config, &keys, port).await;
}

/// Killed while it receives: what it acknowledged and lost is its own doing, but whatever we had no answer to comes again.
#[tokio::test]
async fn relp_goes_on_after_a_restart() {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let config = format!("module(load=\"imrelp\")\ninput(type=\"imrelp\" address=\"127.0.0.1\" port=\"{port}\")");
    let peer = Rsyslog::start(dir.path(), &config, port).await;
    let mut sink = sink(&format!("syslog = \"relp://127.0.0.1:{port}\""));
    deliver(&mut sink, &numbered(1..101), NOW).await;
    until("the first are in the file", || numbers(dir.path()).len() == 100).await;
    drop(peer);
    let batch = numbered(101..201);
    assert!(sink.deliver(batch.records(), EPOCH, crate::common::NUMBER, NOW).await.is_err());
    let _peer = Rsyslog::start(dir.path(), &config, port).await;
    assert_eq!(persist(&mut sink, &batch, NOW).await, Some(100));
    until("the last are in the file", || numbers(dir.path()).last() == Some(&200)).await;
    assert_eq!(numbers(dir.path()), (1..201).collect::<Vec<_>>());
}
