//! Names below a delegation: NSD serves the delegated zones on port 53 of loopback addresses of their own (so this needs
//! root), and another NSD is the resolver behind us.

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Instant};

use crate::{
    harness::{Node, PATIENCE, Process, Setup, dig, free_address, own_loopback, record, wait_for},
    message::rtype,
};

/// NSD with these zones, each with an NS record `ns`.
fn nsd(dir: &Path, name: &str, address: SocketAddr, zones: &[(&str, &str)]) -> Process {
    let dir = dir.join(name);
    fs::create_dir(&dir).unwrap();
    let (home, ip, port) = (dir.display(), address.ip(), address.port());
    let mut config = format!(
        "server:\n ip-address: {ip}@{port}\n server-count: 1\n username: \"\"\n chroot: \"\"\n database: \"\"\n \
         zonesdir: \"{home}\"\n pidfile: \"{home}/pid\"\n xfrdfile: \"\"\n zonelistfile: \"{home}/zones\"\n xfrdir: \"{home}\"\n \
         rrl-ratelimit: 0\nremote-control:\n control-enable: no\n"
    );
    for (zone, records) in zones {
        let text = format!(
            "$ORIGIN {zone}.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A {ip}\n{records}"
        );
        fs::write(dir.join(format!("{zone}.zone")), text).unwrap();
        config += &format!("zone:\n name: {zone}\n zonefile: {zone}.zone\n");
    }
    let file = dir.join("nsd.conf");
    fs::write(&file, config).unwrap();
    let mut process = Process::start(name, &dir, Command::new("nsd").arg("-d").arg("-c").arg(file));
    wait_for("NSD", || {
        process.assert_running();
        dig(address, &["+norecurse", "+short", zones[0].0, "SOA"]).stdout.contains("hostmaster").then_some(())
    });
    process
}

struct World {
    node: Node,
    sub: Process,
    _others: [Process; 2],
    _dir: tempfile::TempDir,
}

fn world() -> World {
    let dir = tempfile::TempDir::new().unwrap();
    let (first, second, resolver) = (own_loopback(), own_loopback(), free_address());
    let sub = nsd(
        dir.path(),
        "sub",
        (first, 53).into(),
        &[(
            "sub.acme.private",
            &format!(
                "www A 192.0.2.11\nshort 1 A 192.0.2.15\ntoours CNAME here.acme.private.\ntoweb CNAME www.example.net.\n\
                 inside CNAME www\ntolow CNAME x.low\nback CNAME intosub.acme.private.\n\
                 loop CNAME loop.acme.private.\nlow NS ns.low\nns.low A {second}\nlarge TXT {}\n",
                "\"0123456789012345678901234567890123456789\" ".repeat(100)
            ),
        )],
    );
    let low = nsd(
        dir.path(),
        "low",
        (second, 53).into(),
        &[("low.sub.acme.private", "x A 192.0.2.12\n"), ("far.acme.private", "y A 192.0.2.13\n")],
    );
    let web = nsd(
        dir.path(),
        "web",
        resolver,
        &[("example.net", &format!("www A 192.0.2.14\nother A 192.0.2.16\nfar A {second}\n"))],
    );
    let inventory = [
        record("sub.acme.private", "NS", "ns.sub.acme.private."),
        record("ns.sub.acme.private", "A", &first.to_string()),
        record("far.acme.private", "NS", "far.example.net."),
        record("lost.acme.private", "NS", "nobody.example.net."),
        record("intosub.acme.private", "CNAME", "www.sub.acme.private."),
        record("loop.acme.private", "CNAME", "loop.sub.acme.private."),
        record("here.acme.private", "A", "192.0.2.1"),
    ]
    .concat();
    let node = Node::start(Setup {
        inventory: vec![("world.toml", inventory)],
        dns: format!("forward = [\"{resolver}\"]\nallow = [\"127.0.0.1/32\"]\n"),
        ..Setup::default()
    });
    wait_for("the inventory", || (!node.addresses("here.acme.private").is_empty()).then_some(()));
    World { node, sub, _others: [low, web], _dir: dir }
}

impl World {
    /// The data that a stub resolver gets.
    fn short(&self, name: &str) -> String {
        let text = self.node.dig(&["+short", name, "A"]).expect_ok();
        text.lines().collect::<Vec<_>>().join(" ")
    }

