//! Where a path branches: embedded paths, junctions with channels, `if`.

use super::{Flags, State, Walker};
use crate::import::{
    At,
    expression::{self, Untranslated, none_of},
    tree::{Item, Statement},
};

/// What the embedded paths before one take, for its `final` and `fallback`.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    /// What the ones with `final` take.
    kept: Vec<String>,
    /// What the ones without `fallback` take.
    taken: Vec<String>,
    /// Whether one of them has no filter and `final`, so that nothing is left.
    nothing_left: bool,
    /// Whether one of them has no filter and is no fallback: nothing is left for fallbacks.
    nothing_to_fall_back: bool,
    /// Whether what one of them keeps cannot be said.
    unknown: bool,
}

impl Walker<'_, '_> {
    /// An embedded path: it sees what reaches it, and what reaches it goes on behind it.
    pub(super) fn embedded(&mut self, body: &[Statement], state: &State, siblings: &mut Siblings, at: At) {
        drop(self.channel(body, state, siblings, at));
    }

    /// A path within a path; the states in which what passes it is.
    fn channel(&mut self, body: &[Statement], state: &State, siblings: &mut Siblings, at: At) -> Vec<State> {
        let flags = self.flags(body);
        if siblings.nothing_left || flags.fallback && siblings.nothing_to_fall_back {
            self.notes
                .add(at, "nothing reaches this embedded path, because one before it takes everything; it is left out");
            return Vec::new();
        }
        let mut inner = state.clone();
        let Flags { is_final, fallback, catchall, block } = flags;
        if catchall {
            self.notes.add(at, "catchall is not translated in an embedded path");
        }
        inner.flags.block |= block;
        let not = if fallback { siblings.taken.iter().chain(&siblings.kept) } else { siblings.kept.iter().chain(&[]) };
        for taken in not {
            let taken = none_of(taken);
            if !inner.filters.contains(&taken) {
                inner.filters.push(taken);
            }
        }
        inner.untranslated |= siblings.unknown;
        let before = inner.filters.len();
        let ends = self.run(body, inner);
        let filters = match ends.as_slice() {
            [end] if !end.untranslated => expression::all(end.filters.get(before..).unwrap_or_default()),
            _ => {
                siblings.unknown |= is_final;
                return ends;
            }
        };
        match filters {
            Some(filter) if is_final => siblings.kept.push(filter),
            Some(filter) if !fallback => siblings.taken.push(filter),
            Some(_) => {}
            None => {
                siblings.nothing_left |= is_final;
                siblings.nothing_to_fall_back |= !fallback;
            }
        }
        ends
    }

    /// A junction: what passes any of its channels goes on.
    pub(super) fn junction(&mut self, block: &[Statement], state: &State) -> Option<Vec<State>> {
        let (mut ends, mut siblings) = (Vec::new(), Siblings::default());
        for statement in block {
            match statement.items.as_slice() {
                [Item::Word(kind), Item::Block(body)] if kind == "channel" => {
                    ends.extend(self.channel(body, state, &mut siblings, statement.at));
                }
                _ => self.notes.add(statement.at, "a junction has channels; this is not translated"),
            }
        }
        Some(ends)
    }

    /// `if (...) { } elif (...) { } else { }`. `None` if what follows is as if the branches were not there.
    pub(super) fn conditions(&mut self, items: &[Item], state: &State, at: At) -> Option<Vec<State>> {
        let mut not = Vec::new();
        let mut ends = Vec::new();
        let mut changes = false;
        let mut open = true;
        let mut items = items.iter();
        while let Some(item) = items.next() {
            let filter = match item {
                Item::Call(call) if open && matches!(&*call.name, "if" | "elif") => {
                    Some(expression::filter(self.config, &call.items, call.at, self.notes))
                }
                Item::Word(word) if open && word == "else" => None,
                _ => {
                    self.notes.add(at, "this form of if is not translated; what follows it takes everything");
                    return None;
                }
            };
            let Some(Item::Block(body)) = items.next() else {
                self.notes.add(at, "this if has no braces; it is not translated");
                return None;
            };
            open = filter.is_some();
            let mut inner = state.clone();
            inner.filters.extend(not.iter().cloned());
            match filter {
                Some(Ok(filter)) => {
                    not.push(none_of(&filter));
                    inner.filters.push(filter);
                }
                // Neither this branch nor the others can be said.
                Some(Err(Untranslated)) => {
                    inner.untranslated = true;
                    ends.push(inner);
                    self.notes.add(at, "the branches of this if are not translated");
                    return None;
                }
                None => {}
            }
            let before = inner.clone();
            let after = self.run(body, inner);
            changes |= after != [before];
            ends.extend(after);
        }
        if open {
            let mut rest = state.clone();
            rest.filters.extend(not);
            ends.push(rest);
        }
        changes.then_some(ends)
    }
}
