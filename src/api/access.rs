//! /v1/access: who may come in where, and why. Answers carry `text` for people beside the fields for programs.
//!
//! Everything is asked of one view. The past is a state of its own: it is made from the change log for the one question.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Query, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
};
use bytes::Bytes;
use compact_str::CompactString;
use directory::{
    decisions,
    policy::{Access, OldFilter, Reason, Rule},
};
use inventory::{Author, ChangeSet, Edit, Host, Proposal, Row, RowChange, RowKey, keeper::PastError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, error::ApiError, forms, json, peer::Peer};
use crate::{clock, logins::Logins};

/// Lines of the decision log in one answer at most.
const LINES_MAX: usize = 10_000;
/// Grants in one proposal at most.
const GRANTS_MAX: usize = 100_000;

/// The directory part, for a peer that may read it.
fn part<'a>(app: &'a App, peer: Peer, headers: &HeaderMap) -> Result<&'a Logins, ApiError> {
    peer.may_read_access(&app.token, headers)?;
    app.logins.as_ref().ok_or_else(|| ApiError::not_found("this node has no [directory] part"))
}

/// A question about one person on one host.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    user: String,
    host: String,
    #[serde(default = "sshd")]
    service: String,
    /// RFC 3339 time, or a date: the end of that day.
    at: Option<String>,
}

fn sshd() -> String {
    directory::policy::SERVICE_DEFAULT.into()
}

/// GET /v1/access/explain
pub(crate) async fn explain(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    about: Result<Query<About>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let logins = part(&app, peer, &headers)?;
    let Query(about) = about?;
    let (access, now_ms, stale) = match &about.at {
        None => (logins.view().access.clone(), clock::now_ms(), logins.is_stale()),
        Some(at) => {
            let when_ms = clock::parse(at).map_err(ApiError::bad)?;
            (past(&app, when_ms).await?, when_ms, false)
        }
    };
    // It costs what the person's rules are.
    built(move || {
        let question = directory::policy::Question {
            user: &about.user,
            host: &about.host,
            service: &about.service,
            now_s: now_ms / 1000,
            stale,
        };
        let explanation = access.explain(&question);
        with_text(&explanation, &explanation.to_string())
    })
    .await
}

/// The policy as it was. Made beside the answering threads: it costs what all people and grants cost.
async fn past(app: &App, when_ms: u64) -> Result<Access, ApiError> {
    let state = app.keeper.state_at(when_ms).await.map_err(|e| match e {
        PastError::Forgotten(_) | PastError::Broken(_) => ApiError::not_found(e.to_string()),
        PastError::Unreadable(_) => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, e.to_string()),
    })?;
    built(move || Access::build(Arc::new(state))).await
}

async fn built<T: Send + 'static>(make: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    let made = tokio::task::spawn_blocking(make).await;
    made.map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer could not be made: {e}")))
}

/// An answer with its wording for people.
fn with_text(answer: &impl serde::Serialize, text: &str) -> Json<Value> {
    let mut value = serde_json::to_value(answer).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("text".into(), text.into());
    }
    Json(value)
}

/// A question about one host.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OnHost {
    host: String,
    #[serde(default = "sshd")]
    service: String,
}

/// GET /v1/access/who
pub(crate) async fn who(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    about: Result<Query<OnHost>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let logins = part(&app, peer, &headers)?;
    let (access, stale) = (logins.view().access.clone(), logins.is_stale());
    let Query(about) = about?;
    let now_s = clock::now_ms() / 1000;
    let (rows, more, about) = built(move || {
        let host = access.host(&about.host).map_err(|e| ApiError::not_found(format!("{}: {e}", about.host)))?;
        let mut found = access.who(host, &about.service, now_s, stale);
        let rows: Vec<[String; 2]> = found.by_ref().take(ROWS_MAX).map(|a| [a.user.into(), rule(a.rule)]).collect();
        let more = found.count();
        Ok::<_, ApiError>((rows, more, about))
    })
    .await??;
    let items: Vec<Value> = rows.iter().map(|[user, rule]| json!({ "user": user, "rule": rule })).collect();
    let none = format!("nobody may use {} on {}", about.service, about.host);
    Ok(with_text(&json!({ "items": items, "more": more }), &list(["user", "rule"], &rows, more, none)))
}

/// People or hosts of one answer at most; the rest is counted.
const ROWS_MAX: usize = 10_000;

fn rule(rule: Option<Rule>) -> String {
    rule.map(|rule| rule.to_string()).unwrap_or_default()
}

/// A list for people.
fn list(header: [&str; 2], rows: &[[String; 2]], more: usize, none: String) -> String {
    if rows.is_empty() {
        return none;
    }
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.to_vec()).collect();
    let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
    format!("{}{more}", crate::cli::table::table(&header, &rows))
}

/// A question about one person.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfUser {
    user: String,
    #[serde(default = "sshd")]
    service: String,
}