    fn whole(&self, words: &[&str]) -> String {
        self.node.dig(words).expect_ok()
    }
}

#[test]
fn stub_resolvers_get_names_below_a_delegation() {
    let world = world();
    assert_eq!(world.short("www.sub.acme.private"), "192.0.2.11");
    assert_eq!(world.short("intosub.acme.private"), "www.sub.acme.private. 192.0.2.11");
    assert_eq!(world.short("inside.sub.acme.private"), "www.sub.acme.private. 192.0.2.11");
    assert_eq!(world.short("toours.sub.acme.private"), "here.acme.private. 192.0.2.1");
    assert_eq!(world.short("toweb.sub.acme.private"), "www.example.net. 192.0.2.14");
    assert_eq!(world.short("x.low.sub.acme.private"), "192.0.2.12", "a zone delegated further");
    assert_eq!(world.short("tolow.sub.acme.private"), "x.low.sub.acme.private. 192.0.2.12");
    assert_eq!(
        world.short("back.sub.acme.private"),
        "intosub.acme.private. www.sub.acme.private. 192.0.2.11",
        "out of the delegated zone, and into it again"
    );
    assert_eq!(world.short("y.far.acme.private"), "192.0.2.13", "a server whose address the resolver behind us knows");
    assert_eq!(world.short("WWW.Sub.Acme.Private"), "192.0.2.11");

    let reply = world.whole(&["www.sub.acme.private", "A"]);
    assert!(reply.contains("flags: qr rd ra;") && reply.contains("status: NOERROR"), "{reply}");
    assert!(reply.contains("COOKIE: "), "{reply}");
    let reply = world.whole(&["nx.sub.acme.private", "A"]);
    assert!(reply.contains("status: NXDOMAIN") && reply.contains("ns.sub.acme.private. hostmaster"), "{reply}");
    let reply = world.whole(&["sub.acme.private", "NS"]);
    assert!(reply.contains("ANSWER: 1") && reply.contains("ns.sub.acme.private."), "{reply}");
    let reply = world.whole(&["large.sub.acme.private", "TXT", "+ignore"]);
    assert!(reply.contains("flags: qr tc rd ra;"), "4,000 octets fit no datagram: {reply}");
    assert!(world.whole(&["large.sub.acme.private", "TXT", "+short"]).len() > 4000, "over TCP they come");

    let reply = world.whole(&["x.lost.acme.private", "A"]);
    assert!(
        reply.contains("status: SERVFAIL") && reply.contains("no server of the delegated zone has an address"),
        "{reply}"
    );
    let reply = world.whole(&["loop.acme.private", "A"]);
    assert!(reply.contains("status: SERVFAIL") && reply.contains("chain of names is too long"), "{reply}");
}

#[test]
fn others_are_referred() {
    let world = world();
    for words in
        [["www.sub.acme.private", "+norecurse", "-b127.0.0.1"], ["www.sub.acme.private", "+recurse", "-b127.0.0.2"]]
    {
        let reply = world.whole(&words);
        assert!(reply.contains("ANSWER: 0, AUTHORITY: 1, ADDITIONAL: 2"), "{reply}");
    }
    assert_eq!(world.node.ask("www.sub.acme.private", rtype::A).answer, [], "without RD");
}

#[test]
fn silent_servers_cost_their_own_names_only() {
    let mut world = world();
    assert_eq!(world.short("short.sub.acme.private"), "192.0.2.15");
    world.sub.kill();
    let reply = wait_for("the record to expire", || {
        Some(world.whole(&["short.sub.acme.private", "A"])).filter(|reply| reply.contains("EDE: 3"))
    });
    assert!(reply.contains("192.0.2.15") && reply.contains("status: NOERROR"), "stale: {reply}");
    let started = Instant::now();
    let reply = world.whole(&["unseen.sub.acme.private", "A"]);
    assert!(reply.contains("status: SERVFAIL") && reply.contains("of the delegated zone"), "{reply}");
    assert_eq!(world.short("other.example.net"), "192.0.2.16");
    assert_eq!(world.short("y.far.acme.private"), "192.0.2.13");
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}
