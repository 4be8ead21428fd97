//! Listens and prints what arrives, or only counts it.
//!
//! `cargo run -p logrelay --example receive -- [--quiet] [KEY=VALUE ...] ADDRESS ...`, for example
//! `receive udp://127.0.0.1:5514 tcp://127.0.0.1:5514 relp://127.0.0.1:2514`. KEY is one of a source's configuration, VALUE
//! as in TOML. Every second in which something happened it says how many lines came, how much of the processor they cost,
//! and how much memory the process has. Ends with Ctrl-C.
#![expect(clippy::unwrap_used, reason = "an example")]

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use logrelay::{
    config::{Listen, Source},
    intake::{Line, Sender, Stopping},
    source::{Around, Kept, Road, bind, start},
};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

struct Print {
    quiet: bool,
    sender: Sender,
    lines: Arc<AtomicU64>,
    count: u64,
}

impl Road for Print {
    type Receipt = ();

    fn sender(&mut self, sender: &Sender) {
        if self.sender != *sender {
            self.sender.clone_from(sender);
        }
    }

    fn line(&mut self, line: Line<'_>) {
        self.count += 1;
        if !self.quiet {
            let (raw, flags, length) = (line.raw.escape_ascii(), line.flags.0, line.original_len);
            println!("{:?} {:?} flags {flags} of {length}: {raw}", self.sender.address, self.sender.certificate);
        }
    }

    fn record(&mut self, _: &[u8]) -> bool {
        false
    }

    fn is_full(&self) -> bool {
        false
    }

    async fn flush(&mut self) -> Result<(), Stopping> {
        self.flush_or_shed();
        Ok(())
    }

    fn flush_or_shed(&mut self) {
        self.lines.fetch_add(std::mem::take(&mut self.count), Relaxed);
    }

    fn give_up(&mut self) {}

    fn is_durable((): &()) -> bool {
        true
    }

    async fn durable((): ()) -> Result<(), Stopping> {
        Ok(())
    }
}

fn clock() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

fn main() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let (mut quiet, mut keys, mut listen) = (false, String::new(), Vec::new());
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quiet" => quiet = true,
            key if key.contains('=') => keys += &format!("{key}\n"),
            address => listen.push(address.to_owned()),
        }
    }
    let source: Source = toml::from_str(&format!("name = \"example\"\nlisten = {listen:?}\n{keys}")).unwrap();
    let bound = bind(&source, &mut Kept::default()).unwrap_or_else(|error| panic!("{error}"));
    let lines = Arc::new(AtomicU64::new(0));
    let (shutdown, counted) = (CancellationToken::new(), lines.clone());
    let roads = move |_: &Listen| Print { quiet, sender: Sender::default(), lines: counted.clone(), count: 0 };
    let around = Around { roads, known: Arc::new(|_| false), clock, shutdown: shutdown.clone() };
    let running = start(&source, bound, &around);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let mut tasks = JoinSet::new();
        for task in running.tasks {
            tasks.spawn(task.run);
        }
        let (mut last, mut cpu) = (0, processor());
        loop {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => break,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
            let (now, used) = (lines.load(Relaxed), processor());
            if now > last {
                let cost = (used - cpu).as_nanos() as f64 / (now - last) as f64;
                let _ = writeln!(
                    std::io::stderr(),
                    "{} lines, {cost:.0} ns of processor each; {} connections; {} KiB",
                    now - last,
                    running.limits.open(),
                    memory()
                );
            }
            (last, cpu) = (now, used);
        }
        shutdown.cancel();
        while tasks.join_next().await.is_some() {}
        for (listen, counters) in &running.listeners {
            println!("{listen} {counters:?}");
        }
        println!("{:?}", running.limits.counters);
    });
}

fn processor() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let micros = [usage.user_time(), usage.system_time()].map(|time| time.tv_sec() * 1_000_000 + time.tv_usec());
    Duration::from_micros(u64::try_from(micros.iter().sum::<i64>()).unwrap_or(0))
}

/// Resident memory, KiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}
