//! Where a message goes: into the half of the batch that the spool gets, into the half that stays in memory, or nowhere.

use std::sync::Arc;

use crate::{
    filter::Context,
    hosts::Outcome,
    message::{Batch, Field, Message, Records},
    queue::Queue,
    route::{Route, Rules, Target},
    spool::Spool,
    tap::Taps,
    template::{DateCache, Env},
};

/// A record of the half for the spool.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// It is the first of its message.
    first: bool,
    /// Every route that wants it rather sheds it than lets its sender wait.
    sheds: bool,
}

/// The batch that is being filled.
#[derive(Debug)]
pub(super) struct Placing {
    pool: Spool,
    spool: Vec<u8>,
    marks: Vec<Mark>,
    /// Messages of which there are records for the spool.
    messages: u64,
    memory: Batch,
    /// Destinations of the memory half, with how many records of it are for each.
    queues: Vec<(u16, Arc<Queue>, u64)>,
    no_room: bool,
    taken: Vec<usize>,
    durable: Vec<u8>,
    volatile: Vec<u8>,
    /// Records on the way through rewrite rules.
    rewritten: [Vec<u8>; 2],
    dates: DateCache,
    /// Per route: taken, shed; added to the route's counters once per batch.
    routes: Vec<(u64, u64)>,
}

impl Placing {
    /// An empty batch; buffers come from the spool's pool.
    pub(super) fn new(pool: Spool) -> Self {
        Self {
            pool,
            spool: Vec::new(),
            marks: Vec::new(),
            messages: 0,
            memory: Batch::default(),
            queues: Vec::new(),
            no_room: false,
            taken: Vec::new(),
            durable: Vec::new(),
            volatile: Vec::new(),
            rewritten: Default::default(),
            dates: DateCache::default(),
            routes: Vec::new(),
        }
    }

    /// Begins a batch. `no_room`: the spool is full.
    pub(super) fn begin(&mut self, no_room: bool) {
        self.no_room = no_room;
        self.queues.clear();
    }

    /// Octets gathered.
    pub(super) fn octets(&self) -> usize {
        self.spool.len() + self.memory.bytes().len()
    }

    /// Messages for the spool.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// The records for the spool, how many they are, and of how many messages. No buffer stays behind.
    pub(super) fn take_spool(&mut self) -> (Vec<u8>, u32, u64) {
        let records = self.marks.len().try_into().unwrap_or(u32::MAX);
        (std::mem::take(&mut self.spool), records, std::mem::take(&mut self.messages))
    }

    /// Takes back what [`take_spool`](Self::take_spool) gave; `shed`: without what may be shed. The number of messages of
    /// which nothing is left.
    pub(super) fn put_back(&mut self, records: Vec<u8>, messages: u64, shed: bool) -> u64 {
        self.messages = messages;
        if !shed || !self.marks.iter().any(|mark| mark.sheds) {
            self.spool = records;
            return 0;
        }
        let (mut kept, mut marks, mut gone) = (self.pool.buffer(), Vec::new(), 0);
        let mut rest = Records(&records).zip(&self.marks).peekable();
        while let Some((record, mark)) = rest.next() {
            let mut of_message = vec![(record, mark)];
            while let Some(more) = rest.next_if(|(_, mark)| !mark.first) {
                of_message.push(more);
            }
            let before = marks.len();
            for (record, mark) in of_message.into_iter().filter(|(_, mark)| !mark.sheds) {
                kept.extend_from_slice(record);
                marks.push(Mark { first: marks.len() == before, sheds: mark.sheds });
            }
            gone += u64::from(marks.len() == before);
        }
        (self.spool, self.marks, self.messages) = (kept, marks, messages - gone);
        gone
    }

    /// The records that stay in memory, if there are any. No buffer stays behind.
    pub(super) fn take_memory(&mut self) -> Option<Arc<Batch>> {
        (!self.memory.is_empty()).then(|| Arc::new(std::mem::take(&mut self.memory)))
    }

    /// Shows both halves to those who watch.
    pub(super) fn tap(&self, taps: &Taps) {
        if taps.is_watched() {
            let octets = [&self.spool[..], self.memory.bytes()].concat();
            taps.show(&Arc::new(Batch::of(octets)));
        }
    }

    /// The queues that the memory half is for, and how many of its records are for each.
    pub(super) fn queues(&self) -> impl Iterator<Item = (&Arc<Queue>, u64)> {
        self.queues.iter().map(|(_, queue, count)| (queue, *count))
    }

    /// Puts a message where the routes say.
    pub(super) fn place(
        &mut self,
        rules: &Rules,
        order: &[usize],
        message: &Message<'_>,
        context: &Context,
    ) -> Outcome {
        let mut taken = std::mem::take(&mut self.taken);
        rules.select(order, message, context, &mut taken);
        let outcome = match taken.is_empty() {
            true => Outcome::Unrouted,
            false => self.along(rules, &taken, message, context),
        };
        self.taken = taken;
        outcome
    }

