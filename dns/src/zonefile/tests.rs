use proptest::prelude::*;

use super::*;
use crate::text::{show_rdata, type_name};

fn zone(text: &str) -> ZoneFile {
    parse(text, "z", None, None).unwrap_or_else(|faults| panic!("{}", sentences(&faults).join("\n")))
}

fn sentences(faults: &[Fault]) -> Vec<String> {
    faults.iter().map(Fault::to_string).collect()
}

fn shown(zone: &ZoneFile) -> Vec<String> {
    let show = |rr: &Rr| format!("{} {} {} {}", rr.owner, rr.ttl, type_name(rr.rtype), show_rdata(rr.rtype, &rr.rdata));
    zone.records.iter().map(show).collect()
}

/// Faults of a zone `example.` with a SOA and an NS record on lines 1 and 2 and `text` behind them.
fn faults(text: &str) -> Vec<String> {
    let text = format!("@ 60 IN SOA ns hostmaster 1 2 3 4 5\n@ NS ns\n{text}");
    match parse(&text, "z", Some(&Name::parse("example.").unwrap()), None) {
        Ok(zone) => panic!("no fault in {:?}", shown(&zone)),
        Err(faults) => sentences(&faults),
    }
}

#[test]
fn a_tricky_zone() {
    let zone = zone(
        "; comment\n\
         $ORIGIN Example.ORG.\n\
         $TTL 1h30m\n\
         @\t1D IN SOA ns1 hostmaster\\.x (\n\
         \t\t2026010101 ; serial\n\
         \t\t1h 15m 1w )\t60 ; minimum )(\n\
         \n\
         \tNS ns1\n\
         \tIN NS\tns2.example.net.\n\
         ns1 IN 300 A 192.0.2.1\n\
         ns1 300 IN A 192.0.2.1 ; twice\n\
         \t300 A 192.0.2.2\n\
         a\\.b TXT \"semi ; colon\" un\\;quoted ( \"(\"\n )\n",
    );
    assert_eq!(zone.origin.to_string(), "example.org.");
    assert_eq!((zone.soa.ttl, zone.soa.serial, zone.soa.refresh, zone.soa.minimum), (86_400, 2_026_010_101, 3600, 60));
    assert_eq!(zone.soa.rname.to_string(), "hostmaster\\.x.example.org.");
    assert_eq!(
        shown(&zone),
        [
            "example.org. 5400 NS ns1.example.org.",
            "example.org. 5400 NS ns2.example.net.",
            "ns1.example.org. 300 A 192.0.2.1",
            "ns1.example.org. 300 A 192.0.2.2",
            "a\\.b.example.org. 5400 TXT \"semi ; colon\" \"un;quoted\" \"(\"",
        ]
    );
    assert!(zone.warnings.is_empty());
}

#[test]
fn origins_wildcards_delegations_and_ttls() {
    let zone = zone(
        "$ORIGIN example.\n@ SOA ns hostmaster 1 2 3 4 77\n@ NS ns\n*.w A 192.0.2.9\n\
         $ORIGIN sub\nhost 5 A 192.0.2.3\nhost TXT x\n$TTL 9\n@ NS ns\nns A 192.0.2.4\nTYPE A 192.0.2.5\nin IN TYPE65001 \\# 1 ff\n",
    );
    assert_eq!(zone.soa.ttl, 77, "without any TTL the SOA minimum is used");
    assert_eq!(
        shown(&zone),
        [
            "example. 77 NS ns.example.",
            "*.w.example. 77 A 192.0.2.9",
            "host.sub.example. 5 A 192.0.2.3",
            "host.sub.example. 5 TXT \"x\"",
            "sub.example. 9 NS ns.sub.example.",
            "ns.sub.example. 9 A 192.0.2.4",
            "type.sub.example. 9 A 192.0.2.5",
            "in.sub.example. 9 TYPE65001 \\# 1 ff",
        ]
    );
}

#[test]
fn output_of_dig_has_no_origin_and_the_soa_twice() {
    let soa = "example. 60 IN SOA ns.example. h.example. 1 2 3 4 5\n";
    let zone = zone(&format!("{soa}example. 60 IN NS ns.example.\n{soa}"));
    assert_eq!(shown(&zone), ["example. 60 NS ns.example."]);
    let faults = parse(&format!("{soa}example. 60 IN NS ns\nrel A 1.2.3.4\n"), "z", None, None).unwrap_err();
    assert_eq!(
        sentences(&faults),
        [
            "z, line 2: example.: a name in the data is relative, but no origin is known: write $ORIGIN before it",
            "z, line 3: \"rel\" is relative, but no origin is known: write $ORIGIN before it",
        ]
    );
}

