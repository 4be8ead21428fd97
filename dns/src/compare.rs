//! The same questions to two servers, and where their answers differ.
//!
//! Compared are the response code and the answer section as a set: order, case of names and message
//! compression do not count, and neither does the TTL, whose differences are only counted. At most
//! [`Plan::at_once`] questions are under way, each over sockets of its own; at most
//! [`DIFFERENCES_MAX`] differences are kept, the rest is counted. A server that leaves
//! [`SILENT_MAX`] questions in a row unanswered ends the comparison.

use std::{net::SocketAddr, time::Duration};

use futures_util::{StreamExt, stream};
use serde::Serialize;

use crate::{
    name::{BadName, Name, is_within},
    rr::rtype,
    text,
};

mod ask;
#[cfg(test)]
mod tests;

use ask::{Effort, Reply};

/// Differences that are kept.
pub const DIFFERENCES_MAX: usize = 1000;
/// Questions in a row without an answer after which a server counts as absent.
const SILENT_MAX: u64 = 100;

/// A question of class IN.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// The name.
    pub name: Name,
    /// The type.
    pub rtype: u16,
}

/// Why a line is no question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuestion {
    /// The first word is no name.
    #[error(transparent)]
    Name(#[from] BadName),
    /// The second word is no type.
    #[error("{0:?} is no record type")]
    Type(String),
    /// A type that asks for something else than records.
    #[error("{0} asks for no records of a name and cannot be compared")]
    Meta(String),
    /// There are more words.
    #[error("{0:?} follows the name and the type")]
    Extra(String),
}

/// Reads `NAME` or `NAME TYPE`, as dnsperf does; nothing for empty lines and comments (`#` or `;`).
/// A name without a type is asked for its PTR below arpa, for its SRV if it begins with an underscore,
/// else for its A and its AAAA.
///
/// # Errors
/// Which word is wrong.
pub fn questions(line: &str) -> Result<Vec<Question>, BadQuestion> {
    let mut words = line.split_whitespace();
    let Some(first) = words.next().filter(|word| !word.starts_with(['#', ';'])) else { return Ok(Vec::new()) };
    let name = Name::parse(first)?;
    let types = match words.next() {
        Some(word) => vec![text::type_number(word).ok_or_else(|| BadQuestion::Type(word.into()))?],
        None if is_within(&name, b"\x04arpa\0") => vec![rtype::PTR],
        None if name.get(1) == Some(&b'_') => vec![rtype::SRV],
        None => vec![rtype::A, rtype::AAAA],
    };
    if let Some(extra) = words.next() {
        return Err(BadQuestion::Extra(extra.into()));
    }
    if let Some(meta) = types.iter().find(|t| matches!(**t, rtype::OPT | rtype::TSIG..=rtype::ANY)) {
        return Err(BadQuestion::Meta(text::type_name(*meta).into_owned()));
    }
    Ok(types.into_iter().map(|rtype| Question { name: name.clone(), rtype }).collect())
}

/// Whom to ask, and how patiently.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Our server.
    pub ours: SocketAddr,
    /// The server to compare with.
    pub theirs: SocketAddr,
    /// Questions under way at a time.
    pub at_once: usize,
    /// How long each attempt waits for an answer.
    pub timeout: Duration,
    /// Attempts for each question at each server.
    pub tries: u32,
}

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Questions put to both servers.
    pub asked: u64,
    /// Answers that are the same.
    pub equal: u64,
    /// Of these, answers whose TTLs are not the same.
    pub equal_but_ttl: u64,
    /// Answers that are not the same.
    pub different: u64,
    /// Questions that our server did not answer.
    pub unanswered_by_us: u64,
    /// Questions that the other server did not answer.
    pub unanswered_by_them: u64,
    /// Attempts that were not answered in time.
    pub timeouts: u64,
    /// Further attempts after an attempt that failed, for whatever reason.
    pub retries: u64,
    /// Answers that came truncated over UDP and were fetched over TCP.
    pub over_tcp: u64,
}

