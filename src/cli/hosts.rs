//! `gatehouse host …`

use std::{io::Read, path::Path};

use bytes::Bytes;
use hyper::Method;
use inventory::{ChangeSet, Row, RowChange};
use serde_json::{Map, Value, json};

use super::{
    client::{Client, Target, conclude, parse},
    print, print_json,
    table::table,
    upload::{Upload, bar},
};
use crate::{
    api::{
        forms::{HostView, Written},
        imports::Trial,
    },
    args::{HostAdd, HostCommand, HostFields, HostImport, HostList, HostRemove, HostSet, Write},
    clock,
    exit::{Exit, Failure},
};

/// Runs one of the commands.
pub(super) async fn run(command: HostCommand) -> Result<(), Failure> {
    match command {
        HostCommand::Add(args) => add(&args).await,
        HostCommand::Set(args) => set(&args).await,
        HostCommand::Remove(args) => remove(&args).await,
        HostCommand::List(args) => list(&args).await,
        HostCommand::Show(args) => {
            let host: HostView = Client::new(&args.reach)?.get(target(&args.host)).await?;
            if args.json { print_json(&host) } else { print(&card(&host)) }
        }
        HostCommand::Import(args) => import(&args).await,
        HostCommand::History(args) => {
            let client = Client::new(&args.reach)?;
            let changes = || Target::new(&["v1", "changes"]).with("host", Some(&args.host));
            let sets: Vec<ChangeSet> = client.list(Some(args.limit), "before", changes).await?;
            if args.json {
                return print_json(&sets);
            }
            match sets.is_empty() {
                true => print(&format!("no change of {} is remembered", args.host)),
                false => print(&history(&sets)),
            }
        }
    }
}

fn target(host: &str) -> Target {
    Target::new(&["v1", "hosts", host])
}

/// The fields that were given, as the API takes them.
fn fields(fields: &HostFields) -> Map<String, Value> {
    let mut out = Map::new();
    let mut set = |key: &str, value: Option<Value>| value.map(|value| out.insert(key.into(), value));
    set("region", fields.region.as_ref().map(|r| json!(r)));
    set("public_ip", fields.public_ip.map(|ip| json!(ip)));
    set("ipv6", fields.ipv6.map(|ip| json!(ip)));
    set("roles", (!fields.roles.is_empty()).then(|| json!(fields.roles)));
    set("groups", (!fields.groups.is_empty()).then(|| json!(fields.groups)));
    let tags: Map<String, Value> = fields.tags.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
    set("tags", (!tags.is_empty()).then_some(Value::Object(tags)));
    set("state", fields.state.map(|s| json!(s.word())));
    out
}

/// `NAME.ZONE` or `NAME.ZONE.PRODUCT` as the fields of a new host.
fn named(host: &str) -> Result<Map<String, Value>, Failure> {
    let mut parts = host.splitn(3, '.');
    let (Some(name), Some(zone)) = (parts.next(), parts.next()) else {
        return Err(Failure::new(Exit::Usage, format!("{host:?} is no host; write NAME.ZONE or NAME.ZONE.PRODUCT")));
    };
    let product = parts.next().map(|product| ("product".to_owned(), json!(product)));
    Ok([("name".to_owned(), json!(name)), ("zone".to_owned(), json!(zone))].into_iter().chain(product).collect())
}

async fn add(args: &HostAdd) -> Result<(), Failure> {
    let host = match &args.zone {
        Some(zone) => format!("{}.{zone}", args.host),
        None => args.host.clone(),
    };
    let mut body = named(&host)?;
    body.insert("private_ip".into(), json!(args.private_ip));
    body.extend(fields(&args.fields));
    let client = Client::new(&args.write.reach)?;
    let hosts = Target::new(&["v1", "hosts"]);
    let written = client.change(Method::POST, hosts, &args.write, Some(Value::Object(body))).await?;
    conclude(&written, &format!("{host} is added"), &args.write)
}

async fn set(args: &HostSet) -> Result<(), Failure> {
    let mut patch = fields(&args.fields);
    if let Some(ip) = args.private_ip {
        patch.insert("private_ip".into(), json!(ip));
    }
    for field in &args.unset {
        patch.insert(field.clone(), Value::Null);
    }
    if patch.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            "nothing to set; give at least one field, see `gatehouse host set --help`",
        ));
    }
    let client = Client::new(&args.write.reach)?;
    let written = client.change(Method::PATCH, target(&args.host), &args.write, Some(Value::Object(patch))).await?;
    conclude(&written, &format!("{} is set", args.host), &args.write)
}

