//! `dns compare`: the report. It ends with 0 when all answers are the same, with 1 when some differ, with
//! 69 when a server does not answer.

use std::{net::SocketAddr, time::Duration};

use dns::compare::{Comparison, Counts, Difference, Plan, Question, Said, Side, compare as ask, questions};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::{
    args::DnsCompare,
    cli::{print, print_json, table::table},
    exit::{Exit, Failure},
};

/// Questions under way at a time.
const AT_ONCE: usize = 100;
/// How long one attempt waits.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Attempts for each question.
const TRIES: u32 = 3;
/// Differences in the table for people; JSON has more.
const ROWS_MAX: usize = 100;
/// Records shown in one cell of the table.
const CELL_MAX: usize = 3;
/// Bad lines that are named.
const BAD_MAX: usize = 10;

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    ours: SocketAddr,
    theirs: SocketAddr,
    #[serde(flatten)]
    counts: &'a Counts,
    differences: &'a [Difference],
}

/// Whether a word is a record type.
pub(crate) fn is_type(word: &str) -> bool {
    dns::text::type_number(word).is_some()
}

/// Asks `ours` and the server of `args` for each line, `NAME` or `NAME TYPE`, and prints where they differ.
///
/// # Errors
/// The answers differ, a server does not answer, or a line is no question.
pub(crate) async fn compare(
    args: &DnsCompare,
    ours: SocketAddr,
    lines: &[String],
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let questions = parse(lines)?;
    bar.set_length(questions.len() as u64);
    let plan = Plan { ours, theirs: args.against, at_once: AT_ONCE, timeout: TIMEOUT, tries: TRIES };
    let found = ask(&plan, &questions, |counts| bar.set_position(counts.asked)).await;
    bar.finish_and_clear();
    if args.json {
        let (counts, differences) = (&found.counts, &found.differences);
        print_json(&Report { ours, theirs: args.against, counts, differences })?;
    } else if found.counts.equal + found.counts.different > 0 {
        print(&page(&found, args.against))?;
    }
    conclude(&found, &plan, questions.len())
}

fn parse(lines: &[String]) -> Result<Vec<Question>, Failure> {
    let (mut out, mut bad) = (Vec::new(), Vec::new());
    for (at, line) in lines.iter().enumerate() {
        match questions(line) {
            Ok(some) => out.extend(some),
            Err(error) if bad.len() < BAD_MAX => bad.push(format!("question {}: {error}", at + 1)),
            Err(_) => {}
        }
    }
    match (bad.is_empty(), out.is_empty()) {
        (false, _) => Err(Failure::new(Exit::Data, "some questions are not NAME or NAME TYPE").with_details(bad)),
        (true, true) => Err(Failure::new(Exit::Data, "there is nothing to ask for: the list is empty")),
        (true, false) => Ok(out),
    }
}

fn conclude(found: &Comparison, plan: &Plan, questions: usize) -> Result<(), Failure> {
    let counts = &found.counts;
    if let Some(side) = found.silent {
        let (who, unanswered) = match side {
            Side::Ours => (format!("our server {}", plan.ours), counts.unanswered_by_us),
            Side::Theirs => (plan.theirs.to_string(), counts.unanswered_by_them),
        };
        let given_up = match questions as u64 - counts.asked.min(questions as u64) {
            0 => String::new(),
            left => format!("; given up with {left} questions left"),
        };
        let sentence =
            format!("{who} does not answer: {unanswered} of {} questions without a reply{given_up}", counts.asked);
        return Err(Failure::new(Exit::Unavailable, sentence));
    }
    match counts.asked - counts.equal {
        0 => Ok(()),
        n => Err(Failure::new(Exit::Differs, format!("the servers do not agree on {n} of {} questions", counts.asked))),
    }
}

fn page(found: &Comparison, theirs: SocketAddr) -> String {
    let mut parts = Vec::new();
    if !found.differences.is_empty() {
        let rows: Vec<Vec<String>> = found.differences.iter().take(ROWS_MAX).map(row).collect();
        let mut text = table(&["name", "type", "ours", "theirs"], &rows);
        let all = found.counts.asked - found.counts.equal;
        if all > rows.len() as u64 {
            text += &format!("\nand {} more", all - rows.len() as u64);
        }
        parts.push(text);
    }
    parts.push(summary(&found.counts, theirs));
    parts.join("\n\n")
}

fn summary(counts: &Counts, theirs: SocketAddr) -> String {
    let Counts { asked, equal, equal_but_ttl, different, unanswered_by_us, unanswered_by_them, .. } = counts;
    let ttl = if *equal_but_ttl > 0 { format!(" ({equal_but_ttl} with other TTLs)") } else { String::new() };
    let silence = match (unanswered_by_us, unanswered_by_them) {
        (0, 0) => "all answered".into(),
        (us, them) => format!("{us} not answered by us, {them} not answered by {theirs}"),
    };
    let Counts { timeouts, retries, over_tcp, .. } = counts;
    format!(
        "asked {asked}: {equal} equal{ttl}, {different} different, {silence}\n\
         {timeouts} timeouts, {retries} retries, {over_tcp} answers over TCP"
    )
}

