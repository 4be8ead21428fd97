//! Logs: from clients by way of a region's relay to a central one, whatever dies in between; real peers on both sides.

mod chain;
mod client;
mod commands;
mod peers;

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::harness::{Node, Setup, free_address, host, wait_for};

/// A node whose configuration has these tables of `[logrelay]`; `{dir}` is its folder.
fn node(tables: &str) -> Node {
    node_with(tables, vec![("hosts.toml", inventory())])
}

fn node_with(tables: &str, inventory: Vec<(&'static str, String)>) -> Node {
    Node::start(Setup { dns: format!("\n{tables}"), inventory, ..Setup::default() })
}

/// A host whose name stands in the lines that tests send, and one that never says anything.
fn inventory() -> String {
    let here = host("dev-web01", "us-east-1a", "10.2.3.3", &["web"]);
    here + &host("dev-mysql01", "us-east-1b", "10.2.3.4", &["mysql"])
}

/// A source that believes the names in headers, one file for everything, and a route.
fn to_one_file(listen: &str, more: &str) -> String {
    format!(
        "[[logrelay.source]]\nname = \"net\"\nkeep_hostname = true\nrelays = true\nlisten = [{listen}]\n\
         [[logrelay.destination]]\nname = \"files\"\nfile = \"{{dir}}/out.log\"\ntemplate = \"$MSG\\n\"\n\
         [[logrelay.route]]\nto = [\"files\"]\n{more}\n"
    )
}

fn lines_of(path: &Path) -> Vec<String> {
    let text = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

/// Waits until a file has at least so many lines, and returns them.
fn wait_for_lines(path: &Path, count: usize) -> Vec<String> {
    wait_for(&format!("{count} lines in {}", path.display()), || {
        let lines = lines_of(path);
        (lines.len() >= count).then_some(lines)
    })
}

/// How often each line is there.
fn counted(lines: &[String]) -> HashMap<&str, usize> {
    lines.iter().fold(HashMap::new(), |mut counts, line| {
        *counts.entry(line.as_str()).or_default() += 1;
        counts
    })
}

/// The books of a node: every source balances, and every destination has delivered, keeps or has dropped what it accepted.
fn assert_balanced(node: &Node) {
    wait_for("books that balance", || {
        let report: serde_json::Value =
            serde_json::from_str(&node.command(&["logs", "destination", "--json"]).expect_ok()).unwrap();
        let number = |d: &serde_json::Value, name: &str| d[name].as_u64().unwrap();
        let balanced = report.as_array().unwrap().iter().all(|d| {
            let spool = number(d, "delivered") + number(d, "pending") + number(d, "dropped");
            let memory = number(d, "memory_delivered") + number(d, "memory_pending") + number(d, "unsendable");
            number(d, "accepted") == spool && number(d, "memory_accepted") <= memory + number(d, "memory_dropped")
        });
        balanced.then_some(())
    });
    // What a relay sends again may just be coming in, received and not yet told from what is here.
    wait_for("the books of the sources to balance", || {
        let sums = books_of_sources(&node.get("/metrics"));
        assert!(!sums.is_empty(), "a node with sources");
        sums.values().all(|(received, accounted)| received == accounted).then_some(())
    });
}

/// By source, how many messages came in and of how many it is known what became of them.
fn books_of_sources(metrics: &str) -> HashMap<String, (u64, u64)> {
    let mut sums: HashMap<String, (u64, u64)> = HashMap::new();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("gatehouse_log_messages_total{source=\"")) {
        let (source, rest) = line.split_once("\",outcome=\"").unwrap();
        let (outcome, count) = rest.split_once("\"} ").unwrap();
        let sum = sums.entry(source.to_owned()).or_default();
        let count: u64 = count.parse().unwrap();
        match outcome {
            "received" => sum.0 += count,
            _ => sum.1 += count,
        }
    }
    sums
}

fn addresses<const N: usize>() -> [SocketAddr; N] {
    std::array::from_fn(|_| free_address())
}

fn out(node: &Node) -> PathBuf {
    node.path("out.log")
}
