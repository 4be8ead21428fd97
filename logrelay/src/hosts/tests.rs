//! A day of a region in steps of half a minute: hosts come, go, change their names and take over addresses of others,
//! machines fall silent and return, the relay restarts. A model that keeps every message says what a review must show.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use super::*;
use crate::{config::Config, labels::Labels, message::Message};

const START: i64 = 1_790_000_000_000_000;
const SECOND: i64 = 1_000_000;
const STEP: i64 = 30 * SECOND;
const STEPS: i64 = 2 * 1_440;
const DEFAULT_S: i64 = 600;
const LAST_WORDS: i64 = 60 * SECOND;

struct Random(u64);

impl Random {
    fn below(&mut self, n: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as i64).rem_euclid(n.max(1))
    }

    fn once_in(&mut self, n: i64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> Option<T> {
        items.get(self.below(items.len() as i64) as usize).cloned()
    }
}

/// What is at an address and sends.
struct Machine {
    address: IpAddr,
    every_s: i64,
    next_us: i64,
    quiet_until_us: i64,
}

/// What the model keeps of a sender.
#[derive(Default)]
struct Seen {
    last: Option<i64>,
    first_us: i64,
    address: Option<IpAddr>,
    /// Pauses of a second or longer, sorted.
    pauses: Vec<i64>,
    /// Whether the present pause counts.
    pause: bool,
    longest: Option<i64>,
    expected: Option<bool>,
    turned: i64,
    state: Option<State>,
    since: i64,
}

impl Seen {
    fn message(&mut self, now: i64, address: IpAddr) {
        if let Some(last) = self.last.filter(|_| self.pause) {
            let pause = (now - last).min(self.longest.unwrap_or(i64::MAX));
            if pause >= SECOND {
                self.pauses.insert(self.pauses.partition_point(|other| *other < pause), pause);
            }
        }
        if self.last.is_none() {
            self.first_us = now;
        }
        (self.last, self.pause, self.address) = (Some(now), true, Some(address));
    }

    fn learned(&self) -> Option<i64> {
        let n = self.pauses.len();
        let pause = *self.pauses.get((n * 99 / 100).checked_sub(1)?).filter(|_| n >= 20)?;
        let mut bound = SECOND as f64;
        while bound.floor() < pause as f64 - 1.0 {
            bound *= std::f64::consts::SQRT_2;
        }
        // The table of bounds has six digits.
        Some((bound * 3.0 / 1000.0) as i64 * 1000)
    }

    fn turn(&mut self, expected: bool, now: i64) {
        if self.expected.replace(expected) != Some(expected) {
            (self.turned, self.pause) = (now, false);
        }
    }

    fn becomes(&mut self, state: State, now: i64) -> State {
        if self.state.replace(state) != Some(state) {
            self.since = now;
        }
        state
    }

    /// What a review at `now` must show of a host that is expected.
    fn expected(&mut self, interval: Option<i64>, listening: i64, now: i64) -> State {
        self.turn(true, now);
        self.longest = interval.map(|us| 3 * us);
        let Some(interval) = interval else { return self.becomes(State::Ok, now) };
        let quiet = now - self.last.unwrap_or(i64::MIN).max(self.turned).max(listening);
        let heard_since = self.last.is_some_and(|last| last > self.since);
        let state = match (self.state, self.last) {
            (Some(State::NeverSeen), None) => State::NeverSeen,
            (_, None) if quiet > 3 * interval => State::NeverSeen,
            (_, None) => State::New,
            (Some(State::Silent), _) if !heard_since => State::Silent,
            _ if quiet > 3 * interval => State::Silent,
            _ if quiet > interval => State::Late,
            _ => State::Ok,
        };
        self.becomes(state, now)
    }

    fn talks(&self, now: i64) -> bool {
        let interval = self.learned().map_or(DEFAULT_S * SECOND, |us| us.max(60 * SECOND));
        self.last.is_some_and(|last| now - last <= interval)
    }

    fn unexpected(&mut self, interval: Option<i64>, now: i64) -> State {
        self.turn(false, now);
        let late = self.last.is_some_and(|last| last > self.turned + LAST_WORDS);
        let talks = self.last.is_some_and(|last| now - last <= interval.unwrap_or(3600 * SECOND));
        self.becomes(if late && talks { State::Withdrawn } else { State::Off }, now)
    }
}