async fn remove(args: &HostRemove) -> Result<(), Failure> {
    let client = Client::new(&args.write.reach)?;
    let written = client.change(Method::DELETE, target(&args.host), &args.write, None).await?;
    conclude(&written, &format!("{} is removed", args.host), &args.write)
}

async fn list(args: &HostList) -> Result<(), Failure> {
    let wanted = || {
        Target::new(&["v1", "hosts"])
            .with("product", args.product.as_ref())
            .with("region", args.region.as_ref())
            .with("zone", args.zone.as_ref())
            .with("role", args.role.as_ref())
            .with("state", args.state.map(|s| s.word()))
            .with("name", args.name.as_ref())
    };
    let hosts: Vec<HostView> = Client::new(&args.reach)?.list(args.limit, "after", wanted).await?;
    if args.json {
        return print_json(&hosts);
    }
    let rows: Vec<Vec<String>> = hosts.iter().map(cells).collect();
    print(&table(&["name", "zone", "product", "private ip", "public ip", "state", "roles", "source"], &rows))
}

fn cells(host: &HostView) -> Vec<String> {
    let public = host.public_ip.map_or("-".into(), |ip| ip.to_string());
    let roles = if host.roles.is_empty() { "-".into() } else { host.roles.join(",") };
    let texts = [&host.name, &host.zone, &host.product].map(ToString::to_string);
    let state = host.state.as_str().to_owned();
    texts.into_iter().chain([host.private_ip.to_string(), public, state, roles, host.source.to_string()]).collect()
}

/// One host, a line for each field that it has.
fn card(host: &HostView) -> String {
    let join = |list: &[compact_str::CompactString]| list.join(", ");
    let tags = host.tags.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(", ");
    let lines = [
        ("name", host.name.to_string()),
        ("zone", host.zone.to_string()),
        ("region", host.region.to_string()),
        ("product", host.product.to_string()),
        ("private ip", host.private_ip.to_string()),
        ("public ip", host.public_ip.map(|ip| ip.to_string()).unwrap_or_default()),
        ("ipv6", host.ipv6.map(|ip| ip.to_string()).unwrap_or_default()),
        ("state", host.state.as_str().into()),
        ("roles", join(&host.roles)),
        ("groups", join(&host.groups)),
        ("tags", tags),
        ("source", host.source.to_string()),
    ];
    let lines = lines.iter().filter(|(_, value)| !value.is_empty());
    lines.map(|(label, value)| format!("{label:<10}  {value}")).collect::<Vec<_>>().join("\n")
}

async fn import(args: &HostImport) -> Result<(), Failure> {
    let bytes = Bytes::from(read(&args.file)?);
    let (client, bar) = (Client::new(&args.write.reach)?, bar(bytes.len()));
    let target = Target::new(&["v1", "hosts:import"])
        .with("format", Some(args.format.word()))
        .with("sync", args.sync.then_some(true))
        .with("dry_run", args.dry_run.then_some(true))
        .with("file", args.file.file_name().map(|f| f.to_string_lossy()));
    let upload = Upload::new(bytes, bar.clone());
    let answer = client.send(Method::POST, target, args.write.why.as_deref(), upload).await;
    bar.finish_and_clear();
    let answer = answer?;
    if args.dry_run {
        return trial(&parse(&answer)?, &args.write);
    }
    let written: Written = parse(&answer)?;
    conclude(&written, "imported", &args.write)
}

/// Reads a file, or standard input for `-`.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let read = || match file == Path::new("-") {
        true => {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes)?;
            Ok(bytes)
        }
        false => std::fs::read(file),
    };
    read().map_err(|e: std::io::Error| Failure::new(Exit::NoInput, format!("{} cannot be read: {e}", file.display())))
}