/// What one server said to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Said {
    /// Response code, as a word.
    pub rcode: String,
    /// The answer section: `owner TYPE data`, sorted.
    pub answers: Vec<String>,
}

/// A question to which the servers do not say the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The name asked for.
    pub name: String,
    /// The type asked for.
    #[serde(rename = "type")]
    pub rtype: String,
    /// What our server said; none if it did not answer.
    pub ours: Option<Said>,
    /// What the other server said.
    pub theirs: Option<Said>,
}

/// One of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Our server.
    Ours,
    /// The server to compare with.
    Theirs,
}

/// The outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// What was counted.
    pub counts: Counts,
    /// In the order of the questions; at most [`DIFFERENCES_MAX`].
    pub differences: Vec<Difference>,
    /// A server that does not answer at all, or no longer; the comparison ended early if questions were left.
    pub silent: Option<Side>,
}

/// Asks both servers each question; `progress` is told after each.
pub async fn compare(plan: &Plan, questions: &[Question], mut progress: impl FnMut(&Counts)) -> Comparison {
    let ask_both = |(at, question)| async move {
        let (ours, theirs) = tokio::join!(ask::ask(plan.ours, question, plan), ask::ask(plan.theirs, question, plan));
        (at, question, ours, theirs)
    };
    let asking = stream::iter(questions.iter().enumerate()).map(ask_both).buffer_unordered(plan.at_once.max(1));
    let mut asking = std::pin::pin!(asking);
    let (mut counts, mut found) = (Counts::default(), Vec::new());
    let (mut silent_ours, mut silent_theirs) = (0, 0);
    while let Some((at, question, (ours, our_effort), (theirs, their_effort))) = asking.next().await {
        silent_ours = if ours.is_none() { silent_ours + 1 } else { 0 };
        silent_theirs = if theirs.is_none() { silent_theirs + 1 } else { 0 };
        counts.add_effort(&our_effort);
        counts.add_effort(&their_effort);
        if !counts.judge(ours.as_ref(), theirs.as_ref()) && found.len() < DIFFERENCES_MAX {
            found.push((at, difference(question, ours, theirs)));
        }
        progress(&counts);
        if silent_ours.max(silent_theirs) >= SILENT_MAX {
            break;
        }
    }
    found.sort_by_key(|(at, _)| *at);
    let is_silent =
        |in_a_row: u64, unanswered: u64| in_a_row >= SILENT_MAX || counts.asked > 0 && unanswered == counts.asked;
    let silent = if is_silent(silent_theirs, counts.unanswered_by_them) {
        Some(Side::Theirs)
    } else {
        is_silent(silent_ours, counts.unanswered_by_us).then_some(Side::Ours)
    };
    Comparison { counts, differences: found.into_iter().map(|(_, difference)| difference).collect(), silent }
}

impl Counts {
    fn add_effort(&mut self, effort: &Effort) {
        self.timeouts += effort.timeouts;
        self.retries += effort.retries;
        self.over_tcp += u64::from(effort.over_tcp);
    }

    /// Counts a question; true if both servers say the same.
    fn judge(&mut self, ours: Option<&Reply>, theirs: Option<&Reply>) -> bool {
        self.asked += 1;
        self.unanswered_by_us += u64::from(ours.is_none());
        self.unanswered_by_them += u64::from(theirs.is_none());
        let (Some(ours), Some(theirs)) = (ours, theirs) else { return false };
        let is_equal = ours.rcode == theirs.rcode && ours.answers.keys().eq(theirs.answers.keys());
        self.equal += u64::from(is_equal);
        self.equal_but_ttl += u64::from(is_equal && ours.answers != theirs.answers);
        self.different += u64::from(!is_equal);
        is_equal
    }
}

fn difference(question: &Question, ours: Option<Reply>, theirs: Option<Reply>) -> Difference {
    let said = |reply: Reply| Said { rcode: reply.rcode, answers: reply.answers.into_keys().collect() };
    Difference {
        name: question.name.to_string(),
        rtype: text::type_name(question.rtype).into_owned(),
        ours: ours.map(said),
        theirs: theirs.map(said),
    }
}
