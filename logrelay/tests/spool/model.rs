//! Any sequence of appends, deliveries, failures, power cuts and restarts, compared with a model: what was reported
//! durable is there, in order and once; cursors pass over nothing that was not delivered; the books balance.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use logrelay::spool::{Appended, Options, Policy, Reader, Room, Spool};
use proptest::prelude::*;

use crate::{
    lossy::{Cut, Kind, Lossy},
    tools::{Line, PATIENCE, append, balance, chunk_within, drain, durable, encode, open_on, options, pending, until},
};

#[derive(Debug, Clone)]
enum Op {
    /// Lines for destinations by bits; with an origin or without.
    Append {
        lines: u64,
        to: u8,
        relayed: bool,
        padding: usize,
    },
    /// The sender of relayed lines sends what was not acknowledged again, and the last one that was.
    Resend,
    /// Waits until all is durable.
    Settle,
    /// Reads, and commits none, a part, or all of it.
    Deliver {
        to: usize,
        chunks: usize,
        commit: u8,
    },
    Fail {
        kind: Kind,
        nth: u64,
        full: bool,
    },
    /// The power goes, or the process: at once, or at the nth operation of a kind.
    Power {
        cut: Cut,
        seed: u64,
        at: Option<(Kind, u64)>,
    },
    Restart {
        resend: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let append = (1..6u64, 0..4u8, any::<bool>(), prop_oneof![Just(10usize), Just(1500), Just(9000)])
        .prop_map(|(lines, to, relayed, padding)| Op::Append { lines, to, relayed, padding });
    let deliver = (0..2usize, 1..4usize, 0..3u8).prop_map(|(to, chunks, commit)| Op::Deliver { to, chunks, commit });
    let kind = || prop_oneof![Just(Kind::Write), Just(Kind::Sync)];
    let fail = (kind(), 1..4u64, any::<bool>()).prop_map(|(kind, nth, full)| Op::Fail { kind, nth, full });
    let cut = prop_oneof![Just(Cut::Process), Just(Cut::All), Just(Cut::Prefix), Just(Cut::Pages)];
    let power = (cut, any::<u64>(), prop::option::of((kind(), 1..3u64)));
    let power = power.prop_map(|(cut, seed, at)| Op::Power { cut, seed, at });
    prop_oneof![
        8 => append,
        2 => Just(Op::Resend),
        3 => Just(Op::Settle),
        4 => deliver,
        1 => fail,
        2 => power,
        1 => any::<bool>().prop_map(|resend| Op::Restart { resend }),
    ]
}

/// A line that was sent.
#[derive(Debug, Clone)]
struct Sent {
    to: Vec<usize>,
    /// Its place in the stream of the relaying sender; 0 if it came from none.
    relayed: u64,
    sequence: u64,
    acknowledged: bool,
}

struct World {
    room: bool,
    disk: Lossy,
    options: Options,
    spool: Spool,
    ids: [u16; 2],
    readers: [Reader; 2],
    /// By number on the line.
    sent: BTreeMap<u64, Sent>,
    next: u64,
    stream: u64,
    /// Numbers that were committed, by destination.
    committed: [BTreeSet<u64>; 2],
    last: Option<Appended>,
}

/// What may not be lost, with room for all; or what may, without.
fn policies(room: bool) -> [Policy; 2] {
    if room { [Policy::Block, Policy::DropNewest] } else { [Policy::DropOldest; 2] }
}

impl World {
    fn new(room: bool) -> Self {
        let disk = Lossy::default();
        let options = Options { max_bytes: if room { 64 << 20 } else { 160 << 10 }, ..options("/s") };
        let spool = open_on(Arc::new(disk.clone()), options.clone());
        let ids = [spool.destination("a").unwrap(), spool.destination("b").unwrap()];
        ids.iter().zip(policies(room)).for_each(|(id, policy)| spool.set_policy(*id, policy));
        let readers = ids.map(|id| spool.reader(id));
        let (sent, committed) = (BTreeMap::new(), Default::default());
        Self { room, disk, options, spool, ids, readers, sent, next: 0, stream: 0, committed, last: None }
    }