struct Day {
    random: Random,
    now: i64,
    hosts: Hosts,
    rules: Rules,
    /// Hosts by name: labels and address.
    inventory: BTreeMap<String, (Arc<Labels>, IpAddr)>,
    machines: Vec<Machine>,
    model: HashMap<Who, Seen>,
    /// What was told of whom.
    told: HashMap<Who, State>,
    /// How often each state was shown, and each kind of event happened.
    shown: HashMap<State, u64>,
    events: HashMap<&'static str, u64>,
    named: u32,
    addressed: u32,
}

fn rules(listening: i64) -> Rules {
    let text = format!("limits.expect_s = {DEFAULT_S}\nrole.web.expect_s = 60\nrole.never.expect_s = 0\n");
    Rules::new(&toml::from_str::<Config>(&text).unwrap(), listening).unwrap()
}

impl Day {
    fn new(seed: u64) -> Self {
        let mut day = Self {
            random: Random(seed),
            now: START,
            hosts: Hosts::new(5_000),
            rules: rules(START),
            inventory: BTreeMap::new(),
            machines: Vec::new(),
            model: HashMap::new(),
            told: HashMap::new(),
            shown: HashMap::new(),
            events: HashMap::new(),
            named: 0,
            addressed: 0,
        };
        (0..30).for_each(|_| day.add(None));
        day
    }

    fn event(&mut self, name: &'static str) {
        *self.events.entry(name).or_default() += 1;
    }

    fn labels(&mut self, roles: &str) -> Arc<Labels> {
        self.named += 1;
        let (name, zone) = (format!("h{}", self.named), ["z1", "z2"][self.named as usize % 2].into());
        Arc::new(Labels { name, zone, product: "p".into(), roles: roles.into(), expected: true, ..Labels::default() })
    }

    /// A new host, at a new address or at one that was another's, most often with a machine.
    fn add(&mut self, address: Option<IpAddr>) {
        let kind = self.random.below(4) as usize;
        let roles = ["web\n", "", "never\nweb\n", "db\n"][kind];
        let every_s = [20, 130, 400, 45][kind];
        let labels = self.labels(roles);
        let address = address.unwrap_or_else(|| {
            self.addressed += 1;
            IpAddr::V4((0x0a00_0000 + self.addressed).into())
        });
        self.inventory.insert(labels.name.clone(), (labels, address));
        self.machines.retain(|machine| machine.address != address);
        if !self.random.once_in(8) {
            let next_us = self.now + 1 + self.random.below(every_s * SECOND);
            self.machines.push(Machine { address, every_s, next_us, quiet_until_us: 0 });
        }
    }

    fn change(&mut self) {
        let names: Vec<String> = self.inventory.keys().cloned().collect();
        let Some(name) = self.random.pick(&names) else { return };
        let (labels, address) = self.inventory[&name].clone();
        match self.random.below(8) {
            0 => {
                self.event("added");
                self.add(None);
            }
            1 => {
                self.event("stopped or started");
                let labels = Arc::new(Labels { expected: !labels.expected, ..(*labels).clone() });
                self.inventory.insert(name, (labels, address));
            }
            2 if names.len() > 20 => {
                self.event("removed");
                self.inventory.remove(&name);
                if self.random.once_in(2) {
                    self.machines.retain(|machine| machine.address != address);
                }
            }
            3 => {
                self.event("renamed");
                self.inventory.remove(&name);
                let new = self.labels(&labels.roles);
                self.inventory.insert(new.name.clone(), (new, address));
            }
            4 if names.len() > 20 => {
                self.event("address reused");
                self.inventory.remove(&name);
                self.add(Some(address));
            }
            _ => {
                self.event("silenced");
                let (n, length) = (self.random.below(self.machines.len() as i64) as usize, self.random.below(3600));
                if let Some(machine) = self.machines.get_mut(n) {
                    machine.quiet_until_us = self.now + length * SECOND;
                }
            }
        }
    }

