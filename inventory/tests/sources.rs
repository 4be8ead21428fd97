//! What inventory files and imports give: rows, or sentences.
//!
//! `data/faults.txt` holds cases: a title line `=== KIND: title`, the input, and after `---` what comes out.
//! KIND is `file`, `folder` (files after `>>> name`), or an import format. `UPDATE_GOLDEN=1` writes the
//! answers anew; read the difference before keeping it.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{fmt::Write as _, fs, time::Instant};

use inventory::{
    Row,
    import::{self, Format},
    source::{Defaults, Fault, parse_toml, read_folder},
};
use proptest::prelude::*;

fn defaults() -> Defaults {
    Defaults { product: "acme".into() }
}

fn shown(result: Result<Vec<Row>, Vec<Fault>>) -> String {
    let mut out = String::new();
    match result {
        Ok(rows) => {
            for row in rows {
                writeln!(out, "{} {}", row.key().kind(), String::from_utf8(row.encode()).unwrap()).unwrap();
            }
        }
        Err(faults) => faults.iter().for_each(|fault| writeln!(out, "{fault}").unwrap()),
    }
    out
}

fn folder(input: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    for part in input.split(">>> ").skip(1) {
        let (name, text) = part.split_once('\n').unwrap();
        fs::write(dir.path().join(name), text).unwrap();
    }
    shown(read_folder(dir.path(), &defaults())).replace(&dir.path().display().to_string(), "FOLDER")
}

fn answer(kind: &str, input: &str) -> String {
    match kind {
        "file" => {
            let rows = parse_toml(input, "hosts.toml", &defaults());
            shown(rows.map(|rows| rows.into_iter().map(|located| located.row).collect()))
        }
        "folder" => folder(input),
        _ => shown(import::parse(kind.parse().unwrap(), input, &format!("in.{kind}"), &defaults())),
    }
}

#[test]
fn every_input_gives_its_rows_or_its_sentences() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/faults.txt");
    let golden = fs::read_to_string(path).unwrap();
    let mut now = String::new();
    for case in golden.split("=== ").skip(1) {
        let (title, rest) = case.split_once('\n').unwrap();
        let input = rest.split_once("---\n").map_or(rest, |(input, _)| input);
        let answer = answer(title.split(':').next().unwrap(), input);
        write!(now, "=== {title}\n{input}---\n{answer}").unwrap();
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, now).unwrap();
    } else {
        assert_eq!(now, golden, "run with UPDATE_GOLDEN=1 and read the difference");
    }
}

#[test]
fn ec2_output_as_aws_writes_it() {
    let text = include_str!("data/ec2.json");
    let rows = import::parse(Format::Ec2, text, "ec2.json", &defaults()).unwrap();
    let [Row::Host(host)] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(
        (host.short().as_str(), &*host.region, &*host.key.product),
        ("dev-mysql01.us-east-1b", "us-east-1", "acme")
    );
    assert_eq!(host.private_ip.to_string(), "10.12.3.45");
    assert_eq!(host.public_ip.unwrap().to_string(), "203.0.113.17");
    assert_eq!(host.ipv6.unwrap().to_string(), "2001:db8:1234:1a00::b");
    assert_eq!(&*host.roles, ["mysql"]);
    assert_eq!(&*host.tags, [("aws:cloudformation:stack-name".into(), "db-dev".into()), ("env".into(), "dev".into())]);
    assert_eq!(host.source, "import:ec2");
}

#[test]
fn an_empty_import_is_a_fault_and_not_an_empty_inventory() {
    let first = |format: Format, text: &str| import::parse(format, text, "in", &defaults()).unwrap_err()[0].to_string();
    for format in Format::ALL {
        for text in ["", " \n\t\n"] {
            assert!(first(format, text).starts_with("in: this is empty"), "{format:?}: {}", first(format, text));
        }
    }
    assert!(first(Format::Toml, "# hosts\n").starts_with("in: this is empty"));
    assert_eq!(import::parse(Format::Json, "[]", "in", &defaults()), Ok(Vec::new()));
    assert_eq!(import::parse(Format::Toml, "host = []", "in", &defaults()), Ok(Vec::new()));
}

#[test]
fn ec2_output_without_its_last_page_is_a_fault() {
    let pages = |tokens: &[&str]| -> String {
        tokens.iter().map(|token| format!("{{\"Reservations\": [], \"NextToken\": {token}}}\n")).collect()
    };
    let read = |text: &str| import::parse(Format::Ec2, text, "in", &defaults());
    assert_eq!(read(&pages(&["\"a\"", "null"])), Ok(Vec::new()));
    for cut in [pages(&["\"a\""]), pages(&["null", "\"b\""])] {
        let faults = read(&cut).unwrap_err();
        assert_eq!((faults.len(), faults[0].key.as_str()), (1, "NextToken"));
    }
}

