//! The API over a real control socket and over TCP, with a real keeper.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use inventory::{Edit, Keeper, Proposal};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::{
    App, Gate,
    counts::Counts,
    peer::Token,
    router,
    serve::{Listener, serve},
};
use crate::{args::LogFormat, clock, logging, node::sources::Sources, status::Facts};

const TOKEN: &str = "a-token-of-tests";
/// A host that an import of another format defined.
const HOST_LIST: &str = r#"[{ "name": "web01", "zone": "us-east-1a", "private_ip": "10.0.0.7" }]"#;

struct Node {
    dir: tempfile::TempDir,
    keeper: Keeper,
    http: std::net::SocketAddr,
    shutdown: CancellationToken,
    served: tokio::task::JoinHandle<Result<(), String>>,
    _log: Box<dyn tracing::Subscriber + Send + Sync>,
}

/// The routes that `guard` lets through, served on both listeners.
async fn node() -> Node {
    let dir = tempfile::tempdir().unwrap();
    let keeper = Keeper::open(&dir.path().join("data"), Arc::new(|_, _, _| Vec::new())).unwrap().keeper;
    std::fs::write(dir.path().join("token"), TOKEN).unwrap();
    let facts = Facts {
        node: "gw1".into(),
        region: "us-east-1".into(),
        version: "0".into(),
        pid: 1,
        started_ms: clock::now_ms(),
        recovered: None,
    };
    let sources = Arc::new(Sources::default());
    let mut metrics = Registry::default();
    let counts: Arc<Counts> = Arc::default();
    crate::metrics::register(&mut metrics, &facts, keeper.clone(), sources.clone(), counts.clone());
    let shutdown = CancellationToken::new();
    let (subscriber, log) = logging::subscriber(LogFormat::Human, "off").unwrap();
    let app = App {
        config_file: std::path::PathBuf::new(),
        logs: None,
        facts,
        product: Some("acme".into()),
        keeper: keeper.clone(),
        names: None,
        logins: None,
        unfilled: (keeper.state().position().serial == 0).into(),
        sources,
        log,
        token: Arc::new(Token::read(Some(dir.path().join("token"))).unwrap()),
        counts: counts.clone(),
        metrics,
        shutdown: shutdown.clone(),
    };
    let gate: Gate = Arc::new(OnceLock::new());
    assert!(gate.set(Arc::new(app)).is_ok());
    let (http, served) = listen(dir.path(), &gate, &counts, &shutdown).await;
    Node { dir, keeper, http, shutdown, served, _log: Box::new(subscriber) }
}

async fn listen(
    dir: &Path,
    gate: &Gate,
    counts: &Arc<Counts>,
    shutdown: &CancellationToken,
) -> (std::net::SocketAddr, tokio::task::JoinHandle<Result<(), String>>) {
    let unix = UnixListener::bind(dir.join("control.sock")).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = tcp.local_addr().unwrap();
    tokio::spawn(serve(Listener::Tcp(tcp), router(gate.clone(), counts.clone()), counts.clone(), shutdown.clone()));
    (
        http,
        tokio::spawn(serve(
            Listener::Unix(unix),
            router(gate.clone(), counts.clone()),
            counts.clone(),
            shutdown.clone(),
        )),
    )
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> (StatusCode, String)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn request(method: &str, target: &str, body: impl ToString, token: Option<&str>) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(target).header("host", "gatehouse");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Full::from(body.to_string())).unwrap()
}

