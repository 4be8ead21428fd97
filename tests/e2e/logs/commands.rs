//! The commands under `gatehouse logs`, and what changes while the node runs.

use std::{fs, io::Write as _, net::TcpStream, process::Command};

use serde_json::Value;

use super::{addresses, client::line, node, node_with, out, to_one_file, wait_for_lines};
use crate::harness::{GATEHOUSE, Netns, Node, Setup, finish, host, wait_for};

fn send(to: std::net::SocketAddr, lines: &[String]) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn messages_are_found_by_what_they_say_and_by_whose_they_are() {
    let [tcp] = addresses();
    let node = node(&to_one_file(&format!("\"tcp://{tcp}\""), ""));
    send(tcp, &["<11>Nov 20 17:05:05 dev-web01 app[7]: disk is full".into(), line("all is well")]);
    wait_for_lines(&out(&node), 2);
    let found = json_lines(&node.command(&["logs", "grep", "--json", "disk.*full"]).expect_ok());
    assert_eq!(found.len(), 1, "{found:?}");
    let message = &found[0];
    assert_eq!((&message["host"], &message["zone"]), (&"dev-web01".into(), &"us-east-1a".into()));
    assert_eq!((&message["header_host"], &message["severity"]), (&"dev-web01".into(), &"err".into()));
    let by_role = node.command(&["logs", "grep", "--filter", "role(web) and level(err..emerg)"]).expect_ok();
    assert!(by_role.contains("dev-web01.us-east-1a user.err app[7]: disk is full"), "{by_role}");
    assert_eq!(by_role.lines().count(), 1);
    let nothing = node.command(&["logs", "grep", "no such thing"]);
    assert!(!nothing.ok && nothing.stdout.is_empty(), "{nothing:?}");
    let wrong = node.command(&["logs", "grep", "--filter", "levle(err)"]);
    assert!(wrong.stderr.contains("level") && wrong.stderr.contains('^'), "{wrong:?}");
}

#[test]
fn a_sender_is_whom_the_inventory_knows_whatever_it_calls_itself() {
    let netns = Netns::new("logs");
    let config = "[[logrelay.source]]\nname = \"net\"\nlisten = [\"udp://10.0.0.2:514\"]\n\
                  [[logrelay.destination]]\nname = \"files\"\nfile = \"{dir}/out.log\"\ntemplate = \"$HOST $ZONE ${HEADERHOST} $MSG\\n\"\n\
                  [[logrelay.route]]\nto = [\"files\"]\n";
    let node = Node::start(Setup {
        dns: format!("\n{config}"),
        inventory: vec![("hosts.toml", host("dev-web01", "us-east-1a", "10.0.0.2", &["web"]))],
        netns: Some(netns.0.clone()),
        ..Setup::default()
    });
    // The loopback interface of the namespace has the host's address.
    let send = ["--server", "10.0.0.2", "--port", "514", "--udp", "--rfc5424=notq", "--tag", "app", "hello"];
    finish("logger", netns.command("logger").args(send)).expect_ok();
    let line = wait_for_lines(&out(&node), 1).remove(0);
    let mut words = line.split(' ');
    assert_eq!((words.next(), words.next()), (Some("dev-web01"), Some("us-east-1a")), "{line}");
    assert!(words.next().is_some_and(|name| !name.is_empty() && name != "dev-web01"), "{line}");
    let found = json_lines(&node.command(&["logs", "grep", "--json", "hello"]).expect_ok());
    assert!(found[0]["flags"].as_array().unwrap().contains(&"host_mismatch".into()), "{found:?}");
}

