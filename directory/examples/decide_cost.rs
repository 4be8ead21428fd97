//! What a decision costs at 100,000 hosts, 20,000 people and 10,000 grants: time, and octets allocated while deciding.
//!
//! ```text
//! cargo run --release -p directory --example decide_cost [GRANTS OF EVERYBODY]
//! ```
//! Of the 50 groups one has everybody in it and holds 3,000 of the grants if nothing else is said; people are in three to ten groups.
#![expect(unsafe_code, reason = "a counting allocator is a GlobalAlloc, which is an unsafe trait")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    hint::black_box,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use directory::policy::{Access, OldFilter, Question, Reason};
use inventory::{
    Grant, Host, HostKey, HostState, State,
    change::{Author, ChangeSet, Row, RowChange},
    entry::{Attribute, DIRECTORY, Entry, EntryId, Value},
};

const HOSTS: usize = 100_000;
const PEOPLE: usize = 20_000;
const GROUPS: usize = 50;
const GRANTS: usize = 10_000;
const ROUNDS: usize = 200_000;
const NOW: u64 = 1_780_000_000;
const KINDS: [&str; 8] = ["web", "db", "mysql", "cache", "queue", "mail", "build", "log"];
const ZONES: [&str; 6] = ["us-east-1a", "us-east-1b", "us-west-2a", "eu-west-1a", "eu-west-1b", "ap-south-1a"];

/// Counts what is allocated.
struct Counting;

static OCTETS: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);

fn in_use() -> u64 {
    OCTETS.load(Ordering::Relaxed) - FREED.load(Ordering::Relaxed)
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        OCTETS.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        FREED.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A small generator (SplitMix64), the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap_or(0)
    }

    fn one<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

fn host_name(n: usize) -> (String, &'static str) {
    (format!("dev-{}{:05}", KINDS[n % KINDS.len()], n / ZONES.len()), ZONES[n % ZONES.len()])
}

fn host(n: usize) -> Host {
    let (name, zone) = host_name(n);
    Host {
        key: HostKey { product: "acme".into(), name: name.into(), zone: zone.into() },
        region: inventory::label::region_of_zone(zone).into(),
        private_ip: Ipv4Addr::from(0x0a00_0000 + n as u32),
        public_ip: None,
        ipv6: None,
        roles: [KINDS[n % KINDS.len()].into()].into(),
        groups: [format!("team{}", n % 40).into()].into(),
        tags: [("env".into(), ["dev", "prod"][n % 2].into())].into(),
        state: HostState::Running,
        source: "api".into(),
    }
}

fn entry(id: u64, dn: String, attributes: Vec<(&str, Vec<String>)>) -> Entry {
    let attribute = |(name, values): (&str, Vec<String>)| {
        Attribute(name.into(), values.iter().map(|value| Value::from(value.as_str())).collect())
    };
    let mut octets = [0; 16];
    octets[8..].copy_from_slice(&id.to_be_bytes());
    let attributes = attributes.into_iter().filter(|(_, values)| !values.is_empty()).map(attribute).collect();
    Entry { id: EntryId(octets), dn: dn.into(), attributes, source: DIRECTORY.into() }
}

fn person(n: usize, numbers: &mut Numbers) -> Entry {
    let text = |text: &str| vec![text.to_owned()];
    let host = if n.is_multiple_of(10) { vec![format!("*.{}", numbers.one(&ZONES))] } else { Vec::new() };
    let uid = format!("user{n:05}");
    let attributes = vec![
        ("objectClass", text("posixAccount")),
        ("uid", text(&uid)),
        ("gidNumber", text("500")),
        ("loginShell", text("/bin/bash")),
        ("host", host),
    ];
    entry(n as u64, format!("uid={uid},ou=people,dc=acme,dc=private"), attributes)
}