    fn send(&mut self, address: IpAddr, now: i64) {
        let labels = self.inventory.values().find(|(_, at)| *at == address).map(|(labels, _)| labels);
        let entry = match labels {
            Some(labels) => self.hosts.host(labels, now),
            None => self.hosts.address(address, now),
        };
        let who = labels.map_or(Who::address(address), |labels| Who::host(labels));
        assert_eq!(entry.who(), &who);
        let seen = self.model.entry(who).or_default();
        let was_silent = matches!(seen.state, Some(State::Silent | State::NeverSeen))
            && labels.is_some()
            && seen.last.is_none_or(|last| last <= seen.since);
        assert_eq!(entry.note_seen(now), was_silent, "{} at {}", entry.who(), now - START);
        let mut tally = Tally::default();
        tally.read(&Message::unread(b"line", now));
        tally.count(Outcome::Spooled, 1);
        entry.add(&tally, Some(address));
        seen.message(now, address);
    }

    fn step(&mut self) {
        let end = self.now + STEP;
        let mut due: Vec<(i64, IpAddr)> = Vec::new();
        for machine in &mut self.machines {
            while machine.next_us < end {
                if machine.next_us >= machine.quiet_until_us {
                    due.push((machine.next_us, machine.address));
                }
                machine.next_us += machine.every_s * SECOND * (50 + self.random.below(100)) / 100;
            }
        }
        due.sort_unstable();
        due.into_iter().for_each(|(now, address)| self.send(address, now));
        self.now = end;
    }

    fn restart(&mut self) {
        let (hosts, loaded) = Hosts::load(&self.hosts.save(), 5_000);
        loaded.unwrap();
        // Nobody listens for a while; machines go on.
        self.now += 600 * SECOND;
        for machine in &mut self.machines {
            machine.next_us = machine.next_us.max(self.now);
        }
        (self.hosts, self.rules) = (hosts, rules(self.now));
        for seen in self.model.values_mut() {
            (seen.pause, seen.longest) = (false, None);
        }
    }

    /// What the model says must be shown: states, and which host a stranger was.
    fn model(&mut self) -> HashMap<Who, (State, Option<Who>)> {
        let (now, mut all) = (self.now, HashMap::new());
        for (labels, _) in self.inventory.values() {
            let seen = self.model.entry(Who::host(labels)).or_default();
            let learned = seen.learned().map_or(DEFAULT_S * SECOND, |us| us.max(60 * SECOND));
            let interval = match labels.roles.as_str() {
                "web\n" => Some(60 * SECOND),
                "never\nweb\n" => None,
                _ => Some(learned),
            };
            let state = if labels.expected {
                seen.expected(interval, self.rules.listening_us, now)
            } else {
                seen.longest = interval.map(|us| 3 * us);
                seen.unexpected(interval, now)
            };
            all.insert(Who::host(labels), (state, None));
        }
        let mut gone: HashMap<Who, (i64, i64, Who)> = HashMap::new();
        let known: HashSet<Who> = all.keys().cloned().collect();
        for (who, seen) in self.model.iter_mut().filter(|(who, _)| who.is_host() && !known.contains(who)) {
            let interval = seen.learned().map_or(DEFAULT_S * SECOND, |us| us.max(60 * SECOND));
            // One that was stopped and went on talking is still that when it leaves the inventory as well.
            if seen.unexpected(Some(interval), now) == State::Withdrawn {
                all.insert(who.clone(), (State::Withdrawn, None));
            }
            seen.pause = false;
            if let Some((last, at)) = seen.last.zip(seen.address) {
                let this = (last, seen.turned, who.clone());
                let other = gone.entry(Who::address(at)).or_insert_with(|| this.clone());
                *other = this.max(other.clone());
            }
        }
        for (who, seen) in self.model.iter_mut().filter(|(who, _)| !who.is_host()) {
            let before = gone.get(who);
            let talked = matches!(seen.state, Some(State::Ok | State::Withdrawn));
            let before = before.filter(|(last, ..)| !talked || seen.since >= *last);
            let late = |turned: i64| seen.last.is_some_and(|last| last > turned + LAST_WORDS);
            let state = match before {
                _ if !seen.talks(now) => State::Off,
                Some((_, turned, ..)) if late(*turned) => State::Withdrawn,
                _ => State::Ok,
            };
            if seen.becomes(state, now) != State::Off {
                all.insert(who.clone(), (state, before.map(|(.., who)| who.clone())));
            }
        }
        all
    }

