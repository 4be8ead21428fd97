//! Other people's relays on both sides: rsyslog and syslog-ng from Debian, logger, logrotate.

use std::{fs, path::Path, path::PathBuf, process::Command, sync::OnceLock};

use super::{addresses, node, out, to_one_file, wait_for_lines};
use crate::{
    authority::Authority,
    harness::{Process, finish, run, wait_for},
};

/// Lines that each test sends.
const LINES: usize = 2_000;

/// rsyslogd with a configuration, its own files in `dir`.
fn rsyslog(dir: &Path, config: &str) -> Process {
    let file = dir.join("rsyslog.conf");
    fs::write(&file, format!("global(workDirectory={dir:?})\n{config}")).unwrap();
    let mut command = Command::new("rsyslogd");
    command.args(["-n", "-f"]).arg(&file).arg("-i").arg(dir.join("rsyslog.pid"));
    Process::start("rsyslog", dir, &mut command)
}

/// syslog-ng, unpacked beside rsyslog because their packages exclude each other.
fn syslog_ng(dir: &Path, config: &str) -> Process {
    static UNPACKED: OnceLock<PathBuf> = OnceLock::new();
    let root = UNPACKED.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("syslog-ng");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/unpacked");
        finish("tests/unpacked", Command::new(script).arg(&root).arg("syslog-ng-core")).expect_ok();
        root
    });
    let file = dir.join("syslog-ng.conf");
    fs::write(
        &file,
        format!("@version: 3.38\noptions {{ keep-hostname(yes); use-dns(no); stats-freq(0); }};\n{config}"),
    )
    .unwrap();
    let lib = root.join("usr/lib");
    let paths = [lib.join("x86_64-linux-gnu"), lib.join("syslog-ng"), root.join("lib/x86_64-linux-gnu")];
    let mut command = Command::new(root.join("usr/sbin/syslog-ng"));
    command.env("LD_LIBRARY_PATH", std::env::join_paths(&paths).unwrap());
    command.args(["-F", "--no-caps", "-f"]).arg(&file);
    command.arg(format!("--module-path={}", lib.join("syslog-ng/3.38").display()));
    for (option, name) in [("-R", "persist"), ("-p", "syslog-ng.pid"), ("-c", "syslog-ng.ctl")] {
        command.arg(option).arg(dir.join(name));
    }
    Process::start("syslog-ng", dir, &mut command)
}

/// A file for a peer to read lines from: imfile of rsyslog, file() of syslog-ng.
fn input(dir: &Path) -> PathBuf {
    let file = dir.join("input.txt");
    let text: String = (0..LINES).map(|i| format!("peer-{i:05}\n")).collect();
    fs::write(&file, text).unwrap();
    file
}

/// Every line is there, in whatever order; at least once.
fn assert_lines(file: &Path) {
    wait_for(&format!("all lines in {}", file.display()), || {
        let lines = super::lines_of(file);
        let have: std::collections::HashSet<&str> = lines.iter().map(|line| line.trim()).collect();
        (0..LINES).all(|i| have.contains(format!("peer-{i:05}").as_str())).then_some(())
    });
}

fn imfile(input: &Path) -> String {
    format!("module(load=\"imfile\")\ninput(type=\"imfile\" file={input:?} tag=\"app:\")\n")
}

#[test]
fn rsyslog_sends_over_tcp_relp_and_tls() {
    let [tcp, relp, tls] = addresses();
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let server = authority.issue("server", "IP:127.0.0.1,DNS:localhost");
    let listen = format!(
        "\"tcp://{tcp}\", \"relp://{relp}\", \"tls://{tls}\"]\ntls_cert = {:?}\ntls_key = {:?}\ntags = [",
        server.chain, server.key
    );
    let input = input(dir.path());
    let actions = [
        ("tcp", format!("action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{}\" protocol=\"tcp\")", tcp.port())),
        (
            "relp",
            format!("module(load=\"omrelp\")\naction(type=\"omrelp\" target=\"127.0.0.1\" port=\"{}\")", relp.port()),
        ),
        (
            "tls",
            format!(
                "global(defaultNetstreamDriverCAFile={:?})\naction(type=\"omfwd\" target=\"127.0.0.1\" port=\"{}\" protocol=\"tcp\" \
                 streamDriver=\"gtls\" streamDriverMode=\"1\" streamDriverAuthMode=\"anon\")",
                authority.ca(),
                tls.port()
            ),
        ),
    ];
    for (name, action) in actions {
        let node = node(&to_one_file(&listen, ""));
        let folder = dir.path().join(format!("rsyslog-{name}"));
        fs::create_dir(&folder).unwrap();
        let _rsyslog = rsyslog(&folder, &(imfile(&input) + &action));
        assert_lines(&out(&node));
        super::assert_balanced(&node);
    }
}