#[test]
fn a_tail_shows_what_comes_in() {
    let [tcp] = addresses();
    let node = node(&to_one_file(&format!("\"tcp://{tcp}\""), ""));
    let mut tail = Command::new(GATEHOUSE);
    tail.args(["logs", "tail", "--count", "1", "--filter", "message(wanted)", "--socket"])
        .arg(node.path("control.sock"));
    let shown = std::thread::scope(|scope| {
        let shown = scope.spawn(|| finish("gatehouse", &mut tail));
        wait_for("the tail to see a line", || {
            send(tcp, &[line("other"), line("wanted")]);
            std::thread::sleep(std::time::Duration::from_millis(20));
            shown.is_finished().then_some(())
        });
        shown.join().unwrap().expect_ok()
    });
    assert!(shown.trim_end().ends_with("dev-web01.us-east-1a user.info app[7]: wanted"), "{shown}");
}

#[test]
fn a_line_is_explained_without_being_stored() {
    let [tcp] = addresses();
    let config =
        to_one_file(&format!("\"tcp://{tcp}\""), "filter = 'role(mysql) and not program(\"cron\")'\nfinal = true");
    let more = "[[logrelay.route]]\nname = \"rest\"\nto = [\"files\"]\n";
    let node = node(&(config + more));
    let explain = |line: &str| node.command(&["logs", "explain", "--from", "10.2.3.4", line]).expect_ok();
    let text = explain("<11>Nov 20 17:05:05 dev-mysql01 mysqld[71]: disk is full");
    for expected in [
        "read as    rfc3164",
        "priority   user.err",
        "host       dev-mysql01.us-east-1b, from the inventory",
        "route 1    takes it, to files",
        "true  role(mysql)",
        "route rest does not take it: a final route before it takes it",
        "goes to    files",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    assert!(explain("<11>Nov 20 17:05:05 dev-mysql01 cron[1]: x").contains("route rest takes it"));
    assert!(node.get("/metrics").contains("gatehouse_log_messages_total{source=\"net\",outcome=\"received\"} 0"));
}

#[test]
fn hosts_that_should_log_and_do_not_are_listed() {
    let [tcp] = addresses();
    let config = to_one_file(
        &format!("\"tcp://{tcp}\""),
        "[logrelay.role.mysql]\nexpect_s = 1\n[logrelay.role.web]\nexpect_s = 60\n",
    );
    let node = node(&config);
    send(tcp, &[line("here I am")]);
    wait_for_lines(&out(&node), 1);
    let silent = wait_for("a host that was never seen", || {
        let outcome = node.command(&["logs", "silent"]);
        (!outcome.ok && outcome.stdout.contains("never seen")).then_some(outcome.stdout)
    });
    assert!(silent.contains("dev-mysql01.us-east-1b") && !silent.contains("dev-web01"), "{silent}");
    let all: Value = serde_json::from_str(&node.command(&["logs", "silent", "--all", "--json"]).stdout).unwrap();
    let web =
        all.as_array().unwrap().iter().find(|row| row["name"].as_str().unwrap().starts_with("dev-web01")).unwrap();
    assert_eq!((&web["state"], &web["received"]), (&"ok".into(), &1.into()));
}

#[test]
fn labels_follow_the_inventory_on_an_open_connection() {
    let [tcp] = addresses();
    let config = to_one_file(&format!("\"tcp://{tcp}\""), "").replace("$MSG\\n", "$HOST $ZONE $ROLES $MSG\\n");
    let node = node_with(&config, vec![("hosts.toml", host("dev-web01", "us-east-1a", "10.2.3.3", &["web"]))]);
    let mut stream = TcpStream::connect(tcp).unwrap();
    let mut say = |text: &str| stream.write_all((line(text) + "\n").as_bytes()).unwrap();
    say("first");
    wait_for_lines(&out(&node), 1);
    node.write_inventory("hosts.toml", &host("dev-web01", "us-east-1a", "10.2.3.3", &["mysql", "web"]));
    let mut count = 0;
    let last = wait_for("the new role", || {
        count += 1;
        say(&format!("again {count}"));
        std::thread::sleep(std::time::Duration::from_millis(50));
        let lines = super::lines_of(&out(&node));
        lines.last().filter(|line| line.contains("mysql")).cloned()
    });
    assert!(last.starts_with("dev-web01 us-east-1a mysql,web again"), "{last}");
    assert!(super::lines_of(&out(&node))[0].starts_with("dev-web01 us-east-1a web first"));
}

#[test]
fn destinations_change_while_connections_stay() {
    let [tcp] = addresses();
    let mut node = node(&to_one_file(&format!("\"tcp://{tcp}\""), ""));
    let mut stream = TcpStream::connect(tcp).unwrap();
    let mut say = |text: &str| stream.write_all((line(text) + "\n").as_bytes()).unwrap();
    say("one");
    wait_for_lines(&out(&node), 1);
    // Paused: what comes waits.
    node.command(&["logs", "destination", "--pause", "files"]).expect_ok();
    say("two");
    let listed = wait_for("a line that waits", || {
        let text = node.command(&["logs", "destination", "--json"]).expect_ok();
        let rows: Value = serde_json::from_str(&text).unwrap();
        (rows[0]["pending"] == 1).then_some(text)
    });
    assert!(listed.contains("paused") && super::lines_of(&out(&node)).len() == 1, "{listed}");
    node.command(&["logs", "destination", "--resume", "files"]).expect_ok();
    wait_for_lines(&out(&node), 2);
    // Another one is added, and this one removed, by the configuration.
    let file = node.path("gatehouse.toml");
    let text = fs::read_to_string(&file).unwrap();
    let (before, _) = text.split_once("[[logrelay.destination]]").unwrap();
    let other = format!(
        "{before}[[logrelay.destination]]\nname = \"other\"\nfile = \"{}/other.log\"\ntemplate = \"$MSG\\n\"\n\
         [[logrelay.route]]\nto = [\"other\"]\n",
        node.dir.path().display()
    );
    fs::write(&file, &other).unwrap();
    node.signal("HUP");
    wait_for("the other destination", || node.command(&["logs", "destination"]).stdout.contains("other").then_some(()));
    wait_for("a line in the other file on the same connection", || {
        say("three");
        std::thread::sleep(std::time::Duration::from_millis(20));
        super::lines_of(&node.path("other.log")).first().filter(|line| *line == "three").map(|_| ())
    });
    // A configuration that is wrong changes nothing.
    fs::write(&file, other.replace("to = [\"other\"]", "to = [\"nowhere\"]")).unwrap();
    node.signal("HUP");
    wait_for("the refusal", || node.process().log().contains("the log relay stays as it is").then_some(()));
    say("four");
    wait_for("the line after the wrong configuration", || {
        super::lines_of(&node.path("other.log")).iter().any(|line| line == "four").then_some(())
    });
}

#[test]
fn a_wrong_relay_is_refused_with_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gatehouse.toml");
    let text = "[node]\nname = \"a\"\nregion = \"b\"\ndata_dir = \"d\"\n\
                [[logrelay.source]]\nname = \"net\"\nlisten = [\"udp://127.0.0.1:0\"]\n\
                [[logrelay.destination]]\nname = \"files\"\nfile = \"/tmp/x\"\n\
                [[logrelay.route]]\nfilter = 'levle(err)'\nto = [\"files\"]\n";
    fs::write(&file, text).unwrap();
    let outcome = finish("gatehouse", Command::new(GATEHOUSE).args(["check", "--config"]).arg(&file));
    assert!(!outcome.ok && outcome.stdout.contains("gatehouse.toml:12: "), "{outcome:?}");
    assert!(outcome.stdout.contains("filter") && outcome.stdout.contains("level"), "{outcome:?}");
    fs::write(&file, text.replace("levle", "level").replace("file = ", "flie = ")).unwrap();
    let outcome = finish("gatehouse", Command::new(GATEHOUSE).args(["check", "--config"]).arg(&file));
    assert!(
        outcome.stdout.contains("unknown key `flie`") && outcome.stdout.contains("did you mean `file`"),
        "{outcome:?}"
    );
}