    fn review(&mut self) {
        let inventory: Vec<Arc<Labels>> = self.inventory.values().map(|(labels, _)| labels.clone()).collect();
        let must = self.model();
        let looked = self.random.once_in(8).then(|| look(&inventory, &self.hosts, &self.rules, self.now));
        let rows = review(&inventory, &self.hosts, &self.rules, self.now);
        if let Some(looked) = looked {
            assert_eq!(looked, rows, "to look is to see the same");
            assert!(changes(&inventory, &self.hosts, &self.rules, self.now).is_empty(), "told once");
        }
        assert!(rows.is_sorted_by_key(|row| (row.state, row.who.clone())));
        let shown = rows.iter().filter(|row| must.contains_key(&row.who) || row.state != State::Off);
        let shown: HashMap<Who, _> = shown.map(|row| (row.who.clone(), (row.state, row.formerly.clone()))).collect();
        for (who, state) in &must {
            assert_eq!(shown.get(who), Some(state), "{who} at {} s", (self.now - START) / SECOND);
        }
        assert_eq!(shown.len(), must.len());
        for row in &rows {
            *self.shown.entry(row.state).or_default() += 1;
            self.tell(row);
        }
    }

    /// Alarms are told once, at once, and called off once.
    fn tell(&mut self, row: &Silence) {
        let before = self.told.get(&row.who).copied();
        if let Some(change) = row.changed {
            assert_eq!(change.to, row.state);
            assert_eq!(before, Some(change.from).filter(|from| from.is_alarming()));
            assert_ne!(before, Some(change.to));
            match change.to.is_alarming() {
                true => self.told.insert(row.who.clone(), change.to),
                false => self.told.remove(&row.who),
            };
            self.event(if change.to.is_alarming() { "told" } else { "called off" });
        }
        if row.state.is_alarming() {
            assert_eq!(self.told.get(&row.who), Some(&row.state), "{}", row.who);
        }
    }
}

#[test]
fn a_day_of_a_changing_region() {
    let mut day = Day::new(1);
    for step in 0..STEPS {
        if day.random.once_in(12) {
            day.change();
        }
        day.step();
        day.review();
        if step % 700 == 699 {
            day.restart();
        }
    }
    for state in State::ALL {
        assert!(day.shown.get(&state).is_some_and(|n| *n > 20), "{state:?} was hardly shown: {:?}", day.shown);
    }
    assert!(day.events.len() == 8 && day.events.values().all(|n| *n > 5), "{:?}", day.events);
    day.hosts.each(|entry| entry.counters().balance().unwrap());
}

/// A host that speaks every four of its intervals: shown as it is, told once.
#[test]
fn a_host_that_speaks_too_seldom_is_one_alert() {
    let (hosts, rules) = (Hosts::new(10), rules(START));
    let labels = Labels { name: "a".into(), roles: "web\n".into(), expected: true, ..Labels::default() };
    let inventory = [Arc::new(labels)];
    let (mut told, mut shown, mut flips) = (Vec::new(), State::New, 0);
    let run = |seconds: std::ops::Range<i64>, every: i64, told: &mut Vec<_>, shown: &mut State| {
        for second in seconds {
            let now = START + second * SECOND;
            if second % every == 0 {
                let mut tally = Tally::default();
                tally.read(&Message::unread(b"x", now));
                hosts.host(&inventory[0], now).add(&tally, None);
            }
            let row = review(&inventory, &hosts, &rules, now).remove(0);
            told.extend(row.changed.map(|change| (second, change.from, change.to)));
            flips += u32::from(*shown != State::Silent && row.state == State::Silent);
            *shown = row.state;
        }
    };
    let mut run = run;
    run(1..240 * 20, 240, &mut told, &mut shown);
    run(4800..6000, 30, &mut told, &mut shown);
    assert!(flips >= 19, "{flips}");
    let never_seen = (182, State::New, State::NeverSeen);
    let silent = (421, State::NeverSeen, State::Silent);
    assert_eq!(told, [never_seen, silent, (4861, State::Silent, State::Ok)]);
}

