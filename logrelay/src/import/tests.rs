//! An ordinary configuration, and odd ones.

use proptest::prelude::*;

use super::*;
use crate::config::{Config, Listen, Profile};

const ORDINARY: &str = include_str!("../../tests/data/syslog-ng.conf");
const INCLUDED: &str = include_str!("../../tests/data/conf.d/mail.conf");
const EXPECTED: &str = include_str!("../../tests/data/syslog-ng.toml");

fn none(name: &str) -> Result<Vec<(String, String)>, String> {
    Err(format!("{name} does not exist"))
}

fn one(text: &str) -> Translation {
    translate(text, "a.conf", &mut none)
}

#[derive(serde::Deserialize)]
struct Root {
    #[serde(default)]
    logrelay: Config,
}

fn config(toml: &str) -> Config {
    toml::from_str::<Root>(toml).unwrap_or_else(|cause| panic!("{cause}\n{toml}")).logrelay
}

fn problems(translation: &Translation) -> Vec<String> {
    translation.problems.iter().map(ToString::to_string).collect()
}

/// One route, from a source that is there.
fn route(path: &str) -> (crate::config::Route, Vec<String>) {
    let text = format!("source s {{ udp(); }}; destination d {{ file(\"/d\"); }}; {path}");
    let translation = one(&text);
    let mut routes = config(&translation.toml).route;
    (routes.remove(0), problems(&translation))
}

#[test]
fn an_ordinary_configuration() {
    let mut include = |name: &str| {
        assert_eq!(name, "conf.d/*.conf");
        Ok(vec![("conf.d/mail.conf".to_owned(), INCLUDED.to_owned())])
    };
    let translation = translate(ORDINARY, "syslog-ng.conf", &mut include);
    config(&translation.toml);
    let listed: String = problems(&translation).iter().map(|problem| format!("# {problem}\n")).collect();
    let got = format!("{}\n{listed}", translation.toml);
    assert!(got == EXPECTED, "tests/data/syslog-ng.toml should be:\n{got}");
}

