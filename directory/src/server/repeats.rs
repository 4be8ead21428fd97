//! Answers to questions that are asked again and again.
//!
//! Each login has the same person looked up some ten times, by every host in the same words, and between two changes of
//! the directory the answer to the same words is the same octets. So answers that are short, and whose only grounds are
//! the entries of the directory, are kept by the words that asked for them: the request without its message ID. What
//! else an answer could depend on keeps it out: a client that does not see everything, a decision, a role of sudo, the
//! time, a control. With any change of an entry or of a role all that is kept is void.
//!
//! Every answering thread has a table of its own, so nothing is locked: [`SETS`] sets of [`WAYS`] answers of at most
//! [`ANSWER_MAX`] octets to questions of at most [`QUESTION_MAX`]: 4 MiB with ordinary answers, 13 MiB at most. A set
//! that is full gives way to a question only when that comes back before another new one, so that a client that asks for
//! everybody once does not drive out what is asked all day.

use std::{cell::RefCell, hash::BuildHasher};

use bytes::BytesMut;
use thread_local::ThreadLocal;

use super::{frame, reply};
use crate::view::View;

/// Sets of a table. A question belongs to one of them.
const SETS: usize = 2048;
/// Answers of a set.
const WAYS: usize = 4;
/// Octets of a question that is kept.
const QUESTION_MAX: usize = 512;
/// Octets of an answer that is kept.
const ANSWER_MAX: usize = 1024;

/// What answers are made of: as long as this is the same, they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grounds {
    /// The newest change to the entries.
    entries: u64,
    /// The newest change to the roles of sudo.
    roles: u64,
}

impl Grounds {
    pub(super) fn of(view: &View) -> Self {
        Self { entries: view.tree.changed_usn(), roles: view.sudo.changed_usn() }
    }
}

/// The tables of all threads.
#[derive(Default)]
pub(super) struct Repeats {
    seed: foldhash::quality::RandomState,
    tables: ThreadLocal<RefCell<Table>>,
}

/// What is known of a question.
pub(super) enum Known {
    /// The answer is written; it has so many entries.
    Answered(u64),
    /// Nothing yet, but there is room for the answer.
    Wanted(Mark),
    /// Nothing, and there is no room.
    Nothing,
}

/// Where the answer to a question belongs.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    key: u64,
    grounds: Grounds,
}

/// A question whose answer is to be kept.
pub(super) struct Wanted {
    mark: Mark,
    question: Box<[u8]>,
}

impl Mark {
    pub(super) fn with(self, question: &[u8]) -> Wanted {
        Wanted { mark: self, question: question.into() }
    }
}

/// All answers of a thread, and what they are made of.
struct Table {
    grounds: Grounds,
    /// What is asked for the first time meets nothing else.
    sets: Box<[Set]>,
    slots: Box<[[Slot; WAYS]]>,
}

/// Parts of hashes of questions; 0 is none.
#[derive(Default, Clone, Copy)]
struct Set {
    known: [u32; WAYS],
    /// The last one for which there was no room.
    newcomer: u32,
}

#[derive(Default, Clone)]
struct Slot {
    /// The question, then the operations of the answer, one after the other.
    octets: Box<[u8]>,
    question: usize,
    entries: u64,
}

impl Default for Table {
    fn default() -> Self {
        let (sets, slots) = (vec![Set::default(); SETS].into(), vec![<[Slot; WAYS]>::default(); SETS].into());
        Self { grounds: Grounds { entries: 0, roles: 0 }, sets, slots }
    }
}

impl Repeats {
    /// Answers the message `id` if the same was asked before. `question` is the request itself, without message ID.
    pub(super) fn answer(&self, question: &[u8], grounds: Grounds, id: i32, out: &mut BytesMut) -> Known {
        if question.len() > QUESTION_MAX {
            return Known::Nothing;
        }
        let key = self.seed.hash_one(question);
        let mut table = self.tables.get_or_default().borrow_mut();
        table.renew(grounds);
        if let Some((entries, operations)) = table.find(key, question) {
            reply::operations(out, id, operations);
            return Known::Answered(entries);
        }
        if table.has_room(key) { Known::Wanted(Mark { key, grounds }) } else { Known::Nothing }
    }

