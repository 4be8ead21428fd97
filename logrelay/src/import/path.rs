//! Log paths, which are trees there, as routes, which are a list here.
//!
//! Each place in the tree that has destinations becomes a route with all sources, filters and rewrite rules on the way to
//! it. Embedded paths, channels and branches of `if` become routes of their own; what `final`, `fallback` and `else`
//! keep from them is said with `not`.

use std::collections::{HashMap, HashSet};

use super::{
    At, Notes,
    destination::{self, Destination},
    expression::{self, Untranslated},
    global::Global,
    source::{self, Source},
    tree::{Config, Item, Statement},
};
use crate::route::ROUTES_MAX;

mod branch;

/// Statements that are gone through at most: branches multiply what follows them.
const STEPS_MAX: usize = 100_000;

/// A route of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) from: Vec<String>,
    pub(super) filter: Option<String>,
    pub(super) rewrite: Vec<String>,
    pub(super) to: Vec<String>,
    pub(super) is_final: bool,
    pub(super) fallback: bool,
    /// Whether senders wait when there is no room.
    pub(super) block: bool,
    /// Whether a destination of it had a disk buffer.
    pub(super) disk_buffer: bool,
    /// Whether it can only be written as a comment.
    pub(super) untranslated: bool,
}

/// Everything in our words.
#[derive(Debug)]
pub(super) struct Paths {
    pub(super) sources: Vec<Source>,
    pub(super) destinations: Vec<Destination>,
    pub(super) routes: Vec<Route>,
}

/// What holds at a place in the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    from: Vec<String>,
    /// Whether the path names a source, translated or not.
    has_source: bool,
    filters: Vec<String>,
    rewrite: Vec<String>,
    flags: Flags,
    /// Whether something on the way cannot be said here.
    untranslated: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Flags {
    is_final: bool,
    fallback: bool,
    catchall: bool,
    block: bool,
}

/// Destinations that were met since the state last changed.
#[derive(Debug, Default)]
struct Pending {
    met: bool,
    to: Vec<String>,
    disk_buffer: bool,
}

struct Walker<'c, 'n> {
    config: &'c Config,
    global: &'c Global,
    notes: &'n mut Notes,
    /// Our names for theirs.
    source_names: HashMap<String, Vec<String>>,
    destination_names: HashMap<String, (Vec<String>, bool)>,
    used_names: HashSet<(bool, String)>,
    out: Paths,
    /// Number of the path, for what has no name, and where it begins.
    number: usize,
    at: At,
    steps: usize,
}

impl Paths {
    /// Goes through all paths.
    pub(super) fn of(
        config: &Config,
        global: &Global,
        sources: Vec<source::Named>,
        destinations: Vec<destination::Named>,
        notes: &mut Notes,
    ) -> Self {
        let out = Self { sources: Vec::new(), destinations: Vec::new(), routes: Vec::new() };
        let (source_names, destination_names, used_names) = Default::default();
        let mut walker = Walker {
            config,
            global,
            notes,
            source_names,
            destination_names,
            used_names,
            out,
            number: 0,
            at: At::default(),
            steps: 0,
        };
        sources.into_iter().for_each(|named| drop(walker.add_source(named)));
        destinations.into_iter().for_each(|named| drop(walker.add_destination(named)));
        for (at, body) in &config.paths {
            walker.number += 1;
            walker.at = *at;
            walker.path(body);
        }
        walker.out
    }
}

impl Walker<'_, '_> {
    /// A name that no other source, or no other destination, has.
    fn unique(&mut self, name: &str, of_source: bool) -> String {
        let mut number = 0;
        loop {
            let unique = source::numbered(name, number);
            if self.used_names.insert((of_source, unique.clone())) {
                return unique;
            }
            number += 1;
        }
    }

    fn add_source(&mut self, named: source::Named) -> Vec<String> {
        let mut names = Vec::new();
        for mut source in named.sources {
            source.name = self.unique(&source.name, true);
            names.push(source.name.clone());
            self.out.sources.push(source);
        }
        self.source_names.insert(named.name, names.clone());
        names
    }

    fn add_destination(&mut self, named: destination::Named) -> (Vec<String>, bool) {
        let mut names = Vec::new();
        let disk_buffer = named.destinations.iter().any(|destination| destination.disk_buffer);
        for mut destination in named.destinations {
            destination.name = self.unique(&destination.name, false);
            names.push(destination.name.clone());
            self.out.destinations.push(destination);
        }
        self.destination_names.insert(named.name, (names.clone(), disk_buffer));
        (names, disk_buffer)
    }

