//! What a change costs at 1,000, 100,000 and 1,000,000 hosts, and how long loading takes.
//!
//! `cargo run --release -p inventory --example change_cost [HOSTS...]`. Medians: `apply` is the pure function on a
//! one-host change, `propose` goes through the writer to both files and back, syncs included. Loading is from the
//! database, and from the standby copy after the database was removed.
#![expect(clippy::unwrap_used, reason = "a measurement stops at the first error")]

use std::{
    net::Ipv4Addr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use inventory::{Author, ChangeSet, Edit, Host, HostKey, HostState, Keeper, Proposal, Row, RowChange, State};

fn host(n: u32, state: HostState) -> Row {
    let zone = ["us-east-1a", "us-east-1b", "us-west-2a", "eu-west-1a", "eu-west-1b"][n as usize % 5];
    Row::Host(Arc::new(Host {
        key: HostKey { product: "acme".into(), name: format!("dev-web{n}").into(), zone: zone.into() },
        region: inventory::label::region_of_zone(zone).into(),
        private_ip: Ipv4Addr::from(0x0a00_0000 + n),
        public_ip: n.is_multiple_of(4).then(|| Ipv4Addr::from(0x3400_0000 + n)),
        ipv6: None,
        roles: Box::new([format!("role{}", n % 200).into()]),
        groups: Box::new(["web".into()]),
        tags: Box::new([("env".into(), "dev".into())]),
        state,
        source: "file:hosts.toml".into(),
    }))
}

fn author() -> Author {
    Author { who: "bench".into(), when_ms: 1, why: String::new() }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn apply_cost(state: &State, hosts: u32) -> f64 {
    let times = (0..1000u32).map(|i| {
        let n = i.wrapping_mul(7919) % hosts;
        let rows = vec![RowChange { old: Some(host(n, HostState::Running)), new: Some(host(n, HostState::Draining)) }];
        let p = state.position();
        let set = Arc::new(ChangeSet { epoch: p.epoch, serial: p.serial + 1, author: author(), rows });
        let began = Instant::now();
        let next = state.apply(set).unwrap();
        let took = began.elapsed();
        drop(next);
        took
    });
    median(times.collect())
}

fn open(dir: &Path) -> (Keeper, Duration) {
    let began = Instant::now();
    let opened = Keeper::open(dir, Arc::new(|_, _, _| Vec::new())).unwrap();
    (opened.keeper, began.elapsed())
}

async fn measure(hosts: u32) {
    let folder = tempfile::tempdir().unwrap();
    let (keeper, _) = open(folder.path());
    let rows: Vec<Row> = (0..hosts).map(|n| host(n, HostState::Running)).collect();
    let edits = vec![Edit::Sync { source: "file".into(), rows }];
    let began = Instant::now();
    keeper.propose(Proposal { author: author(), edits }).await.unwrap();
    let import = began.elapsed();
    let apply = apply_cost(&keeper.state(), hosts);
    let mut times = Vec::new();
    for n in 0..300 {
        let row = Row::Host(Arc::new(Host {
            source: "api".into(),
            private_ip: Ipv4Addr::from(0x0b00_0000 + n),
            key: HostKey { product: "acme".into(), name: format!("new{n}").into(), zone: "us-east-1a".into() },
            ..match host(n, HostState::Running) {
                Row::Host(host) => Host { public_ip: None, ..Host::clone(&host) },
                _ => continue,
            }
        }));
        let began = Instant::now();
        keeper.propose(Proposal { author: author(), edits: vec![Edit::Add(row)] }).await.unwrap();
        times.push(began.elapsed());
    }
    let worst = times.iter().max().copied().unwrap_or_default().as_secs_f64() * 1e3;
    let health = keeper.health();
    keeper.close().await;
    let (keeper, load) = open(folder.path());
    keeper.close().await;
    for suffix in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(folder.path().join(format!("state.db{suffix}"))));
    }
    let (keeper, recover) = open(folder.path());
    let serial = keeper.state().position().serial;
    keeper.close().await;
    println!(
        "{hosts:>9} hosts: apply {apply:6.1} us, propose {:7.0} us (worst {worst:.1} ms), first import {:6.2} s, load {:6.3} s, \
         load from the standby copy {:6.2} s (serial {serial}), database {} MB, standby {} MB",
        median(times),
        import.as_secs_f64(),
        load.as_secs_f64(),
        recover.as_secs_f64(),
        health.database_bytes >> 20,
        health.standby_bytes >> 20,
    );
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let wanted: Vec<u32> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if wanted.is_empty() { vec![1_000, 100_000, 1_000_000] } else { wanted };
    for hosts in sizes {
        measure(hosts).await;
    }
}
