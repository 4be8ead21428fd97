//! What would become of a line: how it is read, whose it is, which routes take it and why, where it goes. Nothing is counted,
//! stored or sent.

use std::{fmt, net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use serde::Serialize;

use super::Relay;
use crate::{
    filter::Context,
    hosts::Hosts,
    intake::{Intake, Line, Sender, Shared},
    message::{Field, Flags, Message},
    rewrite::Outcome,
    route::{Route, Rules},
    template::{DateCache, Env},
};

/// The answer of `gatehouse logs explain`.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// The source as which it was read.
    pub source: String,
    /// The host that the inventory knows the sender as, with its zone.
    pub host: Option<String>,
    /// What every route makes of it, in order.
    pub routes: Vec<Routed>,
    /// Destinations that would get it.
    pub destinations: Vec<String>,
    #[serde(skip)]
    record: Vec<u8>,
}

/// What a route makes of a message.
#[derive(Debug, Clone, Serialize)]
pub struct Routed {
    /// Its name.
    pub route: String,
    /// Whether it takes the message.
    pub takes: bool,
    /// Why not, when the filter is not the reason.
    pub because: Option<String>,
    /// The parts of its filter, and whether each is true.
    pub filter: Vec<(String, bool)>,
    /// The message after its rewrite rules, if they change it.
    pub rewritten: Option<String>,
    /// Where it sends it.
    pub to: Vec<String>,
}

impl Relay {
    /// Explains a line that would come from `from` to `source` (the first one if there is no name).
    ///
    /// # Errors
    /// A sentence: there is no such source.
    pub fn explain(&self, line: &[u8], from: Option<IpAddr>, source: Option<&str>) -> Result<Explanation, String> {
        let origin = {
            let sources = self.0.sources.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let found = source.map_or_else(|| sources.values().next(), |name| sources.get(name));
            let names = || sources.keys().cloned().collect::<Vec<_>>().join(", ");
            let none = || match source {
                Some(name) => format!("there is no source {name:?}; there are {}", names()),
                None => "there is no source".to_owned(),
            };
            found.ok_or_else(none)?.origin.clone()
        };
        let now_us = (self.0.node.clock)();
        let shared = &self.0.shared;
        let rules = shared.rules.load_full();
        // A relay of its own for this one line, without hosts that could be counted and rates that could be used up.
        let aside = Arc::new(Shared {
            rules: ArcSwap::from(rules.clone()),
            spool: shared.spool.clone(),
            hosts: Arc::new(Hosts::new(16)),
            inventory: shared.inventory.clone(),
            clock: shared.clock,
            node: shared.node.clone(),
            taps: crate::tap::Taps::default(),
        });
        let mut intake = Intake::new(aside, Arc::new(origin.aside()));
        let sender = Sender { address: from.map(|address| address.to_canonical()), port: 0, certificate: Vec::new() };
        intake.sender(&sender);
        let original_len = line.len().try_into().unwrap_or(u32::MAX);
        let record = intake.read(Line { raw: line, received_us: now_us, original_len, flags: Flags::default() });
        let message = Message::decode(&record).ok_or("the line is too long for a record")?;
        let context = Context { had_been_silent: false, now_us };
        let host = message.flags.has(Flags::KNOWN).then(|| {
            let text = |field| String::from_utf8_lossy(message.field(field)).into_owned();
            format!("{}.{}", text(Field::Host), text(Field::Zone))
        });
        let (routes, destinations) = along(&rules, &origin.name, &message, &context);
        Ok(Explanation { source: origin.name.clone(), host, routes, destinations, record })
    }
}

