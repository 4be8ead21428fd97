//! `gatehouse dns compare`: which names to ask for, and where our server is.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use inventory::{HostState, Record};
use serde_json::Value;

use super::{
    client::{Client, Target},
    hosts::read,
};
use crate::{
    api::forms::HostView,
    args::DnsCompare,
    exit::{Exit, Failure},
    names,
};

/// Hosts whose names are asked for when no names are given.
const HOSTS_MAX: usize = 20_000;
/// Static records whose names are asked for when no names are given.
const RECORDS_MAX: usize = 20_000;
/// Lines of a list at most.
const LINES_MAX: usize = 1_000_000;

/// Runs the command.
pub(super) async fn run(args: &DnsCompare) -> Result<(), Failure> {
    let ours = match args.ours {
        Some(ours) => ours,
        None => first_address(&Client::new(&args.reach)?).await?,
    };
    let lines = match args.names.is_empty() {
        true => sample(&Client::new(&args.reach)?).await?,
        false => given(&args.names)?,
    };
    let bar = bar();
    let compared = names::compare(args, ours, &lines, &bar).await;
    bar.finish_and_clear();
    compared
}

fn bar() -> ProgressBar {
    if !super::watched() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{spinner} {msg} {bar:30} {pos}/{len} {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message("asking");
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// The first address on which the running node answers.
async fn first_address(client: &Client) -> Result<SocketAddr, Failure> {
    let status: Value = client.get(Target::new(&["v1", "status"])).await?;
    let address = status.pointer("/dns/addresses/0").and_then(Value::as_str).and_then(|text| text.parse().ok());
    let mut address: SocketAddr = address
        .ok_or_else(|| Failure::new(Exit::Unavailable, "the node answers no DNS; name our server with --ours"))?;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { [0, 0, 0, 0, 0, 0, 0, 1].into() });
    }
    Ok(address)
}

/// Lines of the names on the command line: a name, perhaps with its type behind it or in the same word;
/// `@FILE` and `-` are lists.
fn given(names: &[String]) -> Result<Vec<String>, Failure> {
    let mut lines: Vec<String> = Vec::new();
    let mut takes_type = false;
    for word in names {
        let file = if word == "-" { Some("-") } else { word.strip_prefix('@') };
        if let Some(file) = file {
            let bytes = read(Path::new(file))?;
            lines.extend(String::from_utf8_lossy(&bytes).lines().take(LINES_MAX + 1).map(str::to_owned));
            takes_type = false;
        } else if let Some(line) = lines.last_mut().filter(|_| takes_type && names::is_type(word)) {
            *line += &format!(" {word}");
            takes_type = false;
        } else {
            lines.push(word.clone());
            takes_type = !word.contains(char::is_whitespace);
        }
    }
    if lines.len() > LINES_MAX {
        return Err(Failure::new(
            Exit::Usage,
            format!("the list has more than {LINES_MAX} lines; cut it into several"),
        ));
    }
    Ok(lines)
}

/// The names of hosts, roles and static records, as far as the first pages of the inventory show them.
async fn sample(client: &Client) -> Result<Vec<String>, Failure> {
    let hosts: Vec<HostView> = client.list(Some(HOSTS_MAX), "after", || Target::new(&["v1", "hosts"])).await?;
    let records: Vec<Record> = client.list(Some(RECORDS_MAX), "after", || Target::new(&["v1", "records"])).await?;
    if hosts.len() == HOSTS_MAX || records.len() == RECORDS_MAX {
        eprintln!(
            "only the names of the first {} hosts and {} static records are asked for; give a list for others",
            hosts.len(),
            records.len()
        );
    }
    let mut lines: BTreeSet<String> = hosts.iter().flat_map(host_lines).collect();
    lines.extend(records.iter().map(|record| format!("{} {}", record.key.name, record.key.rtype)));
    if lines.is_empty() {
        return Err(Failure::new(Exit::Data, "the inventory is empty: there is nothing to ask for; give names"));
    }
    Ok(lines.into_iter().collect())
}

