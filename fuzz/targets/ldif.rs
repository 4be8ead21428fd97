//! Any octets as an LDIF file: entries or faults, never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| directory::ldif::fuzz(data));
