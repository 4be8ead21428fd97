//! Any datagram gets a reply within its limits or silence, never a panic.
//!
//! The first octet of the input says how it is asked, the rest is the message.
#![no_main]

use std::sync::LazyLock;

use dns::{
    answer::answer,
    generate::Settings,
    make::Maker,
    verdict::{Asker, Facts, Verdict},
    zones::Zones,
};
use inventory::{
    State,
    source::{Defaults, parse_toml},
};

const UDP_PAYLOAD_MAX: u16 = 1232;

/// A world with everything that makes a lookup branch: see the file.
static ZONES: LazyLock<Zones> = LazyLock::new(|| {
    let rows = parse_toml(include_str!("../world.toml"), "world.toml", &Defaults { product: "acme".into() });
    let rows = rows.expect("the world is sound").into_iter().map(|located| located.row);
    let state = State::from_rows(1, 1, 1, rows).expect("the world has no conflicts");
    let maker = Maker::new(Settings {
        region: "us-east-1".into(),
        product: "acme".into(),
        ttl: 60,
        negative_ttl: 30,
        own_addresses: vec![[10, 0, 0, 2].into()],
    });
    maker.build(&state)
});

static FACTS: LazyLock<Facts> = LazyLock::new(|| Facts {
    id: "fuzz".into(),
    version: "gatehouse".into(),
    udp_payload_max: UDP_PAYLOAD_MAX,
    forwards: true,
    cookie_secrets: vec![[7; 16], [8; 16]],
    keepalive_ds: 300,
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((how, message)) = data.split_first() else { return };
    let asker = Asker {
        address: [127, 0, 0, 1].into(),
        stream: how & 1 != 0,
        trusted: how & 2 != 0,
        now_s: 1_700_000_000,
        signature: (how & 4 != 0).then_some(100),
        spin: u32::from(how >> 3),
    };
    let mut out = Vec::new();
    if let Verdict::Reply { .. } = answer(&ZONES, &FACTS, &asker, message, &mut out) {
        assert_eq!(out[..2], message[..2], "the id is echoed");
        assert!(out[2] & 0x80 != 0, "a reply says that it is one");
        let limit = if asker.stream { usize::from(u16::MAX) } else { UDP_PAYLOAD_MAX.into() };
        assert!((12..=limit).contains(&out.len()), "{} octets", out.len());
    }
});