#[test]
fn faults_of_single_lines_are_all_reported() {
    let found = faults(
        "a A 10.0.0.300\n\"b A\nc BOGUS x\nd CH A 1.2.3.4\n$FOO\n$TTL soon\ne\n$INCLUDE /etc/passwd\n)\nf 99999999999 A 1.2.3.4\ng AXFR \\# 0\n(h A\n",
    );
    assert_eq!(
        found,
        [
            "z, line 3: a.example.: A data needs an IPv4 address but has \"10.0.0.300\"",
            "z, line 4: a quoted string is not closed on its line",
            "z, line 5: c.example. has \"BOGUS\" where a type is expected",
            "z, line 6: d.example. is of class CH, but only class IN is served",
            "z, line 7: $FOO is no directive that is known here ($ORIGIN, $TTL, $INCLUDE, $GENERATE)",
            "z, line 8: \"soon\" is no TTL: write seconds up to 2147483647, or 1h30m",
            "z, line 9: e.example. has no type",
            "z, line 10: $INCLUDE /etc/passwd is refused: this input has no folder to include files from",
            "z, line 11: a parenthesis is closed but none is open",
            "z, line 12: \"99999999999\" is no TTL: write seconds up to 2147483647, or 1h30m",
            "z, line 13: AXFR is no type of data that a zone can hold",
            "z, line 14: a parenthesis is opened but never closed",
        ]
    );
    assert_eq!(faults(&"x\n".repeat(1000)).len(), FAULTS_MAX);
}

#[test]
fn faults_between_records_name_both() {
    let found = faults(
        "www CNAME a\nwww A 192.0.2.1\nwww2 CNAME a\nwww2 CNAME b\nwww3 CNAME a\nwww3 CNAME a\n\
         d DNAME x.\nd A 192.0.2.1\ny.d A 192.0.2.1\ndd A 192.0.2.1\nother.net. A 192.0.2.1\n",
    );
    assert_eq!(
        found,
        [
            "z, line 3: www.example. has a CNAME record, but also A data on line 4",
            "z, line 6: www2.example. has a second CNAME record, but one stands on line 5",
            "z, line 11: y.d.example. lies below d.example., which has a DNAME record on line 9",
            "z, line 13: other.net. lies outside the zone example.",
        ]
    );
    assert_eq!(
        faults("@ SOA a b 1 2 3 4 5\n"),
        ["z, line 3: a second SOA record, of example., but example. has one on line 1"]
    );
    let text = |text: &str, origin: &str| {
        sentences(&parse(text, "z", Some(&Name::parse(origin).unwrap()), None).unwrap_err()).join("|")
    };
    assert_eq!(text("@ 1 A 192.0.2.1", "a."), "z: there is no SOA record, so this is no zone");
    assert_eq!(text("", "a."), "z: there is no SOA record, so this is no zone");
    assert_eq!(text("@ SOA a b 1 2 3 4 5", "a."), "z, line 1: a. has a SOA record but no NS record");
    assert_eq!(text("b. SOA a b 1 2 3 4 5", "a."), "z, line 1: the SOA record is that of b., but the zone is to be a.");
}

#[test]
fn one_rrset_has_one_ttl() {
    let zone = zone("$ORIGIN e.\n@ 60 SOA a b 1 2 3 4 5\n@ NS a\nx 5 A 192.0.2.1\nx 6 A 192.0.2.2\n");
    assert_eq!(shown(&zone)[1..], ["x.e. 5 A 192.0.2.1", "x.e. 5 A 192.0.2.2"]);
    assert_eq!(
        sentences(&zone.warnings),
        ["z, line 5: x.e. A has a TTL of 6, but 5 on line 4; 5 is used for all of them"]
    );
}

#[test]
fn data_below_a_delegation() {
    let zone = zone("$ORIGIN e.\n@ 60 SOA a b 1 2 3 4 5\n@ NS a\ns NS ns.s\nns.s A 192.0.2.1\nns.s TXT x\nss TXT x\n");
    assert_eq!(
        sentences(&zone.warnings),
        ["z, line 6: ns.s.e. TXT lies below s.e., which is delegated on line 4; it is never answered"]
    );
    assert_eq!(zone.records.len(), 5, "it stays, since it is what the file says");
}

