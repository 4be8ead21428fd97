//! The commands under `access` that ask a node.
//!
//! The node words its answers: each has the field `text` for people beside the fields for programs.

use std::path::Path;

use hyper::Method;
use inventory::{
    Row,
    source::{Defaults, count, parse_toml},
};
use serde_json::{Value, json};

use super::{
    client::{Client, Target, parse},
    print, print_json,
};
use crate::{
    args::{Diff, Explain, Lint, Log, Reach, Where, Who},
    exit::{Exit, Failure},
};

/// Largest file of grants that is read, in octets.
const FILE_MAX: u64 = 4 << 20;

/// `gatehouse access explain`
pub(super) async fn explain(args: &Explain) -> Result<(), Failure> {
    let target = Target::new(&["v1", "access", "explain"])
        .with("user", Some(&args.user))
        .with("host", Some(&args.host))
        .with("service", Some(&args.service))
        .with("at", args.at.as_ref());
    let answer = get(&args.reach, target).await?;
    show(&answer, args.json)?;
    match answer.get("verdict").and_then(Value::as_str) {
        Some("allow") => Ok(()),
        _ => differs(),
    }
}

/// `gatehouse access who`
pub(super) async fn who(args: &Who) -> Result<(), Failure> {
    let target = Target::new(&["v1", "access", "who"]).with("host", Some(&args.host));
    show(&get(&args.reach, target.with("service", Some(&args.service))).await?, args.json)
}

/// `gatehouse access where`
pub(super) async fn places(args: &Where) -> Result<(), Failure> {
    let target = Target::new(&["v1", "access", "where"]).with("user", Some(&args.user));
    show(&get(&args.reach, target.with("service", Some(&args.service))).await?, args.json)
}

/// `gatehouse access diff`
pub(super) async fn diff(args: &Diff) -> Result<(), Failure> {
    let add = args.add.as_deref().map(grants).transpose()?.unwrap_or_default();
    let body = json!({ "add": add, "revoke": args.revoke, "service": args.service });
    let answer = post(&args.reach, "diff", &body).await?;
    show(&answer, args.json)?;
    unless_changed(&answer)
}

/// `gatehouse access lint`
pub(super) async fn lint(args: &Lint) -> Result<(), Failure> {
    let answer = post(&args.reach, "lint", &json!({ "filter": args.filter, "host": args.host })).await?;
    show(&answer, args.json)?;
    unless_changed(&answer)
}

/// `gatehouse access log`
pub(super) async fn log(args: &Log) -> Result<(), Failure> {
    let target = if args.verify {
        Target::new(&["v1", "access", "log", "verify"])
    } else {
        Target::new(&["v1", "access", "log"])
            .with("user", args.user.as_ref())
            .with("host", args.host.as_ref())
            .with("denied", args.denied.then_some(true))
            .with("since", args.since.as_ref())
            .with("limit", Some(args.limit))
    };
    let answer = get(&args.reach, target).await?;
    show(&answer, args.json)?;
    match answer.get("broken").is_some_and(|broken| !broken.is_null()) {
        true => differs(),
        false => Ok(()),
    }
}

async fn get(reach: &Reach, target: Target) -> Result<Value, Failure> {
    Client::new(reach)?.get(target).await
}

async fn post(reach: &Reach, what: &str, body: &Value) -> Result<Value, Failure> {
    let body = http_body_util::Full::from(body.to_string());
    let target = Target::new(&["v1", "access", what]);
    parse(&Client::new(reach)?.send(Method::POST, target, None, body).await?)
}

fn show(answer: &Value, as_json: bool) -> Result<(), Failure> {
    match answer.get("text").and_then(Value::as_str).filter(|_| !as_json) {
        Some(text) => print(text.trim_end()),
        None => print_json(answer),
    }
}

fn unless_changed(answer: &Value) -> Result<(), Failure> {
    match answer.get("unchanged").and_then(Value::as_bool) {
        Some(true) => Ok(()),
        _ => differs(),
    }
}

/// What was printed says it all; the exit code says it to scripts.
fn differs() -> Result<(), Failure> {
    Err(Failure::new(Exit::Differs, ""))
}

/// The [[grant]] tables of a file. The product does not matter to them.
fn grants(file: &Path) -> Result<Vec<inventory::Grant>, Failure> {
    let unreadable = |e: std::io::Error| Failure::new(Exit::NoInput, format!("{} cannot be read: {e}", file.display()));
    if std::fs::metadata(file).map_err(unreadable)?.len() > FILE_MAX {
        return Err(Failure::new(Exit::Data, format!("{} is larger than {FILE_MAX} octets", file.display())));
    }
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let rows = parse_toml(&text, &name, &Defaults { product: "local".into() }).map_err(|faults| {
        let details = faults.iter().map(ToString::to_string).collect();
        Failure::new(Exit::Data, format!("{} has {} faults", file.display(), count(&faults))).with_details(details)
    })?;
    let grant = |located: inventory::source::Located| match located.row {
        Row::Grant(grant) => Some(inventory::Grant::clone(&grant)),
        _ => None,
    };
    Ok(rows.into_iter().filter_map(grant).collect())
}