    async fn send(&mut self, numbers: Vec<u64>, padding: usize) {
        let origins: Vec<String> = numbers.iter().map(|number| self.origin(*number)).collect();
        let to: Vec<Vec<u16>> =
            numbers.iter().map(|number| self.sent[number].to.iter().map(|to| self.ids[*to]).collect()).collect();
        let (mut lines, mut ends): (Vec<Line<'_>>, Vec<u64>) = Default::default();
        for (number, (origin, to)) in numbers.iter().zip(origins.iter().zip(&to)) {
            // A relayed message may take its roads together, or each as a record of its own.
            let size = if !origin.is_empty() && number % 2 == 0 { 1 } else { 2 };
            let roads = to.chunks(size).chain(to.is_empty().then_some(&[][..]));
            lines.extend(roads.map(|to| Line { number: *number, origin, to, padding }));
            ends.push(lines.len() as u64);
        }
        // A dead disk makes no room; what was not taken is not acknowledged.
        let no_room_for_ever = async {
            while !self.disk.is_dead() || *self.spool.room().borrow() == Room::Free {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let appended = tokio::select! {
            biased;
            appended = append(&self.spool, encode(&lines)) => appended,
            () = no_room_for_ever => return,
        };
        for (number, end) in numbers.iter().zip(ends) {
            self.sent.get_mut(number).unwrap().sequence = appended.last + end - lines.len() as u64;
        }
        self.last = Some(appended);
    }

    fn origin(&self, number: u64) -> String {
        match self.sent[&number].relayed {
            0 => String::new(),
            place => format!("r-1:all/1/{place}/{}", place - 1),
        }
    }

    /// Notes what the frontier acknowledges.
    fn acknowledge(&mut self) {
        let frontier = *self.spool.frontier().borrow();
        for sent in self.sent.values_mut().filter(|sent| sent.sequence <= frontier && sent.sequence > 0) {
            sent.acknowledged = true;
        }
    }

    async fn reopen(&mut self) {
        // What was not acknowledged by now never will be: its sequence may be given to another line.
        for sent in self.sent.values_mut().filter(|sent| !sent.acknowledged) {
            sent.sequence = 0;
        }
        self.disk.mend();
        self.spool = open_on(Arc::new(self.disk.clone()), self.options.clone());
        // As the configuration says at every start: a policy that was set just before the power went may be gone.
        self.ids.iter().zip(policies(self.room)).for_each(|(id, policy)| self.spool.set_policy(*id, policy));
        self.readers = self.ids.map(|id| self.spool.reader(id));
        self.last = None;
        balance(&self.spool.report());
    }

    async fn apply(&mut self, op: Op) {
        match op {
            Op::Append { lines, to, relayed, padding } => self.append(lines, to, relayed, padding).await,
            Op::Resend => self.resend().await,
            Op::Settle => self.settle().await,
            Op::Deliver { to, chunks, commit } => self.deliver(to, chunks, commit).await,
            Op::Fail { kind, nth, full } => self.disk.fail(kind, nth, full),
            Op::Power { cut, seed, at } => {
                if let Some((kind, nth)) = at {
                    // Or a full disk would keep the lines from being taken, and then it is dead.
                    self.disk.mend();
                    self.settle().await;
                    self.disk.end(kind, nth);
                    self.append(2, 3, true, 100).await;
                    let (disk, last) = (self.disk.clone(), self.last.map_or(0, |last| last.last));
                    let frontier = self.spool.frontier();
                    until("it is dead, or has done all", || disk.is_dead() || *frontier.borrow() >= last).await;
                }
                self.acknowledge();
                self.disk.kill();
                let _ = self.spool.close().await;
                self.disk.revive(cut, seed);
                self.reopen().await;
                // The sender notices that its connection broke, and goes on where it was acknowledged.
                self.resend().await;
            }
            Op::Restart { resend } => {
                let failed = self.spool.close().await;
                self.acknowledge();
                assert!(failed.is_ok() || self.sent.values().any(|sent| !sent.acknowledged));
                self.reopen().await;
                if resend || self.sent.values().any(|sent| !sent.acknowledged) {
                    self.resend().await;
                }
            }
        }
        self.acknowledge();
    }

    async fn append(&mut self, lines: u64, to: u8, relayed: bool, padding: usize) {
        let numbers: Vec<u64> = (self.next..self.next + lines).collect();
        self.next += lines;
        for number in &numbers {
            self.stream += u64::from(relayed);
            let place = if relayed { self.stream } else { 0 };
            let to = (0..2).filter(|bit| to & (1 << bit) != 0).collect();
            let sent = Sent { to, relayed: place, sequence: 0, acknowledged: false };
            self.sent.insert(*number, sent);
        }
        self.send(numbers, padding).await;
    }

    async fn resend(&mut self) {
        self.acknowledge();
        let relayed = self.sent.iter().filter(|(_, sent)| sent.relayed > 0);
        let known = relayed.clone().filter(|(_, sent)| sent.acknowledged).map(|(number, _)| *number).next_back();
        let open = relayed.filter(|(_, sent)| !sent.acknowledged).map(|(number, _)| *number);
        let numbers: Vec<u64> = known.into_iter().chain(open).collect();
        if !numbers.is_empty() {
            self.send(numbers, 10).await;
        }
    }

    async fn settle(&mut self) {
        if let Some(last) = self.last {
            durable(&self.spool, last).await;
            self.acknowledge();
        }
    }

    async fn deliver(&mut self, to: usize, chunks: usize, commit: u8) {
        let id = self.ids[to];
        let mut read = Vec::new();
        for _ in 0..chunks {
            // If there is nothing it waits a moment, and passes over what is not for it.
            let is_more = pending(&self.spool.report(), id) > read.len() as u64;
            let time = if is_more { PATIENCE } else { Duration::from_millis(5) };
            let Some((lines, _)) = chunk_within(&mut self.readers[to], time).await else { break };
            read.extend(lines);
        }
        assert!(read.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let count = match commit {
            0 => 0,
            1 => read.len().div_ceil(2),
            _ => read.len(),
        };
        if let Some((sequence, _)) = count.checked_sub(1).and_then(|at| read.get(at)) {
            let before = pending(&self.spool.report(), id);
            self.readers[to].commit(*sequence);
            let after = pending(&self.spool.report(), id);
            assert!(!self.room || after + count as u64 >= before, "no more than was read");
            self.committed[to].extend(read[..count].iter().map(|(_, number)| *number));
        }
        if count < read.len() {
            self.readers[to].rewind();
        }
    }

    /// At the end everything is resent and delivered.
    async fn finish(&mut self) {
        self.resend().await;
        self.settle().await;
        until("there is room", || *self.spool.room().borrow() == Room::Free).await;
        for to in 0..2 {
            let before = self.spool.report();
            let due = pending(&before, self.ids[to]);
            let lines = drain(&self.spool, self.ids[to]).await;
            assert_eq!(
                lines.len() as u64,
                due,
                "what is pending is what can be read: {lines:?} {before:?} {:?}",
                self.spool.report()
            );
            assert!(lines.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order");
            let mut seen = BTreeSet::new();
            let numbers: BTreeSet<u64> = lines.iter().map(|(_, number)| *number).collect();
            let twice: Vec<u64> = lines.iter().map(|(_, number)| *number).filter(|n| !seen.insert(*n)).collect();
            assert!(twice.is_empty(), "twice for {to}: {twice:?} of {:?}", self.sent);
            let mut missing: Vec<u64> = Vec::new();
            for (number, sent) in &self.sent {
                let wants = sent.to.contains(&to);
                let has = numbers.contains(number);
                assert!(wants || !has, "{number} is not for {to}");
                let must = wants && sent.acknowledged && !self.committed[to].contains(number);
                missing.extend((must && !has).then_some(*number));
            }
            let report = self.spool.report();
            let dropped = report.destinations.iter().find(|d| d.id == self.ids[to]).unwrap().dropped;
            assert!(missing.len() as u64 <= dropped, "{missing:?} are lost for {to}, of {:?}", self.sent);
            assert!(!self.room || dropped == 0);
        }
        let report = self.spool.report();
        balance(&report);
        for destination in &report.destinations {
            assert_eq!((destination.pending, destination.lost), (0, 0));
        }
        assert_eq!(report.counts.gaps, 0, "the stream has none");
        self.spool.close().await.unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nothing_acknowledged_is_lost(ops in prop::collection::vec(op(), 1..40), room in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(room);
            for op in ops {
                world.apply(op).await;
            }
            world.finish().await;
        });
    }
}