fn trial(trial: &Trial, write: &Write) -> Result<(), Failure> {
    if write.json {
        print_json(trial)?;
        return verdict(trial);
    }
    for line in &trial.first_rows {
        print(&format!("would {line}"))?;
    }
    let all = trial.added + trial.changed + trial.removed;
    if all > trial.first_rows.len() {
        print(&format!("and {} more", all - trial.first_rows.len()))?;
    }
    let Trial { added, changed, unchanged, removed, .. } = trial;
    if trial.refused.is_empty() || all > 0 {
        print(&format!("would add {added}, change {changed}, remove {removed}, leave {unchanged} as they are"))?;
    }
    for reason in &trial.held {
        print(&format!("would be held until it is accepted: {reason}"))?;
    }
    verdict(trial)
}

/// A trial of an import that would be refused has failed.
fn verdict(trial: &Trial) -> Result<(), Failure> {
    match trial.refused.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(Exit::Data, "the import would be refused").with_details(trial.refused.clone())),
    }
}

/// Changes, each with who, when, why and the fields that differ.
fn history(sets: &[ChangeSet]) -> String {
    let mut lines = Vec::new();
    for set in sets {
        let why = if set.author.why.is_empty() { String::new() } else { format!(": {}", set.author.why) };
        let when = clock::text(set.author.when_ms);
        lines.push(format!("{when}  serial {}  {}{why}", set.serial, set.author.who));
        lines.extend(set.rows.iter().flat_map(differences).map(|line| format!("    {line}")));
    }
    lines.join("\n")
}

/// What differs between the two sides of a change, one line for each field.
fn differences(change: &RowChange) -> Vec<String> {
    let fields = |row: &Option<Row>| {
        let value = row.as_ref().and_then(|row| serde_json::from_slice::<Value>(&row.encode()).ok());
        value.and_then(|v| v.as_object().cloned()).unwrap_or_default()
    };
    let (old, new) = (fields(&change.old), fields(&change.new));
    let mut lines = match (&change.old, &change.new) {
        (None, Some(_)) => vec!["added".to_owned()],
        (Some(_), None) => vec!["removed".to_owned()],
        _ => Vec::new(),
    };
    let removed = |key: &&String| !new.contains_key(*key);
    for key in new.keys().chain(old.keys().filter(removed)) {
        match (old.get(key), new.get(key)) {
            (a, b) if a == b => {}
            (None, Some(value)) => lines.push(format!("{key} = {value}")),
            (Some(value), None) => lines.push(format!("{key} was {value}")),
            (Some(a), Some(b)) => lines.push(format!("{key}: {a} -> {b}")),
            (None, None) => {}
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use inventory::{Author, Host, HostKey, HostState};

    use super::*;

    fn host(state: HostState) -> Host {
        Host {
            key: HostKey { product: "acme".into(), name: "web01".into(), zone: "us-east-1a".into() },
            region: "us-east-1".into(),
            private_ip: [10, 0, 0, 1].into(),
            public_ip: None,
            ipv6: None,
            roles: Box::new(["web".into()]),
            groups: Box::default(),
            tags: Box::new([("env".into(), "prod".into())]),
            state,
            source: "api".into(),
        }
    }

    #[test]
    fn a_host_on_a_card() {
        assert_eq!(
            card(&HostView::from(&host(HostState::Draining))),
            "\
name        web01
zone        us-east-1a
region      us-east-1
product     acme
private ip  10.0.0.1
state       draining
roles       web
tags        env=prod
source      api"
        );
    }

    #[test]
    fn history_shows_the_fields_that_differ() {
        let (a, b) = (host(HostState::Running), host(HostState::Draining));
        let author = Author { who: "alice via socket".into(), when_ms: 0, why: "disk".into() };
        let row = RowChange { old: Some(Row::Host(Arc::new(a))), new: Some(Row::Host(Arc::new(b))) };
        let set = ChangeSet { epoch: 1, serial: 7, author, rows: vec![row] };
        assert_eq!(history(&[set]), "1970-01-01T00:00:00Z  serial 7  alice via socket: disk\n    state = \"draining\"");
    }

    #[test]
    fn hosts_are_named_by_dots() {
        assert_eq!(Value::Object(named("a.b.c").unwrap()), json!({"name": "a", "zone": "b", "product": "c"}));
        assert_eq!(Value::Object(named("a.b").unwrap()), json!({"name": "a", "zone": "b"}));
        assert_eq!(named("a").unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn only_given_fields_are_sent() {
        let given = HostFields { tags: vec![("env".into(), "prod".into())], ..HostFields::default() };
        assert_eq!(Value::Object(fields(&given)), json!({"tags": {"env": "prod"}}));
    }
}