#[test]
fn sources_keep_what_they_say() {
    let translation = one("source s { tcp6(port(10514)); unix-stream(\"/run/log\"); pipe(\"/run/p\"); };
        options { keep-hostname(yes); time-zone(Europe/Berlin); };");
    let sources = config(&translation.toml).source;
    assert_eq!(sources.len(), 2);
    assert_eq!(
        sources[0].listen,
        [Listen::parse("tcp://[::]:10514").unwrap(), Listen::parse("pipe:///run/p").unwrap()]
    );
    assert_eq!((sources[1].profile, sources[1].name.as_str()), (Profile::Devlog, "s-2"));
    assert_eq!((sources[0].keep_hostname, sources[0].time_zone.as_deref()), (Some(true), Some("learn")));
    assert_eq!(problems(&translation).len(), 1);
}

#[test]
fn what_is_not_translated_is_listed_with_its_place() {
    let translation = one(
        "source s {\n  amqp(x(1));\n  tcp(ip(myhost));\n  udp(so-passcred(yes)); };\n@pragma x\nblock source b() { x(); };\n",
    );
    let want = [
        "a.conf:2: there is no source amqp() here",
        "a.conf:3: \"myhost\" is no address; sources listen on addresses here, not on names",
        "a.conf:4: so-passcred() of udp() is not translated",
        "a.conf:5: @pragma is not translated",
        "a.conf:6: block is not translated",
    ];
    assert_eq!(problems(&translation), want);
}

#[test]
fn a_path_whose_filter_cannot_be_said_is_no_route() {
    let translation = one("source s { udp(); }; destination d { file(\"/d\"); };
        log { source(s); filter { throttle(rate(1)); }; destination(d); };
        log { source(x); destination(d); };");
    assert!(config(&translation.toml).route.is_empty());
    assert!(translation.toml.contains("# to = [\"d\"]"));
    assert_eq!(translation.problems.len(), 4);
}

#[test]
fn filters_are_put_in_where_they_are_named() {
    let (found, problems) = route(
        "filter a { level(info) or filter(b); }; filter b { not (facility(mail) and program(\"x \\\"y\")); };
         log { source(s); filter(a); filter(b); destination(d); };",
    );
    let b = r#"(not (facility(mail) and program("x \"y")))"#;
    assert_eq!(found.filter.unwrap(), format!("(level(info) or {b}) and {b}"));
    assert_eq!(problems, [""; 0]);
}

#[test]
fn filters_in_a_circle_end() {
    let translation = one("source s { udp(); }; filter a { filter(b); }; filter b { filter(a); };
        destination d { file(\"/d\"); }; log { source(s); filter(a); destination(d); };");
    assert!(problems(&translation)[0].contains("in a circle"));
    // Each names the one before twice: 2^30 of the first.
    let mut text = String::from("source s { udp(); }; destination d { file(\"/d\"); }; filter f0 { level(info); };");
    for n in 1..31 {
        text += &format!("filter f{n} {{ filter(f{}) or filter(f{}); }};", n - 1, n - 1);
    }
    let translation = one(&(text + "log { source(s); filter(f30); destination(d); };"));
    assert!(problems(&translation)[0].contains("octets"));
}

#[test]
fn branches_that_multiply_end() {
    let junction = "junction { channel { filter { level(1); }; }; channel { filter { level(2); }; }; };";
    let text = format!("source s {{ udp(); }}; log {{ source(s); {} }};", junction.repeat(40));
    assert!(problems(&one(&text)).iter().any(|problem| problem.contains("multiply")));
}

#[test]
fn a_final_path_without_a_destination_drops() {
    let (found, problems) = route("log { source(s); filter { program(noise); }; flags(final); };");
    assert!(found.to.is_empty() && found.is_final && problems.is_empty());
}

#[test]
fn a_final_path_whose_destination_is_not_translated_drops_nothing() {
    let translation = one("source s { udp(); }; destination d { mongodb(); };
        log { source(s); destination(d); flags(final); };
        log { source(s); destination(e); flags(final); };");
    assert_eq!(config(&translation.toml).route.len(), 0, "{}", translation.toml);
    assert_eq!(translation.toml.matches("# final = true").count(), 2, "{}", translation.toml);
    let told = problems(&translation).iter().filter(|problem| problem.contains("this path is final")).count();
    assert_eq!(told, 2, "{:?}", problems(&translation));
}

#[test]
fn a_final_path_with_branches_keeps_all_that_it_takes() {
    let translation = one("source s { udp(); }; destination d { file(\"/d\"); };
        log { source(s); filter { level(info); }; log { filter { program(a); }; destination(d); }; flags(final); };");
    let routes = config(&translation.toml).route;
    assert_eq!(routes.len(), 2);
    assert_eq!(routes[0].filter.as_deref(), Some("level(info) and program(a)"));
    assert_eq!((routes[1].filter.as_deref(), routes[1].is_final, routes[1].to.len()), (Some("level(info)"), true, 0));
}

#[test]
fn includes_have_limits() {
    let mut again = |_: &str| Ok(vec![("b.conf".to_owned(), "@include \"b.conf\"\n".to_owned())]);
    let translation = translate("@include \"b.conf\"\n", "a.conf", &mut again);
    assert_eq!(
        problems(&translation),
        [format!("b.conf:1: includes are more than {DEPTH_MAX} deep; \"b.conf\" is not read")]
    );
    let mut many = |_: &str| Ok((0..=INCLUDES_MAX).map(|n| (format!("{n}"), String::new())).collect());
    assert!(problems(&translate("@include \"x\"\n", "a.conf", &mut many))[0].contains("\"100\" is not read"));
    let long = " ".repeat(FILE_MAX + 1);
    assert!(problems(&one(&long))[0].contains("octets"));
    assert!(problems(&one("@include \"x\""))[0].contains("x does not exist"));
}

#[test]
fn nesting_has_a_limit() {
    for (open, close) in [("a(", ")"), ("(", ")"), ("log {", "};")] {
        let text = format!("filter f {{ {} x {} }};", open.repeat(5000), close.repeat(5000));
        assert!(problems(&one(&text)).iter().any(|problem| problem.contains("nested")));
    }
}

#[test]
fn problems_have_a_limit() {
    let translation = one(&"nonsense {};\n".repeat(3000));
    assert_eq!(translation.problems.len(), NOTES_MAX + 1);
}

proptest! {
    #[test]
    fn whatever_the_text_is_the_result_can_be_read(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "source", "s", "{", "}", "(", ")", ";", ";", "destination", "d", "udp", "file", "\"/x\"", "filter", "log",
                "level", "info", "flags", "final", "fallback", "if", "else", "junction", "channel", "network", "tls", "port",
                "99999999999999999999", "514", "'", "\"", "\\", "`x`", "@include x\n", "\n@define x \"'\"\n", "not", "and", "..", ",",
                "rewrite", "set", "\"a'\\\"\u{1}\n\"", "#", "\n", "perm", "template", "é", "options", "log-msg-size",
            ]),
            0..200,
        )
    ) {
        let mut include = |_: &str| Ok(vec![("x".to_owned(), "source s { udp(); };".to_owned())]);
        let translation = translate(&words.join(" "), "a\nb.conf", &mut include);
        let routes = config(&translation.toml).route;
        prop_assert!(routes.iter().all(|route| route.is_final || !route.to.is_empty()));
    }

    #[test]
    fn parts_of_an_ordinary_one_can_be_read(from in 0usize..4000, to in 0usize..6000) {
        let text: String = ORDINARY.chars().skip(from).take(to).collect();
        config(&one(&text).toml);
    }
}
