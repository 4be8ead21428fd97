use proptest::prelude::*;

use super::*;

fn origin() -> Name {
    Name::parse("example.org.").unwrap()
}

/// Reads, shows, reads again; both wire forms must be equal.
fn check(mnemonic: &str, text: &str, shown: &str) -> Rdata {
    let rtype = type_number(mnemonic).unwrap();
    let wire = parse_rdata(rtype, text, &origin()).unwrap_or_else(|e| panic!("{mnemonic} {text}: {e}"));
    assert_eq!(show_rdata(rtype, &wire), shown, "{mnemonic} {text}");
    assert_eq!(parse_rdata(rtype, shown, &Name::root()), Ok(wire.clone()), "{mnemonic} {shown}");
    assert_eq!(parse_rdata(rtype, &generic(&wire), &origin()), Ok(wire.clone()), "{mnemonic} in the generic form");
    wire
}

#[test]
fn addresses_names_and_numbers() {
    assert_eq!(&*check("A", " 192.0.2.1 ; here", "192.0.2.1"), [192, 0, 2, 1]);
    check("aaaa", "2001:DB8:0::1", "2001:db8::1");
    for mnemonic in ["NS", "CNAME", "DNAME", "PTR"] {
        check(mnemonic, "Host.Sub", "host.sub.example.org.");
        check(mnemonic, "@", "example.org.");
        check(mnemonic, ".", ".");
        check(mnemonic, "a\\.b\\032c.x.", "a\\.b\\032c.x.");
    }
    assert_eq!(&*check("MX", "10 MAIL.", "10 mail."), b"\x00\x0a\x04mail\x00");
    check("SRV", "1 2 65535 a", "1 2 65535 a.example.org.");
    check("RP", "admin @", "admin.example.org. example.org.");
    check("AFSDB", "1 db", "1 db.example.org.");
    check("KX", "1 db", "1 db.example.org.");
    let soa = "ns ( hostmaster\\.a 4294967295 ; serial\n 1h 15m 1w 60 )";
    check("SOA", soa, "ns.example.org. hostmaster\\.a.example.org. 4294967295 3600 900 604800 60");
}

