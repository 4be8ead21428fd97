//! Starting and ending servers, waiting for conditions, running commands.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    message::{Message, Question, Udp},
    ports::free_port,
};

pub(crate) const GATEHOUSE: &str = env!("CARGO_BIN_EXE_gatehouse");
/// How long anything may take on a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

/// An address on which port 53 is free and that no other test was given.
pub(crate) fn own_loopback() -> Ipv4Addr {
    let [high, low] = free_port().to_be_bytes();
    Ipv4Addr::new(127, 53, high, low)
}

/// Repeats `probe` until it returns something; panics with `what` when it takes too long.
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// What a command printed and whether it succeeded.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) ok: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Standard output of a command that must succeed.
    #[track_caller]
    pub(crate) fn expect_ok(self) -> String {
        assert!(self.ok, "failed: {}\n{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs a command to its end. A program that is not there is a failure of the test.
#[track_caller]
pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Outcome {
    finish(program, Command::new(program).args(args))
}

#[track_caller]
pub(crate) fn finish(name: &str, command: &mut Command) -> Outcome {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("cannot run {name}: {e}"));
    Outcome {
        ok: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A server that ends with the test; its log is printed when the test fails.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with both outputs appended to `dir/name.log`.
    pub(crate) fn start(name: &str, dir: &Path, command: &mut Command) -> Self {
        let log = dir.join(format!("{name}.log"));
        let file = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run {name}: {e}"));
        Self { name: name.into(), child, log }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    #[track_caller]
    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} has ended: {status}", self.name);
        }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A signal by name; the process may be a child of the one that was started (`ip netns exec` replaces itself).
    pub(crate) fn signal(&self, signal: &str) {
        run("kill", [format!("-{signal}"), self.child.id().to_string()]).expect_ok();
    }

    /// SIGTERM; returns whether it ended with status 0.
    pub(crate) fn terminate(&mut self) -> bool {
        self.signal("TERM");
        wait_for(&format!("{} to end after SIGTERM", self.name), || self.child.try_wait().unwrap()).success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(60).collect();
            eprintln!("---- log of {} (last lines)", self.name);
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// What a node under test is started with.
#[derive(Default)]
pub(crate) struct Setup {
    /// Files of the inventory folder: name and text. None: no folder is configured.
    pub(crate) inventory: Vec<(&'static str, String)>,
    /// Further lines of `[node]`.
    pub(crate) node: &'static str,
    /// Further lines of `[dns]`, then further tables. `{dir}` stands for the node's folder.
    pub(crate) dns: String,
    /// Files beside the configuration: name and text.
    pub(crate) files: Vec<(&'static str, String)>,
    /// Instead of a port of our own: the address of DNS.
    pub(crate) listen: Option<SocketAddr>,
    /// Network namespace to run in.
    pub(crate) netns: Option<String>,
    /// Instead of a folder beside the configuration.
    pub(crate) data_dir: Option<PathBuf>,
}

/// A running gatehouse with its folder.
pub(crate) struct Node {
    // Before the folder that has its log.
    process: Option<Process>,
    pub(crate) dir: TempDir,
    pub(crate) dns: SocketAddr,
    pub(crate) http: SocketAddr,
    netns: Option<String>,
}

impl Node {
    /// Writes the configuration, starts, and waits until `/readyz` says so.
    pub(crate) fn start(setup: Setup) -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path();
        let (dns, http) = (setup.listen.unwrap_or_else(free_address), free_address());
        let data = setup.data_dir.unwrap_or_else(|| path.join("data"));
        let mut config = format!(
            "[node]\nname = \"test\"\nregion = \"us-east-1\"\ndata_dir = {data:?}\n{}\n\
             [admin]\nlisten = \"{http}\"\nsocket = {:?}\n\
             [inventory]\nproduct = \"acme\"\n",
            setup.node,
            path.join("control.sock")
        );
        if !setup.inventory.is_empty() {
            fs::create_dir(path.join("inventory")).unwrap();
            config += &format!("path = {:?}\n", path.join("inventory"));
        }
        config += &format!("[dns]\nlisten = [\"{dns}\"]\n{}\n", setup.dns);
        fs::write(path.join("gatehouse.toml"), config.replace("{dir}", path.to_str().unwrap())).unwrap();
        for (name, text) in &setup.files {
            fs::write(path.join(name), text).unwrap();
        }
        let mut node = Self { dir, dns, http, netns: setup.netns, process: None };
        for (name, text) in &setup.inventory {
            node.write_inventory(name, text);
        }
        node.launch();
        node
    }

    /// A node with one inventory file and defaults.
    pub(crate) fn with_inventory(text: &str) -> Self {
        Self::start(Setup { inventory: vec![("hosts.toml", text.into())], ..Setup::default() })
    }

    /// Starts the process again after `kill` or `terminate`, and waits for `/readyz`.
    pub(crate) fn launch(&mut self) {
        self.launch_without_waiting();
        let url = format!("http://{}/readyz", self.http);
        wait_for("/readyz", || {
            self.process().assert_running();
            self.inside("curl")
                .args(["--silent", "--fail", "--max-time", "2", &url])
                .output()
                .unwrap()
                .status
                .success()
                .then_some(())
        });
    }

    pub(crate) fn launch_without_waiting(&mut self) {
        let command = self.inside(GATEHOUSE);
        self.launch_command(command);
    }

    /// Starts the process again with a variable in its environment; it may die at any moment, so nothing is waited for.
    pub(crate) fn launch_with(&mut self, name: &str, value: &str) {
        let mut command = self.inside(GATEHOUSE);
        command.env(name, value);
        self.launch_command(command);
    }

    fn launch_command(&mut self, mut command: Command) {
        let config = self.path("gatehouse.toml");
        self.process =
            Some(Process::start("gatehouse", self.dir.path(), command.args(["serve", "--config"]).arg(config)));
    }

    /// A command that runs in the node's network namespace.
    pub(crate) fn inside(&self, program: &str) -> Command {
        let Some(netns) = &self.netns else { return Command::new(program) };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", netns, program]);
        command
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the node was started")
    }

    /// Process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.as_ref().expect("the node was started").id()
    }

    /// Sends a signal by name while others still use the node.
    pub(crate) fn signal(&self, name: &str) {
        self.process.as_ref().expect("the node was started").signal(name);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces a file of the inventory folder in one step, as editors do.
    pub(crate) fn write_inventory(&self, name: &str, text: &str) {
        let temporary = self.path("new-inventory-file");
        fs::write(&temporary, text).unwrap();
        fs::rename(temporary, self.path("inventory").join(name)).unwrap();
    }

    /// Runs `gatehouse WORDS... --socket S`.
    pub(crate) fn command<S: AsRef<str>>(&self, words: &[S]) -> Outcome {
        let mut command = Command::new(GATEHOUSE);
        command.args(words.iter().map(AsRef::as_ref)).arg("--socket").arg(self.path("control.sock"));
        finish("gatehouse", &mut command)
    }

    pub(crate) fn add_host(&self, name: &str, zone: &str, ip: &str, role: &str) -> Outcome {
        self.command(&["host", "add", &format!("{name}.{zone}"), "--private-ip", ip, "--role", role, "--why", "test"])
    }

    /// `status --json`, parsed.
    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.command(&["status", "--json"]).expect_ok()).expect("status --json prints JSON")
    }

    /// A path of the HTTP API.
    pub(crate) fn get(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.http);
        finish("curl", self.inside("curl").args(["--silent", "--fail", "--max-time", "10", &url])).expect_ok()
    }

    pub(crate) fn ask(&self, name: &str, qtype: u16) -> Message {
        Udp::to(self.dns).ask(&Question::new(name, qtype))
    }

    /// The IPv4 addresses of a name, sorted; empty if there are none or nobody answers.
    pub(crate) fn addresses(&self, name: &str) -> Vec<Ipv4Addr> {
        let Some(reply) = Udp::to(self.dns).try_ask(&Question::new(name, crate::message::rtype::A)) else {
            return vec![];
        };
        let mut found: Vec<_> = reply
            .answer
            .iter()
            .filter(|record| record.rtype == crate::message::rtype::A)
            .map(|record| Ipv4Addr::from(<[u8; 4]>::try_from(&record.rdata[..]).unwrap()))
            .collect();
        found.sort();
        found
    }

    /// Runs dig against the node.
    pub(crate) fn dig(&self, words: &[&str]) -> Outcome {
        dig(self.dns, words)
    }
}

pub(crate) fn dig(server: SocketAddr, words: &[&str]) -> Outcome {
    let (port, address) = (server.port().to_string(), format!("@{}", server.ip()));
    run("dig", [&["-p", &port, &address, "+time=5", "+tries=2"], words].concat())
}

/// `[[host]]` of an inventory file.
pub(crate) fn host(name: &str, zone: &str, ip: &str, roles: &[&str]) -> String {
    format!("[[host]]\nname = {name:?}\nzone = {zone:?}\nprivate_ip = {ip:?}\nroles = {roles:?}\n\n")
}

/// `[[record]]` of an inventory file.
pub(crate) fn record(name: &str, rtype: &str, data: &str) -> String {
    format!("[[record]]\nname = {name:?}\ntype = {rtype:?}\ndata = '''{data}'''\n\n")
}

/// A network namespace that has the address 10.0.0.2 and nothing outside; removed with the value.
pub(crate) struct Netns(pub(crate) String);

impl Netns {
    pub(crate) fn new(purpose: &str) -> Self {
        let name = format!("gatehouse-{purpose}-{}", std::process::id());
        run("ip", ["netns", "add", &name]).expect_ok();
        let netns = Self(name);
        for words in ["link set lo up", "address add 10.0.0.2/32 dev lo"] {
            finish("ip", netns.command("ip").args(words.split(' '))).expect_ok();
        }
        netns
    }

    /// A command inside.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]);
        command
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

/// Numbers that are the same in every run (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