fn along(rules: &Rules, source: &str, message: &Message<'_>, context: &Context) -> (Vec<Routed>, Vec<String>) {
    let order = rules.of_source(source);
    let mut taken = Vec::new();
    rules.select(&order, message, context, &mut taken);
    let mut routes = Vec::new();
    for (place, route) in rules.routes.iter().enumerate() {
        let takes = taken.contains(&place);
        let wants = route.takes(message, context);
        let because = match (takes, order.contains(&place), wants) {
            (true, ..) | (false, true, false) => None,
            (false, false, _) => Some(format!("it takes from {} only", route.from.join(", "))),
            (false, true, true) if route.fallback => Some("it is a fallback, and another route takes it".to_owned()),
            (false, true, true) => Some("a final route before it takes it".to_owned()),
        };
        let filter = route.filter.as_ref().map(|filter| filter.explain(message, context)).unwrap_or_default();
        let rewritten = takes.then(|| rewritten(rules, route, message, context)).flatten();
        let to = route.to.iter().map(|target| target.name.clone()).collect();
        routes.push(Routed { route: route.name.clone(), takes, because, filter, rewritten, to });
    }
    let mut destinations: Vec<String> = Vec::new();
    for name in routes.iter().filter(|route| route.takes).flat_map(|route| &route.to) {
        if !destinations.contains(name) {
            destinations.push(name.clone());
        }
    }
    (routes, destinations)
}

fn rewritten(rules: &Rules, route: &Route, message: &Message<'_>, context: &Context) -> Option<String> {
    let (mut now, mut next) = (Vec::new(), Vec::new());
    let env = Env { now_us: context.now_us, loghost: &rules.node, ..Env::default() };
    let mut changed = false;
    message.encode(&mut now);
    for rule in &route.rewrite {
        let outcome = rule.apply(&Message::decode(&now)?, context, &env, &mut DateCache::default(), &mut next);
        if matches!(outcome, Outcome::Changed | Outcome::Cut) {
            std::mem::swap(&mut now, &mut next);
            changed = true;
        }
    }
    let message = Message::decode(&now).filter(|_| changed)?;
    Some(String::from_utf8_lossy(message.message).into_owned())
}

impl Explanation {
    /// The message as it was read and labelled.
    pub fn with<T: Default>(&self, show: impl FnOnce(&Message<'_>) -> T) -> T {
        Message::decode(&self.record).map(|message| show(&message)).unwrap_or_default()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(message) = Message::decode(&self.record) else { return Ok(()) };
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        writeln!(f, "read as    {}", message.status.as_str())?;
        let level = |list: &[&str], number: u8| list.get(usize::from(number)).copied().unwrap_or("unknown").to_owned();
        let facility = level(&crate::message::FACILITIES, message.facility());
        writeln!(f, "priority   {facility}.{}", level(&crate::message::SEVERITIES, message.severity()))?;
        match &self.host {
            Some(host) => writeln!(f, "host       {host}, from the inventory")?,
            None => writeln!(f, "host       {}, not in the inventory", text(message.field(Field::Host)))?,
        }
        let fields = [(Field::HeaderHost, "header"), (Field::Program, "program"), (Field::Pid, "process")];
        for (field, name) in fields.into_iter().filter(|(field, _)| !message.field(*field).is_empty()) {
            writeln!(f, "{name:<10} {}", text(message.field(field)))?;
        }
        if message.flags.has(Flags::MISMATCH) {
            writeln!(f, "           the header names another host than the inventory has for the sender")?;
        }
        if message.flags.has(Flags::NO_STAMP) {
            writeln!(f, "           no time could be read; the time of receipt stands for it")?;
        }
        writeln!(f, "message    {}", text(message.message))?;
        for route in &self.routes {
            let verdict = match (route.takes, &route.because) {
                (true, _) => format!("takes it, to {}", route.to.join(", ")),
                (false, Some(because)) => format!("does not take it: {because}"),
                (false, None) => "does not take it".to_owned(),
            };
            writeln!(f, "route {:<4} {verdict}", route.route)?;
            for (part, is_true) in &route.filter {
                writeln!(f, "           {:<5} {part}", if *is_true { "true" } else { "false" })?;
            }
            if let Some(rewritten) = &route.rewritten {
                writeln!(f, "           rewritten: {rewritten}")?;
            }
        }
        match self.destinations.is_empty() {
            true => write!(f, "goes to    nowhere"),
            false => write!(f, "goes to    {}", self.destinations.join(", ")),
        }
    }
}