/// Every name that a host has or shares.
fn host_lines(host: &HostView) -> Vec<String> {
    let HostView { name, zone, region, product, .. } = host;
    let mut lines = vec![format!("{name}.{zone}.{product}.private A")];
    lines.extend([region, product].map(|scope| match scope == product {
        true => format!("{name}.{product}.private A"),
        false => format!("{name}.{scope}.{product}.private A"),
    }));
    lines.extend(host.ipv6.map(|_| format!("{name}.{zone}.{product}.private AAAA")));
    lines.extend(host.public_ip.map(|_| format!("{name}.{zone}.{product}.public A")));
    // The address of a terminated host may belong to another by now.
    if host.state != HostState::Terminated {
        let [a, b, c, d] = host.private_ip.octets();
        lines.push(format!("{d}.{c}.{b}.{a}.in-addr.arpa PTR"));
        lines.extend(host.ipv6.map(|address| {
            let digits = format!("{:032x}", u128::from(address));
            let labels: String = digits.chars().rev().flat_map(|digit| [digit, '.']).collect();
            format!("{labels}ip6.arpa PTR")
        }));
    }
    for role in &host.roles {
        for scope in [format!("{zone}.{product}"), format!("{region}.{product}"), product.to_string()] {
            lines.push(format!("{role}.{scope}.private A"));
            lines.extend(host.ipv6.map(|_| format!("{role}.{scope}.private AAAA")));
            lines.push(format!("_{role}._tcp.{scope}.private SRV"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_take_their_types_along() {
        let given = |words: &[&str]| given(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).unwrap();
        assert_eq!(given(&["a.example", "b.example"]), ["a.example", "b.example"]);
        assert_eq!(
            given(&["a.example", "MX", "b.example", "c.example aaaa"]),
            ["a.example MX", "b.example", "c.example aaaa"]
        );
        assert_eq!(given(&["a.example", "A", "mx"]), ["a.example A", "mx"], "a name takes one type");
    }

    #[test]
    fn lists_come_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("names");
        std::fs::write(&file, "a.example A\n# comment\nb.example\n").unwrap();
        let lines = given(&[format!("@{}", file.display()), "TXT".into()]).unwrap();
        assert_eq!(lines, ["a.example A", "# comment", "b.example", "TXT"]);
        assert_eq!(given(&["@/nowhere/names".into()]).unwrap_err().exit, Exit::NoInput);
    }

    #[test]
    fn a_host_is_asked_for_under_all_its_names() {
        let host: HostView = serde_json::from_value(serde_json::json!({
            "name": "db01", "zone": "us-east-1b", "product": "acme", "region": "us-east-1", "private_ip": "10.2.3.4",
            "public_ip": "192.0.2.1", "ipv6": "fd00::1", "roles": ["mysql"], "groups": [], "tags": {},
            "state": "running", "source": "api",
        }))
        .unwrap();
        let reverse = format!("1.{}d.f.ip6.arpa PTR", "0.".repeat(29));
        assert_eq!(
            host_lines(&host),
            [
                "db01.us-east-1b.acme.private A",
                "db01.us-east-1.acme.private A",
                "db01.acme.private A",
                "db01.us-east-1b.acme.private AAAA",
                "db01.us-east-1b.acme.public A",
                "4.3.2.10.in-addr.arpa PTR",
                &reverse,
                "mysql.us-east-1b.acme.private A",
                "mysql.us-east-1b.acme.private AAAA",
                "_mysql._tcp.us-east-1b.acme.private SRV",
                "mysql.us-east-1.acme.private A",
                "mysql.us-east-1.acme.private AAAA",
                "_mysql._tcp.us-east-1.acme.private SRV",
                "mysql.acme.private A",
                "mysql.acme.private AAAA",
                "_mysql._tcp.acme.private SRV",
            ]
        );
    }
}
