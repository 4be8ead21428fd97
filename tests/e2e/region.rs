//! A region: slapd as the upstream, a relay that can black-hole it, and a node that follows it and serves LDAP.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use tempfile::TempDir;

use crate::{
    authority::Authority,
    harness::{Node, Outcome, Setup, free_address, host, run, wait_for},
    instance::{Directory, Key},
    relay::Relay,
    slapd::{BASE, Person, READER, READER_SECRET, Slapd, group, skeleton},
};

/// The instance on which tests log in, and another one.
pub(crate) const HERE: &str = "dev-mysql01.us-east-1b";
pub(crate) const ELSEWHERE: &str = "web01.us-east-1a";

pub(crate) struct Region {
    pub(crate) node: Node,
    pub(crate) slapd: Slapd,
    /// Between the node and slapd.
    pub(crate) relay: Relay,
    pub(crate) authority: Authority,
    /// The key of everybody in the directory.
    pub(crate) key: Key,
    pub(crate) ldap: SocketAddr,
    pub(crate) ldaps: SocketAddr,
    pub(crate) dir: TempDir,
}

/// How a region differs from the usual one.
pub(crate) struct Plan {
    /// How many changes slapd remembers for those who come back.
    pub(crate) session_log: usize,
    /// Further people and groups, as LDIF.
    pub(crate) ldif: String,
    /// Further text of the inventory.
    pub(crate) inventory: String,
    /// Further lines of `[directory]`.
    pub(crate) directory: String,
    /// URLs before the one that works, in quotes, each with a comma.
    pub(crate) upstream_first: String,
}

impl Default for Plan {
    fn default() -> Self {
        let text = String::new;
        Self { session_log: 100, ldif: text(), inventory: text(), directory: text(), upstream_first: text() }
    }
}

impl Region {
    /// alice may log in on the instance by her own entry, carol by her group's, bob elsewhere only, dave nowhere.
    pub(crate) fn start(plan: Plan) -> Self {
        let dir = TempDir::new().unwrap();
        let authority = Authority::new(dir.path());
        let key = Key::new(dir.path(), "key");
        let person = |uid, number, hosts| Person { uid, number, hosts, key: &key.public }.ldif();
        let ldif = skeleton()
            + &person("alice", 20001, &["dev-mysql*.us-east-1b"])
            + &person("bob", 20002, &["web*.us-east-1"])
            + &person("carol", 20003, &[])
            + &person("dave", 20004, &[])
            + &group("dba", 20100, &["alice", "carol"], &["*.us-east-1b"])
            + &plan.ldif;
        let slapd = Slapd::start(dir.path(), &authority, &ldif, plan.session_log);
        let relay = Relay::to(slapd.tls);
        let (ldap, ldaps) = (free_address(), free_address());
        let certificate = authority.issue("appliance", "IP:127.0.0.1,DNS:ldap.us-east-1.acme.private");
        let config = format!(
            "[directory]\nlisten = [\"{ldap}\"]\nlisten_tls = [\"{ldaps}\"]\nbase = \"{BASE}\"\n\
             allow_anonymous = [\"127.0.0.0/8\"]\ntls_cert = {:?}\ntls_key = {:?}\nclient_ca = {ca:?}\n{}\n\
             [directory.upstream]\nurls = [{}\"ldaps://{}\"]\nbase = \"{BASE}\"\nbind_dn = \"{READER}\"\n\
             bind_password_file = \"{{dir}}/ldap.secret\"\nca_file = {ca:?}\ntimeout_s = 2\n",
            certificate.chain,
            certificate.key,
            plan.directory,
            plan.upstream_first,
            relay.address,
            ca = authority.ca(),
        );
        let inventory = host("dev-mysql01", "us-east-1b", "10.2.3.4", &["mysql"])
            + &host("web01", "us-east-1a", "10.2.3.5", &["web"])
            + &plan.inventory;
        let node = Node::start(Setup {
            inventory: vec![("hosts.toml", inventory)],
            dns: config,
            files: vec![("ldap.secret", format!("{READER_SECRET}\n"))],
            ..Setup::default()
        });
        let region = Self { node, slapd, relay, authority, key, ldap, ldaps, dir };
        region.wait_for_content();
        // The inventory is another source, read at its own pace.
        region.wait_until_admitted("alice", true);
        region
    }

    /// Waits until the node holds what slapd holds.
    #[track_caller]
    pub(crate) fn wait_for_content(&self) {
        let expected = content(self.slapd.address).expect("slapd answers");
        assert!(expected.len() > 4, "slapd holds {expected:?}");
        let mut last = None;
        let started = std::time::Instant::now();
        wait_for("the node to hold what slapd holds", || {
            last = content(self.ldap);
            if started.elapsed().as_secs() > 50 {
                eprintln!("slapd: {expected:#?}\nnode: {last:#?}\nstatus: {:#}", self.node.status());
            }
            (last.as_ref() == Some(&expected)).then_some(())
        });
    }

    /// Whether somebody is admitted on a host, as stock clients ask it.
    #[track_caller]
    pub(crate) fn admits(&self, user: &str, host: &str) -> bool {
        let filter = format!("(&(objectClass=posixAccount)(uid={user})(gatehouseAccess={host}))");
        let text = search(self.ldap, &[BASE, "sub", &filter, "1.1"]).expect_ok();
        text.contains("dn: ")
    }

    #[track_caller]
    pub(crate) fn wait_until_admitted(&self, user: &str, expected: bool) {
        wait_for(&format!("{user} admitted: {expected}"), || (self.admits(user, HERE) == expected).then_some(()));
    }

    /// Waits until `status` contains a text.
    #[track_caller]
    pub(crate) fn wait_for_status(&self, text: &str) -> String {
        wait_for(&format!("status to contain {text}"), || {
            Some(self.node.status().to_string()).filter(|status| status.to_lowercase().contains(text))
        })
    }

    /// Waits until a change is held back; its number.
    #[track_caller]
    pub(crate) fn wait_for_held(&self) -> String {
        wait_for("a held change", || Some(self.node.status()["held"].get(0)?["id"].to_string()))
    }

    /// What a client on the instance is configured with.
    pub(crate) fn directory(&self, access_filter: &str) -> Directory {
        Directory { address: self.ldap, start_tls: true, access_filter: access_filter.into() }
    }
}

/// `ldapsearch` without a bind: base, scope, filter, attributes.
pub(crate) fn search(address: SocketAddr, words: &[&str]) -> Outcome {
    let url = format!("ldap://{address}");
    let options = ["-x", "-LLL", "-o", "ldif-wrap=no", "-o", "nettimeout=5", "-H", &url];
    let (base, scope) = (words[0], words[1]);
    run("ldapsearch", [&options[..], &["-b", base, "-s", scope], &words[2..]].concat())
}

/// All entries with their attributes and UUIDs, as a client without a bind sees them; None if nobody answers.
pub(crate) fn content(address: SocketAddr) -> Option<BTreeMap<String, BTreeSet<String>>> {
    let outcome = search(address, &[BASE, "sub", "(objectClass=*)", "*", "entryUUID"]);
    if !outcome.ok {
        return None;
    }
    let entry = |text: &str| {
        let mut lines = text.lines().map(str::to_owned);
        Some((lines.next()?, lines.collect()))
    };
    // Rules for sudo are made by the node.
    let received = |entry: &&str| !entry.contains("ou=sudoers");
    Some(outcome.stdout.split("\n\n").filter(received).filter_map(entry).collect())
}