    /// Keeps the answer to a question: `messages` is all of it, with `entries` entries.
    pub(super) fn keep(&self, wanted: Wanted, messages: &[u8], entries: u64) {
        if messages.len() > ANSWER_MAX {
            return;
        }
        let Wanted { mark: Mark { key, grounds }, question } = wanted;
        let length = question.len();
        let mut octets = question.into_vec();
        octets.reserve_exact(messages.len());
        let mut rest = messages;
        while !rest.is_empty() {
            let Some((operation, behind)) = frame::operation(rest) else { return };
            octets.extend_from_slice(operation);
            rest = behind;
        }
        let slot = Slot { octets: octets.into(), question: length, entries };
        let mut table = self.tables.get_or_default().borrow_mut();
        table.renew(grounds);
        table.put(key, slot);
    }
}

/// The set of a question and its tag there.
fn place(key: u64) -> (usize, u32) {
    let tag = (key >> 32) as u32;
    (usize::try_from(key % SETS as u64).unwrap_or(0), tag.max(1))
}

impl Table {
    /// Forgets what was made of something else.
    fn renew(&mut self, grounds: Grounds) {
        if self.grounds != grounds {
            self.grounds = grounds;
            self.sets.fill(Set::default());
        }
    }

    fn find(&self, key: u64, question: &[u8]) -> Option<(u64, &[u8])> {
        let (set, tag) = place(key);
        let way = self.sets.get(set)?.known.iter().position(|known| *known == tag)?;
        let slot = self.slots.get(set)?.get(way)?;
        let (asked, operations) = slot.octets.split_at_checked(slot.question)?;
        (asked == question && !operations.is_empty()).then_some((slot.entries, operations))
    }

    /// Whether there is room for a new question, or it has come back so soon that another gives way.
    fn has_room(&mut self, key: u64) -> bool {
        let (set, tag) = place(key);
        let Some(set) = self.sets.get_mut(set) else { return false };
        let is_back = std::mem::replace(&mut set.newcomer, tag) == tag;
        is_back || set.known.iter().any(|known| *known == 0 || *known == tag)
    }

