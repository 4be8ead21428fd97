//! With a real slapd as the upstream.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use inventory::entry::{Attribute, DIRECTORY, Value};
use ldap3::{LdapConnAsync, Mod, Scope, SearchEntry};
use tempfile::TempDir;

use super::{here::WAITING_MAX, *};

#[path = "../../../tests/e2e/ports.rs"]
mod ports;

use ports::free_port;

const BASE: &str = "dc=acme,dc=private";
const ROOT: &str = "cn=root,dc=acme,dc=private";
const ADA: &str = "uid=ada,dc=acme,dc=private";
/// {SSHA} of "secret".
const SSHA: &str = "{SSHA}x84t6q4Pex0rNuCkRDk23MHF7PibwVni";

struct Slapd {
    dir: TempDir,
    port: u16,
    tls_port: u16,
    child: Child,
}

impl Slapd {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let at = dir.path().display();
        std::fs::create_dir(dir.path().join("db")).unwrap();
        let config = format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/nis.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload ppolicy\n\
             TLSCertificateFile {at}/cert.pem\nTLSCertificateKeyFile {at}/key.pem\n\
             pidfile {at}/pid\nargsfile {at}/args\ndatabase mdb\nsuffix {BASE}\nrootdn {ROOT}\nrootpw root-secret\n\
             directory {at}/db\noverlay ppolicy\n\
             access to attrs=userPassword by anonymous auth by * none\naccess to * by * read\n"
        );
        std::fs::write(dir.path().join("slapd.conf"), config).unwrap();
        let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(dir.path().join("cert.pem"), issued.cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), issued.signing_key.serialize_pem()).unwrap();
        let ldif = format!(
            "dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: acme\ndc: acme\n\n\
             dn: {ADA}\nobjectClass: account\nobjectClass: simpleSecurityObject\nuid: ada\nuserPassword: {SSHA}\n\
             pwdChangedTime: 20260101000000Z\nentryUUID: 01010101-0101-0101-0101-010101010101\n"
        );
        std::fs::write(dir.path().join("content.ldif"), ldif).unwrap();
        let loaded = Command::new("/usr/sbin/slapadd")
            .args(["-q", "-f"])
            .arg(dir.path().join("slapd.conf"))
            .arg("-l")
            .arg(dir.path().join("content.ldif"))
            .output()
            .expect("these tests need Debian's slapd");
        assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
        let (port, tls_port) = (free_port(), free_port());
        let child = Self::run(&dir, port, tls_port);
        Self { dir, port, tls_port, child }
    }

    fn run(dir: &TempDir, port: u16, tls_port: u16) -> Child {
        let mut child = Command::new("/usr/sbin/slapd")
            .args(["-d", "0", "-h", &format!("ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls_port}"), "-f"])
            .arg(dir.path().join("slapd.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert_eq!(child.try_wait().unwrap(), None, "slapd has ended");
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }

    fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = Self::run(&self.dir, self.port, self.tls_port);
    }

    async fn set_password(&self, password: &str) {
        let (driver, mut ldap) = LdapConnAsync::new(&self.url()).await.unwrap();
        tokio::spawn(driver.drive());
        ldap.simple_bind(ROOT, "root-secret").await.unwrap().success().unwrap();
        let change = vec![Mod::Replace("userPassword", [password].into())];
        ldap.modify(ADA, change).await.unwrap().success().unwrap();
    }

    /// The entry as a follower without access to `userPassword` gets it.
    async fn ada(&self) -> Arc<Entry> {
        let (driver, mut ldap) = LdapConnAsync::new(&self.url()).await.unwrap();
        tokio::spawn(driver.drive());
        let (found, _) = ldap.search(ADA, Scope::Base, "(uid=*)", vec!["*", "+"]).await.unwrap().success().unwrap();
        let found = SearchEntry::construct(found.into_iter().next().unwrap());
        let attributes: Vec<(&str, &str)> =
            found.attrs.iter().flat_map(|(name, values)| values.iter().map(|v| (name.as_str(), v.as_str()))).collect();
        assert!(attributes.iter().all(|(name, _)| *name != "userPassword"));
        ada(&attributes)
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        // Either it runs, or a test has stopped it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ada(attributes: &[(&str, &str)]) -> Arc<Entry> {
    let attribute = |(name, value): &(&str, &str)| Attribute((*name).into(), [Value::from(*value)].into());
    Arc::new(Entry {
        id: EntryId([1; 16]),
        dn: ADA.into(),
        attributes: attributes.iter().map(attribute).collect(),
        source: DIRECTORY.into(),
    })
}

/// Locked, as the policy would say.
fn account(entry: &Entry, _now_s: u64) -> Option<&'static str> {
    entry.text("nsAccountLock").filter(|value| *value == "TRUE").map(|_| "account_locked")
}