/// GET /v1/access/where
pub(crate) async fn places(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    about: Result<Query<OfUser>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let logins = part(&app, peer, &headers)?;
    let (access, stale) = (logins.view().access.clone(), logins.is_stale());
    let Query(about) = about?;
    let now_s = clock::now_ms() / 1000;
    let (rows, more, about) = built(move || {
        let (user, service) = (about.user.as_str(), about.service.as_str());
        let nowhere = |why: Reason| ApiError::not_found(format!("{user} may go nowhere: {}", why.sentence()));
        let mut found = access.places(user, service, now_s, stale).map_err(nowhere)?;
        let full = |host: &Host| format!("{}.{}", host.short(), host.key.product);
        let rows: Vec<[String; 2]> =
            found.by_ref().take(ROWS_MAX).map(|(host, by)| [full(host), by.to_string()]).collect();
        let more = found.count();
        Ok::<_, ApiError>((rows, more, about))
    })
    .await??;
    let items: Vec<Value> = rows.iter().map(|[host, rule]| json!({ "host": host, "rule": rule })).collect();
    let none = format!("{} may use {} nowhere", about.user, about.service);
    Ok(with_text(&json!({ "items": items, "more": more }), &list(["host", "rule"], &rows, more, none)))
}

/// What is to be changed, to see what it would alter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// Grants to add or to put in the place of those of the same name: as files have them, or as they are listed.
    #[serde(default)]
    add: Vec<Value>,
    /// Names of grants to take away.
    #[serde(default)]
    revoke: Vec<CompactString>,
    #[serde(default = "sshd")]
    service: String,
}

/// POST /v1/access/diff
pub(crate) async fn diff(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let before = part(&app, peer, &headers)?.view().access.clone();
    let plan: Plan = json(&body)?;
    if plan.add.len() > GRANTS_MAX {
        return Err(ApiError::bad(format!("a proposal holds at most {GRANTS_MAX} grants")));
    }
    let author = Author { who: "a trial".into(), when_ms: clock::now_ms(), why: String::new() };
    let proposal = Proposal { author, edits: edits(&app, given(&app, plan.add)?, plan.revoke)? };
    let preview = app.keeper.preview(proposal).await?;
    if !preview.refused.is_empty() {
        return Err(inventory::Refused::Conflicts(preview.refused).into());
    }
    let now_s = clock::now_ms() / 1000;
    let found = built(move || after(&before, preview.changes).map(|after| before.diff(&after, &plan.service, now_s)));
    let found = found.await??;
    let mut answer = with_text(&found, &found.to_string());
    answer["unchanged"] = (found.people == 0 && found.not_compared == 0).into();
    Ok(answer)
}

/// The policy with changes made to it that nobody else sees.
fn after(before: &Access, rows: Vec<RowChange>) -> Result<Access, ApiError> {
    let position = before.position();
    let author = Author { who: String::new(), when_ms: 0, why: String::new() };
    let set = Arc::new(ChangeSet { epoch: position.epoch, serial: position.serial + 1, author, rows });
    let state = before
        .state()
        .apply(set.clone())
        .map_err(|conflicts| inventory::Refused::Conflicts(conflicts.iter().map(ToString::to_string).collect()))?;
    Ok(before.advance(Arc::new(state), &[set]))
}

/// The grants of a proposal, held to the rules of files and of /v1/grants.
fn given(app: &App, items: Vec<Value>) -> Result<Vec<Row>, ApiError> {
    // A node without an inventory can be asked as well; no grant depends on the product.
    let none = CompactString::const_new("local");
    forms::rows("grants", items.into_iter().map(as_written).collect(), Some(app.product.as_ref().unwrap_or(&none)))
}

/// A listed grant as it is written: there an empty list of commands means all of them, and empty lists are left out.
fn as_written(mut item: Value) -> Value {
    let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    if let Some(fields) = item.as_object_mut() {
        if fields.get("sudo").is_some_and(is_empty) {
            fields.insert("sudo".into(), true.into());
        }
        fields.retain(|key, value| key != "services" || !is_empty(value));
    }
    item
}

fn edits(app: &App, add: Vec<Row>, revoke: Vec<CompactString>) -> Result<Vec<Edit>, ApiError> {
    let state = app.keeper.state();
    let mut edits = Vec::new();
    for name in revoke {
        if state.grant(&name).is_none() {
            return Err(ApiError::not_found(format!("there is no grant {name:?}; `gatehouse grants` lists them")));
        }
        edits.push(Edit::Remove(RowKey::Grant(name)));
    }
    edits.extend(add.into_iter().map(Edit::Put));
    Ok(edits)
}

/// An old filter, and the host that used it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Old {
    filter: String,
    host: String,
}

/// POST /v1/access/lint
pub(crate) async fn lint(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let access = part(&app, peer, &headers)?.view().access.clone();
    let old: Old = json(&body)?;
    let now_s = clock::now_ms() / 1000;
    let filter = OldFilter::parse(&old.filter).map_err(|e| ApiError::bad(e.to_string()))?;
    let found = built(move || {
        let host = access.host(&old.host).map_err(|e| ApiError::not_found(format!("{}: {e}", old.host)))?;
        Ok::<_, ApiError>(access.lint(&filter, [&**host], directory::policy::SERVICE_DEFAULT, now_s))
    });
    let found = found.await??;
    let mut answer = with_text(&found, &found.to_string());
    answer["unchanged"] = (found.gained == 0 && found.lost == 0).into();
    Ok(answer)
}

