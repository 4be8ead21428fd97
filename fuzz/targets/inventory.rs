//! Any text as an inventory file and as an import of every format: rows or faults, never a panic.
#![no_main]

use inventory::{
    import::{Format, parse},
    source::{Defaults, parse_toml},
};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((kind, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let defaults = Defaults { product: "acme".into() };
    match Format::ALL.get(usize::from(kind % 5)) {
        Some(format) => drop(parse(*format, text, "fuzz", &defaults)),
        None => drop(parse_toml(text, "fuzz.toml", &defaults)),
    }
});