impl Node {
    async fn ask(&self, method: &str, target: &str, body: impl ToString) -> (u16, Value) {
        let stream = UnixStream::connect(self.dir.path().join("control.sock")).await.unwrap();
        let (status, text) = exchange(stream, request(method, target, body, None)).await;
        (status.as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn ask_http(&self, method: &str, target: &str, body: Value, token: Option<&str>) -> u16 {
        let stream = TcpStream::connect(self.http).await.unwrap();
        exchange(stream, request(method, target, body, token)).await.0.as_u16()
    }
}

fn host(name: &str, last: u8) -> Value {
    json!({ "name": name, "zone": "us-east-1a", "private_ip": format!("10.0.0.{last}"), "roles": ["web"] })
}

#[tokio::test]
async fn a_host_comes_changes_and_goes() {
    let node = node().await;
    // Company, so that the guard finds nothing wrong with the end of one host.
    let others: Vec<Value> = (2..=5).map(|n| host(&format!("web0{n}"), n)).collect();
    assert_eq!(node.ask("POST", "/v1/hosts:import?format=json", json!(others)).await.0, 200);
    let (code, written) = node.ask("POST", "/v1/hosts", host("web01", 1)).await;
    assert_eq!((code, &written["outcome"], &written["changed"]), (201, &json!("applied"), &json!(1)), "{written}");
    let (code, shown) = node.ask("GET", "/v1/hosts/web01.us-east-1a", "").await;
    assert_eq!((code, &shown["region"], &shown["source"]), (200, &json!("us-east-1"), &json!("api")));

    let patch = json!({ "state": "draining", "roles": null, "tags": { "env": "prod" }, "why": "disk" });
    assert_eq!(node.ask("PATCH", "/v1/hosts/web01.us-east-1a.acme", patch).await.0, 200);
    let (_, shown) = node.ask("GET", "/v1/hosts/web01.us-east-1a", "").await;
    assert_eq!(
        (&shown["state"], &shown["roles"], &shown["tags"]["env"]),
        (&json!("draining"), &json!([]), &json!("prod"))
    );

    let (code, unchanged) = node.ask("PUT", "/v1/hosts/web01.us-east-1a", shown).await;
    assert_eq!((code, &unchanged["outcome"]), (200, &json!("unchanged")), "{unchanged}");
    assert_eq!(node.ask("DELETE", "/v1/hosts/web01.us-east-1a", "").await.0, 200);
    assert_eq!(node.ask("DELETE", "/v1/hosts/web01.us-east-1a", "").await.0, 404);

    let (_, changes) = node.ask("GET", "/v1/changes?host=web01.us-east-1a", "").await;
    let whys: Vec<&Value> = changes["items"].as_array().unwrap().iter().map(|c| &c["why"]).collect();
    assert_eq!(whys, [&json!(""), &json!("disk"), &json!("")]);
    let who = changes["items"][0]["who"].as_str().unwrap();
    assert!(who.ends_with(" via socket"), "{who}");
}

#[tokio::test]
async fn concurrent_patches_of_one_host_all_stay() {
    let node = node().await;
    assert_eq!(node.ask("POST", "/v1/hosts", host("web01", 1)).await.0, 201);
    for round in 0..20 {
        let value = format!("g{round}");
        let (a, b, c) = tokio::join!(
            node.ask("PATCH", "/v1/hosts/web01.us-east-1a", json!({ "tags": { "a": value } })),
            node.ask("PATCH", "/v1/hosts/web01.us-east-1a", json!({ "public_ip": format!("203.0.113.{round}") })),
            node.ask("PATCH", "/v1/hosts/web01.us-east-1a", json!({ "groups": [value] })),
        );
        assert_eq!((a.0, b.0, c.0), (200, 200, 200), "{} {} {}", a.1, b.1, c.1);
        let (_, shown) = node.ask("GET", "/v1/hosts/web01.us-east-1a", "").await;
        let all = [&shown["tags"]["a"], &shown["groups"][0]];
        assert_eq!((all, &shown["public_ip"]), ([&json!(value); 2], &json!(format!("203.0.113.{round}"))), "{shown}");
    }
}

#[tokio::test]
async fn refusals_say_why() {
    let node = node().await;
    assert_eq!(node.ask("POST", "/v1/hosts", host("web01", 1)).await.0, 201);
    let (code, body) = node.ask("POST", "/v1/hosts", host("web01", 2)).await;
    assert_eq!((code, body["error"].as_str().unwrap().contains("is there already")), (409, true), "{body}");
    let (code, body) = node.ask("POST", "/v1/hosts", host("web02", 1)).await;
    assert_eq!(code, 409);
    assert!(body["details"][0].as_str().unwrap().contains("10.0.0.1"), "{body}");
    let (code, body) = node.ask("POST", "/v1/hosts", host("web_2", 3)).await;
    assert_eq!(code, 400, "{body}");
    let (code, body) = node.ask("PATCH", "/v1/hosts/web01.us-east-1a", json!({ "colour": "red" })).await;
    assert!(code == 400 && body["error"].as_str().unwrap().contains("no such key"), "{body}");
    let (code, body) = node.ask("PUT", "/v1/hosts/web01.us-east-1a", host("web09", 1)).await;
    assert!(code == 400 && body["error"].as_str().unwrap().contains("in the path"), "{body}");
    let (code, body) = node.ask("GET", "/v1/hosts/web01.us-east-1z", "").await;
    assert_eq!(code, 404);
    assert!(body["error"].as_str().unwrap().ends_with("there is web01.us-east-1a"), "{body}");
    assert_eq!(node.ask("GET", "/v1/hosts?colour=red", "").await.0, 400);
    assert_eq!(node.ask("GET", "/v1/hosts?limit=0", "").await.0, 400);
    assert_eq!(node.ask("POST", "/v1/hosts", "{").await.0, 400);
    assert_eq!(node.ask("GET", "/v1/nothing", "").await.0, 404);
    assert_eq!(node.ask("DELETE", "/v1/hosts", "").await.0, 405);
    let long = "x".repeat(super::BODY_MAX + 1);
    let (code, body) = node.ask("POST", "/v1/hosts", long).await;
    assert!(code == 413 && body["error"].as_str().unwrap().contains("too large"), "{body}");
    let (code, body) = node.ask("GET", "/v1/hosts/%ff", "").await;
    assert!(code == 400 && body["error"].as_str().unwrap().contains("cannot be understood"), "{body}");
    let mut raw = host("web03", 3);
    raw["why"] = json!("\u{1b}[2J");
    let (code, body) = node.ask("POST", "/v1/hosts", raw).await;
    assert!(code == 400 && body["error"].as_str().unwrap().contains("control characters"), "{body}");
}

#[tokio::test]
async fn http_reads_and_writes_with_the_token_only() {
    let node = node().await;
    assert_eq!(node.ask_http("GET", "/v1/hosts", Value::Null, None).await, 200);
    assert_eq!(node.ask_http("POST", "/v1/hosts", host("web01", 1), None).await, 401);
    assert_eq!(node.ask_http("POST", "/v1/hosts", host("web01", 1), Some("a-token-of-others")).await, 401);
    assert_eq!(node.keeper.state().host_count(), 0);
    assert_eq!(node.ask_http("POST", "/v1/hosts", host("web01", 1), Some(TOKEN)).await, 201);
    let (_, changes) = node.ask("GET", "/v1/changes", "").await;
    assert_eq!(changes["items"][0]["who"], json!("token via http from 127.0.0.1"));
}

#[tokio::test]
async fn lists_come_in_pages() {
    let node = node().await;
    let hosts: Vec<Value> = (1..=5).map(|n| host(&format!("web0{n}"), n)).collect();
    let (code, written) = node.ask("POST", "/v1/hosts:import?format=json", json!(hosts)).await;
    assert_eq!((code, &written["changed"]), (200, &json!(5)), "{written}");
    let (mut target, mut seen) = ("/v1/hosts?limit=2&role=web".to_owned(), Vec::new());
    let pages = loop {
        let (_, page) = node.ask("GET", &target, "").await;
        seen.extend(page["items"].as_array().unwrap().iter().map(|h| h["name"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => target = format!("/v1/hosts?limit=2&role=web&after={next}"),
            None => break seen,
        }
    };
    assert_eq!(pages, ["web01", "web02", "web03", "web04", "web05"]);
    assert_eq!(node.ask("GET", "/v1/hosts?state=stopped", "").await.1["items"], json!([]));
}

#[tokio::test]
async fn changes_have_a_next_page_also_after_a_very_large_one() {
    let node = node().await;
    let add = |n: usize| {
        let key = inventory::RecordKey { name: format!("n{n}.example").into(), rtype: "TXT".into(), data: "x".into() };
        Edit::Add(inventory::Row::Record(Arc::new(inventory::Record { key, ttl: None, source: "api".into() })))
    };
    let rows = inventory::keeper::HISTORY_ROWS_MAX + 5;
    for range in [0..1, 1..rows + 1, rows + 1..rows + 2] {
        let author = inventory::Author { who: "alice".into(), when_ms: 1, why: String::new() };
        node.keeper.propose(Proposal { author, edits: range.map(add).collect() }).await.unwrap();
    }
    let (mut target, mut serials, mut left_out) = ("/v1/changes".to_owned(), Vec::new(), Vec::new());
    loop {
        let (_, page) = node.ask("GET", &target, "").await;
        serials.extend(page["items"].as_array().unwrap().iter().map(|set| set["serial"].as_u64().unwrap()));
        left_out.push(page["rows_left_out"].as_u64());
        match page["next"].as_str() {
            Some(next) => target = format!("/v1/changes?before={next}"),
            None => break,
        }
    }
    assert_eq!((serials, left_out), (vec![3, 2, 1], vec![Some(6), None]));
}

#[tokio::test]
async fn imports_are_whole_or_not_at_all() {
    let node = node().await;
    let csv = "name,zone,private_ip\nweb01,us-east-1a,10.0.0.1\nweb02,us-east-1a,10.0.0.2\n";
    let (_, trial) = node.ask("POST", "/v1/hosts:import?format=csv&dry_run=true", csv).await;
    assert_eq!((&trial["added"], node.keeper.state().host_count()), (&json!(2), 0), "{trial}");
    assert_eq!(node.ask("POST", "/v1/hosts:import?format=csv&sync=true", csv).await.0, 200);
    let next = "name,zone,private_ip\nweb01,us-east-1a,10.0.0.1\nweb03,us-east-1a,10.0.0.3\n";
    let target = "/v1/hosts:import?format=csv&sync=true&dry_run=true";
    let trial = node.ask("POST", target, next).await.1;
    assert_eq!(
        trial,
        json!({
            "added": 1, "changed": 0, "unchanged": 1, "removed": 1, "refused": [],
            "first_rows": ["remove host web02.us-east-1a.acme", "add host web03.us-east-1a.acme"],
            "held": ["it removes 1 of the 2 hosts of product acme, more than 30 %"],
        })
    );
    let stranger = node.ask("POST", "/v1/hosts:import?format=json&dry_run=true", HOST_LIST).await.1;
    let counts = ["added", "changed", "unchanged", "removed"].map(|field| stranger[field].as_u64());
    assert_eq!(counts, [Some(0); 4], "{stranger}");
    assert!(stranger["refused"][0].as_str().unwrap().contains("defined twice: by import:csv and by import:json"));
    assert_eq!((node.keeper.state().position().serial, node.keeper.held()), (1, vec![]), "nothing was done");
    let broken = "name,zone,private_ip\nweb03,us-east-1a,10.0.0.3\nweb04,us-east-1a,nowhere\n";
    let (code, body) = node.ask("POST", "/v1/hosts:import?format=csv&file=hosts.csv", broken).await;
    assert_eq!((code, node.keeper.state().host_count()), (400, 2), "{body}");
    assert!(body["error"].as_str().unwrap().starts_with("hosts.csv:3: private_ip: "), "{body}");
    assert!(node.ask("POST", "/v1/hosts:import?format=odt", "").await.1["error"].as_str().unwrap().contains("odt"));
    assert_eq!(node.ask("POST", "/v1/hosts:import?format=csv", "\u{1}").await.0, 400);
}

#[tokio::test]
async fn records_come_and_go() {
    let node = node().await;
    let record = json!({ "name": "WWW.acme.private.", "type": "cname", "data": "web.acme.private." });
    let (code, written) = node.ask("POST", "/v1/records", &record).await;
    assert_eq!(code, 201, "{written}");
    let (_, page) = node.ask("GET", "/v1/records?name=www.acme.private", "").await;
    assert_eq!(page["items"][0]["name"], json!("www.acme.private"), "{page}");
    assert_eq!(node.ask("POST", "/v1/records", &record).await.0, 409);
    assert_eq!(node.ask("DELETE", "/v1/records?name=www.acme.private&type=A", "").await.0, 404);
    assert_eq!(node.ask("DELETE", "/v1/records?name=www.acme.private&type=CNAME", "").await.0, 200);
    assert_eq!(node.keeper.state().record_count(), 0);

    let zone = json!([{ "name": "a.corp.example", "type": "A", "data": "10.0.0.9" }]);
    assert_eq!(node.ask("POST", "/v1/records?source=zone:corp.example&sync=true", &zone).await.0, 201);
    assert_eq!(node.ask("POST", "/v1/records?source=file&sync=true", &zone).await.0, 400);
    assert_eq!(node.ask("POST", "/v1/records?sync=true", &zone).await.0, 400);
    assert_eq!(node.keeper.state().records().next().unwrap().source, "zone:corp.example");
}

#[tokio::test]
async fn a_held_change_waits_for_accept() {
    let node = node().await;
    let hosts: Vec<Value> = (1..=4).map(|n| host(&format!("web0{n}"), n)).collect();
    assert_eq!(node.ask("POST", "/v1/hosts:import?format=json", json!(hosts)).await.0, 200);
    let fewer = json!([hosts[0].clone()]);
    let (code, written) = node.ask("POST", "/v1/hosts:import?format=json&sync=true", &fewer).await;
    assert_eq!((code, &written["outcome"], node.keeper.state().host_count()), (202, &json!("held"), 4), "{written}");
    let id = written["id"].as_u64().unwrap();
    let (_, status) = node.ask("GET", "/v1/status", "").await;
    assert_eq!(status["stalls"].as_array().unwrap().len(), 1, "{status}");
    assert_eq!(node.ask("GET", "/v1/held", "").await.1["items"][0]["rows"], json!(3));
    assert_eq!(node.ask("POST", &format!("/v1/held/{}/accept", id + 1), "").await.0, 404);
    assert_eq!(node.ask("POST", &format!("/v1/held/{id}/accept"), "").await.0, 200);
    assert_eq!(node.keeper.state().host_count(), 1);

    let (_, written) = node.ask("DELETE", "/v1/hosts/web01.us-east-1a", "").await;
    let id = written["id"].as_u64().unwrap();
    assert_eq!(node.ask("POST", &format!("/v1/held/{id}/discard"), "").await.0, 200);
    assert_eq!((node.keeper.state().host_count(), node.keeper.held().len()), (1, 0));
}

#[tokio::test]
async fn what_the_folder_defines_is_changed_there() {
    let node = node().await;
    let toml = "[[host]]\nname = \"web01\"\nzone = \"us-east-1a\"\nprivate_ip = \"10.0.0.1\"\n";
    std::fs::create_dir(node.dir.path().join("inv")).unwrap();
    std::fs::write(node.dir.path().join("inv/hosts.toml"), toml).unwrap();
    let defaults = inventory::source::Defaults { product: "acme".into() };
    let rows = inventory::source::read_folder(&node.dir.path().join("inv"), &defaults).unwrap();
    let author = inventory::Author { who: "file".into(), when_ms: 1, why: String::new() };
    let edits = vec![Edit::Sync { source: "file".into(), rows }];
    node.keeper.propose(Proposal { author, edits }).await.unwrap();
    let (code, body) = node.ask("PATCH", "/v1/hosts/web01.us-east-1a", json!({ "state": "draining" })).await;
    assert_eq!(code, 409);
    assert!(body["details"][0].as_str().unwrap().contains("hosts.toml; change it there"), "{body}");
}

#[tokio::test]
async fn the_node_tells_how_it_is() {
    let node = node().await;
    assert_eq!(node.ask("GET", "/healthz", "").await, (200, json!("ok\n")));
    assert_eq!(node.ask("GET", "/readyz", "").await.0, 200);
    node.ask("POST", "/v1/hosts", host("web01", 1)).await;
    let (code, text) = node.ask("GET", "/metrics", "").await;
    let text = text.as_str().unwrap();
    assert_eq!(code, 200);
    for line in [
        "gatehouse_position_serial 1",
        "gatehouse_hosts 1",
        "gatehouse_store_changes_total 1",
        "gatehouse_api_connections 1",
    ] {
        assert!(text.lines().any(|l| l.trim_end_matches(".0") == line), "{line} in {text}");
    }
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("gatehouse_api_answers_total{class=\"fine\"} 3"), "{text}");
    assert_eq!(node.ask("PUT", "/v1/log-level", json!({ "level": "error" })).await.0, 200);
    assert_eq!(node.ask("GET", "/v1/log-level", "").await.1["level"], json!("error"));
    assert_eq!(node.ask("PUT", "/v1/log-level", json!({ "level": "loud" })).await.0, 400);
    assert_eq!(node.ask("GET", "/v1/dns/explain?name=x", "").await.0, 404);
}

#[tokio::test]
async fn before_the_store_is_open_only_health_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, shutdown) = (Gate::default(), CancellationToken::new());
    let (http, _) = listen(dir.path(), &gate, &Arc::default(), &shutdown).await;
    for (target, code) in [("/healthz", 200), ("/readyz", 503), ("/v1/status", 503), ("/metrics", 503)] {
        let stream = TcpStream::connect(http).await.unwrap();
        let (status, body) = exchange(stream, request("GET", target, "", None)).await;
        assert_eq!(status.as_u16(), code, "{target}: {body}");
    }
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let node = node().await;
    let stream = UnixStream::connect(node.dir.path().join("control.sock")).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(request("GET", "/healthz", "", None)).await.unwrap();
    response.into_body().collect().await.unwrap();
    node.shutdown.cancel();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(4), node.served).await;
    assert_eq!(ended.unwrap().unwrap(), Ok(()));
}

