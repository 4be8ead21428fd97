//! `gatehouse grant`, `revoke` and `grants`.

use hyper::Method;
use inventory::Grant;
use serde_json::json;

use super::{
    client::{Client, Target, conclude},
    print, print_json,
    table::table,
};
use crate::{
    api::forms::Written,
    args::{GrantAdd, GrantList, Revoke, Write},
    clock,
    exit::Failure,
};

/// `gatehouse grant`
pub(super) async fn add(args: &GrantAdd) -> Result<(), Failure> {
    let mut body = json!({ "who": [args.who], "on": args.on, "why": args.why });
    if !args.service.is_empty() {
        body["service"] = json!(args.service);
    }
    if let Some(commands) = &args.sudo {
        body["sudo"] = if commands.is_empty() { json!(true) } else { json!(commands) };
    }
    if let Some(until) = &args.until {
        body["until"] = json!(until);
    }
    if let Some(name) = &args.name {
        body["name"] = json!(name);
    }
    let write = Write { why: Some(args.why.clone()), json: args.json, reach: args.reach.clone() };
    let client = Client::new(&args.reach)?;
    let written = client.change(Method::POST, Target::new(&["v1", "grants"]), &write, Some(body)).await?;
    conclude(&written, &format!("{} is granted {}", args.who, args.on.join(" ")), &write)
}

/// `gatehouse revoke`
pub(super) async fn revoke(args: &Revoke) -> Result<(), Failure> {
    let client = Client::new(&args.write.reach)?;
    let target = Target::new(&["v1", "grants", &args.name]);
    let written: Written = client.change(Method::DELETE, target, &args.write, None).await?;
    conclude(&written, &format!("{} is revoked", args.name), &args.write)
}

/// `gatehouse grants`
pub(super) async fn list(args: &GrantList) -> Result<(), Failure> {
    let wanted = || Target::new(&["v1", "grants"]).with("who", args.who.as_ref());
    let grants: Vec<Grant> = Client::new(&args.reach)?.list(args.limit, "after", wanted).await?;
    if args.json {
        return print_json(&grants);
    }
    if grants.is_empty() {
        return print("nothing is granted; people may still have host values in the directory");
    }
    let rows: Vec<Vec<String>> = grants.iter().map(|grant| cells(grant, clock::now_ms() / 1000)).collect();
    print(&table(&["name", "who", "on", "service", "sudo", "until", "by", "why"], &rows))
}

fn cells(grant: &Grant, now_s: u64) -> Vec<String> {
    let services = if grant.services.is_empty() { "all".into() } else { grant.services.join(",") };
    let sudo = match grant.sudo.as_deref() {
        None => "no".into(),
        Some([]) => "all".into(),
        Some(commands) => commands.join(", "),
    };
    let until = match grant.until {
        None => "-".into(),
        Some(until) if until <= now_s => format!("ended {}", clock::text(until * 1000)),
        Some(until) => clock::text(until * 1000),
    };
    let (by, why) = (grant.by.to_string(), grant.why.to_string());
    vec![grant.name.to_string(), grant.who.join(","), grant.on.join(" "), services, sudo, until, by, why]
}