#[test]
fn included_files_stay_below_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("zones");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(dir.path().join("secret"), "s A 192.0.2.1\n").unwrap();
    std::fs::write(inside.join("hosts"), "h A 192.0.2.1\n$ORIGIN elsewhere.\n").unwrap();
    std::fs::write(inside.join("loop"), "$INCLUDE loop\n").unwrap();
    std::fs::write(inside.join("bad"), "\nq A\n").unwrap();
    let read = |text: &str| {
        let text = format!("$ORIGIN e.\n@ 60 SOA a b 1 2 3 4 5\n@ NS a\n{text}");
        parse(&text, "z", None, Some(&inside)).map(|zone| shown(&zone)).map_err(|faults| sentences(&faults))
    };
    assert_eq!(
        read("o TXT x\n$INCLUDE hosts sub\n TXT y\n").unwrap()[1..],
        ["o.e. 60 TXT \"x\"", "h.sub.e. 60 A 192.0.2.1", "o.e. 60 TXT \"y\""],
        "origin and owner are as before the included file"
    );
    for refused in ["../secret", "/etc/passwd", "."] {
        assert!(read(&format!("$INCLUDE {refused}\n")).unwrap_err()[0].contains("is refused: it is no file below"));
    }
    std::os::unix::fs::symlink(dir.path().join("secret"), inside.join("link")).unwrap();
    assert!(read("$INCLUDE link\n").unwrap_err()[0].contains("is refused"));
    assert!(read("$INCLUDE absent\n").unwrap_err()[0].starts_with("z, line 4: $INCLUDE absent cannot be read"));
    assert!(read("$INCLUDE loop\n").unwrap_err()[0].contains("at most 8 files deep"));
    let fault = &read("$INCLUDE bad\n").unwrap_err()[0];
    assert!(fault.ends_with("zones/bad, line 2: q.e.: A data ends where an IPv4 address is expected"), "{fault}");
}

#[test]
fn generate() {
    let zone = zone(
        "$ORIGIN e.\n@ 60 SOA a b 1 2 3 4 5\n@ NS a\n\
         $GENERATE 1-5/2 host$ A 10.0.0.$\n$GENERATE 9-10 n${-1,3,d} 7 IN TXT \"v\\$${0,2,x}\"\n",
    );
    assert_eq!(
        shown(&zone)[1..],
        [
            "host1.e. 60 A 10.0.0.1",
            "host3.e. 60 A 10.0.0.3",
            "host5.e. 60 A 10.0.0.5",
            "n008.e. 7 TXT \"v$09\"",
            "n009.e. 7 TXT \"v$0a\"",
        ]
    );
    for bad in [
        "5-1 a A 1.2.3.4",
        "1-2/0 a A 1.2.3.4",
        "0-4294967295 a$ A 1.2.3.4",
        "1-2 a${1,2,q} A 1.2.3.4",
        "0-1 a${-1} A 1.2.3.4",
        "1-2 a",
    ] {
        assert!(faults(&format!("$GENERATE {bad}\n"))[0].starts_with("z, line 3: "), "{bad}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    let zone = zone(
        "$ORIGIN e.\n@ 60 SOA a b 1 2 3 4 5\n@ NS a\na\\.\\@\\036x\\;y 7 TXT \"\\\"\\000\"\n@ 8 MX 1 m\n* 9 TYPE700 \\# 2 0102\n",
    );
    let mut out = Vec::new();
    write_zone(&mut out, &zone.origin, &zone.soa, &zone.records).unwrap();
    let again = parse(std::str::from_utf8(&out).unwrap(), "z", None, None);
    assert_eq!(again, Ok(zone));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(lines in prop::collection::vec(
        prop_oneof![
            "[ -~\\n\\t\u{e4}]{0,40}",
            "(@|a|\\*|b\\.a|) (60|IN|IN 1h|) (A 192.0.2.1|NS ns|CNAME a|DNAME d|TXT \"x\" y|MX 1 m|AAAA ::1)",
            "\\$(ORIGIN|TTL|GENERATE|INCLUDE) (a|60|0-9 a\\$ TXT \\$)",
        ], 0..20))
    {
        let text = format!("$ORIGIN example.\n@ 60 SOA ns h 1 2 3 4 5\n@ NS ns\n{}", lines.join("\n"));
        fuzz(text.as_bytes());
    }

    #[test]
    fn any_octets_are_read_or_refused(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz(&data);
    }
}
