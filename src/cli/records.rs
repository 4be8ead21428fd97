//! `gatehouse record …`

use hyper::Method;
use inventory::Record;
use serde_json::json;

use super::{
    client::{Client, Target, conclude},
    print, print_json,
    table::table,
};
use crate::{
    args::{RecordAdd, RecordCommand, RecordList, RecordRemove},
    exit::Failure,
};

/// Runs one of the commands.
pub(super) async fn run(command: RecordCommand) -> Result<(), Failure> {
    match command {
        RecordCommand::Add(args) => add(&args).await,
        RecordCommand::Remove(args) => remove(&args).await,
        RecordCommand::List(args) => list(&args).await,
    }
}

fn records() -> Target {
    Target::new(&["v1", "records"])
}

async fn add(args: &RecordAdd) -> Result<(), Failure> {
    let body = json!({ "name": args.name, "type": args.rtype, "data": args.data.join(" "), "ttl": args.ttl });
    let client = Client::new(&args.write.reach)?;
    let written = client.change(Method::POST, records(), &args.write, Some(body)).await?;
    conclude(&written, &format!("{} {} is added", args.name, args.rtype), &args.write)
}

async fn remove(args: &RecordRemove) -> Result<(), Failure> {
    let target =
        records().with("name", Some(&args.name)).with("type", args.rtype.as_ref()).with("data", args.data.as_ref());
    let client = Client::new(&args.write.reach)?;
    let written = client.change(Method::DELETE, target, &args.write, None).await?;
    conclude(&written, &format!("{} is removed", args.name), &args.write)
}

async fn list(args: &RecordList) -> Result<(), Failure> {
    let wanted = || records().with("name", args.name.as_ref()).with("type", args.rtype.as_ref());
    let records: Vec<Record> = Client::new(&args.reach)?.list(args.limit, "after", wanted).await?;
    if args.json {
        return print_json(&records);
    }
    let rows: Vec<Vec<String>> = records.iter().map(cells).collect();
    print(&table(&["name", "type", "ttl", "data", "source"], &rows))
}

fn cells(record: &Record) -> Vec<String> {
    let ttl = record.ttl.map_or("-".into(), |ttl| ttl.to_string());
    let key = &record.key;
    vec![key.name.to_string(), key.rtype.to_string(), ttl, key.data.to_string(), record.source.to_string()]
}