#[test]
fn rsyslog_receives_over_tcp_relp_and_tls() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let server = authority.issue("server", "IP:127.0.0.1,DNS:localhost");
    let modules = [
        ("tcp", "module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")".to_owned()),
        ("relp", "module(load=\"imrelp\")\ninput(type=\"imrelp\" address=\"127.0.0.1\" port=\"{port}\")".to_owned()),
        (
            "tls",
            format!(
                "global(defaultNetstreamDriverCAFile={:?} defaultNetstreamDriverCertFile={:?} defaultNetstreamDriverKeyFile={:?})\n\
                 module(load=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" streamDriver.authMode=\"anon\")\n\
                 input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{{port}}\")",
                authority.ca(),
                server.chain,
                server.key
            ),
        ),
    ];
    for (scheme, module) in modules {
        let [tcp, peer] = addresses();
        let folder = dir.path().join(format!("rsyslog-{scheme}"));
        fs::create_dir(&folder).unwrap();
        let file = folder.join("received.log");
        let port = peer.port().to_string();
        let config = format!(
            "{}\ntemplate(name=\"only\" type=\"string\" string=\"%msg%\\n\")\naction(type=\"omfile\" file={file:?} template=\"only\")\n",
            module.replace("{port}", &port)
        );
        let mut rsyslog = rsyslog(&folder, &config);
        let roots = if scheme == "tls" { format!("ca_file = {:?}\n", authority.ca()) } else { String::new() };
        let to = format!(
            "[[logrelay.source]]\nname = \"net\"\nlisten = [\"tcp://{tcp}\"]\n\
             [[logrelay.destination]]\nname = \"peer\"\nsyslog = \"{scheme}://{peer}\"\n{roots}reopen_s = 1\n\
             [[logrelay.route]]\nto = [\"peer\"]\n"
        );
        let node = node(&to);
        let text: String = (0..LINES).map(|i| format!("<14>Nov 20 17:05:05 dev-web01 app[7]: peer-{i:05}\n")).collect();
        let mut stream = std::net::TcpStream::connect(tcp).unwrap();
        std::io::Write::write_all(&mut stream, text.as_bytes()).unwrap();
        assert_lines(&file);
        rsyslog.assert_running();
        super::assert_balanced(&node);
    }
}

#[test]
fn syslog_ng_sends_with_its_disk_buffer_and_receives() {
    let [tcp, back, tls] = addresses();
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let server = authority.issue("server", "IP:127.0.0.1,DNS:localhost");
    let input = input(dir.path());
    let listen = format!(
        "\"tcp://{tcp}\", \"tls://{tls}\"]\ntls_cert = {:?}\ntls_key = {:?}\ntags = [",
        server.chain, server.key
    );
    let more = format!(
        "[[logrelay.destination]]\nname = \"back\"\nsyslog = \"tcp://{back}\"\nreopen_s = 1\n[[logrelay.route]]\nto = [\"back\"]\n"
    );
    let node = node(&to_one_file(&listen, &more));
    let received = dir.path().join("received.log");
    let disk = dir.path().display();
    let config = format!(
        "source s {{ file({input:?} flags(no-parse)); }};\n\
         destination d {{ network(\"127.0.0.1\" port({}) disk-buffer(disk-buf-size(10485760) reliable(yes) mem-buf-size(1048576) dir(\"{disk}\"))); }};\n\
         destination t {{ network(\"127.0.0.1\" port({}) transport(\"tls\") tls(ca-file({:?}) peer-verify(required-trusted)) disk-buffer(disk-buf-size(10485760) reliable(yes) mem-buf-size(1048576) dir(\"{disk}\"))); }};\n\
         source b {{ network(ip(\"127.0.0.1\") port({})); }};\n\
         destination f {{ file({received:?} template(\"$MSGHDR$MSG\\n\")); }};\n\
         log {{ source(s); destination(d); destination(t); }};\nlog {{ source(b); destination(f); }};\n",
        tcp.port(),
        tls.port(),
        authority.ca(),
        back.port()
    );
    let mut peer = syslog_ng(dir.path(), &config);
    // Each line comes twice: over TCP and over TLS.
    wait_for_lines(&out(&node), 2 * LINES);
    assert_lines(&out(&node));
    assert_lines(&received);
    peer.assert_running();
    super::assert_balanced(&node);
}

#[test]
fn logger_is_understood_in_all_its_ways() {
    let [both] = addresses();
    let socket = "{dir}/log.sock";
    let node = node(
        &to_one_file(&format!("\"udp://{both}\", \"tcp://{both}\", \"unix-dgram://{socket}\""), "")
            .replace("$MSG\\n", "$PROGRAM $LEVEL $MSG\\n"),
    );
    let port = both.port().to_string();
    let to = ["--server", "127.0.0.1", "--port", &port, "--tag", "demo", "--priority", "user.warning"];
    let ways: [(&str, &[&str]); 6] = [
        ("udp", &["--udp"]),
        ("tcp", &["--tcp"]),
        ("octets", &["--tcp", "--octet-count"]),
        ("rfc3164", &["--udp", "--rfc3164"]),
        ("rfc5424", &["--tcp", "--rfc5424"]),
        ("data", &["--tcp", "--rfc5424", "--octet-count", "--sd-id", "test@1", "--sd-param", "a=\"b\""]),
    ];
    for (name, words) in ways {
        run("logger", [&to[..], words, &[name]].concat()).expect_ok();
    }
    let path = node.path("log.sock");
    run("logger", ["--socket", path.to_str().unwrap(), "--tag", "demo", "--priority", "user.warning", "socket"])
        .expect_ok();
    let mut lines = wait_for_lines(&out(&node), 7);
    lines.sort();
    let mut expected: Vec<_> = ways.iter().map(|(name, _)| format!("demo warning {name}")).collect();
    expected.push("demo warning socket".into());
    expected.sort();
    assert_eq!(lines, expected);
}

