//! Answers to questions that are asked again and again.
//!
//! Each login has the same person looked up some ten times, by every host in the same words, and between two changes of
//! the directory the answer to the same words is the same octets. So answers that are short, and whose only grounds are
//! the entries of the directory, are kept by the words that asked for them: the request without its message ID. What
//! else an answer could depend on keeps it out: a client that does not see everything, a decision, a role of sudo, the
//! time, a control. With any change of an entry all that is kept is void, and with any of a role of sudo as well: that
//! no role was found is part of an answer.
//!
//! Every answering thread has a table of its own, so nothing is locked: [`SETS`] sets of [`WAYS`] answers of at most
//! [`ANSWER_MAX`] octets to questions of at most [`QUESTION_MAX`]: 4 MiB with ordinary answers, 13 MiB at most, void ones
//! included until others take their place. The first time that a question is asked it is only noted, so that a client
//! that asks for everybody once drives nothing out; when it comes back before [`WAYS`] other new ones of its set, the
//! answer is kept.

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
    /// USN of the newest change to the entries.
    entries_usn: u64,
    /// USN of the newest change to the roles of sudo.
    roles_usn: u64,
}

impl Grounds {
    pub(super) fn of(view: &View) -> Self {
        Self { entries_usn: view.tree.changed_usn(), roles_usn: view.sudo.changed_usn() }
    }

    /// Whether a part is newer and none is older.
    fn is_newer_than(self, other: Self) -> bool {
        self != other && self.entries_usn >= other.entries_usn && self.roles_usn >= other.roles_usn
    }
}

/// The tables of all threads.
#[derive(Default)]
pub(super) struct Repeats {
    seed: foldhash::quality::RandomState,
    tables: ThreadLocal<RefCell<Table>>,
}

/// What is known of a question.
pub(super) enum Recalled {
    /// The answer is written; it has so many entries.
    Answered(u64),
    /// Nothing.
    Nothing(Mark),
    /// It is too long to be kept, or what it is about is older than what is kept.
    Never,
}

/// A question that was not found: where it belongs.
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

/// All answers of a thread, and what they are made of.
struct Table {
    grounds: Grounds,
    /// Apart from the answers: a question that is not there costs a look at one of these and no more.
    sets: Box<[Set]>,
    slots: Box<[[Slot; WAYS]]>,
    /// Whose turn it is to give way in a full set.
    turn: usize,
}

/// Parts of hashes of questions; 0 is none.
#[derive(Default, Clone, Copy)]
struct Set {
    /// Of those whose answers are kept.
    known: [u32; WAYS],
    /// Of the last ones that were asked for the first time, newest first.
    newcomers: [u32; WAYS],
}

#[derive(Default, Clone)]
struct Slot {
    /// The question, then the operations of the answer, one after the other.
    octets: Box<[u8]>,
    question_length: usize,
    entries: u64,
}

impl Default for Table {
    fn default() -> Self {
        let (sets, slots) = (vec![Set::default(); SETS].into(), vec![<[Slot; WAYS]>::default(); SETS].into());
        Self { grounds: Grounds { entries_usn: 0, roles_usn: 0 }, sets, slots, turn: 0 }
    }
}

impl Repeats {
    /// Answers the message `id` if the same was asked before. `question` is the request itself, without message ID.
    pub(super) fn answer(&self, question: &[u8], grounds: Grounds, id: i32, out: &mut BytesMut) -> Recalled {
        if question.len() > QUESTION_MAX {
            return Recalled::Never;
        }
        let key = self.seed.hash_one(question);
        let mut table = self.tables.get_or_default().borrow_mut();
        if grounds.is_newer_than(table.grounds) {
            table.grounds = grounds;
            table.sets.fill(Set::default());
        }
        // A batch of requests that takes long is answered from the view that it began with.
        if table.grounds != grounds {
            return Recalled::Never;
        }
        match table.find(key, question) {
            Some((entries, operations)) => {
                reply::operations(out, id, operations);
                Recalled::Answered(entries)
            }
            None => Recalled::Nothing(Mark { key, grounds }),
        }
    }

    /// Notes a question that was not found. Whoever asked it lately as well wants its answer kept.
    pub(super) fn note(&self, mark: Mark, question: &[u8]) -> Option<Wanted> {
        let is_back = self.tables.get_or_default().borrow_mut().note(mark.key);
        is_back.then(|| Wanted { mark, question: question.into() })
    }

    /// Keeps the answer to a question: `messages` is all of it, with `entries` entries.
    pub(super) fn keep(&self, wanted: Wanted, messages: &[u8], entries: u64) {
        let Wanted { mark: Mark { key, grounds }, question } = wanted;
        let mut table = self.tables.get_or_default().borrow_mut();
        if messages.is_empty() || messages.len() > ANSWER_MAX || table.grounds != grounds {
            return;
        }
        let question_length = question.len();
        let mut octets = question.into_vec();
        octets.reserve_exact(messages.len());
        let mut rest = messages;
        while !rest.is_empty() {
            let Some((operation, behind)) = frame::operation(rest) else { return };
            octets.extend_from_slice(operation);
            rest = behind;
        }
        table.put(key, Slot { octets: octets.into(), question_length, entries });
    }
}

/// The set of a question and its tag there.
fn place(key: u64) -> (usize, u32) {
    let tag = (key >> 32) as u32;
    (usize::try_from(key % SETS as u64).unwrap_or(0), tag.max(1))
}

