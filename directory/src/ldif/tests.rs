use super::*;

fn faults(text: &str) -> Vec<String> {
    parse(text.as_bytes()).unwrap_err().iter().map(ToString::to_string).collect()
}

const ADA: &str = "dn: uid=ada,ou=people,dc=acme\nobjectClass: person\nuid: ada\n";

#[test]
fn a_file_as_slapcat_writes_it() {
    let text = "version: 1\r\n# people\r\n  of ours\r\n\r\ndn: uid=ada,ou=pe\r\n ople,dc=acme\r\nobjectClass: top\r\n\
                objectclass: person\r\ncn:: w6lhZGE=\r\ndescription:   a: b \r\njpegPhoto:: /wAB\r\nmail:\r\n\
                entryUUID: 597ae2f6-16a6-1027-98f4-d28b5365dc14\r\n\r\n\r\ndn:: dWlkPcOpLGRjPWFjbWU=\r\nobjectClass: person";
    let entries = parse(text.as_bytes()).unwrap();
    assert_eq!(entries.len(), 2);
    let ada = &entries[0];
    assert_eq!(&*ada.dn, "uid=ada,ou=people,dc=acme");
    assert_eq!(ada.id.to_string(), "597ae2f6-16a6-1027-98f4-d28b5365dc14");
    assert_eq!(ada.texts("objectClass").collect::<Vec<_>>(), ["top", "person"]);
    assert_eq!((ada.text("cn"), ada.text("description"), ada.text("mail")), (Some("éada"), Some("a: b "), Some("")));
    assert_eq!(&*ada.values("jpegPhoto")[0].0, [0xff, 0, 1]);
    assert_eq!(&*entries[1].dn, "uid=é,dc=acme");
}

#[test]
fn an_identity_that_is_made_stays() {
    let one = parse(ADA.as_bytes()).unwrap();
    let two = parse(ADA.replace("uid=ada,ou", "UID=Ada, ou").replace("uid: ada", "uid: changed").as_bytes()).unwrap();
    assert_eq!(one[0].id, two[0].id);
}

#[test]
fn every_fault_has_its_line_and_a_remedy() {
    let cases = [
        ("dn: uid=a\nobjectClass: x\ncn:< file:///etc/shadow\n", "line 3: a value by URL is not read"),
        ("dn: uid=a\nchangetype: delete\n", "line 2: this is a change record"),
        ("dn: uid=a\nreplace\n", "line 2: there is no colon"),
        ("-\n", "line 1: this is part of a change record"),
        ("uid: a\n", "line 1: a record begins with dn:, but here stands uid:"),
        ("version: 2\n", "line 1: only version: 1"),
        ("dn: a\nobjectClass: x\n", "line 1: \"a\" is no DN"),
        ("dn:\nobjectClass: x\n", "line 1: \"\" is no DN"),
        ("dn: uid=a\ncn: b\n", "line 1: the entry has no objectClass"),
        ("dn: uid=a\nobjectClass: x\ncn:: ====\n", "line 3: the value behind the two colons is no base64"),
        ("dn: uid=a\nobjectClass: x\nentryUUID: 7\n", "line 1: its entryUUID is no UUID"),
        ("\n x\n", "line 2: the line begins with a blank"),
        ("dn: uid=a\nc n: x\n", "line 2: the name before the colon is no attribute"),
        ("dn: uid=a\ndn: uid=b\n", "line 2: a second dn:"),
    ];
    for (text, expected) in cases {
        let found = faults(text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text:?} gives {found:?}");
    }
    let not_utf8 = parse(b"dn: uid=a\nobjectClass: x\ncn: \xff\n").unwrap_err();
    assert_eq!(not_utf8[0].line, Some(3));
    let twice = faults(&format!("{ADA}\n{}", ADA.replace("uid=ada", "uid=ADA")));
    assert!(twice[0].starts_with("line 5: uid=ADA,ou=people,dc=acme is in the file already, at line 1"), "{twice:?}");
}

#[test]
fn all_faults_are_told_at_once_but_not_without_end() {
    assert_eq!(faults(&format!("uid: a\n\n{ADA}\nuid: b\ncn: c\n")).len(), 2);
    assert_eq!(faults(&"uid: a\n\n".repeat(500)).len(), FAULTS_MAX + 1);
    assert_eq!(parse(b"").unwrap().len(), 0);
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(pieces in proptest::collection::vec(0usize..14, 0..40), octets: Vec<u8>) {
        const PIECES: [&str; 14] = [
            "dn: uid=a\n", "dn:: dWlkPWI=\n", "objectClass: x\n", "\n", " ", "#", ":", "::", "cn: y\n", "-\n", "\r\n",
            "entryUUID: 597ae2f6-16a6-1027-98f4-d28b5365dc14\n", "version: 1\n", "changetype: add\n",
        ];
        let text: String = pieces.into_iter().map(|n| PIECES[n]).collect();
        fuzz(text.as_bytes());
        fuzz(&octets);
        fuzz(&[text.as_bytes(), &octets].concat());
    }
}

#[test]
fn odd_octets_do_no_harm() {
    for text in [&b"\n\n\n"[..], b" ", b":", b"dn", b"dn:", b"\xef\xbb\xbf", b"#\n x", b"\r", b"dn::", b"dn:<", b"\0"] {
        fuzz(text);
    }
}
