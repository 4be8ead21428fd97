//! Where a message goes: into the half of the batch that the spool gets, into the half that stays in memory, or nowhere.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use crate::{
    filter::Context,
    hosts::Outcome,
    message::{Batch, Field, Message, Records},
    queue::Queue,
    rewrite,
    route::{Rules, Target},
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
    /// Which message of the batch it is of, of those for the spool.
    message: u32,
    /// How many routes want it: so many of `takers`.
    takers: u16,
}

/// The batch that is being filled.
#[derive(Debug)]
pub(super) struct Placing {
    pool: Spool,
    spool: Vec<u8>,
    marks: Vec<Mark>,
    /// Indexes of the routes that want the records for the spool, in the order of `marks`.
    takers: Vec<u16>,
    /// Messages of which there are records for the spool.
    messages: u64,
    /// Messages of which there were, in this batch.
    numbered: u32,
    memory: Batch,
    /// Destinations of the memory half, with how many records of it are for each.
    queues: Vec<(u16, Arc<Queue>, u64)>,
    no_room: bool,
    taken: Vec<usize>,
    durable: Vec<u8>,
    durable_routes: Vec<u16>,
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
            takers: Vec::new(),
            messages: 0,
            numbered: 0,
            memory: Batch::default(),
            queues: Vec::new(),
            no_room: false,
            taken: Vec::new(),
            durable: Vec::new(),
            durable_routes: Vec::new(),
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

    /// Whether nothing at all was placed in this batch.
    pub(super) fn is_untouched(&self) -> bool {
        self.marks.is_empty() && self.memory.is_empty() && self.routes.is_empty()
    }

    /// The records for the spool, and how many they are. No buffer stays behind.
    pub(super) fn take_spool(&mut self) -> (Vec<u8>, u32) {
        self.messages = 0;
        (std::mem::take(&mut self.spool), self.marks.len().try_into().unwrap_or(u32::MAX))
    }

    /// Takes back the records that [`take_spool`](Self::take_spool) gave, without those that may be shed. The messages of
    /// which nothing is left.
    pub(super) fn put_back(&mut self, records: Vec<u8>) -> Vec<u32> {
        self.messages = self.marks.iter().filter(|mark| mark.first).count() as u64;
        if !self.marks.iter().any(|mark| mark.sheds) {
            self.spool = records;
            return Vec::new();
        }
        let (marks, takers) = (std::mem::take(&mut self.marks), std::mem::take(&mut self.takers));
        let (mut kept, mut gone, mut rest) = (self.pool.buffer(), Vec::new(), &takers[..]);
        for (at, (record, mark)) in Records(&records).zip(&marks).enumerate() {
            let (routes, others) = rest.split_at(usize::from(mark.takers));
            rest = others;
            if mark.first {
                gone.push(mark.message);
            }
            let is_kept = self.marks.last().is_some_and(|kept| kept.message == mark.message);
            if !mark.sheds {
                kept.extend_from_slice(record);
                self.marks.push(Mark { first: !is_kept, ..*mark });
                self.takers.extend_from_slice(routes);
                gone.pop_if(|last| *last == mark.message);
                continue;
            }
            routes.iter().for_each(|route| self.routes[usize::from(*route)].1 += 1);
            // What does not reach the spool must not look like a gap there.
            let is_last = marks.get(at + 1).is_none_or(|next| next.first);
            if is_last
                && !is_kept
                && let Some(message) = Message::decode(record)
            {
                self.pool.seen(message.field(Field::Origin));
            }
        }
        self.spool = if kept.is_empty() { Vec::new() } else { kept };
        self.messages -= gone.len() as u64;
        gone
    }

    /// The records for the spool found no room, or will not be stored. The messages that they were of.
    pub(super) fn shed_all(&mut self) -> Vec<u32> {
        self.takers.drain(..).for_each(|route| self.routes[usize::from(route)].1 += 1);
        (self.messages, self.spool) = (0, Vec::new());
        self.marks.drain(..).filter(|mark| mark.first).map(|mark| mark.message).collect()
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
        self.durable_routes.clear();
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
                let outcome = self.rewrite(rules, place, message, context);
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
            if route.durable && !route.to.is_empty() {
                self.durable_routes.push(place as u16);
            }
            // A route without a destination is there to keep messages from others.
            best = if route.to.is_empty() { better(best, Outcome::Unrouted) } else { best };
        }
        if !self.durable.is_empty() {
            let (numbers, routes) = (std::mem::take(&mut self.durable), std::mem::take(&mut self.durable_routes));
            let outcome = self.spool(message, &numbers, sheds, &routes);
            best = better(best, outcome);
            (self.durable, self.durable_routes) = (numbers, routes);
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
            self.numbered += 1;
        }
        best.unwrap_or(Outcome::Unrouted)
    }

    /// A record for the spool, as these routes want it.
    fn spool(&mut self, message: &Message<'_>, numbers: &[u8], sheds: bool, routes: &[u16]) -> Outcome {
        if self.spool.capacity() == 0 {
            self.spool = self.pool.buffer();
        }
        let mut copy = *message;
        copy.set(Field::Destinations, numbers);
        if !copy.encode(&mut self.spool) {
            return Outcome::Rejected;
        }
        self.marks.push(Mark { first: false, sheds, message: self.numbered, takers: routes.len() as u16 });
        self.takers.extend_from_slice(routes);
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
    fn rewrite(&mut self, rules: &Rules, place: usize, message: &Message<'_>, context: &Context) -> Outcome {
        let route = &rules.routes[place];
        let [mut now, mut next] = std::mem::take(&mut self.rewritten);
        now.clear();
        let env = Env { now_us: context.now_us, loghost: &rules.node, ..Env::default() };
        let fits = message.encode(&mut now);
        for rule in route.rewrite.iter().filter(|_| fits) {
            let Some(changed) = Message::decode(&now) else { break };
            let outcome = rule.apply(&changed, context, &env, &mut self.dates, &mut next);
            if !matches!(outcome, rewrite::Outcome::Unchanged | rewrite::Outcome::Changed) {
                route.counters.not_rewritten.fetch_add(1, Relaxed);
            }
            if outcome.changed() {
                std::mem::swap(&mut now, &mut next);
            }
        }
        let outcome = match Message::decode(&now).filter(|_| fits) {
            None => Outcome::Rejected,
            Some(changed) if route.durable => {
                self.spool(&changed, &route.numbers, route.full.sheds(message.severity()), &[place as u16])
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
        self.takers.clear();
        self.numbered = 0;
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
