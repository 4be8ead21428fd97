use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::message::{Field, Flags, Message, Status};

fn files(path: &str) -> Result<String, String> {
    match path {
        "/list" => Ok("web01\n\r\n\ndb01\r\n".into()),
        "/long" => Ok("x".repeat(LIST_MAX + 1)),
        _ => Err("no such file".into()),
    }
}

fn parse(text: &str) -> Result<Filter, FilterError> {
    Filter::parse(text, &mut files)
}

fn fault(text: &str) -> (usize, String) {
    let error = parse(text).expect_err(text);
    (error.column, error.text)
}

/// The messages of the golden table, in its order.
fn messages(golden: &'static str) -> Vec<(&'static str, Message<'static>)> {
    let mut messages: Vec<(&str, Message<'_>)> = Vec::new();
    for line in golden.lines() {
        if let Some(line) = line.strip_prefix("message ") {
            let [name, pri, host, program, pid, address, text] =
                line.splitn(7, ' ').collect::<Vec<_>>().try_into().unwrap();
            let mut message = Message::unread(text.as_bytes(), 1_795_194_305_000_000);
            message.status = Status::Rfc3164;
            message.pri = pri.parse().unwrap();
            message.address = address.parse().ok();
            message.set(Field::Host, host.as_bytes());
            message.set(Field::Program, program.as_bytes());
            message.set(Field::Pid, if pid == "-" { b"" } else { pid.as_bytes() });
            messages.push((name, message));
        } else if let Some(line) = line.strip_prefix("labels ") {
            let mut words = line.split(' ');
            let name = words.next().unwrap();
            let (_, message) = messages.iter_mut().find(|(known, _)| *known == name).unwrap();
            for word in words {
                let (key, value) = word.split_once('=').unwrap_or((word, ""));
                let list = format!("{}\n", value.replace(',', "\n")).leak().as_bytes();
                match key {
                    "source" => message.set(Field::Source, value.as_bytes()),
                    "zone" => message.set(Field::Zone, value.as_bytes()),
                    "region" => message.set(Field::Region, value.as_bytes()),
                    "product" => message.set(Field::Product, value.as_bytes()),
                    "roles" => message.set(Field::Roles, list),
                    "groups" => message.set(Field::Groups, list),
                    "labels" => message.set(Field::Labels, list),
                    "tags" => message.set(Field::Tags, list),
                    "known" => message.flags = message.flags.with(Flags::KNOWN),
                    "unparsed" => message.status = Status::Unparsed,
                    _ => panic!("{word}"),
                }
            }
        }
    }
    messages
}

#[test]
fn the_golden_table() {
    let golden = include_str!("golden.txt");
    let messages = messages(golden);
    let (mut rows, mut wrong) = (0, String::new());
    let mut lines = golden.lines();
    while let Some(line) = lines.next() {
        let Some(text) = line.strip_prefix("filter ") else { continue };
        let expected: Vec<_> = lines.next().unwrap().split(' ').skip(1).collect();
        let filter = parse(text).unwrap_or_else(|error| panic!("{error}"));
        let passes = |name: &str, message: &Message<'_>| {
            let context = Context { had_been_silent: name == "alert", now_us: 0 };
            let outcome = filter.matches(message, &context);
            assert_eq!(filter.explain(message, &context)[0], (filter.as_str().into(), outcome), "{text}");
            outcome
        };
        let found: Vec<_> = messages.iter().filter(|(name, m)| passes(name, m)).map(|(name, _)| *name).collect();
        if found != expected {
            wrong += &format!("{text}\n  expected {expected:?}\n  found    {found:?}\n");
        }
        rows += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(rows == 88, "{rows} rows were read");
}

#[test]
fn errors_point_at_the_place_and_name_the_remedy() {
    let cases = [
        ("", 1, "empty"),
        ("  level(err) and", 17, "filter is expected"),
        ("level(err) program(\"x\")", 12, "join filters with and"),
        ("level(err))", 11, "closes nothing"),
        ("(level(err)", 12, "a ), and, or"),
        ("level(errr)", 7, "is err meant?"),
        ("facility(auth, atuhpriv)", 16, "is authpriv meant?"),
        ("level()", 7, "missing"),
        ("level", 1, "a ( is missing after level"),
        ("progam(\"x\")", 1, "is program(...) meant?"),
        ("xyzzy(\"x\")", 1, "there are facility, level"),
        ("program(\"x\") AND host(\"y\")", 14, "\"AND\" follows here; join filters with and"),
        ("level(err) and OR", 16, "small letters"),
        ("HOST eq \"x\"", 1, "\"${HOST}\" eq"),
        ("\"${HOST}\" eq HOST", 14, "\"${HOST}\" for the macro"),
        ("\"${HOST\" eq \"x\"", 2, "no }"),
        ("\"${HOST}\"", 10, "compare it"),
        ("\"${LOGHOST}\" eq \"x\"", 1, "relay that they run on"),
        ("message(\"a(b\")", 9, "unclosed group"),
        ("message(\"a(?!b)\")", 9, "look-around"),
        ("message(\"(\\\\w{1000}){1000}\" flags(utf8))", 9, "octets when compiled"),
        ("message(\"x\" flags(ignore_cas))", 19, "is ignore-case meant?"),
        ("message(\"x\" flags(store-matches))", 19, "subst"),
        ("message(\"x\" type(posx))", 18, "there are pcre, glob and string"),
        ("message(\"x\" flags(prefix))", 27, "need type(string)"),
        ("message(\"x\" flavor(prefix))", 13, "is flags(...) meant?"),
        ("message(\"x\" value(\"HOST\"))", 19, "belongs to match()"),
        ("match(\"x\" value(\"${HOST} x\"))", 17, "one name"),
        ("netmask(\"10.0.0.0/33\")", 9, "is no network"),
        ("netmask(\"::1/64\")", 9, "netmask6()"),
        ("netmask6(\"10.0.0.0/8\")", 10, "netmask()"),
        ("filter(f_errors)", 1, "have no names here"),
        ("rate-limit(rate(5))", 1, "logrelay.role"),
        ("blank(\"HOST\")", 1, "eq \"\""),
        ("known(1)", 7, "takes nothing"),
        ("in-list(\"/none\" value(\"HOST\"))", 9, "no such file"),
        ("in-list(\"/long\" value(\"HOST\"))", 9, "at most"),
        ("in-list(\"/list\")", 17, "value(\"HOST\")"),
        ("program(\"x", 9, "closing quote"),
        ("role()", 6, "missing"),
        ("not", 4, "filter is expected"),
        ("grün(\"x\") ", 1, "is no filter"),
        ("host(\"ü\") an host(\"x\")", 11, "join filters"),
    ];
    for (text, column, remedy) in cases {
        let (at, why) = fault(text);
        assert!(at == column && why.contains(remedy), "{text}: column {at}: {why}");
    }
    assert_eq!(
        parse("level(err)\n  and levl(crit)").unwrap_err().to_string(),
        "line 2, column 7: levl is no filter function; is level(...) meant?\n    and levl(crit)\n        ^"
    );
}

#[test]
fn limits() {
    let nested = |depth: usize| format!("{}known(){}", "(".repeat(depth), ")".repeat(depth));
    assert!(parse(&nested(DEPTH_MAX)).is_ok());
    assert!(fault(&nested(DEPTH_MAX + 1)).1.contains("flatter"));
    assert!(fault(&format!("{}known()", "not ".repeat(DEPTH_MAX + 1))).1.contains("flatter"));
    assert!(parse(&vec!["2>1"; 9000].join(" or ")).is_ok());
    assert!(fault(&vec!["2>1"; 9500].join(" or ")).1.contains("at most 65536 octets"));
    let nots = vec![format!("{}2>1", "not ".repeat(60)); 200].join(" or ");
    assert!(fault(&nots).1.contains("more than 10000"));
    let patterns = |count| vec!["host(\"a.\")"; count].join(" or ");
    assert!(parse(&patterns(PATTERNS_MAX)).is_ok());
    assert!(fault(&patterns(PATTERNS_MAX + 1)).1.contains("more than 256 patterns"));
    let lists = vec!["in-list(\"/list\" value(\"HOST\"))"; LISTS_MAX + 1].join(" or ");
    assert!(fault(&lists).1.contains("join the files"));
}

#[test]
fn explain_shows_every_expression() {
    let text = " level(err) and (program(\"a\") or not known()) ";
    let filter = parse(text).unwrap();
    let message = Message::unread(b"x", 0);
    let lines = filter.explain(&message, &Context::default());
    let lines: Vec<_> = lines.iter().map(|(text, outcome)| (text.as_str(), *outcome)).collect();
    assert_eq!(
        lines,
        [
            ("level(err) and (program(\"a\") or not known())", false),
            ("level(err)", false),
            ("program(\"a\") or not known()", true),
            ("program(\"a\")", false),
            ("not known()", true),
            ("known()", false),
        ]
    );
}

#[test]
fn a_long_line_is_matched_whole() {
    let text = format!("{}needle", "x".repeat(5000));
    let mut message = Message::unread(text.as_bytes(), 0);
    message.set(Field::Program, b"app");
    assert!(parse("match(\"^app: x+needle$\")").unwrap().matches(&message, &Context::default()));
}

/// An expression over the first atoms of [`ATOMS`].
#[derive(Debug, Clone)]
enum Tree {
    Atom(usize),
    Not(Box<Tree>),
    And(Vec<Tree>),
    Or(Vec<Tree>),
}

const ATOMS: [&str; 4] = ["level(err)", "program(\"app\")", "known()", "\"${PID}\" > 5"];

impl Tree {
    fn text(&self) -> String {
        match self {
            Self::Atom(number) => ATOMS[*number].into(),
            Self::Not(inner) => format!("not {}", inner.wrapped(2)),
            Self::And(inner) => inner.iter().map(|tree| tree.wrapped(1)).collect::<Vec<_>>().join(" and "),
            Self::Or(inner) => inner.iter().map(|tree| tree.wrapped(0)).collect::<Vec<_>>().join(" or "),
        }
    }

    /// In parentheses where the outer operator binds as close or closer, so that precedence is used where it can be.
    fn wrapped(&self, outer: u8) -> String {
        let own = match self {
            Self::Or(_) => 0,
            Self::And(_) => 1,
            Self::Atom(_) | Self::Not(_) => 3,
        };
        if own <= outer { format!("({})", self.text()) } else { self.text() }
    }

    fn naive(&self, atoms: [bool; 4]) -> bool {
        match self {
            Self::Atom(number) => atoms[*number],
            Self::Not(inner) => !inner.naive(atoms),
            Self::And(inner) => inner.iter().all(|tree| tree.naive(atoms)),
            Self::Or(inner) => inner.iter().any(|tree| tree.naive(atoms)),
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    (0..ATOMS.len()).prop_map(Tree::Atom).prop_recursive(6, 40, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|tree| Tree::Not(tree.into())),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Tree::And),
            prop::collection::vec(inner, 2..4).prop_map(Tree::Or),
        ]
    })
}

