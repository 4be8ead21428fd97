//! An explanation as text for people: the name, its records with their rules, what is not there, who made it so.

use dns::explain::{Explanation, Outcome, Place};
use serde::Deserialize;
use serde_json::Value;

use super::explain::{Answer, LastChange};
use crate::{
    cli::table::table,
    exit::{Exit, Failure},
};

/// What `gatehouse dns explain` prints for people.
///
/// # Errors
/// The node's answer is of another version.
pub(crate) fn explanation(value: &Value) -> Result<String, Failure> {
    let answer = Answer::deserialize(value).map_err(|e| {
        Failure::new(Exit::Software, format!("the node's answer is not understood; is it of another version? {e}"))
    })?;
    Ok(page(&answer))
}

fn page(answer: &Answer) -> String {
    let explanation = &answer.explanation;
    let mut parts = vec![head(explanation, answer.forwards)];
    for (at, place) in explanation.places.iter().enumerate() {
        let heading = (at > 0).then(|| format!("{}{}", place.name, outcome(place, answer.forwards)));
        let records = records(place);
        parts.extend(
            [heading, records].into_iter().flatten().reduce(|heading, records| format!("{heading}\n{records}")),
        );
    }
    if !explanation.notes.is_empty() {
        let notes: Vec<String> = explanation.notes.iter().map(|note| format!("- {}", note.text)).collect();
        parts.push(notes.join("\n"));
    }
    parts.extend(changes(answer));
    parts.join("\n\n")
}

fn head(explanation: &Explanation, forwards: bool) -> String {
    let outcome = explanation.places.first().map(|place| outcome(place, forwards)).unwrap_or_default();
    let name = format!("{}{outcome}", explanation.name);
    match &explanation.zone {
        None => name,
        Some(zone) => {
            let origin = if zone.generated { "made from hosts" } else { "static" };
            format!("{name}\nzone {}, {origin}, SOA serial {}", zone.apex, zone.serial)
        }
    }
}

/// What decides about a name, if that is more than the records that stand there.
fn outcome(place: &Place, forwards: bool) -> String {
    match &place.outcome {
        Outcome::Exists => String::new(),
        Outcome::EmptyNonTerminal => " exists because of names below it and has no records (NODATA)".into(),
        Outcome::Wildcard { owner } => format!(" is answered by the wildcard {owner}"),
        Outcome::Delegation { at } => format!(" is referred to the servers of {at} (delegation)"),
        Outcome::Dname { at } => format!(" has moved with all names below {at} (DNAME)"),
        Outcome::NoName => " does not exist (NXDOMAIN)".into(),
        Outcome::NotOurs if forwards => " is not ours: forwarded for clients in [dns] allow, REFUSED for others".into(),
        Outcome::NotOurs => " is not ours: REFUSED, because [dns] forward names no server".into(),
    }
}

fn records(place: &Place) -> Option<String> {
    if place.records.is_empty() {
        return None;
    }
    let row = |made: &dns::explain::Made| {
        vec![made.rtype.clone(), made.data.clone(), made.ttl.to_string(), made.rule.clone()]
    };
    let rows: Vec<Vec<String>> = place.records.iter().map(row).collect();
    let mut text = table(&["type", "data", "ttl", "rule"], &rows);
    if place.more > 0 {
        text += &format!("\nand {} more", place.more);
    }
    Some(text)
}

