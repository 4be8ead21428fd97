//! Routes: which messages go where. [`Rules`] is made from the configuration as a whole and published as a whole; a
//! message is routed by one version of it, whose number it carries.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    config::{self, Config, Profile},
    filter::{Context, Filter},
    hosts::{self, Rate},
    labels::Labels,
    message::{Message, severity},
    problem::Problem,
    queue::Queue,
    rewrite::Rewrite,
};

/// Routes at most.
pub const ROUTES_MAX: usize = 1_000;

/// Everything that decides about a message, of one version of the configuration.
#[derive(Debug, Default)]
pub struct Rules {
    /// Grows with every change.
    pub version: u32,
    /// Name of this relay, for rules that write it.
    pub node: String,
    /// In the order of the configuration.
    pub routes: Vec<Route>,
    /// How lines of hosts with a role are read.
    pub profiles: HashMap<String, Profile>,
    /// What hosts may send, and how often they should.
    pub hosts: Option<hosts::Rules>,
}

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Name in metrics and explanations.
    pub name: String,
    /// Sources; none: all.
    pub from: Vec<String>,
    /// Which messages it takes; absent: all.
    pub filter: Option<Filter>,
    /// What is changed in them.
    pub rewrite: Vec<Rewrite>,
    /// Where they go.
    pub to: Vec<Target>,
    /// Their numbers, as records have them.
    pub numbers: Vec<u8>,
    /// Whether they go through the spool.
    pub durable: bool,
    /// Whether later routes do not see what it takes.
    pub is_final: bool,
    /// Whether it sees only what no other route took.
    pub fallback: bool,
    /// What happens when there is no room.
    pub full: Full,
    /// What went through it.
    pub counters: Arc<RouteCounters>,
}

/// A destination of a route.
#[derive(Debug, Clone)]
pub struct Target {
    /// Name in the configuration.
    pub name: String,
    /// Number in the spool.
    pub number: u16,
    /// The way that does not go through the spool.
    pub queue: Arc<Queue>,
}

/// What happens to a message when there is no more room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Full {
    /// The oldest messages of destinations that lag go. What is new is kept, unless the room is held by a destination that
    /// another route does not let go of: then it is shed.
    #[default]
    DropOldest,
    /// It is shed.
    DropNewest,
    /// Whoever can wait does: streams are not read; datagrams are shed.
    Block,
    /// It is shed when it is of this severity or less urgent, and waits otherwise.
    Shed(u8),
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct RouteCounters {
    /// Messages that it took.
    pub taken: AtomicU64,
    /// Of them, those shed for want of room.
    pub shed: AtomicU64,
    /// Times that a rewrite rule could not do what it says: a text was cut, or the message stayed as it was because a list
    /// would be too long or a name does not exist.
    pub not_rewritten: AtomicU64,
}

impl Full {
    /// Reads `drop-oldest`, `drop-newest`, `block` or `shed SEVERITY`.
    ///
    /// # Errors
    /// A sentence that names what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "drop-oldest" => Ok(Self::DropOldest),
            "drop-newest" => Ok(Self::DropNewest),
            "block" => Ok(Self::Block),
            _ => text.strip_prefix("shed ").and_then(|name| severity(name.trim())).map(Self::Shed).ok_or_else(|| {
                format!(
                    "full = {text:?} is none of drop-oldest, drop-newest, block, shed SEVERITY (such as `shed notice`)"
                )
            }),
        }
    }

    /// Whether a message of this severity is shed at once while there is no room.
    pub fn sheds(self, message_severity: u8) -> bool {
        match self {
            Self::DropOldest | Self::DropNewest => true,
            Self::Block => false,
            Self::Shed(level) => message_severity >= level,
        }
    }
}

impl Route {
    /// Whether it takes a message of this source.
    pub fn takes(&self, message: &Message<'_>, context: &Context) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(message, context))
    }

