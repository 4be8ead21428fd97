use super::*;

const ALL: Weak = Weak { md5: true, smd5: true, sha: true, crypt_des: true, clear: true };

/// The outcome for a value as a client would see it.
fn verdict(value: &str, password: &str, weak: Weak) -> Result<bool, Unusable> {
    Stored::parse(value.as_bytes(), weak).map(|stored| stored.matches(password.as_bytes()))
}

// Made by slappasswd (OpenLDAP 2.5, with pw-sha2 and argon2), by crypt(3) of Debian 12, by Python's hashlib.
const STRONG: &[&str] = &[
    "{SSHA}x84t6q4Pex0rNuCkRDk23MHF7PibwVni",
    "{ssha}x84t6q4Pex0rNuCkRDk23MHF7PibwVni",
    "{SSHA256}RuLI21T+2C9y1ZglaMQkd/p0ujc8+vPFHCknH7GqlwxlcM9z5z23WA==",
    "{SSHA384}y5/sh4tcFwKkQBIQ3S/zKt5ggqv6BgnIanxmUhXTsi4+2pm5T9b9D9Xz60emfDiwEhvRioOq+bk=",
    "{SSHA512}1L4aOZuHG+XIYT//joNRXYTjG5D+uuUVJwNLNm6dJIFQE6I9q1B05GWFbk34yQKnW4vQcrehNttJ0cOUu7S9PL9X1PZUC3eC",
    "{ARGON2}$argon2i$v=19$m=8192,t=2,p=1$r5K5pF8sPNAVq8AM02xO/Q$RiionhfgEmh2NKsTaFbI6TOS6vzkSHvGoG3WsEHsJ84",
    "{PBKDF2}10000$MDEyMzQ1Njc4OWFiY/v//g$vW4OJyVj04NGJksGaKZhGh6.WpU",
    "{PBKDF2-SHA1}10000$MDEyMzQ1Njc4OWFiY/v//g$vW4OJyVj04NGJksGaKZhGh6.WpU",
    "{PBKDF2-SHA1}10000$MDEyMzQ1Njc4OWFiY/v//g==$vW4OJyVj04NGJksGaKZhGh6+WpU=",
    "{PBKDF2-SHA256}10000$MDEyMzQ1Njc4OWFiY/v//g$Yn4zwwBKp2FmYR3/ZPD7GP7eBEvwVXsMrRh2R1XU220",
    "{PBKDF2-SHA512}10000$MDEyMzQ1Njc4OWFiY/v//g$g1I35Un3eP3Fm1SG2j2Lnfy3YYWKaWeFcTMVA/50W2icWzylaFhz/lUOsvsBWGRIWzgXAiuAnyuYUcrsLXj1oA",
    "{CRYPT}$1$saltsalt$9xy1btjgzLYfb7hivXtC//",
    "{CRYPT}$5$rounds=1000$saltstring$AH5PD0i.riCRu4BNDy9v7OPV7u3dfLBApcXI6khquVA",
    "{CRYPT}$6$saltstring$AIsRs/Ee56G/tC8MEHhvReZTfx8u3rXXMl6eYrjCG9ibix19DxoMBLogdTET5Ukw9Sf7eZTITsuk0Ry5qulYz.",
    "{CRYPT}$y$j9T$F5Jx5fExrKuPp53xLKQ..1$GmcwIgvdUC9qLWcKCi6gklUa1dM3ziD43YxYNURLKy0",
];

const WEAK: &[&str] = &[
    "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    "{SMD5}JtRPt9pIayik0Pjv4kIXehJX8yo=",
    "{MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==",
    "{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=",
    "{SHA384}WKd1ukESvjAFrkQHznV9iP2nHUBJe7gCbsrFTU4//HIyzo3jq1rLMK45dg/ufFPt",
    "{SHA512}vSsar3708Jvp9Szi2NWZZ02Bqp1qRCFpbcTZPdBhnWgs5WtNZKnvCXdhztmeD2cmW192CF5bDufKRpayrW/isg==",
    "{CRYPT}abNANd1rDfiNc",
    "{CLEARTEXT}secret",
    "secret",
];

#[test]
fn every_scheme_tells_right_from_wrong() {
    for value in STRONG.iter().chain(WEAK) {
        assert_eq!(verdict(value, "secret", ALL), Ok(true), "{value}");
        for wrong in ["Secret", "secret ", "secre", "", "x"] {
            assert_eq!(verdict(value, wrong, ALL), Ok(false), "{value} {wrong:?}");
        }
    }
}

#[test]
fn the_digest_of_old_389_ds_is_read() {
    // The example of hashcat's mode 10901.
    let value = "{PBKDF2_SHA256}AAAgADkxMjM2NTIzMzgzMjQ3MjI4MDAwNTk5OTAyOTk4NDI2MjkyMzAzNjg0NjQwOTMxNjI3OTMzNjg0MDI0OTY5NTe5ULagRTYpLaUoeqJMg8x9W/DXu+9VTFaVhaYvebYrY+sOqn1ZMRnws22C1uAkiE2tFM8qN+xw5xe7OmCPZ203NuruK4oB33QlsKIEz4ppm0TR94JB9PJx7lIQwFHD3FUNUNryj4jk6UYyJ4+V1Z9Ug/Iy/ylQBJgfs5ihzgxHYZrfp1wUCXFzlZG9mxmziPm8VFnAhaX4+FBAZvLAx33jpbKOwEg7TmwP2VJ8BNFLQRqwYdlqIjQlAhncXH+dqIF9VdM4MonAA0hx76bMvFTP7LF5VO1IqVmcuYz7YG9v4KKRjnvoUUqOj6okUBQTay3EzsdFVnUW1FemYOccJd5q";
    assert_eq!(verdict(value, "hashcat", Weak::default()), Ok(true));
    assert_eq!(verdict(value, "hashcats", Weak::default()), Ok(false));
}