fn changes(answer: &Answer) -> Option<String> {
    let rows: Vec<Vec<String>> = answer
        .changes
        .iter()
        .map(|change| vec![change.row.clone(), change.last.as_ref().map_or("older than the change log".into(), last)])
        .collect();
    let mut lines = Vec::new();
    if !rows.is_empty() {
        lines.push(table(&["made by", "last change"], &rows));
    }
    if answer.changes_left_out > 0 {
        lines.push(format!("and {} more", answer.changes_left_out));
    }
    lines.extend(answer.changes_trouble.clone());
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// `serial 7, 2011-11-11T08:26:40Z, alice via socket: private_ip was 10.0.0.1; why: moved`
fn last(change: &LastChange) -> String {
    let why = if change.why.is_empty() { String::new() } else { format!("; why: {}", change.why) };
    format!("serial {}, {}, {}: {}{why}", change.serial, change.when, change.who, change.what.join(", "))
}

#[cfg(test)]
mod tests {
    use dns::explain::{Authority, Made, Note};

    use super::*;
    use crate::names::explain::RowHistory;

    fn place(name: &str, outcome: Outcome, records: &[[&str; 3]]) -> Place {
        let made = |[rtype, data, rule]: &[&str; 3]| Made {
            rtype: (*rtype).into(),
            ttl: 60,
            data: (*data).into(),
            rule: (*rule).into(),
            rows: Vec::new(),
        };
        Place { name: name.into(), outcome, records: records.iter().map(made).collect(), more: 0 }
    }

    fn answer(places: Vec<Place>, notes: &[&str]) -> Answer {
        let zone = Some(Authority { apex: "acme.private.".into(), serial: 5, generated: true });
        let notes = notes.iter().map(|text| Note { text: (*text).into(), rows: Vec::new() }).collect();
        let name = places[0].name.clone();
        Answer {
            explanation: Explanation { name, zone, places, notes },
            forwards: false,
            changes: Vec::new(),
            changes_left_out: 0,
            changes_trouble: None,
        }
    }

    fn change(row: &str, what: &str, why: &str) -> RowHistory {
        let last = LastChange {
            serial: 7,
            when: "2011-11-11T08:26:40Z".into(),
            who: "alice via socket".into(),
            why: why.into(),
            what: vec![what.into()],
        };
        RowHistory { row: row.into(), last: Some(last) }
    }

    #[test]
    fn a_role_with_its_members() {
        let records = [
            ["A", "10.0.0.4", "member of role mysql in region us-east-1"],
            ["A", "10.0.0.15", "member of role mysql in region us-east-1"],
        ];
        let mut answer = answer(
            vec![place("mysql.us-east-1.acme.private.", Outcome::Exists, &records)],
            &["not running, so not under the names of role mysql: db02.us-east-1b (stopped)"],
        );
        answer.explanation.places[0].more = 3;
        answer.changes = vec![
            change("host db01.us-east-1b.acme", "private_ip was 10.0.0.3", "moved"),
            change("host db03.us-east-1b.acme", "added", ""),
            RowHistory { row: "host db02.us-east-1b.acme".into(), last: None },
        ];
        assert_eq!(
            page(&answer),
            "\
mysql.us-east-1.acme.private.
zone acme.private., made from hosts, SOA serial 5

TYPE  DATA       TTL  RULE
A     10.0.0.4   60   member of role mysql in region us-east-1
A     10.0.0.15  60   member of role mysql in region us-east-1
and 3 more

- not running, so not under the names of role mysql: db02.us-east-1b (stopped)

MADE BY                    LAST CHANGE
host db01.us-east-1b.acme  serial 7, 2011-11-11T08:26:40Z, alice via socket: private_ip was 10.0.0.3; why: moved
host db03.us-east-1b.acme  serial 7, 2011-11-11T08:26:40Z, alice via socket: added
host db02.us-east-1b.acme  older than the change log"
        );
    }

    #[test]
    fn a_chain_that_leaves_our_zones() {
        let answer = answer(
            vec![
                place("www.acme.private.", Outcome::Exists, &[["CNAME", "www.example.org.", "static record"]]),
                place("www.example.org.", Outcome::NotOurs, &[]),
            ],
            &[],
        );
        assert_eq!(
            page(&answer),
            "\
www.acme.private.
zone acme.private., made from hosts, SOA serial 5

TYPE   DATA              TTL  RULE
CNAME  www.example.org.  60   static record

www.example.org. is not ours: REFUSED, because [dns] forward names no server"
        );
    }

    #[test]
    fn a_name_that_is_ambiguous() {
        let mut answer = answer(
            vec![place("web01.acme.private.", Outcome::NoName, &[])],
            &[
                "web01 is ambiguous in acme, so this short name does not exist; 2 hosts clash: web01.a (10.0.0.1), web01.b (10.0.0.2)",
            ],
        );
        answer.changes_trouble = Some("the change log cannot be read: disk I/O error".into());
        assert_eq!(
            page(&answer),
            "\
web01.acme.private. does not exist (NXDOMAIN)
zone acme.private., made from hosts, SOA serial 5

- web01 is ambiguous in acme, so this short name does not exist; 2 hosts clash: web01.a (10.0.0.1), web01.b (10.0.0.2)

the change log cannot be read: disk I/O error"
        );
    }

    #[test]
    fn an_answer_of_another_version_is_a_failure() {
        assert_eq!(explanation(&serde_json::json!({"name": 1})).unwrap_err().exit, Exit::Software);
    }
}