/// Group 0 has everybody; the others between 20 and 5,000.
fn group(n: usize, numbers: &mut Numbers) -> Entry {
    let size = [PEOPLE, 20, 200, 1_000, 5_000][if n == 0 { 0 } else { 1 + n % 4 }];
    let members = (0..size).map(|i| if n == 0 { i } else { numbers.below(PEOPLE) });
    let attributes = if n.is_multiple_of(2) {
        let members = members.map(|member| format!("user{member:05}")).collect();
        vec![("objectClass", vec!["posixGroup".into()]), ("memberUid", members)]
    } else {
        let members = members.map(|member| format!("uid=user{member:05},ou=people,dc=acme,dc=private")).collect();
        vec![("objectClass", vec!["groupOfNames".into()]), ("member", members)]
    };
    let named = [("cn", vec![format!("group{n}")])];
    entry(
        1_000_000 + n as u64,
        format!("cn=group{n},ou=groups,dc=acme,dc=private"),
        named.into_iter().chain(attributes).collect(),
    )
}

fn grant(n: usize, for_all: usize, numbers: &mut Numbers) -> Grant {
    let (name, zone) = host_name(numbers.below(HOSTS));
    let who = match n {
        n if n < for_all => "@group0".to_owned(),
        n if n < 6_000 => format!("@group{}", 1 + numbers.below(GROUPS - 1)),
        _ => format!("user{:05}", numbers.below(PEOPLE)),
    };
    let deny = if numbers.below(20) == 0 { "!" } else { "" };
    let pattern = match numbers.below(8) {
        0..=2 => format!("{name}.{zone}"),
        3 | 4 => format!("{}*.{zone}", &name[..name.len() - 2]),
        5 => format!("tag:owner=team{}", numbers.below(1000)),
        6 => format!("role:{}-{}", numbers.one(&KINDS), numbers.below(100)),
        _ => format!("{}*.{zone}", &name[..name.len() - 4]),
    };
    let services = match numbers.below(3) {
        0 => Box::default(),
        1 => [numbers.one(&["sshd", "login", "cron"]).into()].into(),
        _ => [format!("service{}", numbers.below(50)).into()].into(),
    };
    Grant {
        name: format!("g{n}").into(),
        who: [who.into()].into(),
        on: [format!("{deny}{pattern}").into()].into(),
        services,
        sudo: (n.is_multiple_of(5)).then(Box::default),
        until: (n.is_multiple_of(3)).then(|| NOW - 10_000 + numbers.below(20_000) as u64),
        by: "bench".into(),
        why: "bench".into(),
        source: "api".into(),
    }
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let out = run();
    println!("{what}: {:?}", start.elapsed());
    out
}

fn main() {
    let for_all = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(3_000);
    let mut numbers = Numbers(7);
    let hosts = (0..HOSTS).map(|n| Row::Host(host(n).into()));
    let people: Vec<Row> = (0..PEOPLE).map(|n| Row::Entry(person(n, &mut numbers).into())).collect();
    let groups: Vec<Row> = (0..GROUPS).map(|n| Row::Entry(group(n, &mut numbers).into())).collect();
    let grants: Vec<Row> = (0..GRANTS).map(|n| Row::Grant(grant(n, for_all, &mut numbers).into())).collect();
    let everybody = groups[0].clone();
    let first_grant = grants[0].clone();
    let state = State::from_rows(1, 1, 1, hosts.chain(people).chain(groups).chain(grants)).expect("no conflicts");
    let state = Arc::new(state);
    let before = in_use();
    let access = timed("build", || Access::build(state.clone()));
    println!("memory of it beside the state: {} MB", (in_use() - before) >> 20);

    questions(&access, &mut numbers, "sshd", "random person, random host, sshd");
    questions(&access, &mut numbers, "sudo", "random person, random host, sudo");
    questions(&access, &mut numbers, "nothing", "random person, random host, a service that few grants name");
    changes(&access, &state, everybody, first_grant);
    surveys(&access, &state);
}

