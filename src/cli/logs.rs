//! The commands under `logs`.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::Method;
use serde_json::Value;

use super::{
    client::{Client, Target, parse},
    print, print_json,
    table::table,
};
use crate::{
    args::{LogsCommand, LogsDestination, LogsExplain, LogsGrep, LogsImport, LogsSilent, LogsSpool, LogsTail},
    clock::age,
    exit::{Exit, Failure},
    logs::show,
};

/// Largest configuration of syslog-ng, and of each file that it includes, in octets.
const FILE_MAX: u64 = 1 << 20;
/// Longest line of a tail.
const LINE_MAX: usize = 32 << 20;

/// Runs a command that needs a node.
pub(super) async fn run(command: LogsCommand) -> Result<(), Failure> {
    match command {
        LogsCommand::Tail(args) => tail(&args).await,
        LogsCommand::Grep(args) => grep(&args).await,
        LogsCommand::Silent(args) => silent(&args).await,
        LogsCommand::Explain(args) => explain(&args).await,
        LogsCommand::Spool(args) => spool(&args).await,
        LogsCommand::Destination(args) => destination(&args).await,
        LogsCommand::ImportSyslogNg(args) => import(&args),
    }
}

fn found_nothing() -> Result<(), Failure> {
    Err(Failure::new(Exit::Differs, ""))
}

async fn tail(args: &LogsTail) -> Result<(), Failure> {
    let target = Target::new(&["v1", "logs", "tail"]).with("filter", args.filter.as_ref());
    let mut body = Client::new(&args.reach)?.stream(target).await?;
    let (mut rest, mut left) = (Vec::new(), args.count);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Failure::new(Exit::Io, format!("the node broke the connection off: {e}")))?;
        rest.extend_from_slice(frame.data_ref().map(|data| &data[..]).unwrap_or_default());
        while let Some(end) = rest.iter().position(|&octet| octet == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let message: Value = parse(&line)?;
            match message.get("missed").and_then(Value::as_u64) {
                Some(missed) => eprintln!("gatehouse: {missed} messages were missed; narrow it down with --filter"),
                None => {
                    put(&message, args.json)?;
                    left = left.map(|left| left.saturating_sub(1));
                }
            }
            if left == Some(0) {
                return Ok(());
            }
        }
        if rest.len() > LINE_MAX {
            return Err(Failure::new(Exit::Software, "the node's answer is not understood; is it of another version?"));
        }
    }
    Err(Failure::new(Exit::TempFail, "the node has stopped"))
}

fn put(message: &Value, json: bool) -> Result<(), Failure> {
    if json { print(&message.to_string()) } else { print(&show::line(message)) }
}

async fn grep(args: &LogsGrep) -> Result<(), Failure> {
    let target = Target::new(&["v1", "logs", "grep"])
        .with("since", Some(&args.since))
        .with("until", args.until.as_ref())
        .with("filter", args.filter.as_ref())
        .with("pattern", args.pattern.as_ref())
        .with("limit", Some(args.limit));
    let answer: Value = Client::new(&args.reach)?.get(target).await?;
    let items = items(&answer);
    items.iter().try_for_each(|message| put(message, args.json))?;
    if let Some(left_out @ 1..) = answer.get("left_out").and_then(Value::as_u64) {
        eprintln!("gatehouse: {left_out} older messages are left out; narrow it down, or raise --limit");
    }
    if items.is_empty() { found_nothing() } else { Ok(()) }
}