#[test]
fn strings() {
    assert_eq!(
        check("TXT", r#"plain "two words" "" \"\255"#, r#""plain" "two words" "" "\"\255""#)[..6],
        *b"\x05plain"
    );
    assert_eq!(check("TXT", "\"\u{e4}\"", "\"\\195\\164\"").len(), 3, "UTF-8 octets as they are");
    check("SPF", "\"v=spf1 -all\"", "\"v=spf1 -all\"");
    check("HINFO", "\"RFC8482\" \"\"", "\"RFC8482\" \"\"");
    check("CAA", "0 issue \"ca.example; a=b\"", "0 issue \"ca.example; a=b\"");
    check("NAPTR", "1 2 u E2U+sip \"!^.*$!sip:x@y!\" .", "1 2 \"u\" \"E2U+sip\" \"!^.*$!sip:x@y!\" .");
    check("URI", "10 1 \"https://example.org/a?b\"", "10 1 \"https://example.org/a?b\"");
    let longest = "x".repeat(255);
    check("TXT", &longest, &format!("\"{longest}\""));
    assert!(parse_rdata(16, &"x".repeat(256), &origin()).is_err());
    assert!(matches!(parse_rdata(16, &format!("{longest} ").repeat(257), &origin()), Err(BadData::Long { .. })));
}

#[test]
fn keys_and_digests() {
    check("SSHFP", "4 2 ABCDEF 01", "4 2 abcdef01");
    check("TLSA", "3 1 1 00ff", "3 1 1 00ff");
    check("SMIMEA", "3 1 1 00ff", "3 1 1 00ff");
    check("DS", "60485 RSASHA256 2 D4B7 D520", "60485 8 2 d4b7d520");
    check("DNSKEY", "257 3 13 AAEC Aw==", "257 3 13 AAECAw==");
    check("CERT", "PGP 0 0 AAECAw==", "3 0 0 AAECAw==");
    check("OPENPGPKEY", "AAEC\n", "AAEC");
    check("LOC", "52 22 23 N 4 53 32.1 E -2m", "52 22 23.000 N 4 53 32.100 E -2.00m 1.00m 10000.00m 10.00m");
    check(
        "LOC",
        "0 S 180 W 42849672.95m 90000000m 0 1",
        "0 0 0.000 N 180 0 0.000 W 42849672.95m 90000000.00m 0.00m 1.00m",
    );
}

#[test]
fn service_bindings() {
    check("HTTPS", "0 svc", "0 svc.example.org.");
    check("HTTPS", "1 . alpn=h2,h3", "1 . alpn=\"h2,h3\"");
    check(
        "SVCB",
        "1 a port=53 mandatory=port,alpn alpn=\"dot\" no-default-alpn ipv6hint=2001:db8::1 ipv4hint=192.0.2.1,192.0.2.2 ech=AAEC dohpath=/q{?dns}",
        "1 a.example.org. mandatory=alpn,port alpn=\"dot\" no-default-alpn port=53 ipv4hint=192.0.2.1,192.0.2.2 ech=\"AAEC\" ipv6hint=2001:db8::1 dohpath=\"/q{?dns}\"",
    );
    // RFC 9460 appendix D.2: escaped commas and backslashes.
    let wire = check("SVCB", r#"16 foo. alpn="f\\\\oo\\,bar,h2""#, r#"16 foo. alpn="f\\\\oo\\,bar,h2""#);
    assert!(wire.windows(9).any(|part| part == b"\x08f\\oo,bar"));
    check("SVCB", "1 foo. key667=\"hello\\210qoo\"", "1 foo. key667=\"hello\\210qoo\"");
    for bad in [
        "1 . alpn=h2 alpn=h3",
        "1 . mandatory=port",
        "1 . mandatory=mandatory",
        "1 . no-default-alpn",
        "1 . port=65536",
        "1 . ipv4hint=",
        "1 . colour=red",
        "1 . key65535=x",
        "1 . alpn=",
    ] {
        assert!(parse_rdata(64, bad, &origin()).is_err(), "{bad}");
    }
}

#[test]
fn the_generic_form() {
    check("TYPE731", "\\# 6 abcd ( ef 01\n23 45 )", "\\# 6 abcdef012345");
    check("TYPE62347", "\\# 0", "\\# 0");
    check("A", "\\# 4 0A000001", "10.0.0.1");
    check("NS", "\\# 5 0341424300", "abc.");
    for bad in ["\\# 4 0a0000", "\\# 3 0a0000", "\\#", "\\# x", "\\# 4 0a00000g", "\"\\#\" 4 0a000001"] {
        assert!(parse_rdata(1, bad, &origin()).is_err(), "{bad}");
    }
    assert_eq!(show_rdata(1, &[1, 2, 3]), "\\# 3 010203", "malformed data");
    assert_eq!(show_rdata(15, &[0, 1, 0xc0, 12]), "\\# 4 0001c00c", "a compressed name");
    assert_eq!(
        (type_name(65000).as_ref(), type_number("type65000"), type_number("TYPE1")),
        ("TYPE65000", Some(65000), Some(1))
    );
    assert_eq!(
        (type_number("TYPE65536"), type_number("TYPE"), type_number("BOGUS"), type_number("TYPE+1")),
        (None, None, None, None)
    );
}

#[test]
fn errors_name_both_sides() {
    let text = |rtype, text| parse_rdata(rtype, text, &origin()).unwrap_err().to_string();
    assert_eq!(text(1, "10.0.0.300"), "A data needs an IPv4 address but has \"10.0.0.300\"");
    assert_eq!(text(15, "10"), "MX data ends where a name is expected");
    assert_eq!(text(1, "10.0.0.1 x"), "A data is complete but \"x\" follows it");
    assert_eq!(text(1, "10.0.0.1\nx"), "A data is complete but \"x\" follows it");
    assert_eq!(text(46, "A 8 2"), "RRSIG data is read in the generic form only: \\# LENGTH HEX (RFC 3597)");
    assert_eq!(text(16, "\"a"), "a quoted string is not closed on its line");
    assert!(text(5, &"a.".repeat(128)).contains("longer than 255"));
}

#[test]
fn names_and_their_origin() {
    let parse = |text| parse_name(text, &origin()).map(|name| name.to_string());
    assert_eq!(parse("a\\."), Ok("a\\..example.org.".to_owned()), "an escaped dot does not close a name");
    assert_eq!(parse("a\\\\."), Ok("a\\\\.".to_owned()), "an escaped backslash before the closing dot");
    assert!(parse("").is_err() && parse("..").is_err());
    let long = "a.".repeat(122);
    assert!(parse_name(long.trim_end_matches('.'), &origin()).is_err());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(rtype in 0_u16..260, text in "[ -~\\n\\t\u{e4}]{0,60}") {
        if let Ok(wire) = parse_rdata(rtype, &text, &origin()) {
            let shown = show_rdata(rtype, &wire);
            prop_assert_eq!(parse_rdata(rtype, &shown, &Name::root()), Ok(wire));
        }
    }

    #[test]
    fn any_data_is_shown_and_read_back(rtype in 0_u16..260, wire in prop::collection::vec(any::<u8>(), 0..80)) {
        let shown = show_rdata(rtype, &wire);
        match parse_rdata(rtype, &shown, &Name::root()) {
            Ok(again) => prop_assert!(again.eq_ignore_ascii_case(&wire), "{}", shown),
            Err(_) => prop_assert!(shown.starts_with("\\#"), "{}", shown),
        }
    }
}