    fn path(&mut self, body: &[Statement]) {
        let flags = self.flags(body);
        let first = self.out.routes.len();
        let state = State { flags: Flags { is_final: false, ..flags }, ..State::default() };
        let ends = self.run(body, state);
        if !flags.is_final {
            if self.out.routes.len() == first {
                self.notes.add(self.at, "this path has no destination, and so no route");
            }
            return;
        }
        let [end] = ends.as_slice() else {
            self.notes.add(self.at, "final after branches is not translated; later paths see what this one took");
            return;
        };
        let whole = self.route(end, Pending::default());
        let routes = self.out.routes.get_mut(first..).unwrap_or_default();
        // A route that only keeps messages from others would lose those that have nowhere to go any more.
        let all_lost = !routes.is_empty() && routes.iter().all(|route| route.untranslated);
        let only = Some(routes).filter(|routes| routes.len() == 1);
        if whole.untranslated || all_lost {
            if let Some([route]) = only {
                route.is_final = true;
            }
            self.notes.add(self.at, "this path is final; without it later paths see what it would have kept from them");
        } else if let Some([route]) = only
            && route.filter == whole.filter
            && !route.untranslated
        {
            route.is_final = true;
        } else {
            // Nothing else keeps from later paths what all of this one takes.
            self.push(Route { is_final: true, rewrite: Vec::new(), ..whole });
        }
    }

