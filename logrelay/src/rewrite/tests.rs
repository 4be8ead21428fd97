use super::*;
use crate::message::{Batch, Status};

fn parse(text: &str) -> Result<Rewrite, RewriteError> {
    Rewrite::parse(text, &mut |_| Err("no files here".into()))
}

const ENV: Env<'static> = Env { now_us: 0, loghost: "relay1", offset_min: 0, zone_min: None, frac_digits: 0 };

fn apply(text: &str, message: &Message<'_>) -> (Outcome, Vec<u8>) {
    let rule = parse(text).unwrap_or_else(|error| panic!("{error}"));
    let mut out = b"old".to_vec();
    let outcome = rule.apply(message, &Context::default(), &ENV, &mut DateCache::default(), &mut out);
    assert_eq!(outcome.changed(), !out.is_empty(), "{text}: {outcome:?}");
    (outcome, out)
}

fn sample() -> Message<'static> {
    let raw = b"<86>Nov 20 17:05:05 web01 sshd[12]: login alice password=x1 password=x2";
    let mut message = Message::unread(raw, 1_795_194_305_000_000);
    message.message = &raw[36..];
    message.status = Status::Rfc3164;
    message.pri = 86;
    message.set(Field::Host, b"web01");
    message.set(Field::Program, b"sshd");
    message.set(Field::Pid, b"12");
    message.set(Field::Roles, b"web\nfront\n");
    message.set(Field::Tags, b"old\nolder\n");
    message.set(Field::Values, b".app.user=bob\nn=1\n");
    message
}