fn row(difference: &Difference) -> Vec<String> {
    let (ours, theirs) = (difference.ours.as_ref(), difference.theirs.as_ref());
    let [ours, theirs] = [cell(difference, ours, theirs), cell(difference, theirs, ours)];
    vec![difference.name.clone(), difference.rtype.clone(), ours, theirs]
}

/// What one server said, with what the other one said too summed up.
fn cell(question: &Difference, said: Option<&Said>, other: Option<&Said>) -> String {
    let Some(said) = said else { return "no answer".into() };
    let is_common = |answer: &&String| other.is_some_and(|other| other.answers.contains(answer));
    let (common, own): (Vec<&String>, Vec<&String>) = said.answers.iter().partition(is_common);
    let prefix = format!("{} ", question.name);
    let of_type = format!("{} ", question.rtype);
    let mut parts: Vec<String> = own
        .iter()
        .take(CELL_MAX)
        .map(|answer| {
            answer.strip_prefix(&prefix).map_or(answer.as_str(), |rest| rest.strip_prefix(&of_type).unwrap_or(rest))
        })
        .map(str::to_owned)
        .collect();
    if own.len() > CELL_MAX {
        parts.push(format!("{} more", own.len() - CELL_MAX));
    }
    if !common.is_empty() {
        parts.push(format!("{} in common", common.len()));
    }
    match (said.rcode.as_str(), parts.is_empty()) {
        ("NOERROR", true) => "no records".into(),
        ("NOERROR", false) => parts.join(", "),
        (code, true) => code.into(),
        (code, false) => format!("{code} {}", parts.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(rcode: &str, answers: &[&str]) -> Option<Said> {
        Some(Said { rcode: rcode.into(), answers: answers.iter().map(|a| (*a).to_owned()).collect() })
    }

    fn difference(name: &str, rtype: &str, ours: Option<Said>, theirs: Option<Said>) -> Difference {
        Difference { name: name.into(), rtype: rtype.into(), ours, theirs }
    }

    fn found() -> Comparison {
        let differences = vec![
            difference(
                "web.acme.private.",
                "A",
                said("NOERROR", &["web.acme.private. A 10.0.0.1"]),
                said("NXDOMAIN", &[]),
            ),
            difference(
                "www.acme.private.",
                "A",
                said("NOERROR", &["web.acme.private. A 10.0.0.1", "www.acme.private. CNAME web.acme.private."]),
                said("NOERROR", &["www.acme.private. A 10.0.0.1"]),
            ),
            difference(
                "db.acme.private.",
                "A",
                said("NOERROR", &["db.acme.private. A 10.0.0.1", "db.acme.private. A 10.0.0.2"]),
                said("NOERROR", &["db.acme.private. A 10.0.0.1"]),
            ),
            difference("slow.acme.private.", "A", said("NOERROR", &[]), None),
        ];
        let counts = Counts {
            asked: 10,
            equal: 6,
            equal_but_ttl: 2,
            different: 3,
            unanswered_by_them: 1,
            timeouts: 3,
            retries: 2,
            ..Counts::default()
        };
        Comparison { counts, differences, silent: None }
    }

    fn plan() -> Plan {
        let address = ([192, 0, 2, 53], 53).into();
        Plan { ours: address, theirs: address, at_once: 1, timeout: TIMEOUT, tries: 1 }
    }

    #[test]
    fn the_report_for_people() {
        assert_eq!(
            page(&found(), ([192, 0, 2, 53], 53).into()),
            "\
NAME                TYPE  OURS                                                   THEIRS
web.acme.private.   A     10.0.0.1                                               NXDOMAIN
www.acme.private.   A     web.acme.private. A 10.0.0.1, CNAME web.acme.private.  10.0.0.1
db.acme.private.    A     10.0.0.2, 1 in common                                  1 in common
slow.acme.private.  A     no records                                             no answer

asked 10: 6 equal (2 with other TTLs), 3 different, 0 not answered by us, 1 not answered by 192.0.2.53:53
3 timeouts, 2 retries, 0 answers over TCP"
        );
    }

    #[test]
    fn exit_codes_say_how_it_ended() {
        let exit =
            |found: &Comparison| conclude(found, &plan(), 20).map_err(|failure| (failure.exit, failure.sentence));
        let differs = found();
        assert_eq!(exit(&differs), Err((Exit::Differs, "the servers do not agree on 4 of 10 questions".into())));
        let equal = Comparison {
            counts: Counts { asked: 2, equal: 2, ..Counts::default() },
            differences: Vec::new(),
            silent: None,
        };
        assert_eq!(exit(&equal), Ok(()));
        let silent = Comparison { silent: Some(Side::Theirs), ..found() };
        let sentence =
            "192.0.2.53:53 does not answer: 1 of 10 questions without a reply; given up with 10 questions left";
        assert_eq!(exit(&silent), Err((Exit::Unavailable, sentence.into())));
    }

    #[test]
    fn bad_questions_are_named() {
        let failure = parse(&["a.example A".into(), "b.example QQ".into()]).unwrap_err();
        assert_eq!(
            (failure.exit, failure.details),
            (Exit::Data, vec!["question 2: \"QQ\" is no record type".to_owned()])
        );
        assert_eq!(parse(&["# nothing".into()]).unwrap_err().exit, Exit::Data);
    }
}