#[test]
fn logrotate_rotates_what_is_written_and_what_is_followed() {
    let [tcp] = addresses();
    let followed = tempfile::tempdir().unwrap();
    let app = followed.path().join("app.log");
    let more = format!("[[logrelay.source]]\nname = \"app\"\nfollow = [\"{}/*.log\"]\n", followed.path().display());
    let node = node(&to_one_file(&format!("\"tcp://{tcp}\""), &more));
    let append = |text: &str| {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&app).unwrap();
        std::io::Write::write_all(&mut file, format!("{text}\n").as_bytes()).unwrap();
    };
    append("before");
    wait_for_lines(&out(&node), 1);
    let config = followed.path().join("logrotate.conf");
    let pid = node.id();
    fs::write(
        &config,
        format!(
            "{} {{ rotate 3\n create\n missingok\n}}\n{} {{ rotate 3\n create\n postrotate\n kill -HUP {pid}\n endscript\n}}\n",
            app.display(),
            out(&node).display()
        ),
    )
    .unwrap();
    fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let state = followed.path().join("state");
    run("logrotate", ["--force", "--state", state.to_str().unwrap(), config.to_str().unwrap()]).expect_ok();
    // The file is reopened after logrotate has gone on.
    let held = |link: std::path::PathBuf| fs::read_link(link).is_ok_and(|path| path.ends_with("out.log.1"));
    wait_for("the rotated file to be let go", || {
        let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        (!links.map_while(Result::ok).any(|link| held(link.path()))).then_some(())
    });
    append("after");
    let fresh = wait_for("a line in the new file", || {
        let lines = super::lines_of(&out(&node));
        lines.iter().any(|line| line == "after").then_some(lines)
    });
    assert_eq!(fresh, ["after"]);
    assert_eq!(super::lines_of(&node.path("out.log.1")), ["before"]);
}

/// Runs the node and journald with a /run of their own; `$1` is the node's program, `$2` the folder of the test.
const JOURNALD: &str = r#"
set -eu
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log
printf '[Journal]\nForwardToSyslog=yes\nStorage=volatile\nReadKMsg=no\n' >/run/systemd/journald.conf.d/forward.conf
wait_for() { i=0; until "$@"; do i=$((i + 1)); [ $i -lt 600 ]; sleep 0.05; done; }
"$1" serve --config "$2/gatehouse.toml" >"$2/gatehouse.log" 2>&1 &
wait_for test -S /run/systemd/journal/syslog
/lib/systemd/systemd-journald >"$2/journald.log" 2>&1 &
wait_for test -S /run/systemd/journal/dev-log
logger --socket /run/systemd/journal/dev-log --tag demo 'by way of dev-log'
printf 'MESSAGE=by way of the journal\nPRIORITY=3\nSYSLOG_IDENTIFIER=native\n' | logger --journald
wait_for grep -q journal "$2/out.log"
"#;

#[test]
fn journald_forwards_what_it_gets() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().display();
    let config = format!(
        "[node]\nname = \"test\"\nregion = \"us-east-1\"\ndata_dir = \"{folder}/data\"\n\
         [[logrelay.source]]\nname = \"journal\"\nprofile = \"devlog\"\nlisten = [\"unix-dgram:///run/systemd/journal/syslog\"]\n\
         [[logrelay.destination]]\nname = \"files\"\nfile = \"{folder}/out.log\"\ntemplate = \"$PROGRAM $LEVEL $MSG\\n\"\n\
         [[logrelay.route]]\nto = [\"files\"]\n[admin]\nsocket = \"{folder}/control.sock\"\n"
    );
    fs::write(dir.path().join("gatehouse.toml"), config).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", JOURNALD, "journald"]);
    let outcome = finish("unshare", command.arg(crate::harness::GATEHOUSE).arg(dir.path()));
    let log = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
    assert!(outcome.ok, "{outcome:?}\n{}\n{}", log("gatehouse.log"), log("journald.log"));
    let lines = super::lines_of(&dir.path().join("out.log"));
    assert!(lines.iter().any(|line| line == "demo notice by way of dev-log"), "{lines:?}");
    assert!(lines.iter().any(|line| line == "native err by way of the journal"), "{lines:?}");
}