/// What a rule makes of the sample, as a template shows it.
fn shown(rule: &str, template: &str) -> String {
    let (outcome, out) = apply(rule, &sample());
    assert!(outcome.changed(), "{rule}: {outcome:?}");
    let message = Message::decode(&out).unwrap();
    assert!(message.flags.has(Flags::REWRITTEN));
    assert_eq!(message.raw, sample().raw, "the line as received stays");
    let mut text = Vec::new();
    Template::parse(template).unwrap().write(&message, &ENV, &mut DateCache::default(), &mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn each_rule_does_what_it_says() {
    let cases = [
        (r#"set("${HOST}.lan", value("HOST"))"#, "$HOST $PROGRAM", "web01.lan sshd"),
        (r#"set("new text" value("MESSAGE"));"#, "$MSGHDR$MSG", "sshd[12]: new text"),
        (r#"set("${ROLES} ${LOGHOST}", value(".app.role"))"#, "${.app.role}|${.app.user}", "web,front relay1|bob"),
        (r#"set("eve" value("${.app.user}"))"#, "${.app.user}${n}", "eve1"),
        (r#"set("a\nb" value("n"))"#, "${n}|${.app.user}", "a b|bob"),
        (r#"set("x" value("PID") condition(program("ssh")))"#, "$PID", "x"),
        (r#"set("id" value("MSGID"))"#, "$MSGID", "id"),
        (r#"unset(value("n"))"#, "<${n}>${.app.user}", "<>bob"),
        (r#"unset(value("PROGRAM"))"#, "<$MSGHDR>", "<>"),
        (r#"subst("password=\\S+", "password=***", value("MESSAGE"))"#, "$MSG", "login alice password=*** password=x2"),
        (
            r#"subst('password=\S+' "password=***" value("MESSAGE") flags(global))"#,
            "$MSG",
            "login alice password=*** password=***",
        ),
        (
            r#"subst('(\w+)=(\w+)', "${2}=$1@@$HOST$$", value("MESSAGE"), flags("global", store-matches))"#,
            "$MSG",
            "login alice x1=password@@web01$ x2=password@@web01$",
        ),
        (
            r#"subst("^LOGIN (.)", "$0:$1", value(MESSAGE) flags(ignore-case))"#,
            "$MSG",
            "login a:alice password=x1 password=x2",
        ),
        (r#"subst("(y)?sshd" "<$1>" value("PROGRAM"))"#, "$PROGRAM", "<>"),
        (
            r#"subst("password=x1" "" type("string") flags("substring") value("MSG"))"#,
            "$MSG",
            "login alice  password=x2",
        ),
        (r#"subst("web01" "w" type(string) value("HOST"))"#, "$HOST", "w"),
        (r#"subst("b*" "-" value("HOST") flags(global))"#, "$HOST", "-w-e-0-1-"),
        (r#"subst("^" "x" value("HOST") flags(global))"#, "$HOST", "xweb01"),
        (r#"rename(".app.user" "user")"#, "<${.app.user}>${user}", "<>bob"),
        (r#"rename("n", ".app.user")"#, "<${n}>${.app.user}", "<>1"),
        (r#"rename("n" "PID")"#, "<${n}>$PID", "<>1"),
        (r#"rename("HOST" "old" condition(host("web01")))"#, "<$HOST>${old}", "<>web01"),
        (r#"set-tag("new.$HOST")"#, "$TAGS", "old,older,new.web01"),
        (r#"set_tag(new)"#, "$TAGS", "old,older,new"),
        (r#"clear-tag("old")"#, "$TAGS", "older"),
        (r#"set-severity("critical")"#, "$FACILITY.$LEVEL", "authpriv.crit"),
        (r#"set-facility("local7")"#, "$FACILITY.$LEVEL", "local7.info"),
        (r#"set-severity("${n}")"#, "$LEVEL", "alert"),
        (r#"set-pri("191")"#, "$PRI", "191"),
    ];
    for (rule, template, expected) in cases {
        assert_eq!(shown(rule, template), expected, "{rule}");
    }
}

#[test]
fn what_changes_nothing_leaves_no_record() {
    let cases = [
        (r#"set("web01" value("HOST"))"#, Outcome::Unchanged),
        (r#"set("x" value("HOST") condition(program("cron")))"#, Outcome::Unchanged),
        (r#"unset(value("nope"))"#, Outcome::Unchanged),
        (r#"subst("nope" "x" value("MESSAGE"))"#, Outcome::Unchanged),
        (r#"subst("web" "web" value("HOST"))"#, Outcome::Unchanged),
        (r#"subst("web" "x" type(string) value("HOST"))"#, Outcome::Unchanged),
        (r#"rename("nope" "n")"#, Outcome::Unchanged),
        (r#"set-tag("old")"#, Outcome::Unchanged),
        (r#"set-tag("${nope}")"#, Outcome::Unchanged),
        (r#"clear-tag("ol")"#, Outcome::Unchanged),
        (r#"set-severity("info")"#, Outcome::Unchanged),
        (r#"set-severity("${HOST}")"#, Outcome::NoSuchName),
        (r#"set-facility("${HOST}")"#, Outcome::NoSuchName),
        (r#"set-pri("${PID}999")"#, Outcome::NoSuchName),
    ];
    for (rule, expected) in cases {
        assert_eq!(apply(rule, &sample()).0, expected, "{rule}");
    }
}

#[test]
fn sizes_have_limits() {
    let long = vec![b'a'; MESSAGE_MAX];
    let mut message = sample();
    message.message = &long;
    let decoded_len = |rule| {
        let (outcome, out) = apply(rule, &message);
        let decoded = Message::decode(&out).unwrap();
        (outcome, decoded.message.len(), decoded.field(Field::Host).len())
    };
    assert_eq!(decoded_len(r#"set("x${MSG}" value("MESSAGE"))"#), (Outcome::Cut, MESSAGE_MAX, 5));
    assert_eq!(decoded_len(r#"set("${MSG}" value("HOST"))"#), (Outcome::Cut, MESSAGE_MAX, FIELD_MAX));
    let many = format!(r#"subst("a", "{}", value("MSG"), flags(global))"#, "$HOST$MSG".repeat(500));
    assert_eq!(decoded_len(&many), (Outcome::Cut, MESSAGE_MAX, 5));
    assert_eq!(apply(r#"set("${MSG}" value("n"))"#, &message).0, Outcome::NoRoom);
    assert_eq!(apply(r#"set-tag("${MSG}")"#, &message).0, Outcome::NoRoom);
    let raw = vec![b'r'; crate::message::RECORD_MAX - 1000];
    let mut message = Message::unread(&raw, 0);
    message.message = b"x";
    assert_eq!(apply(r#"set("${HOST}0123456789" value("MESSAGE"))"#, &message).0, Outcome::Changed);
    let rule = format!(r#"set("{}" value("MESSAGE"))"#, "x".repeat(2000));
    assert_eq!(apply(&rule, &message).0, Outcome::NoRoom);
}

#[test]
fn a_changed_record_takes_the_next_rule() {
    let (_, first) = apply(r#"set("one" value("a"))"#, &sample());
    let (_, second) = apply(r#"set("${a} two" value("MESSAGE"))"#, &Message::decode(&first).unwrap());
    let message = Message::decode(&second).unwrap();
    assert_eq!(message.message, b"one two");
    let mut batch = Batch::default();
    assert!(batch.push(&message));
}

#[test]
fn errors_point_at_the_place_and_name_the_remedy() {
    let cases = [
        ("", 1, "empty"),
        ("sett(\"x\" value(\"y\"))", 1, "is set(...) meant?"),
        ("groupset(\"x\" values(\"y\"))", 1, "for each name"),
        ("set(\"x\")", 1, "add value(\"MESSAGE\")"),
        ("set(\"x\" value(\"DATE\"))", 15, "cannot be set"),
        ("set(\"x\" value(\"LEVEL\"))", 15, "set-severity"),
        ("set(\"x\" value(\"TAGS\"))", 15, "set-tag"),
        ("set(\"x\" value(\"a=b\"))", 15, "is no name"),
        ("set(\"${HOST\" value(\"a\"))", 6, "no }"),
        ("set(\"$1\" value(\"a\"))", 6, "subst()"),
        ("set(\"x\" valu(\"a\"))", 9, "it takes value(...), condition(...)"),
        ("set(\"x\" type(\"string\") value(\"a\"))", 9, "no option of this rule"),
        ("set(\"x\" value(\"a\") condition(levl(err)))", 30, "is level(...) meant?"),
        ("set(\"x\" value(\"a\") condition())", 30, "filter is expected"),
        ("set(\"x\" value(\"a\")) set(\"y\" value(\"b\"))", 21, "one text has one rule"),
        ("set(\"x\" value(\"a\")", 19, "a ) is missing"),
        ("subst(\"a(\" \"x\" value(\"a\"))", 7, "unclosed group"),
        ("subst(\"a\" \"$2\" value(\"a\"))", 7, "has 0 groups"),
        ("subst(\"a\" \"x\" value(\"a\") type(glob))", 7, ".*"),
        ("subst(\"a\")", 10, "missing"),
        ("rename(\"a\")", 11, "missing"),
        ("rename(\"a\" \"a\")", 1, "different"),
        ("set-severity(\"warnin\")", 14, "is warning meant?"),
        ("set-pri(\"192\")", 9, "0 to 191"),
        ("unset()", 1, "add value"),
        ("set-tag()", 9, "missing"),
    ];
    for (text, column, remedy) in cases {
        let error = parse(text).expect_err(text);
        assert!(error.column == column && error.text.contains(remedy), "{error}");
    }
}