impl Table {
    fn find(&self, key: u64, question: &[u8]) -> Option<(u64, &[u8])> {
        let (set, tag) = place(key);
        let way = self.sets.get(set)?.known.iter().position(|known| *known == tag)?;
        let slot = self.slots.get(set)?.get(way)?;
        let (asked, operations) = slot.octets.split_at_checked(slot.question_length)?;
        (asked == question && !operations.is_empty()).then_some((slot.entries, operations))
    }

    /// Whether a question has come back; if not it is noted.
    fn note(&mut self, key: u64) -> bool {
        let (set, tag) = place(key);
        let Some(set) = self.sets.get_mut(set) else { return false };
        let is_back = set.newcomers.contains(&tag);
        if !is_back {
            set.newcomers.rotate_right(1);
            set.newcomers[0] = tag;
        }
        is_back
    }

    /// Puts an answer in place of one to the same question, of none, or of any other.
    fn put(&mut self, key: u64, slot: Slot) {
        let (set, tag) = place(key);
        let (Some(Set { known, .. }), Some(slots)) = (self.sets.get_mut(set), self.slots.get_mut(set)) else { return };
        let same = known.iter().position(|known| *known == tag);
        self.turn = (self.turn + 1) % WAYS;
        let way = same.or_else(|| known.iter().position(|known| *known == 0)).unwrap_or(self.turn);
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

    const NOW: Grounds = Grounds { entries_usn: 7, roles_usn: 3 };

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
        keep(repeats, question, grounds, &messages(1, &[9]))
    }

    fn keep(repeats: &Repeats, question: &[u8], grounds: Grounds, messages: &[u8]) -> bool {
        match repeats.answer(question, grounds, 1, &mut BytesMut::new()) {
            Recalled::Answered(_) => return true,
            Recalled::Nothing(mark) => {
                if let Some(wanted) = repeats.note(mark, question) {
                    repeats.keep(wanted, messages, 1);
                }
            }
            Recalled::Never => {}
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
            for _ in 0..2 {
                prop_assert!(!keep(&repeats, &question, NOW, &said));
            }
            let known = repeats.answer(&question, NOW, again, &mut out);
            prop_assert_eq!(matches!(known, Recalled::Answered(1)), is_short);
            if is_short {
                prop_assert_eq!(operations(&out[6..]), operations(&said));
                let id = frame::element(frame::element(&out[6..]).unwrap().1).unwrap();
                prop_assert_eq!(id.1.iter().fold(0i64, |id, octet| id << 8 | i64::from(*octet)), i64::from(again));
            }
        }
    }

    #[test]
    fn any_change_makes_all_void_and_what_is_older_changes_nothing() {
        let repeats = Repeats::default();
        let asked = |grounds| [0; 3].map(|_| ask(&repeats, b"q", grounds));
        let entry = Grounds { entries_usn: 8, ..NOW };
        let both = Grounds { roles_usn: 4, ..entry };
        for grounds in [NOW, entry, both] {
            assert_eq!(asked(grounds), [false, false, true], "{grounds:?}");
        }
        for older in [NOW, entry, Grounds { entries_usn: 9, roles_usn: 1 }] {
            assert_eq!(asked(older), [false; 3], "{older:?}");
        }
        assert!(ask(&repeats, b"q", both));
    }

    #[test]
    fn an_answer_that_took_until_a_change_is_not_kept() {
        let repeats = Repeats::default();
        assert!(!ask(&repeats, b"q", NOW));
        let Recalled::Nothing(mark) = repeats.answer(b"q", NOW, 1, &mut BytesMut::new()) else { panic!() };
        let wanted = repeats.note(mark, b"q").unwrap();
        let later = Grounds { entries_usn: 8, ..NOW };
        assert!(!ask(&repeats, b"other", later));
        repeats.keep(wanted, &messages(1, &[9]), 1);
        assert!(!ask(&repeats, b"q", later));
    }

    #[test]
    fn who_asks_for_everybody_once_does_not_drive_out_what_is_asked_all_day() {
        let repeats = Repeats::default();
        let sweep = |name: &[u8]| {
            for number in 0..50_000u32 {
                assert!(!ask(&repeats, &[name, &number.to_be_bytes()].concat(), NOW));
            }
        };
        let daily: Vec<_> = (0..2000u32).map(|number| number.to_be_bytes()).collect();
        let known = || daily.iter().filter(|question| ask(&repeats, *question, NOW)).count();
        sweep(b"before");
        let first = [0; 3].map(|_| known());
        assert!(first[0] == 0 && first[2] > 1900, "{first:?}");
        sweep(b"after");
        assert_eq!(known(), known());
        assert!(known() > 1900);
    }

    #[test]
    fn a_table_is_bounded() {
        let repeats = Repeats::default();
        let long = messages(1, &[ANSWER_MAX - 60]);
        assert!(long.len() <= ANSWER_MAX);
        for number in 0..100_000u32 {
            let question = [&number.to_be_bytes()[..], &[0; QUESTION_MAX - 4]].concat();
            for _ in 0..2 {
                keep(&repeats, &question, NOW, &long);
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
        let whole = messages(1, &[9]);
        let mut controlled = BytesMut::new();
        reply::result_with(&mut controlled, 1, reply::tag::DONE, &Outcome::new(Code::Success, ""), "1.2", b"");
        for (question, messages) in [(b"a", &whole[..whole.len() - 1]), (b"b", &controlled[..]), (b"c", &[])] {
            assert_eq!([0; 4].map(|_| keep(&repeats, question, NOW, messages)), [false; 4]);
        }
        assert_eq!([0; 3].map(|_| keep(&repeats, b"d", NOW, &whole)), [false, false, true]);
    }
}
