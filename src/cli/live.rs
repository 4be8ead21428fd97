//! `gatehouse status`, `accept`, `log-level` and the commands under `dns` that need a node.

use http_body_util::Full;
use hyper::Method;
use serde_json::{Value, json};

use super::{
    client::{Client, Target, conclude, parse},
    compare, print, print_json,
};
use crate::{
    api::{Page, forms::Written, held::HeldView},
    args::{Accept, DnsCommand, DnsImportZone, LogLevel, Status},
    clock::{self, age},
    exit::Failure,
    names,
    status::{self, Report},
};

/// `gatehouse status`
pub(super) async fn status(args: &Status) -> Result<(), Failure> {
    let report: Report = Client::new(&args.reach)?.get(Target::new(&["v1", "status"])).await?;
    if args.json { print_json(&report) } else { print(status::page(&report).trim_end()) }
}

/// `gatehouse accept`
pub(super) async fn accept(args: &Accept) -> Result<(), Failure> {
    let client = Client::new(&args.write.reach)?;
    let held = |id: u64, verb: &str| Target::new(&["v1", "held", &id.to_string(), verb]);
    if let Some(id) = args.discard {
        let why = args.write.why.as_deref();
        let answer = client.send(Method::POST, held(id, "discard"), why, Full::default()).await?;
        return match args.write.json {
            true => print_json(&parse::<Value>(&answer)?),
            false => print(&format!("change {id} is thrown away; its source may propose it again")),
        };
    }
    if let Some(id) = args.id {
        let written: Written = client.change(Method::POST, held(id, "accept"), &args.write, None).await?;
        return conclude(&written, &format!("change {id} is accepted"), &args.write);
    }
    let page: Page<HeldView> = client.get(Target::new(&["v1", "held"])).await?;
    match args.write.json {
        true => print_json(&page.items),
        false => print(&waiting(&page.items, clock::now_ms())),
    }
}

/// The held changes for people.
fn waiting(held: &[HeldView], now_ms: u64) -> String {
    if held.is_empty() {
        return "no change is held".into();
    }
    let mut lines = Vec::new();
    for h in held {
        let why = if h.why.is_empty() { String::new() } else { format!(": {}", h.why) };
        let old = age(now_ms.saturating_sub(h.when_ms));
        lines.push(format!("{}  {} rows, by {}, {old} ago{why}", h.id, h.rows, h.who));
        lines.extend(h.reasons.iter().map(|reason| format!("   {reason}")));
        lines.push(format!("   {}", h.remedy));
    }
    lines.join("\n")
}

/// `gatehouse log-level`
pub(super) async fn log_level(args: &LogLevel) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let target = Target::new(&["v1", "log-level"]);
    let (method, body) = match &args.level {
        Some(level) => (Method::PUT, json!({ "level": level }).to_string()),
        None => (Method::GET, String::new()),
    };
    let answer = client.send(method, target, None, Full::from(body)).await?;
    let level: Value = parse(&answer)?;
    if args.json {
        return print_json(&level);
    }
    print(level.get("level").and_then(Value::as_str).unwrap_or_default())
}

/// `gatehouse dns …`
pub(super) async fn dns(command: DnsCommand) -> Result<(), Failure> {
    match command {
        DnsCommand::Explain(args) => {
            let target = Target::new(&["v1", "dns", "explain"]).with("name", Some(&args.name));
            let value: Value = Client::new(&args.reach)?.get(target).await?;
            if args.json { print_json(&value) } else { print(&names::explanation(&value)?) }
        }
        DnsCommand::Compare(args) => compare::run(&args).await,
        DnsCommand::ImportZone(args) => import_zone(&args).await,
        DnsCommand::ServeZone(args) => names::serve_zone(&args),
    }
}

/// The records of a zone file go to the node in one request, so they are taken as a whole or not at all.
async fn import_zone(args: &DnsImportZone) -> Result<(), Failure> {
    let (source, records) = names::zone_records(args)?;
    let client = Client::new(&args.write.reach)?;
    let target = Target::new(&["v1", "records"]).with("source", Some(source)).with("sync", args.sync.then_some(true));
    let written = client.change(Method::POST, target, &args.write, Some(Value::Array(records))).await?;
    conclude(&written, &format!("{} is imported", args.file.display()), &args.write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_changes_say_what_to_do() {
        let held = HeldView {
            id: 3,
            who: "file".into(),
            when_ms: 0,
            why: String::new(),
            reasons: vec!["it removes 20 of the 40 hosts".into()],
            rows: 20,
            remedy: "`gatehouse accept 3` serves it".into(),
        };
        assert_eq!(
            waiting(&[held], 61_000),
            "\
3  20 rows, by file, 1 min 1 s ago
   it removes 20 of the 40 hosts
   `gatehouse accept 3` serves it"
        );
        assert_eq!(waiting(&[], 0), "no change is held");
    }
}
