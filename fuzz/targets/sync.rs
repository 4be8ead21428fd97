//! Any octets as the controls, messages and cookies of an upstream directory; never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| directory::follow::fuzz(data));
