use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::{
    config::Config,
    hosts::SourceCounters,
    queue::Queue,
    route::Target,
    spool::{Options, RealDisk},
};

const NOW: i64 = 1_795_737_600_000_000;

struct World {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    _dir: tempfile::TempDir,
}

/// Routes as configured, all of whose destinations have the number 1 and one queue.
fn world(routes: &str) -> World {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path().join("spool"), "node");
    let spool = Spool::open(options, Arc::new(RealDisk { fault: None }), || NOW).unwrap();
    let queue = Arc::new(Queue::new(1 << 20));
    let shared = Shared {
        rules: ArcSwap::from_pointee(rules(routes, 1, &queue)),
        spool,
        hosts: Arc::new(Hosts::new(100)),
        inventory: Inventory::empty(),
        clock: || NOW,
        node: "node".into(),
        taps: crate::tap::Taps::default(),
    };
    World { shared: Arc::new(shared), queue, _dir: dir }
}

fn rules(routes: &str, version: u32, queue: &Arc<Queue>) -> Rules {
    let config: Config = toml::from_str(routes).unwrap();
    let target = |name: &str| Some(Target { name: name.into(), number: 1, queue: queue.clone() });
    Rules::build(&config, (version, "node"), NOW, &target, &mut |_| Err(String::new())).unwrap()
}

impl World {
    fn intake(&self) -> (Intake, Arc<SourceCounters>) {
        let counters = Arc::<SourceCounters>::default();
        let source = toml::from_str("name = \"net\"\nlisten = []").unwrap();
        let origin = Arc::new(Origin::new(&source, counters.clone()).unwrap());
        (Intake::new(self.shared.clone(), origin), counters)
    }

    /// What a route has taken, and what of it was shed.
    fn route(&self, place: usize) -> (u64, u64) {
        let rules = self.shared.rules.load();
        let counters = &rules.routes[place].counters;
        (counters.taken.load(Relaxed), counters.shed.load(Relaxed))
    }

    /// What became of the lines of a sender: spooled, shed.
    fn host(&self, address: &str) -> (u64, u64) {
        let entry = self.shared.hosts.address(address.parse().unwrap(), NOW);
        entry.counters().balance().unwrap();
        (entry.counters().of(Outcome::Spooled), entry.counters().shed())
    }
}

fn line(raw: &[u8]) -> Line<'_> {
    Line { raw, received_us: NOW, original_len: raw.len() as u32, flags: Flags::default() }
}

fn from(address: &str) -> Sender {
    Sender { address: Some(address.parse().unwrap()), port: 1, certificate: Vec::new() }
}

/// The sequence that it has is that of the relay before: with it the next one would take records of several relays for
/// repetitions of one another.
#[tokio::test]
async fn a_record_that_goes_on_through_memory_has_no_sequence() {
    let world = world("[[route]]\nto = [\"next\"]\ndurable = false\n");
    let (mut intake, counters) = world.intake();
    for (sequence, origin) in [(1_000_000, &b"a.next/7/1000000/999999"[..]), (5, b"b.next/7/5/4")] {
        let mut message = Message::unread(b"<13>Oct  9 08:00:00 web01 app: x", NOW);
        message.sequence = sequence;
        message.set(Field::Origin, origin);
        let mut record = Vec::new();
        assert!(message.encode(&mut record) && intake.record(&record));
    }
    intake.flush().await.unwrap();
    let queued = world.queue.take().await.unwrap();
    let sequences: Vec<_> = queued.batch.records().map(|record| Message::decode(record).unwrap().sequence).collect();
    assert_eq!(sequences, [0, 0]);
    assert_eq!(counters.of(Outcome::Memory), 2);
}

#[tokio::test]
async fn a_sender_that_was_quiet_is_routed_by_the_rules_of_now() {
    let world = world("[[route]]\nname = \"old\"\nto = [\"files\"]\n");
    let (mut intake, _) = world.intake();
    intake.sender(&from("10.0.0.1"));
    world.shared.rules.store(Arc::new(rules("[[route]]\nname = \"new\"\nto = [\"files\"]\n", 2, &world.queue)));
    intake.line(line(b"<13>x"));
    intake.flush().await.unwrap();
    assert_eq!(world.route(0), (1, 0));
}

#[tokio::test]
async fn lines_that_are_not_handed_on_are_shed_in_all_books() {
    let two = "[[route]]\nname = \"all\"\nto = [\"files\"]\nfull = \"block\"\n\
               [[route]]\nname = \"b\"\nfilter = 'message(\"b\")'\nto = [\"files\"]\nrewrite = ['set-tag(\"seen\")']\n";
    let world = world(two);
    let (mut intake, counters) = world.intake();
    for (address, raw) in [("10.0.0.1", "<13>a"), ("10.0.0.2", "<13>b"), ("10.0.0.1", "<13>a"), ("10.0.0.2", "<13>a")] {
        intake.sender(&from(address));
        intake.line(line(raw.as_bytes()));
    }
    drop(intake);
    counters.balance().unwrap();
    assert_eq!((counters.of(Outcome::Spooled), counters.of(Outcome::ShedNoRoom)), (0, 4));
    assert_eq!((world.route(0), world.route(1)), ((4, 4), (1, 1)));
    assert_eq!((world.host("10.0.0.1"), world.host("10.0.0.2")), ((0, 2), (0, 2)));
}

#[tokio::test]
async fn of_a_batch_only_what_may_be_shed_is_shed() {
    let two = "[[route]]\nname = \"keep\"\nfilter = 'message(\"keep\")'\nto = [\"files\"]\nfull = \"block\"\n\
               [[route]]\nname = \"all\"\nto = [\"files\"]\nfull = \"drop-newest\"\nrewrite = ['set-tag(\"seen\")']\n";
    let world = world(two);
    let (mut intake, _) = world.intake();
    for (address, raw) in [("10.0.0.1", "<13>keep"), ("10.0.0.2", "<13>go"), ("10.0.0.1", "<13>go")] {
        intake.sender(&from(address));
        intake.line(line(raw.as_bytes()));
    }
    let (records, count) = intake.placing.take_spool();
    assert_eq!(count, 4, "one message has a record for each of its routes");
    let gone = intake.placing.put_back(records);
    assert_eq!((gone.as_slice(), intake.placing.messages()), (&[1, 2][..], 1));
    intake.count.turned(Outcome::ShedFull, &gone);
    intake.flush().await.unwrap().durable().await.unwrap();
    assert_eq!((world.route(0), world.route(1)), ((1, 0), (3, 3)));
    assert_eq!((world.host("10.0.0.1"), world.host("10.0.0.2")), ((1, 1), (0, 1)));
}