    /// Reads one route, the one with this index.
    fn build(
        config: &config::Route,
        index: usize,
        targets: &dyn Fn(&str) -> Option<Target>,
        files: &mut dyn FnMut(&str) -> Result<String, String>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let name = config.name.clone().unwrap_or_else(|| (index + 1).to_string());
        let mut wrong = |key: &'static str, text: String| {
            problems.push(Problem::new("route", index, key, format!("route {name}: {text}")));
        };
        let filter = config
            .filter
            .as_ref()
            .map(|text| Filter::parse(text, files).map_err(|e| wrong("filter", format!("filter: {e}"))));
        let filter = filter.and_then(Result::ok);
        let mut rewrite = Vec::new();
        for text in &config.rewrite {
            match Rewrite::parse(text, files) {
                Ok(rule) => rewrite.push(rule),
                Err(e) => wrong("rewrite", format!("rewrite: {e}")),
            }
        }
        let mut to: Vec<Target> = Vec::new();
        for destination in &config.to {
            match targets(destination) {
                Some(target) if to.iter().all(|other| other.number != target.number) => to.push(target),
                Some(_) => wrong("to", format!("names the destination {destination:?} twice")),
                None => wrong(
                    "to",
                    format!(
                        "names the destination {destination:?}, but there is no [[logrelay.destination]] of that name"
                    ),
                ),
            }
        }
        if config.to.is_empty() && !config.is_final {
            wrong(
                "to",
                "to = [] names no destination; only a route with final = true may, to keep messages from later ones"
                    .into(),
            );
        }
        let full = config.full.as_deref().map_or(Ok(Full::default()), Full::parse);
        let full = full.map_err(|text| wrong("full", text)).unwrap_or_default();
        let config::Route { from, durable, is_final, fallback, .. } = config.clone();
        let numbers = to.iter().flat_map(|target| target.number.to_le_bytes()).collect();
        Self { name, from, filter, rewrite, to, numbers, durable, is_final, fallback, full, counters: Arc::default() }
    }
}

impl Rules {
    /// Reads all routes and roles, for a relay that listens since `listening_us`. `targets` finds a destination by its name; `files` reads a file that an `in-list` names.
    ///
    /// # Errors
    /// Everything that is wrong, a sentence each.
    pub fn build(
        config: &Config,
        (version, node): (u32, &str),
        listening_us: i64,
        targets: &dyn Fn(&str) -> Option<Target>,
        files: &mut dyn FnMut(&str) -> Result<String, String>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if config.route.len() > ROUTES_MAX {
            let text = format!("there are {} routes, but at most {ROUTES_MAX} may be", config.route.len());
            return Err(vec![Problem::new("route", ROUTES_MAX, "", text)]);
        }
        let mut routes = Vec::new();
        for (index, route) in config.route.iter().enumerate() {
            let route = Route::build(route, index, targets, files, &mut problems);
            for source in &route.from {
                if source != INTERNAL && config.source.iter().all(|known| known.name != *source) {
                    let text = format!(
                        "route {}: names the source {source:?}, but there is no [[logrelay.source]] of that name",
                        route.name
                    );
                    problems.push(Problem::new("route", index, "from", text));
                }
            }
            if routes.iter().any(|other: &Route| other.name == route.name) {
                let text = format!("two routes have the name {:?}; give them different ones", route.name);
                problems.push(Problem::new("route", index, "name", text));
            }
            routes.push(route);
        }
        let profiles = config.role.iter().filter_map(|(name, role)| Some((name.clone(), role.profile?))).collect();
        let hosts =
            hosts::Rules::new(config, listening_us).map_err(|e| problems.push(Problem::new("role", 0, "", e))).ok();
        if problems.is_empty() {
            Ok(Self { version, node: node.to_owned(), routes, profiles, hosts })
        } else {
            Err(problems)
        }
    }

    /// Goes on counting where routes of the same names have come to.
    pub(crate) fn keep_counters(&mut self, former: &Self) {
        for route in &mut self.routes {
            if let Some(known) = former.routes.iter().find(|known| known.name == route.name) {
                route.counters = known.counters.clone();
            }
        }
    }

    /// The routes that look at messages of a source, by their place in `routes`.
    pub fn of_source(&self, source: &str) -> Vec<usize> {
        let looks = |route: &Route| route.from.is_empty() || route.from.iter().any(|name| name == source);
        (0..self.routes.len()).filter(|&place| looks(&self.routes[place])).collect()
    }

    /// Which routes take a message, by their place; `order` is from [`of_source`](Self::of_source). As in syslog-ng, `final`
    /// keeps it from later routes, and `fallback` routes see only what no other route took.
    pub fn select(&self, order: &[usize], message: &Message<'_>, context: &Context, taken: &mut Vec<usize>) {
        taken.clear();
        for fallback in [false, true] {
            for &place in order {
                let route = &self.routes[place];
                if route.fallback != fallback || !route.takes(message, context) {
                    continue;
                }
                taken.push(place);
                if route.is_final {
                    return;
                }
            }
            if !taken.is_empty() {
                return;
            }
        }
    }

    /// What the roles of a host say of how its lines are read.
    pub fn profile(&self, roles: &str) -> Option<Profile> {
        roles.lines().find_map(|role| self.profiles.get(role).copied())
    }

    /// What a host may send.
    pub fn rate(&self, labels: Option<&Labels>) -> Option<Rate> {
        self.hosts.as_ref()?.rate(labels)
    }
}

/// Name of the source of messages that the relay itself writes.
pub const INTERNAL: &str = "internal";

impl RouteCounters {
    /// Adds what a batch brought.
    pub(crate) fn add(&self, taken: u64, shed: u64) {
        self.taken.fetch_add(taken, Relaxed);
        self.shed.fetch_add(shed, Relaxed);
    }
}