/// Which decisions to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    user: Option<CompactString>,
    host: Option<CompactString>,
    #[serde(default)]
    denied: bool,
    /// `15m`, `24h`, `7d`.
    since: Option<String>,
    limit: Option<usize>,
}

/// GET /v1/access/log
pub(crate) async fn log(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let logins = part(&app, peer, &headers)?;
    // What was decided before the question belongs to the answer.
    logins.settle_decisions().await;
    let dir = logins.decisions().to_owned();
    let Query(wanted) = wanted?;
    let since_ms = wanted.since.as_deref().map(clock::ago).transpose().map_err(ApiError::bad)?;
    let query = decisions::Query {
        user: wanted.user,
        host: wanted.host.map(|host| host.to_ascii_lowercase()),
        verdict: wanted.denied.then(|| "deny".into()),
        since_ms,
        until_ms: None,
        limit: wanted.limit.unwrap_or(50).min(LINES_MAX),
    };
    let lines = built(move || decisions::search(&dir, &query)).await?;
    let lines = lines
        .map_err(|e| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, format!("the decision log cannot be read: {e}")))?;
    let text = page(&lines);
    Ok(with_text(&json!({ "items": lines }), &text))
}

/// Decisions for people, the latest first.
fn page(lines: &[decisions::Line]) -> String {
    if lines.is_empty() {
        return "no decision is remembered that fits".into();
    }
    let row = |line: &decisions::Line| {
        let when = clock::text(line.when_ms());
        let times = if line.count > 1 { format!("{} times", line.count) } else { String::new() };
        match &line.entry {
            Some(entry) => {
                let source = entry.source.map(|source| source.to_string()).unwrap_or_default();
                let texts = [&entry.verdict, &entry.user, &entry.host, &entry.service, &entry.reason];
                let rule = entry.rule.as_ref().map(ToString::to_string).unwrap_or_default();
                let head = [when].into_iter().chain(texts.map(ToString::to_string));
                head.chain([rule, entry.via.to_string(), source, times]).collect::<Vec<_>>()
            }
            None => vec![when, line.note.as_ref().map(ToString::to_string).unwrap_or_default()],
        }
    };
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    crate::cli::table::table(
        &["when", "verdict", "user", "host", "service", "reason", "rule", "via", "from", ""],
        &rows,
    )
}

/// GET /v1/access/log/verify
pub(crate) async fn verify(
    Extension(app): Extension<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let logins = part(&app, peer, &headers)?;
    logins.settle_decisions().await;
    let dir = logins.decisions().to_owned();
    Ok(match built(move || decisions::verify(&dir)).await? {
        Ok(sum) => {
            let text = format!(
                "{} lines in {} files, {} decisions, {} lost and said so; the chain is whole and ends in {}",
                sum.lines, sum.files, sum.decisions, sum.lost, sum.hash
            );
            with_text(&sum, &text)
        }
        Err(broken) => with_text(&json!({ "broken": broken.to_string() }), &broken.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_grant_is_read_as_it_was_written() {
        let text = "[[grant]]\nname = \"a\"\nwho = \"@Ops\"\non = [\"*\", \"!role:db\"]\nsudo = true\n\n\
                    [[grant]]\nwho = [\"alice\"]\non = \"web*\"\nservice = \"sshd\"\nuntil = 2026-12-31\nwhy = \"x\"\n";
        let defaults = inventory::source::Defaults { product: "acme".into() };
        let rows: Vec<Row> =
            inventory::source::parse_toml(text, "a.toml", &defaults).unwrap().into_iter().map(|l| l.row).collect();
        let listed = |row: &Row| match row {
            Row::Grant(grant) => as_written(serde_json::to_value(&**grant).unwrap()),
            other => panic!("{other:?}"),
        };
        let again = forms::rows("grants", rows.iter().map(listed).collect(), Some(&"acme".into())).unwrap();
        let expected: Vec<Row> = rows.into_iter().map(|row| forms::with_source(row, forms::SOURCE)).collect();
        assert_eq!(again, expected);
    }

    #[test]
    fn a_proposal_is_held_to_the_rules_of_grants() {
        for wrong in [
            json!({ "name": "g", "who": ["alice"], "on": ["a b"] }),
            json!({ "name": "no name", "who": ["alice"], "on": ["*"] }),
            json!({ "name": "g", "who": ["a,b"], "on": ["*"] }),
            json!({ "name": "g", "who": ["alice"], "on": ["*"], "services": ["sudo-i"] }),
            json!("g"),
        ] {
            assert!(forms::rows("grants", vec![as_written(wrong.clone())], Some(&"acme".into())).is_err(), "{wrong}");
        }
    }
}