#[test]
fn hosts_as_the_api_lists_them_can_be_imported_again() {
    let host = |n: u8| {
        format!(
            "{{\"name\": \"web{n}\", \"zone\": \"us-east-1a\", \"private_ip\": \"10.0.0.{n}\", \
             \"roles\": [\"web\"], \"source\": \"api\"}}"
        )
    };
    for text in [format!("{}\n{}\n", host(1), host(2)), format!("[{}, {}]", host(1), host(2))] {
        let rows = import::parse(Format::Json, &text, "in", &defaults()).unwrap();
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().all(|row| row.source() == "import:json"));
        assert!(rows.iter().all(|row| matches!(row, Row::Host(host) if *host.roles == ["web"])));
    }
}

#[test]
fn a_hundred_faults_are_told_and_the_rest_counted() {
    let text = "[[host]]\nname = \"a\"\n".repeat(80);
    let faults = parse_toml(&text, "hosts.toml", &defaults()).unwrap_err();
    assert_eq!(faults.len(), 101);
    assert_eq!(faults[100].to_string(), "hosts.toml: and 60 more faults; mend these first");
}

#[test]
fn deep_nesting_is_a_fault_not_a_crash() {
    let deep = "[".repeat(100_000);
    for (kind, text) in
        [("toml", format!("host = {deep}")), ("json", deep.clone()), ("ec2", format!("{{\"Reservations\":{deep}"))]
    {
        let faults = import::parse(kind.parse().unwrap(), &text, "in", &defaults()).unwrap_err();
        assert!(faults[0].text.starts_with("this is not "), "{kind}: {}", faults[0]);
    }
}

#[test]
fn text_that_is_not_utf8_is_told_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.toml"), b"# one\n# t\xffo\n").unwrap();
    let faults = read_folder(dir.path(), &defaults()).unwrap_err();
    assert_eq!(faults[0].to_string(), "a.toml:2: this is not UTF-8 text; save the file as UTF-8");
}

#[test]
fn what_is_no_file_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("a.toml")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("b.toml")).unwrap();
    let faults = read_folder(dir.path(), &defaults()).unwrap_err();
    assert_eq!(faults[0].to_string(), "a.toml: this is no regular file; move it out of the inventory folder");
    assert!(faults[1].to_string().starts_with("b.toml: this file cannot be read ("), "{}", faults[1]);
    assert_eq!(faults[2].text, "nothing of this folder was applied; the former state stays");
}

/// 100,000 hosts in the shape of a large site. Release builds must stay far below a second; the bound here
/// only catches what grows faster than the input, on a busy machine and without optimisation.
#[test]
fn a_hundred_thousand_hosts_are_read_quickly() {
    let mut text = String::new();
    for i in 0..100_000u32 {
        let [_, b, c, d] = i.to_be_bytes();
        let zone = ["us-east-1a", "us-east-1b", "eu-west-1a"][i as usize % 3];
        write!(text, "[[host]]\nname = \"prod-web{i:05}\"\nzone = \"{zone}\"\nprivate_ip = \"10.{b}.{c}.{d}\"\nroles = [\"web\"]\n\n")
            .unwrap();
    }
    let begin = Instant::now();
    let rows = parse_toml(&text, "hosts.toml", &defaults()).unwrap();
    let took = begin.elapsed();
    println!("{} hosts, {} octets: {took:?}", rows.len(), text.len());
    assert_eq!(rows.len(), 100_000);
    assert_eq!(rows[99_999].line, Some(99_999 * 6 + 1));
    assert!(took.as_secs() < 20, "{took:?}");
}

const SAMPLE: &str = "[[host]]\nname = \"a\"\nzone = \"us-east-1b\"\nprivate_ip = \"10.0.0.1\"\nroles = [\"web\"]\n\
                      tags = { env = \"dev\" }\n[[record]]\nname = \"x.y\"\ntype = \"A\"\ndata = \"10.0.0.2\"\nttl = 5\n[[role]]\nname = \"web\"\n";

/// Pieces that turn one kind of value into another when they are put into a file.
fn piece() -> impl Strategy<Value = String> {
    let known =
        ["[[", "]]", "\"", "\n", "=", "{", "}", "host", "name", "ttl = ", "-1", "1e9", "\\u0000", "'''", "ä", ".", "*"];
    prop_oneof![proptest::sample::select(known.to_vec()).prop_map(str::to_owned), ".{0,5}"]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_text_makes_a_reader_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, piece()), 0..6)) {
        for (kind, sample) in [("toml", SAMPLE), ("json", include_str!("data/ec2.json")), ("ec2", include_str!("data/ec2.json")),
            ("csv", "name,zone,private_ip,tags\na,b,10.0.0.1,k=v\n")]
        {
            let mut chars: Vec<char> = sample.chars().collect();
            for (at, cut, put) in &edits {
                let at = at.index(chars.len() + 1);
                let end = (at + cut).min(chars.len());
                chars.splice(at..end, put.chars());
            }
            let text: String = chars.into_iter().collect();
            let lines = u32::try_from(text.lines().count() + 1).unwrap();
            if let Err(faults) = import::parse(kind.parse().unwrap(), &text, "in", &defaults()) {
                prop_assert!(!faults.is_empty());
                for fault in faults {
                    prop_assert!(fault.line.is_none_or(|line| (1..=lines).contains(&line)), "{fault}");
                }
            }
        }
    }
}