struct Judge {
    passwords: Passwords,
    _data: TempDir,
}

impl Judge {
    fn of(urls: &[String]) -> Self {
        Self::with(match urls {
            [] => serde_json::Value::Null,
            urls => serde_json::json!({ "urls": urls, "base": BASE, "starttls": false }),
        })
    }

    fn with(upstream: serde_json::Value) -> Self {
        let config = serde_json::json!({ "base": BASE, "upstream": upstream });
        let data = TempDir::new().unwrap();
        let passwords = Passwords::new(&serde_json::from_value(config).unwrap(), data.path(), account).unwrap();
        Self { passwords, _data: data }
    }

    /// Asks from a source of its own, so that no attempt delays another.
    async fn ask(&self, entry: Option<&Arc<Entry>>, password: &str) -> Checked {
        static SOURCE: AtomicUsize = AtomicUsize::new(0x0a00_0000);
        let source = IpAddr::V4((SOURCE.fetch_add(1, Relaxed) as u32).into());
        let dn = if entry.is_some() { ADA } else { "uid=nobody,dc=acme,dc=private" };
        self.passwords.check(entry.cloned(), dn, password.as_bytes(), source, true).await
    }

    async fn learned(&self, count: usize) {
        while self.passwords.verifiers() != count {
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The median times of failures with that entry and with an unknown name, asked in turns.
    async fn medians(&self, entry: &Arc<Entry>) -> [Duration; 2] {
        let mut times = [(); 2].map(|()| Vec::new());
        for _ in 0..7 {
            for (entry, times) in [Some(entry), None].into_iter().zip(&mut times) {
                let began = Instant::now();
                assert_eq!(self.ask(entry, "wrong").await.code(), 49);
                times.push(began.elapsed());
            }
        }
        times.map(|mut times| {
            times.sort_unstable();
            times[3]
        })
    }
}

fn right(via: Via) -> Checked {
    Checked::Right { entry: EntryId([1; 16]), via }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_judges_while_it_answers() {
    let slapd = Slapd::start();
    let judge = Judge::of(&[slapd.url()]);
    let ada = slapd.ada().await;
    assert_eq!(judge.ask(Some(&ada), "secret").await, right(Via::Upstream));
    assert_eq!(judge.ask(Some(&ada), "Secret").await, Checked::Wrong("wrong_password"));
    assert_eq!(judge.ask(None, "secret").await, Checked::Wrong("unknown_dn"));
    assert_eq!(judge.ask(Some(&ada), "").await, Checked::EmptyPassword);
    assert_eq!(judge.ask(Some(&ada), &"x".repeat(PASSWORD_MAX + 1)).await, Checked::Wrong("password_too_long"));
    let plain = judge.passwords.check(Some(ada), ADA, b"secret", "10.9.9.9".parse().unwrap(), false).await;
    assert_eq!((plain, plain.code()), (Checked::NotSecure, 13));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_of_the_upstream_is_final_even_where_a_hash_or_a_verifier_would_match() {
    let slapd = Slapd::start();
    let judge = Judge::of(&[slapd.url()]);
    let followed = slapd.ada().await;
    assert_eq!(judge.ask(Some(&followed), "secret").await, right(Via::Upstream));
    judge.learned(1).await;
    slapd.set_password("changed").await;
    let late = ada(&[("userPassword", SSHA)]);
    assert_eq!(judge.ask(Some(&late), "secret").await, Checked::Wrong("wrong_password"));
    assert_eq!(judge.ask(Some(&followed), "secret").await, Checked::Wrong("wrong_password"));
    assert_eq!(judge.ask(Some(&followed), "changed").await, right(Via::Upstream));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_upstream_the_replicated_hash_judges() {
    let mut slapd = Slapd::start();
    let judge = Judge::of(&[slapd.url()]);
    slapd.stop();
    let hashed = ada(&[("userPassword", SSHA)]);
    assert_eq!(judge.ask(Some(&hashed), "secret").await, right(Via::Hash));
    assert_eq!(judge.ask(Some(&hashed), "Secret").await, Checked::Wrong("wrong_password"));
    assert_eq!(judge.ask(None, "secret").await, Checked::Wrong("unknown_dn"));
    let locked = ada(&[("userPassword", SSHA), ("nsAccountLock", "TRUE")]);
    assert_eq!(judge.ask(Some(&locked), "secret").await, Checked::Wrong("account_locked"));
    assert_eq!(judge.ask(Some(&locked), "Secret").await, Checked::Wrong("wrong_password"));
    let unknown = ada(&[("userPassword", "{SASL}ada@ACME")]);
    assert_eq!(judge.ask(Some(&unknown), "{SASL}ada@ACME").await, Checked::Wrong("nothing_to_check"));
    assert_eq!(judge.passwords.silent().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_hash_the_last_success_judges_until_the_password_changes() {
    let mut slapd = Slapd::start();
    let judge = Judge::of(&[slapd.url()]);
    let before = slapd.ada().await;
    assert_eq!(judge.ask(Some(&before), "secret").await, right(Via::Upstream));
    judge.learned(1).await;
    slapd.stop();
    assert_eq!(judge.ask(Some(&before), "secret").await, right(Via::Verifier));
    assert_eq!(judge.ask(Some(&before), "Secret").await, Checked::Wrong("wrong_password"));

    slapd.restart();
    slapd.set_password("changed").await;
    let after = slapd.ada().await;
    assert_ne!(before.text("pwdChangedTime"), after.text("pwdChangedTime"));
    judge.passwords.changed(after.id, Some(&after));
    assert_eq!(judge.passwords.verifiers(), 0);
    // The server is back, and judges: asked in the background, no attempt finds that out.
    while !judge.passwords.silent().is_empty() {
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(judge.ask(Some(&after), "secret").await, Checked::Wrong("wrong_password"));
    assert_eq!(judge.ask(Some(&after), "changed").await, right(Via::Upstream));
    judge.learned(1).await;
    slapd.stop();
    assert_eq!(judge.ask(Some(&after), "changed").await, right(Via::Verifier));
    assert_eq!(judge.ask(Some(&after), "secret").await, Checked::Wrong("wrong_password"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_judge_anybody_that_is_said_to_everybody() {
    let mut slapd = Slapd::start();
    let judge = Judge::of(&[slapd.url()]);
    let ada = slapd.ada().await;
    slapd.stop();
    assert_eq!(judge.ask(Some(&ada), "secret").await, Checked::Unavailable);
    assert_eq!(judge.ask(None, "secret").await, Checked::Unavailable);
    // With a file as the source there is nobody else to ask.
    let judge = Judge::of(&[]);
    assert_eq!(judge.ask(Some(&ada), "secret").await, Checked::Wrong("nothing_to_check"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_server_is_passed_over_for_the_next() {
    let slapd = Slapd::start();
    let dead = TcpListener::bind("127.0.0.1:0").unwrap();
    let urls =
        [format!("ldap://127.0.0.1:{}", free_port()), format!("ldap://{}", dead.local_addr().unwrap()), slapd.url()];
    let judge = Judge::of(&urls);
    let ada = slapd.ada().await;
    assert_eq!(judge.ask(Some(&ada), "secret").await, right(Via::Upstream));
    assert_eq!(judge.passwords.silent().len(), 2);
    let began = Instant::now();
    assert_eq!(judge.ask(Some(&ada), "secret").await, right(Via::Upstream));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_costs_one_deadline_and_not_one_per_login() {
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let judge = Judge::of(&[format!("ldap://{}", hole.local_addr().unwrap())]);
    let hashed = ada(&[("userPassword", SSHA)]);
    let began = Instant::now();
    assert_eq!(judge.ask(Some(&hashed), "secret").await, right(Via::Hash));
    assert!(began.elapsed() < upstream::DEADLINE - Duration::from_secs(1), "{:?}", began.elapsed());
    while judge.passwords.silent().is_empty() {
        sleep(Duration::from_millis(20)).await;
    }
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(judge.ask(Some(&hashed), "secret").await, right(Via::Hash));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_here_knows_the_password_a_slow_upstream_has_its_time() {
    let slapd = Slapd::start();
    let slow = Slow::before(slapd.port).await;
    let judge = Judge::of(&[slow.url()]);
    let ada = slapd.ada().await;
    assert_eq!(judge.ask(Some(&ada), "secret").await, right(Via::Upstream));
    judge.learned(1).await;
    // The password is a new one: what is here does not know it, the upstream does.
    slapd.set_password("changed").await;
    assert_eq!(judge.ask(Some(&ada), "changed").await, right(Via::Upstream));
    let hashed = self::ada(&[("userPassword", SSHA)]);
    let began = Instant::now();
    assert_eq!(judge.ask(Some(&hashed), "secret").await, right(Via::Hash), "the late no is not waited for");
    assert!(began.elapsed() < Slow::BY, "{:?}", began.elapsed());
    assert!(judge.passwords.silent().is_empty());
}

/// An upstream from which everything comes late.
struct Slow(u16);

impl Slow {
    const BY: Duration = Duration::from_millis(1600);

    async fn before(port: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let slow = Self(listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                tokio::spawn(async move {
                    sleep(Self::BY).await;
                    let mut far = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    // It ends when either side does.
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        slow
    }

    fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_answer_to_one_bind_does_not_take_the_upstream_from_everybody() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let odd = Judge::of(&[format!("ldap://{}", listener.local_addr().unwrap())]);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut asked = [0; 512];
            tokio::io::AsyncReadExt::read(&mut near, &mut asked).await.unwrap();
            // BindResponse to message 1: other (80).
            let answer = [0x30, 0x0c, 2, 1, 1, 0x61, 7, 0x0a, 1, 80, 4, 0, 4, 0];
            tokio::io::AsyncWriteExt::write_all(&mut near, &answer).await.unwrap();
        }
    });
    let hashed = ada(&[("userPassword", SSHA)]);
    assert_eq!(odd.ask(Some(&hashed), "secret").await, right(Via::Hash));
    assert!(odd.passwords.silent().is_empty(), "{:?}", odd.passwords.silent());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_name_take_the_same_time() {
    let mut slapd = Slapd::start();
    let judge = Judge::of(&[slapd.url()]);
    let hashed = ada(&[("userPassword", SSHA)]);
    for online in [true, false] {
        if !online {
            slapd.stop();
            assert_eq!(judge.ask(Some(&hashed), "wrong").await.code(), 49);
        }
        let [known, unknown] = judge.medians(&hashed).await;
        let ratio = known.as_secs_f64() / unknown.as_secs_f64();
        assert!((0.5..2.0).contains(&ratio), "online {online}: {known:?} and {unknown:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_becomes_slow_and_others_are_not_concerned() {
    let judge = Judge::of(&[]);
    let hashed = ada(&[("userPassword", SSHA)]);
    let guesser: IpAddr = "192.0.2.1".parse().unwrap();
    let guess =
        |password: &'static str| judge.passwords.check(Some(hashed.clone()), ADA, password.as_bytes(), guesser, true);
    let began = Instant::now();
    let mut judged = 0;
    // Refused unjudged, even if it were right, once the delay is too long to wait for.
    while guess("wrong").await != Checked::Wrong("throttled") {
        judged += 1;
        assert!(judged < 12);
    }
    assert!(judged >= 5 && began.elapsed() > Duration::from_secs(2), "{judged} in {:?}", began.elapsed());
    assert_eq!(guess("secret").await, Checked::Wrong("throttled"));
    assert_eq!(judge.ask(Some(&hashed), "secret").await, right(Via::Hash));
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_up_early_counts_as_a_failure() {
    let judge = Judge::of(&[]);
    let hashed = ada(&[(
        "userPassword",
        "{PBKDF2-SHA512}20000$MDEyMzQ1Njc4OWFiY/v//g$g1I35Un3eP3Fm1SG2j2Lnfy3YYWKaWeFcTMVA/50W2icWzylaFhz/lUOsvsBWGRIWzgXAiuAnyuYUcrsLXj1oA",
    )]);
    let source: IpAddr = "192.0.2.2".parse().unwrap();
    let mut hung_up = 0;
    loop {
        let asked = judge.passwords.check(Some(hashed.clone()), ADA, b"wrong", source, true);
        match timeout(Duration::from_millis(1), asked).await {
            Err(_) => hung_up += 1,
            // A refusal waits for its step as well, so the reason shows in the counter.
            Ok(other) => panic!("{other:?} within a millisecond"),
        }
        if judge.passwords.counters().throttled.load(Relaxed) > 0 {
            break;
        }
        assert!(hung_up < 100);
    }
    assert!(judge.passwords.counters().abandoned.load(Relaxed) >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_for_hashing_is_busy_and_not_wrong() {
    let judge = Judge::of(&[]);
    let slow = ada(&[(
        "userPassword",
        "{PBKDF2-SHA512}20000$MDEyMzQ1Njc4OWFiY/v//g$g1I35Un3eP3Fm1SG2j2Lnfy3YYWKaWeFcTMVA/50W2icWzylaFhz/lUOsvsBWGRIWzgXAiuAnyuYUcrsLXj1oA",
    )]);
    let asked = (0..WAITING_MAX + HASHING + 20).map(|_| judge.ask(Some(&slow), "wrong"));
    let told = futures_util::future::join_all(asked).await;
    let busy = told.iter().filter(|checked| **checked == Checked::Busy("hashing_busy")).count();
    assert!(busy >= 18 && told.iter().all(|checked| matches!(checked.code(), 49 | 51)), "{busy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_go_upstream_under_tls_and_only_to_whom_our_roots_vouch_for() {
    let slapd = Slapd::start();
    let ada = slapd.ada().await;
    let roots = slapd.dir.path().join("cert.pem");
    for url in [slapd.url(), format!("ldaps://127.0.0.1:{}", slapd.tls_port)] {
        let judge = Judge::with(serde_json::json!({ "urls": [url], "base": BASE, "ca_file": roots }));
        assert_eq!(judge.ask(Some(&ada), "secret").await, right(Via::Upstream), "{url}");
        assert_eq!(judge.ask(Some(&ada), "Secret").await, Checked::Wrong("wrong_password"), "{url}");

        let other = slapd.dir.path().join("other.pem");
        let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(&other, issued.cert.pem()).unwrap();
        let judge = Judge::with(serde_json::json!({ "urls": [url], "base": BASE, "ca_file": other }));
        assert_eq!(judge.ask(Some(&ada), "secret").await, Checked::Unavailable, "{url}");
        let (_, why) = judge.passwords.silent().pop().unwrap();
        assert!(why.contains("TLS"), "{why}");
    }
}