    /// Puts an answer in place of one to the same question, of none, or of any other.
    fn put(&mut self, key: u64, slot: Slot) {
        let (set, tag) = place(key);
        let (Some(Set { known, .. }), Some(slots)) = (self.sets.get_mut(set), self.slots.get_mut(set)) else { return };
        let same = known.iter().position(|known| *known == tag);
        let way = same.or_else(|| known.iter().position(|known| *known == 0)).unwrap_or(tag as usize % WAYS);
        if let (Some(known), Some(old)) = (known.get_mut(way), slots.get_mut(way)) {
            (*known, *old) = (tag, slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use ldap3_proto::proto::LdapResultCode as Code;
    use proptest::prelude::*;

    use super::{super::reply::Outcome, *};

    const NOW: Grounds = Grounds { entries: 7, roles: 3 };

    fn messages(id: i32, values: &[usize]) -> BytesMut {
        let mut out = BytesMut::new();
        for length in values {
            reply::entry(&mut out, id, "dc=x", |out| reply::octets(out, 0x30, &vec![b'v'; *length]));
        }
        reply::result(&mut out, id, reply::tag::DONE, &Outcome::SUCCESS);
        out
    }

    fn operations(mut messages: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some((operation, rest)) = frame::operation(messages) {
            all.push(operation.to_vec());
            messages = rest;
        }
        assert!(messages.is_empty());
        all
    }

    /// Asks, and has what is wanted kept. Returns whether the answer was there.
    fn ask(repeats: &Repeats, question: &[u8], grounds: Grounds) -> bool {
        match repeats.answer(question, grounds, 1, &mut BytesMut::new()) {
            Known::Answered(_) => return true,
            Known::Wanted(mark) => repeats.keep(mark.with(question), &messages(1, &[9]), 1),
            Known::Nothing => {}
        }
        false
    }

    proptest! {
        #[test]
        fn what_was_said_is_said_again_under_another_message_id(
            values in prop::collection::vec(0..400usize, 0..4),
            (first, again) in (1..i32::MAX, 1..i32::MAX),
            question in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let repeats = Repeats::default();
            let said = messages(first, &values);
            let mut out = BytesMut::from(&b"before"[..]);
            let is_short = question.len() <= QUESTION_MAX && said.len() <= ANSWER_MAX;
            if let Known::Wanted(mark) = repeats.answer(&question, NOW, first, &mut out) {
                repeats.keep(mark.with(&question), &said, values.len() as u64);
            }
            let known = repeats.answer(&question, NOW, again, &mut out);
            prop_assert_eq!(matches!(known, Known::Answered(entries) if entries == values.len() as u64), is_short);
            if is_short {
                prop_assert_eq!(operations(&out[6..]), operations(&said));
                let id = frame::element(frame::element(&out[6..]).unwrap().1).unwrap();
                prop_assert_eq!(id.1.iter().fold(0i64, |id, octet| id << 8 | i64::from(*octet)), i64::from(again));
            }
        }
    }

    #[test]
    fn any_change_makes_all_void() {
        let repeats = Repeats::default();
        assert!(!ask(&repeats, b"q", NOW) && ask(&repeats, b"q", NOW));
        for grounds in [Grounds { entries: 8, ..NOW }, Grounds { roles: 4, ..NOW }, NOW] {
            assert!(!ask(&repeats, b"q", grounds) && ask(&repeats, b"q", grounds), "{grounds:?}");
        }
    }

    #[test]
    fn who_asks_for_everybody_once_does_not_drive_out_what_is_asked_all_day() {
        let repeats = Repeats::default();
        let daily: Vec<_> = (0..1000u32).map(|number| number.to_be_bytes()).collect();
        for question in &daily {
            ask(&repeats, question, NOW);
        }
        for number in 0..20_000u32 {
            assert!(!ask(&repeats, &[&b"once"[..], &number.to_be_bytes()].concat(), NOW));
        }
        let left = daily.iter().filter(|question| ask(&repeats, *question, NOW)).count();
        assert!(left > 980, "{left}");
        // All is full now, and who comes back gets in.
        for number in 0..1000u32 {
            let question = [&b"often"[..], &number.to_be_bytes()].concat();
            let asked = [0; 3].map(|_| ask(&repeats, &question, NOW));
            assert!(!asked[0] && asked[2]);
        }
    }

    #[test]
    fn a_table_is_bounded() {
        let repeats = Repeats::default();
        let long = messages(1, &[ANSWER_MAX - 60]);
        assert!(long.len() <= ANSWER_MAX);
        for number in 0..100_000u32 {
            let question = [&number.to_be_bytes()[..], &[0; QUESTION_MAX - 4]].concat();
            if let Known::Wanted(mark) = repeats.answer(&question, NOW, 1, &mut BytesMut::new()) {
                repeats.keep(mark.with(&question), &long, 1);
            }
        }
        let table = repeats.tables.get().unwrap().borrow();
        let octets: usize = table.slots.iter().flatten().map(|slot| slot.octets.len() + size_of::<Slot>()).sum();
        assert_eq!(table.slots.len(), SETS);
        assert!((8 << 20..13 << 20).contains(&octets), "{octets}");
    }

    #[test]
    fn what_is_no_whole_answer_is_not_kept() {
        let repeats = Repeats::default();
        let Known::Wanted(mark) = repeats.answer(b"q", NOW, 1, &mut BytesMut::new()) else { panic!() };
        let whole = messages(1, &[9]);
        repeats.keep(mark.with(b"q"), &whole[..whole.len() - 1], 1);
        let mut controlled = BytesMut::new();
        reply::result_with(&mut controlled, 1, reply::tag::DONE, &Outcome::new(Code::Success, ""), "1.2", b"");
        repeats.keep(mark.with(b"q"), &controlled, 0);
        repeats.keep(mark.with(b"q"), &[], 0);
        assert!(matches!(repeats.answer(b"q", NOW, 1, &mut BytesMut::new()), Known::Wanted(_)));
    }
}
