//! Rows, keepers and a child process to work with.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    net::Ipv4Addr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use inventory::{
    Author, Edit, Host, HostKey, HostState, Keeper, OpenError, Opened, Outcome, Proposal, Refused, Row, RowKey, State,
};

/// How long a lock that nobody wants may be held.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn host_with(n: u32, source: &str, change: impl FnOnce(&mut Host)) -> Row {
    let mut host = Host {
        key: HostKey { product: "acme".into(), name: format!("web{n}").into(), zone: "us-east-1a".into() },
        region: "us-east-1".into(),
        private_ip: Ipv4Addr::from(0x0a00_0000 + n),
        public_ip: None,
        ipv6: None,
        roles: Box::new([]),
        groups: Box::new([]),
        tags: Box::new([]),
        state: HostState::Running,
        source: source.into(),
    };
    change(&mut host);
    Row::Host(Arc::new(host))
}

pub(crate) fn host(n: u32) -> Row {
    host_with(n, "api", |_| {})
}

pub(crate) fn key(n: u32) -> RowKey {
    host(n).key()
}

pub(crate) fn author(who: &str) -> Author {
    Author { who: who.into(), when_ms: 1_700_000_000_000, why: "a test".into() }
}

pub(crate) fn proposal(edits: Vec<Edit>) -> Proposal {
    Proposal { author: author("alice"), edits }
}

pub(crate) fn sync(source: &str, rows: Vec<Row>) -> Edit {
    Edit::Sync { source: source.into(), rows }
}

/// Opens a store that nobody uses any more. A process that another test has just begun may still hold its lock: it has
/// inherited every descriptor until it becomes its program.
pub(crate) fn opened(dir: &Path) -> Opened {
    let started = Instant::now();
    loop {
        match Keeper::open(dir, Arc::new(|_, _, _| Vec::new())) {
            Err(OpenError::Locked { .. }) if started.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => return opened.unwrap(),
        }
    }
}

pub(crate) fn open(dir: &Path) -> Keeper {
    opened(dir).keeper
}

pub(crate) async fn edit(keeper: &Keeper, edits: Vec<Edit>) -> Result<Outcome, Refused> {
    keeper.propose(proposal(edits)).await
}

/// The state's own hash is that of its rows, computed afresh, and so are its tallies.
pub(crate) fn check_whole(state: &State) {
    let p = state.position();
    let fresh = State::from_rows(p.cluster_id, p.epoch, p.serial, state.rows()).unwrap();
    assert_eq!(fresh.position(), p);
    assert!(fresh.products().eq(state.products()));
    assert!(fresh.members().eq(state.members()));
}

/// Names a folder in a child process; its presence makes the test `child` work in it.
const CHILD: &str = "STORE_TEST_CHILD";

/// With this variable the child's hosts are large, so that the standby journal outgrows its snapshot soon.
pub(crate) const LARGE: &str = "STORE_TEST_LARGE";

/// This program again, as a process that adds host after host in `dir` and prints each acknowledged number.
pub(crate) fn child(dir: &Path, fault: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "world::child_process", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, dir).env(inventory::fault::VARIABLE, fault);
    // Whatever it dies of, other than a fault that was asked for, is to be read in the output.
    command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

/// Reads what a child acknowledged until it ends or `enough` says stop; then it is killed.
pub(crate) fn acknowledged(child: &mut Child, mut enough: impl FnMut(&BTreeSet<u32>) -> bool) -> BTreeSet<u32> {
    let mut seen = BTreeSet::new();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        if let Some(n) = line.split("acknowledged ").nth(1) {
            seen.insert(n.trim().parse().unwrap());
            if enough(&seen) {
                drop(child.kill());
            }
        }
    }
    child.wait().unwrap();
    seen
}

/// Every acknowledged host is there, and the state is what its rows say.
pub(crate) fn check_kept(state: &State, seen: &BTreeSet<u32>) {
    for n in seen {
        assert!(state.get(&key(*n)).is_some(), "host {n} was acknowledged and is gone");
    }
    check_whole(state);
}

/// The child's work; without the variable it checks only that it was not meant.
#[test]
fn child_process() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let keeper = open(Path::new(&dir));
        println!("opened with {} hosts, trouble: {}", keeper.state().host_count(), keeper.health().trouble.is_some());
        // After the highest: of eight changes under way at the end of a process, a later one may have been kept and an
        // earlier one not.
        let present = keeper.state().hosts().map(|host| u32::from(host.private_ip) - 0x0a00_0000).max();
        let first = present.map_or(0, |n| n + 1);
        println!("held: {:?}", keeper.held().iter().map(|held| held.id).collect::<Vec<_>>());
        let mut tasks = tokio::task::JoinSet::new();
        for n in first..first + 3000 {
            if tasks.len() == 8 {
                tasks.join_next().await.unwrap().unwrap();
            }
            let keeper = keeper.clone();
            let row = host_with(n, "api", |host| {
                if std::env::var_os(LARGE).is_some() {
                    host.tags = Box::new([("text".into(), "x".repeat(8000).into())]);
                }
            });
            tasks.spawn(async move {
                match edit(&keeper, vec![Edit::Add(row)]).await {
                    Ok(Outcome::Applied { .. }) => println!("acknowledged {n}"),
                    Err(Refused::NotDurable(why)) => println!("refused {n}: {why}"),
                    other => panic!("{other:?}"),
                }
            });
        }
        while tasks.join_next().await.is_some() {}
        if let Some(trouble) = keeper.health().trouble {
            println!("trouble since {}: {}", trouble.since_ms, trouble.text);
        }
    });
}