proptest! {
    #[test]
    fn a_filter_decides_as_its_tree_does(tree in tree(), atoms in any::<[bool; 4]>()) {
        let mut message = Message::unread(b"x", 0);
        message.pri = if atoms[0] { 3 } else { 6 };
        message.set(Field::Program, if atoms[1] { b"myapp" } else { b"other" });
        message.flags = if atoms[2] { Flags::KNOWN } else { Flags::NOT_UTF8 };
        message.set(Field::Pid, if atoms[3] { b"10" } else { b"5" });
        let filter = parse(&tree.text()).unwrap();
        let expected = tree.naive(atoms);
        prop_assert_eq!(filter.matches(&message, &Context::default()), expected, "{}", tree.text());
        let lines: BTreeMap<_, _> = filter.explain(&message, &Context::default()).into_iter().collect();
        for (atom, outcome) in ATOMS.into_iter().zip(atoms) {
            prop_assert!(lines.get(atom).is_none_or(|shown| *shown == outcome));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,60}", tail in "[a-z\"'(),.!=$ {}]{0,40}") {
        for text in [text.clone(), tail.clone(), format!("match(\"{text}\" {tail})"), format!("not {tail} or {text}")] {
            match parse(&text) {
                Ok(filter) => { filter.matches(&Message::unread(b"x", 0), &Context::default()); }
                Err(error) => prop_assert!(error.column <= text.chars().count() + 1 && !error.to_string().is_empty()),
            }
        }
    }

    #[test]
    fn constant_patterns_are_found_where_the_regex_finds_them(text in "[ab.]{0,6}", pattern in "\\^?[ab]{0,3}\\$?",
        ignore_case in any::<bool>()) {
        let flags = super::pattern::Flags { ignore_case, ..Default::default() };
        let quick = super::pattern::Pattern::new(&pattern, PatternKind::Pcre, flags).unwrap();
        let slow = compile(&pattern, PatternKind::Pcre, flags).unwrap();
        prop_assert_eq!(quick.matches(text.as_bytes()), slow.is_match(text.as_bytes()));
    }

    #[test]
    fn globs_match_as_they_should(text in "[ab]{0,6}", pattern in "[ab*?]{0,5}") {
        fn naive(pattern: &[u8], text: &[u8]) -> bool {
            match (pattern, text) {
                ([], text) => text.is_empty(),
                ([b'*', rest @ ..], text) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
                ([b'?', rest @ ..], [_, after @ ..]) => naive(rest, after),
                ([one, rest @ ..], [first, after @ ..]) => one == first && naive(rest, after),
                _ => false,
            }
        }
        let quick = super::pattern::Pattern::new(&pattern, PatternKind::Glob, Default::default()).unwrap();
        prop_assert_eq!(quick.matches(text.as_bytes()), naive(pattern.as_bytes(), text.as_bytes()));
    }
}