#[test]
fn weak_schemes_count_only_when_named() {
    for value in STRONG {
        assert_eq!(verdict(value, "secret", Weak::default()), Ok(true), "{value}");
    }
    for value in WEAK {
        assert_eq!(verdict(value, "secret", Weak::default()), Err(Unusable::Weak), "{value}");
    }
    let named = Weak::parse(&["sha".into(), "clear".into()]).unwrap();
    assert_eq!(named, Weak { sha: true, clear: true, ..Weak::default() });
    assert!(Weak::parse(&["ssha".into()]).unwrap_err().to_string().contains("\"ssha\" is no weak scheme"));
}

#[test]
fn an_unknown_scheme_is_never_clear_text() {
    for value in ["{SASL}ada@ACME", "{X}secret", "{}secret", "{secret", "{NTHASH}0cb6948805f797bf2a82807973b89537"] {
        assert_eq!(verdict(value, value, ALL), Err(Unusable::Unknown), "{value}");
        assert_eq!(verdict(value, "secret", ALL), Err(Unusable::Unknown), "{value}");
    }
    assert_eq!(verdict("{CRYPT}$2b$05$abcdefghijklmnopqrstuv", "secret", ALL), Err(Unusable::Unknown));
}

#[test]
fn damaged_and_costly_values_are_not_usable() {
    for value in [
        "",
        "{SSHA}",
        "{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        "{SSHA}????",
        "{SHA}x84t6q4Pex0rNuCkRDk23MHF7PibwVni",
        "{PBKDF2}0$MDEy$vW4OJyVj04NGJksGaKZhGh6.WpU",
        "{PBKDF2}10000$MDEy$vW4O",
        "{PBKDF2}10000$MDEy",
        "{PBKDF2_SHA256}AAAgADkx",
        "{CRYPT}!",
        "{CRYPT}*",
        "{CRYPT}$6$",
        "{CRYPT}$y$$$",
        "{CRYPT}$5$rounds=1$salt$AH5PD0i.riCRu4BNDy9v7OPV7u3dfLBApcXI6khquVA",
        "{ARGON2}$argon2id$v=19$m=8192,t=2,p=1$r5K5pF8sPNAVq8AM02xO/Q",
        "{ARGON2}",
    ] {
        assert_eq!(verdict(value, "secret", ALL), Err(Unusable::Malformed), "{value}");
    }
    for value in [
        "{PBKDF2}4294967295$MDEyMzQ1Njc4OWFiY/v//g$vW4OJyVj04NGJksGaKZhGh6.WpU",
        "{CRYPT}$5$rounds=999999999$saltstring$AH5PD0i.riCRu4BNDy9v7OPV7u3dfLBApcXI6khquVA",
        "{CRYPT}$y$jJT$F5Jx5fExrKuPp53xLKQ..1$GmcwIgvdUC9qLWcKCi6gklUa1dM3ziD43YxYNURLKy0",
        "{CRYPT}$y$j9T0zzzz$F5Jx5fExrKuPp53xLKQ..1$GmcwIgvdUC9qLWcKCi6gklUa1dM3ziD43YxYNURLKy0",
        "{ARGON2}$argon2i$v=19$m=4194304,t=2,p=1$r5K5pF8sPNAVq8AM02xO/Q$RiionhfgEmh2NKsTaFbI6TOS6vzkSHvGoG3WsEHsJ84",
        "{ARGON2}$argon2i$v=19$m=8192,t=2000000,p=1$r5K5pF8sPNAVq8AM02xO/Q$RiionhfgEmh2NKsTaFbI6TOS6vzkSHvGoG3WsEHsJ84",
    ] {
        assert_eq!(verdict(value, "secret", ALL), Err(Unusable::Costly), "{value}");
    }
}

proptest::proptest! {
    #[test]
    fn no_value_panics(scheme in "\\{(CRYPT|SSHA|PBKDF2|PBKDF2_SHA256|ARGON2|x)\\}(\\$(1|5|6|y|argon2id)\\$)?", rest in "\\PC{0,80}") {
        if let Ok(stored) = Stored::parse(format!("{scheme}{rest}").as_bytes(), ALL) {
            assert!(!stored.matches(b"no such password"));
        }
    }

    #[test]
    fn no_octets_panic(octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = Stored::parse(&octets, ALL).map(|stored| stored.matches(b"no such password"));
    }
}

#[test]
fn crypt_of_des_agrees_with_the_c_library_on_salts_and_lengths() {
    // perl -e 'print crypt(PASSWORD, SALT)' on Debian 12.
    for (password, value) in DES {
        assert_eq!(verdict(&format!("{{CRYPT}}{value}"), password, ALL), Ok(true), "{value}");
    }
}
const DES: &[(&str, &str)] = &[
    ("a", "./xT2u5QYaHcU"),
    ("longer than eight", "zZb64kacvY9KA"),
    ("12345678", "9x9iS7LwE.DUc"),
    ("", "qq2C4zterbO2k"),
    ("p$q", "Hks7ddTR/z3Zo"),
    ("été", "mNBkghoUzN4X2"),
];