    /// Goes through statements; the states in which what passes them all is.
    fn run(&mut self, body: &[Statement], mut state: State) -> Vec<State> {
        let mut pending = Pending::default();
        let mut siblings = branch::Siblings::default();
        for (i, statement) in body.iter().enumerate() {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                self.notes.add(self.at, "the branches of this path multiply beyond what is translated");
                break;
            }
            let (kind, name, block) = match statement.items.as_slice() {
                [Item::Call(call)] => (&*call.name, call.first(), None),
                [Item::Word(kind), Item::Block(block)] => (&**kind, None, Some(block)),
                [Item::Call(call), ..] => (&*call.name, None, None),
                [Item::Word(kind), ..] => (&**kind, None, None),
                _ => ("", None, None),
            };
            let at = statement.at;
            match (kind, name, block) {
                ("destination", name, block) => self.destination(name, block, at, &mut pending),
                ("flags", ..) => {}
                ("source", name, block) => self.source(name, block, at, &mut state),
                ("filter", name, block) => {
                    self.flush(&state, &mut pending);
                    self.filter(name, block, at, &mut state);
                }
                ("rewrite", name, block) => {
                    self.flush(&state, &mut pending);
                    self.rewrite(name, block, at, &mut state);
                }
                ("parser", ..) => {
                    self.flush(&state, &mut pending);
                    self.notes.add(at, "parsers are not translated; the path goes on without what this one would add");
                }
                ("log", _, Some(block)) => {
                    self.flush(&state, &mut pending);
                    self.embedded(block, &state, &mut siblings, at);
                }
                ("junction" | "if", ..) => {
                    self.flush(&state, &mut pending);
                    let ends = match (kind, block) {
                        ("junction", Some(block)) => self.junction(block, &state),
                        _ => self.conditions(&statement.items, &state, at),
                    };
                    if let Some(ends) = ends {
                        let rest = body.get(i + 1..).unwrap_or_default();
                        return ends.into_iter().flat_map(|end| self.run(rest, end)).collect();
                    }
                }
                _ => self.notes.add(at, "this part of a path is not translated"),
            }
        }
        self.flush(&state, &mut pending);
        vec![state]
    }

    fn flags(&mut self, body: &[Statement]) -> Flags {
        let mut flags = Flags::default();
        for call in body.iter().filter_map(Statement::call).filter(|call| call.name == "flags") {
            for flag in call.texts() {
                match &*flag.replace('_', "-") {
                    "final" => flags.is_final = true,
                    "fallback" => flags.fallback = true,
                    "catchall" | "catch-all" => flags.catchall = true,
                    "flow-control" => flags.block = true,
                    "no-flow-control" => flags.block = false,
                    flag => self.notes.add(call.at, format!("the flag {flag} of a path is not translated")),
                }
            }
        }
        flags
    }

    fn source(&mut self, name: Option<&str>, block: Option<&Vec<Statement>>, at: At, state: &mut State) {
        state.has_source = true;
        let names = match (name, block) {
            (Some(name), _) => self.source_names.get(name).cloned(),
            (None, Some(block)) => {
                let named = source::one(&format!("path{}-source", self.number), block, self.global, self.notes);
                Some(self.add_source(named))
            }
            (None, None) => None,
        };
        match names {
            Some(names) => state.from.extend(names),
            None => self.notes.add(at, format!("there is no source {:?}", name.unwrap_or_default())),
        }
    }

    fn destination(&mut self, name: Option<&str>, block: Option<&Vec<Statement>>, at: At, pending: &mut Pending) {
        pending.met = true;
        let names = match (name, block) {
            (Some(name), _) => self.destination_names.get(name).cloned(),
            (None, Some(block)) => {
                let name = format!("path{}-destination", self.number);
                let named = destination::one(&name, block, self.global, self.notes);
                Some(self.add_destination(named))
            }
            (None, None) => None,
        };
        match names {
            Some((names, disk_buffer)) => {
                pending.to.extend(names);
                pending.disk_buffer |= disk_buffer;
            }
            None => self.notes.add(at, format!("there is no destination {:?}", name.unwrap_or_default())),
        }
    }

    fn filter(&mut self, name: Option<&str>, block: Option<&Vec<Statement>>, at: At, state: &mut State) {
        if !state.rewrite.is_empty() {
            self.notes
                .add(at, "this filter comes after a rewrite rule; here filters look at the message as it was before");
        }
        let mut texts = Vec::new();
        match (name, block) {
            (Some(name), _) => texts.push(expression::named(self.config, name, at, self.notes)),
            (None, Some(block)) => {
                for Statement { at, items } in block {
                    texts.push(expression::filter(self.config, items, *at, self.notes));
                }
            }
            (None, None) => {
                self.notes.add(at, "this filter is not translated");
                texts.push(Err(Untranslated));
            }
        }
        for text in texts {
            match text {
                Ok(text) => state.filters.push(text),
                Err(Untranslated) => state.untranslated = true,
            }
        }
    }

    fn rewrite(&mut self, name: Option<&str>, block: Option<&Vec<Statement>>, at: At, state: &mut State) {
        let config = self.config;
        let body = match (name, block) {
            (Some(name), _) => config.rewrites.get(name).map(|(_, body)| body),
            (None, block) => block,
        };
        match body {
            Some(body) => body
                .iter()
                .for_each(|statement| state.rewrite.extend(expression::rules(config, &statement.items, self.notes))),
            None => self.notes.add(at, format!("there is no rewrite {:?}", name.unwrap_or_default())),
        }
    }

    /// The route from a state to destinations.
    fn route(&self, state: &State, pending: Pending) -> Route {
        // A path with `catchall` takes from all sources, whatever it names.
        let from = if state.flags.catchall { Vec::new() } else { state.from.clone() };
        Route {
            untranslated: state.untranslated || (from.is_empty() && !state.flags.catchall),
            from,
            filter: expression::all(&state.filters),
            rewrite: state.rewrite.clone(),
            to: pending.to,
            is_final: false,
            fallback: state.flags.fallback,
            block: state.flags.block,
            disk_buffer: pending.disk_buffer,
        }
    }

    /// Makes a route of the destinations that were met.
    fn flush(&mut self, state: &State, pending: &mut Pending) {
        let pending = std::mem::take(pending);
        if !pending.met {
            return;
        }
        let lost = pending.to.is_empty();
        let mut route = self.route(state, pending);
        if lost {
            self.notes.add(self.at, "a path has no destination left that is translated");
        } else if state.untranslated {
            self.notes.add(self.at, "a path is written as a comment, because part of its filter is not translated");
        } else if route.untranslated {
            let why = if state.has_source { "no source left that is translated" } else { "no source" };
            self.notes.add(self.at, format!("a path is written as a comment, because it has {why}"));
        }
        route.untranslated |= lost;
        self.push(route);
    }

    fn push(&mut self, route: Route) {
        if self.out.routes.len() < ROUTES_MAX {
            self.out.routes.push(route);
        } else {
            self.notes.add(self.at, format!("there are more than {ROUTES_MAX} routes; this path is left out"));
        }
    }
}
