use super::*;

fn asked(line: &str) -> Vec<String> {
    let show = |q: &Question| format!("{} {}", q.name, text::type_name(q.rtype));
    questions(line).unwrap().iter().map(show).collect()
}

#[test]
fn lines_are_questions() {
    assert_eq!(asked("www.acme.private MX"), ["www.acme.private. MX"]);
    assert_eq!(asked("  WWW.acme.private\taaaa "), ["www.acme.private. AAAA"]);
    assert_eq!(asked("www.acme.private"), ["www.acme.private. A", "www.acme.private. AAAA"]);
    assert_eq!(asked("4.3.2.10.in-addr.arpa"), ["4.3.2.10.in-addr.arpa. PTR"]);
    assert_eq!(asked("_mysql._tcp.acme.private"), ["_mysql._tcp.acme.private. SRV"]);
    assert_eq!(asked("x TYPE65280"), ["x. TYPE65280"]);
    assert!(asked("").is_empty() && asked("# a comment").is_empty() && asked("; one more").is_empty());
}

#[test]
fn bad_lines_say_what_is_wrong() {
    assert_eq!(questions("a b").unwrap_err().to_string(), "\"b\" is no record type");
    assert_eq!(questions("a A IN").unwrap_err().to_string(), "\"IN\" follows the name and the type");
    assert_eq!(
        questions("a AXFR").unwrap_err().to_string(),
        "AXFR asks for no records of a name and cannot be compared"
    );
    assert!(matches!(questions("a..b"), Err(BadQuestion::Name(_))));
}

fn reply(rcode: &str, answers: &[(&str, u32)]) -> Reply {
    Reply { rcode: rcode.into(), answers: answers.iter().map(|(text, ttl)| ((*text).into(), *ttl)).collect() }
}

#[test]
fn answers_are_sets_and_ttls_are_counted_apart() {
    let mut counts = Counts::default();
    let two = reply("NOERROR", &[("a. A 10.0.0.1", 60), ("a. A 10.0.0.2", 60)]);
    assert!(counts.judge(Some(&two), Some(&reply("NOERROR", &[("a. A 10.0.0.2", 60), ("a. A 10.0.0.1", 60)]))));
    assert!(counts.judge(Some(&two), Some(&reply("NOERROR", &[("a. A 10.0.0.1", 60), ("a. A 10.0.0.2", 59)]))));
    assert!(!counts.judge(Some(&two), Some(&reply("NOERROR", &[("a. A 10.0.0.1", 60)]))));
    assert!(!counts.judge(Some(&reply("NOERROR", &[])), Some(&reply("NXDOMAIN", &[]))));
    assert!(!counts.judge(Some(&two), None) && !counts.judge(None, Some(&two)));
    let wanted = Counts {
        asked: 6,
        equal: 2,
        equal_but_ttl: 1,
        different: 2,
        unanswered_by_us: 1,
        unanswered_by_them: 1,
        ..Counts::default()
    };
    assert_eq!(counts, wanted);
}
