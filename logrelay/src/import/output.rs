//! Our text: TOML.

use std::fmt::Write as _;

use super::{
    destination::{Destination, Value},
    path::{Paths, Route},
    source::Source,
};

/// Writes everything.
pub(super) fn write(file: &str, paths: &Paths) -> String {
    let mut out = String::new();
    let file: String = file.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let _ = writeln!(out, "# Translated from {file}.");
    if paths.routes.iter().any(|route| !route.disk_buffer) {
        out.push_str(
            "# Every route goes through the spool on disk, with or without a disk-buffer there. A route whose messages may be\n\
             # lost in a crash can have `durable = false`.\n",
        );
    }
    for source in &paths.sources {
        self::source(&mut out, source);
    }
    for destination in &paths.destinations {
        self::destination(&mut out, destination);
    }
    for route in &paths.routes {
        self::route(&mut out, route);
    }
    out
}

fn source(out: &mut String, source: &Source) {
    out.push_str("\n[[logrelay.source]]\n");
    let keys = &source.keys;
    put(out, "name", &Value::Text(source.name.clone()));
    texts(out, "listen", &source.listen);
    texts(out, "follow", &source.follow);
    text(out, "profile", keys.profile);
    switch(out, "keep_hostname", keys.keep_hostname);
    text(out, "time_zone", keys.time_zone.as_deref());
    texts(out, "tags", &keys.tags);
    number(out, "max_line", keys.max_line);
    number(out, "connections", keys.connections);
    number(out, "receive_buffer", keys.receive_buffer);
    text(out, "tls_cert", keys.tls_cert.as_deref());
    text(out, "tls_key", keys.tls_key.as_deref());
    text(out, "client_ca", keys.client_ca.as_deref());
    switch(out, "from_end", Some(true).filter(|_| keys.from_end && !source.follow.is_empty()));
}

fn destination(out: &mut String, destination: &Destination) {
    out.push_str("\n[[logrelay.destination]]\n");
    put(out, "name", &Value::Text(destination.name.clone()));
    for (key, value) in &destination.keys {
        put(out, key, value);
    }
}

fn route(out: &mut String, route: &Route) {
    let mut block = String::from("[[logrelay.route]]\n");
    texts(&mut block, "from", &route.from);
    text(&mut block, "filter", route.filter.as_deref());
    texts(&mut block, "rewrite", &route.rewrite);
    put(&mut block, "to", &Value::Texts(route.to.clone()));
    switch(&mut block, "durable", Some(true).filter(|_| route.disk_buffer));
    switch(&mut block, "final", Some(true).filter(|_| route.is_final));
    switch(&mut block, "fallback", Some(true).filter(|_| route.fallback));
    text(&mut block, "full", route.block.then_some("block"));
    out.push('\n');
    if route.untranslated {
        out.push_str("# This path is not translated, see the problems:\n");
        block.lines().for_each(|line| out.push_str(&format!("# {line}\n")));
    } else {
        out.push_str(&block);
    }
}

fn text(out: &mut String, key: &str, value: Option<&str>) {
    value.iter().for_each(|value| put(out, key, &Value::Text((*value).to_owned())));
}

fn texts(out: &mut String, key: &str, value: &[String]) {
    if !value.is_empty() {
        put(out, key, &Value::Texts(value.to_vec()));
    }
}

fn number(out: &mut String, key: &str, value: Option<u64>) {
    value.iter().for_each(|value| put(out, key, &Value::Number(*value)));
}

fn switch(out: &mut String, key: &str, value: Option<bool>) {
    value.iter().for_each(|value| put(out, key, &Value::Switch(*value)));
}

fn put(out: &mut String, key: &str, value: &Value) {
    // Writing to a text does not fail.
    let _ = match value {
        Value::Text(text) => writeln!(out, "{key} = {}", quoted(text)),
        Value::Number(number) => writeln!(out, "{key} = {number}"),
        Value::Switch(on) => writeln!(out, "{key} = {on}"),
        Value::Texts(all) => {
            let all: Vec<_> = all.iter().map(|text| quoted(text)).collect();
            writeln!(out, "{key} = [{}]", all.join(", "))
        }
    };
}

/// A text of TOML: without escapes where that can be read better.
fn quoted(text: &str) -> String {
    let literal = !text.contains('\'') && !text.chars().any(|c| c.is_control());
    if literal && text.contains(['"', '\\']) {
        return format!("'{text}'");
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