#[tokio::test]
async fn connections_of_one_address_above_its_limit_are_told_so() {
    let node = node().await;
    let mut idle = Vec::new();
    for _ in 0..super::slots::PER_PEER_MAX {
        idle.push(TcpStream::connect(node.http).await.unwrap());
    }
    let mut refused = TcpStream::connect(node.http).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut refused, &mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 503 ") && head.contains(&format!("content-length: {}\r\n", body.len())),
        "{answer}"
    );
    assert!(serde_json::from_str::<Value>(body).unwrap()["error"].as_str().unwrap().contains("too many"));
    assert_eq!(node.ask("GET", "/v1/hosts", "").await.0, 200);
    drop(idle);
}

#[test]
fn every_route_is_documented_and_every_documented_route_is_there() {
    let document: Value = serde_json::from_str(super::live::OPENAPI).unwrap();
    let source = include_str!("../api.rs");
    let routes = source.split(".route(\"").skip(1).map(|rest| {
        let (path, rest) = rest.split_once('"').unwrap();
        (path, rest.lines().next().unwrap())
    });
    let mut found = 0;
    for (path, handlers) in routes {
        let documented = document["paths"][path].as_object().unwrap_or_else(|| panic!("{path} is not documented"));
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let word = method.as_str().to_ascii_lowercase();
            let served = handlers.contains(&format!("{word}("));
            assert_eq!(documented.contains_key(&word), served, "{word} {path}");
            found += usize::from(served);
        }
    }
    assert!(found >= 20, "{found}");
    let all: usize = document["paths"].as_object().unwrap().values().map(|p| p.as_object().unwrap().len()).sum();
    assert_eq!(all, found, "the document describes routes that do not exist");
}