fn items(answer: &Value) -> &[Value] {
    answer.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

async fn silent(args: &LogsSilent) -> Result<(), Failure> {
    let answer: Value = Client::new(&args.reach)?.get(Target::new(&["v1", "logs", "silent"])).await?;
    let state = |row: &&Value| row.get("state").and_then(Value::as_str).unwrap_or_default().to_owned();
    let rows: Vec<&Value> = items(&answer).iter().filter(|row| args.all || state(row) != "ok").collect();
    let bad = rows.iter().any(|row| matches!(state(row).as_str(), "silent" | "never_seen"));
    match args.json {
        true => print_json(&rows)?,
        false if rows.is_empty() => print("every host that should log does")?,
        false => {
            let lines: Vec<Vec<String>> = rows.iter().map(|row| silence(row)).collect();
            print(&table(&["host", "state", "last seen", "expected every", "messages"], &lines))?;
        }
    }
    if bad { found_nothing() } else { Ok(()) }
}

fn silence(row: &Value) -> Vec<String> {
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let seconds = |name: &str| row.get(name).and_then(Value::as_u64).map(|s| age(s * 1000));
    let seen = seconds("seen_ago_s").map_or("never".into(), |age| format!("{age} ago"));
    let every = seconds("expected_s").unwrap_or("-".into());
    let received = row.get("received").and_then(Value::as_u64).unwrap_or(0).to_string();
    vec![text("name"), text("state").replace('_', " "), seen, every, received]
}

async fn explain(args: &LogsExplain) -> Result<(), Failure> {
    let target = Target::new(&["v1", "logs", "explain"])
        .with("line", Some(&args.line))
        .with("from", args.from)
        .with("source", args.source.as_ref());
    let answer: Value = Client::new(&args.reach)?.get(target).await?;
    show_text(&answer, args.json)
}

fn show_text(answer: &Value, json: bool) -> Result<(), Failure> {
    match (json, answer.get("text").and_then(Value::as_str)) {
        (false, Some(text)) => print(text.trim_end()),
        _ => print_json(answer),
    }
}

async fn spool(args: &LogsSpool) -> Result<(), Failure> {
    let report = match &args.path {
        Some(path) => inspected(path)?,
        None => Client::new(&args.reach)?.get(Target::new(&["v1", "logs", "spool"])).await?,
    };
    if args.json {
        return print_json(&report);
    }
    print(&crate::logs::spool_page(&report))
}

fn inspected(path: &Path) -> Result<Value, Failure> {
    let found = logrelay::spool::inspect(path)
        .map_err(|e| Failure::new(Exit::NoInput, format!("the spool in {} cannot be read: {e}", path.display())))?;
    serde_json::to_value(found).map_err(|e| Failure::new(Exit::Software, format!("the answer cannot be printed: {e}")))
}

async fn destination(args: &LogsDestination) -> Result<(), Failure> {
    let client = Client::new(&args.reach)?;
    let change = args.pause.as_ref().map(|name| (name, "pause")).or(args.resume.as_ref().map(|name| (name, "resume")));
    let Some((name, verb)) = change else {
        let answer: Value = client.get(Target::new(&["v1", "logs", "destinations"])).await?;
        let rows: Vec<Vec<String>> = items(&answer).iter().map(crate::logs::destination_row).collect();
        let header = ["destination", "state", "delivered", "waiting", "dropped", "last delivery"];
        return if args.json { print_json(&items(&answer)) } else { print(&table(&header, &rows)) };
    };
    let target = Target::new(&["v1", "logs", "destinations", name, verb]);
    let answer: Value = parse(&client.send(Method::POST, target, None, Full::default()).await?)?;
    match (args.json, verb) {
        (true, _) => print_json(&answer),
        (false, "pause") => print(&format!("{name} is paused; what durable routes have for it waits in the spool")),
        (false, _) => print(&format!("{name} goes on")),
    }
}

/// Translates without a node.
fn import(args: &LogsImport) -> Result<(), Failure> {
    let read = |path: &Path| {
        let unreadable = |e: std::io::Error| format!("{} cannot be read: {e}", path.display());
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        if size > FILE_MAX {
            return Err(format!("{} has {size} octets, but at most {FILE_MAX} are read", path.display()));
        }
        std::fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned()).map_err(unreadable)
    };
    let text = read(&args.file).map_err(|e| Failure::new(Exit::NoInput, e))?;
    let folder = args.file.parent().map(PathBuf::from).unwrap_or_default();
    let mut include = |name: &str| {
        let paths = included(&folder, name)?;
        paths.iter().map(|path| Ok((path.display().to_string(), read(path)?))).collect()
    };
    let translation = logrelay::import::translate(&text, &args.file.display().to_string(), &mut include);
    print(translation.toml.trim_end())?;
    let problems: Vec<String> = translation.problems.iter().map(ToString::to_string).collect();
    match problems.len() {
        0 => Ok(()),
        n => Err(Failure::new(Exit::Data, format!("{n} parts of {} are not translated", args.file.display()))
            .with_details(problems)),
    }
}

/// The files that an `@include` names: a file, or with `*` in the last part all that fit, in the order of their names.
fn included(folder: &Path, name: &str) -> Result<Vec<PathBuf>, String> {
    let path = folder.join(name);
    let (Some(parent), Some(last)) = (path.parent(), path.file_name().and_then(|last| last.to_str())) else {
        return Err(format!("{name} names no file"));
    };
    let Some((before, after)) = last.split_once('*') else {
        return if path.exists() { Ok(vec![path]) } else { Err(format!("{} does not exist", path.display())) };
    };
    let entries = std::fs::read_dir(parent).map_err(|e| format!("{} cannot be read: {e}", parent.display()))?;
    let fits = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
    };
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).filter(fits).collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn includes_may_have_a_star() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.conf", "a.conf", "c.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names = |text: &str| {
            let found = included(folder.path(), text).unwrap();
            found.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names("*.conf"), ["a.conf", "b.conf"]);
        assert_eq!(names("c.txt"), ["c.txt"]);
        assert!(included(folder.path(), "d.conf").unwrap_err().contains("does not exist"));
    }

    #[test]
    fn rows_of_silence() {
        let row =
            serde_json::json!({ "name": "db01.us-east-1b", "state": "never_seen", "expected_s": 3600, "received": 0 });
        assert_eq!(silence(&row), ["db01.us-east-1b", "never seen", "never", "1 h 0 min", "0"]);
    }
}