fn questions(access: &Access, numbers: &mut Numbers, service: &str, what: &str) {
    let asked: Vec<(String, String)> = (0..ROUNDS)
        .map(|_| {
            let (name, zone) = host_name(numbers.below(HOSTS));
            (format!("user{:05}", numbers.below(PEOPLE)), format!("{name}.{zone}"))
        })
        .collect();
    let mut reasons = [0_u64; Reason::ALL.len()];
    let mut nanos = Vec::with_capacity(ROUNDS);
    let (mut most, before) = (0, OCTETS.load(Ordering::Relaxed));
    for (user, host) in &asked {
        let octets = OCTETS.load(Ordering::Relaxed);
        let start = Instant::now();
        let decision = access.decide(black_box(&Question { user, host, service, now_s: NOW, stale: false }));
        nanos.push(start.elapsed().as_nanos());
        most = most.max(OCTETS.load(Ordering::Relaxed) - octets);
        reasons[decision.reason as usize] += 1;
    }
    let octets = (OCTETS.load(Ordering::Relaxed) - before) as f64 / ROUNDS as f64;
    let mean = nanos.iter().sum::<u128>() / ROUNDS as u128;
    nanos.sort_unstable();
    let at = |share: f64| nanos[((ROUNDS - 1) as f64 * share) as usize];
    println!("{what}: mean {mean} ns, p50 {} ns, p99 {} ns, p99.9 {} ns", at(0.5), at(0.99), at(0.999));
    println!("  allocated: mean {octets:.1}, most {most} octets");
    let named = Reason::ALL.into_iter().zip(reasons).filter(|(_, count)| *count > 0);
    println!("  {}", named.map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>().join(", "));
}

/// One member more in the group of everybody; one grant less in its index.
fn changes(access: &Access, state: &Arc<State>, everybody: Row, grant: Row) {
    let Row::Entry(old) = &everybody else { return };
    let mut entry = Entry::clone(old);
    if let Some(Attribute(_, values)) = entry.attributes.last_mut() {
        *values = values.iter().cloned().chain([Value::from("newcomer")]).collect();
    }
    let set = |old: Option<Row>, new| {
        let author = Author { who: "bench".into(), when_ms: 0, why: String::new() };
        Arc::new(ChangeSet { epoch: 1, serial: 2, author, rows: vec![RowChange { old, new }] })
    };
    let joined = set(Some(everybody.clone()), Some(Row::Entry(entry.into())));
    let revoked = set(Some(grant), None);
    for (what, set) in [("a member joins the group of everybody", joined), ("a grant of everybody is revoked", revoked)]
    {
        let next = Arc::new(state.apply(set.clone()).expect("no conflict"));
        timed(what, || drop(black_box(access.advance(next, &[set]))));
    }
}

/// Questions of people, off the answering path.
fn surveys(access: &Access, state: &Arc<State>) {
    let (name, zone) = host_name(4711);
    let host = access.host(&format!("{name}.{zone}")).expect("it is there").clone();
    let who = timed("who may use a host", || access.who(&host, "sshd", NOW, false).count());
    println!("  {who} people");
    let places = timed("where a person may go", || access.places("user00007", "sshd", NOW, false).map(Iterator::count));
    println!("  {places:?} hosts");
    let asked =
        Question { user: "user00007", host: &format!("{name}.{zone}"), service: "sshd", now_s: NOW, stale: false };
    timed("an explanation", || drop(black_box(access.explain(&asked))));
    let filter = OldFilter::parse("(|(host=dev-*)(host=\\2a))").expect("a filter");
    let lint = timed("a lint of one host", || access.lint(&filter, [&*host], "sshd", NOW));
    println!("  {} same, {} gain, {} lose", lint.same, lint.gained, lint.lost);
    for (what, who, on) in [
        ("a comparison: one person more on one zone", "user00007", "*.us-east-1b"),
        ("a comparison: everybody on one role", "@group0", "role:mysql"),
    ] {
        let grant = Grant {
            on: [on.into()].into(),
            who: [who.into()].into(),
            until: None,
            services: Box::default(),
            ..grant(GRANTS, 0, &mut Numbers(1))
        };
        let author = Author { who: "bench".into(), when_ms: 0, why: String::new() };
        let rows = vec![RowChange { old: None, new: Some(Row::Grant(grant.into())) }];
        let set = Arc::new(ChangeSet { epoch: 1, serial: 2, author, rows });
        let next = Arc::new(state.apply(set.clone()).expect("no conflict"));
        let after = access.advance(next, &[set]);
        let diff = timed(what, || access.diff(&after, "sshd", NOW));
        println!("  {} people gain or lose, {} not compared", diff.people, diff.not_compared);
    }
}
