//! The clients that people have: dig, kdig over TCP, TLS and HTTPS, and the C library's resolver.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use crate::{
    harness::{Netns, Node, Setup, finish, free_address, host, run, wait_for},
    message::{REFUSED, rtype},
};

const NAME: &str = "dev-mysql01.us-east-1b.acme.private";
const ADDRESS: &str = "10.2.3.4";

fn inventory() -> String {
    host("dev-mysql01", "us-east-1b", ADDRESS, &["mysql"])
}

#[test]
fn dig_over_udp_and_tcp() {
    let node = Node::with_inventory(&inventory());
    for transport in ["+notcp", "+tcp"] {
        assert_eq!(node.dig(&[transport, "+short", NAME]).expect_ok().trim(), ADDRESS);
        assert_eq!(node.dig(&[transport, "+short", "-x", ADDRESS]).expect_ok().trim(), format!("{NAME}."));
        let text = node.dig(&[transport, "nobody.us-east-1b.acme.private"]).expect_ok();
        assert!(text.contains("status: NXDOMAIN") && text.contains("\tSOA\t") && text.contains(" aa"), "{text}");
    }
    let short = node.dig(&["+short", "dev-mysql01.acme.private"]).expect_ok();
    assert_eq!(short.lines().collect::<Vec<_>>(), [&format!("{NAME}."), ADDRESS]);
}

#[test]
fn dig_options_of_operators() {
    let node = Node::with_inventory(&inventory());
    let text = node.dig(&["+nsid", "+cookie=0123456789abcdef", NAME]).expect_ok();
    assert!(text.contains("NSID"), "{text}");
    assert!(text.contains("COOKIE: 0123456789abcdef") && text.contains("(good)"), "{text}");
    assert!(node.dig(&["+short", "CH", "TXT", "id.server"]).expect_ok().contains("test"));
    let version = node.dig(&["+edns=1", "+noednsneg", NAME]).expect_ok();
    assert!(version.contains("status: BADVERS"), "{version}");
    // Without `forward`, names of others are refused.
    assert_eq!(node.ask("www.example.net", rtype::A).rcode(), REFUSED);
}

#[test]
fn kdig_over_tcp_tls_and_https() {
    let (tls, https) = (free_address(), free_address());
    let certificate = Certificate::new();
    let node = Node::start(Setup {
        inventory: vec![("hosts.toml", inventory())],
        dns: format!(
            "listen_tls = [\"{tls}\"]\nlisten_https = [\"{https}\"]\ntls_cert = {:?}\ntls_key = {:?}",
            certificate.path("server.pem"),
            certificate.path("server.key")
        ),
        ..Setup::default()
    });
    let ca = format!("+tls-ca={}", certificate.path("ca.pem"));
    let hostname = "+tls-hostname=gw1.acme.private";
    assert_eq!(kdig(node.dns, &["+tcp", "+short", NAME]).trim(), ADDRESS);
    for (server, transport) in [(tls, &["+tls"][..]), (https, &["+https"]), (https, &["+https", "+https-get"])] {
        let text = kdig(server, &[transport, &[&*ca, hostname, NAME]].concat());
        assert!(text.contains(ADDRESS) && text.contains("status: NOERROR"), "{transport:?}: {text}");
    }
    // Several questions on one connection.
    let text = kdig(tls, &["+tls", &ca, hostname, "+keepopen", NAME, "nobody.acme.private", NAME]);
    assert_eq!(text.matches("status: NOERROR").count(), 2, "{text}");
    assert_eq!(text.matches("status: NXDOMAIN").count(), 1, "{text}");
}

fn kdig(server: SocketAddr, words: &[&str]) -> String {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let text = run("kdig", [&[&*at, "-p", &port, "+time=5"], words].concat()).expect_ok();
    assert!(!text.contains(";; WARNING") && !text.contains(";; ERROR"), "{text}");
    text
}

/// A certificate for gw1.acme.private and the authority that signed it.
struct Certificate(tempfile::TempDir);

impl Certificate {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let openssl = |line: &str| {
            let mut command = Command::new("openssl");
            finish("openssl", command.current_dir(dir.path()).args(line.split(' '))).expect_ok();
        };
        fs::write(dir.path().join("san"), "subjectAltName=DNS:gw1.acme.private\n").unwrap();
        let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        openssl(&format!("req -x509 {new_key} -subj /CN=test-ca -days 2 -keyout ca.key -out ca.pem"));
        openssl(&format!("req {new_key} -subj /CN=gw1 -keyout server.key -out server.csr"));
        openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.pem",
        );
        Self(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

#[test]
fn getent_resolves_through_us_alone() {
    let netns = Netns::new("getent");
    let node = Node::start(Setup {
        inventory: vec![("hosts.toml", inventory())],
        listen: Some(SocketAddr::from(([10, 0, 0, 2], 53))),
        netns: Some(netns.0.clone()),
        ..Setup::default()
    });
    let resolv_conf = "nameserver 10.0.0.2\nsearch us-east-1b.acme.private acme.private\n";
    fs::write(node.path("resolv.conf"), resolv_conf).unwrap();
    fs::write(node.path("nsswitch.conf"), "hosts: dns\n").unwrap();
    let getent = |words: &str| {
        let script = format!(
            "mount --bind {dir}/resolv.conf /etc/resolv.conf && mount --bind {dir}/nsswitch.conf /etc/nsswitch.conf && getent {words}",
            dir = Path::new(node.dir.path()).display()
        );
        finish("unshare", netns.command("unshare").args(["--mount", "sh", "-c", &script]))
    };
    for words in [
        format!("hosts {NAME}"),
        "hosts dev-mysql01".into(),
        "ahostsv4 dev-mysql01.us-east-1".into(),
        format!("hosts {ADDRESS}"),
    ] {
        let outcome = getent(&words);
        assert!(outcome.ok, "getent {words}: {outcome:?}");
        let text = outcome.stdout;
        assert!(text.contains(ADDRESS) && text.contains(NAME), "getent {words}: {text}");
    }
    let nobody = getent("hosts nobody.us-east-1b.acme.private");
    assert!(!nobody.ok && nobody.stdout.is_empty(), "{nobody:?}");
}

#[test]
fn health_and_metrics_over_http() {
    let node = Node::with_inventory(&inventory());
    node.get("/healthz");
    node.get("/readyz");
    let numbers = || -> f64 {
        let text = node.get("/metrics");
        assert!(text.contains("# TYPE ") && text.trim_end().ends_with("# EOF"), "not the OpenMetrics format: {text}");
        let values = text.lines().filter(|line| !line.starts_with('#') && line.contains("NXDOMAIN"));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    let before = numbers();
    for _ in 0..10 {
        node.ask("nobody.acme.private", rtype::A);
    }
    wait_for("ten more negative answers in the metrics", || (numbers() >= before + 10.0).then_some(()));
}