    fn along(&mut self, rules: &Rules, taken: &[usize], message: &Message<'_>, context: &Context) -> Outcome {
        self.durable.clear();
        self.volatile.clear();
        self.routes.resize(rules.routes.len(), (0, 0));
        let marks_before = self.marks.len();
        let mut best = None;
        let mut sheds = true;
        for &place in taken {
            let route = &rules.routes[place];
            self.routes[place].0 += 1;
            let may_shed = route.full.sheds(message.severity());
            if route.durable && self.no_room && may_shed {
                self.routes[place].1 += 1;
                best = better(best, Outcome::ShedFull);
                continue;
            }
            if !route.rewrite.is_empty() {
                let outcome = self.rewrite(rules, route, message, context);
                best = better(best, outcome);
                continue;
            }
            let list = if route.durable { &mut self.durable } else { &mut self.volatile };
            for target in &route.to {
                let number = target.number.to_le_bytes();
                if !list.as_chunks::<2>().0.contains(&number) {
                    list.extend_from_slice(&number);
                }
            }
            sheds &= may_shed || !route.durable;
            // A route without a destination is there to keep messages from others.
            best = if route.to.is_empty() { better(best, Outcome::Unrouted) } else { best };
        }
        if !self.durable.is_empty() {
            let numbers = std::mem::take(&mut self.durable);
            let outcome = self.spool(message, &numbers, sheds);
            best = better(best, outcome);
            self.durable = numbers;
        }
        if !self.volatile.is_empty() {
            let numbers = std::mem::take(&mut self.volatile);
            let targets = taken
                .iter()
                .map(|&place| &rules.routes[place])
                .filter(|route| !route.durable && route.rewrite.is_empty());
            let outcome = self.keep(message, &numbers, targets.flat_map(|route| &route.to));
            best = better(best, outcome);
            self.volatile = numbers;
        }
        if let Some(first) = self.marks.get_mut(marks_before) {
            first.first = true;
            self.messages += 1;
        }
        best.unwrap_or(Outcome::Unrouted)
    }

    /// A record for the spool.
    fn spool(&mut self, message: &Message<'_>, numbers: &[u8], sheds: bool) -> Outcome {
        if self.spool.capacity() == 0 {
            self.spool = self.pool.buffer();
        }
        let mut copy = *message;
        copy.set(Field::Destinations, numbers);
        if !copy.encode(&mut self.spool) {
            return Outcome::Rejected;
        }
        self.marks.push(Mark { first: false, sheds });
        Outcome::Spooled
    }

    /// A record that stays in memory.
    fn keep<'t>(
        &mut self,
        message: &Message<'_>,
        numbers: &[u8],
        targets: impl Iterator<Item = &'t Target>,
    ) -> Outcome {
        let mut copy = *message;
        copy.set(Field::Destinations, numbers);
        if !self.memory.push(&copy) {
            return Outcome::Rejected;
        }
        let mut noted: SmallNumbers = SmallNumbers::default();
        for target in targets.filter(|target| noted.is_new(target.number)) {
            note(&mut self.queues, target.number, &target.queue);
        }
        Outcome::Memory
    }

    /// A record of its own for a route that changes the message.
    fn rewrite(&mut self, rules: &Rules, route: &Route, message: &Message<'_>, context: &Context) -> Outcome {
        let [mut now, mut next] = std::mem::take(&mut self.rewritten);
        now.clear();
        let env = Env { now_us: context.now_us, loghost: &rules.node, ..Env::default() };
        let fits = message.encode(&mut now);
        for rule in route.rewrite.iter().filter(|_| fits) {
            let Some(changed) = Message::decode(&now) else { break };
            if rule.apply(&changed, context, &env, &mut self.dates, &mut next).changed() {
                std::mem::swap(&mut now, &mut next);
            }
        }
        let outcome = match Message::decode(&now).filter(|_| fits) {
            None => Outcome::Rejected,
            Some(changed) if route.durable => {
                self.spool(&changed, &route.numbers, route.full.sheds(message.severity()))
            }
            Some(changed) => self.keep(&changed, &route.numbers, route.to.iter()),
        };
        self.rewritten = [now, next];
        outcome
    }

    /// Adds what routes did to their counters; `rules` are those by which the batch was filled.
    pub(super) fn settle(&mut self, rules: &Rules) {
        for (route, (taken, shed)) in rules.routes.iter().zip(self.routes.drain(..)) {
            if taken > 0 {
                route.counters.add(taken, shed);
            }
        }
        self.marks.clear();
    }
}

/// Numbers of destinations that one message was noted for.
#[derive(Debug, Default)]
struct SmallNumbers(Vec<u16>);

impl SmallNumbers {
    /// Whether this is the first time; a message with one destination needs no list.
    fn is_new(&mut self, number: u16) -> bool {
        let new = !self.0.contains(&number);
        if new {
            self.0.push(number);
        }
        new
    }
}

fn note(queues: &mut Vec<(u16, Arc<Queue>, u64)>, number: u16, queue: &Arc<Queue>) {
    match queues.iter_mut().find(|(known, ..)| *known == number) {
        Some((.., count)) => *count += 1,
        None => queues.push((number, queue.clone(), 1)),
    }
}

/// A message counts once: as the best that any route did with it.
fn better(one: Option<Outcome>, other: Outcome) -> Option<Outcome> {
    let rank = |outcome: Outcome| match outcome {
        Outcome::Spooled => 4,
        Outcome::Memory => 3,
        Outcome::ShedFull => 2,
        Outcome::Rejected => 1,
        _ => 0,
    };
    Some(one.filter(|one| rank(*one) >= rank(other)).unwrap_or(other))
}