#[test]
fn a_clock_that_was_ahead_does_not_make_hosts_immortal() {
    let (hosts, rules) = (Hosts::new(10), rules(START));
    let labels = Labels { name: "a".into(), roles: "web\n".into(), expected: true, ..Labels::default() };
    let inventory = [Arc::new(labels)];
    let state = |now: i64| review(&inventory, &hosts, &rules, now)[0].state;
    let heard = |now: i64| {
        let mut tally = Tally::default();
        tally.read(&Message::unread(b"x", now));
        hosts.host(&inventory[0], now).add(&tally, None);
    };
    let ahead = START + 86_400_000 * SECOND;
    heard(ahead);
    assert_eq!((state(ahead), state(START)), (State::Ok, State::Ok));
    assert_eq!((state(START + 61 * SECOND), state(START + 181 * SECOND)), (State::Late, State::Silent));
    heard(START + 182 * SECOND);
    assert_eq!(state(START + 183 * SECOND), State::Ok);
}

#[test]
fn who_else_is_behind_an_address_is_not_the_host_that_left() {
    let (hosts, rules, address) = (Hosts::new(10), rules(START), IpAddr::from([10, 0, 0, 1]));
    let inventory = [Arc::new(Labels { name: "a".into(), expected: true, ..Labels::default() })];
    let heard = |entry: &HostEntry, now: i64| {
        let mut tally = Tally::default();
        tally.read(&Message::unread(b"x", now));
        entry.add(&tally, Some(address));
    };
    let stranger = |known: bool, minute: i64| {
        let now = START + minute * 60 * SECOND;
        heard(&hosts.address(address, now), now);
        if known {
            heard(&hosts.host(&inventory[0], now), now);
        }
        let rows = review(&inventory[..usize::from(known)], &hosts, &rules, now + 1);
        let row = rows.into_iter().find(|row| !row.who.is_host()).unwrap();
        (row.state, row.formerly)
    };
    for minute in 0..10 {
        assert_eq!(stranger(minute < 5, minute), (State::Ok, None), "{minute}");
    }
    // After a pause, what speaks there may well be it.
    assert_eq!(stranger(true, 20), (State::Ok, None));
    review(&inventory, &hosts, &rules, START + 60 * 60 * SECOND);
    let left = START + 61 * 60 * SECOND;
    heard(&hosts.host(&inventory[0], left), left);
    assert_eq!(stranger(false, 62).0, State::Ok);
    assert_eq!(stranger(false, 64), (State::Withdrawn, Some(Who::host(&inventory[0]))));
}

#[test]
fn a_time_off_is_no_habit() {
    let (hosts, rules) = (Hosts::new(10), rules(START));
    let host = |expected| [Arc::new(Labels { name: "a".into(), expected, ..Labels::default() })];
    let entry = hosts.host(&host(true)[0], START);
    for minute in 0..60 {
        let now = START + minute * 60 * SECOND;
        // Stopped for the third quarter of an hour.
        if !(30..45).contains(&minute) {
            let mut tally = Tally::default();
            tally.read(&Message::unread(b"x", now));
            entry.add(&tally, None);
        }
        review(&host(!(29..45).contains(&minute)), &hosts, &rules, now + SECOND);
    }
    assert_eq!(entry.pauses_us(), (Some(60 * SECOND), Some(64 * SECOND)));
}

#[test]
fn hosts_without_a_place_are_counted() {
    let hosts = Hosts::new(3);
    let inventory: Vec<Arc<Labels>> =
        (0..5).map(|n| Arc::new(Labels { name: format!("h{n}"), expected: true, ..Labels::default() })).collect();
    let _stranger = hosts.address("10.0.0.1".parse().unwrap(), START);
    assert_eq!(review(&inventory, &hosts, &rules(START), START).len(), 2);
    assert_eq!(hosts.counters().unwatched.load(std::sync::atomic::Ordering::Relaxed), 3);
    assert_eq!(review(&inventory[..2], &hosts, &rules(START), START).len(), 2);
    assert_eq!(hosts.counters().unwatched.load(std::sync::atomic::Ordering::Relaxed), 0);
}
